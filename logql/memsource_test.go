package logql

import (
	"context"
	"io"
	"math/rand/v2"
	"slices"
	"sort"

	"github.com/weirlog/weir/record"
)

// memRow is a row of a memSource.
type memRow struct {
	stream   int
	time     int64
	line     string
	meta     []Label
	severity record.Severity
}

// memSource keeps rows in memory and hands them out in blocks of odd sizes.
// What a source may do, it does: it prunes by needles and severities and, with
// fields, answers for the JSON stage.
type memSource struct {
	streams    []*Stream
	rows       []memRow
	blockRows  int
	severities bool // rows have them
	prune      bool
	fields     bool
	seed       uint64
	open       int // blocks not released
}

func (m *memSource) add(labels []Label, time int64, line string, meta ...Label) *memSource {
	at := slices.IndexFunc(m.streams, func(s *Stream) bool { return slices.Equal(s.Labels, labels) })
	if at < 0 {
		at = len(m.streams)
		m.streams = append(m.streams, &Stream{Labels: labels})
	}
	m.rows = append(m.rows, memRow{stream: at, time: time, line: line, meta: meta})
	return m
}

type memCursor struct {
	m     *memSource
	req   *Request
	parts [][]memRow
	stats SourceStats
}

func (m *memSource) Select(_ context.Context, req *Request) (Cursor, error) {
	c := &memCursor{m: m, req: req}
	size := max(1, m.blockRows)
	// Blocks of neighbouring rows, as segments would have them.
	for from := 0; from < len(m.rows); from += size {
		var part []memRow
		for _, r := range m.rows[from:min(from+size, len(m.rows))] {
			if r.time < req.Start || r.time >= req.End || req.Selector.Stream(m.streams[r.stream].Labels) == No {
				continue
			}
			if m.prune && !req.Needles.Match([]byte(r.line)) {
				c.stats.BlocksPruned++
				continue
			}
			hasLevel := slices.ContainsFunc(append(slices.Clone(m.streams[r.stream].Labels), r.meta...), func(l Label) bool { return isLevel(l.Name) })
			if m.prune && m.severities && !hasLevel && !req.Severities.Has(r.severity) {
				continue
			}
			part = append(part, r)
		}
		if len(part) == 0 {
			continue
		}
		switch req.Order {
		case AnyOrder:
			sort.SliceStable(part, func(i, j int) bool {
				if part[i].stream != part[j].stream {
					return part[i].stream < part[j].stream
				}
				return part[i].time < part[j].time
			})
		case Forward:
			sort.SliceStable(part, func(i, j int) bool { return part[i].time < part[j].time })
		case Backward:
			sort.SliceStable(part, func(i, j int) bool { return part[i].time < part[j].time })
			slices.Reverse(part)
		}
		c.parts = append(c.parts, part)
	}
	if req.Order == AnyOrder {
		rnd := rand.New(rand.NewPCG(m.seed, 1))
		rnd.Shuffle(len(c.parts), func(i, j int) { c.parts[i], c.parts[j] = c.parts[j], c.parts[i] })
	} else {
		sort.SliceStable(c.parts, func(i, j int) bool { return before(req.Order, c.parts[i][0].time, c.parts[j][0].time) })
	}
	return c, nil
}

func (c *memCursor) Bound() (int64, bool) {
	if len(c.parts) == 0 {
		return 0, false
	}
	t := c.parts[0][0].time
	if c.req.Order == Backward { // an index may know less
		return t + t%2, true
	}
	return t - t%2, true
}

func (c *memCursor) Next(context.Context) (*Block, error) {
	if len(c.parts) == 0 {
		return nil, io.EOF
	}
	part := c.parts[0]
	c.parts = c.parts[1:]
	b := &Block{Streams: c.m.streams, Free: func(b *Block) { c.m.open--; *b = Block{} }}
	c.m.open++
	v := Yes
	for _, r := range part {
		v = min(v, c.req.Selector.Stream(c.m.streams[r.stream].Labels))
	}
	cols := c.req.ColumnsFor(v)
	fields := cols.Fields
	if !c.m.fields {
		if fields != nil {
			cols.Body = true
		}
		fields = nil
	}
	anyMeta := false
	meta := &Meta{Off: []uint32{0}}
	for k := range fields {
		b.Fields = append(b.Fields, fieldColumn(part, fields[k]))
	}
	for _, r := range part {
		b.Stream = append(b.Stream, uint32(r.stream))
		b.Times = append(b.Times, r.time)
		if cols.Severity && c.m.severities {
			b.Severity = append(b.Severity, r.severity)
		}
		if cols.Body {
			b.Body = append(b.Body, record.Span{Off: uint32(len(b.Buf)), Len: uint32(len(r.line))})
			b.Buf = append(append(b.Buf, r.line...), "gap"...)
		} else if cols.Size {
			b.Size = append(b.Size, uint32(len(r.line)))
		}
		for _, l := range r.meta {
			if !cols.AllMeta && !slices.Contains(cols.Meta, l.Name) {
				continue
			}
			anyMeta = true
			at := slices.Index(meta.Names, l.Name)
			if at < 0 {
				at = len(meta.Names)
				meta.Names = append(meta.Names, l.Name)
			}
			meta.Name = append(meta.Name, uint32(at))
			meta.Value = append(meta.Value, record.Span{Off: uint32(len(meta.Buf)), Len: uint32(len(l.Value))})
			meta.Buf = append(meta.Buf, l.Value...)
		}
		meta.Off = append(meta.Off, uint32(len(meta.Name)))
	}
	if anyMeta {
		b.Meta = meta
	}
	c.stats.Blocks++
	c.stats.Rows += int64(len(part))
	return b, nil
}

// fieldColumn does what a store's promoted column would.
func fieldColumn(part []memRow, name string) Field {
	var f Field
	for _, r := range part {
		var e entry
		e.reset(nil, []byte(r.line), 0)
		(&jsonStage{}).process(&e)
		v, ok := e.get(name)
		switch at := slices.Index(f.Values, v); {
		case e.err != "":
			f.Index = append(f.Index, NoObject)
		case !ok:
			f.Index = append(f.Index, NoField)
		case at >= 0:
			f.Index = append(f.Index, int32(at))
		default:
			f.Index = append(f.Index, int32(len(f.Values)))
			f.Values = append(f.Values, string([]byte(v)))
		}
	}
	return f
}

func (c *memCursor) Stats() SourceStats { return c.stats }

func (c *memCursor) Close() error {
	c.parts = nil
	return nil
}
