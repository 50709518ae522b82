package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
)

// tailClient reads a tail.
type tailClient struct {
	t    *testing.T
	conn *websocket.Conn
	ctx  context.Context
}

type tailMsg struct {
	Streams []struct {
		Stream map[string]string
		Values [][]json.RawMessage
	}
	EncodingFlags  []string
	DroppedEntries []struct {
		Labels    map[string]string
		Timestamp string
	} `json:"dropped_entries"`
}

func tailURL(srv *httptest.Server, kv ...string) string {
	v := url.Values{}
	for i := 0; i < len(kv); i += 2 {
		v.Set(kv[i], kv[i+1])
	}
	return "ws" + strings.TrimPrefix(srv.URL, "http") + v1 + "tail?" + v.Encode()
}

func dialTail(t *testing.T, srv *httptest.Server, header http.Header, kv ...string) *tailClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	conn, resp, err := websocket.Dial(ctx, tailURL(srv, kv...), &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		t.Fatalf("%v %v", err, resp)
	}
	t.Cleanup(func() { conn.CloseNow() })
	conn.SetReadLimit(-1)
	return &tailClient{t, conn, ctx}
}

func (c *tailClient) read() tailMsg {
	c.t.Helper()
	_, b, err := c.conn.Read(c.ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	var m tailMsg
	if err := json.Unmarshal(b, &m); err != nil {
		c.t.Fatalf("%v: %s", err, b)
	}
	return m
}

// lines reads until there are n lines.
func (c *tailClient) lines(n int) (out []string) {
	c.t.Helper()
	for len(out) < n {
		for _, st := range c.read().Streams {
			for _, v := range st.Values {
				var line string
				if err := json.Unmarshal(v[1], &line); err != nil {
					c.t.Fatal(err)
				}
				out = append(out, line)
			}
		}
	}
	return out
}

func tailServer(t *testing.T, m *memStore, l Limits) (*Server, *httptest.Server) {
	s := newServer(t, Config{Store: m, Limits: l})
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return s, srv
}

func TestTail(t *testing.T) {
	m := &memStore{}
	web := labelsOf("app", "web")
	for i := range 10 {
		m.add("", web, t0+int64(i), record.Info, fmt.Sprintf("n=%d", i))
	}
	s, srv := tailServer(t, m, Limits{})
	c := dialTail(t, srv, http.Header{categorizeHeader: {categorizeFlag}}, "query", `{app="web"} | logfmt | n!="8"`, "limit", "3", "start", fmt.Sprint(t0))
	msg := c.read()
	want := `{"streams":[{"stream":{"app":"web"},"values":[["1700000000000000006","n=6",{"structuredMetadata":{"detected_level":"info"},"parsed":{"n":"6"}}],` +
		`["1700000000000000007","n=7",{"structuredMetadata":{"detected_level":"info"},"parsed":{"n":"7"}}],["1700000000000000009","n=9",{"structuredMetadata":{"detected_level":"info"},"parsed":{"n":"9"}}]]}],` +
		`"encodingFlags":["categorize-labels"]}`
	var w tailMsg
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%s", msg), fmt.Sprintf("%s", w); got != want {
		t.Errorf("the past: %s, wanted %s", got, want)
	}
	m.add("", labelsOf("app", "api"), t0+20, record.Info, "n=another's")
	m.add("", web, t0+21, record.Info, "n=8")
	m.add("", web, t0+22, record.Info, "n=22")
	m.add("", web, t0+1, record.Info, "n=late")
	if got := c.lines(2); !slices.Equal(got, []string{"n=22", "n=late"}) && !slices.Equal(got, []string{"n=late", "n=22"}) {
		t.Errorf("live: %q", got)
	}
	waitFor(t, func() bool { st := s.Stats(); return st.Tails == 1 && st.TailRows == 5 })
	c.conn.Close(websocket.StatusNormalClosure, "")
	waitFor(t, func() bool { return s.Stats().Tails == 0 && m.tailCount() == 0 })
}

func (m *memStore) tailCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.tails)
}

// waitFor waits until something that must happen has happened.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}

// TestTailOverlap lets lines come between the subscription and the reading of
// the past: they are sent once.
func TestTailOverlap(t *testing.T) {
	m := &memStore{hold: make(chan struct{}), entered: make(chan struct{}, 1)}
	web := labelsOf("app", "web")
	m.add("", web, t0, record.Info, "before")
	_, srv := tailServer(t, m, Limits{})
	c := dialTail(t, srv, nil, "query", `{app="web"}`, "start", fmt.Sprint(t0))
	<-m.entered
	m.add("", web, t0+1, record.Info, "between")
	m.add("", web, t0+1, record.Info, "between")
	close(m.hold)
	if got := c.lines(3); !slices.Equal(got, []string{"before", "between", "between"}) {
		t.Errorf("%q", got)
	}
	m.add("", web, t0+2, record.Info, "after")
	if got := c.lines(1); !slices.Equal(got, []string{"after"}) {
		t.Errorf("%q", got)
	}
}

func TestTailDelaySorts(t *testing.T) {
	m := &memStore{}
	_, srv := tailServer(t, m, Limits{})
	c := dialTail(t, srv, nil, "query", `{app="web"}`, "delay_for", "1", "start", fmt.Sprint(t0+2*int64(time.Hour)))
	waitFor(t, func() bool { return m.tailCount() == 1 })
	web := labelsOf("app", "web")
	began := time.Now()
	for _, n := range []int64{3, 1, 2} {
		m.add("", web, t0+n, record.Info, fmt.Sprint(n))
	}
	if got := c.lines(3); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("%q", got)
	}
	if d := time.Since(began); d < 900*time.Millisecond {
		t.Errorf("after %v", d)
	}
}

// TestTailTooSlow sends more than the client takes: what is dropped is counted,
// and nothing else is missing.
func TestTailTooSlow(t *testing.T) {
	m := &memStore{}
	s, srv := tailServer(t, m, Limits{TailRows: 10, Write: -1})
	c := dialTail(t, srv, nil, "query", `{app="web"}`, "start", fmt.Sprint(t0+2*int64(time.Hour)))
	waitFor(t, func() bool { return m.tailCount() == 1 })
	web := labelsOf("app", "web")
	pad := strings.Repeat("x", 100_000)
	const n = 600
	for i := range n {
		m.add("", web, t0+int64(i), record.Info, strconv.Itoa(i)+" "+pad)
	}
	rows, dropped := 0, 0
	for rows+dropped < n {
		msg := c.read()
		for _, st := range msg.Streams {
			rows += len(st.Values)
		}
		for _, d := range msg.DroppedEntries {
			k, err := strconv.Atoi(d.Labels["dropped"])
			if err != nil {
				t.Fatal(err)
			}
			dropped += k
		}
	}
	if dropped == 0 || rows+dropped != n {
		t.Errorf("%d sent, %d dropped of %d", rows, dropped, n)
	}
	waitFor(t, func() bool { st := s.Stats(); return st.TailDropped == int64(dropped) && st.TailRows == int64(rows) })
}

// TestTailIsNotRead cuts a client that does not read at all.
func TestTailIsNotRead(t *testing.T) {
	m := &memStore{}
	s, srv := tailServer(t, m, Limits{Write: 20 * time.Millisecond})
	dialTail(t, srv, nil, "query", `{app="web"}`, "start", fmt.Sprint(t0+2*int64(time.Hour)))
	waitFor(t, func() bool { return m.tailCount() == 1 })
	web := labelsOf("app", "web")
	pad := strings.Repeat("x", 1<<20)
	for i := range 40 {
		m.add("", web, t0+int64(i), record.Info, pad)
	}
	waitFor(t, func() bool { return s.Stats().Tails == 0 })
}

func TestTailLimits(t *testing.T) {
	m := &memStore{}
	s, srv := tailServer(t, m, Limits{Tails: 1})
	c := dialTail(t, srv, nil, "query", `{app="web"}`)
	waitFor(t, func() bool { return m.tailCount() == 1 })
	_, resp, err := websocket.Dial(c.ctx, tailURL(srv, "query", `{app="web"}`), nil)
	if err == nil || resp.StatusCode != 429 {
		t.Errorf("%v %v", err, resp)
	}
	_, resp, err = websocket.Dial(c.ctx, tailURL(srv, "query", `{app="web"}`), &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"https://evil.example"}}})
	if err == nil || resp.StatusCode == 101 {
		t.Errorf("another site: %v %v", err, resp)
	}
	done := make(chan error)
	go func() { done <- s.Close(context.Background()) }()
	if _, _, err = c.conn.Read(c.ctx); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("%v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, resp, err = websocket.Dial(c.ctx, tailURL(srv, "query", `{app="web"}`), nil); err == nil || resp.StatusCode != 503 {
		t.Errorf("afterwards: %v %v", err, resp)
	}
}

func TestTailOfTenant(t *testing.T) {
	m := &memStore{}
	s := newServer(t, Config{Store: m, Auth: byHeader})
	srv := httptest.NewServer(s)
	defer srv.Close()
	c := dialTail(t, srv, http.Header{"X-Scope-OrgID": {"blue"}}, "query", `{app="web"}`)
	waitFor(t, func() bool { return m.tailCount() == 1 })
	m.add("red", labelsOf("app", "web"), t0, record.Info, "red")
	m.add("blue", labelsOf("app", "web"), t0, record.Info, "blue", logql.Label{Name: "x", Value: "y"})
	if got := c.lines(1); !slices.Equal(got, []string{"blue"}) {
		t.Errorf("%q", got)
	}
}
