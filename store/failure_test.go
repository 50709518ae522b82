package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/logql"
)

// FAILURES 59: a flipped bit anywhere in a log loses at most its own frame.
func TestFailure59_BitFlipInLog(t *testing.T) {
	r := rand.New(rand.NewPCG(59, 1))
	for range 40 {
		dir := t.TempDir()
		s := open(t, Config{Dir: dir})
		var want [][]line
		for i := range 12 {
			ls := []line{someLine(r, i*2), someLine(r, i*2+1)}
			mustSend(t, s, ls...)
			want = append(want, ls)
		}
		s.Close()
		logs, _ := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
		b, err := os.ReadFile(logs[0])
		if err != nil {
			t.Fatal(err)
		}
		b[headerSize+r.IntN(len(b)-headerSize)] ^= 1 << r.IntN(8)
		if err := os.WriteFile(logs[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		s = open(t, Config{Dir: dir})
		got := map[string]bool{}
		for _, l := range all(t, s) {
			got[l.body] = true
		}
		lost := 0
		for _, ls := range want {
			if !got[ls[0].body] || !got[ls[1].body] {
				lost++
			}
		}
		rec := s.Recovery()
		if lost > 1 && rec.LostRows == 0 || lost > 0 && rec.Places == 0 && rec.Torn == 0 {
			t.Fatalf("%d frames lost; %+v", lost, rec)
		}
		s.Close()
	}
}

// FAILURES 59: a flipped bit in a segment is found by Check, passed over by
// queries, and repaired as far as possible.
func TestFailure59_BitFlipInSegment(t *testing.T) {
	r := rand.New(rand.NewPCG(59, 2))
	for i := range 20 {
		dir := t.TempDir()
		s := open(t, Config{Dir: dir})
		var want []line
		for k := range 5 {
			var ls []line
			for j := range 500 {
				l := someLine(r, k*500+j)
				l.time = base + int64(j)
				l.body += strings.Repeat(fmt.Sprint(r.Uint64()), 30)
				ls = append(ls, l)
			}
			mustSend(t, s, ls...)
			want = append(want, ls...)
		}
		if err := s.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		s.Close()
		ext := []string{"*.parquet", "*.idx"}[i%2]
		files, _ := filepath.Glob(filepath.Join(dir, "20*", ext))
		b, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		os.WriteFile(files[0], b, 0o600)
		s = open(t, Config{Dir: dir})
		sent := map[string]bool{}
		for _, l := range want {
			sent[stored(l).String()] = true
		}
		for _, l := range all(t, s) {
			if !sent[l.String()] {
				t.Fatalf("an invented row: %v", l)
			}
		}
		rep, err := s.Check(context.Background(), CheckOptions{Repair: true})
		if err != nil || len(rep.Bad) != 1 {
			t.Fatalf("%+v, %v", rep, err)
		}
		if i%2 == 1 && rep.Bad[0].Saved != int64(len(want)) {
			t.Fatalf("a damaged index lost rows: %+v", rep)
		}
		if rep.Bad[0].Saved == 0 {
			t.Logf("nothing saved: %+v", rep.Bad[0])
		}
		if got := all(t, s); int64(len(got)) != rep.Bad[0].Saved {
			t.Fatalf("%d rows after the repair: %+v", len(got), rep)
		}
		if rep, err := s.Check(context.Background(), CheckOptions{}); err != nil || len(rep.Bad) > 0 {
			t.Fatalf("after the repair: %+v, %v", rep, err)
		}
		if aside, _ := filepath.Glob(filepath.Join(dir, "quarantine", "*")); len(aside) != 2 {
			t.Fatalf("put aside: %v", aside)
		}
		s.Close()
	}
}

// FAILURES 60: missing, extra, empty, swapped and doubled segments; a lost
// manifest.
func TestFailure60_Segments(t *testing.T) {
	for _, c := range []struct {
		name  string
		do    func(t *testing.T, dir string, files []string)
		rows  int
		check func(r Recovery) bool
	}{
		{"missing", func(t *testing.T, dir string, f []string) { os.Remove(f[0]) }, 100, func(r Recovery) bool { return r.Missing == 1 && r.MissingRows == 100 }},
		{"no index", func(t *testing.T, dir string, f []string) { os.Remove(strings.TrimSuffix(f[0], "parquet") + "idx") }, 100, func(r Recovery) bool { return true }},
		{"empty", func(t *testing.T, dir string, f []string) { os.Truncate(f[0], 0) }, 100, func(r Recovery) bool { return true }},
		{"extra", func(t *testing.T, dir string, f []string) {
			b, _ := os.ReadFile(f[0])
			os.WriteFile(filepath.Join(filepath.Dir(f[0]), "00000001-l1.parquet"), b, 0o600)
		}, 200, func(r Recovery) bool { return len(r.Quarantined) == 1 }},
		{"unfinished", func(t *testing.T, dir string, f []string) {
			os.WriteFile(filepath.Join(filepath.Dir(f[0]), "00000099-l0.parquet"), []byte("PAR1"), 0o600)
		}, 200, func(r Recovery) bool { return r.Removed == 1 }},
		{"swapped", func(t *testing.T, dir string, f []string) {
			a, _ := os.ReadFile(f[0])
			b, _ := os.ReadFile(f[1])
			os.WriteFile(f[0], b, 0o600)
			os.WriteFile(f[1], a, 0o600)
		}, 0, func(r Recovery) bool { return true }},
		{"no manifest", func(t *testing.T, dir string, f []string) { os.Remove(filepath.Join(dir, "MANIFEST")) }, 200, func(r Recovery) bool { return r.Rebuilt }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			r := rand.New(rand.NewPCG(60, 1))
			s := open(t, Config{Dir: dir})
			n := 0
			for range 2 {
				for range 100 {
					l := someLine(r, n)
					l.time, l.body = base+int64(n), l.body+strings.Repeat("x", n)
					mustSend(t, s, l)
					n++
				}
				if err := s.Flush(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			s.Close()
			files, _ := filepath.Glob(filepath.Join(dir, "20*", "*.parquet"))
			if len(files) != 2 {
				t.Fatal(files)
			}
			c.do(t, dir, files)
			for range 2 { // and no loop
				s = open(t, Config{Dir: dir})
				if rec := s.Recovery(); !c.check(rec) && n > 0 {
					t.Errorf("%+v", rec)
				}
				n = 0
				if got := len(all(t, s)); got != c.rows {
					t.Errorf("%d rows, want %d", got, c.rows)
				}
				mustSend(t, s, line{labels: "app=a", time: base, body: "more"})
				c.rows++
				s.Close()
			}
		})
	}
}

// FAILURES 63: two processes on one directory.
func TestFailure63_Locked(t *testing.T) {
	dir := t.TempDir()
	open(t, Config{Dir: dir})
	_, err := Open(Config{Dir: dir})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Fatal(err)
	}
}

// FAILURES 65: a log much larger than the memtable is replayed in pieces.
func TestFailure65_Backlog(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(65, 1))
	s := open(t, Config{Dir: dir, MemtableBytes: 1 << 20})
	var want []line
	for i := range 20 {
		var ls []line
		for j := range 500 {
			ls = append(ls, someLine(r, i*500+j))
		}
		mustSend(t, s, ls...)
		want = append(want, ls...)
	}
	s.Close()
	s = open(t, Config{Dir: dir, MemtableBytes: 64 << 10})
	if st := s.Stats(); st.MemtableBytes > 4<<20 {
		t.Errorf("%d bytes in memory", st.MemtableBytes)
	}
	same(t, all(t, s), want)
}

// FAILURES 66: a store of a later version is refused, and stays as it is.
func TestFailure66_Version(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	mustSend(t, s, line{labels: "app=a", time: base, body: "x"})
	s.Close()
	path := filepath.Join(dir, "MANIFEST")
	b, _ := os.ReadFile(path)
	h := appendHeader(nil, manifestMagic, 0, 0)
	h[8] = 2
	binary.LittleEndian.PutUint32(h[headerSize-4:], sum(h[:headerSize-4]))
	copy(b, h)
	os.WriteFile(path, b, 0o600)
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrVersion) {
		t.Fatal(err)
	}
	if now, _ := os.ReadFile(path); string(now) != string(b) {
		t.Error("the manifest was changed")
	}
}

// FAILURES 68, 70: neither a clock that jumps nor a row from the future removes
// anything.
func TestFailure68_70_Clock(t *testing.T) {
	now := time.Unix(0, base)
	s := open(t, Config{Now: func() time.Time { return now }, Retention: 48 * time.Hour})
	ctx := context.Background()
	l := func(at int64, body string) line { return line{labels: "app=a", time: at, body: body} }
	mustSend(t, s, l(base, "a"), l(base+300*365*dayNs/10, "from the future"))
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	count := func(want int) {
		t.Helper()
		if err := s.Maintain(ctx); err != nil {
			t.Fatal(err)
		}
		if n := len(all(t, s)); n != want {
			t.Errorf("%d rows, want %d", n, want)
		}
	}
	count(2)
	now = now.Add(10 * 365 * 24 * time.Hour)
	// The clock of the test has no monotonic part: say that none has passed.
	s.clock.last = now
	count(2)
	mustSend(t, s, l(base+1, "b"))
	count(3)
	now = now.Add(-10 * 365 * 24 * time.Hour)
	s.clock.last = now
	count(3)
	for range 5 * 24 {
		now = now.Add(time.Hour)
		s.clock.tick(now)
	}
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	count(1)
	if res, err := send(s, l(base, "too old")); err != nil || len(res.Failures) != 1 || !res.Failures[0].Permanent {
		t.Errorf("%+v, %v", res, err)
	}
}

// FAILURES 69, 74: queries and a snapshot while segments come and go.
func TestFailure69_74_CompactionAndSnapshot(t *testing.T) {
	r := rand.New(rand.NewPCG(69, 1))
	now := time.Unix(0, base+10*dayNs)
	s := open(t, Config{Now: func() time.Time { return now }})
	ctx := context.Background()
	var want []line
	for i := range 12 {
		var ls []line
		for j := range 100 {
			ls = append(ls, someLine(r, i*100+j))
		}
		mustSend(t, s, ls...)
		want = append(want, ls...)
		if err := s.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	c, err := s.Source("").Select(ctx, &logql.Request{Selector: selector(t, `{app=~".+"}`), Start: -1 << 62, End: 1 << 62, Columns: everything})
	if err != nil {
		t.Fatal(err)
	}
	before := s.Stats().Segments
	if err := s.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	if n := s.Stats().Segments; n > 4 || n >= before {
		t.Errorf("%d segments of %d", n, before)
	}
	n := 0
	for {
		b, err := c.Next(ctx)
		if err != nil {
			break
		}
		n += b.Len()
		b.Release()
	}
	c.Close()
	if n != len(want) {
		t.Errorf("a query begun before the compaction saw %d rows of %d", n, len(want))
	}
	same(t, all(t, s), want)
	dir := filepath.Join(t.TempDir(), "copy")
	if err := s.Snapshot(ctx, dir); err != nil {
		t.Fatal(err)
	}
	mustSend(t, s, line{labels: "app=a", time: base, body: "after"})
	same(t, all(t, open(t, Config{Dir: dir})), want)
}

// Lines of one file whose place lies inside a record of several lines must not be
// taken for stored.
func TestInterleavedRecords(t *testing.T) {
	s := open(t, Config{})
	wide := line{labels: "app=a", time: base, body: "joined of two pieces", gen: 7, from: 0, to: 250}
	inner := line{labels: "app=a", time: base, body: strings.Repeat("y", 40), gen: 7, from: 100, to: 150}
	mustSend(t, s, wide)
	mustSend(t, s, inner)
	mustSend(t, s, wide, inner)
	same(t, all(t, s), []line{wide, inner})
	s.Flush(context.Background())
	mustSend(t, s, wide, inner)
	same(t, all(t, s), []line{wide, inner})
}

// Too many holes in a file are refused for now, not for ever.
func TestHoles(t *testing.T) {
	s := open(t, Config{})
	var ls []line
	for i := range MaxHoles + 50 {
		ls = append(ls, line{labels: "app=a", time: base, body: fmt.Sprint(i), gen: 1, from: int64(i * 20), to: int64(i*20 + 10)})
	}
	res, err := send(s, ls...)
	if err != nil || len(res.Failures) != 49 || res.Failures[0].Permanent {
		t.Fatalf("%d failures, %v", len(res.Failures), err)
	}
	for i := range 60 {
		mustSend(t, s, line{labels: "app=a", time: base, body: "filler", gen: 1, from: int64(i*20 + 10), to: int64(i*20 + 20)})
	}
	mustSend(t, s, ls...)
	if n := len(all(t, s)); n != len(ls)+60 {
		t.Errorf("%d rows", n)
	}
}
