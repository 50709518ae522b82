package logql

// Stages returns the number of stages behind the selector.
func (e *LogExpr) Stages() int { return len(e.stages) }

// Prefix returns the query with only its first n stages, as it is evaluated step
// by step.
func (e *LogExpr) Prefix(n int) *LogExpr {
	return &LogExpr{selector: e.selector, stages: e.stages[:n:n]}
}
