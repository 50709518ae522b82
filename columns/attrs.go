package columns

import (
	"bytes"
	"encoding/binary"

	"github.com/parquet-go/parquet-go/format"
	"github.com/weirlog/weir/wire/json"
)

const (
	// maxAttrDict bounds the dictionary of attributes, in values and bytes.
	maxAttrDict      = 1 << 16
	maxAttrDictBytes = 4 << 20
)

// addAttrs notes the structured metadata of a row. Values that repeat go into
// the dictionary; a span in which few do has its own texts.
func (w *Writer) addAttrs(a []byte) {
	if len(a) <= 2 { // {}
		w.attrRefs = append(w.attrRefs, -1)
		return
	}
	w.plain = append(w.plain, a...)
	w.attrOff = append(w.attrOff, uint32(len(w.plain)))
	w.attrRefs = append(w.attrRefs, int32(len(w.attrOff)-2))
}

// endAttrs makes the span's page of attributes.
func (w *Writer) endAttrs() error {
	values := len(w.attrOff) - 1
	levels := make([]byte, len(w.attrRefs))
	for i, r := range w.attrRefs {
		if r >= 0 {
			levels[i] = 1
		}
	}
	w.attrs.nulls += int64(len(w.attrRefs) - values)
	w.tmp = appendLevels(w.tmp[:0], &w.tmp2, levels)
	enc := format.Plain
	if indexes, ok := w.attrIndexes(values); ok {
		enc = format.RLEDictionary
		n := w.attrDict.n
		if values == 0 {
			n = 1
		}
		// The dictionary still grows: later spans may have wider indexes.
		w.tmp = appendIndexes(w.tmp, &w.tmp2, indexes, n)
	} else {
		w.span.AttrsPlain = true
		for i := range values {
			t := w.plain[w.attrOff[i]:w.attrOff[i+1]]
			w.tmp = binary.LittleEndian.AppendUint32(w.tmp, uint32(len(t)))
			w.tmp = append(w.tmp, t...)
		}
	}
	w.stored = w.zstd.EncodeAll(w.tmp, w.stored[:0])
	var err error
	w.span.Attrs, err = w.attrs.page(&w.pages, w.stored, len(w.tmp), len(levels), enc, false, w.attrs.keep)
	return err
}

// attrIndexes returns the span's texts as indexes into the dictionary, unless
// more than half of them would be new to it.
func (w *Writer) attrIndexes(values int) ([]int32, bool) {
	if values == 0 {
		return nil, w.attrDict.n > 0
	}
	clear(w.fresh)
	fresh := w.fresh
	size := 0
	for i := range values {
		t := w.plain[w.attrOff[i]:w.attrOff[i+1]]
		if len(fresh) > values/2+1 {
			w.noteNames(t)
			continue
		}
		if _, ok := w.attrDict.index[string(t)]; ok {
			continue
		}
		if _, ok := fresh[string(t)]; !ok {
			fresh[string(t)] = struct{}{}
			w.noteNames(t)
			size += len(t)
		}
	}
	if len(fresh) > values/2+1 || w.attrDict.n+len(fresh) > maxAttrDict || len(w.attrDict.plain)+size > maxAttrDictBytes {
		return nil, false
	}
	indexes := make([]int32, values)
	for i := range values {
		indexes[i] = w.attrDict.add(w.plain[w.attrOff[i]:w.attrOff[i+1]])
	}
	return indexes, true
}

// noteNames notes the names that the text of attributes has.
func (w *Writer) noteNames(t []byte) {
	// Mostly it is the one that the text before had.
	if p := w.oneName; len(p) > 0 && bytes.HasPrefix(t, p) && bytes.IndexByte(t[len(p):], '"') == len(t)-len(p)-2 && t[len(t)-3] != '\\' {
		return
	}
	w.oneName = w.oneName[:0]
	n := 0
	w.fields.attrs.Pairs(t, func(name, _ []byte) {
		if _, ok := w.names[string(name)]; !ok {
			w.names[string(name)] = struct{}{}
		}
		if n++; n == 1 && len(t) > len(name)+6 && bytes.HasPrefix(t[2:], name) && string(t[2+len(name):][:3]) == `":"` {
			w.oneName = append(w.oneName, t[:len(name)+5]...)
		}
	})
	if n != 1 {
		w.oneName = w.oneName[:0]
	}
}

// AttrReader takes the text of attributes apart. The zero AttrReader is ready.
type AttrReader struct {
	scan json.Scanner
	name []byte
	val  []byte
}

// Pairs calls each for every pair of a JSON object whose values are strings;
// the slices are valid during the call. It reports false if t is no such text.
func (r *AttrReader) Pairs(t []byte, each func(name, value []byte)) bool {
	if len(t) == 0 {
		return true
	}
	if !r.scan.Object(t) {
		return false
	}
	for i := range r.scan.Members {
		m := &r.scan.Members[i]
		name, val := t[m.Key.Off:m.Key.End()], t[m.Val.Off:m.Val.End()]
		if m.Escaped {
			r.name = json.Unescape(r.name[:0], name)
			name = r.name
		}
		if m.ValEscaped {
			r.val = json.Unescape(r.val[:0], val)
			val = r.val
		}
		each(name, val)
	}
	return true
}

// AppendAttrs appends the text of attributes.
func AppendAttrs(dst []byte, attrs []Attr) []byte {
	if len(attrs) == 0 {
		return dst
	}
	for i, a := range attrs {
		dst = append(dst, "{,"[min(i, 1)])
		dst = append(json.AppendStringString(dst, a.Name), ':')
		dst = json.AppendStringString(dst, a.Value)
	}
	return append(dst, '}')
}
