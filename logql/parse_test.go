package logql

import (
	"errors"
	"strings"
	"testing"
)

// canonical queries print as they are.
var canonical = []string{
	`{a="b"}`,
	`{a="b", c=~"d.*"} |= "x" or "y" != "z" |~ "(?i)w" !~ "v" |> "<_>a<_>" !> "b" |= ip("10.0.0.0/8")`,
	`{a="b"} | json`,
	"{a=\"b\"} | json x=\"y.z[0]\", w=`[\"a b\"]` | logfmt --strict --keep-empty | logfmt --strict a=\"b\", c=\"c\"",
	`{a="b"} | pattern "<ip> - <_> \"<method>\"" | unpack | decolorize`,
	"{a=\"b\"} | regexp `(?P<x>\\d+)`",
	`{a="b"} | status >= 400 and (took > 20ms or size < 1KiB) | a=ip("::1") | x!="" `,
	`{a="b"} | line_format "{{.x}} {{.y | upper}}" | label_format a=b, c="{{.d}}"`,
	`{a="b"} | drop a, b="x", c=~"y.*" | keep d, e!="f"`,
	`{a="b"} | a = 1 or b = 2 and (c = 3 or d = -4.5)`,
	`count_over_time({a="b"} |= "x" [5m])`,
	`rate({a="b"} | json | unwrap took [1h30m] offset -5m)`,
	`quantile_over_time(0.99, {a="b"} | unwrap duration(took) | __error__="" [1m]) by (host)`,
	`sum by (a, b) (rate({a="b"} [1m]))`,
	`topk(5, sum without (a) (bytes_rate({a="b"} [1d])))`,
	`topk by (x) (5, rate({a="b"} [25h]))`,
	`1 + 2 * 3 ^ 4 ^ 5 - 6`,
	`(1 + 2) * 3`,
	`1 - (2 - 3)`,
	`(2 ^ 3) ^ 2`,
	`rate({a="b"} [1m]) > bool 0.5`,
	`rate({a="b"} [1m]) / on (x) group_left (y, z) rate({c="d"} [1m])`,
	`rate({a="b"} [1m]) * ignoring (x) group_right () rate({c="d"} [1m])`,
	`rate({a="b"} [1m]) and rate({c="d"} [1m]) unless vector(1) or vector(2)`,
	`rate({a="b"} [1m]) or (vector(1) or vector(2))`,
	"label_replace(rate({a=\"b\"} [1m]), \"x\", \"$1\", \"y\", `(\\w+)-.*`)",
	`sort_desc(sum by () (absent_over_time({a="b"} [1m])))`,
	`-1 ^ 2`,
	`approx_topk(3, stddev_over_time({a="b"} | unwrap bytes(n) [250ms]) without (q))`,
}

func TestCanonical(t *testing.T) {
	for _, q := range canonical {
		q = strings.TrimSpace(q)
		e, err := Parse(q)
		if err != nil {
			t.Errorf("%s: %v", q, err)
			continue
		}
		want := q
		if strings.Contains(q, `<method>`) {
			want = strings.Replace(q, `"<ip> - <_> \"<method>\""`, "`<ip> - <_> \"<method>\"`", 1)
		}
		if got := e.String(); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
}

func TestForms(t *testing.T) {
	for in, want := range map[string]string{
		`({a="b"})`:                             `{a="b"}`,
		`rate({a="b"}[5m] |= "x")`:              `rate({a="b"} |= "x" [5m])`,
		`rate({a="b"}[5m] offset 1h |= "x")`:    `rate({a="b"} |= "x" [5m] offset 1h)`,
		`rate(({a="b"} |= "x")[5m])`:            `rate({a="b"} |= "x" [5m])`,
		`rate((({a="b"}|="x"[5m])))`:            `rate({a="b"} |= "x" [5m])`,
		`rate({a="b"} | json | x="y"[5m])`:      `rate({a="b"} | json | x="y" [5m])`,
		`sum(rate({a="b"}[60s])) by (x)`:        `sum by (x) (rate({a="b"} [1m]))`,
		`sum(rate({a="b"}[2d12h]))`:             `sum(rate({a="b"} [60h]))`,
		`{a="b"} | json a`:                      `{a="b"} | json a="a"`,
		`{a="b"} | x="1", y="2" z="3"`:          `{a="b"} | x="1" and y="2" and z="3"`,
		"{a=\"b\"} # comment\n |= `x` # other":  `{a="b"} |= "x"`,
		`{a="b"} | json != "x"`:                 `{a="b"} | json != "x"`,
		`1-1`:                                   `1 - 1`,
		`1--1`:                                  `1 - -1`,
		`rate({a="b"}[1m])>bool on(x)vector(1)`: `rate({a="b"} [1m]) > bool on (x) vector(1)`,
		`rate({a="b"}[1m])*on(x)group_left(vector(1)+vector(1))`: `rate({a="b"} [1m]) * on (x) group_left () (vector(1) + vector(1))`,
		`vector( - 2 )`: `vector(-2)`,
		`((1))`:         `1`,
	} {
		e, err := Parse(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := e.String(); got != want {
			t.Errorf("%s:\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestQueryErrors(t *testing.T) {
	for _, tt := range []struct {
		q         string
		line, col int
		want      string
	}{
		{``, 1, 1, "expected a selector"},
		{`{}`, 1, 1, "must not match the empty string"},
		{`{a=~".*"}`, 1, 1, "must not match the empty string"},
		{`{a="b"} |= `, 1, 12, "expected a text"},
		{"{a=\"b\"}\n | jsn", 2, 4, "did you mean json?"},
		{"{a=\"b\"}\n | jsn x", 2, 4, "did you mean json?"},
		{`ratee({a="b"}[1m])`, 1, 1, "unknown function ratee; did you mean rate?"},
		{`count_over_tiem({a="b"}[1m])`, 1, 1, "did you mean count_over_time?"},
		{`sum_over_time({a="b"}[1m])`, 1, 1, "needs a value"},
		{`count_over_time({a="b"} | unwrap x [1m])`, 1, 27, "takes no unwrap"},
		{`count_over_time({a="b"})`, 1, 24, "expected a range"},
		{`count_over_time({a="b"}[5])`, 1, 25, "is not a duration"},
		{`count_over_time({a="b"}[0s])`, 1, 25, "is not a duration"},
		{`count_over_time({a="b"}[-5m])`, 1, 25, "expected a duration"},
		{`count_over_time({a="b"}[5m][5m])`, 1, 28, "a range already"},
		{`count_over_time({a="b"} offset 5m [5m])`, 1, 25, "offset stands behind the range"},
		{`{a="b"}[5m]`, 1, 8, "inside a function"},
		{`{a="b"} | unwrap x`, 1, 11, "unwrap stands only inside"},
		{`sum by (a) (rate({a="b"}[1m])) by (b)`, 1, 32, "already grouped"},
		{`sum_over_time({a="b"} | unwrap x [1m]) by (b)`, 1, 40, "cannot be grouped"},
		{`topk(rate({a="b"}[1m]))`, 1, 6, "expected how many series"},
		{`topk(0, rate({a="b"}[1m]))`, 1, 6, "above zero"},
		{`sum(1)`, 1, 5, "expected a function that yields series"},
		{`1 and 2`, 1, 3, "not next to a number"},
		{`1 + bool 2`, 1, 5, "bool stands only behind"},
		{`1 +`, 1, 4, "expected a function"},
		{`{a="b"} + 1`, 1, 9, "expected the end"},
		{`1 + {a="b"}`, 1, 5, "lines cannot be calculated with"},
		{`label_replace(vector(1), "a b", "", "", "")`, 1, 26, "cannot be the name"},
		{`label_replace(vector(1), "a", "", "", "(")`, 1, 39, "bad regular expression"},
		{`{a="b"} | regexp "x"`, 1, 18, "no named group"},
		{`{a="b"} | pattern "x"`, 1, 19, "no named capture"},
		{`{a="b"} | pattern "<a><b>"`, 1, 19, "without a text between"},
		{`{a="b"} | line_format "{{.x"`, 1, 23, "bad template"},
		{`{a="b"} | line_format "{{define \"x\"}}{{end}}{{template \"x\"}}"`, 1, 23, "bad template"},
		{`{a="b"} | label_format a=b, a=c`, 1, 29, "set twice"},
		{`{a="b"} | json a="x[y]"`, 1, 18, "is not a path"},
		{`{a="b"} | logfmt --stric`, 1, 18, "did you mean strict?"},
		{`{a="b"} | unwrap durration(x)`, 1, 18, "did you mean duration?"},
		{"{a=\"b\"} |= \"ä\" | x ~ 1", 1, 20, "unexpected '~'"},
		{strings.Repeat("(", 100) + "1", 1, 65, "nested deeper"},
		{strings.Repeat("sum(", 100), 1, 257, "nested deeper"},
	} {
		_, err := Parse(tt.q)
		var se *SyntaxError
		if !errors.As(err, &se) {
			t.Errorf("%.60s: error %v", tt.q, err)
			continue
		}
		if se.Line != tt.line || se.Column != tt.col || !strings.Contains(se.Msg, tt.want) {
			t.Errorf("%.60s: got %d:%d %q, want %d:%d …%s…", tt.q, se.Line, se.Column, se.Msg, tt.line, tt.col, tt.want)
		}
	}
}

// FuzzQuery wants no panic, positions within the text, and String to say the
// same again.
func FuzzQuery(f *testing.F) {
	for _, q := range canonical {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		e, err := Parse(q)
		if err != nil {
			var se *SyntaxError
			if !errors.As(err, &se) || se.Pos < 0 || se.Pos > len(q) || se.Msg == "" || se.Line < 1 || se.Column < 1 {
				t.Fatalf("error %#v", err)
			}
			return
		}
		text := e.String()
		again, err := Parse(text)
		if err != nil {
			t.Fatalf("%q: String %q: %v", q, text, err)
		}
		if again.String() != text {
			t.Fatalf("%q: %q, then %q", q, text, again.String())
		}
	})
}
