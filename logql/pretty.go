package logql

import "strconv"

// prettyWidth is the longest text, without what it is indented by, that Format
// leaves on one line.
const prettyWidth = 100

// maxPrettyDepth bounds the indentation; what is deeper stays on one line.
const maxPrettyDepth = 32

// Format returns a query as people read it: on one line as String does if that
// is short, otherwise with a line for every stage, parameter and operand, as
// Loki's format_query lays it out. Unlike that, it keeps parentheses that
// matter. The text parses to an equal query.
func Format(e Expr) string {
	return string(appendPretty(nil, e, 0))
}

func appendIndent(dst []byte, depth int) []byte {
	for range depth {
		dst = append(dst, "  "...)
	}
	return dst
}

func appendPretty(dst []byte, e Expr, depth int) []byte {
	from := len(dst)
	dst = e.appendTo(appendIndent(dst, depth))
	if len(dst)-from-2*depth <= prettyWidth || depth >= maxPrettyDepth {
		return dst
	}
	dst = dst[:from]
	switch e := e.(type) {
	case *LogExpr:
		return appendPrettyLog(appendIndent(dst, depth), e, nil, depth+1)
	case *rangeExpr:
		return e.appendPretty(dst, depth)
	case *vectorExpr:
		return e.appendPretty(dst, depth)
	case *binaryExpr:
		return e.appendPretty(dst, depth)
	case *replaceExpr:
		return e.appendPretty(dst, depth)
	}
	return e.appendTo(appendIndent(dst, depth))
}

// appendPrettyLog writes the selector and, each on a line of its own, the
// stages; line filters that follow each other share one.
func appendPrettyLog(dst []byte, e *LogExpr, tail []stageExpr, depth int) []byte {
	dst = (&LogExpr{selector: e.selector}).appendTo(dst)
	filters := false
	for _, stages := range [][]stageExpr{e.stages, tail} {
		for _, s := range stages {
			_, isFilter := s.(*lineExpr)
			if isFilter && filters {
				dst = appendStage(dst, s)
				continue
			}
			filters = isFilter
			dst = appendIndent(append(dst, '\n'), depth)
			if !isFilter {
				dst = append(dst, "| "...)
			}
			dst = s.appendTo(dst)
		}
	}
	return dst
}

func (e *rangeExpr) appendPretty(dst []byte, depth int) []byte {
	dst = append(append(appendIndent(dst, depth), e.fn...), "(\n"...)
	if e.fn == "quantile_over_time" {
		dst = append(appendFloat(appendIndent(dst, depth+1), e.param), ",\n"...)
	}
	var tail []stageExpr
	if e.unwrap != nil {
		tail = append(tail, e.unwrap)
		for _, f := range e.after {
			tail = append(tail, f)
		}
	}
	dst = appendPrettyLog(appendIndent(dst, depth+1), e.log, tail, depth+2)
	dst = e.appendRange(append(dst, ' '))
	dst = append(appendIndent(append(dst, '\n'), depth), ')')
	if e.group != nil {
		dst = e.group.appendTo(append(dst, ' '))
	}
	return dst
}

func (e *vectorExpr) appendPretty(dst []byte, depth int) []byte {
	dst = append(appendIndent(dst, depth), e.fn...)
	if e.group != nil {
		dst = append(e.group.appendTo(append(dst, ' ')), ' ')
	}
	dst = append(dst, "(\n"...)
	if hasK(e.fn) {
		dst = append(strconv.AppendInt(appendIndent(dst, depth+1), int64(e.k), 10), ",\n"...)
	}
	dst = appendPretty(dst, e.inner, depth+1)
	return append(appendIndent(append(dst, '\n'), depth), ')')
}

func (e *binaryExpr) appendPretty(dst []byte, depth int) []byte {
	dst = e.appendPrettyOperand(dst, e.l, false, depth+1)
	dst = e.appendOperator(appendIndent(append(dst, '\n'), depth))
	return e.appendPrettyOperand(append(dst, '\n'), e.r, true, depth+1)
}

func (e *binaryExpr) appendPrettyOperand(dst []byte, x MetricExpr, right bool, depth int) []byte {
	if !e.needsParens(x, right) {
		return appendPretty(dst, x, depth)
	}
	dst = append(appendIndent(dst, depth), "(\n"...)
	dst = appendPretty(dst, x, depth+1)
	return append(appendIndent(append(dst, '\n'), depth), ')')
}

func (e *replaceExpr) appendPretty(dst []byte, depth int) []byte {
	dst = append(appendIndent(dst, depth), "label_replace(\n"...)
	dst = appendPretty(dst, e.inner, depth+1)
	for _, s := range []string{e.dst, e.repl, e.src, e.regexp} {
		dst = appendQuoted(appendIndent(append(dst, ",\n"...), depth+1), s)
	}
	return append(appendIndent(append(dst, '\n'), depth), ')')
}
