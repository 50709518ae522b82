package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirlog/weir/config"
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

// The counters are of the API, the README names each, and the configuration in them is
// one that 'weir check' takes without a warning.
func TestCounterExamples(t *testing.T) {
	names, err := filepath.Glob("examples/*.yaml")
	if err != nil || len(names) < 8 {
		t.Fatal(names, err)
	}
	readme, err := os.ReadFile("examples/README.md")
	if err != nil {
		t.Fatal(err)
	}
	configs := 0
	for _, name := range names {
		if !strings.Contains(string(readme), "| ["+filepath.Base(name)+"]") {
			t.Errorf("the README does not say what %s is", name)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range parse(t, text) {
			if err := strict(o); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			text, ok := at(o, "data", "weir.yaml").(string)
			if !ok {
				continue
			}
			configs++
			env := map[string]string{"ELASTICSEARCH_URL": "http://elasticsearch:9200"}
			_, warnings, err := config.Load(config.Options{
				Files: []string{name}, Preset: "sidecar",
				Env:      func(k string) (string, bool) { v, ok := env[k]; return v, ok },
				ReadFile: func(string) ([]byte, error) { return []byte(text), nil },
			})
			if err != nil {
				t.Error(err)
			} else if len(warnings.List()) > 0 {
				t.Error(warnings.List())
			}
		}
	}
	if configs == 0 {
		t.Error("no configuration was checked")
	}
}
