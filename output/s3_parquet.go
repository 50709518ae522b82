package output

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/columns"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// parquetObject returns a Parquet file of the records, laid out as the embedded
// store lays out its segments (docs/formats/store-segment.md), sorted by stream
// and time. The structured metadata of a row has its id as log_record_uid.
func parquetObject(parts []record.Part) ([]byte, error) {
	t := streamTable{index: make(map[*record.Stream]int), same: make(map[string]int)}
	rows := make([]objectRow, 0, count(parts))
	size := 0
	for _, p := range parts {
		b := p.Batch()
		for _, i := range p.Index() {
			r := b.Record(int(i))
			if int(r.Body.Len) > columns.MaxBody {
				return nil, &ack.SendError{Kind: ack.TooLarge, Err: fmt.Errorf("a record of %d bytes does not fit into Parquet", r.Body.Len)}
			}
			rows = append(rows, objectRow{b: b, i: i, stream: t.of(b.Stream(int(i))), time: r.Time})
			size += int(r.Body.Len)
		}
	}
	rank := t.sort()
	slices.SortStableFunc(rows, func(a, b objectRow) int {
		return cmp.Or(cmp.Compare(rank[a.stream], rank[b.stream]), cmp.Compare(a.time, b.time))
	})
	w, err := columns.NewWriter()
	if err != nil {
		return nil, err
	}
	w.NoIndex()
	out := bytes.NewBuffer(make([]byte, 0, size/4+64<<10))
	if err := w.Reset(out, t.streams); err != nil {
		return nil, err
	}
	var attrs []columns.Attr
	var text []byte
	for _, row := range rows {
		r := row.b.Record(int(row.i))
		attrs = rowAttrs(attrs[:0], row.b, int(row.i))
		text = columns.AppendAttrs(text[:0], attrs)
		if err := w.Add(&columns.Row{
			Stream: uint32(rank[row.stream]), Severity: r.Severity % 25, Time: r.Time, Attrs: text, Body: row.b.Bytes(r.Body),
		}); err != nil {
			return nil, err
		}
	}
	if _, _, err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

type objectRow struct {
	b      *record.Batch
	i      uint32
	stream int
	time   int64
}

// rowAttrs appends the structured metadata of a record: its fields, the last of
// each name, its notable flags and its id.
func rowAttrs(dst []columns.Attr, b *record.Batch, i int) []columns.Attr {
	start := len(dst)
	fields := b.Fields(i)
	for _, f := range fields {
		if f.Val.Len == 0 || f.Kind == record.Null {
			continue
		}
		a := columns.Attr{Name: record.SanitizeName(b.KeyName(f.Key)), Value: string(b.Bytes(f.Val))}
		if at := slices.IndexFunc(dst[start:], func(x columns.Attr) bool { return x.Name == a.Name }); at >= 0 {
			dst[start+at] = a
		} else {
			dst = append(dst, a)
		}
	}
	wire.EachFlag(b.Record(i).Flags&wire.Notable, func(name string) {
		dst = append(dst, columns.Attr{Name: "weir_" + name, Value: "true"})
	})
	if id := wire.RecordID(b, i); !id.IsZero() {
		dst = append(dst, columns.Attr{Name: "log_record_uid", Value: id.String()})
	}
	return dst
}

// streamTable has the streams of an object.
type streamTable struct {
	streams []columns.Stream
	index   map[*record.Stream]int
	same    map[string]int // by all of its names and values
}

func (t *streamTable) of(s *record.Stream) int {
	if i, ok := t.index[s]; ok {
		return i
	}
	st := columns.Stream{}
	names := make(map[string]bool)
	add := func(set *[]columns.Attr, name, value string) {
		name = wire.Unique(names, record.SanitizeName(name))
		*set = append(*set, columns.Attr{Name: name, Value: strings.ToValidUTF8(value, "\ufffd")})
	}
	for _, a := range s.Attrs() {
		if isIndexLabel(a.Name) {
			add(&st.Labels, a.Name, a.Value)
		}
	}
	for _, a := range s.Attrs() {
		if !isIndexLabel(a.Name) {
			add(&st.Resource, a.Name, a.Value)
		}
	}
	for _, a := range s.Labels() {
		add(&st.Resource, "label_"+a.Name, a.Value)
	}
	for _, a := range s.Annotations() {
		add(&st.Resource, "annotation_"+a.Name, a.Value)
	}
	for _, set := range [2][]columns.Attr{st.Labels, st.Resource} {
		slices.SortFunc(set, func(a, b columns.Attr) int { return strings.Compare(a.Name, b.Name) })
	}
	labels := columns.AppendAttrs(nil, st.Labels)
	st.ID = xxh3.Hash(labels)
	key := string(columns.AppendAttrs(append(labels, 0), st.Resource))
	i, ok := t.same[key]
	if !ok {
		i = len(t.streams)
		t.streams = append(t.streams, st)
		t.same[key] = i
	}
	t.index[s] = i
	return i
}

// sort puts the streams in the order of their labels and returns the place of
// each.
func (t *streamTable) sort() (rank []int) {
	order := make([]int, len(t.streams))
	for i := range order {
		order[i] = i
	}
	byName := func(a, b columns.Attr) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Value, b.Value))
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &t.streams[a], &t.streams[b]
		return cmp.Or(slices.CompareFunc(x.Labels, y.Labels, byName), slices.CompareFunc(x.Resource, y.Resource, byName))
	})
	rank = make([]int, len(order))
	sorted := make([]columns.Stream, len(order))
	for to, from := range order {
		rank[from], sorted[to] = to, t.streams[from]
	}
	t.streams = sorted
	return rank
}

// isIndexLabel reports whether an attribute is a label; the others are the
// stream's resource, as in the embedded store.
func isIndexLabel(name string) bool {
	switch name {
	case record.AttrPodUID, record.AttrContainerID, record.AttrRestart, record.AttrImage, record.AttrFile:
		return false
	}
	return wire.IsAttr(name) || name == record.AttrTenant || !strings.Contains(name, ".")
}
