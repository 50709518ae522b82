package logql

import (
	"strconv"
	"unicode/utf8"
)

// jsonPathStage is json with expressions. Like Loki it reads only as far as it
// must: what is wrong with the rest of a line is no error.
type jsonPathStage struct {
	items []jsonPathItem
}

type jsonPathItem struct {
	label string
	path  []jsonStep
}

// jsonStep is a member's name or an item's number.
type jsonStep struct {
	name string
	item int // -1 for a name
}

func (s *jsonPathStage) process(e *entry) bool {
	if len(e.line) == 0 {
		return true
	}
	w := jsonText{p: e.line}
	if c := w.at(0); c != '{' && c != '[' && c != '"' {
		e.fail(errJSON, "the line is not JSON")
		return true
	}
	for k := range s.items {
		it := &s.items[k]
		text, escaped, kind, ok := w.find(e, 0, it.path)
		switch {
		case !ok || kind == 'z':
			e.extract(it.label, "")
		case escaped:
			e.extract(it.label, e.unescape(text))
		default:
			e.extract(it.label, view(text))
		}
	}
	return true
}

// find follows a path from the value at i.
func (w *jsonText) find(e *entry, i int, path []jsonStep) (text []byte, escaped bool, kind byte, ok bool) {
	for _, st := range path {
		if i = w.step(e, i, st); i < 0 {
			return nil, false, 0, false
		}
	}
	text, escaped, kind, end := w.value(i)
	if end < 0 {
		e.fail(errJSON, w.why)
	}
	return text, escaped, kind, end >= 0
}

// step returns where the member or item of the value at i begins, or -1.
func (w *jsonText) step(e *entry, i int, st jsonStep) int {
	open := w.at(i)
	if st.item < 0 && open != '{' || st.item >= 0 && open != '[' {
		return -1
	}
	i = w.space(i + 1)
	for n := 0; i < len(w.p) && w.p[i] != open+2; n++ {
		hit := n == st.item
		if open == '{' {
			key, escaped, end := w.str(i)
			if end < 0 {
				return -1
			}
			if escaped {
				key = []byte(e.unescape(key))
			}
			hit = string(key) == st.name
			if i = w.space(end); w.at(i) != ':' {
				return -1
			}
			i = w.space(i + 1)
		}
		if hit {
			return i
		}
		_, _, _, end := w.value(i)
		if end < 0 {
			return -1
		}
		if i = w.space(end); w.at(i) == ',' {
			i = w.space(i + 1)
		}
	}
	return -1
}

// parseJSONPath parses an expression such as a.b[0]["c d"].
func parseJSONPath(s string, pos int) ([]jsonStep, error) {
	bad := func(what string) error {
		return errorAt(pos, `%q is not a path such as user.name, items[0].id or ["a b"]: %s`, s, what)
	}
	var out []jsonStep
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '.':
			if i++; len(out) == 0 || i == len(s) || s[i] == '.' || s[i] == '[' {
				return nil, bad("a name is missing beside a point")
			}
		case c == '[':
			end := i + 1
			if end < len(s) && s[end] == '"' {
				if end = stringEnd(s, end); end < 0 {
					return nil, bad("a string has no end")
				}
			}
			for end < len(s) && s[end] != ']' {
				end++
			}
			if end >= len(s) {
				return nil, bad("a ] is missing")
			}
			in := s[i+1 : end]
			if name, err := strconv.Unquote(in); err == nil && in[0] == '"' {
				out = append(out, jsonStep{name, -1})
			} else if n, err := strconv.Atoi(in); err == nil && n >= 0 {
				out = append(out, jsonStep{"", n})
			} else {
				return nil, bad("between [ and ] stands a number or a string in double quotes")
			}
			i = end + 1
		default:
			end := i
			for end < len(s) && s[end] != '.' && s[end] != '[' {
				if c := s[end]; !isNameStart(c) && !isDigit(c) && c != '-' && c != '@' && c < utf8.RuneSelf {
					return nil, bad(`names with other characters stand in [" and "]`)
				}
				end++
			}
			if i > 0 && s[i-1] != '.' {
				return nil, bad("a point is missing")
			}
			out = append(out, jsonStep{s[i:end], -1})
			i = end
		}
		if len(out) > maxJSONDepth {
			return nil, bad("too deep")
		}
	}
	if len(out) == 0 {
		return nil, bad("it is empty")
	}
	return out, nil
}

// unpackStage undoes Promtail's pack: string members become labels, _entry the
// line. A line without _entry was not packed.
type unpackStage struct{ found []Label }

func (s *unpackStage) process(e *entry) bool {
	if len(e.line) == 0 {
		return true
	}
	w := jsonText{p: e.line}
	if w.at(0) != '{' {
		e.fail(errJSON, "the line is not a JSON object")
		return true
	}
	if end := w.nested(0); end < 0 || w.space(end) != len(e.line) {
		e.fail(errJSON, "the line is not a JSON object")
		return true
	}
	s.found = s.found[:0]
	packed := false
	line := e.line
	for i := w.space(1); w.at(i) == '"'; {
		key, keyEscaped, next := w.str(i)
		if next < 0 {
			break
		}
		if i = w.space(next); w.at(i) != ':' {
			break
		}
		val, escaped, kind, end := w.value(w.space(i + 1))
		if end < 0 {
			break
		}
		if kind == 's' {
			name, text := view(key), view(val)
			if keyEscaped {
				name = e.unescape(key)
			}
			if escaped {
				text = e.unescape(val)
			}
			if name == "_entry" {
				packed, line = true, []byte(text)
			} else {
				s.found = append(s.found, Label{Name: name, Value: text})
			}
		}
		if i = w.space(end); w.at(i) == ',' {
			i = w.space(i + 1)
		}
	}
	if !packed {
		return true
	}
	for _, l := range s.found {
		if !e.extract(e.sanitized([]byte(l.Name)), l.Value) {
			e.fail(errJSON, "more members than are extracted from one line")
			break
		}
	}
	e.line = line
	return true
}
