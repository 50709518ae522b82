package logql

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// Params say how a query is evaluated. Times are Unix nanoseconds.
type Params struct {
	// Start and End bound a range query: for lines [Start, End), for numbers the
	// steps Start, Start+Step, … up to and including End. Of an instant query
	// (Step is zero) about numbers only End counts.
	Start, End, Step int64
	// Direction is the order of lines, Forward or Backward, and which of them a
	// limit keeps.
	Direction Order
	// Limit, if not zero, is the largest number of lines.
	Limit int
	// Now is what templates take for the time of the query.
	Now    int64
	Limits Limits
	// Apart says that nobody looks at Processed.Labels, which is not filled then.
	Apart bool
}

// Limits bound what a query may cost; zero means no limit. Time is bounded by
// the context. What exceeds a limit is a *LimitError.
type Limits struct {
	MaxBytes  int64 // of lines looked at
	MaxRows   int64 // looked at
	MaxSeries int   // streams or series of an answer
	MaxCells  int   // numbers held on the way to it: series × steps, samples; 8 bytes each
	MaxResult int64 // bytes of an answer's lines and labels
}

// LimitError says which limit a query exceeds.
type LimitError struct {
	What string // what there is too much of
	Max  int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("the query needs more than %d %s; narrow the time range or the selector, or aggregate", e.Max, e.What)
}

// PipelineError says that a stage of a metric query failed for a row, which
// would make its numbers wrong.
type PipelineError struct {
	Kind, Details string // __error__ and __error_details__
	Series        string // labels of the row
}

func (e *PipelineError) Error() string {
	s := fmt.Sprintf("a stage failed with %s for %s", e.Kind, e.Series)
	if e.Details != "" {
		s += ": " + e.Details
	}
	return s + fmt.Sprintf("; leave such lines out with | %s!=%q, or all that failed with | %s=\"\" (behind unwrap if that is what fails)", errorLabel, e.Kind, errorLabel)
}

// Kind is the kind of a result.
type Kind uint8

// Kinds of results.
const (
	Lines  Kind = iota // Result.Streams
	Matrix             // Result.Series, of a range query
	Vector             // Result.Series with one point each, of an instant query
	Scalar             // Result.Series[0] with one point and no labels
)

// Result is the answer to a query.
type Result struct {
	Kind    Kind
	Streams []StreamResult // in the order of their first entry
	Series  []Series       // sorted by labels, or as sort, topk … want it
	Stats   Stats
}

// StreamResult is the entries that have the same labels.
type StreamResult struct {
	Labels  []Label
	Entries []ResultEntry // in the query's order
}

// ResultEntry is a line of an answer. Of its stream's labels, Meta came from
// structured metadata and Parsed from the query's stages.
type ResultEntry struct {
	Time         int64
	Line         string
	Meta, Parsed []Label
}

// Series is a series of numbers.
type Series struct {
	Labels []Label
	Points []Point
}

// Point is a number at a time in Unix nanoseconds.
type Point struct {
	Time  int64
	Value float64
}

// Stats is what a query cost.
type Stats struct {
	Source   SourceStats
	Rows     int64 // rows looked at
	Bytes    int64 // bytes of lines looked at
	Kept     int64 // rows that passed all stages
	Entries  int64 // lines or points in the answer
	Selects  int64 // scans of the source
	MaxCells int64 // the most cells held at a time
}

// Run answers a query. The context's end stops it with the context's error.
func Run(ctx context.Context, src Source, q Expr, p Params) (*Result, error) {
	switch q := q.(type) {
	case *LogExpr:
		return runLog(ctx, src, q, &p)
	case MetricExpr:
		return runMetric(ctx, src, q, &p)
	}
	return nil, errors.New("logql: no query")
}

// scan is one pass over a source.
type scan struct {
	ctx    context.Context
	p      *pipeline
	limits *Limits
	stats  *Stats
	e      entry

	verdicts map[*Stream]Verdict
	last     *Stream // of the row before, with its verdict
	lastSays Verdict
	fields   []string
	values   []fieldValue
}

func newScan(ctx context.Context, p *pipeline, params *Params, stats *Stats) *scan {
	s := &scan{ctx: ctx, p: p, limits: &params.Limits, stats: stats, verdicts: make(map[*Stream]Verdict)}
	s.e.now = params.Now
	return s
}

// enter counts a block and checks the limits.
func (s *scan) enter(b *Block) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	s.stats.Rows += int64(b.Len())
	for _, sp := range b.Body {
		s.stats.Bytes += int64(sp.Len)
	}
	if m := s.limits.MaxRows; m > 0 && s.stats.Rows > m {
		return &LimitError{"rows", m}
	}
	if m := s.limits.MaxBytes; m > 0 && s.stats.Bytes > m {
		return &LimitError{"bytes of lines", m}
	}
	return nil
}

func (s *scan) verdict(st *Stream) Verdict {
	if st == s.last {
		return s.lastSays
	}
	v, ok := s.verdicts[st]
	if !ok {
		v = s.p.selector.Stream(st.Labels)
		s.verdicts[st] = v
	}
	s.last, s.lastSays = st, v
	return v
}

// line returns the line of a row, nil if the block has none.
func (b *Block) line(i int) []byte {
	if b.Body == nil {
		return nil
	}
	sp := b.Body[i]
	return b.Buf[sp.Off:sp.End()]
}

func (b *Block) stream(i int) *Stream {
	if b.Stream == nil {
		return b.Streams[0]
	}
	return b.Streams[b.Stream[i]]
}

// lines appends the rows that the line filters let pass.
func (s *scan) lines(dst []uint32, b *Block) []uint32 {
	for i := range b.Len() {
		line := b.line(i)
		ok := true
		for _, f := range s.p.lines {
			if !f.match(line) {
				ok = false
				break
			}
		}
		if ok {
			dst = append(dst, uint32(i))
		}
	}
	return dst
}

// row makes a row, whose line the filters have seen already, the current entry
// and applies the rest of the query. It reports whether the row is kept.
func (s *scan) row(b *Block, i int) bool {
	st := b.stream(i)
	v := s.verdict(st)
	if v == No {
		return false
	}
	e := &s.e
	e.reset(st.Labels, b.line(i), b.Times[i])
	if m := b.Meta; m != nil {
		for k := m.Off[i]; k < m.Off[i+1]; k++ {
			sp := m.Value[k]
			e.addMeta(m.Names[m.Name[k]], view(m.Buf[sp.Off:sp.End()]))
		}
	}
	if b.Severity != nil {
		e.setSeverity(b.Severity[i])
	}
	if v == Maybe && !s.p.selected(e) {
		return false
	}
	if b.Fields != nil {
		s.setFields(b, i)
	} else {
		if len(s.p.hints) > 0 && s.p.hopeless(e) {
			return false
		}
		e.fields, e.noJSON = nil, false
	}
	if !s.p.runStages(e) {
		return false
	}
	s.stats.Kept++
	return true
}

// setFields gives the entry what columns say the line holds.
func (s *scan) setFields(b *Block, i int) {
	e := &s.e
	e.noJSON = false
	s.values = s.values[:0]
	if s.values == nil {
		s.values = make([]fieldValue, 0, len(b.Fields))
	}
	for k := range b.Fields {
		f := &b.Fields[k]
		switch x := f.Index[i]; x {
		case NoField:
		case NoObject:
			e.noJSON = true
		default:
			s.values = append(s.values, fieldValue{s.fields[k], f.Values[x]})
		}
	}
	e.fields = s.values
}

// cloneLabels copies labels out of what is valid for one row only.
func cloneLabels(ls []Label) []Label {
	if len(ls) == 0 {
		return nil
	}
	n := 0
	for _, l := range ls {
		n += len(l.Name) + len(l.Value)
	}
	buf := make([]byte, 0, n)
	out := make([]Label, len(ls))
	for i, l := range ls {
		from := len(buf)
		buf = append(append(buf, l.Name...), l.Value...)
		mid := from + len(l.Name)
		out[i] = Label{Name: view(buf[from:mid:mid]), Value: view(buf[mid:len(buf):len(buf)])}
	}
	return out
}

// appendKey appends labels as bytes that differ where the labels do.
func appendKey(dst []byte, ls []Label) []byte {
	for _, l := range ls {
		dst = append(binary.AppendUvarint(dst, uint64(len(l.Name))), l.Name...)
		dst = append(binary.AppendUvarint(dst, uint64(len(l.Value))), l.Value...)
	}
	return dst
}
