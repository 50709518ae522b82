package columns

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/weirlog/weir/record"
)

// A filter tells of each block whether a text can stand in one of its lines.
// It holds the windows of 6 bytes that begin at every 4th byte of a line, case
// folded. A text that stands in a line meets the grid of every 4th byte at one
// of 4 shifts: it is ruled out if at each shift a window of it is missing. So a
// text of 9 bytes or more can be ruled out, wherever it stands.
//
// A block's filter is a bitmap of Words 64-bit words; a window sets two bits of
// one word. The bitmaps are stored crosswise: a row of the file is one bit of
// all blocks, a group the 64 rows of one word, with its sum. So one read of a
// group answers for the whole segment.
const (
	window   = 6
	stride   = 4
	maxWords = 2048 // 16 KiB of bits for 512 KiB of lines
	minWords = 16
)

// Filter says where the filter of a segment is.
type Filter struct {
	Words  uint32 // of 64 bits per block; 0: there is none
	Blocks uint32
	Off    int64 // in the index file
}

func (f *Filter) rowSize() int { return (int(f.Blocks) + 7) / 8 }

// GroupSize is the size of what a Probe reads, in bytes.
func (f *Filter) GroupSize() int { return 64*f.rowSize() + 4 }

// Size is the size of the whole filter.
func (f *Filter) Size() int64 { return int64(f.Words) * int64(f.GroupSize()) }

const (
	windowMask = 1<<(8*window) - 1
	foldMask   = 0x2020202020202020 & windowMask
)

// hash of the window in the low 6 bytes of w.
func hash(w uint64) uint64 {
	h := (w&windowMask | foldMask) * 0x9e3779b97f4a7c15
	return h ^ h>>32
}

func place(h uint64) (word uint32, mask uint64) {
	return uint32(h>>12) & (maxWords - 1), 1<<(h&63) | 1<<(h>>6&63)
}

// addWindows sets the bits of the lines that follow each other in buf, which
// has 8 bytes of room behind its end.
func addWindows(bitmap *[maxWords]uint64, buf []byte, lengths []int32) {
	whole := buf[:len(buf)+8]
	off := 0
	for _, n := range lengths {
		end := off + int(n)
		for p := off; p+window <= end; p += stride {
			word, mask := place(hash(binary.LittleEndian.Uint64(whole[p:])))
			bitmap[word] |= mask
		}
		off = end
	}
}

// fold halves a bitmap.
func fold(b []uint64) []uint64 {
	n := len(b) / 2
	for i := range n {
		b[i] |= b[i+n]
	}
	return b[:n]
}

// appendFilter appends the bitmaps of a segment's blocks, of maxWords each, and
// says how. The size is the smallest at which the bitmaps are on average at most
// half full.
func appendFilter(dst []byte, bitmaps [][]uint64) ([]byte, Filter) {
	f := Filter{Blocks: uint32(len(bitmaps)), Words: maxWords}
	if len(bitmaps) == 0 {
		return dst, Filter{}
	}
	for f.Words > minWords {
		ones, half := 0, int(f.Words/2)
		for _, b := range bitmaps {
			for i := range half {
				ones += bits.OnesCount64(b[i] | b[i+half])
			}
		}
		if ones > len(bitmaps)*half*64/2 {
			break
		}
		for i := range bitmaps {
			bitmaps[i] = fold(bitmaps[i])
		}
		f.Words /= 2
	}
	size := f.rowSize()
	group := make([]byte, f.GroupSize())
	for w := range f.Words {
		clear(group)
		for i := 0; i < len(bitmaps); i++ {
			for v := bitmaps[i][w]; v != 0; v &= v - 1 {
				group[bits.TrailingZeros64(v)*size+i/8] |= 1 << (i & 7)
			}
		}
		binary.LittleEndian.PutUint32(group[64*size:], checksum(group[:64*size]))
		dst = append(dst, group...)
	}
	return dst, f
}

// Probe asks a filter about one text. It is for one goroutine.
type Probe struct {
	shifts [stride][]uint64 // hashes
}

// NewProbe prepares to ask for a text; ok is false if it is too short to rule
// out anything.
func NewProbe(text []byte) (p *Probe, ok bool) {
	if len(text) < window+stride-1 {
		return nil, false
	}
	p = &Probe{}
	var b [8]byte
	for i := 0; i+window <= len(text); i++ {
		copy(b[:window], text[i:])
		h := hash(binary.LittleEndian.Uint64(b[:]))
		p.shifts[i%stride] = append(p.shifts[i%stride], h)
	}
	return p, true
}

// maxProbed bounds the windows looked at per shift: what that many do not rule
// out stands there.
const maxProbed = 12

// Blocks returns a bitmap of the blocks that can hold the text, one bit each.
// read returns what stands at an offset of the index file; it is asked for one
// group at a time and may reuse its buffer.
func (p *Probe) Blocks(f *Filter, read func(off int64, size int) ([]byte, error)) ([]byte, error) {
	size := f.rowSize()
	out := make([]byte, size)
	shift := make([]byte, size)
	for _, hashes := range p.shifts {
		for i := range shift {
			shift[i] = 0xff
		}
		step := 1 + (len(hashes)-1)/maxProbed
		for i := 0; i < len(hashes); i += step {
			word, mask := place(hashes[i])
			word &= f.Words - 1
			group, err := read(f.Off+int64(word)*int64(f.GroupSize()), f.GroupSize())
			if err != nil {
				return nil, err
			}
			if len(group) != f.GroupSize() || binary.LittleEndian.Uint32(group[64*size:]) != checksum(group[:64*size]) {
				return nil, fmt.Errorf("filter: sum of word %d: %w", word, ErrDamaged)
			}
			left := byte(0)
			for ; mask != 0; mask &= mask - 1 {
				row := group[bits.TrailingZeros64(mask)*size:][:size]
				left = 0
				for j := range shift {
					shift[j] &= row[j]
					left |= shift[j]
				}
			}
			if left == 0 {
				break
			}
		}
		for j := range out {
			out[j] |= shift[j]
		}
	}
	if n := f.Blocks & 7; n != 0 {
		out[size-1] &= 1<<n - 1
	}
	return out, nil
}

// Bodies cuts a block's decoded bodies into lines.
func Bodies(dst []record.Span, lengths []int32) []record.Span {
	off := uint32(0)
	for _, n := range lengths {
		dst = append(dst, record.Span{Off: off, Len: uint32(n)})
		off += uint32(n)
	}
	return dst
}

// Intact compares the sums of a whole filter.
func (f *Filter) Intact(b []byte) bool {
	size := f.GroupSize()
	for ; len(b) >= size; b = b[size:] {
		if binary.LittleEndian.Uint32(b[size-4:]) != checksum(b[:size-4]) {
			return false
		}
	}
	return len(b) == 0
}
