package logql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// hostileQueries are texts of up to MaxQuery bytes that want much.
func hostileQueries() map[string]string {
	fill := func(head, unit, tail string) string {
		return head + strings.Repeat(unit, (MaxQuery-len(head)-len(tail))/len(unit)) + tail
	}
	numbered := func(head, unit, tail string) string {
		var b strings.Builder
		b.WriteString(head)
		for i := 0; b.Len() < MaxQuery-100-len(tail); i++ {
			fmt.Fprintf(&b, unit, i)
		}
		return b.String() + tail
	}
	half := strings.Repeat("(", MaxQuery/2)
	return map[string]string{
		"parentheses":          half + strings.Repeat(")", MaxQuery/2),
		"open parentheses":     fill("", "(", ""),
		"log parentheses":      strings.Repeat("(", MaxQuery/2-10) + `{a="b"}` + strings.Repeat(")", MaxQuery/2-10),
		"filter parentheses":   fill(`{a="b"} | `, "(", ""),
		"sums of sums":         fill("", "sum(", ""),
		"range parentheses":    fill("rate(", "(", ""),
		"plus":                 fill("1", "+1", ""),
		"power":                fill("1", "^1", ""),
		"minus":                fill("1", "- -1", ""),
		"comparisons":          fill("1", "==1", ""),
		"series":               fill("vector(1)", "+vector(1)", ""),
		"or":                   fill("vector(1)", " or vector(1)", ""),
		"matchers":             numbered(`{`, `a%d="b",`, `z="1"}`),
		"matchers of one name": fill(`{`, `a=~".+",`, `z="1"}`),
		"filters":              fill(`{a="b"}`, `|="x"`, ""),
		"filter alternatives":  fill(`{a="b"} |= "x"`, ` or "x"`, ""),
		"patterns":             fill(`{a="b"}`, `|~"(x+x+)+y"`, ""),
		"label filters":        numbered(`{a="b"}`, `|a%d="x"`, ""),
		"and":                  fill(`{a="b"}|a="b"`, ` and a="b"`, ""),
		"label or":             numbered(`{a="b"}|a="b"`, ` or a%d="b"`, ""),
		"parsers":              fill(`{a="b"}`, `|json`, ""),
		"json paths":           numbered(`{a="b"}|json x="y"`, `,a%d="b[0].c"`, ""),
		"label formats":        numbered(`{a="b"}|label_format x=y`, `,a%d="{{.b}}"`, ""),
		"templates":            fill("{a=\"b\"}|line_format `", "{{.a}}", "`"),
		"template nesting":     fill("{a=\"b\"}|line_format `", "{{if .a}}", "`"),
		"template parentheses": fill("{a=\"b\"}|line_format `{{", "(", "`"),
		"template pipes":       fill("{a=\"b\"}|line_format `{{.a", "|lower", "}}`"),
		"drops":                numbered(`{a="b"}|drop x`, `,a%d`, ""),
		"names":                numbered(`sum by (x`, `,a%d`, `) (rate({a="b"}[1m]))`),
		"on":                   numbered(`vector(1) + on (x`, `,a%d`, `) vector(1)`),
		"captures":             numbered("{a=\"b\"}|pattern \"<x>", " <a%d>", "\""),
		"like":                 fill("{a=\"b\"}|> \"", "<_>x", "\""),
		"regexp":               "{a=\"b\"}|~ \"" + strings.Repeat("(", MaxPattern/2) + strings.Repeat(")", MaxPattern/2) + "\"",
		"regexp repeats":       "{a=\"b\"}|~ \"" + strings.Repeat("(a{0,1000})?", MaxPattern/13) + "\"",
		"regexp groups":        numbered("{a=\"b\"}|regexp `", "(?P<a%d>x)", "`"),
		"regexp of regexps":    fill(`{a=~"`, `(((a*)*)*)*|`, `b"}`),
		"string":               fill(`{a="`, "x", `"}`),
		"escapes":              fill(`{a="`, `\n`, `"}`),
		"no end":               fill(`{a="`, `\\`, ``),
		"comments":             fill("", "#\n", ""),
		"spaces":               fill("", " ", ""),
		"digits":               fill("", "9", ""),
		"number":               fill("1", ".0", ""),
		"name":                 fill("", "a", ""),
		"label_replace":        fill("", "label_replace(", ""),
		"braces":               fill("", "{", ""),
		"units":                fill(`rate({a="b"}[`, "1s", "])"),
		"bytes":                fill("", "\xff", ""),
		"ips":                  fill(`{a="b"}`, `|=ip("10.0.0.0/8")`, ""),
		"too long":             fill("", "x", "") + "xx",
	}
}

// Whatever the text, the parser ends soon, and what it accepts runs in bounded
// time and memory. Run under -race or on a loaded machine this says little about
// seconds, but an algorithm that is quadratic in 128 KiB does not end at all.
func TestHostileQueries(t *testing.T) {
	m := shopSource()
	for name, q := range hostileQueries() {
		t.Run(name, func(t *testing.T) {
			e, err := Parse(q)
			if err != nil {
				var se *SyntaxError
				if !errors.As(err, &se) || se.Line == 0 || len(err.Error()) > 1000 {
					t.Fatalf("%.300v", err)
				}
				return
			}
			if again, err := Parse(e.String()); err != nil {
				var se *SyntaxError
				if !errors.As(err, &se) || !strings.Contains(se.Msg, "longer than") {
					t.Errorf("its own text: %.300v", err)
				}
			} else if again.String() != e.String() {
				t.Error("its own text is another query")
			}
			_ = Format(e)
			p := Params{Start: 100 * sec, End: 110 * sec, Step: sec, Limits: Limits{MaxRows: 100_000, MaxCells: 1 << 20, MaxSeries: 1000, MaxResult: 1 << 20}}
			if _, err := Run(context.Background(), m, e, p); err != nil && len(err.Error()) > 2000 {
				t.Errorf("%d bytes of error", len(err.Error()))
			}
		})
	}
}

// What a line or many of them can make a query hold is bounded.
func TestHostileLines(t *testing.T) {
	var wide strings.Builder
	wide.WriteString(`{"first":"1"`)
	for i := range 20_000 {
		fmt.Fprintf(&wide, `,"key%d":%d`, i, i)
	}
	wide.WriteString("}")
	deep := strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	m := &memSource{blockRows: 100}
	m.add([]Label{{Name: "app", Value: "wide"}}, sec, wide.String())
	m.add([]Label{{Name: "app", Value: "deep"}}, sec, deep)
	m.add([]Label{{Name: "app", Value: "pairs"}}, sec, strings.Repeat("k=v ", 50_000)+strings.Repeat(`a="`, 1000))
	for i := range 5000 {
		m.add([]Label{{Name: "app", Value: "many"}}, sec+int64(i), fmt.Sprintf(`{"id":"%d","n":%d}`, i, i))
	}
	p := Params{Start: 0, End: 2 * sec, Limits: Limits{MaxSeries: 100, MaxCells: 2000, MaxResult: 1 << 20, MaxRows: 100_000}}
	for _, tt := range []struct {
		q      string
		labels int    // of the one row, if it is an answer
		limit  string // in the error
	}{
		{`{app="wide"} | json`, maxLabels + 3, ""},
		{`{app="wide"} | json | first="1" | keep first, app`, 2 + 2, ""},
		{`{app="deep"} | json`, 3, ""},
		{`{app="deep"} | json x="a.a.a"`, 3, ""},
		{`{app="pairs"} | logfmt`, 2, ""},
		{`{app="many"} | json`, 0, "streams"},
		{`count_over_time({app="many"} | json [5s])`, 0, "series"},
		{`quantile_over_time(0.5, {app="many"} | json | unwrap n [5s]) by (app)`, 0, "numbers"},
		{"{app=\"wide\"} | line_format `{{repeat 9 (repeat 9 __line__)}}`", 3, ""},
		{"{app=\"wide\"} | line_format `{{range $i, $c := fromJson __line__}}{{range fromJson __line__}}x{{end}}{{end}}`", 3, ""},
		{"{app=\"wide\"} | line_format `{{regexReplaceAll \".\" __line__ __line__}}`", 3, ""},
	} {
		e, err := Parse(tt.q)
		if err != nil {
			t.Fatal(tt.q, err)
		}
		res, err := Run(context.Background(), m, e, p)
		var limit *LimitError
		switch {
		case tt.limit != "":
			if !errors.As(err, &limit) || !strings.Contains(limit.What, tt.limit) {
				t.Errorf("%s: %v", tt.q, err)
			}
		case err != nil || len(res.Streams) != 1:
			t.Errorf("%s: %v, %d streams", tt.q, err, len(res.Streams))
		case len(res.Streams[0].Labels) != tt.labels:
			t.Errorf("%s: %d labels %.300v", tt.q, len(res.Streams[0].Labels), res.Streams[0].Labels)
		}
	}
}
