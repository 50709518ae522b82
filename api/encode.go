package api

import (
	"cmp"
	stdjson "encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"sync"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/wire/json"
)

// errEnough ends a query whose answer is complete.
var errEnough = errors.New("enough")

// streamSet collects the lines of an answer, by stream, already encoded: that
// is the only copy made of them.
type streamSet struct {
	categorize bool
	limits     logql.Limits
	byKey      map[string]*outStream
	streams    []*outStream
	last       *outStream
	entries    int
	size       int64
	key        []byte
}

type outStream struct {
	key    string // the labels as JSON
	chunks [][]byte
	cur    []byte
}

const (
	chunkSize = 64 << 10
	// streamCost is about what a stream takes beside its labels and lines, in
	// bytes.
	streamCost = 256
)

var chunkPool = sync.Pool{New: func() any { b := make([]byte, 0, chunkSize); return &b }}

func newStreamSet(categorize bool, limits logql.Limits) *streamSet {
	return &streamSet{categorize: categorize, limits: limits, byKey: make(map[string]*outStream)}
}

// add encodes a line.
func (t *streamSet) add(o *logql.Processed) error {
	labels := o.Labels
	if t.categorize {
		labels = o.Stream
	}
	t.key = appendLabels(t.key[:0], labels)
	st := t.last
	if st == nil || st.key != string(t.key) {
		if st = t.byKey[string(t.key)]; st == nil {
			st = &outStream{key: string(t.key)}
			t.byKey[st.key] = st
			t.streams = append(t.streams, st)
			t.size += int64(2*len(t.key)) + streamCost
		}
		t.last = st
	}
	from := len(st.cur)
	if from > 0 || len(st.chunks) > 0 {
		st.cur = append(st.cur, ',')
	}
	st.cur = appendEntry(st.cur, o, t.categorize)
	t.size += int64(len(st.cur) - from)
	t.entries++
	if m := t.limits.MaxResult; m > 0 && t.size > m {
		return &logql.LimitError{What: "bytes of answer", Max: m}
	}
	if len(st.cur) > chunkSize*3/4 {
		st.chunks = append(st.chunks, st.cur)
		st.cur = (*chunkPool.Get().(*[]byte))[:0]
	}
	return nil
}

// free gives the memory back.
func (t *streamSet) free() {
	for _, st := range t.streams {
		for _, c := range append(st.chunks, st.cur) {
			if cap(c) == chunkSize {
				chunkPool.Put(&c)
			}
		}
	}
	t.streams, t.byKey = nil, nil
}

// answer writes the streams, sorted by labels.
func (t *streamSet) answer(s *Server, q *request, stats *queryStats) error {
	slices.SortFunc(t.streams, func(a, b *outStream) int { return cmp.Compare(a.key, b.key) })
	a := s.answer(q, jsonType)
	a.buf = append(a.buf, `{"status":"success","data":{"resultType":"streams",`...)
	if t.categorize {
		a.buf = append(a.buf, `"encodingFlags":["`+categorizeFlag+`"],`...)
	}
	a.buf = append(a.buf, `"result":[`...)
	for i, st := range t.streams {
		if i > 0 {
			a.buf = append(a.buf, ',')
		}
		a.buf = append(a.buf, `{"stream":`...)
		a.buf = append(a.buf, st.key...)
		a.buf = append(a.buf, `,"values":[`...)
		for _, c := range st.chunks {
			if !a.write(c) {
				return a.close()
			}
		}
		a.write(st.cur)
		a.buf = append(a.buf, "]}"...)
		if !a.spill() {
			return a.close()
		}
	}
	return a.closeWithStats(stats)
}

// closeWithStats ends an answer of a query.
func (a *answer) closeWithStats(stats *queryStats) error {
	b, err := stdjson.Marshal(stats)
	if err != nil {
		b = []byte("{}")
	}
	a.buf = append(a.buf, `],"stats":`...)
	a.buf = append(a.buf, b...)
	a.buf = append(a.buf, "}}\n"...)
	return a.close()
}

// appendEntry appends a line: its time as a text, the line, and, if asked for,
// what its labels are beside the stream's.
func appendEntry(b []byte, o *logql.Processed, categorize bool) []byte {
	b = append(b, `["`...)
	b = strconv.AppendInt(b, o.Time, 10)
	b = append(b, `",`...)
	b = json.AppendString(b, o.Line)
	if categorize {
		b = append(b, `,{`...)
		if len(o.Meta) > 0 {
			b = append(b, `"structuredMetadata":`...)
			b = appendLabels(b, o.Meta)
		}
		if len(o.Parsed) > 0 {
			if len(o.Meta) > 0 {
				b = append(b, ',')
			}
			b = append(b, `"parsed":`...)
			b = appendLabels(b, o.Parsed)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendLabels appends labels as an object.
func appendLabels(b []byte, ls []logql.Label) []byte {
	b = append(b, '{')
	for i := range ls {
		if i > 0 {
			b = append(b, ',')
		}
		b = json.AppendStringString(b, ls[i].Name)
		b = append(b, ':')
		b = json.AppendStringString(b, ls[i].Value)
	}
	return append(b, '}')
}

// writeNumbers answers with a matrix, a vector or a scalar.
func (s *Server) writeNumbers(q *request, kind logql.Kind, series []logql.Series, stats *queryStats) error {
	a := s.answer(q, jsonType)
	a.buf = append(a.buf, `{"status":"success","data":{"resultType":"`...)
	switch kind {
	case logql.Matrix:
		a.buf = append(a.buf, `matrix","result":[`...)
	case logql.Vector:
		a.buf = append(a.buf, `vector","result":[`...)
	case logql.Scalar:
		a.buf = append(a.buf, `scalar","result":[`...)
		if len(series) > 0 && len(series[0].Points) > 0 {
			a.buf = appendPoint(a.buf, series[0].Points[0])
		}
		series = nil
	}
	for i := range series {
		if i > 0 {
			a.buf = append(a.buf, ',')
		}
		a.buf = append(a.buf, `{"metric":`...)
		a.buf = appendLabels(a.buf, series[i].Labels)
		if kind == logql.Vector {
			a.buf = append(a.buf, `,"value":[`...)
			if len(series[i].Points) > 0 {
				a.buf = appendPoint(a.buf, series[i].Points[0])
			}
		} else {
			a.buf = append(a.buf, `,"values":[`...)
			for j, p := range series[i].Points {
				if j > 0 {
					a.buf = append(a.buf, ',')
				}
				a.buf = append(a.buf, '[')
				a.buf = appendPoint(a.buf, p)
				a.buf = append(a.buf, ']')
				if j%1024 == 1023 && !a.spill() {
					return a.close()
				}
			}
		}
		a.buf = append(a.buf, "]}"...)
		if !a.spill() {
			return a.close()
		}
	}
	return a.closeWithStats(stats)
}

// appendPoint appends the time in seconds, with milliseconds if there are any,
// and the value as a text.
func appendPoint(b []byte, p logql.Point) []byte {
	ms := p.Time / 1e6
	if ms < 0 {
		b = append(b, '-')
		ms = -ms
	}
	b = strconv.AppendInt(b, ms/1000, 10)
	if f := ms % 1000; f != 0 {
		b = append(b, '.', byte('0'+f/100))
		if f%100 != 0 {
			b = append(b, byte('0'+f/10%10))
		}
		if f%10 != 0 {
			b = append(b, byte('0'+f%10))
		}
	}
	b = append(b, `,"`...)
	switch {
	case math.IsInf(p.Value, 1):
		b = append(b, "+Inf"...)
	case p.Value == math.Trunc(p.Value) && math.Abs(p.Value) < 1<<53 && !(p.Value == 0 && math.Signbit(p.Value)):
		b = strconv.AppendInt(b, int64(p.Value), 10)
	default:
		b = strconv.AppendFloat(b, p.Value, 'f', -1, 64)
	}
	return append(b, '"')
}
