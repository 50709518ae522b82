package logql

import (
	"slices"
	"strings"

	"github.com/weirlog/weir/record"
)

// stage is one compiled stage; it changes the entry and reports whether it is
// kept.
type stage interface {
	process(e *entry) bool
}

// pipeline is a compiled log query. It is for one goroutine.
type pipeline struct {
	selector *Selector
	lines    []*lineFilter // before anything else, as the line is still itself
	stages   []stage

	hints []hint // of the stages, decided before them

	needles    Needles
	severities SeverityMask
	refs       refs
	parses     bool // a stage looks into the line
	changes    bool // a stage may change the line
	onlyJSON   bool // the one stage that looks at the line is a plain json
}

// refs are the labels that stages look at.
type refs struct {
	names []string
	all   bool
	line  bool // a template looks at the line
	time  bool // a template looks at the row's time
}

func (r *refs) add(names ...string) {
	for _, n := range names {
		if !slices.Contains(r.names, n) {
			r.names = append(r.names, n)
		}
	}
}

// newPipeline compiles a query. Of the labels that a line's text holds, only
// those that stages look at and those of out are extracted; all if allOut.
func newPipeline(q *LogExpr, tail []stageExpr, out []string, allOut bool) (*pipeline, error) {
	p := &pipeline{}
	var err error
	if p.selector, err = newSelector(q.selector); err != nil {
		return nil, err
	}
	p.refs.add(out...)
	p.refs.all = allOut
	parsers, early, hinting, pure := 0, true, false, true
	p.onlyJSON = true
	mask := selectorSeverities(p.selector)
	for _, x := range slices.Concat(q.stages, tail) {
		s, err := p.compile(x)
		if err != nil {
			return nil, err
		}
		switch x := x.(type) {
		case *lineExpr:
			if !p.changes {
				p.lines = append(p.lines, s.(*lineFilter))
				continue
			}
			p.onlyJSON = false
		case labelFilter:
			if early {
				mask &= filterSeverities(x)
			}
			if hinting {
				p.hints = hints(p.hints, x)
			}
		case *parserExpr:
			parsers++
			early = false
			hinting = parsers == 1 && pure && x.kind != "unpack"
			p.parses = true
			p.changes = p.changes || x.kind == "unpack"
			p.onlyJSON = p.onlyJSON && x.kind == "json" && len(x.fields) == 0 && parsers == 1
		case *captureExpr:
			early, p.parses, p.onlyJSON = false, true, false
			hinting = false
		case *lineFormatExpr, *decolorizeExpr:
			hinting, pure = false, false
			p.changes, p.parses, p.onlyJSON = true, true, false
		default: // label_format, drop, keep
			early, hinting, pure = false, false, false
		}
		p.stages = append(p.stages, s)
	}
	p.onlyJSON = p.onlyJSON && parsers == 1 && len(p.lines) == 0 && !p.refs.line
	p.parses = p.parses || p.refs.line
	p.setWanted()
	for _, f := range p.lines {
		if ns := f.needles(); ns != nil && len(ns) <= maxSet {
			p.needles = append(p.needles, ns)
		}
	}
	if mask != allSeverities {
		p.severities = mask
		if mask == 0 {
			p.severities = noSeverity
		}
	}
	return p, nil
}

func (p *pipeline) compile(x stageExpr) (stage, error) {
	switch x := x.(type) {
	case *lineExpr:
		return newLineFilter(x)
	case labelFilter:
		p.refs.addFilter(x)
		n, err := newLabelNode(x)
		return &labelStage{n}, err
	case *parserExpr:
		return newParserStage(x)
	case *captureExpr:
		if x.kind == "regexp" {
			return newRegexpStage(x)
		}
		return newPatternStage(x)
	case *lineFormatExpr:
		t, err := newTemplate(x.text, x.pos)
		if err == nil {
			p.refs.addTemplate(t)
		}
		return &lineFormatStage{t}, err
	case *labelFormatExpr:
		s, err := newLabelFormatStage(x)
		if err != nil {
			return nil, err
		}
		for i, t := range s.ts {
			if t != nil {
				p.refs.addTemplate(t)
			} else {
				p.refs.add(s.items[i].value)
			}
		}
		return s, nil
	case *pickExpr:
		for _, it := range x.items {
			if it.matcher != nil {
				p.refs.add(it.name)
			}
		}
		return newPickStage(x)
	case *decolorizeExpr:
		return decolorizeStage{}, nil
	}
	panic("logql: unknown stage")
}

func newParserStage(x *parserExpr) (stage, error) {
	switch {
	case x.kind == "unpack":
		return &unpackStage{}, nil
	case x.kind == "logfmt":
		return &logfmtStage{strict: x.strict, keepEmpty: x.keepEmpty, fields: x.fields}, nil
	case len(x.fields) == 0:
		return &jsonStage{}, nil
	}
	s := &jsonPathStage{}
	for _, f := range x.fields {
		path, err := parseJSONPath(f.expr, f.pos)
		if err != nil {
			return nil, err
		}
		s.items = append(s.items, jsonPathItem{f.label, path})
	}
	return s, nil
}

func (r *refs) addFilter(f labelFilter) {
	switch f := f.(type) {
	case *labelExpr:
		r.add(f.name)
	case *boolExpr:
		r.addFilter(f.l)
		r.addFilter(f.r)
	}
}

func (r *refs) addTemplate(t *template) {
	r.add(t.names...)
	r.all = r.all || t.all
	r.line = r.line || t.line
	r.time = r.time || t.time
	for _, p := range t.parts {
		r.line = r.line || p == templatePart{}
	}
}

// setWanted tells the parsers what is looked at.
func (p *pipeline) setWanted() {
	if p.refs.all {
		return
	}
	w := newWanted(p.refs.names)
	for _, s := range p.stages {
		switch s := s.(type) {
		case *jsonStage:
			s.want = w
		case *logfmtStage:
			s.want = w
		}
	}
}

// run sends an entry through; it reports whether it is kept.
func (p *pipeline) run(e *entry) bool {
	for _, f := range p.lines {
		if !f.match(e.line) {
			return false
		}
	}
	return p.runStages(e)
}

func (p *pipeline) runStages(e *entry) bool {
	for _, s := range p.stages {
		if !s.process(e) {
			return false
		}
	}
	return true
}

// selected reports whether an entry of a stream about which the selector said
// Maybe matches.
func (p *pipeline) selected(e *entry) bool {
	for _, m := range p.selector.matchers {
		v, _ := e.get(m.name)
		if !m.Match(v) {
			return false
		}
	}
	return true
}

// columns returns what a source must deliver. size asks for the length of the
// line as it ends up.
func (p *pipeline) columns(size bool) Columns {
	c := Columns{AllMeta: p.refs.all, Severity: p.refs.all}
	for _, n := range p.refs.names {
		if n == levelName || n == detectedLevelName {
			c.Severity = true
		}
	}
	if !p.refs.all {
		for _, n := range p.refs.names {
			if !strings.HasPrefix(n, "__error") {
				c.Meta = append(c.Meta, strings.TrimSuffix(n, duplicateSuffix))
			}
			if n == levelName {
				c.Meta = append(c.Meta, detectedLevelName)
			}
		}
	}
	switch {
	case p.onlyJSON && !p.refs.all && !size && p.asFields():
		c.Fields = slices.DeleteFunc(slices.Clone(p.refs.names), func(n string) bool { return strings.HasPrefix(n, "__error") })
		if len(c.Fields) == 0 { // only whether it is an object matters
			c.Body = true
		}
	case p.parses || len(p.lines) > 0:
		c.Body = true
	case size:
		c.Size = true
	}
	return c
}

// asFields reports whether extracted fields can stand for the line.
func (p *pipeline) asFields() bool {
	return !slices.ContainsFunc(p.refs.names, func(n string) bool { return strings.HasSuffix(n, duplicateSuffix) })
}

const (
	allSeverities SeverityMask = 1<<25 - 1
	noSeverity    SeverityMask = 1 << 31
)

// severityMask returns the severities whose level passes.
func severityMask(pass func(level string) bool) SeverityMask {
	var m SeverityMask
	for s := record.Severity(0); s < 25; s++ {
		if pass(s.Level()) {
			m |= 1 << s
		}
	}
	return m
}

func isLevel(name string) bool { return name == levelName || name == detectedLevelName }

func selectorSeverities(s *Selector) SeverityMask {
	mask := allSeverities
	for _, m := range s.matchers {
		if isLevel(m.name) {
			mask &= severityMask(m.Match)
		}
	}
	return mask
}

// filterSeverities returns the severities with which a label filter can hold.
func filterSeverities(f labelFilter) SeverityMask {
	switch f := f.(type) {
	case *labelExpr:
		if !isLevel(f.name) || f.isNum || f.ip {
			return allSeverities
		}
		t, err := newTest(f)
		if err != nil {
			return allSeverities
		}
		return severityMask(t.match)
	case *boolExpr:
		l, r := filterSeverities(f.l), filterSeverities(f.r)
		if f.or {
			return l | r
		}
		return l & r
	}
	return allSeverities
}

// Row is one entry as a source has it.
type Row struct {
	Time   int64 // Unix nanoseconds
	Line   []byte
	Labels []Label // of the stream, sorted
	Meta   []Label // structured metadata
	// Severity, if HasSeverity, is what detected_level and level say.
	Severity    record.Severity
	HasSeverity bool
}

// Processed is what a pipeline made of a row, valid until its next one.
type Processed struct {
	Time int64
	Line []byte
	// Labels are all labels, sorted. Stream, Meta and Parsed are the same by
	// where they come from: the stream, structured metadata, the query's stages.
	Labels, Stream, Meta, Parsed []Label
	// Origin, where Entries says it, is the stream whose labels Stream is.
	Origin *Stream

	own []Label // Stream, where it is not a stream's
}

// Pipeline applies a log query to single rows, for tails. It is for one
// goroutine.
type Pipeline struct {
	p   *pipeline
	e   entry
	out Processed
}

// NewPipeline compiles a log query. now is what templates take for the time of
// the query, in Unix nanoseconds.
func NewPipeline(q *LogExpr, now int64) (*Pipeline, error) {
	p, err := newPipeline(q, nil, nil, true)
	if err != nil {
		return nil, err
	}
	return &Pipeline{p: p, e: entry{now: now}}, nil
}

// Needles returns texts without which a line cannot pass.
func (p *Pipeline) Needles() Needles { return p.p.needles }

// Process applies the selector and the stages to a row. It reports whether the
// row passes.
func (p *Pipeline) Process(r *Row) (*Processed, bool) {
	e := &p.e
	for _, f := range p.p.lines {
		if !f.match(r.Line) {
			return nil, false
		}
	}
	e.reset(r.Labels, r.Line, r.Time)
	for _, l := range r.Meta {
		e.addMeta(l.Name, l.Value)
	}
	if r.HasSeverity {
		e.setSeverity(r.Severity)
	}
	if !p.p.selected(e) || !p.p.runStages(e) {
		return nil, false
	}
	p.out.fill(e, true)
	return &p.out, true
}

// fill takes the labels by where they come from, and all of them together if that
// is asked for.
func (o *Processed) fill(e *entry, all bool) {
	o.Time, o.Line = e.time, e.line
	if len(e.parsed)+len(e.gone) == 0 {
		o.Stream = e.base
	} else {
		o.own = e.appendLive(o.own[:0], e.base)
		o.Stream = o.own
	}
	o.Meta = e.appendLive(o.Meta[:0], e.meta)
	o.Parsed = append(o.Parsed[:0], e.parsed...)
	if e.err != "" {
		o.Parsed = append(o.Parsed, Label{Name: errorLabel, Value: e.err})
	}
	if e.details != "" {
		o.Parsed = append(o.Parsed, Label{Name: detailsLabel, Value: e.details})
	}
	o.Parsed, o.Meta = dropEmpty(o.Parsed), dropEmpty(o.Meta)
	sortLabels(o.Meta)
	sortLabels(o.Parsed)
	if !all {
		return
	}
	o.Labels = append(append(append(o.Labels[:0], o.Stream...), o.Meta...), o.Parsed...)
	sortLabels(o.Labels)
}

// String shows the row for tests and messages.
func (o *Processed) String() string {
	return string(appendLabels(nil, o.Labels)) + " " + string(o.Line)
}

// appendLabels writes labels as a selector would.
func appendLabels(dst []byte, ls []Label) []byte {
	dst = append(dst, '{')
	for i, l := range ls {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendQuoted(append(append(dst, l.Name...), '='), l.Value)
	}
	return append(dst, '}')
}
