package pipeline

import (
	"sync"
	"sync/atomic"
)

// Budget bounds the bytes of all batches that are alive. Safe for concurrent
// use.
type Budget struct {
	limit int64
	used  atomic.Int64

	mu      sync.Mutex
	room    chan struct{}
	waiting bool
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget {
	return &Budget{limit: limit, room: make(chan struct{})}
}

// Limit returns the budget's size and Used what of it is spent, in bytes.
func (b *Budget) Limit() int64 { return b.limit }

// Used returns the bytes spent.
func (b *Budget) Used() int64 { return b.used.Load() }

func (b *Budget) spent() bool { return b.used.Load() >= b.limit }

func (b *Budget) charge(n int64) { b.used.Add(n) }

func (b *Budget) refund(n int64) {
	b.used.Add(-n)
	b.Wake()
}

// Room returns a channel that is closed at the next Wake.
func (b *Budget) Room() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = true
	return b.room
}

// Wake tells those who wait for room to look again. Queues call it when they
// stop being full.
func (b *Budget) Wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting {
		close(b.room)
		b.room = make(chan struct{})
		b.waiting = false
	}
}
