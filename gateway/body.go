package gateway

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/weirlog/weir/record"
)

// Bodies are decompressed straight into the batch's buffer, where their records
// stay. How much may come out is bounded by size and by how much went in.

const (
	// ratioFloor is up to where a body may be any number of times what was sent.
	ratioFloor = 1 << 20
	// zstdWindow bounds what a zstd frame may make the decoder remember, in bytes.
	zstdWindow = 8 << 20
	// minBodyRate is how many bytes give a sender a second more.
	minBodyRate = 1 << 10
)

// readBody reads what was pushed into the batch, uncompressed. block says that
// it is in snappy's block format if no encoding is named.
func (u *push) readBody(ctx context.Context, block bool) error {
	encoding := strings.ToLower(strings.TrimSpace(strings.Join(u.Header.Values("Content-Encoding"), ",")))
	if encoding == "" && block {
		encoding = "snappy"
	}
	src, err := u.source()
	if err != nil {
		return err
	}
	return u.decode(ctx, src, src, encoding)
}

// source returns the body as it is sent, within the limits.
func (u *push) source() (*bodyReader, error) {
	limit := u.c.Limits.Body
	if u.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	return &bodyReader{u: u, r: http.MaxBytesReader(u.w, u.Body, limit), rc: http.NewResponseController(u.w), began: time.Now()}, nil
}

// decode reads what is in r, which reads from src, into the batch.
func (u *push) decode(ctx context.Context, src *bodyReader, r io.Reader, encoding string) (err error) {
	switch encoding {
	case "", "identity":
		err = u.fill(r)
	case "gzip", "x-gzip":
		err = u.gunzip(r)
	case "zstd":
		err = u.unzstd(r)
	case "deflate", "zlib": // the Collector has both names for one thing
		err = u.inflate(r)
	case "snappy", "x-snappy-framed":
		err = u.unsnap(r)
	default:
		u.w.Header().Set("Accept-Encoding", "gzip, zstd, snappy, deflate")
		return &httpError{http.StatusUnsupportedMediaType, fmt.Sprintf("Content-Encoding %q not supported; gzip, zstd, snappy, deflate and identity are", clip(encoding))}
	}
	if err == nil {
		// Some formats say themselves where they end, and the server would look for
		// the body's end without haste.
		_, err = io.Copy(io.Discard, r)
	}
	src.done()
	if err == nil {
		return nil
	}
	if e := src.failure(ctx, err); e != nil {
		return e
	}
	if encoding == "" {
		encoding = "identity"
	}
	return &httpError{http.StatusBadRequest, fmt.Sprintf("%s: the body is damaged or something else: %v", encoding, err)}
}

func clip(s string) string { return s[:min(len(s), 64)] }

func tooLarge(limit int64) error {
	return &httpError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes as sent: send smaller requests", limit)}
}

// bodyReader reads the body as it was sent, with patience only for so long.
type bodyReader struct {
	u     *push
	r     io.Reader
	rc    *http.ResponseController
	began time.Time
	until time.Time
	err   error // the first that is not nil
}

// done ends the patience: what follows on the connection is the server's, and not
// all decompressors read up to the end.
func (r *bodyReader) done() { r.rc.SetReadDeadline(time.Time{}) }

// failure is what is answered if reading failed for err, nil if that is for what
// the body holds.
func (r *bodyReader) failure(ctx context.Context, err error) error {
	var large *http.MaxBytesError
	var he *httpError
	switch {
	case errors.As(err, &he):
		return he
	case errors.As(err, &large) || errors.As(r.err, &large):
		return tooLarge(r.u.c.Limits.Body)
	case errors.Is(r.err, os.ErrDeadlineExceeded):
		return &httpError{http.StatusRequestTimeout, "the body came too slowly"}
	case ctx.Err() != nil:
		return ctx.Err()
	case r.err != nil && r.err != io.EOF:
		return &httpError{http.StatusBadRequest, "the body was cut off"}
	}
	return nil
}

func (r *bodyReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	// The deadline moves with what has come; set rarely. A body that somebody else
	// sets deadlines for too is looked at as well.
	until := r.began.Add(r.u.c.Limits.Patience + time.Duration(r.u.read/minBodyRate)*time.Second)
	if time.Now().After(until) {
		r.err = os.ErrDeadlineExceeded
		return 0, r.err
	}
	if until.Sub(r.until) > time.Second {
		r.until = until
		r.rc.SetReadDeadline(until) // where there are no deadlines, there is no connection to hold
	}
	n, err := r.r.Read(p)
	r.u.read += int64(n)
	if err != nil {
		r.err = err
	}
	return n, err
}

// fill appends what comes out of src to the batch's buffer.
func (u *push) fill(src io.Reader) error {
	const chunk = 64 << 10
	from := u.b.Len()
	var room []byte
	for {
		size := int64(u.b.Len() - from)
		if len(room) < chunk/8 {
			// Twice what there is: a buffer that grows often is copied often.
			more := max(chunk, int(size))
			room = u.b.Reserve(more)
			if err := u.need(int64(u.b.Size())); err != nil {
				return err
			}
		}
		n, err := src.Read(room[:min(len(room), 4*chunk)])
		u.b.Extend(n)
		room = room[n:]
		size += int64(n)
		u.body = record.Span{Off: uint32(from), Len: uint32(size)}
		if err := u.within(size); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// within reports as an error that there is more than there may be.
func (u *push) within(size int64) error {
	if limit := u.c.Limits.Decoded; size > limit {
		return &httpError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes uncompressed: send smaller requests", limit)}
	}
	if size > ratioFloor && size/u.c.Limits.Ratio > u.read {
		return &httpError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is more than %d times larger than what was sent", u.c.Limits.Ratio)}
	}
	return nil
}

var gzips, zstds, frames, bodies sync.Pool

func (u *push) gunzip(src io.Reader) error {
	z, _ := gzips.Get().(*gzip.Reader)
	if z == nil {
		z = new(gzip.Reader)
	}
	defer gzips.Put(z)
	if err := z.Reset(src); err != nil {
		return err
	}
	return u.fill(z)
}

// unpacking is who may have a decompressor that remembers megabytes. They get what
// they decompress as a whole, so that no sender can make them wait.
var unpacking = make(chan struct{}, 2*max(2, runtime.GOMAXPROCS(0)))

// whole reads the body as it is sent and gives it to f. Its memory counts.
func (u *push) whole(src io.Reader, f func(body []byte) error) error {
	buf, _ := bodies.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	body := (*buf)[:0]
	defer func() {
		if cap(body) <= maxPooledBatch {
			*buf = body
			bodies.Put(buf)
		}
	}()
	u.beside = int64(cap(body))
	if err := u.need(int64(u.b.Size())); err != nil {
		return err
	}
	for {
		if cap(body)-len(body) < 4<<10 {
			more := max(64<<10, cap(body))
			u.beside = int64(cap(body) + more)
			if err := u.need(int64(u.b.Size())); err != nil {
				return err
			}
			body = append(make([]byte, 0, u.beside), body...)
		}
		n, err := src.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	unpacking <- struct{}{}
	defer func() { <-unpacking }()
	return f(body)
}

func (u *push) unzstd(src io.Reader) error {
	return u.whole(src, func(body []byte) error {
		z, _ := zstds.Get().(*zstd.Decoder)
		if z == nil {
			var err error
			// With one decoder it works in this goroutine and starts none.
			if z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderLowmem(true)); err != nil {
				return err
			}
		}
		defer func() {
			z.Reset(nil)
			zstds.Put(z)
		}()
		if err := z.Reset(bytes.NewReader(body)); err != nil {
			return err
		}
		return u.fill(z)
	})
}

// inflate reads zlib's format, which HTTP means by deflate, or deflate as it is,
// which many send.
func (u *push) inflate(src io.Reader) error {
	var head [2]byte
	n, err := io.ReadFull(src, head[:])
	if err != nil && err != io.ErrUnexpectedEOF {
		return err
	}
	all := io.MultiReader(bytes.NewReader(head[:n]), src)
	if n == 2 && head[0]&15 == 8 && (uint(head[0])<<8|uint(head[1]))%31 == 0 {
		z, err := zlib.NewReader(all)
		if err != nil {
			return err
		}
		return u.fill(z)
	}
	return u.fill(flate.NewReader(all))
}

// frameMagic is how a stream of snappy's frames begins.
const frameMagic = "\xff\x06\x00\x00sNaPpY"

// unsnap reads snappy's block format or its frames.
func (u *push) unsnap(src io.Reader) error {
	return u.whole(src, func(body []byte) error {
		if bytes.HasPrefix(body, []byte(frameMagic)) {
			return u.unframe(bytes.NewReader(body))
		}
		size, err := s2.DecodedLen(body)
		if err != nil {
			return err
		}
		if err := u.within(int64(size)); err != nil {
			return err
		}
		if err := u.need(int64(u.b.Size() + size)); err != nil {
			return err
		}
		room := u.b.Reserve(size)
		out, err := s2.Decode(room, body)
		if err != nil {
			return err
		}
		if len(out) > 0 && &out[0] != &room[0] {
			copy(room, out)
		}
		u.body = u.b.Extend(len(out))
		return nil
	})
}

func (u *push) unframe(src io.Reader) error {
	z, _ := frames.Get().(*s2.Reader)
	if z == nil {
		z = s2.NewReader(nil, s2.ReaderMaxBlockSize(1<<20))
	}
	defer func() {
		z.Reset(nil)
		frames.Put(z)
	}()
	z.Reset(src)
	return u.fill(z)
}
