package api

import (
	"context"
	"errors"
	"math"
	"strings"

	"github.com/weirlog/weir/logql"
)

// categorizeHeader asks for answers that tell where a line's labels come from.
const (
	categorizeHeader = "X-Loki-Response-Encoding-Flags"
	categorizeFlag   = "categorize-labels"
)

func categorizes(q *request) bool {
	for _, v := range q.Header.Values(categorizeHeader) {
		for f := range strings.SplitSeq(v, ",") {
			if strings.TrimSpace(f) == categorizeFlag {
				return true
			}
		}
	}
	return false
}

// queryRange is /query_range: lines or series in a range of time.
func (s *Server) queryRange(ctx context.Context, q *request) error {
	expr, err := logql.Parse(q.form.Get("query"))
	if err != nil {
		return err
	}
	start, end, err := s.bounds(q, defaultQueryRange)
	if err != nil {
		return err
	}
	if start == end {
		return badRequest("end timestamp must not be before or equal to start time")
	}
	p := logql.Params{Start: start, End: end, Now: q.now, Limits: s.cfg.Limits.Query}
	log, isLog := expr.(*logql.LogExpr)
	most := math.MaxInt
	if isLog {
		most = orMax(s.cfg.Limits.Entries)
	}
	if p.Limit, err = positive(q.form, "limit", defaultLimit, most); err != nil {
		return err
	}
	if p.Direction, err = direction(q.form); err != nil {
		return err
	}
	if p.Step, err = step(q.form, start, end); err != nil {
		return err
	}
	if isLog {
		apart, err := interval(q.form)
		if err != nil {
			return err
		}
		return s.lines(ctx, q, log, p, apart)
	}
	p.Start, p.End = align(p.Start, p.End, p.Step)
	return s.numbers(ctx, q, expr, p)
}

// align widens a range to multiples of the step, as Loki's query frontend does:
// a graph that is asked for again a little later has the same points.
func align(start, end, step int64) (int64, int64) {
	a, b := start-mod(start, step), end
	if m := mod(end, step); m != 0 {
		b = end - m + step
	}
	if a > start || b < end { // at the ends of time
		return start, end
	}
	return a, b
}

// queryInstant is /query: numbers at one time.
func (s *Server) queryInstant(ctx context.Context, q *request) error {
	expr, err := logql.Parse(q.form.Get("query"))
	if err != nil {
		return err
	}
	if _, ok := expr.(*logql.LogExpr); ok {
		return badRequest("log queries are not supported as an instant query type, please change your query to a range query type")
	}
	at := q.now
	if v := q.form.Get("time"); v != "" {
		var ok bool
		if at, ok = parseTime(v); !ok {
			return badRequest("could not parse 'time' parameter: %s is neither Unix nanoseconds, Unix seconds nor RFC 3339", quote(v))
		}
	}
	return s.numbers(ctx, q, expr, logql.Params{Start: at, End: at, Now: q.now, Limits: s.cfg.Limits.Query})
}

func (s *Server) numbers(ctx context.Context, q *request, expr logql.Expr, p logql.Params) error {
	p.Limit = 0 // it is about lines
	res, err := logql.Run(ctx, s.cfg.Store.Source(q.tenant), expr, p)
	if err != nil {
		return err
	}
	return s.writeNumbers(q, res.Kind, res.Series, s.queryStats(q, res.Stats, len(res.Series)))
}

func (s *Server) lines(ctx context.Context, q *request, expr *logql.LogExpr, p logql.Params, apart int64) error {
	set := newStreamSet(categorizes(q), p.Limits)
	defer set.free()
	limit := p.Limit
	if apart > 0 {
		p.Limit = 0 // what is too near does not count
	}
	var last int64
	stats, err := logql.Entries(ctx, s.cfg.Store.Source(q.tenant), expr, p, func(o *logql.Processed) error {
		if apart > 0 && set.entries > 0 {
			if d := o.Time - last; d < apart && -d < apart {
				return nil
			}
		}
		last = o.Time
		if err := set.add(o); err != nil {
			return err
		}
		if set.entries == limit {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return set.answer(s, q, s.queryStats(q, stats, set.entries))
}
