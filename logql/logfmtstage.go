package logql

import (
	"bytes"
	"unicode/utf8"

	"github.com/weirlog/weir/wire/json"
)

// logfmtStage extracts key=value pairs: all of them, or the named ones. Unless
// it is strict, what is no such pair is passed over.
type logfmtStage struct {
	strict, keepEmpty bool
	want              *wanted
	fields            []extraction
	found             []string
}

func (s *logfmtStage) process(e *entry) bool {
	if len(s.fields) > 0 {
		s.found = append(s.found[:0], make([]string, len(s.fields))...)
	}
	t := logfmtText{p: e.line}
	for t.next() {
		if t.why != "" {
			if s.strict {
				e.fail(errLogfmt, t.why)
				return true
			}
			t.why = ""
			continue
		}
		if len(t.key) == 0 || len(t.val) == 0 && !s.keepEmpty && len(s.fields) == 0 {
			continue
		}
		if len(s.fields) > 0 {
			for k := range s.fields {
				if s.fields[k].expr == view(t.key) { // the last counts, as in Loki
					s.found[k] = t.value(e)
				}
			}
			continue
		}
		name := e.sanitized(t.key)
		if !s.want.has(name) {
			continue
		}
		if !e.extract(name, t.value(e)) {
			e.fail(errLogfmt, "more pairs than are extracted from one line")
			return true
		}
	}
	for k := range s.fields {
		if s.found[k] != "" || s.keepEmpty {
			e.extract(s.fields[k].label, s.found[k])
		}
	}
	return true
}

// logfmtText walks over the pairs of a line.
type logfmtText struct {
	p        []byte
	i        int
	key, val []byte
	escaped  bool
	why      string // the pair is malformed
}

// next finds the next pair; it reports false at the end.
func (t *logfmtText) next() bool {
	p, i := t.p, t.i
	for i < len(p) && p[i] <= ' ' {
		i++
	}
	if i == len(p) {
		t.i = i
		return false
	}
	t.key, t.val, t.escaped = nil, nil, false
	from := i
	for i < len(p) && p[i] > ' ' && p[i] != '=' && p[i] != '"' {
		i++
	}
	t.key = p[from:i]
	switch {
	case i < len(p) && p[i] == '"':
		return t.bad(i, "unexpected \" in a key")
	case i == len(p) || p[i] != '=':
		t.i = i
		return true // a key alone
	case i == from:
		return t.bad(i, "unexpected =")
	}
	i++
	if i < len(p) && p[i] == '"' {
		return t.quoted(i)
	}
	from = i
	for i < len(p) && p[i] > ' ' {
		if p[i] == '=' || p[i] == '"' {
			return t.bad(i, "unexpected "+string(p[i])+" in a value")
		}
		i++
	}
	t.val, t.i = p[from:i], i
	return true
}

// quoted takes the string at i.
func (t *logfmtText) quoted(i int) bool {
	p := t.p
	start := i
	for i++; ; {
		n := bytes.IndexByte(p[i:], '"')
		if n < 0 {
			t.i = len(p)
			t.why = "a string has no end"
			return true
		}
		i += n
		slashes := 0
		for k := i - 1; k > start && p[k] == '\\'; k-- {
			slashes++
		}
		i++
		if slashes%2 == 0 {
			break
		}
	}
	t.val = p[start+1 : i-1]
	t.escaped = bytes.IndexByte(t.val, '\\') >= 0
	if i < len(p) && p[i] > ' ' {
		return t.bad(i, "unexpected text behind a string")
	}
	t.i = i
	return true
}

// bad passes over the rest of a malformed pair.
func (t *logfmtText) bad(i int, why string) bool {
	for i < len(t.p) && t.p[i] > ' ' {
		i++
	}
	t.i, t.why = i, why
	return true
}

// value returns the pair's value, its escapes resolved.
func (t *logfmtText) value(e *entry) string {
	if !t.escaped {
		return view(t.val)
	}
	e.room(len(t.val) + utf8.UTFMax)
	from := len(e.arena)
	e.arena = json.Unescape(e.arena, t.val)
	return view(e.arena[from:])
}

// validLogfmtKey reports whether s can be a key.
func validLogfmtKey(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == '=' || s[i] == '"' {
			return false
		}
	}
	return s != ""
}
