package pipeline

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// stepFunc is a step made of a function.
type stepFunc func()

func (f stepFunc) Process(*record.Batch, time.Time) error { f(); return nil }

// A batch that was routed by the old graph must not reach a removed output
// after Reap found it empty: nobody would ever deliver it.
func TestSwapWaitsForTheBatchThatIsBeingPut(t *testing.T) {
	old, fresh := newFake(0, 100, true), newFake(1, 100, true)
	in := &chanInput{ch: make(chan string)}
	var e *Engine
	oFresh := out("fresh", fresh, Wait)
	reaped := make(chan struct{})
	first := true
	step := stepFunc(func() {
		if !first {
			return
		}
		first = false
		go func() {
			defer close(reaped)
			if err := e.Swap(&Graph{Outputs: []*Output{oFresh}}); err != nil {
				t.Error(err)
			}
			e.Reap()
		}()
		select {
		case <-reaped: // the bug
		case <-time.After(50 * time.Millisecond):
		}
	})
	e, _ = engine(t, in, &Graph{Steps: []Step{{"swap", step}}, Outputs: []*Output{out("old", old, Wait)}}, 1<<20)
	oFresh.Index = e.cfg.Book.Index("fresh")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- e.Run(ctx) }()
	got := make(chan struct{}, 1)
	fresh.onRoom = func() { got <- struct{}{} }
	in.ch <- "1"
	<-reaped
	in.ch <- "2"
	<-got
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if old.bodies()+fresh.bodies() != "12" {
		t.Fatalf("old %q, fresh %q", old.bodies(), fresh.bodies())
	}
	if n, _ := in.tracker.Open(); n != 2 {
		t.Fatal(n)
	}
	var sum ack.Tally
	if pos, ok := in.tracker.Advance(&sum); !ok || pos != 1 {
		t.Fatalf("tracker at %d %v: a batch is lost in a queue that nobody reads", pos, ok)
	}
}

// Stopping one input waits for its own batches, not for those of inputs that
// go on.
func TestStopInputWaitsForItsOwnBatchesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quick, dead := newFake(0, 100, true), newFake(1, 100, false)
		in := &fakeInput{batches: [][]string{{"mine"}}}
		other := &fakeInput{batches: [][]string{{"other"}}}
		g := &Graph{
			Routes:  []Route{{Match: is("mine"), To: []int{0}}, {To: []int{1}}},
			Outputs: []*Output{out("quick", quick, Wait), out("dead", dead, Wait)},
		}
		e, _ := engine(t, in, g, 1<<20)
		e.cfg.Inputs["other"] = other
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.Run(ctx) }()
		synctest.Wait()
		start := time.Now()
		if err := e.StopInput(ctx, "fake"); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 100*time.Millisecond || !in.finished.Load() {
			t.Errorf("took %v, finished %v", d, in.finished.Load())
		}
		cancel()
		<-done
	})
}

// finishCounter is an input that notices when it is finished twice.
type finishCounter struct {
	fakeInput
	n atomic.Int32
}

func (f *finishCounter) Finish(context.Context) error { f.n.Add(1); return nil }

// A stop in the middle of StopInput is not held up by it, and the input is
// finished once, by one goroutine.
func TestStopDuringStopInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &finishCounter{fakeInput: fakeInput{batches: [][]string{{"1"}}}}
		e, _ := engine(t, in, &Graph{Outputs: []*Output{out("dead", newFake(0, 100, false), Wait)}}, 1<<20)
		e.SetGrace(4 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		done, stopped := make(chan error), make(chan error)
		go func() { done <- e.Run(ctx) }()
		synctest.Wait()
		go func() { stopped <- e.StopInput(ctx, "fake") }()
		time.Sleep(3 * time.Second) // the bubble's clock
		start := time.Now()
		cancel()
		if err := <-stopped; err == nil || time.Since(start) > drainPoll {
			t.Errorf("StopInput returned %v after %v", err, time.Since(start))
		}
		if err := <-done; err != nil || in.n.Load() != 1 {
			t.Fatalf("error %v, finished %d times", err, in.n.Load())
		}
	})
}

func TestInputsOnlyWhileRunning(t *testing.T) {
	in := &fakeInput{}
	e, _ := engine(t, in, &Graph{Outputs: []*Output{out("a", newFake(0, 1, true), Wait)}}, 1<<20)
	if err := e.StartInput(t.Context(), "early", in); err == nil {
		t.Error("an input was started before Run")
	}
	if err := e.StopInput(t.Context(), "fake"); err == nil {
		t.Error("an input was stopped before Run")
	}
}

// However many inputs end at once, an error among them is reported.
func TestErrorAmongManyInputsThatEnd(t *testing.T) {
	for range 20 {
		e, _ := engine(t, &fakeInput{ends: true}, &Graph{Outputs: []*Output{out("a", newFake(0, 1, true), Wait)}}, 1<<20)
		e.cfg.Inputs["zbad"] = &fakeInput{err: errors.New("broken")}
		for i := range 100 {
			e.cfg.Inputs[string(rune('A'+i))] = &fakeInput{ends: true}
		}
		e.cfg.Inputs["stays"] = &fakeInput{}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := e.Run(ctx)
		cancel()
		if err == nil || !strings.Contains(err.Error(), "input zbad: broken") {
			t.Fatal(err)
		}
	}
}

// The balance of every output over reloads: one that was added owes nothing
// for what was read before, one that was removed nothing for what comes after.
func TestTallyOverAddedAndRemovedOutputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, kept, fresh := newFake(0, 100, true), newFake(1, 100, true), newFake(2, 100, true)
		in := &chanInput{ch: make(chan string)}
		oOld, oKept, oFresh := out("old", old, Wait), out("kept", kept, Wait), out("fresh", fresh, Wait)
		e, _ := engine(t, in, &Graph{Outputs: []*Output{oOld, oKept}}, 1<<20)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.Run(ctx) }()
		in.ch <- "1"
		in.ch <- "2"
		synctest.Wait()
		oFresh.Index = e.cfg.Book.Index("fresh")
		if err := e.Swap(&Graph{Outputs: []*Output{oKept, oFresh}}); err != nil {
			t.Fatal(err)
		}
		in.ch <- "3"
		synctest.Wait()
		cancel()
		<-done
		var sum ack.Tally
		in.tracker.Advance(&sum)
		for i, want := range []uint64{2, 3, 1} {
			if o := sum.Outputs[i]; o[ack.Open] != want || o[ack.Delivered] != want {
				t.Errorf("output %d: given %d, delivered %d, want %d", i, o[ack.Open], o[ack.Delivered], want)
			}
		}
	})
}

// hangingOutput does not return when it should.
type hangingOutput struct {
	*fakeOutput
	release chan struct{}
}

func (h hangingOutput) Run(context.Context) error { <-h.release; return nil }

// An output that hangs does not keep the inputs from saving their positions.
func TestStopLeavesAHangingOutputBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hangingOutput{newFake(0, 100, false), make(chan struct{})}
		in := &fakeInput{batches: [][]string{{"1"}}}
		good := newFake(1, 100, true)
		e, _ := engine(t, in, &Graph{Outputs: []*Output{{Name: "hangs", Queue: h, Deliverer: h}, out("good", good, Wait)}}, 1<<20)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.Run(ctx) }()
		synctest.Wait()
		cancel()
		start := time.Now()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != time.Second+stopPatience || !in.finished.Load() {
			t.Errorf("stopped after %v, finished %v", d, in.finished.Load())
		}
		close(h.release)
	})
}
