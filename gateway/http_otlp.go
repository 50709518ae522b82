package gateway

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/weirlog/weir/wire/otlp"
)

// otlp registers the endpoints for OTLP: as the specification has it, as Loki, and
// gRPC's.
func (h *HTTP) otlp() {
	cache := h.cache("otlp")
	decoders := &sync.Pool{New: func() any { return otlp.NewDecoder(h.cfg.Limits.Records, cache) }}
	e := endpoint{protocol: "otlp_protobuf", fail: failOTLP, serve: func(ctx context.Context, u *push) error {
		return u.otlp(ctx, decoders)
	}}
	h.handle("/v1/logs", e)
	h.handle("/otlp/v1/logs", e)
	h.grpcOTLP(decoders)
}

// otlp answers POST /v1/logs: 200 with how many records were refused for good,
// the rest being durable, or an error and nothing was taken.
// https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
func (u *push) otlp(ctx context.Context, decoders *sync.Pool) error {
	text, err := isJSON(u.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	if text {
		u.counters = u.h.stats.of("otlp_json")
	}
	if err := u.readBody(ctx, false); err != nil {
		return err
	}
	d := decoders.Get().(*otlp.Decoder)
	if text {
		u.out, err = d.JSON(u.b, u.body, u.id.Tenant, u.now)
	} else {
		u.out, err = d.Protobuf(u.b, u.body, u.id.Tenant, u.now)
	}
	decoders.Put(d)
	if err != nil {
		return malformed(err)
	}
	refused, err := u.take(ctx)
	if err != nil {
		return err
	}
	message := ""
	if u.out.Refused > 0 {
		u.tellPositions(refused)
		message = u.summary(refused)
	}
	u.w.Header().Set("Content-Type", otlpType(text))
	u.w.WriteHeader(http.StatusOK)
	_, _ = u.w.Write(otlp.AppendResponse(nil, int64(u.out.Refused), message, text)) // who has gone needs no answer
	return nil
}

func otlpType(text bool) string {
	if text {
		return "application/json"
	}
	return "application/x-protobuf"
}

// Codes of google.rpc.Code.
const (
	rpcInvalidArgument  = 3
	rpcDeadlineExceeded = 4
	rpcPermissionDenied = 7
	rpcExhausted        = 8
	rpcUnimplemented    = 12
	rpcInternal         = 13
	rpcUnavailable      = 14
	rpcUnauthenticated  = 16
)

// failOTLP answers with an error as a google.rpc.Status, in the encoding of the
// request.
func failOTLP(w http.ResponseWriter, r *http.Request, status int, msg string, after time.Duration) {
	st := otlp.Status{Code: rpcCode(status), Message: msg}
	if after > 0 {
		st.RetryAfter, st.HasRetryAfter = int64((after + time.Second - 1).Truncate(time.Second)), true
	}
	text := strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "application/json")
	w.Header().Set("Content-Type", otlpType(text))
	w.WriteHeader(status)
	_, _ = w.Write(otlp.AppendStatus(nil, st, text)) // who has gone needs no answer
}

func rpcCode(status int) int32 {
	switch status {
	case http.StatusUnauthorized:
		return rpcUnauthenticated
	case http.StatusForbidden:
		return rpcPermissionDenied
	case http.StatusMethodNotAllowed, http.StatusNotFound, http.StatusUnsupportedMediaType:
		return rpcUnimplemented
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return rpcDeadlineExceeded
	case http.StatusTooManyRequests:
		return rpcExhausted
	case http.StatusServiceUnavailable:
		return rpcUnavailable
	}
	if status >= 500 {
		return rpcInternal
	}
	return rpcInvalidArgument
}
