package logql

import (
	"math"
	"slices"
	"sort"
)

// accumulator is one series of a function over a range, as it is summed up.
// Its arrays have one item per step, those of differences one more.
type accumulator struct {
	labels []Label
	count  []int64 // differences: how many rows more than at the step before
	bytes  []int64 // differences of bytes
	a, b   []float64
	n      []float64
	times  []int64
	points []samplePoint
}

type samplePoint struct {
	t int64
	v float64
}

// rangeKind says what a function needs to be kept per step.
type rangeKind uint8

const (
	kindCount  rangeKind = iota // differences of counts
	kindBytes                   // differences of bytes
	kindSum                     // a
	kindMin                     // a
	kindMax                     // a
	kindFirst                   // a, times
	kindLast                    // a, times
	kindVar                     // n, a (mean), b (squares)
	kindPoints                  // all samples
)

func (e *rangeExpr) kind() rangeKind {
	switch e.fn {
	case "bytes_over_time", "bytes_rate":
		return kindBytes
	case "rate":
		if e.unwrap != nil {
			return kindSum
		}
	case "sum_over_time", "avg_over_time":
		return kindSum
	case "min_over_time":
		return kindMin
	case "max_over_time":
		return kindMax
	case "first_over_time":
		return kindFirst
	case "last_over_time":
		return kindLast
	case "stdvar_over_time", "stddev_over_time":
		return kindVar
	case "quantile_over_time", "rate_counter":
		return kindPoints
	}
	return kindCount
}

// cells returns how many items are kept per step.
func (k rangeKind) cells() int {
	switch k {
	case kindCount, kindPoints:
		return 1
	case kindVar:
		return 4
	case kindFirst, kindLast:
		return 3
	}
	return 2
}

func newAccumulator(k rangeKind, n int, labels []Label) *accumulator {
	x := &accumulator{labels: labels, count: make([]int64, n+1)}
	switch k {
	case kindBytes:
		x.bytes = make([]int64, n+1)
	case kindSum, kindMin, kindMax:
		x.a = make([]float64, n)
	case kindFirst, kindLast:
		x.a, x.times = make([]float64, n), make([]int64, n)
	case kindVar:
		x.a, x.b, x.n = make([]float64, n), make([]float64, n), make([]float64, n)
	}
	switch k {
	case kindMin, kindMax, kindFirst, kindLast:
		for i := range x.a {
			x.a[i] = absent
		}
	}
	return x
}

// addCount adds rows to the steps [k0, k1).
func (x *accumulator) addCount(k0, k1 int, rows, bytes int64) {
	x.count[k0] += rows
	x.count[k1] -= rows
	if x.bytes != nil {
		x.bytes[k0] += bytes
		x.bytes[k1] -= bytes
	}
}

// addValue adds the value of a row at t to the steps [k0, k1).
func (x *accumulator) addValue(kind rangeKind, k0, k1 int, t int64, v float64) {
	x.addCount(k0, k1, 1, 0)
	switch kind {
	case kindSum:
		for k := k0; k < k1; k++ {
			x.a[k] += v
		}
	case kindMin:
		for k := k0; k < k1; k++ {
			if o := x.a[k]; isAbsent(o) || v < o || math.IsNaN(o) {
				x.a[k] = v
			}
		}
	case kindMax:
		for k := k0; k < k1; k++ {
			if o := x.a[k]; isAbsent(o) || v > o || math.IsNaN(o) {
				x.a[k] = v
			}
		}
	case kindFirst:
		for k := k0; k < k1; k++ {
			if isAbsent(x.a[k]) || t < x.times[k] {
				x.a[k], x.times[k] = v, t
			}
		}
	case kindLast:
		for k := k0; k < k1; k++ {
			if isAbsent(x.a[k]) || t >= x.times[k] {
				x.a[k], x.times[k] = v, t
			}
		}
	case kindVar:
		for k := k0; k < k1; k++ {
			if x.n[k]++; x.n[k] == 1 {
				x.a[k] = v
				continue
			}
			d := v - x.a[k]
			x.a[k] += d / x.n[k]
			x.b[k] += d * (v - x.a[k])
		}
	case kindPoints:
		x.points = append(x.points, samplePoint{t, v})
	}
}

// finish turns what was summed up into the function's values.
func (e *rangeExpr) finish(x *accumulator, g grid) *series {
	s := &series{labels: x.labels, v: newValues(g.n)}
	kind := e.kind()
	if kind == kindPoints {
		e.finishPoints(x, g, s.v)
		return s
	}
	seconds := float64(e.interval) / 1e9
	var count, bytes int64
	for k := range s.v {
		count += x.count[k]
		if x.bytes != nil {
			bytes += x.bytes[k]
		}
		if count == 0 {
			continue
		}
		switch e.fn {
		case "count_over_time", "absent_over_time":
			s.v[k] = float64(count)
		case "rate":
			if kind == kindSum {
				s.v[k] = x.a[k] / seconds
			} else {
				s.v[k] = float64(count) / seconds
			}
		case "bytes_over_time":
			s.v[k] = float64(bytes)
		case "bytes_rate":
			s.v[k] = float64(bytes) / seconds
		case "avg_over_time":
			s.v[k] = x.a[k] / float64(count)
		case "stdvar_over_time":
			s.v[k] = x.b[k] / x.n[k]
		case "stddev_over_time":
			s.v[k] = math.Sqrt(x.b[k] / x.n[k])
		default: // sum, min, max, first, last
			s.v[k] = x.a[k]
		}
	}
	return s
}

func (e *rangeExpr) finishPoints(x *accumulator, g grid, out []float64) {
	ps := x.points
	slices.SortStableFunc(ps, func(a, b samplePoint) int {
		switch {
		case a.t < b.t:
			return -1
		case a.t > b.t:
			return 1
		}
		return 0
	})
	lo, hi := 0, 0
	var sorted []float64
	for k := range out {
		end := g.at(k) - e.offset
		for hi < len(ps) && ps[hi].t <= end {
			hi++
		}
		for lo < hi && ps[lo].t <= end-e.interval {
			lo++
		}
		if lo == hi {
			continue
		}
		if e.fn == "rate_counter" {
			out[k] = counterRate(ps[lo:hi], float64(e.interval)/1e9)
			continue
		}
		sorted = sorted[:0]
		for _, p := range ps[lo:hi] {
			sorted = append(sorted, p.v)
		}
		sort.Float64s(sorted)
		out[k] = quantile(e.param, sorted)
	}
}

// quantile returns the q-quantile of sorted values, between two of them in
// proportion.
func quantile(q float64, sorted []float64) float64 {
	switch {
	case len(sorted) == 0 || math.IsNaN(q):
		return math.NaN()
	case q < 0:
		return math.Inf(-1)
	case q > 1:
		return math.Inf(1)
	}
	rank := q * float64(len(sorted)-1)
	lower := int(math.Floor(rank))
	upper := min(lower+1, len(sorted)-1)
	w := rank - math.Floor(rank)
	return sorted[lower]*(1-w) + sorted[upper]*w
}

// counterRate returns by how much a counter grew per second of a range; a
// smaller value means that the counter began again at zero. As in Loki, and
// unlike Prometheus' rate, nothing is extrapolated to the ends of the range,
// and one value alone is no growth.
func counterRate(ps []samplePoint, seconds float64) float64 {
	growth := ps[len(ps)-1].v - ps[0].v
	for i := 1; i < len(ps); i++ {
		if ps[i].v < ps[i-1].v {
			growth += ps[i-1].v
		}
	}
	return growth / seconds
}
