// Package line writes records as lines for people, and as bare lines for
// programs.
//
//	shop/checkout-7d9c5b6f4-abcde checkout │ order 12 accepted
//
// Programs log what they like, and a terminal obeys what it is shown. So
// everything that could move the cursor, change colours or titles, hide text
// or pretend to be another line is written as an escape such as \x1b: control
// bytes (but tabs), bytes that are not UTF-8, C1 controls, the Unicode line and
// paragraph separators and the marks that change the direction of text. Every
// line of a body with several has the prefix.
package line

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// Config says how records are written.
type Config struct {
	// Raw writes bodies as they are, each with a line feed, and nothing else.
	// It is for pipes and files, never for a terminal.
	Raw bool
	// Color gives each pod a colour of its own, with ANSI escapes.
	Color bool
}

// Encoder writes lines. It is for one goroutine.
type Encoder struct {
	cfg     Config
	streams *wire.Streams[[]byte]
}

// New returns an encoder.
func New(cfg Config) *Encoder {
	e := &Encoder{cfg: cfg}
	e.streams = wire.NewStreams(e.prefix)
	return e
}

// Clone returns an encoder of the same configuration for another goroutine.
func (e *Encoder) Clone() *Encoder { return New(e.cfg) }

// palette are colours of the 256 that are readable on light and dark.
var palette = [...]string{"32", "33", "34", "35", "36", "92", "93", "94", "95", "96", "38;5;208", "38;5;141", "38;5;37", "38;5;168"}

func (e *Encoder) prefix(s *record.Stream) *[]byte {
	var name []byte
	add := func(sep, v string) {
		if v == "" {
			return
		}
		if len(name) > 0 {
			name = append(name, sep...)
		}
		name = AppendPlain(name, []byte(v))
	}
	add("", s.Get(record.AttrNamespace))
	add("/", s.Get(record.AttrPod))
	who := len(name)
	add(" ", s.Get(record.AttrContainer))
	for _, n := range []string{record.AttrFile, record.AttrService, record.AttrInput} {
		if len(name) == 0 {
			add("", s.Get(n))
			who = len(name)
		}
	}
	var p []byte
	if e.cfg.Color && len(name) > 0 {
		h := uint32(2166136261) // FNV-1a
		for _, c := range name[:who] {
			h = (h ^ uint32(c)) * 16777619
		}
		p = append(p, "\x1b["...)
		p = append(p, palette[h%uint32(len(palette))]...)
		p = append(p, 'm')
		p = append(p, name...)
		p = append(p, " │\x1b[0m "...)
		return &p
	}
	if len(name) > 0 {
		p = append(name, " │ "...)
	}
	return &p
}

// Append appends the lines of the parts' records, in order.
func (e *Encoder) Append(dst []byte, parts []record.Part) []byte {
	for _, p := range parts {
		b := p.Batch()
		if e.cfg.Raw {
			for _, i := range p.Index() {
				dst = append(dst, b.Body(int(i))...)
				dst = append(dst, '\n')
			}
			continue
		}
		e.streams.Use(b)
		for _, i := range p.Index() {
			dst = appendBody(dst, *e.streams.Get(b.Record(int(i)).Stream), b.Body(int(i)))
		}
	}
	e.streams.Done()
	return dst
}

// appendBody appends each line of the body behind the prefix. A carriage
// return at a line's end belongs to the end.
func appendBody(dst, prefix, body []byte) []byte {
	dst = append(dst, prefix...)
	from := 0
	for i := 0; i < len(body); {
		n := plain(body[i:])
		if n > 0 {
			i += n
			continue
		}
		dst = append(dst, body[from:i]...)
		c := body[i]
		switch {
		case c == '\n':
			dst = append(dst, '\n')
			if i+1 < len(body) {
				dst = append(dst, prefix...)
			} else {
				dst = dst[:len(dst)-1] // the end comes anyway
			}
			i++
		case c == '\r' && (i+1 == len(body) || body[i+1] == '\n'):
			i++
		default:
			dst, n = appendEscape(dst, body[i:])
			i += n
		}
		from = i
	}
	dst = append(dst, body[from:]...)
	return append(dst, '\n')
}

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
