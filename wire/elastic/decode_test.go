package elastic

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

const now = int64(1_800_000_000_000_000_000)

func batchOf(body string) (*record.Batch, record.Span) {
	b := record.NewBatch(nil)
	b.AppendString("before it stands something else")
	return b, b.AppendString(body)
}

// text writes what is in a batch, one line per record.
func text(b *record.Batch) string {
	var sb strings.Builder
	for i := range b.NumRecords() {
		r := b.Record(i)
		sb.WriteByte('{')
		for k, a := range b.Stream(i).Attrs() {
			if k > 0 {
				sb.WriteByte(' ')
			}
			fmt.Fprintf(&sb, "%s=%q", a.Name, a.Value)
		}
		for _, a := range b.Stream(i).Labels() {
			fmt.Fprintf(&sb, " label:%s=%q", a.Name, a.Value)
		}
		at := "now"
		if r.Time != now {
			at = fmt.Sprint(r.Time)
		}
		fmt.Fprintf(&sb, "} %s %s %q", at, r.Severity.Level(), b.Body(i))
		for _, f := range b.Fields(i) {
			fmt.Fprintf(&sb, " %s=%q/%d", b.KeyName(f.Key), b.Bytes(f.Val), f.Kind)
		}
		if id, ok := b.SenderID(i); ok {
			fmt.Fprintf(&sb, " id=%s", id)
		}
		if r.Flags.Has(record.JSONObject) {
			sb.WriteString(" json")
		}
		if f := r.Flags & wire.Notable; f != 0 {
			fmt.Fprintf(&sb, " flags=%d", f)
		}
		sb.WriteByte('\n')
	}
	return sb.String()
}

func TestDecode(t *testing.T) {
	const k8s = `"kubernetes":{"pod_name":"cart-1","namespace_name":"shop","container_name":"app","host":"n1","pod_ip":"10.0.0.1","restart_count":2,"labels":{"app":"cart","tier":"web"}}`
	for _, c := range []struct{ name, body, want string }{
		{"as Fluent Bit writes it", `{"create":{"_index":"i","_id":"0123456789abcdef0123456789abcdef"}}` + "\n" +
			`{"@timestamp":"2026-11-22T10:00:00.123456789Z","log":"a\nb","stream":"stderr",` + k8s + "}\n",
			`{_index="i" container="app" kubernetes.pod_ip="10.0.0.1" namespace="shop" node="n1" pod="cart-1" restart="2" stream="stderr" label:app="cart" label:tier="web"} 1795341600123456789 unknown "a\nb" id=0123456789abcdef0123456789abcdef` + "\n"},
		{"with other members", `{"index":{"_index":"i"}}` + "\n" + `{"log":"x","user":{"id":7},"n":1.5,"ok":true,"none":null,"level":"warn"}` + "\n",
			`{_index="i"} now warn "x" user="{\"id\":7}"/5 n="1.5"/2 ok="true"/3 none="null"/4` + "\n"},
		{"ECS", `{"index":{"_index":"i"}}` + "\n" + `{"@timestamp":"2026-11-22T10:00:00Z","message":"x","log":{"level":"error","file":{"path":"/a"}},"service":{"name":"s"},"host":{"name":"h"},"kubernetes":{"pod":{"name":"p"},"namespace":"ns","deployment":{"name":"d"},"container":{"name":"c"}}}` + "\n",
			`{_index="i" container="c" file="/a" namespace="ns" node="h" pod="p" service_name="s" workload="deployment/d"} 1795341600000000000 unknown "{\"message\":\"x\",\"log\":{\"level\":\"error\",\"file\":{\"path\":\"/a\"}},\"service\":{\"name\":\"s\"},\"host\":{\"name\":\"h\"},\"kubernetes\":{\"pod\":{\"name\":\"p\"},\"namespace\":\"ns\",\"deployment\":{\"name\":\"d\"},\"container\":{\"name\":\"c\"}}}" json` + "\n"},
		{"a message alone keeps its name", "{\"index\":{\"_index\":\"i\"}}\n{\"message\":\"x\"}", `{_index="i"} now unknown "{\"message\":\"x\"}" json` + "\n"},
		{"nothing", "{\"index\":{\"_index\":\"i\"}}\n{}\r\n", `{_index="i"} now unknown "{}" json` + "\n"},
		{"flags", "{\"index\":{\"_index\":\"i\"}}\n{\"log\":\"x\",\"weir\":{\"partial\":true}}\n{\"index\":{\"_index\":\"i\"}}\n{\"log\":\"x\",\"weir\":{\"gap\":true}}\n",
			`{_index="i"} now unknown "x" flags=2` + "\n" + `{_index="i"} now unknown "x" weir="{\"gap\":true}"/5` + "\n"},
		{"escaped names and a time that is none", "{\"index\":{\"_index\":\"\\u0069\"}}\n{\"lo\\u0067\":\"\\ud83d\\ude00\",\"a\\tb\":1,\"@timestamp\":\"soon\"}\n",
			`{_index="i"} now unknown "😀" a` + "\tb=\"1\"/1 @timestamp=\"soon\"/0\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, s := batchOf(c.body)
			_, out, err := NewDecoder(wire.Limits{}, new(wire.StreamCache)).Decode(b, s, "", "", now)
			if err != nil || out.Refused != 0 {
				t.Fatalf("%+v, %v", out, err)
			}
			if got := text(b); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

func TestDecodeItems(t *testing.T) {
	b, s := batchOf(strings.Join([]string{
		`{"create":{"_id":"a"}}`, `{"log":"1"}`,
		`{"delete":{"_index":"x","_id":"b"}}`,
		`{"update":{"_id":"c"}}`, `{"doc":{}}`,
		`{"index":{"_index":"y"}}`, `{"log":`,
		`{"index":{"_index":"y"}}`, `{"log":"2"}`, "",
	}, "\n"))
	items, out, err := NewDecoder(wire.Limits{}, new(wire.StreamCache)).Decode(b, s, "path", "t", now)
	if err != nil || out.Records != 5 || out.Refused != 3 {
		t.Fatalf("%+v, %v", out, err)
	}
	var got strings.Builder
	for _, it := range items {
		fmt.Fprintf(&got, "%s %d %q %q %d %s\n", it.Op, it.Record, b.Bytes(it.Index), b.Bytes(it.ID), it.Status, it.Type)
	}
	want := `create 0 "" "a" 0 
delete -1 "x" "b" 400 action_request_validation_exception
update -1 "" "c" 400 action_request_validation_exception
index -1 "y" "" 400 document_parsing_exception
index 1 "y" "" 0 
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	if want := `{__tenant__="t" _index="path"} now unknown "1" id=`; !strings.HasPrefix(text(b), want) {
		t.Errorf("got %s", text(b))
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, body := range []string{"x\n", "{}\n{}\n", `{"index":{}`, `{"index":{}}`, `{"index":{}}` + "\n", `{"drop":{}}` + "\n{}\n", `{"index":1}` + "\n{}\n", `{"update":{}}`} {
		b, s := batchOf(body)
		if _, _, err := NewDecoder(wire.Limits{}, new(wire.StreamCache)).Decode(b, s, "i", "", now); err == nil {
			t.Errorf("%q: no error", body)
		}
	}
	b, s := batchOf(strings.Repeat("{\"index\":{}}\n{\"log\":\"x\"}\n", 4))
	if _, _, err := NewDecoder(wire.Limits{Entries: 3}, new(wire.StreamCache)).Decode(b, s, "i", "", now); !errors.Is(err, wire.ErrTooMany) {
		t.Error(err)
	}
	b, s = batchOf(`{"index":{}}` + "\n" + strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100) + "\n")
	if _, out, err := NewDecoder(wire.Limits{}, new(wire.StreamCache)).Decode(b, s, "i", "", now); err != nil || out.Refused != 1 {
		t.Error(out, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("{\"index\":{\"_index\":\"i\",\"_id\":\"a\"}}\n{\"log\":\"x\",\"kubernetes\":{\"pod_name\":\"p\"},\"u\\u0041\":[1]}\n{\"delete\":{}}\n"))
	f.Add([]byte("{\"index\":{}}\n" + strings.Repeat(`{"a":`, 70) + "\n"))
	f.Add([]byte("{\"index\":{}}\n{\"kubernetes\":{\"pod_name\":" + strings.Repeat("[", 63) + strings.Repeat("]", 63) + "},\"message\":\"\"}\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		b, s := batchOf(string(p))
		items, out, err := NewDecoder(wire.Limits{}, new(wire.StreamCache)).Decode(b, s, "i", "t", now)
		if err != nil {
			return
		}
		if len(items) != out.Records || b.NumRecords() != out.Records-out.Refused {
			t.Fatal(len(items), b.NumRecords(), out)
		}
		check(t, b)
	})
}

// check looks at what every encoder relies on.
func check(t *testing.T, b *record.Batch) {
	for i := range b.NumRecords() {
		r := b.Record(i)
		if r.Body.End() > uint32(b.Len()) {
			t.Fatal("body out of the buffer")
		}
		if r.Flags.Has(record.JSONObject) && !stdjson.Valid(b.Body(i)) {
			t.Fatalf("flagged, but no object: %q", b.Body(i))
		}
		if b.Stream(i).Get(record.AttrTenant) != "t" {
			t.Fatal("another tenant")
		}
		for _, f := range b.Fields(i) {
			_, _ = b.KeyName(f.Key), b.Bytes(f.Val)
		}
	}
}

func BenchmarkDecode(bm *testing.B) {
	line := `{"create":{"_index":"logs-shop-2026.11.22"}}` + "\n" +
		`{"@timestamp":"2026-11-22T10:00:%02d.123456789Z","stream":"stdout","log":"%s","kubernetes":{"pod_name":"cart-7d9f8b-x2x1z","namespace_name":"shop","container_name":"app","host":"node-1","pod_id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","labels":{"app":"cart","pod-template-hash":"7d9f8b"}}}` + "\n"
	ecs := `{"create":{"_index":"logs-shop-2026.11.22"}}` + "\n" +
		`{"@timestamp":"2026-11-22T10:00:%02d.123Z","message":"%s","log":{"level":"info","offset":1234},"host":{"name":"node-1"},"service":{"name":"cart"},"user":{"id":17}}` + "\n"
	for _, c := range []struct{ name, line string }{{"fluentbit", line}, {"ecs", ecs}} {
		bm.Run(c.name, func(bm *testing.B) {
			var body []byte
			for i := range 2000 {
				body = fmt.Appendf(body, c.line, i%60, strings.Repeat("GET /cart/17 took 12 ms; ", 1+i%8))
			}
			d := NewDecoder(wire.Limits{}, new(wire.StreamCache))
			b := record.NewBatch(nil)
			bm.SetBytes(int64(len(body)))
			bm.ReportAllocs()
			for bm.Loop() {
				b.Reset(nil)
				if _, out, err := d.Decode(b, b.Append(body), "", "", now); err != nil || out.Refused > 0 {
					bm.Fatal(out, err)
				}
			}
		})
	}
}
