package otlp

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	res "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

const now = testTime + 77

func decoder() *Decoder { return NewDecoder(wire.Limits{}, new(wire.StreamCache)) }

func batchOf(body []byte) (*record.Batch, record.Span) {
	b := record.NewBatch(nil)
	b.AppendString("before it stands something else")
	return b, b.Append(body)
}

// dump writes what is in a batch, one line per record.
func dump(b *record.Batch) (out []string) {
	for i := range b.NumRecords() {
		r := b.Record(i)
		var sb strings.Builder
		for k, set := range [][]record.Attr{b.Stream(i).Attrs(), b.Stream(i).Labels(), b.Stream(i).Annotations()} {
			if k > 0 && len(set) == 0 {
				continue
			}
			sb.WriteString([]string{"", "labels", "annotations"}[k] + "{")
			for k, a := range set {
				if k > 0 {
					sb.WriteByte(' ')
				}
				fmt.Fprintf(&sb, "%s=%s", a.Name, a.Value)
			}
			sb.WriteString("} ")
		}
		fmt.Fprintf(&sb, "%d+%d %d %q", r.Time-testTime, r.Observed-r.Time, r.Severity, b.Body(i))
		for _, f := range b.Fields(i) {
			fmt.Fprintf(&sb, " %s=%d:%s", b.KeyName(f.Key), f.Kind, b.Bytes(f.Val))
		}
		if id, ok := b.SenderID(i); ok {
			fmt.Fprintf(&sb, " id=%s", id)
		}
		if f := r.Flags &^ record.HasID; f != 0 {
			fmt.Fprintf(&sb, " flags=%d", f)
		}
		out = append(out, sb.String())
	}
	return out
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func str(s string) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: s}}
}

func num(n int64) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: n}}
}

func dbl(f float64) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_DoubleValue{DoubleValue: f}}
}

func boolean(v bool) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_BoolValue{BoolValue: v}}
}

func raw(p string) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_BytesValue{BytesValue: []byte(p)}}
}

func array(v ...*common.AnyValue) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_ArrayValue{ArrayValue: &common.ArrayValue{Values: v}}}
}

// kv makes pairs of names and values.
func kv(nv ...any) (out []*common.KeyValue) {
	for i := 0; i < len(nv); i += 2 {
		v, ok := nv[i+1].(*common.AnyValue)
		if !ok && nv[i+1] != nil {
			v = str(nv[i+1].(string))
		}
		out = append(out, &common.KeyValue{Key: nv[i].(string), Value: v})
	}
	return out
}

func list(nv ...any) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_KvlistValue{KvlistValue: &common.KeyValueList{Values: kv(nv...)}}}
}

func scoped(attributes []*common.KeyValue, scope *common.InstrumentationScope, records ...*logs.LogRecord) *logs.ResourceLogs {
	return &logs.ResourceLogs{Resource: &res.Resource{Attributes: attributes}, ScopeLogs: []*logs.ScopeLogs{{Scope: scope, LogRecords: records}}}
}

func request(rl ...*logs.ResourceLogs) *collogs.ExportLogsServiceRequest {
	return &collogs.ExportLogsServiceRequest{ResourceLogs: rl}
}

// everything is a request with all there is, and what it is decoded to.
func everything() (*collogs.ExportLogsServiceRequest, []string) {
	id := strings.Repeat("0123456789abcdef", 2)
	deep := str("bottom")
	for range 5 {
		deep = list("n", deep)
	}
	req := request(
		scoped(kv("k8s.cluster.name", "prod", "k8s.namespace.name", "shop", "k8s.pod.name", "cart-1", "k8s.pod.uid", "u", "k8s.container.name", "web", "k8s.container.restart_count", num(3),
			"k8s.replicaset.name", "cart-5d", "k8s.deployment.name", "cart", "k8s.pod.label.app.io/x", "1", "k8s.pod.annotations.note", "n", "service.name", "svc", "service.namespace", "sns",
			"deployment.environment.name", "live", "telemetry.sdk.name", "otel", "os", list("type", "linux", "v", num(6)), "args", array(str("a"), num(1)), "team", "blue", "empty", ""),
			&common.InstrumentationScope{Name: "my.lib", Version: "1.2", Attributes: kv("sc.x", num(4))},
			&logs.LogRecord{TimeUnixNano: testTime, ObservedTimeUnixNano: testTime + 1, SeverityNumber: 14, SeverityText: "WARN2", Body: str("one\n\xe4"[:4]), Flags: 1, EventName: "ev", DroppedAttributesCount: 2,
				TraceId: []byte("0123456789abcdef"), SpanId: []byte("01234567"),
				Attributes: kv("http.status", num(503), "f", dbl(1.5), "big", dbl(1e21), "nan", dbl(math.NaN()), "inf", dbl(math.Inf(-1)), "t", boolean(true), "no", boolean(false), "bytes", raw("\x01\x02"), "none", nil, "s", "x",
					"arr", array(str("x\""), num(-1), list("q", boolean(true), "z", nil), array(), raw("\xff"), dbl(math.Inf(1)), dbl(0.25)), "m", list("a.b", list("c", num(1)), "d", "e", "l", array(num(1))), "deep", deep)},
			&logs.LogRecord{ObservedTimeUnixNano: testTime + 2, SeverityText: "Error", Body: list("a", num(1), "b", array(str("x"), nil), "c", list())},
			&logs.LogRecord{TimeUnixNano: testTime + 3, Body: num(-7), SeverityNumber: 9, SeverityText: "info", Attributes: kv("log.iostream", "stderr", "log.file.path", "/x.log", "log.record.uid", id, "weir.partial", boolean(true), "weir.gap", boolean(true))},
		),
		scoped(kv("service.name", "svc2"), &common.InstrumentationScope{Name: "weir", Version: "9"},
			&logs.LogRecord{TimeUnixNano: testTime, Body: raw("\xff\x00"), Attributes: kv("level", "debug", "log.iostream", "other")},
			&logs.LogRecord{TimeUnixNano: testTime, Attributes: kv("log.record.uid", "01JABC", "trace_id", "own")},
			&logs.LogRecord{TimeUnixNano: testTime, Body: dbl(2.5), TraceId: make([]byte, 16), SpanId: []byte("short")},
			&logs.LogRecord{TimeUnixNano: testTime, Body: boolean(true)},
			&logs.LogRecord{Body: array(num(1))},
		),
		&logs.ResourceLogs{ScopeLogs: []*logs.ScopeLogs{{LogRecords: []*logs.LogRecord{{TimeUnixNano: testTime, Body: str("no resource")}}}}},
	)
	resText := `{args=["a",1] cluster=prod container=web deployment_environment_name=live %sk8s.replicaset.name=cart-5d namespace=shop os_type=linux os_v=6 pod=cart-1 pod_uid=u restart=3 service_name=svc service_namespace=sns %steam=blue telemetry.sdk.name=otel workload=deployment/cart} labels{app.io/x=1} annotations{note=n} `
	scope := " scope_name=0:my.lib scope_version=0:1.2 sc.x=1:4"
	return req, []string{
		fmt.Sprintf(resText, "", "") + `0+1 14 "one\n"` + scope +
			` http.status=1:503 f=2:1.5 big=2:1e+21 nan=0:NaN inf=0:-Infinity t=3:true no=3:false bytes=0:AQI= s=0:x arr=5:["x\"",-1,{"q":true,"z":null},[],"/w==","Infinity",0.25] m_a.b_c=1:1 m_d=0:e m_l=5:[1] deep_n_n_n_n_n=0:bottom dropped_attributes_count=1:2 flags=1:1 trace_id=0:30313233343536373839616263646566 span_id=0:3031323334353637 event_name=0:ev severity_text=0:WARN2`,
		fmt.Sprintf(resText, "", "") + `2+0 17 "{\"a\":1,\"b\":[\"x\",null],\"c\":{}}"` + scope + ` severity_text=0:Error`,
		fmt.Sprintf(resText, "file=/x.log ", "stream=stderr ") + `3+74 9 "-7"` + scope + ` id=` + id + ` flags=66`,
		`{service_name=svc2} 0+77 5 "\xff\x00" level=0:debug log.iostream=0:other`,
		`{service_name=svc2} 0+77 0 "" log.record.uid=0:01JABC trace_id=0:own id=` + hashID("01JABC"),
		`{service_name=svc2} 0+77 0 "2.5"`,
		`{service_name=svc2} 0+77 0 "true"`,
		`{service_name=svc2} 77+0 0 "[1]"`,
		`{} 0+77 0 "no resource"`,
	}
}

func hashID(s string) string {
	b, sp := batchOf(nil)
	d := decoder()
	d.b, d.p = b, b.Buf()
	_ = sp
	from := b.Append([]byte(s))
	d.p = b.Buf()
	d.special([]byte("log.record.uid"), value{num: anyString, from: int(from.Off), to: int(from.End())})
	return d.id.String()
}

func TestDecodeProtobuf(t *testing.T) {
	req, want := everything()
	body, err := proto.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	b, sp := batchOf(body)
	out, err := decoder().Protobuf(b, sp, "", now)
	if err != nil || out.Refused != 0 || out.Streams != 3 || out.Records != len(want) {
		t.Fatalf("%+v, %v", out, err)
	}
	same(t, dump(b), want...)
	for i := range b.NumRecords() {
		if r := b.Record(i); r.Source != r.Body {
			t.Errorf("record %d: source %v, body %v", i, r.Source, r.Body)
		}
	}
	if b.Stream(0) != b.Stream(1) || b.Stream(3) != b.Stream(4) {
		t.Error("a resource has two Streams")
	}
}

// otlpJSON is the request in OTLP's JSON: protojson's, but for the ids.
func otlpJSON(t testing.TB, req *collogs.ExportLogsServiceRequest, snake bool) []byte {
	text, err := protojson.MarshalOptions{UseProtoNames: snake}.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	s := string(text)
	for base64, hex := range map[string]string{
		"MDEyMzQ1Njc4OWFiY2RlZg==": "30313233343536373839616263646566", "MDEyMzQ1Njc=": "3031323334353637", "AAAAAAAAAAAAAAAAAAAAAA==": strings.Repeat("0", 32), "c2hvcnQ=": "73686F7274",
	} {
		s = strings.ReplaceAll(s, base64, hex)
	}
	return []byte(s)
}

func TestDecodeJSON(t *testing.T) {
	req, want := everything()
	for _, snake := range []bool{false, true} {
		b, sp := batchOf(otlpJSON(t, req, snake))
		out, err := decoder().JSON(b, sp, "", now)
		if err != nil || out.Refused != 0 || out.Records != len(want) {
			t.Fatalf("%+v, %v", out, err)
		}
		same(t, dump(b), want...)
	}
	// What protojson does not write, but others do.
	b, sp := batchOf([]byte(` {"unknown":{"a":[1]},"resourceLogs":[{"resource":null,"schemaUrl":"x","scopeLogs":[{"logRecords":[
		{"timeUnixNano":1763805600123456789,"severityNumber":"SEVERITY_NUMBER_ERROR3","body":{"stringValue":"a\u00e4\n"},"attributes":[{"key":"i","value":{"intValue":5}},{"value":{"intValue":5},"key":"e\u0041"},{"key":"d","value":{"doubleValue":"1.25"}},{"key":"b","value":{"bytesValue":"_-8"}}],"traceId":"","flags":"1"},
		{"timeUnixNano":"1.763805600e18","body":{"intValue":"1e3"},"severityNumber":17.0}, null
	]}]}]} `))
	out, err := decoder().JSON(b, sp, "", now)
	if err != nil {
		t.Fatalf("%+v, %v", out, err)
	}
	same(t, dump(b), `{} 0+77 19 "aä\n" i=1:5 eA=1:5 d=2:1.25 b=0:/+8= flags=1:1`, `{} -123456789+123456866 17 "1000"`, `{} 77+0 0 ""`)
}

func TestDecodeMalformed(t *testing.T) {
	body, _ := proto.Marshal(request(scoped(kv("a", "b"), &common.InstrumentationScope{Name: "x"}, &logs.LogRecord{TimeUnixNano: 5, Body: str("x"), Flags: 1, SeverityNumber: 3, Attributes: kv("a", num(1), "d", dbl(1), "l", list("x", array(str("y"))))})))
	for n := 1; n < len(body); n++ {
		b, sp := batchOf(body[:n])
		if _, err := decoder().Protobuf(b, sp, "", now); err == nil {
			t.Errorf("cut at %d of %d: taken", n, len(body))
		}
	}
	record := func(s string) string {
		return `{"resourceLogs":[{},{"scopeLogs":[{"logRecords":[{},{},` + s + `]}]}]}`
	}
	at := "resource 2: scope 1: record 3: "
	for _, c := range []struct{ text, err string }{
		{``, "json: unexpected end at offset 0"},
		{`[]`, "json: unexpected byte at offset 0"},
		{`{"resourceLogs":{}}`, "json: unexpected byte at offset 16"},
		{`{"resourceLogs":[{}]}x`, "json: bytes after the object at offset 21"},
		{`{"resourceLogs":[{"scopeLogs":[{}`, "resource 1: scope 1: json: unexpected end at offset 33"},
		{record(`{"timeUnixNano":"soon"}`), at + `timeUnixNano: not an integer that fits: "soon"`},
		{record(`{"timeUnixNano":-5}`), at + `timeUnixNano: not an integer that fits: "-5"`},
		{record(`{"timeUnixNano":true}`), at + `timeUnixNano: not a number`},
		{record(`{"flags":4294967296}`), at + `flags: not an integer that fits: "4294967296"`},
		{record(`{"severityNumber":"ERROR"}`), at + `severityNumber: not an integer that fits: "ERROR"`},
		{record(`{"traceId":"xyz"}`), at + `traceId: not hexadecimal digits`},
		{record(`{"body":"text"}`), at + `json: unexpected byte at offset 63`},
		{record(`{"body":{"intValue":"9223372036854775808"}}`), at + `intValue: not an integer that fits: "9223372036854775808"`},
		{record(`{"body":{"boolValue":1}}`), at + `boolValue: neither true nor false`},
		{record(`{"body":{"bytesValue":"!"}}`), at + `bytesValue: not base64`},
		{record(`{"body":{"doubleValue":"x"}}`), at + `doubleValue: not a number: "x"`},
		{record(`{"body":` + strings.Repeat(`{"arrayValue":{"values":[`, 60)), at + "json: nested deeper than 64 at offset 538"},
		{`{"x":` + strings.Repeat(`[`, 1000000), "json: nested deeper than 64 at offset 68"},
	} {
		b, sp := batchOf([]byte(c.text))
		if _, err := decoder().JSON(b, sp, "", now); fmt.Sprint(err) != c.err {
			t.Errorf("%.100s: %v, want %s", c.text, err, c.err)
		}
	}
}

// What exceeds a limit is left out and named; the rest is taken.
func TestDecodeRefuses(t *testing.T) {
	deep := str("x")
	for range 100 {
		deep = list("a", deep)
	}
	nested := str("x")
	for range 100 {
		nested = array(nested)
	}
	many := func(n int) (out []*common.KeyValue) {
		for i := range n {
			out = append(out, kv(fmt.Sprint("k", i), "x")...)
		}
		return out
	}
	ok := &logs.LogRecord{TimeUnixNano: testTime, Body: str("ok")}
	body, err := proto.Marshal(request(
		scoped(kv("a", "b"), nil, ok,
			&logs.LogRecord{Attributes: many(5)}, &logs.LogRecord{Attributes: kv("a-very-long-name", "x")}, &logs.LogRecord{Attributes: kv("x", strings.Repeat("x", 100))},
			&logs.LogRecord{Attributes: kv("x", deep)}, &logs.LogRecord{Body: nested}, &logs.LogRecord{TimeUnixNano: 1 << 63}, &logs.LogRecord{Attributes: kv("abcdef", list("ghijkl", "x"))}),
		scoped(kv("_.tenant__", "evil"), nil, ok, ok),
		scoped(kv("..tenant..", "evil"), nil, ok),
		scoped(kv("x", list("y", nested)), nil, ok),
		scoped(many(5), nil, ok),
		scoped(kv("long", strings.Repeat("x", 50)), nil, ok),
		scoped(kv("long.but.metadata", strings.Repeat("x", 40)), nil, ok),
		scoped(nil, nil, ok),
	))
	if err != nil {
		t.Fatal(err)
	}
	d := NewDecoder(wire.Limits{Metadata: 4, NameBytes: 12, MetadataBytes: 90, ValueBytes: 40}, new(wire.StreamCache))
	d.limits.NameBytes = 12
	b, sp := batchOf(body)
	out, err := d.Protobuf(b, sp, "", now)
	if err != nil || out.Records != 16 || out.Streams != 8 || out.Refused != 14 {
		t.Errorf("%+v, %v", out, err)
	}
	at := "resource 1: scope 1: record "
	same(t, out.Reasons, at+"2: more than 4 attributes", at+"3: attribute name of more than 12 bytes", at+"4: attributes of more than 90 bytes",
		at+"5: attribute name of more than 12 bytes", at+"6: values nested deeper than 64", at+"7: time is beyond the year 2262", at+"8: attribute name of more than 12 bytes",
		`resource 2: attribute name "_.tenant__" is reserved`, `resource 3: attribute name "..tenant.." is reserved`, "resource 4: values nested deeper than 64")
	if out.Unlisted != 3 {
		t.Errorf("%d unlisted", out.Unlisted)
	}
	same(t, dump(b), `{a=b} 0+77 0 "ok"`, `{} 0+77 0 "ok"`)
}

func TestDecodeTenants(t *testing.T) {
	d := decoder()
	body, _ := proto.Marshal(request(scoped(kv("a", "b"), nil, &logs.LogRecord{})))
	for _, tenant := range []string{"one", "two", "", "one"} {
		b, sp := batchOf(body)
		if _, err := d.Protobuf(b, sp, tenant, now); err != nil {
			t.Fatal(err)
		}
		if got := b.Stream(0).Get(record.AttrTenant); got != tenant {
			t.Errorf("tenant %q, want %q", got, tenant)
		}
	}
}

// Requests that are small and say much cost what they are, and no more.
func TestDecodeBombs(t *testing.T) {
	field := func(dst []byte, n protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(dst, n, protowire.BytesType), v)
	}
	empty := func(n int) []byte { return []byte(strings.Repeat("\x12\x00", n)) }
	d := NewDecoder(wire.Limits{Entries: 1000}, new(wire.StreamCache))
	b, sp := batchOf(field(nil, 1, field(nil, 2, empty(1001))))
	if _, err := d.Protobuf(b, sp, "", now); !errors.Is(err, wire.ErrTooMany) {
		t.Errorf("records: %v", err)
	}
	// A large scope that each of very many small records would repeat.
	scope, _ := proto.Marshal(&common.InstrumentationScope{Attributes: kv("x", strings.Repeat("x", 60000))})
	b, sp = batchOf(field(nil, 1, field(nil, 2, append(field(nil, 1, scope), empty(100000)...))))
	d = decoder()
	if _, err := d.Protobuf(b, sp, "", now); !errors.Is(err, wire.ErrTooMany) {
		t.Errorf("scope: %v", err)
	}
	// A large resource with a stream for each record.
	resBytes, _ := proto.Marshal(&res.Resource{Attributes: kv("x.y", strings.Repeat("x", 60000))})
	var records []byte
	for i := range 20000 {
		r, _ := proto.Marshal(&logs.LogRecord{Attributes: kv("log.file.path", fmt.Sprint("/", i))})
		records = field(records, 2, r)
	}
	b, sp = batchOf(field(nil, 1, field(field(nil, 1, resBytes), 2, records)))
	out, err := d.Protobuf(b, sp, "", now)
	if n := len(b.Streams()); err != nil || out.Refused != 0 || n > 500 {
		t.Errorf("resource: %+v, %v, %d streams", out, err, n)
	}
	if f, ok := b.FindField(19999, "log.file.path"); !ok || string(b.Bytes(f.Val)) != "/19999" {
		t.Errorf("the file's name is lost")
	}
	// Names beyond what a batch has room for, and a nested one that grows.
	records = nil
	for i := range record.MaxKeys + 1 {
		r, _ := proto.Marshal(&logs.LogRecord{Attributes: kv(fmt.Sprint("k", i), "v")})
		records = field(records, 2, r)
	}
	b, sp = batchOf(field(nil, 1, field(nil, 2, records)))
	out, err = d.Protobuf(b, sp, "", now)
	if err != nil || out.Refused != 1 || !strings.Contains(out.Reasons[0], "names of attributes in a request") {
		t.Errorf("names: %+v, %v", out, err)
	}
	leaves := make([]any, 0, 20000)
	for range 10000 {
		leaves = append(leaves, "k", "v")
	}
	wide, _ := proto.Marshal(request(scoped(nil, nil, &logs.LogRecord{Attributes: kv(strings.Repeat("n", 1<<20), list(leaves...))}), scoped(kv(strings.Repeat("n", 1<<20), list(leaves...)), nil, &logs.LogRecord{})))
	b, sp = batchOf(wide)
	out, err = d.Protobuf(b, sp, "", now)
	if err != nil || out.Refused != 2 || len(d.name) > 4096 {
		t.Errorf("long name: %+v, %v", out, err)
	}
}

// What weir's own encoder writes comes back.
func TestRoundTrip(t *testing.T) {
	b := record.NewBatch(nil)
	add(b, cart, "one", record.Record{Time: testTime, Observed: testTime + 1, Severity: record.Warn + 1, Start: 10, End: 20})
	add(b, file, "two\xff", record.Record{Time: testTime, Flags: record.Generated | record.Gap})
	add(b, cartErr, "three", record.Record{Time: testTime, Flags: record.Partial | record.Continued},
		field{"trace_id", record.String, "0123456789abcdef0123456789abcdef"}, field{"i", record.Int, "-12"}, field{"f", record.Float, "1.5"}, field{"t", record.Bool, "true"}, field{"s", record.String, "x"})
	body := New(Config{Labels: []string{"*"}, Annotations: []string{"*"}}).Append(nil, []record.Part{part(b)})
	got, sp := batchOf(body)
	if out, err := decoder().Protobuf(got, sp, "", now); err != nil || out.Refused != 0 {
		t.Fatal(out, err)
	}
	byBody := map[string]int{}
	for i := range got.NumRecords() {
		byBody[string(got.Body(i))] = i
	}
	for i := range b.NumRecords() {
		k, ok := byBody[string(b.Body(i))]
		if !ok {
			t.Fatalf("%q is lost", b.Body(i))
		}
		if g, w := got.Stream(k), b.Stream(i); g.Hash() != w.Hash() {
			t.Errorf("stream %v %v %v, want %v %v %v", g.Attrs(), g.Labels(), g.Annotations(), w.Attrs(), w.Labels(), w.Annotations())
		}
		r, w := got.Record(k), b.Record(i)
		if r.Time != w.Time || r.Severity != w.Severity || (r.Flags^w.Flags)&(record.Partial|record.Continued) != 0 {
			t.Errorf("%+v, want %+v", r, w)
		}
		if id := wire.RecordID(b, i); wire.RecordID(got, k) != id {
			t.Errorf("id %s, want %s", wire.RecordID(got, k), id)
		}
		for _, f := range b.Fields(i) {
			g, ok := got.FindField(k, b.KeyName(f.Key))
			if !ok || g.Kind != f.Kind || string(got.Bytes(g.Val)) != string(b.Bytes(f.Val)) {
				t.Errorf("%s: %v %s, want %s", b.KeyName(f.Key), g, got.Bytes(g.Val), b.Bytes(f.Val))
			}
		}
	}
}

func FuzzDecodeProtobuf(f *testing.F) {
	req, _ := everything()
	body, _ := proto.Marshal(req)
	f.Add(body)
	f.Fuzz(func(t *testing.T, body []byte) {
		b, sp := batchOf(body)
		out, err := decoder().Protobuf(b, sp, "t", now)
		var oracle collogs.ExportLogsServiceRequest
		if proto.Unmarshal(body, &oracle) == nil && err == nil {
			n := 0
			for _, rl := range oracle.ResourceLogs {
				for _, sl := range rl.ScopeLogs {
					n += len(sl.LogRecords)
				}
			}
			if n != out.Records {
				t.Fatalf("%d records, the oracle has %d", out.Records, n)
			}
		}
		check(t, b, out, err)
	})
}

func FuzzDecodeJSON(f *testing.F) {
	req, _ := everything()
	f.Add(otlpJSON(f, req, false))
	f.Add(otlpJSON(f, req, true))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, sp := batchOf(text)
		out, err := decoder().JSON(b, sp, "t", now)
		check(t, b, out, err)
	})
}

func check(t *testing.T, b *record.Batch, out wire.Outcome, err error) {
	if err != nil {
		return
	}
	if b.NumRecords()+out.Refused != out.Records || len(out.Reasons) > wire.MaxReasons {
		t.Fatalf("%d records, %+v", b.NumRecords(), out)
	}
	dump(b) // reads every span
	for i := range b.NumRecords() {
		if b.Stream(i).Get(record.AttrTenant) != "t" {
			t.Fatal("another tenant")
		}
	}
}

func TestDecodeAllocatesNothingPerRecord(t *testing.T) {
	body := New(Config{}).Append(nil, []record.Part{part(mixed(t))})
	d := decoder()
	b := record.NewBatch(nil)
	run := func() {
		b.Reset(nil)
		if _, err := d.Protobuf(b, b.Append(body), "", now); err != nil {
			t.Fatal(err)
		}
	}
	run()
	// The batch's key table and the request's streams are made anew.
	if n := testing.AllocsPerRun(10, run); n > 100 {
		t.Errorf("%v allocations for %d records", n, b.NumRecords())
	}
}

func BenchmarkDecode(bm *testing.B) {
	body := New(Config{}).Append(nil, []record.Part{part(mixed(bm))})
	// As the Collector sends them: no ids.
	plain := decode(bm, body)
	for _, rl := range plain.ResourceLogs {
		for _, r := range rl.ScopeLogs[0].LogRecords {
			r.Attributes = kv("log.iostream", "stdout", "http.request.method", "GET", "http.response.status_code", num(200), "duration_ms", dbl(1.25))
			r.TraceId, r.SpanId = []byte("0123456789abcdef"), []byte("01234567")
		}
	}
	collector, _ := proto.Marshal(plain)
	for _, c := range []struct {
		name string
		body []byte
		text bool
	}{{"weir", body, false}, {"collector", collector, false}, {"json", otlpJSON(bm, plain, false), true}} {
		bm.Run(c.name, func(bm *testing.B) {
			d := decoder()
			b := record.NewBatch(nil)
			bm.SetBytes(int64(len(c.body)))
			bm.ReportAllocs()
			for bm.Loop() {
				b.Reset(nil)
				s := b.Append(c.body)
				var err error
				if c.text {
					_, err = d.JSON(b, s, "", now)
				} else {
					_, err = d.Protobuf(b, s, "", now)
				}
				if err != nil {
					bm.Fatal(err)
				}
			}
			bm.ReportMetric(float64(bm.Elapsed().Nanoseconds())/float64(bm.N*b.NumRecords()), "ns/record")
		})
	}
}
