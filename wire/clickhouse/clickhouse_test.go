package clickhouse

import (
	"bytes"
	stdjson "encoding/json"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
)

var testStream = record.NewStream([]record.Attr{
	{Name: "namespace", Value: "shop"}, {Name: "pod", Value: "api-1"}, {Name: "workload", Value: "deployment/api"}, {Name: "app", Value: "api"},
	{Name: "stream", Value: "stderr"}, {Name: "team", Value: "a\"b"},
}, []record.Attr{{Name: "app", Value: "x"}}, nil)

func batch(bodies ...string) record.Part {
	b := record.NewBatch(nil)
	si := b.AddStream(record.StreamRef{Stream: testStream, Generation: record.ID{Hi: 1, Lo: 2}})
	for i, body := range bodies {
		sp := b.AppendString(body)
		r := b.Add(record.Record{Time: 1795000000123456789, Observed: 1795000001e9, Start: int64(i), End: int64(i + 1), Body: sp, Source: sp, Stream: si, Severity: record.Error})
		b.SetField(r, "trace_id", record.String, b.AppendString("0123"))
		b.SetField(r, "user", record.Int, b.AppendString("7"))
		b.SetField(r, "log.record.uid", record.String, b.AppendString("forged"))
	}
	b.Freeze()
	return record.NewPart(b, b.Live())
}

func rows(t *testing.T, out []byte) []map[string]any {
	t.Helper()
	var got []map[string]any
	for line := range bytes.Lines(out) {
		var m map[string]any
		if err := stdjson.Unmarshal(line, &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got = append(got, m)
	}
	return got
}

func TestDefaultColumns(t *testing.T) {
	e, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := rows(t, e.Append(nil, []record.Part{batch("hello", "bad \xff\n\"quote")}))
	if len(got) != 2 {
		t.Fatal(got)
	}
	m := got[0]
	for name, want := range map[string]any{
		"Timestamp": "2026-11-18T11:06:40.123456789Z", "TraceId": "0123", "SpanId": "", "SeverityText": "error", "SeverityNumber": 17.0,
		"ServiceName": "api", "Body": "hello",
	} {
		if m[name] != want {
			t.Errorf("%s is %v, want %v", name, m[name], want)
		}
	}
	res, attrs := m["ResourceAttributes"].(map[string]any), m["LogAttributes"].(map[string]any)
	if res["k8s.namespace.name"] != "shop" || res["k8s.deployment.name"] != "api" || res["k8s.pod.label.app"] != "x" || res["team"] != "a\"b" {
		t.Errorf("resource %v", res)
	}
	if attrs["user"] != "7" || attrs["log.iostream"] != "stderr" || len(attrs["log.record.uid"].(string)) != 32 || attrs["field_log.record.uid"] != "forged" || attrs["trace_id"] != nil {
		t.Errorf("attributes %v", attrs)
	}
	if got[1]["Body"] != "bad \ufffd\n\"quote" {
		t.Errorf("body %q", got[1]["Body"])
	}
}

func TestOwnColumns(t *testing.T) {
	e, err := New([]Column{
		{"s", "time_unix"}, {"ms", "time_unix_milli"}, {"ns", "time_unix_nano"}, {"o", "observed_time"}, {"std", "stream"},
		{"n", "${namespace}/${user}"}, {"id", "id"}, {"we`ird\"", "body"},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := rows(t, e.Clone().Append(nil, []record.Part{batch("x")}))[0]
	if m["s"] != 1795000000.0 || m["ms"] != 1795000000123.0 || m["std"] != "stderr" || m["n"] != "shop/7" || m["we`ird\""] != "x" || len(m) != 8 {
		t.Error(m)
	}
	if q := e.Query("d`b", "t"); !strings.HasPrefix(q, "INSERT INTO `d\\`b`.`t` (`s`, ") || !strings.HasSuffix(q, "`we\\`ird\"`) FORMAT JSONEachRow") {
		t.Error(q)
	}
	for _, bad := range []Column{{"a", "nonsense"}, {"a", "${"}} {
		if _, err := New([]Column{bad}); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

func TestParseException(t *testing.T) {
	for in, want := range map[string]Exception{
		"Code: 60. DB::Exception: Table default.x doesn't exist. (UNKNOWN_TABLE) (version 24.3.1.1 (official build))": {60, "UNKNOWN_TABLE"},
		"Code: 47, e.displayText() = DB::Exception: Unknown identifier: x, e.what() = DB::Exception":                  {47, ""},
		"ok so far\nCode: 252. DB::Exception: Too many parts (300). Merges are slower. (TOO_MANY_PARTS)":              {252, "TOO_MANY_PARTS"},
	} {
		if x, ok := ParseException([]byte(in)); !ok || x != want {
			t.Errorf("%q: %v %v", in, x, ok)
		}
	}
	for _, in := range []string{"", "Ok.", "Code: x", "Code: 12 but no more"} {
		if x, ok := ParseException([]byte(in)); ok {
			t.Errorf("%q: %v", in, x)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	bodies := make([]string, 1000)
	size := 0
	for i := range bodies {
		bodies[i] = strings.Repeat("some text ", 15)
		size += len(bodies[i])
	}
	e, _ := New(nil)
	p := []record.Part{batch(bodies...)}
	var dst []byte
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		dst = e.Append(dst[:0], p)
	}
}
