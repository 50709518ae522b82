package output

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testTime is the time of the first record of every test batch.
const testTime = int64(1795000000e9)

// batchOf returns a frozen batch with one record per body. A body that begins
// with a brace is flagged as a JSON object.
func batchOf(stream *record.Stream, bodies ...string) *record.Batch {
	b := record.NewBatch(nil)
	si := b.AddStream(record.StreamRef{Stream: stream, Generation: record.ID{Hi: 1, Lo: 2}})
	for i, body := range bodies {
		sp := b.AppendString(body)
		r := record.Record{
			Time: testTime + int64(i)*1e6, Observed: testTime + int64(i)*1e6,
			Start: int64(sp.Off), End: int64(sp.End()), Body: sp, Source: sp, Stream: si,
		}
		if strings.HasPrefix(body, "{") {
			r.Flags |= record.JSONObject | record.ValidUTF8
		}
		b.Add(r)
	}
	b.Freeze()
	return b
}

var testStream = record.NewStream([]record.Attr{
	{Name: record.AttrNamespace, Value: "shop"}, {Name: record.AttrPod, Value: "api-1"},
	{Name: record.AttrPodUID, Value: "8c5f"}, {Name: record.AttrContainer, Value: "api"},
	{Name: record.AttrStream, Value: "stdout"}, {Name: record.AttrInput, Value: "kubernetes"},
}, nil, nil)

// partsOf returns parts of one batch each.
func partsOf(batches ...*record.Batch) []record.Part {
	var ps []record.Part
	for _, b := range batches {
		ps = append(ps, record.NewPart(b, b.Live()))
	}
	return ps
}

func someParts(bodies ...string) []record.Part { return partsOf(batchOf(testStream, bodies...)) }

// lines returns n distinct bodies.
func lines(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("line %d", i)
	}
	return out
}

// bodyOf reads and decompresses a request.
func bodyOf(t testing.TB, r *http.Request) []byte {
	t.Helper()
	p, err := io.ReadAll(r.Body)
	if err != nil {
		t.Errorf("read the request: %v", err)
	}
	switch enc := r.Header.Get("Content-Encoding"); enc {
	case "":
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(p))
		if err != nil {
			t.Errorf("gzip: %v", err)
			return nil
		}
		if p, err = io.ReadAll(z); err != nil {
			t.Errorf("gzip: %v", err)
		}
	case "zstd":
		z, err := zstd.NewReader(bytes.NewReader(p), zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Errorf("zstd: %v", err)
			return nil
		}
		defer z.Close()
		if p, err = io.ReadAll(z); err != nil {
			t.Errorf("zstd: %v", err)
		}
	default:
		t.Errorf("unexpected Content-Encoding %q", enc)
	}
	return p
}

// server starts a server that ends with the test.
func server(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// sender is every output.
type sender interface {
	Send(context.Context, []record.Part) (ack.Result, error)
	Probe(context.Context) error
	Close() error
}

var _ = []sender{(*JSONL)(nil), (*File)(nil), (*Stdout)(nil), (*Loki)(nil), (*OTLP)(nil)}

func newJSONL(t testing.TB, c JSONLConfig) *JSONL {
	t.Helper()
	o, err := NewJSONL(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// wantKind checks that err is an *ack.SendError of that kind.
func wantKind(t testing.TB, err error, kind ack.ErrorKind) *ack.SendError {
	t.Helper()
	var se *ack.SendError
	if !errors.As(err, &se) {
		t.Fatalf("error %v (%T), want an *ack.SendError of kind %v", err, err, kind)
	}
	if se.Kind != kind {
		t.Fatalf("kind %v of %q, want %v", se.Kind, se, kind)
	}
	return se
}

// clock is a settable clock.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Unix(1795000000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// logTo returns a logger and what it wrote.
func logTo() (*slog.Logger, *lockedBuffer) {
	b := new(lockedBuffer)
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})), b
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// quiet is the log of servers that are meant to fail handshakes.
var quiet = log.New(io.Discard, "", 0)
