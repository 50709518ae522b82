package gateway

import (
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// A body that nobody wants has no more time than one that is read: the server looks
// for its end, and the connection is held meanwhile.
func TestFailure109_BodiesThatNobodyReadsEnd(t *testing.T) {
	h := newServer(t, &pushStore{}, Config{Limits: Limits{Patience: 200 * time.Millisecond}})
	s := httptest.NewServer(h)
	t.Cleanup(s.Close) // after the parallel ones
	var deflated bytes.Buffer
	z := zlib.NewWriter(&deflated)
	z.Write([]byte("one line\n"))
	z.Close()
	for _, c := range []string{
		"POST /services/collector/ack?channel=01234567-0123-0123-0123-0123456789ab",
		"POST /elastic/_refresh",
		"PUT /elastic/_template/x",
		"GET /elastic/",
		"GET /services/collector/health",
		"POST /grpc.health.v1.Health/Check",
		"POST /opentelemetry.proto.collector.trace.v1.TraceService/Export",
		"GET /api/v1/validate",
		"POST /lines", // deflate says itself where it ends
	} {
		t.Run(c, func(t *testing.T) {
			t.Parallel()
			nc, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			fmt.Fprintf(nc, "%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\nContent-Encoding: deflate\r\n\r\n%s", c, deflated.String())
			nc.SetReadDeadline(time.Now().Add(5 * time.Second))
			if p, err := io.ReadAll(nc); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the connection is held; so far: %q", p)
			}
		})
	}
}

// What a sender's own deadline cuts off is not the server's fault: gRPC's clients
// send again after DEADLINE_EXCEEDED, and never after INTERNAL.
func TestGRPCDeadlineIsNoInternalError(t *testing.T) {
	hold := make(chan struct{})
	store := &pushStore{}
	h, err := NewHTTP(Config{Sink: waitingSink{store, hold}})
	if err != nil {
		t.Fatal(err)
	}
	defer close(hold)
	r := httptest.NewRequest("POST", "/opentelemetry.proto.collector.logs.v1.LogsService/Export", strings.NewReader("\x00\x00\x00\x00\x00"))
	r.ProtoMajor = 2
	r.Header.Set("Content-Type", grpcType)
	r.Header.Set("Grpc-Timeout", "20m")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if got := w.Header().Get("Grpc-Status"); got != "4" {
		t.Errorf("grpc-status %s (%s), want 4 (DEADLINE_EXCEEDED)", got, w.Header().Get("Grpc-Message"))
	}
}

// waitingSink answers when the sender has gone.
type waitingSink struct {
	store *pushStore
	hold  chan struct{}
}

func (s waitingSink) Batch() *record.Batch { return (&StoreSink{Append: s.store.Append}).Batch() }

func (s waitingSink) Take(ctx context.Context, b *record.Batch) ([]Refusal, error) {
	defer b.Abandon()
	select {
	case <-s.hold:
		return nil, nil
	case <-ctx.Done():
		return nil, &ack.SendError{Code: 503, Err: ctx.Err()}
	}
}

// The answer about a document is JSON whatever its names are, with the id as it was
// sent.
func TestElasticDocumentAnswerIsJSON(t *testing.T) {
	h := newServer(t, &pushStore{}, Config{})
	w := post(t, h, "/elastic/l%07gs%C3%A9/_doc/a%20b%2F%07", strings.NewReader(`{"message":"x"}`), "Content-Type", jsType)
	if want := `{"_index":"l\u0007gsé","_id":"a b/\u0007",`; w.Code != http.StatusCreated || !strings.HasPrefix(w.Body.String(), want) {
		t.Errorf("answer %d %s, want %s…", w.Code, w.Body, want)
	}
}

// Who names a window of 8 MiB, or frames of 1 MiB, and then sends nothing more,
// holds what it has sent and no decompressor.
func TestFailure107_DecompressorsWaitForNobody(t *testing.T) {
	h := newServer(t, &pushStore{}, Config{})
	s := httptest.NewServer(h)
	defer s.Close()
	for encoding, begin := range map[string]string{
		"zstd":   "\x28\xb5\x2f\xfd\x00\x68" + "\x02\x00\x10x", // a window of 8 MiB; a block of 128 KiB of one byte
		"snappy": frameMagic + "\x01\x05\x00\x00\x00\x00\x00\x00x",
	} {
		t.Run(encoding, func(t *testing.T) {
			var before, now runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			const conns = 100
			var open []net.Conn
			for range conns {
				nc, err := net.Dial("tcp", s.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				open = append(open, nc)
				fmt.Fprintf(nc, "POST /lines HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\nContent-Encoding: %s\r\n\r\n%s", encoding, begin)
			}
			eventually(t, "all are being read", func() bool { return h.cfg.Memory.Used() >= conns*64<<10 })
			runtime.GC()
			runtime.ReadMemStats(&now)
			if more := int64(now.HeapAlloc) - int64(before.HeapAlloc); more > h.cfg.Memory.Used()+conns*64<<10 {
				t.Errorf("%d KiB for %d requests that hold %d KiB by the count", more>>10, conns, h.cfg.Memory.Used()>>10)
			}
			for _, nc := range open {
				nc.Close()
			}
			eventually(t, "nothing is held", func() bool { return h.cfg.Memory.Used() == 0 })
		})
	}
}

// An upload of a journal has no bound, but is no bomb either.
func TestFailure107_JournalUploadIsNoBomb(t *testing.T) {
	store := &pushStore{}
	h := newServer(t, store, Config{})
	var body bytes.Buffer
	z, err := zstd.NewWriter(&body, zstd.WithWindowSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	for range 1 << 17 {
		io.WriteString(z, "__CURSOR=a\n__REALTIME_TIMESTAMP=1\nMESSAGE=again and again and again and again\n\n")
	}
	z.Close()
	w := post(t, h, "/upload", &body, "Content-Type", "application/vnd.fdo.journal", "Content-Encoding", "zstd")
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s, want 413", w.Code, w.Body)
	}
}

// A message that hardly fits is taken, or its connection is closed: waiting for
// memory that it holds itself would be for ever.
func TestFailure107_LargeMessagesDoNotWaitForThemselves(t *testing.T) {
	in, p, _ := start(t, "forward", Listen{TCP: "127.0.0.1:0"}, nil, Config{Memory: NewMemory(8 << 20)})
	c := dial(t, in, 0)
	const size = 3900 << 10
	b := append([]byte("\x93\xa1t\xcb\x41\xd9\x00\x00\x00\x00\x00\x00\x81\xa3log\xdb"), byte(size>>24), byte(size>>16&255), byte(size>>8&255), byte(size&255))
	go c.Write(append(b, bytes.Repeat([]byte("x"), size)...))
	eventually(t, "the message has come", func() bool { return len(p.got()) > 0 })
}

// What the kernel has when the process stops is waited for like everything else.
func TestDatagramsAtTheEndAreTaken(t *testing.T) {
	in, p, stop := start(t, "socket", Listen{UDP: "127.0.0.1:0"}, nil, Config{})
	p.set(func() { p.late = 500 * time.Millisecond })
	send(t, dial(t, in, 0), "the last line")
	time.Sleep(10 * time.Millisecond) // into the kernel
	stop()
	if n := in.Stats(); len(p.got()) != 1 {
		t.Errorf("lost: %v %+v", p.got(), n)
	}
}
