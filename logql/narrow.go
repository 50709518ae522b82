package logql

import "time"

// Narrow returns the query with these matchers in front of those of each of its
// selectors, so that it finds nothing else.
func Narrow(q Expr, by []*Matcher) Expr {
	if len(by) == 0 {
		return q
	}
	return mapLogs(q, func(e *LogExpr) *LogExpr {
		out := &LogExpr{stages: e.stages}
		for _, m := range by {
			out.selector = append(out.selector, &labelExpr{name: m.name, op: m.op, text: m.value})
		}
		out.selector = append(out.selector, e.selector...)
		return out
	})
}

// Selectors returns the parts in braces of a query, in its order.
func Selectors(q Expr) []*Selector {
	var out []*Selector
	mapLogs(q, func(e *LogExpr) *LogExpr {
		out = append(out, e.Selector())
		return e
	})
	return out
}

// Lookback returns how far before the time it is evaluated at a query looks:
// the longest of its ranges with their offsets, 0 for lines.
func Lookback(q Expr) time.Duration {
	switch q := q.(type) {
	case *rangeExpr:
		return time.Duration(q.interval + max(0, q.offset))
	case *vectorExpr:
		return Lookback(q.inner)
	case *binaryExpr:
		return max(Lookback(q.l), Lookback(q.r))
	case *replaceExpr:
		return Lookback(q.inner)
	}
	return 0
}

// mapLogs returns the query with what f makes of each log query in it.
func mapLogs(q Expr, f func(*LogExpr) *LogExpr) Expr {
	switch q := q.(type) {
	case *LogExpr:
		return f(q)
	case *rangeExpr:
		c := *q
		c.log = f(q.log)
		return &c
	case *vectorExpr:
		c := *q
		c.inner = mapLogs(q.inner, f).(MetricExpr)
		return &c
	case *binaryExpr:
		c := *q
		c.l, c.r = mapLogs(q.l, f).(MetricExpr), mapLogs(q.r, f).(MetricExpr)
		return &c
	case *replaceExpr:
		c := *q
		c.inner = mapLogs(q.inner, f).(MetricExpr)
		return &c
	}
	return q
}
