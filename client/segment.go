package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
)

// A segment is a file of the spool:
//
//	header   magic "weirlog1" | salt 8 | resource length 4 | CRC-32C 4 | acked 8 | its CRC-32C 4 | resource
//	frame    magic "wfr1" | length 4 | records 4 | CRC-32C of the header 4 | CRC-32C of the payload 4 | payload
//	…
//
// with integers in little-endian. The resource is the message Resource of OTLP, of the
// process that has logged; a payload is a number of elements of ScopeLogs, as
// they will be in a request. Acked is up to where all is acknowledged: the only
// thing that is ever written over. If that is torn, more is sent again.
//
// Every sum begins with the salt, which is random, and a frame's also with its
// offset: nothing that a program logs can pass for a frame when a damaged one is
// skipped.
type segment struct {
	name   string
	f      file // nil while not needed
	salt   [8]byte
	res    []byte
	size   int64 // end of what may be read
	read   int64 // up to here it is with the senders
	acked  int64
	taken  int // batches with the senders
	unread int // records behind read
	sealed bool
	dirty  bool // not synced
}

// file is what the spool needs of a file.
type file interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

// openFunc opens a file; create says that there must be none.
type openFunc func(name string, create bool) (file, error)

func openFile(name string, create bool) (file, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err // not a nil *os.File in an interface
	}
	return f, nil
}

const (
	segmentMagic = "weirlog1"
	frameMagic   = "wfr1"
	segmentFixed = 36
	ackedAt      = 24
	frameHeader  = 20
	maxFrame     = 32 << 20
	maxResource  = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("damaged")

// sum is the CRC-32C of the salt, n and p.
func (s *segment) sum(n int64, p []byte) uint32 {
	var b [16]byte
	copy(b[:], s.salt[:])
	binary.LittleEndian.PutUint64(b[8:], uint64(n))
	return crc32.Update(crc32.Update(0, castagnoli, b[:]), castagnoli, p)
}

// createSegment makes a segment with nothing in it.
func createSegment(open openFunc, name string, resource []byte) (*segment, error) {
	f, err := open(name, true)
	if err != nil {
		return nil, err
	}
	s := &segment{name: name, f: f, res: resource, dirty: true}
	binary.LittleEndian.PutUint64(s.salt[:], rand.Uint64())
	p := append([]byte(segmentMagic), s.salt[:]...)
	p = binary.LittleEndian.AppendUint32(p, uint32(len(resource)))
	p = binary.LittleEndian.AppendUint32(p, s.sum(int64(len(resource)), resource))
	s.size = int64(segmentFixed + len(resource))
	s.read, s.acked = s.size, s.size
	p = append(p, s.ackedField()...)
	p = append(p, resource...)
	if _, err := f.WriteAt(p, 0); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(name))
	}
	return s, nil
}

func (s *segment) ackedField() []byte {
	p := binary.LittleEndian.AppendUint64(nil, uint64(s.acked))
	return binary.LittleEndian.AppendUint32(p, s.sum(s.acked, nil))
}

// openSegment opens a segment that another process has written, up to size.
func openSegment(f file, name string, size int64) (*segment, error) {
	var h [segmentFixed]byte
	if _, err := f.ReadAt(h[:], 0); err != nil {
		if errors.Is(err, io.EOF) {
			err = errDamaged
		}
		return nil, err
	}
	s := &segment{name: name, f: f, size: size, sealed: true}
	copy(s.salt[:], h[8:])
	n := int64(binary.LittleEndian.Uint32(h[16:]))
	if string(h[:8]) != segmentMagic || n > maxResource || segmentFixed+n > size {
		return nil, errDamaged
	}
	s.res = make([]byte, n)
	if _, err := f.ReadAt(s.res, segmentFixed); err != nil {
		return nil, err
	}
	if s.sum(n, s.res) != binary.LittleEndian.Uint32(h[20:]) {
		return nil, errDamaged
	}
	s.acked = segmentFixed + n
	if a := int64(binary.LittleEndian.Uint64(h[ackedAt:])); a > s.acked && a <= size && s.sum(a, nil) == binary.LittleEndian.Uint32(h[ackedAt+8:]) {
		s.acked = a
	}
	s.read = s.acked
	return s, nil
}

// append writes a frame behind all others. After an error the segment is as
// before, and should not be written any more.
func (s *segment) append(payload []byte, records int) error {
	p := make([]byte, 0, frameHeader+len(payload))
	p = append(p, frameMagic...)
	p = binary.LittleEndian.AppendUint32(p, uint32(len(payload)))
	p = binary.LittleEndian.AppendUint32(p, uint32(records))
	p = binary.LittleEndian.AppendUint32(p, s.sum(s.size, p))
	p = binary.LittleEndian.AppendUint32(p, s.sum(s.size, payload))
	p = append(p, payload...)
	if _, err := s.f.WriteAt(p, s.size); err != nil {
		// What is torn is skipped by a reader if this fails, too.
		return errors.Join(err, s.f.Truncate(s.size))
	}
	s.size += int64(len(p))
	s.dirty = true
	return nil
}

// frame returns the first whole frame at off or behind it, and how many bytes
// were skipped because they are none. At the end of the segment records is 0.
func (s *segment) frame(off int64) (payload []byte, records int, next, skipped int64, err error) {
	begin := off
	for {
		payload, records, err = s.frameAt(off)
		if err == nil {
			next = off + frameHeader + int64(len(payload))
			return payload, records, next, off - begin, nil
		}
		if !errors.Is(err, errDamaged) {
			return nil, 0, off, off - begin, err
		}
		if off, err = s.find(off + 1); err != nil {
			return nil, 0, off, off - begin, err
		}
		if off >= s.size {
			return nil, 0, s.size, max(s.size-begin, 0), nil
		}
	}
}

func (s *segment) frameAt(off int64) ([]byte, int, error) {
	if off+frameHeader > s.size {
		return nil, 0, errDamaged
	}
	var h [frameHeader]byte
	if _, err := s.f.ReadAt(h[:], off); err != nil {
		return nil, 0, shorter(err)
	}
	n, records := int64(binary.LittleEndian.Uint32(h[4:])), int(binary.LittleEndian.Uint32(h[8:]))
	if string(h[:4]) != frameMagic || s.sum(off, h[:12]) != binary.LittleEndian.Uint32(h[12:]) ||
		n > maxFrame || off+frameHeader+n > s.size || records == 0 {
		return nil, 0, errDamaged
	}
	p := make([]byte, n)
	if _, err := s.f.ReadAt(p, off+frameHeader); err != nil {
		return nil, 0, shorter(err)
	}
	if s.sum(off, p) != binary.LittleEndian.Uint32(h[16:]) || !wellFormed(p, records) {
		return nil, 0, errDamaged
	}
	return p, records, nil
}

// wellFormed reports whether p is that many records.
func wellFormed(p []byte, records int) bool {
	for ; records > 0; records-- {
		if len(p) < 2 || p[0] != scopeRecords<<3|wireBytes {
			return false
		}
		n, k := binary.Uvarint(p[1:])
		if k <= 0 || n > uint64(len(p)-1-k) {
			return false
		}
		p = p[1+k+int(n):]
	}
	return len(p) == 0
}

// shorter makes damage of the end of a file that somebody has cut.
func shorter(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errDamaged
	}
	return err
}

// find returns where a frame may begin, at off or behind it; s.size if nowhere.
func (s *segment) find(off int64) (int64, error) {
	var b [32 << 10]byte
	for off < s.size {
		n, err := s.f.ReadAt(b[:min(int64(len(b)), s.size-off)], off)
		if i := bytes.Index(b[:n], []byte(frameMagic)); i >= 0 {
			return off + int64(i), nil
		}
		if err != nil {
			if shorter(err) == errDamaged {
				return s.size, nil
			}
			return off, err
		}
		if off += int64(n); off < s.size {
			off -= int64(len(frameMagic) - 1)
		}
	}
	return s.size, nil
}

// ack notes that all up to off is acknowledged.
func (s *segment) ack(off int64) error {
	s.acked = off
	if _, err := s.f.WriteAt(s.ackedField(), ackedAt); err != nil {
		return fmt.Errorf("position of %s: %w", s.name, err)
	}
	return nil
}
