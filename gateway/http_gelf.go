package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/weirlog/weir/wire/gelf"
	"github.com/weirlog/weir/wire/json"
)

func init() { httpProtocols["gelf"] = (*HTTP).gelf }

// gelf registers GELF over HTTP, as Graylog takes it: a message a request; several,
// with line feeds between them, are taken too.
// https://go2docs.graylog.org/current/getting_in_log_data/gelf.html
func (h *HTTP) gelf() {
	cache := h.cache("gelf")
	decoders := &sync.Pool{New: func() any { return gelf.NewDecoder(h.cfg.Limits.Records, cache) }}
	h.handle("/gelf", endpoint{protocol: "gelf_http", serve: func(ctx context.Context, u *push) error { return u.gelf(ctx, decoders) }})
}

// gelf answers 202 when the messages are durable.
func (u *push) gelf(ctx context.Context, decoders *sync.Pool) error {
	if err := u.gelfBody(ctx); err != nil {
		return err
	}
	d := decoders.Get().(*gelf.Decoder)
	d.Begin(u.b)
	err := u.gelfs(d)
	decoders.Put(d)
	if err != nil {
		return malformed(err)
	}
	refused, err := u.take(ctx)
	if err != nil {
		return err
	}
	if u.out.Refused > 0 {
		return &httpError{http.StatusBadRequest, u.summary(refused)}
	}
	u.w.WriteHeader(http.StatusAccepted)
	return nil
}

// gelfBody reads the body. graypy names all encodings that it knows, in one header,
// for a body in zlib's format: where there are several, the body says itself what
// it is, as GELF over UDP does.
func (u *push) gelfBody(ctx context.Context) error {
	if !strings.Contains(strings.Join(u.Header.Values("Content-Encoding"), ","), ",") {
		return u.readBody(ctx, false)
	}
	src, err := u.source()
	if err != nil {
		return err
	}
	var head [2]byte
	n, err := io.ReadFull(src, head[:])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		if e := src.failure(ctx, err); e != nil {
			return e
		}
		return err
	}
	encoding := ""
	switch {
	case n == 2 && head[0] == 0x1f && head[1] == 0x8b:
		encoding = "gzip"
	case n == 2 && head[0]&15 == 8 && (uint(head[0])<<8|uint(head[1]))%31 == 0:
		encoding = "zlib"
	}
	return u.decode(ctx, src, io.MultiReader(bytes.NewReader(head[:n]), src), encoding)
}

// gelfs decodes the messages of the body, one behind the other.
func (u *push) gelfs(d *gelf.Decoder) error {
	var r json.Reader
	r.Reset(u.b.Bytes(u.body))
	for n := 0; ; n++ {
		if n > 0 && r.Kind() == 0 && r.End() {
			return nil
		}
		s, ok := r.Skip()
		if !ok {
			return fmt.Errorf("message %d: %w", n+1, r.Err())
		}
		s.Off += u.body.Off
		out, err := d.Decode(u.b, s, u.id.Tenant, u.now)
		if err != nil {
			return fmt.Errorf("message %d: %w", n+1, err)
		}
		u.out.Streams += out.Streams
		u.out.Records += out.Records
	}
}
