package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad: whatever a file holds, Load does not panic, and says where what it
// finds is; what it accepts can be shown and read again.
func FuzzLoad(f *testing.F) {
	for _, dir := range []string{"testdata/errors/*.yaml", "testdata/*.yaml", "presets/*.yaml"} {
		files, err := filepath.Glob(dir)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lines := bytes.Count(data, []byte("\n")) + 1
		place := func(ps []Problem) {
			for _, p := range ps {
				if p.Pos.File != "f.yaml" || p.Pos.Line < 1 || p.Pos.Line > lines || p.Pos.Column < 1 {
					t.Errorf("%q stands at %s of %d lines", p.Message, p.Pos, lines)
				}
			}
		}
		cfg, warnings, err := Load(Options{Files: []string{"f.yaml"}, ReadFile: texts("f.yaml", string(data)),
			Env: env("ES_PASSWORD=x", "NODE_NAME=n")})
		if err != nil {
			var es *Errors
			if !errors.As(err, &es) || cfg != nil {
				t.Fatalf("%T, %v", err, cfg)
			}
			place(es.List())
			if text := es.Error(); strings.ContainsAny(text, "\x1b\r\x00") {
				t.Errorf("control characters in %q", text)
			}
			return
		}
		place(warnings.List())
		var b strings.Builder
		if err := cfg.Show(&b, true); err != nil {
			t.Fatal(err)
		}
		cfg2, _, err := Load(Options{Files: []string{"f.yaml"}, ReadFile: texts("f.yaml", b.String()), Env: env("ES_PASSWORD=x", "NODE_NAME=n")})
		if err != nil {
			if strings.Contains(b.String(), "redacted]") {
				return // a hidden part can make a URL unreadable
			}
			t.Fatalf("what is shown is not read again: %v\n%s", err, b.String())
		}
		if d := Diff(cfg, cfg2); !d.None() && !strings.Contains(b.String(), "redacted]") {
			t.Fatalf("what is shown is another configuration: %+v\n%s", d, b.String())
		}
	})
}
