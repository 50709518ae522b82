package logql

import (
	"fmt"
	"math"
	"regexp"
	"slices"
)

// MatchError says why two sets of series cannot be combined.
type MatchError struct{ Msg string }

func (e *MatchError) Error() string { return e.Msg }

func (r *metricRun) evalBinary(q *binaryExpr) (value, error) {
	l, err := r.eval(q.l)
	if err != nil {
		return value{}, err
	}
	right, err := r.eval(q.r)
	if err != nil {
		return value{}, err
	}
	switch {
	case l.scalar && right.scalar:
		v, keep := operate(q.op, l.num, right.num)
		if isComparison(q.op) {
			v = 0
			if keep {
				v = 1
			}
		}
		return value{scalar: true, num: v}, nil
	case right.scalar:
		return value{m: withScalar(q, l.m, right.num, false)}, nil
	case l.scalar:
		return value{m: withScalar(q, right.m, l.num, true)}, nil
	case isSet(q.op):
		return value{m: r.evalSet(q, l.m, right.m)}, nil
	}
	m, err := r.evalMatched(q, l.m, right.m)
	return value{m: m}, err
}

// operate calculates; of a comparison it returns the left value and whether it
// holds. Division by zero is no number, as in Loki.
func operate(op string, a, b float64) (v float64, keep bool) {
	switch op {
	case "+":
		return a + b, true
	case "-":
		return a - b, true
	case "*":
		return a * b, true
	case "/":
		if b == 0 {
			return math.NaN(), true
		}
		return a / b, true
	case "%":
		if b == 0 {
			return math.NaN(), true
		}
		return math.Mod(a, b), true
	case "^":
		return math.Pow(a, b), true
	case "==":
		return a, a == b
	case "!=":
		return a, a != b
	case ">":
		return a, a > b
	case ">=":
		return a, a >= b
	case "<":
		return a, a < b
	case "<=":
		return a, a <= b
	}
	panic("logql: unknown operator " + op)
}

// combine is operate for one step, with bool.
func (q *binaryExpr) combine(a, b float64) float64 {
	v, keep := operate(q.op, a, b)
	switch {
	case q.bool && keep:
		return 1
	case q.bool:
		return 0
	case !keep:
		return absent
	}
	return v
}

func withScalar(q *binaryExpr, m *matrix, num float64, scalarLeft bool) *matrix {
	out := &matrix{ranked: m.ranked}
	for _, s := range m.series {
		t := &series{labels: s.labels, v: newValues(len(s.v))}
		for k, v := range s.v {
			switch {
			case isAbsent(v):
			case !scalarLeft:
				t.v[k] = q.combine(v, num)
			case isComparison(q.op) && !q.bool:
				if _, keep := operate(q.op, num, v); keep {
					t.v[k] = v
				}
			default:
				t.v[k] = q.combine(num, v)
			}
		}
		if !t.empty() {
			out.series = append(out.series, t)
		}
	}
	return out
}

// signature returns the labels that two series must have in common.
func (m *matching) signature(ls []Label) []Label {
	if m == nil {
		return ls
	}
	var out []Label
	for _, l := range ls {
		if slices.Contains(m.names, l.Name) == m.on {
			out = append(out, l)
		}
	}
	return out
}

// bySignature groups the series of a side.
func bySignature(q *binaryExpr, m *matrix) (groups map[string][]*series, order []string) {
	groups = make(map[string][]*series)
	for _, s := range m.series {
		key := string(appendKey(nil, q.match.signature(s.labels)))
		if _, ok := groups[key]; !ok {
			order = append(order, key)
		}
		groups[key] = append(groups[key], s)
	}
	return groups, order
}

func present(in []*series, k int) bool {
	return slices.ContainsFunc(in, func(s *series) bool { return !isAbsent(s.v[k]) })
}

// evalSet evaluates and, or, unless.
func (r *metricRun) evalSet(q *binaryExpr, l, right *matrix) *matrix {
	left, _ := bySignature(q, l)
	other, _ := bySignature(q, right)
	out := &matrix{}
	// pick keeps the steps of a series at which others are there, or not.
	pick := func(s *series, in []*series, there bool) {
		t := &series{labels: s.labels, v: newValues(r.g.n)}
		for k, v := range s.v {
			if !isAbsent(v) && present(in, k) == there {
				t.v[k] = v
			}
		}
		if !t.empty() {
			out.series = append(out.series, t)
		}
	}
	for _, s := range l.series {
		matching := other[string(appendKey(nil, q.match.signature(s.labels)))]
		switch q.op {
		case "and":
			pick(s, matching, true)
		case "unless":
			pick(s, matching, false)
		default:
			out.series = append(out.series, s)
		}
	}
	if q.op == "or" {
		for _, s := range right.series {
			pick(s, left[string(appendKey(nil, q.match.signature(s.labels)))], false)
		}
		return mergeEqual(out)
	}
	return out
}

// mergeEqual joins series with equal labels, which have values at different
// steps.
func mergeEqual(m *matrix) *matrix {
	seen := make(map[string]*series)
	out := &matrix{}
	for _, s := range m.series {
		key := string(appendKey(nil, s.labels))
		first := seen[key]
		if first == nil {
			t := &series{labels: s.labels, v: slices.Clone(s.v)}
			seen[key] = t
			out.series = append(out.series, t)
			continue
		}
		for k, v := range s.v {
			if isAbsent(first.v[k]) {
				first.v[k] = v
			}
		}
	}
	return out
}

// evalMatched evaluates arithmetic and comparisons between series.
func (r *metricRun) evalMatched(q *binaryExpr, l, right *matrix) (*matrix, error) {
	many, one := l, right
	swap := q.match != nil && q.match.side == groupRight
	if swap {
		many, one = right, l
	}
	grouped := q.match != nil && q.match.side != oneToOne
	manySide, order := bySignature(q, many)
	oneSide, oneOrder := bySignature(q, one)
	out := &matrix{}
	bySeries := make(map[string]*series)
	for _, key := range order {
		ones := oneSide[key]
		delete(oneSide, key)
		if len(ones) == 0 {
			continue
		}
		for k := range r.g.n {
			o, err := single(q, ones, k)
			if err != nil {
				return nil, err
			}
			if o == nil {
				continue
			}
			if !grouped {
				if _, err := single(q, manySide[key], k); err != nil {
					return nil, err
				}
			}
			for _, s := range manySide[key] {
				if isAbsent(s.v[k]) {
					continue
				}
				a, b := s.v[k], o.v[k]
				if swap {
					a, b = b, a
				}
				v := q.combine(a, b)
				if isAbsent(v) {
					continue
				}
				ls := q.resultLabels(s.labels, o.labels, grouped)
				id := string(appendKey(nil, ls))
				t := bySeries[id]
				if t == nil {
					t = &series{labels: ls, v: newValues(r.g.n)}
					bySeries[id] = t
					out.series = append(out.series, t)
				}
				if !isAbsent(t.v[k]) {
					return nil, &MatchError{fmt.Sprintf("%s yields several values for %s; name more labels in on or group_left", q.op, appendLabels(nil, ls))}
				}
				t.v[k] = v
			}
		}
	}
	// What nothing matches must be unique as well: otherwise a query would fail
	// or not as the data happens to be.
	for _, key := range oneOrder {
		for k := range r.g.n {
			if _, err := single(q, oneSide[key], k); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// single returns the only series that has a value at step k, nil if there is
// none.
func single(q *binaryExpr, in []*series, k int) (*series, error) {
	var found *series
	for _, s := range in {
		if isAbsent(s.v[k]) {
			continue
		}
		if found != nil {
			return nil, &MatchError{fmt.Sprintf("%s finds several series on one side, %s and %s, for %s; use on or ignoring with group_left or group_right",
				q.op, appendLabels(nil, found.labels), appendLabels(nil, s.labels), appendLabels(nil, q.match.signature(s.labels)))}
		}
		found = s
	}
	return found, nil
}

// resultLabels returns the labels of a result of the two series.
func (q *binaryExpr) resultLabels(many, one []Label, grouped bool) []Label {
	if !grouped {
		return q.match.signature(many)
	}
	if len(q.match.include) == 0 {
		return many
	}
	var out []Label
	for _, l := range many {
		if !slices.Contains(q.match.include, l.Name) {
			out = append(out, l)
		}
	}
	for _, l := range one {
		if slices.Contains(q.match.include, l.Name) {
			out = append(out, l)
		}
	}
	sortLabels(out)
	return out
}

// evalReplace evaluates label_replace.
func (r *metricRun) evalReplace(q *replaceExpr) (*matrix, error) {
	v, err := r.eval(q.inner)
	if err != nil {
		return nil, err
	}
	re, err := regexp.Compile("^(?s:" + q.regexp + ")$")
	if err != nil {
		return nil, errorAt(q.pos, "bad regular expression: %v", err)
	}
	out := &matrix{ranked: v.m.ranked}
	seen := make(map[string]*series)
	for _, s := range v.m.series {
		src, _ := find(s.labels, q.src)
		ls := s.labels
		if m := re.FindStringSubmatchIndex(src); m != nil {
			to := string(re.ExpandString(nil, q.repl, src, m))
			ls = slices.DeleteFunc(slices.Clone(ls), func(l Label) bool { return l.Name == q.dst })
			if to != "" {
				ls = append(ls, Label{Name: q.dst, Value: to})
				sortLabels(ls)
			}
		}
		key := string(appendKey(nil, ls))
		first := seen[key]
		if first == nil {
			seen[key] = &series{labels: ls, v: slices.Clone(s.v)}
			out.series = append(out.series, seen[key])
			continue
		}
		for k, x := range s.v {
			if isAbsent(x) {
				continue
			}
			if !isAbsent(first.v[k]) {
				return nil, &MatchError{fmt.Sprintf("label_replace makes two series equal: %s", appendLabels(nil, ls))}
			}
			first.v[k] = x
		}
	}
	return out, nil
}
