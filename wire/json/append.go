package json

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

const (
	hexDigits   = "0123456789abcdef"
	replacement = "\ufffd"
)

// AppendString appends s to dst as a JSON string with its quotes. Control
// bytes, quotes and backslashes are escaped; every byte that is not part of
// valid UTF-8 becomes U+FFFD, so that the result is always valid JSON.
func AppendString(dst, s []byte) []byte {
	dst = append(dst, '"')
	dst = AppendEscaped(dst, s)
	return append(dst, '"')
}

// AppendStringString is AppendString for a string.
func AppendStringString(dst []byte, s string) []byte {
	// The bytes are only read.
	return AppendString(dst, unsafe.Slice(unsafe.StringData(s), len(s)))
}

// AppendEscaped appends s to dst as AppendString does, without the quotes.
func AppendEscaped(dst, s []byte) []byte {
	start, i := 0, 0 // s[start:i] is clean and not yet copied
	// stop has the bits of bytes outside ASCII while such bytes end a clean
	// run: until what follows the first of them is known to be valid, or to
	// the end if it is not.
	stop, checked := uint64(highBits), false
	for {
		for i+32 <= len(s) {
			q := s[i : i+32]
			w0, w1 := binary.LittleEndian.Uint64(q), binary.LittleEndian.Uint64(q[8:])
			w2, w3 := binary.LittleEndian.Uint64(q[16:]), binary.LittleEndian.Uint64(q[24:])
			if special(w0)|special(w1)|special(w2)|special(w3)|(w0|w1|w2|w3)&stop != 0 {
				break
			}
			i += 32
		}
		for i+8 <= len(s) {
			w := binary.LittleEndian.Uint64(s[i:])
			if m := special(w) | w&stop; m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		for i < len(s) && s[i] >= ' ' && s[i] != '"' && s[i] != '\\' && uint64(s[i])&stop == 0 {
			i++
		}
		if i == len(s) {
			return append(dst, s[start:]...)
		}
		c := s[i]
		if c >= utf8.RuneSelf {
			if !checked {
				if checked = true; utf8.Valid(s[i:]) {
					stop = 0
				}
				continue
			}
			r, n := utf8.DecodeRune(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(dst, s[start:i]...)
				dst = append(dst, replacement...)
				start = i + 1
			}
			i += n
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
}

// Unescape appends to dst the bytes that s, the inside of a JSON string, means.
// Lone surrogates become U+FFFD. A malformed escape, which a scanned string
// does not have, is kept as it stands. s may not overlap the room behind dst.
func Unescape(dst, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		s = s[i:]
		n := escapeLen(s, 0)
		switch n {
		case 0:
			dst = append(dst, '\\')
			s = s[1:]
			continue
		case 2:
			dst = append(dst, unescaped(s[1]))
		case 6:
			r := hex4(s[2:6])
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if at(s, 6) == '\\' && escapeLen(s, 6) == 6 {
					low = hex4(s[8:12])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					n = 12
				}
			}
			dst = utf8.AppendRune(dst, r)
		}
		s = s[n:]
	}
}

// unescaped returns the byte that a two-byte escape means.
func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// ValidUTF8 reports whether p is valid UTF-8, and is fastest for ASCII.
func ValidUTF8(p []byte) bool {
	i := 0
	for ; i+32 <= len(p); i += 32 {
		q := p[i : i+32]
		w := binary.LittleEndian.Uint64(q) | binary.LittleEndian.Uint64(q[8:]) |
			binary.LittleEndian.Uint64(q[16:]) | binary.LittleEndian.Uint64(q[24:])
		if w&highBits != 0 {
			return utf8.Valid(p[i:])
		}
	}
	for ; i+8 <= len(p); i += 8 {
		if binary.LittleEndian.Uint64(p[i:])&highBits != 0 {
			return utf8.Valid(p[i:])
		}
	}
	// The rest is in the last word, which may begin before it.
	if len(p) >= 8 && binary.LittleEndian.Uint64(p[len(p)-8:])&highBits == 0 {
		return true
	}
	return utf8.Valid(p[i:])
}
