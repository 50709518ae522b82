package stage

import "github.com/weirlog/weir/record"

// appendAttr appends to dst the value of the attribute of record i that
// conditions know under that name: level, then the record's fields, then its
// stream's attributes. A record without it appends nothing.
func appendAttr(dst []byte, b *record.Batch, i int, name string) []byte {
	switch name {
	case "level", "detected_level":
		return append(dst, b.Record(i).Severity.Level()...)
	}
	if f, ok := b.FindField(i, name); ok {
		return append(dst, b.Bytes(f.Val)...)
	}
	if st := b.Stream(i); st != nil {
		return append(dst, st.Get(name)...)
	}
	return dst
}
