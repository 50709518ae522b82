package api

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/weirlog/weir/logql"
)

// volumeRange is /index/volume_range: bytes of lines by labels and step. Unlike
// volume it counts the lines themselves, as a query for bytes_over_time would,
// in steps that begin at multiples of the step.
func (s *Server) volumeRange(ctx context.Context, q *request) error {
	p, err := s.volumeParams(q)
	if err != nil {
		return err
	}
	every, err := step(q.form, p.start, p.end)
	if err != nil {
		return err
	}
	by := p.targets
	if p.byLabels && len(by) == 0 {
		if by, err = s.labelNames(ctx, q, &p); err != nil {
			return err
		}
	}
	first := p.start - mod(p.start, every) + every // the end of the first step
	params := logql.Params{Start: first - 1, End: first - 1 + (p.end-first+every)/every*every, Step: every, Now: q.now, Limits: s.cfg.Limits.Query}
	if p.end <= first { // one step
		params.End = params.Start
	}
	expr, err := logql.Parse("sum by (" + strings.Join(by, ",") + ") (bytes_over_time(" + selectorText(p.sel) + "[" + strconv.FormatInt(every, 10) + "ns]))")
	if err != nil {
		return err
	}
	// The first and the last step are cut by the bounds.
	res, err := logql.Run(ctx, within{s.cfg.Store.Source(q.tenant), p.start, p.end}, expr, params)
	if err != nil {
		return err
	}
	u := sums{max: orMax(s.cfg.Limits.Names)}
	for _, series := range res.Series {
		p.groups(series.Labels, func(labels []logql.Label) {
			sum, failed := u.add(labels)
			if failed != nil {
				err = failed
				return
			}
			sum.Points = addPoints(sum.Points, series.Points)
		})
	}
	if err != nil {
		return err
	}
	out := u.largest(p.limit)
	for i := range out {
		for j := range out[i].Points {
			pt := &out[i].Points[j]
			// A step is named by its last millisecond, the last one by the end.
			pt.Time = min(pt.Time+1-1e6, p.end)
			if pt.Time+1e6 > p.end {
				pt.Time = p.end
			}
		}
	}
	return s.writeNumbers(q, logql.Matrix, out, s.queryStats(q, res.Stats, len(out)))
}

// labelNames returns the names that the selected streams have.
func (s *Server) labelNames(ctx context.Context, q *request, p *volumeParams) ([]string, error) {
	var names []string
	err := s.streams(ctx, q, p.sel, p.start, p.end, func(st StreamStats) error {
		for _, l := range st.Labels {
			if at, ok := slices.BinarySearch(names, l.Name); !ok {
				names = slices.Insert(names, at, l.Name)
			}
		}
		return nil
	})
	return names, err
}

// addPoints adds b to a, by time; both ascend.
func addPoints(a, b []logql.Point) []logql.Point {
	out := make([]logql.Point, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].Time < b[0].Time:
			out, a = append(out, a[0]), a[1:]
		case a[0].Time > b[0].Time:
			out, b = append(out, b[0]), b[1:]
		default:
			out = append(out, logql.Point{Time: a[0].Time, Value: a[0].Value + b[0].Value})
			a, b = a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// mod is the remainder that is not negative.
func mod(a, b int64) int64 { return ((a % b) + b) % b }

// selectorText writes a selector as it stands in a query.
func selectorText(sel *logql.Selector) string {
	b := []byte("{")
	for i, m := range sel.Matchers() {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(append(b, m.Name()...), m.Op()...)
		b = strconv.AppendQuote(b, m.Value())
	}
	return string(append(b, '}'))
}

// within is a source of which only [start, end) is looked at.
type within struct {
	logql.Source
	start, end int64
}

// Select implements logql.Source.
func (w within) Select(ctx context.Context, req *logql.Request) (logql.Cursor, error) {
	r := *req
	r.Start, r.End = max(r.Start, w.start), min(r.End, w.end)
	return w.Source.Select(ctx, &r)
}
