package json

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/weirlog/weir/record"
)

// names remembers the first names of an object. An application's lines have the
// same names in the same order, or begin so, and then a comparison takes the
// place of looking for the name's end, of its hash, of the table of well-known
// names and of the search for duplicates.
//
// The names up to n are the first of one object, so they are all different.
type names struct {
	n     int
	doubt int  // grows with each object that has other names, shrinks with others
	learn bool // from the object at hand
	ofs   [smallObject]nextName
}

// patience is how much doubt makes names forget. Where lines of several shapes
// alternate it would be a waste to learn from each.
const patience = 8

// nextName is a name, the quote behind it and a colon: up to sixteen bytes.
type nextName struct {
	w0, w1 uint64 // the bytes, and others behind them
	m0, m1 uint64 // which bytes count
	hash   uint64 // of keyWords
	len    uint32 // of the name
	bit    uint8
}

// is reports whether the name stands at p[start].
func (m *nextName) is(p []byte, start int) bool {
	if start+16 > len(p) {
		return false
	}
	q := p[start : start+16]
	return (binary.LittleEndian.Uint64(q)^m.w0)&m.m0|(binary.LittleEndian.Uint64(q[8:])^m.w1)&m.m1 == 0
}

// keep makes the name p[start:end], of the member with that index, the last of
// those that are remembered if it can be one; else the one before it is.
func (l *names) keep(p []byte, start, end, index int, esc bool, bit uint8, h uint64) {
	if !l.learn || index > l.n {
		return
	}
	if index < l.n {
		if l.doubt++; l.doubt < patience {
			l.learn = false
			return
		}
		l.doubt = 0
	}
	l.n = index
	size := end + 2 - start // with quote and colon
	if index >= smallObject || size > 16 || start+16 > len(p) || p[end+1] != ':' || esc {
		return
	}
	m := &l.ofs[index]
	m.w0, m.w1 = binary.LittleEndian.Uint64(p[start:]), binary.LittleEndian.Uint64(p[start+8:])
	m.m0, m.m1 = math.MaxUint64, 0
	if size < 8 {
		m.m0 = 1<<(8*size) - 1
	} else {
		m.m1 = 1<<(8*(size-8)) - 1
	}
	if (m.w0&m.m0|m.w1&m.m1)&highBits != 0 {
		return // whether it is UTF-8 must be asked every time
	}
	m.hash, m.len, m.bit = h, uint32(end-start), bit
	l.n++
}

// name scans the next member's name, whose first byte behind the quote is
// p[start], and the colon behind it. It returns the offset behind the colon,
// negative after s.fail, the name's bit, and of the name what str says.
func (s *Scanner) name(p []byte, start int) (next int, key record.Span, bit uint8, acc uint64) {
	var w keyWords
	end, esc := -1, false
	if start+8 <= len(p) {
		// A short name is one word, and the word is its keyWords.
		word := binary.LittleEndian.Uint64(p[start:])
		if q := special(word); q != 0 {
			n := bits.TrailingZeros64(q) >> 3
			if p[start+n] == '"' {
				w.n = n
				w.first = word &^ (math.MaxUint64 << uint(8*n))
				end, acc = start+n, w.first&highBits
			}
		}
	}
	if end < 0 {
		if end, acc = str(p, start); end < 0 {
			s.failString(p, ^end)
			return -1, key, 0, 0
		}
		if acc&escaped == 0 {
			w = wordsOf(p[start:end])
		} else {
			s.dup.key = Unescape(s.dup.key[:0], p[start:end])
			w = wordsOf(s.dup.key)
			esc = true
		}
	}
	key = record.Span{Off: uint32(start), Len: uint32(end - start)}
	h := w.hash()
	bit = lookup(w, h)
	if bit < NoBit {
		if s.Known&(1<<bit) != 0 {
			s.fail(duplicate, start-1)
			return -1, key, 0, 0
		}
		s.Known |= 1 << bit
	}
	if s.dup.add(s.Members, h) && s.dup.found(p, s.Members, key, esc, h) {
		s.fail(duplicate, start-1)
		return -1, key, 0, 0
	}
	i := end + 1
	if at(p, i) != ':' {
		if i = space(p, i); at(p, i) != ':' {
			s.fail(syntax, i)
			return -1, key, 0, 0
		}
	}
	s.names.keep(p, start, end, len(s.Members), esc, bit, h)
	return i + 1, key, bit, acc
}
