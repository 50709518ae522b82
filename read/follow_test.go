package read

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/show"
)

// fakeLoki is a server with streams {pod="p0"} …, whose tail can be cut, and
// leave out lines.
type fakeLoki struct {
	mu       sync.Mutex
	lines    []fakeLine
	subs     map[chan fakeLine]bool
	cut      chan struct{} // closed to cut all tails
	down     bool
	noSocket bool
	leaveOut func(n int) bool // of the nth line of a tail
	dials    int
	queries  int
}

type fakeLine struct {
	time int64
	pod  string
	text string
}

func newFakeLoki(t *testing.T) (*fakeLoki, *Client) {
	l := &fakeLoki{subs: make(map[chan fakeLine]bool), cut: make(chan struct{})}
	s := httptest.NewServer(l)
	tr := &http.Transport{}
	t.Cleanup(func() {
		l.cutAll()
		tr.CloseIdleConnections()
		s.Close()
	})
	return l, &Client{HTTP: &http.Client{Transport: tr}, Base: s.URL, What: "the fake", Page: 500, Agent: "test"}
}

// write adds a line, now.
func (l *fakeLoki) write(pod, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := fakeLine{time.Now().UnixNano(), pod, text}
	l.lines = append(l.lines, line)
	for ch := range l.subs {
		ch <- line
	}
}

func (l *fakeLoki) cutAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.cut)
	l.cut = make(chan struct{})
}

func (l *fakeLoki) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	down := l.down
	l.mu.Unlock()
	if down {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	switch r.URL.Path {
	case "/loki/api/v1/tail":
		l.tail(w, r)
	case "/loki/api/v1/series":
		l.mu.Lock()
		defer l.mu.Unlock()
		set := make(map[string]bool)
		var data []map[string]string
		for _, line := range l.lines {
			if !set[line.pod] {
				set[line.pod] = true
				data = append(data, map[string]string{"pod": line.pod})
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": data})
	case "/loki/api/v1/labels":
		_, _ = w.Write([]byte(`{"status":"success","data":["pod"]}`))
	case "/loki/api/v1/query_range":
		l.query(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (l *fakeLoki) query(w http.ResponseWriter, r *http.Request) {
	start, _ := strconv.ParseInt(r.FormValue("start"), 10, 64)
	stop, _ := strconv.ParseInt(r.FormValue("end"), 10, 64)
	limit, _ := strconv.Atoi(r.FormValue("limit"))
	expr, err := logql.ParseLog(r.FormValue("query"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queries++
	var found []fakeLine
	for _, line := range l.lines {
		if line.time >= start && line.time < stop && expr.Selector().Stream([]logql.Label{{Name: "pod", Value: line.pod}}) == logql.Yes {
			found = append(found, line)
		}
	}
	if r.FormValue("direction") == "backward" {
		slices.Reverse(found)
	}
	found = found[:min(len(found), limit)]
	fmt.Fprintf(w, `{"status":"success","data":{"resultType":"streams","result":%s}}`, streamsOf(found))
}

func streamsOf(lines []fakeLine) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, line := range lines {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"stream":{"pod":%q},"values":[["%d",%q]]}`, line.pod, line.time, line.text)
	}
	return b.String() + "]"
}

func (l *fakeLoki) tail(w http.ResponseWriter, r *http.Request) {
	if l.noSocket {
		http.Error(w, "no such page", http.StatusNotFound)
		return
	}
	ch := make(chan fakeLine, 100_000)
	l.mu.Lock()
	l.dials++
	cut := l.cut
	l.subs[ch] = true
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.subs, ch)
		l.mu.Unlock()
	}()
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	ctx := conn.CloseRead(context.Background())
	for n := 0; ; n++ {
		var line fakeLine
		select {
		case line = <-ch:
		case <-cut:
			return
		case <-ctx.Done():
			return
		}
		msg := fmt.Sprintf(`{"streams":%s}`, streamsOf([]fakeLine{line}))
		if l.leaveOut != nil && l.leaveOut(n) {
			msg = `{"streams":[],"dropped_entries":[{"labels":{"dropped":"1"},"timestamp":"1"}]}`
		}
		if conn.Write(ctx, websocket.MessageText, []byte(msg)) != nil {
			return
		}
	}
}

// follower runs a Follow and collects what it passes on.
type follower struct {
	mu      sync.Mutex
	got     map[string]int
	order   []string
	notices []string
	came    chan struct{}
	cancel  func()
	done    chan error
}

func follow(t *testing.T, c *Client, tail int, change func(*Follow)) *follower {
	t.Helper()
	expr, err := logql.ParseLog(`{pod=~".+"}`)
	if err != nil {
		t.Fatal(err)
	}
	fl := &follower{got: make(map[string]int), came: make(chan struct{}, 1), done: make(chan error, 1)}
	f := &Follow{Client: c, Expr: expr, Tail: tail, Live: true}
	f.Put = func(_ context.Context, entries []show.Entry) error {
		fl.mu.Lock()
		defer fl.mu.Unlock()
		for _, e := range entries {
			fl.got[e.Line]++
			fl.order = append(fl.order, e.Line)
		}
		select {
		case fl.came <- struct{}{}:
		default:
		}
		return nil
	}
	f.Notice = func(text string) {
		fl.mu.Lock()
		defer fl.mu.Unlock()
		fl.notices = append(fl.notices, text)
	}
	if change != nil {
		change(f)
	}
	ctx, cancel := context.WithCancel(t.Context())
	fl.cancel = cancel
	go func() { fl.done <- f.Run(ctx) }()
	t.Cleanup(func() { cancel() })
	return fl
}

// wait waits until so many different lines came, and checks that none came twice.
func (f *follower) wait(t *testing.T, n int) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		f.mu.Lock()
		have := len(f.got)
		f.mu.Unlock()
		if have >= n {
			break
		}
		select {
		case <-f.came:
		case err := <-f.done:
			t.Fatalf("it ended with %d of %d lines: %v", have, n, err)
		case <-deadline:
			t.Fatalf("%d of %d lines came; %q", have, n, f.notices)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for line, times := range f.got {
		if times != 1 {
			t.Fatalf("%s came %d times", line, times)
		}
	}
	if len(f.got) != n {
		t.Fatalf("%d lines, want %d", len(f.got), n)
	}
}

func (l *fakeLoki) connected(t *testing.T, dials int) {
	t.Helper()
	for range 3000 {
		l.mu.Lock()
		n, subs := l.dials, len(l.subs)
		l.mu.Unlock()
		if n >= dials && subs > 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nobody connected")
}

// noLeaks checks at the end, when the server is closed, that no goroutine is left.
func noLeaks(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

func TestFollowHistory(t *testing.T) {
	noLeaks(t)
	l, c := newFakeLoki(t)
	for i := range 100 {
		l.write("a", fmt.Sprintf("a%02d", i))
	}
	l.write("b", "b0")
	f := follow(t, c, 3, nil)
	f.wait(t, 4)
	l.connected(t, 1)
	l.write("a", "a100")
	f.wait(t, 5)
	if got := fmt.Sprint(f.order); got != "[a97 a98 a99 b0 a100]" {
		t.Error(got)
	}
	f.cancel()
	if err := <-f.done; err != context.Canceled {
		t.Error(err)
	}
}

// Connections break, and no line is lost or doubled; nor does the beginning come
// again that --tail left out.
func TestFollowCuts(t *testing.T) {
	noLeaks(t)
	l, c := newFakeLoki(t)
	for i := range 50 {
		l.write("old", fmt.Sprintf("old %d", i))
	}
	f := follow(t, c, 1, nil)
	f.wait(t, 1)
	n := 1
	for round := range 4 {
		l.connected(t, round+1)
		for i := range 200 {
			l.write(fmt.Sprintf("p%d", i%7), fmt.Sprintf("%d/%d", round, i))
			if i == 100 {
				l.cutAll()
			}
			n++
		}
	}
	f.wait(t, n)
	if len(f.notices) < 4 {
		t.Errorf("notices: %q", f.notices)
	}
	f.cancel()
	<-f.done
}

// The server is away for a while.
func TestFollowDown(t *testing.T) {
	noLeaks(t)
	l, c := newFakeLoki(t)
	l.write("a", "1")
	f := follow(t, c, 10, nil)
	f.wait(t, 1)
	l.mu.Lock()
	l.down = true
	l.mu.Unlock()
	l.cutAll()
	l.write("a", "2")
	time.Sleep(600 * time.Millisecond)
	l.write("a", "3")
	l.mu.Lock()
	l.down = false
	l.mu.Unlock()
	f.wait(t, 3)
	f.cancel()
	<-f.done
	if text := strings.Join(f.notices, "\n"); strings.Count(text, "is lost") != 1 || strings.Count(text, "is back") != 1 {
		t.Errorf("notices:\n%s", text)
	}
}

// What a server left out, as it came too fast, is read again.
func TestFollowDropped(t *testing.T) {
	noLeaks(t)
	l, c := newFakeLoki(t)
	l.leaveOut = func(n int) bool { return n%10 == 3 }
	f := follow(t, c, 10, nil)
	l.connected(t, 1)
	for i := range 95 {
		l.write("a", strconv.Itoa(i))
	}
	f.wait(t, 95)
	f.cancel()
	<-f.done
	if len(f.notices) == 0 || !strings.Contains(f.notices[0], "too fast") {
		t.Errorf("notices: %q", f.notices)
	}
}

// A proxy that lets no WebSocket through.
func TestFollowPolls(t *testing.T) {
	noLeaks(t)
	l, c := newFakeLoki(t)
	l.noSocket = true
	l.write("a", "1")
	f := follow(t, c, 10, nil)
	f.wait(t, 1)
	for i := range 20 {
		l.write("a", fmt.Sprint("more ", i))
	}
	f.wait(t, 21)
	f.cancel()
	<-f.done
}

func TestFollowUntil(t *testing.T) {
	noLeaks(t)
	l, c := newFakeLoki(t)
	l.write("a", "1")
	f := follow(t, c, -1, func(f *Follow) { f.Until = time.Now().Add(-time.Nanosecond) })
	if err := <-f.done; err != nil {
		t.Fatal(err)
	}
	f.wait(t, 1)
}

func TestFollowRefused(t *testing.T) {
	noLeaks(t)
	l, c := newFakeLoki(t)
	l.down = true
	f := follow(t, c, 1, nil)
	if err := <-f.done; err == nil || !strings.Contains(err.Error(), "not ready") {
		t.Error(err)
	}
	c.Base = "http://127.0.0.1:1"
	f = follow(t, c, 1, nil)
	if err := <-f.done; err == nil || !strings.Contains(err.Error(), "the fake cannot be reached") {
		t.Error(err)
	}
}

func TestDecodeFrame(t *testing.T) {
	c := &Client{What: "x"}
	for _, raw := range []string{
		`{"streams":[{"stream":{"a":"b"},"values":[["5","l"]]}],"encodingFlags":["categorize-labels"],"dropped_entries":[{"labels":{"dropped":"7"},"timestamp":"1"},{"labels":{"a":"b"},"timestamp":"1"}]}`,
		`{"dropped_entries":[{"labels":{"a":"b"}},{"labels":{"dropped":"7"}}],"streams":[{"values":[["5","l"]],"stream":{"a":"b"}}]}`,
	} {
		f, err := c.decodeFrame([]byte(raw))
		if err != nil || len(f.entries) != 1 || f.entries[0].Line != "l" || f.entries[0].Time != 5 || f.dropped != 8 {
			t.Errorf("%s: %+v, %v", raw, f, err)
		}
	}
	for _, raw := range []string{``, `{`, `[]`, `{"streams":{}}`, `{"streams":[{"stream":1}]}`, `{"streams":[],"dropped_entries":7}`} {
		if f, err := c.decodeFrame([]byte(raw)); err == nil {
			t.Errorf("%s: %+v", raw, f)
		}
	}
	if f, err := c.decodeFrame([]byte(`{"streams":null}`)); err != nil || len(f.entries) > 0 {
		t.Errorf("%+v, %v", f, err)
	}
}
