package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weirlog/weir/config"
)

var (
	yamlBlock   = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")
	secretInDoc = regexp.MustCompile(`\$\{(env|file):[^}]*\}`)
	topLevelKey = regexp.MustCompile(`(?m)^([A-Za-z]+):`)
)

// TestConfigurationsInDocs reads every configuration of the documentation.
func TestConfigurationsInDocs(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range yamlBlock.FindAllStringSubmatchIndex(string(text), -1) {
			block := string(text[m[2]:m[3]])
			keys := map[string]bool{}
			for _, k := range topLevelKey.FindAllStringSubmatch(block, -1) {
				keys[k[1]] = true
			}
			if keys["apiVersion"] || keys["resources"] || keys["volumes"] || keys["metadata"] || keys["spec"] || keys["securityContext"] || keys["initContainers"] {
				continue // Kubernetes', not weir's
			}
			seen++
			o := config.Options{Preset: "gateway", Incomplete: true}
			if keys["store"] && !keys["outputs"] {
				o.Preset = "store"
			}
			if keys["sidecar"] {
				o.Preset = "sidecar"
			}
			path := filepath.Join(t.TempDir(), "weir.yaml")
			if err := os.WriteFile(path, []byte(secretInDoc.ReplaceAllString(block, strings.Repeat("x", 40))), 0o600); err != nil {
				t.Fatal(err)
			}
			o.Files = []string{path}
			if _, _, err := config.Load(o); err != nil {
				t.Errorf("%s, line %d: %v", file, strings.Count(string(text[:m[0]]), "\n")+1, err)
			}
		}
	}
	if seen < 9 {
		t.Errorf("only %d configurations were found", seen)
	}
}
