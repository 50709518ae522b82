package forward

import (
	"errors"
	"fmt"
)

// ErrTooLarge is in the chain of the error for a message that exceeds the
// Framer's Max.
var ErrTooLarge = errors.New("message too large")

// DefaultMax is the size of a message if nothing else is said, in bytes.
const DefaultMax = 64 << 20

var errNoMessage = errors.New("not a message of the forward protocol: it does not begin with an array")

// Framer finds the ends of messages in a stream of them, without looking at a
// byte twice. It recurses into nothing and remembers one number per level, so
// that a length of 2³² costs nothing: it is refused as soon as it is seen, if a
// message of Max bytes cannot hold that much. The zero Framer is at the beginning
// of a message; it is for one goroutine.
type Framer struct {
	Max int // bytes of a message; 0: DefaultMax
	// AnyValue takes answers too, which are maps.
	AnyValue bool

	pos   int // of the value that comes; behind what there is if bytes are missing
	depth int
	ended bool // the message ends at pos
	left  [maxDepth + 8]uint64
}

// Reset makes the Framer be at the beginning of a message.
func (f *Framer) Reset() { f.pos, f.depth, f.ended = 0, 0, false }

// Missing returns how many bytes are known to be missing at least, after a Next
// for n bytes that returned 0.
func (f *Framer) Missing(n int) int { return max(1, f.pos+f.depth-n) }

// Next returns the length of the message that p begins with, 0 if there is not
// all of it yet: then call it again with the same bytes and more. After an error
// nothing more can be made of the stream.
func (f *Framer) Next(p []byte) (int, error) {
	limit := f.Max
	if limit <= 0 {
		limit = DefaultMax
	}
	for f.pos < len(p) && !f.ended {
		h := header(p, f.pos)
		if h.body == 0 {
			return 0, nil
		}
		if h.kind == kindBad {
			return 0, errCut
		}
		if f.pos == 0 && h.kind != kindArray && !(f.AnyValue && h.kind == kindMap) {
			return 0, errNoMessage
		}
		next, n := uint64(h.body), uint64(0)
		switch h.kind {
		case kindStr, kindBin, kindExt:
			next += h.n
		case kindMap:
			n = 2 * h.n
		case kindArray:
			n = h.n
		}
		if next+n > uint64(limit) {
			return 0, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
		}
		f.pos = int(next)
		if n > 0 {
			if f.depth == len(f.left) {
				return 0, errDeep
			}
			f.left[f.depth] = n
			f.depth++
			continue
		}
		for f.depth > 0 {
			if f.left[f.depth-1]--; f.left[f.depth-1] > 0 {
				break
			}
			f.depth--
		}
		f.ended = f.depth == 0
	}
	if !f.ended || f.pos > len(p) {
		return 0, nil
	}
	n := f.pos
	f.Reset()
	return n, nil
}
