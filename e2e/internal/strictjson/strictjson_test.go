package strictjson

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/weirlog/weir/e2e/internal/journal"
)

func TestParse(t *testing.T) {
	good := []string{`{}`, ` [1,-0.5e+3,"a\u00e9\ud83d\ude00",null,true,{"a":{"a":1}}] `, `"\"\\\/\b\f\n\r\t"`, `{"a":1,"A":2}`, `0`}
	for _, s := range good {
		if err := new(Doc).Parse([]byte(s)); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	bad := map[string]error{
		`{"a":1,"a":2}`:               ErrDuplicate,
		`{"x":{"a":1,"\u0061":2}}`:    ErrDuplicate,
		`[{"k":{"a":1,"b":2,"a":3}}]`: ErrDuplicate,
		"\"\xff\"":                    ErrUTF8,
		"{\"a\xc0\":1}":               ErrUTF8,
		"\"\xed\xa0\x80\"":            ErrUTF8,
		``:                            nil, `{`: nil, `{"a"}`: nil, `{"a":1,}`: nil, `[1,]`: nil, `01`: nil, `1.`: nil, `.5`: nil, `+1`: nil, `1e`: nil, `NaN`: nil,
		`{} {}`: nil, `"\x"`: nil, `"\ud800"`: nil, `"\udc00"`: nil, "\"\n\"": nil, `'a'`: nil, `tru`: nil, `{a:1}`: nil, `"\u12"`: nil, `"`: nil, `-`: nil,
		strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1): nil,
	}
	for s, want := range bad {
		err := new(Doc).Parse([]byte(s))
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", s, err, want)
		}
	}
	var many strings.Builder
	many.WriteByte('{')
	for i := range 100 {
		many.WriteString(`"k` + strings.Repeat("x", i) + `":1,`)
	}
	if err := new(Doc).Parse([]byte(many.String() + `"k":2}`)); !errors.Is(err, ErrDuplicate) {
		t.Errorf("duplicate among many: %v", err)
	}
	if err := new(Doc).Parse([]byte(many.String() + `"other":2}`)); err != nil {
		t.Error(err)
	}
}

// Everything that Parse takes encoding/json takes too, and what only
// encoding/json takes has a reason.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":[1,2,{"b":null}]}`, `"\ud83d\ude00"`, `1e400`, `{"a":1,"a":1}`, "\"\xff\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var d Doc
		err := d.Parse(p)
		if valid := json.Valid(p); err == nil && !valid {
			t.Fatalf("took %q", p)
		} else if valid && err != nil && !errors.Is(err, ErrUTF8) && !errors.Is(err, ErrDuplicate) &&
			!strings.Contains(err.Error(), "surrogate") && !strings.Contains(err.Error(), "nested") {
			t.Fatalf("refused %q: %v", p, err)
		}
		d.Mark()
	})
}

func TestMark(t *testing.T) {
	want := journal.Mark{Stream: "web/app/0", Seq: 7, Hash: journal.HashPayload([]byte("pay löad \"x\""))}
	for _, s := range []string{
		`{"s":"web/app/0","n":7,"p":"pay löad \"x\""}`,
		`{"@timestamp":1,"p":"pay l\u00f6ad \"x\"","kubernetes":{"s":"x"},"n":7,"s":"web/app/0"}`,
		`{"log_processed":{"s":"web/app/0","n":"7","p":"pay löad \"x\""},"log":"{\"s\":\"web/app/0\",\"n\":7,\"p\":\"pay löad \\\"x\\\"\"}"}`,
		`{"log":"s=web/app/0 n=7 p=pay löad \"x\""}`,
		`{"body":{"text":"I1122 10:00:00.0 1 a.go:1] s=web/app/0 n=7 p=pay löad \"x\""}}`,
	} {
		var d Doc
		if err := d.Parse([]byte(s)); err != nil {
			t.Fatal(s, err)
		}
		if got, ok, err := d.Mark(); !ok || err != nil || got != want {
			t.Errorf("%s: %+v %v %v", s, got, ok, err)
		}
	}
	for _, s := range []string{`{"s":"a","n":1}`, `{"s":"a","x":{"n":1,"p":"b"}}`, `{"log":"nothing"}`, `{"s":"a","n":-1,"p":""}`, `[]`} {
		var d Doc
		if err := d.Parse([]byte(s)); err != nil {
			t.Fatal(s, err)
		}
		if m, ok, err := d.Mark(); ok || err != nil {
			t.Errorf("%s: %+v %v", s, m, err)
		}
	}
	var d Doc
	if err := d.Parse([]byte(`{"s":"a","n":1,"p":"x","log":"s=a n=1 p=y"}`)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Mark(); !errors.Is(err, ErrInconsistent) {
		t.Errorf("two marks: %v", err)
	}
}

func TestHashPayloadReplacement(t *testing.T) {
	a := journal.HashPayload([]byte("a\xff\xfeb"))
	if b := journal.HashPayload([]byte("a\uFFFD\uFFFDb")); a != b {
		t.Error("runs of replacements count as one")
	}
	if journal.HashPayload([]byte("ab")) == a {
		t.Error("the place of a replacement counts")
	}
}
