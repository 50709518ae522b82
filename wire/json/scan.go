package json

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/weirlog/weir/record"
)

// MaxDepth is the deepest nesting Scanner.Object accepts; the object itself is
// depth 1.
const MaxDepth = 64

// MaxMembers is the largest number of top-level members Scanner.Object
// accepts.
const MaxMembers = 4096

// Member is a top-level member of a scanned object. Its spans are offsets into
// the object's text.
type Member struct {
	// Key is the name as it stands between its quotes.
	Key record.Span
	// Val is the value's text; of a string, what stands between its quotes.
	// Raw has the quotes too.
	Val record.Span
	// Kind is the type of the value. A number is an Int if it has neither a
	// fraction nor an exponent, whatever its size.
	Kind record.Kind
	// Bit is the name's number in the table of well-known names, NoBit if it
	// is not in there.
	Bit uint8
	// Escaped says that Key holds escapes, ValEscaped that Val is a string and
	// does: Unescape has the bytes that are meant.
	Escaped, ValEscaped bool
}

// Raw returns the span of the value as it stands in the object, with the
// quotes of a string.
func (m *Member) Raw() record.Span {
	if m.Kind == record.String {
		return record.Span{Off: m.Val.Off - 1, Len: m.Val.Len + 2}
	}
	return m.Val
}

// Start returns the offset of the quote before the member's name.
func (m *Member) Start() uint32 { return m.Key.Off - 1 }

// Scanner checks JSON objects and finds their top-level members. The zero
// Scanner is ready. It keeps its memory from one object to the next; it is for
// one goroutine.
type Scanner struct {
	// Members are the top-level members of the last object, in the order of
	// the text, valid until the next call of Object. After a call that
	// returned false they mean nothing.
	Members []Member
	// Known is the set of well-known names among the members, one bit each as
	// numbered by the function Known. Names that are written with escapes
	// count.
	Known uint64

	dup   dupCheck
	names names
	why   reason
	off   int
	last  int // length of the scanned text
}

// reason says why a text was refused.
type reason uint8

const (
	ok reason = iota
	notObject
	syntax
	unterminated
	badNumber
	badLiteral
	badString
	controlByte
	badEscape
	tooDeep
	tooMany
	tooLong
	trailing
	duplicate
	notUTF8
)

var reasons = [...]string{
	ok:           "none",
	notObject:    "does not begin with {",
	syntax:       "unexpected byte",
	unterminated: "unexpected end",
	badNumber:    "malformed number",
	badLiteral:   "malformed literal",
	badString:    "string without end",
	controlByte:  "control byte inside a string",
	badEscape:    "malformed escape",
	tooDeep:      "nested deeper than 64",
	tooMany:      "more than 4096 members",
	tooLong:      "longer than 4 GiB",
	trailing:     "bytes after the object",
	duplicate:    "name stands twice",
	notUTF8:      "invalid UTF-8",
}

// SyntaxError says why a text is not an acceptable object. It quotes nothing
// of the text.
type SyntaxError struct {
	Offset int // offset in the text, approximate for invalid UTF-8
	Why    string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("json: %s at offset %d", e.Why, e.Offset)
}

// Err returns why the last call of Object returned false, as a *SyntaxError,
// or nil if it returned true.
func (s *Scanner) Err() error {
	if s.why == ok {
		return nil
	}
	return &SyntaxError{Offset: s.off, Why: s.Why()}
}

// Why returns in a few words why the last call of Object returned false, ""
// if it returned true. The words come from a small fixed set.
func (s *Scanner) Why() string {
	if s.why == ok {
		return ""
	}
	return reasons[s.why]
}

func (s *Scanner) fail(why reason, off int) bool {
	s.why, s.off = why, off
	if off >= s.last && (why == syntax || why == badNumber || why == badLiteral) {
		s.why = unterminated
	}
	return false
}

// Object reports whether p is exactly one JSON object by the rules of
// record.JSONObject: the grammar of RFC 8259, valid UTF-8, no space around it,
// nesting at most MaxDepth, at most MaxMembers top-level members and no
// top-level name twice (names are compared as what their escapes mean). It
// fills Members and Known. Numbers of any size are accepted, and so are escapes
// of lone surrogates, as in the RFC's grammar.
func (s *Scanner) Object(p []byte) bool {
	s.Members, s.Known, s.last = s.Members[:0], 0, len(p)
	s.why = ok
	s.dup.reset()
	if len(p) == 0 || p[0] != '{' {
		return s.fail(notObject, 0)
	}
	if uint64(len(p)) > math.MaxUint32 {
		return s.fail(tooLong, 0)
	}
	var seen uint64 // or of all words of strings: the high bits show non-ASCII
	i := space(p, 1)
	if at(p, i) == '}' {
		if i+1 != len(p) {
			return s.fail(trailing, i+1)
		}
		return true
	}
	same := s.names.n // as far as names are as remembered
	s.names.learn = true
	for {
		// Name.
		if at(p, i) != '"' {
			return s.fail(syntax, i)
		}
		var (
			key  record.Span
			bit  uint8
			acc  uint64
			esc  bool
			next int
		)
		start := i + 1
		if n := len(s.Members); n < same && s.names.ofs[n].is(p, start) {
			m := &s.names.ofs[n]
			key = record.Span{Off: uint32(start), Len: m.len}
			bit = m.bit
			s.Known |= 1 << bit // 0 for NoBit
			s.dup.hashes[n] = m.hash
			s.dup.seen |= 1 << (m.hash >> 58)
			next = start + int(m.len) + 2
		} else {
			same = 0
			if next, key, bit, acc = s.name(p, start); next < 0 {
				return false
			}
			seen |= acc
			esc = acc&escaped != 0
		}
		i = space(p, next)

		// Value.
		start = i
		end, kind, valEscaped := 0, record.String, false
		switch c := at(p, i); c {
		case '"':
			start++
			end, acc = str(p, start)
			if end < 0 {
				return s.failString(p, ^end)
			}
			seen |= acc
			valEscaped = acc&escaped != 0
			i = end + 1
		case '{', '[':
			if end, acc = s.nested(p, i); end < 0 {
				return false
			}
			seen |= acc
			kind = record.JSON
			i = end
		default:
			if end, kind = scalar(p, i); end < 0 {
				return s.failScalar(p, i, ^end)
			}
			i = end
		}
		if len(s.Members) == MaxMembers {
			return s.fail(tooMany, int(key.Off)-1)
		}
		// Field by field: a Member made first and then copied costs a stall.
		s.Members = slices.Grow(s.Members, 1)[:len(s.Members)+1]
		m := &s.Members[len(s.Members)-1]
		m.Key = key
		m.Val.Off, m.Val.Len = uint32(start), uint32(end-start)
		m.Kind, m.Bit, m.Escaped, m.ValEscaped = kind, bit, esc, valEscaped

		// What follows.
		c := at(p, i)
		if c != ',' && c != '}' {
			i = space(p, i)
			c = at(p, i)
		}
		if c == ',' {
			i = space(p, i+1)
			continue
		}
		if c != '}' {
			return s.fail(syntax, i)
		}
		break
	}
	if i+1 != len(p) {
		return s.fail(trailing, i+1)
	}
	if seen&highBits != 0 && !utf8.Valid(p) {
		return s.fail(notUTF8, 0)
	}
	if s.names.learn && s.names.doubt > 0 {
		s.names.doubt--
	}
	if i := s.dup.late(p, s.Members); i >= 0 {
		return s.fail(duplicate, int(s.Members[i].Start()))
	}
	return true
}

// Find returns the member of the last scanned object p with that name, its
// escapes resolved.
func (s *Scanner) Find(p []byte, name string) (Member, bool) {
	for i := range s.Members {
		m := &s.Members[i]
		key := p[m.Key.Off:m.Key.End()]
		if m.Escaped {
			s.dup.key = Unescape(s.dup.key[:0], key)
			key = s.dup.key
		}
		if string(key) == name {
			return *m, true
		}
	}
	return Member{}, false
}

// nested scans the object or array that begins at p[i], which is a member of
// the top-level object. It returns the offset behind it and what str says of
// its strings, or a negative offset after s.fail.
func (s *Scanner) nested(p []byte, i int) (end int, seen uint64) {
	// One bit per open container, the innermost lowest: 1 for an object.
	var stack uint64
	depth := 0
	var acc uint64
	for {
		// At a value.
		switch c := at(p, i); c {
		case '"':
			if end, acc = str(p, i+1); end < 0 {
				s.failString(p, ^end)
				return -1, 0
			}
			seen |= acc
			i = end + 1
		case '{', '[':
			// The top-level object is one more.
			if depth++; depth >= MaxDepth {
				s.fail(tooDeep, i)
				return -1, 0
			}
			stack <<= 1
			i = space(p, i+1)
			if c == '[' {
				if at(p, i) != ']' {
					continue
				}
			} else {
				stack |= 1
				if at(p, i) != '}' {
					if i, acc = s.nestedName(p, i); i < 0 {
						return -1, 0
					}
					seen |= acc
					continue
				}
			}
			i++
			depth--
			stack >>= 1
		default:
			if end, _ = scalar(p, i); end < 0 {
				s.failScalar(p, i, ^end)
				return -1, 0
			}
			i = end
		}
		// Behind a value: close what ends here, up to the next value.
		for {
			if depth == 0 {
				return i, seen
			}
			i = space(p, i)
			c := at(p, i)
			if c == ',' {
				i = space(p, i+1)
				if stack&1 != 0 {
					if i, acc = s.nestedName(p, i); i < 0 {
						return -1, 0
					}
					seen |= acc
				}
				break
			}
			// ']' is '[' + 2, as '}' is '{' + 2.
			if c != ']'+('}'-']')*byte(stack&1) {
				s.fail(syntax, i)
				return -1, 0
			}
			i++
			depth--
			stack >>= 1
		}
	}
}

// nestedName scans the name at p[i] and the colon behind it and returns where
// the value begins, negative after s.fail.
func (s *Scanner) nestedName(p []byte, i int) (end int, acc uint64) {
	if at(p, i) != '"' {
		s.fail(syntax, i)
		return -1, 0
	}
	end, acc = str(p, i+1)
	if end < 0 {
		s.failString(p, ^end)
		return -1, 0
	}
	i = end + 1
	if at(p, i) != ':' {
		if i = space(p, i); at(p, i) != ':' {
			s.fail(syntax, i)
			return -1, 0
		}
	}
	return space(p, i+1), acc
}

func (s *Scanner) failString(p []byte, i int) bool {
	switch c := at(p, i); {
	case i >= len(p):
		return s.fail(badString, i)
	case c == '\\':
		return s.fail(badEscape, i)
	}
	return s.fail(controlByte, i)
}

func (s *Scanner) failScalar(p []byte, start, i int) bool {
	switch c := at(p, start); {
	case c == '-' || c-'0' <= 9:
		return s.fail(badNumber, i)
	case c == 't' || c == 'f' || c == 'n':
		return s.fail(badLiteral, i)
	}
	return s.fail(syntax, i)
}
