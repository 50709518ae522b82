package store

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"

	"github.com/weirlog/weir/columns"
	"github.com/weirlog/weir/record"
)

// memtable is the rows that are in no segment yet. Their bytes stand in the
// frames of the write-ahead log, which are kept in chunks of memory as they were
// written; a row points there.
//
// Appending needs the store's lock. Whoever has a view may read without it:
// chunks and rows are only ever appended to, and what is behind the committed
// rows is not looked at.
type memtable struct {
	firstWAL uint64 // the first log file that has rows of it
	chunks   [][]byte
	rows     []memRow
	streams  []columns.Stream
	keys     []string // of streams
	byKey    map[string]uint32
	known    map[*record.Stream]uint32
	bytes    int64       // of chunks in use
	body     int64       // of bodies
	pushed   []record.ID // of pushed rows
	born     int64       // when the first row came, Unix nanoseconds; 0: empty
	defined  int         // streams that frames have defined

	// Where the committed part ends.
	committed mark

	sources  []sourceState // at rotation: what changed since the rotation before
	lastSeq  uint64        // at rotation: number of the last frame
	nextWAL  uint64        // at rotation: the first log file that is not needed for it
	forgot   []sourceState // at rotation: sources to be forgotten
	refs     atomic.Int32  // views; the memory is used again when there is none
	min, max int64         // times of the rows
}

// mark is a position in a memtable.
type mark struct {
	rows, streams, chunks, used, keys int
	bytes, body                       int64
}

// memRow is a row. Its structured metadata stands before its body.
type memRow struct {
	time     int64
	off      uint32 // in the chunk, of the metadata
	body     uint32 // sizes
	attrs    uint32
	stream   uint32
	chunk    uint32
	severity record.Severity
}

const chunkSize = 1 << 20

// maxKnown bounds the caches of streams by pointer.
const maxKnown = 1 << 14

func newMemtable(wal uint64, pool *chunkPool) *memtable {
	m := &memtable{rows: pool.rows(), firstWAL: wal, byKey: make(map[string]uint32), known: make(map[*record.Stream]uint32), min: math.MaxInt64, max: math.MinInt64}
	m.refs.Store(1) // the store's own, until it is flushed
	return m
}

// internedStream is a stream and its key.
type internedStream struct {
	columns.Stream
	key string
}

// intern returns the number of a stream in the active memtable. mu is held.
//
// A stream that is interned for a row and then not in a frame stays without
// harm: the next frame defines it.
func (s *Store) intern(st *record.Stream) uint32 {
	m := s.active
	if n, ok := m.known[st]; ok {
		return n
	}
	in := s.interned[st]
	if in == nil {
		in = &internedStream{Stream: streamOf(st)}
		in.key = string(streamKey(nil, &in.Stream))
		if len(s.interned) >= maxKnown {
			clear(s.interned)
		}
		s.interned[st] = in
	}
	n := m.internStream(in)
	if len(m.known) >= maxKnown {
		clear(m.known)
	}
	m.known[st] = n
	return n
}

func (m *memtable) internStream(in *internedStream) uint32 {
	n, ok := m.byKey[in.key]
	if !ok {
		n = uint32(len(m.streams))
		m.streams, m.keys = append(m.streams, in.Stream), append(m.keys, in.key)
		m.byKey[in.key] = n
	}
	return n
}

// room returns n bytes of memory that are for a frame, and the chunk they are in.
func (m *memtable) room(n int, pool *chunkPool) (frame []byte, chunk int) {
	last := len(m.chunks) - 1
	if last < 0 || cap(m.chunks[last])-len(m.chunks[last]) < n {
		m.chunks = append(m.chunks, pool.get(n))
		last++
	}
	c := m.chunks[last]
	m.chunks[last] = c[:len(c)+n]
	m.bytes += int64(n)
	return m.chunks[last][len(c):], last
}

func (m *memtable) add(r memRow) {
	m.rows = append(m.rows, r)
	m.body += int64(r.body)
	m.min, m.max = min(m.min, r.time), max(m.max, r.time)
}

func (m *memtable) mark() mark {
	k := mark{rows: len(m.rows), streams: len(m.streams), chunks: len(m.chunks), keys: len(m.pushed), bytes: m.bytes, body: m.body}
	if k.chunks > 0 {
		k.used = len(m.chunks[k.chunks-1])
	}
	return k
}

// rollback forgets what came after the committed part.
func (m *memtable) rollback() {
	k := m.committed
	m.rows, m.pushed = m.rows[:k.rows], m.pushed[:k.keys]
	for i := k.streams; i < len(m.streams); i++ {
		delete(m.byKey, m.keys[i])
	}
	m.streams, m.keys, m.defined = m.streams[:k.streams], m.keys[:k.streams], k.streams
	clear(m.known)
	m.chunks = m.chunks[:k.chunks]
	if k.chunks > 0 {
		// Nobody reads behind the committed part, but a frame that failed may
		// still be in the hands of the writer: what comes next goes elsewhere.
		last := m.chunks[k.chunks-1]
		m.chunks[k.chunks-1] = last[:k.used:k.used]
	}
	m.bytes, m.body = k.bytes, k.body
	if k.rows == 0 {
		m.born = 0
	}
}

// view is what a reader sees of a memtable: it does not change.
type view struct {
	m       *memtable
	rows    []memRow
	streams []columns.Stream
	chunks  [][]byte
	min     int64
	max     int64
}

// view returns the committed part. The store's lock is held. The caller gives it
// back with release.
func (m *memtable) view() *view {
	m.refs.Add(1)
	return &view{m: m, rows: m.rows[:m.committed.rows:m.committed.rows], streams: m.streams[:m.committed.streams:m.committed.streams],
		chunks: slices.Clone(m.chunks[:m.committed.chunks]), min: m.min, max: m.max}
}

func (v *view) attrs(r *memRow) []byte { return v.chunks[r.chunk][r.off : r.off+r.attrs] }

func (v *view) body(r *memRow) []byte {
	return v.chunks[r.chunk][r.off+r.attrs : r.off+r.attrs+r.body]
}

// sorted returns the rows' numbers by (day, stream, time), of equal ones the
// earlier first; streams are in the order that rank says.
func (v *view) sorted(rank []uint32, days map[int64]int64) []uint32 {
	// By stream first, keeping the order in which they came, which is that of time
	// but for a few.
	next := make([]uint32, len(rank)+1)
	for i := range v.rows {
		next[rank[v.rows[i].stream]+1]++
	}
	for i := 1; i < len(next); i++ {
		next[i] += next[i-1]
	}
	order := make([]uint32, len(v.rows))
	for i := range v.rows {
		k := &next[rank[v.rows[i].stream]]
		order[*k] = uint32(i)
		*k++
	}
	for from := 0; from < len(order); {
		stream := v.rows[order[from]].stream
		to, ascending := from+1, true
		for ; to < len(order) && v.rows[order[to]].stream == stream; to++ {
			ascending = ascending && v.rows[order[to-1]].time <= v.rows[order[to]].time
		}
		if !ascending {
			slices.SortStableFunc(order[from:to], func(a, b uint32) int { return cmp.Compare(v.rows[a].time, v.rows[b].time) })
		}
		from = to
	}
	if len(days) > 1 {
		slices.SortStableFunc(order, func(a, b uint32) int {
			return cmp.Compare(days[dayOf(v.rows[a].time)], days[dayOf(v.rows[b].time)])
		})
	}
	return order
}

const dayNs = 24 * 3600 * 1e9

// dayOf is the number of the UTC day since the epoch.
func dayOf(t int64) int64 {
	d := t / dayNs
	if t%dayNs < 0 {
		d--
	}
	return d
}

// chunkPool keeps the memory of memtables that are gone.
type chunkPool struct {
	free chan []byte
	list chan []memRow
}

func newChunkPool(bytes int64) *chunkPool {
	return &chunkPool{make(chan []byte, bytes/chunkSize+1), make(chan []memRow, 2)}
}

func (p *chunkPool) rows() []memRow {
	select {
	case r := <-p.list:
		return r
	default:
		return nil
	}
}

// maxPooledRows bounds the list of rows that is kept.
const maxPooledRows = 1 << 20

func (p *chunkPool) putRows(r []memRow) {
	if cap(r) > maxPooledRows {
		return
	}
	select {
	case p.list <- r[:0]:
	default:
	}
}

func (p *chunkPool) get(n int) []byte {
	if n > chunkSize {
		return make([]byte, 0, n)
	}
	select {
	case c := <-p.free:
		return c
	default:
		return make([]byte, 0, chunkSize)
	}
}

func (p *chunkPool) put(chunks [][]byte) {
	for _, c := range chunks {
		if cap(c) != chunkSize {
			continue
		}
		select {
		case p.free <- c[:0]:
		default:
			return
		}
	}
}
