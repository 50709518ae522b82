package api

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/weirlog/weir/logql"
)

// requiredSelector reads the selector that volumes and statistics are about.
func requiredSelector(q *request) (*logql.Selector, error) {
	v := q.form.Get("query")
	if v == "" {
		return nil, badRequest("the parameter query is missing: a selector such as {namespace=\"shop\"}")
	}
	return logql.ParseMatchers(v)
}

// indexStats is /index/stats: how much a query would look at.
func (s *Server) indexStats(ctx context.Context, q *request) error {
	sel, err := requiredSelector(q)
	if err != nil {
		return err
	}
	start, end, err := s.bounds(q, defaultQueryRange)
	if err != nil {
		return err
	}
	var out struct {
		Streams int64 `json:"streams"`
		Chunks  int64 `json:"chunks"`
		Bytes   int64 `json:"bytes"`
		Entries int64 `json:"entries"`
	}
	err = s.streams(ctx, q, sel, start, end, func(st StreamStats) error {
		out.Streams++
		out.Chunks += st.Blocks
		out.Bytes += st.Bytes
		out.Entries += st.Rows
		return nil
	})
	if err != nil {
		return err
	}
	return s.json(q, out)
}

// volumeParams are the parameters of volumes.
type volumeParams struct {
	sel        *logql.Selector
	start, end int64
	limit      int
	byLabels   bool     // one sum per name of a label, not per set of labels
	targets    []string // the names that count
	named      bool     // by a parameter: streams must have them all
}

func (s *Server) volumeParams(q *request) (p volumeParams, err error) {
	if p.sel, err = requiredSelector(q); err != nil {
		return p, err
	}
	if p.start, p.end, err = s.bounds(q, defaultQueryRange); err != nil {
		return p, err
	}
	if p.limit, err = positive(q.form, "limit", defaultLimit, orMax(s.cfg.Limits.Names)); err != nil {
		return p, err
	}
	switch v := q.form.Get("aggregateBy"); v {
	case "", "series":
	case "labels":
		p.byLabels = true
	default:
		return p, badRequest("invalid aggregation option %s: series or labels", quote(v))
	}
	if v := q.form.Get("targetLabels"); v != "" {
		p.named = true
		for n := range strings.SplitSeq(v, ",") {
			if n = strings.TrimSpace(n); n != "" && !slices.Contains(p.targets, n) {
				p.targets = append(p.targets, n)
			}
		}
		if len(p.targets) > s.cfg.Limits.Selectors {
			return p, badRequest("too many targetLabels")
		}
	} else if !p.byLabels {
		p.targets = p.sel.Names()
	}
	return p, nil
}

// keep reports whether a stream with these labels counts.
func (p *volumeParams) keep(labels []logql.Label) bool {
	if !p.named {
		return true
	}
	for _, n := range p.targets {
		if !slices.ContainsFunc(labels, func(l logql.Label) bool { return l.Name == n }) {
			return false
		}
	}
	return true
}

// groups calls f with the labels of every sum that a stream counts for.
func (p *volumeParams) groups(labels []logql.Label, f func([]logql.Label)) {
	if !p.keep(labels) {
		return
	}
	if !p.byLabels {
		var out []logql.Label
		for _, l := range labels {
			if slices.Contains(p.targets, l.Name) {
				out = append(out, l)
			}
		}
		f(out)
		return
	}
	for _, l := range labels {
		if len(p.targets) == 0 || slices.Contains(p.targets, l.Name) {
			f([]logql.Label{{Name: l.Name}})
		}
	}
}

// sums adds up by groups of labels.
type sums struct {
	at     map[string]int
	series []logql.Series
	max    int
	key    []byte
}

// add returns the series for the labels.
func (u *sums) add(labels []logql.Label) (*logql.Series, error) {
	u.key = appendLabels(u.key[:0], labels)
	i, ok := u.at[string(u.key)]
	if !ok {
		if len(u.series) == u.max {
			return nil, &logql.LimitError{What: "volumes", Max: int64(u.max)}
		}
		if u.at == nil {
			u.at = make(map[string]int)
		}
		i = len(u.series)
		u.at[string(u.key)] = i
		u.series = append(u.series, logql.Series{Labels: labels})
	}
	return &u.series[i], nil
}

// largest returns the n series with the largest sums, the largest first.
func (u *sums) largest(n int) []logql.Series {
	total := func(s *logql.Series) (t float64) {
		for _, p := range s.Points {
			t += p.Value
		}
		return t
	}
	slices.SortFunc(u.series, func(a, b logql.Series) int {
		return cmp.Or(cmp.Compare(total(&b), total(&a)), slices.CompareFunc(a.Labels, b.Labels, func(x, y logql.Label) int {
			return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Value, y.Value))
		}))
	})
	return u.series[:min(n, len(u.series))]
}

// volume is /index/volume: bytes of lines by labels.
func (s *Server) volume(ctx context.Context, q *request) error {
	p, err := s.volumeParams(q)
	if err != nil {
		return err
	}
	u := sums{max: orMax(s.cfg.Limits.Names)}
	err = s.streams(ctx, q, p.sel, p.start, p.end, func(st StreamStats) (err error) {
		p.groups(st.Labels, func(labels []logql.Label) {
			series, failed := u.add(labels)
			if failed != nil {
				err = failed
				return
			}
			if series.Points == nil {
				series.Points = []logql.Point{{Time: p.end}}
			}
			series.Points[0].Value += float64(st.Bytes)
		})
		return err
	})
	if err != nil {
		return err
	}
	out := u.largest(p.limit)
	return s.writeNumbers(q, logql.Vector, out, s.queryStats(q, logql.Stats{}, len(out)))
}
