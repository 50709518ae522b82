package logql

import (
	"slices"
	"strings"
)

// stageNames are the words behind | that are no labels.
var stageNames = []string{"json", "logfmt", "regexp", "pattern", "unpack", "line_format", "label_format", "decolorize", "drop", "keep", "unwrap"}

var lineOps = []kind{"|=", "!=", "|~", "!~", "|>", "!>"}

// atStage reports whether a stage of a pipeline follows.
func (p *parser) atStage() bool {
	k := p.peek().kind
	return k == "|" || slices.Contains(lineOps, k)
}

// stage parses a line filter, or | and another stage.
func (p *parser) stage() (stageExpr, error) {
	t := p.next()
	if t.kind != "|" {
		return p.lineFilter(op(t.kind))
	}
	word := p.peek()
	if word.kind != tokName && word.kind != "(" {
		return nil, expected("a stage ("+quoteAll(stageNames)+") or a label filter", word)
	}
	if low := strings.ToLower(word.text); low != word.text && slices.Contains(stageNames, low) && !isLabelOp(p.peekAt(1).kind) {
		word.text = low
	}
	if word.kind == tokName && slices.Contains(stageNames, word.text) {
		if p.condition {
			if isLabelOp(p.peekAt(1).kind) {
				return p.labelFilters()
			}
			return nil, errorAt(word.pos, "%s cannot stand in a condition; fields and the keys of a JSON line can be compared without it", word.text)
		}
		p.next()
		return p.namedStage(word)
	}
	return p.labelFilters()
}

func (p *parser) namedStage(word token) (stageExpr, error) {
	switch word.text {
	case "json", "logfmt":
		return p.extractor(word)
	case "unpack":
		return &parserExpr{kind: "unpack"}, nil
	case "regexp", "pattern":
		t, err := p.text("an expression")
		if err != nil {
			return nil, err
		}
		e := &captureExpr{word.text, t.text, t.pos}
		if e.kind == "regexp" {
			_, err = newRegexpStage(e)
		} else {
			_, err = newPatternStage(e)
		}
		return e, err
	case "line_format":
		t, err := p.text("a template")
		if err != nil {
			return nil, err
		}
		if _, err := newTemplate(t.text, t.pos); err != nil {
			return nil, err
		}
		return &lineFormatExpr{t.text, t.pos}, nil
	case "label_format":
		return p.labelFormat()
	case "drop", "keep":
		return p.pick(word.text == "keep")
	case "decolorize":
		return &decolorizeExpr{}, nil
	}
	return p.unwrap(word)
}

func (p *parser) lineFilter(o op) (stageExpr, error) {
	e := &lineExpr{op: o}
	for {
		t := p.next()
		if t.isWord("ip") {
			if o != opContains && o != opContainsNot {
				return nil, errorAt(t.pos, "ip() stands only behind |= and !=")
			}
			if err := p.expect("("); err != nil {
				return nil, err
			}
			s, err := p.text("an address, a range or a network")
			if err != nil {
				return nil, err
			}
			if _, err := parseIPs(s.text); err != nil {
				return nil, errorAt(s.pos, "%v", err)
			}
			if err := p.expect(")"); err != nil {
				return nil, err
			}
			e.alts = append(e.alts, lineAlt{s.text, true, s.pos})
		} else {
			if t.kind != tokString {
				return nil, expected("a text in double quotes or backticks", t)
			}
			if err := checkLineText(o, t); err != nil {
				return nil, err
			}
			e.alts = append(e.alts, lineAlt{t.text, false, t.pos})
		}
		if !p.takeWord("or") {
			return e, nil
		}
	}
}

func checkLineText(o op, t token) error {
	switch o {
	case opMatches, opMatchesNot:
		return checkPattern(t.text, t.pos)
	case opLike, opLikeNot:
		_, err := newLikePattern(t.text, t.pos)
		return err
	}
	return nil
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
		follows := t.kind == tokName && !t.isWord("or") && !p.atOffset() || t.kind == "("
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

func isLabelOp(k kind) bool {
	switch k {
	case "=", "==", "!=", "=~", "!~", ">", ">=", "<", "<=":
		return true
	}
	return false
}

func (p *parser) labelFilter() (labelFilter, error) {
	t := p.next()
	if t.kind == "(" {
		if err := p.enter(t); err != nil {
			return nil, err
		}
		f, err := p.labelFilters()
		if err != nil {
			return nil, err
		}
		p.leave()
		if c := p.next(); c.kind != ")" {
			return nil, expected("and, or, or )", c)
		}
		return f, nil
	}
	if t.kind != tokName {
		return nil, expected("the name of a label", t)
	}
	o := p.next()
	if !isLabelOp(o.kind) {
		msg := "one of = != =~ !~ > >= < <= after " + t.text
		e := expected(msg, o)
		if near := nearest(t.text, stageNames); near != "" && !p.condition {
			e.Pos = t.pos
			e.Msg = "unknown stage " + t.text + "; did you mean " + near + "? For a label filter, " + e.Msg
		}
		return nil, e
	}
	return p.comparison(t, o)
}

// comparison parses the right side of a label filter.
func (p *parser) comparison(name, o token) (labelFilter, error) {
	e := &labelExpr{name: name.text, op: op(o.kind)}
	v := p.peek()
	e.text, e.pos = v.text, v.pos
	textual := o.kind == "=" || o.kind == "!=" || o.kind == "=~" || o.kind == "!~"
	pattern := o.kind == "=~" || o.kind == "!~"
	switch {
	case v.kind == tokString && textual:
		p.next()
	case v.kind == tokString:
		return nil, expected("a number, a duration (20ms) or a size (1KiB) after "+string(o.kind), v)
	case (v.kind == tokNumber || v.kind == "-" || v.kind == "+") && !pattern:
		var err error
		if e.num, e.text, err = p.signed("a value in double quotes, or a number"); err != nil {
			return nil, err
		}
		e.isNum = true
		if o.kind == "==" {
			e.op = opEq
		}
	case v.isWord("ip") && (o.kind == "=" || o.kind == "!="):
		p.next()
		if err := p.expect("("); err != nil {
			return nil, err
		}
		s, err := p.text("an address, a range or a network")
		if err != nil {
			return nil, err
		}
		e.ip, e.text, e.pos = true, s.text, s.pos
		if err := p.expect(")"); err != nil {
			return nil, err
		}
	case pattern:
		return nil, expected("a regular expression in double quotes or backticks", v)
	default:
		return nil, expected("a value in double quotes, or a number", v)
	}
	return p.leaf(e)
}

// extractor parses the flags and expressions of json and logfmt.
func (p *parser) extractor(word token) (stageExpr, error) {
	e := &parserExpr{kind: word.text}
	for p.peek().kind == "-" {
		if err := p.flag(e); err != nil {
			return nil, err
		}
	}
	if p.peek().kind != tokName || p.atOffset() {
		return e, nil
	}
	for {
		t := p.next()
		if t.kind != tokName {
			return nil, expected("the name of a label", t)
		}
		x := extraction{label: t.text, expr: t.text, pos: t.pos}
		if p.take("=") {
			s, err := p.text("an expression")
			if err != nil {
				return nil, err
			}
			x.expr, x.pos = s.text, s.pos
		}
		if e.kind == "json" {
			if _, err := parseJSONPath(x.expr, x.pos); err != nil {
				return nil, err
			}
		} else if !validLogfmtKey(x.expr) {
			return nil, errorAt(x.pos, "%q cannot be a key of a logfmt line", x.expr)
		}
		e.fields = append(e.fields, x)
		if !p.take(",") {
			return e, nil
		}
	}
}

var logfmtFlags = []string{"strict", "keep-empty"}

// flag parses --strict or --keep-empty, which the lexer sees as several
// tokens without space between them.
func (p *parser) flag(e *parserExpr) error {
	first := p.next()
	end := first.pos + 1
	text := ""
	for t := p.peek(); t.pos == end && (t.kind == "-" || t.kind == tokName); t = p.peek() {
		text += t.text
		end += len(t.text)
		p.next()
	}
	switch {
	case e.kind == "logfmt" && text == "-strict":
		e.strict = true
	case e.kind == "logfmt" && text == "-keep-empty":
		e.keepEmpty = true
	case e.kind == "logfmt":
		return errorAt(first.pos, "expected --strict or --keep-empty, found %q%s", "-"+text, didYouMean(text, logfmtFlags))
	default:
		return errorAt(first.pos, "%s has no flags", e.kind)
	}
	return nil
}

func (p *parser) labelFormat() (stageExpr, error) {
	e := &labelFormatExpr{}
	for {
		t := p.next()
		if t.kind != tokName {
			return nil, expected("the name of a label", t)
		}
		if err := p.expect("="); err != nil {
			return nil, err
		}
		v := p.next()
		f := labelFormat{name: t.text, value: v.text, pos: v.pos}
		switch v.kind {
		case tokName:
			f.rename = true
		case tokString:
			if _, err := newTemplate(v.text, v.pos); err != nil {
				return nil, err
			}
		default:
			return nil, expected("the name of a label, or a template in double quotes or backticks", v)
		}
		if t.text == errorLabel {
			return nil, errorAt(t.pos, "%s cannot be set; drop it with | drop %s", errorLabel, errorLabel)
		}
		if slices.ContainsFunc(e.items, func(g labelFormat) bool { return g.name == f.name }) {
			return nil, errorAt(t.pos, "%s is set twice in one label_format", t.text)
		}
		if len(e.items) == maxNames {
			return nil, errorAt(t.pos, "more than %d labels are set", maxNames)
		}
		e.items = append(e.items, f)
		if !p.take(",") {
			return e, nil
		}
	}
}

func (p *parser) pick(keep bool) (stageExpr, error) {
	e := &pickExpr{keep: keep}
	for {
		t := p.next()
		if t.kind != tokName {
			return nil, expected("the name of a label", t)
		}
		x := pick{name: t.text}
		// Behind a name alone, != and !~ would begin a line filter as well; the
		// matcher is what the grammar says.
		if slices.Contains(matchOps, p.peek().kind) {
			m, err := p.matcherOf(t)
			if err != nil {
				return nil, err
			}
			x.matcher = m
		}
		e.items = append(e.items, x)
		if !p.take(",") {
			return e, nil
		}
	}
}

var conversions = []string{"duration", "duration_seconds", "bytes"}

func (p *parser) unwrap(word token) (stageExpr, error) {
	t := p.next()
	if t.kind != tokName {
		return nil, expected("the name of a label", t)
	}
	e := &unwrapExpr{name: t.text, pos: word.pos}
	if !p.take("(") {
		return e, nil
	}
	if t.text = strings.ToLower(t.text); !slices.Contains(conversions, t.text) {
		return nil, errorAt(t.pos, "unknown conversion %s; there are %s%s", t.text, quoteAll(conversions), didYouMean(t.text, conversions))
	}
	e.conv = t.text
	n := p.next()
	if n.kind != tokName {
		return nil, expected("the name of a label", n)
	}
	e.name = n.text
	return e, p.expect(")")
}

// atOffset reports whether offset and a duration follow.
func (p *parser) atOffset() bool {
	t := p.peek()
	if !t.isWord("offset") {
		return false
	}
	k := p.peekAt(1).kind
	return k == tokNumber || k == "-" || k == "+"
}
