// Package columns turns sorted rows into a segment and back: an ordinary
// Parquet file, which any reader opens, and an index, which lets this package
// find and decode single pages of it without looking at the file's footer.
//
// It works on bytes: it opens no file, reads no clock and starts no goroutine.
// The layout of both is described in docs/formats/store-segment.md.
//
// # Units
//
// A segment has one row group, its rows sorted by (stream, time). A block is
// the rows of one page of the body column, about 512 KiB of lines; a span is the
// rows of one page of the other columns, some whole blocks. Filters and bounds
// are kept per block.
package columns

import (
	"errors"
	"hash/crc32"

	"github.com/weirlog/weir/record"
)

// ErrDamaged is wrapped by the errors of everything that does not decode.
var ErrDamaged = errors.New("damaged")

// Attr is a name and its value.
type Attr = record.Attr

// Stream is who wrote a row.
type Stream struct {
	// ID is a hash of Labels, the value of the column stream_id.
	ID uint64
	// Labels are the labels of the index, Resource what else is the same for all
	// rows of the stream. Both are sorted by name, without empty values.
	Labels, Resource []Attr
}

// Row is a line on its way into a segment.
type Row struct {
	// Stream is an index into the streams given to Writer.Reset.
	Stream   uint32
	Severity record.Severity
	Time     int64 // Unix nanoseconds
	// Attrs is the structured metadata of this row: a JSON object whose values
	// are strings, or empty.
	Attrs []byte
	Body  []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }
