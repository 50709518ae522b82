package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// Config is what New needs.
type Config struct {
	// Budget bounds the memory of batches.
	Budget *Budget
	// Book numbers the outputs; the outputs of every graph must be in it.
	Book *ack.Book
	// Inputs by component id.
	Inputs map[string]Input
	// Graph is the first graph.
	Graph *Graph
	// Grace is how long a stop waits for the queues to drain; 0 means not at
	// all.
	Grace time.Duration
	// Now is the clock that steps see; nil means time.Now.
	Now func() time.Time
	// Logger may be nil.
	Logger *slog.Logger
}

// Engine runs a pipeline. Make it with New and run it once.
type Engine struct {
	cfg   Config
	log   *slog.Logger
	pool  record.Pool
	graph atomic.Pointer[Graph]

	taps       taps
	stepErrors atomic.Uint64
	grace      atomic.Int64
	putMu      sync.Mutex // steps and conditions keep scratch of their own

	mu      sync.Mutex
	running map[*Output]*runner // all outputs with a live deliverer
	inputs  map[string]*inputRun
	outCtx  context.Context
	ended   chan struct{} // holds a value after an input has returned by itself
	started chan struct{} // closed, under mu, when all outputs and inputs have been started
	stopped chan struct{} // closed, under mu, when a stop begins
}

type runner struct {
	cancel  context.CancelFunc
	retired bool // no longer in the graph, draining
	done    chan struct{}
}

// New checks the configuration and returns an engine that is not yet running.
func New(cfg Config) (*Engine, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Budget == nil || cfg.Book == nil || cfg.Graph == nil {
		return nil, errors.New("pipeline: Budget, Book and Graph are required")
	}
	if err := cfg.Graph.Check(); err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, log: cfg.Logger,
		running: make(map[*Output]*runner),
		inputs:  make(map[string]*inputRun),
		ended:   make(chan struct{}, 1),
		started: make(chan struct{}),
		stopped: make(chan struct{}),
	}
	e.graph.Store(cfg.Graph)
	e.grace.Store(int64(cfg.Grace))
	return e, nil
}

// Run starts the outputs, then the inputs, and blocks until ctx ends, an input
// fails, or all inputs have come to their end; then it stops in order. It
// returns the first input's error, or ErrUndelivered if the grace ended with
// records still waiting, else nil.
func (e *Engine) Run(ctx context.Context) error {
	outCtx, stopOutputs := context.WithCancel(context.WithoutCancel(ctx))
	defer stopOutputs()
	e.mu.Lock()
	e.outCtx = outCtx
	for _, o := range e.graph.Load().Outputs {
		e.startOutput(o)
	}
	for id, in := range e.cfg.Inputs {
		e.startInput(ctx, id, in)
	}
	close(e.started)
	e.mu.Unlock()

	err := e.wait(ctx)

	e.mu.Lock()
	close(e.stopped)
	inputs := make([]*inputRun, 0, len(e.inputs))
	for _, in := range e.inputs {
		in.cancel()
		inputs = append(inputs, in)
	}
	e.mu.Unlock()
	for _, in := range inputs {
		<-in.done
	}
	left := e.drain()
	stopOutputs()
	e.waitForOutputs()
	for _, in := range inputs {
		if f, ok := in.in.(Finisher); ok {
			err = errors.Join(err, f.Finish(context.WithoutCancel(ctx)))
		}
	}
	if left > 0 {
		e.log.Info("stopped with records undelivered; the next start goes on with them", "records", left)
		if err == nil && ctx.Err() == nil {
			err = ErrUndelivered
		}
	}
	return err
}

// Started returns a channel that is closed when Run has started everything:
// from then on Swap, StartInput and StopInput can be called.
func (e *Engine) Started() <-chan struct{} { return e.started }

// ErrUndelivered says that inputs ended but not everything could be delivered
// within the grace.
var ErrUndelivered = errors.New("stopped before everything was delivered")

// startOutput runs an output's deliverer if it is not running. The caller
// holds mu.
func (e *Engine) startOutput(o *Output) {
	if r := e.running[o]; r != nil {
		r.retired = false
		return
	}
	ctx, cancel := context.WithCancel(e.outCtx)
	r := &runner{cancel: cancel, done: make(chan struct{})}
	e.running[o] = r
	go func() {
		defer close(r.done)
		if err := o.Deliverer.Run(ctx); err != nil && ctx.Err() == nil {
			e.log.Error("output stopped", "output", o.Name, "error", err)
		}
	}()
}

// stopPatience is how long a stop waits for deliverers whose context has ended.
// It is longer than they need by themselves.
const stopPatience = 10 * time.Second

// waitForOutputs waits until every deliverer has returned. One that hangs in a
// write to a dead disk must not keep the inputs from saving their positions:
// what it had settled is exact at any moment.
func (e *Engine) waitForOutputs() {
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	e.mu.Lock()
	running := maps.Clone(e.running)
	e.mu.Unlock()
	expired := false
	for o, r := range running {
		if !expired {
			select {
			case <-r.done:
				continue
			case <-patience.C:
				expired = true
			}
		}
		select {
		case <-r.done:
		default:
			e.log.Error("output does not stop; it is left behind", "output", o.Name)
		}
	}
}

// drainPoll is how often a stop looks whether the queues are empty. Deliverers
// have no event for "nothing waits any more" because waiting is a sum over
// queue, batcher, retries and requests in flight.
const drainPoll = 10 * time.Millisecond

// drainPatience is how long a stop goes on waiting while nothing at all is
// delivered: the destinations are down, and what waits is read again.
const drainPatience = 5 * time.Second

// drain waits until nothing waits any more, at most for the grace, which may be
// changed meanwhile, and at most for drainPatience without progress, and returns
// how many records still wait.
func (e *Engine) drain() int64 {
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	begin := time.Now()
	least, since := e.Waiting(), begin
	for {
		left := e.Waiting()
		if left < least {
			least, since = left, time.Now()
		}
		if left == 0 || time.Since(since) >= drainPatience || time.Since(begin) >= time.Duration(e.grace.Load()) {
			return left
		}
		<-tick.C
	}
}

// Waiting returns how many records wait at outputs, retired ones included.
func (e *Engine) Waiting() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	var n int64
	for o := range e.running {
		n += o.Deliverer.Waiting()
	}
	return n
}

// Swap puts a new graph in place of the present one, between two batches.
// Outputs of the new graph that are the same *Output go on as they are; new
// ones start; those that are no longer in it finish what waits at them and
// stop. Reap must be called now and then to collect the latter.
func (e *Engine) Swap(g *Graph) error {
	if err := g.Check(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.isRunning() {
		return errNotRunning
	}
	for _, o := range g.Outputs {
		e.startOutput(o)
	}
	// A put that began with the old graph must be through before Reap looks
	// whether anything waits at an output that is no longer in it.
	e.putMu.Lock()
	e.graph.Store(g)
	e.putMu.Unlock()
	for o, r := range e.running {
		r.retired = !contains(g.Outputs, o)
	}
	e.cfg.Budget.Wake()
	return nil
}

var errNotRunning = errors.New("pipeline: not running")

// isRunning reports whether Run has begun and no stop has. The caller holds mu.
func (e *Engine) isRunning() bool {
	select {
	case <-e.stopped:
		return false
	default:
		return e.outCtx != nil
	}
}

func contains(outs []*Output, o *Output) bool {
	for _, x := range outs {
		if x == o {
			return true
		}
	}
	return false
}

// Reap stops retired outputs at which nothing waits any more and returns those
// that still have a backlog.
func (e *Engine) Reap() []*Output {
	e.mu.Lock()
	defer e.mu.Unlock()
	var busy []*Output
	for o, r := range e.running {
		switch {
		case !r.retired:
		case o.Deliverer.Waiting() == 0:
			r.cancel()
			delete(e.running, o)
		default:
			busy = append(busy, o)
		}
	}
	return busy
}

// SetGrace changes how long a stop waits for the queues to drain, also one that
// is under way.
func (e *Engine) SetGrace(d time.Duration) { e.grace.Store(int64(d)) }

// Graph returns the present graph.
func (e *Engine) Graph() *Graph { return e.graph.Load() }

// StepErrors returns how many times a step reported that it is broken.
func (e *Engine) StepErrors() uint64 { return e.stepErrors.Load() }

// sink is the engine as inputs see it.
type sink struct {
	e   *Engine
	run *inputRun
}

func (s sink) Get() *record.Batch {
	// What is pushed may go to outputs that have room: Put looks.
	if s.e.cfg.Budget.spent() || !s.run.pushed && s.e.graph.Load().full() {
		return nil
	}
	s.run.batches.Add(1)
	return s.e.pool.Get(s.run.release)
}

func (s sink) Room() <-chan struct{} { return s.e.cfg.Budget.Room() }

func (s sink) Put(ctx context.Context, b *record.Batch) error {
	if s.run.pushed {
		if err := s.e.awaitRoom(ctx); err != nil {
			b.Abandon()
			return err
		}
		// What has come whole is taken, also from who did not stay for the answer:
		// some clients (graypy) send and close.
		ctx = context.WithoutCancel(ctx)
	}
	return s.e.put(ctx, b, s.run)
}

// ErrFull is Put's answer to an input that is pushed to: an output that some of
// the records go to has no room.
var ErrFull = errors.New("an output's queue is full")

// awaitRoom waits for the outputs that pushes wait for.
func (e *Engine) awaitRoom(ctx context.Context) error {
	for {
		room := e.cfg.Budget.Room() // before the look
		if !e.graph.Load().waits() {
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrFull, ctx.Err())
		}
	}
}

// settlePatience is how long a push waits for queues that are writing.
const settlePatience = 5 * time.Second

// settle reports whether the outputs that the records go to take what is pushed.
// For queues that are full only until what they hold is written it waits: who is
// told to come again comes in a second, with all the work to be done again. Who
// waits holds memory; so nobody waits for a destination. The caller holds putMu,
// which is given up meanwhile.
func (e *Engine) settle(g *Graph, live []uint32, masks []uint64) bool {
	if full, _ := g.refuses(live, masks); !full {
		return true
	}
	patience := time.NewTimer(settlePatience)
	defer patience.Stop()
	for {
		room := e.cfg.Budget.Room() // before the look
		full, settling := g.refuses(live, masks)
		if !full || !settling {
			return !full
		}
		e.putMu.Unlock()
		expired := false
		select {
		case <-room:
		case <-patience.C:
			expired = true
		}
		e.putMu.Lock()
		if expired || e.graph.Load() != g {
			return false
		}
	}
}

func (e *Engine) release(b *record.Batch) {
	n := b.Charge()
	e.pool.Put(b)
	if n != 0 {
		e.cfg.Budget.refund(n)
	}
}

// put runs the steps, freezes and routes the batch. One that was pushed may be
// refused.
func (e *Engine) put(ctx context.Context, b *record.Batch, from *inputRun) error {
	if err := ctx.Err(); err != nil {
		b.Abandon()
		return err
	}
	e.putMu.Lock()
	defer e.putMu.Unlock()
	g := e.graph.Load()
	outputs := e.cfg.Book.Len()
	for _, t := range b.Tokens() {
		t.Expect(outputs)
	}
	now := e.cfg.Now()
	w := e.taps.begin(b, from.id, now)
	for k, s := range g.Steps {
		w.before(b, k, now)
		if err := s.Process(b, now); err != nil {
			if e.stepErrors.Add(1) == 1 {
				e.log.Error("step failed; records go on unchanged by it", "step", s.Name, "error", err)
			}
		}
		w.after(b, k, len(g.Steps))
	}
	g.countRead(b)
	b.SetCharge(int64(b.Size()))
	e.cfg.Budget.charge(b.Charge())
	b.Freeze()
	masks := g.masks(b, b.Live())
	if from.pushed && !e.settle(g, b.Live(), masks) {
		b.Abandon() // with what was counted on its tokens
		return ErrFull
	}
	w.routed(g, b, masks, now)
	g.route(b, masks)
	b.Release()
	return nil
}

// countRead counts every record as read on its token, and for every output of
// the graph as one that it has to account for (ack.Open).
func (g *Graph) countRead(b *record.Batch) {
	recs, streams := b.Records(), b.Streams()
	for i := 0; i < len(recs); {
		st := recs[i].Stream
		j := i + 1
		for j < len(recs) && recs[j].Stream == st {
			j++
		}
		t := streams[st].Token
		t.CountRead(j - i)
		for _, o := range g.Outputs {
			t.Count(o.Index, ack.Open, j-i)
		}
		i = j
	}
}
