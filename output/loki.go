package output

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/s2"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/loki"
)

// LokiConfig configures NewLoki.
type LokiConfig struct {
	HTTPConfig // URL with or without /loki/api/v1/push; Compression: snappy
	Encoding   loki.Config
	// Tenant makes the X-Scope-OrgID of a record; nil sends none. A Send with
	// records of several tenants makes a request for each.
	Tenant *wire.Template
}

// Loki pushes records to a Loki as protobuf.
//
// Loki takes no ids, but keeps only one of two lines with the same stream,
// time, text and metadata, so that sending again stores nothing twice. It
// answers 400 when it did not take some lines (too old, too long), and does not
// say which: that is Rejected, and bisecting finds them.
// https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs
type Loki struct {
	*client
	enc     *encoders
	url     *url.URL
	header  http.Header
	tenant  *wire.Template
	scratch sync.Pool // *grouping
}

const tenantHeader = "X-Scope-Orgid"

// NewLoki returns an output to one Loki.
func NewLoki(c LokiConfig) (*Loki, error) {
	conf, u, err := c.HTTPConfig.checked("http", "https")
	if err != nil {
		return nil, err
	}
	if _, err := conf.compression(compressSnappy); err != nil {
		return nil, err
	}
	if !strings.HasSuffix(u.Path, "/push") {
		u = u.JoinPath("loki/api/v1/push")
	}
	cl, err := newClient(conf, u)
	if err != nil {
		return nil, err
	}
	enc := loki.New(c.Encoding)
	return &Loki{
		client: cl, url: u, header: conf.headerFor("application/x-protobuf"), tenant: c.Tenant,
		enc: newEncoders(enc, func() encoder { return enc.Clone() }),
	}, nil
}

// Send pushes the records of parts, with one request per tenant. If some
// tenants' requests failed and others did not, the records of those are
// failures to be tried again; alone, their kind of error shows.
func (o *Loki) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	if o.tenant == nil {
		return o.push(ctx, "", parts)
	}
	g, _ := o.scratch.Get().(*grouping)
	if g == nil {
		g = &grouping{byName: map[string]int{}}
	}
	defer o.scratch.Put(g)
	defer g.reset()
	g.split(o.tenant, parts)
	if len(g.groups) == 1 {
		return o.push(ctx, g.groups[0].tenant, parts)
	}
	var res ack.Result
	var worst *ack.SendError
	failed := 0
	for i := range g.groups {
		t := &g.groups[i]
		sub := t.parts(parts)
		r, err := o.push(ctx, t.tenant, sub)
		for _, p := range sub {
			p.Finish()
		}
		res.Bytes += r.Bytes
		if err == nil {
			for _, f := range r.Failures {
				f.Part = t.runs[f.Part].part
				res.Failures = append(res.Failures, f)
			}
			continue
		}
		failed++
		var se *ack.SendError
		if !errors.As(err, &se) {
			se = &ack.SendError{Kind: ack.Retry, Err: err}
		}
		if worst == nil || severity(se.Kind) > severity(worst.Kind) {
			worst = se
		}
		res.RetryAfter = max(res.RetryAfter, se.RetryAfter)
		for _, run := range t.runs {
			for _, rec := range t.idx[run.from:run.to] {
				res.Failures = append(res.Failures, ack.Failure{Part: run.part, Record: rec, Reason: "its tenant's request failed: " + se.Error()})
			}
		}
	}
	if worst != nil && failed == len(g.groups) {
		return ack.Result{}, worst
	}
	slices.SortFunc(res.Failures, func(a, b ack.Failure) int {
		return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Record, b.Record))
	})
	return res, nil
}

// severity orders the kinds by what must be done first: what is split soon
// has one tenant, whose own error then shows.
func severity(k ack.ErrorKind) int {
	switch k {
	case ack.TooLarge:
		return 3
	case ack.Rejected:
		return 2
	case ack.Unauthorized:
		return 1
	}
	return 0
}

// push makes one request.
func (o *Loki) push(ctx context.Context, tenant string, parts []record.Part) (ack.Result, error) {
	w := getWork()
	defer w.put()
	enc := o.enc.get()
	w.raw = enc.Append(w.raw[:0], parts)
	o.enc.put(enc)
	w.comp = snappyBlock(w.comp, w.raw)
	r := &request{url: o.url, header: o.header, body: w.comp, limit: maxAnswer}
	if tenant != "" {
		r.extra = [2]string{tenantHeader, tenant}
	}
	a, err := o.post(ctx, w, r)
	if err != nil {
		return ack.Result{}, err
	}
	if a.status/100 == 2 && !isPage(a.body) {
		return ack.Result{Bytes: len(w.comp)}, nil
	}
	ref := loki.ParseError(a.status, a.body)
	if a.status == http.StatusBadRequest {
		if failures, ok := o.enc.refused(a.header.Get(wire.RefusedHeader), parts, ref.Message); ok {
			return ack.Result{Bytes: len(w.comp), Failures: failures}, nil
		}
	}
	detail := ref.Kind.String()
	if ref.Kind == loki.Other {
		detail = plainReason(ref.Message)
		if isPage(a.body) {
			detail = ""
		}
	}
	e := o.refused(a, detail)
	if bytes.Contains(a.body, []byte("larger than max")) || a.status == http.StatusTooManyRequests && overBurst(ref.Message) {
		e.Kind = ack.TooLarge
	}
	return ack.Result{}, e
}

// overBurst reports whether a rate limit can never be kept by a request of
// this size: "… limit exceeded for user x (limit: 4194304 bytes/sec) while
// attempting to ingest '100' lines totaling '8388608' bytes …".
func overBurst(msg string) bool {
	limit, ok1 := numberBehind(msg, "(limit: ")
	size, ok2 := numberBehind(msg, "totaling '")
	return ok1 && ok2 && size > limit && strings.Contains(msg, "bytes/sec")
}

func numberBehind(s, mark string) (int64, bool) {
	_, rest, ok := strings.Cut(s, mark)
	if !ok {
		return 0, false
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(rest[:end], 10, 64)
	return n, err == nil
}

// snappyBlock compresses src into dst's memory.
func snappyBlock(dst, src []byte) []byte {
	if n := s2.MaxEncodedLen(len(src)); cap(dst) < n {
		dst = make([]byte, n)
	}
	return s2.EncodeSnappy(dst[:cap(dst)], src)
}

// Probe pushes nothing.
func (o *Loki) Probe(ctx context.Context) error {
	w := getWork()
	defer w.put()
	w.comp = snappyBlock(w.comp, nil)
	r := &request{url: o.url, header: o.header, body: w.comp, limit: maxAnswer}
	if o.tenant != nil {
		name := []byte("weir")
		if o.tenant.Const() {
			b := record.NewBatch(nil)
			b.Add(record.Record{Stream: b.AddStream(record.StreamRef{Stream: record.NewStream(nil, nil, nil)})})
			name = o.tenant.Append(nil, b, 0)
		}
		r.extra = [2]string{tenantHeader, string(name)}
	}
	a, err := o.post(ctx, w, r)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return o.probe(a)
}

// grouping sorts the records of one Send by tenant.
type grouping struct {
	groups []tenantGroup
	byName map[string]int
	name   []byte
}

type tenantGroup struct {
	tenant string
	runs   []run
	idx    []uint32
}

// run is the group's share of one part: idx[from:to].
type run struct{ part, from, to int }

func (g *grouping) reset() {
	for i := range g.groups {
		t := &g.groups[i]
		t.tenant, t.runs, t.idx = "", t.runs[:0], t.idx[:0]
	}
	g.groups = g.groups[:0]
	clear(g.byName)
}

func (g *grouping) split(tmpl *wire.Template, parts []record.Part) {
	_, end := tmpl.Window(0)
	each := tmpl.PerRecord() || end != math.MaxInt64
	for pi, p := range parts {
		b := p.Batch()
		last, cur := -1, 0
		for _, i := range p.Index() {
			// A template of stream attributes gives the same for a stream.
			if st := int(b.Record(int(i)).Stream); st != last || each {
				last = st
				g.name = tmpl.Append(g.name[:0], b, int(i))
				cur = g.find()
			}
			t := &g.groups[cur]
			t.idx = append(t.idx, i)
			if n := len(t.runs); n > 0 && t.runs[n-1].part == pi {
				t.runs[n-1].to++
			} else {
				t.runs = append(t.runs, run{pi, len(t.idx) - 1, len(t.idx)})
			}
		}
	}
}

func (g *grouping) find() int {
	if i, ok := g.byName[string(g.name)]; ok {
		return i
	}
	n := len(g.groups)
	if n < cap(g.groups) {
		g.groups = g.groups[:n+1]
	} else {
		g.groups = append(g.groups, tenantGroup{})
	}
	g.groups[n].tenant = string(g.name)
	g.byName[g.groups[n].tenant] = n
	return n
}

// parts returns the group's share of parts; each must be finished.
func (t *tenantGroup) parts(parts []record.Part) []record.Part {
	out := make([]record.Part, 0, len(t.runs))
	for _, r := range t.runs {
		out = append(out, parts[r.part].Select(t.idx[r.from:r.to]))
	}
	return out
}
