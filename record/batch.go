package record

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weirlog/weir/ack"
)

// StreamRef is an entry of a batch's stream table: who wrote a record, in
// which generation it stands, and the token its input waits for.
type StreamRef struct {
	Stream *Stream
	// Generation is the key of the file's life, or the zero ID where records
	// do not come from a file.
	Generation ID
	// Token may be nil, and several entries may share one.
	Token *ack.Token
}

// Batch owns the bytes and the rows of some records. See the package
// documentation for its life. A Batch is for one goroutine until Freeze; after
// it, all methods that only read may be called concurrently.
type Batch struct {
	buf     []byte
	recs    []Record
	fields  []Field
	keys    []string
	keyIdx  map[string]uint16
	keyMem  int // bytes of keys
	streams []StreamRef
	tokens  []*ack.Token // distinct, of streams
	live    []uint32     // records that are not dropped, filled by Freeze
	ids     map[int]ID   // senders' ids

	refs    atomic.Int32
	frozen  atomic.Bool
	release func(*Batch)
	charge  int64
}

// Sink is where an input puts its batches. Safe for concurrent use.
type Sink interface {
	// Get returns an empty batch, or nil while there is no room: the byte
	// budget is spent or an output that must not lose anything is full.
	Get() *Batch
	// Room returns a channel that is closed when it is worth asking Get again.
	// Take the channel before the Get that returned nil is tried.
	Room() <-chan struct{}
	// Put hands the batch over; the caller must not touch it again. An error
	// means that the batch was not taken: its tokens stay open.
	Put(ctx context.Context, b *Batch) error
}

// NewBatch returns an empty batch that belongs to no pool. release, if not
// nil, is called once when the last user is gone, after the tokens are done.
func NewBatch(release func(*Batch)) *Batch {
	b := &Batch{release: release}
	b.refs.Store(1)
	return b
}

// Reset makes a released batch empty for its next life, keeping its memory.
func (b *Batch) Reset(release func(*Batch)) {
	b.buf, b.recs, b.fields = b.buf[:0], b.recs[:0], b.fields[:0]
	clear(b.keys)
	b.keys, b.keyMem = b.keys[:0], 0
	clear(b.keyIdx)
	clear(b.streams)
	b.streams = b.streams[:0]
	clear(b.tokens)
	b.tokens, b.live = b.tokens[:0], b.live[:0]
	clear(b.ids)
	b.release, b.charge = release, 0
	b.frozen.Store(false)
	b.refs.Store(1)
}

// Reserve returns a writable slice of length n behind the buffer's end, for
// reading into. What Extend then takes of it becomes part of the buffer; the
// rest is forgotten.
func (b *Batch) Reserve(n int) []byte {
	b.mutable()
	b.buf = slices.Grow(b.buf, n)
	return b.buf[len(b.buf) : len(b.buf)+n]
}

// Extend takes the first n bytes of what Reserve returned into the buffer and
// returns their span.
func (b *Batch) Extend(n int) Span {
	b.mutable()
	off := len(b.buf)
	b.buf = b.buf[:off+n]
	return Span{uint32(off), uint32(n)}
}

// Append copies p behind the buffer's end.
func (b *Batch) Append(p []byte) Span {
	b.mutable()
	off := len(b.buf)
	b.buf = append(b.buf, p...)
	return Span{uint32(off), uint32(len(p))}
}

// AppendString copies s behind the buffer's end.
func (b *Batch) AppendString(s string) Span {
	b.mutable()
	off := len(b.buf)
	b.buf = append(b.buf, s...)
	return Span{uint32(off), uint32(len(s))}
}

// Len returns the length of the buffer.
func (b *Batch) Len() int { return len(b.buf) }

// Truncate cuts the buffer to n bytes; no span may point behind.
func (b *Batch) Truncate(n int) {
	b.mutable()
	b.buf = b.buf[:n]
}

// Bytes returns the bytes of s. They must not be modified, and while the batch
// is not frozen they are valid only until the buffer grows.
func (b *Batch) Bytes(s Span) []byte {
	b.alive()
	return b.buf[s.Off:s.End():s.End()]
}

// Buf returns the whole buffer, under the rules of Bytes.
func (b *Batch) Buf() []byte { return b.buf }

// AddStream returns the index of the entry in the batch's stream table that
// equals ref, added if it is new. The table holds at most 65 535 entries;
// callers put a batch before that.
func (b *Batch) AddStream(ref StreamRef) uint16 {
	b.mutable()
	for i := len(b.streams) - 1; i >= 0 && i >= len(b.streams)-4; i-- {
		if b.streams[i] == ref {
			return uint16(i)
		}
	}
	if len(b.streams) == 1<<16-1 {
		panic("record: stream table full")
	}
	b.streams = append(b.streams, ref)
	if ref.Token != nil && !slices.Contains(b.tokens, ref.Token) {
		b.tokens = append(b.tokens, ref.Token)
	}
	return uint16(len(b.streams) - 1)
}

// AddToken lets the batch finish a token under which no record stands, such as
// one for bytes that held nothing but skipped lines.
func (b *Batch) AddToken(t *ack.Token) {
	b.mutable()
	if t != nil && !slices.Contains(b.tokens, t) {
		b.tokens = append(b.tokens, t)
	}
}

// Tokens returns the distinct tokens of the batch. Do not modify.
func (b *Batch) Tokens() []*ack.Token { return b.tokens }

// SetToken sets the token of a stream entry that was added without one.
// Inputs that know a piece's end only after its last record use it.
func (b *Batch) SetToken(stream uint16, t *ack.Token) {
	b.mutable()
	b.streams[stream].Token = t
	b.AddToken(t)
}

// SetStream puts another Stream in the place of an entry's: who wrote its records
// is known better now.
func (b *Batch) SetStream(stream uint16, s *Stream) {
	b.mutable()
	b.streams[stream].Stream = s
}

// SetGeneration puts another generation in the place of an entry's.
func (b *Batch) SetGeneration(stream uint16, g ID) {
	b.mutable()
	b.streams[stream].Generation = g
}

// Streams returns the stream table. Do not modify.
func (b *Batch) Streams() []StreamRef { return b.streams }

// Stream returns the stream of record i.
func (b *Batch) Stream(i int) *Stream { return b.streams[b.recs[i].Stream].Stream }

// Add appends a record without fields and returns its index.
func (b *Batch) Add(r Record) int {
	b.mutable()
	r.fieldOff, r.fieldLen = 0, 0
	b.recs = append(b.recs, r)
	return len(b.recs) - 1
}

// NumRecords returns the number of records, dropped ones included.
func (b *Batch) NumRecords() int { return len(b.recs) }

// Record returns record i. It may be modified only before Freeze, and the
// pointer is valid only until the next Add.
func (b *Batch) Record(i int) *Record { return &b.recs[i] }

// Records returns all records under the rules of Record.
func (b *Batch) Records() []Record { return b.recs }

// Body returns the message of record i under the rules of Bytes.
func (b *Batch) Body(i int) []byte { return b.Bytes(b.recs[i].Body) }

// SetID notes that the sender gave record i an id of its own.
func (b *Batch) SetID(i int, id ID) {
	b.mutable()
	if b.ids == nil {
		b.ids = make(map[int]ID)
	}
	b.ids[i] = id
	b.recs[i].Flags |= HasID
}

// SenderID returns the id set with SetID.
func (b *Batch) SenderID(i int) (ID, bool) {
	if !b.recs[i].Flags.Has(HasID) {
		return ID{}, false
	}
	id, ok := b.ids[i]
	return id, ok
}

// MaxKeys is the number of distinct field names a batch holds; Key refuses
// more, and the caller leaves the value in the body.
const MaxKeys = 4096

// Key returns the index of the field name in the batch's key table, adding it
// if it is new; ok is false when the table is full.
func (b *Batch) Key(name []byte) (key uint16, ok bool) {
	if k, ok := b.keyIdx[string(name)]; ok {
		return k, true
	}
	b.mutable()
	if len(b.keys) >= MaxKeys {
		return 0, false
	}
	if b.keyIdx == nil {
		b.keyIdx = make(map[string]uint16)
	}
	s := string(name)
	b.keyIdx[s] = uint16(len(b.keys))
	b.keys = append(b.keys, s)
	b.keyMem += len(s)
	return uint16(len(b.keys) - 1), true
}

// FindKey returns the index of the field name if any record could have it.
func (b *Batch) FindKey(name string) (key uint16, ok bool) {
	key, ok = b.keyIdx[name]
	return key, ok
}

// KeyName returns the field name with that index.
func (b *Batch) KeyName(key uint16) string { return b.keys[key] }

// AddField appends a field to record i. It is cheapest when records get their
// fields one record after the other.
func (b *Batch) AddField(i int, f Field) {
	b.mutable()
	r := &b.recs[i]
	if r.fieldLen == 1<<16-1 {
		return
	}
	if int(r.fieldOff)+int(r.fieldLen) != len(b.fields) {
		off := len(b.fields)
		b.fields = append(b.fields, b.fields[r.fieldOff:r.fieldOff+uint32(r.fieldLen)]...)
		r.fieldOff = uint32(off)
	}
	b.fields = append(b.fields, f)
	r.fieldLen++
}

// Fields returns the fields of record i, in the order they were added. Values
// may be repointed in place before Freeze.
func (b *Batch) Fields(i int) []Field {
	r := &b.recs[i]
	return b.fields[r.fieldOff : r.fieldOff+uint32(r.fieldLen) : r.fieldOff+uint32(r.fieldLen)]
}

// FindField returns the last field of record i with that name.
func (b *Batch) FindField(i int, name string) (Field, bool) {
	if k, ok := b.keyIdx[name]; ok {
		fs := b.Fields(i)
		for j := len(fs) - 1; j >= 0; j-- {
			if fs[j].Key == k {
				return fs[j], true
			}
		}
	}
	return Field{}, false
}

// SetField replaces the value of the field of record i with that name, or adds
// it. It reports false if the key table is full.
func (b *Batch) SetField(i int, name string, kind Kind, val Span) bool {
	k, ok := b.Key([]byte(name))
	if !ok {
		return false
	}
	fs := b.Fields(i)
	for j := range fs {
		if fs[j].Key == k {
			b.mutable()
			fs[j].Kind, fs[j].Val = kind, val
			return true
		}
	}
	b.AddField(i, Field{Key: k, Kind: kind, Val: val})
	return true
}

// RemoveField removes every field of record i with that name.
func (b *Batch) RemoveField(i int, name string) {
	k, ok := b.keyIdx[name]
	if !ok {
		return
	}
	b.mutable()
	fs := b.Fields(i)
	n := 0
	for _, f := range fs {
		if f.Key != k {
			fs[n] = f
			n++
		}
	}
	b.recs[i].fieldLen = uint16(n)
}

// Size returns the memory the batch occupies, in bytes: what is charged to the
// budget.
func (b *Batch) Size() int {
	const recordSize, fieldSize, refSize, keySize, fixed = 72, 12, 40, 64, 512
	return fixed + cap(b.buf) + recordSize*cap(b.recs) + fieldSize*cap(b.fields) + refSize*cap(b.streams) + 4*cap(b.live) +
		b.keyMem + keySize*len(b.keys)
}

// SetCharge notes what was charged to a budget for this batch; Charge returns
// it, so that exactly that is given back.
func (b *Batch) SetCharge(n int64) { b.charge = n }

// Charge returns what SetCharge noted.
func (b *Batch) Charge() int64 { return b.charge }

// Freeze ends the time in which the batch may be changed and fixes which
// records are live (not dropped).
func (b *Batch) Freeze() {
	b.mutable()
	b.live = b.live[:0]
	for i := range b.recs {
		if b.recs[i].Flags&Dropped == 0 {
			b.live = append(b.live, uint32(i))
		}
	}
	b.frozen.Store(true)
}

// Frozen reports whether Freeze has been called.
func (b *Batch) Frozen() bool { return b.frozen.Load() }

// Live returns the indexes of the records that are not dropped. Do not modify.
func (b *Batch) Live() []uint32 { return b.live }

// Retain adds a user. Only a user may call it.
func (b *Batch) Retain() {
	b.alive()
	b.refs.Add(1)
}

// Release takes a user away. The last one's Release ends the batch's life:
// its tokens are done and its memory goes back to where it came from.
func (b *Batch) Release() {
	switch n := b.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("record: batch released twice")
	}
	for _, t := range b.tokens {
		t.Done()
	}
	if debug {
		poison(b.buf)
	}
	if b.release != nil {
		b.release(b)
	}
}

// Abandon gives a batch's memory back without finishing its tokens: what it
// holds counts as never read. Only the last user may call it.
func (b *Batch) Abandon() {
	clear(b.tokens)
	b.tokens = b.tokens[:0]
	b.Release()
}

func (b *Batch) mutable() {
	if debug && b.frozen.Load() {
		panic("record: write to a frozen batch")
	}
	b.alive()
}

func (b *Batch) alive() {
	if debug && b.refs.Load() <= 0 {
		panic("record: use of a released batch")
	}
}

// Pool keeps released batches for reuse. The zero Pool is ready; it is safe
// for concurrent use.
type Pool struct {
	pool sync.Pool
}

// MaxPooledBuffer is the largest buffer that is kept for reuse, in bytes.
const MaxPooledBuffer = 1 << 20

// maxPooled is the largest batch that is kept, in bytes: a small batch in one
// that once held very many records would be charged for all of it.
const maxPooled = 4 << 20

// Get returns an empty batch. release is as for NewBatch; after it the batch
// is in the pool again.
func (p *Pool) Get(release func(*Batch)) *Batch {
	b, _ := p.pool.Get().(*Batch)
	if b == nil {
		b = new(Batch)
	}
	b.Reset(release)
	return b
}

// Put gives a released batch back. It is what a release function calls last.
func (p *Pool) Put(b *Batch) {
	if debug || cap(b.buf) > MaxPooledBuffer || b.Size() > maxPooled {
		return // in debug builds a released batch stays dead
	}
	p.pool.Put(b)
}
