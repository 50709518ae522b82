package api

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memStore keeps rows in memory and delivers each request as one block.
type memStore struct {
	mu    sync.Mutex
	rows  []memRow
	tails map[*memTail]struct{}

	// hold, if not nil, is what Select waits for, after it has sent to entered.
	hold    chan struct{}
	entered chan struct{}
	fail    error
	panics  bool
}

type memRow struct {
	tenant   string
	labels   *logql.Stream
	time     int64
	line     string
	meta     []logql.Label
	severity record.Severity
}

func labelsOf(kv ...string) []logql.Label {
	var out []logql.Label
	for i := 0; i < len(kv); i += 2 {
		out = append(out, logql.Label{Name: kv[i], Value: kv[i+1]})
	}
	slices.SortFunc(out, func(a, b logql.Label) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// add stores a row and tells the tails.
func (m *memStore) add(tenant string, labels []logql.Label, time int64, sev record.Severity, line string, meta ...logql.Label) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var st *logql.Stream
	for _, r := range m.rows {
		if slices.Equal(r.labels.Labels, labels) {
			st = r.labels
			break
		}
	}
	if st == nil {
		st = &logql.Stream{Labels: labels}
	}
	m.rows = append(m.rows, memRow{tenant, st, time, line, meta, sev})
	for t := range m.tails {
		if t.tenant == tenant && t.sel.Stream(labels) != logql.No {
			t.put(logql.Row{Time: time, Line: []byte(line), Labels: labels, Meta: meta, Severity: sev, HasSeverity: true})
		}
	}
}

type memSource struct {
	m      *memStore
	tenant string
}

func (m *memStore) Source(tenant string) logql.Source { return memSource{m, tenant} }

func (s memSource) Select(ctx context.Context, req *logql.Request) (logql.Cursor, error) {
	m := s.m
	if m.hold != nil {
		m.entered <- struct{}{}
		select {
		case <-m.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if m.panics {
		panic("the store is broken")
	}
	if m.fail != nil {
		return nil, m.fail
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows []memRow
	for _, r := range m.rows {
		if r.tenant == s.tenant && r.time >= req.Start && r.time < req.End && req.Selector.Stream(r.labels.Labels) != logql.No {
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b memRow) int {
		switch req.Order {
		case logql.Forward:
			return cmp.Compare(a.time, b.time)
		case logql.Backward:
			return cmp.Compare(b.time, a.time)
		}
		return cmp.Or(strings.Compare(string(appendLabels(nil, a.labels.Labels)), string(appendLabels(nil, b.labels.Labels))), cmp.Compare(a.time, b.time))
	})
	return &memCursor{rows: rows, order: req.Order}, nil
}

type memCursor struct {
	rows  []memRow
	order logql.Order
	stats logql.SourceStats
}

func (c *memCursor) Bound() (int64, bool) {
	if len(c.rows) == 0 {
		return 0, false
	}
	return c.rows[0].time, true
}

func (c *memCursor) Next(ctx context.Context) (*logql.Block, error) {
	if len(c.rows) == 0 {
		return nil, io.EOF
	}
	n := min(len(c.rows), 1000)
	b := &logql.Block{Meta: &logql.Meta{Off: []uint32{0}}}
	for _, r := range c.rows[:n] {
		i := slices.Index(b.Streams, r.labels)
		if i < 0 {
			i = len(b.Streams)
			b.Streams = append(b.Streams, r.labels)
		}
		b.Stream = append(b.Stream, uint32(i))
		b.Times = append(b.Times, r.time)
		b.Severity = append(b.Severity, r.severity)
		b.Body = append(b.Body, record.Span{Off: uint32(len(b.Buf)), Len: uint32(len(r.line))})
		b.Buf = append(b.Buf, r.line...)
		for _, l := range r.meta {
			b.Meta.Name = append(b.Meta.Name, uint32(len(b.Meta.Names)))
			b.Meta.Names = append(b.Meta.Names, l.Name)
			b.Meta.Value = append(b.Meta.Value, record.Span{Off: uint32(len(b.Meta.Buf)), Len: uint32(len(l.Value))})
			b.Meta.Buf = append(b.Meta.Buf, l.Value...)
		}
		b.Meta.Off = append(b.Meta.Off, uint32(len(b.Meta.Name)))
	}
	c.stats.Blocks++
	c.stats.Rows += int64(n)
	c.rows = c.rows[n:]
	return b, nil
}

func (c *memCursor) Stats() logql.SourceStats { return c.stats }
func (c *memCursor) Close() error             { return nil }

func (m *memStore) Streams(ctx context.Context, tenant string, sel *logql.Selector, start, end int64, f func(StreamStats) error) error {
	if m.hold != nil {
		m.entered <- struct{}{}
		select {
		case <-m.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.mu.Lock()
	sum := make(map[*logql.Stream]*StreamStats)
	for _, r := range m.rows {
		if r.tenant != tenant || r.time < start || r.time >= end || sel.Stream(r.labels.Labels) == logql.No {
			continue
		}
		st := sum[r.labels]
		if st == nil {
			st = &StreamStats{Labels: r.labels.Labels, Blocks: 1}
			sum[r.labels] = st
		}
		st.Rows++
		st.Bytes += int64(len(r.line))
	}
	m.mu.Unlock()
	for _, st := range sum {
		if err := f(*st); err != nil {
			return err
		}
	}
	return nil
}

type memTail struct {
	m       *memStore
	tenant  string
	sel     *logql.Selector
	max     int
	mu      sync.Mutex
	rows    []logql.Row
	dropped int64
	wake    chan struct{}
}

func (m *memStore) Tail(tenant string, sel *logql.Selector, max int) (Tail, error) {
	t := &memTail{m: m, tenant: tenant, sel: sel, max: max, wake: make(chan struct{}, 1)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tails == nil {
		m.tails = make(map[*memTail]struct{})
	}
	m.tails[t] = struct{}{}
	return t, nil
}

func (t *memTail) put(r logql.Row) {
	t.mu.Lock()
	if len(t.rows) == t.max {
		t.rows = t.rows[1:]
		t.dropped++
	}
	t.rows = append(t.rows, r)
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *memTail) Next(ctx context.Context) ([]logql.Row, int64, error) {
	for {
		t.mu.Lock()
		rows, dropped := t.rows, t.dropped
		t.rows, t.dropped = nil, 0
		t.mu.Unlock()
		if len(rows) > 0 || dropped > 0 {
			return rows, dropped, nil
		}
		select {
		case <-t.wake:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

func (t *memTail) Close() {
	t.m.mu.Lock()
	delete(t.m.tails, t)
	t.m.mu.Unlock()
}

// t0 is when the lines of shop begin, and the clock of servers stands an hour
// later.
const t0 = 1_700_000_000 * int64(time.Second)

// shop is a store with lines of all kinds.
func shop() *memStore {
	m := &memStore{}
	web := labelsOf("app", "web", "namespace", "shop", "service_name", "web")
	api := labelsOf("app", "api", "namespace", "shop", "service_name", "api")
	m.add("", web, t0+1e9, record.Info, `level=info path=/a dur=15ms size=2KB`, logql.Label{Name: "trace_id", Value: "t1"})
	m.add("", api, t0+2e9, record.Error, `{"level":"error","status":503,"nested":{"a b":1.5},"ok":true}`, logql.Label{Name: "trace_id", Value: "t2"})
	m.add("", web, t0+3e9, record.Warn, `level=warn path=/b dur=1s size=3KB`)
	m.add("", api, t0+4e9, record.Info, `{"level":"info","status":200,"nested":{"a b":2},"ok":false}`)
	m.add("", labelsOf("job", "raw", "service_name", "raw", "uid", "6f3c1e1a-2b1c-4d5e-8f90-112233445566"), t0+5e9, record.Unknown, "a \"plain\" line\t\x01\xff<&>\u2028 é")
	m.add("other", labelsOf("app", "secret", "service_name", "secret"), t0+6e9, record.Info, "of another tenant")
	return m
}

// newServer serves a store; the server is closed with the test.
func newServer(t testing.TB, cfg Config) *Server {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return time.Unix(0, t0+int64(time.Hour)) }
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// form makes parameters of pairs; start and end enclose what shop has unless
// they are among them.
func form(kv ...string) url.Values {
	v := url.Values{"start": {"1700000000"}, "end": {"1700000060"}}
	for i := 0; i < len(kv); i += 2 {
		if kv[i] == "start" || kv[i] == "end" {
			v.Del(kv[i])
		}
	}
	for i := 0; i < len(kv); i += 2 {
		if kv[i+1] != "" || kv[i] == "query" {
			v.Add(kv[i], kv[i+1])
		}
	}
	return v
}

// get asks without a network.
func get(s http.Handler, path string, v url.Values, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", path+"?"+v.Encode(), nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// withoutStats is an answer without its statistics.
func withoutStats(t testing.TB, body []byte) string {
	t.Helper()
	if !json.Valid(body) {
		t.Fatalf("no JSON: %q", body)
	}
	text := string(body)
	if i := strings.LastIndex(text, `,"stats":{"summary"`); i >= 0 {
		text = text[:i] + "}}"
	}
	return strings.TrimSpace(text)
}
