package gateway

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/weirlog/weir/wire/datadog"
)

func init() { httpProtocols["datadog"] = (*HTTP).datadog }

// datadog registers the intake for logs of Datadog's agent and libraries.
// https://docs.datadoghq.com/api/latest/logs/#send-logs
func (h *HTTP) datadog() {
	cache := h.cache("datadog")
	decoders := &sync.Pool{New: func() any { return datadog.NewDecoder(h.cfg.Limits.Records, cache) }}
	e := endpoint{protocol: "datadog", fail: failDatadog, credentials: datadogCredentials,
		serve: func(ctx context.Context, u *push) error { return u.datadog(ctx, decoders, http.StatusAccepted) }}
	h.handle("/api/v2/logs", e)
	e.serve = func(ctx context.Context, u *push) error { return u.datadog(ctx, decoders, http.StatusOK) }
	h.handle("/v1/input", e)
	h.handle("/v1/input/{key}", e)
	h.handle("/api/v1/validate", endpoint{protocol: "datadog_api", fail: failDatadog, credentials: datadogCredentials, methods: []string{http.MethodGet},
		serve: func(_ context.Context, u *push) error {
			u.w.Header().Set("Content-Type", "application/json")
			_, _ = u.w.Write([]byte(`{"valid":true}`)) // who has gone needs no answer
			return nil
		}})
}

// datadogCredentials takes the API key for the token.
func datadogCredentials(r *http.Request, c *Credentials) {
	for _, key := range []string{r.Header.Get("DD-API-KEY"), r.PathValue("key")} {
		if key != "" {
			c.Token = key
			return
		}
	}
}

// datadog answers with the status and {} when all logs are durable. Logs that are
// refused are reported with 400, the others being durable.
func (u *push) datadog(ctx context.Context, decoders *sync.Pool, status int) error {
	if err := u.readBody(ctx, false); err != nil {
		return err
	}
	t, _, _ := mime.ParseMediaType(u.Header.Get("Content-Type"))
	q := u.URL.Query()
	from := datadog.Sender{Source: q.Get("ddsource"), Tags: q.Get("ddtags"), Host: q.Get("hostname"), Service: q.Get("service")}
	if from.Tags == "" {
		from.Tags = q.Get("dd-tags")
	}
	d := decoders.Get().(*datadog.Decoder)
	var err error
	u.out, err = d.Decode(u.b, u.body, t == "text/plain" || t == "application/logplex-1", from, u.id.Tenant, u.now)
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
	u.w.Header().Set("Content-Type", "application/json")
	u.w.WriteHeader(status)
	_, _ = u.w.Write([]byte("{}")) // who has gone needs no answer
	return nil
}

func failDatadog(w http.ResponseWriter, _ *http.Request, status int, msg string, _ time.Duration) {
	if status == http.StatusUnauthorized {
		status = http.StatusForbidden // which is what the agent knows
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"status":"%d","title":%s,"detail":%s}]}`, status, quote(http.StatusText(status)), quote(strings.TrimSpace(msg)))
}
