package pipeline

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// upper is a step that shouts, and drops what is empty.
type upper struct{}

func (upper) Process(b *record.Batch, _ time.Time) error {
	for i := range b.NumRecords() {
		r := b.Record(i)
		if r.Body.Len == 0 {
			r.Flags |= record.Dropped
			continue
		}
		r.Body = b.Append([]byte("LOUD " + string(b.Body(i))))
		b.SetField(i, "step", record.String, b.Append([]byte("upper")))
	}
	return nil
}

// tapped is an engine with an input and one output that settles everything at
// once.
type tapped struct {
	e   *Engine
	run *inputRun
	s   *record.Stream
}

type settle struct{ index int }

func (s settle) Put(p record.Part) bool      { p.Settle(s.index, ack.Delivered); return true }
func (settle) Full() bool                    { return false }
func (settle) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (settle) Waiting() int64                { return 0 }

func newTapped(t testing.TB, steps ...Stage) *tapped {
	t.Helper()
	var book ack.Book
	q := settle{book.Index("out")}
	g := &Graph{Outputs: []*Output{{Name: "out", Index: q.index, Queue: q, Deliverer: q}}}
	for k, s := range steps {
		g.Steps = append(g.Steps, Step{fmt.Sprintf("pipeline[%d]", k), s})
	}
	e, err := New(Config{Budget: NewBudget(1 << 30), Book: &book, Graph: g})
	if err != nil {
		t.Fatal(err)
	}
	return &tapped{e, &inputRun{id: "in", release: e.release}, record.NewStream([]record.Attr{{Name: "app", Value: "a"}}, nil, nil)}
}

func (x *tapped) put(t testing.TB, lines ...string) {
	t.Helper()
	b := x.e.pool.Get(x.run.release)
	st := b.AddStream(record.StreamRef{Stream: x.s})
	for _, l := range lines {
		b.Add(record.Record{Stream: st, Body: b.Append([]byte(l))})
	}
	if err := x.e.put(t.Context(), b, x.run); err != nil {
		t.Fatal(err)
	}
}

// drained returns what has come as text: before → after.
func drained(tap *Tap) (out []string) {
	for {
		select {
		case s := <-tap.Samples():
			tap.Received(s)
			text := string(s.Before.Body) + " → "
			switch {
			case s.After == nil:
				text += "gone"
			case s.After.Flags.Has(record.Dropped):
				text += "dropped"
			default:
				text += string(s.After.Body)
				for _, f := range s.After.Fields {
					text += " " + f.Name + "=" + f.Value
				}
			}
			out = append(out, text)
		default:
			return out
		}
	}
}

func TestTap(t *testing.T) {
	x := newTapped(t, upper{}, upper{})
	for _, c := range []struct {
		at   Point
		want string
	}{
		{Point{Input: "in"}, "[a → a  →  b → b]"},
		{Point{Input: "other"}, "[]"},
		{Point{Step: 0}, "[a → LOUD a step=upper  → dropped b → LOUD b step=upper]"},
		{Point{Step: 1}, "[LOUD a → LOUD LOUD a step=upper LOUD b → LOUD LOUD b step=upper]"},
		{Point{Step: AllSteps}, "[a → LOUD LOUD a step=upper  → dropped b → LOUD LOUD b step=upper]"},
		{Point{Output: "out"}, "[LOUD LOUD a → LOUD LOUD a step=upper LOUD LOUD b → LOUD LOUD b step=upper]"},
	} {
		tap, err := x.e.Tap(c.at, nil, 1000)
		if err != nil {
			t.Fatal(err)
		}
		x.put(t, "a", "", "b")
		if got := fmt.Sprint(drained(tap)); got != c.want {
			t.Errorf("%+v: %s, want %s", c.at, got, c.want)
		}
		tap.Close()
		x.put(t, "later")
		if got := drained(tap); got != nil {
			t.Errorf("%+v: after Close: %s", c.at, got)
		}
		if x.e.taps.list.Load() != nil {
			t.Error("nobody taps, and the list is not nil")
		}
	}
	for _, at := range []Point{{Output: "nope"}, {Step: 2}} {
		if _, err := x.e.Tap(at, nil, 1); err == nil {
			t.Errorf("%+v can be tapped", at)
		}
	}
}

func TestTapOfSomeRecords(t *testing.T) {
	x := newTapped(t, upper{})
	only := func(b *record.Batch, i int) bool { return string(b.Body(i)) == "b" }
	tap, err := x.e.Tap(Point{Step: 0}, only, 1000)
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	x.put(t, "a", "b", "c")
	if got, want := fmt.Sprint(drained(tap)), "[b → LOUD b step=upper]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A Tap takes no more than its rate, and a reader that does not read costs a
// bounded amount of memory; what it misses is counted.
func TestTapIsBounded(t *testing.T) {
	x := newTapped(t, upper{})
	now := time.Unix(1000, 0)
	x.e.cfg.Now = func() time.Time { return now }
	tap, err := x.e.Tap(Point{Step: 0}, nil, 8)
	if err != nil {
		t.Fatal(err)
	}
	lines := make([]string, 100)
	for i := range lines {
		lines[i] = fmt.Sprint(i)
	}
	x.put(t, lines...)
	if got := len(drained(tap)); got != 2 { // a quarter of a second's at once
		t.Errorf("%d samples of the first batch, want 2", got)
	}
	now = now.Add(time.Second)
	x.put(t, lines...)
	x.put(t, lines...)
	if got := len(drained(tap)); got != 8 {
		t.Errorf("%d samples in a second, want 8", got)
	}
	tap.Close()

	if tap, err = x.e.Tap(Point{Input: "in"}, nil, 1e6); err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	big := make([]byte, 100<<10)
	for range 200 {
		now = now.Add(time.Second)
		x.put(t, string(big))
	}
	n := len(drained(tap))
	if n == 0 || n > tapBytes/len(big)+1 || uint64(n)+tap.Missed() != 200 {
		t.Errorf("%d samples of 100 KiB are kept and %d missed", n, tap.Missed())
	}
	if left := tap.bytes.Load(); left != 0 {
		t.Errorf("%d bytes are counted that nobody keeps", left)
	}
}

func BenchmarkPut(bm *testing.B) {
	for _, c := range []string{"untapped", "another input is tapped", "tapped"} {
		bm.Run(c, func(bm *testing.B) {
			x := newTapped(bm)
			at := Point{Input: "other"}
			switch c {
			case "untapped":
			case "tapped":
				at.Input = "in"
				fallthrough
			default:
				tap, err := x.e.Tap(at, nil, 10)
				if err != nil {
					bm.Fatal(err)
				}
				defer tap.Close()
			}
			lines := make([]string, 500)
			bm.ReportAllocs()
			for bm.Loop() {
				x.put(bm, lines...)
			}
		})
	}
}
