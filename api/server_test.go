package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
)

// byHeader takes whoever says so for a tenant.
func byHeader(r *http.Request) (string, error) {
	tenant := r.Header.Get("X-Scope-OrgID")
	if tenant == "" {
		return "", Refuse(http.StatusUnauthorized, "no org id")
	}
	return tenant, nil
}

func TestWhoMayAsk(t *testing.T) {
	m := shop()
	m.add("blue", labelsOf("app", "blue"), t0, record.Info, "x")
	for _, c := range []struct {
		name   string
		auth   func(*http.Request) (string, error)
		org    string
		status int
		answer string
	}{
		{"open", nil, "", 200, `["api","web"]`},
		{"open: the header means nothing", nil, "blue", 200, `["api","web"]`},
		{"a tenant", byHeader, "blue", 200, `["blue"]`},
		{"another", byHeader, "other", 200, `["secret"]`},
		{"nobody", byHeader, "", 401, "no org id\n"},
		{"our own fault", func(*http.Request) (string, error) { return "", errors.New("a secret of the house") }, "", 500, "internal error\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t, Config{Store: m, Auth: c.auth})
			r := httptest.NewRequest("GET", v1+"label/app/values?start=1699999000&end=1700000060", nil)
			r.Header.Set("X-Scope-OrgID", c.org)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			want := c.answer
			if c.status == 200 {
				want = `{"status":"success","data":` + c.answer + "}\n"
			}
			if w.Code != c.status || w.Body.String() != want {
				t.Errorf("%d %s, wanted %d %s", w.Code, w.Body, c.status, want)
			}
			if c.status == 401 && w.Header().Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
			if w := get(s, "/ready", nil); w.Code != 200 {
				t.Errorf("/ready: %d", w.Code)
			}
		})
	}
}

func TestReady(t *testing.T) {
	var err error
	s := newServer(t, Config{Store: &memStore{}, Ready: func() error { return err }})
	if w := get(s, "/ready", nil); w.Code != 200 || w.Body.String() != "ready\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	err = errors.New("recovering")
	if w := get(s, "/ready", nil); w.Code != 503 || w.Body.String() != "not ready: recovering\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestOtherSites(t *testing.T) {
	s := newServer(t, Config{Store: &memStore{}, Local: true})
	for host, want := range map[string]int{"127.0.0.1:7410": 200, "localhost:7410": 200, "[::1]:7410": 200, "localhost": 200, "evil.example": 403, "127.0.0.1.evil.example:7410": 403, "": 403} {
		r := httptest.NewRequest("GET", v1+"labels", nil)
		r.Host = host
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Host %q: %d", host, w.Code)
		}
	}
	r := httptest.NewRequest("POST", v1+"labels", nil)
	r.Host = "localhost"
	r.Header.Set("Origin", "https://evil.example")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != 403 {
		t.Errorf("a form of another site: %d", w.Code)
	}
}

// logged is what a server writes into its log.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func TestPanicsAndFailuresStayInside(t *testing.T) {
	var log logged
	m := shop()
	m.panics = true
	s := newServer(t, Config{Store: m, Log: log.logger()})
	w := get(s, v1+"query_range", form("query", `{app="web"}`))
	if w.Code != 500 || w.Body.String() != "internal error\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "the store is broken") || s.Stats().Panics != 1 {
		t.Errorf("log: %s", log.String())
	}
	m.panics, m.fail = false, errors.New("open /var/lib/weir/store/x: no such file")
	w = get(s, v1+"query_range", form("query", `{app="web"}`))
	if w.Code != 500 || strings.Contains(w.Body.String(), "/var") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	m.fail = nil
	if w = get(s, v1+"query_range", form("query", `{app="web"}`)); w.Code != 200 {
		t.Errorf("afterwards: %d", w.Code)
	}
	if st := s.Stats(); st.Running != 0 || st.Requests[[2]string{"query_range", "5xx"}] != 2 {
		t.Errorf("%+v", st)
	}
}

// held is a server whose queries wait until release.
func held(t *testing.T, l Limits) (s *Server, m *memStore, log *logged) {
	m = shop()
	m.hold, m.entered = make(chan struct{}), make(chan struct{}, 100)
	log = &logged{}
	return newServer(t, Config{Store: m, Limits: l, Log: log.logger()}), m, log
}

func TestConcurrency(t *testing.T) {
	s, m, _ := held(t, Limits{Concurrency: 2, Queue: 1, QueueTime: -1})
	var wg sync.WaitGroup
	codes := make(chan int, 3)
	ask := func() {
		wg.Go(func() { codes <- get(s, v1+"query_range", form("query", `{app="web"}`)).Code })
	}
	ask()
	ask()
	<-m.entered
	<-m.entered
	ask()
	for s.Stats().Waiting != 1 {
		time.Sleep(time.Millisecond) // until the third has come
	}
	w := get(s, v1+"labels", nil)
	if w.Code != 429 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "too many outstanding requests") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if w := get(s, v1+"status/buildinfo", nil); w.Code != 200 {
		t.Errorf("what costs nothing waits for nothing: %d", w.Code)
	}
	if st := s.Stats(); st.Running != 2 || st.Requests[[2]string{"labels", "429"}] != 1 {
		t.Errorf("%+v", st)
	}
	close(m.hold)
	wg.Wait()
	for range 3 {
		if c := <-codes; c != 200 {
			t.Errorf("status %d", c)
		}
	}
}

func TestWaitingEnds(t *testing.T) {
	s, m, _ := held(t, Limits{Concurrency: 1, Queue: 5, QueueTime: time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", v1+"labels", nil).WithContext(ctx))
	}()
	<-m.entered
	if w := get(s, v1+"labels", nil); w.Code != 429 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	cancel()
	<-done
}

func TestTimeIsLimited(t *testing.T) {
	s, _, _ := held(t, Limits{Time: time.Millisecond})
	w := get(s, v1+"query", form("query", `count_over_time({app="web"}[1m])`))
	if w.Code != 504 || !strings.Contains(w.Body.String(), "longer than 1ms") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestClientGoesAway(t *testing.T) {
	s, m, log := held(t, Limits{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-m.entered; cancel() }()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", v1+"query_range?query=%7Ba%3D%22b%22%7D", nil).WithContext(ctx))
	if st := s.Stats(); st.Requests[[2]string{"query_range", "499"}] != 1 {
		t.Errorf("%+v", st)
	}
	if log.String() != "" || w.Body.Len() > 0 {
		t.Errorf("log: %s; answer: %s", log.String(), w.Body)
	}
}

func TestCloseCancels(t *testing.T) {
	s, m, _ := held(t, Limits{})
	code := make(chan int)
	go func() { code <- get(s, v1+"query_range", form("query", `{app="web"}`)).Code }()
	<-m.entered
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if c := <-code; c != 503 {
		t.Errorf("status %d", c)
	}
	if w := get(s, v1+"labels", nil); w.Code != 503 {
		t.Errorf("afterwards: %d", w.Code)
	}
}

func TestLimits(t *testing.T) {
	m := shop()
	for i := range 300 {
		m.add("", labelsOf("n", fmt.Sprint(i)), t0+int64(i), record.Info, strings.Repeat("x", 100))
	}
	for _, c := range []struct {
		limits Limits
		path   string
		form   []string
		status int
		has    string
	}{
		{Limits{Query: logql.Limits{MaxRows: 100}}, "query_range", []string{"query", `{n=~".+"}`}, 400, "100 rows"},
		{Limits{Query: logql.Limits{MaxBytes: 100}}, "query_range", []string{"query", `{n=~".+"}`}, 400, "100 bytes of lines"},
		{Limits{Query: logql.Limits{MaxSeries: 50}}, "query_range", []string{"query", `{n=~".+"}`, "limit", "300"}, 200, `"n":"299"`},
		{Limits{Query: logql.Limits{MaxSeries: 50}}, "query_range", []string{"query", `count_over_time({n=~".+"}[1m])`}, 400, "50"},
		{Limits{Query: logql.Limits{MaxCells: 50}}, "query_range", []string{"query", `count_over_time({n=~".+"}[1m])`}, 400, "50"},
		{Limits{Query: logql.Limits{MaxResult: 5000}}, "query_range", []string{"query", `{n=~".+"}`}, 400, "5000 bytes of answer"},
		{Limits{Query: logql.Limits{MaxResult: 50}}, "detected_fields", []string{"query", `{namespace="shop"}`}, 400, "50 bytes of answer"},
		{Limits{Query: logql.Limits{MaxResult: -1, MaxRows: -1, MaxBytes: -1, MaxSeries: -1, MaxCells: -1}, Entries: -1}, "query_range", []string{"query", `{n=~".+"}`, "limit", "1000000"}, 200, "x"},
		{Limits{Range: time.Minute}, "query_range", []string{"query", `{n="1"}`, "start", "1700000000", "end", "1700000061"}, 400, "exceeds the limit (query length: 1m1s, limit: 1m0s)"},
		{Limits{Names: 10}, "label/n/values", nil, 400, "10 names"},
		{Limits{Names: 10}, "series", nil, 400, "10 series"},
		{Limits{Names: 10}, "index/volume", []string{"query", `{n=~".+"}`}, 400, "10 volumes"},
		{Limits{Names: 10}, "index/volume_range", []string{"query", `{n=~".+"}`}, 400, "10 volumes"},
		{Limits{Names: 10}, "detected_labels", nil, 400, "10 label values"},
		{Limits{Selectors: 2}, "series", []string{"match[]", `{a="1"}`, "match[]", `{a="2"}`, "match[]", `{a="3"}`}, 400, "3 match[]"},
	} {
		s := newServer(t, Config{Store: m, Limits: c.limits})
		w := get(s, v1+c.path, form(c.form...))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.has) {
			t.Errorf("%s %v: %d %.300s, wanted %s", c.path, c.form, w.Code, w.Body, c.has)
		}
	}
}

func TestHostileRequests(t *testing.T) {
	s := newServer(t, Config{Store: shop()})
	big := strings.Repeat("x", 2<<20)
	post := func(path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", v1+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	if w := post("query_range", "query="+big); w.Code != 413 {
		t.Errorf("large form: %d", w.Code)
	}
	if w := post("query_range", "query=%zz"); w.Code != 400 {
		t.Errorf("broken form: %d", w.Code)
	}
	for name, q := range map[string]string{
		"deep":       strings.Repeat("(", 100_000) + `vector(1)` + strings.Repeat(")", 100_000),
		"deep sum":   strings.Repeat("sum(", 10_000) + `vector(1)` + strings.Repeat(")", 10_000),
		"long":       `{app="web"}` + strings.Repeat(` |= "x"`, 50_000),
		"regexp":     `{app=~"` + strings.Repeat("(a|b)*", 5000) + `"}`,
		"repetition": `{app=~"((a{1000}){1000}){1000}"}`,
	} {
		w := post("query_range", form("query", q).Encode())
		if w.Code != 400 {
			t.Errorf("%s: %d %.200s", name, w.Code, w.Body)
		}
		if w.Body.Len() > 1000 {
			t.Errorf("%s: an error of %d bytes: %.200s…", name, w.Body.Len(), w.Body)
		}
	}
	// The whole of time, in the largest steps and the smallest.
	for _, c := range [][]string{
		{"start", "-9223372036854775808", "end", "9223372036854775807", "step", "9000000000"},
		{"start", "0", "end", "9223372036854775807"},
		{"start", "-9223372036854775808", "end", "-9223372036854775807", "step", "0.000000001"},
		{"start", "1700000000", "end", "1700000001", "step", "9223372036"},
	} {
		for _, path := range []string{"query_range", "index/volume_range", "index/volume", "labels", "detected_fields"} {
			for _, q := range []string{`{app="web"}`, `rate({app="web"}[1m])`} {
				if w := get(s, v1+path, form(append(c, "query", q)...)); w.Code >= 500 {
					t.Errorf("%s %s %v: %d %s", path, q, c, w.Code, w.Body)
				}
			}
		}
	}
	if w := get(s, v1+"query", form("query", "vector(1)", "time", "-9223372036854775808")); w.Code >= 500 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// large is a store with lines whose answer is about n bytes.
func large(n int) *memStore {
	m := &memStore{}
	line := strings.Repeat("x", 1000)
	st := &logql.Stream{Labels: labelsOf("app", "large")}
	for i := range n / 1000 {
		m.rows = append(m.rows, memRow{labels: st, time: t0 + int64(i), line: line, severity: record.Info})
	}
	return m
}

func TestCompression(t *testing.T) {
	s := newServer(t, Config{Store: large(1 << 20)})
	f := form("query", `{app="large"}`, "limit", "50000")
	plain := get(s, v1+"query_range", f)
	for _, c := range []struct {
		accept string
		zipped bool
	}{{"gzip", true}, {"deflate, gzip;q=0.5", true}, {"*", true}, {"gzip;q=0", false}, {"br", false}} {
		w := get(s, v1+"query_range", f, "Accept-Encoding", c.accept)
		if (w.Header().Get("Content-Encoding") == "gzip") != c.zipped || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %v", c.accept, w.Header())
			continue
		}
		body := w.Body.Bytes()
		if c.zipped {
			if len(body) > 100_000 {
				t.Errorf("%d bytes", len(body))
			}
			z, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if withoutStats(t, body) != withoutStats(t, plain.Body.Bytes()) {
			t.Errorf("%s: another answer", c.accept)
		}
	}
	if w := get(s, v1+"labels", nil, "Accept-Encoding", "gzip"); w.Header().Get("Content-Encoding") != "" || w.Header().Get("Content-Length") == "" {
		t.Errorf("a small answer: %v", w.Header())
	}
}
