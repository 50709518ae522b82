package cri

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// docker takes a line of the json-file format. It reports false if line is
// not one.
func (j *Joiner) docker(f *frame, line []byte, pos int, start, end int64, ext extent) bool {
	e, ok := j.clock.entry(line)
	if !ok {
		return false
	}
	raw := line[e.log.from:e.log.to]
	m := message{s: e.s, body: f.span(pos+e.log.from, len(raw)), at: start + int64(e.log.from), start: start, end: end, time: e.time}
	keep := f.b.Len()
	switch {
	case e.log.esc < 0: // no escape: a part, as it stands
		m.more = true
	case e.log.esc == len(raw)-2 && raw[len(raw)-1] == 'n': // the usual line
		m.body.Len -= 2
	default:
		dst := f.b.Reserve(len(raw) + unescapeSlack)
		n, ok := unescape(dst, raw)
		if !ok {
			return false
		}
		if n > 0 && dst[n-1] == '\n' {
			n--
		} else {
			m.more = true
		}
		m.body = f.b.Extend(n)
	}
	if e.badTime {
		m.time, m.timeText = f.now, f.span(pos+e.at.from, e.at.to-e.at.from)
		j.stats.OddTimes++
	}
	if ext != whole {
		// Only its newline is missing. Anything else that follows is odd.
		j.mid = Mid{Kind: MidOdd}
	}
	n := f.b.NumRecords()
	j.part(f, m, ext != whole)
	if f.b.NumRecords() == n && f.b.Len() > keep && !j.st[m.s].held {
		f.b.Truncate(keep) // it waits in the carry, or is finished
	}
	return true
}

// entry is what a json-file line holds.
type entry struct {
	s       int
	log, at str
	time    int64
	badTime bool
}

// str is a JSON string within a line, without its quotes.
type str struct {
	from, to int
	esc      int // offset in it of the first backslash, -1: none
}

// entry parses a json-file line: one JSON object with the string members log,
// stream and time in any order. Other members are skipped; of their values
// only the nesting of brackets and strings is checked.
func (c *clock) entry(line []byte) (e entry, ok bool) {
	const (
		hasLog = 1 << iota
		hasStream
		hasTime
	)
	has := 0
	i := skipSpace(line, 0)
	if i == len(line) || line[i] != '{' {
		return e, false
	}
	i++
	for {
		i = skipSpace(line, i)
		key, next, ok := jsonString(line, i)
		if !ok || key.esc >= 0 {
			return e, false
		}
		i = skipSpace(line, next)
		if i == len(line) || line[i] != ':' {
			return e, false
		}
		i = skipSpace(line, i+1)
		switch string(line[key.from:key.to]) {
		case "log":
			if e.log, i, ok = jsonString(line, i); !ok {
				return e, false
			}
			has |= hasLog
		case "stream":
			var v str
			if v, i, ok = jsonString(line, i); !ok {
				return e, false
			}
			switch string(line[v.from:v.to]) {
			case "stdout":
				e.s = 0
			case "stderr":
				e.s = 1
			default:
				return e, false
			}
			has |= hasStream
		case "time":
			if e.at, i, ok = jsonString(line, i); !ok {
				return e, false
			}
			var n int
			var st timeStatus
			if e.time, n, st = c.quickTime(line[e.at.from:e.at.to]); st == timeNone || n != e.at.to-e.at.from {
				return e, false
			}
			e.badTime = st == timeFar
			has |= hasTime
		default:
			if i, ok = skipValue(line, i); !ok {
				return e, false
			}
		}
		i = skipSpace(line, i)
		if i == len(line) {
			return e, false
		}
		switch line[i] {
		case ',':
			i++
		case '}':
			return e, skipSpace(line, i+1) == len(line) && has == hasLog|hasStream|hasTime
		default:
			return e, false
		}
	}
}

// quickTime is time with a look into the cache first.
func (c *clock) quickTime(p []byte) (int64, int, timeStatus) {
	if len(p) == 30 && c.valid && c.zlen == 1 && p[29] == 'Z' && p[16] == ':' && p[19] == '.' &&
		binary.LittleEndian.Uint64(p) == c.w0 && binary.LittleEndian.Uint64(p[8:]) == c.w1 {
		s1, s0, f8 := p[17]-'0', p[18]-'0', p[28]-'0'
		if frac, ok := digits8(binary.LittleEndian.Uint64(p[20:])); ok && s1 <= 5 && s0 <= 9 && f8 <= 9 {
			return c.minute + int64(s1*10+s0)*1e9 + int64(frac)*10 + int64(f8), 30, timeOK
		}
	}
	return c.time(p)
}

func skipSpace(p []byte, i int) int {
	for i < len(p) && (p[i] == ' ' || p[i] == '\t' || p[i] == '\r') {
		i++
	}
	return i
}

// jsonString finds the JSON string that begins at p[i]. Escapes are not
// checked.
func jsonString(p []byte, i int) (s str, next int, ok bool) {
	if i >= len(p) || p[i] != '"' {
		return s, 0, false
	}
	i++
	s.from, s.esc = i, -1
	for i < len(p) {
		if len(p)-i >= 8 {
			w := binary.LittleEndian.Uint64(p[i:])
			q, b := w^(ones*'"'), w^(ones*'\\')
			// Quotes, backslashes and control characters: the lowest bit that
			// is set is right, higher ones may be wrong.
			m := ((q-ones)&^q | (b-ones)&^b | (w-ones*0x20)&^w) & highs
			if m == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(m) / 8
		}
		switch c := p[i]; {
		case c == '"':
			s.to = i
			return s, i + 1, true
		case c == '\\':
			if s.esc < 0 {
				s.esc = i - s.from
			}
			i += 2
		case c < 0x20:
			return s, 0, false
		default:
			i++
		}
	}
	return s, 0, false
}

const ones, highs = 0x0101010101010101, 0x8080808080808080

// skipValue returns the index behind the JSON value that begins at p[i].
func skipValue(p []byte, i int) (next int, ok bool) {
	depth := 0
	for i < len(p) {
		switch c := p[i]; {
		case c == '"':
			if _, i, ok = jsonString(p, i); !ok {
				return 0, false
			}
		case c == '{' || c == '[':
			depth++
			i++
			continue
		case c == '}' || c == ']':
			if depth == 0 {
				return 0, false
			}
			depth--
			i++
		case depth > 0 && (c == ',' || c == ':' || c == ' ' || c == '\t' || c == '\r'):
			i++
			continue
		case c == '-' || c == '+' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			for i < len(p) && (p[i] == '-' || p[i] == '+' || p[i] == '.' || p[i] >= '0' && p[i] <= '9' || p[i] >= 'a' && p[i] <= 'z' || p[i] >= 'A' && p[i] <= 'Z') {
				i++
			}
		default:
			return 0, false
		}
		if depth == 0 {
			return i, true
		}
	}
	return 0, false
}

// unescapeSlack is how much longer than its input unescape's output must be.
const unescapeSlack = 8

// escapes has what the byte behind a backslash stands for, 0 for none.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape writes to dst the text that p, the inside of a JSON string, stands
// for, and returns its length. dst must be unescapeSlack bytes longer than p.
// As in encoding/json a half of a surrogate pair becomes U+FFFD; unlike there,
// bytes that are not UTF-8 are kept.
func unescape(dst, p []byte) (n int, ok bool) {
	i := 0
	for i < len(p) {
		if len(p)-i >= 8 {
			// Copy eight bytes and see how many of them are meant.
			w := binary.LittleEndian.Uint64(p[i:])
			binary.LittleEndian.PutUint64(dst[n:], w)
			s := w ^ (ones * '\\')
			m := (s - ones) &^ s & highs
			if m == 0 {
				i, n = i+8, n+8
				continue
			}
			k := bits.TrailingZeros64(m) / 8
			i, n = i+k, n+k
		} else if p[i] != '\\' {
			dst[n] = p[i]
			i, n = i+1, n+1
			continue
		}
		if i+1 >= len(p) {
			return n, false
		}
		if c := escapes[p[i+1]]; c != 0 {
			dst[n] = c
			i, n = i+2, n+1
			continue
		}
		r := rune(-1)
		if p[i+1] == 'u' {
			r = hex4(p[i+2:])
		}
		if r < 0 {
			return n, false
		}
		i += 6
		if utf16.IsSurrogate(r) {
			low := rune(-1)
			if len(p)-i >= 6 && p[i] == '\\' && p[i+1] == 'u' {
				low = hex4(p[i+2:])
			}
			if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
				i += 6
			}
		}
		n += utf8.EncodeRune(dst[n:], r)
	}
	return n, true
}

// hex4 returns the value of four hexadecimal digits, -1 if there are none.
func hex4(p []byte) rune {
	if len(p) < 4 {
		return -1
	}
	var r rune
	for _, c := range p[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}
