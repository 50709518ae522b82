package output

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/wire"
)

func newOTLP(t testing.TB, conf HTTPConfig) *OTLP {
	t.Helper()
	o, err := NewOTLP(OTLPConfig{HTTPConfig: conf})
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

// bodies returns the bodies of a request's records, in order.
func bodies(req *collogs.ExportLogsServiceRequest) []string {
	var out []string
	for _, rl := range req.ResourceLogs {
		for _, sl := range rl.ScopeLogs {
			for _, lr := range sl.LogRecords {
				out = append(out, lr.Body.GetStringValue())
			}
		}
	}
	return out
}

// collector is an OTLP receiver over both protocols; answer decides.
type collector struct {
	collogs.UnimplementedLogsServiceServer
	t      testing.TB
	mu     sync.Mutex
	got    []string
	md     metadata.MD
	path   string
	answer func(n int) (*collogs.ExportLogsServiceResponse, error)
	refuse func(lines []string) (positions string, n int64) // as a weir does
}

func (c *collector) Export(ctx context.Context, req *collogs.ExportLogsServiceRequest) (*collogs.ExportLogsServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		c.md = md
	}
	b := bodies(req)
	c.got = append(c.got, b...)
	if c.answer != nil {
		return c.answer(len(b))
	}
	if c.refuse != nil {
		p, n := c.refuse(b)
		// Over HTTP there is nobody to send it: ServeHTTP does.
		_ = grpc.SetHeader(ctx, metadata.Pairs(wire.RefusedHeader, p))
		return &collogs.ExportLogsServiceResponse{PartialSuccess: &collogs.ExportLogsPartialSuccess{RejectedLogRecords: n, ErrorMessage: "too old"}}, nil
	}
	return &collogs.ExportLogsServiceResponse{}, nil
}

func (c *collector) lines() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req := new(collogs.ExportLogsServiceRequest)
	if err := proto.Unmarshal(bodyOf(c.t, r), req); err != nil {
		c.t.Errorf("request: %v", err)
	}
	c.path = r.URL.Path
	resp, err := c.Export(metadata.NewIncomingContext(r.Context(), metadata.MD(lowered(r.Header))), req)
	if err != nil {
		// https://opentelemetry.io/docs/specs/otlp/#failures-1
		st := status.Convert(err)
		code := map[codes.Code]int{codes.InvalidArgument: 400, codes.Unauthenticated: 401, codes.PermissionDenied: 403,
			codes.ResourceExhausted: 429, codes.Unavailable: 503}[st.Code()]
		p, _ := proto.Marshal(&rpcstatus.Status{Code: int32(st.Code()), Message: st.Message(), Details: st.Proto().Details})
		w.WriteHeader(code)
		_, _ = w.Write(p)
		return
	}
	p, err := proto.Marshal(resp)
	if err != nil {
		c.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	if c.refuse != nil {
		p, _ := c.refuse(bodies(req))
		w.Header().Set(wire.RefusedHeader, p)
	}
	_, _ = w.Write(p)
}

func lowered(h http.Header) map[string][]string {
	m := map[string][]string{}
	for k, v := range h {
		m[strings.ToLower(k)] = v
	}
	return m
}

// grpcServer serves c and returns its address.
func grpcServer(t testing.TB, c *collector, opts ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(opts...)
	collogs.RegisterLogsServiceServer(s, c)
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() { s.Stop(); wg.Wait() })
	return l.Addr().String()
}

// overBoth runs f with a URL of the collector over HTTP and over gRPC.
func overBoth(t *testing.T, f func(t *testing.T, c *collector, url string)) {
	t.Run("http", func(t *testing.T) {
		c := &collector{t: t}
		f(t, c, server(t, c.ServeHTTP).URL)
	})
	t.Run("grpc", func(t *testing.T) {
		c := &collector{t: t}
		f(t, c, "grpc://"+grpcServer(t, c))
	})
}

func TestOTLPExports(t *testing.T) {
	overBoth(t, func(t *testing.T, c *collector, url string) {
		for _, method := range []string{"", "none", "gzip"} {
			c.got = nil
			o := newOTLP(t, HTTPConfig{URL: url, Compression: method, Version: "1.2", Auth: Auth{Bearer: "tok"}, Headers: map[string]Secret{"X-Team": "shop"}})
			ps := partsOf(batchOf(testStream, "one", "two"), batchOf(testStream, "three"))
			res, err := o.Send(t.Context(), ps)
			if err != nil || len(res.Failures) != 0 || res.Bytes == 0 {
				t.Fatalf("%+v, %v", res, err)
			}
			if fmt.Sprint(c.lines()) != "[one two three]" {
				t.Errorf("got %v", c.got)
			}
			if fmt.Sprint(c.md["authorization"], c.md["x-team"]) != "[Bearer tok] [shop]" || !strings.HasPrefix(c.md["user-agent"][0], "weir/1.2") {
				t.Errorf("metadata %v", c.md)
			}
			if c.path != "" && c.path != "/v1/logs" {
				t.Errorf("path %s", c.path)
			}
			if err := o.Probe(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestFailure86_PartialSuccess(t *testing.T) {
	overBoth(t, func(t *testing.T, c *collector, url string) {
		var rejected int64
		c.answer = func(int) (*collogs.ExportLogsServiceResponse, error) {
			return &collogs.ExportLogsServiceResponse{PartialSuccess: &collogs.ExportLogsPartialSuccess{
				RejectedLogRecords: rejected, ErrorMessage: "too old 'canary'",
			}}, nil
		}
		log, logged := logTo()
		o := newOTLP(t, HTTPConfig{URL: url, Logger: log})
		three := someParts("a", "b", "c")
		// A remark without rejection is a success.
		for range 2 {
			res, err := o.Send(t.Context(), three)
			if err != nil || len(res.Failures) != 0 {
				t.Errorf("%+v, %v", res, err)
			}
		}
		if n := strings.Count(logged.String(), "remarks"); n != 1 {
			t.Errorf("remark logged %d times", n)
		}
		// Some of several: which, is found by bisecting.
		rejected = 1
		_, err := o.Send(t.Context(), three)
		se := wantKind(t, err, ack.Rejected)
		if !strings.Contains(se.Error(), "1 of 3 records rejected: too old …") {
			t.Errorf("error %q", se)
		}
		// A single one: it.
		res, err := o.Send(t.Context(), someParts("a"))
		if err != nil || len(res.Failures) != 1 || !res.Failures[0].Permanent || res.Failures[0].Reason != "rejected: too old …" {
			t.Errorf("%+v, %v", res, err)
		}
		// All of several: no need to look.
		rejected = 3
		res, err = o.Send(t.Context(), three)
		if err != nil || len(res.Failures) != 3 || !res.Failures[2].Permanent || res.Failures[2].Record != 2 {
			t.Errorf("%+v, %v", res, err)
		}
		// More than there are is no answer to this request.
		_, err = o.Send(t.Context(), someParts("a"))
		wantKind(t, err, ack.Retry)
		rejected = -1
		_, err = o.Send(t.Context(), three)
		wantKind(t, err, ack.Retry)
		if strings.Contains(logged.String(), "canary") {
			t.Error("logged quoted content")
		}
	})
}

// A weir says which records it refused: those are failures, and nothing is sent
// again, whatever the order in the request was.
func TestFailure86_PartialSuccessOfAWeir(t *testing.T) {
	overBoth(t, func(t *testing.T, c *collector, url string) {
		c.refuse = func(lines []string) (string, int64) {
			var at []uint32
			for i, l := range lines {
				if strings.HasSuffix(l, "1") || strings.HasSuffix(l, "4") {
					at = append(at, uint32(i))
				}
			}
			return string(wire.AppendPositions(nil, at)), int64(len(at))
		}
		o := newOTLP(t, HTTPConfig{URL: url})
		ps := partsOf(mixedBatch(6, "a", "b"), mixedBatch(3, "b", "c"))
		res, err := o.Send(t.Context(), ps)
		if err != nil {
			t.Fatal(err)
		}
		var where [][2]int
		for _, f := range res.Failures {
			where = append(where, [2]int{f.Part, int(f.Record)})
			if !f.Permanent || f.Reason != "rejected: too old" {
				t.Errorf("%+v", f)
			}
		}
		if d := cmp.Diff([][2]int{{0, 1}, {0, 4}, {1, 1}}, where); d != "" {
			t.Error(d)
		}
		// Positions that cannot be, or are not as many as were rejected, are not
		// believed.
		for _, p := range []string{"9", "0-3", "x"} {
			c.refuse = func([]string) (string, int64) { return p, 1 }
			_, err = o.Send(t.Context(), ps)
			wantKind(t, err, ack.Rejected)
		}
	})
}

func TestFailure86_ResourceExhausted(t *testing.T) {
	overBoth(t, func(t *testing.T, c *collector, url string) {
		for delay, want := range map[time.Duration]time.Duration{0: 0, 7 * time.Second: 7 * time.Second, time.Hour: 10 * time.Minute} {
			c.answer = func(int) (*collogs.ExportLogsServiceResponse, error) {
				st := status.New(codes.ResourceExhausted, "busy")
				if delay > 0 {
					var err error
					if st, err = st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(delay)}); err != nil {
						t.Fatal(err)
					}
				}
				return nil, st.Err()
			}
			o := newOTLP(t, HTTPConfig{URL: url})
			_, err := o.Send(t.Context(), someParts("a"))
			if se := wantKind(t, err, ack.Retry); se.RetryAfter != want || !strings.Contains(se.Error(), "busy") {
				t.Errorf("%v: %+v", delay, se)
			}
		}
	})
}

func TestOTLPGRPCCodes(t *testing.T) {
	c := &collector{t: t}
	url := "grpc://" + grpcServer(t, c)
	for code, kind := range map[codes.Code]ack.ErrorKind{
		codes.Unavailable: ack.Retry, codes.DeadlineExceeded: ack.Retry, codes.Aborted: ack.Retry, codes.Canceled: ack.Retry,
		codes.OutOfRange: ack.Retry, codes.DataLoss: ack.Retry, codes.Internal: ack.Retry, codes.Unknown: ack.Retry,
		codes.Unimplemented: ack.Retry, codes.InvalidArgument: ack.Rejected, codes.FailedPrecondition: ack.Rejected,
		codes.Unauthenticated: ack.Unauthorized, codes.PermissionDenied: ack.Unauthorized,
	} {
		c.answer = func(int) (*collogs.ExportLogsServiceResponse, error) {
			return nil, status.Error(code, "since 'canary'")
		}
		o := newOTLP(t, HTTPConfig{URL: url})
		_, err := o.Send(t.Context(), someParts("a"))
		if se := wantKind(t, err, kind); se.Code != int(code) || strings.Contains(se.Error(), "canary") || !strings.Contains(se.Error(), code.String()) {
			t.Errorf("%v: %+v", code, se)
		}
	}
}

func TestFailure81_GRPCMessageTooLarge(t *testing.T) {
	c := &collector{t: t}
	o := newOTLP(t, HTTPConfig{URL: "grpc://" + grpcServer(t, c, grpc.MaxRecvMsgSize(10000)), Compression: "none"})
	_, err := o.Send(t.Context(), someParts(lines(1000)...))
	wantKind(t, err, ack.TooLarge)
	mustSend(t, o, "small")
}

func TestOTLPGRPCSlowBackendEndsAtTheDeadline(t *testing.T) {
	done := make(chan struct{})
	c := &collector{t: t}
	c.answer = func(int) (*collogs.ExportLogsServiceResponse, error) {
		<-done
		return nil, errors.New("late")
	}
	o := newOTLP(t, HTTPConfig{URL: "grpc://" + grpcServer(t, c), Timeout: 200 * time.Millisecond})
	_, err := o.Send(t.Context(), someParts("a"))
	se := wantKind(t, err, ack.Retry)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(se.Error(), "no answer in time") {
		t.Errorf("error %q", se)
	}
	close(done)
}

func TestOTLPGRPCDeadServerAndBack(t *testing.T) {
	c := &collector{t: t}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	var wg sync.WaitGroup
	serve := func(l net.Listener) *grpc.Server {
		s := grpc.NewServer()
		collogs.RegisterLogsServiceServer(s, c)
		wg.Go(func() { _ = s.Serve(l) })
		return s
	}
	s := serve(l)
	o := newOTLP(t, HTTPConfig{URL: "grpc://" + addr})
	mustSend(t, o, "one")
	s.Stop()
	_, err = o.Send(t.Context(), someParts("two"))
	wantKind(t, err, ack.Retry)
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	s = serve(l)
	defer wg.Wait()
	defer s.Stop()
	mustSend(t, o, "two") // at once: no back-off of the connection's own
	if fmt.Sprint(c.lines()) != "[one two]" {
		t.Errorf("got %v", c.got)
	}
}

func TestFailure89_GRPCCertificatesAreReadAgain(t *testing.T) {
	caA, caB := newAuthority(t, "A"), newAuthority(t, "B")
	st := new(tlsState)
	cert, key := caA.issue("backend")
	st.use(t, cert, key, caA)
	c := &collector{t: t}
	addr := grpcServer(t, c, grpc.Creds(credentials.NewTLS(&tls.Config{GetConfigForClient: st.config})))
	dir := t.TempDir()
	files := func(ca *authority) map[string]string {
		c, k := ca.issue("client")
		return map[string]string{"ca.crt": ca.pem, "tls.crt": c, "tls.key": k}
	}
	configMap(t, dir, "1", files(caA))
	clk := newClock()
	o := newOTLP(t, HTTPConfig{URL: "grpcs://" + addr, Now: clk.now, TLS: TLS{CA: dir + "/ca.crt", Cert: dir + "/tls.crt", Key: dir + "/tls.key"}})
	mustSend(t, o, "one")
	cert, key = caB.issue("backend")
	st.use(t, cert, key, caB)
	clk.add(time.Hour) // a new connection
	_, err := o.Send(t.Context(), someParts("two"))
	wantKind(t, err, ack.Retry)
	configMap(t, dir, "2", files(caB))
	clk.add(2 * time.Second)
	mustSend(t, o, "two")
	if used, failed := o.Reloads(); used != 1 || failed != 0 {
		t.Errorf("reloads %d, %d", used, failed)
	}
}

func TestOTLPGRPCConfigErrors(t *testing.T) {
	for _, c := range []HTTPConfig{
		{URL: "grpc://h:1/path"}, {URL: "grpc://h:1", Compression: "zstd"}, {URL: "grpc://h:1", CompressionLevel: 3},
		{URL: "grpc://h:1", ProxyFromEnvironment: true}, {URL: "grpc://h:1", Headers: map[string]Secret{"grpc-timeout": "1"}},
		{URL: "grpcs://h:1", TLS: TLS{CA: "/nonexistent"}}, {URL: "tcp://h:1"},
	} {
		if _, err := NewOTLP(OTLPConfig{HTTPConfig: c}); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}

func TestFailure85_OTLPAnswersThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		typ, body string
		ok        bool
	}{
		"empty":             {"", "", true},
		"JSON":              {"application/json", `{"partialSuccess":{}}`, true},
		"JSON, empty":       {"application/json; charset=utf-8", `{}`, true},
		"page":              {"text/html", "<html>", false},
		"page as protobuf":  {"application/x-protobuf", "<html>", false},
		"text":              {"text/plain", "please log in", false},
		"cut":               {"application/x-protobuf", "\x0a\x05\x08", false},
		"JSON, cut":         {"application/json", `{"partialSucc`, false},
		"JSON, other types": {"application/json", `{"partialSuccess":{"rejectedLogRecords":{}}}`, false},
	} {
		s := server(t, func(w http.ResponseWriter, r *http.Request) {
			bodyOf(t, r)
			w.Header().Set("Content-Type", c.typ)
			_, _ = io.WriteString(w, c.body)
		})
		o := newOTLP(t, HTTPConfig{URL: s.URL})
		_, err := o.Send(t.Context(), someParts("a"))
		if c.ok && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !c.ok {
			wantKind(t, err, ack.Retry)
		}
	}
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"old"}}`)
	})
	o := newOTLP(t, HTTPConfig{URL: s.URL})
	res, err := o.Send(t.Context(), someParts("a"))
	if err != nil || len(res.Failures) != 1 {
		t.Errorf("%+v, %v", res, err)
	}
}
