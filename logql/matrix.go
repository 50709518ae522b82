package logql

import (
	"math"
	"slices"
	"strings"
)

// grid is the steps that a query is evaluated at: start + k*step for k < n.
type grid struct {
	start, step int64
	n           int
}

// MaxSteps is the largest number of steps of a range query.
const MaxSteps = 11_000

func newGrid(p *Params) (grid, error) {
	if p.Step <= 0 {
		return grid{p.End, 1, 1}, nil
	}
	if p.End < p.Start {
		return grid{}, &ParamError{"the end is before the start"}
	}
	n := (p.End-p.Start)/p.Step + 1
	if n > MaxSteps {
		return grid{}, &LimitError{"steps per series", MaxSteps}
	}
	return grid{p.Start, p.Step, int(n)}, nil
}

// ParamError says what is wrong with Params.
type ParamError struct{ Msg string }

func (e *ParamError) Error() string { return e.Msg }

// at returns the time of step k.
func (g grid) at(k int) int64 { return g.start + int64(k)*g.step }

// ceil returns the first step at or behind t, within [0, n].
func (g grid) ceil(t int64) int {
	if t <= g.start {
		return 0
	}
	k := (t - g.start + g.step - 1) / g.step
	return int(min(k, int64(g.n)))
}

// window finds the steps whose ranges hold a time, and remembers for which
// other times the answer is the same.
type window struct {
	g                grid
	interval, offset int64

	lo, hi int64 // of times within (lo, hi] …
	k0, k1 int   // … the steps are [k0, k1)
	valid  bool
}

// steps returns the steps k with at(k)-offset-interval < t ≤ at(k)-offset.
func (w *window) steps(t int64) (k0, k1 int) {
	if w.valid && t > w.lo && t <= w.hi {
		return w.k0, w.k1
	}
	g := &w.g
	t += w.offset
	w.k0, w.k1 = g.ceil(t), g.ceil(t+w.interval)
	w.lo, w.hi = math.MinInt64, math.MaxInt64
	if w.k0 > 0 {
		w.lo = g.at(w.k0 - 1)
	}
	if w.k0 < g.n {
		w.hi = g.at(w.k0)
	}
	if w.k1 > 0 {
		w.lo = max(w.lo, g.at(w.k1-1)-w.interval)
	}
	if w.k1 < g.n {
		w.hi = min(w.hi, g.at(w.k1)-w.interval)
	}
	if w.lo != math.MinInt64 {
		w.lo -= w.offset
	}
	if w.hi != math.MaxInt64 {
		w.hi -= w.offset
	}
	w.valid = true
	return w.k0, w.k1
}

// within reports whether a time is within the range of a step.
func (w *window) within(t int64) bool {
	k0, k1 := w.steps(t)
	return k0 < k1
}

// absent marks a step without value: a NaN that no calculation yields.
var absent = math.Float64frombits(0x7ff4_77e1_7ab5_e470)

var absentBits = math.Float64bits(absent)

func isAbsent(v float64) bool { return math.Float64bits(v) == absentBits }

// series is one series of an intermediate result: a value or absent per step.
type series struct {
	labels []Label
	v      []float64
}

// matrix is an intermediate result: series without doubles.
type matrix struct {
	series []*series
	ranked bool // their order is meant
}

func newValues(n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = absent
	}
	return v
}

// empty reports whether no step has a value.
func (s *series) empty() bool {
	for _, v := range s.v {
		if !isAbsent(v) {
			return false
		}
	}
	return true
}

func compareLabels(a, b []Label) int {
	return slices.CompareFunc(a, b, func(x, y Label) int {
		if c := strings.Compare(x.Name, y.Name); c != 0 {
			return c
		}
		return strings.Compare(x.Value, y.Value)
	})
}

// result makes an answer out of a matrix.
func (m *matrix) result(g grid, kind Kind) []Series {
	if !m.ranked {
		slices.SortFunc(m.series, func(a, b *series) int { return compareLabels(a.labels, b.labels) })
	}
	out := make([]Series, 0, len(m.series))
	for _, s := range m.series {
		r := Series{Labels: s.labels}
		for k, v := range s.v {
			if !isAbsent(v) {
				r.Points = append(r.Points, Point{g.at(k), v})
			}
		}
		if len(r.Points) > 0 || kind == Scalar {
			out = append(out, r)
		}
	}
	return out
}
