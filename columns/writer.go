package columns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
)

const (
	// BlockBytes is how many bytes of bodies end a block.
	BlockBytes = 512 << 10
	// spanRows is how many rows end a span, at the next end of a block.
	spanRows = 8192
	// MaxRows and MaxBytes bound a segment.
	MaxRows  = math.MaxInt32
	MaxBytes = 1 << 40
	// MaxBody is the longest body.
	MaxBody = 64 << 20

	headroom = 64 << 10 // before the bodies of a block, for their lengths
)

// Writer makes a segment. It keeps its memory from one segment to the next and
// is for one goroutine.
type Writer struct {
	out     func([]byte) error
	crc     uint32 // of what went out
	zstd    *zstd.Encoder
	pages   pageWriter
	streams []Stream
	x       *Index
	err     error
	cur     uint32 // stream of the last row, as given to Reset
	last    int64  // its time

	body    chunk
	time    chunk
	sev     chunk
	attrs   chunk
	json    chunk
	block   Block
	bodies  []byte // headroom, then the bodies of the block
	lengths []int32
	stored  []byte
	tmp     []byte
	tmp2    []byte
	invalid bool // a body is not valid UTF-8
	noIndex bool

	bitmap  [maxWords]uint64
	bitmaps [][]uint64

	span     Span
	times    []int64
	sevs     []int32
	attrRefs []int32 // of the span's rows: -1 none, else in attrDict, or in plain
	attrDict dict
	attrOff  []uint32 // of the texts in attrPlain
	plain    []byte
	plainAll bool
	fresh    map[string]struct{} // of one span
	names    map[string]struct{}
	oneName  []byte // how the last text began, if it had one name
	fields   promoter
}

// NewWriter returns a Writer without a segment: call Reset.
func NewWriter() (*Writer, error) {
	// The window needs not be larger than a page; sums are our own. The next level
	// takes half as much time again, and of sorted logs makes no less.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(512<<10), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return &Writer{zstd: enc, bodies: make([]byte, headroom, headroom+BlockBytes+64<<10)}, nil
}

// Reset begins a segment, written to out as it grows. Rows will be of these
// streams, which the Writer keeps until Close.
func (w *Writer) Reset(out io.Writer, streams []Stream) error {
	w.crc, w.streams = 0, streams
	w.out = func(p []byte) error {
		w.crc = crc32.Update(w.crc, castagnoli, p)
		_, err := out.Write(p)
		return err
	}
	w.x = &Index{FileSize: int64(len(parquetMagic)), MinTime: math.MaxInt64, MaxTime: math.MinInt64}
	w.err, w.last, w.invalid = nil, math.MinInt64, false
	for _, c := range []struct {
		c        *chunk
		name     string
		role     string
		typ      format.Type
		logical  format.LogicalTypeValue
		optional bool
		codec    format.CompressionCodec
	}{
		{&w.body, "body", "body", format.ByteArray, nil, false, format.Zstd},
		{&w.time, "time", "time", format.Int64, &format.TimestampType{IsAdjustedToUTC: true, Unit: format.TimeUnit{Value: &format.NanoSeconds{}}}, false, format.Uncompressed},
		{&w.sev, "severity", "severity", format.Int32, &format.IntType{BitWidth: 8}, false, format.Uncompressed},
		{&w.attrs, "attributes", "attributes", format.ByteArray, &format.StringType{}, true, format.Zstd},
		{&w.json, "body_is_json", "json", format.Boolean, nil, false, format.Uncompressed},
	} {
		buf := c.c.buf[:0]
		*c.c = chunk{name: c.name, typ: c.typ, logical: c.logical, optional: c.optional, codec: c.codec, buf: buf, dict: -1, data: -1, roles: role{Column: c.name, Role: c.role}}
	}
	w.body.off = w.x.FileSize
	w.resetBlock()
	w.resetSpan()
	w.bitmaps = w.bitmaps[:0]
	w.attrDict.reset()
	w.plainAll = false
	if w.names == nil {
		w.names, w.fresh = make(map[string]struct{}), make(map[string]struct{})
	}
	clear(w.names)
	w.oneName = w.oneName[:0]
	w.fields.reset()
	return w.out([]byte(parquetMagic))
}

func (w *Writer) resetBlock() {
	w.block = Block{Row: w.x.Rows, MinTime: math.MaxInt64, MaxTime: math.MinInt64}
	w.bodies, w.lengths = w.bodies[:headroom], w.lengths[:0]
}

func (w *Writer) resetSpan() {
	w.span = Span{Row: w.x.Rows, Block: uint32(len(w.x.Blocks))}
	w.times, w.sevs, w.attrRefs = w.times[:0], w.sevs[:0], w.attrRefs[:0]
	w.attrOff, w.plain = append(w.attrOff[:0], 0), w.plain[:0]
}

// NoIndex says that segments to come are for other readers: Close's filter says
// nothing then and must not be used.
func (w *Writer) NoIndex() { w.noIndex = true }

// Rows is how many rows were added.
func (w *Writer) Rows() int { return int(w.x.Rows) }

// Bytes is how many bytes of bodies were added.
func (w *Writer) Bytes() int64 { return w.x.Bytes }

var errOrder = errors.New("rows out of order")

// Add appends a row. Rows come ascending by (Stream, Time). The error, which is
// that of the output, stays.
func (w *Writer) Add(r *Row) error {
	if w.err != nil {
		return w.err
	}
	x := w.x
	n := len(x.Streams)
	if n == 0 || w.cur != r.Stream {
		if n > 0 && r.Stream < w.cur {
			w.err = errOrder
			return w.err
		}
		x.Streams = append(x.Streams, StreamRows{Stream: w.streams[r.Stream], Row: x.Rows, MinTime: r.Time})
		w.cur = r.Stream
		n++
	} else if r.Time < w.last {
		w.err = errOrder
		return w.err
	}
	if int(x.Rows) == MaxRows || len(r.Body) > MaxBody {
		w.err = fmt.Errorf("segment of %d rows: row of %d bytes: too large", x.Rows, len(r.Body))
		return w.err
	}
	w.last = r.Time
	s := &x.Streams[n-1]
	s.Rows++
	s.MaxTime = r.Time

	b := &w.block
	if b.Rows == 0 {
		b.First = uint32(n - 1)
	}
	b.Last = uint32(n - 1)
	b.Rows++
	b.MinTime, b.MaxTime = min(b.MinTime, r.Time), max(b.MaxTime, r.Time)
	b.Severities |= 1 << r.Severity
	x.Severities[r.Severity]++

	w.bodies = append(w.bodies, r.Body...)
	w.lengths = append(w.lengths, int32(len(r.Body)))
	if !w.invalid && !utf8.Valid(r.Body) {
		w.invalid = true
	}
	w.times = append(w.times, r.Time)
	w.sevs = append(w.sevs, int32(r.Severity))
	w.addAttrs(r.Attrs)
	if w.fields.add(x.Rows, r.Body) {
		b.Odd = true
	}
	x.Rows++
	x.Bytes += int64(len(r.Body))
	if len(w.bodies)-headroom >= BlockBytes {
		w.err = w.endBlock()
	}
	return w.err
}

// endBlock writes the page of bodies.
func (w *Writer) endBlock() error {
	b := &w.block
	var err error
	if w.tmp, err = deltaPacked.EncodeInt32(w.tmp[:0], w.lengths); err != nil {
		return fmt.Errorf("encode lengths: %w", err)
	}
	b.Lengths = uint32(len(w.tmp))
	b.Bytes = uint32(len(w.bodies) - headroom)
	// addWindows reads up to 8 bytes beyond the end.
	w.bodies = append(w.bodies, 0, 0, 0, 0, 0, 0, 0, 0)
	w.bodies = w.bodies[:len(w.bodies)-8]
	bm := w.bitmap[:]
	clear(bm)
	if !w.noIndex {
		addWindows(&w.bitmap, w.bodies[headroom:], w.lengths)
	}
	w.bitmaps = append(w.bitmaps, slices.Clone(bm))

	page := w.bodies[headroom:]
	if n := len(w.tmp); n <= headroom {
		copy(w.bodies[headroom-n:], w.tmp)
		page = w.bodies[headroom-n:]
	} else {
		page = slices.Concat(w.tmp, page)
	}
	w.stored = w.zstd.EncodeAll(page, w.stored[:0])
	p, err := w.body.page(&w.pages, w.stored, len(page), len(w.lengths), format.DeltaLengthByteArray, false, w.out)
	if err != nil {
		return err
	}
	p.Off += w.body.off
	b.Body = p
	w.x.Blocks = append(w.x.Blocks, *b)
	w.span.Blocks++
	w.resetBlock()
	if w.x.Rows-w.span.Row >= spanRows {
		return w.endSpan()
	}
	return nil
}

// endSpan makes the pages of the other columns; those of fields are made at the
// end, when it is known which are worth it.
func (w *Writer) endSpan() error {
	s := &w.span
	s.Rows = uint32(len(w.times))
	var err error
	if w.tmp, err = deltaPacked.EncodeInt64(w.tmp[:0], w.times); err != nil {
		return fmt.Errorf("encode times: %w", err)
	}
	if s.Time, err = w.time.page(&w.pages, w.tmp, len(w.tmp), len(w.times), format.DeltaBinaryPacked, false, w.time.keep); err != nil {
		return err
	}
	w.tmp = appendIndexes(w.tmp[:0], &w.tmp2, w.sevs, 25)
	if s.Severity, err = w.sev.page(&w.pages, w.tmp, len(w.tmp), len(w.sevs), format.RLEDictionary, false, w.sev.keep); err != nil {
		return err
	}
	if err := w.endAttrs(); err != nil {
		return err
	}
	w.x.Spans = append(w.x.Spans, *s)
	w.resetSpan()
	return nil
}

// Close ends the segment. It returns its index and the filter that belongs into
// the index file, both for AppendIndex.
func (w *Writer) Close() (*Index, []byte, error) {
	if w.err == nil {
		w.err = w.close()
	}
	w.bodies = trim(w.bodies)
	if w.err != nil {
		return nil, nil, w.err
	}
	var filter []byte
	filter, w.x.Filter = appendFilter(nil, w.bitmaps)
	clear(w.bitmaps)
	x := w.x
	w.x, w.streams, w.out = nil, nil, nil
	w.err = errors.New("no segment begun")
	return x, filter, nil
}

// trim forgets a buffer that a huge row has made huge.
func trim(b []byte) []byte {
	if cap(b) > 4<<20 {
		return make([]byte, headroom, headroom+BlockBytes+64<<10)
	}
	return b
}

func (w *Writer) close() error {
	if w.block.Rows > 0 {
		if err := w.endBlock(); err != nil {
			return err
		}
	}
	if len(w.times) > 0 {
		if err := w.endSpan(); err != nil {
			return err
		}
	}
	x := w.x
	if !w.invalid {
		w.body.logical = &format.StringType{}
	}
	for i := range x.Streams {
		x.MinTime = min(x.MinTime, x.Streams[i].MinTime)
		x.MaxTime = max(x.MaxTime, x.Streams[i].MaxTime)
	}
	if x.Rows == 0 {
		x.MinTime, x.MaxTime = 0, 0
	}
	w.time.min = binary.LittleEndian.AppendUint64(nil, uint64(x.MinTime))
	w.time.max = binary.LittleEndian.AppendUint64(nil, uint64(x.MaxTime))
	for n := range w.names {
		x.AttrNames = append(x.AttrNames, n)
	}
	slices.Sort(x.AttrNames)

	// The dictionaries of columns whose pages are made come behind them in
	// memory, but before them in the file.
	sevDict := make([]byte, 0, 100)
	for s := range 25 {
		sevDict = binary.LittleEndian.AppendUint32(sevDict, uint32(s))
	}
	if _, err := w.dictFirst(&w.sev, sevDict, 25, func(s *Span) *Page { return &s.Severity }); err != nil {
		return err
	}
	if w.attrDict.n > 0 {
		p, err := w.dictFirst(&w.attrs, w.attrDict.plain, w.attrDict.n, func(s *Span) *Page { return &s.Attrs })
		if err != nil {
			return err
		}
		x.AttrDict, x.AttrValues = p, uint32(w.attrDict.n)
	}
	if err := w.jsonPages(); err != nil {
		return err
	}
	labels, err := w.labelChunks()
	if err != nil {
		return err
	}
	fields, err := w.fieldChunks()
	if err != nil {
		return err
	}

	// Chunks in their order in the file; the body is there already.
	at := w.body.off + w.body.size
	place := func(c *chunk, pages func(s *Span) *Page) error {
		c.off = at
		at += c.size
		for i := range x.Spans {
			if pages != nil {
				pages(&x.Spans[i]).Off += c.off
			}
		}
		return w.out(c.buf)
	}
	if err := place(&w.time, func(s *Span) *Page { return &s.Time }); err != nil {
		return err
	}
	if err := place(&w.sev, func(s *Span) *Page { return &s.Severity }); err != nil {
		return err
	}
	if err := place(&w.attrs, func(s *Span) *Page { return &s.Attrs }); err != nil {
		return err
	}
	x.AttrDict.Off += w.attrs.off
	if err := place(&w.json, func(s *Span) *Page { return &s.JSON }); err != nil {
		return err
	}
	chunks := []*chunk{&w.body, &w.time, &w.sev, &w.attrs, &w.json}
	for _, c := range labels {
		if err := place(c, nil); err != nil {
			return err
		}
		chunks = append(chunks, c)
	}
	for i, c := range fields {
		if err := place(c, func(s *Span) *Page { return &s.Fields[i] }); err != nil {
			return err
		}
		x.Fields[i].Dict.Off += c.off
		chunks = append(chunks, c)
	}
	used := map[string]bool{}
	for _, c := range chunks {
		for used[c.name] {
			c.name += "_"
		}
		used[c.name] = true
		c.roles.Column = c.name
	}
	foot, err := footer(chunks, int64(x.Rows), w.crc)
	if err != nil {
		return err
	}
	x.FooterCRC, x.FooterSize = checksum(foot), uint32(len(foot))
	x.FileSize = at + int64(len(foot))
	err = w.out(foot)
	x.FileCRC = w.crc
	return err
}

// dictFirst puts a dictionary page before the pages that c has, and moves these.
func (w *Writer) dictFirst(c *chunk, plain []byte, n int, page func(s *Span) *Page) (Page, error) {
	stored := plain
	if c.codec == format.Zstd {
		stored = w.zstd.EncodeAll(plain, nil)
	}
	var head []byte
	pages, size, data := c.buf, c.size, c.data
	c.size = 0
	p, err := c.page(&w.pages, stored, len(plain), n, format.Plain, true, func(b []byte) error {
		head = append(head, b...)
		return nil
	})
	if err != nil {
		return p, err
	}
	shift := c.size
	for i := range w.x.Spans {
		page(&w.x.Spans[i]).Off += shift
	}
	c.size += size
	c.data = data + shift
	c.buf = append(head, pages...)
	return p, nil
}
