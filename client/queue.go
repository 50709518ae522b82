package client

import (
	"context"
	"errors"
	"sync"
	"time"
)

// batch is what one request is made of.
type batch struct {
	res     []byte // the resource
	buf     []byte // records
	records int
	lost    int   // records in front of them that cannot be read any more
	memory  int64 // to be released
	end     position
	done    bool
}

// queue is what waits to be sent: what is in the spool, and behind it chunks in
// memory, which are all there is without a spool, and which come to it as soon as
// it takes them.
type queue struct {
	c  *Client
	sp *spool // nil: none

	spoolErr error     // why the spool did not take the last chunk
	retryAt  time.Time // when it is asked again

	mu      sync.Mutex
	mem     []chunk
	memSize int64
	flight  []*batch  // in the order they were taken
	since   time.Time // when the oldest record came that no sender has

	accepted, taken, released uint64 // records, in this order
	urgent                    uint64 // up to here they do not wait for others
	lost                      uint64
	changed                   chan struct{}
}

// broadcast wakes all who wait; the lock is held.
func (q *queue) broadcast() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// put adds chunks, the oldest of which came at since, and moves what it can to
// the spool. Only the collector's goroutine calls it.
func (q *queue) put(chunks []chunk, since time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.accepted == q.taken {
		q.since = since
	}
	for _, ch := range chunks {
		q.mem = append(q.mem, ch)
		q.memSize += int64(len(ch.buf))
		q.accepted += uint64(ch.records)
	}
	if q.sp != nil {
		q.spoolLocked()
	}
	q.broadcast()
}

// spoolLocked moves chunks from memory to the spool.
func (q *queue) spoolLocked() {
	now := time.Now()
	for len(q.mem) > 0 {
		ch := q.mem[0]
		if !errors.Is(q.spoolErr, errSpoolFull) && now.Before(q.retryAt) {
			q.failCommits(q.spoolErr)
			return
		}
		err := q.sp.append(ch.buf, ch.records)
		if err != nil {
			if q.spoolErr == nil || errors.Is(q.spoolErr, errSpoolFull) != errors.Is(err, errSpoolFull) {
				q.c.trouble.spool(err)
			}
			q.spoolErr, q.retryAt = err, now.Add(time.Second)
			q.failCommits(err)
			return
		}
		if q.spoolErr != nil {
			q.spoolErr = nil
			q.c.trouble.spool(nil)
		}
		q.memSize -= int64(len(ch.buf))
		q.c.release(int64(len(ch.buf)))
		finish(ch.commits, nil)
		q.mem[0] = chunk{}
		q.mem = q.mem[1:]
	}
	q.mem = nil
}

// failCommits tells those who wait for chunks that stay in memory.
func (q *queue) failCommits(err error) {
	for i := range q.mem {
		finish(q.mem[i].commits, err)
		q.mem[i].commits = nil
	}
}

func finish(commits []*commit, err error) {
	for _, c := range commits {
		c.err = err
		close(c.done)
	}
}

// take waits for a batch: until there are enough bytes, or the oldest record has
// waited long enough, or somebody is in a hurry. It returns nil when ctx ends.
func (q *queue) take(ctx context.Context) *batch {
	for {
		q.mu.Lock()
		wait, ready := q.readyLocked()
		if ready {
			if b := q.takeLocked(); b != nil {
				q.mu.Unlock()
				return b
			}
			q.mu.Unlock()
			continue
		}
		changed := q.changed
		q.mu.Unlock()
		if !sleep(ctx, wait, changed) {
			return nil
		}
	}
}

// sleep waits for a time, if it is not 0, or for changed; it reports false if ctx
// ended before.
func sleep(ctx context.Context, d time.Duration, changed <-chan struct{}) bool {
	var timer <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-changed:
		return true
	case <-timer:
		return true
	case <-ctx.Done():
		return false
	}
}

func (q *queue) readyLocked() (wait time.Duration, ready bool) {
	if q.taken == q.accepted {
		return 0, false
	}
	size := q.memSize
	if q.sp != nil {
		_, unread, _ := q.sp.bytes()
		size += unread
	}
	wait = time.Until(q.since.Add(q.c.cfg.BatchWait))
	return wait, wait <= 0 || size >= int64(q.c.cfg.BatchBytes) || q.taken < q.urgent
}

func (q *queue) takeLocked() *batch {
	b := &batch{}
	limit := q.c.cfg.BatchBytes
	if q.sp != nil {
		t, err := q.sp.take(limit)
		if err != nil {
			q.c.trouble.spoolRead(err)
		}
		if t.lost > 0 {
			q.lost += uint64(t.lost)
			q.taken += uint64(t.lost)
			b.lost = t.lost
		}
		b.res, b.buf, b.end = t.res, t.buf, t.end
		b.records += t.records
		q.taken += uint64(t.records)
	}
	if b.buf == nil && len(q.mem) > 0 {
		n := 0
		for n < len(q.mem) && (n == 0 || len(b.buf)+len(q.mem[n].buf) <= limit) {
			ch := &q.mem[n]
			if n == 0 {
				b.buf = ch.buf
			} else {
				b.buf = append(b.buf, ch.buf...)
			}
			b.records += ch.records
			q.taken += uint64(ch.records)
			b.memory += int64(len(ch.buf))
			finish(ch.commits, q.spoolErr)
			q.mem[n] = chunk{}
			n++
		}
		q.mem = q.mem[n:]
		q.memSize -= b.memory
		b.res = q.c.resource
	}
	q.since = time.Now()
	if b.buf == nil {
		if b.lost > 0 {
			b.done = true
			q.flight = append(q.flight, b)
			q.settleLocked()
		} else if q.taken < q.accepted {
			// Cannot be: counts and contents differ. Better to go on than to spin.
			q.taken = q.accepted
			q.settleLocked()
		}
		return nil
	}
	q.flight = append(q.flight, b)
	return b
}

// finish notes that all of a batch is dealt with.
func (q *queue) finish(b *batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b.done = true
	q.c.release(b.memory)
	q.settleLocked()
}

// settleLocked acknowledges the batches that are done, and all before them too.
func (q *queue) settleLocked() {
	for len(q.flight) > 0 && q.flight[0].done {
		b := q.flight[0]
		q.flight[0] = nil
		q.flight = q.flight[1:]
		q.released += uint64(b.records + b.lost)
		if b.end.seg != nil {
			if err := q.sp.ack(b.end); err != nil {
				q.c.trouble.spool(err)
			}
		}
	}
	if q.sp != nil && errors.Is(q.spoolErr, errSpoolFull) {
		signal(q.c.in.kick) // there may be room now
	}
	q.broadcast()
}

// hurry asks that all that is here is sent now.
func (q *queue) hurry() (target uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.urgent = q.accepted
	q.broadcast()
	return q.accepted
}

// wait waits until the first target records are dealt with. ErrClosed: they will
// not be, since the client has been closed meanwhile.
func (q *queue) wait(ctx context.Context, target uint64) error {
	for {
		q.mu.Lock()
		done, changed := q.released >= target, q.changed
		q.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-q.c.closed:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close ends the queue when nobody uses it any more: what is in memory goes to the
// spool. It returns how many records were not acknowledged: lost, and in files.
func (q *queue) close() (lost, spooled uint64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	left := q.accepted - q.released
	defer func() {
		q.lost += lost
		q.released += lost
	}()
	if q.sp == nil {
		return left, 0, nil
	}
	// Batches with the senders that came from memory are not in the spool.
	for _, b := range q.flight {
		if b.end.seg != nil || b.done {
			continue
		}
		if e := q.sp.append(b.buf, b.records); e != nil {
			lost += uint64(b.records)
			err = e
		}
	}
	q.spoolErr, q.retryAt = nil, time.Time{}
	q.spoolLocked()
	for _, ch := range q.mem {
		lost += uint64(ch.records)
		err = q.spoolErr
	}
	return lost, left - lost, errors.Join(err, q.sp.close())
}
