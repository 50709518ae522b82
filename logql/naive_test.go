package logql

import (
	"math"
	"slices"
	"sort"
	"testing"
)

// naiveSample is one value at one time.
type naiveSample struct {
	labels []Label
	value  float64
}

func groupKeep(ls []Label, names []string, keep bool) []Label {
	var out []Label
	for _, l := range ls {
		if slices.Contains(names, l.Name) == keep {
			out = append(out, l)
		}
	}
	return out
}

// naiveGroup applies by and without; by (level) means detected_level if nothing
// else is called so.
func naiveGroup(g *grouping, ls []Label) []Label {
	if _, ok := find(ls, levelName); !ok && !g.without && slices.Contains(g.names, levelName) {
		if v, ok := find(ls, detectedLevelName); ok {
			ls = append(slices.Clone(ls), Label{Name: levelName, Value: v})
			sortLabels(ls)
		}
	}
	return groupKeep(ls, g.names, !g.without)
}

// naiveMetric evaluates at one time, from the definitions.
func naiveMetric(t *testing.T, m *memSource, e MetricExpr, at, now int64) []naiveSample {
	switch e := e.(type) {
	case *rangeExpr:
		return naiveRange(t, m, e, at, now)
	case *vectorExpr:
		if in, ok := e.inner.(*rangeExpr); ok && e.fn == "sum" && in.additive() && in.unwrap != nil && e.group != nil && !e.group.without {
			// As in Loki, a sum may be grouped by the label that is unwrapped.
			c := *in
			c.group = e.group
			return naiveRange(t, m, &c, at, now)
		}
		return naiveVector(e, naiveMetric(t, m, e.inner, at, now))
	case *binaryExpr:
		return naiveBinary(e, naiveMetric(t, m, e.l, at, now), naiveMetric(t, m, e.r, at, now))
	}
	t.Fatalf("not generated: %s", e)
	return nil
}

func naiveRange(t *testing.T, m *memSource, e *rangeExpr, at, now int64) []naiveSample {
	var rows []naiveRow
	for _, r := range naiveRows(t, m, e.log, nil, now) {
		if r.time > at-e.offset-e.interval && r.time <= at-e.offset {
			rows = append(rows, r)
		}
	}
	type group struct {
		labels []Label
		rows   []naiveRow
	}
	groups := make(map[string]*group)
	for _, r := range rows {
		if u := e.unwrap; u != nil {
			text, ok := find(r.labels, u.name)
			if errText, _ := find(r.labels, errorLabel); !ok || errText != "" {
				continue // the generated queries all have | __error__="" behind
			}
			if r.value, ok = u.convert(text); !ok {
				continue
			}
			if e.group == nil || e.group.without {
				r.labels = groupKeep(r.labels, []string{u.name}, false)
			}
		}
		if errText, _ := find(r.labels, errorLabel); errText != "" {
			t.Fatalf("an error in %v", r)
		}
		ls := r.labels
		if g := e.group; g != nil {
			ls = naiveGroup(g, ls)
		}
		k := string(appendKey(nil, ls))
		if groups[k] == nil {
			groups[k] = &group{labels: ls}
		}
		groups[k].rows = append(groups[k].rows, r)
	}
	if e.fn == "absent_over_time" {
		if len(groups) > 0 {
			return nil
		}
		var ls []Label
		for _, mt := range e.log.selector {
			if mt.op == opEq {
				ls = append(ls, Label{Name: mt.name, Value: mt.text})
			}
		}
		sortLabels(ls)
		return []naiveSample{{ls, 1}}
	}
	var out []naiveSample
	for _, g := range groups {
		if v, ok := naiveOver(e, g.rows, at); ok {
			out = append(out, naiveSample{g.labels, v})
		}
	}
	return out
}

func naiveOver(e *rangeExpr, rows []naiveRow, at int64) (float64, bool) {
	n, sum, bytes := float64(len(rows)), 0.0, 0.0
	var vs []float64
	for _, r := range rows {
		sum += r.value
		bytes += float64(len(r.line))
		vs = append(vs, r.value)
	}
	seconds := float64(e.interval) / 1e9
	variance := 0.0
	for _, v := range vs {
		variance += (v - sum/n) * (v - sum/n) / n
	}
	switch e.fn {
	case "count_over_time":
		return n, true
	case "rate":
		if e.unwrap != nil {
			return sum / seconds, true
		}
		return n / seconds, true
	case "bytes_over_time":
		return bytes, true
	case "bytes_rate":
		return bytes / seconds, true
	case "sum_over_time":
		return sum, true
	case "avg_over_time":
		return sum / n, true
	case "min_over_time":
		return slices.Min(vs), true
	case "max_over_time":
		return slices.Max(vs), true
	case "stdvar_over_time":
		return variance, true
	case "stddev_over_time":
		return math.Sqrt(variance), true
	case "first_over_time", "last_over_time":
		return naiveEdge(e, rows), true
	case "quantile_over_time":
		sort.Float64s(vs)
		pos := e.param * (n - 1)
		i := int(pos)
		if i+1 == len(vs) {
			return vs[i], true
		}
		return vs[i] + (vs[i+1]-vs[i])*(pos-float64(i)), true
	}
	// rate_counter
	var ps []samplePoint
	for _, r := range rows {
		ps = append(ps, samplePoint{r.time, r.value})
	}
	return counterRate(ps, float64(e.interval)/1e9), true
}

// naiveEdge is the first or last value.
func naiveEdge(e *rangeExpr, rows []naiveRow) float64 {
	if e.fn == "first_over_time" {
		return rows[0].value
	}
	return rows[len(rows)-1].value
}

func naiveVector(e *vectorExpr, in []naiveSample) []naiveSample {
	groups := make(map[string][]naiveSample)
	for _, s := range in {
		var ls []Label
		if e.group != nil {
			ls = naiveGroup(e.group, s.labels)
		}
		k := string(appendKey(nil, ls))
		groups[k] = append(groups[k], s)
	}
	var out []naiveSample
	for _, g := range groups {
		if hasK(e.fn) {
			sort.Slice(g, func(i, j int) bool {
				if g[i].value != g[j].value {
					return (g[i].value > g[j].value) == (e.fn != "bottomk")
				}
				return compareLabels(g[i].labels, g[j].labels) < 0
			})
			out = append(out, g[:min(e.k, len(g))]...)
			continue
		}
		var ls []Label
		if e.group != nil {
			ls = naiveGroup(e.group, g[0].labels)
		}
		n, sum, lo, hi := float64(len(g)), 0.0, math.Inf(1), math.Inf(-1)
		for _, s := range g {
			sum += s.value
			lo, hi = min(lo, s.value), max(hi, s.value)
		}
		variance := 0.0
		for _, s := range g {
			variance += (s.value - sum/n) * (s.value - sum/n) / n
		}
		v := map[string]float64{"sum": sum, "avg": sum / n, "min": lo, "max": hi, "count": n, "stdvar": variance, "stddev": math.Sqrt(variance)}[e.fn]
		out = append(out, naiveSample{ls, v})
	}
	return out
}

// naiveBinary knows what the generator makes: both sides by (app).
func naiveBinary(e *binaryExpr, l, r []naiveSample) []naiveSample {
	other := func(s naiveSample, in []naiveSample) (naiveSample, bool) {
		i := slices.IndexFunc(in, func(o naiveSample) bool { return slices.Equal(o.labels, s.labels) })
		if i < 0 {
			return naiveSample{}, false
		}
		return in[i], true
	}
	var out []naiveSample
	for _, a := range l {
		b, ok := other(a, r)
		switch e.op {
		case "and":
			if ok {
				out = append(out, a)
			}
			continue
		case "or":
			out = append(out, a)
			continue
		case "unless":
			if !ok {
				out = append(out, a)
			}
			continue
		}
		if !ok {
			continue
		}
		switch e.op {
		case "+":
			a.value += b.value
		case "*":
			a.value *= b.value
		case "/":
			if b.value == 0 {
				a.value = math.NaN()
			} else {
				a.value /= b.value
			}
		case ">":
			if !(a.value > b.value) {
				continue
			}
		case "==":
			eq := a.value == b.value
			a.value = 0
			if eq {
				a.value = 1
			}
		}
		out = append(out, a)
	}
	if e.op == "or" {
		for _, b := range r {
			if _, ok := other(b, l); !ok {
				out = append(out, b)
			}
		}
	}
	return out
}
