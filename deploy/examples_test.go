package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What the examples name is there, and is of the API.
func TestExamples(t *testing.T) {
	names, err := filepath.Glob("examples/*/kustomization.yaml")
	if err != nil || len(names) < 2 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		dir := filepath.Dir(name)
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		k := parse(t, text)[0]
		files := []string{}
		for _, r := range k["resources"].([]any) {
			path := filepath.Join(dir, r.(string))
			info, err := os.Stat(path)
			if err != nil {
				t.Error(err)
			} else if !info.IsDir() {
				files = append(files, path)
			}
		}
		patches, _ := k["patches"].([]any)
		for _, p := range patches {
			if path, ok := at(p, "path").(string); ok {
				files = append(files, filepath.Join(dir, path))
				continue
			}
			role := Roles()[slices.IndexFunc(Roles(), func(r string) bool { return "weir-"+r == at(p, "target", "name") })]
			text, err := Manifests(role, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(parse(t, text), func(o object) bool {
				return o["kind"] == at(p, "target", "kind") && at(o, "metadata", "name") == at(p, "target", "name")
			}) {
				t.Errorf("%s patches %v, which is not there", dir, at(p, "target"))
			}
		}
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Error(err)
				continue
			}
			for _, o := range parse(t, text) {
				if err := strict(o); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			}
		}
	}
}

// exampleFiles returns the examples that are a file each.
func exampleFiles(t *testing.T) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("examples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string][]byte)
	for _, name := range names {
		if out[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return out
}
