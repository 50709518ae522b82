package logql

import (
	"slices"
	"strings"
)

// Parse parses a query. The answer is a *LogExpr or a MetricExpr; a non-nil
// error is a *SyntaxError.
func Parse(s string) (Expr, error) {
	e, err := parseAll(s, (*parser).query)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// ParseLog parses a query for lines. A non-nil error is a *SyntaxError.
func ParseLog(s string) (*LogExpr, error) {
	return parseAll(s, func(p *parser) (*LogExpr, error) {
		t := p.peek()
		e, err := p.query()
		if err != nil {
			return nil, err
		}
		log, ok := e.(*LogExpr)
		if !ok {
			return nil, expected(`a query for lines, such as {namespace="shop"} |= "text"`, t)
		}
		return log, nil
	})
}

// ParseMatchers parses a selector alone, as in the match[] parameters of an
// API. The braces may be empty. A non-nil error is a *SyntaxError.
func ParseMatchers(s string) (*Selector, error) {
	return parseAll(s, func(p *parser) (*Selector, error) {
		ms, err := p.selector()
		if err != nil {
			return nil, err
		}
		return newSelector(ms)
	})
}

// parseAll runs one rule over a whole text.
func parseAll[T any](s string, rule func(*parser) (T, error)) (T, error) {
	var none T
	p, err := newParser(s)
	if err != nil {
		return none, err
	}
	e, err := rule(p)
	if err != nil {
		return none, locate(err, s)
	}
	if t := p.peek(); t.kind != tokEnd {
		return none, locate(p.unexpectedEnd(t), s)
	}
	return e, nil
}

// parser is a recursive descent over the tokens of one query.
type parser struct {
	toks      []token
	i         int
	depth     int
	leaves    int
	condition bool // only what a condition can do
}

func newParser(s string) (*parser, error) {
	toks, err := lex(s)
	if err != nil {
		return nil, locate(err, s)
	}
	return &parser{toks: toks}, nil
}

func (p *parser) peek() token { return p.toks[p.i] }

// peekAt looks n tokens ahead.
func (p *parser) peekAt(n int) token { return p.toks[min(p.i+n, len(p.toks)-1)] }

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

func (p *parser) expect(k kind) error {
	if !p.take(k) {
		return expected(string(k), p.peek())
	}
	return nil
}

// takeWord takes a keyword; capitals do not matter.
func (p *parser) takeWord(w string) bool {
	if p.peek().isWord(w) {
		p.i++
		return true
	}
	return false
}

// isWord reports whether the token is a keyword.
func (t token) isWord(w string) bool { return t.kind == tokName && strings.EqualFold(t.text, w) }

// enter counts a level of nesting; the caller leaves it again.
func (p *parser) enter(t token) error {
	if p.depth++; p.depth > maxDepth {
		return errorAt(t.pos, "parentheses are nested deeper than %d", maxDepth)
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

func expected(what string, t token) *SyntaxError {
	return errorAt(t.pos, "expected %s, found %s", what, t.found())
}

func (p *parser) unexpectedEnd(t token) *SyntaxError {
	if t.kind == "[" {
		return errorAt(t.pos, "a range stands inside a function such as count_over_time( … [5m])")
	}
	return expected("the end or an operator", t)
}

// names parses ( name, … ).
func (p *parser) names() ([]string, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	out := []string{}
	if p.take(")") {
		return out, nil
	}
	for {
		t := p.next()
		if t.kind != tokName {
			return nil, expected("the name of a label", t)
		}
		if !slices.Contains(out, t.text) {
			if len(out) == maxNames {
				return nil, errorAt(t.pos, "more than %d names", maxNames)
			}
			out = append(out, t.text)
		}
		switch c := p.next(); c.kind {
		case ",":
		case ")":
			return out, nil
		default:
			return nil, expected("a comma or )", c)
		}
	}
}

// signed parses a number with an optional sign and returns it with its source.
func (p *parser) signed(what string) (number, string, error) {
	first := p.peek()
	sign := ""
	if p.take("-") {
		sign = "-"
	} else {
		p.take("+")
	}
	t := p.next()
	if t.kind != tokNumber {
		if sign == "" {
			t = first
		}
		return number{}, "", expected(what, t)
	}
	n, ok := parseNumber(t.text)
	if !ok {
		return number{}, "", errorAt(t.pos, "%q is not a number, a duration (20ms) or a size (1KiB)", t.text)
	}
	if sign != "" {
		n.value = -n.value
	}
	return n, sign + t.text, nil
}

// text parses a string.
func (p *parser) text(what string) (token, error) {
	t := p.next()
	if t.kind != tokString {
		return t, expected(what+" in double quotes or backticks", t)
	}
	return t, nil
}

// query parses a whole query.
func (p *parser) query() (Expr, error) {
	// Parentheses around a log query look like those of a metric query: what
	// stands behind them decides.
	n := 0
	for p.peekAt(n).kind == "(" {
		n++
	}
	switch t := p.peekAt(n); {
	case t.kind == "{":
		return p.wrappedLog()
	case n == 0 && t.kind == tokEnd:
		return nil, expected(`a selector such as {namespace="shop"}, or a function such as count_over_time`, t)
	}
	return p.metric(0)
}

func (p *parser) wrappedLog() (*LogExpr, error) {
	t := p.peek()
	if !p.take("(") {
		e, err := p.logExpr()
		if err != nil {
			return nil, err
		}
		return e, p.notEmpty(t, e)
	}
	if err := p.enter(t); err != nil {
		return nil, err
	}
	e, err := p.wrappedLog()
	if err != nil {
		return nil, err
	}
	p.leave()
	return e, p.expect(")")
}

// notEmpty refuses a selector that excludes nothing: such a query is nearly
// always a slip, and reads everything.
func (p *parser) notEmpty(t token, e *LogExpr) error {
	s, err := newSelector(e.selector)
	if err != nil {
		return err
	}
	for _, m := range s.matchers {
		if !m.Match("") {
			return nil
		}
	}
	return errorAt(t.pos, `at least one matcher must not match the empty string, such as {namespace="shop"} or {namespace=~".+"}`)
}

// logExpr parses selector stage*.
func (p *parser) logExpr() (*LogExpr, error) {
	e := &LogExpr{}
	var err error
	if e.selector, err = p.selector(); err != nil {
		return nil, err
	}
	for p.atStage() {
		s, err := p.stage()
		if err != nil {
			return nil, err
		}
		if u, ok := s.(*unwrapExpr); ok {
			return nil, errorAt(u.pos, "unwrap stands only inside a function over a range, such as sum_over_time( … | unwrap %s [5m])", u.name)
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
	return p.matcherOf(name)
}

// matcherOf parses what follows the name of a matcher.
func (p *parser) matcherOf(name token) (*labelExpr, error) {
	o := p.next()
	if !slices.Contains(matchOps, o.kind) {
		return nil, expected("one of = != =~ !~", o)
	}
	v, err := p.text("a value")
	if err != nil {
		return nil, err
	}
	return p.leaf(&labelExpr{name: name.text, op: op(o.kind), text: v.text, pos: v.pos})
}

// leaf numbers a comparison and checks its pattern.
func (p *parser) leaf(e *labelExpr) (*labelExpr, error) {
	switch {
	case e.ip:
		if _, err := parseIPs(e.text); err != nil {
			return nil, errorAt(e.pos, "%v", err)
		}
	case e.op == opRe || e.op == opNre:
		if err := checkPattern(e.text, e.pos); err != nil {
			return nil, err
		}
	}
	e.leaf = p.leaves
	p.leaves++
	return e, nil
}

// quoteAll lists names for a message.
func quoteAll(names []string) string { return strings.Join(names, " ") }
