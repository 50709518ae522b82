package columns

import (
	"encoding/binary"
	"math/bits"

	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/rle"
)

// The encodings of the pages, as the Parquet specification has them.

var deltaPacked delta.BinaryPackedEncoding

// widthOf is the number of bits of an index below n; at least 1, which every
// reader understands.
func widthOf(n int) int { return max(1, bits.Len(uint(max(n, 1)-1))) }

// appendIndexes appends the indexes into a dictionary of n values as the data of
// a page: the width, then runs and packed groups.
func appendIndexes(dst []byte, scratch *[]byte, indexes []int32, n int) []byte {
	w := widthOf(n)
	e := rle.Encoding{BitWidth: w}
	// The widths are ours and valid; the encoder has no other errors.
	*scratch, _ = e.EncodeInt32((*scratch)[:0], indexes)
	return append(append(dst, byte(w)), *scratch...)
}

// appendLevels appends definition levels (0 or 1) as they stand in a page.
func appendLevels(dst []byte, scratch *[]byte, levels []byte) []byte {
	e := rle.Encoding{BitWidth: 1}
	*scratch, _ = e.EncodeLevels((*scratch)[:0], levels)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(*scratch)))
	return append(dst, *scratch...)
}

// A run is a value and how often it follows.
type run struct {
	value int32 // -1: null
	n     uint32
}

// appendRuns appends runs of values of the given width.
func appendRuns(dst []byte, runs []run, width int, value func(int32) (int32, bool)) []byte {
	var last int32
	n := uint64(0)
	flush := func() {
		if n > 0 {
			dst = binary.AppendUvarint(dst, n<<1)
			for v, w := uint32(last), 0; w < width; w += 8 {
				dst = append(dst, byte(v))
				v >>= 8
			}
		}
	}
	for _, r := range runs {
		v, ok := value(r.value)
		if !ok {
			continue
		}
		if v != last {
			flush()
			last, n = v, 0
		}
		n += uint64(r.n)
	}
	flush()
	return dst
}

// appendRunPage appends the data of a page of an optional column with a
// dictionary of n values.
func appendRunPage(dst []byte, runs []run, n int) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = appendRuns(dst, runs, 1, func(v int32) (int32, bool) { return min(v, 0) + 1, true })
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return appendRequiredRuns(dst, runs, n)
}

// appendRequiredRuns is the same for a column without nulls.
func appendRequiredRuns(dst []byte, runs []run, n int) []byte {
	w := widthOf(n)
	dst = append(dst, byte(w))
	return appendRuns(dst, runs, w, func(v int32) (int32, bool) { return v, v >= 0 })
}

// dict numbers the values of a column.
type dict struct {
	index map[string]int32
	plain []byte // the values as a dictionary page has them
	n     int
}

func (d *dict) reset() {
	if d.index == nil {
		d.index = make(map[string]int32)
	}
	clear(d.index)
	d.plain, d.n = d.plain[:0], 0
}

func (d *dict) add(v []byte) int32 {
	if i, ok := d.index[string(v)]; ok {
		return i
	}
	return d.new(v)
}

func (d *dict) new(v []byte) int32 {
	i := int32(d.n)
	d.index[string(v)] = i
	d.plain = binary.LittleEndian.AppendUint32(d.plain, uint32(len(v)))
	d.plain = append(d.plain, v...)
	d.n++
	return i
}
