package jsonl

import (
	"bytes"
	stdjson "encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

const testTime = 1763805600123456789 // 2025-11-22T10:00:00.123456789Z

var cart = record.NewStream([]record.Attr{
	{Name: record.AttrNamespace, Value: "shop"}, {Name: record.AttrPod, Value: "cart-1"}, {Name: record.AttrContainerID, Value: "c0ffee"},
	{Name: record.AttrStream, Value: "stdout"}, {Name: "team", Value: "bl\"ue"},
}, []record.Attr{{Name: "app.kubernetes.io/name", Value: "cart"}, {Name: "app_kubernetes_io/name", Value: "other"}, {Name: "x", Value: "y"}},
	[]record.Attr{{Name: "a.b/c", Value: "z"}})

var file = record.NewStream([]record.Attr{{Name: record.AttrFile, Value: "/var/log/syslog"}, {Name: record.AttrInput, Value: "file"}}, nil, nil)

// add adds a record as the parsing step leaves it.
func add(b *record.Batch, s *record.Stream, body string, r record.Record) int {
	sp := b.AppendString(body)
	r.Body, r.Source, r.End = sp, sp, int64(sp.Len)
	r.Stream = b.AddStream(record.StreamRef{Stream: s, Generation: record.ID{Hi: 1, Lo: 2}})
	if r.Time == 0 {
		r.Time = testTime
	}
	var sc json.Scanner
	if sc.Object([]byte(body)) {
		r.Flags |= record.JSONObject | record.ValidUTF8
		r.KnownKeys = sc.Known
	}
	return b.Add(r)
}

func encode(e *Encoder, b *record.Batch) string {
	if !b.Frozen() {
		b.Freeze()
	}
	return string(e.Append(nil, []record.Part{record.NewPart(b, b.Live())}))
}

func TestAppend(t *testing.T) {
	const head = `{"namespace":"shop","pod":"cart-1","stream":"stdout","team":"bl\"ue","_time":"2025-11-22T10:00:00.123456789Z"`
	for _, c := range []struct {
		name, body string
		cfg        Config
		stream     *record.Stream
		r          record.Record
		want       string
	}{
		{"text", "he said \"hi\"\n\x1b\xff", Config{}, cart, record.Record{}, head + `,"_msg":"he said \"hi\"\n\u001b` + "\ufffd" + `"}`},
		{"empty", "", Config{}, cart, record.Record{}, head + `,"_msg":""}`},
		{"level", "x", Config{}, cart, record.Record{Severity: record.Warn}, head + `,"level":"warn","_msg":"x"}`},
		{"json", `{"msg":"hi","n":1}`, Config{}, cart, record.Record{Severity: record.Warn}, head + `,"msg":"hi","n":1,"level":"warn"}`},
		{"json with level", `{"level":30}`, Config{}, cart, record.Record{Severity: record.Info}, head + `,"level":30}`},
		{"json with our names", `{"pod":"x","_time":1,"node":"stays","team":2}`, Config{}, cart, record.Record{}, head + `,"body_pod":"x","body__time":1,"node":"stays","body_team":2}`},
		{"json with _msg", `{"_msg":"x"}`, Config{}, cart, record.Record{}, head + `,"_msg":"x"}`},
		{"json on lines", "{\n\"a\":1\n}", Config{}, cart, record.Record{}, head + `, "a":1 }`},
		{"flags", "x", Config{}, cart, record.Record{Flags: record.Partial}, head + `,"_msg":"x","weir":{"partial":true}}`},
		{"file", "x", Config{}, file, record.Record{}, `{"file":"/var/log/syslog","input":"file","_time":"2025-11-22T10:00:00.123456789Z","_msg":"x"}`},
		{"other keys", "x", Config{Keys: Keys{Time: "ts", Message: "text"}}, file, record.Record{}, `{"file":"/var/log/syslog","input":"file","ts":"2025-11-22T10:00:00.123456789Z","text":"x"}`},
		{"attrs", "x", Config{Attrs: []string{"container_id"}}, cart, record.Record{}, `{"container_id":"c0ffee","team":"bl\"ue","_time":"2025-11-22T10:00:00.123456789Z","_msg":"x"}`},
		{"labels", `{"label_x":0}`, Config{Labels: []string{"*"}, Annotations: []string{"a.b/c"}, Attrs: []string{}}, cart, record.Record{},
			`{"team":"bl\"ue","label_app_kubernetes_io_name":"cart","label_app_kubernetes_io_name_":"other","label_x":"y","annotation_a_b_c":"z","_time":"2025-11-22T10:00:00.123456789Z","body_label_x":0}`},
	} {
		b := record.NewBatch(nil)
		add(b, c.stream, c.body, c.r)
		if got := encode(New(c.cfg), b); got != c.want+"\n" {
			t.Errorf("%s:\n got %swant %s", c.name, got, c.want)
		}
	}
}

func TestIDs(t *testing.T) {
	b := record.NewBatch(nil)
	add(b, cart, "x", record.Record{})
	got := encode(New(Config{IDs: true}), b)
	if want := `"log_record_uid":"` + wire.RecordID(b, 0).String() + `"`; !strings.Contains(got, want) {
		t.Errorf("%s lacks %s", got, want)
	}
}

func TestPartsInOrder(t *testing.T) {
	a, b := record.NewBatch(nil), record.NewBatch(nil)
	for _, s := range []string{"a0", "a1", "a2", "a3"} {
		add(a, cart, s, record.Record{})
	}
	add(b, file, "b0", record.Record{})
	add(b, cart, "b1", record.Record{})
	a.Freeze()
	b.Freeze()
	out := New(Config{Attrs: []string{}}).Append([]byte("# "), []record.Part{record.NewPart(a, []uint32{1, 3}), record.NewPart(b, []uint32{0, 1}), record.NewPart(a, []uint32{0})})
	var got []string
	for l := range strings.Lines(strings.TrimPrefix(string(out), "# ")) {
		var d struct {
			Msg string `json:"_msg"`
		}
		if err := stdjson.Unmarshal([]byte(l), &d); err != nil {
			t.Fatal(err)
		}
		got = append(got, d.Msg)
	}
	if want := "a1 a3 b0 b1 a0"; strings.Join(got, " ") != want {
		t.Errorf("order %v, want %s", got, want)
	}
}

func TestNoAllocations(t *testing.T) {
	b, _ := mixed(t)
	e := New(Config{IDs: true}).Clone()
	parts := []record.Part{record.NewPart(b, b.Live())}
	buf := e.Append(nil, parts)
	if n := testing.AllocsPerRun(10, func() { buf = e.Append(buf[:0], parts) }); n > 0 {
		t.Errorf("%v allocations per batch", n)
	}
}

// lossless is what a JSON string can say of bytes: U+FFFD for what is not
// UTF-8.
func lossless(s string) string { return string([]rune(s)) }

// Whatever a program logs, a record is exactly one line, an object with our
// members intact and the body's bytes in it.
func FuzzFailure111_EveryRecordIsOneLine(f *testing.F) {
	for _, s := range []string{"plain", "a\nb", "\r\n", "\"},{\"_time\":\"x", "\x00\x1b[31m\x7f", "\xff\xfe", "\u2028", `{"a":1}`, `{"_time":1,"pod":"evil"}`, "{\"a\":\n1}", `{"a":1}{"b":2}`, `{`, `{"_msg":"\ud800"}`, `{"a":1,"a":2}`} {
		f.Add(s, "field", uint8(0), s)
	}
	f.Add("x", "_msg", uint8(5), "{}\n")
	f.Add(`{"_msg":1}`, "_msg", uint8(1), "2")
	cfgs := []*Encoder{New(Config{}), New(Config{IDs: true, Labels: []string{"*"}, Keys: Keys{Time: "@timestamp", Message: "message"}})}
	f.Fuzz(func(t *testing.T, body, name string, kind uint8, val string) {
		for k, e := range cfgs {
			b := record.NewBatch(nil)
			i := add(b, cart, body, record.Record{Severity: record.Severity(kind % 25), Flags: record.Partial})
			if key, ok := b.Key([]byte(name)); ok {
				b.AddField(i, record.Field{Key: key, Kind: record.Kind(kind % 6), Val: b.AppendString(val)})
			}
			add(b, file, body, record.Record{})
			out := encode(e, b)
			if n := strings.Count(out, "\n"); n != 2 || !strings.HasSuffix(out, "\n") {
				t.Fatalf("%d lines of 2 records: %q", n, out)
			}
			if !utf8.ValidString(out) {
				t.Fatalf("not UTF-8: %q", out)
			}
			for l := range strings.Lines(out) {
				var d map[string]stdjson.RawMessage
				if err := stdjson.Unmarshal([]byte(l), &d); err != nil {
					t.Fatalf("%v: %q", err, l)
				}
				if got := string(d[[]string{"_time", "@timestamp"}[k]]); got != `"2025-11-22T10:00:00.123456789Z"` {
					t.Fatalf("time %s in %q", got, l)
				}
				if !b.Record(0).Flags.Has(record.JSONObject) {
					var msg string
					if err := stdjson.Unmarshal(d[[]string{"_msg", "message"}[k]], &msg); err != nil || msg != lossless(body) {
						t.Fatalf("message %q, %v, in %q", msg, err, l)
					}
				}
			}
			if d := bytes.Count([]byte(out), []byte(`"team":"bl\"ue"`)); d < 1 {
				t.Fatalf("team is gone: %q", out)
			}
		}
	})
}
