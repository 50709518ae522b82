package store

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/weirlog/weir/record"
)

// filesOf returns the content of every file of a directory.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// storeWith makes a store with rows in segments and in the log.
func storeWith(t *testing.T, dir string, n int) {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 5))
	s, err := Open(Config{Dir: dir, Check: -1, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		mustSend(t, s, someLine(r, i))
		if i == n/3 || i == n/2 {
			if err := s.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Opened for reading only, a store has what it has otherwise, and its directory
// is as before: also where opening it has to tidy up.
func TestReadOnly(t *testing.T) {
	one := func(pattern string) func(t *testing.T, dir string) string {
		return func(t *testing.T, dir string) string {
			found, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil || len(found) == 0 {
				t.Fatalf("%s: %v", pattern, err)
			}
			return found[0]
		}
	}
	change := func(pattern string, f func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			name := one(pattern)(t, dir)
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, f(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, damage := range map[string]func(*testing.T, string){
		"whole":       func(*testing.T, string) {},
		"torn log":    change("wal/*.wal", func(b []byte) []byte { return b[:len(b)-5] }),
		"damaged log": change("wal/*.wal", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }),
		"torn manifest": change("MANIFEST", func(b []byte) []byte {
			return b[:len(b)-3]
		}),
		"no manifest": func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "MANIFEST")); err != nil {
				t.Fatal(err)
			}
		},
		"unfinished segment": func(t *testing.T, dir string) {
			day := filepath.Dir(one("20*/*.idx")(t, dir))
			if err := os.WriteFile(filepath.Join(day, "999999-l0.parquet"), []byte("PAR1"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"segment gone": func(t *testing.T, dir string) {
			if err := os.Remove(one("20*/*.parquet")(t, dir)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			storeWith(t, dir, 200)
			damage(t, dir)
			before := filesOf(t, dir)

			a := open(t, Config{Dir: dir, ReadOnly: true})
			b := open(t, Config{Dir: dir, ReadOnly: true}) // beside the first one
			got := all(t, a)
			same(t, all(t, b), got)
			if _, err := a.Append(t.Context(), []record.Part{batch([]line{{labels: "a=b", time: 1}})}); !errors.Is(err, ErrReadOnly) {
				t.Errorf("append: %v", err)
			}
			if err := a.Snapshot(t.Context(), filepath.Join(t.TempDir(), "x")); !errors.Is(err, ErrReadOnly) {
				t.Errorf("snapshot: %v", err)
			}
			for _, s := range []*Store{a, b} {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if !maps.Equal(filesOf(t, dir), before) {
				t.Error("the directory has changed")
			}

			w := open(t, Config{Dir: dir})
			same(t, got, all(t, w))
			if len(got) == 0 {
				t.Error("nothing was read")
			}
			if _, err := Open(Config{Dir: dir, ReadOnly: true}); !errors.Is(err, ErrLocked) {
				t.Errorf("opened for reading while it is written: %v", err)
			}
		})
	}
}

// A writer may start beside a reader, and take away all that it reads: the reader
// has what was there when it was opened.
func TestReadOnlyBesideWriter(t *testing.T) {
	dir := t.TempDir()
	storeWith(t, dir, 300)
	r := open(t, Config{Dir: dir, ReadOnly: true})
	want := all(t, r)
	if len(want) != 300 {
		t.Fatalf("%d rows", len(want))
	}
	w := open(t, Config{Dir: dir, MinFree: -1})
	if _, err := Open(Config{Dir: dir, ReadOnly: true}); !errors.Is(err, ErrLocked) {
		t.Errorf("opened for reading while it is written: %v", err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 50 {
		mustSend(t, w, someLine(rnd, 1000+i))
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, all(t, r), want)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// A retention of everything, a disk full of something else, rm: all the same.
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return os.Remove(path)
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, all(t, r), want)
	if r.Stats().DamagedPages != 0 {
		t.Error("files that were removed are taken for damaged ones")
	}
}

// A directory without a lock and without a right to write, such as a backup.
func TestReadOnlyWithoutRights(t *testing.T) {
	dir := t.TempDir()
	storeWith(t, dir, 50)
	if err := os.Remove(filepath.Join(dir, "LOCK")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	s := open(t, Config{Dir: dir, ReadOnly: true})
	if got := all(t, s); len(got) != 50 {
		t.Errorf("%d rows, want 50", len(got))
	}
	if _, err := os.Stat(filepath.Join(dir, "LOCK")); err == nil {
		t.Error("a lock was made")
	}
}

// A store that is not there is not made.
func TestReadOnlyOfNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	s, err := Open(Config{Dir: dir, ReadOnly: true})
	if err == nil {
		s.Close()
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a directory was made")
	}
}
