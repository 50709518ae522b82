package columns

import (
	"encoding/binary"
	"slices"

	"github.com/parquet-go/parquet-go/format"
)

// labelChunks makes the columns that are the same for all rows of a stream: its
// id, one column per label, the resource. Each is one page of runs. The package
// does not read them: the index has the same, and this is for other readers.
func (w *Writer) labelChunks() ([]*chunk, error) {
	x := w.x
	if x.Rows == 0 {
		return nil, nil
	}
	var out []*chunk
	ids := &chunk{name: "stream_id", typ: format.Int64, logical: &format.IntType{BitWidth: 64}, dict: -1, data: -1, roles: role{Role: "stream"}}
	var dictionary []byte
	runs := make([]run, len(x.Streams))
	known := map[uint64]int32{}
	for i := range x.Streams {
		s := &x.Streams[i]
		n, ok := known[s.ID]
		if !ok {
			n = int32(len(known))
			known[s.ID] = n
			dictionary = binary.LittleEndian.AppendUint64(dictionary, s.ID)
		}
		runs[i] = run{n, s.Rows}
	}
	if err := w.runChunk(ids, dictionary, len(known), appendRequiredRuns(nil, runs, len(known))); err != nil {
		return nil, err
	}
	out = append(out, ids)

	var names []string
	resources := false
	for i := range x.Streams {
		for _, a := range x.Streams[i].Labels {
			if at, ok := slices.BinarySearch(names, a.Name); !ok {
				names = slices.Insert(names, at, a.Name)
			}
		}
		resources = resources || len(x.Streams[i].Resource) > 0
	}
	var d dict
	column := func(name string, r role, value func(s *StreamRows) []byte) error {
		c := &chunk{name: name, typ: format.ByteArray, logical: &format.StringType{}, optional: true, dict: -1, data: -1, roles: r}
		d.reset()
		for i := range x.Streams {
			s := &x.Streams[i]
			v := value(s)
			runs[i] = run{-1, s.Rows}
			if len(v) > 0 {
				runs[i].value = d.add(v)
			} else {
				c.nulls += int64(s.Rows)
			}
		}
		out = append(out, c)
		return w.runChunk(c, d.plain, d.n, appendRunPage(nil, runs, d.n))
	}
	for _, n := range names {
		err := column(n, role{Role: "label", Name: n}, func(s *StreamRows) []byte {
			for i := range s.Labels {
				if s.Labels[i].Name == n {
					return []byte(s.Labels[i].Value)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if resources {
		err := column("resource", role{Role: "resource"}, func(s *StreamRows) []byte { return AppendAttrs(nil, s.Resource) })
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// minCompressed is the size of pages that are worth compressing.
const minCompressed = 512

// runChunk fills c with a dictionary and one page, compressed if it helps.
func (w *Writer) runChunk(c *chunk, dictionary []byte, n int, data []byte) error {
	storedDict, storedData := dictionary, data
	if size := len(dictionary) + len(data); size >= minCompressed {
		w.tmp = w.zstd.EncodeAll(dictionary, w.tmp[:0])
		w.stored = w.zstd.EncodeAll(data, w.stored[:0])
		if len(w.tmp)+len(w.stored) < size*9/10 {
			c.codec, storedDict, storedData = format.Zstd, w.tmp, w.stored
		}
	}
	if _, err := c.page(&w.pages, storedDict, len(dictionary), n, format.Plain, true, c.keep); err != nil {
		return err
	}
	_, err := c.page(&w.pages, storedData, len(data), int(w.x.Rows), format.RLEDictionary, false, c.keep)
	return err
}
