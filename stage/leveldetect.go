package stage

import (
	"encoding/binary"
	"math/bits"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// DetectLevels finds the severity of the records of b that have none, for
// batches that no parse step sees: pushes. Pieces of split lines, and what weir
// wrote itself, are left alone.
func DetectLevels(b *record.Batch) {
	recs := b.Records()
	buf := b.Buf()
	for i := range recs {
		r := &recs[i]
		if r.Severity == record.Unknown && r.Flags&(skip|record.Partial|record.Continued) == 0 {
			r.Severity = DetectSeverity(buf[r.Body.Off:r.Body.End()])
		}
	}
}

// DetectSeverity returns the severity that a line says of itself, Unknown if it
// says none. In this order, the first that says one:
//
//   - of a JSON object, the first top-level member that is called level,
//     severity, lvl, loglevel, levelname, severity_text (in any case; log.level and
//     log_level too, and level in an object log) and holds a level's name or
//     number, else a member priority, else what follows here in the text of its
//     message (msg, message, log, in this order);
//   - klog's letter;
//   - of logfmt, the pair level, lvl, severity, loglevel or log.level;
//   - a level in a shape that logging libraries write it in (see textLevel), in
//     the first 96 bytes;
//   - the first of the words error, err, warn, warning, info, debug, fatal and
//     critical in the first 256 bytes, in any case, that is neither part of a word,
//     a path or a name, nor the name of a value.
//
// The last makes prose of lines without a level what a reader takes it for, as
// Loki does; the parse step of a pipeline does not go so far. How they differ
// is in docs/push.md.
func DetectSeverity(line []byte) record.Severity {
	for len(line) > 0 && line[0] <= ' ' && line[0] != 0x1b { // colours stay whole
		line = line[1:]
	}
	if len(line) == 0 {
		return record.Unknown
	}
	switch c := line[0]; {
	case c == '{':
		return jsonLevel(line)
	case c == 'I' || c == 'W' || c == 'E' || c == 'F':
		if h, ok := parseKlog(line); ok {
			return h.severity
		}
	}
	return lineLevel(line)
}

// lineLevel is DetectSeverity for text.
func lineLevel(line []byte) record.Severity {
	if sev := logfmtLevel(line); sev != 0 {
		return sev
	}
	return scanLevel(line, true)
}

// maxJSON is how much of a JSON object is looked at, in bytes.
const maxJSON = 16 << 10

// jsonLevel walks the top-level members up to a level.
func jsonLevel(line []byte) record.Severity {
	text := line[:min(len(line), maxJSON)]
	var r json.Reader
	r.Reset(text)
	var priority record.Severity
	var message []byte
	rank := len(messageKeys) // of message
	r.Enter('{')
	for {
		name, esc, more := r.Name()
		if !more {
			break
		}
		key := text[name.Off:name.End()]
		what := levelName(key)
		kind := r.Kind()
		switch {
		case esc || kind == '[' || kind == '{' && string(key) != "log":
			r.Skip()
		case kind == '{':
			if sev := nestedLevel(&r, text); sev != 0 {
				return sev
			}
		case kind == '"':
			val, esc, ok := r.String()
			if !ok {
				break
			}
			v := text[val.Off:val.End()]
			if what != noLevel && !esc {
				if sev, ok := valueLevel(v, what); ok {
					if what != priorityLevel {
						return sev
					}
					if priority == 0 {
						priority = sev
					}
				}
				break
			}
			for k := range rank {
				if string(key) == messageKeys[k] {
					message, rank = v, k
				}
			}
		default:
			val, _, ok := r.Scalar()
			if ok && what != noLevel {
				if sev, ok := valueLevel(text[val.Off:val.End()], what); ok {
					if what != priorityLevel {
						return sev
					}
					if priority == 0 {
						priority = sev
					}
				}
			}
		}
	}
	switch {
	case priority != 0:
		return priority
	case r.Err() != nil && len(text) == len(line):
		return textLevel(line) // something that only begins like an object
	case message != nil:
		return lineLevel(message)
	}
	return record.Unknown
}

var messageKeys = [...]string{"msg", "message", "log"}

// nestedLevel looks for the level in the object log, as ECS writes it.
func nestedLevel(r *json.Reader, text []byte) (sev record.Severity) {
	r.Enter('{')
	for {
		name, _, more := r.Name()
		if !more {
			return sev
		}
		if string(text[name.Off:name.End()]) != "level" || r.Kind() != '"' {
			r.Skip()
			continue
		}
		if val, _, ok := r.String(); ok {
			if l, ok := valueLevel(text[val.Off:val.End()], wordOrNumber); ok {
				sev = l
			}
		}
	}
}

// levelKind is how the value under a level's name is to be read.
type levelKind uint8

const (
	noLevel levelKind = iota
	wordOrNumber
	syslogNumber  // numbers below 8 are syslog's
	priorityLevel // the same, but many mean something else by the name
)

// levelName reports what a name of a JSON member says of its value.
func levelName(name []byte) levelKind {
	if len(name) < 3 || len(name) > 13 {
		return noLevel
	}
	if c := name[0] | 0x20; c != 'l' && c != 's' && c != 'p' {
		return noLevel
	}
	var lower [13]byte
	for i, c := range name {
		if c-'A' <= 'Z'-'A' {
			c |= 0x20
		}
		lower[i] = c
	}
	switch string(lower[:len(name)]) {
	case "level", "lvl", "loglevel", "log.level", "log_level", "levelname", "severity_text", "severitytext":
		return wordOrNumber
	case "severity":
		return syslogNumber
	case "priority":
		return priorityLevel
	}
	return noLevel
}

// valueLevel parses a level, a word or a number.
func valueLevel(val []byte, kind levelKind) (record.Severity, bool) {
	if len(val) == 0 {
		return 0, false
	}
	if val[0] > '9' {
		return ParseLevel(val)
	}
	n, ok := smallInt(val)
	if !ok {
		return 0, false
	}
	if sev, ok := numberLevel(n); ok {
		return sev, true
	}
	if kind >= syslogNumber {
		return syslogLevel(n)
	}
	return 0, false
}

// logfmtLevel returns the level of a line that begins as logfmt.
func logfmtLevel(line []byte) record.Severity {
	if !beginsWithKey(line) {
		return 0
	}
	for at := 0; at < len(line) && at < logfmtWindow; {
		kv, next, ok := nextPair(line, at)
		if !ok {
			return 0
		}
		at = next
		if kv.bare {
			continue
		}
		if k := line[kv.key.Off:kv.key.End()]; levelName(k) == wordOrNumber || string(k) == "severity" {
			if sev, ok := valueLevel(line[kv.val.Off:kv.val.End()], wordOrNumber); ok {
				return sev
			}
		}
	}
	return 0
}

// wordWindow is how far into a line a word of prose is looked for, in bytes.
const wordWindow = 256

// wordLevel returns the level that the first of some words from line[from] on
// is; no word begins before and ends behind.
func wordLevel(line []byte, from int) record.Severity {
	n := min(len(line), wordWindow)
	before := uint64(0) // the last byte of the block before, in bit 0
	if from > 0 && from < n && class[line[from-1]]&isWord != 0 {
		before = 1
	}
	for base := from; base < n; base += 64 {
		word := wordBits(line[:n], base)
		if sev := firstWord(line, base, word&^(word<<1|before)); sev != 0 {
			return sev
		}
		before = word >> 63
	}
	return 0
}

// wordBits is the first result of classify.
func wordBits(p []byte, base int) (word uint64) {
	const (
		low7 = 0x7f * ones
		high = 0x80 * ones
	)
	for k := 0; k < 64 && base+k < len(p); k += 8 {
		var w uint64
		if rest := p[base+k:]; len(rest) >= 8 {
			w = binary.LittleEndian.Uint64(rest)
		} else {
			for j := len(rest) - 1; j >= 0; j-- {
				w = w<<8 | uint64(rest[j])
			}
		}
		seven := w & low7
		x := seven | 0x20*ones
		letter := (x+(0x80-'a')*ones)&^(x+(0x7f-'z')*ones) | (x + ones)
		digit := (seven + (0x80-'0')*ones) &^ (seven + (0x7f-'9')*ones)
		word |= gather((letter|digit)&^w&high) << k
	}
	return word
}

// firstWord returns the level that the first of some words is, of those that
// begin at the bits of starts behind line[base].
func firstWord(line []byte, base int, starts uint64) record.Severity {
	for ; starts != 0; starts &= starts - 1 {
		i := base + bits.TrailingZeros64(starts)
		if i >= len(line) {
			return 0
		}
		if c := line[i]&^0x20 - 'A'; c > 'Z'-'A' || wordInitials>>c&1 == 0 {
			continue
		}
		if sev := wordAtLevel(line, i); sev != 0 {
			return sev
		}
	}
	return 0
}

// wordInitials has a bit for each letter that a word of wordAtLevel begins with.
const wordInitials = 1<<('E'-'A') | 1<<('W'-'A') | 1<<('I'-'A') | 1<<('D'-'A') | 1<<('F'-'A') | 1<<('C'-'A')

// wordAtLevel returns the level that the word at line[i] is by itself.
func wordAtLevel(line []byte, i int) (sev record.Severity) {
	var w uint64 // the first eight bytes as small letters
	if i+8 <= len(line) {
		w = binary.LittleEndian.Uint64(line[i:])
	} else {
		for k := len(line) - 1; k >= i; k-- {
			w = w<<8 | uint64(line[k])
		}
	}
	w |= 0x20 * ones
	n := 0
	switch {
	case w&(1<<40-1) == 'e'|'r'<<8|'r'<<16|'o'<<24|'r'<<32:
		n, sev = 5, record.Error
	case w&(1<<24-1) == 'e'|'r'<<8|'r'<<16:
		n, sev = 3, record.Error
	case w&(1<<56-1) == 'w'|'a'<<8|'r'<<16|'n'<<24|'i'<<32|'n'<<40|'g'<<48:
		n, sev = 7, record.Warn
	case w&(1<<32-1) == 'w'|'a'<<8|'r'<<16|'n'<<24:
		n, sev = 4, record.Warn
	case w&(1<<32-1) == 'i'|'n'<<8|'f'<<16|'o'<<24:
		n, sev = 4, record.Info
	case w&(1<<40-1) == 'd'|'e'<<8|'b'<<16|'u'<<24|'g'<<32:
		n, sev = 5, record.Debug
	case w&(1<<40-1) == 'f'|'a'<<8|'t'<<16|'a'<<24|'l'<<32:
		n, sev = 5, record.Fatal
	case w == 'c'|'r'<<8|'i'<<16|'t'<<24|'i'<<32|'c'<<40|'a'<<48|'l'<<56:
		n, sev = 8, record.Fatal
	default:
		return 0
	}
	if i+n > len(line) {
		return 0
	}
	if i > 0 && class[line[i-1]]&isBefore == 0 {
		// Laravel's "local.ERROR: …" is the one level behind a dot.
		if line[i-1] == '.' && line[i] <= 'Z' && i+n < len(line) && line[i+n] == ':' {
			return sev
		}
		return 0
	}
	if i+n == len(line) {
		return sev
	}
	// Part of a word, a path or a name, or the name of a value?
	switch c := line[i+n]; {
	case class[c]&isWord != 0, c == '=', c == '/', c == '-', c >= 0x80:
		return 0
	case c == '.': // at the end of a sentence
		if i+n+1 < len(line) && line[i+n+1] > ' ' {
			return 0
		}
	case c == '"':
		if i+n+1 < len(line) && line[i+n+1] == ':' {
			return 0
		}
	}
	return sev
}

// NamedLevel returns the severity that a label, attribute or structured metadata
// of that name and value says; ok is false if it says none.
func NamedLevel(name, value []byte) (sev record.Severity, ok bool) {
	if len(name) == 0 {
		return 0, false
	}
	if c := name[0] | 0x20; c != 'l' && c != 's' && c != 'd' {
		return 0, false
	}
	switch string(name) {
	case "detected_level":
		return ParseLevel(value)
	case "severity_number": // OpenTelemetry's
		n, ok := smallInt(value)
		return record.Severity(n), ok && n >= 1 && n <= 24
	}
	if what := levelName(name); what == wordOrNumber || what == syslogNumber {
		return valueLevel(value, what)
	}
	return 0, false
}
