package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weirlog/weir/wire/otlp"
)

// handleOTLP registers the endpoint for OTLP. Whatever goes wrong, its answers
// are in the encoding of the request.
func (p *pusher) handleOTLP(path string) {
	s := p.s
	st := s.stats.endpoint("otlp")
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		sw := &statusWriter{ResponseWriter: w}
		defer func() { st.count(sw.status, time.Since(began)) }()
		if err := s.serve(sw, r, began, options{name: "otlp", body: true}, p.pushOTLP); err != nil {
			p.failOTLP(sw, r, err)
		}
	})
}

// pushOTLP answers POST /otlp/v1/logs: 200 with how many records were refused
// for good, the rest being durable, or an error and nothing was taken.
// https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
func (p *pusher) pushOTLP(ctx context.Context, q *request) (err error) {
	text, err := isJSON(q.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	u := p.begin(q, otlpProtobuf)
	defer func() { u.end(err) }()
	if text {
		u.proto = otlpJSON
	}
	if err := u.readBody(ctx, false); err != nil {
		return err
	}
	d := p.otlp.Get().(*otlp.Decoder)
	if text {
		u.out, err = d.JSON(u.b, u.body, q.tenant, q.now)
	} else {
		u.out, err = d.Protobuf(u.b, u.body, q.tenant, q.now)
	}
	p.otlp.Put(d)
	if err != nil {
		return malformed(err)
	}
	if err := u.decoded(); err != nil {
		return err
	}
	failures, err := u.store(ctx)
	if err != nil {
		return err
	}
	message := ""
	if u.out.Refused > 0 {
		message = u.summary(u.describe(failures))
	}
	q.w.Header().Set("Content-Type", otlpType(text))
	q.w.WriteHeader(http.StatusOK)
	q.w.Write(otlp.AppendResponse(nil, int64(u.out.Refused), message, text))
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

// failOTLP answers with an error as a google.rpc.Status.
func (p *pusher) failOTLP(w *statusWriter, r *http.Request, err error) {
	status, msg := p.s.classify(r, err)
	if w.status != 0 || status == statusGone {
		p.s.fail(w, r, err)
		return
	}
	if status == http.StatusInternalServerError {
		p.s.log.Warn("a request failed", "path", r.URL.Path, "status", status, "err", err)
	}
	h := w.Header()
	st := otlp.Status{Code: rpcCode(status), Message: msg}
	switch status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Basic realm="weir", charset="UTF-8"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if h.Get("Retry-After") == "" {
			h.Set("Retry-After", "1")
		}
		if sec, err := strconv.Atoi(h.Get("Retry-After")); err == nil {
			st.RetryAfter, st.HasRetryAfter = int64(sec)*1e9, true
		}
	}
	text := strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "application/json")
	h.Set("Content-Type", otlpType(text))
	w.WriteHeader(status)
	w.Write(otlp.AppendStatus(nil, st, text))
}

func rpcCode(status int) int32 {
	switch status {
	case http.StatusUnauthorized:
		return rpcUnauthenticated
	case http.StatusForbidden:
		return rpcPermissionDenied
	case http.StatusMethodNotAllowed, http.StatusNotFound:
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
