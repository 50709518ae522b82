package main

import (
	"testing"

	"github.com/weirlog/weir/config"
)

// A reload that could not be put in force whole is refused, not half taken.
func TestNeedsRestart(t *testing.T) {
	load := func(set ...string) *config.Config {
		t.Helper()
		cfg, _, err := config.Load(config.Options{Preset: "agent", Incomplete: true, Set: set, Env: func(string) (string, bool) { return "", false }})
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	old := load()
	for set, want := range map[string]bool{
		"log.level=debug":                      false,
		"inputs.kubernetes.max_line=64KiB":     false,
		"log.format=json":                      true,
		"cluster=other":                        true,
		"inputs.kubernetes.pod_labels=[app]":   true,
		"inputs.kubernetes.kubeconfig=/a/file": true,
		"inputs.kubernetes.metadata=path":      true,
	} {
		if got := needsRestart(old, load(set)); got != want {
			t.Errorf("%s: restart %v, want %v", set, got, want)
		}
	}
}
