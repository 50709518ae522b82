package gelf

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"

	"github.com/weirlog/weir/record"
)

// ErrCompressed is in the chain of the error for a message that cannot be
// decompressed or comes to too much.
var ErrCompressed = errors.New("compressed message")

// IsCompressed reports whether a message is compressed with gzip or zlib.
func IsCompressed(p []byte) bool {
	return len(p) > 2 && (p[0] == 0x1f && p[1] == 0x8b || p[0] == 0x78 && (uint(p[0])<<8|uint(p[1]))%31 == 0)
}

// Unzipper decompresses messages. It keeps its decompressors; it is for one
// goroutine.
type Unzipper struct {
	src  bytes.Reader
	gzip *gzip.Reader
	zlib io.ReadCloser
}

// Append appends to b's buffer what the message p comes to, which must be no more
// than limit bytes. p may lie in that buffer.
func (u *Unzipper) Append(b *record.Batch, p []byte, limit int) (record.Span, error) {
	u.src.Reset(p)
	defer u.src.Reset(nil)
	r, err := u.reader(p)
	from := b.Len()
	for err == nil {
		size := b.Len() - from
		var n int
		n, err = r.Read(b.Reserve(min(max(8<<10, size), limit+1-size)))
		b.Extend(n)
		if size+n > limit {
			err = fmt.Errorf("%d bytes come to more than %d", len(p), limit)
		}
	}
	if err != io.EOF {
		b.Truncate(from)
		return record.Span{}, fmt.Errorf("%w: %w", ErrCompressed, err)
	}
	return record.Span{Off: uint32(from), Len: uint32(b.Len() - from)}, nil
}

func (u *Unzipper) reader(p []byte) (io.Reader, error) {
	if p[0] == 0x1f {
		if u.gzip == nil {
			u.gzip = new(gzip.Reader)
		}
		return u.gzip, u.gzip.Reset(&u.src)
	}
	if u.zlib == nil {
		var err error
		u.zlib, err = zlib.NewReader(&u.src)
		return u.zlib, err
	}
	return u.zlib, u.zlib.(zlib.Resetter).Reset(&u.src, nil)
}
