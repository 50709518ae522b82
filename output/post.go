package output

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/jsonl"
	"github.com/weirlog/weir/wire/line"
)

// PostConfig configures NewPost.
type PostConfig struct {
	HTTPConfig        // Compression: none (default), gzip, zstd
	Method     string // default POST
	// Format of the body: ndjson (the default), json_array, lines or template.
	Format string
	JSON   jsonl.Config // for ndjson and json_array
	Record *RecordTemplate
	// Before, Between and After stand around and between the records, for
	// template.
	Before, Between, After string
	ContentType            string // default: the format's
	// Success, Reject and Retry are statuses such as 200, 20x or 2xx; default
	// 2xx, and 400 and 422. Retry wins against Reject, that against Success.
	Success, Reject, Retry []string
	// IdempotencyKey sends a hash of the records' ids in that header.
	IdempotencyKey bool
}

// Post sends records to any URL, all of a Send in one request, and judges the
// answer by its status alone. Redirects are not followed. There are no answers
// for single records; delivery is at-least-once, unless the receiver removes
// doubles by the records' ids or the header Idempotency-Key.
type Post struct {
	*client
	enc     *encoders
	zip     *compressors
	url     *url.URL
	header  http.Header
	method  string
	key     bool
	success []string
	reject  []string
	retry   []string
}

// NewPost returns an output to one endpoint.
func NewPost(c PostConfig) (*Post, error) {
	conf, u, err := c.HTTPConfig.checked("http", "https")
	if err != nil {
		return nil, err
	}
	method, err := conf.compression(compressNone, compressGzip, compressZstd)
	if err != nil {
		return nil, err
	}
	zip, err := newCompressors(method, conf.CompressionLevel)
	if err != nil {
		return nil, err
	}
	switch c.Method {
	case "":
		c.Method = http.MethodPost
	case http.MethodPost, http.MethodPut, http.MethodPatch:
	default:
		return nil, fmt.Errorf("output: http: method %q, want POST, PUT or PATCH", c.Method)
	}
	var one encoder
	ctype := ""
	frame := postFrame{}
	switch c.Format {
	case "", "ndjson":
		one, ctype = jsonl.New(c.JSON), "application/x-ndjson"
	case "json_array":
		one, ctype = jsonl.New(c.JSON), "application/json"
		frame = postFrame{before: "[", between: ",", after: "]\n", lines: true}
	case "lines":
		one, ctype = line.New(line.Config{Raw: true}), "text/plain; charset=utf-8"
	case "template":
		if c.Record == nil {
			return nil, errors.New("output: http: format template needs a template for records")
		}
		one, ctype = &templateEncoder{t: c.Record, between: c.Between}, "application/json"
		frame = postFrame{before: c.Before, between: c.Between, after: c.After}
	default:
		return nil, fmt.Errorf("output: http: unknown format %q, want ndjson, json_array, lines or template", c.Format)
	}
	if c.ContentType != "" {
		if ctype = c.ContentType; !validHeaderValue(ctype) {
			return nil, errors.New("output: http: bad content type")
		}
	}
	def := func(list []string, d ...string) []string {
		if list == nil {
			return d
		}
		return list
	}
	cl, err := newClient(conf, u)
	if err != nil {
		return nil, err
	}
	o := &Post{
		client: cl, zip: zip, url: u, header: conf.headerFor(ctype), method: c.Method, key: c.IdempotencyKey,
		success: def(c.Success, "2xx"), reject: def(c.Reject, "400", "422"), retry: c.Retry,
	}
	clone := func() encoder {
		var e encoder
		switch x := one.(type) {
		case *jsonl.Encoder:
			e = x.Clone()
		case *line.Encoder:
			e = x.Clone()
		case *templateEncoder:
			e = x.clone()
		}
		if frame != (postFrame{}) {
			return &framed{encoder: e, frame: frame}
		}
		return e
	}
	o.enc = newEncoders(clone(), clone)
	return o, nil
}

// postFrame is what stands around and between records.
type postFrame struct {
	before, between, after string
	lines                  bool // the encoder ends records with line feeds, which between takes the place of
}

// framed writes a body that is one value: it must see all parts at once.
type framed struct {
	encoder
	frame postFrame
}

// Append appends the whole body.
func (f *framed) Append(dst []byte, parts []record.Part) []byte {
	dst = append(dst, f.frame.before...)
	at := len(dst)
	dst = f.encoder.Append(dst, parts)
	if f.frame.lines && len(dst) > at {
		dst = dst[:len(dst)-1]
		for i := at; i < len(dst); i++ {
			if dst[i] == '\n' { // lines of JSON have none inside
				dst[i] = ','
			}
		}
	}
	return append(dst, f.frame.after...)
}

// matches reports whether a status is in the list.
func matches(list []string, status int) bool {
	s := fmt.Sprintf("%03d", status)
	for _, p := range list {
		if len(p) == 3 && p[0] == s[0] && (p[1] == 'x' || p[1] == s[1]) && (p[2] == 'x' || p[2] == s[2]) {
			return true
		}
	}
	return false
}

// Send makes one request of the records of parts.
func (o *Post) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	w := getWork()
	defer w.put()
	r := request{method: o.method, url: o.url, header: o.header, limit: maxAnswer}
	if o.key {
		r.extra = [2]string{"Idempotency-Key", contentHash(parts).String()}
	}
	a, size, err := o.exchangeWhole(ctx, w, parts, r)
	if err != nil {
		return ack.Result{}, err
	}
	if e := o.judge(a); e != nil {
		return ack.Result{}, e
	}
	return ack.Result{Bytes: size}, nil
}

// exchangeWhole is exchange for bodies that are one value: they cannot be made
// part by part.
func (o *Post) exchangeWhole(ctx context.Context, w *work, parts []record.Part, r request) (a answer, size int, err error) {
	enc := o.enc.get()
	w.raw = enc.Append(w.raw[:0], parts)
	o.enc.put(enc)
	for {
		r.body, r.encoding = w.raw, ""
		if !o.plain.Load() && o.zip.method != compressNone {
			z, err := o.zip.get()
			if err != nil {
				return answer{}, 0, fmt.Errorf("compress the request: %w", err)
			}
			w.comp = w.comp[:0]
			z.Reset(sliceWriter{&w.comp})
			_, err = z.Write(w.raw)
			if err = errors.Join(err, z.Close()); err != nil {
				return answer{}, 0, fmt.Errorf("compress the request: %w", err)
			}
			o.zip.put(z)
			r.body, r.encoding = w.comp, o.zip.method
		}
		if a, err = o.post(ctx, w, &r); err != nil {
			return answer{}, 0, err
		}
		if !o.refusesCompression(a, r.encoding) {
			return a, len(r.body), nil
		}
	}
}

// judge returns the error that an answer is, nil for success.
func (o *Post) judge(a answer) error {
	page := isPage(a.body) && a.status/100 == 2
	retry, reject := matches(o.retry, a.status), matches(o.reject, a.status)
	if matches(o.success, a.status) && !retry && !reject && !page {
		return nil
	}
	e := o.refused(a, "")
	switch {
	case retry, e.Kind == ack.Rejected && !reject:
		e.Kind = ack.Retry
		e.RetryAfter = parseRetryAfter(a.header.Get("Retry-After"), o.conf.Now())
	case reject:
		e.Kind = ack.Rejected
	}
	return e
}

// Probe makes an empty request.
func (o *Post) Probe(ctx context.Context) error {
	w := getWork()
	defer w.put()
	a, err := o.post(ctx, w, &request{method: o.method, url: o.url, header: o.header, limit: maxAnswer})
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if matches(o.success, a.status) && !isPage(a.body) {
		return nil
	}
	return o.probe(a)
}
