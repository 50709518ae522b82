package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlog/weir/checkpoint"
	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/record"
)

// fakeProc makes a /proc with processes: pid → comm, state and command line.
func fakeProc(t *testing.T, processes map[int][3]string) string {
	t.Helper()
	root := t.TempDir()
	for pid, p := range processes {
		dir := filepath.Join(root, fmt.Sprint(pid))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"comm":    p[0] + "\n",
			"stat":    fmt.Sprintf("%d (%s) %s 1 1 1 0", pid, p[0], p[1]),
			"cmdline": strings.ReplaceAll(p[2], " ", "\x00") + "\x00",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "sys"), 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestApplicationsProcesses(t *testing.T) {
	const self = 20
	for _, c := range []struct {
		about, name string
		processes   map[int][3]string
		want        int
		alone       bool
	}{
		{"an application", "any", map[int][3]string{1: {"pause", "S", "/pause"}, 7: {"app", "S", "/app -x"}, self: {"weir", "R", "/weir sidecar"}}, 1, false},
		{"it is gone", "any", map[int][3]string{1: {"pause", "S", "/pause"}, self: {"weir", "R", "/weir sidecar"}}, 0, false},
		{"two sidecars do not wait for each other", "any", map[int][3]string{1: {"pause", "S", "/pause"}, 19: {"weir", "S", "/weir sidecar"}, self: {"weir", "R", "/weir sidecar"}}, 0, false},
		{"a zombie is dead", "any", map[int][3]string{1: {"pause", "S", "/pause"}, 7: {"a) app", "Z", "/app"}, self: {"weir", "R", "/weir"}}, 0, false},
		{"another program", "app", map[int][3]string{1: {"pause", "S", "/pause"}, 7: {"proxy", "S", "/proxy"}, self: {"weir", "R", "/weir"}}, 0, false},
		{"by the command line", "train.py", map[int][3]string{1: {"pause", "S", "/pause"}, 7: {"python3", "S", "/opt/train.py"}, self: {"weir", "R", "/weir"}}, 1, false},
		{"a long name", "a-rather-long-name", map[int][3]string{1: {"pause", "S", "/pause"}, 7: {"a-rather-long-n", "S", "x"}, self: {"weir", "R", "/weir"}}, 1, false},
		{"no shared process namespace", "any", map[int][3]string{1: {"weir", "R", "/weir sidecar"}}, 0, true},
	} {
		a := appProcesses{root: fakeProc(t, c.processes), name: c.name, self: self}
		n, err := a.count()
		if n != c.want || err != nil || a.alone() != c.alone {
			t.Errorf("%s: %d processes (%v), alone %v; want %d, %v", c.about, n, err, a.alone(), c.want, c.alone)
		}
	}
	if _, err := (&appProcesses{root: filepath.Join(t.TempDir(), "none"), name: "any"}).count(); err == nil {
		t.Error("no error without /proc")
	}
}

func TestIdentityOfPod(t *testing.T) {
	env := map[string]string{
		"POD_NAME": "api-1", "POD_NAMESPACE": "shop", "POD_UID": "8c5f", "NODE_NAME": "n1", "CONTAINER_NAME": "api", "POD_LABELS_FILE": "/podinfo/labels",
	}
	read := func(path string) ([]byte, error) {
		if path != "/podinfo/labels" {
			return nil, os.ErrNotExist
		}
		// As kubelet writes them.
		return []byte("app=\"shop\"\napp.kubernetes.io/instance=\"shop-api\"\nnote=\"says \\\"hi\\\"\\n\"\nbroken"), nil
	}
	got := identityOfPod(func(k string) string { return env[k] }, read)
	want := &podIdentity{
		attrs: []record.Attr{
			{Name: record.AttrNode, Value: "n1"}, {Name: record.AttrNamespace, Value: "shop"}, {Name: record.AttrPod, Value: "api-1"},
			{Name: record.AttrPodUID, Value: "8c5f"}, {Name: record.AttrContainer, Value: "api"},
			{Name: record.AttrApp, Value: "shop"}, {Name: record.AttrService, Value: "shop-api"},
		},
		labels: []record.Attr{{Name: "app", Value: "shop"}, {Name: "app.kubernetes.io/instance", Value: "shop-api"}, {Name: "note", Value: "says \"hi\"\n"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(podIdentity{})); diff != "" {
		t.Error(diff)
	}
	env["POD_LABELS_FILE"] = "/none"
	if got := identityOfPod(func(k string) string { return env[k] }, read); len(got.labels) != 0 || len(got.attrs) != 5 {
		t.Errorf("without labels: %+v", got)
	}
}

// Positions are kept where a restart of the container finds them; two sidecars of a
// pod do not share them.
func TestSidecarState(t *testing.T) {
	if mayWrite(defaultState) {
		t.Skip(defaultState + " is there")
	}
	dir := t.TempDir()
	choose := func(paths ...string) string {
		t.Helper()
		p, err := newSidecar(&sidecarFlags{stream: paths, format: "raw", prefix: "auto"})
		if err != nil {
			t.Fatal(err)
		}
		cfg, _, err := config.Load(p.opts)
		if err != nil {
			t.Fatal(err)
		}
		return string(cfg.State)
	}
	one, two := choose(filepath.Join(dir, "1.log")), choose(filepath.Join(dir, "2.log"))
	if filepath.Dir(one) != filepath.Join(dir, ".weir") || one == two || one != choose(filepath.Join(dir, "1.log")) {
		t.Errorf("states %s and %s", one, two)
	}
	if got := choose(filepath.Join(dir, "*", "x*.log")); !strings.HasPrefix(got, filepath.Join(dir, ".weir")+"/x_.log-") {
		t.Errorf("of a pattern: %s", got)
	}
	if got := choose(filepath.Join(dir, "none", "1.log")); strings.HasPrefix(got, dir) {
		t.Errorf("in a directory that is not there: %s", got)
	}
}

func TestStatesInUse(t *testing.T) {
	proc := t.TempDir()
	fds := filepath.Join(proc, "12", "fd")
	if err := os.MkdirAll(fds, 0o755); err != nil {
		t.Fatal(err)
	}
	for fd, target := range map[string]string{"1": "pipe:[123]", "4": "/data/.weir/1.log-7/positions/checkpoint.lock", "5": "/etc/passwd"} {
		if err := os.Symlink(target, filepath.Join(fds, fd)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"/data/.weir/1.log-7"}, statesInUse(proc)); diff != "" {
		t.Error(diff)
	}
	// The running process is found by what it really has open.
	positions := filepath.Join(t.TempDir(), "positions")
	store, err := checkpoint.Open(positions)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if !slices.Contains(statesInUse("/proc"), filepath.Dir(positions)) {
		t.Error("an open store is not found")
	}
}
