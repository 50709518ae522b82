package ack

import (
	"sync"
	"sync/atomic"
	"time"
)

// Tally is a sum of what was counted on tokens.
type Tally struct {
	// Read is the number of records the input made.
	Read uint64
	// Outputs has, per output number of the Book, a count per Status. The count
	// of Open is what the output has to account for; it differs from Read for an
	// output that a reload or a new configuration added or removed.
	Outputs [][NumStatus]uint64
}

// Add adds o to t.
func (t *Tally) Add(o *Tally) {
	t.Read += o.Read
	for len(t.Outputs) < len(o.Outputs) {
		t.Outputs = append(t.Outputs, [NumStatus]uint64{})
	}
	for i := range o.Outputs {
		for s, n := range o.Outputs[i] {
			t.Outputs[i][s] += n
		}
	}
}

// Token stands for one piece of an input's bytes. Count may be called
// concurrently; Done exactly once per hold, after the last Count. A new token
// has one hold: its batch's. Who carries a record of it into another batch
// takes another (Hold) before the first batch is released. A token is never
// used again for another piece: a Done too many would finish that one's bytes.
type Token struct {
	extra  atomic.Int32 // holds beside the first
	read   atomic.Uint64
	counts atomic.Pointer[[]atomic.Uint64] // output number × NumStatus + status
	done   atomic.Bool
	since  time.Time
	told   func(*Tally) // by Done; may be nil
}

// NewToken returns a token that no Tracker has, for an input without positions:
// a push that is answered when its records are safe. told is called once, by the
// last Done, with what was counted; it must not block.
func NewToken(told func(*Tally)) *Token { return &Token{told: told} }

// Expect makes room to count for outputs 0 … outputs-1. Call it before the
// first Count; the Tracker may look at the token meanwhile.
func (t *Token) Expect(outputs int) {
	old := t.slots()
	if n := outputs * int(NumStatus); len(old) < n {
		grown := make([]atomic.Uint64, n)
		for i := range old {
			grown[i].Store(old[i].Load())
		}
		t.counts.Store(&grown)
	}
}

func (t *Token) slots() []atomic.Uint64 {
	if p := t.counts.Load(); p != nil {
		return *p
	}
	return nil
}

// CountRead adds n records that the input made.
func (t *Token) CountRead(n int) {
	if t != nil {
		t.read.Add(uint64(n))
	}
}

// Count adds n records that ended with status s at the output.
func (t *Token) Count(output int, s Status, n int) {
	if t != nil && n != 0 {
		t.slots()[output*int(NumStatus)+int(s)].Add(uint64(n))
	}
}

// Hold takes one more hold: the token is finished only after one more Done. The
// caller must know that the token is not finished. A nil token may be held.
func (t *Token) Hold() {
	if t != nil {
		t.extra.Add(1)
	}
}

// Done gives up a hold. The last one says that all records of the piece are
// finished at all outputs. A nil token may be done.
func (t *Token) Done() {
	if t == nil || t.extra.Add(-1) >= 0 {
		return
	}
	if t.done.Swap(true) {
		panic("ack: token done twice")
	}
	if t.told != nil {
		var sum Tally
		t.addTo(&sum)
		t.told(&sum)
	}
}

func (t *Token) addTo(sum *Tally) {
	sum.Read += t.read.Load()
	counts := t.slots()
	for len(sum.Outputs)*int(NumStatus) < len(counts) {
		sum.Outputs = append(sum.Outputs, [NumStatus]uint64{})
	}
	for i := range counts {
		if n := counts[i].Load(); n != 0 {
			sum.Outputs[i/int(NumStatus)][i%int(NumStatus)] += n
		}
	}
}

// Tracker releases positions of type P in the order in which they were
// tracked. Safe for concurrent use.
type Tracker[P any] struct {
	mu   sync.Mutex
	open []entry[P] // FIFO; open[head:] is live
	head int
}

type entry[P any] struct {
	pos   P
	token *Token
}

// Track returns the token for the bytes that end at pos. Calls must come in
// the order of the positions. now is only for Open.
func (t *Tracker[P]) Track(pos P, now time.Time) *Token {
	t.mu.Lock()
	defer t.mu.Unlock()
	tok := &Token{since: now}
	t.track(pos, tok)
	return tok
}

func (t *Tracker[P]) track(pos P, tok *Token) {
	if t.head > 0 && len(t.open) == cap(t.open) {
		n := copy(t.open, t.open[t.head:])
		clear(t.open[n:])
		t.open = t.open[:n]
		t.head = 0
	}
	t.open = append(t.open, entry[P]{pos, tok})
}

// Add tracks a token that exists already and is not finished, as Track does for a
// new one. It must not be another tracker's.
func (t *Tracker[P]) Add(pos P, tok *Token, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tok.since = now
	t.track(pos, tok)
}

// Advance passes every token up to the first that is not done, adds what was
// counted on them to sum, and returns the last position passed. ok is false
// if there was none.
func (t *Tracker[P]) Advance(sum *Tally) (pos P, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.head < len(t.open) && t.open[t.head].token.done.Load() {
		e := &t.open[t.head]
		pos, ok = e.pos, true
		e.token.addTo(sum)
		*e = entry[P]{}
		t.head++
	}
	if t.head == len(t.open) {
		t.open, t.head = t.open[:0], 0
	}
	return pos, ok
}

// Peek adds to sum what has been counted so far on tokens not yet passed.
// Together with the sums that Advance gave it is the state of this moment.
func (t *Tracker[P]) Peek(sum *Tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.open[t.head:] {
		e.token.addTo(sum)
	}
}

// Open returns how many tokens have not been passed and, if there are any,
// since when the oldest is open.
func (t *Tracker[P]) Open() (n int, oldest time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n = len(t.open) - t.head; n > 0 {
		oldest = t.open[t.head].token.since
	}
	return n, oldest
}
