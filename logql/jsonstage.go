package logql

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"

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
