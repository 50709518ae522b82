package read

import (
	"bytes"
	"cmp"
	"slices"
	"sync"

	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/columns"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/export"
)

// groupBytes is how many bytes of lines end a row group.
const groupBytes = 16 << 20

// groups makes row groups, each a Parquet file like a store's segments: its rows
// are sorted by stream and time.
type groups struct {
	put func(*Chunk) error
	cut int64

	dec     *export.Decoder
	w       *columns.Writer
	c       Chunk
	streams []*groupStream
	byLabel map[string]*groupStream
	byPtr   map[*export.Stream]*groupStream
	size    int // of lines and attributes
	attrs   []record.Attr
	key     []byte
}

// groupStream is what a stream has in the group. Its lines are apart from those
// of others: they are written one after the other.
type groupStream struct {
	key  string
	s    columns.Stream
	rows []groupRow
	buf  []byte // of lines and attributes
}

type groupRow struct {
	time     int64
	severity record.Severity
	line     record.Span
	attrs    record.Span
}

var groupPool sync.Pool

// newGroups returns a packer, with the memory of an earlier one if there is any.
func newGroups(put func(*Chunk) error, cut int64) *groups {
	g, ok := groupPool.Get().(*groups)
	if !ok {
		g = new(groups)
	}
	g.put, g.cut = put, cut
	return g
}

// free gives the memory back.
func (g *groups) free() {
	g.put, g.c, g.size = nil, Chunk{}, 0
	kept := 0
	for _, st := range g.streams {
		st.rows, st.buf = st.rows[:0], st.buf[:0]
		kept += cap(st.buf)
	}
	if kept <= 2*groupBytes && len(g.streams) < 10_000 {
		groupPool.Put(g)
	}
}

func (g *groups) begin() {
	g.dec = new(export.Decoder)
	g.byPtr = make(map[*export.Stream]*groupStream)
}

func (g *groups) frame(f *export.Frame) error {
	if g.c.Rows > 0 && (g.size >= groupBytes && g.c.Safe || g.size >= 16*groupBytes || g.cut > 0 && floorDiv(g.c.First, g.cut) != floorDiv(f.First, g.cut)) {
		if err := g.end(); err != nil {
			return err
		}
	}
	if g.c.Rows == 0 {
		g.c.First = f.First
	}
	g.c.Rows += int64(f.Rows)
	g.c.Raw += int64(f.Raw)
	g.c.Last, g.c.Safe = f.Last, f.Safe
	err := g.dec.Decode(f.Data, func(r *export.Row) error {
		g.add(r)
		return nil
	})
	putBuffer(f.Data)
	return err
}

func (g *groups) add(r *export.Row) {
	st := g.byPtr[r.Stream]
	if st == nil {
		st = g.stream(r.Stream.Labels)
		g.byPtr[r.Stream] = st
	}
	from := len(st.buf)
	st.buf = append(st.buf, r.Line...)
	row := groupRow{time: r.Time, line: record.Span{Off: uint32(from), Len: uint32(len(r.Line))}}
	g.attrs = g.attrs[:0]
	for _, a := range r.Meta {
		if a.Name == "detected_level" {
			if s, ok := severity(a.Value); ok {
				row.severity = s
				continue
			}
		}
		if !slices.ContainsFunc(r.Parsed, func(p record.Attr) bool { return p.Name == a.Name }) {
			g.attrs = append(g.attrs, a)
		}
	}
	g.attrs = append(g.attrs, r.Parsed...)
	if len(g.attrs) > 0 {
		at := len(st.buf)
		st.buf = columns.AppendAttrs(st.buf, g.attrs)
		row.attrs = record.Span{Off: uint32(at), Len: uint32(len(st.buf) - at)}
	}
	g.size += len(st.buf) - from
	st.rows = append(st.rows, row)
}

func (g *groups) stream(labels []record.Attr) *groupStream {
	g.key = columns.AppendAttrs(g.key[:0], labels)
	st := g.byLabel[string(g.key)]
	if st == nil {
		st = &groupStream{key: string(g.key), s: columns.Stream{ID: xxh3.Hash(g.key), Labels: labels}}
		if g.byLabel == nil {
			g.byLabel = make(map[string]*groupStream)
		}
		g.byLabel[st.key] = st
		g.streams = append(g.streams, st)
	}
	return st
}

// severity is what a level says; ok is false if the word would be lost.
func severity(level string) (record.Severity, bool) {
	switch level {
	case "unknown":
		return record.Unknown, true
	case "trace":
		return record.Trace, true
	case "debug":
		return record.Debug, true
	case "info":
		return record.Info, true
	case "warn":
		return record.Warn, true
	case "error":
		return record.Error, true
	case "fatal":
		return record.Fatal, true
	}
	return 0, false
}

// end makes a row group of what there is.
func (g *groups) end() error {
	if g.c.Rows == 0 {
		return nil
	}
	if g.w == nil {
		var err error
		if g.w, err = columns.NewWriter(); err != nil {
			return err
		}
	}
	slices.SortFunc(g.streams, func(a, b *groupStream) int { return cmp.Compare(a.key, b.key) })
	g.w.NoIndex()
	list := make([]columns.Stream, 0, len(g.streams))
	for _, st := range g.streams {
		list = append(list, st.s)
	}
	out := bytes.NewBuffer(make([]byte, 0, g.size/4+64<<10))
	if err := g.w.Reset(out, list); err != nil {
		return err
	}
	for i, st := range g.streams {
		byTime := func(a, b groupRow) int { return cmp.Compare(a.time, b.time) }
		if !slices.IsSortedFunc(st.rows, byTime) { // it is
			slices.SortStableFunc(st.rows, byTime)
		}
		for k := range st.rows {
			r := &st.rows[k]
			row := columns.Row{Stream: uint32(i), Severity: r.severity, Time: r.time, Body: of(st.buf, r.line), Attrs: of(st.buf, r.attrs)}
			if err := g.w.Add(&row); err != nil {
				return err
			}
		}
		st.rows, st.buf = st.rows[:0], st.buf[:0]
	}
	if _, _, err := g.w.Close(); err != nil {
		return err
	}
	c := g.c
	c.Data = out.Bytes()
	g.c, g.size = Chunk{}, 0
	if len(g.streams) > maxStreams {
		g.streams, g.byLabel, g.byPtr = nil, nil, make(map[*export.Stream]*groupStream)
	}
	return g.put(&c)
}
