package pipeline

import (
	"context"
	"fmt"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// Input is where records come from. Run blocks until ctx ends, then stops
// reading and returns nil; an earlier nil says that the input has come to its
// end, an error that it cannot go on.
type Input interface {
	Run(ctx context.Context, sink record.Sink) error
}

// Finisher is an Input with something to do when everything that could be
// delivered has been: saving its positions.
type Finisher interface {
	Finish(ctx context.Context) error
}

// Pushed is an Input that others push to: it can refuse, and cannot come back
// for more. To it a full output shows as Put's ErrFull, not as Get's nil.
type Pushed interface {
	Pushed() bool
}

// Stage is one step of the pipeline. Process changes the batch in place and
// must not keep it; it is called by one goroutine at a time. An error means
// that the step itself is broken for this batch; the batch goes on as the step
// left it.
type Stage interface {
	Process(b *record.Batch, now time.Time) error
}

// Queue is the waiting line before an output's deliverer. Put never blocks; it
// may be called when Full.
type Queue interface {
	Put(p record.Part) bool
	Full() bool
}

// Deliverer takes parts from its queue and sees to it that every record of
// them ends in one ack.Status.
type Deliverer interface {
	// Run works until ctx ends. What is then not delivered stays open.
	Run(ctx context.Context) error
	// Waiting is the number of records that were put in the queue and are not
	// finished.
	Waiting() int64
}

// Policy says what happens when a queue is full.
type Policy uint8

const (
	// Auto: inputs that read wait, pushes are refused.
	Auto Policy = iota
	// Wait: inputs stop reading until there is room; pushes wait for it as well.
	Wait
	// Reject is Auto: what can be read again waits.
	Reject
	// Drop: new records are dropped for this output and counted.
	Drop
)

// Output is a destination as the engine sees it.
type Output struct {
	Name      string // component id, such as elasticsearch/main
	Index     int    // its number in the ack.Book
	Queue     Queue
	Deliverer Deliverer
	WhenFull  Policy
}

// Match is a condition on record i of a batch; nil matches everything. Like a
// Stage it is called by one goroutine at a time.
type Match func(b *record.Batch, i int) bool

// Route sends the records it matches to some outputs. The first route that
// matches wins unless it says Continue.
type Route struct {
	Match    Match
	To       []int // positions in Graph.Outputs
	Continue bool
}

// Graph is everything behind the inputs. It is immutable.
type Graph struct {
	Steps []Step
	// Routes may be empty: everything goes to every output.
	Routes  []Route
	Outputs []*Output
}

// Step is a Stage with the name that errors and counters use.
type Step struct {
	Name string
	Stage
}

// maxOutputs is how many outputs a graph may have: routing keeps one bit each.
const maxOutputs = 64

// Check returns why the graph cannot be run, nil if it can.
func (g *Graph) Check() error {
	if len(g.Outputs) == 0 {
		return fmt.Errorf("pipeline has no output")
	}
	if len(g.Outputs) > maxOutputs {
		return fmt.Errorf("pipeline has %d outputs, at most %d are possible", len(g.Outputs), maxOutputs)
	}
	for _, r := range g.Routes {
		for _, o := range r.To {
			if o < 0 || o >= len(g.Outputs) {
				return fmt.Errorf("route to output number %d of %d", o, len(g.Outputs))
			}
		}
	}
	return nil
}

// full reports whether an output that must not lose anything has no room.
func (g *Graph) full() bool {
	for _, o := range g.Outputs {
		if o.WhenFull != Drop && o.Queue.Full() {
			return true
		}
	}
	return false
}

// waits reports whether an output that pushes wait for has no room.
func (g *Graph) waits() bool {
	for _, o := range g.Outputs {
		if o.WhenFull == Wait && o.Queue.Full() {
			return true
		}
	}
	return false
}

// Settler is a Queue that can say of itself that it is Full only until what waits
// in it is written, whatever its destination does.
type Settler interface {
	Settling() bool
}

// refuses reports whether an output that some of the records go to has no room
// for what is pushed, and whether all that have none are settling. masks is what
// Graph.masks says of the records.
func (g *Graph) refuses(live []uint32, masks []uint64) (full, settling bool) {
	if len(live) == 0 {
		return false, false
	}
	var any uint64
	for _, m := range masks {
		any |= m
	}
	settling = true
	for at, o := range g.Outputs {
		if (masks == nil || any>>at&1 == 1) && (o.WhenFull == Auto || o.WhenFull == Reject) && o.Queue.Full() {
			full = true
			s, ok := o.Queue.(Settler)
			settling = settling && ok && s.Settling()
		}
	}
	return full, settling
}

// byReason splits what steps dropped into what a rate limit did and the rest.
func byReason(b *record.Batch, idx []uint32) (dropped, limited []uint32) {
	for k, i := range idx {
		if !b.Record(int(i)).Flags.Has(record.RateLimited) {
			continue
		}
		dropped = append(dropped, idx[:k]...)
		for _, i := range idx[k:] {
			if b.Record(int(i)).Flags.Has(record.RateLimited) {
				limited = append(limited, i)
			} else {
				dropped = append(dropped, i)
			}
		}
		return dropped, limited
	}
	return idx, nil
}

// route gives every live record of the frozen batch to its outputs' queues and
// counts what goes nowhere. The caller is a user of the batch.
func (g *Graph) route(b *record.Batch, masks []uint64) {
	live := b.Live()
	var dropped, limited []uint32
	if n := b.NumRecords(); n > len(live) {
		dropped, limited = byReason(b, complement(live, n))
	}
	for at, o := range g.Outputs {
		record.CountRecords(b, dropped, o.Index, ack.DroppedStep)
		record.CountRecords(b, limited, o.Index, ack.DroppedRate)
		idx := live
		if masks != nil {
			idx = selectBit(b, live, masks, at, o.Index)
		}
		if len(idx) == 0 {
			continue
		}
		p := record.NewPart(b, idx)
		if o.WhenFull == Drop && o.Queue.Full() {
			p.Settle(o.Index, ack.DroppedFull)
			continue
		}
		// A queue refuses only when it is closed, that is, in a stop: the part
		// stays open and is read again.
		_ = o.Queue.Put(p)
	}
}

// masks returns for every live record the set of outputs it goes to, nil if that
// is all of them.
func (g *Graph) masks(b *record.Batch, live []uint32) []uint64 {
	if len(g.Routes) == 0 || len(live) == 0 {
		return nil
	}
	masks := make([]uint64, len(live))
	for k, i := range live {
		for _, r := range g.Routes {
			if r.Match != nil && !r.Match(b, int(i)) {
				continue
			}
			for _, o := range r.To {
				masks[k] |= 1 << o
			}
			if !r.Continue {
				break
			}
		}
	}
	return masks
}

// selectBit returns the live records that go to the output at that position
// and counts the others as routed elsewhere.
func selectBit(b *record.Batch, live []uint32, masks []uint64, at, index int) []uint32 {
	n := 0
	for _, m := range masks {
		n += int(m >> at & 1)
	}
	if n == len(live) {
		return live
	}
	idx := make([]uint32, 0, len(live))
	for k, m := range masks {
		if m>>at&1 == 1 {
			idx = append(idx, live[k])
		}
	}
	var rest []uint32
	for k, m := range masks {
		if m>>at&1 == 0 {
			rest = append(rest, live[k])
		}
	}
	record.CountRecords(b, rest, index, ack.DroppedRoute)
	return idx
}

// complement returns the numbers below n that are not in live, ascending.
func complement(live []uint32, n int) []uint32 {
	out := make([]uint32, 0, n-len(live))
	k := 0
	for i := range uint32(n) {
		if k < len(live) && live[k] == i {
			k++
			continue
		}
		out = append(out, i)
	}
	return out
}
