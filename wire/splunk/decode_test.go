package splunk

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

const decodeNow = int64(1_800_000_000_000_000_000)

func decode(body string, raw bool, of Metadata) (*record.Batch, wire.Outcome, error) {
	b := record.NewBatch(nil)
	b.AppendString("before it stands something else")
	s := b.AppendString(body)
	d := NewDecoder(wire.Limits{}, new(wire.StreamCache))
	if raw {
		out, err := d.Raw(b, s, of, "t", decodeNow)
		return b, out, err
	}
	out, err := d.Events(b, s, of, "t", decodeNow)
	return b, out, err
}

// decoded writes what is in a batch, one line per record.
func decoded(b *record.Batch) string {
	var sb strings.Builder
	for i := range b.NumRecords() {
		r := b.Record(i)
		for _, a := range b.Stream(i).Attrs() {
			if a.Name != record.AttrTenant {
				fmt.Fprintf(&sb, "%s=%s ", a.Name, a.Value)
			}
		}
		if r.Time != decodeNow {
			fmt.Fprintf(&sb, "%d ", r.Time)
		}
		fmt.Fprintf(&sb, "%s %q", r.Severity.Level(), b.Body(i))
		for _, f := range b.Fields(i) {
			fmt.Fprintf(&sb, " %s=%q", b.KeyName(f.Key), b.Bytes(f.Val))
		}
		sb.WriteByte('\n')
	}
	return sb.String()
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name, body string
		raw        bool
		of         Metadata
		want       string
	}{
		{"events", `{"event":"a\nb","time":1795341600.25,"host":"h","source":"s","sourcetype":"st","index":"main"}{"event":{"x":1},"time":"1795341600"} {"event":[1,2]}
{"event":17}`, false, Metadata{},
			"index=main node=h source=s sourcetype=st 1795341600250000000 unknown \"a\\nb\"\n1795341600000000000 unknown \"{\\\"x\\\":1}\"\nunknown \"[1,2]\"\nunknown \"17\"\n"},
		{"an array", `[{"event":"a"},{"event":"b"}]`, false, Metadata{}, "unknown \"a\"\nunknown \"b\"\n"},
		{"fields", `{"event":"a","fields":{"k8s.pod.name":"p","severity":"WARN","n":5,"l":["x","y"]},"host":null,"time":null}`, false, Metadata{Host: "q"},
			"node=q pod=p warn \"a\" severity=\"WARN\" n=\"5\" l=\"[\\\"x\\\",\\\"y\\\"]\"\n"},
		{"an event's words win", `{"event":"a","host":"h"}`, false, Metadata{Host: "q", Source: "s", Time: 5}, "node=h source=s 5 unknown \"a\"\n"},
		{"escapes", `{"ev\u0065nt":"\ud83d\ude00 \"","host":"\u0068"}`, false, Metadata{}, "node=h unknown \"😀 \\\"\"\n"},
		{"raw", "a\r\n\n{\"b\":1}\nc", true, Metadata{Source: "s"}, "source=s unknown \"a\"\nsource=s unknown \"{\\\"b\\\":1}\"\nsource=s unknown \"c\"\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, out, err := decode(c.body, c.raw, c.of)
			if err != nil || out.Refused > 0 || out.Records != b.NumRecords() {
				t.Fatalf("%+v, %v", out, err)
			}
			if got := decoded(b); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, c := range []struct {
		body         string
		code, number int
	}{
		{`x`, 6, 0}, {`{"event":"a"} x`, 6, 1}, {`{"event":"a"`, 6, 0}, {`{"event":"a"}{}`, 12, 1}, {`{"event":null}`, 12, 0}, {`{"event":""}`, 13, 0},
		{`{"event":"a","fields":5}`, 15, 0}, {`{"event":"a","time":"soon"}`, 6, 0}, {`[{"event":"a"}`, 6, 1}, {`{"event":` + strings.Repeat("[", 70) + "}", 6, 0},
	} {
		b, _, err := decode(c.body, false, Metadata{})
		var e *EventError
		if !errors.As(err, &e) || e.Code != c.code || e.Number != c.number || b.NumRecords() != c.number {
			t.Errorf("%s: %v, %d records", c.body, err, b.NumRecords())
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"event":"a","time":1.5,"fields":{"a\u0062":1,"k8s.pod.name":"p"}}{"event":{"x":1}}`), false)
	f.Add([]byte(`{"event":`+strings.Repeat(`{"a":`, 70)), false)
	f.Add([]byte("a\r\n\n"), true)
	f.Fuzz(func(t *testing.T, p []byte, raw bool) {
		b, out, err := decode(string(p), raw, Metadata{})
		var e *EventError
		if err != nil && !errors.As(err, &e) {
			return
		}
		if b.NumRecords() != out.Records {
			t.Fatal(b.NumRecords(), out)
		}
		for i := range b.NumRecords() {
			if b.Record(i).Flags.Has(record.JSONObject) && !stdjson.Valid(b.Body(i)) {
				t.Fatalf("flagged, but no object: %q", b.Body(i))
			}
			for _, f := range b.Fields(i) {
				_, _ = b.KeyName(f.Key), b.Bytes(f.Val)
			}
			if b.Stream(i).Get(record.AttrTenant) != "t" {
				t.Fatal("another tenant")
			}
		}
	})
}

func BenchmarkDecode(bm *testing.B) {
	var body []byte
	for i := range 2000 {
		body = fmt.Appendf(body, `{"time":17953416%02d.123,"host":"node-1","source":"/var/log/app.log","sourcetype":"app","index":"main","event":"%s"}`, i%60, strings.Repeat("GET /cart/17 took 12 ms; ", 1+i%8))
	}
	d := NewDecoder(wire.Limits{}, new(wire.StreamCache))
	b := record.NewBatch(nil)
	bm.SetBytes(int64(len(body)))
	bm.ReportAllocs()
	for bm.Loop() {
		b.Reset(nil)
		if out, err := d.Events(b, b.Append(body), Metadata{}, "", decodeNow); err != nil || out.Refused > 0 {
			bm.Fatal(out, err)
		}
	}
}
