package json

import (
	"encoding/binary"
	"math/bits"

	"github.com/weirlog/weir/record"
)

// at returns p[i], or 0, which no rule accepts, behind the end.
func at(p []byte, i int) byte {
	if uint(i) < uint(len(p)) {
		return p[i]
	}
	return 0
}

// space returns the offset of the first byte from p[i] on that is not JSON
// white space. Small enough to be inlined for the usual none.
func space(p []byte, i int) int {
	if uint(i) < uint(len(p)) && p[i] <= ' ' {
		return spaces(p, i)
	}
	return i
}

func spaces(p []byte, i int) int {
	for ; i < len(p); i++ {
		if c := p[i]; c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			break
		}
	}
	return i
}

// scalar scans the number or literal at p[i] and returns the offset behind it,
// or the complement of the offending offset.
func scalar(p []byte, i int) (end int, kind record.Kind) {
	switch at(p, i) {
	case 't':
		if i+4 <= len(p) && string(p[i:i+4]) == "true" {
			return i + 4, record.Bool
		}
		return ^i, 0
	case 'f':
		if i+5 <= len(p) && string(p[i:i+5]) == "false" {
			return i + 5, record.Bool
		}
		return ^i, 0
	case 'n':
		if i+4 <= len(p) && string(p[i:i+4]) == "null" {
			return i + 4, record.Null
		}
		return ^i, 0
	}
	kind = record.Int
	if at(p, i) == '-' {
		i++
	}
	switch c := at(p, i); {
	case c == '0':
		i++
	case c-'1' <= 8:
		for i++; i < len(p) && p[i]-'0' <= 9; i++ {
		}
	default:
		return ^i, 0
	}
	if at(p, i) == '.' {
		kind = record.Float
		i++
		from := i
		for i < len(p) && p[i]-'0' <= 9 {
			i++
		}
		if i == from {
			return ^i, 0
		}
	}
	if at(p, i)|0x20 == 'e' {
		kind = record.Float
		i++
		if c := at(p, i); c == '+' || c == '-' {
			i++
		}
		from := i
		for i < len(p) && p[i]-'0' <= 9 {
			i++
		}
		if i == from {
			return ^i, 0
		}
	}
	return i, kind
}

const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
	// escaped is a bit of str's second result that no ASCII or UTF-8 check
	// looks at.
	escaped = 1
)

// special returns a word whose lowest set high bit marks the first byte of w
// that ends a clean run of a JSON string: a quote, a backslash or a control
// byte. Bits above the lowest may be wrong: subtraction borrows.
func special(w uint64) uint64 {
	// With its second bit turned the quote is 0x20, the spaces and signs beside
	// it are above, and control bytes are below as before.
	low := w ^ 2*lowBits
	slash := w ^ '\\'*lowBits
	return ((low - ('"'-1)*lowBits) | (slash - lowBits)) &^ w & highBits
}

// str scans the string whose first byte behind the quote is p[i]. It returns
// the offset of the closing quote, or the complement of the offending offset,
// and a word of which the bits of highBits say that bytes outside ASCII were
// seen, in the string or up to 15 bytes behind it, and the bit escaped that
// there are escapes.
func str(p []byte, i int) (end int, seen uint64) {
	var esc uint64
	for {
		for i+16 <= len(p) {
			// Two words at a time. Where in them a string ends is anybody's
			// guess: moves instead of branches find it.
			w0, w1 := binary.LittleEndian.Uint64(p[i:]), binary.LittleEndian.Uint64(p[i+8:])
			m0, m1 := special(w0), special(w1)
			seen |= w0 | w1
			if m0|m1 == 0 {
				i += 16
				continue
			}
			n := 0
			if m0 == 0 {
				m0, n = m1, 8
			}
			i += n + bits.TrailingZeros64(m0)>>3
			goto found
		}
		for ; i < len(p) && p[i] >= ' ' && p[i] != '"' && p[i] != '\\'; i++ {
			seen |= uint64(p[i])
		}
		if i >= len(p) {
			return ^i, 0
		}
	found:
		switch p[i] {
		case '"':
			return i, seen&highBits | esc
		case '\\':
			esc = escaped
			n := escapeLen(p, i)
			if n == 0 {
				return ^i, 0
			}
			i += n
		default:
			return ^i, 0
		}
	}
}

// escapeLen returns the length of the escape whose backslash is p[i], 0 if it
// is malformed.
func escapeLen(p []byte, i int) int {
	switch at(p, i+1) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if i+6 <= len(p) && hex4(p[i+2:i+6]) >= 0 {
			return 6
		}
	}
	return 0
}

// hex4 returns the value of four hexadecimal digits, negative if they are not.
func hex4(p []byte) rune {
	var r rune
	for _, c := range p[:4] {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}
