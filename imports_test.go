package weir_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// The import rule of docs/DESIGN.md: who may import whom. A package that is
// not listed fails the test, so that a new room is a decision.

const module = "github.com/weirlog/weir"

// levels of the project's own packages. wire stands for every wire/<proto>.
var levels = map[string]int{
	"record": 0, "ack": 0,
	"cri": 1, "stage": 1, "logql": 1, "columns": 1, "wire": 1, "show": 1,
	"tail": 2, "kube": 2, "checkpoint": 2, "buffer": 2, "output": 2, "store": 2, "demo": 2, "gateway": 2,
	"deliver": 3, "pipeline": 3, "api": 3, "read": 3,
	"config": 4, "cmd": 4, "e2e": 4, "bench": 4, "deploy": 4,
}

// metrics may be used from level 2 up and uses nothing of ours.
const metricsPkg = "metrics"

// only lists libraries that a single part of the tree may import.
var only = []struct {
	prefix string
	in     []string
}{
	{"k8s.io/", []string{"kube"}},
	{"github.com/prometheus/", []string{"metrics"}},
	{"github.com/spf13/", []string{"cmd"}},
	{"github.com/parquet-go/", []string{"columns"}},
	{"github.com/coder/websocket", []string{"api", "read", "cmd"}},
	{"google.golang.org/grpc", []string{"output", "gateway"}},
	{"github.com/twmb/franz-go", []string{"output", "gateway"}},
	{"github.com/minio/", []string{"output", "gateway"}},
}

// level 0 may import the standard library only; levels 0 and 1 nothing that
// reaches outside the process.
var impure = []string{"net", "net/http", "os", "os/exec", "os/signal", "syscall", "io/fs", "golang.org/x/sys/unix"}

// pureLibraries are what level 1 may import beside the standard library and us.
var pureLibraries = []string{"github.com/klauspost/compress", "github.com/zeebo/xxh3", "github.com/cespare/xxhash", "google.golang.org/protobuf/encoding/protowire", "github.com/parquet-go/parquet-go", "github.com/tinylib/msgp/msgp"}

type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

func room(importPath string) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
	first, _, _ := strings.Cut(rest, "/")
	return first
}

func TestImportRule(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	n := 0
	for dec.More() {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		n++
		checkImports(t, p)
	}
	if n < 3 {
		t.Fatalf("only %d packages seen", n)
	}
}

func checkImports(t *testing.T, p pkg) {
	from := room(p.ImportPath)
	level, known := levels[from]
	if from == "" {
		return // this test's own folder
	}
	if !known && from != metricsPkg {
		t.Errorf("%s: a new top-level folder needs a level here and a note in docs/decisions", p.ImportPath)
		return
	}
	for _, imp := range p.Imports {
		for _, o := range only {
			if strings.HasPrefix(imp, o.prefix) && !slices.Contains(o.in, from) && from != "e2e" && from != "bench" {
				t.Errorf("%s imports %s, which only %v may", p.ImportPath, imp, o.in)
			}
		}
		if strings.HasPrefix(imp, module) {
			to := room(imp)
			if from == metricsPkg {
				t.Errorf("%s imports %s: metrics uses nothing of ours", p.ImportPath, imp)
				continue
			}
			if to == metricsPkg {
				if level < 2 {
					t.Errorf("%s imports metrics, which is for level 2 and up", p.ImportPath)
				}
				continue
			}
			if msg := ownImport(from, level, to, levels[to]); msg != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, imp, msg)
			}
			continue
		}
		if from == metricsPkg || level > 1 {
			continue
		}
		std := !strings.Contains(strings.Split(imp, "/")[0], ".")
		switch {
		case slices.Contains(impure, imp):
			t.Errorf("%s imports %s: levels 0 and 1 do not reach outside the process", p.ImportPath, imp)
		case level == 0 && !std:
			t.Errorf("%s imports %s: level 0 uses the standard library only", p.ImportPath, imp)
		case level == 1 && !std && !slices.ContainsFunc(pureLibraries, func(l string) bool { return imp == l || strings.HasPrefix(imp, l+"/") }):
			t.Errorf("%s imports %s: not in the list of pure libraries", p.ImportPath, imp)
		}
	}
}

func ownImport(from string, level int, to string, toLevel int) string {
	switch {
	case from == to || level == 4:
		return ""
	case level == 0 && toLevel == 0, level == 1 && toLevel <= 1:
		return ""
	case level == 2 && toLevel <= 1, level == 3 && toLevel <= 1:
		return ""
	}
	return path.Join("level ", string(rune('0'+level))) + " may not import level " + string(rune('0'+toLevel))
}

func TestImportRuleCatches(t *testing.T) {
	for _, c := range []struct {
		from, to string
		ok       bool
	}{
		{"record", "ack", true}, {"record", "wire", false}, {"wire", "record", true},
		{"tail", "kube", false}, {"deliver", "buffer", false}, {"cmd", "tail", true}, {"wire", "tail", false},
	} {
		if msg := ownImport(c.from, levels[c.from], c.to, levels[c.to]); (msg == "") != c.ok {
			t.Errorf("%s → %s: %q", c.from, c.to, msg)
		}
	}
}
