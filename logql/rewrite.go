package logql

// Selector returns the part of the query in braces.
func (e *LogExpr) Selector() *Selector {
	s, err := newSelector(e.selector)
	if err != nil {
		panic("logql: a parsed selector does not compile: " + err.Error())
	}
	return s
}

// Selector returns the part of the query in braces, which Process applies too.
func (p *Pipeline) Selector() *Selector { return p.p.selector }

// MoveMatchers returns the query with the matchers on names that index does
// not report behind the braces, as label filters, for a Loki that knows only
// some labels: {namespace="shop", level="error"} becomes
// {namespace="shop"} | detected_level="error". Where nothing would be left in
// the braces, {} is: such a query is refused by Parse and by Loki.
func MoveMatchers(q Expr, index func(name string) bool) Expr {
	return mapLogs(q, func(e *LogExpr) *LogExpr { return e.move(index) })
}

func (e *LogExpr) move(index func(name string) bool) *LogExpr {
	out := &LogExpr{}
	for _, m := range e.selector {
		if index(m.name) {
			out.selector = append(out.selector, m)
			continue
		}
		f := *m
		if f.name == levelName {
			f.name = detectedLevelName
		}
		out.stages = append(out.stages, &f)
	}
	out.stages = append(out.stages, e.stages...)
	return out
}
