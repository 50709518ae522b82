package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/export"
)

func ask(s http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestExport(t *testing.T) {
	m := &memStore{}
	m.add("", labelsOf("app", "shop"), t0+2, record.Info, "second", labelsOf("trace", "4bf9")...)
	m.add("", labelsOf("app", "api"), t0+1, record.Error, `fi"rst`)
	m.add("", labelsOf("app", "api"), t0+3, record.Error, "third")
	s := newServer(t, Config{Store: m})
	for _, c := range []struct {
		query, want string
		status      int
	}{
		{"format=raw", "fi\"rst\nsecond\nthird\n", 200},
		{"format=raw&query={}", "fi\"rst\nsecond\nthird\n", 200},
		{"", `{"time":"2023-11-14T22:13:20.000000001Z","line":"fi\"rst","labels":{"app":"api"},"metadata":{"detected_level":"error"}}
{"time":"2023-11-14T22:13:20.000000002Z","line":"second","labels":{"app":"shop"},"metadata":{"detected_level":"info","trace":"4bf9"}}
{"time":"2023-11-14T22:13:20.000000003Z","line":"third","labels":{"app":"api"},"metadata":{"detected_level":"error"}}
`, 200},
		{`format=csv&columns=app,trace,line&query={app="shop"}`, "app,trace,line\nshop,4bf9,second\n", 200},
		{"format=csv&query={app=`api`}|=`third`", "time,level,labels,line\n2023-11-14T22:13:20.000000003Z,error,\"{app=\"\"api\"\"}\",third\n", 200},
		{fmt.Sprintf("format=raw&start=%d&end=%d", t0+2, t0+3), "second\n", 200},
		{fmt.Sprintf("format=raw&start=%d&end=%d", t0+2, t0+2), "", 200},
		{"format=xml", "format: no format \"xml\": want jsonl, csv, raw, rows\n", 400},
		{"query={app=shop}", "parse error at line 1, col 6: expected a value in double quotes or backticks, found \"shop\"\n", 400},
		{"query=rate({app=`shop`}[1m])", "", 400},
		{"cut=x", "could not parse 'cut' parameter: \"x\" is no number of nanoseconds\n", 400},
		{"start=x", "could not parse 'start' parameter: \"x\" is neither Unix nanoseconds, Unix seconds nor RFC 3339\n", 400},
	} {
		w := ask(s, "/weir/v1/export?"+strings.ReplaceAll(c.query, " ", "+"))
		if w.Code != c.status || c.want != "" && w.Body.String() != c.want {
			t.Errorf("%s: status %d\n%s\nwant %d\n%s", c.query, w.Code, w.Body, c.status, c.want)
		}
	}
	if w := ask(s, fmt.Sprintf("/weir/v1/stats?start=0&end=%d", t0+10)); w.Code != 200 || !strings.Contains(w.Body.String(), `"bytes":`) {
		t.Errorf("stats: %d %s", w.Code, w.Body)
	}
	if w := ask(s, "/weir/v1/else"); w.Code != 404 {
		t.Errorf("status %d", w.Code)
	}
}

func TestExportIsOfTheTenant(t *testing.T) {
	m := &memStore{}
	m.add("blue", labelsOf("app", "shop"), t0, record.Info, "blue's")
	m.add("red", labelsOf("app", "shop"), t0, record.Info, "red's")
	s := newServer(t, Config{Store: m, Auth: byHeader})
	if w := ask(s, "/weir/v1/export?format=raw"); w.Code != 401 {
		t.Errorf("status %d", w.Code)
	}
	if w := ask(s, "/weir/v1/export?format=raw", "X-Scope-OrgID", "blue"); w.Body.String() != "blue's\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// framesOf reads an answer.
func framesOf(t *testing.T, r io.Reader) (out []export.Frame, err error) {
	t.Helper()
	for {
		var f export.Frame
		if err := export.ReadFrame(r, &f, nil); err != nil {
			return out, err
		}
		out = append(out, f)
		if f.Kind != export.Data {
			return out, nil
		}
	}
}

// Frames end where the time changes, at multiples of cut, and amid a nanosecond
// only when it has very much.
func TestExportFrames(t *testing.T) {
	m := &memStore{}
	line := strings.Repeat("x", 100_000)
	at := int64(t0)
	var want []byte
	for i := range 150 {
		if i < 20 || i >= 100 { // 80 lines of one nanosecond
			at += int64(time.Second)
		}
		l := fmt.Sprint(i, line)
		m.add("", labelsOf("app", "shop"), at, record.Info, l)
		want = append(append(want, l...), '\n')
	}
	s := newServer(t, Config{Store: m})
	for _, cut := range []int64{0, int64(7 * time.Second)} {
		w := ask(s, fmt.Sprintf("/weir/v1/export?format=raw&cut=%d", max(cut, 1<<60)), "Accept", export.FrameType)
		if cut > 0 {
			w = ask(s, fmt.Sprintf("/weir/v1/export?format=raw&cut=%d", cut), "Accept", export.FrameType)
		}
		list, err := framesOf(t, w.Body)
		if err != nil || list[len(list)-1].Kind != export.End {
			t.Fatalf("%d frames: %v", len(list), err)
		}
		var got []byte
		rows, amid := 0, 0
		for i, f := range list[:len(list)-1] {
			got = append(got, f.Data...)
			rows += int(f.Rows)
			next := list[i+1]
			if f.Safe == (next.Kind == export.Data && next.First == f.Last) {
				t.Errorf("frame %d: safe %v, ends at %d; the next one begins at %d", i, f.Safe, f.Last, next.First)
			}
			if !f.Safe {
				amid++
			}
			if cut > 0 && f.First/cut != f.Last/cut {
				t.Errorf("frame %d goes from %d to %d", i, f.First, f.Last)
			}
		}
		if rows != 150 || !bytes.Equal(got, want) || amid < 1 || amid > 2 {
			t.Errorf("%d rows, %d bytes, %d frames amid a nanosecond", rows, len(got), amid)
		}
	}
}

// failing fails after some rows.
type failing struct {
	*memStore
	after int
	err   error
}

func (f failing) Source(tenant string) logql.Source {
	return failingSource{f, f.memStore.Source(tenant)}
}

type failingSource struct {
	f   failing
	src logql.Source
}

func (s failingSource) Select(ctx context.Context, req *logql.Request) (logql.Cursor, error) {
	c, err := s.src.Select(ctx, req)
	return &failingCursor{Cursor: c, f: s.f, ctx: ctx}, err
}

type failingCursor struct {
	logql.Cursor
	f   failing
	n   int
	ctx context.Context
}

func (c *failingCursor) Next(ctx context.Context) (*logql.Block, error) {
	if c.n++; c.n > c.f.after {
		if c.f.err == nil {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return nil, c.f.err
	}
	return c.Cursor.Next(ctx)
}

func manyRows(n int) *memStore {
	m := &memStore{}
	for i := range n {
		m.add("", labelsOf("app", "shop"), t0+int64(i), record.Info, strings.Repeat("x", 1000))
	}
	return m
}

// What goes wrong on the way is told in a frame, and otherwise cuts the answer.
func TestExportFails(t *testing.T) {
	m := manyRows(3000)
	s := newServer(t, Config{Store: failing{m, 2, errors.New("a disk is gone")}})
	list, err := framesOf(t, ask(s, "/weir/v1/export?format=raw", "Accept", export.FrameType).Body)
	if last := list[len(list)-1]; err != nil || len(list) < 2 || last.Kind != export.Error || last.Rows != 500 || string(last.Data) != "internal error" {
		t.Errorf("%d frames, the last %+v; %v", len(list), last, err)
	}
	func() {
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("not cut: %v", v)
			}
		}()
		ask(s, "/weir/v1/export?format=raw")
	}()
	s = newServer(t, Config{Store: failing{m, 0, errors.New("a disk is gone")}})
	if w := ask(s, "/weir/v1/export"); w.Code != 500 {
		t.Errorf("status %d", w.Code)
	}
}

// The time between two pieces is limited, not that of all.
func TestExportTime(t *testing.T) {
	s := newServer(t, Config{Store: failing{manyRows(3000), 2, nil}, Limits: Limits{Time: time.Second}})
	list, err := framesOf(t, ask(s, "/weir/v1/export?format=raw", "Accept", export.FrameType).Body)
	if n := len(list); err != nil || n < 2 || list[n-1].Kind != export.Error || list[n-1].Rows != 504 {
		t.Errorf("%d frames, %v", n, err)
	}
}

// Exports have slots of their own, and leave queries theirs.
func TestExportSlots(t *testing.T) {
	m := &memStore{hold: make(chan struct{}), entered: make(chan struct{})}
	s := newServer(t, Config{Store: m, Limits: Limits{Concurrency: 2, Queue: -1, QueueTime: time.Millisecond}})
	done := make(chan int)
	for range 2 {
		go func() { done <- ask(s, "/weir/v1/export").Code }()
		<-m.entered
	}
	if w := ask(s, "/weir/v1/export"); w.Code != http.StatusTooManyRequests {
		t.Errorf("a third export: status %d", w.Code)
	}
	go func() { done <- get(s, v1+"query_range", form("query", `{app="x"}`)).Code }()
	<-m.entered // it runs
	close(m.hold)
	for range 3 {
		if c := <-done; c != 200 {
			t.Errorf("status %d", c)
		}
	}
}

// A client that goes away ends the reading.
func TestExportClientGone(t *testing.T) {
	s := newServer(t, Config{Store: failing{manyRows(3000), 2, nil}})
	srv := httptest.NewServer(s)
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", srv.URL+"/weir/v1/export?format=raw", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	resp.Body.Close()
	done, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	if err := s.Close(done); err != nil {
		t.Errorf("it still runs: %v", err)
	}
}
