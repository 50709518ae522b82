package logql

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLokiCases asks Loki and us the same questions about the same rows: those
// of loki_cases_test.go.
func TestLokiCases(t *testing.T) {
	s := newLoki(t)
	g := &lokiGen{Rand: rand.New(rand.NewPCG(7, 1)), base: time.Now().Add(-2 * time.Hour).Truncate(time.Minute).UnixNano()}
	m := g.source(600)
	s.push(t, m)
	middle := g.base + lokiSpan/2
	rows := Params{Start: middle, End: middle + 300e9, Direction: Forward, Limit: 1, Now: time.Now().UnixNano()}
	for _, x := range lokiTemplates {
		for _, q := range []string{"{app=\"json\"} | json | line_format `" + x + "` | keep __error__", "{app=\"json\"} | json | label_format x=`" + x + "` | keep __error__, x | line_format `a`"} {
			if diff := s.differ(m, q, rows); diff != "" {
				t.Errorf("%s\n%s", q, diff)
				break
			}
		}
	}
	wide := Params{Start: g.base, End: g.base + lokiSpan, Direction: Forward, Limit: 1000, Step: 300e9}
	at := Params{End: middle + 7e9, Limit: 1000}
	for _, q := range lokiQueries {
		for _, p := range []Params{wide, at} {
			if e, err := Parse(q); err == nil && p.Step == 0 {
				if _, ok := e.(*LogExpr); ok {
					continue
				}
			}
			if diff := s.differ(m, q, p); diff != "" {
				t.Errorf("%s  (step %s)\n%s", q, time.Duration(p.Step), diff)
				break
			}
		}
	}
}

// TestAgainstLokiServer asks Loki and us random questions about the same rows.
// WEIR_LOKI_QUERIES says how many, WEIR_LOKI_SEED which, WEIR_LOKI_FROM which of
// them is the first.
func TestAgainstLokiServer(t *testing.T) {
	s := newLoki(t)
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return otherwise
	}
	seed := uint64(number("WEIR_LOKI_SEED", 1))
	// The rows are recent, as Loki does not ask its memory for old ones.
	g := &lokiGen{Rand: rand.New(rand.NewPCG(seed, 1)), base: time.Now().Add(-2 * time.Hour).Truncate(time.Minute).UnixNano()}
	m := g.source(1500)
	s.push(t, m)
	lines := Params{Start: g.base, End: g.base + lokiSpan, Direction: Forward, Limit: 10_000}
	if diff := s.differ(m, `{app=~".+"}`, lines); diff != "" {
		t.Fatalf("the rows themselves: %s", diff)
	}
	outcomes := make(map[string]int)
	wrong := 0
	for i := range number("WEIR_LOKI_QUERIES", 500) {
		q, isLog := g.metricQuery(), false
		if i%3 == 0 {
			q, isLog = g.logQuery(), true
		}
		p := g.params(isLog)
		if i < number("WEIR_LOKI_FROM", 0) {
			continue
		}
		if e, err := Parse(q); err == nil && i%5 == 0 {
			q = Format(e) // Loki must understand it as we do
		}
		diff, outcome := s.compare(m, q, p)
		outcomes[outcome]++
		if diff == "" {
			continue
		}
		q = s.shrink(m, q, p)
		t.Errorf("seed %d, query %d: %s\n  start %d + %.3fs, end + %.3fs, step %s, direction %d, limit %d\n%s",
			seed, i, q, g.base, float64(p.Start-g.base)/1e9, float64(p.End-g.base)/1e9, time.Duration(p.Step), p.Direction, p.Limit, s.differ(m, q, p))
		if wrong++; wrong >= number("WEIR_LOKI_STOP", 10) {
			break
		}
	}
	t.Logf("Loki took %s, weir %s", s.theirs, s.ours)
	for _, o := range slices.Sorted(maps.Keys(outcomes)) {
		t.Logf("%6d %s", outcomes[o], o)
	}
}

func (s *lokiServer) differ(m *memSource, q string, p Params) string {
	d, _ := s.compare(m, q, p)
	return d
}

// compare asks both and says what differs, and what kind of answer it was.
func (s *lokiServer) compare(m *memSource, q string, p Params) (diff, outcome string) {
	begin := time.Now()
	want, lokiErr := s.ask(q, p)
	s.theirs += time.Since(begin)
	begin = time.Now()
	e, err := Parse(q)
	var got *Result
	if err == nil {
		got, err = Run(context.Background(), m, e, p)
	}
	s.ours += time.Since(begin)
	switch {
	case err != nil && lokiErr != nil:
		if os.Getenv("WEIR_LOKI_ERRORS") != "" {
			fmt.Printf("%s\n  loki: %v\n  weir: %v\n", q, lokiErr, err)
		}
		return "", "both refuse: " + errorKind(lokiErr)
	case err != nil && strings.Contains(q, "| unpack") && strings.Contains(err.Error(), errJSON):
		return "", "deliberate: unpack is not left out"
	case err != nil && strings.Contains(err.Error(), "label_replace makes two series equal"):
		return "", "deliberate: label_replace makes series equal"
	case err != nil:
		return fmt.Sprintf("  weir fails: %v\n  loki: %s", err, show(want)), "failure"
	case lokiErr != nil && strings.Contains(lokiErr.Error(), "grouping labels must ensure unique matches"):
		return "", "deliberate: what a comparison leaves out need not be unique"
	case lokiErr != nil:
		return fmt.Sprintf("  loki fails: %v\n  weir: %s", lokiErr, show(got)), "failure"
	}
	outcome = []string{"lines", "matrix", "vector", "scalar"}[want.Kind]
	if len(want.Streams)+len(want.Series) == 0 {
		outcome += ", empty"
	}
	if got.Kind != want.Kind {
		return fmt.Sprintf("  kind: loki %d, weir %d", want.Kind, got.Kind), outcome
	}
	if slices.ContainsFunc(want.Series, func(s Series) bool { return has(s.Labels, detailsLabel) }) {
		return "", "deliberate: other words in __error_details__"
	}
	if got.Kind == Lines {
		return diffLines(want, got), outcome
	}
	return diffSeries(want, got, e), outcome
}

// errorKind makes errors countable.
func errorKind(err error) string {
	msg := err.Error()
	for _, k := range []string{"parse error", "pipeline error", "multiple matches", "found duplicate series", "many-to-many", "many-to-one", "maximum resolution", "invalid"} {
		if strings.Contains(msg, k) {
			return k
		}
	}
	return msg[:min(len(msg), 100)]
}

// diffLines compares line by line, and what its labels come from.
func diffLines(want, got *Result) string {
	flat := func(r *Result) (out []string) {
		for _, s := range r.Streams {
			for _, e := range s.Entries {
				drop := func(ls []Label) string {
					ls = slices.DeleteFunc(slices.Clone(ls), func(l Label) bool { return l.Name == detailsLabel })
					return string(appendLabels(nil, ls))
				}
				base := slices.DeleteFunc(slices.Clone(s.Labels), func(l Label) bool { return has(e.Meta, l.Name) || has(e.Parsed, l.Name) })
				out = append(out, fmt.Sprintf("%d stream%s meta%s parsed%s %s", e.Time, drop(base), drop(e.Meta), drop(e.Parsed), strings.ToValidUTF8(e.Line, "\ufffd")))
			}
		}
		slices.Sort(out)
		return out
	}
	return firstDifference(flat(want), flat(got))
}

func firstDifference(want, got []string) string {
	var b strings.Builder
	if len(want) != len(got) {
		fmt.Fprintf(&b, "  loki %d, weir %d\n", len(want), len(got))
	}
	shown := 0
	for i, j := 0, 0; (i < len(want) || j < len(got)) && shown < 4; {
		c := 0
		switch {
		case i == len(want):
			c = 1
		case j == len(got):
			c = -1
		default:
			c = strings.Compare(want[i], got[j])
		}
		if c <= 0 && i < len(want) {
			if c < 0 {
				fmt.Fprintf(&b, "  loki: %s\n", want[i])
				shown++
			}
			i++
		}
		if c >= 0 && j < len(got) {
			if c > 0 {
				fmt.Fprintf(&b, "  weir: %s\n", got[j])
				shown++
			}
			j++
		}
	}
	return b.String()
}

func show(r *Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "kind %d, %d streams, %d series", r.Kind, len(r.Streams), len(r.Series))
	for _, s := range r.Streams[:min(len(r.Streams), 2)] {
		fmt.Fprintf(&b, "\n    %s %q", appendLabels(nil, s.Labels), s.Entries[0].Line)
	}
	for _, s := range r.Series[:min(len(r.Series), 4)] {
		fmt.Fprintf(&b, "\n    %s %v", appendLabels(nil, s.Labels), s.Points[:min(len(s.Points), 3)])
	}
	return b.String()
}

// same allows for another order of additions.
func same(a, b, tolerance float64) bool {
	return a == b || math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) <= tolerance*max(math.Abs(a), math.Abs(b)) || math.Abs(a-b) < 1e-12
}

func diffSeries(want, got *Result, e Expr) string {
	tolerance := 1e-9
	if strings.Contains(e.String(), "rate_counter") {
		tolerance = 1e-4 // Loki adds about a millionth
	}
	v, _ := e.(*vectorExpr)
	sorted := got.Kind == Vector && v != nil && (v.fn == "sort" || v.fn == "sort_desc")
	if sorted {
		for i := range min(len(want.Series), len(got.Series)) {
			if a, b := want.Series[i].Points[0].Value, got.Series[i].Points[0].Value; !same(a, b, tolerance) {
				return fmt.Sprintf("  order, at %d:\n  loki %s\n  weir %s", i, show(want), show(got))
			}
		}
	}
	a, b := points(want), points(got)
	for k, v := range a {
		if w, ok := b[k]; ok && same(v, w, tolerance) {
			delete(a, k)
			delete(b, k)
		}
	}
	if len(a)+len(b) == 0 {
		return ""
	}
	if v != nil && hasK(v.fn) {
		// Which of equal values is taken is not defined.
		if slices.EqualFunc(byTime(a), byTime(b), func(x, y Point) bool { return x.Time == y.Time && same(x.Value, y.Value, tolerance) }) {
			return ""
		}
	}
	var wantText, gotText []string
	for k, v := range a {
		wantText = append(wantText, fmt.Sprintf("%s = %v", k.String(), v))
	}
	for k, v := range b {
		gotText = append(gotText, fmt.Sprintf("%s = %v", k.String(), v))
	}
	slices.Sort(wantText)
	slices.Sort(gotText)
	return fmt.Sprintf("  loki %d series, weir %d\n%s", len(want.Series), len(got.Series), firstDifference(wantText, gotText))
}

type pointKey struct {
	labels string
	time   int64
}

func (k pointKey) String() string { return fmt.Sprintf("%s at %d", k.labels, k.time) }

func points(r *Result) map[pointKey]float64 {
	out := make(map[pointKey]float64)
	for _, s := range r.Series {
		for _, p := range s.Points {
			out[pointKey{string(appendLabels(nil, s.Labels)), p.Time}] = p.Value
		}
	}
	return out
}

func byTime(m map[pointKey]float64) (out []Point) {
	for k, v := range m {
		out = append(out, Point{k.time, v})
	}
	slices.SortFunc(out, func(a, b Point) int {
		if c := cmp.Compare(a.Time, b.Time); c != 0 {
			return c
		}
		return cmp.Compare(a.Value, b.Value)
	})
	return out
}

// shrink looks for a smaller query about which the two differ as well.
func (s *lokiServer) shrink(m *memSource, q string, p Params) string {
	for again := true; again; {
		again = false
		e, err := Parse(q)
		if err != nil {
			return q
		}
		for _, x := range smaller(e) {
			if t := x.String(); len(t) < len(q) {
				if _, err := Parse(t); err == nil && s.differ(m, t, p) != "" {
					q, again = t, true
					break
				}
			}
		}
	}
	return q
}

// smaller returns queries with a part less.
func smaller(e Expr) (out []Expr) {
	switch e := e.(type) {
	case *LogExpr:
		for i := range e.stages {
			out = append(out, &LogExpr{e.selector, slices.Delete(slices.Clone(e.stages), i, i+1)})
		}
		for i, st := range e.stages {
			if b, ok := st.(*boolExpr); ok {
				for _, f := range []labelFilter{b.l, b.r} {
					c := slices.Clone(e.stages)
					c[i] = f
					out = append(out, &LogExpr{e.selector, c})
				}
			}
		}
		for i := range e.selector {
			out = append(out, &LogExpr{slices.Delete(slices.Clone(e.selector), i, i+1), e.stages})
		}
	case *rangeExpr:
		for _, l := range smaller(e.log) {
			c := *e
			c.log = l.(*LogExpr)
			out = append(out, &c)
		}
		c := *e
		c.after = nil
		d := *e
		d.offset = 0
		f := *e
		f.group = nil
		out = append(out, &c, &d, &f)
	case *vectorExpr:
		out = append(out, e.inner)
		for _, x := range smaller(e.inner) {
			c := *e
			c.inner = x.(MetricExpr)
			out = append(out, &c)
		}
		c := *e
		c.group = nil
		out = append(out, &c)
	case *binaryExpr:
		out = append(out, e.l, e.r)
		for _, x := range smaller(e.l) {
			c := *e
			c.l = x.(MetricExpr)
			out = append(out, &c)
		}
		for _, x := range smaller(e.r) {
			c := *e
			c.r = x.(MetricExpr)
			out = append(out, &c)
		}
	case *replaceExpr:
		out = append(out, e.inner)
		for _, x := range smaller(e.inner) {
			c := *e
			c.inner = x.(MetricExpr)
			out = append(out, &c)
		}
	}
	return out
}
