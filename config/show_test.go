package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const full = "testdata/agent.yaml"

func loadFull(t *testing.T) *Config {
	t.Helper()
	cfg, warnings, err := Load(Options{Files: []string{full}, Preset: "agent",
		Env: env("ES_PASSWORD=canary-es", "NODE_NAME=node-7", "WEIR_LOG_LEVEL=debug", "WEIR_OUTPUTS_ELASTICSEARCH_MAIN_COMPRESSION=none"),
		Set: []string{"outputs.loki.tenant=${env:NODE_NAME}"}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(warnings.List()); n != 0 {
		warnings.Format(os.Stderr, false)
		t.Fatal("warnings")
	}
	return cfg
}

func TestShow(t *testing.T) {
	cfg := loadFull(t)
	for name, origins := range map[string]bool{"testdata/show.golden": false, "testdata/origins.golden": true} {
		var b strings.Builder
		if err := cfg.Show(&b, origins); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.String())
	}
}

// What is shown, read again, is the same configuration.
func TestShowIsReadAgain(t *testing.T) {
	for _, preset := range Presets() {
		cfg, _, err := Load(Options{Preset: preset, Incomplete: true, Env: env()})
		if err != nil {
			t.Fatal(err)
		}
		again(t, cfg)
	}
	again(t, mustLoad(t, `
cluster: '$${env:X} ${x} $$${y}'
node: "\t\u0085 \"x\" 'y' \U0001F600 é"
pipeline: [{set: {a: 'true', b: "null", c: '~', 'd e': ' x ', f: '{{.x}}', '#': '# c', g: 'a: b', h: '- a'}}, {remove: ['1', '0x1', '.inf']}]
inputs: {kubernetes: {pod_labels: [], exclude: '{a="b"}'}}
limits: {memory: 1.5GiB}
outputs: {stdout: {retry: {for: 90m}}}
`[1:]+"", "X=1"))
}

func again(t *testing.T, cfg *Config) {
	t.Helper()
	var b, b2 strings.Builder
	if err := cfg.Show(&b, false); err != nil {
		t.Fatal(err)
	}
	cfg2, _, err := load(b.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	if d := Diff(cfg, cfg2); !d.None() {
		t.Errorf("read again differs: %+v\n%s", d, b.String())
	}
	if err := cfg2.Show(&b2, false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.String(), b2.String()); diff != "" {
		t.Errorf("shown again differs:\n%s", diff)
	}
}

func TestReferenceIsCurrent(t *testing.T) {
	golden(t, filepath.FromSlash("../docs/reference/configuration.md"), string(Reference()))
}
