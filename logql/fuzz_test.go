package logql

import (
	"context"
	"errors"
	"testing"

	"github.com/weirlog/weir/record"
)

// FuzzPipeline wants no panic whatever the line and the query, the same answer
// twice, no line passing that the needles rule out, and of what is extracted
// for a few labels only the same as of everything.
func FuzzPipeline(f *testing.F) {
	lines := []string{
		`{"a":"x \"y\" \u00e4","b":{"c":1.5,"d":[1,{"e":null}]},"f":true,"pod":"z"}`, `{"a":1`, `{"a":"\`, `[1]`,
		`a=b c="d \" e" f= =g "h" i.j=k`, "\x1b[31mred\x1b[0m 10.0.0.1:80 [::1]", `1.2.3.4 - - [x] "GET /y" 200`, "", "\xff\xfe",
	}
	for i, q := range canonical {
		f.Add(q, lines[i%len(lines)])
	}
	for _, l := range lines {
		f.Add("{x=\"y\"} |~ `a|b` | json | logfmt | unpack | decolorize | line_format `{{.a}}`", l)
		f.Add("{x=\"y\"} | json a=\"b.c\" | pattern `<z> <_>` | regexp `(?P<r>.+)` | a > 1 or z != `` | keep a, r", l)
	}
	f.Fuzz(func(t *testing.T, q, line string) {
		e, err := Parse(q)
		if err != nil {
			return
		}
		log, ok := e.(*LogExpr)
		if !ok {
			return
		}
		p, err := NewPipeline(log, 1)
		if err != nil {
			t.Fatalf("%q: %v", q, err)
		}
		r := &Row{Time: 2, Line: []byte(line), Labels: []Label{{Name: "pod", Value: "p"}, {Name: "x", Value: "y"}},
			Meta: []Label{{Name: "trace", Value: "t"}, {Name: "x", Value: "m"}}, Severity: record.Error, HasSeverity: true}
		out, ok := p.Process(r)
		if !ok {
			return
		}
		text := out.String()
		if !p.Needles().Match(r.Line) {
			t.Fatalf("%q on %q: ruled out by %v", q, line, p.Needles())
		}
		var rows []uint32
		for _, pad := range []string{"", "xyz"} {
			buf := []byte(pad + line + pad)
			rows = p.Needles().AppendRows(rows[:0], buf, []record.Span{{Off: uint32(len(pad)), Len: uint32(len(line))}})
			if len(rows) != 1 {
				t.Fatalf("%q on %q: not found by %v", q, line, p.Needles())
			}
		}
		if again, ok := p.Process(r); !ok || again.String() != text {
			t.Fatalf("%q on %q: %s, then %s", q, line, text, again)
		}
		few, err := newPipeline(log, nil, []string{"a", "b_c", "pod_extracted"}, false)
		if err != nil {
			t.Fatal(err)
		}
		var en entry
		en.now = 1
		en.reset(r.Labels, r.Line, r.Time)
		for _, l := range r.Meta {
			en.addMeta(l.Name, l.Value)
		}
		en.setSeverity(r.Severity)
		if !few.selected(&en) || !few.run(&en) {
			t.Fatalf("%q on %q passes only if everything is extracted", q, line)
		}
		if full, _ := find(out.Labels, errorLabel); full != "" {
			return // objects that nobody looks into need not be well-formed
		}
		for _, n := range []string{"a", "b_c", "pod_extracted"} {
			want, _ := find(out.Labels, n)
			if got, _ := en.get(n); got != want {
				t.Fatalf("%q on %q: %s is %q, and %q if everything is extracted", q, line, n, got, want)
			}
		}
	})
}

// FuzzMetric wants of every text that is a query: the same text again from
// String and Format, no panic, and the same answer twice from the engine.
func FuzzMetric(f *testing.F) {
	for _, q := range canonical {
		f.Add(q)
	}
	for i, q := range lokiQueries {
		if i%7 == 0 {
			f.Add(q)
		}
	}
	m := shopSource()
	f.Fuzz(func(t *testing.T, q string) {
		e, err := Parse(q)
		if err != nil {
			var se *SyntaxError
			if !errors.As(err, &se) || se.Line == 0 {
				t.Fatalf("%q: no place in %v", q, err)
			}
			return
		}
		for _, text := range []string{e.String(), Format(e)} {
			if again, err := Parse(text); err != nil || again.String() != e.String() {
				t.Fatalf("%q is written %q: %v", q, text, err)
			}
		}
		p := Params{Start: 100 * sec, End: 130 * sec, Step: 3 * sec, Limits: Limits{MaxRows: 10_000, MaxCells: 1 << 18, MaxResult: 1 << 20}}
		a, errA := Run(context.Background(), m, e, p)
		b, errB := Run(context.Background(), m, e, p)
		if (errA == nil) != (errB == nil) || errA == nil && resultText(a) != resultText(b) {
			t.Fatalf("%q: %v, then %v", q, errA, errB)
		}
	})
}
