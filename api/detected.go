package api

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/weirlog/weir/logql"
)

// detectedLabels is /detected_labels: the names that streams have and how many
// values, without those that are nothing but ids.
func (s *Server) detectedLabels(ctx context.Context, q *request) error {
	start, end, err := s.bounds(q, defaultNamesRange)
	if err != nil {
		return err
	}
	sel, err := selectorOf(q)
	if err != nil {
		return err
	}
	values := make(map[string]map[string]struct{})
	n, most := 0, orMax(s.cfg.Limits.Names)
	err = s.streams(ctx, q, sel, start, end, func(st StreamStats) error {
		for _, l := range st.Labels {
			of := values[l.Name]
			if of == nil {
				of = make(map[string]struct{})
				values[l.Name] = of
			}
			if _, ok := of[l.Value]; !ok {
				of[l.Value] = struct{}{}
				n++
			}
		}
		if n > most {
			return &logql.LimitError{What: "label values", Max: int64(most)}
		}
		return nil
	})
	if err != nil {
		return err
	}
	type label struct {
		Label       string `json:"label"`
		Cardinality int    `json:"cardinality"`
	}
	out := struct {
		Labels []label `json:"detectedLabels"`
	}{make([]label, 0, len(values))}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !onlyIDs(values[name]) {
			out.Labels = append(out.Labels, label{name, len(values[name])})
		}
	}
	return s.json(q, out)
}

// onlyIDs reports whether all values are numbers or UUIDs, which nobody wants
// to choose from.
func onlyIDs(values map[string]struct{}) bool {
	for v := range values {
		if !isUUID(v) && typeOf(v) != typeInt && typeOf(v) != typeFloat {
			return false
		}
	}
	return true
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i] | 0x20
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
				return false
			}
		}
	}
	return true
}

// Defaults and bounds of what is looked at to detect fields.
const (
	defaultFieldLines = 1000
	defaultFields     = 1000
	maxFieldLines     = 10_000
	maxFields         = 10_000
)

// field is what is known about a detected field.
type field struct {
	Label       string   `json:"label"`
	Type        string   `json:"type"`
	Cardinality int      `json:"cardinality"`
	Parsers     []string `json:"parsers"`
	JSONPath    []string `json:"jsonPath,omitempty"`

	kind   valueType
	values []fieldValue
	at     map[string]int // in values
}

// fieldValue is a value and in how many lines it was met.
type fieldValue struct {
	text string
	n    int
}

// detectedFields is /detected_fields: the names in structured metadata and in
// the lines of a sample, the newest.
func (s *Server) detectedFields(ctx context.Context, q *request) error {
	limit, err := positive(q.form, "limit", defaultFields, maxFields)
	if err != nil {
		return err
	}
	d, err := s.detect(ctx, q, limit, "")
	if err != nil {
		return err
	}
	out := struct {
		Fields []*field `json:"fields"`
		Limit  int      `json:"limit"`
	}{d.fields, limit}
	for _, f := range out.Fields {
		f.Type, f.Cardinality = f.kind.String(), len(f.values)
		slices.Sort(f.Parsers)
	}
	slices.SortFunc(out.Fields, func(a, b *field) int { return cmp.Compare(a.Label, b.Label) })
	return s.json(q, out)
}

// detectedFieldValues is /detected_field/{name}/values: the values of one of
// them, the most frequent first.
func (s *Server) detectedFieldValues(ctx context.Context, q *request) error {
	limit, err := positive(q.form, "limit", defaultFields, maxFields)
	if err != nil {
		return err
	}
	d, err := s.detect(ctx, q, maxFields, q.PathValue("name"))
	if err != nil {
		return err
	}
	out := struct {
		Limit  int      `json:"limit"`
		Values []string `json:"values"`
	}{limit, []string{}}
	if len(d.fields) > 0 {
		values := d.fields[0].values
		slices.SortStableFunc(values, func(a, b fieldValue) int { return b.n - a.n })
		for _, v := range values[:min(limit, len(values))] {
			out.Values = append(out.Values, v.text)
		}
	}
	return s.json(q, out)
}

// detection finds fields in lines.
type detection struct {
	fields []*field
	byName map[string]*field
	only   string // if not empty, the one that is of interest
	most   int
	size   int64 // bytes of values kept
	max    int64

	json, logfmt *logql.Pipeline
	paths        jsonPaths
	labels       []logql.Label
	seen         map[string]bool // of this line
}

// anyLabel is what the lines that go through the parsers are labelled with, as
// a query must select by something.
var anyLabel = logql.Label{Name: "__any__", Value: "1"}

func (s *Server) detect(ctx context.Context, q *request, most int, only string) (*detection, error) {
	if q.form.Get("query") == "" {
		_, err := requiredSelector(q)
		return nil, err
	}
	expr, err := logql.ParseLog(q.form.Get("query"))
	if err != nil {
		return nil, err
	}
	p := logql.Params{Direction: logql.Backward, Now: q.now, Limits: s.cfg.Limits.Query}
	if p.Start, p.End, err = s.bounds(q, defaultQueryRange); err != nil {
		return nil, err
	}
	if p.Limit, err = positive(q.form, "line_limit", defaultFieldLines, maxFieldLines); err != nil {
		return nil, err
	}
	d := &detection{byName: make(map[string]*field), only: only, most: most, max: p.Limits.MaxResult, seen: make(map[string]bool)}
	for _, c := range []struct {
		p    **logql.Pipeline
		text string
	}{{&d.json, "json"}, {&d.logfmt, "logfmt"}} {
		e, err := logql.ParseLog(`{` + anyLabel.Name + `="` + anyLabel.Value + `"} | ` + c.text)
		if err != nil {
			return nil, err
		}
		if *c.p, err = logql.NewPipeline(e, q.now); err != nil {
			return nil, err
		}
	}
	stats, err := logql.Entries(ctx, s.cfg.Store.Source(q.tenant), expr, p, func(o *logql.Processed) error {
		if err := ctx.Err(); err != nil { // lines may be long
			return err
		}
		return d.line(o)
	})
	s.stats.rows.Add(stats.Rows)
	s.stats.bytes.Add(stats.Bytes)
	return d, err
}

// line looks at a line: at its structured metadata, at what the query's own
// stages found, and at what json or logfmt would find.
func (d *detection) line(o *logql.Processed) error {
	clear(d.seen)
	for _, l := range o.Meta {
		d.add(l, "", nil)
	}
	d.labels = append(append(d.labels[:0], anyLabel), o.Stream...)
	row := logql.Row{Time: o.Time, Line: o.Line, Labels: d.labels, Meta: o.Meta}
	parser, pipeline := "json", d.json
	paths := d.paths.of(o.Line)
	if paths == nil {
		parser, pipeline = "logfmt", d.logfmt
	}
	if out, ok := pipeline.Process(&row); ok {
		for _, l := range out.Parsed {
			d.add(l, parser, paths)
		}
	}
	for _, l := range o.Parsed {
		d.add(l, "", nil)
	}
	if d.max > 0 && d.size > d.max {
		return &logql.LimitError{What: "bytes of answer", Max: d.max}
	}
	return nil
}

// add notes a field's value in this line.
func (d *detection) add(l logql.Label, parser string, paths map[string][]string) {
	if d.only != "" && l.Name != d.only || d.seen[l.Name] || strings.HasPrefix(l.Name, "__error") {
		return
	}
	f := d.byName[l.Name]
	if f == nil {
		if len(d.fields) >= d.most {
			return
		}
		f = &field{Label: strings.Clone(l.Name), at: make(map[string]int), kind: typeAny}
		d.byName[f.Label] = f
		d.fields = append(d.fields, f)
		d.size += int64(len(f.Label)) + 128
	}
	d.seen[f.Label] = true
	if parser != "" && !slices.Contains(f.Parsers, parser) {
		f.Parsers = append(f.Parsers, parser)
	}
	if f.JSONPath == nil && paths != nil {
		if f.JSONPath = paths[l.Name]; f.JSONPath == nil {
			f.JSONPath = paths[strings.TrimSuffix(l.Name, "_extracted")]
		}
	}
	if i, ok := f.at[l.Value]; ok {
		f.values[i].n++
		return
	}
	// l is valid for this line only. (An assignment to a key that is there would
	// put the new string in place of the one kept.)
	v := strings.Clone(l.Value)
	f.at[v] = len(f.values)
	f.values = append(f.values, fieldValue{v, 1})
	f.kind = f.kind.and(typeOf(v))
	d.size += int64(len(v)) + 64
}
