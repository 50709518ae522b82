package wire

import (
	"unicode/utf8"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// IsText reports whether record i's body is valid UTF-8, from what is known of
// it if anything is.
func IsText(b *record.Batch, i int) bool {
	r := b.Record(i)
	switch {
	case r.Flags&(record.ValidUTF8|record.JSONObject) != 0:
		return true
	case r.Flags.Has(record.InvalidUTF8):
		return false
	}
	return json.ValidUTF8(b.Bytes(r.Body))
}

// AppendText appends p with U+FFFD for every byte that is not part of valid
// UTF-8.
func AppendText(dst, p []byte) []byte {
	for len(p) > 0 {
		n := 0
		for n < len(p) {
			if p[n] < utf8.RuneSelf {
				n++
				continue
			}
			r, size := utf8.DecodeRune(p[n:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			n += size
		}
		dst = append(dst, p[:n]...)
		if n == len(p) {
			break
		}
		dst = append(dst, "\ufffd"...)
		p = p[n+1:]
	}
	return dst
}
