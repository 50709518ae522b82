package logql

import (
	"bytes"
	"regexp"
	"slices"
)

// piece is a literal or a capture of a pattern expression.
type piece struct {
	lit  []byte
	name string // of a capture; "" for <_>
	cap  bool
}

// parsePieces cuts <name> and <_> out of a pattern expression. < that begins
// no capture is a literal.
func parsePieces(s string, pos int) ([]piece, error) {
	var out []piece
	lit := 0
	for i := 0; i < len(s); {
		end := captureEnd(s, i)
		if end < 0 {
			i++
			continue
		}
		if i > lit {
			out = append(out, piece{lit: []byte(s[lit:i])})
		}
		name := s[i+1 : end-1]
		if name == "_" {
			name = ""
		}
		if n := len(out); n > 0 && out[n-1].cap {
			return nil, errorAt(pos, "two captures without a text between them")
		}
		out = append(out, piece{name: name, cap: true})
		i = end
		lit = i
	}
	if lit < len(s) {
		out = append(out, piece{lit: []byte(s[lit:])})
	}
	switch {
	case len(out) == 0:
		return nil, errorAt(pos, "the pattern is empty")
	case len(out) > 2*maxNames:
		return nil, errorAt(pos, "more than %d captures", maxNames)
	}
	return out, nil
}

// captureEnd returns the offset behind the capture at s[i:], -1 if there is
// none.
func captureEnd(s string, i int) int {
	if s[i] != '<' {
		return -1
	}
	j := i + 1
	for j < len(s) && (isNameStart(s[j]) || j > i+1 && isDigit(s[j])) {
		j++
	}
	if j == i+1 || j == len(s) || s[j] != '>' {
		return -1
	}
	return j + 1
}

// patternStage extracts what stands between the texts of a pattern.
type patternStage struct {
	pieces []piece
}

func newPatternStage(e *captureExpr) (*patternStage, error) {
	ps, err := parsePieces(e.text, e.pos)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range ps {
		if p.name == "" {
			continue
		}
		if slices.Contains(names, p.name) {
			return nil, errorAt(e.pos, "<%s> stands twice", p.name)
		}
		names = append(names, p.name)
	}
	if len(names) == 0 {
		return nil, errorAt(e.pos, "the pattern has no named capture such as <status>")
	}
	return &patternStage{ps}, nil
}

func (s *patternStage) process(e *entry) bool {
	line := e.line
	for i := 0; i < len(s.pieces); i++ {
		p := &s.pieces[i]
		if !p.cap {
			// Only the first can be a text here: it must begin the line.
			if !bytes.HasPrefix(line, p.lit) {
				return true
			}
			line = line[len(p.lit):]
			continue
		}
		val := line
		found := true
		if i+1 < len(s.pieces) {
			next := s.pieces[i+1].lit
			if n := bytes.Index(line, next); n >= 0 {
				val, line = line[:n], line[n+len(next):]
			} else {
				found = false // what is missed ends here
			}
			i++
		}
		if p.name != "" {
			e.extract(p.name, view(val))
		}
		if !found {
			return true
		}
	}
	return true
}

// likePattern is the pattern of a line filter |> or !>.
type likePattern struct {
	pieces []piece
}

func newLikePattern(s string, pos int) (*likePattern, error) {
	if s == "" {
		return &likePattern{}, nil
	}
	ps, err := parsePieces(s, pos)
	if err != nil {
		return nil, err
	}
	for _, p := range ps {
		if p.name != "" {
			return nil, errorAt(pos, "a line filter has no named captures: write <_> for <%s>", p.name)
		}
	}
	return &likePattern{ps}, nil
}

// match reports whether the line is like the pattern, as Loki does it: the
// first text may stand anywhere unless <_> comes before it, each text is looked
// for where it first stands, <_> takes at least one byte, and the end of the
// pattern is the end of the line.
func (l *likePattern) match(line []byte) bool {
	gap := false
	for i := range l.pieces {
		p := &l.pieces[i]
		if p.cap {
			gap = true
			continue
		}
		n := bytes.Index(line, p.lit)
		if n < 0 || gap && n == 0 {
			return false
		}
		line = line[n+len(p.lit):]
		gap = false
	}
	return gap == (len(line) > 0)
}

// needle returns the longest literal of the pattern.
func (l *likePattern) needle() []byte {
	var best []byte
	for i := range l.pieces {
		if len(l.pieces[i].lit) > len(best) {
			best = l.pieces[i].lit
		}
	}
	return best
}

// regexpStage extracts the named groups of a regular expression.
type regexpStage struct {
	re    *regexp.Regexp
	fast  *pattern
	names []string // by group; "" for those without
}

func newRegexpStage(e *captureExpr) (*regexpStage, error) {
	fast, err := newPattern(e.text, false, e.pos)
	if err != nil {
		return nil, err
	}
	s := &regexpStage{re: fast.re, fast: fast, names: fast.re.SubexpNames()}
	var names []string
	for _, n := range s.names {
		switch {
		case n == "":
		case !validName(n):
			return nil, errorAt(e.pos, "%q cannot be the name of a label", n)
		case slices.Contains(names, n):
			return nil, errorAt(e.pos, "the group %s stands twice", n)
		default:
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return nil, errorAt(e.pos, "the regular expression has no named group such as (?P<status>\\d+)")
	}
	return s, nil
}

func (s *regexpStage) process(e *entry) bool {
	if s.fast.need != "" && !s.fast.needIn(view(e.line)) {
		return true
	}
	m := s.re.FindSubmatchIndex(e.line)
	for i := 1; i < len(s.names) && m != nil; i++ {
		if s.names[i] == "" {
			continue
		}
		value := ""
		if m[2*i] >= 0 {
			value = view(e.line[m[2*i]:m[2*i+1]])
		}
		e.extract(s.names[i], value)
	}
	return true
}

// decolorizeStage removes the escape sequences of terminals.
type decolorizeStage struct{}

func (decolorizeStage) process(e *entry) bool {
	i := bytes.IndexByte(e.line, 0x1b)
	if i < 0 {
		return true
	}
	e.room(len(e.line))
	from := len(e.arena)
	p := e.line
	for i >= 0 {
		e.arena = append(e.arena, p[:i]...)
		p = p[i+escapeLen(p[i:]):]
		i = bytes.IndexByte(p, 0x1b)
	}
	e.arena = append(e.arena, p...)
	e.line = e.arena[from:len(e.arena):len(e.arena)]
	return true
}

// escapeLen returns the length of the escape sequence that p begins with. What
// is none counts as the escape character alone, at least.
func escapeLen(p []byte) int {
	if len(p) < 2 {
		return 1
	}
	switch p[1] {
	case '[': // parameters, intermediate bytes, a final byte
		i := 2
		for i < len(p) && p[i] >= 0x20 && p[i] <= 0x3f {
			i++
		}
		if i < len(p) && p[i] >= 0x40 && p[i] <= 0x7e {
			return i + 1
		}
		return i
	case ']': // up to BEL or ESC \
		for i := 2; i < len(p); i++ {
			if p[i] == 7 {
				return i + 1
			}
			if p[i] == 0x1b && i+1 < len(p) && p[i+1] == '\\' {
				return i + 2
			}
		}
		return 2
	case '(', ')': // character sets
		return min(3, len(p))
	}
	return 1
}
