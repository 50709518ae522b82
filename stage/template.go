package stage

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weirlog/weir/record"
)

// template is a parsed value of set: text with {{.name | function …}} in it.
// Its functions are trimPrefix "x", trimSuffix "x", replace "old" "new",
// default "x", lower and upper, applied from left to right to the value of the
// attribute name.
type template struct {
	parts []part
}

// part is a literal, or an attribute with functions if name is not empty.
type part struct {
	literal string
	name    string
	calls   []call
}

type call struct {
	do   func(dst, v []byte, args []string) []byte // appends f(v) to dst
	args []string
}

var functions = map[string]struct {
	args int
	do   func(dst, v []byte, args []string) []byte
}{
	"trimPrefix": {1, func(dst, v []byte, args []string) []byte {
		if len(v) >= len(args[0]) && string(v[:len(args[0])]) == args[0] {
			v = v[len(args[0]):]
		}
		return append(dst, v...)
	}},
	"trimSuffix": {1, func(dst, v []byte, args []string) []byte {
		if n := len(v) - len(args[0]); n >= 0 && string(v[n:]) == args[0] {
			v = v[:n]
		}
		return append(dst, v...)
	}},
	"replace": {2, func(dst, v []byte, args []string) []byte {
		old := args[0]
		for {
			j := indexString(v, old)
			if j < 0 {
				return append(dst, v...)
			}
			dst = append(dst, v[:j]...)
			dst = append(dst, args[1]...)
			v = v[j+len(old):]
		}
	}},
	"default": {1, func(dst, v []byte, args []string) []byte {
		if len(v) == 0 {
			return append(dst, args[0]...)
		}
		return append(dst, v...)
	}},
	"lower": {0, func(dst, v []byte, _ []string) []byte { return appendCase(dst, v, 'A', bytes.ToLower) }},
	"upper": {0, func(dst, v []byte, _ []string) []byte { return appendCase(dst, v, 'a', bytes.ToUpper) }},
}

// indexString is bytes.Index for a string; both are short.
func indexString(v []byte, s string) int {
	for i := 0; i+len(s) <= len(v); i++ {
		if string(v[i:i+len(s)]) == s {
			return i
		}
	}
	return -1
}

// appendCase turns the case of the 26 letters from first on, and leaves what
// is not ASCII to other.
func appendCase(dst, v []byte, first byte, other func([]byte) []byte) []byte {
	start := len(dst)
	for _, c := range v {
		if c >= utf8.RuneSelf {
			return append(dst[:start], other(v)...)
		}
		if c-first < 26 {
			c ^= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}

// parseTemplate parses a value; the error says what is wrong and where, in
// bytes from the value's beginning.
func parseTemplate(text string) (*template, error) {
	t := new(template)
	pos := 0
	for {
		open := strings.Index(text[pos:], "{{")
		if open < 0 {
			if shut := strings.Index(text[pos:], "}}"); shut >= 0 {
				return nil, fmt.Errorf("template: }} without {{ at offset %d", pos+shut)
			}
			if pos < len(text) {
				t.parts = append(t.parts, part{literal: text[pos:]})
			}
			return t, nil
		}
		if open > 0 {
			t.parts = append(t.parts, part{literal: text[pos : pos+open]})
		}
		p, end, err := parseAction(text, pos+open+2)
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, p)
		pos = end
	}
}

// parseAction parses from behind "{{" and returns the offset behind "}}".
func parseAction(text string, pos int) (p part, end int, err error) {
	next := func() { // skips spaces
		for pos < len(text) && (text[pos] == ' ' || text[pos] == '\t') {
			pos++
		}
	}
	word := func() string {
		start := pos
		for pos < len(text) && !strings.ContainsRune(" \t|}\"`{", rune(text[pos])) {
			pos++
		}
		return text[start:pos]
	}
	next()
	at := pos
	name := word()
	if len(name) < 2 || name[0] != '.' {
		return p, 0, fmt.Errorf("template: want an attribute such as .namespace at offset %d", at)
	}
	p.name = name[1:]
	for {
		next()
		if strings.HasPrefix(text[pos:], "}}") {
			return p, pos + 2, nil
		}
		if pos >= len(text) {
			return p, 0, fmt.Errorf("template: {{ without }}")
		}
		if text[pos] != '|' {
			return p, 0, fmt.Errorf("template: want | or }} at offset %d", pos)
		}
		pos++
		next()
		at = pos
		name = word()
		f, ok := functions[name]
		if !ok {
			return p, 0, fmt.Errorf("template: unknown function %q at offset %d: want default, lower, replace, trimPrefix, trimSuffix or upper", name, at)
		}
		c := call{do: f.do}
		for {
			next()
			if pos >= len(text) || text[pos] != '"' && text[pos] != '`' {
				break
			}
			quoted, err := strconv.QuotedPrefix(text[pos:])
			if err != nil {
				return p, 0, fmt.Errorf("template: malformed string at offset %d", pos)
			}
			arg, err := strconv.Unquote(quoted)
			if err != nil {
				return p, 0, fmt.Errorf("template: malformed string at offset %d", pos)
			}
			c.args = append(c.args, arg)
			pos += len(quoted)
		}
		if len(c.args) != f.args {
			return p, 0, fmt.Errorf("template: %s takes %d argument(s), not %d, at offset %d", name, f.args, len(c.args), at)
		}
		if name == "replace" && c.args[0] == "" {
			return p, 0, fmt.Errorf("template: replace of nothing at offset %d", at)
		}
		p.calls = append(p.calls, c)
	}
}

// append appends the template's value for record i to dst. spare is scratch
// memory, returned for the next call.
func (t *template) append(dst, spare []byte, a *attrs, b *record.Batch, i int) (out, keep []byte) {
	for _, p := range t.parts {
		if p.name == "" {
			dst = append(dst, p.literal...)
			continue
		}
		start := len(dst)
		dst = a.append(dst, b, i, p.name)
		for _, c := range p.calls {
			spare = append(spare[:0], dst[start:]...)
			dst = c.do(dst[:start], spare, c.args)
		}
	}
	return dst, spare
}
