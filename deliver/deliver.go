package deliver

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// Deliverer delivers what one output's queue holds. Run may be called once;
// Stats and Drain are safe for concurrent use with it.
type Deliverer struct {
	c       Config
	results chan answer
	buried  chan error
	changed chan struct{} // has a value after SetEndpoints
	done    chan struct{} // closed when Run has returned
	empty   []record.Part // Run's: parts without records, to be finished

	mu       sync.Mutex // guards everything below
	pool     pool
	leaving  []*endpoint // no longer in the pool, with requests under way
	closing  []Output    // of those that have left
	size     sizer
	batch    batcher
	delayed  delayed
	assigned []*request // with Hash: fresh ones that wait for their endpoint
	flying   map[*request]struct{}
	fresh    bool // whose turn it is: a fresh request's or a delayed one's
	graves   []grave
	burying  []grave // handed to the Burier
	buryAt   time.Time
	buryFail int
	closed   bool // the queue is drained
	stopping bool
	started  bool
	stop     context.CancelFunc
	hand     amount // taken from the queue and not settled
	stats    counters
	alarms   map[string]time.Time // see every
}

type amount struct{ records, bytes int }

type answer struct {
	r      *request
	result ack.Result
	err    error
}

// New checks c, fills in its defaults and returns a Deliverer that is to be
// Run.
func New(c Config) (*Deliverer, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	d := &Deliverer{
		c:       c,
		results: make(chan answer),
		buried:  make(chan error),
		changed: make(chan struct{}, 1),
		done:    make(chan struct{}),
		flying:  make(map[*request]struct{}),
		size:    newSizer(c.Batch.Bytes),
		alarms:  make(map[string]time.Time),
	}
	d.pool = pool{balance: c.Balance, eject: c.Eject, retry: c.Retry, failback: c.Failback, max: c.Concurrency, rand: c.Rand}
	d.pool.all, _, _ = d.pool.set(c.Endpoints, false)
	if len(d.pool.all) > 0 {
		d.pool.group = d.pool.all[0].Group
	}
	return d, nil
}

// Run delivers until the queue is closed and everything from it is settled;
// then it returns nil. When ctx ends before, it takes and sends nothing more,
// gives the attempts in flight Config.Grace to end by themselves and then
// cancels them, leaves what is not delivered open (see Remaining), and returns
// ctx's error.
func (d *Deliverer) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	d.mu.Lock()
	if d.started {
		d.mu.Unlock()
		return fmt.Errorf("output %s: Run called twice", d.c.Name)
	}
	d.started, d.stop = true, stop
	d.mu.Unlock()
	defer close(d.done)

	// Attempts outlive ctx by the grace.
	sendCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var grace <-chan time.Time
	ended := ctx.Done()
	for {
		wake, take, idle := d.step(sendCtx)
		for _, p := range d.empty {
			p.Finish()
		}
		d.empty = d.empty[:0]
		d.closeDeparted()
		if idle {
			return d.end(ctx)
		}
		var ready <-chan struct{}
		if take {
			ready = d.c.Queue.Ready()
		}
		var alarm <-chan time.Time
		if !wake.IsZero() {
			timer.Reset(time.Until(wake))
			alarm = timer.C
		}
		select {
		case <-ready:
		case <-alarm:
		case <-d.changed:
		case a := <-d.results:
			d.handle(a)
		case err := <-d.buried:
			d.handleBuried(err)
		case <-ended:
			ended = nil
			t := time.NewTimer(d.c.Grace)
			defer t.Stop()
			grace = t.C
			d.mu.Lock()
			d.stopping = true
			d.mu.Unlock()
		case <-grace:
			cancel()
		}
	}
}

// step does everything that can be done now: it takes from the queue, starts
// attempts and burials. wake is when there may be more to do without an event
// (zero: never), take whether the queue's next Part is one, and idle that there
// is nothing to wait for.
func (d *Deliverer) step(sendCtx context.Context) (wake time.Time, take, idle bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.stopping {
		return time.Time{}, false, len(d.flying) == 0 && d.burying == nil
	}
	sooner := func(t time.Time) {
		if t.After(now) && (wake.IsZero() || t.Before(wake)) {
			wake = t
		}
	}
	for {
		for d.room() && d.take(now) {
		}
		sent, at := d.dispatch(sendCtx, now)
		if !sent {
			sooner(at)
			break
		}
	}
	if len(d.graves) > 0 && d.burying == nil {
		if d.buryAt.After(now) {
			sooner(d.buryAt)
		} else {
			d.bury(sendCtx)
		}
	}
	return wake, !d.closed && d.room(), d.closed && d.hand.records == 0 && len(d.flying) == 0 && d.burying == nil
}

// room reports whether another Part may be taken from the queue. While no
// endpoint works, one request to try with is enough.
func (d *Deliverer) room() bool {
	if d.closed || len(d.batch.ready) > 0 || (d.pool.down || len(d.pool.all) == 0) && d.hand.records > 0 {
		return false
	}
	return d.hand.bytes < d.c.MaxInHand
}

// take moves one Part from the queue to the batch.
func (d *Deliverer) take(now time.Time) bool {
	since, ok := d.c.Queue.OldestSince()
	if !ok {
		since = now
	}
	p, ok := d.c.Queue.TryNext()
	if !ok {
		if d.c.Queue.Drained() {
			d.closed = true
			d.batch.deadline = now
			d.delayed.forward(now)
		}
		return false
	}
	if p.Len() == 0 {
		d.empty = append(d.empty, p)
		return true
	}
	size := p.Size()
	d.hand.records += p.Len()
	d.hand.bytes += size
	bytes, records := d.size.bytes(now), d.c.Batch.Records
	if n := len(d.pool.owners()); d.c.Balance == Hash && n > 1 { // to be cut by endpoint
		bytes, records = max(bytes, min(n*bytes, d.c.MaxInHand/2)), n*records
	}
	d.batch.add(p, size, since, now, bytes, records, d.c.Batch.Wait)
	return true
}

// dispatch starts one attempt if there is a slot, a request and an endpoint for
// it. Else it returns when to look again; zero means after the next event.
func (d *Deliverer) dispatch(sendCtx context.Context, now time.Time) (sent bool, wake time.Time) {
	if len(d.flying) >= d.c.Concurrency {
		return false, time.Time{}
	}
	if d.c.Balance == Hash {
		return d.dispatchHashed(sendCtx, now)
	}
	fresh, at := d.batch.due(now)
	late := len(d.delayed) > 0 && !d.delayed[0].due.After(now)
	if !fresh && !late {
		if len(d.delayed) > 0 && (at.IsZero() || d.delayed[0].due.Before(at)) {
			at = d.delayed[0].due
		}
		return false, at
	}
	e, at := d.pool.choose(now)
	if e == nil {
		return false, at
	}
	var r *request
	if fresh && (d.fresh || !late) {
		r = d.batch.take()
		d.fresh = false
	} else {
		r = heap.Pop(&d.delayed).(*request)
		d.mergeRests(r, now)
		d.fresh = true
	}
	d.send(sendCtx, r, e, now)
	return true, time.Time{}
}

// send starts an attempt of r at e.
func (d *Deliverer) send(sendCtx context.Context, r *request, e *endpoint, now time.Time) {
	if r.first.IsZero() {
		r.first = now
	} else {
		d.stats.retried += uint64(r.records)
	}
	r.endpoint, r.started, r.asked = e, now, false
	d.flying[r] = struct{}{}
	e.inflight++
	e.requests++
	r.saturated = e.inflight >= e.limit.limit
	go d.attempt(sendCtx, r)
}

// mergeRests adds to r, which was sent before, others that are due and hold what
// single records left over: under overload every answer leaves a few, and a slot
// each would be a waste.
func (d *Deliverer) mergeRests(r *request, now time.Time) {
	// Merging must not move the end of retry.for by more than a tenth.
	slack := d.c.Retry.For / 10
	for r.rest && len(d.delayed) > 0 {
		o := d.delayed[0]
		if !o.rest || o.due.After(now) || o.target != r.target || r.bytes+o.bytes > d.size.bytes(now) || d.c.Batch.Records > 0 && r.records+o.records > d.c.Batch.Records ||
			d.c.Retry.For > 0 && o.first.Sub(r.first).Abs() > slack {
			break
		}
		heap.Pop(&d.delayed)
		r.merge(o)
	}
}

// attempt sends r. Run waits for its answer.
func (d *Deliverer) attempt(ctx context.Context, r *request) {
	ctx, cancel := context.WithTimeout(ctx, d.c.Timeout)
	defer cancel()
	result, err := r.endpoint.Output.Send(ctx, r.parts)
	d.results <- answer{r, result, err}
}

// Drain closes the queue and waits until everything is settled. When ctx ends
// before, Run is stopped as if its own context had ended, and the error says
// how much stays open. Run must have been called.
func (d *Deliverer) Drain(ctx context.Context) error {
	d.c.Queue.Close()
	select {
	case <-d.done:
	case <-ctx.Done():
		d.mu.Lock()
		stop := d.stop
		d.mu.Unlock()
		if stop != nil {
			stop()
			<-d.done
		}
	}
	if n := d.Stats().Waiting.Records; n > 0 {
		return fmt.Errorf("output %s: stopped with %d records not delivered", d.c.Name, n)
	}
	return nil
}

// Remaining returns the Parts that are in hand and not settled, oldest first.
// Once Run has returned they are the caller's, for instance to be put into
// another queue; before, they are not to be touched.
func (d *Deliverer) Remaining() []record.Part {
	d.mu.Lock()
	defer d.mu.Unlock()
	var parts []record.Part
	for _, r := range d.requests() {
		parts = append(parts, r.parts...)
	}
	for _, g := range d.graves {
		parts = append(parts, g.Part)
	}
	for _, g := range d.burying {
		parts = append(parts, g.Part)
	}
	return parts
}

// requests returns all requests, those sent before others first.
func (d *Deliverer) requests() []*request {
	var all []*request
	for r := range d.flying {
		all = append(all, r)
	}
	all = append(all, d.delayed...)
	all = append(all, d.assigned...)
	all = append(all, d.batch.ready...)
	if d.batch.cur != nil {
		all = append(all, d.batch.cur)
	}
	return all
}

// end returns Run's result.
func (d *Deliverer) end(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed && d.hand.records == 0 {
		return nil
	}
	return ctx.Err()
}
