package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeOutput is queue and deliverer in one: it delivers while it is open.
type fakeOutput struct {
	index   int
	limit   int
	mu      sync.Mutex
	parts   []record.Part
	open    bool
	bell    chan struct{}
	got     []string
	waiting atomic.Int64
	onRoom  func()
}

func newFake(index, limit int, open bool) *fakeOutput {
	return &fakeOutput{index: index, limit: limit, open: open, bell: make(chan struct{}, 1)}
}

func (f *fakeOutput) Put(p record.Part) bool {
	f.mu.Lock()
	f.parts = append(f.parts, p)
	f.mu.Unlock()
	f.waiting.Add(int64(p.Len()))
	f.ring()
	return true
}

func (f *fakeOutput) Full() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.parts) >= f.limit
}

func (f *fakeOutput) ring() {
	select {
	case f.bell <- struct{}{}:
	default:
	}
}

func (f *fakeOutput) setOpen(open bool) {
	f.mu.Lock()
	f.open = open
	f.mu.Unlock()
	f.ring()
}

func (f *fakeOutput) Waiting() int64 { return f.waiting.Load() }

func (f *fakeOutput) Run(ctx context.Context) error {
	for {
		f.mu.Lock()
		var take []record.Part
		if f.open {
			take, f.parts = f.parts, nil
		}
		f.mu.Unlock()
		for _, p := range take {
			for _, i := range p.Index() {
				f.mu.Lock()
				f.got = append(f.got, string(p.Batch().Body(int(i))))
				f.mu.Unlock()
			}
			n := p.Len()
			p.Settle(f.index, ack.Delivered)
			f.waiting.Add(-int64(n))
		}
		if len(take) > 0 && f.onRoom != nil {
			f.onRoom()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-f.bell:
		}
	}
}

func (f *fakeOutput) bodies() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.got, " ")
}

// fakeInput puts a batch of records per entry and then waits for the end, or
// ends by itself.
type fakeInput struct {
	batches  [][]string
	ends     bool
	err      error
	tracker  ack.Tracker[int]
	put      atomic.Int64
	finished atomic.Bool
	stream   *record.Stream
}

func (f *fakeInput) Run(ctx context.Context, sink record.Sink) error {
	for n, lines := range f.batches {
		var b *record.Batch
		for {
			room := sink.Room()
			if b = sink.Get(); b != nil {
				break
			}
			select {
			case <-ctx.Done():
				return nil
			case <-room:
			}
		}
		if f.stream == nil {
			f.stream = record.NewStream([]record.Attr{{Name: record.AttrNamespace, Value: "shop"}}, nil, nil)
		}
		ref := b.AddStream(record.StreamRef{Stream: f.stream, Token: f.tracker.Track(n, time.Now())})
		for _, l := range lines {
			sp := b.AppendString(l)
			b.Add(record.Record{Body: sp, Source: sp, Stream: ref})
		}
		if err := sink.Put(ctx, b); err != nil {
			return nil
		}
		f.put.Add(1)
	}
	if f.err != nil || f.ends {
		return f.err
	}
	<-ctx.Done()
	return nil
}

func (f *fakeInput) Finish(context.Context) error {
	f.finished.Store(true)
	return nil
}

type dropStep struct{ word string }

func (d dropStep) Process(b *record.Batch, _ time.Time) error {
	for i := range b.Records() {
		if string(b.Body(i)) == d.word {
			b.Record(i).Flags |= record.Dropped
		}
	}
	return nil
}

type brokenStep struct{}

func (brokenStep) Process(*record.Batch, time.Time) error { return errors.New("broken") }

func is(words ...string) Match {
	return func(b *record.Batch, i int) bool {
		for _, w := range words {
			if string(b.Body(i)) == w {
				return true
			}
		}
		return false
	}
}

func engine(t *testing.T, in Input, g *Graph, budget int64) (*Engine, *Budget) {
	t.Helper()
	book := &ack.Book{}
	for _, o := range g.Outputs {
		o.Index = book.Index(o.Name)
	}
	bud := NewBudget(budget)
	e, err := New(Config{Budget: bud, Book: book, Inputs: map[string]Input{"fake": in}, Graph: g, Grace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return e, bud
}

func out(name string, f *fakeOutput, p Policy) *Output {
	return &Output{Name: name, Queue: f, Deliverer: f, WhenFull: p}
}

func TestRoutesStepsAndTally(t *testing.T) {
	a, b := newFake(0, 100, true), newFake(1, 100, true)
	in := &fakeInput{batches: [][]string{{"audit", "x", "debug", "y"}, {"both", "debug"}}, ends: true}
	g := &Graph{
		Steps: []Step{{"broken", brokenStep{}}, {"drop", dropStep{"debug"}}},
		Routes: []Route{
			{Match: is("audit"), To: []int{0}},
			{Match: is("both"), To: []int{0}, Continue: true},
			{Match: is("x", "both"), To: []int{1}},
		},
		Outputs: []*Output{out("a", a, Wait), out("b", b, Wait)},
	}
	e, bud := engine(t, in, g, 1<<20)
	if err := e.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a.bodies() != "audit both" || b.bodies() != "x both" {
		t.Fatalf("a %q, b %q", a.bodies(), b.bodies())
	}
	var sum ack.Tally
	if pos, ok := in.tracker.Advance(&sum); !ok || pos != 1 {
		t.Fatalf("tracker at %d %v", pos, ok)
	}
	if sum.Read != 6 {
		t.Fatalf("read %d", sum.Read)
	}
	for o, want := range map[int]map[ack.Status]uint64{
		0: {ack.Delivered: 2, ack.DroppedStep: 2, ack.DroppedRoute: 2},
		1: {ack.Delivered: 2, ack.DroppedStep: 2, ack.DroppedRoute: 2},
	} {
		total := uint64(0)
		if n := sum.Outputs[o][ack.Open]; n != sum.Read {
			t.Errorf("output %d was given %d of %d records", o, n, sum.Read)
		}
		for s, n := range sum.Outputs[o] {
			if ack.Status(s) == ack.Open {
				continue
			}
			total += n
			if n != want[ack.Status(s)] {
				t.Errorf("output %d: %v %v = %d, want %d", o, ack.Status(s).Class(), ack.Status(s).Reason(), n, want[ack.Status(s)])
			}
		}
		if total != sum.Read {
			t.Errorf("output %d accounts for %d of %d records", o, total, sum.Read)
		}
	}
	if bud.Used() != 0 || !in.finished.Load() || e.StepErrors() != 2 {
		t.Fatalf("used %d, finished %v, step errors %d", bud.Used(), in.finished.Load(), e.StepErrors())
	}
}

func TestInputsWaitWhileAWaitOutputIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(0, 2, false)
		in := &fakeInput{batches: [][]string{{"1"}, {"2"}, {"3"}, {"4"}, {"5"}}}
		g := &Graph{Outputs: []*Output{out("a", f, Wait)}}
		e, bud := engine(t, in, g, 1<<20)
		f.onRoom = bud.Wake
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.Run(ctx) }()
		synctest.Wait()
		if n := in.put.Load(); n != 2 {
			t.Fatalf("%d batches put into a queue of 2", n)
		}
		f.setOpen(true)
		synctest.Wait()
		if f.bodies() != "1 2 3 4 5" {
			t.Fatal(f.bodies())
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// Failure 97: what is in memory is bounded in bytes, whatever the outputs do.
func TestFailure97_BudgetStopsInputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(0, 1000, false)
		in := &fakeInput{batches: [][]string{{"1"}, {"2"}, {"3"}, {"4"}}}
		e, bud := engine(t, in, &Graph{Outputs: []*Output{out("a", f, Wait)}}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.Run(ctx) }()
		synctest.Wait()
		if in.put.Load() != 1 || bud.Used() == 0 {
			t.Fatalf("put %d, used %d", in.put.Load(), bud.Used())
		}
		f.setOpen(true)
		synctest.Wait()
		if in.put.Load() != 4 || bud.Used() != 0 {
			t.Fatalf("put %d, used %d", in.put.Load(), bud.Used())
		}
		cancel()
		<-done
	})
}

func TestDropPolicyDoesNotStallOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, dead := newFake(0, 100, true), newFake(1, 1, false)
		in := &fakeInput{batches: [][]string{{"1"}, {"2"}, {"3"}}, ends: true}
		g := &Graph{Outputs: []*Output{out("a", f, Wait), out("dead", dead, Drop)}}
		e, _ := engine(t, in, g, 1<<20)
		if err := e.Run(t.Context()); !errors.Is(err, ErrUndelivered) {
			t.Fatal(err)
		}
		if f.bodies() != "1 2 3" {
			t.Fatal(f.bodies())
		}
		var sum ack.Tally
		if _, ok := in.tracker.Advance(&sum); ok {
			t.Fatal("the first batch still waits at the dead output")
		}
		in.tracker.Peek(&sum)
		if n := sum.Outputs[1][ack.DroppedFull]; n != 2 {
			t.Fatalf("dropped %d", n)
		}
	})
}

func TestStopLeavesUndeliveredOpenAndFinishesInputsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(0, 100, false)
		in := &fakeInput{batches: [][]string{{"1"}}}
		e, _ := engine(t, in, &Graph{Outputs: []*Output{out("a", f, Wait)}}, 1<<20)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.Run(ctx) }()
		synctest.Wait()
		start := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Fatal("a stop on request is not an error:", err)
		}
		if time.Since(start) != time.Second || !in.finished.Load() {
			t.Fatalf("stopped after %v, finished %v", time.Since(start), in.finished.Load())
		}
		if n, _ := in.tracker.Open(); n != 1 {
			t.Fatal("an undelivered batch was finished")
		}
	})
}

func TestInputErrorStopsTheEngine(t *testing.T) {
	in := &fakeInput{err: errors.New("disk on fire")}
	e, _ := engine(t, in, &Graph{Outputs: []*Output{out("a", newFake(0, 1, true), Wait)}}, 1<<20)
	if err := e.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "input fake: disk on fire") {
		t.Fatal(err)
	}
}

func TestSwapDrainsTheOldOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, kept, fresh := newFake(0, 100, false), newFake(1, 100, true), newFake(2, 100, true)
		in := &chanInput{ch: make(chan string)}
		oOld, oKept := out("old", old, Wait), out("kept", kept, Wait)
		e, _ := engine(t, in, &Graph{Outputs: []*Output{oOld, oKept}}, 1<<20)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.Run(ctx) }()
		in.ch <- "1"
		synctest.Wait()
		oFresh := out("fresh", fresh, Wait)
		oFresh.Index = e.cfg.Book.Index("fresh")
		if err := e.Swap(&Graph{Outputs: []*Output{oKept, oFresh}}); err != nil {
			t.Fatal(err)
		}
		in.ch <- "2"
		synctest.Wait()
		if busy := e.Reap(); len(busy) != 1 || busy[0] != oOld {
			t.Fatalf("busy %v", busy)
		}
		if kept.bodies() != "1 2" || fresh.bodies() != "2" || old.bodies() != "" {
			t.Fatalf("kept %q fresh %q old %q", kept.bodies(), fresh.bodies(), old.bodies())
		}
		old.setOpen(true)
		synctest.Wait()
		if old.bodies() != "1" || len(e.Reap()) != 0 {
			t.Fatalf("old %q", old.bodies())
		}
		if err := e.Swap(&Graph{}); err == nil {
			t.Fatal("a graph without outputs was taken")
		}
		cancel()
		<-done
	})
}

// chanInput puts one record per value.
type chanInput struct {
	ch      chan string
	tracker ack.Tracker[int]
}

func (c *chanInput) Run(ctx context.Context, sink record.Sink) error {
	s := record.NewStream(nil, nil, nil)
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case l := <-c.ch:
			b := sink.Get()
			ref := b.AddStream(record.StreamRef{Stream: s, Token: c.tracker.Track(n, time.Now())})
			sp := b.AppendString(l)
			b.Add(record.Record{Body: sp, Source: sp, Stream: ref})
			if err := sink.Put(ctx, b); err != nil {
				return err
			}
		}
	}
}

func TestGraphChecks(t *testing.T) {
	o := out("a", newFake(0, 1, true), Wait)
	for name, g := range map[string]*Graph{
		"no output":  {},
		"bad route":  {Outputs: []*Output{o}, Routes: []Route{{To: []int{1}}}},
		"65 outputs": {Outputs: make([]*Output, 65)},
	} {
		if err := g.Check(); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

func TestComplement(t *testing.T) {
	if got := fmt.Sprint(complement([]uint32{1, 3}, 5)); got != "[0 2 4]" {
		t.Fatal(got)
	}
}
