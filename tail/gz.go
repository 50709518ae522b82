package tail

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
)

// gzStream reads a gzip file at rising uncompressed offsets. Bytes that were
// read but not consumed stay in front.
type gzStream struct {
	sys  *system
	fd   int
	off  int64 // in the compressed file
	r    *gzip.Reader
	pos  int64  // uncompressed offset of the first byte of rest
	rest []byte // read, not consumed
	end  bool   // the stream has ended behind rest
	err  error  // the stream broke behind rest
}

// Read reads compressed bytes.
func (z *gzStream) Read(p []byte) (int, error) {
	n, err := z.sys.pread(z.fd, p, z.off)
	z.off += int64(n)
	if err == nil && n == 0 && len(p) > 0 {
		err = io.EOF
	}
	return n, err
}

func openGz(sys *system, fd int) *gzStream { return &gzStream{sys: sys, fd: fd} }

// fill appends up to n more bytes of the stream to p; end says that there are
// no more.
func (z *gzStream) fill(p []byte) (n int, err error) {
	if z.r == nil {
		if z.r, err = gzip.NewReader(z); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
	}
	for n < len(p) {
		m, err := z.r.Read(p[n:])
		n += m
		if err == io.EOF {
			z.end = true
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// readAt copies the bytes from off on to p; fewer than len(p) only at the end
// of the stream or together with an error. Going back begins anew.
func (z *gzStream) readAt(p []byte, off int64) (n int, err error) {
	if off < z.pos {
		*z = gzStream{sys: z.sys, fd: z.fd}
	}
	for z.pos < off { // forwards: throw away
		if len(z.rest) == 0 {
			if z.end || z.err != nil {
				return 0, z.err
			}
			if cap(z.rest) == 0 {
				z.rest = make([]byte, 0, 64<<10)
			}
			m, err := z.fill(z.rest[:cap(z.rest)])
			z.rest, z.err = z.rest[:m], err
			continue
		}
		k := min(int64(len(z.rest)), off-z.pos)
		z.rest = z.rest[k:]
		z.pos += k
	}
	n = copy(p, z.rest)
	if n < len(p) && !z.end && z.err == nil {
		m, err := z.fill(p[n:])
		z.err = err
		z.rest = append(z.rest, p[n:n+m]...)
		n += m
	}
	if n < len(p) {
		err = z.err
	}
	return n, err
}

// consume says that the first n bytes at the present offset are done with.
func (z *gzStream) consume(n int) {
	z.rest = z.rest[n:]
	z.pos += int64(n)
	if len(z.rest) == 0 {
		z.rest = nil
	}
}

// isDamage reports whether err says that a compressed file is not whole.
func isDamage(err error) bool {
	var flateErr flate.CorruptInputError
	return errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &flateErr)
}

// gzSize returns what the file's last four bytes say its uncompressed size is,
// modulo 2³². It is right for files of one member, which is what kubelet and
// logrotate write.
func gzSize(sys *system, fd int, size int64) (uint32, error) {
	var b [4]byte
	if size < 18 {
		return 0, io.ErrUnexpectedEOF
	}
	if n, err := sys.preadFull(fd, b[:], size-4); err != nil || n < 4 {
		return 0, errors.Join(err, io.ErrUnexpectedEOF)
	}
	return binary.LittleEndian.Uint32(b[:]), nil
}
