package logql

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weirlog/weir/wire/json"
)

// jsonStage extracts the members of a line that is a JSON object; members of
// objects inside get joined names, arrays are passed over.
type jsonStage struct {
	want   *wanted
	prefix []byte // names of the objects around, joined
}

// maxJSONDepth bounds the nesting of lines.
const maxJSONDepth = 64

func (s *jsonStage) process(e *entry) bool {
	if e.fields != nil || e.noJSON {
		if e.noJSON {
			e.fail(errJSON, "the line is not a JSON object")
			return true
		}
		for _, f := range e.fields {
			e.extract(f.name, f.value)
		}
		return true
	}
	w := jsonText{p: e.line}
	s.prefix = s.prefix[:0]
	i := w.space(0)
	if w.at(i) != '{' {
		e.fail(errJSON, "the line is not a JSON object")
		return true
	}
	end := s.object(e, &w, i, 0)
	if end >= 0 && w.space(end) != len(e.line) {
		w.why, end = "text behind the object", -1
	}
	if end < 0 {
		e.fail(errJSON, w.why)
	}
	return true
}

// object extracts from the object at i and returns its end, or -1.
func (s *jsonStage) object(e *entry, w *jsonText, i, depth int) int {
	if depth > maxJSONDepth {
		w.why = "nested too deep"
		return -1
	}
	if i = w.space(i + 1); w.at(i) == '}' {
		return i + 1
	}
	for {
		key, keyEscaped, next := w.str(i)
		if next < 0 {
			return -1
		}
		i = w.space(next)
		if w.at(i) != ':' {
			w.why = "expected : behind a name"
			return -1
		}
		i = w.space(i + 1)
		if keyEscaped {
			from := e.unescape(key)
			key = []byte(from)
		}
		if w.at(i) == '{' && s.want.beneath(s.prefix, bytes.TrimSpace(key)) {
			n := len(s.prefix)
			s.pushPrefix(key)
			i = s.object(e, w, i, depth+1)
			s.prefix = s.prefix[:n]
		} else {
			val, escaped, kind, end := w.value(i)
			if i = end; end >= 0 && kind != 'a' && kind != 'o' && kind != 'z' && !s.add(e, key, val, escaped) {
				w.why = "more members than are extracted from one line"
				return -1
			}
		}
		if i < 0 {
			return -1
		}
		i = w.space(i)
		switch w.at(i) {
		case ',':
			i = w.space(i + 1)
		case '}':
			return i + 1
		default:
			w.why = "expected a comma or } behind a value"
			return -1
		}
	}
}

func (s *jsonStage) pushPrefix(key []byte) {
	key = bytes.TrimSpace(key)
	if len(s.prefix) > 0 {
		s.prefix = append(s.prefix, '_')
	}
	s.prefix = appendSanitized(s.prefix, view(key), len(s.prefix) == 0)
}

func (s *jsonStage) add(e *entry, key, val []byte, escaped bool) bool {
	key = bytes.TrimSpace(key)
	if len(key) == 0 {
		return true
	}
	var name string
	if len(s.prefix) == 0 {
		name = e.sanitized(key)
	} else {
		e.room(len(s.prefix) + len(key) + 2)
		from := len(e.arena)
		e.arena = append(append(e.arena, s.prefix...), '_')
		e.arena = appendSanitized(e.arena, view(key), false)
		name = view(e.arena[from:])
	}
	if !s.want.has(name) {
		return true
	}
	if escaped {
		return e.extract(name, e.unescape(val))
	}
	return e.extract(name, view(val))
}

// unescape resolves the escapes of a JSON string into the arena.
func (e *entry) unescape(p []byte) string {
	e.room(len(p) + 8)
	from := len(e.arena)
	e.arena = json.Unescape(e.arena, p)
	return view(e.arena[from:])
}

// jsonText walks over JSON, a little more lenient than the standard (spaces,
// doubled names, control characters in strings), as lines are what they are.
type jsonText struct {
	p   []byte
	why string
}

func (w *jsonText) at(i int) byte {
	if i < len(w.p) {
		return w.p[i]
	}
	return 0
}

func (w *jsonText) space(i int) int {
	for i < len(w.p) && (w.p[i] == ' ' || w.p[i] == '\t' || w.p[i] == '\n' || w.p[i] == '\r') {
		i++
	}
	return i
}

// str returns what stands between the quotes of the string at i, and its end.
func (w *jsonText) str(i int) (text []byte, escaped bool, end int) {
	if w.at(i) != '"' {
		w.why = "expected a string"
		if i >= len(w.p) {
			w.why = "the object has no end"
		}
		return nil, false, -1
	}
	i++
	from := i
	for {
		i = quoteOrSlash(w.p, i)
		if i >= len(w.p) {
			w.why = "a string has no end"
			return nil, false, -1
		}
		if w.p[i] == '"' {
			return w.p[from:i], escaped, i + 1
		}
		escaped = true
		i += 2
	}
}

// quoteOrSlash returns the first quote or backslash from i on, at least len(p)
// if there is none. It looks at eight bytes at a time.
func quoteOrSlash(p []byte, i int) int {
	const (
		ones    = 0x0101010101010101
		highs   = 0x8080808080808080
		quotes  = '"' * ones
		slashes = '\\' * ones
	)
	for ; i+8 <= len(p); i += 8 {
		x := binary.LittleEndian.Uint64(p[i:])
		q, s := x^quotes, x^slashes
		if m := ((q-ones)&^q | (s-ones)&^s) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for i < len(p) && p[i] != '"' && p[i] != '\\' {
		i++
	}
	return i
}

// value passes over the value at i. kind is s(tring), n(umber), b(oolean),
// z (null), o(bject), a(rray).
func (w *jsonText) value(i int) (text []byte, escaped bool, kind byte, end int) {
	switch c := w.at(i); c {
	case '"':
		text, escaped, end = w.str(i)
		return text, escaped, 's', end
	case '{':
		end = w.nested(i)
		kind = 'o'
	case '[':
		end = w.nested(i)
		kind = 'a'
	case 't':
		end, kind = w.word(i, "true"), 'b'
	case 'f':
		end, kind = w.word(i, "false"), 'b'
	case 'n':
		end, kind = w.word(i, "null"), 'z'
	default:
		end, kind = w.number(i), 'n'
	}
	if end < 0 {
		return nil, false, kind, -1
	}
	return w.p[i:end], false, kind, end
}

func (w *jsonText) word(i int, s string) int {
	if len(w.p)-i < len(s) || string(w.p[i:i+len(s)]) != s {
		w.why = "not a value"
		return -1
	}
	return i + len(s)
}

func (w *jsonText) number(i int) int {
	from := i
	digits := false
	for i < len(w.p) {
		c := w.p[i]
		if isDigit(c) {
			digits = true
		} else if c != '-' && c != '+' && c != '.' && (c|0x20 != 'e' || !digits) {
			break
		}
		i++
	}
	if !digits || w.p[from] == '+' {
		w.why = "not a value"
		if from >= len(w.p) {
			w.why = "the object has no end"
		}
		return -1
	}
	return i
}

// nested passes over an object or array.
func (w *jsonText) nested(i int) int {
	var open [maxJSONDepth + 1]byte
	depth := 0
	for i < len(w.p) {
		switch c := w.p[i]; c {
		case '{', '[':
			if depth == len(open) {
				w.why = "nested too deep"
				return -1
			}
			open[depth] = c + 2 // the closing one
			depth++
			i++
		case '}', ']':
			if depth--; open[depth] != c {
				w.why = "unbalanced brackets"
				return -1
			}
			i++
			if depth == 0 {
				return i
			}
		case '"':
			if _, _, i = w.str(i); i < 0 {
				return -1
			}
		default:
			i++
		}
	}
	w.why = "the object has no end"
	return -1
}

// wanted is the set of labels that a query looks at; nil means all.
type wanted struct {
	names   []string
	lengths uint64 // bit n is set if a name is n bytes long, modulo 64
}

func newWanted(names []string) *wanted {
	w := &wanted{}
	for _, n := range names {
		for _, n := range []string{n, strings.TrimSuffix(n, duplicateSuffix)} {
			if !slices.Contains(w.names, n) {
				w.names = append(w.names, n)
				w.lengths |= 1 << (len(n) & 63)
			}
		}
	}
	return w
}

func (s *wanted) has(name string) bool {
	return s == nil || s.lengths>>(len(name)&63)&1 != 0 && slices.Contains(s.names, name)
}

// beneath reports whether a wanted name may be inside an object below prefix.
func (s *wanted) beneath(prefix []byte, key []byte) bool {
	if s == nil {
		return true
	}
	for _, c := range key {
		if !isNameStart(c) && !isDigit(c) {
			return true // it may be anything
		}
	}
	for _, n := range s.names {
		if rest, ok := strings.CutPrefix(n, view(prefix)); ok {
			if rest, ok = strings.CutPrefix(strings.TrimLeft(rest, "_"), view(bytes.TrimLeft(key, "_"))); ok && rest != "" {
				return true
			}
		}
	}
	return false
}

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
