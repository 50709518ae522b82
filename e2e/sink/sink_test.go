package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"

	"github.com/weirlog/weir/e2e/internal/account"
	"github.com/weirlog/weir/e2e/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testSink() *sink {
	a, _ := account.New("")
	return newSink(a, fault.New(1), 1<<20)
}

func post(s *sink, path, contentType, encoding string, body []byte) int {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	if encoding != "" {
		r.Header.Set("Content-Encoding", encoding)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code
}

func zip(t *testing.T, p []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return b.Bytes()
}

func TestJSONLines(t *testing.T) {
	s := testSink()
	body := []byte("{\"log\":\"s=a n=0 p=x\"}\n{\"s\":\"a\",\"n\":1,\"p\":\"y\"}\n")
	z, _ := zstd.NewWriter(nil)
	for _, c := range []struct {
		encoding string
		body     []byte
		want     int
	}{
		{"", body, 200}, {"gzip", zip(t, body), 200}, {"zstd", z.EncodeAll(body, nil), 200},
		{"br", body, 415}, {"gzip", body, 400}, {"zstd", body, 400},
		{"", []byte("{}\n\n{}\n"), 400}, {"", []byte(`{"a":1,"a":2}`), 400}, {"", []byte("{\"a\":\"\xff\"}"), 400}, {"", nil, 400}, {"", []byte("[]\n"), 400},
		{"", bytes.Repeat(body, 1<<20), 413},
	} {
		if got := post(s, "/insert/jsonline?_stream_fields=x", "application/x-ndjson", c.encoding, c.body); got != c.want {
			t.Errorf("%s %.40q: %d", c.encoding, c.body, got)
		}
	}
	if st := s.acct.Stats(); st.Distinct != 2 || st.Again != 4 {
		t.Errorf("%+v", st)
	}
	if s.violated != 8 {
		t.Errorf("%d violations", s.violated)
	}
}

func lokiPush(labels, line string, ts uint64) []byte {
	var tsm, entry, stream, req []byte
	tsm = protowire.AppendVarint(protowire.AppendTag(tsm, 1, protowire.VarintType), ts)
	add := func(dst []byte, num protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(dst, num, protowire.BytesType), v)
	}
	entry = add(add(entry, 1, tsm), 2, []byte(line))
	entry = add(entry, 3, add(add(nil, 1, []byte("k")), 2, []byte("v")))
	stream = add(add(stream, 1, []byte(labels)), 2, entry)
	req = add(req, 1, stream)
	return snappy.Encode(nil, req)
}

func TestLoki(t *testing.T) {
	for _, c := range []struct {
		labels, line string
		ts           uint64
		want         int
	}{
		{`{app="web", pod="a\"b"}`, "s=a n=0 p=x", 1, 204},
		{`{}`, "x", 1, 400},
		{`{app="a",app="b"}`, "x", 1, 400},
		{`{app=a}`, "x", 1, 400},
		{`{a.b="x"}`, "x", 1, 400},
		{`{a="x"}`, "x", 0, 400},
		{`{a="x"}`, "\xff", 1, 400},
	} {
		s := testSink()
		if got := post(s, "/loki/api/v1/push", "application/x-protobuf", "", lokiPush(c.labels, c.line, c.ts)); got != c.want {
			t.Errorf("%s: %d %v", c.labels, got, s.violations)
		}
		if st := s.acct.Stats(); c.want == 204 && st.Distinct != 1 {
			t.Errorf("%+v", st)
		}
	}
	s := testSink()
	if got := post(s, "/loki/api/v1/push", "application/json", "gzip", zip(t, []byte(`{"streams":[{"stream":{"a":"b"},"values":[["1","s=a n=0 p=x"],["2","s=a n=1 p=x",{"k":"v"}]]}]}`))); got != 204 || s.acct.Stats().Distinct != 2 {
		t.Errorf("%d %v", got, s.violations)
	}
	if got := post(s, "/loki/api/v1/push", "application/x-protobuf", "", []byte("no snappy")); got != 400 {
		t.Error(got)
	}
}

func text(s string) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: s}}
}

func request(body *common.AnyValue, attrs ...*common.KeyValue) *collogs.ExportLogsServiceRequest {
	return &collogs.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{{ScopeLogs: []*logs.ScopeLogs{{LogRecords: []*logs.LogRecord{{TimeUnixNano: 1, Body: body, Attributes: attrs}}}}}}}
}

func TestOTLP(t *testing.T) {
	kvs := []*common.KeyValue{
		{Key: "s", Value: text("a")}, {Key: "n", Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: 3}}}, {Key: "p", Value: text("x")},
	}
	good := map[string]*collogs.ExportLogsServiceRequest{
		"text":       request(text("s=a n=3 p=x"), &common.KeyValue{Key: "log.record.uid", Value: text("id")}),
		"map":        request(&common.AnyValue{Value: &common.AnyValue_KvlistValue{KvlistValue: &common.KeyValueList{Values: kvs}}}),
		"attributes": request(text("message"), kvs...),
		"both":       request(text("s=a n=3 p=x"), kvs...),
	}
	for name, req := range good {
		p, err := proto.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		s := testSink()
		if got := post(s, "/v1/logs", "application/x-protobuf", "gzip", zip(t, p)); got != 200 || s.acct.Stats().Distinct != 1 {
			t.Errorf("%s: %d %v", name, got, s.violations)
		}
	}
	for name, req := range map[string]*collogs.ExportLogsServiceRequest{
		"doubled attribute": request(text("x"), kvs[0], kvs[0]),
		"marks differ":      request(text("s=a n=4 p=x"), kvs...),
	} {
		p, _ := proto.Marshal(req)
		if got := post(testSink(), "/v1/logs", "application/x-protobuf", "", p); got != 400 {
			t.Errorf("%s: %d", name, got)
		}
	}
	if got := post(testSink(), "/v1/logs", "application/x-protobuf", "", []byte("garbage")); got != 400 {
		t.Error(got)
	}
}

func TestGRPC(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := testSink()
	g := grpc.NewServer()
	collogs.RegisterLogsServiceServer(g, &grpcLogs{sink: s})
	done := make(chan error, 1)
	go func() { done <- g.Serve(ln) }()
	defer func() { g.Stop(); <-done }()
	conn, err := grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := collogs.NewLogsServiceClient(conn)
	if _, err := c.Export(context.Background(), request(text("s=a n=3 p=x"))); err != nil || s.acct.Stats().Distinct != 1 {
		t.Errorf("%v %+v", err, s.acct.Stats())
	}
	if err := s.in.Set(fault.Config{PItem400: 1}); err != nil {
		t.Fatal(err)
	}
	resp, err := c.Export(context.Background(), request(text("s=a n=4 p=x")))
	if err != nil || resp.GetPartialSuccess().GetRejectedLogRecords() != 1 || s.acct.Stats().Refused != 1 {
		t.Errorf("%v %v", resp, err)
	}
	if err := s.in.Set(fault.Config{P503: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Export(context.Background(), request(text("x"))); err == nil || !strings.Contains(err.Error(), "Unavailable") {
		t.Error(err)
	}
}
