package wire

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

var testOwn = NewOwn([]string{"@timestamp", "stream", "kubernetes", "label_x", "label_y"}, []string{"level", "trace_id"})

func merge(t testing.TB, b *record.Batch, own *Own) (doc string, present uint64) {
	var m Merger
	m.Use(b)
	out, present, ok := m.Append([]byte(`{"@timestamp":0`), 0, own)
	if !ok {
		t.Error("not ok")
	}
	return string(append(out, '}')), present
}

func TestMerge(t *testing.T) {
	s := func(name, val string) field { return field{name, record.String, val} }
	for _, c := range []struct {
		name, body string
		fields     []field
		want       string
	}{
		{"text", `hello`, nil, `{"@timestamp":0}`},
		{"empty object", `{}`, nil, `{"@timestamp":0}`},
		{"empty object with space", "{ \n }", nil, `{"@timestamp":0}`},
		{"spliced byte for byte", `{"a": 1.0e+05 ,"b":"\u00e9\/"}`, nil, `{"@timestamp":0,"a": 1.0e+05 ,"b":"\u00e9\/"}`},
		{"leading space", `{ "a":1 }`, nil, `{"@timestamp":0, "a":1 }`},
		{"line feeds between tokens", "{\n\"a\":\n[1,\n2]\n}", nil, `{"@timestamp":0, "a": [1, 2] }`},
		{"structural", `{"stream":"x","a":1}`, nil, `{"@timestamp":0,"body_stream":"x","a":1}`},
		{"structural, not well known", `{"label_x":{"a":[]},"a":1}`, nil, `{"@timestamp":0,"body_label_x":{"a":[]},"a":1}`},
		{"structural in escapes", `{"str\u0065am":1,"label\u005fx":2}`, nil, `{"@timestamp":0,"body_str\u0065am":1,"body_label\u005fx":2}`},
		{"the new name is taken", `{"stream":1,"body_stream":2,"body_body_stream":3}`, nil, `{"@timestamp":0,"body_body_body_stream":1,"body_stream":2,"body_body_stream":3}`},
		{"optional stays", `{"level":"warn"}`, nil, `{"@timestamp":0,"level":"warn"}`},
		{"nested names do not matter", `{"a":{"stream":1}}`, nil, `{"@timestamp":0,"a":{"stream":1}}`},
		{"fields", `text`, []field{s("a", "x\n"), {"n", record.Int, "1"}, {"f", record.Float, "-0.5e3"}, {"b", record.Bool, "true"}, {"z", record.Null, ""}, {"j", record.JSON, "[1,\n2]"}},
			`{"@timestamp":0,"a":"x\n","n":1,"f":-0.5e3,"b":true,"z":null,"j":[1, 2]}`},
		{"values that are not what they say", `text`, []field{{"n", record.Int, "007"}, {"f", record.Float, "NaN"}, {"b", record.Bool, "yes"}, {"j", record.JSON, `{"a"`}, {"e", record.JSON, ""}},
			`{"@timestamp":0,"n":"007","f":"NaN","b":"yes","j":"{\"a\"","e":""}`},
		{"structural field", `text`, []field{s("stream", "x"), s("label_x", "y")}, `{"@timestamp":0,"field_stream":"x","field_label_x":"y"}`},
		{"later field", `text`, []field{s("a", "1"), s("b", "2"), s("a", "3")}, `{"@timestamp":0,"b":"2","a":"3"}`},
		{"field beside body", `{"a":1}`, []field{s("team", "x")}, `{"@timestamp":0,"a":1,"team":"x"}`},
		{"field against body", `{"team":"y"}`, []field{s("team", "x")}, `{"@timestamp":0,"body_team":"y","team":"x"}`},
		{"field against well-known", `{"msg":"y"}`, []field{s("msg", "x")}, `{"@timestamp":0,"body_msg":"y","msg":"x"}`},
		{"field equal to body", `{"team":"x","n":12}`, []field{s("team", "x"), {"n", record.Int, "12"}}, `{"@timestamp":0,"team":"x","n":12}`},
		{"optional field against body", `{"trace_id":"y"}`, []field{s("trace_id", "x")}, `{"@timestamp":0,"trace_id":"y"}`},
		{"field name in escapes", `{"t\u0065am":"y"}`, []field{s("team", "x")}, `{"@timestamp":0,"body_t\u0065am":"y","team":"x"}`},
		{"field and body structural", `{"stream":"y"}`, []field{s("stream", "x")}, `{"@timestamp":0,"body_stream":"y","field_stream":"x"}`},
		{"field has the new name", `{"stream":"y"}`, []field{s("body_stream", "x")}, `{"@timestamp":0,"body_body_stream":"y","body_stream":"x"}`},
		{"field name that needs escapes", `{"a\"b":1}`, []field{s(`a"b`, "x")}, `{"@timestamp":0,"body_a\"b":1,"a\"b":"x"}`},
		{"body has the field's new name", `{"field_stream":1}`, []field{s("stream", "x")}, `{"@timestamp":0,"field_stream":1,"field_field_stream":"x"}`},
	} {
		got, _ := merge(t, one(t, shop, c.body, c.fields...), testOwn)
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestMergePresent(t *testing.T) {
	level, _ := json.KnownMask("level")
	for _, c := range []struct {
		body   string
		fields []field
		want   bool
	}{
		{`{"level":"warn"}`, nil, true},
		{`{"lvl":"warn"}`, nil, false},
		{`text`, []field{{"level", record.String, "warn"}}, true},
		{`{"stream":1}`, []field{{"level", record.String, "warn"}}, true},
		{`text`, nil, false},
	} {
		if _, p := merge(t, one(t, shop, c.body, c.fields...), testOwn); p&level != 0 != c.want {
			t.Errorf("%s %v: level present = %v", c.body, c.fields, !c.want)
		}
	}
}

// A batch with the flag but without the object must not break the document.
func TestMergeFalseFlag(t *testing.T) {
	b := record.NewBatch(nil)
	sp := b.AppendString(`{"stream":`)
	k, _ := json.Known([]byte("stream"))
	b.Add(record.Record{Body: sp, Flags: record.JSONObject, KnownKeys: 1 << k, Stream: b.AddStream(record.StreamRef{Stream: shop})})
	b.Freeze()
	var m Merger
	m.Use(b)
	if out, present, ok := m.Append([]byte("{"), 0, testOwn); ok || string(out) != "{" || present != 0 {
		t.Errorf("Append = %s, %v", out, ok)
	}
}

// members returns the members of an object in order, failing on doubles.
func members(t testing.TB, doc string) (names []string, values map[string]string) {
	t.Helper()
	d := stdjson.NewDecoder(strings.NewReader(doc))
	if tok, err := d.Token(); err != nil || tok != stdjson.Delim('{') {
		t.Fatalf("no object: %v: %q", err, doc)
	}
	values = map[string]string{}
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			t.Fatalf("%v: %q", err, doc)
		}
		name := tok.(string)
		var raw stdjson.RawMessage
		if err := d.Decode(&raw); err != nil {
			t.Fatalf("%v: %q", err, doc)
		}
		if _, double := values[name]; double {
			t.Fatalf("%q stands twice: %q", name, doc)
		}
		var c bytes.Buffer
		if err := stdjson.Compact(&c, raw); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
		values[name] = c.String()
	}
	if _, err := d.Token(); err != nil {
		t.Fatalf("%v: %q", err, doc)
	}
	if d.More() {
		t.Fatalf("more after the object: %q", doc)
	}
	return names, values
}

// checkMerge holds a document against the rules, with encoding/json's eyes.
func checkMerge(t testing.TB, b *record.Batch) {
	t.Helper()
	doc, _ := merge(t, b, testOwn)
	if strings.Contains(doc, "\n") {
		t.Fatalf("line feed in %q", doc)
	}
	_, got := members(t, doc)
	if got["@timestamp"] != "0" {
		t.Fatalf("@timestamp = %s", got["@timestamp"])
	}
	fields := map[string]record.Field{}
	for _, f := range b.Fields(0) {
		fields[b.KeyName(f.Key)] = f
	}
	isOwn := func(n string) bool {
		bit, known := json.Known([]byte(n))
		if !known {
			bit = json.NoBit
		}
		return testOwn.has([]byte(n), bit)
	}
	body := map[string]string{}
	if b.Record(0).Flags.Has(record.JSONObject) {
		_, body = members(t, string(b.Body(0)))
	}
	for n, v := range body {
		_, isField := fields[n]
		at := n
		if isOwn(n) || isField && n != "level" && n != "trace_id" && got[n] != v {
			for at = bodyPrefix + n; got[at] != v && len(at) < 100*len(bodyPrefix)+len(n); {
				at = bodyPrefix + at
			}
		}
		if got[at] != v {
			t.Fatalf("member %q of the body is %q, want %q, in %q", n, got[at], v, doc)
		}
	}
	for n := range fields {
		if !stdjson.Valid([]byte(`"`+n+`"`)) || strings.Contains(n, `\`) {
			continue // the name in the document is another
		}
		at := n
		if isOwn(n) {
			for at = fieldPrefix + n; got[at] == "" && len(at) < 100*len(fieldPrefix)+len(n); {
				at = fieldPrefix + at
			}
		}
		if _, there := got[at]; !there {
			t.Fatalf("field %q is missing in %q", n, doc)
		}
	}
}

func FuzzMerge(f *testing.F) {
	f.Add(`{"a":1}`, "team", "x", uint8(0))
	f.Add(`{"stream":1,"body_stream":2}`, "body_stream", "x", uint8(1))
	f.Add("{\n\"t\\u0065am\":\n1}", "team", "1", uint8(1))
	f.Add("\x00\xff\n\"", "stream", "\xff\n\"", uint8(5))
	f.Add(`{"level":null,"a":{"a":[{}]}}`, "level", "{}", uint8(5))
	f.Add(`{"":0}`, "", "", uint8(4))
	f.Fuzz(func(t *testing.T, body, name, val string, kind uint8) {
		if !json.ValidUTF8([]byte(name)) {
			name = fmt.Sprintf("%x", name)
		}
		checkMerge(t, one(t, shop, body, field{name, record.Kind(kind % 6), val}, field{"b", record.String, val}))
	})
}

// Documents of random members and fields over few names keep the rules.
func TestMergeProperty(t *testing.T) {
	names := []string{"stream", "body_stream", "body_body_stream", "field_stream", "level", "trace_id", "team", "body_team", "label_x", "msg", "x", "field_label_x"}
	rapid.Check(t, func(rt *rapid.T) {
		picked := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 8, rapid.ID[string]).Draw(rt, "members")
		var parts []string
		for i, n := range picked {
			if rapid.Bool().Draw(rt, "escaped") {
				n = fmt.Sprintf("\\u%04x%s", n[0], n[1:])
			}
			parts = append(parts, fmt.Sprintf(`"%s"%s:%s"%d"`, n, rapid.SampledFrom([]string{"", " ", "\n"}).Draw(rt, "s1"), rapid.SampledFrom([]string{"", "\n"}).Draw(rt, "s2"), i%3))
		}
		body := "{" + strings.Join(parts, ",") + "}"
		if rapid.IntRange(0, 4).Draw(rt, "text") == 0 {
			body = "text"
		}
		var fs []field
		for i, n := range rapid.SliceOfN(rapid.SampledFrom(names), 0, 6).Draw(rt, "fields") {
			fs = append(fs, field{n, record.String, fmt.Sprint(i % 3)})
		}
		checkMerge(t, one(t, shop, body, fs...))
	})
}

// One Merger serves batch after batch whose key tables differ.
func TestMergeReuse(t *testing.T) {
	var m Merger
	for i := range 50 {
		n := fmt.Sprintf("f%d", i)
		b := one(t, shop, `{"a":1}`, field{n, record.String, "x"}, field{"g", record.String, "y"})
		m.Use(b)
		out, _, _ := m.Append([]byte("{"), 0, testOwn)
		if want := `{,"a":1,"` + n + `":"x","g":"y"`; string(out) != want {
			t.Fatalf("%s, want %s", out, want)
		}
		m.Done()
	}
}

func TestProbe(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringMatching(`"[kab]{1,4}[._]?`).Draw(rt, "text")
		body := rapid.StringMatching(`["kab._ ]{0,30}`).Draw(rt, "body")
		if p := newProbe(text); p.in([]byte(body)) != strings.Contains(body, text) {
			rt.Errorf("%q in %q = %v", text, body, p.in([]byte(body)))
		}
	})
}

func TestIsNumber(t *testing.T) {
	for _, s := range []string{"0", "-0", "1", "10", "0.5", "-1.25e10", "1E+5", "1e-5", "", "-", "+1", "01", ".5", "1.", "1e", "1e+", "0x1", "NaN", " 1", "1 ", "--1", "1.5.2", "9999999999999999999999"} {
		var v stdjson.Number
		want := stdjson.Unmarshal([]byte(s), &v) == nil && s == strings.TrimSpace(s)
		if got := IsNumber([]byte(s)); got != want {
			t.Errorf("IsNumber(%q) = %v", s, got)
		}
	}
}

func BenchmarkMerge(bm *testing.B) {
	for name, body := range map[string]string{
		"splice": `{"ts":"2026-11-22T10:00:00Z","level":"info","msg":"order accepted","order_id":4711,"user":"u-1","duration":0.25,"path":"/cart/checkout"}`,
		"rename": `{"ts":"2026-11-22T10:00:00Z","stream":"info","msg":"order accepted","order_id":4711,"user":"u-1","duration":0.25,"path":"/cart/checkout"}`,
		"text":   `no json`,
	} {
		for _, fields := range []int{0, 3} {
			bm.Run(fmt.Sprintf("%s/fields=%d", name, fields), func(bm *testing.B) {
				b := one(bm, shop, body, []field{{"team", record.String, "blue"}, {"zone", record.String, "a"}, {"cost", record.Int, "12"}}[:fields]...)
				var m Merger
				m.Use(b)
				var buf []byte
				bm.SetBytes(int64(len(body)))
				bm.ReportAllocs()
				for bm.Loop() {
					buf, _, _ = m.Append(buf[:0], 0, testOwn)
				}
			})
		}
	}
}
