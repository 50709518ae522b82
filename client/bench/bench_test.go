package bench

import (
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/weirlog/weir/client"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	sdk "go.opentelemetry.io/otel/sdk/log"
	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

func discard(b testing.TB) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	b.Cleanup(srv.Close)
	return srv.URL
}

func log5(ctx context.Context, l *slog.Logger) {
	l.LogAttrs(ctx, slog.LevelInfo, "request served", slog.String("method", "GET"), slog.String("path", "/cart/items"),
		slog.Int("status", 200), slog.Duration("took", 1500*time.Microsecond), slog.Bool("cached", true))
}

// What a call costs the program, sending included, all over HTTP to a server
// that does nothing.
func BenchmarkLog5(b *testing.B) {
	run := func(b *testing.B, h slog.Handler) {
		l := slog.New(h)
		b.ReportAllocs()
		for b.Loop() {
			log5(b.Context(), l)
		}
	}
	b.Run("weir", func(b *testing.B) {
		c, err := client.New(client.Config{Endpoints: []string{discard(b)}, WhenFull: client.Block})
		if err != nil {
			b.Fatal(err)
		}
		run(b, c.Handler())
		c.Close(context.Background())
		b.ReportMetric(float64(c.Stats().Delivered)/float64(b.N), "delivered/op")
	})
	b.Run("weir-spool", func(b *testing.B) {
		c, err := client.New(client.Config{Endpoints: []string{discard(b)}, WhenFull: client.Block, Spool: client.Spool{Dir: b.TempDir()}})
		if err != nil {
			b.Fatal(err)
		}
		run(b, c.Handler())
		c.Close(context.Background())
		b.ReportMetric(float64(c.Stats().Delivered)/float64(b.N), "delivered/op")
	})
	b.Run("otelslog", func(b *testing.B) {
		exp, err := otlploghttp.New(b.Context(), otlploghttp.WithEndpointURL(discard(b)+"/v1/logs"), otlploghttp.WithCompression(otlploghttp.GzipCompression))
		if err != nil {
			b.Fatal(err)
		}
		count := &counter{Exporter: exp}
		p := sdk.NewLoggerProvider(sdk.WithProcessor(sdk.NewBatchProcessor(count)))
		run(b, otelslog.NewHandler("bench", otelslog.WithLoggerProvider(p)))
		p.Shutdown(context.Background())
		b.ReportMetric(float64(count.n)/float64(b.N), "delivered/op") // what does not fit its queue is dropped
	})
	b.Run("slog.JSON", func(b *testing.B) { run(b, slog.NewJSONHandler(io.Discard, nil)) })
}

type counter struct {
	sdk.Exporter
	n int
}

func (c *counter) Export(ctx context.Context, r []sdk.Record) error {
	c.n += len(r)
	return c.Exporter.Export(ctx, r)
}

// OpenTelemetry's own definition reads what the client sends, and nothing in it is
// unknown.
func TestOracle(t *testing.T) {
	defer goleak.VerifyNone(t)
	var mu sync.Mutex
	var got []*collogspb.ExportLogsServiceRequest
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		p, err := io.ReadAll(z)
		if err != nil {
			t.Error(err)
		}
		m := &collogspb.ExportLogsServiceRequest{}
		if err := proto.Unmarshal(p, m); err != nil {
			t.Error(err)
		}
		if len(m.ProtoReflect().GetUnknown()) > 0 {
			t.Error("unknown fields")
		}
		mu.Lock()
		got = append(got, m)
		mu.Unlock()
	}))
	defer srv.Close()
	c, err := client.New(client.Config{Endpoints: []string{srv.URL}, Service: "cart", Spool: client.Spool{Dir: t.TempDir()}, AddSource: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx := client.WithTrace(context.Background(), client.Trace{TraceID: [16]byte{1}, SpanID: [8]byte{2}, Flags: 1})
	c.Logger().With("a", 1).WithGroup("g").With("b", "two").ErrorContext(ctx, "no answer", "c", 3.5, "d", []byte{4}, "e", true, "f", nil, slog.Group("h", "i", -1))
	if err := c.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 {
		t.Fatalf("%d requests", len(got))
	}
	rl := got[0].ResourceLogs[0]
	r := rl.ScopeLogs[0].LogRecords[0]
	if attr(rl.Resource.Attributes, "service.name").GetStringValue() != "cart" || r.Body.GetStringValue() != "no answer" || r.SeverityNumber != 17 || r.SeverityText != "error" || r.TimeUnixNano == 0 ||
		r.TraceId[0] != 1 || r.SpanId[0] != 2 || r.Flags != 1 || len(attr(r.Attributes, "log.record.uid").GetStringValue()) != 32 || attr(r.Attributes, "a").GetIntValue() != 1 {
		t.Errorf("%v", r)
	}
	g := attr(r.Attributes, "g").GetKvlistValue().GetValues()
	if attr(g, "b").GetStringValue() != "two" || attr(g, "c").GetDoubleValue() != 3.5 || attr(g, "d").GetBytesValue()[0] != 4 || !attr(g, "e").GetBoolValue() || attr(attr(g, "h").GetKvlistValue().GetValues(), "i").GetIntValue() != -1 {
		t.Errorf("%v", g)
	}
	if len(r.ProtoReflect().GetUnknown()) > 0 {
		t.Error("unknown fields of the record")
	}
}

func attr(list []*commonpb.KeyValue, key string) *commonpb.AnyValue {
	for _, kv := range list {
		if kv.Key == key {
			return kv.Value
		}
	}
	return nil
}
