package gateway

import (
	"context"
	"net/http"
	"sync"

	"github.com/weirlog/weir/wire/audit"
)

func init() { httpProtocols["audit"] = (*HTTP).audit }

// audit registers what a Kubernetes API server posts its audit events to
// (--audit-webhook-config-file): /audit, and on a port of its own every path.
// https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/#webhook-backend
func (h *HTTP) audit() {
	cache := h.cache("audit")
	decoders := &sync.Pool{New: func() any { return audit.NewDecoder(h.cfg.Limits.Records, cache) }}
	e := endpoint{protocol: "audit", serve: func(ctx context.Context, u *push) error { return u.audit(ctx, decoders) }}
	h.handle("/audit", e)
	if !h.shared {
		h.handle("/", e)
	}
}

// audit answers 200 when all events are durable. The API server sends a list again
// upon 429 and 5xx.
func (u *push) audit(ctx context.Context, decoders *sync.Pool) error {
	if err := u.readBody(ctx, false); err != nil {
		return err
	}
	d := decoders.Get().(*audit.Decoder)
	var err error
	u.out, err = d.Decode(u.b, u.body, u.id.Tenant, u.now)
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
	u.w.WriteHeader(http.StatusOK)
	return nil
}
