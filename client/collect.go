package client

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// ErrFull is the handler's error for a record that was dropped because memory,
// and the spool if there is one, are full.
var ErrFull = errors.New("weir client: no room: the record is dropped")

// ErrClosed is the handler's error for a record logged after Close.
var ErrClosed = errors.New("weir client: closed: the record is dropped")

// shard is where records are put down. There are several, and a goroutine stays
// with that of the processor it runs on, so that they seldom wait for each other.
type shard struct {
	mu      sync.Mutex
	buf     []byte
	records int
	closed  bool
	commit  *commit // with SyncAlways: of what is in buf
	_       [64]byte
}

// commit tells those who wait for it when what they logged is on disk.
type commit struct {
	done chan struct{}
	err  error
}

// chunk is a number of records, in the order of their times.
type chunk struct {
	buf     []byte
	records int
	commits []*commit
}

// collector takes records from the program.
type collector struct {
	shards []shard
	pool   sync.Pool // of *encoder
	next   atomic.Uint32

	used  atomic.Int64 // bytes in memory: here, in the queue and being sent
	dirty atomic.Bool  // something came since the last take
	wake  chan struct{}
	kick  chan struct{} // a batch is full: take it now

	roomMu sync.Mutex
	room   chan struct{} // closed when memory is released; nil if nobody waits

	lossMu sync.Mutex
	loss   loss
	lossy  atomic.Bool

	full, closed, bytes, cut atomic.Uint64
}

// loss is what was dropped since the last report of it.
type loss struct {
	records, bytes uint64
	from, to       time.Time
}

// handle encodes a record and puts it down.
func (c *Client) handle(ctx context.Context, h *handler, r *slog.Record) error {
	e := c.in.pool.Get().(*encoder)
	t, traced := c.cfg.Trace(ctx)
	e.record(h, r, t, traced)
	if e.cut || e.cuts > 0 {
		c.in.cut.Add(1)
	}
	err := c.put(ctx, e)
	if cap(e.buf) > 64<<10 {
		e.buf = nil
	}
	c.in.pool.Put(e)
	return err
}

func (c *Client) put(ctx context.Context, e *encoder) error {
	in := &c.in
	n := int64(len(e.buf))
	used := in.used.Add(n)
	if used > c.cfg.MemoryBytes {
		in.used.Add(-n)
		if c.cfg.WhenFull != Block {
			in.drop(1, uint64(n), time.Now())
			return ErrFull
		}
		if err := c.waitRoom(ctx, n); err != nil {
			in.drop(1, uint64(n), time.Now())
			return err
		}
		used = in.used.Load()
	}
	s := &in.shards[e.shard]
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		c.release(n)
		in.closed.Add(1)
		return ErrClosed
	}
	s.buf = append(s.buf, e.buf...)
	s.records++
	var wait *commit
	if c.always {
		if s.commit == nil {
			s.commit = &commit{done: make(chan struct{})}
		}
		wait = s.commit
	}
	s.mu.Unlock()
	if !in.dirty.Load() && in.dirty.CompareAndSwap(false, true) {
		signal(in.wake)
	}
	if batch := int64(c.cfg.BatchBytes); used/batch != (used-n)/batch {
		signal(in.kick)
	}
	if wait == nil {
		return nil
	}
	select {
	case <-wait.done:
		return wait.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// waitRoom takes n bytes of memory as soon as there are.
func (c *Client) waitRoom(ctx context.Context, n int64) error {
	in := &c.in
	for {
		in.roomMu.Lock()
		if in.room == nil {
			in.room = make(chan struct{})
		}
		room := in.room
		in.roomMu.Unlock()
		if in.used.Add(n) <= c.cfg.MemoryBytes {
			return nil
		}
		in.used.Add(-n)
		signal(in.kick)
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.closing:
			return ErrClosed
		}
	}
}

// release gives back memory.
func (c *Client) release(n int64) {
	in := &c.in
	in.used.Add(-n)
	in.roomMu.Lock()
	if in.room != nil {
		close(in.room)
		in.room = nil
	}
	in.roomMu.Unlock()
}

// drop counts records that there was no room for.
func (in *collector) drop(records, bytes uint64, at time.Time) {
	in.full.Add(records)
	in.bytes.Add(bytes)
	in.lossMu.Lock()
	if in.loss.records == 0 {
		in.loss.from = at
	}
	in.loss.records += records
	in.loss.bytes += bytes
	in.loss.to = at
	in.lossMu.Unlock()
	in.lossy.Store(true)
}

// take returns all records that were put down, in chunks of at most limit bytes,
// unless a record alone is longer.
func (in *collector) take(limit int, closing bool) []chunk {
	in.dirty.Store(false)
	var parts []chunk
	for i := range in.shards {
		s := &in.shards[i]
		s.mu.Lock()
		s.closed = s.closed || closing
		if s.records > 0 {
			p := chunk{buf: s.buf, records: s.records}
			if s.commit != nil {
				p.commits = append(p.commits, s.commit)
			}
			parts = append(parts, p)
			// About as much will come next time; what a burst needed is not kept.
			s.buf = make([]byte, 0, min(len(p.buf)+len(p.buf)/4, limit))
			s.records, s.commit = 0, nil
		}
		s.mu.Unlock()
	}
	switch len(parts) {
	case 0:
		return nil
	case 1:
		return split(parts[0], limit)
	}
	return split(merge(parts), limit)
}

// recordLen is the size of the record at the beginning of p.
func recordLen(p []byte) int {
	n, k := binary.Uvarint(p[1:])
	return 1 + k + int(n)
}

// timeAt is the time of the record at the beginning of p.
func timeAt(p []byte) uint64 {
	_, k := binary.Uvarint(p[1:])
	return binary.LittleEndian.Uint64(p[1+k+1:])
}

// merge puts the records of parts in the order of their times, those of each
// part in the order they are in.
func merge(parts []chunk) chunk {
	size, records := 0, 0
	type cursor struct {
		rest []byte
		time uint64
	}
	var commits []*commit
	at := make([]cursor, 0, len(parts))
	for _, p := range parts {
		size += len(p.buf)
		records += p.records
		commits = append(commits, p.commits...)
		at = append(at, cursor{p.buf, timeAt(p.buf)})
	}
	out := chunk{buf: make([]byte, 0, size), records: records, commits: commits}
	for len(at) > 0 {
		first := 0
		for i := range at {
			if at[i].time < at[first].time {
				first = i
			}
		}
		c := &at[first]
		n := recordLen(c.rest)
		out.buf = append(out.buf, c.rest[:n]...)
		if c.rest = c.rest[n:]; len(c.rest) > 0 {
			c.time = timeAt(c.rest)
		} else {
			at[first] = at[len(at)-1]
			at = at[:len(at)-1]
		}
	}
	return out
}

// split cuts p into chunks. The last one has the commits.
func split(p chunk, limit int) []chunk {
	if len(p.buf) <= limit {
		return []chunk{p}
	}
	var out []chunk
	begin, n := 0, 0
	for i := 0; i < len(p.buf); {
		k := recordLen(p.buf[i:])
		if n > 0 && i+k-begin > limit {
			out = append(out, chunk{buf: p.buf[begin:i:i], records: n})
			begin, n = i, 0
		}
		i += k
		n++
	}
	return append(out, chunk{buf: p.buf[begin:], records: n, commits: p.commits})
}
