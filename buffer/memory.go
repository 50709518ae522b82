package buffer

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/weirlog/weir/record"
)

// Memory is a first-in, first-out queue of Parts. Its limit is one of
// admission, on the sum of their sizes (Part.Size): who reads asks Full before
// making a Part, and a Part that was made is always taken, so that nobody ever
// holds one with nowhere to put it. It is over its limit by at most what was
// being made when it became full. Memory owns the Parts in it but never settles
// one: Parts that are still queued when the process ends stay open. Safe for
// concurrent use.
type Memory struct {
	max   int
	room  func()
	ready chan struct{} // holds a value while a taker may find something

	mu      sync.Mutex
	items   []item // items[head:] are queued
	head    int
	records int
	bytes   int
	closed  bool
}

type item struct {
	part  record.Part
	bytes int
	since time.Time
}

// NewMemory returns an empty queue that is Full at maxBytes bytes.
func NewMemory(maxBytes int) *Memory {
	return &Memory{max: maxBytes, ready: make(chan struct{}, 1)}
}

// OnRoom sets the function that is called whenever a queue that was Full has
// room again, and when it is closed. It is called by the taker without any lock of the queue held; it must not block. Call OnRoom
// before the queue is shared.
func (m *Memory) OnRoom(room func()) { m.room = room }

// Put appends p and takes over its ownership; it never blocks. It reports false,
// and leaves p to the caller, when the queue is closed, and only then.
func (m *Memory) Put(p record.Part) bool {
	size := p.Size()
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return false
	}
	if m.head > 0 && len(m.items) == cap(m.items) {
		n := copy(m.items, m.items[m.head:])
		clear(m.items[n:])
		m.items, m.head = m.items[:n], 0
	}
	m.items = append(m.items, item{p, size, time.Now()})
	m.records += p.Len()
	m.bytes += size
	m.mu.Unlock()
	m.signal()
	return true
}

// Full reports whether the limit is reached: no further Part should be made. An
// empty queue is never full.
func (m *Memory) Full() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.full()
}

func (m *Memory) full() bool {
	return m.head < len(m.items) && m.bytes >= m.max
}

// TryNext takes the oldest Part if there is one; the caller owns it.
func (m *Memory) TryNext() (record.Part, bool) {
	m.mu.Lock()
	if m.head == len(m.items) {
		m.mu.Unlock()
		return record.Part{}, false
	}
	wasFull := m.full()
	it := m.items[m.head]
	m.items[m.head] = item{}
	m.head++
	if m.head == len(m.items) {
		m.items, m.head = m.items[:0], 0
	}
	m.records -= it.part.Len()
	m.bytes -= it.bytes
	gotRoom := wasFull && !m.full()
	m.mu.Unlock()
	if gotRoom && m.room != nil {
		m.room()
	}
	return it.part, true
}

// Next takes the oldest Part and waits for one if there is none. Its error is
// ctx's once ctx has ended, even if Parts are queued, and io.EOF once the queue
// is closed and empty.
func (m *Memory) Next(ctx context.Context) (record.Part, error) {
	for {
		if err := ctx.Err(); err != nil {
			return record.Part{}, err
		}
		if p, ok := m.TryNext(); ok {
			m.passOn()
			return p, nil
		}
		if m.Drained() {
			m.signal() // for the next taker to see the end too
			return record.Part{}, io.EOF
		}
		select {
		case <-m.ready:
		case <-ctx.Done():
		}
	}
}

// Ready returns a channel that receives a value after a Put or Close. One value
// may stand for any number of Parts: take with TryNext until it reports false,
// then look at Drained, then wait again. A taker that stops in between must not
// rely on another value for what it left behind. At most one taker may use
// Ready, and none beside it Next.
func (m *Memory) Ready() <-chan struct{} { return m.ready }

// Close refuses every later Put; what is queued can still be taken. Closing
// twice is allowed.
func (m *Memory) Close() {
	m.mu.Lock()
	first := !m.closed
	m.closed = true
	m.mu.Unlock()
	m.signal()
	if first && m.room != nil {
		m.room()
	}
}

// Drained reports whether the queue is closed and empty: nothing will ever
// come from it.
func (m *Memory) Drained() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed && m.head == len(m.items)
}

// Len returns how many Parts are queued, how many records they have, and the
// sum of their sizes in bytes.
func (m *Memory) Len() (parts, records, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.items) - m.head, m.records, m.bytes
}

// OldestSince returns when the Part that TryNext would give was put; ok is
// false if the queue is empty.
func (m *Memory) OldestSince() (since time.Time, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.head == len(m.items) {
		return time.Time{}, false
	}
	return m.items[m.head].since, true
}

func (m *Memory) signal() {
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// passOn wakes another waiter of Next if it would find something.
func (m *Memory) passOn() {
	m.mu.Lock()
	more := m.head < len(m.items) || m.closed
	m.mu.Unlock()
	if more {
		m.signal()
	}
}
