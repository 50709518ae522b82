package gateway

import (
	"context"
	"fmt"
	"net/http"
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
	if err := u.readBody(ctx, false); err != nil {
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
