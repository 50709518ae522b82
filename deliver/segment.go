package deliver

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// A segment of dead letters is a header and frames; docs/formats/dead-letters.md
// describes them.

const (
	segmentMagic = "WEIRDLQ1"
	headerCopy   = len(segmentMagic) + saltLen + 4
	headerLen    = 2 * headerCopy
	saltLen      = 8
	frameHead    = 12

	// suffixes of the names of segments, after 16 digits: their state.
	openSuffix   = ".open" // a writer may append to it
	closedSuffix = ".dlq"  // complete: a replay may rewrite or remove it
	tempSuffix   = ".tmp"  // being rewritten: of no meaning after a crash
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// salt makes the frames of one segment different from those of every other, so
// that no message can hold bytes that look like a frame.
type salt [saltLen]byte

func newSalt() (s salt) {
	rand.Read(s[:]) // never fails
	return s
}

func appendHeader(dst []byte, s salt) []byte {
	for range 2 {
		at := len(dst)
		dst = append(dst, segmentMagic...)
		dst = append(dst, s[:]...)
		dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
	}
	return dst
}

var errHeader = errors.New("both copies of the header are damaged, or this is not a segment of dead letters")

func parseHeader(data []byte) (s salt, err error) {
	for at := 0; at < headerLen && at+headerCopy <= len(data); at += headerCopy {
		c := data[at : at+headerCopy]
		sum := binary.LittleEndian.Uint32(c[headerCopy-4:])
		if string(c[:len(segmentMagic)]) == segmentMagic && crc32.Checksum(c[:headerCopy-4], castagnoli) == sum {
			copy(s[:], c[len(segmentMagic):])
			return s, nil
		}
	}
	return s, errHeader
}

func frameSum(s salt, length, payload []byte) uint32 {
	sum := crc32.Update(0, castagnoli, s[:])
	sum = crc32.Update(sum, castagnoli, length)
	return crc32.Update(sum, castagnoli, payload)
}

func appendFrame(dst []byte, s salt, payload []byte) []byte {
	at := len(dst)
	dst = append(dst, s[:4]...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.LittleEndian.AppendUint32(dst, frameSum(s, dst[at+4:at+8], payload))
	return append(dst, payload...)
}

// parseFrame returns the payload of the frame that data begins with.
func parseFrame(data []byte, s salt) (payload []byte, ok bool) {
	if len(data) < frameHead || !bytes.Equal(data[:4], s[:4]) {
		return nil, false
	}
	n := uint64(binary.LittleEndian.Uint32(data[4:]))
	if n > uint64(len(data)-frameHead) {
		return nil, false
	}
	payload = data[frameHead : frameHead+n]
	return payload, binary.LittleEndian.Uint32(data[8:]) == frameSum(s, data[4:8], payload)
}

// Damage is what a reader of dead letters had to leave out.
type Damage struct {
	// Places is the number of stretches of bytes that are no frame, with
	// intact frames around them, and Bytes their length.
	Places int
	Bytes  int64
	// Torn is the number of bytes behind the last frame: a write that was cut
	// off by a crash and never counted, or one that is going on.
	Torn int64
	// Unknown is the number of letters that this version cannot read. They
	// are kept.
	Unknown int
	// Segments is the number of files whose header is damaged. They are kept.
	Segments int
}

// Any reports whether anything but a torn end was left out.
func (d Damage) Any() bool { return d.Places+d.Unknown+d.Segments > 0 }

func (d *Damage) add(o Damage) {
	d.Places += o.Places
	d.Bytes += o.Bytes
	d.Torn += o.Torn
	d.Unknown += o.Unknown
	d.Segments += o.Segments
}

// scanSegment calls fn with the payload of every intact frame and its offset.
// end is the offset behind the last one.
func scanSegment(data []byte, fn func(off int, payload []byte) error) (end int, damage Damage, err error) {
	if len(data) < headerLen {
		return 0, Damage{Torn: int64(len(data))}, nil // cut off while it was made
	}
	s, err := parseHeader(data)
	if err != nil {
		return 0, Damage{Segments: 1, Bytes: int64(len(data))}, nil
	}
	at := headerLen
	end = at
	for at < len(data) {
		payload, ok := parseFrame(data[at:], s)
		if !ok {
			next := nextFrame(data, at+1, s)
			if next < 0 {
				damage.Torn += int64(len(data) - at)
				break
			}
			damage.Places++
			damage.Bytes += int64(next - at)
			at = next
			continue
		}
		if err := fn(at, payload); err != nil {
			return end, damage, err
		}
		at += frameHead + len(payload)
		end = at
	}
	return end, damage, nil
}

func nextFrame(data []byte, at int, s salt) int {
	for {
		i := bytes.Index(data[at:], s[:4])
		if i < 0 {
			return -1
		}
		at += i
		if _, ok := parseFrame(data[at:], s); ok {
			return at
		}
		at++
	}
}

func segmentName(seq uint64, suffix string) string { return fmt.Sprintf("%016d%s", seq, suffix) }

// parseSegmentName returns the number and the suffix of a segment's name.
func parseSegmentName(name string) (seq uint64, suffix string, ok bool) {
	const digits = 16
	if len(name) <= digits || strings.Trim(name[:digits], "0123456789") != "" {
		return 0, "", false
	}
	suffix = name[digits:]
	if suffix != openSuffix && suffix != closedSuffix && suffix != tempSuffix {
		return 0, "", false
	}
	seq, err := strconv.ParseUint(name[:digits], 10, 64)
	return seq, suffix, err == nil
}

// escapeName returns a name for a directory that cannot leave its parent and is
// different for different outputs: letters, digits, - and _ stand for
// themselves, every other byte is % and two hexadecimal digits.
func escapeName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

func unescapeName(dir string) (name string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(dir); i++ {
		if dir[i] != '%' {
			b.WriteByte(dir[i])
			continue
		}
		if i+2 >= len(dir) {
			return "", false
		}
		c, err := strconv.ParseUint(dir[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), b.Len() > 0 && escapeName(b.String()) == dir
}
