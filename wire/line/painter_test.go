package line

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/weirlog/weir/record"
)

func paintOne(s Style, it Item) string {
	if s.Zone == nil {
		s.Zone = time.UTC
	}
	p := NewPainter(s)
	if it.Time == 0 {
		it.Time = noon
	}
	return string(p.Append(nil, &it))
}

func TestTimes(t *testing.T) {
	now := func() time.Time { return time.Unix(0, noon).Add(90 * time.Second) }
	berlin := time.FixedZone("", 3600)
	for _, c := range []struct {
		style string
		zone  *time.Location
		at    int64
		want  string
	}{
		{"", time.UTC, noon, "2026-11-22 10:00:00.123 "},
		{"default", berlin, noon, "2026-11-22 11:00:00.123 "},
		{"short", berlin, noon, "11-22 11:00:00 "},
		{"clock", berlin, noon, "11:00:00.123 "},
		{"rfc3339", berlin, noon, "2026-11-22T11:00:00.123456789+01:00 "},
		{"relative", nil, noon, "  1m ago "},
		{"relative", nil, noon + 95e9, "  5s on  "},
		{"relative", nil, noon - 60*3600e9, "  2d ago "},
		{"none", nil, noon, ""},
		{"", time.UTC, -1, "1969-12-31 23:59:59.999 "},
		{"", time.UTC, -1e9, "1969-12-31 23:59:59.000 "},
	} {
		p := NewPainter(Style{Times: c.style, Zone: c.zone, Now: now})
		for range 2 { // the second has the text of the last
			if got := string(p.AppendTime(nil, c.at)); got != c.want {
				t.Errorf("%s of %d = %q, want %q", c.style, c.at, got, c.want)
			}
		}
	}
	if err := (&Style{Times: "long"}).Check(); err == nil || !strings.Contains(err.Error(), "short, clock") {
		t.Errorf("%v", err)
	}
	if err := (&Style{Times: "relative"}).Check(); err == nil {
		t.Error("relative times without a clock")
	}
}

func TestLevels(t *testing.T) {
	for _, c := range []struct {
		it   Item
		want string
	}{
		{Item{Body: []byte("x")}, "      x"},
		{Item{Body: []byte("x"), Severity: record.Warn + 2}, "WARN  x"},
		{Item{Body: []byte("ERROR x"), Severity: record.Info}, "INFO  ERROR x"},
		{Item{Body: []byte("ERROR x")}, "ERROR ERROR x"},
		{Item{Body: []byte("x"), Level: "audit\x1bits"}, "AUDIT x"},
		{Item{Body: []byte("x"), Level: "\x1bü"}, "      x"},
		{Item{Body: []byte(`{"level":"info","msg":"x"}`), Severity: record.Error}, "ERROR x level=info"},
		{Item{Body: []byte(`{"level":"information","msg":"x"}`), Severity: record.Info + 1}, "INFO  x"},
		{Item{Body: []byte(`{"msg":"it is an error: x"}`)}, "ERROR it is an error: x"},
		{Item{Body: []byte(`{"level":"odd","msg":"x"}`)}, "      x level=odd"},
	} {
		if got := paintOne(Style{Times: "none"}, c.it); got != c.want+"\n" {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestOwnTime(t *testing.T) {
	for _, c := range []struct{ own, want string }{
		{"2026-11-22T10:00:00Z", ""},
		{"2026-11-22T09:59:59Z", ""},
		{"2026-11-22T11:00:00+01:00", ""},
		{"2026-11-22 11:00:00", ""}, // of an hour's zone
		{"1795341600", ""},
		{"2026-11-22T09:59:50Z", " time=2026-11-22T09:59:50Z"},
		{"2026-11-22 10:07:00", ` time="2026-11-22 10:07:00"`},
		{"2025-11-22T10:00:00Z", " time=2025-11-22T10:00:00Z"},
		{"yesterday", " time=yesterday"},
		{"", ` time=""`},
	} {
		got := paintOne(Style{Times: "none"}, Item{Body: []byte(`{"msg":"x","time":"` + c.own + `"}`)})
		if got != "      x"+c.want+"\n" {
			t.Errorf("%s: %q", c.own, got)
		}
	}
}

func TestFields(t *testing.T) {
	const body = `{"msg":"x","a":1,"b":{"c":{"d":"deep \"q\""},"e":[1, 2]},"err":{"message":"m","stack":"s\n  t"},"n":"1\n2"}`
	get := func(name string) string { return map[string]string{"pod": "web-1"}[name] }
	for _, c := range []struct{ fields, want string }{
		{"a", "x a=1"},
		{"b.c.d,a", `x b.c.d="deep \"q\"" a=1`},
		{"b.c", `x b.c={"d":"deep \"q\""}`},
		{"b.e,nope,b.nope,b.c.d.e,pod", `x b.e=[1,2] pod=web-1`},
		{"err.message", "x err.message=m"},
		{"err.stack", "x\n          s\n            t"},
		{"n,a", "x a=1\n        n:\n          1\n          2"},
		{"extra", "x extra=more"},
	} {
		got := paintOne(Style{Times: "none", Fields: strings.Split(c.fields, ",")}, Item{Body: []byte(body), Get: get, Pairs: []Pair{{"extra", []byte("more")}}})
		if got != "      "+c.want+"\n" {
			t.Errorf("%s: %q, want %q", c.fields, got, c.want)
		}
	}
}

func TestPairs(t *testing.T) {
	it := Item{Body: []byte(`{"msg":"x","a":"1"}`), Pairs: []Pair{{"a", []byte("2")}, {"b", []byte("3 4")}, {"s", []byte("r\n\tt")}}}
	if got := paintOne(Style{Times: "none"}, it); got != "      x a=1 a=2 b=\"3 4\"\n        s:\n          r\n              t\n" {
		t.Errorf("%q", got)
	}
}

func TestNarrow(t *testing.T) {
	labels := func(kv ...string) func(string) string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return func(n string) string { return m[n] }
	}
	for _, c := range []struct {
		get               func(string) string
		wide, one, narrow string
	}{
		{labels("namespace", "shop", "pod", "web-1", "container", "web"), "shop/web-1 web", "web-1 web", "web-1"},
		{labels("namespace", "shop", "pod", "web-1", "container", "proxy"), "shop/web-1 proxy", "web-1 proxy", "web-1 proxy"},
		{labels("namespace", "shop", "pod", "web", "container", "web"), "shop/web web", "web web", "web web"},
		{labels("namespace", "shop", "input", "events"), "shop", "shop", "shop"},
		{labels("file", "/var/log/app.log"), "/var/log/app.log", "/var/log/app.log", "app.log"},
		{labels("service_name", "unknown_service", "job", "batch"), "batch", "batch", "batch"},
		{labels(), "rest", "rest", "rest"},
	} {
		for s, want := range map[*Style]string{{}: c.wide, {OneNamespace: true}: c.one, {Narrow: true}: c.narrow} {
			if got := string(NewPainter(*s).Who(c.get, "rest").prefix); got != want+" │ " {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
}

func TestHighlight(t *testing.T) {
	res := func(list ...string) (out []*regexp.Regexp) {
		for _, s := range list {
			out = append(out, regexp.MustCompile(s))
		}
		return out
	}
	for _, c := range []struct {
		body               string
		highlight, include []*regexp.Regexp
		want               string
	}{
		{"a needle here", res("needle"), nil, "a \x1b[0;7mneedle\x1b[0m here"},
		{"needle", nil, res("needle"), includeOn + "needle\x1b[0m"},
		{"abc", res("b"), res("abc"), includeOn + "a\x1b[0m" + highlightOn + "b\x1b[0m" + includeOn + "c\x1b[0m"},
		{"\x1b[32mgreen needle\x1b[0m", res("n n"), nil, "\x1b[32mgree\x1b[0;7mn n\x1b[0m\x1b[32meedle\x1b[0m"},
		{"x\x1b[32my\x1b[0mz", res("xyz"), nil, "\x1b[0;7mxyz\x1b[0m"},
		{"esc \x07 7", res(`x07`), nil, `esc \` + "\x1b[0;7mx07\x1b[0m 7"},
		{"größer", res("ö"), nil, "gr\x1b[0;7mö\x1b[0mßer"},
		{"none", res("zzz", "x*"), nil, "none"},
		{"a\nb a", res("a"), nil, "\x1b[0;7ma\x1b[0m\n      b \x1b[0;7ma\x1b[0m"},
		{`{"msg":"m","k":"v1"}`, res("k=v"), nil, "m " + dim + "\x1b[0;7mk=v\x1b[0m" + dim + "1\x1b[0m"},
	} {
		it := Item{Body: []byte(c.body)}
		if got := paintOne(Style{Times: "none", Color: true, Highlight: c.highlight, Include: c.include}, it); got != "      "+c.want+"\n" {
			t.Errorf("%q = %q, want %q", c.body, got, "      "+c.want+"\n")
		}
		if got := paintOne(Style{Times: "none", Highlight: c.highlight}, it); strings.Contains(got, "\x1b") {
			t.Errorf("colours that are not wanted: %q", got)
		}
	}
}

// What a line becomes does not grow faster than the line.
func TestSizeIsBounded(t *testing.T) {
	s := Style{Color: true, Times: "none", Highlight: []*regexp.Regexp{regexp.MustCompile("a")}}
	for _, unit := range []string{"\x1b[31ma", "\x1b[1;3;4;38;5;100mab", "a\n", "\x00", "a=b ", "\u202e"} {
		body := strings.Repeat(unit, 20_000)
		for _, b := range []string{body, `{"msg":` + strconv.Quote(body) + `}`, "a=" + strconv.Quote(body)} {
			if out := paintOne(s, Item{Body: []byte(b)}); len(out) > 40*len(b) {
				t.Errorf("%q: %d bytes become %d", unit, len(b), len(out))
			}
		}
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	lines := corpus(t)
	p := NewPainter(Style{Color: true})
	it := Item{Time: noon, Who: p.Who(cartName, "")}
	var buf []byte
	run := func() {
		for _, l := range lines {
			it.Body = l
			buf = p.Append(buf[:0], &it)
		}
	}
	run()
	if n := testing.AllocsPerRun(20, run); n > 0 {
		t.Errorf("%.0f allocations for %d lines", n, len(lines))
	}
}

// balanced checks what may reach a terminal: nothing that it obeys but colours,
// and none of these beyond a row's end.
func balanced(t *testing.T, out string, color bool) {
	t.Helper()
	if !utf8.ValidString(out) || !strings.HasSuffix(out, "\n") {
		t.Errorf("output %q", out)
	}
	for row := range strings.Lines(out) {
		row = strings.TrimSuffix(row, "\n")
		on := false
		for row != "" {
			if n := sgrLen([]byte(row)); n > 0 {
				if !color {
					t.Errorf("a colour in %q", out)
				}
				on = row[:n] != reset
				row = row[n:]
				continue
			}
			r, n := utf8.DecodeRuneInString(row)
			if r != '\t' && (unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)) {
				t.Errorf("%U in %q", r, out)
			}
			row = row[n:]
		}
		if on {
			t.Errorf("a row of %q leaves a colour on", out)
		}
	}
}

// FuzzFailure111_Paint: whatever a line is, in whatever style, nothing reaches a
// terminal but text and colours that end with their row; every row has the name;
// and no byte of a line in no known format is lost.
func FuzzFailure111_Paint(f *testing.F) {
	for _, l := range corpus(f) {
		f.Add(l, "err.message")
	}
	f.Add([]byte("{\"a\":{\"b\":\"\\n\\u001b[2J\\u009b1m\"},\"\x1b[1m\":\"\xff\"}"), "a.b")
	styles := []Style{
		{Color: true, Highlight: []*regexp.Regexp{regexp.MustCompile("e")}, Include: []*regexp.Regexp{regexp.MustCompile(`[\x00-\x{10ffff}]`)}},
		{Color: true}, {Times: "none"}, {Color: true, Fields: []string{""}},
	}
	f.Fuzz(func(t *testing.T, body []byte, field string) {
		for _, s := range styles {
			s.Zone = time.UTC
			if len(s.Fields) > 0 {
				s.Fields = []string{field}
			}
			p := NewPainter(s)
			it := Item{Time: noon, Body: body, Who: p.Who(cartName, ""), Pairs: []Pair{{field, body}}}
			out := string(p.Append(nil, &it))
			balanced(t, out, s.Color)
			for row := range strings.Lines(out) {
				if !strings.Contains(row, "shop/cart-7d9c5b6f4-x2x9z cart │") {
					t.Errorf("row %q", row)
				}
			}
			if again := string(p.Append(nil, &it)); again != out {
				t.Errorf("%q the second time", again)
			}
			p.Read(&it)
			p.Field(field)
		}
		safe := string(AppendSafe(nil, body, true)) + "\n"
		balanced(t, safe, true)
	})
}

func TestStamp(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"2026-11-22 10:00:00,123 ERROR x", "2026-11-22 10:00:00,123"},
		{"2026-11-22T10:00:00.123Z x", "2026-11-22T10:00:00.123Z"},
		{"2026-11-22T10:00:00+01:00 x", "2026-11-22T10:00:00+01:00"},
		{"[2026-11-22T10:00:00.123Z] \"GET", "[2026-11-22T10:00:00.123Z]"},
		{"[2026-11-22 10:00:00] x", "[2026-11-22 10:00:00]"},
		{"2026/11/22 10:00:00 [error] x", "2026/11/22 10:00:00"},
		{"10.1.2.3 - - [22/Nov/2026:10:00:00 +0000] x", ""},
		{"2026-11-22 x and more text", ""},
		{"12:30 is the time for lunch", ""},
		{"10:00:00.123456 I/Tag: x", "10:00:00.123456"},
		{"1234567890123456789", ""},
		{"", ""},
	} {
		if n := stampLen([]byte(c.line)); c.line[:n] != c.want {
			t.Errorf("%q: %q, want %q", c.line, c.line[:n], c.want)
		}
	}
}
