package stage

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/weirlog/weir/record"
)

// levelWindow is how far into a line of text a level is looked for, in bytes.
const levelWindow = 96

const (
	isWord   = 1 << iota // letters, digits, underscore
	isBefore             // may stand before a level
	isBehind             // may stand behind a level
	isOpen               // brackets and what else encloses a level
	isClose
	isStamp // what timestamps are made of
)

var class = func() (t [256]uint8) {
	for c := range t {
		if c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			t[c] = isWord
		}
	}
	set := func(chars string, bit uint8) {
		for i := range len(chars) {
			t[chars[i]] |= bit
		}
	}
	set(" \t[(<|:=\"'\x1b\n", isBefore)
	set(" \t])>|:=\"',;/\x1b\n", isBehind)
	set("[(<|:\t", isOpen)
	set("])>|\t", isClose)
	set("0123456789 -:.,/+[]TZUC", isStamp)
	return t
}()

// textLevel looks for the level of a line of plain text, in its first bytes
// and only in the shapes that logging libraries write: a word in capitals
// between spaces or punctuation, any case in brackets or between tabs, after
// "level=", before a colon at the beginning of the line, or right behind a
// leading timestamp. A word of prose is no level, and neither is a part of a
// longer word. The first in the line counts.
func textLevel(line []byte) record.Severity { return scanLevel(line, false) }

// scanLevel is textLevel and, with words, if that finds nothing, wordLevel, for
// little more.
func scanLevel(line []byte, words bool) record.Severity {
	if sev, ok := headLevel(line); ok {
		return sev
	}
	var plain [levelWindow]byte
	if bytes.IndexByte(line[:min(len(line), levelWindow)], 0x1b) >= 0 {
		line = plain[:stripColours(plain[:], line)]
	}
	if sev := firstLevel(line); sev != 0 {
		return sev
	}

	// Most words of most lines need no look. Bit sets over 64 bytes of the
	// line find those that do: words that begin with two capitals or behind
	// punctuation, and words before punctuation, which may be "level".
	n := min(len(line), levelWindow)
	var wordBefore, punctBefore uint64 = 0, 0 // the last byte of the block before, in bit 0
	var prose record.Severity
	for base := 0; base < n; base += 64 {
		word, upper, space := classify(line[:n], base)
		punct := ^(word | space)
		starts := word &^ (word<<1 | wordBefore)
		if words && prose == 0 {
			prose = firstWord(line, base, starts)
		}
		// Beyond the block anything may follow.
		starts &= upper&(upper>>1|1<<63) | punct<<1 | punctBefore
		ends := word & (punct>>1 | 1<<63)
		wordBefore, punctBefore = word>>63, punct>>63
		for look := starts | ends; look != 0; look &= look - 1 {
			i := base + bits.TrailingZeros64(look)
			if i >= n {
				break
			}
			bit := look & -look
			if c := line[i]; starts&bit != 0 && c > '9' {
				if sev := levelAt(line, i); sev != 0 {
					return sev
				}
			} else if ends&bit != 0 && (c == 'l' || c == 'y' || c == 'e' || c == 'L') { // level, severity, levelname
				if sev := levelBehindKey(line, i+1); sev != 0 {
					return sev
				}
			}
		}
	}
	if words && prose == 0 {
		prose = wordLevel(line, n)
	}
	return prose
}

// classify returns three bit sets over the 64 bytes of p from base on: of word
// characters, capitals and spaces. Bytes behind the end are none of them.
func classify(p []byte, base int) (word, upper, space uint64) {
	const (
		low7 = 0x7f * ones
		high = 0x80 * ones
	)
	for k := 0; k < 64; k += 8 {
		var w uint64
		if rest := p[base+k:]; len(rest) >= 8 {
			w = binary.LittleEndian.Uint64(rest)
		} else {
			for j := len(rest) - 1; j >= 0; j-- {
				w = w<<8 | uint64(rest[j])
			}
		}
		// Adding to seven bits reaches the eighth for bytes from a bound on.
		// With 0x20 set, capitals are small letters and the underscore is
		// 0x7f, as is DEL: harmless.
		seven := w & low7
		x := seven | 0x20*ones
		letter := (x+(0x80-'a')*ones)&^(x+(0x7f-'z')*ones) | (x + ones)
		digit := (seven + (0x80-'0')*ones) &^ (seven + (0x7f-'9')*ones)
		capital := (seven + (0x80-'A')*ones) &^ (seven + (0x7f-'Z')*ones)
		blank := ^((seven ^ ' '*ones) + low7)
		word |= gather((letter|digit)&^w&high) << k
		upper |= gather(capital&^w&high) << k
		space |= gather(blank&^w&high) << k
		if base+k+8 >= len(p) {
			break
		}
	}
	return word, upper, space
}

// gather moves the high bits of the eight bytes of m together.
func gather(m uint64) uint64 { return (m >> 7) * 0x0102040810204080 >> 56 }

// headLevel knows the lines whose very first bytes are a level: Android's and
// those of the kernel and systemd.
func headLevel(p []byte) (sev record.Severity, ok bool) {
	if len(p) < 3 {
		return 0, false
	}
	if p[1] == '/' { // E/Tag: …
		switch p[0] {
		case 'V', 'D', 'I', 'W', 'E', 'F':
			return ParseLevel(p[:1])
		}
	}
	if p[0] == '<' { // <priority>…
		for j := 1; j < len(p) && j <= 4; j++ {
			if p[j] == '>' {
				if n, ok := smallInt(p[1:j]); ok && n <= 191 {
					return syslogLevel(n & 7)
				}
			}
		}
	}
	return 0, false
}

// stripColours copies the beginning of line to dst with one ESC for each
// terminal sequence of colours and returns the length.
func stripColours(dst, line []byte) int {
	n := 0
	for i := 0; i < len(line) && n < len(dst); i++ {
		dst[n] = line[i]
		n++
		if line[i] == 0x1b && i+1 < len(line) && line[i+1] == '[' {
			for i += 2; i < len(line) && line[i] < '@'; i++ {
			}
		}
	}
	return n
}

// firstLevel looks at the first word, where any case will do: before a colon
// at the beginning of the line, or behind a timestamp.
func firstLevel(line []byte) record.Severity {
	if len(line) == 0 {
		return 0
	}
	i := 0
	if c := line[0]; c < 'A' {
		if c == ' ' || class[c]&isStamp == 0 {
			return 0
		}
		colon := false
		for i < len(line) && i < levelWindow && class[line[i]]&isStamp != 0 {
			colon = colon || line[i] == ':'
			i++
		}
		// The T of "Trace" is one of timestamps too.
		for i > 0 && class[line[i-1]]&isWord != 0 {
			i--
		}
		if !colon || i < 8 || i == len(line) || class[line[i-1]]&isBefore == 0 {
			return 0
		}
	}
	word, next := wordAt(line, i)
	if next == ':' || i > 0 && (next == ' ' || next == '\t') {
		if len(word) >= 3 {
			sev, _ := ParseLevel(word)
			return sev
		}
	}
	return 0
}

// wordAt returns the word that begins at line[i] and the byte behind it, a
// space at the line's end. Words longer than any level are cut.
func wordAt(line []byte, i int) (word []byte, next byte) {
	end := i
	for end < len(line) && end < i+16 && class[line[end]]&isWord != 0 {
		end++
	}
	if end == len(line) {
		return line[i:end], ' '
	}
	return line[i:end], line[end]
}

// levelAt returns the level that the word at line[i] is, by its shape.
func levelAt(line []byte, i int) record.Severity {
	prev := byte(' ')
	if i > 0 {
		prev = line[i-1]
	}
	if class[prev]&isBefore == 0 || class[prev]&isOpen == 0 && line[i] > 'Z' {
		return 0
	}
	word, next := wordAt(line, i)
	if len(word) < 3 || class[next]&isBehind == 0 {
		return 0
	}
	if class[prev]&isOpen == 0 || class[next]&isClose == 0 {
		if word[0] > 'Z' || word[1] > 'Z' || word[2] > 'Z' {
			return 0
		}
		// Some words in capitals are also words of prose or of a protocol.
		switch string(word) {
		case "LOG", "CONFIG", "ALERT", "FINE", "FINER", "FINEST", "FAIL", "FAILURE", "VERBOSE", "SILLY", "INFORMATIONAL":
			if next != ':' {
				return 0
			}
		}
	}
	sev, _ := ParseLevel(word)
	return sev
}

// levelBehindKey returns the level in level=info, "level":"info" and the like:
// line[:end] ends with the name.
func levelBehindKey(line []byte, end int) record.Severity {
	if end >= len(line) {
		return 0
	}
	if c := line[end]; c != '=' && c != ':' && c != '"' {
		return 0
	}
	start := end
	for start > 0 && class[line[start-1]]&isWord != 0 && end-start < 16 {
		start--
	}
	switch string(line[start:end]) {
	case "level", "lvl", "severity", "loglevel", "levelname", "Level", "LEVEL":
	default:
		return 0
	}
	if start > 0 && class[line[start-1]]&isBefore == 0 && line[start-1] != '.' && line[start-1] != ',' && line[start-1] != '{' {
		return 0
	}
	i := end
	if line[i] == '"' {
		i++
	}
	if i >= len(line) || line[i] != '=' && line[i] != ':' {
		return 0
	}
	for i++; i < len(line) && (line[i] == ' ' || line[i] == '"') && i < end+8; i++ {
	}
	word, _ := wordAt(line, i)
	sev, _ := ParseLevel(word)
	return sev
}
