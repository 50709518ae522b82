package buffer

import (
	"encoding/binary"
	"errors"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// Kinds of payloads.
const (
	kindSnapshot = 0
	kindRecords  = 1
)

// errContent says that a payload with the right sum is not what an encoder makes.
var errContent = errors.New("frame has the right sum but makes no sense")

// info is what the beginning of a payload of records says.
type info struct {
	parts, sizes                      uint64
	size                              int
	wall, clock                       int64
	streams, streamBytes              int
	keys, keyBytes, fields, ids, data int
}

func parseInfo(p []byte) (in info, ok bool) {
	if len(p) < partHead || binary.LittleEndian.Uint32(p) != kindRecords {
		return in, false
	}
	n := func(off int) int { return int(binary.LittleEndian.Uint32(p[off:])) }
	in.parts, in.sizes = binary.LittleEndian.Uint64(p[4:]), binary.LittleEndian.Uint64(p[12:])
	in.size = n(20)
	in.wall, in.clock = int64(binary.LittleEndian.Uint64(p[24:])), int64(binary.LittleEndian.Uint64(p[32:]))
	in.streams, in.streamBytes, in.keys, in.keyBytes = n(40), n(44), n(48), n(52)
	in.fields, in.ids, in.data = n(56), n(60), n(64)
	return in, true
}

// decoder makes batches of payloads. It is for one goroutine.
type decoder struct {
	streams map[string]*record.Stream
	remap   []uint16
	keys    []uint16
}

// decode adds the records of the payload, which stands at base in b's buffer, to
// b, an otherwise empty batch. Every record gets the token. Nothing of b may be
// used after an error.
func (d *decoder) decode(b *record.Batch, base, records int, token *ack.Token) error {
	p := b.Buf()[base:]
	in, ok := parseInfo(p)
	if !ok {
		return errContent
	}
	rest := int64(len(p)) - partHead - int64(records)*rowSize - int64(in.fields)*fieldSize - int64(in.ids)*idSize -
		int64(in.streamBytes) - int64(in.keyBytes) - int64(in.data)
	if rest != 0 || in.keys > record.MaxKeys || in.streams >= none {
		return errContent
	}
	rows := p[partHead:]
	fields := rows[records*rowSize:]
	ids := fields[in.fields*fieldSize:]
	streams := ids[in.ids*idSize:]
	keys := streams[in.streamBytes:]
	dataAt := uint32(base + len(p) - in.data)
	if err := d.readStreams(b, streams[:in.streamBytes], in.streams, token); err != nil {
		return err
	}
	if err := d.readKeys(b, keys[:in.keyBytes], in.keys); err != nil {
		return err
	}
	span := func(p []byte) (s record.Span, ok bool) {
		s = record.Span{Off: binary.LittleEndian.Uint32(p), Len: binary.LittleEndian.Uint32(p[4:])}
		ok = uint64(s.Off)+uint64(s.Len) <= uint64(in.data)
		s.Off += dataAt
		return s, ok
	}
	for i := range records {
		q := rows[i*rowSize:]
		q = q[:rowSize:rowSize]
		body, ok := span(q[32:])
		source, ok2 := span(q[40:])
		st, nf := binary.LittleEndian.Uint16(q[56:]), int(binary.LittleEndian.Uint16(q[60:]))
		if !ok || !ok2 || int(st) >= len(d.remap) || nf > in.fields {
			return errContent
		}
		flags := record.Flags(binary.LittleEndian.Uint16(q[58:]))
		b.Add(record.Record{
			Time: int64(binary.LittleEndian.Uint64(q)), Observed: int64(binary.LittleEndian.Uint64(q[8:])),
			Start: int64(binary.LittleEndian.Uint64(q[16:])), End: int64(binary.LittleEndian.Uint64(q[24:])),
			Body: body, Source: source, KnownKeys: binary.LittleEndian.Uint64(q[48:]),
			Stream: d.remap[st], Flags: flags &^ (record.HasID | record.Dropped), Severity: record.Severity(q[62]),
		})
		in.fields -= nf
		for ; nf > 0; nf-- {
			v, ok := span(fields)
			k := binary.LittleEndian.Uint16(fields[8:])
			if !ok || int(k) >= len(d.keys) || record.Kind(fields[10]) > record.JSON {
				return errContent
			}
			b.AddField(i, record.Field{Val: v, Key: d.keys[k], Kind: record.Kind(fields[10])})
			fields = fields[fieldSize:]
		}
		if flags.Has(record.HasID) {
			if in.ids == 0 || int(binary.LittleEndian.Uint32(ids)) != i {
				return errContent
			}
			b.SetID(i, record.ID{Hi: binary.LittleEndian.Uint64(ids[4:]), Lo: binary.LittleEndian.Uint64(ids[12:])})
			ids = ids[idSize:]
			in.ids--
		}
	}
	if in.fields != 0 || in.ids != 0 {
		return errContent
	}
	return nil
}

func (d *decoder) readStreams(b *record.Batch, p []byte, n int, token *ack.Token) error {
	d.remap = d.remap[:0]
	for range n {
		if len(p) < 16 {
			return errContent
		}
		gen := record.ID{Hi: binary.LittleEndian.Uint64(p), Lo: binary.LittleEndian.Uint64(p[8:])}
		enc, rest, ok := cutBytes(p[16:])
		if !ok {
			return errContent
		}
		p = rest
		s := d.streams[string(enc)]
		if s == nil {
			if s = decodeStream(enc); s == nil {
				return errContent
			}
			if d.streams == nil || len(d.streams) >= maxCachedStreams {
				d.streams = make(map[string]*record.Stream)
			}
			d.streams[string(enc)] = s
		}
		d.remap = append(d.remap, b.AddStream(record.StreamRef{Stream: s, Generation: gen, Token: token}))
	}
	if len(p) != 0 {
		return errContent
	}
	return nil
}

func (d *decoder) readKeys(b *record.Batch, p []byte, n int) error {
	d.keys = d.keys[:0]
	for range n {
		name, rest, ok := cutBytes(p)
		if !ok {
			return errContent
		}
		k, ok := b.Key(name)
		if !ok {
			return errContent
		}
		d.keys, p = append(d.keys, k), rest
	}
	if len(p) != 0 {
		return errContent
	}
	return nil
}

// decodeStream returns nil if p is not the encoded form of a Stream.
func decodeStream(p []byte) *record.Stream {
	var sets [3][]record.Attr
	for i := range sets {
		n, k := binary.Uvarint(p)
		if k <= 0 || n > uint64(len(p)) {
			return nil
		}
		p = p[k:]
		for range n {
			name, rest, ok := cutBytes(p)
			if !ok {
				return nil
			}
			value, rest, ok := cutBytes(rest)
			if !ok {
				return nil
			}
			sets[i] = append(sets[i], record.Attr{Name: string(name), Value: string(value)})
			p = rest
		}
	}
	if len(p) != 0 {
		return nil
	}
	return record.NewStream(sets[0], sets[1], sets[2])
}

func cutBytes(p []byte) (head, rest []byte, ok bool) {
	n, k := binary.Uvarint(p)
	if k <= 0 || n > uint64(len(p)-k) {
		return nil, nil, false
	}
	return p[k : k+int(n)], p[k+int(n):], true
}
