package config

import (
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"
)

func itoa(n int) string { return strconv.Itoa(n) }

// substituter fills in ${env:NAME}, ${env:NAME:-default} and ${file:/path} in
// scalars, after the YAML was parsed: what is filled in is never taken for
// structure, nor looked at for further references. $${ stands for ${. Other
// ${…} are left for the templates of outputs.
type substituter struct {
	c        *collector
	env      func(string) (string, bool)
	readFile func(string) ([]byte, error)
	files    []string // what ${file:…} named
}

// maxValueFile is how much of a file ${file:…} takes.
const maxValueFile = 1 << 20

func (s *substituter) tree(n *node) {
	if n == nil {
		return
	}
	switch n.kind {
	case mapNode:
		for _, e := range n.entries {
			s.tree(e.val)
		}
	case listNode:
		for _, m := range n.items {
			s.tree(m)
		}
	case scalarNode:
		// A node reached again by an alias is done already: its text differs
		// from raw or holds no reference.
		if n.text != n.raw || !strings.Contains(n.raw, "${") {
			return
		}
		text, ok := s.expand(n, n.raw, 0, 0)
		n.broken = !ok
		if ok {
			n.text = text
			n.null = text == "" // ${env:X:-} is as if nothing were given
		}
	}
}

// expand fills in text, which starts at byte off of n.raw.
func (s *substituter) expand(n *node, text string, off, depth int) (string, bool) {
	var b strings.Builder
	ok := true
	for i := 0; i < len(text); {
		rest := text[i:]
		switch {
		case strings.HasPrefix(rest, "$${"):
			b.WriteString("${")
			i += 3
			continue
		case !strings.HasPrefix(rest, "${"):
			b.WriteByte(text[i])
			i++
			continue
		}
		scheme, _, found := strings.Cut(rest[2:], ":")
		if !found || !isWord(scheme) || strings.HasPrefix(rest[2+len(scheme):], ":-") {
			b.WriteString("${") // a template's
			i += 2
			continue
		}
		end := closing(rest)
		if end < 0 {
			s.at(n, off+i, len(rest), "${%s: is never closed", scheme)
			return "", false
		}
		arg := rest[2+len(scheme)+1 : end]
		val, good := s.value(n, scheme, arg, off+i, end+1, depth)
		ok = ok && good
		b.WriteString(val)
		i += end + 1
	}
	return b.String(), ok
}

func (s *substituter) value(n *node, scheme, arg string, off, width, depth int) (string, bool) {
	switch scheme {
	case "env":
		name, def, hasDef := strings.Cut(arg, ":-")
		if !envName(name) {
			s.at(n, off, width, "bad name of an environment variable in ${env:%s}", shorten(arg))
			return "", false
		}
		val, set := s.env(name)
		switch {
		case val != "" || set && !hasDef:
			return val, true
		case hasDef && depth < 8:
			return s.expand(n, def, off+len("${env:")+len(name)+2, depth+1)
		case hasDef:
			s.at(n, off, width, "${env:…} is nested too deeply")
		default:
			s.at(n, off, width, "environment variable %s is not set", name).Hint = "for a default write ${env:" + name + ":-…}"
		}
		return "", false
	case "file":
		path := arg
		if path == "" {
			s.at(n, off, width, "${file:} names no file")
			return "", false
		}
		if !filepath.IsAbs(path) && n.pos.Line > 0 {
			path = filepath.Join(filepath.Dir(n.pos.File), path)
		}
		s.files = append(s.files, path)
		data, err := s.readFile(path)
		if err != nil {
			s.at(n, off, width, "cannot read what ${file:…} names: %s", err)
			return "", false
		}
		if len(data) > maxValueFile || !utf8.Valid(data) {
			s.at(n, off, width, "file %s is no text, or larger than %s", shorten(path), Size(maxValueFile))
			return "", false
		}
		text := strings.TrimSuffix(string(data), "\n")
		return strings.TrimSuffix(text, "\r"), true
	}
	s.at(n, off, width, "unknown source %q in ${%s:…}", scheme, scheme).Hint = suggest(scheme, []string{"env", "file"})
	return "", false
}

// at reports an error at a byte of a scalar's text.
func (s *substituter) at(n *node, off, width int, format string, args ...any) *Problem {
	p := s.c.addf(n.pos, width, format, args...)
	p.caret = s.c.inside(n, off)
	if p.caret == n.pos {
		p.width = n.width()
	}
	return p
}

// closing returns the index of the brace that closes the ${ at the start of
// text, -1 if there is none.
func closing(text string) int {
	open := 0
	for i := range len(text) {
		switch {
		case strings.HasPrefix(text[i:], "${"):
			open++
		case text[i] == '}':
			if open--; open == 0 {
				return i
			}
		}
	}
	return -1
}

func isWord(s string) bool {
	for i := range len(s) {
		if s[i] < 'a' || s[i] > 'z' {
			return false
		}
	}
	return s != ""
}

func envName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9' || i == 0) {
			return false
		}
	}
	return s != ""
}

// inside returns the place of byte off of a scalar's raw text, or the
// scalar's own place where that is not known.
func (c *collector) inside(n *node, off int) Pos {
	lines := c.src[n.pos.File]
	if off < 0 || off > len(n.raw) || n.pos.Line < 1 || n.pos.Line > len(lines) {
		return n.pos
	}
	src := tail(lines[n.pos.Line-1], n.pos.Column)
	col := n.pos.Column
	quote := byte(0)
	if src != "" && (src[0] == '\'' || src[0] == '"') {
		quote = src[0]
		src, col = src[1:], col+1
	}
	for i := 0; i < off; {
		switch {
		case src == "" || quote == '"' && src[0] == '\\':
			return n.pos // continued on the next line, or escaped
		case quote == '\'' && strings.HasPrefix(src, "''"):
			src, col = src[1:], col+1
		}
		r, size := utf8.DecodeRuneInString(src)
		if !strings.HasPrefix(n.raw[i:], src[:size]) || r == utf8.RuneError && size <= 1 {
			return n.pos
		}
		src, col, i = src[size:], col+1, i+size
	}
	return Pos{n.pos.File, n.pos.Line, col}
}
