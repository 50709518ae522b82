package pipeline

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// pusher is an input whose Sink the test uses.
type pusher struct{ sinks chan record.Sink }

func (p pusher) Pushed() bool { return true }

func (p pusher) Run(ctx context.Context, sink record.Sink) error {
	p.sinks <- sink
	<-ctx.Done()
	return nil
}

// push puts one batch and returns the channel that tells its end.
func push(ctx context.Context, sink record.Sink, lines ...string) (<-chan ack.Tally, error) {
	told := make(chan ack.Tally, 1)
	b := sink.Get()
	if b == nil {
		return nil, errors.New("no batch")
	}
	ref := b.AddStream(record.StreamRef{Stream: record.NewStream(nil, nil, nil), Token: ack.NewToken(func(sum *ack.Tally) { told <- *sum })})
	for _, l := range lines {
		sp := b.AppendString(l)
		b.Add(record.Record{Body: sp, Source: sp, Stream: ref})
	}
	return told, sink.Put(ctx, b)
}

// An output without room refuses pushes that are for it, and no others; nothing
// of what was refused arrives anywhere or is counted.
func TestPushRefusedByTheOutputsItIsFor(t *testing.T) {
	for _, policy := range []Policy{Auto, Reject} {
		full, open := newFake(0, 1, false), newFake(1, 100, true)
		g := &Graph{
			Routes:  []Route{{Match: is("x", "both"), To: []int{0}, Continue: true}, {Match: is("y", "both"), To: []int{1}}},
			Outputs: []*Output{out("full", full, policy), out("open", open, Wait)},
		}
		in := pusher{make(chan record.Sink)}
		e, bud := engine(t, in, g, 1<<20)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- e.Run(ctx) }()
		sink := <-in.sinks
		first, err := push(ctx, sink, "x")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := push(ctx, sink, "y", "both"); !errors.Is(err, ErrFull) {
			t.Errorf("%d: a push for a full output: %v", policy, err)
		}
		second, err := push(ctx, sink, "y")
		if err != nil {
			t.Fatalf("%d: a push for the other output: %v", policy, err)
		}
		if sum := <-second; sum.Read != 1 || sum.Outputs[1][ack.Delivered] != 1 || sum.Outputs[0][ack.DroppedRoute] != 1 {
			t.Errorf("%d: told %+v", policy, sum)
		}
		full.setOpen(true)
		<-first
		if full.bodies() != "x" || open.bodies() != "y" {
			t.Errorf("%d: %q, %q", policy, full.bodies(), open.bodies())
		}
		cancel()
		<-ended
		if bud.Used() != 0 {
			t.Errorf("%d bytes of the budget are not given back", bud.Used())
		}
	}
}

// A push waits for an output whose policy is to wait, as long as its sender.
func TestPushWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(0, 1, false)
		in := pusher{make(chan record.Sink)}
		e, bud := engine(t, in, &Graph{Outputs: []*Output{out("f", f, Wait)}}, 1<<20)
		f.onRoom = bud.Wake
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- e.Run(ctx) }()
		sink := <-in.sinks
		if _, err := push(ctx, sink, "a"); err != nil {
			t.Fatal(err)
		}
		patience, end := context.WithTimeout(ctx, time.Second)
		defer end()
		if _, err := push(patience, sink, "b"); !errors.Is(err, ErrFull) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a push that lost patience: %v", err)
		}
		time.AfterFunc(time.Minute, func() { f.setOpen(true) })
		told, err := push(ctx, sink, "c")
		if err != nil {
			t.Fatal(err)
		}
		<-told
		if f.bodies() != "a c" {
			t.Errorf("arrived: %q", f.bodies())
		}
		cancel()
		<-ended
	})
}

// A push is taken also if its sender has gone before it could be answered.
func TestPushWithoutItsSender(t *testing.T) {
	f := newFake(0, 100, true)
	in := pusher{make(chan record.Sink)}
	e, _ := engine(t, in, &Graph{Outputs: []*Output{out("f", f, Auto)}}, 1<<20)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	gone, leave := context.WithCancel(ctx)
	leave()
	told, err := push(gone, <-in.sinks, "a")
	if err != nil {
		t.Fatal(err)
	}
	if sum := <-told; sum.Outputs[0][ack.Delivered] != 1 {
		t.Errorf("told %+v", sum)
	}
	cancel()
	<-ended
}

// settlingOutput says of itself that it is full for a moment only.
type settlingOutput struct {
	*fakeOutput
	settling atomic.Bool
}

func (s *settlingOutput) Settling() bool { return s.settling.Load() }

// A push waits for a queue that is writing, though its policy is to refuse; for no
// longer than that, and for no queue that is full otherwise.
func TestPushWaitsForWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(0, 1, false)
		q := &settlingOutput{fakeOutput: f}
		q.settling.Store(true)
		in := pusher{make(chan record.Sink)}
		e, bud := engine(t, in, &Graph{Outputs: []*Output{{Name: "f", Index: 0, Queue: q, Deliverer: f}}}, 1<<20)
		f.onRoom = bud.Wake
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- e.Run(ctx) }()
		sink := <-in.sinks
		if _, err := push(ctx, sink, "a"); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, err := push(ctx, sink, "b"); !errors.Is(err, ErrFull) || time.Since(begin) != settlePatience {
			t.Errorf("a queue that hangs: %v after %v", err, time.Since(begin))
		}
		time.AfterFunc(time.Second, func() { q.settling.Store(false); bud.Wake() })
		begin = time.Now()
		if _, err := push(ctx, sink, "c"); !errors.Is(err, ErrFull) || time.Since(begin) != time.Second {
			t.Errorf("a queue that has no room any more: %v after %v", err, time.Since(begin))
		}
		q.settling.Store(true)
		time.AfterFunc(time.Second, func() { f.setOpen(true) })
		begin = time.Now()
		told, err := push(ctx, sink, "d")
		if err != nil || time.Since(begin) != time.Second {
			t.Errorf("a queue that was writing: %v after %v", err, time.Since(begin))
		} else {
			<-told
		}
		if f.bodies() != "a d" {
			t.Errorf("arrived: %q", f.bodies())
		}
		cancel()
		<-ended
		if bud.Used() != 0 {
			t.Errorf("%d bytes of the budget are not given back", bud.Used())
		}
	})
}
