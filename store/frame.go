package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Both logs, MANIFEST and write-ahead log, are a header and frames. A frame has
// a number that rises from frame to frame: what an earlier life of the disk
// block left behind is not taken for a frame of this one. Sums begin with a salt
// that only the store knows: a line that is made up as a frame is none, even if
// the frame around it is damaged.
const (
	headerSize  = 28 // magic 8, version 4, file number 8, salt 4, sum 4
	frameHeader = 20 // magic 4, payload size 4, number 8, sum 4
	maxFrame    = 1 << 30
	logVersion  = 1
)

// frameMagic has bytes that UTF-8 text does not have.
var frameMagic = [4]byte{0xff, 'S', 0xfe, 'F'}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// ErrVersion says that a later version of the program wrote the store.
var ErrVersion = errors.New("unknown format version")

var errHeader = errors.New("no intact header")

func appendHeader(dst []byte, magic string, number uint64, salt uint32) []byte {
	n := len(dst)
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint32(dst, logVersion)
	dst = binary.LittleEndian.AppendUint64(dst, number)
	dst = binary.LittleEndian.AppendUint32(dst, salt)
	return binary.LittleEndian.AppendUint32(dst, sum(dst[n:]))
}

func parseHeader(p []byte, magic string) (number uint64, salt uint32, err error) {
	const body = headerSize - 4
	if len(p) < headerSize || string(p[:8]) != magic || binary.LittleEndian.Uint32(p[body:]) != sum(p[:body]) {
		return 0, 0, errHeader
	}
	if v := binary.LittleEndian.Uint32(p[8:]); v != logVersion {
		return 0, 0, fmt.Errorf("version %d, this program knows %d: %w", v, logVersion, ErrVersion)
	}
	return binary.LittleEndian.Uint64(p[12:]), binary.LittleEndian.Uint32(p[20:]), nil
}

// sealFrame fills in the header of frame, whose payload is there.
func sealFrame(frame []byte, number uint64, salt uint32) {
	copy(frame, frameMagic[:])
	binary.LittleEndian.PutUint32(frame[4:], uint32(len(frame)-frameHeader))
	binary.LittleEndian.PutUint64(frame[8:], number)
	s := crc32.Update(salt, castagnoli, frame[4:16])
	binary.LittleEndian.PutUint32(frame[16:], crc32.Update(s, castagnoli, frame[frameHeader:]))
}

// parseFrame returns the payload of the frame that p begins with.
func parseFrame(p []byte, salt uint32) (number uint64, payload []byte, ok bool) {
	if len(p) < frameHeader || !bytes.Equal(p[:4], frameMagic[:]) {
		return 0, nil, false
	}
	n := binary.LittleEndian.Uint32(p[4:])
	if n > maxFrame || int64(n) > int64(len(p)-frameHeader) {
		return 0, nil, false
	}
	frame := p[:frameHeader+int(n)]
	s := crc32.Update(salt, castagnoli, frame[4:16])
	if binary.LittleEndian.Uint32(frame[16:]) != crc32.Update(s, castagnoli, frame[frameHeader:]) {
		return 0, nil, false
	}
	return binary.LittleEndian.Uint64(frame[8:]), frame[frameHeader:], true
}

// damage is what reading a log left out.
type damage struct {
	places int   // holes with intact frames behind them
	bytes  int64 // in holes
	torn   int64 // at the end: what was being written when everything stopped
	end    int64 // behind the last intact frame
}

// eachFrame calls f for every intact frame behind the header, in order, with its
// header; frames whose number does not rise are passed over. It returns the last
// number.
func eachFrame(log []byte, salt uint32, f func(number uint64, frame []byte) error) (last uint64, d damage, err error) {
	off := min(headerSize, len(log))
	d.end = int64(off)
	bad := -1
	for off < len(log) {
		n, payload, ok := parseFrame(log[off:], salt)
		if !ok {
			if bad < 0 {
				bad = off
			}
			i := bytes.Index(log[off+1:], frameMagic[:])
			if i < 0 {
				break
			}
			off += 1 + i
			continue
		}
		if bad >= 0 {
			d.places++
			d.bytes += int64(off - bad)
			bad = -1
		}
		if n > last {
			last = n
			if err := f(n, log[off:off+frameHeader+len(payload)]); err != nil {
				return last, d, err
			}
		}
		off += frameHeader + len(payload)
		d.end = int64(off)
	}
	if bad >= 0 {
		d.torn = int64(len(log) - bad)
	}
	return last, d, nil
}
