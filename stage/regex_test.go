package stage

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weirlog/weir/record"
)

func newRegex(t testing.TB, c RegexConfig) *Regex {
	t.Helper()
	s, err := NewRegex(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRegex(t *testing.T) {
	const date = "%a %b %e %H:%M:%S %Z %Y"
	seen := observed.Format(time.RFC3339Nano)
	for _, c := range []struct {
		about, line string
		config      RegexConfig
		fields      map[string]string
		sev         record.Severity
		time, body  string
	}{
		{"the first file of the counter", "7: Sun Nov 22 12:31:07 UTC 2026",
			RegexConfig{Pattern: `^(?P<count>\d+): (?P<time>.+)$`, Time: date, Types: map[string]string{"count": "int"}},
			map[string]string{"count": "7"}, 0, "2026-11-22T12:31:07Z", ""},
		{"the second", "Sun Nov 22 12:31:06 UTC 2026 INFO 12",
			RegexConfig{Pattern: `^(?P<time>.+ \d{4}) (?P<level>[A-Z]+) (?P<count>\d+)$`, Time: date},
			map[string]string{"count": "12"}, record.Info, "2026-11-22T12:31:06Z", ""},
		{"an abbreviated zone of which the offset is not known", "1: Sun Nov 22 12:31:07 PST 2026",
			RegexConfig{Pattern: `^(?P<count>\d+): (?P<time>.+)$`, Time: "%a %b %e %H:%M:%S %Z %Y"},
			map[string]string{"count": "1", "time": "Sun Nov 22 12:31:07 PST 2026"}, 0, seen, ""},
		{"the same, without a form", "1: Sun Nov 22 12:31:07 PST 2026", RegexConfig{Pattern: `^(?P<count>\d+): (?P<time>.+)$`},
			map[string]string{"count": "1", "time": "Sun Nov 22 12:31:07 PST 2026"}, 0, seen, ""},
		{"what date writes needs no form", "1: Sun Nov 22 12:31:06 UTC 2026", RegexConfig{Pattern: `^(?P<count>\d+): (?P<time>.+)$`},
			map[string]string{"count": "1"}, 0, "2026-11-22T12:31:06Z", ""},
		{"a time that is too far away to be true", "Sun Nov 22 12:31:06 UTC 2015 x", RegexConfig{Pattern: `^(?P<timestamp>.+ \d+) (?P<x>x)$`},
			map[string]string{"timestamp": "Sun Nov 22 12:31:06 UTC 2015", "x": "x"}, 0, seen, ""},
		{"no form of time given", "[2026-11-22T12:31:00Z] WARN x=1",
			RegexConfig{Pattern: `^\[(?<time>[^]]+)\] (?<severity>\w+) x=(?<x>.*)$`},
			map[string]string{"x": "1"}, record.Warn, "2026-11-22T12:31:00Z", ""},
		{"a message becomes the body", "E42|disk is full|sda",
			RegexConfig{Pattern: `^(?P<code>\w+)\|(?P<message>[^|]*)\|(?P<disk>.*)$`},
			map[string]string{"code": "E42", "disk": "sda"}, 0, seen, "disk is full"},
		{"a level that is none stays a field", "LOUD hello", RegexConfig{Pattern: `^(?P<level>\w+) `}, map[string]string{"level": "LOUD"}, 0, seen, ""},
		{"optional groups", "a", RegexConfig{Pattern: `^(?P<first>\w)(?: (?P<second>\w))?(?P<third>x*)$`}, map[string]string{"first": "a"}, 0, seen, ""},
		{"no match", "something else", RegexConfig{Pattern: `^(?P<n>\d+)$`}, map[string]string{}, 0, seen, ""},
		{"no year", "Nov 22 12:30:00 host app: hi", RegexConfig{Pattern: `^(?P<time>\w+ +\d+ [\d:]+) (?P<host>\S+)`, Time: "%b %e %H:%M:%S"},
			map[string]string{"host": "host"}, 0, "2026-11-22T12:30:00Z", ""},
		{"seconds since the epoch", "1795350600 x", RegexConfig{Pattern: `^(?P<time>\d+) (?P<what>.*)`, Time: "%s"}, map[string]string{"what": "x"}, 0, "2026-11-22T12:30:00Z", ""},
		{"a fraction", "2026-11-22 12:31:07.250 x", RegexConfig{Pattern: `^(?P<time>\S+ \S+) `, Time: "%Y-%m-%d %H:%M:%S.%L"}, map[string]string{}, 0, "2026-11-22T12:31:07.25Z", ""},
		{"a layout of Go's", "22 Nov 26 12:31 +0000", RegexConfig{Pattern: `^(?P<time>\d.*)$`, Time: "02 Jan 06 15:04 -0700"}, map[string]string{}, 0, "2026-11-22T12:31:00Z", ""},
	} {
		t.Run(c.about, func(t *testing.T) {
			s := newRegex(t, c.config)
			b := batchOf("before", c.line)
			process(t, s, b)
			r := b.Record(1)
			if got := fieldsOf(b, 1); !reflect.DeepEqual(got, c.fields) {
				t.Errorf("fields %v, want %v", got, c.fields)
			}
			if got := time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano); got != c.time {
				t.Errorf("time %s, want %s", got, c.time)
			}
			if r.Severity != c.sev {
				t.Errorf("severity %d, want %d", r.Severity, c.sev)
			}
			want := c.line
			if c.body != "" {
				want = c.body
			}
			if got := string(b.Body(1)); got != want || string(b.Bytes(r.Source)) != c.line {
				t.Errorf("body %q, source %q", got, b.Bytes(r.Source))
			}
			if len(b.Fields(0)) > 0 && c.about != "optional groups" && !strings.Contains(c.config.Pattern, "(?P<level>") {
				t.Errorf("the line before has fields %v", fieldsOf(b, 0))
			}
		})
	}
	var misses atomic.Uint64
	s := newRegex(t, RegexConfig{Pattern: `^(?P<n>\d+)$`, Misses: &misses})
	b := batchOf("1", "x", "", "2", "3")
	b.Record(3).Flags |= record.Partial
	b.Record(4).Flags |= record.Parsed
	process(t, s, b)
	if misses.Load() != 1 || len(b.Fields(3))+len(b.Fields(4)) != 0 {
		t.Errorf("%d misses, fields %v %v", misses.Load(), fieldsOf(b, 3), fieldsOf(b, 4))
	}
}

func TestRegexTypes(t *testing.T) {
	s := newRegex(t, RegexConfig{Pattern: `^(?P<i>\S+) (?P<f>\S+) (?P<b>\S+)$`, Types: map[string]string{"i": "int", "f": "float", "b": "bool"}})
	b := batchOf("-12 1.5 true", "012 1. True", "1e3 .5 1", "123456789012345678901 -0.25 false")
	process(t, s, b)
	want := [][3]record.Kind{
		{record.Int, record.Float, record.Bool}, {record.String, record.String, record.String},
		{record.String, record.String, record.String}, {record.String, record.Float, record.Bool},
	}
	for i, kinds := range want {
		for k, f := range b.Fields(i) {
			if f.Kind != kinds[k] {
				t.Errorf("line %d, field %d: kind %d, want %d", i, k, f.Kind, kinds[k])
			}
		}
	}
}

// TestFailure47_CostlyExpressions: whatever expression somebody writes, and whatever
// line for it, a record costs a bounded time, and the others go on.
func TestFailure47_CostlyExpressions(t *testing.T) {
	for _, pattern := range []string{
		`^(?P<a>(x+x+)+y)`, `(?P<a>(?:x?){600}x{600}y)`, `(?P<a>` + strings.Repeat(`(x*)*`, 50) + `y)`, `(?P<a>` + strings.Repeat(`(x?){7}`, 60) + `y)`,
	} {
		var misses atomic.Uint64
		s := newRegex(t, RegexConfig{Pattern: pattern, Misses: &misses})
		b := batchOf(strings.Repeat("x", s.longest), strings.Repeat("x", s.longest+1), "y")
		began := cpuTime(t)
		process(t, s, b)
		if d := cpuTime(t) - began; d > time.Second {
			t.Errorf("%s: %v for a record of %d bytes", pattern, d, s.longest)
		}
		if misses.Load() < 2 || string(b.Body(2)) != "y" {
			t.Errorf("%s: %d misses", pattern, misses.Load())
		}
		// What is too long is not even tried.
		b = batchOf("y" + strings.Repeat("x", s.longest))
		if process(t, s, b); len(b.Fields(0)) != 0 {
			t.Errorf("%s: a record longer than %d bytes has fields", pattern, s.longest)
		}
	}
	for _, pattern := range []string{
		`(?P<a>` + strings.Repeat(`(?:x?){999}`, 6) + `)`, `(?P<a>(x{1000}){1000})`, strings.Repeat(`(x)`, maxGroups) + `(?P<a>x)`, `(?P<a>` + strings.Repeat("x", MaxPattern) + `)`,
	} {
		var wrong *PatternError
		if _, err := NewRegex(RegexConfig{Pattern: pattern}); !errors.As(err, &wrong) {
			t.Errorf("%.40s…: error %v", pattern, err)
		}
	}
}

// TestFailure47_SlowExpressionsPause: who may choose an expression for a pod cannot have
// everybody's time by it.
func TestFailure47_SlowExpressionsPause(t *testing.T) {
	const lines = 1000
	for _, c := range []struct {
		about          string
		perByte        time.Duration
		tries, matches int // of 30 s, with a batch of a thousand lines in each
	}{
		{"a usual one", 30 * time.Nanosecond, 30 * lines, 30 * lines},
		{"a slow machine", 500 * time.Nanosecond, 30 * lines, 30 * lines},
		{"a costly one", 20 * time.Microsecond, 3 * 68, 3 * 68},
	} {
		line := strings.Repeat("x", 100)
		var misses atomic.Uint64
		clock, calls, told := observed, 0, 0
		s := newRegex(t, RegexConfig{Pattern: `^(?P<a>x+)$`, Misses: &misses, Slow: func() { told++ }, Clock: func() time.Time {
			if calls++; calls%2 == 0 {
				clock = clock.Add(time.Duration(len(line)+everyRecord) * c.perByte)
			}
			return clock
		}})
		matches := 0
		for second := range 30 {
			b := batchOf(slices.Repeat([]string{line}, lines)...)
			s.Process(b, observed.Add(time.Duration(second)*time.Second))
			for i := range lines {
				matches += len(b.Fields(i))
			}
		}
		slow := c.tries < 30*lines
		if want := map[bool]int{true: 3, false: 0}[slow]; told != want {
			t.Errorf("%s: told %d times, want %d", c.about, told, want)
		}
		if calls/2 > c.tries || matches < c.matches*9/10 || matches > c.matches || uint64(matches)+misses.Load() != 30*lines {
			t.Errorf("%s: %d tries, %d matches, %d misses", c.about, calls/2, matches, misses.Load())
		}
	}
}

// cpuTime is what this process has used.
func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano())
}

func TestPatternErrors(t *testing.T) {
	for pattern, want := range map[string]int{
		`^(?P<a>x) (b`: 10, `^(?P<a>x)) b`: 9, `(?P<a>[z-a])`: 7, `(?P<a>x**)`: 7, `([)]](?P<a>x)`: 0, `\((?P<a-b>x)`: 2, `(?P<a>x)\8`: 8, `((?P<a>\)x`: 1,
	} {
		var wrong *PatternError
		if _, err := NewRegex(RegexConfig{Pattern: pattern}); !errors.As(err, &wrong) || wrong.Offset != want {
			t.Errorf("%s: error %v at %+v, want %d", pattern, err, wrong, want)
		}
	}
}

func TestPerStream(t *testing.T) {
	other := record.NewStream([]record.Attr{{Name: "pod", Value: "other"}}, nil, nil)
	regex := newRegex(t, RegexConfig{Pattern: `^(?P<n>\d+)`})
	s := NewPerStream(func(st *record.Stream) Parser {
		if st == other {
			return regex
		}
		return nil
	})
	b := batchOf(`1 {"level":"warn"}`, `2 level=error`)
	process(t, s, b)
	if len(b.Fields(0)) != 0 || b.Record(0).Flags.Has(record.Parsed) {
		t.Error("a stream without a parser was parsed")
	}
	body := b.AppendString("3 a=1")
	now := observed.UnixNano()
	b.Add(record.Record{Body: body, Source: body, Time: now, Observed: now, Stream: b.AddStream(record.StreamRef{Stream: other})})
	b.Add(record.Record{Body: body, Source: body, Time: now, Observed: now, Stream: 1, Flags: record.Dropped})
	process(t, s, b)
	process(t, newParse(t, "logfmt"), b)
	for i, want := range []map[string]string{{}, {}, {"n": "3"}, {}} {
		if got := fieldsOf(b, i); !reflect.DeepEqual(got, want) {
			t.Errorf("record %d: fields %v", i, got)
		}
	}
	if b.Record(1).Severity != record.Error {
		t.Error("the pipeline's parser has not looked at those without their own")
	}
}

func TestMisses(t *testing.T) {
	for format, want := range map[string]uint64{"json": 3, "logfmt": 3, "klog": 4, "auto": 0, "none": 0} {
		var n atomic.Uint64
		s, err := NewParse(ParseConfig{Format: format, Misses: &n})
		if err != nil {
			t.Fatal(err)
		}
		process(t, s, batchOf(`{"a":1}`, `a=1 b=2`, "plain words", `x="1`+"`", ``))
		if got := n.Load(); got != want {
			t.Errorf("%s: %d misses, want %d", format, got, want)
		}
	}
}

func TestRegexErrors(t *testing.T) {
	for want, c := range map[string]RegexConfig{
		"missing closing )":               {Pattern: `(?P<a>x`},
		"no named group":                  {Pattern: `^(\d+)$`},
		"longer than 4096 bytes":          {Pattern: "(?P<a>" + strings.Repeat("x", 4096) + ")"},
		"does not have":                   {Pattern: `(?P<a>x)`, Time: "%Y"},
		"unknown directive %Q":            {Pattern: `(?P<time>x)`, Time: "%Q"},
		"percent sign stands at the end":  {Pattern: `(?P<time>x)`, Time: "%Y%"},
		"is for a fraction behind %S":     {Pattern: `(?P<time>x)`, Time: "%H.%f"},
		"holds no part of a time":         {Pattern: `(?P<time>x)`, Time: "nothing"},
		`"number" is none of int`:         {Pattern: `(?P<a>x)`, Types: map[string]string{"a": "number"}},
		"has no group of that name":       {Pattern: `(?P<a>x)`, Types: map[string]string{"b": "int"}},
		"invalid named capture: `(?P<a-b": {Pattern: `(?P<a-b>x)`},
	} {
		if _, err := NewRegex(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", c, err, want)
		}
	}
}

func TestAccess(t *testing.T) {
	for line, want := range map[string]map[string]string{
		`192.0.2.1 - alice [22/Nov/2026:12:31:01 +0000] "GET /a?b=c HTTP/1.1" 200 1234 "https://example.com/" "curl/8.0"`: {
			"remote_addr": "192.0.2.1", "user": "alice", "method": "GET", "path": "/a?b=c", "protocol": "HTTP/1.1", "status": "200", "bytes": "1234",
			"referer": "https://example.com/", "user_agent": "curl/8.0",
		},
		`::1 - - [22/Nov/2026:12:31:01 +0000] "POST / HTTP/2.0" 502 -`: {"remote_addr": "::1", "method": "POST", "path": "/", "protocol": "HTTP/2.0", "status": "502"},
		`h - a b [22/Nov/2026:12:31:01 +0000] "GET /\" x HTTP/1.0" 404 0 "-" "a \"b\"" "10.0.0.1" 0.003`: {
			"remote_addr": "h", "user": "a b", "method": "GET", "path": `/\" x`, "protocol": "HTTP/1.0", "status": "404", "bytes": "0", "user_agent": `a \"b\"`,
		},
		`h - - [22/Nov/2026:12:31:01 +0000] "\x16\x03\x01" 400 157 "-" "-"`: {"remote_addr": "h", "request": `\x16\x03\x01`, "status": "400", "bytes": "157"},
		`h - - [22/Nov/2026:12:31:01 +0000] "" 000 0 "-" "-"`:               {"remote_addr": "h", "status": "000", "bytes": "0"},
	} {
		var misses atomic.Uint64
		s := NewAccess(AccessConfig{Misses: &misses})
		b := batchOf(line)
		process(t, s, b)
		if got := fieldsOf(b, 0); !reflect.DeepEqual(got, want) || misses.Load() != 0 {
			t.Errorf("%s\n%v, want\n%v; %d misses", line, got, want, misses.Load())
		}
		r := b.Record(0)
		if got := time.Unix(0, r.Time).UTC().Format(time.TimeOnly); got != "12:31:01" {
			t.Errorf("%s: time %s", line, got)
		}
		sev := map[byte]record.Severity{'2': record.Info, '0': record.Info, '4': record.Warn, '5': record.Error}[want["status"][0]]
		if r.Severity != sev {
			t.Errorf("%s: severity %d", line, r.Severity)
		}
	}
	for _, line := range []string{
		"", "x", `h - - [no time] "GET / HTTP/1.1" 200 1`, `h - - [22/Nov/2026:12:31:01 +0000] GET / 200 1`, `h - - [22/Nov/2026:12:31:01 +0000] "GET / HTTP/1.1`,
		`h - - [22/Nov/2026:12:31:01 +0000] "GET / HTTP/1.1" 20 1`, `h - - [22/Nov/2026:12:31:01 +0000] "GET / HTTP/1.1" 200`, ` - - [22/Nov/2026:12:31:01 +0000] "" 200 1`,
		`h - - [22/Nov/2026:12:31:01 +0000] "GET / HTTP/1.1" 200 1x`, `h - - [22/Nov/2026:12:31:01 +0000] "GET / HTTP/1.1" 2000 1`,
	} {
		var misses atomic.Uint64
		s := NewAccess(AccessConfig{Misses: &misses})
		b := batchOf(line)
		process(t, s, b)
		if len(b.Fields(0)) != 0 || misses.Load() == 0 && line != "" {
			t.Errorf("%q: fields %v", line, fieldsOf(b, 0))
		}
	}
}

func FuzzAccess(f *testing.F) {
	f.Add([]byte(`192.0.2.1 - alice [22/Nov/2026:12:31:01 +0000] "GET /a?b=c HTTP/1.1" 200 1234 "https://example.com/" "curl/8.0"`))
	f.Add([]byte(`h - - [22/Nov/2026:12:31:01 +0000] "\`))
	f.Fuzz(func(t *testing.T, line []byte) {
		s := NewAccess(AccessConfig{})
		b := batchOf("first", string(line), "last")
		process(t, s, b)
		if string(b.Body(1)) != string(line) || len(b.Fields(0))+len(b.Fields(2)) != 0 {
			t.Fatalf("%q: body %q", line, b.Body(1))
		}
		for _, fl := range b.Fields(1) {
			v := string(b.Bytes(fl.Val))
			if !strings.Contains(string(line), v) || v == "" || v == "-" || fl.Kind == record.Int && strings.Trim(v, "0123456789") != "" {
				t.Fatalf("%q: field %q is %q", line, b.KeyName(fl.Key), v)
			}
		}
		if valid := utf8.Valid(line); len(line) > 0 && b.Record(1).Flags.Has(record.ValidUTF8) != valid {
			t.Fatalf("%q: UTF-8 flags", line)
		}
	})
}

func FuzzRegex(f *testing.F) {
	// Most changes to an expression make it none: some are given, which byte 0 selects.
	given := []string{
		`^(?P<count>\d+): (?P<time>.+)$`, `(?P<msg>a*)(?P<level>b*)`, `^(?P<time>.+ \d{4}) (?P<level>[A-Z]+) (?P<count>\d+)$`,
		`(?s)^(?P<time>\S+ \S+) (?P<level>\w+) (?:\[(?P<thread>[^]]*)\] )?(?P<body>.*)$`, `(?P<timestamp>.*?)(?P<severity>.?)(?P<x>.*)`,
	}
	f.Add(`^(?P<count>\d+): (?P<time>.+)$`, "%a %b %e %H:%M:%S %Z %Y", "7: Sun Nov 22 12:31:07 UTC 2026")
	f.Add(`(?P<msg>a*)(?P<level>b*)`, "2006", "\xff")
	for i := range given {
		f.Add(string(rune(i)), "", "2026-11-22 12:31:07,1 WARN [main-1] x\ny")
		f.Add(string(rune(i)), "", "Sun Nov 22 12:31:06 UTC 2026 INFO 12")
	}
	f.Fuzz(func(t *testing.T, pattern, layout, line string) {
		if len(pattern) == 1 && int(pattern[0]) < len(given) {
			pattern = given[pattern[0]]
		}
		s, err := NewRegex(RegexConfig{Pattern: pattern, Time: layout})
		if err != nil {
			return
		}
		b := batchOf(line)
		process(t, s, b)
		r := b.Record(0)
		if string(b.Bytes(r.Source)) != line || !strings.Contains(line, string(b.Body(0))) {
			t.Fatalf("source %q, body %q", b.Bytes(r.Source), b.Body(0))
		}
		if d := r.Time - r.Observed; d < -int64(maxBehind) || d > int64(maxAhead) {
			t.Fatalf("time %v from when it was seen", time.Duration(d))
		}
		if valid := utf8.Valid(b.Body(0)); len(line) > 0 && (r.Flags.Has(record.ValidUTF8) != valid || r.Flags.Has(record.InvalidUTF8) == valid) {
			t.Fatalf("UTF-8 flags %b of %q", r.Flags, b.Body(0))
		}
	})
}

// TestAccessAllocates: only the names of fields that are new to a batch do.
func TestAccessAllocates(t *testing.T) {
	r := newRewind(shapes[4].line, 16)
	s := NewAccess(AccessConfig{})
	run := func() {
		r.reset()
		s.Process(r.b, observed)
	}
	run()
	if n, names := testing.AllocsPerRun(50, run), float64(keysOf(r.b)); n > names || names == 0 {
		t.Errorf("%v allocations for 16 records, %v names", n, names)
	}
}

// FuzzDate compares what we read of the forms of date(1) and asctime(3) with package
// time, and with what the same form says as a layout.
func FuzzDate(f *testing.F) {
	f.Add("Sun Nov 22 12:31:07 UTC 2026")
	f.Add("Sun Nov  2 12:31:07 +0530 2026")
	f.Add("Sun Feb 29 23:59:60 2024")
	unix, err := newLayout("%a %b %e %H:%M:%S %Z %Y")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := parseStamp([]byte(text))
		for _, form := range []string{time.UnixDate, time.ANSIC, time.RubyDate} {
			want, err := time.Parse(form, text)
			name, offset := want.Zone()
			switch {
			case err != nil || want.Year() < 1678 || want.Year() > 2261:
			case form == time.UnixDate && !isUTC(name) && want.Location() != time.UTC:
				if ok && offset == 0 && !strings.HasPrefix(name, "GMT") && !strings.ContainsAny(name, "+-") {
					t.Errorf("%q is read as %v: nobody knows the zone", text, time.Unix(0, got.ns).UTC())
				}
			case ok && (got.ns != want.UnixNano() || got.zoned != (form != time.ANSIC)), !ok && want.Format(form) == text:
				t.Errorf("%q is read as %v (%t), %s is %v", text, time.Unix(0, got.ns).UTC(), ok, form, want)
			}
		}
		if at, ok := unix.parse([]byte(text), observed); ok && !at.zoned {
			t.Errorf("%q is believed without a zone", text)
		}
	})
}

func BenchmarkRegex(b *testing.B) {
	benchmark(b, newRegex(b, RegexConfig{Pattern: `^(?P<time>.+ \d{4}) (?P<level>[A-Z]+) (?P<count>\d+)$`, Time: "%a %b %e %H:%M:%S %Z %Y"}), "Sun Nov 22 12:31:06 UTC 2026 INFO 12", nil)
}

func BenchmarkAccess(b *testing.B) {
	benchmark(b, NewAccess(AccessConfig{}), fmt.Sprintf(`192.0.2.1 - alice [22/Nov/2026:12:31:01 +0000] "GET /a?b=c HTTP/1.1" 200 1234 "https://example.com/" %q`, "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0"), nil)
}
