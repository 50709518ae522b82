package pipeline

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/record"
)

// A Tap shows some of the records that pass a place of the pipeline while it
// runs. Where nobody taps a batch costs one look at a pointer. What a Tap keeps is
// bounded: a reader that is too slow misses samples, and is told how many.
type Tap struct {
	e       *Engine
	at      Point
	match   Match
	rate    float64 // samples a second
	samples chan Sample
	missed  atomic.Uint64
	bytes   atomic.Int64 // of what is in samples

	// Used under Engine.putMu.
	tokens float64
	last   time.Time
	turn   int // where the look at a batch begins
	chosen []uint32
	taken  []Seen
}

// Point is a place in the pipeline. One of Input and Output is set, or none: then
// it is the step of that number, or all steps with AllSteps.
type Point struct {
	Input, Output string
	Step          int
}

// AllSteps as Point.Step is everything between inputs and outputs.
const AllSteps = -1

// Sample is a record at a Point. At a step it is what came to the step, and what
// left it; elsewhere Before and After are one.
type Sample struct {
	Before, After *Seen
}

// Seen is a record as it was at a moment, copied.
type Seen struct {
	Time, Observed int64
	Stream         *record.Stream
	Severity       record.Severity
	Flags          record.Flags
	Body           []byte
	Fields         []SeenField
	// Cut says that the body is only the beginning of a longer one.
	Cut bool
}

// SeenField is a field of a record, copied.
type SeenField struct {
	Name, Value string
	Kind        record.Kind
}

// Bounds of what a Tap keeps for its reader.
const (
	tapSamples   = 1024
	tapBytes     = 4 << 20
	maxTapBody   = 256 << 10
	maxTapSample = 1000 // of one batch
)

// taps are the Taps of an engine, nil without any.
type taps struct {
	mu   sync.Mutex // changes
	list atomic.Pointer[[]*Tap]
}

// Tap begins to sample what passes a place: the records that match says (nil: all),
// perSecond of them at most. Close it in the end.
func (e *Engine) Tap(at Point, match Match, perSecond float64) (*Tap, error) {
	if err := e.checkPoint(at); err != nil {
		return nil, err
	}
	t := &Tap{e: e, at: at, match: match, rate: perSecond, tokens: max(1, perSecond/4), samples: make(chan Sample, tapSamples)}
	e.taps.change(func(list []*Tap) []*Tap { return append(list, t) })
	return t, nil
}

func (e *Engine) checkPoint(at Point) error {
	g := e.graph.Load()
	switch {
	case at.Input != "":
		return nil // inputs come and go
	case at.Output != "":
		if !slices.ContainsFunc(g.Outputs, func(o *Output) bool { return o.Name == at.Output }) {
			return fmt.Errorf("there is no output %s", at.Output)
		}
	case at.Step >= len(g.Steps):
		return fmt.Errorf("there is no step %d; the pipeline has %d", at.Step, len(g.Steps))
	}
	return nil
}

// Samples returns where the samples come. It is never closed.
func (t *Tap) Samples() <-chan Sample { return t.samples }

// Received must be called for each sample that was taken from Samples.
func (t *Tap) Received(s Sample) { t.bytes.Add(-s.size()) }

// Missed returns how many samples the reader was too slow for.
func (t *Tap) Missed() uint64 { return t.missed.Load() }

// Close ends the sampling.
func (t *Tap) Close() {
	t.e.taps.change(func(list []*Tap) []*Tap {
		return slices.DeleteFunc(list, func(x *Tap) bool { return x == t })
	})
}

func (ts *taps) change(f func([]*Tap) []*Tap) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	var list []*Tap
	if old := ts.list.Load(); old != nil {
		list = slices.Clone(*old)
	}
	if list = f(list); len(list) == 0 {
		ts.list.Store(nil)
		return
	}
	ts.list.Store(&list)
}

// watch is the taps as a batch passes them. The nil watch does nothing.
type watch []*Tap

// begin returns the watch over a batch of an input, nil if nobody taps.
func (ts *taps) begin(b *record.Batch, input string, now time.Time) watch {
	list := ts.list.Load()
	if list == nil {
		return nil
	}
	w := watch(*list)
	for _, t := range w {
		t.chosen, t.taken = t.chosen[:0], t.taken[:0]
		if t.at.Input != "" && t.at.Input == input {
			t.choose(b, nil, now)
			for _, i := range t.chosen {
				s := see(b, int(i))
				t.give(Sample{&s, &s})
			}
		}
	}
	return w
}

// before looks at a batch that comes to step k of n.
func (w watch) before(b *record.Batch, k int, now time.Time) {
	for _, t := range w {
		if t.at.Input != "" || t.at.Output != "" || t.at.Step != k && (t.at.Step != AllSteps || k != 0) {
			continue
		}
		t.choose(b, nil, now)
		for _, i := range t.chosen {
			t.taken = append(t.taken, see(b, int(i)))
		}
	}
}

// after looks at a batch that has passed step k of n.
func (w watch) after(b *record.Batch, k, n int) {
	for _, t := range w {
		if t.at.Input != "" || t.at.Output != "" || t.at.Step != k && (t.at.Step != AllSteps || k != n-1) {
			continue
		}
		for j := range t.taken {
			before := t.taken[j]
			s := Sample{Before: &before}
			if i := int(t.chosen[j]); i < b.NumRecords() {
				after := see(b, i)
				s.After = &after
			}
			t.give(s)
		}
		clear(t.taken)
		t.taken = t.taken[:0]
	}
}

// routed looks at what goes to the outputs. masks are those of the live records,
// nil if all go everywhere.
func (w watch) routed(g *Graph, b *record.Batch, masks []uint64, now time.Time) {
	for _, t := range w {
		if t.at.Output == "" {
			continue
		}
		at := slices.IndexFunc(g.Outputs, func(o *Output) bool { return o.Name == t.at.Output })
		if at < 0 {
			continue
		}
		live := b.Live()
		t.choose(b, func(k int) (int, bool) {
			if k >= len(live) {
				return 0, false
			}
			return int(live[k]), masks == nil || masks[k]>>at&1 == 1
		}, now)
		for _, i := range t.chosen {
			s := see(b, int(i))
			t.give(Sample{&s, &s})
		}
	}
}

// choose chooses the records of a batch that are looked at, as many as the rate
// leaves, over the whole batch. which, if not nil, names the k-th candidate and
// whether it is one.
func (t *Tap) choose(b *record.Batch, which func(k int) (int, bool), now time.Time) {
	t.chosen = t.chosen[:0]
	if !t.last.IsZero() {
		t.tokens = min(max(1, t.rate), t.tokens+t.rate*now.Sub(t.last).Seconds())
	}
	t.last = now
	n := b.NumRecords()
	if which != nil {
		n = len(b.Live())
	}
	room := min(int(t.tokens), maxTapSample)
	if room <= 0 || n == 0 {
		return
	}
	// Not always the first ones: a batch is often of one program's start.
	t.turn = (t.turn + 7919) % n
	for k := range n {
		j := (t.turn + k) % n
		i, ok := j, true
		if which != nil {
			i, ok = which(j)
		}
		if !ok || which == nil && b.Record(i).Flags.Has(record.Dropped) || t.match != nil && !t.match(b, i) {
			continue
		}
		t.chosen = append(t.chosen, uint32(i))
		if len(t.chosen) == room {
			break
		}
	}
	t.tokens -= float64(len(t.chosen))
	slices.Sort(t.chosen)
}

// give gives a sample to the reader, unless that is too slow.
func (t *Tap) give(s Sample) {
	if n := s.size(); t.bytes.Add(n) > tapBytes && n < t.bytes.Load() {
		t.bytes.Add(-n)
		t.missed.Add(1)
		return
	}
	select {
	case t.samples <- s:
	default:
		t.bytes.Add(-s.size())
		t.missed.Add(1)
	}
}

func (s Sample) size() int64 {
	n := s.Before.size()
	if s.After != nil && s.After != s.Before {
		n += s.After.size()
	}
	return n
}

func (r *Seen) size() int64 {
	n := 128 + len(r.Body)
	for _, f := range r.Fields {
		n += 64 + len(f.Name) + len(f.Value)
	}
	return int64(n)
}

// see copies record i.
func see(b *record.Batch, i int) Seen {
	r := b.Record(i)
	s := Seen{Time: r.Time, Observed: r.Observed, Stream: b.Stream(i), Severity: r.Severity, Flags: r.Flags}
	body := b.Body(i)
	if len(body) > maxTapBody {
		body, s.Cut = body[:maxTapBody], true
	}
	s.Body = bytes.Clone(body)
	for _, f := range b.Fields(i) {
		v := b.Bytes(f.Val)
		s.Fields = append(s.Fields, SeenField{Name: strings.Clone(b.KeyName(f.Key)), Value: string(v[:min(len(v), maxTapBody)]), Kind: f.Kind})
	}
	return s
}
