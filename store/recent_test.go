package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
)

// The set is one, whatever is added and removed, also with many keys that belong
// at the same place.
func TestKeySet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var s keySet
	want := map[record.ID]bool{}
	for range 200_000 {
		k := record.ID{Hi: 1 + r.Uint64N(50), Lo: r.Uint64N(4) * (1<<63 + 1<<10 - 1) / uint64(1+r.IntN(3))}
		switch {
		case r.IntN(3) == 0:
			s.remove(k)
			delete(want, k)
		case r.IntN(50_000) == 0:
			s.clear()
			clear(want)
		default:
			s.add(k)
			want[k] = true
		}
		if other := (record.ID{Hi: k.Hi, Lo: k.Lo + 1}); s.n != len(want) || s.has(k) != want[k] || s.has(other) != want[other] {
			t.Fatalf("%d keys, want %d; %v: %v, want %v", s.n, len(want), k, s.has(k), want[k])
		}
	}
	for k := range want {
		if !s.has(k) {
			t.Errorf("%v is not there", k)
		}
	}
}

func pushedLine(n int, text string) line {
	return line{labels: "app=a", time: base + int64(n), body: fmt.Sprintf("%s %d", text, n), id: uint64(n)}
}

func countRows(t *testing.T, s *Store) int {
	t.Helper()
	return len(query(t, s, &logql.Request{Selector: selector(t, `{app="a"}`), Start: -1 << 62, End: 1 << 62, Columns: everything}))
}

// What is pushed again is known as long as it is among the latest, over flushes
// and restarts; files of keys do not grow.
func TestRecentPushes(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, RecentPushes: 20, MinFree: -1}
	s := open(t, cfg)
	for n := 1; n <= 100; n++ {
		mustSend(t, s, pushedLine(n, "x"))
		if n%10 == 0 {
			if err := s.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := os.ReadDir(filepath.Join(dir, recentDir))
	if err != nil || len(files) != 2 {
		t.Errorf("%d files of keys, %v: want two", len(files), err)
	}
	again := func(from, to, want int, text string) {
		t.Helper()
		before := countRows(t, s)
		for n := from; n <= to; n++ {
			mustSend(t, s, pushedLine(n, text))
		}
		if got := countRows(t, s) - before; got != want {
			t.Errorf("%d–%d again: %d rows more, want %d", from, to, got, want)
		}
	}
	again(91, 100, 0, "x")
	s.Close()
	s = open(t, cfg)
	again(91, 100, 0, "x")
	again(91, 92, 2, "y") // another thing under an old id
	again(1, 2, 2, "x")   // forgotten
	if d := s.Stats().Doubles; d != 10 {
		t.Errorf("%d doubles counted, want 10", d)
	}
	s.Close()

	// A damaged file costs nothing but its keys.
	if files, err = os.ReadDir(filepath.Join(dir, recentDir)); err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		name := filepath.Join(dir, recentDir, f.Name())
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-1] ^= 1
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, cfg)
	again(91, 92, 0, "y") // still in the log
	again(81, 82, 2, "x")
	s.Close()

	cfg.RecentPushes = -1
	s = open(t, cfg)
	again(81, 82, 2, "x")
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if files, err = os.ReadDir(filepath.Join(dir, recentDir)); err != nil || len(files) != 0 {
		t.Errorf("files of keys are left: %v %v", files, err)
	}
}
