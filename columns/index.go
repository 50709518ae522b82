package columns

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Page is where a page's content stands in the Parquet file, behind its header.
type Page struct {
	Off  int64  // in the file
	Size uint32 // as stored
	Raw  uint32 // uncompressed
	CRC  uint32 // CRC32C as stored
}

// Block is a page of the body column and what is known of its rows.
type Block struct {
	Row, Rows        uint32 // the first one in the segment, how many
	MinTime, MaxTime int64
	First, Last      uint32 // streams, indexes into Index.Streams
	Severities       uint32 // bit 1<<s: a row has severity s
	Odd              bool   // a row begins with { and is not an object that the fields' columns know
	Bytes            uint32 // of the bodies
	Lengths          uint32 // size of the encoded lengths before the bodies in the page
	Body             Page
}

// Span is a page of each of the other columns.
type Span struct {
	Row, Rows             uint32
	Block, Blocks         uint32 // its blocks
	Time, Severity, Attrs Page
	AttrsPlain            bool // the page of attributes has no dictionary
	JSON                  Page // one bit per row: the body is a JSON object
	Fields                []Page
}

// StreamRows is a stream and where its rows stand.
type StreamRows struct {
	Stream
	Row, Rows        uint32
	MinTime, MaxTime int64
}

// Field is a promoted JSON field.
type Field struct {
	Name   string // as the stage json names it
	Values uint32 // size of its dictionary
	Dict   Page
}

// Index is what a segment holds and where. It is read-only once made.
type Index struct {
	FileSize         int64  // of the Parquet file
	FooterCRC        uint32 // CRC32C of its footer, which ties the two files to each other
	FooterSize       uint32
	FileCRC          uint32 // CRC32C of all of it
	Rows             uint32
	Bytes            int64 // of all bodies
	MinTime, MaxTime int64
	Severities       [25]uint32 // rows per severity
	Streams          []StreamRows
	Blocks           []Block
	Spans            []Span
	Fields           []Field
	AttrNames        []string // all names of structured metadata of rows
	AttrValues       uint32   // size of the dictionary of attributes
	AttrDict         Page
	Filter           Filter
}

// FindField returns the number of the promoted field of that name.
func (x *Index) FindField(name string) (int, bool) {
	for i := range x.Fields {
		if x.Fields[i].Name == name {
			return i, true
		}
	}
	return 0, false
}

// StreamAt returns the index of the stream that row belongs to.
func (x *Index) StreamAt(row uint32) uint32 {
	lo, hi := 0, len(x.Streams)
	for hi-lo > 1 {
		if m := (lo + hi) / 2; x.Streams[m].Row <= row {
			lo = m
		} else {
			hi = m
		}
	}
	return uint32(lo)
}

// The index file.
const (
	indexMagic   = "weiridx1"
	indexVersion = 1
	// IndexHeaderSize is the size of the header that ParseIndexHeader reads.
	IndexHeaderSize = 24
	maxIndex        = 1 << 28
)

// indexCodec compresses indexes; both may be used concurrently.
var indexCodec = sync.OnceValues(func() (*zstd.Encoder, *zstd.Decoder) {
	// With these options neither can fail.
	enc, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	dec, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxIndex))
	return enc, dec
})

// AppendIndex appends the whole index file of x: header, index, filter.
func AppendIndex(dst []byte, x *Index, filter []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, IndexHeaderSize)...)
	enc, _ := indexCodec()
	dst = enc.EncodeAll(x.append(nil), dst)
	h := dst[start:]
	copy(h, indexMagic)
	binary.LittleEndian.PutUint32(h[8:], indexVersion)
	binary.LittleEndian.PutUint32(h[12:], uint32(len(h)-IndexHeaderSize))
	binary.LittleEndian.PutUint32(h[16:], checksum(h[IndexHeaderSize:]))
	binary.LittleEndian.PutUint32(h[20:], checksum(h[:20]))
	return append(dst, filter...)
}

// ParseIndexHeader returns the size of the index behind the header; the filter
// follows it.
func ParseIndexHeader(h []byte) (size int, err error) {
	if len(h) < IndexHeaderSize || string(h[:8]) != indexMagic {
		return 0, fmt.Errorf("index: no header: %w", ErrDamaged)
	}
	if binary.LittleEndian.Uint32(h[20:]) != checksum(h[:20]) {
		return 0, fmt.Errorf("index: header: %w", ErrDamaged)
	}
	if v := binary.LittleEndian.Uint32(h[8:]); v != indexVersion {
		return 0, fmt.Errorf("index has format version %d, this program knows %d", v, indexVersion)
	}
	n := binary.LittleEndian.Uint32(h[12:])
	if n > maxIndex {
		return 0, fmt.Errorf("index: size %d: %w", n, ErrDamaged)
	}
	return int(n), nil
}

// ParseIndex reads header and index, as far as ParseIndexHeader said.
func ParseIndex(p []byte) (*Index, error) {
	n, err := ParseIndexHeader(p)
	if err != nil {
		return nil, err
	}
	if len(p) < IndexHeaderSize+n {
		return nil, fmt.Errorf("index: %d of %d bytes: %w", len(p), IndexHeaderSize+n, ErrDamaged)
	}
	body := p[IndexHeaderSize : IndexHeaderSize+n]
	if binary.LittleEndian.Uint32(p[16:]) != checksum(body) {
		return nil, fmt.Errorf("index: sum: %w", ErrDamaged)
	}
	_, dec := indexCodec()
	raw, err := dec.DecodeAll(body, nil)
	if err != nil {
		return nil, fmt.Errorf("index: %w: %w", err, ErrDamaged)
	}
	d := &decoder{p: raw}
	x := d.index()
	if d.bad || len(d.p) != 0 {
		return nil, fmt.Errorf("index: content: %w", ErrDamaged)
	}
	x.Filter.Off = int64(IndexHeaderSize + n)
	return x, nil
}

func (p Page) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(p.Off))
	dst = binary.AppendUvarint(dst, uint64(p.Size))
	dst = binary.AppendUvarint(dst, uint64(p.Raw))
	return binary.LittleEndian.AppendUint32(dst, p.CRC)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (x *Index) append(dst []byte) []byte {
	u := func(v uint64) { dst = binary.AppendUvarint(dst, v) }
	u(uint64(x.FileSize))
	u(uint64(x.FooterCRC))
	u(uint64(x.FooterSize))
	u(uint64(x.FileCRC))
	u(uint64(x.Rows))
	u(uint64(x.Bytes))
	dst = binary.AppendVarint(dst, x.MinTime)
	u(uint64(x.MaxTime - x.MinTime))
	for _, n := range x.Severities {
		u(uint64(n))
	}
	times := func(lo, hi int64) {
		u(uint64(lo - x.MinTime))
		u(uint64(hi - lo))
	}
	// Names and values repeat from stream to stream: a table of texts.
	texts := map[string]uint64{}
	var table []string
	ref := func(s string) uint64 {
		n, ok := texts[s]
		if !ok {
			n = uint64(len(table))
			texts[s] = n
			table = append(table, s)
		}
		return n
	}
	for i := range x.Streams {
		for _, set := range [2][]Attr{x.Streams[i].Labels, x.Streams[i].Resource} {
			for _, a := range set {
				ref(a.Name)
				ref(a.Value)
			}
		}
	}
	u(uint64(len(table)))
	for _, s := range table {
		dst = appendText(dst, s)
	}
	u(uint64(len(x.Streams)))
	for i := range x.Streams {
		s := &x.Streams[i]
		dst = binary.LittleEndian.AppendUint64(dst, s.ID)
		for _, set := range [2][]Attr{s.Labels, s.Resource} {
			u(uint64(len(set)))
			for _, a := range set {
				u(ref(a.Name))
				u(ref(a.Value))
			}
		}
		u(uint64(s.Rows))
		times(s.MinTime, s.MaxTime)
	}
	u(uint64(len(x.Blocks)))
	for i := range x.Blocks {
		b := &x.Blocks[i]
		u(uint64(b.Rows))
		times(b.MinTime, b.MaxTime)
		u(uint64(b.First))
		u(uint64(b.Last - b.First))
		u(uint64(b.Severities))
		dst = append(dst, flag(b.Odd))
		u(uint64(b.Bytes))
		u(uint64(b.Lengths))
		dst = b.Body.append(dst)
	}
	u(uint64(len(x.Fields)))
	for i := range x.Fields {
		f := &x.Fields[i]
		dst = appendText(dst, f.Name)
		u(uint64(f.Values))
		dst = f.Dict.append(dst)
	}
	u(uint64(len(x.Spans)))
	for i := range x.Spans {
		s := &x.Spans[i]
		u(uint64(s.Rows))
		u(uint64(s.Blocks))
		dst = s.Time.append(dst)
		dst = s.Severity.append(dst)
		dst = s.Attrs.append(dst)
		dst = append(dst, flag(s.AttrsPlain))
		dst = s.JSON.append(dst)
		for _, p := range s.Fields {
			dst = p.append(dst)
		}
	}
	u(uint64(len(x.AttrNames)))
	for _, n := range x.AttrNames {
		dst = appendText(dst, n)
	}
	u(uint64(x.AttrValues))
	dst = x.AttrDict.append(dst)
	u(uint64(x.Filter.Words))
	u(uint64(x.Filter.Blocks))
	return dst
}

// decoder reads what append writes; after an error everything is zero and bad
// is set. Counts are believed only as far as there are bytes for them.
type decoder struct {
	p   []byte
	bad bool
}

func (d *decoder) u() uint64 {
	v, n := binary.Uvarint(d.p)
	if n <= 0 {
		d.bad, d.p = true, nil
		return 0
	}
	d.p = d.p[n:]
	return v
}

func (d *decoder) u32() uint32 {
	v := d.u()
	if v > math.MaxUint32 {
		d.bad = true
	}
	return uint32(v)
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.p)) {
		d.bad, d.p = true, nil
		return make([]byte, min(n, 8))
	}
	v := d.p[:n]
	d.p = d.p[n:]
	return v
}

func (d *decoder) count() int {
	n := d.u()
	if n > uint64(len(d.p)) {
		d.bad, d.p = true, nil
		return 0
	}
	return int(n)
}

func (d *decoder) text() string { return string(d.take(uint64(d.count()))) }

func (d *decoder) flag() bool { return d.take(1)[0] != 0 }

func (d *decoder) page() (p Page) {
	p.Off = int64(d.u())
	p.Size = d.u32()
	p.Raw = d.u32()
	p.CRC = binary.LittleEndian.Uint32(d.take(4))
	return p
}

func (d *decoder) index() *Index {
	x := &Index{}
	x.FileSize = int64(d.u())
	x.FooterCRC = d.u32()
	x.FooterSize = d.u32()
	x.FileCRC = d.u32()
	x.Rows = d.u32()
	x.Bytes = int64(d.u())
	v, n := binary.Varint(d.p)
	if n <= 0 {
		d.bad = true
		return x
	}
	d.p = d.p[n:]
	x.MinTime = v
	x.MaxTime = v + int64(d.u())
	for i := range x.Severities {
		x.Severities[i] = d.u32()
	}
	times := func() (lo, hi int64) {
		lo = x.MinTime + int64(d.u())
		return lo, lo + int64(d.u())
	}
	table := make([]string, d.count())
	for i := range table {
		table[i] = d.text()
	}
	text := func() string {
		if i := d.u(); i < uint64(len(table)) {
			return table[i]
		}
		d.bad = true
		return ""
	}
	set := func() []Attr {
		n := d.count()
		if n == 0 {
			return nil
		}
		out := make([]Attr, n)
		for i := range out {
			out[i] = Attr{Name: text(), Value: text()}
		}
		return out
	}
	x.Streams = make([]StreamRows, d.count())
	row := uint32(0)
	for i := range x.Streams {
		s := &x.Streams[i]
		s.ID = binary.LittleEndian.Uint64(d.take(8))
		s.Labels, s.Resource = set(), set()
		s.Row, s.Rows = row, d.u32()
		row += s.Rows
		s.MinTime, s.MaxTime = times()
	}
	if row != x.Rows {
		d.bad = true
	}
	x.Blocks = make([]Block, d.count())
	row = 0
	for i := range x.Blocks {
		b := &x.Blocks[i]
		b.Row, b.Rows = row, d.u32()
		row += b.Rows
		b.MinTime, b.MaxTime = times()
		b.First = d.u32()
		b.Last = b.First + d.u32()
		if uint64(b.Last) >= uint64(len(x.Streams)) || b.Rows == 0 {
			d.bad = true
		}
		b.Severities = d.u32()
		b.Odd = d.flag()
		b.Bytes, b.Lengths = d.u32(), d.u32()
		b.Body = d.page()
	}
	if row != x.Rows {
		d.bad = true
	}
	x.Fields = make([]Field, d.count())
	for i := range x.Fields {
		f := &x.Fields[i]
		f.Name = d.text()
		f.Values = d.u32()
		f.Dict = d.page()
	}
	x.Spans = make([]Span, d.count())
	row = 0
	block := uint32(0)
	for i := range x.Spans {
		s := &x.Spans[i]
		s.Row, s.Rows = row, d.u32()
		s.Block, s.Blocks = block, d.u32()
		row += s.Rows
		block += s.Blocks
		s.Time, s.Severity, s.Attrs = d.page(), d.page(), d.page()
		s.AttrsPlain = d.flag()
		s.JSON = d.page()
		s.Fields = make([]Page, len(x.Fields))
		for j := range s.Fields {
			s.Fields[j] = d.page()
		}
		if d.bad {
			return x
		}
	}
	if row != x.Rows || block != uint32(len(x.Blocks)) {
		d.bad = true
	}
	x.AttrNames = make([]string, d.count())
	for i := range x.AttrNames {
		x.AttrNames[i] = d.text()
	}
	x.AttrValues = d.u32()
	x.AttrDict = d.page()
	x.Filter.Words = d.u32()
	x.Filter.Blocks = d.u32()
	if w := x.Filter.Words; w&(w-1) != 0 || w > maxWords || w > 0 && int(x.Filter.Blocks) != len(x.Blocks) {
		d.bad = true
	}
	return x
}
