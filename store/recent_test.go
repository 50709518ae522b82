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

// What differs in anything is another row, whatever ids say; what comes again is
// one, also when its time is that of its arrival.
func TestRecentPushesDiffer(t *testing.T) {
	const own, arrival = 7, 0 // how much later than its time a row came
	push := func(t *testing.T, s *Store, l line, later int64) {
		t.Helper()
		b := record.NewBatch(nil)
		body := b.AppendString(l.body)
		i := b.Add(record.Record{Time: l.time, Observed: l.time + later, Body: body, Source: body,
			Stream: b.AddStream(record.StreamRef{Stream: record.NewStream(parseSet(l.labels), nil, nil)})})
		for _, a := range parseSet(l.attrs) {
			b.SetField(i, a.Name, record.String, b.AppendString(a.Value))
		}
		b.SetID(i, record.ID{Hi: 2, Lo: l.id})
		b.Freeze()
		p := record.NewPart(b, b.Live())
		defer p.Finish()
		if res, err := s.Send(t.Context(), []record.Part{p}); err != nil || len(res.Failures) > 0 {
			t.Fatal(res, err)
		}
	}
	l := line{labels: "app=a,__tenant__=blue", time: base + 5, body: "text", attrs: "k=v", id: 1}
	for name, c := range map[string]struct {
		change func(*line)
		later  int64
		rows   int
	}{
		"again":                             {func(*line) {}, own, 1},
		"another tenant":                    {func(l *line) { l.labels = "app=a,__tenant__=red" }, own, 2},
		"another stream":                    {func(l *line) { l.labels = "app=a,pod=p,__tenant__=blue" }, own, 2},
		"another time":                      {func(l *line) { l.time += 1000 }, own, 2},
		"another text":                      {func(l *line) { l.body = "texts" }, own, 2},
		"other metadata":                    {func(l *line) { l.attrs = "k=w" }, own, 2},
		"another id":                        {func(l *line) { l.id = 2 }, own, 2},
		"again, without a time of its own":  {func(l *line) { l.time += 1000 }, arrival, 1},
		"text in the place of the metadata": {func(l *line) { l.body, l.attrs = `{"k":"v"}text`, "" }, own, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Config{})
			push(t, s, l, c.later)
			other := l
			c.change(&other)
			push(t, s, other, c.later)
			if n := s.Stats().Rows; n != int64(c.rows) {
				t.Errorf("%d rows, want %d", n, c.rows)
			}
		})
	}
	// Two events of one millisecond may be alike in everything.
	t.Run("milliseconds", func(t *testing.T) {
		s := open(t, Config{})
		l := l
		l.time = base / 1e6 * 1e6
		push(t, s, l, own)
		push(t, s, l, own)
		if n := s.Stats().Rows; n != 2 {
			t.Errorf("%d rows, want 2", n)
		}
	})
	// Twice in one request, with the halves changing in between.
	t.Run("one request", func(t *testing.T) {
		s := open(t, Config{RecentPushes: 20})
		var ls []line
		for n := range 12 {
			ls = append(ls, pushedLine(n+1, "x"))
		}
		mustSend(t, s, append(ls, ls[0])...)
		if n := s.Stats().Rows; n != 12 {
			t.Errorf("%d rows, want 12", n)
		}
	})
}
