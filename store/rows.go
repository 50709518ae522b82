package store

import (
	"cmp"
	"context"
	"slices"
	"sort"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
)

// rowsUnit is some blocks of one span of a segment.
type rowsUnit struct {
	r        *segReader
	span     int
	blocks   []uint32
	body     bool
	min, max int64
}

func (u *rowsUnit) bounds() (int64, int64) { return u.min, u.max }

// rowRun is rows [from, to) of the segment, of one stream.
type rowRun struct {
	stream   uint32
	from, to uint32
}

// runs returns which rows of the unit match streams and times.
func (u *rowsUnit) runs(times []int64) []rowRun {
	r, c := u.r, u.r.c
	out := c.runs[:0]
	defer func() { c.runs = out }()
	base := r.x.Spans[u.span].Row
	for _, bi := range u.blocks {
		b := &r.x.Blocks[bi]
		whole := b.MinTime >= c.start && b.MaxTime < c.end
		for st := b.First; st <= b.Last; st++ {
			if r.verdicts[st] == logql.No {
				continue
			}
			s := &r.x.Streams[st]
			from, to := max(s.Row, b.Row), min(s.Row+s.Rows, b.Row+b.Rows)
			if !whole {
				t := times[from-base : to-base]
				lo := sort.Search(len(t), func(i int) bool { return t[i] >= c.start })
				hi := lo + sort.Search(len(t)-lo, func(i int) bool { return t[lo+i] >= c.end })
				from, to = from+uint32(lo), from+uint32(hi)
			}
			if from >= to {
				continue
			}
			if n := len(out); n > 0 && out[n-1].stream == st && out[n-1].to == from {
				out[n-1].to = to
				continue
			}
			out = append(out, rowRun{st, from, to})
		}
	}
	return out
}

func (u *rowsUnit) times(c *cursor, each func([]int64)) (bool, error) {
	d, err := u.r.loadTimes(u.span)
	if err != nil {
		return true, err
	}
	base := u.r.x.Spans[u.span].Row
	if u.r.maybe {
		return true, nil // its rows may not match: they limit nothing
	}
	for _, run := range u.runs(d.times) {
		each(d.times[run.from-base : run.to-base])
	}
	return true, nil
}

func (u *rowsUnit) read(_ context.Context, c *cursor) error {
	r := u.r
	base := r.x.Spans[u.span].Row
	n := newBlock()
	done := false
	defer func() {
		if !done {
			n.free(nil)
		}
	}()
	var hit []bool
	var bodyRow uint32
	var spans []record.Span
	if u.body {
		b := &r.x.Blocks[u.blocks[0]]
		p, err := r.page(b.Body)
		if err != nil {
			return err
		}
		if n.buf, c.spans, err = c.dec.Body(n.buf, c.spans[:0], b, p); err != nil {
			return err
		}
		spans = c.spans
		bodyRow = b.Row - base
		c.stats.Bytes += int64(b.Bytes)
		if len(c.req.Needles) > 0 {
			c.hits = c.req.Needles.AppendRows(c.hits[:0], n.buf, spans)
			if len(c.hits) == 0 {
				return nil
			}
			c.hit = slices.Grow(c.hit[:0], len(spans))[:len(spans)]
			clear(c.hit)
			for _, i := range c.hits {
				c.hit[i] = true
			}
			hit = c.hit
		}
	}
	d, err := r.load(u.span, r.cols.Severity || r.sevs != 0)
	if err != nil {
		return err
	}
	runs := u.runs(d.times)
	if len(runs) == 0 {
		return nil
	}
	if !u.body && len(r.cols.Fields) > 0 {
		if d, err = r.loadFields(u.span); err != nil {
			return err
		}
	}
	for i := range runs { // from now on, rows of the span
		runs[i].from -= base
		runs[i].to -= base
	}
	if r.sevs != 0 {
		c.kept = keepSeverities(c.kept[:0], runs, d.sev, r.sevs)
		runs = c.kept
	}
	if hit != nil {
		c.kept2 = keepHits(c.kept2[:0], runs, hit, bodyRow)
		runs = c.kept2
	}
	if len(runs) == 0 {
		return nil
	}
	done = true
	if c.req.Order == logql.AnyOrder {
		for {
			k := r.ascending(runs, d)
			if k == len(runs) {
				break
			}
			// Two streams with the same labels and other metadata.
			m := newBlock()
			m.buf = append(m.buf, n.buf...)
			r.fill(m, runs[:k], d, spans, bodyRow)
			runs = runs[k:]
		}
		r.fill(n, runs, d, spans, bodyRow)
		return nil
	}
	rows := singles(runs)
	slices.SortStableFunc(rows, func(a, b rowRun) int { return cmp.Compare(d.times[a.from], d.times[b.from]) })
	if c.req.Order == logql.Backward {
		slices.Reverse(rows)
	}
	if c.exact() && !r.maybe && len(rows) > c.req.Limit {
		rows = rows[:c.req.Limit]
	}
	r.fill(n, rows, d, spans, bodyRow)
	return nil
}

// keepHits appends to out the rows that are hits, in runs as long as possible;
// hit begins at row first.
func keepHits(out, runs []rowRun, hit []bool, first uint32) []rowRun {
	for _, run := range runs {
		h := hit[:run.to-first]
		for i := int(run.from - first); i < len(h); i++ {
			if !h[i] {
				continue
			}
			from := i
			for i++; i < len(h) && h[i]; i++ {
			}
			out = append(out, rowRun{run.stream, uint32(from) + first, uint32(i) + first})
		}
	}
	return out
}

// keepSeverities is keepHits for rows with severities of the mask.
func keepSeverities(out, runs []rowRun, sev []record.Severity, mask logql.SeverityMask) []rowRun {
	for _, run := range runs {
		s := sev[:run.to]
		for i := int(run.from); i < len(s); i++ {
			if mask>>(s[i]&31)&1 == 0 {
				continue
			}
			from := i
			for i++; i < len(s) && mask>>(s[i]&31)&1 != 0; i++ {
			}
			out = append(out, rowRun{run.stream, uint32(from), uint32(i)})
		}
	}
	return out
}

// singles makes a run of each row.
func singles(runs []rowRun) []rowRun {
	n := 0
	for _, run := range runs {
		n += int(run.to - run.from)
	}
	out := make([]rowRun, 0, n)
	for _, run := range runs {
		for i := run.from; i < run.to; i++ {
			out = append(out, rowRun{run.stream, i, i + 1})
		}
	}
	return out
}

// ascending returns how many of the runs may stand in one block: within equal
// labels times must not fall.
func (r *segReader) ascending(runs []rowRun, d *spanData) int {
	for i := 1; i < len(runs); i++ {
		a, b := runs[i-1], runs[i]
		if a.stream != b.stream && d.times[b.from] < d.times[a.to-1] && r.pointer(a.stream) == r.pointer(b.stream) {
			return i
		}
	}
	return len(runs)
}

func (r *segReader) pointer(stream uint32) *logql.Stream {
	if r.streams[stream] == nil {
		st := &r.x.Streams[stream].Stream
		v := r.c.match.numbered(r.numbers[stream], st)
		if v.stream == nil {
			v.stream = r.c.stream(st.ID, v.labels)
		}
		r.streams[stream] = v.stream
	}
	return r.streams[stream]
}

// fill makes a block of the rows and appends it to the ready ones.
func (r *segReader) fill(n *blockBuf, runs []rowRun, d *spanData, spans []record.Span, bodyRow uint32) {
	b := &n.b
	last := ^uint32(0)
	at := uint32(0)
	for _, run := range runs {
		if run.stream != last {
			last = run.stream
			at = n.place(r.pointer(run.stream), r.c.req.Order == logql.AnyOrder)
		}
		k := len(n.stream)
		n.stream = slices.Grow(n.stream, int(run.to-run.from))[:k+int(run.to-run.from)]
		for i := k; i < len(n.stream); i++ {
			n.stream[i] = at
		}
		n.times = append(n.times, d.times[run.from:run.to]...)
	}
	b.Times = n.times
	if len(b.Streams) > 1 {
		b.Stream = n.stream
	}
	if r.cols.Severity {
		for _, run := range runs {
			n.sev = append(n.sev, d.sev[run.from:run.to]...)
		}
		b.Severity = n.sev
	}
	switch {
	case spans == nil:
		if len(r.cols.Fields) > 0 {
			r.fillFields(n, runs, d)
		}
	case r.cols.Body || len(r.cols.Fields) > 0:
		for _, run := range runs {
			n.body = append(n.body, spans[run.from-bodyRow:run.to-bodyRow]...)
		}
		b.Buf, b.Body = n.buf, n.body
	case r.cols.Size:
		for _, run := range runs {
			for _, sp := range spans[run.from-bodyRow : run.to-bodyRow] {
				n.size = append(n.size, sp.Len)
			}
		}
		b.Size = n.size
	}
	if r.cols.AllMeta || len(r.cols.Meta) > 0 {
		r.fillMeta(n, runs, d)
	}
	r.c.ready = append(r.c.ready, b)
}

// place returns the index of a stream in the block's table. If streams come one
// after the other, only the last one can be it.
func (n *blockBuf) place(st *logql.Stream, adjacent bool) uint32 {
	for i := len(n.b.Streams) - 1; i >= 0; i-- {
		if n.b.Streams[i] == st {
			return uint32(i)
		}
		if adjacent {
			break
		}
	}
	n.b.Streams = append(n.b.Streams, st)
	return uint32(len(n.b.Streams) - 1)
}

func (r *segReader) fillFields(n *blockBuf, runs []rowRun, d *spanData) {
	for len(n.fields) < len(r.fields) {
		n.fields = append(n.fields, logql.Field{})
	}
	n.fields = n.fields[:len(r.fields)]
	for i := range n.fields {
		f := &n.fields[i]
		f.Values, f.Index = r.values[i], f.Index[:0]
		for _, run := range runs {
			f.Index = append(f.Index, d.fields[i][run.from:run.to]...)
		}
	}
	n.b.Fields = n.fields
}

func (r *segReader) fillMeta(n *blockBuf, runs []rowRun, d *spanData) {
	w := metaWriter{n: n, cols: &r.cols}
	for _, run := range runs {
		for i := run.from; i < run.to; i++ {
			text := ""
			if len(d.attrs) > 0 && d.attrs[i] >= 0 {
				text = d.texts[d.attrs[i]]
			}
			w.row(r.x.Streams[run.stream].Resource, text)
		}
	}
	w.end()
}

// metaWriter fills a block's structured metadata.
type metaWriter struct {
	n     *blockBuf
	cols  *logql.Columns
	attrs attrPairs
	names map[string]uint32
	any   bool
	text  []byte
}

func (w *metaWriter) row(resource []logql.Label, text string) {
	m := &w.n.meta
	m.Off = append(m.Off, uint32(len(m.Name)))
	from := len(m.Name)
	if text != "" {
		w.text = append(w.text[:0], text...)
		w.attrs.Pairs(w.text, func(name, value []byte) { w.pair(string(name), value) })
	}
	own := m.Name[from:]
	for _, a := range resource {
		// What the row says itself goes before.
		if i, ok := w.names[a.Name]; ok && slices.Contains(own, i) {
			continue
		}
		w.pair(a.Name, []byte(a.Value))
	}
}

func (w *metaWriter) pair(name string, value []byte) {
	if !w.cols.AllMeta && !slices.Contains(w.cols.Meta, name) {
		return
	}
	m := &w.n.meta
	i, ok := w.names[name]
	if !ok {
		if w.names == nil {
			w.names = make(map[string]uint32)
		}
		i = uint32(len(m.Names))
		w.names[name] = i
		m.Names = append(m.Names, name)
	}
	m.Name = append(m.Name, i)
	m.Value = append(m.Value, record.Span{Off: uint32(len(m.Buf)), Len: uint32(len(value))})
	m.Buf = append(m.Buf, value...)
	w.any = true
}

func (w *metaWriter) end() {
	m := &w.n.meta
	m.Off = append(m.Off, uint32(len(m.Name)))
	if w.any {
		w.n.b.Meta = m
	}
}
