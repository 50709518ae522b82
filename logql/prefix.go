package logql

import "regexp"

// Stages returns the number of stages behind the selector.
func (e *LogExpr) Stages() int { return len(e.stages) }

// Prefix returns the query with only its first n stages, as it is evaluated step
// by step.
func (e *LogExpr) Prefix(n int) *LogExpr {
	return &LogExpr{selector: e.selector, stages: e.stages[:n:n]}
}

// Needles returns regular expressions of what the line filters look for, for
// marking it in the lines: the texts of |= and the expressions of |~. Filters
// that say what must not be there have none.
func (e *LogExpr) Needles() []string {
	var out []string
	for _, s := range e.stages {
		f, ok := s.(*lineExpr)
		if !ok {
			continue
		}
		for _, alt := range f.alts {
			switch {
			case alt.ip || alt.text == "":
			case f.op == opContains:
				out = append(out, regexp.QuoteMeta(alt.text))
			case f.op == opMatches:
				out = append(out, alt.text)
			}
		}
	}
	return out
}
