package line

import (
	"encoding/binary"
	"unicode/utf8"
)

// AppendPlain appends p with everything escaped that must not reach a terminal;
// line feeds too.
func AppendPlain(dst, p []byte) []byte {
	for len(p) > 0 {
		n := plain(p)
		dst = append(dst, p[:n]...)
		if p = p[n:]; len(p) > 0 {
			dst, n = appendEscape(dst, p)
			p = p[n:]
		}
	}
	return dst
}

// plain returns how many bytes at the beginning of p may be shown as they are.
func plain(p []byte) int {
	i := 0
	for i < len(p) {
		for i+8 <= len(p) && printable(binary.LittleEndian.Uint64(p[i:])) {
			i += 8
		}
		if i == len(p) {
			break
		}
		c := p[i]
		if c < utf8.RuneSelf {
			if c < ' ' && c != '\t' || c == 0x7f {
				return i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(p[i:])
		if r == utf8.RuneError && n == 1 || unsafeRune(r) {
			return i
		}
		i += n
	}
	return i
}

// printable reports whether eight bytes are ASCII without control bytes. It may
// say no where it should not: a subtraction borrows from the next byte.
func printable(w uint64) bool {
	const low, high = 0x0101010101010101, 0x8080808080808080
	del := w ^ 0x7f*low
	return (w|(w-' '*low)|(del-low)&^del)&high == 0
}

// unsafeRune reports whether a character must not reach a terminal: C1
// controls, separators of lines, marks of direction, and the byte order mark
// and other invisible ones that hide text.
func unsafeRune(r rune) bool {
	switch {
	case r < 0xa0,
		r == 0x200b, r >= 0x200e && r <= 0x200f, // zero width, direction
		r >= 0x2028 && r <= 0x202e, // separators, direction
		r >= 0x2060 && r <= 0x206f, // invisible, direction
		r == 0x061c, r == 0xfeff,
		r >= 0xfff9 && r <= 0xfffb,   // interlinear notes
		r >= 0xe0000 && r <= 0xe007f: // tags
		return true
	}
	return false
}

const hexDigits = "0123456789abcdef"

// appendEscape appends the first byte or character of p, escaped, and returns
// its length.
func appendEscape(dst, p []byte) ([]byte, int) {
	r, n := utf8.DecodeRune(p)
	switch {
	case n == 1:
		dst = append(dst, '\\', 'x', hexDigits[p[0]>>4], hexDigits[p[0]&15])
	case r < 0x10000:
		dst = append(dst, '\\', 'u', hexDigits[r>>12], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
	default:
		dst = append(dst, '\\', 'U', '0', '0')
		for sh := 20; sh >= 0; sh -= 4 {
			dst = append(dst, hexDigits[r>>uint(sh)&15])
		}
	}
	return dst, n
}
