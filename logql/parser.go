package logql

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// parser is a recursive descent over the tokens of one query.
type parser struct {
	toks   []token
	i      int
	depth  int
	leaves int
}

func newParser(s string) (*parser, error) {
	toks, err := lex(s)
	if err != nil {
		return nil, err
	}
	return &parser{toks: toks}, nil
}

func (p *parser) peek() token { return p.toks[p.i] }

func (p *parser) next() token {
	t := p.toks[p.i]
	if t.kind != tokEnd {
		p.i++
	}
	return t
}

func (p *parser) take(k kind) bool {
	if p.peek().kind == k {
		p.i++
		return true
	}
	return false
}

// takeWord takes a keyword.
func (p *parser) takeWord(w string) bool {
	if t := p.peek(); t.kind == tokName && t.text == w {
		p.i++
		return true
	}
	return false
}

func expected(what string, t token) *SyntaxError {
	return errorAt(t.pos, "expected %s, found %s", what, t.found())
}

// logExpr parses selector stage*.
func (p *parser) logExpr() (*logExpr, error) {
	e := &logExpr{}
	var err error
	if e.selector, err = p.selector(); err != nil {
		return nil, err
	}
	for p.peek().kind != tokEnd {
		s, err := p.stage()
		if err != nil {
			return nil, err
		}
		e.stages = append(e.stages, s)
	}
	return e, nil
}

// selector parses { name op "value", … }.
func (p *parser) selector() ([]*labelExpr, error) {
	if !p.take("{") {
		return nil, expected(`a selector such as {namespace="shop"}`, p.peek())
	}
	var out []*labelExpr
	if p.take("}") {
		return out, nil
	}
	for {
		m, err := p.matcher()
		if err != nil {
			return nil, err
		}
		out = append(out, m)
		switch t := p.next(); t.kind {
		case ",":
		case "}":
			return out, nil
		default:
			return nil, expected("a comma or }", t)
		}
	}
}

var matchOps = []kind{"=", "!=", "=~", "!~"}

func (p *parser) matcher() (*labelExpr, error) {
	name := p.next()
	if name.kind != tokName {
		return nil, expected("the name of a label", name)
	}
	o := p.next()
	if !slices.Contains(matchOps, o.kind) {
		return nil, expected("one of = != =~ !~", o)
	}
	v := p.next()
	if v.kind != tokString {
		return nil, expected("a value in double quotes or backticks", v)
	}
	return p.leaf(&labelExpr{name: name.text, op: op(o.kind), text: v.text, pos: v.pos})
}

// leaf numbers a comparison and checks its pattern.
func (p *parser) leaf(e *labelExpr) (*labelExpr, error) {
	if e.op == opRe || e.op == opNre {
		if err := checkPattern(e.text, e.pos); err != nil {
			return nil, err
		}
	}
	e.leaf = p.leaves
	p.leaves++
	return e, nil
}

// stage parses a line filter or | label filters.
func (p *parser) stage() (stageExpr, error) {
	t := p.next()
	switch t.kind {
	case "|=", "!=", "|~", "!~":
		return p.lineFilter(op(t.kind))
	case "|>", "!>":
		return nil, errorAt(t.pos, "pattern filters (%s) are not supported; use |= or |~", t.text)
	case "|":
		return p.labelFilters()
	}
	return nil, expected("a line filter (|= != |~ !~) or | and a label filter", t)
}

func (p *parser) lineFilter(o op) (stageExpr, error) {
	e := &lineExpr{op: o}
	for {
		t := p.next()
		if t.kind != tokString {
			return nil, expected("a text in double quotes or backticks", t)
		}
		if o == opMatches || o == opMatchesNot {
			if err := checkPattern(t.text, t.pos); err != nil {
				return nil, err
			}
		}
		e.texts, e.pos = append(e.texts, t.text), append(e.pos, t.pos)
		if !p.takeWord("or") {
			return e, nil
		}
	}
}

// labelFilters parses and-terms joined by or.
func (p *parser) labelFilters() (labelFilter, error) {
	l, err := p.andFilters()
	for err == nil && p.takeWord("or") {
		var r labelFilter
		if r, err = p.andFilters(); err == nil {
			l = &boolExpr{or: true, l: l, r: r}
		}
	}
	return l, err
}

// andFilters parses label filters joined by and, a comma or nothing.
func (p *parser) andFilters() (labelFilter, error) {
	l, err := p.labelFilter()
	for err == nil {
		t := p.peek()
		follows := t.kind == tokName && t.text != "or" || t.kind == "("
		if !p.takeWord("and") && !p.take(",") && !follows {
			break
		}
		var r labelFilter
		if r, err = p.labelFilter(); err == nil {
			l = &boolExpr{l: l, r: r}
		}
	}
	return l, err
}

// Stages that a query may have and a condition not.
var otherStages = []string{"json", "logfmt", "regexp", "pattern", "unpack", "line_format", "label_format", "decolorize", "drop", "keep", "unwrap"}

func (p *parser) labelFilter() (labelFilter, error) {
	t := p.next()
	if t.kind == "(" {
		if p.depth++; p.depth > maxDepth {
			return nil, errorAt(t.pos, "parentheses are nested deeper than %d", maxDepth)
		}
		f, err := p.labelFilters()
		if err != nil {
			return nil, err
		}
		p.depth--
		if c := p.next(); c.kind != ")" {
			return nil, expected("and, or, or )", c)
		}
		return f, nil
	}
	if t.kind != tokName {
		return nil, expected("the name of a label", t)
	}
	o := p.next()
	switch o.kind {
	case "=", "==", "!=", "=~", "!~", ">", ">=", "<", "<=":
	default:
		if slices.Contains(otherStages, t.text) {
			return nil, errorAt(t.pos, "%s cannot stand in a condition; fields and the keys of a JSON line can be compared without it", t.text)
		}
		return nil, expected("one of = != =~ !~ > >= < <= after "+t.text, o)
	}
	e := &labelExpr{name: t.text, op: op(o.kind)}
	v := p.next()
	e.text, e.pos = v.text, v.pos
	switch {
	case v.kind == tokString && (o.kind == "=" || o.kind == "!=" || o.kind == "=~" || o.kind == "!~"):
	case v.kind == tokString:
		return nil, expected("a number, a duration (20ms) or a size (1KiB) after "+string(o.kind), v)
	case v.kind == tokNumber && o.kind != "=~" && o.kind != "!~":
		n, ok := parseNumber(v.text)
		if !ok {
			return nil, errorAt(v.pos, "%q is not a number, a duration (20ms) or a size (1KiB)", v.text)
		}
		e.num, e.isNum = n, true
		if o.kind == "==" {
			e.op = opEq
		}
	case v.kind == tokName && v.text == "ip" && p.peek().kind == "(":
		return nil, errorAt(v.pos, "ip() is not supported in a condition")
	case o.kind == "=~" || o.kind == "!~":
		return nil, expected("a regular expression in double quotes or backticks", v)
	default:
		return nil, expected("a value in double quotes, or a number", v)
	}
	return p.leaf(e)
}

// parseNumber reads a number, a duration (Go's syntax, also with d, w, y) or a
// size (units of 1000 kB … and of 1024 KiB …).
func parseNumber(s string) (number, bool) {
	// Refuse what ParseFloat takes beyond the usual: hexadecimal, underscores,
	// infinities and NaN.
	i := 0
	for i < len(s) && (isDigit(s[i]) || s[i] == '.' || i == 0 && (s[0] == '-' || s[0] == '+')) {
		i++
	}
	if i == 0 || !isDigit(s[i-1]) && s[i-1] != '.' {
		return number{}, false
	}
	rest := s[i:]
	if rest == "" || rest[0] == 'e' || rest[0] == 'E' {
		if v, err := strconv.ParseFloat(s, 64); err == nil && !strings.ContainsAny(rest, "xX_pPnNiI") {
			return number{plain, v}, true
		}
	}
	if v, ok := parseDuration(s); ok {
		return number{duration, v}, true
	}
	v, err := strconv.ParseFloat(s[:i], 64)
	if err != nil {
		return number{}, false
	}
	if f, ok := sizeUnit(rest); ok {
		return number{size, v * f}, true
	}
	return number{}, false
}

// parseDuration returns a duration in seconds.
func parseDuration(s string) (float64, bool) {
	if n := len(s); n > 1 {
		unit := 0.0
		switch s[n-1] {
		case 'd':
			unit = 24 * 3600
		case 'w':
			unit = 7 * 24 * 3600
		case 'y':
			unit = 365 * 24 * 3600
		}
		if unit > 0 {
			for i, c := range []byte(s[:n-1]) {
				if !isDigit(c) && c != '.' && !(i == 0 && (c == '-' || c == '+')) {
					return 0, false
				}
			}
			v, err := strconv.ParseFloat(s[:n-1], 64)
			return v * unit, err == nil
		}
	}
	d, err := time.ParseDuration(s)
	return d.Seconds(), err == nil
}

// sizeUnit returns the factor of a unit of sizes, upper or lower case.
func sizeUnit(s string) (float64, bool) {
	if len(s) == 0 || len(s) > 3 {
		return 0, false
	}
	var low [3]byte
	for i := range len(s) {
		low[i] = s[i] | 0x20
	}
	u := string(low[:len(s)])
	if u == "b" {
		return 1, true
	}
	e := strings.IndexByte("kmgtpe", u[0]) + 1
	if e == 0 {
		return 0, false
	}
	switch u[1:] {
	case "", "b":
		return math.Pow(1000, float64(e)), true
	case "i", "ib":
		return math.Pow(1024, float64(e)), true
	}
	return 0, false
}
