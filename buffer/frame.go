package buffer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A segment is a header and frames; docs/formats/buffer.md has every byte.
//
// A frame has the number of its first record, counted from the buffer's very
// first: numbers only rise, so that what is missing between two frames is known
// to the record, and what is there twice is seen. Head and payload have a sum
// each. The head's says how far it is to the next frame even if the payload is
// damaged, and lets the search for a next head reject what only looks like one
// without reading on. Sums begin with a salt that only this buffer knows: text
// that is made up as a frame is none.
const (
	headerSize = 60 // magic 8, version 4, number 8, first 8, parts 8, sizes 8, made 8, salt 4, sum 4
	frameHead  = 28 // magic 4, payload size 4, first record 8, records 4, sum of the head 4, sum of the payload 4
	maxFrame   = 1 << 30
	packedBit  = 1 << 31 // in the payload size: the payload is compressed
	version    = 1

	segmentMagic = "WEIRBUF\n"
)

// frameMagic has bytes that UTF-8 text does not have.
var frameMagic = [4]byte{0xff, 'B', 0xfe, 'F'}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrVersion says that a later version of the program wrote the buffer.
var ErrVersion = errors.New("unknown format version")

var errHeader = errors.New("no intact header")

// header is what a segment begins with.
type header struct {
	number uint64 // rises from segment to segment
	first  uint64 // number of the first record that is meant to stand here
	parts  uint64 // frames of records before
	sizes  uint64 // sum of the sizes of these (record.Part.Size)
	made   int64  // Unix ns, for people
	salt   uint32
}

func (h *header) append(dst []byte) []byte {
	n := len(dst)
	dst = append(dst, segmentMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	for _, v := range [...]uint64{h.number, h.first, h.parts, h.sizes, uint64(h.made)} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	dst = binary.LittleEndian.AppendUint32(dst, h.salt)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[n:], castagnoli))
}

func parseHeader(p []byte) (h header, err error) {
	const body = headerSize - 4
	if len(p) < headerSize || string(p[:8]) != segmentMagic || binary.LittleEndian.Uint32(p[body:]) != crc32.Checksum(p[:body], castagnoli) {
		return h, errHeader
	}
	if v := binary.LittleEndian.Uint32(p[8:]); v != version {
		return h, fmt.Errorf("version %d, this program knows %d: %w", v, version, ErrVersion)
	}
	h.number = binary.LittleEndian.Uint64(p[12:])
	h.first = binary.LittleEndian.Uint64(p[20:])
	h.parts = binary.LittleEndian.Uint64(p[28:])
	h.sizes = binary.LittleEndian.Uint64(p[36:])
	h.made = int64(binary.LittleEndian.Uint64(p[44:]))
	h.salt = binary.LittleEndian.Uint32(p[52:])
	return h, nil
}

// frame is the head of a frame. One without records is the snapshot that a
// segment begins with.
type frame struct {
	size    int  // of the payload as it stands there
	packed  bool // it is compressed, see pack
	first   uint64
	records int
	sum     uint32 // of the payload
	seed    uint32 // of that sum
}

func (f *frame) length() int64 { return frameHead + int64(f.size) }

// next is the number of the record behind the frame.
func (f *frame) next() uint64 { return f.first + uint64(f.records) }

// seal fills in the head of p, a whole frame whose payload is there.
func seal(p []byte, first uint64, records int, packed bool, salt uint32) {
	copy(p, frameMagic[:])
	size := uint32(len(p) - frameHead)
	if packed {
		size |= packedBit
	}
	binary.LittleEndian.PutUint32(p[4:], size)
	binary.LittleEndian.PutUint64(p[8:], first)
	binary.LittleEndian.PutUint32(p[16:], uint32(records))
	s := crc32.Update(salt, castagnoli, p[:20])
	binary.LittleEndian.PutUint32(p[20:], s)
	binary.LittleEndian.PutUint32(p[24:], crc32.Update(s, castagnoli, p[frameHead:]))
}

// parseFrame reads a head.
func parseFrame(p []byte, salt uint32) (f frame, ok bool) {
	if len(p) < frameHead || !bytes.Equal(p[:4], frameMagic[:]) {
		return f, false
	}
	f.seed = binary.LittleEndian.Uint32(p[20:])
	n := binary.LittleEndian.Uint32(p[4:])
	f.packed = n&packedBit != 0
	n &^= packedBit
	if n > maxFrame || f.seed != crc32.Update(salt, castagnoli, p[:20]) {
		return f, false
	}
	f.size, f.first, f.records = int(n), binary.LittleEndian.Uint64(p[8:]), int(binary.LittleEndian.Uint32(p[16:]))
	f.sum = binary.LittleEndian.Uint32(p[24:])
	return f, true
}

// intact reports whether the payload is what was written.
func (f *frame) intact(payload []byte) bool {
	return len(payload) == f.size && crc32.Update(f.seed, castagnoli, payload) == f.sum
}

// findChunk is how much is read at a time in search of a frame.
const findChunk = 256 << 10

// findFrame returns the first place in [off, end) at which a frame's head
// stands, and end if there is none.
func findFrame(f File, off, end int64, salt uint32) (int64, error) {
	buf := make([]byte, min(findChunk, max(end-off, 0)))
	for off+frameHead <= end {
		p := buf[:min(int64(len(buf)), end-off)]
		if err := readFull(f, p, off); err != nil {
			return off, err
		}
		for i := 0; ; {
			j := bytes.Index(p[i:], frameMagic[:])
			if j < 0 || i+j+frameHead > len(p) {
				break
			}
			if _, ok := parseFrame(p[i+j:], salt); ok {
				return off + int64(i+j), nil
			}
			i += j + 1
		}
		if off+int64(len(p)) == end {
			break
		}
		off += int64(len(p)) - (frameHead - 1)
	}
	return end, nil
}
