package store

import (
	"cmp"
	"context"
	"slices"

	"github.com/weirlog/weir/columns"
	"github.com/weirlog/weir/logql"
)

// segmentUnit is a segment that has not been looked into.
type segmentUnit struct {
	g        *segment
	min, max int64
}

func (u *segmentUnit) bounds() (int64, int64) { return u.min, u.max }

func (u *segmentUnit) read(_ context.Context, c *cursor) error {
	r, err := c.openSegment(u.g)
	if err != nil || r == nil {
		return err
	}
	return r.units()
}

func (u *segmentUnit) times(c *cursor, _ func([]int64)) (bool, error) {
	return false, u.read(context.Background(), c)
}

// segReader is a segment as one cursor reads it.
type segReader struct {
	c        *cursor
	g        *segment
	x        *columns.Index
	numbers  []uint32
	verdicts []logql.Verdict // of streams
	streams  []*logql.Stream
	selected []uint32 // selected[i]: how many of the first i streams are
	cols     logql.Columns
	maybe    bool
	sevs     logql.SeverityMask // rows with others need not be delivered; 0: all
	fields   []int              // promoted, for Columns.Fields; nil: not all are
	values   [][]string
	attrDict []string
	hasDict  bool
	cache    map[int]*spanData
}

// openSegment returns the reader of a segment, nil if nothing in it is wanted.
func (c *cursor) openSegment(g *segment) (*segReader, error) {
	in, err := c.s.cache.load(g)
	if err != nil {
		return nil, err
	}
	x := in.x
	r := &segReader{c: c, g: g, x: x, numbers: in.numbers, verdicts: make([]logql.Verdict, len(x.Streams)), streams: make([]*logql.Stream, len(x.Streams)),
		selected: make([]uint32, len(x.Streams)+1), cache: make(map[int]*spanData)}
	rows := rowNames{x}
	for i := range x.Streams {
		st := &x.Streams[i]
		v := logql.No
		if st.MaxTime >= c.start && st.MinTime < c.end {
			v = c.match.inSegment(in.numbers[i], &st.Stream, rows)
		}
		r.verdicts[i] = v
		r.selected[i+1] = r.selected[i]
		if v != logql.No {
			r.selected[i+1]++
			r.maybe = r.maybe || v == logql.Maybe
		}
	}
	if r.selected[len(x.Streams)] == 0 {
		return nil, nil
	}
	verdict := logql.Yes
	if r.maybe {
		verdict = logql.Maybe
	}
	r.cols = c.req.ColumnsFor(verdict)
	r.narrowMeta()
	r.sevs = c.req.Severities
	for _, n := range [2]string{"level", "detected_level"} {
		if rows.has(n) {
			r.sevs = 0
		}
		for i := range x.Streams {
			st := &x.Streams[i]
			if r.sevs != 0 && r.verdicts[i] != logql.No && (hasName(st.Labels, n) || hasName(st.Resource, n)) {
				r.sevs = 0
			}
		}
	}
	if n := len(r.cols.Fields); n > 0 {
		r.fields = make([]int, 0, n)
		for _, f := range r.cols.Fields {
			i, ok := x.FindField(f)
			if !ok {
				r.fields = nil
				break
			}
			r.fields = append(r.fields, i)
		}
	}
	return r, nil
}

// narrowMeta leaves out of the columns the structured metadata that nothing in
// the segment has: rows need not be looked at one by one then.
func (r *segReader) narrowMeta() {
	have := func(name string) bool {
		if _, ok := slices.BinarySearch(r.x.AttrNames, name); ok {
			return true
		}
		for i := range r.x.Streams {
			if r.verdicts[i] != logql.No && hasName(r.x.Streams[i].Resource, name) {
				return true
			}
		}
		return false
	}
	if r.cols.AllMeta {
		if len(r.x.AttrNames) > 0 {
			return
		}
		for i := range r.x.Streams {
			if r.verdicts[i] != logql.No && len(r.x.Streams[i].Resource) > 0 {
				return
			}
		}
		r.cols.AllMeta, r.cols.Meta = false, nil
		return
	}
	r.cols.Meta = slices.DeleteFunc(slices.Clone(r.cols.Meta), func(name string) bool { return !have(name) })
}

// rowNames are the names that rows of a segment have in their own metadata.
type rowNames struct{ x *columns.Index }

func (r rowNames) has(name string) bool {
	_, ok := slices.BinarySearch(r.x.AttrNames, name)
	return ok
}

// decides reports whether a row says what a matcher on the name is about.
func (r rowNames) decides(name string) bool {
	return r.has(name) || (name == "level" || name == "detected_level") && r.x.Severities[0] < r.x.Rows
}

// inSegment is the verdict on a stream's rows in a segment, where more is known
// than of the stream alone.
func (m *matching) inSegment(number uint32, st *columns.Stream, rows rowNames) logql.Verdict {
	v := m.numbered(number, st)
	if v.verdict == logql.Maybe && m.sel.Decided(constants(v.labels, st.Resource, rows), rows.decides) == logql.No {
		return logql.No
	}
	return v.verdict
}

// constants returns what is the same for all rows of a stream, sorted: its labels
// and what of its resource no row's own metadata replaces.
func constants(labels, resource []logql.Label, rows rowNames) []logql.Label {
	if len(resource) == 0 {
		return labels
	}
	out := slices.Clone(labels)
	for _, a := range resource {
		if !rows.has(a.Name) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b logql.Label) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func hasName(set []logql.Label, name string) bool {
	return slices.ContainsFunc(set, func(a logql.Label) bool { return a.Name == name })
}

// units pushes what is to be read of the segment: blocks where bodies are needed,
// else spans.
func (r *segReader) units() error {
	x, c := r.x, r.c
	var pass []byte
	want := func(i int) bool {
		b := &x.Blocks[i]
		if b.MaxTime < c.start || b.MinTime >= c.end || r.selected[b.Last+1] == r.selected[b.First] {
			return false
		}
		c.stats.Blocks++
		if r.sevs != 0 && uint32(r.sevs)&b.Severities == 0 {
			c.stats.BlocksPruned++
			return false
		}
		if len(c.req.Needles) > 0 {
			if pass == nil {
				var err error
				if pass, err = r.filter(); c.s.tolerate(err) != nil || pass == nil {
					pass = slices.Repeat([]byte{0xff}, (len(x.Blocks)+7)/8)
				}
			}
			if pass[i/8]>>(i&7)&1 == 0 {
				c.stats.BlocksPruned++
				return false
			}
		}
		return true
	}
	bodies := r.cols.Body || r.cols.Size || len(c.req.Needles) > 0 || len(r.cols.Fields) > 0 && r.fields == nil
	for k := range x.Spans {
		si := k
		if c.req.Order == logql.AnyOrder {
			si = len(x.Spans) - 1 - k // the last one in is the first one out
		}
		s := &x.Spans[si]
		var together []uint32
		for i := s.Block; i < s.Block+s.Blocks; i++ {
			switch {
			case !want(int(i)):
			case bodies || len(r.cols.Fields) > 0 && x.Blocks[i].Odd:
				c.push(r.unit(si, []uint32{i}, true))
			default:
				together = append(together, i)
			}
		}
		if len(together) > 0 {
			c.push(r.unit(si, together, false))
		}
	}
	return nil
}

func (r *segReader) unit(span int, blocks []uint32, body bool) *rowsUnit {
	u := &rowsUnit{r: r, span: span, blocks: blocks, body: body, min: r.x.Blocks[blocks[0]].MinTime, max: r.x.Blocks[blocks[0]].MaxTime}
	for _, i := range blocks {
		u.min, u.max = min(u.min, r.x.Blocks[i].MinTime), max(u.max, r.x.Blocks[i].MaxTime)
	}
	u.min, u.max = max(u.min, r.c.start), min(u.max, r.c.end)
	return u
}

// filter returns which blocks can hold the needles, nil if it cannot tell.
func (r *segReader) filter() ([]byte, error) {
	if r.x.Filter.Words == 0 {
		return nil, nil
	}
	_, idx, err := r.g.files()
	if err != nil {
		return nil, err
	}
	var buf []byte
	read := func(off int64, size int) ([]byte, error) {
		if cap(buf) < size {
			buf = make([]byte, size)
		}
		buf = buf[:size]
		r.c.stats.BytesRead += int64(size)
		return buf, readFull(idx, buf, off)
	}
	var all []byte
	for _, alternatives := range r.c.req.Needles {
		var any []byte
		for i := range alternatives {
			p, ok := columns.NewProbe(alternatives[i].Text)
			if !ok {
				any = nil
				break
			}
			blocks, err := p.Blocks(&r.x.Filter, read)
			if err != nil {
				return nil, err
			}
			if any == nil {
				any = blocks
				continue
			}
			for j := range any {
				any[j] |= blocks[j]
			}
		}
		switch {
		case any == nil:
		case all == nil:
			all = any
		default:
			for j := range all {
				all[j] &= any[j]
			}
		}
	}
	return all, nil
}
