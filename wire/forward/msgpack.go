package forward

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// kind is the type of a msgpack value.
type kind uint8

const (
	kindBad kind = iota // no such value
	kindNil
	kindBool
	kindInt   // n is an int64
	kindUint  // n does not fit an int64
	kindFloat // n has the bits of a float64
	kindStr
	kindBin
	kindArray
	kindMap
	kindExt
)

// head is the beginning of a value. n is its value, or its length: bytes of a
// string, elements of an array, pairs of a map. body is where what follows
// begins: a scalar ends there.
type head struct {
	kind kind
	ext  int8
	n    uint64
	body int
}

// isText reports whether it is what senders mean by text: some write bin.
func (h *head) isText() bool { return h.kind == kindStr || h.kind == kindBin }

// span returns the bytes of a string.
func (h *head) span() record.Span { return record.Span{Off: uint32(h.body), Len: uint32(h.n)} }

// read reads the head of the value at p[i], with kindBad if it or what it holds,
// as far as that are bytes, is cut short.
func read(p []byte, i int) head {
	h := header(p, i)
	switch h.kind {
	case kindStr, kindBin, kindExt:
		if h.n > uint64(len(p)-h.body) {
			return head{}
		}
	}
	return h
}

// header is read for values whose bytes need not be there. If it is cut short
// itself the body is 0. The functions of msgp's run time do the same for one
// expected type each; what stands in a record may be anything.
// https://github.com/msgpack/msgpack/blob/master/spec.md
func header(p []byte, i int) (h head) {
	if uint(i) >= uint(len(p)) {
		return head{}
	}
	c := p[i]
	switch {
	case c < 0x80:
		return head{kind: kindInt, n: uint64(c), body: i + 1}
	case c < 0x90:
		return head{kind: kindMap, n: uint64(c & 15), body: i + 1}
	case c < 0xa0:
		return head{kind: kindArray, n: uint64(c & 15), body: i + 1}
	case c < 0xc0:
		return head{kind: kindStr, n: uint64(c & 31), body: i + 1}
	case c >= 0xe0:
		return head{kind: kindInt, n: uint64(int64(int8(c))), body: i + 1}
	}
	size := int(sizes[c-0xc0])
	h.body = i + 1 + size
	if h.body > len(p) {
		return head{}
	}
	switch size {
	case 1:
		h.n = uint64(p[i+1])
	case 2:
		h.n = uint64(binary.BigEndian.Uint16(p[i+1:]))
	case 4:
		h.n = uint64(binary.BigEndian.Uint32(p[i+1:]))
	case 8:
		h.n = binary.BigEndian.Uint64(p[i+1:])
	}
	switch c {
	case 0xc0:
		h.kind = kindNil
	case 0xc2, 0xc3:
		h.kind, h.n = kindBool, uint64(c&1)
	case 0xc4, 0xc5, 0xc6:
		h.kind = kindBin
	case 0xc7, 0xc8, 0xc9, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8:
		if c >= 0xd4 {
			h.n = 1 << (c - 0xd4)
		}
		if h.body >= len(p) {
			return head{}
		}
		h.kind, h.ext = kindExt, int8(p[h.body])
		h.body++
	case 0xca:
		h.kind, h.n = kindFloat, math.Float64bits(float64(math.Float32frombits(uint32(h.n))))
	case 0xcb:
		h.kind = kindFloat
	case 0xcc, 0xcd, 0xce, 0xcf:
		if h.kind = kindInt; h.n > math.MaxInt64 {
			h.kind = kindUint
		}
	case 0xd0:
		h.kind, h.n = kindInt, uint64(int64(int8(h.n)))
	case 0xd1:
		h.kind, h.n = kindInt, uint64(int64(int16(h.n)))
	case 0xd2:
		h.kind, h.n = kindInt, uint64(int64(int32(h.n)))
	case 0xd3:
		h.kind = kindInt
	case 0xd9, 0xda, 0xdb:
		h.kind = kindStr
	case 0xdc, 0xdd:
		h.kind = kindArray
	case 0xde, 0xdf:
		h.kind = kindMap
	}
	return h
}

// sizes are the bytes of a value or length, by the first byte less 0xc0.
var sizes = [32]uint8{
	0x04: 1, 0x05: 2, 0x06: 4, 0x07: 1, 0x08: 2, 0x09: 4, 0x0a: 4, 0x0b: 8,
	0x0c: 1, 0x0d: 2, 0x0e: 4, 0x0f: 8, 0x10: 1, 0x11: 2, 0x12: 4, 0x13: 8,
	0x19: 1, 0x1a: 2, 0x1b: 4, 0x1c: 2, 0x1d: 4, 0x1e: 2, 0x1f: 4,
}

// maxDepth is how deeply values may be nested in a message.
const maxDepth = 64

var (
	errDeep = errors.New("values nested deeper than 64")
	errCut  = errors.New("not msgpack, or cut short")
)

// end returns where a scalar or string ends.
func (h *head) end() int {
	switch h.kind {
	case kindStr, kindBin, kindExt:
		return h.body + int(h.n)
	}
	return h.body
}

// skip returns the offset behind the value at p[i].
func skip(p []byte, i int) (int, error) {
	h := read(p, i)
	switch h.kind {
	case kindBad:
		return 0, errCut
	case kindArray, kindMap:
		return skipAll(p, i)
	}
	return h.end(), nil
}

func skipAll(p []byte, i int) (int, error) {
	var left [maxDepth]uint64
	depth := 0
	for {
		h := read(p, i)
		if h.kind == kindBad {
			return 0, errCut
		}
		i = h.end()
		n := h.n
		switch h.kind {
		case kindMap:
			n *= 2
			fallthrough
		case kindArray:
			if n > uint64(len(p)-i) {
				return 0, errCut
			}
			if n > 0 {
				if depth == maxDepth {
					return 0, errDeep
				}
				left[depth] = n
				depth++
				continue
			}
		}
		for depth > 0 {
			if left[depth-1]--; left[depth-1] > 0 {
				break
			}
			depth--
		}
		if depth == 0 {
			return i, nil
		}
	}
}

// appendText appends a scalar as text; strings as they are.
func appendText(dst, p []byte, h *head) []byte {
	switch h.kind {
	case kindStr, kindBin, kindExt:
		return append(dst, p[h.body:h.end()]...)
	case kindBool:
		return strconv.AppendBool(dst, h.n != 0)
	case kindInt:
		return strconv.AppendInt(dst, int64(h.n), 10)
	case kindUint:
		return strconv.AppendUint(dst, h.n, 10)
	case kindFloat:
		f := math.Float64frombits(h.n)
		switch {
		case math.IsNaN(f):
			return append(dst, "NaN"...)
		case math.IsInf(f, 1):
			return append(dst, "Infinity"...)
		case math.IsInf(f, -1):
			return append(dst, "-Infinity"...)
		}
		format := byte('f')
		if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
			format = 'e'
		}
		return strconv.AppendFloat(dst, f, format, -1, 64)
	case kindNil:
		return append(dst, "null"...)
	}
	return dst
}

// appendJSON appends the value at p[i] as JSON and returns where it ends. Bytes
// that are not UTF-8 become U+FFFD. depth is how many values it stands in.
func appendJSON(dst, p []byte, i, depth int) ([]byte, int, error) {
	h := read(p, i)
	switch h.kind {
	case kindBad:
		return dst, 0, errCut
	case kindNil, kindBool, kindInt, kindUint:
		return appendText(dst, p, &h), h.body, nil
	case kindFloat:
		if f := math.Float64frombits(h.n); f-f != 0 {
			dst = append(dst, '"')
			return append(appendText(dst, p, &h), '"'), h.body, nil
		}
		return appendText(dst, p, &h), h.body, nil
	case kindStr, kindBin:
		return json.AppendString(dst, p[h.body:h.end()]), h.end(), nil
	case kindExt:
		if ns, ok := h.eventTime(p); ok {
			dst = append(dst, '"')
			return append(json.AppendTime(dst, ns), '"'), h.end(), nil
		}
		return json.AppendString(dst, p[h.body:h.end()]), h.end(), nil
	}
	if depth >= maxDepth {
		return dst, 0, errDeep
	}
	open, end := byte('['), byte(']')
	if h.kind == kindMap {
		open, end = '{', '}'
	}
	dst = append(dst, open)
	i = h.body
	for n := range h.n {
		if n > 0 {
			dst = append(dst, ',')
		}
		if h.kind == kindMap {
			k := read(p, i)
			var err error
			if dst, err = appendKey(dst, p, &k); err != nil {
				return dst, 0, err
			}
			i = k.end()
		}
		var err error
		if dst, i, err = appendJSON(dst, p, i, depth+1); err != nil {
			return dst, 0, err
		}
	}
	return append(dst, end), i, nil
}

// appendKey appends a member's name and a colon.
func appendKey(dst, p []byte, k *head) ([]byte, error) {
	switch k.kind {
	case kindBad:
		return dst, errCut
	case kindStr, kindBin:
		return append(json.AppendString(dst, p[k.body:k.end()]), ':'), nil
	case kindArray, kindMap:
		return dst, errKey
	}
	// Numbers as names: Ruby's hashes have them.
	return append(appendText(append(dst, '"'), p, k), '"', ':'), nil
}

var errKey = errors.New("a map's key is a map or array")

// eventTime returns the time of an EventTime: type 0, seconds and nanoseconds.
// https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1#eventtime-ext-format
func (h *head) eventTime(p []byte) (ns int64, ok bool) {
	if h.kind != kindExt || h.ext != 0 || h.n != 8 {
		return 0, false
	}
	sec, nano := binary.BigEndian.Uint32(p[h.body:]), binary.BigEndian.Uint32(p[h.body+4:])
	return int64(sec)*1e9 + int64(nano), nano < 1e9
}

// time returns the time that a value is: EventTime, or seconds. ok is false if
// it is none, or out of range.
func (h *head) time(p []byte) (ns int64, ok bool) {
	const most = math.MaxInt64/1_000_000_000 - 1
	switch h.kind {
	case kindExt:
		return h.eventTime(p)
	case kindInt:
		s := int64(h.n)
		return s * 1e9, s <= most && s >= -most
	case kindFloat:
		f := math.Float64frombits(h.n)
		if !(f <= most && f >= -most) {
			return 0, false
		}
		s := math.Floor(f)
		return int64(s)*1e9 + int64((f-s)*1e9), true
	}
	return 0, false
}
