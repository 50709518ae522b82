package logql

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/weirlog/weir/record"
)

const sec = int64(1e9)

// shopSource has two streams of JSON lines, one a second.
func shopSource() *memSource {
	m := &memSource{blockRows: 7}
	for i := range int64(60) {
		m.add([]Label{{Name: "app", Value: "shop"}, {Name: "pod", Value: "p1"}}, (100+i)*sec, fmt.Sprintf(`{"n":%d,"status":"%d"}`, i, 200+100*(i%4)))
		if i%2 == 0 {
			m.add([]Label{{Name: "app", Value: "shop"}, {Name: "pod", Value: "p2"}}, (100+i)*sec+1, fmt.Sprintf(`n=%d took=%dms`, i, 10*i))
		}
	}
	return m
}

func runText(t *testing.T, src Source, q string, p Params) string {
	t.Helper()
	e, err := Parse(q)
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	res, err := Run(context.Background(), src, e, p)
	if err != nil {
		return "error: " + err.Error()
	}
	return resultText(res)
}

func resultText(res *Result) string {
	var out []string
	for _, s := range res.Streams {
		for _, e := range s.Entries {
			out = append(out, fmt.Sprintf("%s %d %s", appendLabels(nil, s.Labels), e.Time/sec, e.Line))
		}
	}
	for _, s := range res.Series {
		var b strings.Builder
		b.Write(appendLabels(nil, s.Labels))
		for _, p := range s.Points {
			fmt.Fprintf(&b, " %g", p.Value)
			if res.Kind == Matrix {
				fmt.Fprintf(&b, "@%d", p.Time/sec)
			}
		}
		out = append(out, b.String())
	}
	return strings.Join(out, "\n")
}

func TestLogQueries(t *testing.T) {
	m := shopSource()
	for _, tt := range []struct {
		q    string
		p    Params
		want string
	}{
		{`{pod="p2"} |= "n=4"`, Params{Start: 0, End: 1000 * sec}, "{app=\"shop\", pod=\"p2\"} 148 n=48 took=480ms\n{app=\"shop\", pod=\"p2\"} 146 n=46 took=460ms\n{app=\"shop\", pod=\"p2\"} 144 n=44 took=440ms\n{app=\"shop\", pod=\"p2\"} 142 n=42 took=420ms\n{app=\"shop\", pod=\"p2\"} 140 n=40 took=400ms\n{app=\"shop\", pod=\"p2\"} 104 n=4 took=40ms"},
		{`{pod="p2"}`, Params{Start: 0, End: 1000 * sec, Direction: Forward, Limit: 2}, "{app=\"shop\", pod=\"p2\"} 100 n=0 took=0ms\n{app=\"shop\", pod=\"p2\"} 102 n=2 took=20ms"},
		{`{pod="p2"} | logfmt | took > 100ms | line_format "{{.n}}" | keep app`, Params{Start: 0, End: 1000 * sec, Direction: Forward, Limit: 1}, "{app=\"shop\"} 112 12"},
		// [start, end)
		{`{pod="p1"}`, Params{Start: 101 * sec, End: 103 * sec, Direction: Forward}, "{app=\"shop\", pod=\"p1\"} 101 {\"n\":1,\"status\":\"300\"}\n{app=\"shop\", pod=\"p1\"} 102 {\"n\":2,\"status\":\"400\"}"},
		{`{pod="p3"}`, Params{Start: 0, End: 1000 * sec}, ""},
	} {
		if got := runText(t, m, tt.q, tt.p); got != tt.want {
			t.Errorf("%s:\n%s", tt.q, cmp.Diff(tt.want, got))
		}
	}
	if m.open != 0 {
		t.Errorf("%d blocks were not released", m.open)
	}
}

func TestMetricQueries(t *testing.T) {
	m := shopSource()
	instant := Params{End: 159 * sec}
	ranged := Params{Start: 100 * sec, End: 120 * sec, Step: 10 * sec}
	for _, tt := range []struct {
		q    string
		p    Params
		want string
	}{
		{`count_over_time({app="shop"}[10s])`, instant, "{app=\"shop\", pod=\"p1\"} 10\n{app=\"shop\", pod=\"p2\"} 5"},
		// (t-range, t]
		{`count_over_time({app="shop"}[10s])`, ranged, "{app=\"shop\", pod=\"p1\"} 1@100 10@110 10@120\n{app=\"shop\", pod=\"p2\"} 5@110 5@120"},
		{`count_over_time({app="shop"}[10s] offset 10s)`, ranged, "{app=\"shop\", pod=\"p1\"} 1@110 10@120\n{app=\"shop\", pod=\"p2\"} 5@120"},
		{`count_over_time({app="shop"}[10s] offset -10s)`, ranged, "{app=\"shop\", pod=\"p1\"} 10@100 10@110 10@120\n{app=\"shop\", pod=\"p2\"} 5@100 5@110 5@120"},
		{`count_over_time({app="shop"}[20s])`, ranged, "{app=\"shop\", pod=\"p1\"} 1@100 11@110 20@120\n{app=\"shop\", pod=\"p2\"} 5@110 10@120"},
		{`sum(count_over_time({app="shop"}[10s]))`, instant, "{} 15"},
		{`sum by (app) (rate({app="shop"}[10s]))`, instant, "{app=\"shop\"} 1.5"},
		{`sum without (pod) (rate({app="shop"}[10s]))`, instant, "{app=\"shop\"} 1.5"},
		{`bytes_over_time({pod="p2"}[2s])`, instant, "{app=\"shop\", pod=\"p2\"} 15"},
		{`bytes_over_time({pod="p2"} | line_format "xyz" [2s])`, instant, "{app=\"shop\", pod=\"p2\"} 3"},
		{`bytes_rate({pod="p2"} |= "n" [2s])`, instant, "{app=\"shop\", pod=\"p2\"} 7.5"},
		{`sum by (status) (count_over_time({pod="p1"} | json [1m]))`, instant, "{status=\"200\"} 15\n{status=\"300\"} 15\n{status=\"400\"} 15\n{status=\"500\"} 15"},
		{`sum by (n) (count_over_time({app="shop"} | json [1m]))`, instant, "error: a stage failed with JSONParserErr for"},
		{`sum by (__error__) (count_over_time({app="shop"} | json [1m]))`, instant, "{} 60\n{__error__=\"JSONParserErr\"} 30"},
		{`sum by (app) (count_over_time({app="shop"} | json | label_format __preserve_error__="true" [1m]))`, instant, "{app=\"shop\"} 90"},
		{"sum by (t) (count_over_time({pod=\"p2\"} | label_format t=`{{ __timestamp__ | unixEpoch }}` [4s]))", instant, "{t=\"156\"} 1\n{t=\"158\"} 1"},
		// Nobody looks at what these make.
		{`sum(count_over_time({app="shop"} | json [1m]))`, instant, "{} 90"},
		{`sum by (app) (count_over_time({app="shop"} | line_format "{{div 1 0}}" [1m]))`, instant, "{app=\"shop\"} 90"},
		{`sum(count_over_time({app="shop"} | json | __error__="" [1m]))`, instant, "{} 60"},
		{`sum(count_over_time({app="shop"} | json | status="500" [1m]))`, instant, "{} 15"},
		{`sum_over_time({pod="p1"} | json | unwrap n [5s])`, instant, "{app=\"shop\", pod=\"p1\", status=\"200\"} 56\n{app=\"shop\", pod=\"p1\", status=\"300\"} 57\n{app=\"shop\", pod=\"p1\", status=\"400\"} 58\n{app=\"shop\", pod=\"p1\", status=\"500\"} 114"},
		{`sum(sum_over_time({pod="p1"} | json | unwrap n [5s]))`, instant, "{} 285"},
		{`avg_over_time({pod="p1"} | json | unwrap n [5s]) by (app)`, instant, "{app=\"shop\"} 57"},
		{`min_over_time({pod="p1"} | json | unwrap n [5s]) by ()`, instant, "{} 55"},
		{`max_over_time({pod="p1"} | json | unwrap n [5s]) without (status)`, instant, "{app=\"shop\", pod=\"p1\"} 59"},
		{`first_over_time({pod="p1"} | json | unwrap n [5s]) by (pod)`, instant, "{pod=\"p1\"} 55"},
		{`last_over_time({pod="p1"} | json | unwrap n [5s]) by (pod)`, instant, "{pod=\"p1\"} 59"},
		{`stdvar_over_time({pod="p1"} | json | unwrap n [5s]) by (pod)`, instant, "{pod=\"p1\"} 2"},
		{`stddev_over_time({pod="p1"} | json | unwrap n [4s]) by (pod) ^ 2`, instant, "{pod=\"p1\"} 1.2500000000000002"},
		{`quantile_over_time(0.5, {pod="p1"} | json | unwrap n [4s]) by (pod)`, instant, "{pod=\"p1\"} 57.5"},
		{`rate({pod="p1"} | json | unwrap n [10s])`, Params{End: 104 * sec}, "{app=\"shop\", pod=\"p1\", status=\"200\"} 0.4\n{app=\"shop\", pod=\"p1\", status=\"300\"} 0.1\n{app=\"shop\", pod=\"p1\", status=\"400\"} 0.2\n{app=\"shop\", pod=\"p1\", status=\"500\"} 0.3"},
		{`rate_counter({pod="p1"} | json | drop status | unwrap n [10s])`, instant, "{app=\"shop\", pod=\"p1\"} 0.9"},
		{`sum_over_time({pod="p2"} | logfmt | unwrap duration(took) | n="58" [5s]) `, instant, "{app=\"shop\", n=\"58\", pod=\"p2\"} 0.58"},
		{`sum_over_time({pod="p2"} | logfmt | keep took, n | n="58" | unwrap duration(took) [5s])`, instant, "{n=\"58\"} 0.58"},
		{`sum_over_time({pod="p2"} | logfmt | unwrap took | __error__="" [5s])`, instant, ""},
		{`sum_over_time({pod="p2"} | logfmt | unwrap took [5s])`, instant, "error: a stage failed with SampleExtractionErr for"},
		{`absent_over_time({app="shop", pod=~"p.*"}[5s])`, instant, ""},
		{`absent_over_time({app="shop", pod=~"p.*"}[5s])`, Params{Start: 50 * sec, End: 170 * sec, Step: 60 * sec}, "{app=\"shop\"} 1@50 1@170"},
		{`topk(1, sum by (pod) (rate({app="shop"}[10s])))`, instant, "{pod=\"p1\"} 1"},
		{`bottomk(1, sum by (pod) (rate({app="shop"}[10s])))`, instant, "{pod=\"p2\"} 0.5"},
		{`approx_topk(1, sum by (pod) (rate({app="shop"}[10s])))`, instant, "{pod=\"p1\"} 1"},
		{`sort(sum by (pod) (rate({app="shop"}[10s])))`, instant, "{pod=\"p2\"} 0.5\n{pod=\"p1\"} 1"},
		{`sort_desc(sum by (pod) (rate({app="shop"}[10s])))`, instant, "{pod=\"p1\"} 1\n{pod=\"p2\"} 0.5"},
		{`avg(count_over_time({app="shop"}[10s]))`, instant, "{} 7.5"},
		{`max by (app) (count_over_time({app="shop"}[10s]))`, instant, "{app=\"shop\"} 10"},
		{`min(count_over_time({app="shop"}[10s]))`, instant, "{} 5"},
		{`count(count_over_time({app="shop"}[10s]))`, instant, "{} 2"},
		{`stdvar(count_over_time({app="shop"}[10s]))`, instant, "{} 6.25"},
		{`stddev(count_over_time({app="shop"}[10s]))`, instant, "{} 2.5"},
		{`vector(1) + vector(1)`, instant, "{} 2"},
		{`1 + 2 * 3 ^ 2 - 7 % 4 / 2`, instant, "{} 17.5"},
		{`2 > 1`, instant, "{} 1"},
		{`1`, Params{Start: 0, End: 2 * sec, Step: sec}, "{} 1@0 1@1 1@2"},
		{`vector(1) / 0`, instant, "{} NaN"},
		{`sum by (pod) (count_over_time({app="shop"}[10s])) > 5`, instant, "{pod=\"p1\"} 10"},
		{`5 < sum by (pod) (count_over_time({app="shop"}[10s]))`, instant, "{pod=\"p1\"} 10"},
		{`sum by (pod) (count_over_time({app="shop"}[10s])) > bool 5`, instant, "{pod=\"p1\"} 1\n{pod=\"p2\"} 0"},
		{`20 - sum by (pod) (count_over_time({app="shop"}[10s]))`, instant, "{pod=\"p1\"} 10\n{pod=\"p2\"} 15"},
		{`count_over_time({app="shop"}[10s]) / ignoring (pod) group_left sum by (app) (count_over_time({app="shop"}[10s]))`, instant, "{app=\"shop\", pod=\"p1\"} 0.6666666666666666\n{app=\"shop\", pod=\"p2\"} 0.3333333333333333"},
		{`sum by (app) (count_over_time({app="shop"}[10s])) - on (app) group_right count_over_time({app="shop"}[10s])`, instant, "{app=\"shop\", pod=\"p1\"} 5\n{app=\"shop\", pod=\"p2\"} 10"},
		{`sum by (app) (count_over_time({app="shop"}[10s])) / on (app) count_over_time({app="shop"}[10s])`, instant, "error: / finds several series on one side"},
		{`count_over_time({app="shop"}[10s]) and on (pod) count_over_time({pod="p1"}[10s])`, instant, "{app=\"shop\", pod=\"p1\"} 10"},
		{`count_over_time({app="shop"}[10s]) unless on (pod) count_over_time({pod="p1"}[10s])`, instant, "{app=\"shop\", pod=\"p2\"} 5"},
		{`count_over_time({pod="p1"}[10s]) or count_over_time({app="shop"}[10s]) * 2`, instant, "{app=\"shop\", pod=\"p1\"} 10\n{app=\"shop\", pod=\"p2\"} 10"},
		{`label_replace(sum by (pod) (count_over_time({app="shop"}[10s])), "n", "x$1", "pod", "p(.)")`, instant, "{n=\"x1\", pod=\"p1\"} 10\n{n=\"x2\", pod=\"p2\"} 5"},
		{`label_replace(sum by (pod) (count_over_time({app="shop"}[10s])), "pod", "", "pod", "p.")`, instant, "error: label_replace makes two series equal"},
	} {
		for _, fields := range []bool{false, true} {
			m.fields, m.prune = fields, fields
			got := runText(t, m, tt.q, tt.p)
			if strings.HasPrefix(tt.want, "error: ") && strings.HasPrefix(got, tt.want) {
				continue
			}
			if got != tt.want {
				t.Errorf("%s (fields %v):\n got %s\nwant %s", tt.q, fields, got, tt.want)
			}
		}
	}
	if m.open != 0 {
		t.Errorf("%d blocks were not released", m.open)
	}
}

func TestLimits(t *testing.T) {
	m := shopSource()
	ctx := context.Background()
	for what, l := range map[string]Limits{
		"rows": {MaxRows: 10}, "bytes of lines": {MaxBytes: 100}, "numbers": {MaxCells: 3}, "series": {MaxSeries: 1}, "bytes of answer": {MaxResult: 10},
	} {
		q := `count_over_time({app="shop"} |= "n" [10s])`
		if what == "bytes of answer" {
			q = `{app="shop"}`
		}
		e, err := Parse(q)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Run(ctx, m, e, Params{Start: 100 * sec, End: 150 * sec, Step: 10 * sec, Limits: l})
		var le *LimitError
		if !errors.As(err, &le) || !strings.Contains(le.What, what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	e, _ := Parse(`{app="shop"}`)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Run(gone, m, e, Params{End: 1000 * sec}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	e, _ = Parse(`rate({app="shop"}[1s])`)
	if _, err := Run(ctx, m, e, Params{End: 1e18, Step: 1}); err == nil {
		t.Error("endless steps")
	}
	if m.open != 0 {
		t.Errorf("%d blocks were not released", m.open)
	}
}

// randomSource has rows in a random order with few different values.
func randomSource(r *rand.Rand) *memSource {
	m := &memSource{blockRows: 1 + r.IntN(20), severities: r.IntN(2) == 0, prune: r.IntN(2) == 0, fields: r.IntN(2) == 0, seed: r.Uint64()}
	words := []string{"alpha", "Beta", "gamma", "delta error", "ERROR kelvin"}
	for range r.IntN(200) {
		ls := []Label{{Name: "app", Value: []string{"a", "b", "c"}[r.IntN(3)]}}
		if r.IntN(2) == 0 {
			ls = append(ls, Label{Name: "pod", Value: []string{"p", "q"}[r.IntN(2)]})
		}
		line := words[r.IntN(len(words))]
		switch r.IntN(4) {
		case 0, 1:
			line = fmt.Sprintf(`{"n":%d,"w":"%s","pod":"x","in":{"v":"%d"}}`, r.IntN(20), line, r.IntN(3))
		case 2:
			line = fmt.Sprintf(`n=%d w="%s" t=%dms`, r.IntN(20), line, r.IntN(2000))
		}
		var meta []Label
		if r.IntN(3) == 0 {
			meta = append(meta, Label{Name: []string{"trace", "w", "level", "pod"}[r.IntN(4)], Value: []string{"1", "2", "error"}[r.IntN(3)]})
		}
		m.add(ls, int64(r.IntN(100))*sec/2, line, meta...)
		m.rows[len(m.rows)-1].severity = record.Severity(r.IntN(25))
	}
	return m
}

func pickOne(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }

func randomLog(r *rand.Rand) string {
	q := pickOne(r, `{app="a"}`, `{app=~"a|b"}`, `{app=~".+"}`, `{app=~".+", pod!="p"}`, `{app!=""}`, `{app=~".+", trace="1"}`, `{app=~".+", level="error"}`, `{app=~".+", detected_level!="info"}`)
	for range r.IntN(4) {
		q += pickOne(r, ` |= "a"`, ` != "et"`, " |~ `(?i)error`", " |~ `err|alp`", ` |> "<_>a<_>"`, ` | json`, ` | logfmt`, ` | pattern "<x> <y>"`, " | regexp `n.{1,2}(?P<rx>\\d+)`",
			` | w="alpha"`, ` | n="7" and w!="x"`, ` | json | w="delta error"`, ` | logfmt | n="3"`, ` | label_format n="7" | json | n="7"`, ` | n > 5`, ` | t < 1s`, ` | level="error" or n < 10`, ` | label_format z="{{.n}}x"`, ` | line_format "{{.w}} {{.n}}"`, ` | drop pod, w`, ` | keep n, app`, ` | in_v="1"`, ` | detected_level=~"error|warn"`)
	}
	return q
}

func randomRange(r *rand.Rand) string {
	log := randomLog(r)
	rng := pickOne(r, "[1s]", "[5s]", "[7s]", "[20s]", "[10s] offset 3s", "[10s] offset -4s")
	by := pickOne(r, "", " by (app)", " by (n, level)", " without (n, w)", " by ()")
	switch r.IntN(3) {
	case 0:
		return pickOne(r, "count_over_time", "rate", "bytes_over_time", "bytes_rate", "absent_over_time") + "(" + log + ` | __error__="" ` + rng + ")"
	case 1:
		return pickOne(r, "sum_over_time", "rate", "rate_counter") + "(" + log + ` | unwrap n | __error__="" ` + rng + ")"
	}
	return pickOne(r, "avg_over_time(", "min_over_time(", "max_over_time(", "stdvar_over_time(", "stddev_over_time(", "quantile_over_time(0.7, ", "first_over_time(", "last_over_time(") +
		log + ` | unwrap ` + pickOne(r, "n", "duration(t)", "bytes(n)") + ` | __error__="" ` + rng + ")" + by
}

func randomMetric(r *rand.Rand, depth int) string {
	if depth == 0 {
		return randomRange(r)
	}
	switch r.IntN(4) {
	case 0:
		return pickOne(r, "sum", "avg", "min", "max", "count", "stddev", "stdvar") + pickOne(r, "", " by (app)", " by (n, w, app)", " without (pod, n)") + " (" + randomMetric(r, depth-1) + ")"
	case 1:
		return "sum by (" + pickOne(r, "app", "w", "n, level", "detected_level", "") + ") (" + randomRange(r) + ")"
	case 2:
		if op := pickOne(r, "+", "/", ">", "== bool", "and", "or", "unless", "* on (app)"); op == ">" || op == "== bool" {
			return randomCount(r) + " " + op + " " + randomCount(r)
		} else {
			return "sum by (app) (" + randomMetric(r, depth-1) + ") " + op + " sum by (app) (" + randomMetric(r, depth-1) + ")"
		}
	}
	return pickOne(r, "topk(2, ", "bottomk by (app) (1, ") + randomCount(r) + ")"
}

// randomCount yields whole numbers, which can be compared whatever the order
// they were added up in.
func randomCount(r *rand.Rand) string {
	return "sum by (app) (" + pickOne(r, "count_over_time", "bytes_over_time") + "(" + randomLog(r) + ` | __error__="" ` + pickOne(r, "[5s]", "[20s] offset 3s") + "))"
}

// The engine must say the same as an evaluator that does it the slow way: row
// by row, step by step.
func TestAgainstNaive(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := randomSource(r)
		p := Params{Start: int64(r.IntN(20)) * sec, Step: int64(1+r.IntN(12)) * sec, Now: 1}
		p.End = p.Start + int64(r.IntN(40))*sec
		q := randomMetric(r, r.IntN(3))
		if r.IntN(4) == 0 {
			q = randomLog(r)
			p.Step, p.Direction, p.Limit = 0, []Order{Forward, Backward}[r.IntN(2)], []int{0, 0, 3, 10}[r.IntN(4)]
		} else if r.IntN(3) == 0 {
			p.Step = 0
		}
		if strings.Contains(q, "first_over") || strings.Contains(q, "last_over") || strings.Contains(q, "rate_counter") {
			for i := range m.rows { // which of equal times counts is open
				m.rows[i].time += int64(i)
			}
		}
		e, err := Parse(q)
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		res, err := Run(context.Background(), m, e, p)
		want := naive(t, m, e, p)
		got := "error"
		if err == nil {
			got = canonicalResult(res)
		}
		if got != want {
			t.Fatalf("seed %d, %s, %+v: %v\n%s", seed, q, p, err, cmp.Diff(want, got))
		}
		if m.open != 0 {
			t.Fatalf("seed %d, %s: %d blocks were not released", seed, q, m.open)
		}
		// Two sources with half of the rows each.
		a, b := *m, *m
		a.rows, b.rows = nil, nil
		for i, row := range m.rows {
			if i%3 == 0 {
				a.rows = append(a.rows, row)
			} else {
				b.rows = append(b.rows, row)
			}
		}
		if p.Limit > 0 {
			continue // which of equal times are left out is open
		}
		res, err = Run(context.Background(), Merge(&a, &b), e, p)
		got = "error"
		if err == nil {
			got = canonicalResult(res)
		}
		if got != want {
			t.Fatalf("merged, seed %d, %s, %+v: %v\n%s", seed, q, p, err, cmp.Diff(want, got))
		}
	}
}

func canonicalResult(res *Result) string {
	var out []string
	for _, s := range res.Streams {
		for _, e := range s.Entries {
			out = append(out, fmt.Sprintf("%d %s %s", e.Time, appendLabels(nil, s.Labels), e.Line))
		}
	}
	for _, s := range res.Series {
		for _, p := range s.Points {
			out = append(out, fmt.Sprintf("%s %d %s", appendLabels(nil, s.Labels), p.Time, rounded(p.Value)))
		}
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

func rounded(v float64) string {
	if math.Abs(v) < 1e-9 {
		v = 0
	}
	return fmt.Sprintf("%.8g", v)
}

// naiveRow is a row that passed a query.
type naiveRow struct {
	time   int64
	line   string
	labels []Label
	value  float64
}

// naiveRows applies a log query row by row, in the order of the rows' times.
func naiveRows(t *testing.T, m *memSource, log *LogExpr, tail []stageExpr, now int64) []naiveRow {
	p, err := NewPipeline(&LogExpr{log.selector, append(slices.Clone(log.stages), tail...)}, now)
	if err != nil {
		t.Fatal(err)
	}
	var out []naiveRow
	for _, r := range m.rows {
		row := &Row{Time: r.time, Line: []byte(r.line), Labels: m.streams[r.stream].Labels, Meta: r.meta, Severity: r.severity, HasSeverity: m.severities}
		if o, ok := p.Process(row); ok {
			out = append(out, naiveRow{time: o.Time, line: string(o.Line), labels: cloneLabels(o.Labels)})
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].time < out[j].time })
	return out
}

func naive(t *testing.T, m *memSource, e Expr, p Params) string {
	if log, ok := e.(*LogExpr); ok {
		rows := naiveRows(t, m, log, nil, p.Now)
		rows = slices.DeleteFunc(rows, func(r naiveRow) bool { return r.time < p.Start || r.time >= p.End })
		if p.Limit > 0 && len(rows) > p.Limit {
			// Of equal times any may be left out: compare what is certain.
			return naiveLimited(t, m, log, rows, p)
		}
		var out []string
		for _, r := range rows {
			out = append(out, fmt.Sprintf("%d %s %s", r.time, appendLabels(nil, r.labels), r.line))
		}
		sort.Strings(out)
		return strings.Join(out, "\n")
	}
	var out []string
	step := p.Step
	if step == 0 {
		p.Start, step = p.End, 1
	}
	for at := p.Start; at <= p.End; at += step {
		for _, s := range naiveMetric(t, m, e.(MetricExpr), at, p.Now) {
			out = append(out, fmt.Sprintf("%s %d %s", appendLabels(nil, s.labels), at, rounded(s.value)))
		}
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

// naiveLimited checks a limited answer itself: its rows are of the answer, and
// none that was left out comes before the last of them.
func naiveLimited(t *testing.T, m *memSource, log *LogExpr, rows []naiveRow, p Params) string {
	res, err := Run(context.Background(), m, log, p)
	if err != nil {
		return "error"
	}
	times := make([]int64, 0, len(rows))
	for _, r := range rows {
		times = append(times, r.time)
	}
	if p.Direction == Backward {
		slices.Reverse(times)
	}
	var got []int64
	for _, s := range res.Streams {
		for _, e := range s.Entries {
			got = append(got, e.Time)
			if !slices.ContainsFunc(rows, func(r naiveRow) bool {
				return r.time == e.Time && r.line == e.Line && slices.Equal(r.labels, s.Labels)
			}) {
				t.Fatalf("invented: %v", e)
			}
		}
	}
	slices.Sort(got)
	if p.Direction == Backward {
		slices.Reverse(got)
	}
	if !slices.Equal(got, times[:p.Limit]) {
		t.Fatalf("%s: times %v, want %v", log, got, times[:p.Limit])
	}
	return canonicalResult(res)
}
