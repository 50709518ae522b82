package forward

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/weirlog/weir/record"
)

// window bounds what a zstd frame may make the decoder remember, in bytes.
const window = 8 << 20

// unzipper decompresses into a batch's buffer. It keeps its decompressors.
type unzipper struct {
	src  bytes.Reader
	gzip *gzip.Reader
	zstd *zstd.Decoder
}

// unzip appends to b's buffer what the bytes of s come to, which must be no more
// than limit. Several gzip members, or zstd frames, one behind the other are one
// text: Fluentd joins chunks so.
func (u *unzipper) unzip(b *record.Batch, s record.Span, method string, limit int) (record.Span, error) {
	// The bytes stay where they are while the buffer moves: the old one is kept
	// by the reader.
	u.src.Reset(b.Bytes(s))
	defer u.src.Reset(nil)
	var r io.Reader
	if method == "gzip" {
		if u.gzip == nil {
			u.gzip = new(gzip.Reader)
		}
		if err := u.gzip.Reset(&u.src); err != nil {
			return record.Span{}, err
		}
		r = u.gzip
	} else {
		if u.zstd == nil {
			var err error
			// With one decoder it works in this goroutine and starts none.
			if u.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window), zstd.WithDecoderLowmem(true)); err != nil {
				return record.Span{}, err
			}
		}
		if err := u.zstd.Reset(&u.src); err != nil {
			return record.Span{}, err
		}
		r = u.zstd
		defer u.zstd.Reset(nil)
	}
	from := b.Len()
	for {
		size := b.Len() - from
		n, err := r.Read(b.Reserve(min(max(64<<10, size, 2*int(s.Len)), limit+1-size)))
		b.Extend(n)
		switch {
		case size+n > limit:
			return record.Span{}, fmt.Errorf("%d bytes come to more than %d", s.Len, limit)
		case err == io.EOF:
			return record.Span{Off: uint32(from), Len: uint32(size + n)}, nil
		case err != nil:
			return record.Span{}, err
		}
	}
}
