package read

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/columns"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/export"
)

// groupBytes is how many bytes of lines end a row group.
const groupBytes = 64 << 20

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
	buf     []byte // of lines and attributes
	attrs   []record.Attr
	key     []byte
}

type groupStream struct {
	key  string
	s    columns.Stream
	rows []groupRow
}

type groupRow struct {
	time     int64
	severity record.Severity
	line     record.Span
	attrs    record.Span
}

func (g *groups) begin() {
	g.dec = new(export.Decoder)
	g.byPtr = make(map[*export.Stream]*groupStream)
}

func (g *groups) frame(f *export.Frame) error {
	if g.c.Rows > 0 && (len(g.buf) >= groupBytes && g.c.Safe || len(g.buf) >= 16*groupBytes || g.cut > 0 && floorDiv(g.c.First, g.cut) != floorDiv(f.First, g.cut)) {
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
	row := groupRow{time: r.Time, line: g.keep(r.Line)}
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
		from := len(g.buf)
		g.buf = columns.AppendAttrs(g.buf, g.attrs)
		row.attrs = record.Span{Off: uint32(from), Len: uint32(len(g.buf) - from)}
	}
	st.rows = append(st.rows, row)
}

func (g *groups) keep(p []byte) record.Span {
	from := len(g.buf)
	g.buf = append(g.buf, p...)
	return record.Span{Off: uint32(from), Len: uint32(len(p))}
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
	list := make([]columns.Stream, 0, len(g.streams))
	for _, st := range g.streams {
		list = append(list, st.s)
	}
	out := bytes.NewBuffer(make([]byte, 0, len(g.buf)/4+64<<10))
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
			row := columns.Row{Stream: uint32(i), Severity: r.severity, Time: r.time, Body: of(g.buf, r.line), Attrs: of(g.buf, r.attrs)}
			if err := g.w.Add(&row); err != nil {
				return err
			}
		}
		st.rows = st.rows[:0]
	}
	if _, _, err := g.w.Close(); err != nil {
		return err
	}
	c := g.c
	c.Data = out.Bytes()
	g.c, g.buf = Chunk{}, g.buf[:0]
	if len(g.streams) > maxStreams {
		g.streams, g.byLabel, g.byPtr = nil, nil, make(map[*export.Stream]*groupStream)
	}
	return g.put(&c)
}
