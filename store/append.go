package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/columns"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// A group is what one sync makes durable: the frames of the requests that came
// while the one before was being synced.
type group struct {
	frames [][]byte
	undo   map[record.ID]*source // as the sources were before; nil: there was none
	keys   []record.ID           // of pushed rows
	end    mark                  // of the memtable
	done   chan struct{}
	err    error // valid after done
}

func newGroup() *group {
	return &group{undo: make(map[record.ID]*source), done: make(chan struct{})}
}

// Kinds of frames.
const (
	kindRows    = 1
	kindStreams = 2 // all streams of a memtable that goes on in another file
	kindKeyed   = 3 // rows; those of no file with their keys
)

// Reasons of refusals.
const (
	reasonOld   = "older than the retention"
	reasonLarge = "larger than 64 MiB"
	reasonHoles = "too many holes in what was received of this file"
)

// plan is what becomes of a request: worked out first, so that the frame can be
// written into its place at once.
type plan struct {
	rows     []planned
	keyed    bool   // some row has a key
	attrs    []byte // of all rows
	meta     int    // estimate of the frame's size without bodies and attributes
	data     int
	sources  []record.ID
	failures []ack.Failure
	doubles  int
}

type planned struct {
	b      *record.Batch
	i      uint32
	stream uint32
	source uint32 // 1 + index into plan.sources, 0: none
	at     span
	wide   bool
	attrs  record.Span // in plan.attrs
	batch  int32
	key    record.ID // of a pushed row with an id, else zero
	known  bool      // it was pushed before
}

// Append is Send.
func (s *Store) Append(ctx context.Context, parts []record.Part) (ack.Result, error) {
	if s.cfg.ReadOnly {
		return ack.Result{}, refuse(503, ErrReadOnly)
	}
	var p plan
	var e attrEncoder
	if size := p.collect(&e, parts, s.recent.most > 0); size > maxRequest {
		return ack.Result{}, &ack.SendError{Kind: ack.TooLarge, Code: 413, Err: fmt.Errorf("request of %d bytes: at most %d", size, maxRequest)}
	}

	s.mu.Lock()
	for s.full && !s.closing {
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ack.Result{}, refuse(429, fmt.Errorf("memory is full of rows that are not in segments yet: %w", ctx.Err()))
		}
		s.mu.Lock()
	}
	if s.closing {
		s.mu.Unlock()
		return ack.Result{}, refuse(503, ErrClosed)
	}
	if s.lowDisk.Load() {
		s.mu.Unlock()
		return ack.Result{}, refuse(503, errors.New("disk is nearly full: nothing is taken until there is room"))
	}
	s.accept(&p)
	if len(p.rows) > 0 {
		s.encode(&p)
	}
	g := s.pending
	if len(p.rows) == 0 && len(g.frames) == 0 && s.active.committed.rows == len(s.active.rows) {
		s.mu.Unlock() // all there, and nothing under way that it could be in
		return ack.Result{Failures: p.failures}, nil
	}
	s.mu.Unlock()
	poke(s.wake)
	select {
	case <-g.done:
	case <-ctx.Done():
		// What was written may become durable; a retry finds out.
		return ack.Result{}, refuse(503, fmt.Errorf("write log: %w", ctx.Err()))
	}
	if g.err != nil {
		return ack.Result{}, refuse(503, g.err)
	}
	return ack.Result{Failures: p.failures, Bytes: p.meta + p.data}, nil
}

// maxRequest bounds the bodies and metadata of a request.
const maxRequest = 256 << 20

// collect gathers the records and their structured metadata, and the keys of
// pushed ones if they are asked for. It returns their size.
func (p *plan) collect(e *attrEncoder, parts []record.Part, keys bool) (size int) {
	n := 0
	for _, part := range parts {
		n += part.Len()
	}
	p.rows = make([]planned, 0, n)
	for k, part := range parts {
		b := part.Batch()
		for _, i := range part.Index() {
			r := b.Record(int(i))
			if r.Body.Len > columns.MaxBody {
				p.failures = append(p.failures, ack.Failure{Part: k, Record: i, Permanent: true, Reason: reasonLarge})
				continue
			}
			if size += int(r.Body.Len); size+len(p.attrs) > maxRequest {
				return size + len(p.attrs)
			}
			from := len(p.attrs)
			p.attrs = e.append(p.attrs, b, int(i))
			w := planned{b: b, i: i, batch: int32(k), attrs: record.Span{Off: uint32(from), Len: uint32(len(p.attrs) - from)}}
			if id, ok := b.SenderID(int(i)); ok && keys && !hasPlace(b, r) {
				w.key, _ = rowKey(id, b.Streams()[r.Stream].Stream.Hash(), r, p.attrs[from:], b.Bytes(r.Body))
			}
			p.rows = append(p.rows, w)
		}
	}
	return size + len(p.attrs)
}

// hasPlace says that a record is known by where it was read.
func hasPlace(b *record.Batch, r *record.Record) bool {
	return r.End > r.Start && !b.Streams()[r.Stream].Generation.IsZero()
}

func sortFailures(f []ack.Failure) {
	slices.SortFunc(f, func(a, b ack.Failure) int {
		if c := cmp.Compare(a.Part, b.Part); c != 0 {
			return c
		}
		return cmp.Compare(a.Record, b.Record)
	})
}

// accept decides row by row and notes what was taken. mu is held.
func (s *Store) accept(p *plan) {
	horizon := s.clock.horizon(s.cfg.Retention, s.cfg.Rules)
	now := s.cfg.Now().UnixNano()
	index := map[record.ID]uint32{}
	var f *source
	var fid record.ID
	var last *record.Stream
	var number uint32
	kept := p.rows[:0]
	for i := range p.rows {
		// In a loop of its own, so that the processor waits for many at a time.
		if w := &p.rows[i]; !w.key.IsZero() {
			w.known = s.recent.has(w.key)
		}
	}
	for _, w := range p.rows {
		r := w.b.Record(int(w.i))
		ref := &w.b.Streams()[r.Stream]
		if r.Time < horizon {
			p.failures = append(p.failures, ack.Failure{Part: int(w.batch), Record: w.i, Permanent: true, Reason: reasonOld})
			s.stats.tooOld.Add(1)
			continue
		}
		if !w.key.IsZero() {
			if w.known || s.recent.has(w.key) { // the request may have it twice
				p.doubles++
				continue
			}
			s.recent.add(w.key)
			s.pending.keys = append(s.pending.keys, w.key)
			s.active.pushed = append(s.active.pushed, w.key)
			p.keyed = true
			p.meta += 16
		}
		if hasPlace(w.b, r) {
			id := ref.Generation
			w.at = span{r.Start, r.End}
			w.wide = isWide(w.at, int(r.Source.Len))
			if f == nil || fid != id {
				f, fid = s.sourceFor(id), id
			}
			if f.known(w.at) {
				p.doubles++
				continue
			}
			if f.full(w.at) {
				p.failures = append(p.failures, ack.Failure{Part: int(w.batch), Record: w.i, Reason: reasonHoles})
				continue
			}
			s.touch(f)
			f.add(w.at, w.wide)
			f.last = max(f.last, r.Time, now)
			n, ok := index[id]
			if !ok {
				p.sources = append(p.sources, id)
				n = uint32(len(p.sources))
				index[id] = n
			}
			w.source = n
		}
		if ref.Stream != last {
			last, number = ref.Stream, s.intern(ref.Stream)
		}
		w.stream = number
		p.meta += 40
		p.data += int(r.Body.Len) + int(w.attrs.Len)
		kept = append(kept, w)
	}
	p.rows = kept
	s.stats.doubles.Add(int64(p.doubles))
	sortFailures(p.failures)
}

// sourceFor returns the source of that id, a new one if need be.
func (s *Store) sourceFor(id record.ID) *source {
	f := s.sources[id]
	if f == nil {
		f = &source{id: id}
		s.touch(f)
		s.sources[id] = f
	}
	return f
}

// touch keeps the source as it was before the current group.
func (s *Store) touch(f *source) {
	if _, ok := s.pending.undo[f.id]; ok {
		return
	}
	var before *source
	if s.sources[f.id] != nil {
		c := f.clone()
		before = &c
	}
	s.pending.undo[f.id] = before
	s.changed[f.id] = struct{}{}
}

// encode writes the frame of the accepted rows into the memtable. mu is held.
func (s *Store) encode(p *plan) {
	m := s.active
	defined := m.defined
	kind := byte(kindRows)
	if p.keyed {
		kind = kindKeyed
	}
	head := append(s.head[:0], kind)
	head = binary.AppendUvarint(head, uint64(len(m.streams)-defined))
	for i := defined; i < len(m.streams); i++ {
		key := m.keys[i]
		head = binary.AppendUvarint(head, uint64(i))
		head = binary.AppendUvarint(head, uint64(len(key)))
		head = append(head, key...)
	}
	head = binary.AppendUvarint(head, uint64(len(p.sources)))
	for _, id := range p.sources {
		head = binary.BigEndian.AppendUint64(head, id.Hi)
		head = binary.BigEndian.AppendUint64(head, id.Lo)
	}
	head = binary.AppendUvarint(head, uint64(len(p.rows)))
	var last int64
	for i := range p.rows {
		w := &p.rows[i]
		r := w.b.Record(int(w.i))
		head = binary.AppendUvarint(head, uint64(w.stream))
		head = binary.AppendVarint(head, r.Time-last)
		last = r.Time
		head = append(head, byte(r.Severity%25))
		head = binary.AppendUvarint(head, uint64(w.attrs.Len))
		head = binary.AppendUvarint(head, uint64(r.Body.Len))
		head = binary.AppendUvarint(head, uint64(w.source))
		if w.source > 0 {
			wide := uint64(0)
			if w.wide {
				wide = 1
			}
			head = binary.AppendUvarint(head, uint64(w.at.From))
			head = binary.AppendUvarint(head, uint64(w.at.To-w.at.From)<<1|wide)
		} else if p.keyed {
			head = appendKey(head, w.key)
		}
	}
	if s.head = head; cap(head) > 1<<20 {
		s.head = nil
	}
	m.defined = len(m.streams)
	p.meta = frameHeader + 4 + len(head)
	frame, chunk := m.room(p.meta+p.data, s.pool)
	c := m.chunks[chunk]
	at := len(c) - len(frame)
	binary.LittleEndian.PutUint32(frame[frameHeader:], uint32(len(head)))
	copy(frame[frameHeader+4:], head)
	off := p.meta
	for i := range p.rows {
		w := &p.rows[i]
		r := w.b.Record(int(w.i))
		row := memRow{time: r.Time, off: uint32(at + off), body: r.Body.Len, attrs: w.attrs.Len, stream: w.stream, chunk: uint32(chunk), severity: r.Severity % 25}
		off += copy(frame[off:], p.attrs[w.attrs.Off:w.attrs.End()])
		off += copy(frame[off:], w.b.Bytes(r.Body))
		m.add(row)
	}
	s.frameSeq += 2 // the number between is for streams in a new file
	sealFrame(frame, s.frameSeq, s.wal.salt)
	s.pending.frames = append(s.pending.frames, frame)
	s.pending.end = m.mark()
	if m.born == 0 {
		m.born = s.cfg.Now().UnixNano()
	}
	if m.bytes >= s.cfg.MemtableBytes {
		s.full = true
	}
}

// attrEncoder writes the structured metadata of a record: its notable flags and
// its fields, the last of each name, as JSON.
type attrEncoder struct {
	batch *record.Batch
	names []string // by key
}

func (e *attrEncoder) append(dst []byte, b *record.Batch, i int) []byte {
	fields := b.Fields(i)
	flags := b.Record(i).Flags & wire.Notable
	if len(fields) == 0 && flags == 0 {
		return dst
	}
	if e.batch != b {
		e.batch, e.names = b, e.names[:0]
	}
	start := len(dst)
	pair := func(name string, value []byte) {
		sep := byte(',')
		if len(dst) == start {
			sep = '{'
		}
		dst = json.AppendStringString(append(dst, sep), name)
		dst = json.AppendString(append(dst, ':'), value)
	}
	for j, f := range fields {
		if f.Val.Len == 0 || f.Kind == record.Null {
			continue
		}
		name := e.name(f.Key)
		again := false // a later field has the name
		for _, g := range fields[j+1:] {
			again = again || e.name(g.Key) == name
		}
		if !again {
			pair(name, b.Bytes(f.Val))
		}
	}
	for ; flags != 0; flags &= flags - 1 {
		f := record.Flags(1) << bits.TrailingZeros16(uint16(flags))
		wire.EachFlag(f, func(name string) { pair("weir_"+name, []byte("true")) })
	}
	if len(dst) > start {
		dst = append(dst, '}')
	}
	return dst
}

func (e *attrEncoder) name(key uint16) string {
	for int(key) >= len(e.names) {
		e.names = append(e.names, "")
	}
	if e.names[key] == "" {
		e.names[key] = labelName(e.batch.KeyName(key))
	}
	return e.names[key]
}
