package stage

import (
	"os"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
)

var detectTable = []struct {
	level string
	lines []string
}{
	{"trace", []string{`level=trace x=y`, `{"level":"trace"}`, `[TRACE] x`, `trace: x`, `{"lvl":10}`, `{"level":"FINEST"}`}},
	{"debug", []string{`{"level":20}`, `10:00:00.123 [main] DEBUG c.x.Y - x`, `ts=1 level=debug msg="some ERROR"`, `msg="ERROR" level=debug`, `debug: x`, `DEBUG x`, `[debug] x`, `<7>x`, `starting in debug mode`}},
	{"info", []string{
		`I1122 10:00:00.000000       1 main.go:12] error in the message`, `{"level":"info","msg":"error"}`, `{"LEVEL":"INFO"}`, `{"msg":"x","Severity":"Information"}`, `info: hello`, `INFO:root:hello`,
		`level=info msg="error in x"`, `2026-11-22 10:00:00 [notice] 1#1: x`, `{"level":30}`, `{"level":"30"}`, `{"level":"notice"}`, `{"severity":6}`, `{"msg":"INFO hello"}`, `<6>foo`, `the info page, then an error`,
		`ts=2026-11-22T12:31:07.123Z caller=main.go:1 level=info component=querier msg="error"`, `{"log":{"level":"info"},"msg":"x"}`, `{"log":"INFO from docker\n","stream":"stderr"}`}},
	{"warn", []string{
		`W1122 10:00:00.000000       1 main.go:12] x`, `{"a":"x","lvl":"warn"}`, `{"log.level":"warn"}`, `{"log_level":"warn"}`, `{"levelname":"WARNING"}`, `{"SeverityText":"warn"}`, `{"severity_text":"WARN"}`,
		`{"a":{"level":"error"},"level":"warn"}`, `{"level":"warn" broken error`, `  {"level":"warn"}`, `a warning was issued`, `foo level="warn" bar`, `(warn) x`, `2026-11-22 10:00:00,123 - root - WARNING - hello`, `time="2026" level=warning msg="x"`,
		`wrn: x`, `{"priority":4}`, `{"priority":"4","msg":"an error"}`, `{"level":"","level_x":"error","severity":"warn"}`}},
	{"error", []string{
		`E1122 10:00:00.000000       1 main.go:12] x`, `an error occurred while connecting`, `Error: boom`, `error: boom`, `[ERROR] boom`, `[error] boom`, `err: x`, `something err happened`, `ERR x`, `error`, `x error`,
		`severity=error a=b`, `level=foo msg="error in"`, `{"msg":"an error"}`, `{"level":"foo","msg":"an error"}`, `{"level":"err"}`, `{"level":50,"msg":"x"}`, `{"severity":3}`, `{"level":"error`,
		`[2026-11-22 10:00:00] local.ERROR: x`, `E/ActivityManager: x`, `<3>kernel: x`, `2026-11-22T10:00:00Z error hello`, `it was an error.`, `"error" she said`, `{"message":"ERROR x","log":"info"}`, `got an error, sorry`}},
	{"fatal", []string{`F1122 10:00:00.000000       1 main.go:12] x`, `{"level":"fatal"}`, `{"level":"critical"}`, `{"level":60}`, `panic: runtime error: index out of range`, `CRITICAL x`, `a critical failure`, `fatal: not a repository`, `{"severity":"EMERGENCY"}`}},
	{"unknown", []string{
		``, ` `, `hello world`, `errors were found`, `terror attack`, `errno=5`, `error=none x=1`, `information about`, `"GET /error HTTP/1.1" 200 5`, `10.0.0.1 - - [22/Nov/2026:10:00:00 +0000] "GET /x/info HTTP/1.1" 500 5 "-" "debug-client"`,
		`{"msg":"x"}`, `{"error":"x","msg":"hello"}`, `{"error":null}`, `{"level":3}`, `{"level":null,"msg":"x"}`, `{"a":{"b":{"level":"warn"}}}`, `{}`, `{`, `{"level":{"x":"error"}}`, `{"level":["error"]}`, `{"error":1, x`,
		`stack trace follows`, `error-rate is 5`, `my-error`, `foo.error.bar`, `error.log was opened`, `W x`, `"error": 5`, `failed to connect`, `errör`,
		strings.Repeat("x ", 200) + "error"}},
}

func TestDetectSeverity(t *testing.T) {
	for _, c := range detectTable {
		for _, line := range c.lines {
			if got := DetectSeverity([]byte(line)).Level(); got != c.level {
				t.Errorf("%.100s: %s, want %s", line, got, c.level)
			}
		}
	}
}

// Where the parse step finds a level, a push gets the same one.
func TestDetectAgreesWithParse(t *testing.T) {
	for _, c := range detectTable {
		for _, line := range c.lines {
			b := batchOf(line)
			process(t, newParse(t, "auto"), b)
			if sev := b.Record(0).Severity; sev != 0 && sev != DetectSeverity([]byte(line)) {
				t.Errorf("%s: %d, parse says %d", line, DetectSeverity([]byte(line)), sev)
			}
		}
	}
}

// Levels far behind in an object cost no more than a look at its beginning.
func TestDetectLongObject(t *testing.T) {
	for n, want := range map[int]record.Severity{maxJSON / 2: record.Error, maxJSON: 0} {
		if got := DetectSeverity([]byte(`{"x":"` + strings.Repeat("y", n) + `","level":"error"}`)); got != want {
			t.Errorf("behind %d bytes: %d, want %d", n, got, want)
		}
	}
}

func TestDetectLevels(t *testing.T) {
	b := batchOf("error", "error", "error", "error", "info")
	b.Record(1).Severity = record.Debug
	b.Record(2).Flags = record.Partial
	b.Record(3).Flags = record.Gap
	DetectLevels(b)
	for i, want := range []string{"error", "debug", "unknown", "unknown", "info"} {
		if got := b.Record(i).Severity.Level(); got != want {
			t.Errorf("record %d: %s, want %s", i, got, want)
		}
	}
	if n := testing.AllocsPerRun(10, func() { b.Record(0).Severity = 0; DetectLevels(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDetectSeverity(f *testing.F) {
	for _, c := range detectTable {
		for _, line := range c.lines {
			f.Add([]byte(line))
		}
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		before := string(line)
		sev := DetectSeverity(line)
		if sev > 24 || string(line) != before {
			t.Fatalf("%d", sev)
		}
		// What stands behind the line is not looked at.
		if again := DetectSeverity(append(line, " error ERROR level=error\"}"...)[:len(line)]); again != sev {
			t.Fatalf("%d, then %d", sev, again)
		}
	})
}

func BenchmarkDetectSeverity(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			line := []byte(s.line)
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				DetectSeverity(line)
			}
		})
	}
	b.Run("mixed", func(b *testing.B) {
		n := 0
		for _, s := range shapes {
			n += len(s.line)
		}
		b.SetBytes(int64(n))
		for b.Loop() {
			for _, s := range shapes {
				DetectSeverity([]byte(s.line))
			}
		}
	})
}

// What a Loki 3 found in some hundred lines (testdata/levels-loki.tsv: its
// detected_level, the line), we find too, but for what docs/push.md names.
func TestDetectAsLoki(t *testing.T) {
	text, err := os.ReadFile("testdata/levels-loki.tsv")
	if err != nil {
		t.Fatal(err)
	}
	differs := map[string]string{
		`{"error":"x","msg":"hello"}`:              "unknown", // a name is no message
		`{"error":null,"msg":"hello"}`:             "unknown",
		`{"a":{"b":{"level":"warn"}}}`:             "unknown", // of something inside
		`{"a":{"level":"warn"}}`:                   "unknown",
		`stack trace follows`:                      "unknown", // trace in prose is a noun
		`trace something happened`:                 "unknown",
		`prefix trace suffix`:                      "unknown",
		`x: trace: y`:                              "unknown",
		`trace`:                                    "unknown",
		`{"msg":"hello trace"}`:                    "unknown",
		`panic: runtime error: index out of range`: "fatal",
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		loki, line, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if loki == "unknown" {
			continue // where Loki finds nothing, we may
		}
		n++
		want := loki
		if want == "critical" {
			want = "fatal"
		}
		if d, ok := differs[line]; ok {
			want = d
		}
		if got := DetectSeverity([]byte(line)).Level(); got != want {
			t.Errorf("%s: %s, Loki says %s", line, got, loki)
		}
	}
	if n < 300 {
		t.Errorf("only %d lines", n)
	}
}
