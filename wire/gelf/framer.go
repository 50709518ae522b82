package gelf

import (
	"bytes"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// DefaultMax is the length of a message in a stream if nothing else is said, in
// bytes.
const DefaultMax = 8 << 20

// Framer cuts a stream into messages: each ends with a NUL, or, as many senders
// have it, with a line feed behind a whole JSON object. A longer one than Max comes
// in pieces. The zero Framer is at the beginning of a message; it is for one
// goroutine.
type Framer struct {
	Max int // bytes of a message; 0: DefaultMax

	seen int  // bytes of p in which no end was found
	rest bool // of a message of which pieces were returned
}

// Next returns the message p[from:to]; what follows begins at p[next]. flags are
// Partial and Continued of a piece. ok is false if there is not all of it yet: then
// call it again with the same bytes and more. eof says that no more will come.
func (f *Framer) Next(p []byte, eof bool) (from, to, next int, flags record.Flags, ok bool) {
	limit := or(f.Max, DefaultMax)
	if f.rest {
		flags = record.Continued
	} else {
		for from < len(p) && (p[from] <= ' ') {
			from++
		}
	}
	window := p[from:min(len(p), from+limit+1)]
	for i := min(f.seen, len(window)); i < len(window); i++ {
		k := bytes.IndexByte(window[i:], 0)
		lf := bytes.IndexByte(window[i:], '\n')
		if k >= 0 && (lf < 0 || k < lf) {
			f.seen, f.rest = 0, false
			return from, from + i + k, from + i + k + 1, flags, true
		}
		if lf < 0 {
			break
		}
		i += lf
		if !f.rest && ends(window, i, from+i+1 == len(p)) {
			f.seen = 0
			return from, from + i, from + i + 1, flags, true
		}
	}
	switch {
	case len(window) > limit:
		f.seen, f.rest = 0, true
		return from, from + limit, from + limit, flags | record.Partial, true
	case eof && len(window) > 0:
		f.seen, f.rest = 0, false
		return from, len(p), len(p), flags, true
	}
	f.seen = max(0, len(window)-1)
	return 0, 0, 0, 0, false
}

// maxWhole bounds the messages that are looked through for their end, again for
// every few bytes that come if a sender wants so.
const maxWhole = 64 << 10

// ends reports whether the line feed at p[i] ends a message: behind a brace, and
// before another message or, if it is the last there is, behind a whole object.
func ends(p []byte, i int, last bool) bool {
	j := i
	for j > 0 && (p[j-1] == '\r' || p[j-1] == ' ') {
		j--
	}
	if j == 0 || p[j-1] != '}' {
		return false
	}
	if !last {
		return i+1 < len(p) && p[i+1] == '{'
	}
	if j > maxWhole {
		return false // who sends such has to say where it ends
	}
	var r json.Reader
	r.Reset(p[:j])
	_, ok := r.Skip()
	return ok && r.End()
}
