package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files")

// env makes a lookup of NAME=value pairs.
func env(pairs ...string) func(string) (string, bool) {
	m := make(map[string]string)
	for _, p := range pairs {
		name, val, _ := strings.Cut(p, "=")
		m[name] = val
	}
	return func(name string) (string, bool) {
		v, ok := m[name]
		return v, ok
	}
}

// texts makes a ReadFile of name, text pairs.
func texts(pairs ...string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return []byte(pairs[i+1]), nil
			}
		}
		return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
	}
}

// load loads one file that needs nothing else.
func load(text string, environ ...string) (*Config, *Warnings, error) {
	return Load(Options{Files: []string{"weir.yaml"}, Incomplete: true, ReadFile: texts("weir.yaml", text), Env: env(environ...)})
}

func mustLoad(t *testing.T, text string, environ ...string) *Config {
	t.Helper()
	cfg, _, err := load(text, environ...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return cfg
}

// TestFailure100_InvalidConfigIsRefusedWhole: whatever is wrong anywhere, there
// is no configuration, and everything that is wrong is said at once. Each file
// in testdata/errors holds one class of errors and beside it what is said.
func TestFailure100_InvalidConfigIsRefusedWhole(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			opt := Options{Files: []string{"weir.yaml"}, Incomplete: !strings.Contains(string(data), "# complete"),
				Env: env("EMPTY=", "SECRET=canary-of-env", "PORT=tcp://10.0.0.1:9200", "BRACES={a: b}")}
			pairs := []string{"/secret", "canary-of-file\n"}
			// "#--- name" starts another file.
			name, rest := "weir.yaml", string(data)
			for {
				text, more, found := strings.Cut(rest, "#--- ")
				pairs = append(pairs, name, text)
				if !found {
					break
				}
				name, rest, _ = strings.Cut(more, "\n")
				opt.Files = append(opt.Files, name)
			}
			for line := range strings.SplitSeq(string(data), "\n") {
				if arg, ok := strings.CutPrefix(line, "#set "); ok {
					opt.Set = append(opt.Set, arg)
				}
				if arg, ok := strings.CutPrefix(line, "#env "); ok {
					key, val, _ := strings.Cut(arg, "=")
					old := opt.Env
					opt.EnvNames = append(opt.EnvNames, key)
					opt.Env = func(name string) (string, bool) {
						if name == key {
							return val, true
						}
						return old(name)
					}
				}
			}
			opt.ReadFile = texts(pairs...)
			cfg, warnings, err := Load(opt)
			var b strings.Builder
			var list []Problem
			if err != nil {
				if cfg != nil {
					t.Error("an error and a configuration")
				}
				var es *Errors
				if !errors.As(err, &es) {
					t.Fatalf("error is a %T", err)
				}
				es.Format(&b, false)
				b.WriteString(es.Summary() + "\n")
				list = es.List()
			} else {
				warnings.Format(&b, false)
				b.WriteString(warnings.Summary() + "\n")
				list = warnings.List()
			}
			for _, p := range list {
				if p.Pos.File == "" {
					t.Errorf("no place: %s", p.Message)
				}
			}
			if strings.Contains(b.String(), "canary") {
				t.Errorf("a secret is shown:\n%s", b.String())
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", b.String())
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
