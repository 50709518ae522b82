package mark

import (
	"encoding/json"
	"strings"
	"testing"
)

var payloads = []string{"order accepted", `a "quoted" \ word`, "tab\tand\nline", "日本語 🐳 é", "", "<a href='x'>&amp;"}

// forms are what shippers make of a line.
func forms(t *testing.T, m Mark, payload string) map[string]struct {
	text string
	doc  bool
} {
	t.Helper()
	q := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	marked := string(Append(nil, m, []byte(payload))) + payload
	obj := `{"a":"x","p":` + q(marked) + `,"b":"y"}`
	type form = struct {
		text string
		doc  bool
	}
	return map[string]form{
		"text":                     {"2026 INFO " + marked, false},
		"syslog header":            {"<14>Nov 22 10:00:00 host tag: " + marked, false},
		"JSON line":                {obj, false},
		"text in member":           {`{"log":` + q("2026 INFO "+marked) + `,"b":"z"}`, true},
		"merged":                   {`{"k":{"pod":"x"},"a":"x","p":` + q(marked) + `,"b":"y"}`, true},
		"JSON as text":             {`{"log":` + q(obj) + `,"b":"z"}`, true},
		"document as line":         {`{"log":` + q("2026 INFO "+marked) + `,"b":"z"}`, false},
		"JSON in document as line": {`{"log":` + q(obj) + `,"b":"z"}`, false},
		"logfmt":                   {`level=info msg=` + q(marked) + ` ms=12`, false},
		"logfmt in text":           {`{"log":` + q(`level=info msg=`+q(marked)+` ms=12`) + `}`, true},
	}
}

func find(f *Finder, text string, doc bool) (Mark, Verdict) {
	if doc {
		return f.InDoc([]byte(text))
	}
	return f.InLine([]byte(text))
}

func TestFindsWhatShippersMakeOfALine(t *testing.T) {
	var f Finder
	want := Mark{3, 12345}
	for _, p := range payloads {
		for name, c := range forms(t, want, p) {
			if name == "text" && strings.Contains(p, "\n") {
				continue // not a line
			}
			if m, v := find(&f, c.text, c.doc); m != want || v != Whole {
				t.Errorf("%s %q: %v %v in %s", name, p, m, v, c.text)
			}
		}
	}
}

func TestOneChangedByteIsAltered(t *testing.T) {
	var f Finder
	want := Mark{3, 12345}
	for name, c := range forms(t, want, "order accepted") {
		for _, change := range [][2]string{{"order", "ordes"}, {"accepted", "accepte"}, {"~order", "~ order"}} {
			m, v := find(&f, strings.Replace(c.text, change[0], change[1], 1), c.doc)
			if m != want || v != Altered {
				t.Errorf("%s %v: %v %v", name, change, m, v)
			}
		}
		// Another line's number with this payload.
		if _, v := find(&f, strings.Replace(c.text, "12345", "12346", 1), c.doc); v != Altered {
			t.Errorf("%s: a wrong number gives %v", name, v)
		}
	}
}

func TestNoMark(t *testing.T) {
	var f Finder
	for _, s := range []string{"", "~", "no mark", "~1.2~", "~1.2.zzzzzzzz~x", "~99999999999.2.00000000~", "\"~", `\"~`} {
		if _, v := f.InLine([]byte(s)); v != None {
			t.Errorf("line %q: %v", s, v)
		}
		if _, v := f.InDoc([]byte(s)); v != None {
			t.Errorf("document %q: %v", s, v)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add([]byte(`{"log":"{\"p\":\"~1.2.00000000~\\\\u00"}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		var fi Finder
		fi.InDoc(b)
		fi.InLine(b)
	})
}
