package gateway

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// overGRPC serves h as an Input does, and returns a connection of grpc-go's.
func overGRPC(t *testing.T, h http.Handler) *grpc.ClientConn {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	conn, err := grpc.NewClient("passthrough:///"+s.Listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func logsRequest(lines ...string) *collogs.ExportLogsServiceRequest {
	sl := &logs.ScopeLogs{}
	for i, l := range lines {
		sl.LogRecords = append(sl.LogRecords, &logs.LogRecord{TimeUnixNano: uint64(i + 1), SeverityNumber: 9, Body: str(l)})
	}
	return &collogs.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{{ScopeLogs: []*logs.ScopeLogs{sl}}}}
}

// What grpc-go's client makes of our answers.
func TestGRPC(t *testing.T) {
	store := &pushStore{}
	c := collogs.NewLogsServiceClient(overGRPC(t, newServer(t, store, Config{})))
	for _, opts := range [][]grpc.CallOption{nil, {grpc.UseCompressor(gzip.Name)}} {
		store.rows = nil
		res, err := c.Export(t.Context(), logsRequest("one", "two"), opts...)
		if err != nil || res.PartialSuccess != nil {
			t.Fatalf("%v, %v", res, err)
		}
		if got, want := store.lines(), "[] 1 info one\n[] 2 info two"; got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	}
	for _, a := range []struct {
		name  string
		res   ack.Result
		err   error
		code  codes.Code
		retry time.Duration
		text  string
	}{
		{"some", ack.Result{Failures: []ack.Failure{{Record: 0, Permanent: true, Reason: "older than the retention"}}}, nil, codes.OK, 0, ""},
		{"busy", ack.Result{}, &ack.SendError{Code: 429, RetryAfter: 1500 * time.Millisecond, Err: errors.New("full; 100% of it")}, codes.ResourceExhausted, 1500 * time.Millisecond, "full; 100% of it"},
		{"down", ack.Result{}, &ack.SendError{Code: 503, Err: errors.New("größer")}, codes.Unavailable, time.Second, "größer"},
		{"other", ack.Result{}, errors.New("a secret of the house"), codes.Internal, 0, "internal error"},
	} {
		store := &pushStore{answer: func(context.Context, []record.Part) (ack.Result, error) { return a.res, a.err }}
		c := collogs.NewLogsServiceClient(overGRPC(t, newServer(t, store, Config{})))
		res, err := c.Export(t.Context(), logsRequest("one", "two"))
		st := status.Convert(err)
		if st.Code() != a.code || a.code != codes.OK && st.Message() != a.text {
			t.Errorf("%s: %v", a.name, st)
		}
		if a.code == codes.OK && (res.PartialSuccess.GetRejectedLogRecords() != 1 || !strings.Contains(res.PartialSuccess.ErrorMessage, "older than")) {
			t.Errorf("%s: %v", a.name, res)
		}
		var retry time.Duration
		for _, d := range st.Details() {
			if r, ok := d.(*errdetails.RetryInfo); ok {
				retry = r.RetryDelay.AsDuration()
			}
		}
		if retry != a.retry {
			t.Errorf("%s: retry after %v, want %v", a.name, retry, a.retry)
		}
	}
}

func TestGRPCRefusals(t *testing.T) {
	h := newServer(t, &pushStore{}, Config{
		Auth:   newAuth(t, AuthConfig{Users: []User{{Secret: NewSecret("token")}}}),
		Limits: Limits{Body: 1 << 20, Decoded: 4 << 20},
	})
	conn := overGRPC(t, h)
	c := collogs.NewLogsServiceClient(conn)
	if _, err := c.Export(t.Context(), logsRequest("x")); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without credentials: %v", err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer token")
	if _, err := c.Export(ctx, logsRequest("x")); err != nil {
		t.Error(err)
	}
	if _, err := c.Export(ctx, logsRequest(strings.Repeat("\x00", 16<<20)), grpc.UseCompressor(gzip.Name)); err == nil || h.cfg.Memory.Used() != 0 {
		t.Errorf("a bomb: %v, %d bytes held", err, h.cfg.Memory.Used())
	}
	if _, err := c.Export(ctx, logsRequest(strings.Repeat("x", 2<<20))); err == nil {
		t.Error("too large, and taken")
	}
	if err := conn.Invoke(ctx, "/opentelemetry.proto.collector.trace.v1.TraceService/Export", logsRequest(), logsRequest()); status.Code(err) != codes.Unimplemented {
		t.Errorf("traces: %v", err)
	}
	if res, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil || res.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", res, err)
	}
}

// What no gRPC client sends: nothing is taken or stays held.
// A call of which some is refused says what, so that another weir sends nothing
// again.
func TestGRPCSomeRefused(t *testing.T) {
	store := &pushStore{answer: func(context.Context, []record.Part) (ack.Result, error) {
		return ack.Result{Failures: []ack.Failure{{Record: 1, Permanent: true, Reason: "odd"}}}, nil
	}}
	c := collogs.NewLogsServiceClient(overGRPC(t, newServer(t, store, Config{})))
	var head metadata.MD
	resp, err := c.Export(t.Context(), logsRequest("a", "b", "c"), grpc.Header(&head))
	if err != nil || resp.PartialSuccess.GetRejectedLogRecords() != 1 || !strings.Contains(resp.PartialSuccess.GetErrorMessage(), "odd") {
		t.Errorf("%v, %v", resp, err)
	}
	if p := head.Get(wire.RefusedHeader); len(p) != 1 || p[0] != "1" {
		t.Errorf("positions %q", p)
	}
}

func TestGRPCRubbish(t *testing.T) {
	const path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
	for _, body := range []string{"", "\x00", "\x00\x00\x00\x00", "\x00\x00\x00\x00\x05abc", "\x01\x00\x00\x00\x01a", "\x02\x00\x00\x00\x01a", "\x00\xff\xff\xff\xff", "\x00\x00\x00\x00\x01\x00", "\x00\x00\x00\x00\x00\x00"} {
		store := &pushStore{}
		h := newServer(t, store, Config{})
		r := httptest.NewRequest("POST", path, bytes.NewReader([]byte(body)))
		r.ProtoMajor = 2
		r.Header.Set("Content-Type", "application/grpc")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 || w.Header().Get("Grpc-Status") == "0" || h.cfg.Memory.Used() != 0 || len(store.rows) != 0 {
			t.Errorf("%q: %d, status %s %s, %d held, %d taken", body, w.Code, w.Header().Get("Grpc-Status"), w.Header().Get("Grpc-Message"), h.cfg.Memory.Used(), len(store.rows))
		}
	}
	// HTTP/1.1 has no trailer that a gRPC client would look for.
	w := post(t, newServer(t, &pushStore{}, Config{}), path, strings.NewReader("\x00\x00\x00\x00\x00"), "Content-Type", "application/json")
	if w.Code != 426 {
		t.Errorf("HTTP/1.1: %d %s", w.Code, w.Body)
	}
}

func TestGRPCTimeout(t *testing.T) {
	for in, want := range map[string]time.Duration{"1S": time.Second, "250m": 250 * time.Millisecond, "99999999H": 1 << 62, "7u": 7 * time.Microsecond, "7n": 7, "2M": 2 * time.Minute} {
		if d, ok := grpcTimeout(in); !ok || d != want {
			t.Errorf("%s: %v", in, d)
		}
	}
	for _, in := range []string{"", "S", "1", "-1S", "123456789S", "1x"} {
		if d, ok := grpcTimeout(in); ok {
			t.Errorf("%q: %v", in, d)
		}
	}
}

// A pipeline's input: listeners, a full pipeline, a stop.
func TestInput(t *testing.T) {
	in, err := NewInput(Config{Name: "otlp", Limits: Limits{Answer: time.Minute}}, "otlp", Listen{HTTP: "127.0.0.1:0", GRPC: "127.0.0.1:0"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	line := &fakePipeline{taken: make(chan *record.Batch, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- in.Run(ctx, line) }()
	var addrs []net.Addr
	for len(addrs) < 2 {
		if addrs = in.Addrs(); len(addrs) < 2 {
			select {
			case err := <-ended:
				t.Fatal(err)
			case <-time.After(time.Millisecond):
			}
		}
	}
	body := `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1","body":{"stringValue":"x"}}]}]}]}`
	send := func() (int, error) {
		res, err := http.Post("http://"+addrs[0].String()+"/v1/logs", "application/json", strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		res.Body.Close()
		return res.StatusCode, nil
	}
	answered := make(chan int)
	go func() {
		code, err := send()
		if err != nil {
			t.Error(err)
		}
		answered <- code
	}()
	b := <-line.taken
	select {
	case code := <-answered:
		t.Fatalf("answered with %d before it is safe", code)
	default:
	}
	for _, tok := range b.Tokens() {
		tok.CountRead(1)
	}
	b.Freeze()
	b.Release()
	if code := <-answered; code != 200 {
		t.Errorf("answered with %d", code)
	}
	if sum, waiting := in.Tally(); sum.Read != 1 || waiting != 0 {
		t.Errorf("%d read, %d under way", sum.Read, waiting)
	}
	line.full = errors.New("full")
	if code, err := send(); code != 429 || err != nil {
		t.Errorf("full: %d %v", code, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
	if code, err := send(); err == nil {
		t.Errorf("after the stop: %d", code)
	}
}

// fakePipeline is a record.Sink.
type fakePipeline struct {
	taken chan *record.Batch
	full  error
}

func (*fakePipeline) Get() *record.Batch    { return record.NewBatch(nil) }
func (*fakePipeline) Room() <-chan struct{} { return nil }
func (p *fakePipeline) Put(_ context.Context, b *record.Batch) error {
	if p.full != nil {
		b.Abandon()
		return p.full
	}
	p.taken <- b
	return nil
}

func str(s string) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: s}}
}
