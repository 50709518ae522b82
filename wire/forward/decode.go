package forward

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// Decoder reads messages into batches; see the package documentation for what
// becomes of them. The messages stand in the batch's buffer already; text stays
// where it is, what is compressed or has no text yet is appended. Nothing is
// allocated per record. A Decoder is for one goroutine; the cache may be shared
// by decoders with equal Attrs and Labels.
type Decoder struct {
	// Attrs are part of every Stream, unless the sender says otherwise; Labels are
	// whatever it says.
	Attrs, Labels []record.Attr
	// Join joins docker's pieces; nil: each is a record.
	Join *Joiner
	// MaxDecoded bounds the bytes that the compressed entries of one message may
	// come to; 0: 64 MiB. MaxRatio is how many times larger than what was sent
	// they may be, beyond 1 MiB; 0: 100.
	MaxDecoded, MaxRatio int
	// IDs gives the records of chunks that are to be acknowledged ids, made of the
	// chunk's id and their place in it: a chunk that is sent again is recognised.
	IDs bool

	limits wire.Limits
	cache  *wire.StreamCache

	b      *record.Batch
	p      []byte // the buffer's bytes that are read; set anew when they move
	now    int64
	tenant string
	out    wire.Outcome
	keys   wire.Keys
	zip    unzipper
	scan   json.Scanner
	name   []byte
	key    []byte // of the cache: of the stream at hand
	last   []byte // of the stream before
	stream uint16 // the one before
	chunks []record.Span
	good   int
	chunk  record.Span // the id of the chunk at hand
	place  uint64      // in it, of the last record

	rec entry
}

// NewDecoder returns a decoder. Zero limits are the defaults.
func NewDecoder(l wire.Limits, cache *wire.StreamCache) *Decoder {
	return &Decoder{limits: l.WithDefaults(), cache: cache}
}

// ErrCompressed is in the chain of the error for entries that cannot be
// decompressed or come to too much.
var ErrCompressed = errors.New("compressed entries")

// Decode decodes the messages of body, which lie in b's buffer; all must be
// whole. The tenant, if not empty, becomes an attribute of every stream; now is
// the time in Unix nanoseconds. The Outcome's Streams are messages, its Records
// entries. After an error the batch holds some of the records and must not be
// used; Good says how many bytes of body came before the message at fault. What
// was put into the Joiner stays there.
func (d *Decoder) Decode(b *record.Batch, body record.Span, tenant string, now int64) (wire.Outcome, error) {
	d.b, d.now, d.tenant = b, now, tenant
	d.out, d.chunks, d.good, d.last = wire.Outcome{}, d.chunks[:0], 0, d.last[:0]
	d.keys.Reset()
	var err error
	i, end := int(body.Off), int(body.End())
	for i < end && err == nil {
		d.good = i - int(body.Off)
		d.p = b.Buf()[:end]
		d.out.Streams++
		if i, err = d.message(i); err != nil {
			err = fmt.Errorf("message %d: %w", d.out.Streams, err)
		}
	}
	if err == nil {
		d.good = int(body.Len)
	}
	out := d.out
	d.b, d.p, d.out = nil, nil, wire.Outcome{}
	if cap(d.key)+cap(d.last) > 1<<20 {
		d.key, d.last = nil, nil
	}
	return out, err
}

// Chunks returns, after a Decode, the ids of the chunks in the order in which
// their senders expect them to be acknowledged, as spans of the batch's buffer.
// It is valid until the next Decode.
func (d *Decoder) Chunks() []record.Span { return d.chunks }

// Good returns how many bytes of the last body were messages without fault.
func (d *Decoder) Good() int { return d.good }

// option is what the last element of a message says.
type option struct {
	chunk      record.Span
	asked      bool // there is a chunk
	compressed record.Span
}

// message decodes the message at d.p[i] and returns where it ends.
func (d *Decoder) message(i int) (int, error) {
	p := d.p
	arr := read(p, i)
	if arr.kind != kindArray {
		return 0, errNoMessage
	}
	if arr.n < 2 || arr.n > 4 {
		return 0, fmt.Errorf("not a message of the forward protocol: an array of %d elements", arr.n)
	}
	tag := read(p, arr.body)
	if !tag.isText() {
		return 0, errors.New("not a message of the forward protocol: the tag is not a string")
	}
	i = tag.end()
	second := read(p, i)
	d.rec.tag, d.place = tag.span(), 0
	switch {
	case second.isText():
		return d.packedMode(second, arr.n-2)
	case second.kind == kindArray && !d.isTime(i, second, arr.n):
		after, err := skip(p, i)
		if err != nil {
			return 0, err
		}
		opt, end, err := d.options(after, arr.n-2)
		if err != nil {
			return 0, err
		}
		d.asked(&opt)
		if err := d.entries(second.body, after, second.n); err != nil {
			return 0, err
		}
		return end, nil
	case second.kind == kindBad:
		return 0, errCut
	case arr.n < 3:
		return 0, errors.New("not a message of the forward protocol: a tag and nothing else of use")
	}
	// Message mode: tag, time, record, option.
	at, err := skip(p, i)
	if err != nil {
		return 0, err
	}
	after, err := skip(p, at)
	if err != nil {
		return 0, err
	}
	opt, end, err := d.options(after, arr.n-3)
	if err != nil {
		return 0, err
	}
	d.asked(&opt)
	_, err = d.entry(i, at)
	return end, err
}

// isTime reports whether the array at p[i], the second element of a message of n
// elements, is a time with metadata, as Fluent Bit has it, and not entries.
func (d *Decoder) isTime(i int, h head, n uint64) bool {
	if h.n != 2 || n < 3 {
		return false
	}
	switch read(d.p, h.body).kind {
	case kindExt, kindInt, kindFloat:
		return true
	}
	return false
}

// options reads the option, the next of n elements that are left, at d.p[i]. What
// has no meaning is passed. It returns where the message ends.
func (d *Decoder) options(i int, n uint64) (opt option, end int, err error) {
	p := d.p
	if n == 0 {
		return opt, i, nil
	}
	if end, err = skip(p, i); err != nil {
		return opt, 0, err
	}
	h := read(p, i)
	if h.kind == kindMap {
		i = h.body
		for range h.n {
			k := read(p, i)
			if i, err = skip(p, i); err != nil {
				return opt, 0, err
			}
			v := read(p, i)
			if i, err = skip(p, i); err != nil {
				return opt, 0, err
			}
			if !k.isText() || !v.isText() {
				continue
			}
			switch string(p[k.body:k.end()]) {
			case "chunk":
				opt.chunk, opt.asked = v.span(), true
			case "compressed":
				opt.compressed = v.span()
			}
		}
	}
	for range n - 1 {
		if end, err = skip(p, end); err != nil {
			return opt, 0, err
		}
	}
	if opt.asked {
		d.chunks = append(d.chunks, opt.chunk)
	}
	return opt, end, nil
}

// asked notes what the option says of the entries.
func (d *Decoder) asked(opt *option) {
	d.rec.asked, d.chunk = opt.asked, opt.chunk
}

// id returns the id of the next record of the chunk at hand:
//
//	XXH3-128(tag ‖ 0 ‖ chunk ‖ place), the place as 64 bits in big-endian order
func (d *Decoder) id() record.ID {
	d.place++
	p := d.b.Buf()
	k := append(append(d.key[:0], p[d.rec.tag.Off:d.rec.tag.End()]...), 0)
	k = append(k, p[d.chunk.Off:d.chunk.End()]...)
	d.key = binary.BigEndian.AppendUint64(k, d.place)
	h := xxh3.Hash128(d.key)
	return record.ID{Hi: h.Hi, Lo: h.Lo}
}

// packedMode decodes the entries that stand one behind the other in a string.
func (d *Decoder) packedMode(blob head, left uint64) (int, error) {
	opt, end, err := d.options(blob.end(), left)
	if err != nil {
		return 0, err
	}
	d.asked(&opt)
	from, to := blob.body, blob.end()
	outer := d.p
	switch c := string(d.p[opt.compressed.Off:opt.compressed.End()]); c {
	case "", "text":
	case "gzip", "zstd":
		limit := d.MaxDecoded
		if limit <= 0 {
			limit = DefaultMax
		}
		ratio := d.MaxRatio
		if ratio <= 0 {
			ratio = 100
		}
		s, err := d.zip.unzip(d.b, blob.span(), c, min(limit, max(1<<20, int(blob.n)*ratio)))
		if err != nil {
			return 0, fmt.Errorf("%w (%s): %w", ErrCompressed, c, err)
		}
		from, to = int(s.Off), int(s.End())
		outer = nil // the buffer has moved, perhaps
	default:
		return 0, fmt.Errorf("%w: %q is not known; gzip and zstd are", ErrCompressed, clip(c))
	}
	d.p = d.b.Buf()[:to]
	err = d.entries(from, to, 1<<63)
	if outer != nil {
		d.p = outer
	}
	return end, err
}

func clip(s string) string { return s[:min(len(s), 64)] }

// entries decodes entries up to n of them or up to the offset to.
func (d *Decoder) entries(i, to int, n uint64) error {
	for ; i < to && n > 0; n-- {
		d.p = d.b.Buf()[:to] // it grows and moves
		h := read(d.p, i)
		var err error
		if h.kind == kindArray && h.n >= 2 {
			var at int
			if at, err = skip(d.p, h.body); err == nil {
				i, err = d.entry(h.body, at)
			} else {
				d.out.Records++
			}
			for ; h.n > 2 && err == nil; h.n-- {
				if i, err = skip(d.p, i); err != nil {
					return nil // the end is missing, but of nothing that means anything
				}
			}
		} else {
			d.out.Records++
			if i, err = skip(d.p, i); err == nil {
				d.refuse("not an array of time and record")
			}
		}
		if err == errCut || err == errDeep {
			// What came before is whole, and no other try would bring the rest.
			d.refuse(err.Error())
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
