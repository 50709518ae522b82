package json

import "github.com/weirlog/weir/record"

// Reader walks a JSON text from front to back, value by value, for the decoders
// of requests: nothing is built, nothing is copied, nothing recurses. Nesting is
// bounded by MaxDepth. Bytes of strings that are not UTF-8 are accepted: what
// they mean is the caller's to say. The zero Reader reads an empty text; it is
// for one goroutine.
//
// At an object, Enter('{') and then, while Name says so, one value each; at an
// array, Enter('[') and, while More says so, one value each. A value that is of
// no interest is passed by Skip. The first thing that is wrong ends all loops:
// from then on nothing is there, and Err says what it was.
type Reader struct {
	p     []byte
	i     int
	depth int
	stack uint64 // one bit per open container, the innermost lowest: 1 for an object
	fresh bool   // nothing of the innermost container has been read
	why   reason
	off   int
}

// Reset makes the Reader begin at the front of p. It keeps p until the next
// Reset.
func (r *Reader) Reset(p []byte) { *r = Reader{p: p} }

// Err returns what was wrong, as a *SyntaxError, or nil.
func (r *Reader) Err() error {
	if r.why == ok {
		return nil
	}
	return &SyntaxError{Offset: r.off, Why: reasons[r.why]}
}

// Offset returns how far the text has been read.
func (r *Reader) Offset() int { return r.i }

// Mark is a place in the text, to be gone back to.
type Mark struct {
	i, depth int
	stack    uint64
	fresh    bool
}

// Mark returns where the Reader stands.
func (r *Reader) Mark() Mark { return Mark{r.i, r.depth, r.stack, r.fresh} }

// Return makes the Reader stand where it stood. It does nothing after an error.
func (r *Reader) Return(m Mark) {
	if r.why == ok {
		r.i, r.depth, r.stack, r.fresh = m.i, m.depth, m.stack, m.fresh
	}
}

func (r *Reader) fail(why reason, off int) {
	if r.why != ok {
		return
	}
	if off >= len(r.p) && why != tooDeep {
		why = unterminated
	}
	r.why, r.off, r.i = why, off, len(r.p)
}

// Kind returns the first byte of the value that comes: '{', '[', '"', 't', 'f',
// 'n', '0' for a number; 0 if there is none, which is no error yet.
func (r *Reader) Kind() byte {
	r.i = space(r.p, r.i)
	switch c := at(r.p, r.i); {
	case r.why != ok:
		return 0
	case c == '-' || c-'0' <= 9:
		return '0'
	case c == '{' || c == '[' || c == '"' || c == 't' || c == 'f' || c == 'n':
		return c
	}
	return 0
}

// Enter goes into the object or array that comes, as open says.
func (r *Reader) Enter(open byte) bool {
	if r.Kind() != open {
		r.fail(syntax, r.i)
		return false
	}
	if r.depth == MaxDepth {
		r.fail(tooDeep, r.i)
		return false
	}
	r.i++
	r.depth++
	r.stack <<= 1
	if open == '{' {
		r.stack |= 1
	}
	r.fresh = true
	return true
}

// next goes to the next member or element of the innermost container; false at
// its end, which is passed, and after an error.
func (r *Reader) next(closing byte) bool {
	if r.why != ok {
		return false
	}
	r.i = space(r.p, r.i)
	switch at(r.p, r.i) {
	case closing:
		r.i++
		r.depth--
		r.stack >>= 1
		r.fresh = false
		return false
	case ',':
		if !r.fresh {
			r.i = space(r.p, r.i+1)
			return true
		}
	default:
		if r.fresh {
			r.fresh = false
			return true
		}
	}
	r.fail(syntax, r.i)
	return false
}

// More reports whether there is another element in the array. At its end the
// Reader stands behind it.
func (r *Reader) More() bool { return r.next(']') }

// Name reads the name of the next member and reports whether there is one. At
// the object's end the Reader stands behind it.
func (r *Reader) Name() (name record.Span, esc, more bool) {
	if !r.next('}') {
		return name, false, false
	}
	name, esc, more = r.String()
	if !more {
		return name, false, false
	}
	r.i = space(r.p, r.i)
	if at(r.p, r.i) != ':' {
		r.fail(syntax, r.i)
		return name, false, false
	}
	r.i++
	return name, esc, true
}

// String reads a string and returns what stands between its quotes and whether
// that holds escapes.
func (r *Reader) String() (s record.Span, esc, ok bool) {
	r.i = space(r.p, r.i)
	if r.why != 0 || at(r.p, r.i) != '"' {
		r.fail(syntax, r.i)
		return s, false, false
	}
	end, seen := str(r.p, r.i+1)
	if end < 0 {
		switch end = ^end; {
		case end >= len(r.p):
			r.fail(badString, end)
		case r.p[end] == '\\':
			r.fail(badEscape, end)
		default:
			r.fail(controlByte, end)
		}
		return s, false, false
	}
	s = record.Span{Off: uint32(r.i + 1), Len: uint32(end - r.i - 1)}
	r.i = end + 1
	return s, seen&escaped != 0, true
}

// Scalar reads a number, true, false or null and returns its text.
func (r *Reader) Scalar() (s record.Span, kind record.Kind, ok bool) {
	r.i = space(r.p, r.i)
	if r.why != 0 {
		return s, 0, false
	}
	end, kind := scalar(r.p, r.i)
	if end < 0 {
		why := syntax
		switch c := at(r.p, r.i); {
		case c == '-' || c-'0' <= 9:
			why = badNumber
		case c == 't' || c == 'f' || c == 'n':
			why = badLiteral
		}
		r.fail(why, ^end)
		return s, 0, false
	}
	s = record.Span{Off: uint32(r.i), Len: uint32(end - r.i)}
	r.i = end
	return s, kind, true
}

// Skip passes the value that comes, whatever it is, and returns its text.
func (r *Reader) Skip() (s record.Span, ok bool) {
	r.i = space(r.p, r.i)
	start, depth := r.i, r.depth
	for {
		switch c := r.Kind(); c {
		case '{', '[':
			r.Enter(c)
		case '"':
			r.String()
		default:
			r.Scalar()
		}
		// Close what ends here, up to the next value.
		for r.depth > depth {
			more := false
			if r.stack&1 != 0 {
				_, _, more = r.Name()
			} else {
				more = r.More()
			}
			if r.why != 0 {
				return s, false
			}
			if more {
				break
			}
		}
		if r.why != 0 {
			return s, false
		}
		if r.depth == depth {
			return record.Span{Off: uint32(start), Len: uint32(r.i - start)}, true
		}
	}
}

// End reports whether nothing but white space follows; anything else is an
// error.
func (r *Reader) End() bool {
	r.i = space(r.p, r.i)
	if r.why != ok {
		return false
	}
	if r.i < len(r.p) {
		r.fail(trailing, r.i)
		return false
	}
	return true
}

// UnescapeInPlace writes what s, the inside of a JSON string, means over its
// beginning and returns that: no escape is shorter than what it means.
func UnescapeInPlace(s []byte) []byte { return Unescape(s[:0], s) }
