package gateway

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/journald"
)

func init() { httpProtocols["journald"] = (*HTTP).journald }

// journald registers what systemd-journal-upload sends to.
// https://www.freedesktop.org/software/systemd/man/latest/systemd-journal-upload.service.html
func (h *HTTP) journald() {
	cache := h.cache("journald")
	decoders := &sync.Pool{New: func() any { return journald.NewDecoder(h.cfg.Limits.Records, cache) }}
	h.handle("/upload", endpoint{protocol: "journald", serve: func(ctx context.Context, u *push) error { return u.journald(ctx, decoders) }})
}

// journalPiece is how much of an upload is handed over at once, in bytes.
const journalPiece = 1 << 20

// journalWindow bounds what the zstd frames of an upload may make the decoder
// remember, in bytes: what level 3, which is usual, wants for any length.
const journalWindow = 2 << 20

// journald answers /upload: 202, as systemd-journal-remote does, when the last
// entry is durable. An upload has no bound: it is taken piece by piece. One that
// fails in the middle is sent again as a whole, and its entries are known by their
// cursors.
func (u *push) journald(ctx context.Context, decoders *sync.Pool) error {
	if t, _, _ := mime.ParseMediaType(u.Header.Get("Content-Type")); t != "application/vnd.fdo.journal" {
		return &httpError{http.StatusUnsupportedMediaType, "Content-Type: application/vnd.fdo.journal is expected"}
	}
	src := &bodyReader{u: u, r: u.Body, rc: http.NewResponseController(u.w), began: time.Now()}
	defer src.done()
	var r io.Reader = src
	switch e := strings.ToLower(strings.TrimSpace(u.Header.Get("Content-Encoding"))); e {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(src)
		if err != nil {
			return &httpError{http.StatusBadRequest, "gzip: " + err.Error()}
		}
		r = z
	case "zstd":
		z, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(journalWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return err
		}
		u.beside = journalWindow // an upload may take for ever
		defer z.Close()
		r = z
	default:
		u.w.Header().Set("Accept-Encoding", "zstd, gzip")
		return &httpError{http.StatusUnsupportedMediaType, fmt.Sprintf("Content-Encoding %q not supported; zstd and gzip are", clip(e))}
	}
	d := decoders.Get().(*journald.Decoder)
	defer decoders.Put(d)
	var rest []byte // of an entry whose end has not come
	for {
		last, err := u.journalPiece(ctx, src, r, rest)
		if err != nil {
			return err
		}
		n, out, err := d.Decode(u.b, u.body, last, u.id.Tenant, u.now)
		u.out.Records += out.Records
		u.out.Refused += out.Refused
		if err != nil {
			return malformed(err)
		}
		rest = append(rest[:0], u.b.Bytes(u.body)[n:]...)
		if len(rest) > journald.MaxEntry {
			return &httpError{http.StatusRequestEntityTooLarge, fmt.Sprintf("an entry of more than %d bytes", journald.MaxEntry)}
		}
		if u.b.NumRecords() > 0 {
			began := time.Now()
			if _, err := u.take(ctx); err != nil {
				return err
			}
			src.began = src.began.Add(time.Since(began)) // that was not the sender's time
		}
		if last {
			break
		}
		if u.b == nil {
			u.now = u.c.Now().UnixNano()
			if err := u.begin(); err != nil {
				return err
			}
		} else {
			u.b.Truncate(int(u.body.Off)) // rest has it
		}
	}
	u.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	u.w.WriteHeader(http.StatusAccepted)
	_, _ = u.w.Write([]byte("OK.\n")) // who has gone needs no answer
	return nil
}

// journalPiece reads the next piece of an upload behind what is left of the one
// before.
func (u *push) journalPiece(ctx context.Context, src *bodyReader, r io.Reader, rest []byte) (last bool, err error) {
	from := u.b.Len()
	u.b.Append(rest)
	for got := 0; got < journalPiece; {
		room := u.b.Reserve(64 << 10)
		if err := u.need(int64(u.b.Size())); err != nil {
			return false, err
		}
		n, err := r.Read(room)
		u.b.Extend(n)
		got += n
		// An upload has no bound, but what it may be made of has.
		if u.unpacked += int64(n); u.unpacked > ratioFloor && u.unpacked/u.c.Limits.Ratio > u.read {
			return false, &httpError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is more than %d times larger than what was sent", u.c.Limits.Ratio)}
		}
		if err == io.EOF {
			last = true
			break
		}
		if err != nil {
			if e := src.failure(ctx, err); e != nil {
				return false, e
			}
			return false, &httpError{http.StatusBadRequest, fmt.Sprintf("the body is damaged: %v", err)}
		}
	}
	u.body = record.Span{Off: uint32(from), Len: uint32(u.b.Len() - from)}
	return last, nil
}
