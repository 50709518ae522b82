package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a RoundTripper that answers as its function says, for tests in which
// time is not real.
type wire struct {
	mu      sync.Mutex
	answer  func(n int, r *http.Request, entries []entry) (code int, header map[string]string, body string)
	n       int
	taken   []entry
	at      []time.Duration // when requests came, since the beginning
	hosts   []string
	began   time.Time
	largest int
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := readBody(r2(r))
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	w.at = append(w.at, time.Since(w.began))
	w.hosts = append(w.hosts, r.URL.Host)
	w.largest = max(w.largest, len(body))
	list := decodeRequest(body)
	code, header, text := 200, map[string]string(nil), ""
	if w.answer != nil {
		code, header, text = w.answer(w.n, r, list)
	}
	if code == 0 {
		return nil, errors.New("connection refused")
	}
	if code == 200 {
		w.taken = append(w.taken, list...)
	}
	resp := &http.Response{StatusCode: code, Status: fmt.Sprint(code, " ", http.StatusText(code)), Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text))}
	for k, v := range header {
		resp.Header.Set(k, v)
	}
	return resp, nil
}

// r2 is a request as a server sees it.
func r2(r *http.Request) *http.Request { return &http.Request{Header: r.Header, Body: r.Body} }

// simulate runs f with a client whose gateways are w, in a world with its own time.
func simulate(t *testing.T, w *wire, cfg Config, f func(c *Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w.began = time.Now()
		cfg.Transport = w
		if cfg.Endpoints == nil {
			cfg.Endpoints = []string{"http://one"}
		}
		c := start(t, cfg)
		f(c)
		c.Close(context.Background())
	})
}

// pass lets time pass, and what is due then happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *wire) do(f func()) {
	w.mu.Lock()
	f()
	w.mu.Unlock()
}

// Every answer that is not about the records is tried again, and the records
// arrive once it is better.
func TestRetried(t *testing.T) {
	for _, code := range []int{0, 301, 302, 307, 308, 400, 401, 403, 404, 405, 408, 415, 422, 429, 500, 502, 503, 504, 507} {
		w := &wire{answer: func(n int, _ *http.Request, _ []entry) (int, map[string]string, string) {
			if n <= 3 {
				return code, map[string]string{"Location": "http://elsewhere/"}, ""
			}
			return 200, nil, ""
		}}
		simulate(t, w, Config{}, func(c *Client) {
			c.Logger().Info("m")
			flush(t, c)
			st := c.Stats()
			if len(w.taken) != 1 || w.n != 4 || st.Delivered != 1 || st.Retries != 3 || st.Rejected != 0 || st.LastError == nil || st.Endpoints[0].Err != nil {
				t.Errorf("%d: %d records, %d requests, %+v", code, len(w.taken), w.n, st)
			}
			for _, h := range w.hosts {
				if h != "one" {
					t.Errorf("%d: %s is asked", code, h)
				}
			}
		})
	}
}

func TestBackoffGrows(t *testing.T) {
	w := &wire{answer: func(n int, _ *http.Request, _ []entry) (int, map[string]string, string) { return 503, nil, "" }}
	simulate(t, w, Config{MaxBackoff: 8 * time.Second, Concurrency: 1}, func(c *Client) {
		c.Logger().Info("m")
		pass(time.Minute)
		want := firstBackoff
		for i := 1; i < len(w.at); i++ {
			if d := w.at[i] - w.at[i-1]; d < want || d > want*5/4 {
				t.Errorf("attempt %d after %v, want %v", i, d, want)
			}
			want = min(want*2, 8*time.Second)
		}
		if len(w.at) < 9 || len(w.at) > 13 {
			t.Errorf("%d attempts in a minute", len(w.at))
		}
		if c.Close(expired) == nil {
			t.Error("a lost record is no error")
		}
	})
}

func TestRetryAfter(t *testing.T) {
	for _, tt := range []struct {
		header func() string
		want   time.Duration
	}{
		{func() string { return "7" }, 7 * time.Second},
		{func() string { return time.Now().Add(20 * time.Second).UTC().Format(http.TimeFormat) }, 19 * time.Second},
		{func() string { return "100000" }, maxRetryAfter},
		{func() string { return "-5" }, firstBackoff},
		{func() string { return "soon" }, firstBackoff},
	} {
		w := &wire{answer: func(n int, _ *http.Request, _ []entry) (int, map[string]string, string) {
			if n == 1 {
				return 429, map[string]string{"Retry-After": tt.header()}, ""
			}
			return 200, nil, ""
		}}
		simulate(t, w, Config{}, func(c *Client) {
			c.Logger().Info("m")
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			if err := c.Flush(ctx); err != nil {
				t.Fatal(err)
			}
			if d := w.at[1] - w.at[0]; d < tt.want || d > (tt.want+time.Second)*5/4 { // a date is to the second
				t.Errorf("%s: again after %v", tt.header(), d)
			}
		})
	}
}

func TestFailover(t *testing.T) {
	down := true
	w := &wire{answer: func(n int, r *http.Request, _ []entry) (int, map[string]string, string) {
		if r.URL.Host == "one" && down {
			return 503, nil, ""
		}
		return 200, nil, ""
	}}
	simulate(t, w, Config{Endpoints: []string{"http://one", "http://two"}, Concurrency: 1}, func(c *Client) {
		l := c.Logger()
		l.Info("a")
		flush(t, c)
		if fmt.Sprint(w.hosts) != "[one two]" || w.at[1] != w.at[0] {
			t.Fatalf("%v at %v: the second gateway is asked at once", w.hosts, w.at)
		}
		for range 20 {
			l.Info("b")
			pass(2 * time.Second)
		}
		failed := 0
		for _, h := range w.hosts {
			if h == "one" {
				failed++
			}
		}
		if failed > 7 {
			t.Errorf("a dead gateway was asked %d times in 40 s", failed)
		}
		w.do(func() { down = false })
		pass(time.Minute)
		w.do(func() { w.hosts = nil })
		l.Info("c")
		flush(t, c)
		l.Info("d")
		flush(t, c)
		if fmt.Sprint(w.hosts) != "[one one]" {
			t.Errorf("%v: the first gateway is taken again when it works", w.hosts)
		}
		if len(w.taken) != 23 || c.Stats().Rejected != 0 {
			t.Errorf("%d records", len(w.taken))
		}
	})
}

func TestRoundRobin(t *testing.T) {
	w := &wire{}
	simulate(t, w, Config{Endpoints: []string{"http://one", "http://two", "http://three"}, Balance: RoundRobin}, func(c *Client) {
		for range 6 {
			c.Logger().Info("m")
			flush(t, c)
		}
		if fmt.Sprint(w.hosts) != "[one two three one two three]" {
			t.Errorf("%v", w.hosts)
		}
	})
}

func TestPartialSuccess(t *testing.T) {
	for _, tt := range []struct{ kind, body string }{
		{"application/x-protobuf", string(protoAnswer(2, "too\nold"))},
		{"application/json", `{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too old"}}`},
		{"application/json; charset=utf-8", `{"partialSuccess":{"rejectedLogRecords":2}}`},
	} {
		w := &wire{answer: func(int, *http.Request, []entry) (int, map[string]string, string) {
			return 200, map[string]string{"Content-Type": tt.kind}, tt.body
		}}
		var own bytes.Buffer
		simulate(t, w, Config{Logger: slog.New(slog.NewTextHandler(&own, nil))}, func(c *Client) {
			for range 5 {
				c.Logger().Info("m")
			}
			flush(t, c)
			if st := c.Stats(); st.Delivered != 3 || st.Rejected != 2 || st.Waiting != 0 || w.n != 1 {
				t.Errorf("%+v", st)
			}
			if !strings.Contains(own.String(), "records=2") || strings.Count(own.String(), "\n") != 1 {
				t.Errorf("told: %s", own.String())
			}
		})
	}
}

// A request that is too large is sent in parts; one record that no gateway takes
// is given up, and only that.
func TestSplit(t *testing.T) {
	w := &wire{answer: func(_ int, _ *http.Request, list []entry) (int, map[string]string, string) {
		if len(list) > 7 {
			return 413, nil, ""
		}
		for _, e := range list {
			if e.Body == "poison" {
				return 400, map[string]string{"Content-Type": "text/plain"}, "resource 1: record 1"
			}
			if e.Body == "huge" {
				return 413, nil, ""
			}
		}
		return 200, nil, ""
	}}
	simulate(t, w, Config{}, func(c *Client) {
		for i := range 100 {
			switch i {
			case 37:
				c.Logger().Info("poison")
			case 73:
				c.Logger().Info("huge")
			default:
				c.Logger().Info("m", "i", i)
			}
		}
		flush(t, c)
		if st := c.Stats(); st.Delivered != 98 || st.Rejected != 2 || st.Waiting != 0 {
			t.Errorf("%+v", st)
		}
		seen := make(map[string]bool)
		for _, e := range w.taken {
			if seen[e.UID] {
				t.Errorf("twice: %v", e)
			}
			seen[e.UID] = true
		}
		if len(seen) != 98 {
			t.Errorf("%d records", len(seen))
		}
	})
}

// A gateway that calls everything malformed is not asked about each record.
func TestAllMalformed(t *testing.T) {
	w := &wire{answer: func(int, *http.Request, []entry) (int, map[string]string, string) {
		return 400, map[string]string{"Content-Type": "application/x-protobuf"}, ""
	}}
	simulate(t, w, Config{}, func(c *Client) {
		for range 3000 {
			c.Logger().Info("m")
		}
		flush(t, c)
		if st := c.Stats(); st.Rejected != 3000 || w.n > maxRefusals+32 {
			t.Errorf("%d requests, %+v", w.n, st)
		}
	})
}

// A proxy's page is no gateway's answer.
func TestWebPage(t *testing.T) {
	w := &wire{answer: func(n int, _ *http.Request, _ []entry) (int, map[string]string, string) {
		switch n {
		case 1:
			return 200, map[string]string{"Content-Type": "text/html; charset=utf-8"}, "<html>Please log in"
		case 2:
			return 400, map[string]string{"Content-Type": "text/html"}, "<html>The plain HTTP request was sent to HTTPS port"
		}
		return 200, nil, ""
	}}
	simulate(t, w, Config{}, func(c *Client) {
		c.Logger().Info("m")
		flush(t, c)
		if w.n != 3 || c.Stats().Delivered != 1 {
			t.Errorf("%d requests", w.n)
		}
	})
}

func TestBatching(t *testing.T) {
	w := &wire{}
	simulate(t, w, Config{BatchBytes: 10000, BatchWait: 5 * time.Second, Concurrency: 1}, func(c *Client) {
		c.Logger().Info("alone")
		pass(4900 * time.Millisecond)
		c.Logger().Info("another")
		synctest.Wait()
		w.do(func() {
			if w.n != 0 {
				t.Error("sent too early")
			}
		})
		pass(200 * time.Millisecond)
		w.do(func() {
			if len(w.taken) != 2 || w.n != 1 {
				t.Errorf("%d records in %d requests", len(w.taken), w.n)
			}
		})
		for range 1000 {
			c.Logger().Info(strings.Repeat("x", 100))
			synctest.Wait()
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.taken) < 900 || w.largest > 10300 || w.n > 40 {
			t.Errorf("%d records in %d requests, the largest of %d bytes", len(w.taken), w.n, w.largest)
		}
	})
}

// Memory is full: the program goes on, what is dropped is counted, and told in
// the log when there is room again.
func TestFullDrops(t *testing.T) {
	down := true
	w := &wire{answer: func(int, *http.Request, []entry) (int, map[string]string, string) {
		if down {
			return 503, nil, ""
		}
		return 200, nil, ""
	}}
	simulate(t, w, Config{MemoryBytes: 64 << 10}, func(c *Client) {
		const all = 2000
		for i := range all {
			c.Logger().Info(strings.Repeat("x", 100), "i", i)
			pass(time.Millisecond)
		}
		st := c.Stats()
		if st.Dropped == 0 || st.Dropped+st.Logged != all || st.MemoryBytes > 64<<10 || st.Waiting != st.Logged {
			t.Fatalf("%+v", st)
		}
		if err := c.Handler().Handle(context.Background(), slog.NewRecord(time.Now(), 0, "m", 0)); !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		w.do(func() { down = false })
		pass(time.Minute)
		i := slices.IndexFunc(w.taken, func(e entry) bool { return strings.Contains(e.Body, "were dropped") })
		if i < 0 {
			t.Fatal("not told")
		}
		e := w.taken[i]
		if e.Attrs["weir.gap.records"] != int64(st.Dropped+1) || e.Severity != 13 || len(w.taken) != int(st.Logged)+1 {
			t.Errorf("%+v: %d records", e, len(w.taken))
		}
		from, err := time.Parse(time.RFC3339Nano, e.Attrs["weir.gap.from"].(string))
		if err != nil || from.Sub(w.began) > time.Second {
			t.Errorf("from %v, %v", from.Sub(w.began), err)
		}
		if st := c.Stats(); st.MemoryBytes != 0 || st.Waiting != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestFullBlocks(t *testing.T) {
	down := true
	w := &wire{answer: func(int, *http.Request, []entry) (int, map[string]string, string) {
		if down {
			return 503, nil, ""
		}
		return 200, nil, ""
	}}
	simulate(t, w, Config{MemoryBytes: 64 << 10, WhenFull: Block}, func(c *Client) {
		logged := 0
		done := make(chan bool)
		go func() {
			defer close(done)
			for range 2000 {
				c.Logger().Info(strings.Repeat("x", 100))
				logged++
			}
		}()
		pass(time.Minute)
		if logged == 0 || logged == 2000 {
			t.Errorf("%d logged", logged)
		}
		// Its context frees it.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := c.Handler().Handle(ctx, slog.NewRecord(time.Now(), 0, strings.Repeat("x", 10000), 0)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		w.do(func() { down = false })
		<-done
		flush(t, c)
		pass(3 * time.Second) // for the record that tells of the dropped one
		flush(t, c)
		if st := c.Stats(); st.Delivered != 2001 || st.Dropped != 1 { // and the record that tells of the one
			t.Errorf("%+v", st)
		}
	})
}

// Close ends whoever waits for room.
func TestCloseFreesBlocked(t *testing.T) {
	w := &wire{answer: func(int, *http.Request, []entry) (int, map[string]string, string) { return 0, nil, "" }}
	simulate(t, w, Config{MemoryBytes: 4 << 10, WhenFull: Block}, func(c *Client) {
		done := make(chan error)
		go func() {
			for {
				if err := c.Handler().Handle(context.Background(), slog.NewRecord(time.Now(), 0, strings.Repeat("x", 100), 0)); err != nil {
					done <- err
					return
				}
			}
		}()
		synctest.Wait()
		began := time.Now()
		err := c.Close(context.Background())
		if err == nil || !strings.Contains(err.Error(), "records are lost") || !strings.Contains(err.Error(), "connection refused") || time.Since(began) != closeTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if c.Close(context.Background()) != err {
			t.Error("the second Close says another thing")
		}
		if st := c.Stats(); st.Lost != st.Logged || st.Waiting != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestCloseSendsAll(t *testing.T) {
	w := &wire{}
	simulate(t, w, Config{BatchWait: time.Hour}, func(c *Client) {
		l := c.Logger()
		for range 100 {
			l.Info("m")
		}
		if err := c.Close(context.Background()); err != nil || len(w.taken) != 100 {
			t.Fatalf("%v, %d records", err, len(w.taken))
		}
		if err := l.Handler().Handle(context.Background(), slog.NewRecord(time.Now(), 0, "late", 0)); !errors.Is(err, ErrClosed) || c.Stats().Late != 1 {
			t.Error(err)
		}
		if err := c.Flush(context.Background()); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

func TestFlushGivesUp(t *testing.T) {
	w := &wire{answer: func(int, *http.Request, []entry) (int, map[string]string, string) {
		return 503, map[string]string{"Content-Type": "text/plain"}, "the disk is full"
	}}
	simulate(t, w, Config{}, func(c *Client) {
		c.Logger().Info("m")
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := c.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the disk is full") {
			t.Error(err)
		}
	})
}

// Who waits for a Flush while the client is closed waits no longer than that.
func TestFlushEndsWithClose(t *testing.T) {
	for _, spool := range []string{"", t.TempDir()} {
		w := &wire{answer: func(int, *http.Request, []entry) (int, map[string]string, string) { return 503, nil, "" }}
		simulate(t, w, Config{Spool: Spool{Dir: spool}}, func(c *Client) {
			c.Logger().Info("m")
			done := make(chan error, 1)
			go func() { done <- c.Flush(context.Background()) }()
			synctest.Wait()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			_ = c.Close(ctx) // it says that a record is lost, or nothing
			synctest.Wait()
			select {
			case err := <-done:
				if !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
			default:
				t.Error("Flush waits for ever")
				c.queue.finish(&batch{}) // let go of it
			}
		})
	}
}

func TestLogPanic(t *testing.T) {
	w := &wire{}
	simulate(t, w, Config{}, func(c *Client) {
		func() {
			defer func() {
				if p := recover(); p != "oh" {
					t.Errorf("recovered %v", p)
				}
			}()
			defer c.LogPanic()
			panic("oh")
		}()
		if len(w.taken) != 1 || w.taken[0].Severity != 21 || w.taken[0].Body != "panic: oh" || !strings.Contains(w.taken[0].Attrs["exception.stacktrace"].(string), "TestLogPanic") {
			t.Errorf("%+v", w.taken)
		}
		c.LogPanic() // nothing without a panic
	})
}

// Nothing that is told, printed or returned holds a credential.
func TestSecretsStaySecret(t *testing.T) {
	const canary = "c4n4ry"
	var own bytes.Buffer
	w := &wire{answer: func(int, *http.Request, []entry) (int, map[string]string, string) { return 401, nil, "" }}
	cfg := Config{Endpoints: []string{"http://gateway/x?key=k"}, Auth: Auth{Token: canary, User: "u", Password: canary}, Logger: slog.New(slog.NewJSONHandler(&own, nil))}
	simulate(t, w, cfg, func(c *Client) {
		c.Logger().Info("m", "auth", cfg.Auth)
		err := c.Close(context.Background())
		out := own.String() + fmt.Sprintf("%v %+v %#v %v %+v", cfg.Auth, cfg.Auth, cfg.Auth, err, c.Stats())
		if strings.Contains(out, canary) {
			t.Errorf("the token is in %s", out)
		}
	})
	for _, e := range []string{"https://u:" + canary + "@h", "ftp://u:" + canary + "@h", "https://u:" + canary + "@h:bad port"} {
		_, err := New(Config{Endpoints: []string{e}})
		if err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%v", err)
		}
	}
}

func TestHeaders(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	var auth []string
	w := &wire{answer: func(_ int, r *http.Request, _ []entry) (int, map[string]string, string) {
		auth = append(auth, r.Header.Get("Authorization"))
		if r.Header.Get("X-Scope-OrgID") != "shop" || r.Header.Get("X-More") != "1" || r.Header.Get("Content-Encoding") != "" || r.Header.Get("Content-Type") != "application/x-protobuf" || r.URL.Path != "/otlp/v1/logs" {
			t.Errorf("%v", r.Header)
		}
		return 200, nil, ""
	}}
	simulate(t, w, Config{Auth: Auth{TokenFile: file}, Tenant: "shop", Headers: map[string]string{"X-More": "1"}, NoCompression: true}, func(c *Client) {
		for _, s := range []string{"first", "second"} {
			write(s + "\n")
			c.Logger().Info("m")
			flush(t, c)
		}
		os.Remove(file) // a moment without a token loses nothing
		c.Logger().Info("m")
		pass(10 * time.Second)
		write("third")
		flush(t, c)
		if fmt.Sprint(auth) != "[Bearer first Bearer second Bearer third]" || len(w.taken) != 3 {
			t.Errorf("%v", auth)
		}
	})
	var basic string
	w = &wire{answer: func(_ int, r *http.Request, _ []entry) (int, map[string]string, string) {
		u, p, _ := r.BasicAuth()
		basic = u + " " + p
		return 200, nil, ""
	}}
	simulate(t, w, Config{Auth: Auth{User: "u", Password: "p"}}, func(c *Client) {
		c.Logger().Info("m")
		flush(t, c)
		if basic != "u p" {
			t.Error(basic)
		}
	})
}

// What only a real connection does: reset amid the request, amid the answer,
// silence.
func TestBrokenConnections(t *testing.T) {
	abort := func(http.ResponseWriter, *http.Request, *gateway, []byte) bool { panic(http.ErrAbortHandler) }
	silent := make(chan bool)
	g := newGateway(t)
	defer close(silent)
	g.script = append(g.script, abort, abort,
		func(w http.ResponseWriter, _ *http.Request, _ *gateway, _ []byte) bool { // half an answer
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("x"))
			return false
		},
		func(_ http.ResponseWriter, r *http.Request, _ *gateway, _ []byte) bool {
			select {
			case <-silent:
			case <-r.Context().Done():
			}
			return false
		},
		func(w http.ResponseWriter, r *http.Request, _ *gateway, _ []byte) bool { // a reset without a word
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				conn.(*net.TCPConn).SetLinger(0)
				conn.Close()
			}
			return false
		})
	c := start(t, Config{Endpoints: []string{g.URL}, Timeout: 300 * time.Millisecond, MaxBackoff: 10 * time.Millisecond})
	for range 1000 {
		c.Logger().Info(strings.Repeat("y", 1000))
	}
	flush(t, c)
	if st := c.Stats(); st.Delivered != 1000 || st.Retries < 5 || len(g.got()) != 1000 {
		t.Errorf("%d records, %+v", len(g.got()), st)
	}
}

// A redirect is not followed: records, and a token, stay with whom they are for.
func TestRedirect(t *testing.T) {
	other := newGateway(t)
	g := newGateway(t)
	g.script = append(g.script, func(w http.ResponseWriter, r *http.Request, _ *gateway, _ []byte) bool {
		http.Redirect(w, r, other.URL+"/otlp/v1/logs", http.StatusTemporaryRedirect)
		return false
	})
	c := start(t, Config{Endpoints: []string{g.URL}, Auth: Auth{Token: "t"}})
	c.Logger().Info("m")
	flush(t, c)
	if other.asked() != 0 || g.asked() != 2 {
		t.Errorf("%d requests there", other.asked())
	}
}

func TestProxy(t *testing.T) {
	g := newGateway(t)
	proxied := 0
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxied++
		if r.URL.Host != "gateway.example:7410" {
			t.Errorf("%s", r.URL)
		}
		g.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	c := start(t, Config{Endpoints: []string{"http://gateway.example:7410"}, Proxy: http.ProxyURL(must(parseEndpoint(proxy.URL)))})
	c.Logger().Info("m")
	flush(t, c)
	if proxied != 1 || len(g.got()) != 1 {
		t.Errorf("%d", proxied)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestEndpoints(t *testing.T) {
	for in, want := range map[string]string{
		"http://h:7410":             "http://h:7410/otlp/v1/logs",
		"http://h:7410/":            "http://h:7410/otlp/v1/logs",
		"http://h:4318":             "http://h:4318/v1/logs",
		"https://h/otlp":            "https://h/otlp/v1/logs",
		"https://h/otlp/v1/logs":    "https://h/otlp/v1/logs",
		"https://h/v1/logs/?a=b#c":  "https://h/v1/logs?a=b",
		"https://[::1]:7410/prefix": "https://[::1]:7410/prefix/v1/logs",
	} {
		u, err := parseEndpoint(in)
		if err != nil || u.String() != want {
			t.Errorf("%s: %v, %v", in, u, err)
		}
	}
	for _, in := range []string{"", "h:7410", "http://", "ftp://h", "http://u@h", "http://h:99999999999999999999x"} {
		if _, err := parseEndpoint(in); err == nil {
			t.Errorf("%q is taken", in)
		}
	}
	for _, tt := range []struct {
		env  map[string]string
		want string
	}{
		{nil, "[]"},
		{map[string]string{"WEIR_ENDPOINTS": "http://a, http://b,"}, "[http://a http://b]"},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}, "[http://c:4318/v1/logs]"},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://d/v1/logs"}, "[http://d/v1/logs]"},
	} {
		if got := fmt.Sprint(endpointsFromEnv(func(k string) string { return tt.env[k] })); got != tt.want {
			t.Errorf("%v: %s", tt.env, got)
		}
	}
}

func TestBadConfig(t *testing.T) {
	_, err := New(Config{BatchWait: -1, MemoryBytes: -1, Balance: 9, WhenFull: 9, Headers: map[string]string{"a b": "c", "d": "e\nf"}, Tenant: "a\r\nb", Spool: Spool{Dir: "x", MaxBytes: 5, Sync: 9}})
	for _, want := range []string{"no endpoint", "BatchWait", "MemoryBytes", "Balance", "WhenFull", `"a b"`, `"d"`, "Tenant", "Spool.MaxBytes", "Spool.Sync"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
	if _, err := os.Stat("x"); err == nil {
		t.Error("a spool was made")
	}
}
