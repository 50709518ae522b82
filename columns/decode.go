package columns

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/weirlog/weir/record"
)

// A Decoder decodes pages, given their content as stored. It keeps memory from
// page to page and is for one goroutine. Every method checks the page's sum
// first, and its errors wrap ErrDamaged.
type Decoder struct {
	zstd    *zstd.Decoder
	ints    []int32
	levels  []byte
	plain   []byte
	lengths []int32
}

// NewDecoder returns a Decoder.
func NewDecoder() (*Decoder, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(1<<31), zstd.IgnoreChecksum(true))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return &Decoder{zstd: d}, nil
}

// Close gives memory back.
func (d *Decoder) Close() { d.zstd.Close() }

func damaged(what string) error { return fmt.Errorf("page of %s: %w", what, ErrDamaged) }

func check(p Page, stored []byte, what string) error {
	if len(stored) != int(p.Size) || checksum(stored) != p.CRC {
		return damaged(what + ": sum")
	}
	return nil
}

// Verify checks the sum of a page.
func Verify(p Page, stored []byte) error { return check(p, stored, "data") }

// Body decodes a block into dst: the lines as one text, in dst[from:], and where
// each stands in it, appended to rows.
func (d *Decoder) Body(dst []byte, rows []record.Span, b *Block, stored []byte) (buf []byte, _ []record.Span, err error) {
	if err := check(b.Body, stored, "bodies"); err != nil {
		return dst, rows, err
	}
	if cap(dst) < int(b.Body.Raw) {
		dst = make([]byte, 0, int(b.Body.Raw)+1024)
	}
	raw, err := d.zstd.DecodeAll(stored, dst[:0])
	if err != nil || len(raw) != int(b.Body.Raw) || int(b.Lengths) > len(raw) {
		return dst, rows, damaged("bodies")
	}
	if d.lengths, err = deltaPacked.DecodeInt32(d.lengths[:0], raw[:b.Lengths]); err != nil || len(d.lengths) != int(b.Rows) {
		return dst, rows, damaged("bodies: lengths")
	}
	off := b.Lengths
	for _, n := range d.lengths {
		if n < 0 || int(n) > len(raw)-int(off) {
			return dst, rows, damaged("bodies: lengths")
		}
		rows = append(rows, record.Span{Off: off, Len: uint32(n)})
		off += uint32(n)
	}
	return raw, rows, nil
}

// Times decodes the times of a span.
func (d *Decoder) Times(dst []int64, s *Span, stored []byte) ([]int64, error) {
	if err := check(s.Time, stored, "times"); err != nil {
		return dst, err
	}
	// Its decoder grows it by blocks of values.
	out, err := deltaPacked.DecodeInt64(slices.Grow(dst[:0], int(s.Rows)+128), stored)
	if err != nil || len(out) != int(s.Rows) {
		return dst, damaged("times")
	}
	return out, nil
}

// indexes decodes indexes below limit from the end of a page. The result is the
// Decoder's.
func (d *Decoder) indexes(p []byte, n int, limit uint32) ([]int32, bool) {
	if len(p) < 1 || p[0] > 32 {
		return nil, false
	}
	if n == 0 {
		return nil, true
	}
	e := rle.Encoding{BitWidth: int(p[0])}
	out, err := e.DecodeInt32(d.ints[:0], p[1:])
	if err != nil || len(out) < n {
		return nil, false
	}
	d.ints = out
	out = out[:n] // the last packed group is filled up
	greatest := uint32(0)
	for _, v := range out {
		greatest = max(greatest, uint32(v))
	}
	return out, greatest < limit
}

// Severities decodes the severities of a span.
func (d *Decoder) Severities(dst []record.Severity, s *Span, stored []byte) ([]record.Severity, error) {
	if err := check(s.Severity, stored, "severities"); err != nil {
		return dst, err
	}
	out, ok := severities(slices.Grow(dst[:0], int(s.Rows)+8), stored, int(s.Rows))
	if !ok {
		return dst[:0], damaged("severities")
	}
	return out, nil
}

// severities decodes n severities, runs and packed groups of eight, into dst,
// which has room for n and seven more.
func severities(dst []record.Severity, p []byte, n int) ([]record.Severity, bool) {
	if len(p) < 1 || p[0] == 0 || p[0] > 8 {
		return nil, false
	}
	width := uint(p[0])
	mask := uint64(1)<<width - 1
	greatest := record.Severity(0)
	for p = p[1:]; len(dst) < n; {
		h, k := binary.Uvarint(p)
		if k <= 0 || h>>1 == 0 || h>>1 > uint64(n) {
			return nil, false
		}
		p = p[k:]
		if h&1 == 0 {
			if len(p) == 0 {
				return nil, false
			}
			v := record.Severity(p[0])
			greatest = max(greatest, v)
			p = p[1:]
			for range min(int(h>>1), n-len(dst)) {
				dst = append(dst, v)
			}
			continue
		}
		for range h >> 1 {
			if len(dst) >= n || len(p) < int(width) {
				return nil, false
			}
			var w [8]byte
			copy(w[:], p[:width])
			p = p[width:]
			v := binary.LittleEndian.Uint64(w[:])
			at := len(dst)
			dst = dst[:at+8]
			for i := range dst[at:] {
				dst[at+i] = record.Severity(v & mask)
				greatest = max(greatest, dst[at+i])
				v >>= width
			}
		}
	}
	return dst[:n], greatest < 25 || n == 0
}

// nulls takes the levels off a page; d.levels has them then.
func (d *Decoder) nulls(p []byte, rows int) (rest []byte, values int, ok bool) {
	if len(p) < 4 {
		return nil, 0, false
	}
	n := binary.LittleEndian.Uint32(p)
	if uint64(n) > uint64(len(p)-4) {
		return nil, 0, false
	}
	e := rle.Encoding{BitWidth: 1}
	out, err := e.DecodeLevels(d.levels[:0], p[4:4+n])
	if err != nil || len(out) < rows {
		return nil, 0, false
	}
	d.levels = out[:rows]
	for _, l := range d.levels {
		values += int(l & 1)
	}
	return p[4+n:], values, true
}

// Null is the index of a row without a value.
const Null = -1

// Field decodes the promoted field f of a span: indexes into its values, or
// Null.
func (d *Decoder) Field(dst []int32, x *Index, f int, s *Span, stored []byte) ([]int32, error) {
	if err := check(s.Fields[f], stored, "field"); err != nil {
		return dst, err
	}
	rest, n, ok := d.nulls(stored, int(s.Rows))
	if !ok {
		return dst, damaged("field")
	}
	idx, ok := d.indexes(rest, n, x.Fields[f].Values)
	if !ok {
		return dst, damaged("field")
	}
	return d.spread(dst[:0], idx), nil
}

// spread puts values where the levels say.
func (d *Decoder) spread(dst []int32, idx []int32) []int32 {
	dst = slices.Grow(dst[:0], len(d.levels))[:len(d.levels)]
	idx = append(idx, 0) // read, not used, where nulls stand at the end
	k := 0
	for i, l := range d.levels {
		present := int32(l & 1)
		dst[i] = idx[k] | (present - 1) // Null is all ones
		k += int(present)
	}
	return dst
}

// JSON decodes which rows of a span are JSON objects: bit i&7 of byte i>>3. The
// result is stored itself.
func (d *Decoder) JSON(s *Span, stored []byte) ([]byte, error) {
	if err := check(s.JSON, stored, "body_is_json"); err != nil {
		return nil, err
	}
	if len(stored) < (int(s.Rows)+7)/8 {
		return nil, damaged("body_is_json")
	}
	return stored, nil
}

// Values decodes a dictionary of n texts.
func Values(p Page, n uint32, stored []byte) ([]string, error) {
	if err := check(p, stored, "values"); err != nil {
		return nil, err
	}
	return plainTexts(stored, int(n))
}

func plainTexts(p []byte, n int) ([]string, error) {
	out := make([]string, 0, min(n, len(p)))
	all := string(p) // one allocation for all of them
	for range n {
		if len(p) < 4 {
			return nil, damaged("values")
		}
		size := binary.LittleEndian.Uint32(p)
		if uint64(size) > uint64(len(p)-4) {
			return nil, damaged("values")
		}
		at := len(all) - len(p) + 4
		out = append(out, all[at:at+int(size)])
		p = p[4+size:]
	}
	return out, nil
}

// AttrValues decodes the dictionary of attributes.
func (d *Decoder) AttrValues(x *Index, stored []byte) ([]string, error) {
	if x.AttrValues == 0 {
		return nil, nil
	}
	if err := check(x.AttrDict, stored, "attributes"); err != nil {
		return nil, err
	}
	raw, err := d.zstd.DecodeAll(stored, d.plain[:0])
	if err != nil || len(raw) != int(x.AttrDict.Raw) {
		return nil, damaged("attributes")
	}
	d.plain = raw
	return plainTexts(raw, int(x.AttrValues))
}

// Attrs decodes the attributes of a span: per row an index into the result's
// texts, which are those of the dictionary or the span's own, or Null.
func (d *Decoder) Attrs(dst []int32, x *Index, s *Span, dictionary []string, stored []byte) ([]int32, []string, error) {
	if err := check(s.Attrs, stored, "attributes"); err != nil {
		return dst, nil, err
	}
	raw, err := d.zstd.DecodeAll(stored, d.plain[:0])
	if err != nil || len(raw) != int(s.Attrs.Raw) {
		return dst, nil, damaged("attributes")
	}
	d.plain = raw
	rest, n, ok := d.nulls(raw, int(s.Rows))
	if !ok {
		return dst, nil, damaged("attributes")
	}
	if s.AttrsPlain {
		texts, err := plainTexts(rest, n)
		if err != nil {
			return dst, nil, err
		}
		dst = dst[:0]
		k := int32(0)
		for _, l := range d.levels {
			if l == 0 {
				dst = append(dst, Null)
				continue
			}
			dst = append(dst, k)
			k++
		}
		return dst, texts, nil
	}
	idx, ok := d.indexes(rest, n, x.AttrValues)
	if !ok || len(dictionary) != int(x.AttrValues) {
		return dst, nil, damaged("attributes")
	}
	return d.spread(dst[:0], idx), dictionary, nil
}
