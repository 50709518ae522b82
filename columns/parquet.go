package columns

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// The frame of the Parquet file: pages with their headers, column chunks, the
// footer. parquet-go's structs say what it looks like; cutting the pages is ours,
// as a block's boundaries, and where each page stands, are what the index is
// made of, and as most columns are a few runs that need not be written row by
// row.

const parquetMagic = "PAR1"

var compact thrift.CompactProtocol

// chunk is a column chunk being made: its pages, or, of the first column, what
// has been written of it already.
type chunk struct {
	name     string
	typ      format.Type
	logical  format.LogicalTypeValue
	optional bool
	codec    format.CompressionCodec
	encoding []format.Encoding

	buf    []byte // pages, waiting for the columns before
	off    int64  // of the chunk in the file
	size   int64  // with headers, as stored
	raw    int64  // with headers, uncompressed
	values int64
	dict   int64 // offset of the dictionary page within the chunk, -1
	data   int64 // offset of the first data page within the chunk, -1
	min    []byte
	max    []byte
	nulls  int64
	roles  role
}

// role is what a column is for, for readers that are to understand names.
type role struct {
	Column string `json:"column"`
	Role   string `json:"role"`           // time, stream, severity, label, resource, attributes, json, field, body
	Name   string `json:"name,omitempty"` // of a label or field
}

// pageWriter makes page headers.
type pageWriter struct {
	buf bytes.Buffer
	enc *thrift.Encoder
}

func (p *pageWriter) header(h *format.PageHeader) []byte {
	p.buf.Reset()
	if p.enc == nil {
		p.enc = thrift.NewEncoder(compact.NewWriter(&p.buf))
	}
	p.enc.Reset(compact.NewWriter(&p.buf))
	p.enc.Encode(h) // into memory: cannot fail
	return p.buf.Bytes()
}

// page appends a page to the chunk and returns where its content stands,
// relative to the chunk. emit is where the bytes go.
func (c *chunk) page(pw *pageWriter, stored []byte, raw, values int, enc format.Encoding, isDict bool, emit func([]byte) error) (Page, error) {
	h := format.PageHeader{
		UncompressedPageSize: int32(raw),
		CompressedPageSize:   int32(len(stored)),
		CRC:                  int32(crc32.ChecksumIEEE(stored)),
	}
	if isDict {
		h.Type = format.DictionaryPage
		h.DictionaryPageHeader.Set(format.DictionaryPageHeader{NumValues: int32(values), Encoding: enc})
		c.dict = c.size
	} else {
		h.Type = format.DataPage
		h.DataPageHeader.Set(format.DataPageHeader{NumValues: int32(values), Encoding: enc, DefinitionLevelEncoding: format.RLE, RepetitionLevelEncoding: format.RLE})
		if c.data < 0 {
			c.data = c.size
		}
		c.values += int64(values)
	}
	known := false
	for _, e := range c.encoding {
		known = known || e == enc
	}
	if !known {
		c.encoding = append(c.encoding, enc)
	}
	hdr := pw.header(&h)
	p := Page{Off: c.size + int64(len(hdr)), Size: uint32(len(stored)), Raw: uint32(raw), CRC: checksum(stored)}
	c.size += int64(len(hdr) + len(stored))
	c.raw += int64(len(hdr) + raw)
	if err := emit(hdr); err != nil {
		return p, err
	}
	return p, emit(stored)
}

func (c *chunk) keep(p []byte) error {
	c.buf = append(c.buf, p...)
	return nil
}

func (c *chunk) meta() format.ColumnChunk {
	m := format.ColumnMetaData{
		Type: c.typ, Encoding: c.encoding, PathInSchema: []string{c.name}, Codec: c.codec,
		NumValues: c.values, TotalUncompressedSize: c.raw, TotalCompressedSize: c.size, DataPageOffset: c.off + max(c.data, 0),
	}
	if c.dict >= 0 {
		m.DictionaryPageOffset = c.off + c.dict
	}
	m.Statistics = format.Statistics{NullCount: c.nulls, MinValue: c.min, MaxValue: c.max}
	return format.ColumnChunk{MetaData: m}
}

func (c *chunk) element() format.SchemaElement {
	e := format.SchemaElement{Name: c.name, Type: thrift.New(c.typ), RepetitionType: thrift.New(format.Required)}
	if c.optional {
		e.RepetitionType = thrift.New(format.Optional)
	}
	if c.logical != nil {
		e.LogicalType = format.LogicalType{Value: c.logical}
		// DuckDB for one still goes by the older annotation.
		switch l := c.logical.(type) {
		case *format.StringType:
			e.ConvertedType = thrift.New(deprecated.UTF8)
		case *format.IntType:
			e.ConvertedType = thrift.New(deprecated.Uint64)
			if l.BitWidth == 8 {
				e.ConvertedType = thrift.New(deprecated.Uint8)
			}
		}
	}
	return e
}

// footer returns the end of the file, which has the chunks in their order, and
// whose bytes before have that sum.
func footer(chunks []*chunk, rows int64, sum uint32) ([]byte, error) {
	md := format.FileMetaData{Version: 2, NumRows: rows, CreatedBy: "weir"}
	md.Schema = append(md.Schema, format.SchemaElement{Name: "logs", NumChildren: thrift.New(int32(len(chunks)))})
	rg := format.RowGroup{NumRows: rows, FileOffset: int64(len(parquetMagic))}
	var roles []role
	for _, c := range chunks {
		md.Schema = append(md.Schema, c.element())
		md.ColumnOrders = append(md.ColumnOrders, format.ColumnOrder{Value: new(format.TypeDefinedOrder)})
		rg.Columns = append(rg.Columns, c.meta())
		rg.TotalByteSize += c.raw
		rg.TotalCompressedSize += c.size
		roles = append(roles, c.roles)
	}
	if rows > 0 {
		md.RowGroups = append(md.RowGroups, rg)
	}
	kv, err := json.Marshal(roles)
	if err != nil {
		return nil, fmt.Errorf("describe columns: %w", err)
	}
	md.KeyValueMetadata = []format.KeyValue{{Key: rolesKey, Value: string(kv)}, {Key: sumKey, Value: fmt.Sprintf("%08x", sum)}}
	b, err := thrift.Marshal(&compact, &md)
	if err != nil {
		return nil, fmt.Errorf("encode footer: %w", err)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(b)))
	return append(b, parquetMagic...), nil
}

// Keys of the footer's metadata.
const (
	rolesKey = "weir.columns"
	sumKey   = "weir.crc32c"
)
