package logql

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
)

// value is an intermediate result: a number, or series.
type value struct {
	scalar bool
	num    float64
	m      *matrix
}

// metricRun is the evaluation of one metric query.
type metricRun struct {
	ctx   context.Context
	src   Source
	p     *Params
	g     grid
	stats *Stats
	cells int64
}

func runMetric(ctx context.Context, src Source, q MetricExpr, p *Params) (*Result, error) {
	g, err := newGrid(p)
	if err != nil {
		return nil, err
	}
	res := &Result{Kind: Matrix}
	if p.Step <= 0 {
		res.Kind = Vector
	}
	r := &metricRun{ctx: ctx, src: src, p: p, g: g, stats: &res.Stats}
	v, err := r.eval(q)
	if err != nil {
		return res, err
	}
	if v.scalar {
		if res.Kind == Vector {
			res.Kind = Scalar
		}
		v.m = r.constant(v.num)
	}
	res.Series = v.m.result(g, res.Kind)
	if m := p.Limits.MaxSeries; m > 0 && len(res.Series) > m {
		return res, &LimitError{"series in the answer", int64(m)}
	}
	for i := range res.Series {
		res.Stats.Entries += int64(len(res.Series[i].Points))
	}
	return res, nil
}

// constant is one series without labels that has the value at every step.
func (r *metricRun) constant(v float64) *matrix {
	s := &series{v: make([]float64, r.g.n)}
	for k := range s.v {
		s.v[k] = v
	}
	return &matrix{series: []*series{s}}
}

// hold counts memory.
func (r *metricRun) hold(cells int) error {
	r.cells += int64(cells)
	r.stats.MaxCells = max(r.stats.MaxCells, r.cells)
	if m := r.p.Limits.MaxCells; m > 0 && r.cells > int64(m) {
		return &LimitError{"numbers at a time (series × steps, or samples)", int64(m)}
	}
	return nil
}

func (r *metricRun) eval(q MetricExpr) (value, error) {
	if err := r.ctx.Err(); err != nil {
		return value{}, err
	}
	switch q := q.(type) {
	case *numberExpr:
		return value{scalar: true, num: q.value}, nil
	case *vectorLitExpr:
		return value{m: r.constant(q.value)}, nil
	case *rangeExpr:
		m, err := r.evalRange(q, q.group)
		return value{m: m}, err
	case *vectorExpr:
		m, err := r.evalVector(q)
		return value{m: m}, err
	case *binaryExpr:
		return r.evalBinary(q)
	case *replaceExpr:
		m, err := r.evalReplace(q)
		return value{m: m}, err
	}
	panic("logql: unknown expression")
}

// additive reports whether the sum of the function's series over groups is the
// function over the groups' rows.
func (e *rangeExpr) additive() bool {
	switch e.fn {
	case "count_over_time", "rate", "bytes_over_time", "bytes_rate", "sum_over_time":
		return true
	}
	return false
}

func (r *metricRun) evalVector(q *vectorExpr) (*matrix, error) {
	if in, ok := q.inner.(*rangeExpr); ok && q.fn == "sum" && in.additive() {
		g := q.group
		if g == nil {
			g = &grouping{}
		}
		return r.evalRange(in, g)
	}
	v, err := r.eval(q.inner)
	if err != nil {
		return nil, err
	}
	before := len(v.m.series)
	m := r.aggregate(q, v.m)
	r.cells -= int64((before - len(m.series)) * r.g.n)
	return m, nil
}

// ranger sums up the rows of one range expression.
type ranger struct {
	*scan
	run   *metricRun
	e     *rangeExpr
	kind  rangeKind
	group *grouping
	w     window

	bySeries map[string]*accumulator
	all      []*accumulator
	key      []byte
	labels   []Label
	memo     memo
}

// evalRange evaluates a function over ranges, its series grouped; nil is all
// labels.
func (r *metricRun) evalRange(e *rangeExpr, group *grouping) (*matrix, error) {
	if e.fn == "absent_over_time" {
		group = &grouping{}
	}
	var tail []stageExpr
	out := []string{}
	all := group == nil || group.without
	if !all {
		out = group.names
	}
	if e.unwrap != nil {
		out = append(slices.Clone(out), e.unwrap.name)
	}
	for _, f := range e.after {
		tail = append(tail, f)
	}
	out = appendFilterNames(out, e.after)
	log := &LogExpr{selector: e.log.selector}
	var err error
	if log.stages, err = prune(e.log.stages, e.kind() == kindBytes, all, out); err != nil {
		return nil, err
	}
	pl, err := newPipeline(log, nil, out, all)
	if err != nil {
		return nil, err
	}
	x := &ranger{
		scan: newScan(r.ctx, pl, r.p, r.stats), run: r, e: e, kind: e.kind(), group: group,
		w:        window{g: r.g, interval: e.interval, offset: e.offset},
		bySeries: make(map[string]*accumulator),
	}
	after, err := newPipeline(&LogExpr{}, tail, nil, true)
	if err != nil {
		return nil, err
	}
	if err := x.read(after.stages); err != nil {
		return nil, err
	}
	return x.finish()
}

func appendFilterNames(names []string, fs []labelFilter) []string {
	r := refs{names: slices.Clone(names)}
	for _, f := range fs {
		r.addFilter(f)
	}
	return r.names
}

func (x *ranger) read(after []stage) error {
	r, e := x.run, x.e
	req := &Request{
		Selector: x.p.selector, Order: AnyOrder,
		Start: r.g.start - e.offset - e.interval + 1, End: r.g.at(r.g.n-1) - e.offset + 1,
		Needles: x.p.needles, Severities: x.p.severities, Columns: x.p.columns(x.kind == kindBytes),
	}
	x.fields = req.Columns.Fields
	c, err := r.src.Select(r.ctx, req)
	if err != nil {
		return err
	}
	r.stats.Selects++
	for err == nil {
		var b *Block
		if b, err = c.Next(r.ctx); err == nil {
			err = x.block(b, after)
			b.Release()
		}
	}
	if err == io.EOF {
		err = nil
	}
	err = errors.Join(err, c.Close())
	r.stats.Source.Add(c.Stats())
	return err
}

// block adds the rows of a block.
func (x *ranger) block(b *Block, after []stage) error {
	if err := x.enter(b); err != nil || b.Len() == 0 {
		return err
	}
	if !x.p.refs.time && x.memo.fits(b) {
		return x.memoized(b, after)
	}
	if len(x.p.lines) == 0 {
		for i := range b.Len() {
			if err := x.one(b, i, after); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range b.Len() {
		line := b.line(i)
		ok := true
		for _, f := range x.p.lines {
			if !f.match(line) {
				ok = false
				break
			}
		}
		if ok {
			if err := x.one(b, i, after); err != nil {
				return err
			}
		}
	}
	return nil
}

// one adds one row.
func (x *ranger) one(b *Block, i int, after []stage) error {
	k0, k1 := x.w.steps(b.Times[i])
	if k0 >= k1 {
		return nil // between the ranges
	}
	acc, v, err := x.outcome(b, i, after)
	if acc == nil {
		return err
	}
	return x.add(acc, k0, k1, b, i, v)
}

func (x *ranger) add(acc *accumulator, k0, k1 int, b *Block, i int, v float64) error {
	switch {
	case x.kind == kindCount:
		acc.addCount(k0, k1, 1, 0)
	case x.kind == kindBytes:
		n := int64(len(x.scan.e.line))
		switch {
		case b.Size != nil && b.Body == nil:
			n = int64(b.Size[i])
		case !x.p.changes && b.Body != nil:
			n = int64(b.Body[i].Len)
		}
		acc.addCount(k0, k1, 1, n)
	default:
		acc.addValue(x.kind, k0, k1, b.Times[i], v)
		if x.kind == kindPoints {
			return x.run.hold(2)
		}
	}
	return nil
}

// outcome sends a row through the query: it returns the series it belongs to
// and its value, nil if it is not kept.
func (x *ranger) outcome(b *Block, i int, after []stage) (*accumulator, float64, error) {
	if !x.row(b, i) {
		return nil, 0, nil
	}
	e := &x.scan.e
	v := 0.0
	if u := x.e.unwrap; u != nil {
		text, ok := e.get(u.name)
		if !ok {
			return nil, 0, nil
		}
		if v, ok = u.convert(text); !ok {
			e.fail(errSample, u.name+" is not a "+u.what()+": "+strconv.QuoteToASCII(text[:min(len(text), 100)]))
		}
		for _, s := range after {
			if !s.process(e) {
				return nil, 0, nil
			}
		}
	}
	if e.err != "" && !x.keepsErrors() {
		ls := slices.DeleteFunc(e.labels(nil), func(l Label) bool { return l.Name == errorLabel || l.Name == detailsLabel })
		return nil, 0, &PipelineError{e.err, string([]byte(e.details)), string(appendLabels(nil, ls))}
	}
	acc, err := x.series()
	return acc, v, err
}

// keepsErrors reports whether the row counts though a stage failed: because
// the query looks at __error__ and the row's labels are not the answer's, as in
// Loki, or because the query says so.
func (x *ranger) keepsErrors() bool {
	if g := x.group; g != nil && !g.without && x.scan.e.err != errSample && slices.Contains(x.p.refs.names, errorLabel) {
		return true
	}
	v, _ := x.scan.e.get(preserveLabel)
	return v == "true"
}

func (u *unwrapExpr) what() string {
	switch u.conv {
	case "bytes":
		return "size"
	case "duration", "duration_seconds":
		return "duration"
	}
	return "number"
}

func (u *unwrapExpr) convert(s string) (float64, bool) {
	switch u.conv {
	case "bytes":
		return parseSize(s)
	case "duration", "duration_seconds":
		return parseDuration(s)
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil || math.IsInf(v, 0) && errors.Is(err, strconv.ErrRange)
}

// series returns the series of the current entry.
func (x *ranger) series() (*accumulator, error) {
	e := &x.scan.e
	x.labels = x.labels[:0]
	if g := x.group; g != nil && !g.without {
		for _, n := range g.names {
			if v, ok := e.get(n); ok && v != "" {
				x.labels = append(x.labels, Label{Name: n, Value: v})
			}
		}
		sortLabels(x.labels)
	} else {
		x.labels = e.labels(x.labels)
		x.labels = slices.DeleteFunc(x.labels, func(l Label) bool {
			return g != nil && slices.Contains(g.names, l.Name) || x.e.unwrap != nil && l.Name == x.e.unwrap.name
		})
	}
	x.key = appendKey(x.key[:0], x.labels)
	acc := x.bySeries[string(x.key)]
	if acc != nil {
		return acc, nil
	}
	if err := x.run.hold(x.kind.cells() * x.run.g.n); err != nil {
		return nil, err
	}
	acc = newAccumulator(x.kind, x.run.g.n, cloneLabels(x.labels))
	x.bySeries[string(x.key)] = acc
	x.all = append(x.all, acc)
	return acc, nil
}

func (x *ranger) finish() (*matrix, error) {
	r, e := x.run, x.e
	m := &matrix{}
	for _, acc := range x.all {
		s := e.finish(acc, r.g)
		r.cells -= int64((x.kind.cells()-1)*r.g.n + 2*len(acc.points))
		if !s.empty() {
			m.series = append(m.series, s)
		}
	}
	if e.fn == "absent_over_time" {
		return x.absent(m), nil
	}
	return m, nil
}

// absent is 1 where the series have nothing, labelled with what the selector
// and label filters ask for.
func (x *ranger) absent(m *matrix) *matrix {
	out := &series{v: newValues(x.run.g.n)}
	for k := range out.v {
		any := slices.ContainsFunc(m.series, func(s *series) bool { return !isAbsent(s.v[k]) })
		if !any {
			out.v[k] = 1
		}
	}
	seen := make(map[string]int)
	for _, mt := range x.p.selector.matchers {
		seen[mt.name]++
	}
	for _, mt := range x.p.selector.matchers {
		if mt.op == opEq && seen[mt.name] == 1 && mt.value != "" {
			out.labels = append(out.labels, Label{Name: mt.name, Value: mt.value})
		}
	}
	sortLabels(out.labels)
	return &matrix{series: []*series{out}}
}
