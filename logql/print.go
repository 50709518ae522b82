package logql

import (
	"strconv"
	"strings"
	"time"
)

// String returns the query in its usual form.
func (e *LogExpr) String() string       { return string(e.appendTo(nil)) }
func (e *rangeExpr) String() string     { return string(e.appendTo(nil)) }
func (e *vectorExpr) String() string    { return string(e.appendTo(nil)) }
func (e *binaryExpr) String() string    { return string(e.appendTo(nil)) }
func (e *numberExpr) String() string    { return string(e.appendTo(nil)) }
func (e *vectorLitExpr) String() string { return string(e.appendTo(nil)) }
func (e *replaceExpr) String() string   { return string(e.appendTo(nil)) }

func (e *LogExpr) appendTo(dst []byte) []byte {
	dst = append(dst, '{')
	for i, m := range e.selector {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = m.appendTo(dst)
	}
	dst = append(dst, '}')
	for _, s := range e.stages {
		dst = appendStage(dst, s)
	}
	return dst
}

func appendStage(dst []byte, s stageExpr) []byte {
	dst = append(dst, ' ')
	if _, ok := s.(*lineExpr); !ok {
		dst = append(dst, "| "...)
	}
	return s.appendTo(dst)
}

func (e *lineExpr) appendTo(dst []byte) []byte {
	dst = append(append(dst, e.op...), ' ')
	for i, a := range e.alts {
		if i > 0 {
			dst = append(dst, " or "...)
		}
		if a.ip {
			dst = append(appendQuoted(append(dst, "ip("...), a.text), ')')
			continue
		}
		dst = appendQuoted(dst, a.text)
	}
	return dst
}

func (e *labelExpr) appendTo(dst []byte) []byte {
	dst = append(dst, e.name...)
	switch {
	case e.isNum:
		return append(append(append(append(dst, ' '), e.op...), ' '), e.text...)
	case e.ip:
		return append(appendQuoted(append(append(dst, e.op...), "ip("...), e.text), ')')
	}
	return appendQuoted(append(dst, e.op...), e.text)
}

func (e *boolExpr) appendTo(dst []byte) []byte {
	word := " and "
	if e.or {
		word = " or "
	}
	dst = e.appendSide(dst, e.l, false)
	dst = append(dst, word...)
	return e.appendSide(dst, e.r, true)
}

// appendSide puts parentheses where the other reading would differ.
func (e *boolExpr) appendSide(dst []byte, f labelFilter, right bool) []byte {
	b, ok := f.(*boolExpr)
	if !ok || !right && (b.or == e.or || e.or) || right && e.or && !b.or {
		return f.appendTo(dst)
	}
	return append(f.appendTo(append(dst, '(')), ')')
}

func (e *parserExpr) appendTo(dst []byte) []byte {
	dst = append(dst, e.kind...)
	if e.strict {
		dst = append(dst, " --strict"...)
	}
	if e.keepEmpty {
		dst = append(dst, " --keep-empty"...)
	}
	for i, x := range e.fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, ' '), x.label...), '=')
		dst = appendQuoted(dst, x.expr)
	}
	return dst
}

func (e *captureExpr) appendTo(dst []byte) []byte {
	return appendQuoted(append(append(dst, e.kind...), ' '), e.text)
}

func (e *lineFormatExpr) appendTo(dst []byte) []byte {
	return appendQuoted(append(dst, "line_format "...), e.text)
}

func (e *labelFormatExpr) appendTo(dst []byte) []byte {
	dst = append(dst, "label_format "...)
	for i, f := range e.items {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(append(dst, f.name...), '=')
		if f.rename {
			dst = append(dst, f.value...)
		} else {
			dst = appendQuoted(dst, f.value)
		}
	}
	return dst
}

func (e *pickExpr) appendTo(dst []byte) []byte {
	if e.keep {
		dst = append(dst, "keep "...)
	} else {
		dst = append(dst, "drop "...)
	}
	for i, p := range e.items {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if p.matcher != nil {
			dst = p.matcher.appendTo(dst)
		} else {
			dst = append(dst, p.name...)
		}
	}
	return dst
}

func (e *decolorizeExpr) appendTo(dst []byte) []byte { return append(dst, "decolorize"...) }

func (e *unwrapExpr) appendTo(dst []byte) []byte {
	dst = append(dst, "unwrap "...)
	if e.conv == "" {
		return append(dst, e.name...)
	}
	return append(append(append(append(dst, e.conv...), '('), e.name...), ')')
}

func (e *rangeExpr) appendTo(dst []byte) []byte {
	dst = append(append(dst, e.fn...), '(')
	if e.fn == "quantile_over_time" {
		dst = append(appendFloat(dst, e.param), ", "...)
	}
	dst = e.log.appendTo(dst)
	if e.unwrap != nil {
		dst = appendStage(dst, e.unwrap)
		for _, f := range e.after {
			dst = appendStage(dst, f)
		}
	}
	dst = append(e.appendRange(append(dst, ' ')), ')')
	if e.group != nil {
		dst = e.group.appendTo(append(dst, ' '))
	}
	return dst
}

// appendRange writes [5m] and the offset.
func (e *rangeExpr) appendRange(dst []byte) []byte {
	dst = append(appendDuration(append(dst, '['), e.interval), ']')
	if e.offset != 0 {
		dst = appendDuration(append(dst, " offset "...), e.offset)
	}
	return dst
}

func (g *grouping) appendTo(dst []byte) []byte {
	if g.without {
		dst = append(dst, "without "...)
	} else {
		dst = append(dst, "by "...)
	}
	return appendNames(dst, g.names)
}

func appendNames(dst []byte, names []string) []byte {
	return append(append(append(dst, '('), strings.Join(names, ", ")...), ')')
}

func (e *vectorExpr) appendTo(dst []byte) []byte {
	dst = append(dst, e.fn...)
	if e.group != nil {
		dst = append(e.group.appendTo(append(dst, ' ')), ' ')
	}
	dst = append(dst, '(')
	if hasK(e.fn) {
		dst = append(strconv.AppendInt(dst, int64(e.k), 10), ", "...)
	}
	return append(e.inner.appendTo(dst), ')')
}

func (e *binaryExpr) appendTo(dst []byte) []byte {
	dst = e.appendOperand(dst, e.l, false)
	dst = append(e.appendOperator(append(dst, ' ')), ' ')
	return e.appendOperand(dst, e.r, true)
}

// appendOperator writes the operator and how it matches.
func (e *binaryExpr) appendOperator(dst []byte) []byte {
	dst = append(dst, e.op...)
	if e.bool {
		dst = append(dst, " bool"...)
	}
	m := e.match
	if m == nil {
		return dst
	}
	word := " ignoring "
	if m.on {
		word = " on "
	}
	dst = appendNames(append(dst, word...), m.names)
	switch m.side {
	case groupLeft:
		dst = appendNames(append(dst, " group_left "...), m.include)
	case groupRight:
		dst = appendNames(append(dst, " group_right "...), m.include)
	}
	return dst
}

func (e *binaryExpr) appendOperand(dst []byte, x MetricExpr, right bool) []byte {
	if !e.needsParens(x, right) {
		return x.appendTo(dst)
	}
	return append(x.appendTo(append(dst, '(')), ')')
}

// needsParens reports whether the operand would be read as something else
// without parentheses.
func (e *binaryExpr) needsParens(x MetricExpr, right bool) bool {
	b, ok := x.(*binaryExpr)
	mine := binding(e.op)
	return ok && binding(b.op) <= mine && (binding(b.op) < mine || right != (e.op == "^"))
}

func (e *numberExpr) appendTo(dst []byte) []byte { return appendFloat(dst, e.value) }

func (e *vectorLitExpr) appendTo(dst []byte) []byte {
	return append(appendFloat(append(dst, "vector("...), e.value), ')')
}

func (e *replaceExpr) appendTo(dst []byte) []byte {
	dst = e.inner.appendTo(append(dst, "label_replace("...))
	for _, s := range []string{e.dst, e.repl, e.src, e.regexp} {
		dst = appendQuoted(append(dst, ", "...), s)
	}
	return append(dst, ')')
}

func appendFloat(dst []byte, v float64) []byte { return strconv.AppendFloat(dst, v, 'g', -1, 64) }

// appendDuration writes a duration as people do: 5m, 1h30m, 2d.
func appendDuration(dst []byte, ns int64) []byte {
	if ns < 0 {
		dst = append(dst, '-')
		ns = -ns
	}
	if ns == 0 {
		return append(dst, "0s"...)
	}
	for _, u := range durationUnits {
		if n := ns / int64(u.d); n > 0 && (u.d != 24*time.Hour || ns%int64(u.d) == 0) {
			dst = append(strconv.AppendInt(dst, n, 10), u.name...)
			ns -= n * int64(u.d)
		}
	}
	return dst
}

var durationUnits = []struct {
	name string
	d    time.Duration
}{
	{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second},
	{"ms", time.Millisecond}, {"us", time.Microsecond}, {"ns", time.Nanosecond},
}

// appendQuoted prefers backticks where quotes would need escapes.
func appendQuoted(dst []byte, s string) []byte {
	if strings.ContainsAny(s, `\"`) && strconv.CanBackquote(s) {
		return append(append(append(dst, '`'), s...), '`')
	}
	return strconv.AppendQuote(dst, s)
}
