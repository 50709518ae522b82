package columns

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/weirlog/weir/record"
)

// ReadParquet reads a segment without its index, as any other program would, with
// parquet-go's own reader. It calls each for every row with its stream, whose ID
// is that of the file; both are valid during the call. It is for making an index
// anew, not for queries.
func ReadParquet(r io.ReaderAt, size int64, each func(st *Stream, row *Row) error) (err error) {
	return readParquet(r, size, true, each)
}

// ReadJoined is ReadParquet for what Join made, which has no sum.
func ReadJoined(r io.ReaderAt, size int64, each func(st *Stream, row *Row) error) (err error) {
	return readParquet(r, size, false, each)
}

func readParquet(r io.ReaderAt, size int64, sum bool, each func(st *Stream, row *Row) error) (err error) {
	// The file may be damaged in ways that the library meets with a panic.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("parquet: %v: %w", p, ErrDamaged)
		}
	}()
	f, err := parquet.OpenFile(r, size)
	if err != nil {
		return fmt.Errorf("parquet: %w: %w", err, ErrDamaged)
	}
	if sum {
		if err := checkSum(f, r, size); err != nil {
			return err
		}
	}
	kv, _ := f.Lookup(rolesKey)
	var roles []role
	if err := json.Unmarshal([]byte(kv), &roles); err != nil {
		return fmt.Errorf("parquet: no description of columns: %w", ErrDamaged)
	}
	byName := map[string]role{}
	for _, r := range roles {
		byName[r.Column] = r
	}
	columns := f.Schema().Columns()
	byIndex := make([]role, len(columns))
	for i, c := range columns {
		byIndex[i] = byName[c[0]]
	}
	rows := parquet.NewReader(f)
	defer rows.Close()
	buf := make([]parquet.Row, 256)
	var attrs AttrReader
	var resource string
	st := &Stream{}
	for {
		n, err := rows.ReadRows(buf)
		for _, values := range buf[:n] {
			var row Row
			next := Stream{}
			res := ""
			for _, v := range values {
				switch c := byIndex[v.Column()]; c.Role {
				case "time":
					row.Time = v.Int64()
				case "severity":
					row.Severity = record.Severity(v.Int32())
				case "body":
					row.Body = v.ByteArray()
				case "stream":
					next.ID = v.Uint64()
				case "attributes":
					row.Attrs = v.ByteArray()
				case "resource":
					res = string(v.ByteArray())
				case "label":
					if !v.IsNull() {
						next.Labels = append(next.Labels, Attr{Name: c.Name, Value: string(v.ByteArray())})
					}
				}
			}
			if row.Severity > 24 {
				return fmt.Errorf("parquet: severity %d: %w", row.Severity, ErrDamaged)
			}
			slices.SortFunc(next.Labels, func(a, b Attr) int { return strings.Compare(a.Name, b.Name) })
			if next.ID != st.ID || res != resource || !slices.Equal(next.Labels, st.Labels) {
				attrs.Pairs([]byte(res), func(name, value []byte) {
					next.Resource = append(next.Resource, Attr{Name: string(name), Value: string(value)})
				})
				resource = res
				st = &next
			}
			if err := each(st, &row); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("parquet: %w: %w", err, ErrDamaged)
		}
	}
}

// checkSum compares the sum of what stands before the footer: page headers have
// none of their own, and a reader that believes a damaged one invents rows.
func checkSum(f *parquet.File, r io.ReaderAt, size int64) error {
	want, ok := f.Lookup(sumKey)
	var tail [8]byte
	if !ok || size < int64(len(tail)) {
		return fmt.Errorf("parquet: no sum: %w", ErrDamaged)
	}
	if _, err := r.ReadAt(tail[:], size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("parquet: %w", err)
	}
	end := size - int64(len(tail)) - int64(binary.LittleEndian.Uint32(tail[:]))
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, io.NewSectionReader(r, 0, end)); err != nil {
		return fmt.Errorf("parquet: %w", err)
	}
	if got := fmt.Sprintf("%08x", sum.Sum32()); got != want {
		return fmt.Errorf("parquet: sum %s, want %s: %w", got, want, ErrDamaged)
	}
	return nil
}
