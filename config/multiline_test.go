package config

import (
	"strings"
	"testing"
)

func loadText(text string) (*Config, error) {
	cfg, _, err := Load(Options{Files: []string{"weir.yaml"}, ReadFile: func(string) ([]byte, error) { return []byte(text), nil }})
	return cfg, err
}

// TestMultilineAndRateLimitAreReadAsShown: every form is shown as one that is read as
// the same.
func TestMultilineAndRateLimitAreReadAsShown(t *testing.T) {
	for _, c := range []string{
		"multiline: off", "multiline: auto", `multiline: 'first:^\d{4}-'`, `multiline: 'first:''#: x'`, `multiline: {first: '^[[]', max_lines: 10}`, "multiline: {traces: go, wait: 2s, max_bytes: 1MiB}", "multiline: {wait: 3s}",
		"pipeline: [{rate_limit: 500/s}]", "pipeline: [{rate_limit: 5MiB/m}]", "pipeline: [{rate_limit: {per: [], lines: 1k/h, burst: 5k, over: sample}}]",
	} {
		text := c + "\ninputs: {file: {paths: [/var/log/a.log]}}\noutputs: {stdout: {}}\n"
		a, err := loadText(text)
		if err != nil {
			t.Errorf("%s: %v", c, err)
			continue
		}
		var shown strings.Builder
		if err := a.Show(&shown, false); err != nil {
			t.Fatal(err)
		}
		b, err := loadText(shown.String())
		if err != nil {
			t.Errorf("%s is shown as\n%s\n%v", c, shown.String(), err)
			continue
		}
		if ch := Diff(a, b); !ch.None() {
			t.Errorf("%s is read as another: %+v\n%s", c, ch, shown.String())
		}
		if a.Inputs[0].tail().Multiline != a.Multiline {
			t.Errorf("%s: the input has %v", c, a.Inputs[0].tail().Multiline)
		}
	}
}

func TestAnInputsMultilineWins(t *testing.T) {
	cfg, err := loadText("multiline: auto\ninputs: {file: {paths: [/a], multiline: off}, file/b: {paths: [/b], multiline: java}, kubernetes: {}}\noutputs: {stdout: {}}\n")
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[ID]string{"file": "off", "file/b": "java", "kubernetes": "auto"} {
		if got := cfg.Input(id).tail().Multiline.String(); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}
