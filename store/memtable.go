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
	byKey    map[string]uint32
	known    map[*record.Stream]uint32
	bytes    int64 // of chunks in use
	body     int64 // of bodies
	born     int64 // when the first row came, Unix nanoseconds; 0: empty
	defined  int   // streams that frames have defined

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
	rows, streams, chunks, used int
	bytes, body                 int64
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

// maxKnown bounds the cache of streams by pointer.
const maxKnown = 1 << 14

func newMemtable(wal uint64) *memtable {
	m := &memtable{firstWAL: wal, byKey: make(map[string]uint32), known: make(map[*record.Stream]uint32), min: math.MaxInt64, max: math.MinInt64}
	m.refs.Store(1) // the store's own, until it is flushed
	return m
}

// intern returns the number of a stream.
//
// A stream that is interned for a row and then not in a frame stays without
// harm: the next frame defines it.
func (m *memtable) intern(s *record.Stream) uint32 {
	if n, ok := m.known[s]; ok {
		return n
	}
	n := m.internStream(streamOf(s))
	if len(m.known) >= maxKnown {
		clear(m.known)
	}
	m.known[s] = n
	return n
}

func (m *memtable) internStream(s columns.Stream) uint32 {
	key := streamKey(nil, &s)
	n, ok := m.byKey[string(key)]
	if !ok {
		n = uint32(len(m.streams))
		m.streams = append(m.streams, s)
		m.byKey[string(key)] = n
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
	k := mark{rows: len(m.rows), streams: len(m.streams), chunks: len(m.chunks), bytes: m.bytes, body: m.body}
	if k.chunks > 0 {
		k.used = len(m.chunks[k.chunks-1])
	}
	return k
}

// rollback forgets what came after the committed part.
func (m *memtable) rollback() {
	k := m.committed
	m.rows = m.rows[:k.rows]
	for i := k.streams; i < len(m.streams); i++ {
		delete(m.byKey, string(streamKey(nil, &m.streams[i])))
	}
	m.streams, m.defined = m.streams[:k.streams], k.streams
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
	one := len(days) == 1
	order := make([]uint32, len(v.rows))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		x, y := &v.rows[a], &v.rows[b]
		if !one {
			if c := cmp.Compare(days[dayOf(x.time)], days[dayOf(y.time)]); c != 0 {
				return c
			}
		}
		if c := cmp.Compare(rank[x.stream], rank[y.stream]); c != 0 {
			return c
		}
		if c := cmp.Compare(x.time, y.time); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
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

// chunkPool keeps the chunks of memtables that are gone.
type chunkPool struct {
	free chan []byte
}

func newChunkPool(bytes int64) *chunkPool {
	return &chunkPool{make(chan []byte, bytes/chunkSize+1)}
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
