package store

import (
	"cmp"
	"context"
	"slices"
	"unsafe"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
)

// memUnit is rows of a memtable that match, in the order in which they are to be
// delivered.
type memUnit struct {
	r    *memReader
	rows []uint32
}

// memReader is a memtable as one cursor reads it.
type memReader struct {
	c        *cursor
	v        *view
	verdicts []logql.Verdict // of streams
	labels   [][]logql.Label
	streams  []*logql.Stream
	maybe    bool
	cols     logql.Columns
}

// How much of a memtable makes a block.
const (
	memBlockRows  = 4096
	memBlockBytes = 512 << 10
)

// memUnit returns what is to be read of a memtable, nil if nothing is.
func (c *cursor) memUnit(v *view) unit {
	r := &memReader{c: c, v: v, verdicts: make([]logql.Verdict, len(v.streams)), labels: make([][]logql.Label, len(v.streams)), streams: make([]*logql.Stream, len(v.streams))}
	any := false
	sevs := make([]logql.SeverityMask, len(v.streams))
	for i := range v.streams {
		st := &v.streams[i]
		m := c.match.ask(st)
		r.verdicts[i], r.labels[i] = m.verdict, m.labels
		any = any || r.verdicts[i] != logql.No
		r.maybe = r.maybe || r.verdicts[i] == logql.Maybe
		sevs[i] = c.req.Severities
		for _, n := range [2]string{"level", "detected_level"} {
			if hasName(st.Labels, n) || hasName(st.Resource, n) {
				sevs[i] = 0
			}
		}
	}
	if !any {
		return nil
	}
	verdict := logql.Yes
	if r.maybe {
		verdict = logql.Maybe
	}
	r.cols = c.req.ColumnsFor(verdict)
	c.stats.Blocks++
	var rows []uint32
	for i := range v.rows {
		row := &v.rows[i]
		if row.time < c.start || row.time >= c.end || r.verdicts[row.stream] == logql.No {
			continue
		}
		if !sevs[row.stream].Has(row.severity) && row.attrs == 0 {
			continue
		}
		if len(c.req.Needles) > 0 {
			c.stats.Bytes += int64(row.body)
			if !c.req.Needles.Match(v.body(row)) {
				continue
			}
		}
		rows = append(rows, uint32(i))
	}
	if len(rows) == 0 {
		return nil
	}
	if c.req.Order == logql.AnyOrder {
		rows = r.byStream(rows)
	} else {
		sorted := slices.IsSortedFunc(rows, r.byTime)
		if !sorted {
			slices.SortStableFunc(rows, r.byTime)
		}
		if c.req.Order == logql.Backward {
			slices.Reverse(rows)
		}
		if c.exact() && !r.maybe && len(rows) > c.req.Limit {
			rows = rows[:c.req.Limit]
		}
	}
	return &memUnit{r, rows}
}

func (r *memReader) byTime(a, b uint32) int { return cmp.Compare(r.v.rows[a].time, r.v.rows[b].time) }

// byStream orders rows by (stream, time): those of a stream are nearly always in
// order as they came.
func (r *memReader) byStream(rows []uint32) []uint32 {
	// Streams with the same labels count as one.
	group := make([]uint32, len(r.v.streams))
	byPointer := map[*logql.Stream]uint32{}
	for i := range group {
		if r.verdicts[i] == logql.No {
			continue
		}
		p := r.pointer(uint32(i))
		n, ok := byPointer[p]
		if !ok {
			n = uint32(len(byPointer))
			byPointer[p] = n
		}
		group[i] = n
	}
	start := make([]uint32, len(byPointer)+1)
	for _, i := range rows {
		start[group[r.v.rows[i].stream]+1]++
	}
	for i := 1; i < len(start); i++ {
		start[i] += start[i-1]
	}
	next := slices.Clone(start)
	out := make([]uint32, len(rows))
	for _, i := range rows {
		g := group[r.v.rows[i].stream]
		out[next[g]] = i
		next[g]++
	}
	for g := range len(byPointer) {
		part := out[start[g]:start[g+1]]
		if !slices.IsSortedFunc(part, r.byTime) {
			slices.SortStableFunc(part, r.byTime)
		}
	}
	return out
}

func (r *memReader) pointer(stream uint32) *logql.Stream {
	if r.streams[stream] == nil {
		r.streams[stream] = r.c.stream(r.v.streams[stream].ID, r.labels[stream])
	}
	return r.streams[stream]
}

func (u *memUnit) bounds() (int64, int64) {
	t, e := u.r.v.rows[u.rows[0]].time, u.r.v.rows[u.rows[len(u.rows)-1]].time
	if u.r.c.req.Order == logql.AnyOrder {
		return u.r.v.min, u.r.v.max
	}
	return min(t, e), max(t, e)
}

func (u *memUnit) times(_ *cursor, each func([]int64)) (bool, error) {
	if u.r.maybe {
		return true, nil
	}
	t := make([]int64, len(u.rows))
	for i, n := range u.rows {
		t[i] = u.r.v.rows[n].time
	}
	each(t)
	return true, nil
}

func (u *memUnit) read(_ context.Context, c *cursor) error {
	r := u.r
	n := newBlock()
	b := &n.b
	body := r.cols.Body || len(r.cols.Fields) > 0
	meta := metaWriter{n: n, cols: &r.cols}
	wantMeta := r.cols.AllMeta || len(r.cols.Meta) > 0
	k := 0
	last, at := ^uint32(0), uint32(0)
	for ; k < len(u.rows) && k < memBlockRows && len(n.buf) < memBlockBytes; k++ {
		row := &r.v.rows[u.rows[k]]
		if row.time < c.start || row.time >= c.end {
			continue // narrowed since
		}
		if row.stream != last {
			last = row.stream
			at = n.place(r.pointer(row.stream), c.req.Order == logql.AnyOrder)
		}
		n.stream = append(n.stream, at)
		n.times = append(n.times, row.time)
		if r.cols.Severity {
			n.sev = append(n.sev, row.severity)
		}
		if body {
			n.body = append(n.body, record.Span{Off: uint32(len(n.buf)), Len: row.body})
			n.buf = append(n.buf, r.v.body(row)...)
		} else if r.cols.Size {
			n.size = append(n.size, row.body)
		}
		if wantMeta {
			a := r.v.attrs(row)
			meta.row(r.v.streams[row.stream].Resource, unsafe.String(unsafe.SliceData(a), len(a)))
		}
	}
	if k < len(u.rows) {
		c.push(&memUnit{r, u.rows[k:]})
	}
	b.Times = n.times
	if len(b.Streams) > 1 {
		b.Stream = n.stream
	}
	if r.cols.Severity {
		b.Severity = n.sev
	}
	if body {
		b.Buf, b.Body = n.buf, n.body
	} else if r.cols.Size {
		b.Size = n.size
	}
	if wantMeta {
		meta.end()
	}
	c.ready = append(c.ready, b)
	return nil
}
