package gateway

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/document"
	"github.com/weirlog/weir/wire/lines"
)

func init() { httpProtocols["http"] = (*HTTP).lines }

// lines registers what takes text and JSON lines: /lines, on a port of its own
// every path, and VictoriaLogs' /insert/jsonline.
func (h *HTTP) lines() {
	p := &linePool{h: h, by: make(map[string]*lineDecoders)}
	e := endpoint{protocol: "lines", methods: []string{http.MethodPost, http.MethodPut},
		serve: func(ctx context.Context, u *push) error { return u.lines(ctx, p, lines.Auto, false) }}
	h.handle("/lines", e)
	if !h.shared {
		h.handle("/", e)
	}
	e.protocol = "jsonline"
	e.serve = func(ctx context.Context, u *push) error { return u.lines(ctx, p, lines.JSON, true) }
	h.handle("/insert/jsonline", e)
}

// linePool has decoders by the options of requests.
type linePool struct {
	h  *HTTP
	mu sync.Mutex
	by map[string]*lineDecoders
}

type lineDecoders struct{ pool sync.Pool }

// maxLineOptions is how many sets of options are remembered.
const maxLineOptions = 64

func (p *linePool) get(o document.LineOptions) *lineDecoders {
	key := fmt.Sprintf("%q", o)
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.by[key]
	if d == nil {
		rules, cache := document.Lines(o), new(wire.StreamCache)
		d = &lineDecoders{sync.Pool{New: func() any { return lines.NewDecoder(p.h.cfg.Limits.Records, cache, rules) }}}
		if len(p.by) >= maxLineOptions {
			clear(p.by)
		}
		p.by[key] = d
	}
	return d
}

// lineParams are the parameters that are no labels.
var lineParams = []string{"format", "_msg_field", "_time_field", "_stream_fields", "msg", "time", "stream_fields", "ignore_fields", "extra_fields",
	"debug", "decolorize_fields", "token", "tail_timeout"}

// lineRequest reads what the query and VictoriaLogs' headers say.
// https://docs.victoriametrics.com/victorialogs/data-ingestion/#http-parameters
func lineRequest(q url.Values, head http.Header, limits wire.Limits) (o document.LineOptions, from lines.Sender, err error) {
	list := func(params ...string) (out []string) {
		for _, name := range params {
			v := q.Get(name)
			if v == "" && strings.HasPrefix(name, "_") {
				v = head.Get("VL-" + strings.ReplaceAll(strings.TrimPrefix(name, "_"), "_", "-"))
			} else if v == "" && strings.HasSuffix(name, "_fields") {
				v = head.Get("VL-" + strings.ReplaceAll(name, "_", "-"))
			}
			for f := range strings.SplitSeq(v, ",") {
				if f = strings.TrimSpace(f); f != "" {
					out = append(out, f)
				}
			}
		}
		return out
	}
	o = document.LineOptions{Message: list("_msg_field", "msg"), Time: list("_time_field", "time"), Stream: list("_stream_fields", "stream_fields"), Ignore: list("ignore_fields")}
	if len(o.Message)+len(o.Time)+len(o.Stream)+len(o.Ignore) > 256 {
		return o, from, &httpError{http.StatusBadRequest, "more than 256 names of fields"}
	}
	l := limits.WithDefaults()
	a := document.Attrs{Limits: &l}
	put := func(name, value string) error {
		if len(name) > l.NameBytes || len(value) > l.ValueBytes || len(a.Attrs) == l.Labels {
			return &httpError{http.StatusBadRequest, fmt.Sprintf("label %q: at most %d labels, names of %d and values of %d bytes", clip(name), l.Labels, l.NameBytes, l.ValueBytes)}
		}
		a.Put(document.Canonical(name), value)
		return nil
	}
	for _, f := range list("extra_fields") {
		if name, value, ok := strings.Cut(f, "="); ok {
			if err := put(name, value); err != nil {
				return o, from, err
			}
		}
	}
	names := make([]string, 0, len(q))
	for name := range q {
		if !slices.Contains(lineParams, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if err := put(name, q.Get(name)); err != nil {
			return o, from, err
		}
	}
	from.Attrs = a.Attrs
	for _, at := range a.Attrs {
		from.Key = append(append(append(append(from.Key, at.Name...), 0), at.Value...), 0)
	}
	return o, from, nil
}

// lines answers /lines: 204 if every line is durable, 400 with what was refused if
// the rest is, and errors if nothing was taken. victoria says that what comes
// expects the answers of VictoriaLogs, which are 200 and pass over bad lines.
func (u *push) lines(ctx context.Context, p *linePool, f lines.Format, victoria bool) error {
	q := u.URL.Query()
	o, from, err := lineRequest(q, u.Header, u.c.Limits.Records)
	if err != nil {
		return err
	}
	if f == lines.Auto {
		t, _, _ := mime.ParseMediaType(u.Header.Get("Content-Type"))
		switch {
		case t == "text/plain":
			f = lines.Text
		case strings.HasSuffix(t, "json"), strings.HasSuffix(t, "jsonl"), t == "application/stream+json", t == "application/x-jsonlines":
			f = lines.JSON
		}
		switch q.Get("format") {
		case "text", "raw":
			f = lines.Text
		case "json":
			f = lines.JSON
		case "auto":
			f = lines.Auto
		case "":
		default:
			return &httpError{http.StatusBadRequest, fmt.Sprintf("format=%s: text, json and auto are known", clip(q.Get("format")))}
		}
	}
	if err := u.readBody(ctx, false); err != nil {
		return err
	}
	pool := p.get(o)
	d := pool.pool.Get().(*lines.Decoder)
	u.out, err = d.Decode(u.b, u.body, f, &from, u.id.Tenant, u.now)
	pool.pool.Put(d)
	if err != nil {
		return malformed(err)
	}
	var refused []Refusal
	if u.b.NumRecords() > 0 {
		if refused, err = u.take(ctx); err != nil {
			return err
		}
	}
	switch {
	case victoria:
		u.w.WriteHeader(http.StatusOK)
	case u.out.Refused > 0:
		return &httpError{http.StatusBadRequest, u.summary(refused)}
	default:
		u.w.WriteHeader(http.StatusNoContent)
	}
	return nil
}
