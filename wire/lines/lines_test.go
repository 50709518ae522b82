package lines

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/document"
	"github.com/weirlog/weir/wire/jsonl"
)

const now = int64(1_800_000_000_000_000_000)

func decode(body string, f Format, o document.LineOptions, from *Sender) (*record.Batch, wire.Outcome, error) {
	b := record.NewBatch(nil)
	b.AppendString("before it stands something else")
	s := b.AppendString(body)
	out, err := NewDecoder(wire.Limits{}, new(wire.StreamCache), document.Lines(o)).Decode(b, s, f, from, "", now)
	return b, out, err
}

// text writes what is in a batch, one line per record.
func text(b *record.Batch) string {
	var sb strings.Builder
	for i := range b.NumRecords() {
		r := b.Record(i)
		for _, a := range b.Stream(i).Attrs() {
			fmt.Fprintf(&sb, "%s=%s ", a.Name, a.Value)
		}
		if r.Time != now {
			fmt.Fprintf(&sb, "%d ", r.Time)
		}
		fmt.Fprintf(&sb, "%s %q", r.Severity.Level(), b.Body(i))
		for _, f := range b.Fields(i) {
			fmt.Fprintf(&sb, " %s=%q", b.KeyName(f.Key), b.Bytes(f.Val))
		}
		if f := r.Flags & wire.Notable; f != 0 {
			fmt.Fprintf(&sb, " flags=%d", f)
		}
		sb.WriteByte('\n')
	}
	return sb.String()
}

func TestDecode(t *testing.T) {
	labels := &Sender{Attrs: []record.Attr{{Name: "app", Value: "x"}}, Key: []byte("app=x")}
	for _, c := range []struct {
		name, body string
		f          Format
		o          document.LineOptions
		from       *Sender
		want       string
		refused    int
	}{
		{"text", "a\r\n\n b \x00\xff\n[x]\n{c}", Text, document.LineOptions{}, labels, "app=x unknown \"a\"\napp=x unknown \" b \\x00\\xff\"\napp=x unknown \"[x]\"\napp=x unknown \"{c}\"\n", 0},
		{"auto", "plain\n{\"message\":\"m\\n\",\"level\":\"warn\",\"time\":\"2026-11-22T10:00:00Z\"}\n{broken\n  \n[info] x\n", Auto, document.LineOptions{}, nil,
			"unknown \"plain\"\n1795341600000000000 warn \"m\\n\"\nunknown \"{broken\"\nunknown \"[info] x\"\n", 0},
		{"what an application logs stays as it is", `{"level":"info", "msg":"m", "user":5, "time":1795341600}`, Auto, document.LineOptions{}, nil,
			"1795341600000000000 info \"{\\\"level\\\":\\\"info\\\", \\\"msg\\\":\\\"m\\\", \\\"user\\\":5, \\\"time\\\":1795341600}\"\n", 0},
		{"array", ` [{"message":"a"}, {"x":1}, 5 , []]`, JSON, document.LineOptions{}, nil, "unknown \"a\"\nunknown \"{\\\"x\\\":1}\"\n", 2},
		{"json refuses", "{\"a\":1}\nb\n{\"a\":1,\"a\":2}\n", JSON, document.LineOptions{}, nil, "unknown \"{\\\"a\\\":1}\"\n", 2},
		{"VictoriaLogs", `{"m":"hi","at":"2026-11-22T10:00:00Z","app":"a","stream":"s1","n":3,"skip":1,"x.y":2}`, JSON,
			document.LineOptions{Message: []string{"m"}, Time: []string{"at"}, Stream: []string{"stream", "app"}, Ignore: []string{"skip", "x.*"}}, nil,
			"app=a stream=s1 1795341600000000000 unknown \"hi\" n=\"3\"\n", 0},
		{"labels of the request give way", `{"namespace":"n","_msg":"hi"}`, JSON, document.LineOptions{},
			&Sender{Attrs: []record.Attr{{Name: "namespace", Value: "q"}, {Name: "team", Value: "t"}}, Key: []byte("k")}, "namespace=n team=t unknown \"hi\"\n", 0},
		{"no tenant by the back door", `{"_msg":"hi","__tenant__":"other"}`, JSON, document.LineOptions{Stream: []string{"__tenant__"}}, nil, "unknown \"hi\"\n", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.from == nil {
				c.from = &Sender{}
			}
			b, out, err := decode(c.body, c.f, c.o, c.from)
			if err != nil || out.Refused != c.refused {
				t.Fatalf("%+v, %v", out, err)
			}
			if got := text(b); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

func TestLongLines(t *testing.T) {
	body := strings.Repeat("x", 2*MaxLine+5)
	b, out, err := decode(body, Auto, document.LineOptions{}, &Sender{})
	if err != nil || out.Records != 3 || b.NumRecords() != 3 {
		t.Fatal(out, err)
	}
	got := string(b.Body(0)) + string(b.Body(1)) + string(b.Body(2))
	flags := [3]record.Flags{}
	for i := range flags {
		flags[i] = b.Record(i).Flags & wire.Notable
	}
	if got != body || flags != [3]record.Flags{record.Partial, record.Partial | record.Continued, record.Continued} {
		t.Error(len(got), flags)
	}
}

func TestErrors(t *testing.T) {
	for _, body := range []string{`[{"a":1}`, `[{"a":1} {}]`, `[{"a":1}] x`, "[" + strings.Repeat("[", 100)} {
		if _, _, err := decode(body, JSON, document.LineOptions{}, &Sender{}); err == nil {
			t.Errorf("%q: no error", body)
		}
	}
	b := record.NewBatch(nil)
	s := b.AppendString("a\nb\nc\n")
	if _, err := NewDecoder(wire.Limits{Entries: 2}, new(wire.StreamCache), document.Lines(document.LineOptions{})).Decode(b, s, Text, &Sender{}, "", now); !errors.Is(err, wire.ErrTooMany) {
		t.Error(err)
	}
}

// What weir writes as JSON lines comes back as it was.
func TestRoundTrip(t *testing.T) {
	src := record.NewBatch(nil)
	st := src.AddStream(record.StreamRef{Stream: record.NewStream([]record.Attr{{Name: record.AttrNamespace, Value: "shop"}, {Name: record.AttrPod, Value: "p"}, {Name: record.AttrStream, Value: "stderr"}}, nil, nil)})
	for _, body := range []string{"plain", "with \"quotes\"\nand more \u00e4", ""} {
		s := src.AppendString(body)
		i := src.Add(record.Record{Time: now - 5, Observed: now, Body: s, Source: s, Stream: st, Severity: record.Error, Flags: record.Partial})
		src.SetField(i, "user", record.Int, src.AppendString("7"))
		src.SetField(i, "o", record.JSON, src.AppendString(`{"a":[1]}`))
		src.SetID(i, record.ID{Hi: 1, Lo: uint64(i) + 1})
	}
	src.Freeze()
	lines := jsonl.New(jsonl.Config{IDs: true}).Append(nil, []record.Part{record.NewPart(src, src.Live())})
	b, out, err := decode(string(lines), JSON, document.LineOptions{}, &Sender{})
	if err != nil || out.Refused != 0 || b.NumRecords() != src.NumRecords() {
		t.Fatal(out, err)
	}
	for i := range b.NumRecords() {
		id, _ := b.SenderID(i)
		if want, _ := src.SenderID(i); id != want || b.Record(i).Flags&record.Partial == 0 {
			t.Errorf("record %d: id %s, flags %d", i, id, b.Record(i).Flags)
		}
	}
	if got, want := text(b), text(src); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("plain\n{\"message\":\"m\",\"level\":\"warn\",\"kubernetes\":{\"pod_name\":\"p\"}}\n{\"_msg\":\"x\",\"a\\u0000\":[1],\"_time\":1}"), uint8(0))
	f.Add([]byte("[{\"log\":\"\\ud83d\",\"date\":1.5},"+strings.Repeat("[", 80)), uint8(2))
	f.Add([]byte("[{\"log\":"+strings.Repeat(`{"a":`, 70)+"1"+strings.Repeat("}", 70)+"}]"), uint8(2))
	f.Fuzz(func(t *testing.T, p []byte, f uint8) {
		b, out, err := decode(string(p), Format(f%3), document.LineOptions{}, &Sender{})
		if err != nil {
			return
		}
		if b.NumRecords() != out.Records-out.Refused {
			t.Fatal(b.NumRecords(), out)
		}
		for i := range b.NumRecords() {
			if b.Record(i).Flags.Has(record.JSONObject) && !stdjson.Valid(b.Body(i)) {
				t.Fatalf("flagged, but no object: %q", b.Body(i))
			}
		}
	})
}

func BenchmarkDecode(bm *testing.B) {
	for _, c := range []struct {
		name, line string
		f          Format
	}{
		{"text", "2026-11-22T10:00:%02d.123Z INFO %s\n", Text},
		{"json", `{"time":"2026-11-22T10:00:%02d.123Z","level":"info","msg":"%s","user":{"id":17},"took":12.5}` + "\n", JSON},
		{"jsonl", `{"namespace":"shop","pod":"cart-7d9f8b-x2x1z","container":"app","_time":"2026-11-22T10:00:%02d.123456789Z","level":"info","_msg":"%s","user":"17"}` + "\n", JSON},
	} {
		bm.Run(c.name, func(bm *testing.B) {
			var body []byte
			for i := range 2000 {
				body = fmt.Appendf(body, c.line, i%60, strings.Repeat("GET /cart/17 took 12 ms; ", 1+i%8))
			}
			d := NewDecoder(wire.Limits{}, new(wire.StreamCache), document.Lines(document.LineOptions{}))
			b := record.NewBatch(nil)
			bm.SetBytes(int64(len(body)))
			bm.ReportAllocs()
			for bm.Loop() {
				b.Reset(nil)
				if out, err := d.Decode(b, b.Append(body), c.f, &Sender{}, "", now); err != nil || out.Refused > 0 {
					bm.Fatal(out, err)
				}
			}
		})
	}
}
