package columns

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// Group is a segment within a file of several that stand one after the other.
type Group struct {
	Off    int64  // where it begins in the file
	Footer []byte // what SegmentFooter returned
}

// SegmentFooter returns the part of a segment's Parquet file that Join needs.
func SegmentFooter(file []byte) ([]byte, error) {
	n := len(file) - 8
	if n < 0 || string(file[n+4:]) != parquetMagic {
		return nil, fmt.Errorf("parquet: no footer: %w", ErrDamaged)
	}
	size := int64(binary.LittleEndian.Uint32(file[n:]))
	if size > int64(n) {
		return nil, fmt.Errorf("parquet: a footer of %d bytes: %w", size, ErrDamaged)
	}
	return file[int64(n)-size : n], nil
}

// Join returns what makes one Parquet file, with a row group for each, of
// segments that stand one after the other and end at that offset. A column that a
// segment lacks is null there. The segments' own footers stay where they are:
// readers see only the last one.
func Join(groups []Group, end int64) (tail []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // the library meets damage with panics
			err = fmt.Errorf("parquet: %v: %w", p, ErrDamaged)
		}
	}()
	var j joiner
	for _, g := range groups {
		if err := j.add(g); err != nil {
			return nil, err
		}
	}
	return j.finish(end)
}

type joinColumn struct {
	role    role
	element format.SchemaElement
}

type joiner struct {
	columns []joinColumn
	names   map[string]bool // of columns
	groups  []joinGroup
}

type joinGroup struct {
	rg  format.RowGroup
	has map[[2]string]format.ColumnChunk
}

var errJoin = errors.New("parquet: segments that do not go together")

func (j *joiner) add(g Group) error {
	var md format.FileMetaData
	if err := thrift.Unmarshal(&compact, g.Footer, &md); err != nil {
		return fmt.Errorf("parquet: footer: %w: %w", err, ErrDamaged)
	}
	if len(md.RowGroups) == 0 {
		return nil
	}
	var roles []role
	for _, kv := range md.KeyValueMetadata {
		if kv.Key == rolesKey {
			if err := json.Unmarshal([]byte(kv.Value), &roles); err != nil {
				return fmt.Errorf("parquet: description of columns: %w: %w", err, ErrDamaged)
			}
		}
	}
	rg := md.RowGroups[0]
	if len(md.RowGroups) != 1 || len(roles) != len(rg.Columns) || len(md.Schema) != len(roles)+1 {
		return errJoin
	}
	one := joinGroup{rg: rg, has: make(map[[2]string]format.ColumnChunk)}
	for i, r := range roles {
		m := &rg.Columns[i].MetaData
		m.DataPageOffset += g.Off
		if m.DictionaryPageOffset != 0 {
			m.DictionaryPageOffset += g.Off
		}
		one.has[[2]string{r.Role, r.Name}] = rg.Columns[i]
		if err := j.column(r, md.Schema[i+1]); err != nil {
			return err
		}
	}
	one.rg.FileOffset += g.Off
	j.groups = append(j.groups, one)
	return nil
}

// column makes sure that the file has a column.
func (j *joiner) column(r role, e format.SchemaElement) error {
	for i := range j.columns {
		c := &j.columns[i]
		if c.role.Role != r.Role || c.role.Name != r.Name {
			continue
		}
		if c.element.Type != e.Type {
			return errJoin
		}
		if e.LogicalType.Value == nil { // a body that is not UTF-8
			c.element.LogicalType, c.element.ConvertedType = e.LogicalType, e.ConvertedType
		}
		return nil
	}
	if j.names == nil {
		j.names = make(map[string]bool)
	}
	for j.names[e.Name] {
		e.Name += "_"
	}
	j.names[e.Name] = true
	r.Column = e.Name
	j.columns = append(j.columns, joinColumn{r, e})
	return nil
}

// finish makes the columns that are missing and the footer.
func (j *joiner) finish(at int64) ([]byte, error) {
	var tail []byte
	var pages pageWriter
	md := format.FileMetaData{Version: 2, CreatedBy: "weir"}
	md.Schema = append(md.Schema, format.SchemaElement{Name: "logs", NumChildren: thrift.New(int32(len(j.columns)))})
	var roles []role
	for i := range j.columns {
		md.Schema = append(md.Schema, j.columns[i].element)
		md.ColumnOrders = append(md.ColumnOrders, format.ColumnOrder{Value: new(format.TypeDefinedOrder)})
		roles = append(roles, j.columns[i].role)
	}
	for _, g := range j.groups {
		rg := g.rg
		rg.Columns = nil
		for i := range j.columns {
			c := &j.columns[i]
			chunk, ok := g.has[[2]string{c.role.Role, c.role.Name}]
			if !ok {
				n, err := nulls(&pages, c, rg.NumRows, at+int64(len(tail)))
				if err != nil {
					return nil, err
				}
				tail = append(tail, n.buf...)
				chunk = n.meta()
				rg.TotalByteSize += n.raw
				rg.TotalCompressedSize += n.size
			}
			chunk.MetaData.PathInSchema = []string{c.element.Name}
			rg.Columns = append(rg.Columns, chunk)
		}
		md.NumRows += rg.NumRows
		md.RowGroups = append(md.RowGroups, rg)
	}
	kv, err := json.Marshal(roles)
	if err != nil {
		return nil, fmt.Errorf("describe columns: %w", err)
	}
	md.KeyValueMetadata = []format.KeyValue{{Key: rolesKey, Value: string(kv)}}
	b, err := thrift.Marshal(&compact, &md)
	if err != nil {
		return nil, fmt.Errorf("encode footer: %w", err)
	}
	tail = append(tail, b...)
	tail = binary.LittleEndian.AppendUint32(tail, uint32(len(b)))
	return append(tail, parquetMagic...), nil
}

// nulls makes a chunk of a column without any value.
func nulls(pages *pageWriter, c *joinColumn, rows, at int64) (*chunk, error) {
	if c.element.RepetitionType != thrift.New(format.Optional) {
		return nil, errJoin
	}
	n := &chunk{name: c.element.Name, typ: format.ByteArray, optional: true, dict: -1, data: -1, nulls: rows, off: at}
	// Definition levels: their size, and one run of zeros.
	run := binary.AppendUvarint(nil, uint64(rows)<<1)
	run = append(run, 0)
	page := append(binary.LittleEndian.AppendUint32(nil, uint32(len(run))), run...)
	_, err := n.page(pages, page, len(page), int(rows), format.Plain, false, n.keep)
	return n, err
}
