package store

import (
	"context"
	"slices"
	"sync"

	"github.com/weirlog/weir/logql"
)

// Tail receives rows as they become durable. It is for one reader.
type Tail struct {
	s     *Store
	match matching
	// What match said of the streams of a memtable, by their numbers. The store's
	// lock guards it.
	of    uint64 // memtable: 1 + its first log
	known []matched

	mu      sync.Mutex
	ring    []logql.Row
	head, n int
	bytes   int
	max     int
	dropped int64
	wake    chan struct{}
	closed  bool
}

// tailBytes bounds what waits for a reader, beside the number of rows.
const tailBytes = 16 << 20

// Tail subscribes to rows that the tenant sees and the selector matches, or may
// match: what depends on a row is the caller's to decide. At most max rows wait
// for the reader; what does not fit is dropped, oldest first, and counted.
func (s *Store) Tail(tenant string, sel *logql.Selector, max int) (*Tail, error) {
	if max < 1 {
		max = 1
	}
	t := &Tail{s: s, match: matching{sel: sel, tenant: tenant}, ring: make([]logql.Row, max), max: max, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, ErrClosed
	}
	s.tails[t] = struct{}{}
	return t, nil
}

// Next waits for rows and returns those that are there, in the order in which
// they became durable, and how many were dropped since the last call. They belong
// to the caller, but for their labels, which are shared and must not be modified.
// It returns ErrClosed after Close, of the tail or the store, when nothing is
// left.
func (t *Tail) Next(ctx context.Context) (rows []logql.Row, dropped int64, err error) {
	for {
		t.mu.Lock()
		if t.n > 0 || t.dropped > 0 {
			rows = make([]logql.Row, 0, t.n)
			for ; t.n > 0; t.n-- {
				rows = append(rows, t.ring[t.head])
				t.ring[t.head] = logql.Row{}
				t.head = (t.head + 1) % t.max
			}
			dropped, t.dropped, t.bytes = t.dropped, 0, 0
			t.mu.Unlock()
			return rows, dropped, nil
		}
		closed := t.closed
		t.mu.Unlock()
		if closed {
			return nil, 0, ErrClosed
		}
		select {
		case <-t.wake:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// Close ends the subscription.
func (t *Tail) Close() {
	t.s.mu.Lock()
	delete(t.s.tails, t)
	t.s.mu.Unlock()
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	poke(t.wake)
}

func (t *Tail) put(rows []logql.Row) {
	t.mu.Lock()
	for _, r := range rows {
		for t.n > 0 && (t.n == t.max || t.bytes+len(r.Line) > tailBytes) {
			t.bytes -= len(t.ring[t.head].Line)
			t.ring[t.head] = logql.Row{}
			t.head = (t.head + 1) % t.max
			t.n--
			t.dropped++
			t.s.stats.tailDropped.Add(1)
		}
		t.ring[(t.head+t.n)%t.max] = r
		t.n++
		t.bytes += len(r.Line)
	}
	t.mu.Unlock()
	poke(t.wake)
}

// announce gives the rows that have just become durable to the tails. mu is
// held: rows come in the order in which they became durable.
func (s *Store) announce(m *memtable, from int) {
	if len(s.tails) == 0 {
		return
	}
	v := m.view()
	defer s.release(v)
	for t := range s.tails {
		t.take(v, from)
	}
}

// take puts the rows behind from that the tail is for.
func (t *Tail) take(v *view, from int) {
	if of := v.m.firstWAL + 1; t.of != of {
		t.of, t.known = of, t.known[:0]
	}
	if n := len(v.streams); n > len(t.known) {
		t.known = append(t.known, make([]matched, n-len(t.known))...)
	}
	var rows []logql.Row
	for i := from; i < len(v.rows); i++ {
		r := &v.rows[i]
		m := &t.known[r.stream]
		if !m.asked {
			*m = t.match.ask(&v.streams[r.stream])
		}
		if m.verdict == logql.No {
			continue
		}
		rows = append(rows, logql.Row{
			Time: r.time, Line: append([]byte(nil), v.body(r)...), Labels: m.labels,
			Meta: rowMeta(v, r), Severity: r.severity, HasSeverity: true,
		})
	}
	if len(rows) > 0 {
		t.put(rows)
	}
}

// rowMeta returns the structured metadata of a row and, for names that it does
// not have itself, of its stream.
func rowMeta(v *view, r *memRow) []logql.Label {
	var out []logql.Label
	var a attrPairs
	a.Pairs(v.attrs(r), func(name, value []byte) {
		out = append(out, logql.Label{Name: string(name), Value: string(value)})
	})
	own := out
	for _, l := range v.streams[r.stream].Resource {
		if !slices.ContainsFunc(own, func(o logql.Label) bool { return o.Name == l.Name }) {
			out = append(out, l)
		}
	}
	return out
}
