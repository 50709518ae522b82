package tail

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/cri"
	"github.com/weirlog/weir/record"
)

func multiline(t testing.TB, c cri.MultilineConfig) *cri.Multiline {
	t.Helper()
	m, err := cri.NewMultiline(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestFailure46_TracesOfTwoStreams: what is joined is of one
// stream, bounded in lines, bytes and time, and never waits for ever.
func TestFailure46_TracesOfTwoStreams(t *testing.T) {
	n := newNode(t)
	n.cfg.Multiline = multiline(t, cri.MultilineConfig{Traces: "auto"})
	n.start()
	p := n.path("a", "c", "0.log")
	appendFile(t, p,
		n.cri("stdout", "F", "2026-11-22 ERROR boom"), n.cri("stderr", "F", "Traceback (most recent call last):"),
		n.cri("stdout", "F", "\tat a.B.c(B.java:1)"), n.cri("stderr", "F", `  File "x.py", line 1`), n.cri("stderr", "P", "Value"),
		n.cri("stdout", "F", "\tat a.B.d(B.java:2)"), n.cri("stderr", "F", "Error: x"), n.cri("stdout", "F", "2026-11-22 INFO on"))
	n.step(time.Second)
	wantBodies(t, n.sink.bodies(), "2026-11-22 ERROR boom\n\tat a.B.c(B.java:1)\n\tat a.B.d(B.java:2)")
	n.step(500 * time.Millisecond) // a line that is no trouble waits a quarter of a second
	wantBodies(t, n.sink.bodies()[1:], "2026-11-22 INFO on")
	n.step(500 * time.Millisecond)
	wantBodies(t, n.sink.bodies()[2:], "Traceback (most recent call last):\n  File \"x.py\", line 1\nValueError: x")
	for _, r := range n.sink.all {
		if r.flags != 0 {
			t.Errorf("flags %b of %q", r.flags, r.body)
		}
	}
}

func TestFailure46_NeverEndingTraceIsCut(t *testing.T) {
	n := newNode(t)
	n.cfg.Multiline = multiline(t, cri.MultilineConfig{Traces: "java", MaxLines: 100, MaxBytes: 4000})
	n.start()
	p := n.path("a", "c", "0.log")
	appendFile(t, p, n.out("java.lang.StackOverflowError"))
	for i := range 1000 {
		appendFile(t, p, n.out(fmt.Sprintf("\tat a.B.c(B.java:%d)", i)))
		if i%100 == 0 {
			n.step(900 * time.Millisecond)
		}
	}
	n.settle()
	lines := 0
	for i, r := range n.sink.all {
		k := strings.Count(r.body, "\n") + 1
		if k > 100 || len(r.body) > 4000 {
			t.Errorf("%d lines, %d bytes", k, len(r.body))
		}
		if r.flags.Has(record.Continued) != (i > 0) || r.flags.Has(record.Partial) != (i < len(n.sink.all)-1) {
			t.Errorf("record %d has flags %b", i, r.flags)
		}
		lines += k
	}
	if lines != 1001 || len(n.sink.all) < 10 {
		t.Errorf("%d lines in %d records", lines, len(n.sink.all))
	}
}

func TestFailure46_PatternNeverSeen(t *testing.T) {
	n := newNode(t)
	n.cfg.Multiline = multiline(t, cri.MultilineConfig{First: "^never$", MaxLines: 3})
	n.start()
	p := n.path("a", "c", "0.log")
	appendFile(t, p, n.out("1"), n.out("2"), n.out("3"), n.out("4"))
	n.step(time.Second)
	wantBodies(t, n.sink.bodies(), "1\n2\n3")
	n.step(time.Second)
	wantBodies(t, n.sink.bodies()[1:], "4")
	appendFile(t, p, n.out("5"))
	n.step(time.Second)
	n.step(time.Second)
	wantBodies(t, n.sink.bodies()[2:], "5")
}

// TestFailure46_NotOverARestartOfTheContainer: the next instance's lines begin anew.
func TestFailure46_NotOverARestartOfTheContainer(t *testing.T) {
	n := newNode(t)
	n.cfg.Multiline = multiline(t, cri.MultilineConfig{Traces: "java"})
	n.start()
	appendFile(t, n.path("a", "c", "0.log"), n.out("ERROR last words"))
	appendFile(t, n.path("a", "c", "1.log"), n.out("\tat a.B.c(B.java:1)"), n.out("first words"))
	n.settle()
	got := n.sink.bodies()
	slices.Sort(got)
	wantBodies(t, got, "\tat a.B.c(B.java:1)", "ERROR last words", "first words")
}

// A reader that lags does not take its own delay for the writer's.
func TestARecordIsNotClosedWhileMoreIsThere(t *testing.T) {
	n := newNode(t)
	n.cfg.Multiline = multiline(t, cri.MultilineConfig{Traces: "java"})
	n.start()
	p := filepath.Join(n.dir, "app.log")
	n.cfg.Paths = []string{p}
	n.kill()
	n.start()
	appendFile(t, p, "ERROR boom\n")
	n.step(time.Second)
	n.sink.full = true
	appendFile(t, p, "\tat a.B.c(B.java:1)\n")
	n.step(10 * time.Second)
	n.sink.full = false
	n.step(10 * time.Second)
	n.settle()
	wantBodies(t, n.sink.bodies(), "ERROR boom\n\tat a.B.c(B.java:1)")
}

// TestModelMultiline writes lines of traces in pieces, rotates in the middle, kills
// the reader anywhere with some of its batches delivered, and wants the records, by
// their ids, of one reading at once.
func TestModelMultiline(t *testing.T) {
	for i := range *modelSeeds {
		seed := *modelFirst + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { modelMultiline(t, seed) })
		if t.Failed() {
			return
		}
	}
}

var modelLines = []string{
	"2026-11-22 12:00:00 ERROR boom %d", "2026-11-22 12:00:00 INFO fine %d", `{"n":%d}`, "\tat a.B.c(B.java:%d)", "Caused by: a.BException: %d", "plain %d",
	"Traceback (most recent call last):", "  File \"x.py\", line %d, in f", "ValueError: %d", "", "panic: %d", "goroutine %d [running]:", "main.f(0x%x)", "\tx.go:%d +0x1",
}

func modelMultiline(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 3))
	n := newNode(t)
	n.cfg.ReadBytes = 1 << (8 + r.IntN(9))
	n.cfg.PartialAge = time.Hour
	m := multiline(t, cri.MultilineConfig{Traces: "auto", MaxLines: 2 + r.IntN(20), MaxBytes: 100 + r.IntN(2000), Wait: int64(time.Hour)})
	if seed%4 == 3 {
		m = multiline(t, cri.MultilineConfig{First: "^2026", Wait: int64(time.Hour)})
	}
	n.cfg.Multiline = m
	n.sink.hold = true
	plain := seed%2 == 1
	p := n.path("a", "c", "0.log")
	if plain {
		p = filepath.Join(n.dir, "app.log")
		n.cfg.Pods, n.cfg.Paths = "", []string{p}
	}
	n.start()
	var all []string // contents of the generations
	all = append(all, "")
	for range 30 + r.IntN(150) {
		switch op := r.IntN(40); {
		case op < 16:
			var text string
			for range 1 + r.IntN(12) {
				line := modelLines[r.IntN(len(modelLines))]
				if all[len(all)-1] == "" && text == "" && !strings.Contains(line, "%") {
					continue // of files that begin alike nobody can tell after a kill which is which
				}
				if strings.Contains(line, "%") {
					line = fmt.Sprintf(line, n.line)
				}
				n.line++
				switch {
				case plain:
					text += line + "\n"
				case len(line) > 2 && r.IntN(5) == 0:
					k := 1 + r.IntN(len(line)-1)
					s := streamNames[r.IntN(2)]
					text += n.cri(s, "P", line[:k]) + n.cri(s, "F", line[k:])
				default:
					text += n.cri(streamNames[r.IntN(2)], "F", line)
				}
			}
			k := r.IntN(len(text) + 1)
			appendFile(t, p, text[:k])
			n.maybeStep(r)
			appendFile(t, p, text[k:])
			all[len(all)-1] += text
		case op < 20 && all[len(all)-1] != "":
			rename(t, p, fmt.Sprintf("%s.20261122-%06d", p, len(all)))
			n.maybeStep(r)
			appendFile(t, p)
			all = append(all, "")
		case op < 30:
			n.step(time.Duration(r.IntN(1500)) * time.Millisecond)
		case op < 35:
			n.sink.finishSome(r)
		case op < 37:
			n.sink.full = !n.sink.full
		case op < 39:
			n.kill()
			n.start()
		}
	}
	n.sink.full = false
	n.settle()
	n.step(2 * time.Hour)
	n.settle()
	n.sink.finishAll()
	n.settle()

	// At once. Keys of generations are taken as they come.
	format := cri.CRI
	if plain {
		format = cri.Plain
	}
	j := cri.NewJoiner(cri.Config{Format: format, Multiline: m})
	b := record.NewBatch(nil)
	streams := [2]*record.Stream{
		record.NewStream([]record.Attr{{Name: "name", Value: "0"}}, nil, nil), record.NewStream([]record.Attr{{Name: "name", Value: "1"}}, nil, nil),
	}
	for g, text := range all {
		prev := 0
		if g > 0 {
			prev = len(all[g-1])
		}
		j.Begin(record.ID{Lo: uint64(g) + 1}, int64(prev), 0)
		j.Frame(b, b.AppendString(text), 0, streams, 1, cri.More)
	}
	j.Flush(b, streams, 1<<62)
	type span struct {
		start, end int64
		body       string
		flags      record.Flags
	}
	var want, got []span
	for i, rec := range b.Records() {
		want = append(want, span{rec.Start, rec.End, string(b.Body(i)), rec.Flags})
	}
	seen := map[string]bool{}
	for _, k := range n.sink.all {
		if !seen[k.id()] && !k.flags.Has(record.Gap) {
			seen[k.id()] = true
			got = append(got, span{k.start, k.end, k.body, k.flags})
		}
	}
	order := func(a, b span) int {
		return strings.Compare(fmt.Sprintf("%s %012d", a.body, a.start), fmt.Sprintf("%s %012d", b.body, b.start))
	}
	slices.SortFunc(want, order)
	slices.SortFunc(got, order)
	if !slices.Equal(got, want) {
		for len(got) > 0 && len(want) > 0 && got[0] == want[0] {
			got, want = got[1:], want[1:]
		}
		t.Fatalf("%d records, want %d; the first that differs:\n%+v\n%+v", len(got), len(want), got[:min(2, len(got))], want[:min(2, len(want))])
	}
	if l := n.ledger(); l.Lost != 0 || l.Unread != 0 || l.Durable != l.Written {
		t.Errorf("ledger at the end: %+v", l)
	}
}

// TestReclaimKeepsWhatARestartReadsAgain: also of the generations behind the one in
// which something open began.
func TestReclaimKeepsWhatARestartReadsAgain(t *testing.T) {
	gens := make([]*generation, 3)
	for i := range gens {
		gens[i] = newGeneration()
		gens[i].key, gens[i].acked = record.ID{Lo: uint64(i) + 1}, 10<<20
	}
	c := &chain{gens: gens}
	c.state.Open[1] = cri.Partial{Open: true, Generation: gens[1].key, Start: 5 << 20}
	var got []bool
	for _, g := range gens {
		got = append(got, c.reclaimable(g) > 0)
	}
	if !slices.Equal(got, []bool{true, true, false}) || c.reclaimable(gens[1]) > 5<<20 {
		t.Errorf("given back: %v", got)
	}
}
