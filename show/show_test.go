package show

import (
	"bufio"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
)

var (
	at  = time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC)
	web = NewStream(map[string]string{"namespace": "shop", "pod": "web-1", "container": "web", "node": "n1", "app": "shop"})
)

// printed returns what a printer makes of entries.
func printed(t testing.TB, o Options, entries ...Entry) string {
	t.Helper()
	var b strings.Builder
	w := bufio.NewWriter(&b)
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	p, err := New(w, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		if err := p.Line(&entries[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.End(); err != nil {
		t.Fatal(err)
	}
	w.Flush()
	return b.String()
}

func entry(line string) Entry { return Entry{Time: at.UnixNano(), Line: line, Stream: web} }

const order = `{"level":"warn","msg":"order \"7\"","id":7,"user":{"name":"anna"}}`

func TestFormats(t *testing.T) {
	e := entry(order)
	e.Meta = map[string]string{"detected_level": "warn", "trace_id": "abc", "k8s_pod_uid": "u", "file": "/x"}
	e.Parsed = map[string]string{"status": "500"}
	bad := entry("x")
	bad.Parsed = map[string]string{"__error__": "JSONParserErr", "__error_details__": "no JSON"}
	for _, c := range []struct {
		o    Options
		e    Entry
		want string
	}{
		{Options{}, e, "2026-11-22 10:00:00.123 WARN  shop/web-1 web │ order \"7\" id=7 user={\"name\":\"anna\"} trace_id=abc\n"},
		{Options{Format: "default", Times: "none", OneNamespace: true, Fields: []string{"user.name", "status", "node"}}, e, "WARN  web-1 web │ order \"7\" user.name=anna status=500 node=n1\n"},
		{Options{Format: "pretty", Times: "short"}, bad, "11-22 10:00:00       shop/web-1 web │ x __error__=JSONParserErr __error_details__=\"no JSON\"\n"},
		{Options{Format: "raw"}, e, order + "\n"},
		{Options{Format: "raw"}, entry("a\x1b[2J\xff"), "a\x1b[2J\xff\n"},
		{Options{Format: "raw", Terminal: true}, entry("a\x1b[2J\x1b[31mred\xff\nb"), "a\\x1b[2Jred\\xff\nb\n"},
		{Options{Format: "raw", Terminal: true, Color: true}, entry("\x1b[31mred\nb"), "\x1b[31mred\x1b[0m\nb\n"},
		{Options{Format: "json"}, e, `{"time":"2026-11-22T10:00:00.123456789Z","line":` + quote(order) + `,"labels":{"app":"shop","container":"web","namespace":"shop","node":"n1","pod":"web-1"},"metadata":{"detected_level":"warn","file":"/x","k8s_pod_uid":"u","trace_id":"abc"},"parsed":{"status":"500"}}` + "\n"},
		{Options{Format: "jsonl"}, entry("<x>"), `{"labels":{"app":"shop","container":"web","namespace":"shop","node":"n1","pod":"web-1"},"line":"<x>","timestamp":"2026-11-22T10:00:00.123456789Z"}` + "\n"},
		{Options{Format: "extjson"}, entry(order), `{"time": "2026-11-22T10:00:00.123456789Z", "namespace": "shop", "pod": "web-1", "container": "web", "message": ` + order + "}\n"},
		{Options{Format: "ppextjson"}, entry("no\tJSON"), "{\n  \"time\": \"2026-11-22T10:00:00.123456789Z\",\n  \"namespace\": \"shop\",\n  \"pod\": \"web-1\",\n  \"container\": \"web\",\n  \"message\": \"no\\tJSON\"\n}\n"},
		{Options{Format: "logfmt"}, bad, "time=2026-11-22T10:00:00.123456789Z __error__=JSONParserErr __error_details__=\"no JSON\" app=shop container=web namespace=shop node=n1 pod=web-1 line=x\n"},
		{Options{Format: "logfmt", Fields: []string{"level", "id", "msg", "nope", "pod"}}, e, `time=2026-11-22T10:00:00.123456789Z level=warn id=7 msg="order \"7\"" pod=web-1` + "\n"},
		{Options{Format: "logfmt"}, Entry{Line: "\x9b1m", Stream: NewStream(nil)}, `time=1970-01-01T00:00:00Z line="\x9b1m"` + "\n"},
		{Options{Format: "csv"}, e, "time,level,labels,line\n2026-11-22T10:00:00.123456789Z,warn,\"{app=\"\"shop\"\", container=\"\"web\"\", file=\"\"/x\"\", k8s_pod_uid=\"\"u\"\", namespace=\"\"shop\"\", node=\"\"n1\"\", pod=\"\"web-1\"\", status=\"\"500\"\", trace_id=\"\"abc\"\"}\",\"" + strings.ReplaceAll(order, `"`, `""`) + "\"\n"},
		{Options{Format: "csv", Fields: []string{"time", "level", "pod", "user.name", "message", "nope", "line"}}, entry("ERROR a,b"), "time,level,pod,user.name,message,nope,line\n2026-11-22T10:00:00.123456789Z,error,web-1,,\"ERROR a,b\",,\"ERROR a,b\"\n"},
	} {
		if got := printed(t, c.o, c.e); got != c.want {
			t.Errorf("%+v\n got %s\nwant %s", c.o, got, c.want)
		}
	}
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func TestSeries(t *testing.T) {
	labels := map[string]string{"level": "error", "pod": "web\x1b"}
	points := []Point{{at, "1"}, {at.Add(time.Minute), "NaN"}}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "{level=\"error\", pod=\"web\\x1b\"}\n  2026-11-22 10:00:00               1\n  2026-11-22 10:01:00             NaN\n"},
		{Options{Format: "raw"}, "1\nNaN\n"},
		{Options{Format: "csv"}, "time,labels,value\n2026-11-22T10:00:00.123456789Z,\"{level=\"\"error\"\", pod=\"\"web\\x1b\"\"}\",1\n2026-11-22T10:01:00.123456789Z,\"{level=\"\"error\"\", pod=\"\"web\\x1b\"\"}\",NaN\n"},
		{Options{Format: "csv", Fields: []string{"level", "x"}}, "time,level,x,value\n2026-11-22T10:00:00.123456789Z,error,,1\n2026-11-22T10:01:00.123456789Z,error,,NaN\n"},
		{Options{Format: "jsonl"}, "{\"time\":\"2026-11-22T10:00:00.123456789Z\",\"labels\":{\"level\":\"error\",\"pod\":\"web\\u001b\"},\"value\":1}\n{\"time\":\"2026-11-22T10:01:00.123456789Z\",\"labels\":{\"level\":\"error\",\"pod\":\"web\\u001b\"},\"value\":\"NaN\"}\n"},
	} {
		var b strings.Builder
		w := bufio.NewWriter(&b)
		c.o.Zone = time.UTC
		p, err := New(w, c.o)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Series(labels, points); err != nil {
			t.Fatal(err)
		}
		p.End()
		w.Flush()
		if b.String() != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.o.Format, b.String(), c.want)
		}
	}
}

func TestTemplate(t *testing.T) {
	known := entry(`{"ts":1795341600.5,"level":"error","msg":"boom","n":12345678901234567890}`)
	s := *web
	s.PodLabels, s.PodAnnotations = map[string]string{"team": "a"}, map[string]string{"note": "b"}
	known.Stream = &s
	text := entry("plain \x1b[2J\x1b[31mtext")
	bunyan := entry(`{"level":30,"msg":"x"}`)
	for _, c := range []struct {
		text  string
		e     Entry
		color bool
		want  string
	}{
		{"{{.PodName}} {{.Message}}", text, false, "web-1 plain \\x1b[2Jtext\n"},
		{"{{.Namespace}}/{{.ContainerName}}@{{.NodeName}}{{\"\\n\"}}", text, false, "shop/web@n1\n"},
		{"{{.Timestamp}} {{.Time.Unix}} {{.Level}}", known, false, "10:00:00.123 1795341600 error\n"},
		{"{{.Labels.team}} {{.Annotations.note}} {{.Get \"msg\"}} {{.Get \"node\"}}", known, false, "a b boom n1\n"},
		{"{{.Labels.app}}", text, false, "shop\n"},
		{"{{with $d := .Message | parseJSON}}[{{$d.level}}] {{$d.msg}} {{$d.n}}{{end}}", known, false, "[error] boom 12345678901234567890\n"},
		{"{{with $d := .Message | tryParseJSON}}{{levelColor $d.level}}{{else}}{{.Line}}{{end}}", text, false, "plain \\x1b[2Jtext\n"},
		{"{{with $d := .Message | tryParseJSON}}{{levelColor $d.level}}{{end}}", text, false, ""},
		{"{{with $d := .Message | tryParseJSON}}{{levelColor $d.level}}{{end}}", known, true, "\x1b[38;5;196merror\x1b[0m\n"},
		{"{{with $d := .Message | tryParseJSON}}{{bunyanLevelColor $d.level}}{{end}}", bunyan, true, "\x1b[38;5;28m30\x1b[0m\n"},
		{`{{extractJSONParts .Message "msg" "level"}}`, known, false, "boom, error\n"},
		{`{{tryExtractJSONParts .Message "msg"}}`, text, false, "plain \\x1b[2Jtext\n"},
		{"{{prettyJSON .Message}}", bunyan, false, "{\n  \"level\": 30,\n  \"msg\": \"x\"\n}\n"},
		{"{{prettyJSON (parseJSON .Message)}}", bunyan, false, "{\n  \"level\": 30,\n  \"msg\": \"x\"\n}\n"},
		{"{{prettyJSON .Message}}", text, false, "plain \\x1b[2Jtext\n"},
		{"{{with $d := parseJSON .Message}}{{toRFC3339Nano $d.ts}} {{toTimestamp $d.ts \"15:04\" \"Asia/Tokyo\"}} {{(toUTC $d.ts).Hour}}{{end}}", known, false, "2026-11-22T10:00:00.5Z 19:00 10\n"},
		{"{{json .}}", bunyan, false, `{"annotations":null,"containerName":"web","labels":{"app":"shop","container":"web","namespace":"shop","node":"n1","pod":"web-1"},"message":"{\"level\":30,\"msg\":\"x\"}","namespace":"shop","nodeName":"n1","podName":"web-1"}` + "\n"},
		{"{{json .Message}}", entry("a<b"), false, "\"a<b\"\n"},
		{"{{colorRed .PodName}}{{colorCustom \"Hi\" 3 96}}{{color .PodColor \"\"}}", text, true, "\x1b[31mweb-1\x1b[0m\x1b[3;96mHi\x1b[0m\n"},
		{"{{colorRed .PodName}}{{color .PodColor .PodName}}", text, false, "web-1web-1\n"},
		{"{{colorWhite \"on white\"}}", text, true, "on white\x1b[0m\n"},
		{"{{upper .PodName | lower | trim}}", text, true, "web-1\n"},
	} {
		if got := printed(t, Options{Format: "template", Template: c.text, Terminal: true, Color: c.color, Times: "clock"}, c.e); got != c.want {
			t.Errorf("%s\n got %q\nwant %q", c.text, got, c.want)
		}
	}
	// A pipe gets what the program wrote.
	if got := printed(t, Options{Format: "template", Template: "{{.Message}}"}, text); got != text.Line+"\n" {
		t.Errorf("%q", got)
	}
}

func TestTemplateErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"{{.PodNam}}", "can't evaluate field PodNam"},
		{"{{.PodName", "unclosed action"},
		{"{{podName}}", `function "podName" not defined`},
		{" ", "the template is empty"},
		{"", "the template is empty"},
	} {
		_, err := New(nil, Options{Format: "template", Template: c.text})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "One that works: -o 'template={{.PodName}} {{.Message}}'") {
			t.Errorf("%s: %v", c.text, err)
		}
	}
	var b strings.Builder
	p, err := New(bufio.NewWriter(&b), Options{Format: "template", Template: "{{(parseJSON .Message).x}}"})
	if err != nil {
		t.Fatal(err)
	}
	e := entry("no JSON")
	if err := p.Line(&e); err == nil || !strings.Contains(err.Error(), "tryParseJSON") {
		t.Errorf("%v", err)
	}
}

func TestNewErrors(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Format: "xml"}, `no format "xml": want pretty, raw, json, logfmt, csv`},
		{Options{Times: "long"}, `no style of times "long": want default, short`},
	} {
		if _, err := New(nil, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v", err)
		}
	}
	for _, f := range append(Formats, Aliases...) {
		if _, err := New(bufio.NewWriter(nil), Options{Format: f}); err != nil {
			t.Error(err)
		}
	}
}

func TestNamesFollowStreams(t *testing.T) {
	file := NewStream(map[string]string{"input": "file", "app": "x"})
	a, b := Entry{Stream: file, Line: "1", Meta: map[string]string{"file": "/a"}}, Entry{Stream: file, Line: "2", Meta: map[string]string{"file": "/b"}}
	none := Entry{Stream: NewStream(map[string]string{"x": "y", "service_name": "unknown_service"}), Line: "3"}
	got := printed(t, Options{Times: "none"}, a, b, a, none)
	if got != "      /a │ 1\n      /b │ 2\n      /a │ 1\n      {x=\"y\"} │ 3\n" {
		t.Errorf("%q", got)
	}
}

// A spreadsheet executes what looks like a formula.
func TestFailure111_NoFormulasInCSV(t *testing.T) {
	for in, want := range map[string]string{
		"=cmd|' /C calc'!A0": "'=cmd|' /C calc'!A0", "@SUM(A1)": "'@SUM(A1)", "+1+1": "'+1+1", "-1": "-1", "-x": "'-x", "\t=1": "'\t=1",
		"+1.5e3": "+1.5e3", "a=b": "a=b", "": "", "{}": "{}", "-Inf": "-Inf",
	} {
		if got := cell(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	e := entry("=1+1")
	if got := printed(t, Options{Format: "csv", Fields: []string{"line"}}, e); got != "line\n'=1+1\n" {
		t.Errorf("%q", got)
	}
	if got := printed(t, Options{Format: "csv"}, e); !strings.HasSuffix(got, ",'=1+1\n") {
		t.Errorf("%q", got)
	}
}

// FuzzFailure111_Show: nothing that a terminal obeys comes out of any format.
func FuzzFailure111_Show(f *testing.F) {
	f.Add("a\x1b[2J\x9b\u202e\x00", "\x1b]0;t\x07", "{{.Message}}")
	f.Add(order, "x", "{{json .}}{{.Get \"user\"}}")
	sgr := regexp.MustCompile("\x1b\\[[0-9;]*m")
	f.Fuzz(func(t *testing.T, text, label, tmpl string) {
		if strings.Contains(tmpl, "range") || strings.Contains(tmpl, "template") {
			t.Skip() // may go on for ever
		}
		e := Entry{Time: at.UnixNano(), Line: text, Stream: NewStream(map[string]string{"pod": label, "namespace": text}), Meta: map[string]string{"file": label, "x": label}, Parsed: map[string]string{"__error__": text}}
		for _, format := range append(append([]string{"template"}, Formats...), Aliases...) {
			for _, fields := range [][]string{nil, {"x", "file"}} {
				var b strings.Builder
				w := bufio.NewWriter(&b)
				p, err := New(w, Options{Format: format, Template: tmpl, Terminal: true, Color: true, Fields: fields})
				if err != nil {
					continue
				}
				_ = p.Line(&e)
				_ = p.Series(e.Stream.Labels, []Point{{at, "1"}})
				_ = p.End()
				w.Flush()
				for _, r := range sgr.ReplaceAllString(b.String(), "") {
					if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || r == 0x202e {
						t.Fatalf("%s: %U in %q", format, r, b.String())
					}
				}
			}
		}
	})
}

func TestPrettyAllocatesNothing(t *testing.T) {
	e := entry(order)
	e.Meta = map[string]string{"detected_level": "warn", "trace_id": "abc", "span_id": "d"}
	w := bufio.NewWriter(new(nowhere))
	p, err := New(w, Options{Color: true})
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Line(&e)
	if n := testing.AllocsPerRun(1000, func() { _ = p.Line(&e) }); n > 0 {
		t.Errorf("%.1f allocations a line", n)
	}
}

type nowhere struct{}

func (*nowhere) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkPretty(b *testing.B) {
	e := entry(`{"time":"2026-11-22T10:00:00.123456789Z","level":"INFO","msg":"request completed","method":"GET","path":"/api/v1/cart/1042","status":200,"duration_ms":12.5,"user_agent":"Mozilla/5.0 (X11; Linux x86_64)","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","bytes":5120}`)
	e.Meta = map[string]string{"detected_level": "info"}
	w := bufio.NewWriterSize(new(nowhere), 64<<10)
	p, err := New(w, Options{Color: true})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = p.Line(&e)
	}
}
