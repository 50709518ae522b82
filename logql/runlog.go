package logql

import (
	"context"
	"errors"
	"math"
	"strings"
)

// Entries calls f for every line that a log query yields, in the order of
// p.Direction, until there is no more, p.Limit is reached, or f fails. What f
// gets is valid until it returns.
func Entries(ctx context.Context, src Source, q *LogExpr, p Params, f func(*Processed) error) (stats Stats, err error) {
	pl, err := newPipeline(q, nil, nil, true)
	if err != nil {
		return stats, err
	}
	if p.Direction == AnyOrder {
		p.Direction = Backward
	}
	s := newScan(ctx, pl, &p, &stats)
	req := &Request{
		Selector: pl.selector, Start: p.Start, End: p.End, Order: p.Direction,
		Needles: pl.needles, Severities: pl.severities, Columns: pl.columns(false),
	}
	req.Columns.Body, req.Columns.Size, req.Columns.Fields = true, false, nil
	if len(pl.lines) == 0 && len(pl.stages) == 0 {
		req.Limit = p.Limit
	}
	c, err := src.Select(ctx, req)
	if err != nil {
		return stats, err
	}
	stats.Selects++
	defer func() {
		err = errors.Join(err, c.Close())
		stats.Source.Add(c.Stats())
	}()
	left := math.MaxInt
	if p.Limit > 0 {
		left = p.Limit
	}
	var some []uint32
	var out Processed
	o := &ordered{c: c, order: p.Direction, enter: func(b *Block) ([]uint32, bool, error) {
		if err := s.enter(b); err != nil || len(pl.lines) == 0 {
			return nil, false, err
		}
		some = s.lines(some[:0], b)
		return some, true, nil
	}}
	rows := 0
	err = o.each(ctx, func(b *Block, row int) (bool, error) {
		if rows++; rows%1024 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		if !s.row(b, row) {
			return true, nil
		}
		out.fill(&s.e, !p.Apart)
		out.Origin = nil
		if len(s.e.parsed)+len(s.e.gone) == 0 {
			out.Origin = b.stream(row)
		}
		stats.Entries++
		left--
		return left > 0, f(&out)
	})
	return stats, err
}

func runLog(ctx context.Context, src Source, q *LogExpr, p *Params) (*Result, error) {
	res := &Result{Kind: Lines}
	streams := make(map[string]int)
	var key []byte
	var size int64
	stats, err := Entries(ctx, src, q, *p, func(o *Processed) error {
		key = appendKey(key[:0], o.Labels)
		i, ok := streams[string(key)]
		if !ok {
			if m := p.Limits.MaxSeries; m > 0 && len(streams) >= m {
				return &LimitError{"streams in the answer", int64(m)}
			}
			i = len(res.Streams)
			streams[string(key)] = i
			res.Streams = append(res.Streams, StreamResult{Labels: cloneLabels(o.Labels)})
			size += int64(2 * len(key))
		}
		st := &res.Streams[i]
		e := ResultEntry{Time: o.Time, Line: strings.Clone(view(o.Line))}
		// The labels of one stream may come from different places row by row;
		// mostly they do not.
		if n := len(st.Entries); n > 0 && sameLabels(st.Entries[n-1].Meta, o.Meta) && sameLabels(st.Entries[n-1].Parsed, o.Parsed) {
			e.Meta, e.Parsed = st.Entries[n-1].Meta, st.Entries[n-1].Parsed
		} else {
			e.Meta, e.Parsed = cloneLabels(o.Meta), cloneLabels(o.Parsed)
		}
		st.Entries = append(st.Entries, e)
		if size += int64(len(o.Line)) + 64; p.Limits.MaxResult > 0 && size > p.Limits.MaxResult {
			return &LimitError{"bytes of answer", p.Limits.MaxResult}
		}
		return nil
	})
	res.Stats = stats
	return res, err
}

func sameLabels(a, b []Label) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
