package logql

import (
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// Condition decides about records. It keeps what it learns about streams and
// some memory for looking into bodies, so it is for one goroutine; others use
// a Clone.
type Condition struct {
	expr     *LogExpr
	selector []*test     // all must hold
	stages   []predicate // in the order written
	leaves   []*test     // every comparison, by number

	verdicts []verdict
	scan     lookup
}

// verdict is what is known about a stream before looking at a record: per
// comparison (the first 64), whether the stream's attributes decide it, and
// how.
type verdict struct {
	stream       *record.Stream
	known, value uint64
	// out: a comparison of the selector is decided and fails. in: all of them
	// are decided and hold.
	out, in bool
}

// verdictSlots bounds the streams that are remembered; a batch's stream table
// is usually much shorter.
const verdictSlots = 256

// ParseCondition parses a selector followed by line filters and label filters.
// A non-nil error is a *SyntaxError.
func ParseCondition(s string) (*Condition, error) {
	p, err := newParser(s)
	if err != nil {
		return nil, err
	}
	p.condition = true
	e, err := p.logExpr()
	if err != nil {
		return nil, locate(err, s)
	}
	if t := p.peek(); t.kind != tokEnd {
		return nil, locate(expected("a line filter (|= != |~ !~ |> !>) or | and a label filter", t), s)
	}
	return compileCondition(e, p.leaves)
}

// ParseSelector parses a selector without filters, for rules about streams
// (exclude). A non-nil error is a *SyntaxError.
func ParseSelector(s string) (*Condition, error) {
	p, err := newParser(s)
	if err != nil {
		return nil, err
	}
	e := &LogExpr{}
	if e.selector, err = p.selector(); err != nil {
		return nil, locate(err, s)
	}
	if t := p.peek(); t.kind != tokEnd {
		return nil, locate(expected("the end: only a selector can stand here, as it is decided before lines are read", t), s)
	}
	return compileCondition(e, p.leaves)
}

func compileCondition(e *LogExpr, leaves int) (*Condition, error) {
	c := &Condition{expr: e, leaves: make([]*test, leaves)}
	for _, m := range e.selector {
		t, err := newTest(m)
		if err != nil {
			return nil, err
		}
		c.leaves[m.leaf] = t
		c.selector = append(c.selector, t)
	}
	for _, s := range e.stages {
		var p predicate
		var err error
		switch s := s.(type) {
		case *lineExpr:
			p, err = newLineFilter(s)
		case labelFilter:
			p, err = c.labelPredicate(s)
		}
		if err != nil {
			return nil, err
		}
		c.stages = append(c.stages, p)
	}
	return c, nil
}

func (c *Condition) labelPredicate(f labelFilter) (predicate, error) {
	switch f := f.(type) {
	case *labelExpr:
		t, err := newTest(f)
		if err != nil {
			return nil, err
		}
		c.leaves[f.leaf] = t
		return t, nil
	case *boolExpr:
		l, err := c.labelPredicate(f.l)
		if err != nil {
			return nil, err
		}
		r, err := c.labelPredicate(f.r)
		if err != nil {
			return nil, err
		}
		return &both{f.or, l, r}, nil
	}
	panic("logql: unknown label filter")
}

// Clone returns a Condition for another goroutine.
func (c *Condition) Clone() *Condition {
	d := *c
	d.verdicts, d.scan = nil, lookup{}
	return &d
}

// String returns the condition in its usual form. It parses to an equal
// condition.
func (c *Condition) String() string { return c.expr.String() }

// MatchStream reports whether the selector agrees with the stream's
// attributes alone; a name the stream does not have is the empty string. It
// may be called concurrently.
func (c *Condition) MatchStream(s *record.Stream) bool {
	for _, t := range c.selector {
		if !t.match(s.Get(t.name)) {
			return false
		}
	}
	return true
}

// Match reports whether record i of b matches.
func (c *Condition) Match(b *record.Batch, i int) bool {
	idx := b.Record(i).Stream
	s := b.Streams()[idx].Stream
	if c.verdicts == nil {
		c.verdicts = make([]verdict, verdictSlots)
	}
	v := &c.verdicts[idx%verdictSlots]
	if v.stream != s {
		c.decide(v, s)
	}
	if v.out {
		return false
	}
	if v.in && len(c.stages) == 0 {
		return true
	}
	r := &c.scan
	r.b, r.i, r.v, r.scanned = b, i, v, notScanned
	ok := v.in || c.selected(r)
	for k := 0; ok && k < len(c.stages); k++ {
		ok = c.stages[k].eval(r)
	}
	r.b, r.v = nil, nil
	return ok
}

func (c *Condition) selected(r *lookup) bool {
	for _, t := range c.selector {
		if !t.eval(r) {
			return false
		}
	}
	return true
}

// decide fills v with what the attributes of s say.
func (c *Condition) decide(v *verdict, s *record.Stream) {
	*v = verdict{stream: s, in: true}
	for k, t := range c.leaves {
		text := ""
		if s != nil {
			text = s.Get(t.name)
		}
		selector := k < len(c.selector)
		if text == "" || k >= 64 {
			v.in = v.in && !selector
			continue
		}
		v.known |= 1 << k
		if t.match(text) {
			v.value |= 1 << k
		} else if selector {
			v.out = true
		}
	}
}

// predicate is a compiled stage or a part of one.
type predicate interface {
	eval(r *lookup) bool
}

// both joins two predicates.
type both struct {
	or   bool
	l, r predicate
}

func (p *both) eval(r *lookup) bool {
	if p.or {
		return p.l.eval(r) || p.r.eval(r)
	}
	return p.l.eval(r) && p.r.eval(r)
}

// lookup finds the values of one record.
type lookup struct {
	b       *record.Batch
	i       int
	v       *verdict
	scanned scanState
	scanner json.Scanner
	buf     []byte
}

type scanState uint8

const (
	notScanned scanState = iota
	isObject
	noObject
)

// value returns what the name means for the record, beyond its stream's
// attributes. The result is valid until the next call.
func (r *lookup) value(t *test) string {
	rec := r.b.Record(r.i)
	if t.level && rec.Severity != record.Unknown {
		return rec.Severity.Level()
	}
	if v, ok := r.field(t.name); ok {
		return v
	}
	if v, ok := r.member(t, rec); ok {
		return v
	}
	if t.level {
		return rec.Severity.Level()
	}
	return ""
}

func (r *lookup) field(name string) (string, bool) {
	fs := r.b.Fields(r.i)
	if len(fs) == 0 {
		return "", false
	}
	f, ok := r.b.FindField(r.i, name)
	for k := len(fs) - 1; !ok && k >= 0; k-- {
		if sanitizedEqual(r.b.KeyName(fs[k].Key), name) {
			f, ok = fs[k], true
		}
	}
	if !ok || f.Kind == record.Null {
		return "", ok
	}
	return view(r.b.Bytes(f.Val)), true
}

func (r *lookup) member(t *test, rec *record.Record) (string, bool) {
	body := r.b.Bytes(rec.Body)
	if r.scanned == notScanned {
		if len(body) < 2 || body[0] != '{' || body[len(body)-1] != '}' {
			r.scanned = noObject
			return "", false
		}
		if t.isKnown && rec.Flags.Has(record.JSONObject) && rec.KnownKeys&(1<<t.known) == 0 {
			return "", false // the step that checked the object did not see it
		}
		r.scanned = noObject
		if r.scanner.Object(body) {
			r.scanned = isObject
		}
	}
	if r.scanned == noObject {
		return "", false
	}
	m, ok := r.scanner.Find(body, t.name)
	if !ok {
		for k := range r.scanner.Members {
			if x := &r.scanner.Members[k]; !x.Escaped && sanitizedEqual(view(body[x.Key.Off:x.Key.End()]), t.name) {
				m, ok = *x, true
				break
			}
		}
	}
	if !ok || m.Kind == record.Null {
		return "", ok
	}
	v := body[m.Val.Off:m.Val.End()]
	if m.ValEscaped {
		r.buf = json.Unescape(r.buf[:0], v)
		v = r.buf
	}
	return view(v), true
}

// sanitizedEqual reports whether name is key with every byte but letters,
// digits and underscores replaced by an underscore.
func sanitizedEqual(key, name string) bool {
	if len(key) != len(name) {
		return false
	}
	for i := range len(key) {
		c := key[i]
		if !isNameStart(c) && !isDigit(c) {
			c = '_'
		}
		if c != name[i] {
			return false
		}
	}
	return true
}
