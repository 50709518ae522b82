package syslog

import (
	"bytes"

	"github.com/weirlog/weir/record"
)

// DefaultMax is the length of a message if nothing else is said, in bytes.
const DefaultMax = 64 << 10

// Framer cuts a stream into messages. Each message says itself how it is framed:
// one that begins with a number, a space and "<" is counted (RFC 6587, 3.4.1), any
// other ends with a line feed or NUL (3.4.2). A longer one than Max comes in
// pieces: nothing is cut away, and a count that lies costs no more than Max. The
// zero Framer is at the beginning of a message; it is for one goroutine.
type Framer struct {
	Max int // bytes of a message; 0: DefaultMax

	left   uint64 // bytes of a counted message of which pieces were returned
	inLine bool   // in a line of which pieces were returned
	seen   int    // bytes of p in which no end was found
}

// Frame is a message, or a piece of one (flags Partial and Continued), p[From:To].
// What follows begins at p[Next].
type Frame struct {
	From, To, Next int
	Flags          record.Flags
}

// Next returns the message that p begins with. ok is false if there is not all of
// it yet: then call it again with the same bytes, less the first Next, and more.
// eof says that no more will come.
func (f *Framer) Next(p []byte, eof bool) (fr Frame, ok bool) {
	limit := f.Max
	if limit <= 0 {
		limit = DefaultMax
	}
	if f.left > 0 {
		return f.counted(p, 0, limit, eof)
	}
	i := 0
	if !f.inLine {
		for i < len(p) && (p[i] == '\n' || p[i] == '\r' || p[i] == 0) {
			i++
		}
		if i > 0 {
			f.seen = 0
		}
		n, body, more := count(p, i)
		if more && !eof {
			return Frame{Next: i}, false
		}
		if n > 0 {
			f.left = n
			if fr, ok = f.counted(p, body, limit, eof); !ok {
				f.left = 0 // the count is read again
				fr.Next = i
			}
			return fr, ok
		}
	}
	return f.line(p, i, limit, eof)
}

// count reads the count of the message at p[i]; 0 if it has none. more says that
// it cannot be told yet.
func count(p []byte, i int) (n uint64, body int, more bool) {
	j := i
	for j < len(p) && p[j]-'0' <= 9 && j-i < 10 {
		n = n*10 + uint64(p[j]-'0')
		j++
	}
	switch {
	case j == i || p[i] == '0':
		return 0, 0, false
	case j == len(p):
		return 0, 0, j-i < 10
	case p[j] != ' ':
		return 0, 0, false
	case j+1 == len(p):
		return 0, 0, true
	case p[j+1] != '<':
		return 0, 0, false
	}
	return n, j + 1, false
}

// counted takes the next piece of a message of which f.left bytes are to come.
func (f *Framer) counted(p []byte, i, limit int, eof bool) (Frame, bool) {
	n := int(min(f.left, uint64(limit)))
	fr := Frame{From: i, To: i + n, Next: i + n}
	if len(p) < i+n {
		if !eof || len(p) == i {
			return Frame{}, false
		}
		fr.To, fr.Next = len(p), len(p)
		fr.Flags = record.Partial // and nobody will send the rest
	}
	if f.inLine {
		fr.Flags |= record.Continued
	}
	f.left -= uint64(n)
	f.inLine = f.left > 0
	if f.inLine {
		fr.Flags |= record.Partial
	} else {
		fr.To = trim(p, fr.From, fr.To)
	}
	return fr, true
}

// line takes the message at p[i] that ends with a line feed or NUL.
func (f *Framer) line(p []byte, i, limit int, eof bool) (Frame, bool) {
	fr := Frame{From: i}
	if f.inLine {
		fr.Flags = record.Continued
	}
	window := p[i:min(len(p), i+limit+1)]
	from := min(f.seen, len(window))
	end := bytes.IndexByte(window[from:], '\n')
	if end >= 0 {
		end += from
	}
	// A NUL ends a message if what follows can be one, or nothing does.
	for z := from; ; z++ {
		stop := len(window)
		if end >= 0 {
			stop = end
		}
		k := bytes.IndexByte(window[min(z, stop):stop], 0)
		if k < 0 {
			break
		}
		z += k
		if z+1 == len(p)-i || window[min(z+1, len(window)-1)] == '<' || window[min(z+1, len(window)-1)]-'1' <= 8 {
			end = z
			break
		}
	}
	switch {
	case end >= 0:
		fr.To, fr.Next = i+end, i+end+1
	case len(window) > limit:
		fr.To, fr.Next = i+limit, i+limit
		fr.Flags |= record.Partial
		f.seen, f.inLine = 0, true
		return fr, true
	case eof && len(window) > 0:
		fr.To, fr.Next = len(p), len(p)
	default:
		f.seen = len(window)
		return Frame{Next: i}, false
	}
	f.seen, f.inLine = 0, false
	fr.To = trim(p, fr.From, fr.To)
	return fr, true
}

// trim leaves out what ends lines.
func trim(p []byte, from, to int) int {
	for to > from && (p[to-1] == '\n' || p[to-1] == '\r' || p[to-1] == 0) {
		to--
	}
	return to
}
