package logql

import (
	"strconv"
	"strings"
)

// op is an operator as it is written.
type op string

const (
	opEq  op = "="
	opNeq op = "!="
	opRe  op = "=~"
	opNre op = "!~"
	opGt  op = ">"
	opGe  op = ">="
	opLt  op = "<"
	opLe  op = "<="

	opContains    op = "|="
	opContainsNot op = "!="
	opMatches     op = "|~"
	opMatchesNot  op = "!~"
)

// logExpr is a log query: a selector and stages. It is what was written;
// evaluation is compiled from it.
type logExpr struct {
	selector []*labelExpr
	stages   []stageExpr
}

// stageExpr is a *lineExpr or a labelFilter.
type stageExpr interface {
	appendTo(dst []byte) []byte
}

// lineExpr is a line filter: op and one or more strings joined by or.
type lineExpr struct {
	op    op
	texts []string
	pos   []int
}

// labelExpr compares the value of a name: with a string, or with a number.
type labelExpr struct {
	name  string
	op    op
	text  string // the string, or the number as it was written
	num   number
	isNum bool
	pos   int // of text
	leaf  int // number of this comparison within the expression
}

// boolExpr is two label filters joined by and, or.
type boolExpr struct {
	or   bool
	l, r labelFilter
}

// labelFilter is a *labelExpr or a *boolExpr.
type labelFilter interface {
	stageExpr
	isLabelFilter()
}

func (*labelExpr) isLabelFilter() {}
func (*boolExpr) isLabelFilter()  {}

// number is a literal or a value with its unit.
type number struct {
	unit  unit
	value float64 // seconds, bytes, or just a number
}

type unit uint8

const (
	plain unit = iota
	duration
	size
)

// String returns the expression in its usual form, which parses to an equal
// expression.
func (e *logExpr) String() string {
	dst := []byte{'{'}
	for i, m := range e.selector {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = m.appendTo(dst)
	}
	dst = append(dst, '}')
	for _, s := range e.stages {
		dst = append(dst, ' ')
		if _, ok := s.(labelFilter); ok {
			dst = append(dst, "| "...)
		}
		dst = s.appendTo(dst)
	}
	return string(dst)
}

func (e *lineExpr) appendTo(dst []byte) []byte {
	dst = append(append(dst, e.op...), ' ')
	for i, t := range e.texts {
		if i > 0 {
			dst = append(dst, " or "...)
		}
		dst = appendQuoted(dst, t)
	}
	return dst
}

func (e *labelExpr) appendTo(dst []byte) []byte {
	dst = append(dst, e.name...)
	if e.isNum {
		dst = append(append(append(append(dst, ' '), e.op...), ' '), e.text...)
		return dst
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

// appendQuoted prefers backticks where quotes would need escapes.
func appendQuoted(dst []byte, s string) []byte {
	if strings.ContainsAny(s, `\"`) && strconv.CanBackquote(s) {
		return append(append(append(dst, '`'), s...), '`')
	}
	return strconv.AppendQuote(dst, s)
}
