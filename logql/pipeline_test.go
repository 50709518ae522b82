package logql

import (
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/record"
)

var stageTime = time.Date(2026, 2, 28, 12, 30, 45, 123e6, time.UTC).UnixNano()

// process runs one row through a query and returns its labels and line, or
// "dropped".
func process(t *testing.T, q, line string, meta ...Label) string {
	t.Helper()
	e, err := ParseLog(`{app="shop"} ` + q)
	if err != nil {
		t.Errorf("%s: %v", q, err)
		return ""
	}
	p, err := NewPipeline(e, stageTime+1e9)
	if err != nil {
		t.Errorf("%s: %v", q, err)
		return ""
	}
	r := &Row{Time: stageTime, Line: []byte(line), Labels: []Label{{Name: "app", Value: "shop"}, {Name: "pod", Value: "p1"}}, Meta: meta}
	needles := p.Needles().Match(r.Line)
	out, ok := p.Process(r)
	if !ok {
		return "dropped"
	}
	if !needles {
		t.Errorf("%s on %q: the needles %v rule out a line that passes", q, line, p.Needles())
	}
	s := out.String()
	if again, _ := p.Process(r); again.String() != s {
		t.Errorf("%s on %q: %s, then %s", q, line, s, again)
	}
	s = strings.Replace(s, `app="shop"`, "A", 1)
	s = strings.Replace(s, `pod="p1"`, "P", 1)
	return s
}

func TestStages(t *testing.T) {
	for _, tt := range []struct{ q, line, want string }{
		// Line filters.
		{`|= "x"`, "axb", `{A, P} axb`},
		{`|= "x"`, "ab", `dropped`},
		{`!= "x" or "y"`, "ay", `dropped`},
		{"|~ `a|b`", "xbx", `{A, P} xbx`},
		{"|~ `(?i)ERR(or)?`", "an Error", `{A, P} an Error`},
		{"|~ `refused|reset|gone`", "reset", `{A, P} reset`},
		{"|~ `refused|reset|gone`", "none", `dropped`},
		{`|> "<_>b<_>d"`, "abcd", `{A, P} abcd`},
		{`|> "b<_>"`, "abcd", `{A, P} abcd`},
		{`|> "<_>a<_>"`, "abcd", `dropped`},
		{`|> "a<_>b"`, "abcd", `dropped`},
		{`|> "cd<_>"`, "abcd", `dropped`},
		{`|> "d"`, "abcd", `{A, P} abcd`},
		{`|> "c"`, "abcd", `dropped`},
		{`|> "<_>c"`, "abcd", `dropped`},
		{`|> "abcd"`, "abcd", `{A, P} abcd`},
		{`!> "<_>b<_>"`, "abcd", `dropped`},
		{`|= ip("10.0.0.0/8")`, "x 10.1.2.3:80 y", `{A, P} x 10.1.2.3:80 y`},
		{`|= ip("10.0.0.1-10.0.0.9")`, "x=10.0.0.10.", `dropped`},
		{`|= ip("2001:db8::/32")`, "from [2001:db8::1]:443", `{A, P} from [2001:db8::1]:443`},
		{`!= ip("10.0.0.1")`, "10.0.0.1", `dropped`},

		// json.
		{`| json`, `{"a":"x","b":1.50,"c":true,"d":null,"e":[1],"f":{"g":"h","i":{"j":2}},"k-l":"m","1n":"o"}`,
			`{_1n="o", a="x", A, b="1.50", c="true", f_g="h", f_i_j="2", k_l="m", P} {"a":"x","b":1.50,"c":true,"d":null,"e":[1],"f":{"g":"h","i":{"j":2}},"k-l":"m","1n":"o"}`},
		{`| json | line_format "{{.app}} {{.app_extracted}}"`, `{"app":"x"}`, `{A, app_extracted="x", P} shop x`},
		{`| json | line_format ""`, "{\"a\":\"\\u00e4 \\\"q\\\"\\n\"}", "{a=\"ä \\\"q\\\"\\n\", A, P} "},
		{`| json | line_format ""`, `text`, `{__error__="JSONParserErr", __error_details__="the line is not a JSON object", A, P} `},
		{`| json | line_format ""`, `{"a":1,"b"`, `{__error__="JSONParserErr", __error_details__="expected : behind a name", a="1", A, P} `},
		{`| json | line_format ""`, ` { "a" : 1 } `, `{a="1", A, P} `},
		{`| json | line_format ""`, `{"a":1,"a":2}`, `{a="1", A, P} `},
		{`| json x="a.b[1].c", y="[\"d e\"]", z, n="q" | line_format ""`, `{"a":{"b":[0,{"c":"v"}]},"d e":{"f":[1, 2]},"z":3}`,
			"{A, P, x=\"v\", y=`{\"f\":[1, 2]}`, z=\"3\"} "},
		{`| json app="a" | line_format ""`, `{"a":1}`, `{A, app_extracted="1", P} `},

		// logfmt.
		{`| logfmt | line_format ""`, `a=b c="d \"e\" f" g= h 1=2 i.j=k`, "{_1=\"2\", a=\"b\", A, c=`d \"e\" f`, i_j=\"k\", P} "},
		{`| logfmt --keep-empty | line_format ""`, `a= b`, `{A, P} `},
		{`| logfmt | line_format ""`, `a=1 b=c=d "x" e=2`, `{a="1", A, e="2", P} `},
		{`| logfmt --strict | line_format ""`, `a=1 b=c=d e=2`, `{__error__="LogfmtParserErr", __error_details__="unexpected = in a value", a="1", A, P} `},
		{`| logfmt x="a", y="c", z="n" | line_format ""`, `a=1 b=2 c=3`, `{A, P, x="1", y="3"} `},
		{`| logfmt | app="shop" | line_format ""`, `app=x`, `{A, app_extracted="x", P} `},

		// pattern, regexp, unpack.
		{`| pattern "<ip> - <_> [<ts>] \"<method> <path>\" <status>" | line_format ""`, `1.2.3.4 - frank [now] "GET /x" 200 12`,
			`{A, ip="1.2.3.4", method="GET", path="/x", P, status="200 12", ts="now"} `},
		{`| pattern "a=<x> b=<y>" | line_format ""`, `b=1`, `{A, P} `},
		{`| pattern "<x> b=<y>" | line_format ""`, `only`, `{A, P, x="only"} `},
		{"| regexp `(?P<method>\\w+) (?P<path>\\S+)` | line_format \"\"", `GET /x`, `{A, method="GET", path="/x", P} `},
		{"| regexp `(?P<method>[A-Z]+)!`", `get`, `{A, P} get`},
		{`| unpack`, `{"a":"b","n":1,"_entry":"the \"line\""}`, `{a="b", A, P} the "line"`},
		{`| unpack`, `x`, `{__error__="JSONParserErr", __error_details__="the line is not a JSON object", A, P} x`},

		// Label filters.
		{`| json | a > 4 and a <= 5 | line_format ""`, `{"a":5}`, `{a="5", A, P} `},
		{`| json | a > 5`, `{"a":5}`, `dropped`},
		{`| json | a == 5.0 or b = "x"`, `{"a":6}`, `dropped`},
		{`| json | a > 1s | line_format ""`, `{"a":"1.5s"}`, `{a="1.5s", A, P} `},
		{`| json | a > 1KiB | line_format ""`, `{"a":"1KB"}`, `dropped`},
		{`| json | a >= 1000B | line_format ""`, `{"a":"1KB"}`, `{a="1KB", A, P} `},
		{`| json | a > 1 | line_format ""`, `{"a":"x"}`, "{__error__=\"LabelFilterErr\", __error_details__=`a: \"x\" is not a number`, a=\"x\", A, P} "},
		{`| json | a > 1 | __error__="" `, `{"a":"x"}`, `dropped`},
		{`| json | b > 1`, `{"a":"1"}`, `dropped`},
		{`| json | b != "1" | line_format ""`, `{"a":"1"}`, `{a="1", A, P} `},
		{`| json | b > 1`, `text`, `dropped`},
		{`| json | app > 1 | line_format ""`, `text`, `{__error__="JSONParserErr", __error_details__="the line is not a JSON object", A, P} `},
		{`| json | logfmt --strict | line_format ""`, `a"`, "{__error__=\"LogfmtParserErr\", __error_details__=`unexpected \" in a key`, A, P} "},
		{`| json a, b | line_format ""`, `{"a":1,"b":"cut`, `{__error__="JSONParserErr", __error_details__="a string has no end", a="1", A, P} `},
		{`| unpack`, `{"a":"b"}`, `{A, P} {"a":"b"}`},
		{`| json | a=~"x|y.*" | line_format ""`, `{"a":"yes"}`, `{a="yes", A, P} `},
		{`| json | a = ip("10.0.0.0/24") | line_format ""`, `{"a":"10.0.0.7"}`, `{a="10.0.0.7", A, P} `},
		{`| json | a != ip("10.0.0.0/24")`, `{"a":"10.0.0.7"}`, `dropped`},
		{`| trace="t1"`, "x", `{A, P, trace="t1"} x`},
		{`| trace!="t1"`, "x", `dropped`},

		// Formats.
		{`| line_format "{{.app}}: {{__line__}} {{.nope}}"`, "x", `{A, P} shop: x `},
		{`| line_format "{{__timestamp__ | date \"2006-01-02T15:04:05.000Z07:00\"}} {{unixEpoch __timestamp__}}"`, "x", `{A, P} 2026-02-28T12:30:45.123Z 1772281845`},
		{`| line_format "{{.app | upper | trunc 2}} {{ToUpper .pod}} {{add 1 2 3}} {{divf 1 4}} {{.app | replace \"s\" \"S\"}}"`, "x", `{A, P} SH P1 6 0.25 Shop`},
		{"| line_format `{{ regexReplaceAll \"(o+)\" .app \"<$1>\" }} {{ alignRight 6 .app }}|{{ alignLeft 2 .app }}`", "x", `{A, P} sh<o>p   shop|sh`},
		{"| line_format `{{ range $k, $v := fromJson __line__ }}{{$k}}={{$v}};{{ end }}`", `{"a":1,"b":"c"}`, `{A, P} a=1;b=c;`},
		{"| line_format `{{ if eq .app \"shop\" }}yes{{ else }}no{{ end }} {{ default \"d\" .nope }} {{ b64enc .app }}`", `x`, `{A, P} yes d c2hvcA==`},
		{`| line_format "{{ .app | int | div 5 }}"`, "x", `{__error__="TemplateFormatErr", __error_details__="<div 5>: error calling div: division by zero", A, P} x`},
		{`| label_format new=pod, up="{{.app | upper}}"`, "x", `{A, new="p1", up="SHOP"} x`},
		{`| label_format app="x"`, "l", `{app="x", P} l`},
		{`| label_format gone=nope`, "l", `{A, P} l`},
		{`| json | drop a, pod | line_format ""`, `{"a":1,"b":2}`, `{A, b="2"} `},
		{`| json | drop a="1", b="1" | line_format ""`, `{"a":1,"b":2}`, `{A, b="2", P} `},
		{`| json | keep b, app | line_format ""`, `{"a":1,"b":2}`, `{A, b="2"} `},
		{`| json | keep b="1" | line_format ""`, `{"a":1,"b":2}`, `{} `},
		{`| json | drop __error__, __error_details__`, `x`, `{A, P} x`},
		{`| decolorize`, "\x1b[31;1mred\x1b[0m \x1b]0;title\x07end\x1b", `{A, P} red end`},
		{`| line_format "y" |= "y"`, "x", `{A, P} y`},
		{`| line_format "y" |= "x"`, "x", `dropped`},
	} {
		var meta []Label
		if strings.Contains(tt.q, "trace") {
			meta = []Label{{Name: "trace", Value: "t1"}}
		}
		if got := process(t, tt.q, tt.line, meta...); got != tt.want {
			t.Errorf("%s on %s:\n got %s\nwant %s", tt.q, tt.line, got, tt.want)
		}
	}
}

func TestMetaAndSeverity(t *testing.T) {
	run := func(q string, sev bool, meta ...Label) string {
		e, err := ParseLog(q)
		if err != nil {
			t.Fatal(q, err)
		}
		p, err := NewPipeline(e, 0)
		if err != nil {
			t.Fatal(q, err)
		}
		r := &Row{Line: []byte(`{"level":"custom"}`), Labels: []Label{{Name: "app", Value: "shop"}}, Meta: meta, Severity: record.Warn, HasSeverity: sev}
		out, ok := p.Process(r)
		if !ok {
			return "dropped"
		}
		return string(appendLabels(nil, out.Labels))
	}
	for _, tt := range []struct {
		q    string
		sev  bool
		want string
		meta []Label
	}{
		{`{app="shop"}`, true, `{app="shop", detected_level="warn"}`, nil},
		{`{app="shop", level="warn"}`, true, `{app="shop", detected_level="warn"}`, nil},
		{`{app="shop", detected_level="warn"}`, true, `{app="shop", detected_level="warn"}`, nil},
		{`{app="shop", level="error"}`, true, `dropped`, nil},
		{`{app="shop"} | level="warn"`, true, `{app="shop", detected_level="warn"}`, nil},
		{`{app="shop"} | level="warn"`, false, `dropped`, nil},
		{`{app="shop"} | json | level="custom"`, true, `{app="shop", detected_level="warn", level="custom"}`, nil},
		{`{app="shop", trace="t"}`, false, `{app="shop", trace="t"}`, []Label{{Name: "trace", Value: "t"}}},
		{`{app="shop", trace="u"}`, false, `dropped`, []Label{{Name: "trace", Value: "t"}}},
		{`{app="shop"}`, false, `{app="shop", app_extracted="x"}`, []Label{{Name: "app", Value: "x"}}},
		{`{app="shop"}`, true, `{app="shop", detected_level="fine"}`, []Label{{Name: "detected_level", Value: "fine"}}},
	} {
		if got := run(tt.q, tt.sev, tt.meta...); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.q, got, tt.want)
		}
	}
}

// Templates have bounds.
func TestFailure47_TemplatesAreBounded(t *testing.T) {
	for _, q := range []string{
		"| line_format `{{ range 1000000000 }}{{ end }}`",
		"| line_format `{{ range 1000000000 }}x{{ end }}`",
		"| line_format `{{ repeat 1000000000 \"x\" }}`",
		"| line_format `{{ printf \"%999999999d\" 1 }}`",
		"| line_format `{{ printf \"%*d\" 999999999 1 }}`",
		"| line_format `{{ alignLeft 1000000000 \"x\" }}`",
		"| line_format `{{ indent 1000000000 \"x\" }}`",
		"| line_format `{{ $x := repeat 60000 \"0123456789\" }}{{ $x | replace \"0\" $x | replace \"1\" $x }}`",
		"| line_format `{{ $x := repeat 60000 \"0123456789\" }}{{$x}}{{$x}}`",
		"| line_format `{{ $x := repeat 60000 \"a\" }}{{ regexReplaceAll \"a\" $x $x }}`",
		"| line_format `{{ count \"((a{100}){100}){100}\" \"x\" }}`",
	} {
		if got := process(t, q, "x"); !strings.Contains(got, `__error__="TemplateFormatErr"`) {
			t.Errorf("%s: %.200s", q, got)
		}
	}
}

// A line can make parsers extract only so much.
func TestFailure47_LabelsAreBounded(t *testing.T) {
	var js, lf strings.Builder
	js.WriteByte('{')
	for i := range 100_000 {
		if i > 0 {
			js.WriteByte(',')
		}
		js.WriteString(`"k` + time.Duration(i).String() + `":1`)
		lf.WriteString("k" + time.Duration(i).String() + "=1 ")
	}
	js.WriteByte('}')
	deep := strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	for q, line := range map[string]string{"| json": js.String(), "| logfmt": lf.String(), "| json | line_format `x`": deep} {
		if got := process(t, q, line); !strings.Contains(got, `__error__="`) {
			t.Errorf("%s: %.200s", q, got)
		}
	}
}
