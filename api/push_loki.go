package api

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/weirlog/weir/wire/loki"
)

// pushLoki answers POST /loki/api/v1/push: 204 if every entry is durable, 400
// with what was refused if the rest is, 413, 422, 429 and 503 if nothing was
// taken.
// https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs
func (p *pusher) pushLoki(ctx context.Context, q *request) (err error) {
	text, err := isJSON(q.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	u := p.begin(q, lokiProtobuf)
	defer func() { u.end(err) }()
	if text {
		u.proto = lokiJSON
	}
	if err := u.readBody(ctx, !text); err != nil {
		return err
	}
	d := p.loki.Get().(*loki.Decoder)
	if text {
		u.out, err = d.JSON(u.b, u.body, q.tenant, q.now)
	} else {
		u.out, err = d.Protobuf(u.b, u.body, q.tenant, q.now)
	}
	p.loki.Put(d)
	if err != nil {
		return malformed(err)
	}
	if u.out.Streams == 0 {
		return &httpError{http.StatusUnprocessableEntity, "error at least one valid stream is required for ingestion"}
	}
	if err := u.decoded(); err != nil {
		return err
	}
	failures, err := u.store(ctx)
	if err != nil {
		return err
	}
	if u.out.Refused > 0 {
		return &httpError{http.StatusBadRequest, u.summary(u.describe(failures))}
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// summary says what was refused and how many entries that are, the rest being
// stored.
func (u *push) summary(store []string) string {
	lines := append(u.out.Reasons, store...)
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
