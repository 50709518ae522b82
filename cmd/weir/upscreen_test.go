package main

import (
	"context"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// shownLines is an output that remembers bodies.
type shownLines struct{ lines []string }

func (s *shownLines) Send(_ context.Context, parts []record.Part) (ack.Result, error) {
	for _, p := range parts {
		for _, i := range p.Index() {
			s.lines = append(s.lines, string(p.Batch().Body(int(i))))
		}
	}
	return ack.Result{}, nil
}

func (s *shownLines) take() []string { l := s.lines; s.lines = nil; return l }

// screenRig sends batches to an upScreen and counts those that are still held.
type screenRig struct {
	t      *testing.T
	screen upScreen
	out    shownLines
	held   int
}

// send sends records of these times; their bodies are the times.
func (r *screenRig) send(container string, times ...int64) {
	r.t.Helper()
	r.held++
	b := record.NewBatch(func(*record.Batch) { r.held-- })
	st := b.AddStream(record.StreamRef{Stream: record.NewStream([]record.Attr{{Name: record.AttrContainer, Value: container}, {Name: "x", Value: "y"}}, nil, nil)})
	for _, at := range times {
		b.Add(record.Record{Time: at, Observed: at, Body: b.AppendString(container + strconv.FormatInt(at, 10)), Stream: st})
	}
	b.Freeze()
	p := record.NewPart(b, b.Live())
	if _, err := r.screen.Send(r.t.Context(), []record.Part{p}); err != nil {
		r.t.Fatal(err)
	}
	p.Finish()
	b.Release()
}

func (r *screenRig) shows(what string, want ...string) {
	r.t.Helper()
	if got := r.out.take(); !slices.Equal(got, want) {
		r.t.Errorf("%s: %s", what, cmp.Diff(want, got))
	}
}

func newScreen(t *testing.T, most int) *screenRig {
	r := &screenRig{t: t}
	r.screen = upScreen{out: &r.out, from: 100, most: most}
	return r
}

func TestScreenShowsTheLastOfThePast(t *testing.T) {
	r := newScreen(t, 3)
	r.send("a", 1, 2, 50, 90)
	r.send("b", 40, 60, 70)
	r.send("a", 95, 120, 130)
	r.send("b", 110)
	r.shows("before it is open")
	r.screen.open(t.Context(), true)
	r.shows("opened", "b70", "a90", "a95", "b110", "a120", "a130")
	r.send("b", 80, 140)
	r.shows("later", "b140")
	if all, past, age := r.screen.seen(); all != 13 || past != 9 || age != 99 {
		t.Errorf("%d lines, %d of the past, %d", all, past, age)
	}
	if r.held != 0 {
		t.Errorf("%d batches are held", r.held)
	}
}

func TestScreenOpensBeforeThePastIsKnown(t *testing.T) {
	r := newScreen(t, 2)
	r.send("a", 1, 2, 3)
	r.screen.open(t.Context(), false)
	r.shows("nothing is known, and nothing waits")
	r.send("a", 4, 5)
	r.screen.open(t.Context(), true)
	r.shows("known now, and nothing came in between", "a4", "a5")
	if r.held != 0 {
		t.Errorf("%d batches are held", r.held)
	}

	r = newScreen(t, 2)
	r.send("a", 1, 2, 3)
	r.screen.open(t.Context(), false)
	r.send("b", 100)
	r.shows("the present goes first", "b100")
	r.screen.open(t.Context(), true)
	r.shows("too late for the past")
	if r.held != 0 {
		t.Errorf("%d batches are held", r.held)
	}
}

func TestScreenBounds(t *testing.T) {
	r := newScreen(t, 2)
	r.send("a", 1)
	for i := range int64(maxWaiting) {
		r.send("b", 100+i)
	}
	r.shows("held back")
	r.send("b", 9000)
	if n := len(r.out.take()); n != maxWaiting+1 || r.held != 0 {
		t.Errorf("%d lines shown, %d batches held", n, r.held)
	}

	r = newScreen(t, 0)
	r.send("a", 1, 100)
	r.screen.open(t.Context(), true)
	r.shows("none of the past", "a100")

	r = newScreen(t, -1)
	r.screen.open(t.Context(), false)
	r.send("a", 1, 100)
	r.shows("all of it", "a1", "a100")

	// Plain files: shown whole, or by their end.
	r = newScreen(t, 1)
	r.send("", 1, 2)
	r.screen.open(t.Context(), true)
	r.shows("whole", "1", "2")
	r = newScreen(t, 1)
	r.screen.files = true
	r.send("", 150, 160)
	r.screen.open(t.Context(), true)
	r.send("", 170)
	r.shows("the end, and what comes", "160", "170")

	// Nothing stays behind when it ends before it opens.
	r = newScreen(t, 5)
	r.send("a", 1, 100)
	if err := r.screen.Close(); err != nil || r.held != 0 {
		t.Errorf("%v, %d batches held", err, r.held)
	}
}
