package buffer

import (
	"encoding/binary"
	"slices"

	"github.com/weirlog/weir/record"
)

// Sizes in the payload of a frame of records; see docs/formats/buffer.md.
const (
	partHead  = 68
	rowSize   = 64
	fieldSize = 12
	idSize    = 20
)

// encoder turns Parts into frames. It is for one goroutine.
type encoder struct {
	salt    uint32
	streams map[*record.Stream][]byte

	// Of the Part at hand: from the batch's numbers to the frame's.
	streamOf, keyOf []uint16
	usedStreams     []uint16
	usedKeys        []uint16
	shared          []sharedSpan // by the frame's key

	packFrom int    // see there
	scratch  []byte // pack's
}

// sharedSpan is where the last value of a key stands: values that a whole
// request has in common are written once.
type sharedSpan struct{ from, to record.Span }

const none = 1<<16 - 1

// maxCachedStreams bounds what encoder and decoder remember.
const maxCachedStreams = 8192

// place says where a frame stands.
type place struct {
	first, parts, sizes uint64
	wall, clock         int64
}

// frame appends a whole frame with the records idx of b. size is their
// Part.Size.
func (e *encoder) frame(dst []byte, b *record.Batch, idx []uint32, size int, at place) []byte {
	start := len(dst)
	e.streamOf, e.usedStreams = fill(e.streamOf, len(b.Streams())), e.usedStreams[:0]
	e.keyOf, e.usedKeys = e.keyOf[:0], e.usedKeys[:0]
	fields, ids, used := 0, 0, 0
	for _, i := range idx {
		r := b.Record(int(i))
		if e.streamOf[r.Stream] == none {
			e.streamOf[r.Stream] = uint16(len(e.usedStreams))
			e.usedStreams = append(e.usedStreams, r.Stream)
		}
		used += int(r.Source.Len)
		if !inside(r.Body, r.Source) {
			used += int(r.Body.Len)
		}
		for _, f := range b.Fields(int(i)) {
			fields++
			for int(f.Key) >= len(e.keyOf) {
				e.keyOf = append(e.keyOf, none)
			}
			if e.keyOf[f.Key] == none {
				e.keyOf[f.Key] = uint16(len(e.usedKeys))
				e.usedKeys = append(e.usedKeys, f.Key)
			}
			if !inside(f.Val, r.Body) && !inside(f.Val, r.Source) {
				used += int(f.Val.Len)
			}
		}
		if r.Flags.Has(record.HasID) {
			ids++
		}
	}

	rows := start + frameHead + partHead
	head := frameHead + partHead + len(idx)*rowSize + fields*fieldSize + ids*idSize
	dst = slices.Grow(dst, head+min(used, b.Len()))[:start+head]
	before := len(dst)
	for _, s := range e.usedStreams {
		ref := &b.Streams()[s]
		dst = binary.LittleEndian.AppendUint64(dst, ref.Generation.Hi)
		dst = binary.LittleEndian.AppendUint64(dst, ref.Generation.Lo)
		enc := e.stream(ref.Stream)
		dst = binary.AppendUvarint(dst, uint64(len(enc)))
		dst = append(dst, enc...)
	}
	streamBytes := len(dst) - before
	before = len(dst)
	for _, k := range e.usedKeys {
		dst = appendString(dst, b.KeyName(k))
	}
	keyBytes := len(dst) - before
	data := len(dst)
	// The buffer as it is, unless much of it belongs to nobody here.
	whole := b.Len()-used <= used/8
	if whole {
		dst = append(dst, b.Buf()...)
	} else {
		e.shared = e.shared[:0]
		for range e.usedKeys {
			e.shared = append(e.shared, sharedSpan{})
		}
	}
	fieldAt := rows + len(idx)*rowSize
	idAt := fieldAt + fields*fieldSize
	for k, i := range idx {
		r := b.Record(int(i))
		fs := b.Fields(int(i))
		body, source := r.Body, r.Source
		if !whole {
			dst, source = copySpan(dst, data, b, r.Source)
			if inside(r.Body, r.Source) {
				body = moved(r.Body, r.Source, source)
			} else {
				dst, body = copySpan(dst, data, b, r.Body)
			}
		}
		for _, f := range fs {
			v := f.Val
			if !whole {
				s := &e.shared[e.keyOf[f.Key]]
				switch {
				case inside(v, r.Body):
					v = moved(v, r.Body, body)
				case inside(v, r.Source):
					v = moved(v, r.Source, source)
				case v == s.from:
					v = s.to
				default:
					dst, v = copySpan(dst, data, b, v)
					*s = sharedSpan{f.Val, v}
				}
			}
			p := dst[fieldAt : fieldAt+fieldSize]
			putSpan(p, v)
			binary.LittleEndian.PutUint16(p[8:], e.keyOf[f.Key])
			p[10], p[11] = byte(f.Kind), 0
			fieldAt += fieldSize
		}
		if r.Flags.Has(record.HasID) {
			id, _ := b.SenderID(int(i))
			p := dst[idAt : idAt+idSize]
			binary.LittleEndian.PutUint32(p, uint32(k))
			binary.LittleEndian.PutUint64(p[4:], id.Hi)
			binary.LittleEndian.PutUint64(p[12:], id.Lo)
			idAt += idSize
		}
		p := dst[rows+k*rowSize:]
		p = p[:rowSize:rowSize]
		binary.LittleEndian.PutUint64(p, uint64(r.Time))
		binary.LittleEndian.PutUint64(p[8:], uint64(r.Observed))
		binary.LittleEndian.PutUint64(p[16:], uint64(r.Start))
		binary.LittleEndian.PutUint64(p[24:], uint64(r.End))
		putSpan(p[32:], body)
		putSpan(p[40:], source)
		binary.LittleEndian.PutUint64(p[48:], r.KnownKeys)
		binary.LittleEndian.PutUint16(p[56:], e.streamOf[r.Stream])
		binary.LittleEndian.PutUint16(p[58:], uint16(r.Flags))
		binary.LittleEndian.PutUint16(p[60:], uint16(len(fs)))
		p[62], p[63] = byte(r.Severity), 0
	}

	p := dst[start+frameHead:]
	binary.LittleEndian.PutUint32(p, kindRecords)
	binary.LittleEndian.PutUint64(p[4:], at.parts)
	binary.LittleEndian.PutUint64(p[12:], at.sizes)
	binary.LittleEndian.PutUint32(p[20:], uint32(size))
	binary.LittleEndian.PutUint64(p[24:], uint64(at.wall))
	binary.LittleEndian.PutUint64(p[32:], uint64(at.clock))
	for i, v := range [...]int{len(e.usedStreams), streamBytes, len(e.usedKeys), keyBytes, fields, ids, len(dst) - data} {
		binary.LittleEndian.PutUint32(p[40+4*i:], uint32(v))
	}
	n, packed, scratch := pack(dst[start+frameHead:], e.packFrom, e.scratch)
	if e.scratch = scratch; packed {
		dst = dst[:start+frameHead+n]
	}
	if cap(e.scratch) > 2*frameBytes {
		e.scratch = nil
	}
	seal(dst[start:], at.first, len(idx), packed, e.salt)
	return dst
}

// stream returns the encoded form of s.
func (e *encoder) stream(s *record.Stream) []byte {
	if enc, ok := e.streams[s]; ok {
		return enc
	}
	var enc []byte
	for _, set := range [...][]record.Attr{s.Attrs(), s.Labels(), s.Annotations()} {
		enc = binary.AppendUvarint(enc, uint64(len(set)))
		for _, a := range set {
			enc = appendString(appendString(enc, a.Name), a.Value)
		}
	}
	if e.streams == nil || len(e.streams) >= maxCachedStreams {
		e.streams = make(map[*record.Stream][]byte)
	}
	e.streams[s] = enc
	return enc
}

func fill(s []uint16, n int) []uint16 {
	s = slices.Grow(s[:0], n)[:n]
	for i := range s {
		s[i] = none
	}
	return s
}

func inside(s, t record.Span) bool { return s.Off >= t.Off && s.End() <= t.End() }

// moved returns s, which lies in from, as it lies in to.
func moved(s, from, to record.Span) record.Span {
	return record.Span{Off: to.Off + s.Off - from.Off, Len: s.Len}
}

func copySpan(dst []byte, data int, b *record.Batch, s record.Span) ([]byte, record.Span) {
	off := len(dst) - data
	return append(dst, b.Bytes(s)...), record.Span{Off: uint32(off), Len: s.Len}
}

func putSpan(p []byte, s record.Span) {
	binary.LittleEndian.PutUint32(p, s.Off)
	binary.LittleEndian.PutUint32(p[4:], s.Len)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}
