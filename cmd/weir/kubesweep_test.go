package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What a killed process left is removed; what is in use, new, or somebody
// else's stays.
func TestSweepTemporary(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	long := time.Now().Add(-time.Hour)
	store := func(name string, mode os.FileMode) string {
		dir := filepath.Join(tmp, name)
		if err := os.Mkdir(dir, mode); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for name, mode := range map[string]os.FileMode{"weir-kube-dead": 0o700, "weir-kube-used": 0o700, "weir-kube-new": 0o700, "weir-kube-open": 0o755, "other": 0o700} {
		s, err := openTemporary(store(name, mode))
		if err != nil {
			t.Fatal(err)
		}
		if name == "weir-kube-used" {
			defer s.Close()
		} else if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if name != "weir-kube-new" {
			if err := os.Chtimes(filepath.Join(tmp, name), long, long); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Symlink("other", filepath.Join(tmp, "weir-kube-link")); err != nil {
		t.Fatal(err)
	}
	sweepTemporary()
	found, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range found {
		names = append(names, f.Name())
	}
	if d := cmp.Diff([]string{"other", "weir-kube-link", "weir-kube-new", "weir-kube-open", "weir-kube-used"}, names); d != "" {
		t.Errorf("want - left +\n%s", d)
	}
}
