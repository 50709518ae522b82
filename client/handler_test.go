package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"math"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"time"
)

var expired = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func flush(t testing.TB, c *Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := c.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// one logs one record and returns what the gateway got.
func one(t *testing.T, cfg Config, f func(*slog.Logger)) entry {
	t.Helper()
	g := newGateway(t)
	cfg.Endpoints = []string{g.URL}
	c := start(t, cfg)
	f(c.Logger())
	flush(t, c)
	if n := len(g.got()); n != 1 {
		t.Fatalf("%d records, want 1", n)
	}
	return g.got()[0]
}

func TestSlogtest(t *testing.T) {
	g := newGateway(t)
	c := start(t, Config{Endpoints: []string{g.URL}})
	err := slogtest.TestHandler(c.Handler(), func() []map[string]any {
		flush(t, c)
		var out []map[string]any
		for _, e := range g.got() {
			m := map[string]any{slog.LevelKey: e.Severity, slog.MessageKey: e.Body}
			if e.Time != 0 {
				m[slog.TimeKey] = time.Unix(0, int64(e.Time))
			}
			maps.Copy(m, e.Attrs)
			out = append(out, m)
		}
		return out
	})
	if err != nil {
		t.Error(err)
	}
}

type valuer struct{ v slog.Value }

func (v valuer) LogValue() slog.Value { return v.v }

type panics struct{}

func (panics) MarshalJSON() ([]byte, error) { panic("oh") }

type nilError struct{}

func (e *nilError) Error() string { return fmt.Sprint(*e) }

type text struct{}

func (text) MarshalText() ([]byte, error) { return []byte("a text"), nil }

type number int

func TestValues(t *testing.T) {
	at := time.Date(2026, 11, 23, 1, 2, 3, 4, time.UTC)
	for _, tt := range []struct {
		in   any
		want any
	}{
		{"s", "s"},
		{"a\xffb", "a\uFFFDb"},
		{1, int64(1)},
		{int64(math.MinInt64), int64(math.MinInt64)},
		{uint64(math.MaxUint64), "18446744073709551615"},
		{uint8(7), int64(7)},
		{1.5, 1.5},
		{math.Inf(1), math.Inf(1)},
		{true, true},
		{false, false},
		{1500 * time.Millisecond, int64(1500000000)},
		{at, "2026-11-23T01:02:03.000000004Z"},
		{nil, nil},
		{errors.New("broken"), "broken"},
		{(*nilError)(nil), "<nil>"},
		{panics{}, "!PANIC: oh"},
		{[]byte{0, 255}, []byte{0, 255}},
		{text{}, "a text"},
		{number(5), int64(5)},
		{[]string{"a", "<b>"}, `["a","<b>"]`},
		{map[string]int{"x": 1}, `{"x":1}`},
		{struct{ A, B int }{1, 2}, `{"A":1,"B":2}`},
		{json.Number("12345678901234567890123"), "12345678901234567890123"},
		{func() {}, "!ERROR:json: unsupported type: func()"},
		{valuer{slog.IntValue(3)}, int64(3)},
		{valuer{slog.AnyValue(valuer{slog.StringValue("deep")})}, "deep"},
		{valuer{slog.GroupValue(slog.Int("a", 1), slog.Group("g", slog.Int("b", 2)))}, map[string]any{"a": int64(1), "g": map[string]any{"b": int64(2)}}},
	} {
		e := one(t, Config{}, func(l *slog.Logger) { l.Info("m", "k", tt.in) })
		if !reflect.DeepEqual(e.Attrs, map[string]any{"k": tt.want}) {
			t.Errorf("%#v: %#v, want %#v", tt.in, e.Attrs["k"], tt.want)
		}
	}
}

func TestSeverity(t *testing.T) {
	for _, tt := range []struct {
		l    slog.Level
		n    int
		text string
	}{
		{-100, 1, "trace"}, {LevelTrace, 1, "trace"}, {slog.LevelDebug, 5, "debug"}, {-1, 8, "debug"}, {slog.LevelInfo, 9, "info"}, {2, 11, "info"},
		{slog.LevelWarn, 13, "warn"}, {slog.LevelError, 17, "error"}, {11, 20, "error"}, {LevelFatal, 21, "fatal"}, {100, 24, "fatal"},
	} {
		e := one(t, Config{Level: slog.Level(-1000)}, func(l *slog.Logger) { l.Log(t.Context(), tt.l, "m") })
		if e.Severity != tt.n || e.Text != tt.text {
			t.Errorf("%v: %d %s, want %d %s", tt.l, e.Severity, e.Text, tt.n, tt.text)
		}
	}
}

func TestLimitsOfARecord(t *testing.T) {
	long := strings.Repeat("ä", 600<<10)
	e := one(t, Config{}, func(l *slog.Logger) { l.Info(long) })
	if len(e.Body) > 1<<20 || len(e.Body) < 1<<20-2 || !strings.HasPrefix(long, e.Body) || e.Attrs["weir.partial"] != true {
		t.Errorf("body of %d bytes, %v", len(e.Body), e.Attrs)
	}
	e = one(t, Config{}, func(l *slog.Logger) { l.Info("m", "v", long) })
	if v := e.Attrs["v"].(string); len(v) != maxValue || e.Attrs["weir.partial"] != nil {
		t.Errorf("value of %d bytes", len(v))
	}
	var many []any
	for i := range 200 {
		many = append(many, slog.Int(fmt.Sprint("k", i), i))
	}
	e = one(t, Config{}, func(l *slog.Logger) { l.Info("m", many...) })
	if len(e.Attrs) != maxAttrs || e.Dropped != 200-maxAttrs {
		t.Errorf("%d attributes, %d dropped", len(e.Attrs), e.Dropped)
	}
	e = one(t, Config{}, func(l *slog.Logger) { l.With(many[:100]...).WithGroup("g").With(many[100:]...).Info("m", many...) })
	if n := len(e.Attrs) - 1 + len(e.Attrs["g"].(map[string]any)); n != maxAttrs || e.Dropped != 400-maxAttrs {
		t.Errorf("%d attributes, %d dropped", n, e.Dropped)
	}
	// What is not UTF-8 is kept as it is in the message.
	if e = one(t, Config{}, func(l *slog.Logger) { l.Info("a\xff\x00b") }); e.Body != "a\xff\x00b" {
		t.Errorf("body %q", e.Body)
	}
	// A value that contains itself comes to an end.
	e = one(t, Config{}, func(l *slog.Logger) { l.Info("m", "k", endless{}) })
	if e.Dropped != 1 {
		t.Errorf("%d dropped", e.Dropped)
	}
}

type endless struct{}

func (endless) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("again", endless{}), slog.Int("n", 1))
}

func TestReplaceAttr(t *testing.T) {
	var paths []string
	e := one(t, Config{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		paths = append(paths, strings.Join(append(groups[:len(groups):len(groups)], a.Key), "."))
		switch a.Key {
		case "password":
			return slog.String("password", "***")
		case "gone":
			return slog.Attr{}
		}
		return a
	}}, func(l *slog.Logger) {
		l.With("password", "x").WithGroup("g").With("a", 1).WithGroup("h").Info("m", "gone", 1, slog.Group("i", "password", "y"))
	})
	want := map[string]any{"password": "***", "g": map[string]any{"a": int64(1), "h": map[string]any{"i": map[string]any{"password": "***"}}}}
	if !reflect.DeepEqual(e.Attrs, want) {
		t.Errorf("%v", e.Attrs)
	}
	if got := fmt.Sprint(paths); got != "[password g.a g.h.gone g.h.i.password]" {
		t.Error(got)
	}
}

func TestTrace(t *testing.T) {
	const header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	tr, ok := ParseTraceparent(header)
	if !ok {
		t.Fatal("not parsed")
	}
	e := one(t, Config{}, func(l *slog.Logger) { l.InfoContext(WithTrace(t.Context(), tr), "m") })
	if e.TraceID != "4bf92f3577b34da6a3ce929d0e0e4736" || e.SpanID != "00f067aa0ba902b7" || e.Flags != 1 {
		t.Errorf("%+v", e)
	}
	e = one(t, Config{}, func(l *slog.Logger) { l.Info("m") })
	if e.TraceID != "" || e.SpanID != "" {
		t.Errorf("%+v", e)
	}
	for _, bad := range []string{"", header[:54], header + "0", "ff" + header[2:], strings.ToUpper(header), strings.Replace(header, "4bf92f3577b34da6a3ce929d0e0e4736", strings.Repeat("0", 32), 1), strings.Replace(header, "-0", "x0", 1)} {
		if _, ok := ParseTraceparent(bad); ok {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, ok := ParseTraceparent("01" + header[2:] + "-more"); !ok {
		t.Error("a later version is refused")
	}
}

func TestSource(t *testing.T) {
	e := one(t, Config{AddSource: true}, func(l *slog.Logger) { l.Info("m") })
	if f, _ := e.Attrs["code.file.path"].(string); !strings.HasSuffix(f, "handler_test.go") || e.Attrs["code.line.number"].(int64) < 100 || !strings.Contains(e.Attrs["code.function.name"].(string), "TestSource") {
		t.Errorf("%v", e.Attrs)
	}
}

func TestResource(t *testing.T) {
	env := map[string]string{"POD_NAME": "cart-1", "POD_NAMESPACE": "shop", "NODE_NAME": "n1", "POD_UID": "u", "CONTAINER_NAME": "app",
		"OTEL_RESOURCE_ATTRIBUTES": "team=a%20b,k8s.node.name=n2,bad,x=%zz", "OTEL_SERVICE_NAME": "cart"}
	c := Config{Resource: map[string]string{"service.version": "", "env": "prod"}}
	got := c.resource(func(k string) string { return env[k] })
	want := map[string]string{"service.name": "cart", "k8s.pod.name": "cart-1", "k8s.namespace.name": "shop", "k8s.node.name": "n2",
		"k8s.pod.uid": "u", "k8s.container.name": "app", "team": "a b", "env": "prod"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	c.Service = "mine"
	if got := c.resource(func(string) string { return "" }); got["service.name"] != "mine" || got["host.name"] == "" || got["k8s.pod.name"] != "" {
		t.Errorf("%v", got)
	}
	e := one(t, Config{Service: "s", Resource: map[string]string{"a": "b"}}, func(l *slog.Logger) { l.Info("m") })
	if e.Resource["service.name"] != "s" || e.Resource["a"] != "b" {
		t.Errorf("%v", e.Resource)
	}
}

// What slog.SetDefault does to package log must not come round to the client.
func TestAlsoDefault(t *testing.T) {
	old, stderr := slog.Default(), os.Stderr
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	os.Stderr = w
	defer func() {
		os.Stderr = stderr
		slog.SetDefault(old)
		log.SetOutput(stderr)
		log.SetFlags(log.LstdFlags)
	}()
	e := one(t, Config{Also: old.Handler(), Logger: slog.New(slog.DiscardHandler)}, func(l *slog.Logger) {
		slog.SetDefault(l)
		slog.Info("to both", "a", 1)
	})
	w.Close()
	out, _ := io.ReadAll(r)
	if e.Body != "to both" || strings.Count(string(out), "to both") != 1 {
		t.Errorf("%q, %q", e.Body, out)
	}
}

func TestAlso(t *testing.T) {
	var b strings.Builder
	e := one(t, Config{Level: slog.LevelWarn, Also: slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})}, func(l *slog.Logger) {
		l = l.With("a", 1).WithGroup("g")
		l.Debug("only here", "b", 2)
		l.Warn("everywhere", "b", 2)
	})
	if e.Body != "everywhere" || strings.Count(b.String(), "\n") != 2 || !strings.Contains(b.String(), `"a":1,"g":{"b":2}`) {
		t.Errorf("%+v, %s", e, b.String())
	}
}

// Many goroutines; each record once, with an id of its own.
func TestConcurrent(t *testing.T) {
	g := newGateway(t)
	c := start(t, Config{Endpoints: []string{g.URL}, BatchBytes: 20 << 10, BatchWait: time.Millisecond, Concurrency: 1})
	const workers, each = 16, 500
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			l := c.Logger().With("w", w)
			for i := range each {
				l.Info("m", "i", i)
			}
		})
	}
	wg.Wait()
	flush(t, c)
	uids := make(map[string]bool)
	seen := make(map[int64]map[int64]bool)
	for _, e := range g.got() {
		if len(e.UID) != 32 || uids[e.UID] {
			t.Fatalf("id %q", e.UID)
		}
		uids[e.UID] = true
		w, i := e.Attrs["w"].(int64), e.Attrs["i"].(int64)
		if seen[w] == nil {
			seen[w] = make(map[int64]bool)
		}
		if seen[w][i] {
			t.Fatalf("twice: %d %d", w, i)
		}
		seen[w][i] = true
	}
	if len(uids) != workers*each {
		t.Fatalf("%d records", len(uids))
	}
	if st := c.Stats(); st.Logged != workers*each || st.Delivered != workers*each || st.Waiting != 0 || st.MemoryBytes != 0 {
		t.Errorf("%+v", st)
	}
}
