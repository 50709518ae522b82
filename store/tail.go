package store

import (
	"context"
	"sync"

	"github.com/weirlog/weir/logql"
)

// Entry is a row as a Tail delivers it.
type Entry struct {
	Stream   *logql.Stream
	Time     int64
	Severity uint8
	Meta     []logql.Label // structured metadata, of the stream and the row
	Body     []byte
}

// Tail receives rows as they become durable. It is for one reader.
type Tail struct {
	s   *Store
	sel *logql.Selector

	mu      sync.Mutex
	ring    []Entry
	head, n int
	bytes   int
	max     int
	dropped int64
	wake    chan struct{}
	closed  bool
}

// tailBytes bounds what waits for a reader, beside the number of rows.
const tailBytes = 16 << 20

// Tail subscribes to rows that the selector matches, or may match: what depends
// on a row is the caller's to decide. At most max rows wait for the reader; what
// does not fit is dropped, oldest first, and counted.
func (s *Store) Tail(sel *logql.Selector, max int) (*Tail, error) {
	t := &Tail{s: s, sel: sel, ring: make([]Entry, max), max: max, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, ErrClosed
	}
	s.tails[t] = struct{}{}
	return t, nil
}

// Next waits for rows and returns those that are there, oldest first, and how
// many were dropped since the last call. It returns ErrClosed after Close, when
// nothing is left.
func (t *Tail) Next(ctx context.Context) (rows []Entry, dropped int64, err error) {
	for {
		t.mu.Lock()
		if t.n > 0 || t.dropped > 0 {
			rows = make([]Entry, 0, t.n)
			for ; t.n > 0; t.n-- {
				rows = append(rows, t.ring[t.head])
				t.ring[t.head] = Entry{}
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

func (t *Tail) put(es []Entry) {
	t.mu.Lock()
	for _, e := range es {
		for t.n > 0 && (t.n == t.max || t.bytes+len(e.Body) > tailBytes) {
			t.bytes -= len(t.ring[t.head].Body)
			t.ring[t.head] = Entry{}
			t.head = (t.head + 1) % t.max
			t.n--
			t.dropped++
			t.s.stats.tailDropped.Add(1)
		}
		t.ring[(t.head+t.n)%t.max] = e
		t.n++
		t.bytes += len(e.Body)
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
	streams := make([]*logql.Stream, len(v.streams))
	for t := range s.tails {
		verdicts := make([]logql.Verdict, len(v.streams))
		for i := range v.streams {
			verdicts[i] = t.sel.Stream(v.streams[i].Labels)
		}
		var es []Entry
		for i := from; i < len(v.rows); i++ {
			r := &v.rows[i]
			if verdicts[r.stream] == logql.No {
				continue
			}
			st := streams[r.stream]
			if st == nil {
				st = &logql.Stream{Labels: v.streams[r.stream].Labels}
				streams[r.stream] = st
			}
			e := Entry{Stream: st, Time: r.time, Severity: uint8(r.severity), Meta: s.tailMeta(v, r), Body: append([]byte(nil), v.body(r)...)}
			es = append(es, e)
		}
		if len(es) > 0 {
			t.put(es)
		}
	}
}

func (s *Store) tailMeta(v *view, r *memRow) []logql.Label {
	out := append([]logql.Label(nil), v.streams[r.stream].Resource...)
	var a attrPairs
	a.Pairs(v.attrs(r), func(name, value []byte) {
		out = append(out, logql.Label{Name: string(name), Value: string(value)})
	})
	return out
}
