package logql

// Names under which a row's severity is found, unless it has labels of that
// name.
const (
	levelName         = "level"
	detectedLevelName = "detected_level"
)

// Matcher compares the value of one label. It may be used concurrently.
type Matcher struct {
	name  string
	op    op
	value string
	re    *pattern
}

// Name returns the label's name.
func (m *Matcher) Name() string { return m.name }

// Op returns the operator: = != =~ !~.
func (m *Matcher) Op() string { return string(m.op) }

// Value returns what is compared with: a text or a regular expression.
func (m *Matcher) Value() string { return m.value }

// Match reports whether the value matches; a label that is not there is the
// empty string.
func (m *Matcher) Match(v string) bool {
	switch m.op {
	case opEq:
		return v == m.value
	case opNeq:
		return v != m.value
	case opRe:
		return m.re.match(v)
	default: // opNre
		return !m.re.match(v)
	}
}

// Equals returns the values of which the label must have one, if the matcher
// is such (= or an alternation of texts), for lookups in an index. A value may
// be the empty string.
func (m *Matcher) Equals() ([]string, bool) {
	switch m.op {
	case opEq:
		return []string{m.value}, true
	case opRe:
		switch m.re.how {
		case is:
			return []string{m.re.text}, true
		case oneOf:
			out := make([]string, 0, len(m.re.set))
			for s := range m.re.set {
				out = append(out, s)
			}
			return out, true
		}
	}
	return nil, false
}

// Selector is the part of a query in braces. It may be used concurrently.
type Selector struct {
	matchers []*Matcher
	names    []string
}

// Verdict is what a stream says about its rows.
type Verdict uint8

// Verdicts. Maybe means that it depends on the row's structured metadata or
// severity.
const (
	No Verdict = iota
	Maybe
	Yes
)

// Matchers returns the matchers in the order written. Do not modify.
func (s *Selector) Matchers() []*Matcher { return s.matchers }

// Names returns the names that are matched, without doubles. Do not modify.
func (s *Selector) Names() []string { return s.names }

// Stream reports whether rows of a stream with these labels match. A name that
// is not among the labels is looked for in each row's structured metadata and,
// for level and detected_level, its severity: then the verdict is Maybe. A
// source that knows that no row of the stream has metadata of a name can ask
// Decided.
func (s *Selector) Stream(labels []Label) Verdict {
	v := Yes
	for _, m := range s.matchers {
		text, ok := find(labels, m.name)
		switch {
		case !ok:
			v = Maybe
		case !m.Match(text):
			return No
		}
	}
	return v
}

// Decided is Stream for a stream whose rows have, beside the labels, only
// metadata whose names has reports; for level and detected_level has must be
// true unless no row has a severity.
func (s *Selector) Decided(labels []Label, has func(name string) bool) Verdict {
	v := Yes
	for _, m := range s.matchers {
		text, ok := find(labels, m.name)
		switch {
		case !ok && has(m.name):
			v = Maybe
		case !m.Match(text):
			return No
		}
	}
	return v
}

func newSelector(ms []*labelExpr) (*Selector, error) {
	s := &Selector{}
	for _, e := range ms {
		m := &Matcher{name: e.name, op: e.op, value: e.text}
		if e.op == opRe || e.op == opNre {
			var err error
			if m.re, err = newPattern(e.text, true, e.pos); err != nil {
				return nil, err
			}
		}
		s.matchers = append(s.matchers, m)
		known := false
		for _, n := range s.names {
			known = known || n == m.name
		}
		if !known {
			s.names = append(s.names, m.name)
		}
	}
	return s, nil
}

// find returns the value of a label in a sorted set.
func find(labels []Label, name string) (string, bool) {
	for i := range labels {
		if labels[i].Name >= name {
			if labels[i].Name == name {
				return labels[i].Value, true
			}
			break
		}
	}
	return "", false
}
