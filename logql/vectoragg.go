package logql

import (
	"math"
	"slices"
	"sort"
)

// groupLabels returns the labels of the group that a series belongs to.
func (g *grouping) groupLabels(ls []Label) []Label {
	if g == nil {
		return nil
	}
	var out []Label
	for _, l := range ls {
		if slices.Contains(g.names, l.Name) != g.without {
			out = append(out, l)
		}
	}
	if !g.without && slices.Contains(g.names, levelName) && !has(out, levelName) {
		// level means detected_level, if nothing else is called so.
		if v, ok := find(ls, detectedLevelName); ok {
			out = append(out, Label{Name: levelName, Value: v})
			sortLabels(out)
		}
	}
	return out
}

// aggregate evaluates an aggregation over series.
func (r *metricRun) aggregate(q *vectorExpr, m *matrix) *matrix {
	switch q.fn {
	case "sort", "sort_desc":
		return r.sorted(m, q.fn == "sort_desc")
	}
	groups := make(map[string][]*series)
	var order []string
	for _, s := range m.series {
		key := string(appendKey(nil, q.group.groupLabels(s.labels)))
		if _, ok := groups[key]; !ok {
			order = append(order, key)
		}
		groups[key] = append(groups[key], s)
	}
	out := &matrix{}
	if hasK(q.fn) {
		for _, key := range order {
			out.series = append(out.series, r.top(q, groups[key])...)
		}
		if r.p.Step <= 0 {
			return r.sorted(out, q.fn != "bottomk")
		}
		return out
	}
	for _, key := range order {
		in := groups[key]
		s := &series{labels: q.group.groupLabels(in[0].labels), v: newValues(r.g.n)}
		for k := range s.v {
			s.v[k] = reduce(q.fn, in, k)
		}
		if !s.empty() {
			out.series = append(out.series, s)
		}
	}
	return out
}

// reduce aggregates step k of some series.
func reduce(fn string, in []*series, k int) float64 {
	n, out, mean, squares := 0.0, absent, 0.0, 0.0
	for _, s := range in {
		v := s.v[k]
		if isAbsent(v) {
			continue
		}
		n++
		if n == 1 {
			out, mean = v, v
			continue
		}
		switch {
		case fn == "min":
			if v < out || math.IsNaN(out) {
				out = v
			}
		case fn == "max":
			if v > out || math.IsNaN(out) {
				out = v
			}
		default:
			out += v
		}
		d := v - mean
		mean += d / n
		squares += d * (v - mean)
	}
	if n == 0 {
		return absent
	}
	switch fn {
	case "avg":
		return mean
	case "count":
		return n
	case "stdvar":
		return squares / n
	case "stddev":
		return math.Sqrt(squares / n)
	}
	return out
}

// top returns of one group's series, step by step, the k largest or smallest
// values.
func (r *metricRun) top(q *vectorExpr, in []*series) []*series {
	// Of equal values the first by labels, so that the answer is the same
	// however the rows came.
	slices.SortFunc(in, func(a, b *series) int { return compareLabels(a.labels, b.labels) })
	out := make([]*series, len(in))
	idx := make([]int, 0, len(in))
	for k := range r.g.n {
		idx = idx[:0]
		for i, s := range in {
			if !isAbsent(s.v[k]) {
				idx = append(idx, i)
			}
		}
		sort.SliceStable(idx, func(a, b int) bool {
			return ranksBefore(in[idx[a]].v[k], in[idx[b]].v[k], q.fn != "bottomk")
		})
		for _, i := range idx[:min(q.k, len(idx))] {
			if out[i] == nil {
				out[i] = &series{labels: in[i].labels, v: newValues(r.g.n)}
			}
			out[i].v[k] = in[i].v[k]
		}
	}
	return slices.DeleteFunc(out, func(s *series) bool { return s == nil })
}

// ranksBefore orders values, NaN last.
func ranksBefore(a, b float64, desc bool) bool {
	switch {
	case math.IsNaN(a):
		return false
	case math.IsNaN(b):
		return true
	case desc:
		return a > b
	}
	return a < b
}

// sorted orders series by their value. In a range query, whose steps would each
// have their own order, it does nothing.
func (r *metricRun) sorted(m *matrix, desc bool) *matrix {
	if r.p.Step > 0 {
		return m
	}
	out := &matrix{series: slices.Clone(m.series), ranked: true}
	// Equal values in the order of their labels.
	slices.SortFunc(out.series, func(a, b *series) int { return compareLabels(a.labels, b.labels) })
	sort.SliceStable(out.series, func(a, b int) bool {
		return ranksBefore(out.series[a].v[0], out.series[b].v[0], desc)
	})
	return out
}
