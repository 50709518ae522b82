package logql

import (
	"bytes"
	"strings"
)

// hint is a label filter behind a parser that a look at the line can decide: a
// value that a parser extracts stands in the line as it is, or with escapes.
type hint struct {
	name, value string
}

// hints collects the comparisons that must hold for a row to be kept.
func hints(dst []hint, f labelFilter) []hint {
	switch f := f.(type) {
	case *labelExpr:
		if f.op == opEq && !f.isNum && !f.ip && f.text != "" && !isLevel(f.name) && !strings.HasPrefix(f.name, "__error") {
			return append(dst, hint{f.name, f.text})
		}
	case *boolExpr:
		if !f.or {
			return hints(hints(dst, f.l), f.r)
		}
	}
	return dst
}

// hopeless reports whether no parser can make the entry pass: the value is
// neither in the line nor, under that name, in the labels, and nothing in the
// line could be an escaped form of it.
func (p *pipeline) hopeless(e *entry) bool {
	for i := range p.hints {
		h := &p.hints[i]
		if !strings.Contains(view(e.line), h.value) && !has(e.base, h.name) && !has(e.meta, h.name) && bytes.IndexByte(e.line, '\\') < 0 {
			return true
		}
	}
	return false
}
