package client

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"
)

// sink takes all requests and does nothing with them.
type sink struct{}

func (sink) RoundTrip(r *http.Request) (*http.Response, error) {
	io.Copy(io.Discard, r.Body)
	return &http.Response{StatusCode: 200, Status: "200 OK", Body: http.NoBody, Header: http.Header{}}, nil
}

func benchClient(b *testing.B, c Config) *Client {
	c.Endpoints = []string{"http://gateway"}
	c.Transport = sink{}
	c.WhenFull = Block
	cl := start(b, c)
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := cl.Close(ctx); err != nil {
			b.Error(err)
		}
		if st := cl.Stats(); st.Dropped > 0 || st.Delivered != st.Logged {
			b.Errorf("%+v", st)
		}
	})
	return cl
}

var errBench = errors.New("connection refused")

func logFive(ctx context.Context, l *slog.Logger) {
	l.LogAttrs(ctx, slog.LevelInfo, "request served", slog.String("method", "GET"), slog.String("path", "/cart/items"),
		slog.Int("status", 200), slog.Duration("took", 1500*time.Microsecond), slog.Bool("cached", true))
}

func BenchmarkLog(b *testing.B) {
	h := map[string]func(*testing.B) slog.Handler{
		"weir": func(b *testing.B) slog.Handler { return benchClient(b, Config{}).Handler() },
		"weir-spool": func(b *testing.B) slog.Handler {
			return benchClient(b, Config{Spool: Spool{Dir: b.TempDir()}}).Handler()
		},
		"slog.JSON": func(b *testing.B) slog.Handler { return slog.NewJSONHandler(io.Discard, nil) },
	}
	for _, name := range []string{"weir", "weir-spool", "slog.JSON"} {
		b.Run(name+"/5attrs", func(b *testing.B) {
			l := slog.New(h[name](b))
			b.ReportAllocs()
			for b.Loop() {
				logFive(b.Context(), l)
			}
		})
		b.Run(name+"/With5+5attrs", func(b *testing.B) {
			l := slog.New(h[name](b)).With("a", 1, "b", "two", "c", 3.0, "d", true, "e", time.Second).WithGroup("g")
			b.ReportAllocs()
			for b.Loop() {
				logFive(b.Context(), l)
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			l := slog.New(h[name](b))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					logFive(b.Context(), l)
				}
			})
		})
	}
}

// The handler allocates nothing for a message with five attributes, with and
// without a trace, attributes of the logger, groups, an error and the source.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool forgets at random under the race detector")
	}
	c := start(t, Config{Endpoints: []string{"http://gateway"}, Transport: sink{}, BatchWait: time.Hour, AddSource: true, MemoryBytes: 256 << 20})
	l := c.Logger()
	ctx := context.Background()
	traced := WithTrace(ctx, Trace{TraceID: [16]byte{1}, SpanID: [8]byte{2}})
	grouped := l.With("a", 1).WithGroup("g").With("b", 2)
	for name, f := range map[string]func(){
		"plain":   func() { logFive(ctx, l) },
		"traced":  func() { logFive(traced, l) },
		"grouped": func() { logFive(ctx, grouped) },
		"error":   func() { l.LogAttrs(ctx, slog.LevelError, "no answer", slog.Any("err", errBench)) },
		"none":    func() { l.Info("nothing else") },
		"off":     func() { l.Debug("not logged", "k", "v") },
	} {
		f()
		// The shard's buffer grows now and then: less than one in a hundred.
		if n := testing.AllocsPerRun(1000, f); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
