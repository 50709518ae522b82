package logql

import "fmt"

// labelStage is a compiled label filter.
type labelStage struct {
	f labelNode
}

func (s *labelStage) process(e *entry) bool { return s.f.pass(e) }

// labelNode is a comparison or two of them joined.
type labelNode interface {
	pass(e *entry) bool
}

func newLabelNode(f labelFilter) (labelNode, error) {
	switch f := f.(type) {
	case *labelExpr:
		t, err := newTest(f)
		if err != nil {
			return nil, err
		}
		return &labelTest{t}, nil
	case *boolExpr:
		l, err := newLabelNode(f.l)
		if err != nil {
			return nil, err
		}
		r, err := newLabelNode(f.r)
		if err != nil {
			return nil, err
		}
		return &labelBool{f.or, l, r}, nil
	}
	panic("logql: unknown label filter")
}

type labelBool struct {
	or   bool
	l, r labelNode
}

func (b *labelBool) pass(e *entry) bool {
	if b.l.pass(e) == b.or {
		return b.or
	}
	return b.r.pass(e)
}

// labelTest is one comparison. A value that cannot be compared with a number
// is an error, which keeps the row and labels it unless it is so already. Rows
// with an error pass a comparison with an address.
type labelTest struct {
	*test
}

func (t *labelTest) pass(e *entry) bool {
	if t.ips != nil && e.err != "" {
		return true
	}
	v, ok := e.get(t.name)
	switch {
	case t.ips != nil:
		return ok && t.match(v)
	case !t.isNo:
		return t.match(v)
	case !ok:
		return false
	}
	x, ok := t.convert(v)
	if ok {
		return t.compare(x)
	}
	if e.err == "" {
		e.fail(errFilter, fmt.Sprintf("%s: %.100q is not a %s", t.name, v, [...]string{"number", "duration", "size"}[t.num.unit]))
	}
	return true
}

// pickStage is drop or keep.
type pickStage struct {
	keep  bool
	items []pickItem
	names []string
}

type pickItem struct {
	name string
	m    *Matcher
}

func newPickStage(e *pickExpr) (*pickStage, error) {
	s := &pickStage{keep: e.keep}
	for _, p := range e.items {
		it := pickItem{name: p.name}
		if p.matcher != nil {
			sel, err := newSelector([]*labelExpr{p.matcher})
			if err != nil {
				return nil, err
			}
			it.m = sel.matchers[0]
		}
		s.items = append(s.items, it)
	}
	return s, nil
}

func (s *pickStage) process(e *entry) bool {
	if !s.keep {
		for i := range s.items {
			if it := &s.items[i]; it.m == nil {
				e.remove(it.name)
			} else if v, ok := e.get(it.name); ok && it.m.Match(v) {
				e.remove(it.name)
			}
		}
		return true
	}
	// The names first: removing while looking would skip some.
	s.names = s.names[:0]
	for _, ls := range [][]Label{e.base, e.meta, e.parsed} {
		for i := range ls {
			if !s.keeps(e, ls[i].Name) {
				s.names = append(s.names, ls[i].Name)
			}
		}
	}
	for _, n := range s.names {
		e.remove(n)
	}
	return true
}

func (s *pickStage) keeps(e *entry, name string) bool {
	for i := range s.items {
		if it := &s.items[i]; it.name == name {
			if it.m == nil {
				return true
			}
			if v, _ := e.get(name); it.m.Match(v) {
				return true
			}
		}
	}
	return false
}
