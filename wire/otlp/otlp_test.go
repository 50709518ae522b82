package otlp

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

const testTime = 1763805600123456789

func attrs(kv ...string) (out []record.Attr) {
	for i := 0; i < len(kv); i += 2 {
		out = append(out, record.Attr{Name: kv[i], Value: kv[i+1]})
	}
	return out
}

type field struct {
	name string
	kind record.Kind
	val  string
}

func add(b *record.Batch, s *record.Stream, body string, r record.Record, fields ...field) int {
	sp := b.AppendString(body)
	r.Body, r.Source = sp, sp
	if r.Flags&record.Generated == 0 {
		r.Stream = b.AddStream(record.StreamRef{Stream: s, Generation: record.ID{Hi: 1, Lo: 2}})
	} else {
		r.Stream = b.AddStream(record.StreamRef{Stream: s})
	}
	i := b.Add(r)
	for _, f := range fields {
		key, _ := b.Key([]byte(f.name))
		b.AddField(i, record.Field{Key: key, Kind: f.kind, Val: b.AppendString(f.val)})
	}
	return i
}

func part(b *record.Batch) record.Part {
	if !b.Frozen() {
		b.Freeze()
	}
	return record.NewPart(b, b.Live())
}

func decode(t testing.TB, p []byte) *collogs.ExportLogsServiceRequest {
	t.Helper()
	var req collogs.ExportLogsServiceRequest
	if err := proto.Unmarshal(p, &req); err != nil {
		t.Fatal(err)
	}
	if n := len(req.ProtoReflect().GetUnknown()); n > 0 {
		t.Fatalf("%d unknown bytes", n)
	}
	// The shortest encoding, and nothing that the schema does not know.
	if size := proto.Size(&req); size != len(p) {
		t.Fatalf("%d bytes, the oracle makes %d of them", len(p), size)
	}
	return &req
}

func flat(kvs []*common.KeyValue) map[string]any {
	m := map[string]any{}
	for _, kv := range kvs {
		var v any
		switch x := kv.Value.GetValue().(type) {
		case *common.AnyValue_StringValue:
			v = x.StringValue
		case *common.AnyValue_IntValue:
			v = x.IntValue
		case *common.AnyValue_BoolValue:
			v = x.BoolValue
		case *common.AnyValue_DoubleValue:
			v = x.DoubleValue
		case *common.AnyValue_BytesValue:
			v = x.BytesValue
		}
		m[kv.Key] = v
	}
	return m
}

var (
	cart = record.NewStream(attrs("cluster", "prod", "node", "n1", "namespace", "shop", "pod", "cart-1", "pod_uid", "u", "container", "web", "container_id", "c0",
		"restart", "2", "image", "img", "workload", "deployment/cart", "app", "cart", "service_name", "svc", "stream", "stdout", "input", "kubernetes", "team", "blue"),
		attrs("app.kubernetes.io/name", "cart", "x", "y"), attrs("note", "n"))
	cartErr = record.NewStream(attrs("cluster", "prod", "node", "n1", "namespace", "shop", "pod", "cart-1", "pod_uid", "u", "container", "web", "container_id", "c0",
		"restart", "2", "image", "img", "workload", "deployment/cart", "app", "cart", "service_name", "svc", "stream", "stderr", "input", "kubernetes", "team", "blue"),
		attrs("app.kubernetes.io/name", "cart", "x", "y"), attrs("note", "n"))
	file = record.NewStream(attrs("file", "/var/log/x", "workload", "rollout/x"), nil, nil)
)

func TestAppend(t *testing.T) {
	b := record.NewBatch(nil)
	add(b, cart, "one", record.Record{Time: testTime, Observed: testTime + 1, Severity: record.Warn + 1, Start: 10, End: 1 << 40})
	add(b, file, "two\xff", record.Record{Time: -1, Flags: record.Generated | record.Gap})
	add(b, cartErr, "three", record.Record{Time: testTime, Flags: record.Partial},
		field{"trace_id", record.String, "0123456789abcdef0123456789ABCDEF"}, field{"span_id", record.String, "0123456789abcdef"},
		field{"i", record.String, "earlier"}, field{"i", record.Int, "-12"}, field{"big", record.Int, "12345678901234567890"}, field{"f", record.Float, "1.5"}, field{"nan", record.Float, "NaN"},
		field{"t", record.Bool, "true"}, field{"no", record.Bool, "false"}, field{"z", record.Null, "null"}, field{"j", record.JSON, `{"a":1}`},
		field{"raw", record.String, "\xff"}, field{"weir.source", record.String, "evil"}, field{"log.record.uid", record.String, "evil"})
	add(b, cart, `{"a":1}`, record.Record{Time: testTime, Flags: record.JSONObject}, field{"trace_id", record.String, "not hex, but thirty-two bytes ok"}, field{"span_id", record.String, "x"})
	e := New(Config{Labels: []string{"app.*"}, Annotations: []string{"*"}, Version: "1.0"})
	req := decode(t, e.Append(nil, []record.Part{part(b)}))
	if len(req.ResourceLogs) != 2 {
		t.Fatalf("%d resources", len(req.ResourceLogs))
	}
	if diff := cmp.Diff(map[string]any{
		"k8s.cluster.name": "prod", "k8s.node.name": "n1", "k8s.namespace.name": "shop", "k8s.pod.name": "cart-1", "k8s.pod.uid": "u", "k8s.container.name": "web",
		"container.id": "c0", "k8s.container.restart_count": int64(2), "container.image.name": "img", "k8s.deployment.name": "cart", "weir.app": "cart",
		"service.name": "svc", "weir.input": "kubernetes", "team": "blue", "k8s.pod.label.app.kubernetes.io/name": "cart", "k8s.pod.annotation.note": "n",
	}, flat(req.ResourceLogs[0].Resource.Attributes)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"weir.workload": "rollout/x"}, flat(req.ResourceLogs[1].Resource.Attributes)); diff != "" {
		t.Error(diff)
	}
	scope := req.ResourceLogs[0].ScopeLogs[0]
	if scope.Scope.Name != "weir" || scope.Scope.Version != "1.0" || len(scope.LogRecords) != 3 {
		t.Fatalf("scope %v with %d records", scope.Scope, len(scope.LogRecords))
	}
	id := func(i int) string { return wire.RecordID(b, i).String() }
	source := record.ID{Hi: 1, Lo: 2}.String()
	r := scope.LogRecords[0]
	if r.TimeUnixNano != testTime || r.ObservedTimeUnixNano != testTime+1 || r.SeverityNumber != logs.SeverityNumber_SEVERITY_NUMBER_WARN2 || r.SeverityText != "warn" || r.Body.GetStringValue() != "one" {
		t.Errorf("record %v", r)
	}
	if diff := cmp.Diff(map[string]any{"log.iostream": "stdout", "log.record.uid": id(0), "weir.source": source, "weir.start": int64(10), "weir.end": int64(1 << 40)}, flat(r.Attributes)); diff != "" {
		t.Error(diff)
	}
	r = scope.LogRecords[1]
	if fmt.Sprintf("%x %x", r.TraceId, r.SpanId) != "0123456789abcdef0123456789abcdef 0123456789abcdef" || r.SeverityNumber != 0 || r.SeverityText != "" {
		t.Errorf("record %v", r)
	}
	if diff := cmp.Diff(map[string]any{"log.iostream": "stderr", "log.record.uid": id(2), "weir.source": source, "weir.start": int64(0), "weir.end": int64(0), "weir.partial": true,
		"i": int64(-12), "big": "12345678901234567890", "f": 1.5, "nan": "NaN", "t": true, "no": false, "z": nil, "j": `{"a":1}`, "raw": []byte{0xff},
		"field.weir.source": "evil", "field.log.record.uid": "evil"}, flat(r.Attributes)); diff != "" {
		t.Error(diff)
	}
	r = scope.LogRecords[2]
	if m := flat(r.Attributes); len(r.TraceId)+len(r.SpanId) != 0 || m["trace_id"] != "not hex, but thirty-two bytes ok" || m["span_id"] != "x" || r.Body.GetStringValue() != `{"a":1}` {
		t.Errorf("record %v", r)
	}
	r = req.ResourceLogs[1].ScopeLogs[0].LogRecords[0]
	if string(r.Body.GetBytesValue()) != "two\xff" || r.TimeUnixNano != 0 {
		t.Errorf("record %v", r)
	}
	if diff := cmp.Diff(map[string]any{"log.file.path": "/var/log/x", "weir.gap": true}, flat(r.Attributes)); diff != "" {
		t.Error(diff)
	}
}

func TestEncoderIsUsedAgain(t *testing.T) {
	e := New(Config{})
	b := mixed(t)
	first := e.Append(nil, []record.Part{part(b)})
	second := e.Append(nil, []record.Part{part(b)})
	third := e.Clone().Append(nil, []record.Part{part(b)})
	if string(first) != string(second) || string(first) != string(third) {
		t.Error("the same records are encoded in two ways")
	}
	n := 0
	for _, rl := range decode(t, second).ResourceLogs {
		n += len(rl.ScopeLogs[0].LogRecords)
	}
	if n != b.NumRecords() {
		t.Errorf("%d of %d records", n, b.NumRecords())
	}
	buf := first
	parts := []record.Part{part(b)}
	if n := testing.AllocsPerRun(10, func() { buf = e.Append(buf[:0], parts) }); n > 0 {
		t.Errorf("%v allocations per batch", n)
	}
}

// Requests may be joined by putting their bytes one behind the other.
func TestRequestsJoin(t *testing.T) {
	b := record.NewBatch(nil)
	add(b, cart, "one", record.Record{})
	e := New(Config{})
	p := []record.Part{part(b)}
	if n := len(decode(t, e.Append(e.Append(nil, p), p)).ResourceLogs); n != 2 {
		t.Errorf("%d resources", n)
	}
}

func FuzzAppend(f *testing.F) {
	f.Add("body", "name", "12", uint8(1), int64(testTime))
	f.Add("\xff", "trace_id", "0123456789abcdef0123456789abcdef", uint8(0), int64(-1))
	f.Add("", "\xff", "1e999", uint8(2), int64(0))
	f.Add("", "", "-0", uint8(1), int64(0))
	f.Fuzz(func(t *testing.T, body, name, val string, kind uint8, at int64) {
		b := record.NewBatch(nil)
		s := record.NewStream(attrs("namespace", val, name, val, "stream", name), attrs(name, val), nil)
		add(b, s, body, record.Record{Time: at, Severity: record.Severity(kind % 25), End: at}, field{name, record.Kind(kind % 6), val})
		var req collogs.ExportLogsServiceRequest
		if err := proto.Unmarshal(New(Config{Labels: []string{"*"}}).Append(nil, []record.Part{part(b)}), &req); err != nil {
			t.Fatal(err)
		}
		r := req.ResourceLogs[0].ScopeLogs[0].LogRecords[0]
		got := r.Body.GetStringValue()
		if !utf8.ValidString(body) {
			got = string(r.Body.GetBytesValue())
		}
		if got != body || r.TimeUnixNano != uint64(max(at, 0)) {
			t.Errorf("record %v", r)
		}
		if m := flat(r.Attributes); m["log.record.uid"] != wire.RecordID(b, 0).String() || m["weir.end"] != at {
			t.Errorf("attributes %v", m)
		}
	})
}

func TestFailure86_PartialSuccessIsCounted(t *testing.T) {
	for _, c := range []struct {
		rejected int64
		message  string
	}{{0, ""}, {3, "three were bad"}, {0, "a warning"}, {math.MaxInt64, strings.Repeat("x", 512)}} {
		p, err := proto.Marshal(&collogs.ExportLogsServiceResponse{PartialSuccess: &collogs.ExportLogsPartialSuccess{RejectedLogRecords: c.rejected, ErrorMessage: c.message}})
		if err != nil {
			t.Fatal(err)
		}
		if rejected, message, err := ParseResponse(p); rejected != c.rejected || message != c.message || err != nil {
			t.Errorf("ParseResponse = %d, %q, %v, want %d, %q", rejected, message, err, c.rejected, c.message)
		}
	}
	if rejected, message, err := ParseResponse(nil); rejected != 0 || message != "" || err != nil {
		t.Errorf("empty answer: %d, %q, %v", rejected, message, err)
	}
	negative, _ := proto.Marshal(&collogs.ExportLogsServiceResponse{PartialSuccess: &collogs.ExportLogsPartialSuccess{RejectedLogRecords: -1}})
	for _, body := range []string{"<html>", "{}", "\x0a\x05\x08", string(negative)} {
		if n, _, err := ParseResponse([]byte(body)); err == nil {
			t.Errorf("ParseResponse(%q) = %d", body, n)
		}
	}
}

func TestParseStatus(t *testing.T) {
	// Made by hand: {code: 8, message: "slow down", details: [{type_url:
	// ".../google.rpc.RetryInfo", value: {retry_delay: {seconds: 3, nanos: 5}}}]}
	retry := "\x0a\x04\x08\x03\x10\x05"
	anyMsg := "\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12" + string(rune(len(retry))) + retry
	full := "\x08\x08\x12\x09slow down\x1a" + string(rune(len(anyMsg))) + anyMsg
	got, err := ParseStatus([]byte(full))
	if want := (Status{Code: 8, Message: "slow down", RetryAfter: 3e9 + 5, HasRetryAfter: true}); got != want || err != nil {
		t.Errorf("ParseStatus = %+v, %v", got, err)
	}
	for i := 1; i < len(full); i++ {
		_, _ = ParseStatus([]byte(full[:i])) // no panic
	}
	if _, err := ParseStatus([]byte("<html>")); err == nil {
		t.Error("a page is no status")
	}
	absurd := "\x1a\x37\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x0b\x0a\x09\x08\xff\xff\xff\xff\xff\xff\xff\x7f"
	if s, err := ParseStatus([]byte(absurd)); err != nil || !s.HasRetryAfter || s.RetryAfter < 0 {
		t.Errorf("absurd delay: %+v, %v", s, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("\x0a\x05\x08\x03\x12\x01x"))
	f.Add([]byte("\x08\x08\x12\x09slow down\x1a\x00"))
	f.Fuzz(func(t *testing.T, p []byte) {
		if s, err := ParseStatus(p); err == nil && (s.RetryAfter < 0 || !utf8.ValidString(s.Message)) {
			t.Errorf("%+v", s)
		}
		rejected, message, err := ParseResponse(p)
		if err != nil {
			return
		}
		if rejected < 0 || !utf8.ValidString(message) {
			t.Errorf("%d, %q", rejected, message)
		}
		var want collogs.ExportLogsServiceResponse
		if proto.Unmarshal(p, &want) == nil && want.PartialSuccess.GetRejectedLogRecords() != rejected {
			t.Errorf("%d rejected, the oracle says %v", rejected, &want)
		}
	})
}

// mixed returns a batch as the node agent makes them: 60 % JSON lines of 200
// to 600 bytes, 40 % text, eight containers.
func mixed(t testing.TB) *record.Batch {
	b := record.NewBatch(nil)
	var streams []*record.Stream
	for i := range 8 {
		streams = append(streams, record.NewStream(attrs("cluster", "prod", "node", "n1", "namespace", "shop", "pod", fmt.Sprint("cart-", i),
			"container", "web", "workload", "deployment/cart", "stream", "stdout", "input", "kubernetes"), nil, nil))
	}
	var sc json.Scanner
	for i := range 2000 {
		pad := strings.Repeat("x", 60+i*7%300)
		body := fmt.Sprintf(`{"ts":"2026-11-22T10:00:00.%06dZ","level":"info","logger":"checkout.cart","msg":"order %d accepted %s","order_id":%d,"user":"u-%d"}`, i, i, pad, i, i)
		if i%5 >= 3 {
			body = fmt.Sprintf(`10.1.2.3 - - [22/Nov/2026:10:00:00 +0000] "GET /cart/%d HTTP/1.1" 200 %d "-" "%s"`, i, i, pad)
		}
		flags := record.ValidUTF8
		if sc.Object([]byte(body)) {
			flags |= record.JSONObject
		}
		add(b, streams[i/10%8], body, record.Record{Time: testTime + int64(i)*1e6, Observed: testTime + int64(i)*1e6, Flags: flags, Severity: record.Info, Start: int64(i) * 300, End: int64(i+1) * 300})
	}
	b.Freeze()
	return b
}

func BenchmarkAppend(bm *testing.B) {
	b := mixed(bm)
	n := 0
	for i := range b.NumRecords() {
		n += len(b.Body(i))
	}
	e := New(Config{})
	parts := []record.Part{part(b)}
	buf := e.Append(nil, parts)
	bm.SetBytes(int64(n))
	bm.ReportAllocs()
	for bm.Loop() {
		buf = e.Append(buf[:0], parts)
	}
}
