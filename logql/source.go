package logql

import (
	"context"

	"github.com/weirlog/weir/record"
)

// Label is a name and its value. Sets of labels are sorted by name, without
// doubles and without empty values.
type Label = record.Attr

// Source is where rows come from: the store, or several merged into one (see
// Merge). It may be used concurrently.
type Source interface {
	// Select begins to read. What it finds is what was acknowledged when it was
	// called; rows that come later may or may not be seen. The request belongs
	// to the caller and does not change until the cursor is closed.
	Select(ctx context.Context, req *Request) (Cursor, error)
}

// Cursor delivers the rows of one request, block by block. It is for one
// goroutine; the source may read ahead in others, which Close waits for.
type Cursor interface {
	// Bound says where the blocks still to come begin, without reading them: in
	// Forward order none of their rows is earlier, in Backward order none is
	// later. It only moves in the request's direction. It may be too careful
	// (taken from an index) and is meaningless for AnyOrder. It reports false
	// when no block is to come.
	Bound() (ns int64, ok bool)
	// Next returns the next block, which is valid until it is released, or
	// io.EOF. It ends early with ctx's error. Blocks without rows are allowed.
	Next(ctx context.Context) (*Block, error)
	// Stats tells what was done so far.
	Stats() SourceStats
	// Close ends the reading. Blocks that were not released stay valid.
	Close() error
}

// Order is the order of a cursor's rows.
type Order uint8

const (
	// AnyOrder is for what is summed up whatever its order: within a block,
	// rows of one stream must be adjacent and ascending in time; blocks come as
	// it suits the source. Block.Stream then ascends in runs.
	AnyOrder Order = iota
	// Forward is ascending in time within a block; of rows with the same time
	// and stream, the one stored first comes first.
	Forward
	// Backward is Forward reversed.
	Backward
)

// Request says which rows are wanted and what of them. Selector, Start and End
// must be obeyed; everything else may be ignored at the cost of time, as the
// engine looks at each row again.
type Request struct {
	// Selector is what a row's stream, and where the stream says Maybe the row,
	// must match. A source leaves out streams that say No, and asks ColumnsFor
	// what it must deliver for the others.
	Selector *Selector
	// Start and End bound the rows' times: [Start, End), Unix nanoseconds.
	Start, End int64
	Order      Order
	// Limit, if not zero, is how many rows the caller will take at most of those
	// that match the selector: every row counts, so the source need not prepare
	// more.
	Limit int
	// Needles are texts without which a row's body cannot matter: a block whose
	// filter rules one of them out need not be read, a row without one need not
	// be delivered.
	Needles Needles
	// Severities are the ones that matter. It says nothing about rows that have a
	// label or structured metadata named level or detected_level, which a source
	// must deliver all the same.
	Severities SeverityMask
	// Columns is what the caller looks at; see ColumnsFor.
	Columns Columns
}

// Columns names what a block must carry beside times and streams. The zero
// value is enough to count rows.
type Columns struct {
	// Body asks for Block.Buf and Block.Body.
	Body bool
	// Size asks for Block.Size, the length of the bodies, where Body is not
	// asked for.
	Size bool
	// Severity asks for Block.Severity.
	Severity bool
	// AllMeta asks for all structured metadata, Meta for that of these names.
	AllMeta bool
	Meta    []string
	// Fields asks, instead of Body, for what the stage json extracts under these
	// names: for each block a source delivers either Block.Fields (all of them,
	// for every row) or Block.Body. Never set together with Body or with
	// needles. A name that the row's stream has as a label need not be looked for
	// (the stage would give it another name): NoField does.
	Fields []string
}

// ColumnsFor returns what a block must carry that has rows of a stream about
// which Selector.Stream said v: Columns, and for Maybe what the selector itself
// needs of a row.
func (r *Request) ColumnsFor(v Verdict) Columns {
	c := r.Columns
	if v != Maybe {
		return c
	}
	names := r.Selector.Names()
	if !c.AllMeta {
		c.Meta = append(append([]string(nil), c.Meta...), names...)
	}
	for _, n := range names {
		if n == levelName || n == detectedLevelName {
			c.Severity = true
			c.Meta = append(c.Meta, detectedLevelName)
		}
	}
	return c
}

// Stream is who wrote a row: the labels of the index. It is immutable. Of one
// cursor, equal streams are the same pointer.
type Stream struct {
	Labels []Label
}

// Get returns the label of that name, "" if there is none.
func (s *Stream) Get(name string) string {
	for i := range s.Labels {
		if s.Labels[i].Name == name {
			return s.Labels[i].Value
		}
	}
	return ""
}

// Block is a run of rows, column by column. Every column that is there has one
// item per row. The engine does not change a block.
type Block struct {
	// Streams is the block's table of streams, Stream the row's index in it; nil
	// if all rows are of Streams[0].
	Streams []*Stream
	Stream  []uint32
	// Times are Unix nanoseconds, all of them within the request's bounds.
	Times []int64

	// Severity, nil if not asked for or not known: then rows have no
	// detected_level.
	Severity []record.Severity
	// Body is each row's line within Buf.
	Buf  []byte
	Body []record.Span
	// Size is the length of each row's line; nil where Body is there.
	Size []uint32
	// Meta is the rows' structured metadata, nil if not asked for or if no row
	// has any.
	Meta *Meta
	// Fields are the extracted fields of Columns.Fields, in its order; nil if
	// the block has Body instead.
	Fields []Field

	// Free, if not nil, is called by Release.
	Free func(*Block)
}

// Release gives a block back; nobody may look at it afterwards. It may be
// called from another goroutine than the cursor's, once.
func (b *Block) Release() {
	if b.Free != nil {
		b.Free(b)
	}
}

// Len returns the number of rows.
func (b *Block) Len() int { return len(b.Times) }

// Meta is structured metadata: row i has the pairs [Off[i], Off[i+1]).
type Meta struct {
	Names []string // table of names
	Off   []uint32 // one more than there are rows
	Name  []uint32 // of a pair: its name's index in Names
	Value []record.Span
	Buf   []byte // of the values
}

// Field is one column of what the stage json would extract. The value is the
// text that the stage gives: of strings the unescaped content, of numbers and
// booleans the source text, of null and of keys that are not there nothing.
// A key inside an object is joined with an underscore, and what is no letter,
// digit or underscore is replaced by one, as the stage does.
type Field struct {
	Values []string // the values, without doubles
	Index  []int32  // of each row in Values, or NoField or NoObject
}

// Entries of Field.Index that are not indexes.
const (
	NoField  = -1 // the line is a JSON object without such a field
	NoObject = -2 // the line is not a JSON object
)

// SeverityMask is a set of severities: bit 1<<s for Severity s. Zero means all.
type SeverityMask uint32

// Has reports whether the severity is in the set.
func (m SeverityMask) Has(s record.Severity) bool { return m == 0 || m&(1<<s) != 0 }

// SourceStats is what reading cost.
type SourceStats struct {
	Blocks       int64 // units of reading (pages, parts of the memtable) that streams and time left over
	BlocksPruned int64 // of these, passed over thanks to filters or severities
	Rows         int64 // rows decoded
	Bytes        int64 // bytes of bodies looked at
	BytesRead    int64 // bytes read from storage, compressed
	Streams      int64 // streams that matched
}

// Add adds up.
func (s *SourceStats) Add(t SourceStats) {
	s.Blocks += t.Blocks
	s.BlocksPruned += t.BlocksPruned
	s.Rows += t.Rows
	s.Bytes += t.Bytes
	s.BytesRead += t.BytesRead
	s.Streams += t.Streams
}
