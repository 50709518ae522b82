package api

import (
	"context"
	"errors"
	"math"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/logql"
)

// Limits bound what requests may cost. Zero values mean the defaults, negative
// ones no limit (of Concurrency, Tails and TailRows: the default).
type Limits struct {
	// Query is what one query may cost; MaxResult bounds the memory of an
	// answer. Defaults: 1 TiB of lines, 5 000 000 000 rows, 20 000 series, 8 000 000
	// cells (64 MB), 64 MiB of answer.
	Query logql.Limits
	// Entries is the highest limit a query for lines may ask for. Default 50 000.
	Entries int
	// Range is the longest range of time of a query. Default none.
	Range time.Duration
	// Time is how long a query may take, waiting not counted. Default 1 minute.
	Time time.Duration
	// Concurrency is how many queries run at a time, Queue how many more wait,
	// QueueTime how long. What exceeds that is answered with 429. Defaults: twice
	// the processors, at least 4; 64; 30 s.
	Concurrency int
	Queue       int
	QueueTime   time.Duration
	// Selectors is how many match[] a request may have. Default 100.
	Selectors int
	// Names bounds the names, values and series in answers of labels, label
	// values, series and volumes. Default 100 000.
	Names int
	// Form is the largest form a query may be sent as. Default 1 MiB.
	Form int64
	// Tails is how many tails may be open. Default 64. TailRows is how many rows
	// wait for a slow one before the oldest are dropped. Default 10 000.
	Tails    int
	TailRows int
	// Write is how long the client may take to accept 64 KiB, or a message of a
	// tail, or to send a form. Default 30 s.
	Write time.Duration
}

func (l *Limits) setDefaults() {
	def(&l.Query.MaxBytes, 1<<40)
	def(&l.Query.MaxRows, 5e9)
	def(&l.Query.MaxSeries, 20_000)
	def(&l.Query.MaxCells, 8_000_000)
	def(&l.Query.MaxResult, 64<<20)
	def(&l.Entries, 50_000)
	def(&l.Range, 0)
	def(&l.Time, time.Minute)
	if l.Concurrency <= 0 {
		l.Concurrency = max(4, 2*runtime.GOMAXPROCS(0))
	}
	def(&l.Queue, 64)
	def(&l.QueueTime, 30*time.Second)
	def(&l.Selectors, 100)
	def(&l.Names, 100_000)
	def(&l.Form, 1<<20)
	if l.Tails <= 0 {
		l.Tails = 64
	}
	if l.TailRows <= 0 {
		l.TailRows = 10_000
	}
	def(&l.Write, 30*time.Second)
}

// def sets the default of a limit; a negative one becomes zero, which is none.
func def[T int | int64 | time.Duration](p *T, d T) {
	switch {
	case *p == 0:
		*p = d
	case *p < 0:
		*p = 0
	}
}

// orMax is the limit, or what no number exceeds if there is none.
func orMax(limit int) int {
	if limit <= 0 {
		return math.MaxInt
	}
	return limit
}

var errBusy = errors.New("too many outstanding requests; try again later")

// gate lets some requests run and some more wait.
type gate struct {
	slots   chan struct{}
	queue   int64
	waiting atomic.Int64
}

func newGate(slots, queue int) *gate {
	return &gate{slots: make(chan struct{}, slots), queue: int64(queue)}
}

// enter waits for a slot; leave gives it back. It fails with errBusy or ctx's
// error.
func (g *gate) enter(ctx context.Context, wait time.Duration) error {
	select {
	case g.slots <- struct{}{}:
		return nil
	default:
	}
	if g.waiting.Add(1) > g.queue {
		g.waiting.Add(-1)
		return errBusy
	}
	defer g.waiting.Add(-1)
	var late <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		late = t.C
	}
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-late:
		return errBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) leave() { <-g.slots }
