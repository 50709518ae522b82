package stage

import (
	stdjson "encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// golden are lines as the libraries really write them.
var golden = []struct {
	name, line string
	json       bool
	sev        record.Severity
	time       string // "" = not taken from the line
	fields     map[string]string
}{
	{"slog", `{"time":"2026-11-22T12:31:07.123456789Z","level":"INFO","msg":"request served","method":"GET","status":200}`,
		true, record.Info, "2026-11-22T12:31:07.123456789Z", nil},
	{"slog custom level", `{"time":"2026-11-22T13:31:07.1+01:00","level":"DEBUG-4","msg":"x"}`,
		true, record.Trace, "2026-11-22T12:31:07.1Z", nil},
	{"zap production", `{"level":"warn","ts":1795350667.1234567,"caller":"reconcile/reconciler.go:118","msg":"Reconciling","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}`,
		true, record.Warn, "2026-11-22T12:31:07.1234567Z", nil},
	{"zap iso8601", `{"level":"dpanic","ts":"2026-11-22T12:31:07.123Z","msg":"x"}`, true, record.Fatal, "2026-11-22T12:31:07.123Z", nil},
	{"zap iso8601 zone", `{"level":"ERROR","ts":"2026-11-22T14:31:07.123+0200","msg":"x"}`, true, record.Error, "2026-11-22T12:31:07.123Z", nil},
	{"zap console", "2026-11-22T12:31:07.123Z\tinfo\tcontroller/main.go:12\tstarting", false, record.Info, "", nil},
	{"zap development", "2026-11-22T12:31:07.123Z\tERROR\tcontroller/main.go:12\tno info", false, record.Error, "", nil},
	{"zerolog", `{"level":"error","error":"EOF","time":"2026-11-22T12:31:07Z","message":"read failed"}`, true, record.Error, "2026-11-22T12:31:07Z", nil},
	{"zerolog unix ms", `{"level":"debug","time":1795350667123,"message":"x"}`, true, record.Debug, "2026-11-22T12:31:07.123Z", nil},
	{"zerolog console", "\x1b[90m12:31PM\x1b[0m \x1b[32mINF\x1b[0m \x1b[1mstarting\x1b[0m", false, record.Info, "", nil},
	{"logrus json", `{"level":"warning","msg":"slow","time":"2026-11-22T12:31:07Z"}`, true, record.Warn, "2026-11-22T12:31:07Z", nil},
	{"logrus text", `time="2026-11-22T12:31:07Z" level=fatal msg="cannot \"bind\"" addr=":80"`, false, record.Fatal, "2026-11-22T12:31:07Z", nil},
	{"logrus tty", "\x1b[31mERRO\x1b[0m[0004] boom", false, record.Unknown, "", nil},
	{"logback", `{"@timestamp":"2026-11-22T12:31:07.123Z","@version":"1","message":"no \"funds\"","logger_name":"com.example.Pay","level":"WARN","level_value":30000}`,
		true, record.Warn, "2026-11-22T12:31:07.123Z", nil},
	{"spring boot", "2026-11-22T12:31:07.123Z  INFO 1 --- [main] c.e.shop.Application : Started", false, record.Info, "", nil},
	{"spring boot debug", "2026-11-22 12:31:07.123 DEBUG 1 --- [main] c.e.shop.Application : error INFO", false, record.Debug, "", nil},
	{"log4j", "12:31:07.123 [main] ERROR com.example.Pay - no funds", false, record.Error, "", nil},
	{"log4j2 json", `{"instant":{"epochSecond":1795350667,"nanoOfSecond":1},"thread":"main","level":"TRACE","message":"x"}`, true, record.Trace, "", nil},
	{"ecs", `{"@timestamp":"2026-11-22T12:31:07.123Z","log.level":"error","message":"x","ecs.version":"1.2.0","trace.id":"4bf92f3577b34da6a3ce929d0e0e4736"}`,
		true, record.Error, "2026-11-22T12:31:07.123Z", nil},
	{"jul", "SEVERE: it broke", false, record.Error, "", nil},
	{"pino", `{"level":30,"time":1795350667123,"pid":1,"hostname":"api","msg":"hello"}`, true, record.Info, "2026-11-22T12:31:07.123Z", nil},
	{"bunyan", `{"name":"api","hostname":"h","pid":1,"level":50,"msg":"x","time":"2026-11-22T12:31:07.123Z","v":0}`, true, record.Error, "2026-11-22T12:31:07.123Z", nil},
	{"winston", `{"level":"silly","message":"x","timestamp":"2026-11-22T12:31:07.123Z"}`, true, record.Trace, "2026-11-22T12:31:07.123Z", nil},
	{"python", "INFO:root:starting", false, record.Info, "", nil},
	{"python format", "2026-11-22 12:31:07,123 - my.module - CRITICAL - no info", false, record.Fatal, "", nil},
	{"python json", `{"asctime": "2026-11-22 12:31:07,123", "levelname": "ERROR", "message": "x"}`, true, record.Error, "", nil},
	{"structlog", `{"event": "x", "level": "info", "timestamp": "2026-11-22T12:31:07.123456Z"}`, true, record.Info, "2026-11-22T12:31:07.123456Z", nil},
	{"celery", "[2026-11-22 12:31:07,123: WARNING/MainProcess] x", false, record.Warn, "", nil},
	{"gunicorn", "[2026-11-22 12:31:07 +0000] [7] [INFO] Booting worker", false, record.Info, "", nil},
	{"uvicorn", "INFO:     10.0.0.1:51844 - \"GET / HTTP/1.1\" 200 OK", false, record.Info, "", nil},
	{"rails", "I, [2026-11-22T12:31:07.123456 #1]  INFO -- : [a3f1] Started GET", false, record.Info, "", nil},
	{"dotnet", "info: Microsoft.Hosting.Lifetime[14]", false, record.Info, "", nil},
	{"dotnet fail", "fail: Microsoft.AspNetCore.Server.Kestrel[13]", false, record.Error, "", nil},
	{"serilog", "[12:31:07 WRN] slow query", false, record.Warn, "", nil},
	{"rust tracing", "\x1b[2m2026-11-22T12:31:07.123456Z\x1b[0m \x1b[33m WARN\x1b[0m \x1b[2mapi\x1b[0m: slow", false, record.Warn, "", nil},
	{"rust env_logger", "[2026-11-22T12:31:07Z DEBUG api] error", false, record.Debug, "", nil},
	{"elixir", "12:31:07.123 [notice] x", false, record.Info + 1, "", nil},
	{"klog", "I1122 12:31:07.123456       1 controller.go:118] Starting error handler", false, record.Info, "2026-11-22T12:31:07.123456Z", map[string]string{"caller": "controller.go:118"}},
	{"klog structured", `E1122 12:31:06.000001   12345 pod_workers.go:1301] "Error syncing pod" err="x" pod="shop/api" traceID="4bf92f35" span_id="00f0"`,
		false, record.Error, "2026-11-22T12:31:06.000001Z", map[string]string{"caller": "pod_workers.go:1301", "trace_id": "4bf92f35", "span_id": "00f0"}},
	{"etcd", `{"level":"info","ts":"2026-11-22T12:31:07.123456Z","caller":"mvcc/hash.go:137","msg":"storing new hash","hash":1,"revision":2}`,
		true, record.Info, "2026-11-22T12:31:07.123456Z", nil},
	{"coredns", "[INFO] plugin/reload: Running configuration SHA512 = 1", false, record.Info, "", nil},
	{"kube audit", `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"x","stage":"ResponseComplete"}`, true, record.Unknown, "", nil},
	{"nginx access", `10.42.3.17 - - [22/Nov/2026:12:31:07 +0000] "GET /error HTTP/1.1" 200 5316 "-" "curl/8.5.0"`, false, record.Unknown, "", nil},
	{"nginx error", "2026/11/22 12:31:07 [error] 29#29: *1 open() failed", false, record.Error, "", nil},
	{"nginx emerg", "nginx: [emerg] host not found", false, record.Fatal, "", nil},
	{"apache", "[Sun Nov 22 12:31:07.123456 2026] [mpm_event:notice] [pid 1:tid 1] AH00489", false, record.Info + 1, "", nil},
	{"envoy", "[2026-11-22 12:31:07.123][1][warning][main] [source/server/server.cc:910] x", false, record.Warn, "", nil},
	{"envoy json access", `{"start_time":"2026-11-22T12:31:07.123Z","method":"GET","response_code":200,"duration":3,"x_request_id":null}`, true, record.Unknown, "", nil},
	{"istiod", "2026-11-22T12:31:07.123456Z\tinfo\tads\tPush debounce stable", false, record.Info, "", nil},
	{"postgres", "2026-11-22 12:31:07.123 UTC [64] LOG:  database system is ready", false, record.Info, "", nil},
	{"postgres fatal", "2026-11-22 12:31:07.123 UTC [64] FATAL:  password authentication failed", false, record.Fatal, "", nil},
	{"mysql", "2026-11-22T12:31:07.123456Z 0 [Warning] [MY-010068] [Server] CA certificate is self signed.", false, record.Warn, "", nil},
	{"redis", "1:M 22 Nov 2026 12:31:07.123 * Ready to accept connections", false, record.Unknown, "", nil},
	{"kafka", "[2026-11-22 12:31:07,123] INFO [KafkaServer id=1] started (kafka.server.KafkaServer)", false, record.Info, "", nil},
	{"prometheus", `ts=2026-11-22T12:31:07.123Z caller=main.go:1 level=info msg="Server is ready" traceID=4bf92f35`,
		false, record.Info, "2026-11-22T12:31:07.123Z", map[string]string{"trace_id": "4bf92f35"}},
	{"loki", `level=warn ts=2026-11-22T12:31:07.123456789Z caller=x.go:1 component=a span_id=00f0`,
		false, record.Warn, "2026-11-22T12:31:07.123456789Z", map[string]string{"span_id": "00f0"}},
	{"hclog", "2026-11-22T12:31:07.123Z [WARN]  agent: x", false, record.Warn, "", nil},
	{"stackdriver", `{"severity":"CRITICAL","time":"2026-11-22T12:31:07.123Z","message":"x"}`, true, record.Fatal, "2026-11-22T12:31:07.123Z", nil},
	{"syslog number", `{"priority":"3","severity":6,"message":"x"}`, true, record.Info, "", nil},
	{"journal", `{"PRIORITY":"3","priority":4,"MESSAGE":"x"}`, true, record.Warn, "", nil},
	{"go panic", "panic: runtime error: index out of range", false, record.Fatal, "", nil},
	{"android", "E/AudioFlinger( 123): x", false, record.Error, "", nil},
	{"systemd", "<4>disk is slow", false, record.Warn, "", nil},
	{"cut json", `{"level":"error","msg":"this line was cut`, false, record.Error, "", nil},
}

func TestParseGolden(t *testing.T) {
	s := newParse(t, "")
	lines := make([]string, len(golden))
	for i, g := range golden {
		lines[i] = g.line
	}
	b := batchOf(lines...)
	process(t, s, b)
	for i, g := range golden {
		r := b.Record(i)
		if string(b.Body(i)) != g.line || r.Source != r.Body {
			t.Errorf("%s: body is now %q", g.name, b.Body(i))
		}
		if r.Flags.Has(record.JSONObject) != g.json || !r.Flags.Has(record.ValidUTF8) || r.Flags.Has(record.InvalidUTF8) {
			t.Errorf("%s: flags %b", g.name, r.Flags)
		}
		if r.Severity != g.sev {
			t.Errorf("%s: severity %d, want %d", g.name, r.Severity, g.sev)
		}
		want, parsed := observed, false
		if g.time != "" {
			var err error
			if want, err = time.Parse(time.RFC3339Nano, g.time); err != nil {
				t.Fatal(err)
			}
			parsed = true
		}
		if r.Time != want.UnixNano() || r.Flags.Has(record.TimeParsed) != parsed || r.Observed != observed.UnixNano() {
			t.Errorf("%s: time %v, parsed %v", g.name, time.Unix(0, r.Time).UTC(), r.Flags.Has(record.TimeParsed))
		}
		if g.fields == nil {
			g.fields = map[string]string{}
		}
		if got := fieldsOf(b, i); !reflect.DeepEqual(got, g.fields) {
			t.Errorf("%s: fields %v, want %v", g.name, got, g.fields)
		}
		if g.json {
			var m map[string]any
			if err := stdjson.Unmarshal([]byte(g.line), &m); err != nil {
				t.Fatal(err)
			}
			var known uint64
			for k := range m {
				if bit, ok := json.Known([]byte(k)); ok {
					known |= 1 << bit
				}
			}
			if r.KnownKeys != known {
				t.Errorf("%s: known keys %b, want %b", g.name, r.KnownKeys, known)
			}
		}
	}
}

// A word that only looks like a level is none.
func TestTextLevelIsNotGuessed(t *testing.T) {
	for _, line := range []string{
		"no error found", "an information desk", "INFORMATION_SCHEMA is read", "GET /ERROR/x", "my.error.handler", "error-handler ready",
		"ERROR_CODE=3", "errors: none", "terrors: x", "debugging on", "warned you", "10 errors", "a fatal flaw", "Error handling works",
		"FINE print", "LOG rotation done", "ALERT manager", "CONFIG map", "VERBOSE mode is off", "level up", "high-level: design", "loglevels=error",
		"T", "e/x", "<999>x", "<x>", "<", "I/", "HINT:  use x", "\tat com.example.Error.<init>(Error.java:1)", "info", "xINFO", "INFOx", "WARN42",
		strings.Repeat("x ", levelWindow/2) + "ERROR far away", strings.Repeat("x", levelWindow-1) + " ERROR",
	} {
		if sev := textLevel([]byte(line)); sev != 0 {
			t.Errorf("%q has level %v", line, sev.Level())
		}
	}
	for line, want := range map[string]string{
		"ERROR": "error", "x ERROR": "error", "ERROR x": "error", "WARN, x": "warn", "level: debug": "debug", "x level=warn y": "warn",
		`x "severity":"info"`: "info", "severity = x": "unknown", "(warning) x": "warn", "| info | x": "unknown", "|info|x": "info",
		strings.Repeat("x", levelWindow-6) + " ERROR": "error", "<30>x": "info", "<0>": "fatal", "<191>x": "debug", "I/x": "info",
		"12:31:07 error x": "error", "12:31:07 error": "error", "2026-11-22T12:31:07Z warn: x": "warn", "12:31:07 UTC debug x": "debug", "3 error x": "unknown",
		"\x1b[31;1mERROR\x1b[0m x": "error", "\x1b[": "unknown", "\x1b[31": "unknown",
	} {
		if got := textLevel([]byte(line)).Level(); got != want {
			t.Errorf("%q has level %s, want %s", line, got, want)
		}
	}
}

func TestParseLevel(t *testing.T) {
	for in, want := range map[string]record.Severity{
		"INFO": 9, "Info": 9, "information": 9, "INFO+2": 11, "DEBUG-4": 1, "DEBUG-9": 1, "ERROR+4": 21, "FATAL+9": 24, "notice": 10,
		"warning": 13, "e": 17, "CRITICAL": 21, "finest": 1, "verbose": 1,
	} {
		if got, ok := ParseLevel([]byte(in)); !ok || got != want {
			t.Errorf("ParseLevel(%q) = %d, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "x", "infos", "+2", "informationals", "ínfo", "INFO+", "INFO+22", "0"} {
		if got, ok := ParseLevel([]byte(in)); ok {
			t.Errorf("ParseLevel(%q) = %d", in, got)
		}
	}
}

func TestFailure40_ControlBytesAreKept(t *testing.T) {
	lines := []string{
		"a\x00b", "\x00\x00\x00", "line\r", "\ufeffbom", "\ufeff{\"a\":1}", "u\u2028x\u2029", "v\vf\f", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07x",
		"\x1b]8;;http://x\x1b\\link", "{\"level\":\"warn\"}\r", " {\"level\":\"warn\"}", "\x7f", "\t\ttabs ",
	}
	for _, format := range []string{"auto", "logfmt", "klog", "none"} {
		b := batchOf(lines...)
		process(t, newParse(t, format), b)
		for i, l := range lines {
			r := b.Record(i)
			if string(b.Body(i)) != l || r.Body != r.Source || r.Flags&(record.Dropped|record.JSONObject) != 0 || !r.Flags.Has(record.ValidUTF8) {
				t.Errorf("%s: %q became %q, flags %b", format, l, b.Body(i), r.Flags)
			}
		}
	}
	// A carriage return behind an object is not the object's: auto keeps the
	// line and knows the level; format json takes the object.
	b := batchOf(lines[10], lines[11])
	process(t, newParse(t, "auto"), b)
	if b.Record(0).Severity != record.Warn || b.Record(1).Severity != record.Warn {
		t.Error("auto does not see the level beside white space")
	}
	process(t, newParse(t, "json"), b)
	for i := range 2 {
		if r := b.Record(i); string(b.Body(i)) != `{"level":"warn"}` || !r.Flags.Has(record.JSONObject) || string(b.Bytes(r.Source)) != lines[10+i] {
			t.Errorf("format json: body %q, source %q", b.Body(i), b.Bytes(r.Source))
		}
	}
}

func TestFailure41_EmptyLinesAreKept(t *testing.T) {
	lines := []string{"", " ", "\t", "\r", "   \t "}
	for _, format := range []string{"auto", "json", "logfmt", "klog", "none"} {
		b := batchOf(lines...)
		process(t, newParse(t, format), b)
		b.Freeze()
		if len(b.Live()) != len(lines) {
			t.Errorf("%s: %d of %d lines live", format, len(b.Live()), len(lines))
		}
		for i, l := range lines {
			if string(b.Body(i)) != l || !b.Record(i).Flags.Has(record.ValidUTF8) {
				t.Errorf("%s: %q became %q", format, l, b.Body(i))
			}
		}
	}
}

func TestFailure39_InvalidUTF8IsMarkedAndKept(t *testing.T) {
	lines := []string{"ERROR \xff", "{\"level\":\"error\",\"a\":\"\xc3\"}", "level=error msg=\xed\xa0\x80", strings.Repeat("a", 100) + "\xe9"}
	b := batchOf(lines...)
	process(t, newParse(t, ""), b)
	for i, l := range lines {
		r := b.Record(i)
		if string(b.Body(i)) != l || !r.Flags.Has(record.InvalidUTF8) || r.Flags&(record.ValidUTF8|record.JSONObject) != 0 {
			t.Errorf("%q became %q, flags %b", l, b.Body(i), r.Flags)
		}
		if i < 3 && r.Severity != record.Error {
			t.Errorf("%q: severity %d", l, r.Severity)
		}
	}
}

// Parsing has no regular expressions of users yet (row 47 is for the steps
// that will). What it has takes linear time on lines made against it: were one
// of these quadratic, the test would run for many minutes.
func TestFailure47_HostileLinesTakeLinearTime(t *testing.T) {
	for _, format := range []string{"auto", "logfmt", "klog"} {
		s := newParse(t, format)
		for _, unit := range []string{`"`, `\`, `="`, `a="\`, `x=`, `a `, `[`, `{`, `trace`, ` "a`, `" trace_id=`, `a="" trace="`} {
			long := strings.Repeat(unit, 1<<20/len(unit))
			for _, begin := range []string{"", "level=info trace=x ", "I1122 12:31:07.123456 1 a.go:1] trace ", `{"level":"`, "{"} {
				process(t, s, batchOf(begin+long))
			}
		}
	}
}

func TestParseLeavesAlone(t *testing.T) {
	line := `{"level":"error","time":"2026-11-22T12:31:07Z"}`
	for _, f := range []record.Flags{record.Dropped, record.Gap, record.Generated} {
		b := batchOf(line)
		b.Record(0).Flags |= f
		before := *b.Record(0)
		process(t, newParse(t, ""), b)
		if *b.Record(0) != before {
			t.Errorf("flags %b: record changed", f)
		}
	}
	for _, f := range []record.Flags{record.Partial, record.Continued} {
		b := batchOf(line)
		b.Record(0).Flags |= f
		process(t, newParse(t, ""), b)
		if r := b.Record(0); r.Severity != 0 || r.Flags != f|record.ValidUTF8 {
			t.Errorf("flags %b: severity %d, flags %b", f, r.Severity, r.Flags)
		}
	}
	// What a sender said stands.
	b := batchOf(line)
	r := b.Record(0)
	r.Severity, r.Flags, r.Time = record.Debug, record.TimeParsed, 42
	process(t, newParse(t, ""), b)
	if r.Severity != record.Debug || r.Time != 42 || !r.Flags.Has(record.JSONObject) {
		t.Errorf("the sender's level or time was replaced: %+v", *r)
	}
	// An input's own parse and the pipeline's add nothing twice.
	b = batchOf("I1122 12:31:07.123456       1 a.go:1] x trace_id=1", "level=info msg=x trace_id=1")
	for range 2 {
		process(t, newParse(t, ""), b)
	}
	if len(b.Fields(0)) != 2 || len(b.Fields(1)) != 1 {
		t.Errorf("fields %v, %v", fieldsOf(b, 0), fieldsOf(b, 1))
	}
	// A second parse of a body that was changed forgets the first.
	b = batchOf(line)
	process(t, newParse(t, ""), b)
	b.Record(0).Body = b.AppendString("text")
	process(t, newParse(t, ""), b)
	if r := b.Record(0); r.KnownKeys != 0 || r.Flags.Has(record.JSONObject) {
		t.Errorf("flags %b of text", r.Flags)
	}
}

func TestParseFormats(t *testing.T) {
	if _, err := NewParse(ParseConfig{Format: "xml"}); err == nil || !strings.Contains(err.Error(), `"xml"`) {
		t.Errorf("format xml: %v", err)
	}
	// none looks at nothing but UTF-8.
	b := batchOf(`{"level":"error"}`, "ERROR", "level=error msg=x")
	process(t, newParse(t, "none"), b)
	for i := range b.NumRecords() {
		if r := b.Record(i); r.Severity != 0 || r.Flags != record.ValidUTF8 {
			t.Errorf("none: %q: %+v", b.Body(i), *r)
		}
	}
	// json does not try the others, but text is text.
	b = batchOf("I1122 12:31:07.123456       1 a.go:1] x", "ERROR x")
	process(t, newParse(t, "json"), b)
	if len(b.Fields(0)) != 0 || b.Record(1).Severity != record.Error {
		t.Error("json: tried another format")
	}
}

func TestLogfmtMakesFields(t *testing.T) {
	b := batchOf(`ts=2026-11-22T12:31:07.25Z level=warn msg="a \"b\"\n" n=1 empty= dup=a bare trace_id=4bf9 dup=b q=""`,
		"prose without pairs", `level=odd time=yesterday`, `a="unfinished`, `a=1 "x" b=2`)
	process(t, newParse(t, "logfmt"), b)
	want := []map[string]string{
		{"msg": "a \"b\"\n", "n": "1", "empty": "", "dup": "b", "trace_id": "4bf9", "q": ""},
		{},
		{"level": "odd", "time": "yesterday"},
		{},
		{"a": "1"},
	}
	for i := range want {
		if got := fieldsOf(b, i); !reflect.DeepEqual(got, want[i]) {
			t.Errorf("%q: fields %v, want %v", b.Body(i), got, want[i])
		}
	}
	r := b.Record(0)
	if r.Severity != record.Warn || r.Time != time.Date(2026, 11, 22, 12, 31, 7, 250_000_000, time.UTC).UnixNano() {
		t.Errorf("level %v, time %v", r.Severity, time.Unix(0, r.Time).UTC())
	}
	var line strings.Builder
	for i := range 2 * maxFields {
		fmt.Fprintf(&line, "k%d=v ", i)
	}
	b = batchOf(line.String(), strings.Repeat("k", maxKeyLen+1)+"=v x=y")
	process(t, newParse(t, "logfmt"), b)
	if n := len(b.Fields(0)); n != maxFields {
		t.Errorf("%d fields", n)
	}
	if got := fieldsOf(b, 1); !reflect.DeepEqual(got, map[string]string{"x": "y"}) {
		t.Errorf("long key: %d fields", len(got))
	}
}

func TestAutoLogfmtNeedsEvidence(t *testing.T) {
	for line, want := range map[string]record.Severity{
		"level=error":             record.Error,
		"a=1 b=2 severity=debug":  record.Debug,
		"x=1":                     0,
		"url=http://x/?level=1 y": 0,
		"=x level=y":              0,
		`msg="level=error" a=b`:   0,
	} {
		b := batchOf(line)
		process(t, newParse(t, ""), b)
		got := b.Record(0).Severity
		if strings.HasPrefix(line, "msg=") {
			// The text heuristic may read a level inside quotes.
			continue
		}
		if got != want {
			t.Errorf("%q: severity %d, want %d", line, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, g := range golden {
		f.Add([]byte(g.line), uint8(0))
	}
	f.Add([]byte(`a="\`), uint8(2))
	f.Add([]byte("I1122 12:31:07.123456 1 a:1]"), uint8(3))
	formats := []string{"auto", "json", "logfmt", "klog", "none"}
	f.Fuzz(func(t *testing.T, line []byte, format uint8) {
		s := newParse(t, formats[int(format)%len(formats)])
		b := batchOf("first", string(line), "last")
		process(t, s, b)
		r := b.Record(1)
		body := b.Body(1)
		if string(b.Bytes(r.Source)) != string(line) {
			t.Fatalf("source of %q changed to %q", line, b.Bytes(r.Source))
		}
		if s.format != jsonFormat && string(body) != string(line) {
			t.Fatalf("body of %q changed to %q", line, body)
		}
		if r.Flags.Has(record.JSONObject) {
			var m map[string]stdjson.RawMessage
			if err := stdjson.Unmarshal(body, &m); err != nil || !utf8.Valid(body) || body[0] != '{' || body[len(body)-1] != '}' {
				t.Fatalf("%q is no object: %v", body, err)
			}
		}
		if valid := utf8.Valid(body); r.Flags.Has(record.ValidUTF8) != valid || r.Flags.Has(record.InvalidUTF8) == valid {
			t.Fatalf("%q: UTF-8 flags %b", body, r.Flags)
		}
		if d := r.Time - r.Observed; d < -int64(maxBehind) || d > int64(maxAhead) {
			t.Fatalf("%q: time %v from when it was seen", line, time.Duration(d))
		}
		for _, fl := range b.Fields(1) {
			if int(fl.Val.End()) > b.Len() {
				t.Fatalf("%q: field %q out of the buffer", line, b.KeyName(fl.Key))
			}
			_ = b.Bytes(fl.Val)
		}
		if len(b.Fields(0)) != 0 || len(b.Fields(2)) != 0 {
			t.Fatalf("%q: neighbours have fields", line)
		}
	})
}

// The bit sets say the same as looking at each byte, wherever a line ends.
func TestClassify(t *testing.T) {
	var all []byte
	for c := range 256 {
		all = append(all, byte(c))
	}
	all = append(all, "Some text_1 with [BRACKETS] é\x7f."...)
	for n := range len(all) + 1 {
		for base := 0; base < n; base += 64 {
			word, upper, space := classify(all[:n], base)
			for k := range 64 {
				c := byte(0)
				if base+k < n {
					c = all[base+k]
				}
				if got, want := word>>k&1 != 0, class[c]&isWord != 0 || c == 0x7f; got != want {
					t.Fatalf("word %q at %d of %d: %v", c, base+k, n, got)
				}
				if got, want := upper>>k&1 != 0, c >= 'A' && c <= 'Z'; got != want {
					t.Fatalf("upper %q at %d of %d: %v", c, base+k, n, got)
				}
				if got, want := space>>k&1 != 0, c == ' '; got != want {
					t.Fatalf("space %q at %d of %d: %v", c, base+k, n, got)
				}
			}
		}
	}
}

// A level is found wherever in the window it begins.
func TestTextLevelAtEveryOffset(t *testing.T) {
	for k := 1; k < levelWindow-12; k++ {
		for _, shape := range []string{" ERROR", " ERROR x", " [error] x", "\terror\tx", " level=error", ` "level":"error",`, " Error"} {
			want := record.Error
			if shape == " Error" {
				want = 0
			}
			if got := textLevel([]byte(strings.Repeat("x", k) + shape)); got != want {
				t.Errorf("%d bytes, then %q: %v", k, shape, got.Level())
			}
			if got := textLevel([]byte(strings.Repeat("x", k) + strings.ReplaceAll(shape, "rror", "rrory"))); got != 0 && !strings.Contains(shape, "ERROR") {
				t.Errorf("%d bytes, then %q with a y: %v", k, shape, got.Level())
			}
		}
	}
}
