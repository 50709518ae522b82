package logql

import (
	"math"
	"regexp"
	"slices"
	"strings"
)

// What a function over a range works on.
const (
	overLines = 1 << iota
	overValues
	groupable // by and without may follow
)

// rangeFunctions are the functions over a range.
var rangeFunctions = map[string]int{
	"count_over_time":    overLines,
	"rate":               overLines | overValues,
	"bytes_over_time":    overLines,
	"bytes_rate":         overLines,
	"absent_over_time":   overLines | overValues,
	"rate_counter":       overValues,
	"sum_over_time":      overValues,
	"avg_over_time":      overValues | groupable,
	"min_over_time":      overValues | groupable,
	"max_over_time":      overValues | groupable,
	"stdvar_over_time":   overValues | groupable,
	"stddev_over_time":   overValues | groupable,
	"quantile_over_time": overValues | groupable,
	"first_over_time":    overValues | groupable,
	"last_over_time":     overValues | groupable,
}

var vectorFunctions = []string{"sum", "avg", "min", "max", "count", "stddev", "stdvar", "topk", "bottomk", "approx_topk", "sort", "sort_desc"}

func hasK(fn string) bool { return fn == "topk" || fn == "bottomk" || fn == "approx_topk" }

func functionNames() []string {
	names := append([]string{"vector", "label_replace"}, vectorFunctions...)
	for f := range rangeFunctions {
		names = append(names, f)
	}
	slices.Sort(names)
	return names
}

const aMetric = "a function such as count_over_time, a number or ("

// metric parses operands joined by operators that bind at least as strongly as
// least.
func (p *parser) metric(least int) (MetricExpr, error) {
	l, err := p.operand()
	for err == nil {
		o := p.peek()
		o.text = strings.ToLower(o.text)
		b := binding(o.text)
		if b == 0 || o.kind == tokString || b < max(least, 1) {
			return l, nil
		}
		p.next()
		e := &binaryExpr{op: o.text, l: l, pos: o.pos}
		if err = p.modifiers(e); err != nil {
			break
		}
		inner := b + 1
		if e.op == "^" {
			inner = b // right to left
		}
		if err = p.enter(o); err != nil {
			break
		}
		if e.r, err = p.metric(inner); err != nil {
			break
		}
		p.leave()
		e.scalar = isScalar(e.l) && isScalar(e.r)
		err = checkBinary(e)
		l = e
	}
	return l, err
}

func (p *parser) modifiers(e *binaryExpr) error {
	if t := p.peek(); p.takeWord("bool") {
		if !isComparison(e.op) {
			return errorAt(t.pos, "bool stands only behind a comparison (== != > >= < <=)")
		}
		e.bool = true
	}
	t := p.peek()
	on := p.takeWord("on")
	if !on && !p.takeWord("ignoring") {
		return nil
	}
	e.match = &matching{on: on}
	var err error
	if e.match.names, err = p.names(); err != nil {
		return err
	}
	t = p.peek()
	switch {
	case p.takeWord("group_left"):
		e.match.side = groupLeft
	case p.takeWord("group_right"):
		e.match.side = groupRight
	default:
		return nil
	}
	if isSet(e.op) {
		return errorAt(t.pos, "%s cannot stand with %s", t.text, e.op)
	}
	// ( may also begin the right side: then no name and ) or a comma follow.
	if p.peek().kind == "(" {
		a, b := p.peekAt(1), p.peekAt(2)
		if a.kind == ")" || a.kind == tokName && (b.kind == "," || b.kind == ")") {
			e.match.include, err = p.names()
		}
	}
	return err
}

// checkBinary refuses operators that make no sense between numbers.
func checkBinary(e *binaryExpr) error {
	ls, rs := isScalar(e.l), isScalar(e.r)
	switch {
	case isSet(e.op) && (ls || rs):
		return errorAt(e.pos, "%s stands between two series, not next to a number", e.op)
	case e.match != nil && (ls || rs):
		return errorAt(e.pos, "on and ignoring stand between two series, not next to a number")
	}
	return nil
}

// isScalar reports whether the value is one number and no series.
func isScalar(e MetricExpr) bool {
	switch e := e.(type) {
	case *numberExpr:
		return true
	case *binaryExpr:
		return e.scalar
	}
	return false
}

func (p *parser) operand() (MetricExpr, error) {
	t := p.peek()
	switch t.kind {
	case "(":
		p.next()
		if err := p.enter(t); err != nil {
			return nil, err
		}
		e, err := p.metric(0)
		if err != nil {
			return nil, err
		}
		p.leave()
		if c := p.next(); c.kind != ")" {
			return nil, expected("an operator or )", c)
		}
		return e, nil
	case tokNumber, "-", "+":
		n, text, err := p.signed("a number")
		if err != nil {
			return nil, err
		}
		if n.unit != plain {
			return nil, errorAt(t.pos, "expected a number without unit, found %q", text)
		}
		return &numberExpr{n.value}, nil
	case tokName:
		p.next()
		return p.function(t)
	case "{":
		return nil, errorAt(t.pos, "lines cannot be calculated with; count them, for example with count_over_time( … [5m])")
	}
	return nil, expected(aMetric, t)
}

func (p *parser) function(t token) (MetricExpr, error) {
	if err := p.enter(t); err != nil {
		return nil, err
	}
	defer p.leave()
	written := t.text
	t.text = strings.ToLower(t.text)
	switch _, isRange := rangeFunctions[t.text]; {
	case isRange:
		return p.rangeFunction(t)
	case slices.Contains(vectorFunctions, t.text):
		return p.vectorFunction(t)
	case t.text == "vector":
		if err := p.expect("("); err != nil {
			return nil, err
		}
		at := p.peek()
		n, text, err := p.signed("a number")
		if err != nil {
			return nil, err
		}
		if n.unit != plain {
			return nil, errorAt(at.pos, "expected a number without unit, found %q", text)
		}
		return &vectorLitExpr{n.value}, p.expect(")")
	case t.text == "label_replace":
		return p.labelReplace()
	}
	if p.peek().kind == "(" || p.peek().kind == tokName {
		if t.text == "variants" {
			return nil, errorAt(t.pos, "variants is not supported; ask several queries")
		}
		return nil, errorAt(t.pos, "unknown function %s%s", written, didYouMean(t.text, functionNames()))
	}
	return nil, expected(`a selector in braces, such as {namespace="shop"}, or a function`, t)
}

func (p *parser) labelReplace() (MetricExpr, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	e := &replaceExpr{}
	at := p.peek()
	var err error
	if e.inner, err = p.metric(0); err != nil {
		return nil, err
	}
	if isScalar(e.inner) {
		return nil, expected("a function that yields series", at)
	}
	for i, to := range []*string{&e.dst, &e.repl, &e.src, &e.regexp} {
		if err := p.expect(","); err != nil {
			return nil, err
		}
		s, err := p.text([]string{"the label to set", "the replacement", "the label to read", "a regular expression"}[i])
		if err != nil {
			return nil, err
		}
		if i == 0 && !validName(s.text) {
			return nil, errorAt(s.pos, "%q cannot be the name of a label", s.text)
		}
		*to, e.pos = s.text, s.pos
	}
	if err := checkPattern(e.regexp, e.pos); err != nil {
		return nil, err
	}
	if _, err := regexp.Compile("^(?s:" + e.regexp + ")$"); err != nil {
		return nil, errorAt(e.pos, "bad regular expression: %v", err)
	}
	return e, p.expect(")")
}

func validName(s string) bool {
	for i := range len(s) {
		if !isNameStart(s[i]) && (i == 0 || !isDigit(s[i])) {
			return false
		}
	}
	return s != ""
}

// grouping parses by (…) or without (…), if it follows.
func (p *parser) grouping() (*grouping, error) {
	t := p.peek()
	if !p.takeWord("by") && !p.takeWord("without") {
		return nil, nil
	}
	names, err := p.names()
	return &grouping{without: t.isWord("without"), names: names}, err
}

func (p *parser) vectorFunction(t token) (MetricExpr, error) {
	e := &vectorExpr{fn: t.text, pos: t.pos}
	var err error
	if e.group, err = p.grouping(); err != nil {
		return nil, err
	}
	if !p.take("(") {
		what := "by, without or ( after " + t.text
		if e.group != nil {
			what = "("
		}
		return nil, expected(what, p.peek())
	}
	if hasK(e.fn) {
		at := p.peek()
		n, _, err := p.signed("how many series, as a number,")
		if err != nil {
			return nil, err
		}
		if n.unit != plain || n.value != math.Trunc(n.value) || n.value < 1 || n.value > 1e9 {
			return nil, errorAt(at.pos, "the first parameter of %s must be a whole number above zero", e.fn)
		}
		e.k = int(n.value)
		if err := p.expect(","); err != nil {
			return nil, err
		}
	}
	at := p.peek()
	if e.inner, err = p.metric(0); err != nil {
		return nil, err
	}
	if isScalar(e.inner) {
		return nil, expected("a function that yields series", at)
	}
	if c := p.next(); c.kind != ")" {
		return nil, expected("an operator or )", c)
	}
	at = p.peek()
	late, err := p.grouping()
	if err != nil {
		return nil, err
	}
	if late != nil {
		if e.group != nil {
			return nil, errorAt(at.pos, "%s is already grouped before its parenthesis", e.fn)
		}
		e.group = late
	}
	if e.group != nil && (e.fn == "sort" || e.fn == "sort_desc") {
		return nil, errorAt(e.pos, "%s cannot be grouped", e.fn)
	}
	return e, nil
}

func (p *parser) rangeFunction(t token) (MetricExpr, error) {
	e := &rangeExpr{fn: t.text, pos: t.pos, log: &LogExpr{}}
	if err := p.expect("("); err != nil {
		return nil, err
	}
	if e.fn == "quantile_over_time" {
		n, _, err := p.signed("a quantile between 0 and 1")
		if err != nil {
			return nil, err
		}
		e.param = n.value
		if err := p.expect(","); err != nil {
			return nil, err
		}
	}
	at := p.peek()
	if err := p.rangeLog(e); err != nil {
		return nil, err
	}
	c := p.next()
	if c.kind != ")" {
		what := "a stage, a range such as [5m], or )"
		if e.interval != 0 {
			what = "a stage, offset or )"
		}
		return nil, expected(what, c)
	}
	if e.interval == 0 {
		return nil, errorAt(c.pos, "expected a range such as [5m], found %s", c.found())
	}
	if err := p.notEmpty(at, e.log); err != nil {
		return nil, err
	}
	at = p.peek()
	var err error
	if e.group, err = p.grouping(); err != nil {
		return nil, err
	}
	can := rangeFunctions[e.fn]
	switch {
	case e.unwrap == nil && can&overLines == 0:
		return nil, errorAt(e.pos, "%s needs a value: | unwrap label before the range", e.fn)
	case e.unwrap != nil && can&overValues == 0:
		return nil, errorAt(e.unwrap.pos, "%s counts lines and takes no unwrap", e.fn)
	case e.group != nil && can&groupable == 0:
		return nil, errorAt(at.pos, "%s cannot be grouped; put sum %s ( … ) around it", e.fn, string(e.group.appendTo(nil)))
	}
	return e, nil
}

// rangeLog parses a log query with its range, which may stand behind the
// selector or at the end, with or without parentheses.
func (p *parser) rangeLog(e *rangeExpr) error {
	if t := p.peek(); p.take("(") {
		if err := p.enter(t); err != nil {
			return err
		}
		if err := p.rangeLog(e); err != nil {
			return err
		}
		p.leave()
		if c := p.next(); c.kind != ")" {
			return expected("a stage, a range such as [5m], or )", c)
		}
	} else {
		var err error
		if e.log.selector, err = p.selector(); err != nil {
			return err
		}
	}
	for {
		t := p.peek()
		switch {
		case t.kind == "[":
			if e.interval != 0 {
				return errorAt(t.pos, "there is a range already")
			}
			if err := p.interval(e); err != nil {
				return err
			}
		case p.atStage():
			if err := p.rangeStage(e); err != nil {
				return err
			}
		case p.atOffset():
			return errorAt(t.pos, "offset stands behind the range: [5m] offset 1h")
		default:
			return nil
		}
	}
}

func (p *parser) rangeStage(e *rangeExpr) error {
	t := p.peek()
	s, err := p.stage()
	if err != nil {
		return err
	}
	if e.unwrap != nil {
		f, ok := s.(labelFilter)
		if !ok {
			return errorAt(t.pos, "behind unwrap only label filters can stand")
		}
		e.after = append(e.after, f)
		return nil
	}
	if u, ok := s.(*unwrapExpr); ok {
		e.unwrap = u
		return nil
	}
	e.log.stages = append(e.log.stages, s)
	return nil
}

// interval parses [5m] and an offset.
func (p *parser) interval(e *rangeExpr) error {
	p.next()
	var err error
	if e.interval, err = p.duration(false); err != nil {
		return err
	}
	if err := p.expect("]"); err != nil {
		return err
	}
	if p.takeWord("offset") {
		e.offset, err = p.duration(true)
	}
	return err
}

// maxDuration bounds ranges and offsets, so that times do not overflow.
const maxDuration = 100 * 365 * 24 * 3600

func (p *parser) duration(signed bool) (int64, error) {
	t := p.peek()
	if !signed && t.kind != tokNumber {
		return 0, expected("a duration such as 5m", t)
	}
	n, text, err := p.signed("a duration such as 5m")
	if err != nil {
		return 0, err
	}
	if n.unit != duration && n.value != 0 || math.Abs(n.value) > maxDuration || !signed && n.value*1e9 < 1 {
		return 0, errorAt(t.pos, "%q is not a duration such as 5m (units: ns us ms s m h d w y)", text)
	}
	return int64(math.Round(n.value * 1e9)), nil
}
