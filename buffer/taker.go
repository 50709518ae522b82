package buffer

import (
	"context"
	"io"
	"time"

	"github.com/weirlog/weir/record"
)

// Taker takes the Parts of a Disk. Only the latest Taker gets anything: an output
// whose settings change hands over to its successor, and to itself it looks as if
// its queue were closed and empty.
type Taker struct {
	d     *Disk
	ready chan struct{}
}

func newTaker(d *Disk) *Taker { return &Taker{d, make(chan struct{}, 1)} }

// Taker returns a new Taker that takes the place of all others, also of the Disk's
// own methods.
func (d *Disk) Taker() *Taker {
	t := newTaker(d)
	d.mu.Lock()
	old := d.taker
	d.taker = t
	d.mu.Unlock()
	old.signal()
	t.signal()
	return t
}

// Return gives Parts back that were taken and not settled, oldest first, to be
// taken again before all others.
func (d *Disk) Return(parts []record.Part) {
	if len(parts) == 0 {
		return
	}
	now := d.c.Now().UnixNano()
	d.mu.Lock()
	for _, p := range parts {
		d.returned = append(d.returned, loaded{part: p, size: p.Size(), wall: now})
	}
	t := d.taker
	d.mu.Unlock()
	t.signal()
}

func (t *Taker) signal() {
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

// TryNext takes the oldest Part that has been read if there is one; the caller
// owns it.
func (t *Taker) TryNext() (record.Part, bool) { return t.d.take(t) }

// Ready is as for Memory.
func (t *Taker) Ready() <-chan struct{} { return t.ready }

// Drained reports whether nothing will ever come: the buffer is closed and empty,
// or another Taker has taken over.
func (t *Taker) Drained() bool {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	return t.d.taker != t || t.d.drained()
}

// Current reports whether no other Taker has taken over.
func (t *Taker) Current() bool {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	return t.d.taker == t
}

// Pending returns how many records were put and are not durable.
func (d *Disk) Pending() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pendingSum.records
}

// Close closes the buffer.
func (t *Taker) Close() { t.d.Close() }

// Len returns what is queued, 0 if another Taker has taken over.
func (t *Taker) Len() (parts, records, bytes int) {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	if t.d.taker != t {
		return 0, 0, 0
	}
	return t.d.len()
}

// OldestSince is as for Disk.
func (t *Taker) OldestSince() (time.Time, bool) {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	if t.d.taker != t {
		return time.Time{}, false
	}
	return t.d.oldestSince()
}

func (d *Disk) own() *Taker {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.taker
}

// TryNext takes the oldest Part that has been read if there is one; the caller
// owns it. A Part can be read soon after it is durable: Ready tells.
func (d *Disk) TryNext() (record.Part, bool) { return d.take(d.own()) }

// Ready returns a channel that receives a value when there may be something to
// take. At most one taker may use it, and none beside it Next.
func (d *Disk) Ready() <-chan struct{} { return d.own().ready }

// Drained reports whether the buffer is closed and empty.
func (d *Disk) Drained() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.drained()
}

func (d *Disk) drained() bool {
	return d.closed && len(d.pending) == 0 && len(d.returned) == 0 && d.taken.seq >= d.end.seq
}

// Len returns how many Parts are queued, how many records they have, and the sum
// of their sizes in bytes (Part.Size).
func (d *Disk) Len() (parts, records, bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.len()
}

func (d *Disk) len() (parts, records, bytes int) {
	parts = int(d.end.parts-d.taken.parts) + d.pendingSum.parts
	records = int(d.end.seq-d.taken.seq) + d.pendingSum.records
	bytes = int(d.end.sizes-d.taken.sizes) + d.pendingSum.bytes
	for i := range d.returned {
		parts++
		records += d.returned[i].part.Len()
		bytes += d.returned[i].size
	}
	return parts, records, bytes
}

// OldestSince returns when the Part that TryNext would give was put; ok is false
// if nothing can be taken.
func (d *Disk) OldestSince() (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.oldestSince()
}

func (d *Disk) oldestSince() (time.Time, bool) {
	now := d.c.Now()
	var wall int64
	switch {
	case len(d.returned) > 0:
		wall = d.returned[0].wall
	case len(d.loaded) > 0:
		wall = d.loaded[0].wall
	case len(d.pending) > 0:
		wall = d.pending[0].at.UnixNano()
	default:
		return time.Time{}, false
	}
	// A clock that was set back must not make a time to come of it.
	if t := time.Unix(0, wall); t.Before(now) {
		return t, true
	}
	return now, true
}

func (d *Disk) take(t *Taker) (record.Part, bool) {
	d.mu.Lock()
	if d.taker != t {
		d.mu.Unlock()
		return record.Part{}, false
	}
	if len(d.returned) > 0 {
		it := d.returned[0]
		d.returned = d.returned[1:]
		d.mu.Unlock()
		return it.part, true
	}
	if len(d.loaded) == 0 {
		d.mu.Unlock()
		return record.Part{}, false
	}
	it := d.loaded[0]
	d.loaded[0] = loaded{}
	d.loaded = d.loaded[1:]
	d.loadSize -= it.bytes
	d.taken = it.at
	d.work.Broadcast()
	tell := d.update()
	d.mu.Unlock()
	d.announce(tell)
	d.wakeKeeper()
	return it.part, true
}

// Next takes the oldest Part and waits for one if there is none. Its error is
// ctx's once ctx has ended, even if Parts are queued, and io.EOF once the buffer
// is closed and empty.
func (d *Disk) Next(ctx context.Context) (record.Part, error) {
	for {
		if err := ctx.Err(); err != nil {
			return record.Part{}, err
		}
		t := d.own()
		if p, ok := d.take(t); ok {
			t.signal() // another waiter may find something
			return p, nil
		}
		if d.Drained() {
			t.signal() // for the next taker to see the end too
			return record.Part{}, io.EOF
		}
		select {
		case <-t.ready:
		case <-ctx.Done():
		}
	}
}
