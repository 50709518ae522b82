package logql

import "bytes"

// lineFilter is a compiled line filter. It may be used concurrently.
type lineFilter struct {
	not  bool
	alts []lineTest
}

// lineTest is one of a line filter's texts.
type lineTest struct {
	text []byte
	re   *pattern
	like *likePattern
	ips  *ips
}

func newLineFilter(e *lineExpr) (*lineFilter, error) {
	f := &lineFilter{not: e.op == opContainsNot || e.op == opMatchesNot || e.op == opLikeNot}
	for _, a := range e.alts {
		t := lineTest{text: []byte(a.text)}
		var err error
		switch {
		case a.ip:
			if t.ips, err = parseIPs(a.text); err != nil {
				err = errorAt(a.pos, "%v", err)
			}
		case e.op == opMatches || e.op == opMatchesNot:
			t.re, err = newPattern(a.text, false, a.pos)
		case e.op == opLike || e.op == opLikeNot:
			t.like, err = newLikePattern(a.text, a.pos)
		}
		if err != nil {
			return nil, err
		}
		f.alts = append(f.alts, t)
	}
	return f, nil
}

func (t *lineTest) match(line []byte) bool {
	switch {
	case t.re != nil:
		return t.re.match(view(line))
	case t.like != nil:
		return t.like.match(line)
	case t.ips != nil:
		return t.ips.matchLine(line)
	}
	return bytes.Contains(line, t.text)
}

// match reports whether the line passes.
func (f *lineFilter) match(line []byte) bool {
	for i := range f.alts {
		if f.alts[i].match(line) {
			return !f.not
		}
	}
	return f.not
}

func (f *lineFilter) eval(r *lookup) bool { return f.match(r.b.Body(r.i)) }

func (f *lineFilter) process(e *entry) bool { return f.match(e.line) }

// needles returns what a line must contain to pass, nil if nothing certain can
// be said.
func (f *lineFilter) needles() []Needle {
	if f.not {
		return nil
	}
	var out []Needle
	for i := range f.alts {
		t := &f.alts[i]
		var some []Needle
		switch {
		case t.re != nil:
			some = t.re.needles()
		case t.like != nil:
			if n := t.like.needle(); len(n) > 0 {
				some = []Needle{{Text: n}}
			}
		case t.ips == nil && len(t.text) > 0:
			some = []Needle{{Text: t.text}}
		}
		if some == nil {
			return nil
		}
		out = append(out, some...)
	}
	return out
}
