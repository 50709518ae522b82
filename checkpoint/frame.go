package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// The layout of the log; docs/formats/checkpoint.md is the reference.
const (
	fileMagic   = "weirckpt"
	fileVersion = 1
	headerSize  = 16 // magic, version, CRC32C of both
	frameHeader = 24 // magic, payload length, sequence, flags, CRC32C
	// maxFrame bounds the payload of one frame. It is a limit on what the
	// reader believes, so that a damaged length cannot ask for the moon.
	maxFrame = 1 << 30

	opPut    = 1
	opDelete = 2
)

// frameMagic starts every frame. It holds bytes that no UTF-8 text holds, so
// that a search for the next frame is not led astray by the values (JSON).
var frameMagic = []byte{0xff, 'W', 0xfe, 'F'}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errFrame = errors.New("damaged frame")

func appendHeader(dst []byte) []byte {
	n := len(dst)
	dst = append(dst, fileMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, fileVersion)
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[n:]))
}

// parseHeader returns the version of a log; ok is false if the header is not
// intact.
func parseHeader(p []byte) (version uint32, ok bool) {
	if len(p) < headerSize || string(p[:8]) != fileMagic {
		return 0, false
	}
	if binary.LittleEndian.Uint32(p[12:]) != checksum(p[:12]) {
		return 0, false
	}
	return binary.LittleEndian.Uint32(p[8:]), true
}

// beginFrame appends room for a frame's header; endFrame fills it in.
func beginFrame(dst []byte) []byte { return append(dst, make([]byte, frameHeader)...) }

func endFrame(dst []byte, start int, seq uint64) []byte {
	h := dst[start:]
	copy(h, frameMagic)
	binary.LittleEndian.PutUint32(h[4:], uint32(len(h)-frameHeader))
	binary.LittleEndian.PutUint64(h[8:], seq)
	binary.LittleEndian.PutUint32(h[16:], 0)
	binary.LittleEndian.PutUint32(h[20:], frameSum(h))
	return dst
}

// frameSum covers everything but the magic and the sum itself.
func frameSum(frame []byte) uint32 {
	s := crc32.Update(0, castagnoli, frame[4:20])
	return crc32.Update(s, castagnoli, frame[frameHeader:])
}

// parseFrame returns the sequence and payload of the frame at the start of p
// and the frame's size.
func parseFrame(p []byte) (seq uint64, payload []byte, size int, err error) {
	if len(p) < frameHeader || !bytes.Equal(p[:4], frameMagic) {
		return 0, nil, 0, errFrame
	}
	n := int64(binary.LittleEndian.Uint32(p[4:]))
	if n > maxFrame || n > int64(len(p)-frameHeader) {
		return 0, nil, 0, errFrame
	}
	frame := p[:frameHeader+int(n)]
	if binary.LittleEndian.Uint32(frame[16:]) != 0 || binary.LittleEndian.Uint32(frame[20:]) != frameSum(frame) {
		return 0, nil, 0, errFrame
	}
	return binary.LittleEndian.Uint64(frame[8:]), frame[frameHeader:], len(frame), nil
}

func appendPut(dst []byte, key string, value []byte) []byte {
	dst = append(dst, opPut)
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

func appendDelete(dst []byte, key string) []byte {
	dst = append(dst, opDelete)
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	return append(dst, key...)
}

// walk calls put or del for every operation of a payload, in order. It reports
// an error, after the operations before it, at the first that does not parse;
// a payload whose sum is right has none, unless a later version wrote it.
func walk(payload []byte, put func(key string, value []byte), del func(key string)) error {
	next := func() ([]byte, bool) {
		n, w := binary.Uvarint(payload)
		if w <= 0 || n > uint64(len(payload)-w) {
			return nil, false
		}
		v := payload[w : w+int(n)]
		payload = payload[w+int(n):]
		return v, true
	}
	for len(payload) > 0 {
		op := payload[0]
		payload = payload[1:]
		key, ok := next()
		if !ok {
			return errFrame
		}
		switch op {
		case opPut:
			value, ok := next()
			if !ok {
				return errFrame
			}
			put(string(key), value)
		case opDelete:
			del(string(key))
		default:
			return errFrame
		}
	}
	return nil
}

// Damage says what opening a log found broken and left out.
type Damage struct {
	// Places is the number of places in the middle of the log that hold no
	// intact frame although an intact one follows, or the whole log if it holds
	// neither a header nor a frame.
	Places int
	// Bytes is how many bytes they take.
	Bytes int64
	// Torn is the number of bytes cut off the end: a frame that was not
	// completely written when the process or the machine stopped.
	Torn int64
}

// replay applies every intact frame of log and returns the offset behind the
// last one and its sequence number. Frames must have rising sequence numbers;
// a stale one is damage.
func replay(log []byte, put func(key string, value []byte), del func(key string)) (end int64, last uint64, d Damage) {
	off, bad := 0, -1 // bad is the start of the current damaged place
	if _, ok := parseHeader(log); ok {
		off = headerSize
	} else {
		bad = 0
	}
	end = int64(off)
	for off < len(log) {
		seq, payload, size, err := parseFrame(log[off:])
		if err == nil && seq > last && walk(payload, func(string, []byte) {}, func(string) {}) == nil {
			if bad >= 0 {
				d.Places++
				d.Bytes += int64(off - bad)
				bad = -1
			}
			walk(payload, put, del)
			last = seq
			off += size
			end = int64(off)
			continue
		}
		if bad < 0 {
			bad = off
		}
		i := bytes.Index(log[off+1:], frameMagic)
		if i < 0 {
			break
		}
		off += 1 + i
	}
	switch {
	case bad == 0 && len(log) > 0: // not even a header
		d.Places++
		d.Bytes += int64(len(log))
	case bad > 0:
		d.Torn = int64(len(log) - bad)
	}
	return end, last, d
}

func checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }
