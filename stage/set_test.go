package stage

import (
	stdjson "encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

func newSet(t testing.TB, fields map[string]string) *Set {
	t.Helper()
	s, err := NewSet(fields)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newRemove(t testing.TB, names ...string) *Remove {
	t.Helper()
	s, err := NewRemove(names)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTemplates(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                                     "plain",
		"{{.namespace}}":                            "team-Shop",
		"{{ .namespace }}/{{.pod}}!":                "team-Shop/api-7f9c!",
		`{{.namespace | trimPrefix "team-"}}`:       "Shop",
		`{{.namespace|trimPrefix "x"}}`:             "team-Shop",
		`{{.namespace | trimSuffix "Shop"}}`:        "team-",
		`{{.namespace | trimSuffix "xteam-Shop"}}`:  "team-Shop",
		`{{.namespace | lower | replace "-" "::"}}`: "team::shop",
		`{{.namespace | upper}}`:                    "TEAM-SHOP",
		"{{.namespace | replace `team` ``}}":        "-Shop",
		`{{.nothing}}`:                              "",
		`a{{.nothing}}b`:                            "ab",
		`{{.nothing | default "dflt"}}`:             "dflt",
		`{{.namespace | default "dflt"}}`:           "team-Shop",
		`{{.nothing | default "D" | lower}}`:        "d",
		`{{.level}}`:                                "warn",
		`{{.label_app_kubernetes_io_name}}`:         "api",
		`{{.own | upper}}`:                          "ÄÖ FIELD",
		`{{.own | lower}}`:                          "äö field",
		`{{.own | replace "\u00e4" "ae"}}`:          "aeö field",
	} {
		tm, err := parseTemplate(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		b := batchOf("x")
		b.Record(0).Severity = record.Warn
		b.SetField(0, "own", record.String, b.AppendString("äö field"))
		if got, _ := tm.append([]byte("<"), nil, new(attrs), b, 0); string(got) != "<"+want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// Templates and conditions find the same values.
func TestTemplateNames(t *testing.T) {
	b := batchOf(`{"user":"a\"b","n":1.50,"nil":null,"o":{"k":[1]},"trace.id":"4bf9","namespace":"body","own":"body","severity":"warn","u\u0031":"esc"}`, "text")
	process(t, newParse(t, ""), b)
	for i := range 2 {
		b.SetField(i, "own", record.String, b.AppendString("field"))
		b.SetField(i, "span.id", record.String, b.AppendString("00f0"))
		b.SetField(i, "null", record.Null, record.Span{})
	}
	s := newSet(t, map[string]string{"out": "{{.namespace}},{{.level}},{{.detected_level}},{{.own}},{{.span_id}},{{.null}},{{.user}},{{.n}},{{.nil}},{{.o}},{{.trace_id}},{{.trace.id}},{{.severity}},{{.u1}},{{.host}}"})
	process(t, s, b)
	for i, want := range []string{
		`team-Shop,warn,warn,field,00f0,,a"b,1.50,,{"k":[1]},4bf9,4bf9,warn,esc,`,
		`team-Shop,unknown,unknown,field,00f0,,,,,,,,,,`,
	} {
		if got := fieldsOf(b, i)["out"]; got != want {
			t.Errorf("record %d: %s, want %s", i, got, want)
		}
	}
}

func TestTemplateErrors(t *testing.T) {
	for text, want := range map[string]string{
		"{{.a":                     "without }}",
		"a}}":                      "}} without {{ at offset 1",
		"{{a}}":                    "want an attribute such as .namespace at offset 2",
		"{{.}}":                    "want an attribute",
		"{{}}":                     "want an attribute",
		`{{"x"}}`:                  "want an attribute",
		"{{.a | nope}}":            `unknown function "nope" at offset 7`,
		"{{.a |}}":                 "unknown function",
		"{{.a b}}":                 "want | or }} at offset 5",
		"{{.a | trimPrefix}}":      "trimPrefix takes 1 argument(s), not 0",
		`{{.a | lower "x"}}`:       "lower takes 0 argument(s), not 1",
		`{{.a | replace "x"}}`:     "replace takes 2",
		`{{.a | replace "" "x"}}`:  "replace of nothing",
		`{{.a | trimPrefix "x}}`:   "malformed string at offset 18",
		`{{.a | trimPrefix "\x"}}`: "malformed string",
		`{{.a | trimPrefix x}}`:    "trimPrefix takes 1",
		"{{.a}} {{.b | x":          `unknown function "x"`,
	} {
		if _, err := parseTemplate(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
	_, err := NewSet(map[string]string{"ok": "x", "b": "{{", "a": "}}", "": "x", strings.Repeat("n", 300): "x"})
	if err == nil || strings.Count(err.Error(), "\n") != 3 || !strings.HasPrefix(err.Error(), `set "": `) {
		t.Errorf("NewSet reports %v", err)
	}
	if _, err := NewRemove(nil); err == nil {
		t.Error("NewRemove of nothing")
	}
	if _, err := NewRemove([]string{""}); err == nil {
		t.Error("NewRemove of a nameless field")
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{{.a | trimPrefix \"x\"}}", "{{.namespace|lower|replace `a` `b`}}c", "}}{{", "{{.a | default"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tm, err := parseTemplate(text)
		if err != nil {
			return
		}
		tm.append(nil, nil, new(attrs), batchOf("x"), 0)
		if !strings.Contains(text, "{{") {
			if got, _ := tm.append(nil, nil, new(attrs), batchOf("x"), 0); string(got) != text {
				t.Fatalf("literal %q became %q", text, got)
			}
		}
	})
}

func TestSet(t *testing.T) {
	b := batchOf(`{"msg":"x","team":"old","level":"info"}`, "text", `{"msg":"y"}`, "dropped", "gap")
	process(t, newParse(t, ""), b)
	b.Record(3).Flags |= record.Dropped
	b.Record(4).Flags |= record.Generated
	s := newSet(t, map[string]string{"team": `{{.namespace | trimPrefix "team-" | lower}}`, "none": "{{.nothing}}", "const": "c"})
	process(t, s, b)
	want := map[string]string{"team": "shop", "const": "c"}
	for i := range 3 {
		if got := fieldsOf(b, i); !reflect.DeepEqual(got, want) {
			t.Errorf("record %d: fields %v", i, got)
		}
	}
	for i := 3; i < 5; i++ {
		if len(b.Fields(i)) != 0 {
			t.Errorf("record %d has fields", i)
		}
	}
	if got := string(b.Body(0)); got != `{"msg":"x","level":"info"}` {
		t.Errorf("body %s", got)
	}
	if got := string(b.Bytes(b.Record(0).Source)); got != `{"msg":"x","team":"old","level":"info"}` {
		t.Errorf("source %s", got)
	}
	if string(b.Body(1)) != "text" || string(b.Body(2)) != `{"msg":"y"}` {
		t.Errorf("bodies %s, %s", b.Body(1), b.Body(2))
	}
	// Equal values in a row share their bytes.
	f0, _ := b.FindField(0, "team")
	f2, _ := b.FindField(2, "team")
	if f0.Val != f2.Val {
		t.Error("the same value was stored twice")
	}
	// Set again: replaced, not doubled.
	process(t, newSet(t, map[string]string{"team": "other"}), b)
	if got := fieldsOf(b, 0); got["team"] != "other" || len(b.Fields(0)) != 2 {
		t.Errorf("fields %v", got)
	}
}

func TestSetLevel(t *testing.T) {
	b := batchOf(`{"level":"info","msg":"x"}`, "text")
	process(t, newParse(t, ""), b)
	process(t, newSet(t, map[string]string{"level": "warning"}), b)
	for i := range 2 {
		if b.Record(i).Severity != record.Warn || len(b.Fields(i)) != 0 {
			t.Errorf("record %d: severity %d, fields %v", i, b.Record(i).Severity, fieldsOf(b, i))
		}
	}
	if string(b.Body(0)) != `{"msg":"x"}` {
		t.Errorf("body %s", b.Body(0))
	}
}

func TestRemove(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":1,"password":"x","level":"info","b":[1, 2]}`: `{"a":1,"b":[1, 2]}`,
		`{"password":1}`: `{}`,
		`{ "password" : { "password" : 1 } , "o" : {"level":1} }`: `{"o" : {"level":1}}`,
		`{"pass\u0077ord":1,"x":"é"}`:                             `{"x":"é"}`,
		`{"l\u0065vel":1,"x":"\n"}`:                               `{"x":"\n"}`,
		`{"a":1}`:                                                 `{"a":1}`,
		`{}`:                                                      `{}`,
		`password=1 level=info`:                                   `password=1 level=info`,
	} {
		b := batchOf(in)
		process(t, newParse(t, ""), b)
		b.SetField(0, "password", record.String, b.AppendString("x"))
		b.SetField(0, "kept", record.String, b.AppendString("x"))
		process(t, newRemove(t, "password", "level", "absent"), b)
		if got := string(b.Body(0)); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
		if got := fieldsOf(b, 0); !reflect.DeepEqual(got, map[string]string{"kept": "x"}) {
			t.Errorf("%s: fields %v", in, got)
		}
		if string(b.Bytes(b.Record(0).Source)) != in {
			t.Errorf("%s: source changed", in)
		}
	}
	// Only what a step may touch.
	b := batchOf(`{"level":"x"}`)
	process(t, newParse(t, ""), b)
	b.Record(0).Flags |= record.Dropped
	process(t, newRemove(t, "level"), b)
	if string(b.Body(0)) != `{"level":"x"}` {
		t.Error("a dropped record was changed")
	}
}

// Cutting members is decoding, deleting and encoding, in fewer steps.
func TestCutAgreesWithMaps(t *testing.T) {
	names := []string{"level", "time", "a", "b", "pass word", "ü", "", "kubernetes", "x\"y"}
	values := []string{"1", `"s"`, `"a,\"b\":1}"`, "null", `{"level":[1,{"a":2}]}`, "[]", "1e400", " true"}
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID).Draw(t, "keys")
		var parts []string
		for _, k := range keys {
			parts = append(parts, string(json.AppendStringString(nil, k))+rapid.SampledFrom([]string{":", " : "}).Draw(t, "colon")+rapid.SampledFrom(values).Draw(t, "value"))
		}
		in := "{" + strings.Join(parts, rapid.SampledFrom([]string{",", " ,\t"}).Draw(t, "comma")) + "}"
		cuts := rapid.SliceOfDistinct(rapid.SampledFrom(names[:6]), rapid.ID).Draw(t, "cuts")
		if len(cuts) == 0 {
			t.Skip()
		}
		b := batchOf(in)
		s, _ := NewParse(ParseConfig{})
		r, _ := NewRemove(cuts)
		if s.Process(b, observed) != nil || r.Process(b, observed) != nil {
			t.Fatal("a step failed")
		}
		var want, got map[string]stdjson.RawMessage
		if err := stdjson.Unmarshal([]byte(in), &want); err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(want, func(k string, _ stdjson.RawMessage) bool { return slices.Contains(cuts, k) })
		var scan json.Scanner
		if !scan.Object(b.Body(0)) {
			t.Fatalf("%s became %s: %v", in, b.Body(0), scan.Err())
		}
		if err := stdjson.Unmarshal(b.Body(0), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s without %q became %s", in, cuts, b.Body(0))
		}
		if b.Record(0).KnownKeys != scan.Known {
			t.Fatalf("%s: known keys %b, want %b", b.Body(0), b.Record(0).KnownKeys, scan.Known)
		}
	})
}
