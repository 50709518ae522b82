package export

import (
	"encoding/binary"
	"errors"

	"github.com/weirlog/weir/record"
)

// The format rows. A text is its length as a uvarint and its bytes, pairs are
// their number and then name and value of each, and an item is
//
//	0, pairs                                   a stream, numbered from 1
//	its number, time, pairs, pairs, text       a row: metadata, parsed, line
//
// where the time is a varint, the difference to the row before.

type rowsEncoder struct {
	n    uint64
	last int64
}

func (e *rowsEncoder) Head(dst []byte) []byte { return dst }

func (e *rowsEncoder) Append(b []byte, r *Row) []byte {
	if r.Stream.owner != e {
		e.n++
		r.Stream.owner, r.Stream.number = e, e.n
		b = appendPairs(append(b, 0), r.Stream.Labels)
	}
	b = binary.AppendUvarint(b, r.Stream.number)
	b = binary.AppendVarint(b, r.Time-e.last)
	e.last = r.Time
	b = appendPairs(b, r.Meta)
	b = appendPairs(b, r.Parsed)
	b = binary.AppendUvarint(b, uint64(len(r.Line)))
	return append(b, r.Line...)
}

func appendPairs(b []byte, ls []record.Attr) []byte {
	b = binary.AppendUvarint(b, uint64(len(ls)))
	for i := range ls {
		b = append(binary.AppendUvarint(b, uint64(len(ls[i].Name))), ls[i].Name...)
		b = append(binary.AppendUvarint(b, uint64(len(ls[i].Value))), ls[i].Value...)
	}
	return b
}

// Decoder reads the format rows, piece by piece; a piece has whole items.
type Decoder struct {
	streams []*Stream
	last    int64
	row     Row
	bad     bool
	p       []byte
}

var errRows = errors.New("not the rows of a weir")

// Decode calls each for every row of a piece, which the row's line and pairs
// point into.
func (d *Decoder) Decode(p []byte, each func(*Row) error) error {
	d.p = p
	for len(d.p) > 0 {
		n := d.uvarint()
		if n == 0 && !d.bad {
			labels := d.pairs(nil)
			if d.bad || len(d.streams) >= 1<<24 {
				return errRows
			}
			for i, l := range labels {
				labels[i] = record.Attr{Name: string([]byte(l.Name)), Value: string([]byte(l.Value))}
			}
			d.streams = append(d.streams, NewStream(labels))
			continue
		}
		if d.bad || n > uint64(len(d.streams)) {
			return errRows
		}
		r := &d.row
		r.Stream = d.streams[n-1]
		t, size := binary.Varint(d.p)
		if size <= 0 {
			return errRows
		}
		d.p = d.p[size:]
		d.last += t
		r.Time = d.last
		r.Meta = d.pairs(r.Meta[:0])
		r.Parsed = d.pairs(r.Parsed[:0])
		r.Line = d.bytes()
		if d.bad {
			return errRows
		}
		if err := each(r); err != nil {
			return err
		}
	}
	return nil
}

func (d *Decoder) uvarint() uint64 {
	if len(d.p) > 0 && d.p[0] < 0x80 {
		n := d.p[0]
		d.p = d.p[1:]
		return uint64(n)
	}
	n, size := binary.Uvarint(d.p)
	if size <= 0 {
		d.bad = true
		return 0
	}
	d.p = d.p[size:]
	return n
}

func (d *Decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.p)) {
		d.bad = true
		return nil
	}
	b := d.p[:n:n]
	d.p = d.p[n:]
	return b
}

func (d *Decoder) pairs(dst []record.Attr) []record.Attr {
	n := d.uvarint()
	if n > uint64(len(d.p)) {
		d.bad = true
		return nil
	}
	for range n {
		name := d.bytes()
		value := d.bytes()
		if d.bad {
			return nil
		}
		dst = append(dst, record.Attr{Name: view(name), Value: view(value)})
	}
	return dst
}
