package api

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
)

// all matches every stream.
var all = func() *logql.Selector {
	sel, err := logql.ParseMatchers("{}")
	if err != nil {
		panic(err)
	}
	return sel
}()

// success is the envelope of most answers.
type success struct {
	Status string `json:"status"`
	Data   any    `json:"data"`
}

// selectorOf reads a selector from the parameter query; what is missing selects
// everything.
func selectorOf(q *request) (*logql.Selector, error) {
	v := q.form.Get("query")
	if v == "" {
		return all, nil
	}
	return logql.ParseMatchers(v)
}

// streams calls f for the streams that the selector matches. Like Loki's index
// it knows labels only: a name that a stream does not have is the empty string.
// But what a selector says about the severity, or about what a stream can have
// as metadata, cannot be decided here, and does not keep a stream out.
func (s *Server) streams(ctx context.Context, q *request, sel *logql.Selector, start, end int64, f func(StreamStats) error) error {
	return s.cfg.Store.Streams(ctx, q.tenant, sel, start, end, func(st StreamStats) error {
		for _, m := range sel.Matchers() {
			i := slices.IndexFunc(st.Labels, func(l logql.Label) bool { return l.Name == m.Name() })
			if i >= 0 && !m.Match(st.Labels[i].Value) || i < 0 && !m.Match("") && !undecided(m.Name()) {
				return nil
			}
		}
		return f(st)
	})
}

// undecided reports whether a name is one of rows or of streams' metadata.
func undecided(name string) bool {
	switch name {
	case "level", "detected_level", record.AttrPodUID, record.AttrContainerID, record.AttrRestart, record.AttrImage, record.AttrFile:
		return true
	}
	return strings.HasPrefix(name, "label_") || strings.HasPrefix(name, "annotation_")
}

// labels is /labels: the names that streams have.
func (s *Server) labels(ctx context.Context, q *request) error {
	return s.names(ctx, q, func(ls []logql.Label, found map[string]struct{}) {
		for _, l := range ls {
			found[l.Name] = struct{}{}
		}
	})
}

// labelValues is /label/{name}/values: the values that streams have.
func (s *Server) labelValues(ctx context.Context, q *request) error {
	name := q.PathValue("name")
	return s.names(ctx, q, func(ls []logql.Label, found map[string]struct{}) {
		for _, l := range ls {
			if l.Name == name {
				found[l.Value] = struct{}{}
			}
		}
	})
}

// names answers with what add finds in the labels of streams.
func (s *Server) names(ctx context.Context, q *request, add func(ls []logql.Label, found map[string]struct{})) error {
	start, end, err := s.bounds(q, defaultNamesRange)
	if err != nil {
		return err
	}
	sel, err := selectorOf(q)
	if err != nil {
		return err
	}
	found := make(map[string]struct{})
	most := orMax(s.cfg.Limits.Names)
	err = s.streams(ctx, q, sel, start, end, func(st StreamStats) error {
		add(st.Labels, found)
		if len(found) > most {
			return &logql.LimitError{What: "names", Max: int64(most)}
		}
		return nil
	})
	if err != nil {
		return err
	}
	out := slices.AppendSeq(make([]string, 0, len(found)), maps.Keys(found))
	slices.Sort(out)
	return s.json(q, success{"success", out})
}

// selectors reads the match[] parameters; none selects everything.
func (s *Server) selectors(q *request) ([]*logql.Selector, error) {
	texts := append(append([]string(nil), q.form["match[]"]...), q.form["match"]...)
	if len(texts) == 0 {
		return []*logql.Selector{all}, nil
	}
	if m := orMax(s.cfg.Limits.Selectors); len(texts) > m {
		return nil, badRequest("%d match[] parameters are more than the limit of %d", len(texts), m)
	}
	var out []*logql.Selector
	for i, t := range texts {
		if slices.Contains(texts[:i], t) {
			continue
		}
		sel, err := logql.ParseMatchers(t)
		if err != nil {
			return nil, err
		}
		out = append(out, sel)
	}
	return out, nil
}

// series is /series: the labels of streams that one of several selectors
// matches.
func (s *Server) series(ctx context.Context, q *request) error {
	start, end, err := s.bounds(q, defaultNamesRange)
	if err != nil {
		return err
	}
	sels, err := s.selectors(q)
	if err != nil {
		return err
	}
	found := make(map[string]struct{})
	most := orMax(s.cfg.Limits.Names)
	var key []byte
	for _, sel := range sels {
		err := s.streams(ctx, q, sel, start, end, func(st StreamStats) error {
			key = appendLabels(key[:0], st.Labels)
			if _, ok := found[string(key)]; !ok {
				if len(found) == most {
					return &logql.LimitError{What: "series", Max: int64(most)}
				}
				found[string(key)] = struct{}{}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	out := slices.Sorted(maps.Keys(found))
	a := s.answer(q, jsonType)
	a.buf = append(a.buf, `{"status":"success","data":[`...)
	for i, o := range out {
		if i > 0 {
			a.buf = append(a.buf, ',')
		}
		a.buf = append(a.buf, o...)
		if !a.spill() {
			break
		}
	}
	a.buf = append(a.buf, "]}\n"...)
	return a.close()
}
