package stage

import "github.com/weirlog/weir/record"

// levelWindow is how far into a line of text a level is looked for, in bytes.
const levelWindow = 80

const (
	isWord   = 1 << iota // letters, digits, underscore
	isBefore             // may stand before a level
	isBehind             // may stand behind a level
	isOpen               // brackets and what else encloses a level
	isClose
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
	set("[(<|", isOpen)
	set("])>|", isClose)
	return t
}()

// textLevel looks for the level of a line of plain text, in its first bytes
// and only in the shapes that logging libraries write: a word in capitals
// between spaces or punctuation, any case in brackets, after "level=", before
// a colon at the beginning of the line, or right behind a leading timestamp.
// A word of prose is no level, and neither is a part of a longer word.
func textLevel(line []byte) record.Severity {
	p := line
	if len(p) > levelWindow {
		p = p[:levelWindow]
	}
	if len(p) > 2 {
		switch {
		case p[1] == '/': // Android: E/Tag: …
			switch p[0] {
			case 'V', 'D', 'I', 'W', 'E', 'F':
				sev, _ := ParseLevel(p[:1])
				return sev
			}
		case p[0] == '<': // syslog priority, as the kernel and systemd take it
			for j := 1; j < len(p) && j <= 4; j++ {
				if p[j] == '>' {
					if n, ok := smallInt(p[1:j]); ok && n <= 191 {
						sev, _ := syslogLevel(n & 7)
						return sev
					}
				}
			}
		}
	}
	prose := false // a word has gone by
	colon := false // and a colon, as in a time of day
	prev := byte(' ')
	for i := 0; i < len(p); {
		c := p[i]
		if class[c]&isWord == 0 {
			if c == 0x1b && i+1 < len(p) && p[i+1] == '[' {
				// A colour: up to its final letter.
				for i += 2; i < len(p) && p[i] < '@'; i++ {
				}
			}
			colon = colon || c == ':'
			prev = c
			i++
			continue
		}
		start := i
		for i++; i < len(p) && class[p[i]]&isWord != 0; i++ {
		}
		if c <= '9' {
			continue // part of a date or number
		}
		next := byte(' ')
		if i < len(line) {
			next = line[i]
		}
		word := p[start:i]
		if class[prev]&isBefore != 0 && class[next]&isBehind != 0 && len(word) >= 3 {
			if sev := wordLevel(word, prev, next, start == 0, colon && !prose); sev != 0 {
				return sev
			}
		}
		if (next == '=' || next == ':' || next == '"') && isLevelKey(word) {
			if sev := valueLevel(line[i:]); sev != 0 {
				return sev
			}
		}
		// T, Z and UTC belong to the timestamp before them.
		prose = prose || len(word) > 1 && string(word) != "UTC" && string(word) != "GMT"
	}
	return 0
}

// wordLevel decides on one word by its shape. stamped says that nothing but a
// timestamp stands before it.
func wordLevel(word []byte, prev, next byte, first, stamped bool) record.Severity {
	enclosed := class[prev]&isOpen != 0 && class[next]&isClose != 0 || prev == ':' && next == ']' || prev == '\t' && next == '\t'
	switch {
	case enclosed, first && next == ':', stamped && (next == ' ' || next == '\t' || next == ':'):
	case word[0] <= 'Z' && word[1] <= 'Z' && word[2] <= 'Z':
		// Some words in capitals are also words of prose or of a protocol.
		switch word[0] {
		case 'L', 'C', 'A', 'F', 'V', 'N', 'P':
			if next != ':' && string(word) != "FATAL" && string(word) != "CRITICAL" && string(word) != "CRIT" && string(word) != "NOTICE" && string(word) != "PANIC" {
				return 0
			}
		}
	default:
		return 0
	}
	sev, _ := ParseLevel(word)
	return sev
}

func isLevelKey(word []byte) bool {
	switch string(word) {
	case "level", "lvl", "severity", "loglevel", "levelname", "Level", "LEVEL":
		return true
	}
	return false
}

// valueLevel parses the level that follows the name of one: p begins behind
// the name.
func valueLevel(p []byte) record.Severity {
	i := 0
	if i < len(p) && p[i] == '"' {
		i++
	}
	if i >= len(p) || p[i] != '=' && p[i] != ':' {
		return 0
	}
	for i++; i < len(p) && (p[i] == ' ' || p[i] == '"'); i++ {
	}
	start := i
	for i < len(p) && i < start+16 && class[p[i]]&isWord != 0 {
		i++
	}
	sev, _ := ParseLevel(p[start:i])
	return sev
}
