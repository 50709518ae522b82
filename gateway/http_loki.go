package gateway

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"sync"

	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/loki"
)

// loki registers Loki's endpoint for pushes.
func (h *HTTP) loki() {
	cache := h.cache("loki")
	decoders := &sync.Pool{New: func() any { return loki.NewDecoder(h.cfg.Limits.Records, cache) }}
	h.handle("/loki/api/v1/push", endpoint{protocol: "loki_protobuf", serve: func(ctx context.Context, u *push) error {
		return u.loki(ctx, decoders)
	}})
}

// loki answers POST /loki/api/v1/push: 204 if every entry is durable, 400 with
// what was refused if the rest is, 413, 422, 429 and 503 if nothing was taken.
// https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs
func (u *push) loki(ctx context.Context, decoders *sync.Pool) error {
	text, err := isJSON(u.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	if text {
		u.counters = u.h.stats.of("loki_json")
	}
	if err := u.readBody(ctx, !text); err != nil {
		return err
	}
	d := decoders.Get().(*loki.Decoder)
	if text {
		u.out, err = d.JSON(u.b, u.body, u.id.Tenant, u.now)
	} else {
		u.out, err = d.Protobuf(u.b, u.body, u.id.Tenant, u.now)
	}
	decoders.Put(d)
	if err != nil {
		return malformed(err)
	}
	if u.out.Streams == 0 {
		return &httpError{http.StatusUnprocessableEntity, "error at least one valid stream is required for ingestion"}
	}
	refused, err := u.take(ctx)
	if err != nil {
		return err
	}
	if u.out.Refused > 0 {
		u.tellPositions(refused)
		return &httpError{http.StatusBadRequest, u.summary(refused)}
	}
	u.w.WriteHeader(http.StatusNoContent)
	return nil
}

// maxPositions bounds the header with positions, in bytes.
const maxPositions = 16 << 10

// tellPositions says which records were refused, for senders that would find out
// by sending the others once more. Where the decoder has left some out already,
// positions are not known.
func (u *push) tellPositions(refused []Refusal) {
	if len(refused) == 0 || u.out.Refused != len(refused) {
		return
	}
	at := make([]uint32, len(refused))
	for i, r := range refused {
		at[i] = r.Record
	}
	if p := wire.AppendPositions(nil, at); len(p) <= maxPositions {
		u.w.Header().Set(wire.RefusedHeader, string(p))
	}
}

// summary says what was refused and how many records that are, the rest being
// durable.
func (u *intake) summary(refused []Refusal) string {
	lines := u.out.Reasons
	for i, r := range refused {
		if i == wire.MaxReasons {
			lines = append(lines, fmt.Sprintf("and %d more", len(refused)-i))
			break
		}
		lines = append(lines, r.Reason)
	}
	if u.out.Unlisted > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", u.out.Unlisted))
	}
	return fmt.Sprintf("%s,\ntotal ignored: %d out of %d", strings.Join(lines, "\n"), u.out.Refused, u.out.Records)
}

// isJSON tells the two types of bodies apart. What is not JSON is protobuf, as
// for Loki; without a type nothing can be said.
func isJSON(contentType string) (bool, error) {
	t, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil && t == "":
		return false, &httpError{http.StatusUnsupportedMediaType, "Content-Type: " + err.Error() + "; application/json or application/x-protobuf is expected"}
	case t == "application/json":
		return true, nil
	case t == "application/x-protobuf", t == "application/protobuf", t == "application/octet-stream":
		return false, nil
	}
	return false, &httpError{http.StatusUnsupportedMediaType, fmt.Sprintf("Content-Type %q not supported; application/json or application/x-protobuf is expected", clip(t))}
}
