package line

import (
	"bytes"
	"time"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
)

var (
	callerKey = []byte("caller")
	loggerKey = []byte("logger")
	stackKey  = []byte("stacktrace")
	timeKey   = []byte("time")
	levelKey  = []byte("level")
	dateKey   = []byte("$date")
	pidKey    = []byte("pid")
)

// klogLevels are klog's letters in the words of the label level.
var klogLevels = [128]string{'I': "info", 'W': "warn", 'E': "error", 'F': "fatal"}

// klog takes a line apart that begins as klog's do:
//
//	Lmmdd hh:mm:ss.uuuuuu threadid file:line] msg
//
// https://github.com/kubernetes/klog (klog.go, formatHeader)
func (p *Painter) klog(line []byte) bool {
	if len(line) < 25 || line[5] != ' ' || line[8] != ':' || line[11] != ':' || line[14] != '.' {
		return false
	}
	month, ok1 := twoDigits(line[1:])
	day, ok2 := twoDigits(line[3:])
	hour, ok3 := twoDigits(line[6:])
	minute, ok4 := twoDigits(line[9:])
	second, ok5 := twoDigits(line[12:])
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		return false
	}
	end := bytes.IndexByte(line[:min(len(line), 256)], ']')
	if end < 0 {
		return false
	}
	space := bytes.LastIndexByte(line[:end], ' ')
	caller := line[space+1 : end]
	if space < 21 || bytes.IndexByte(caller, ':') <= 0 || !digits(line[15:21]) {
		return false
	}
	pid := bytes.Trim(line[21:space], " ")
	if !digits(pid) {
		return false
	}
	l := &p.line
	switch line[0] {
	case 'I':
		l.severity = record.Info
	case 'W':
		l.severity = record.Warn
	case 'E':
		l.severity = record.Error
	default:
		l.severity = record.Fatal
	}
	year := time.Unix(0, p.now).UTC().Year()
	if at := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC).UnixNano(); !p.isNow(at, false) {
		l.pieces = append(l.pieces, piece{key: timeKey, val: line[1:21]})
	}
	l.pieces = append(l.pieces, piece{key: levelKey, val: bytesOf(klogLevels[line[0]]), severity: l.severity})
	if string(pid) != "1" { // the only one in its container
		l.pieces = append(l.pieces, piece{key: pidKey, val: pid})
	}
	l.pieces = append(l.pieces, piece{key: callerKey, val: caller})
	rest := bytes.TrimPrefix(line[end+1:], []byte(" "))
	if len(rest) > 0 && rest[0] == '"' { // "message" key="value"
		n := len(l.pieces)
		if val, end := p.quoted(rest, 0); end > 0 && p.pairs(rest[end:], 0) {
			l.message, l.rank = val, 1
			return true
		}
		l.pieces = l.pieces[:n]
	}
	l.message, l.rank = rest, 1
	return true
}

func digits(p []byte) bool {
	for _, c := range p {
		if c-'0' > 9 {
			return false
		}
	}
	return len(p) > 0
}

func twoDigits(p []byte) (int, bool) {
	a, b := p[0]-'0', p[1]-'0'
	return int(a)*10 + int(b), a <= 9 && b <= 9
}

// console takes a line apart that zap's console encoder wrote: time, level, and
// perhaps logger and caller, a message and a JSON object, with tabs between
// them; a stack trace may follow in further rows.
func (p *Painter) console(line []byte) bool {
	head, stack, _ := bytes.Cut(line, []byte("\n"))
	when, rest, ok := bytes.Cut(head, []byte("\t"))
	if !ok || len(when) > 40 {
		return false
	}
	level, rest, ok := bytes.Cut(rest, []byte("\t"))
	if !ok {
		return false
	}
	for n := sgrLen(level); n > 0; n = sgrLen(level) {
		level = level[n:]
	}
	if i := bytes.IndexByte(level, 0x1b); i >= 0 {
		level = level[:i]
	}
	ns, zoned, ok1 := p.stamps.Parse(when)
	sev, ok2 := stage.ParseLevel(level)
	if !ok1 || !ok2 {
		return false
	}
	l := &p.line
	l.severity = sev
	l.pieces = append(l.pieces, piece{key: timeKey, val: when, hidden: p.isNow(ns, zoned)}, piece{key: levelKey, val: level, severity: sev})
	// What stands before a caller is the logger's name.
	for i, at := 0, rest; i < 2; i++ {
		word, after, more := bytes.Cut(at, []byte("\t"))
		if !more {
			break
		}
		if isCaller(word) {
			if i == 1 {
				name, _, _ := bytes.Cut(rest, []byte("\t"))
				l.pieces = append(l.pieces, piece{key: loggerKey, val: name})
			}
			l.pieces = append(l.pieces, piece{key: callerKey, val: word})
			rest = after
			break
		}
		at = after
	}
	l.message, l.rank = rest, 100 // the object's own message is a piece
	if i := bytes.LastIndexByte(rest, '\t'); i >= 0 && i+1 < len(rest) && rest[i+1] == '{' {
		n := len(l.pieces)
		if p.object(rest[i+1:]) {
			l.message = rest[:i]
		} else {
			l.pieces = l.pieces[:n]
		}
	}
	if len(stack) > 0 {
		l.pieces = append(l.pieces, piece{key: stackKey, val: stack})
	}
	l.severity = sev
	return true
}

// isCaller reports whether a word is a file and a line.
func isCaller(word []byte) bool {
	i := bytes.LastIndexByte(word, ':')
	return i > 0 && i+1 < len(word) && word[i+1]-'0' <= 9 && bytes.IndexByte(word, ' ') < 0
}

// stampLen returns the length of the timestamp that a line of text begins with,
// 0 if it begins with none.
func stampLen(line []byte) int {
	if len(line) < 15 || line[0]-'0' > 9 && line[0] != '[' {
		return 0
	}
	colons, end := 0, 0
	for i, c := range line[:min(len(line), 40)] {
		switch {
		case c-'0' <= 9, c == 'Z' && i > 8:
			end = i + 1
		case c == ']' && line[0] == '[':
			end = i + 1
		case c == ':':
			colons++
		case c == 'T' && (i == 10 || i == 11), c == ' ', c == '-', c == '.', c == ',', c == '/', c == '+', c == '[' && i == 0:
		default:
			if c > ' ' && end == i { // part of a word
				return 0
			}
			if colons < 2 {
				return 0
			}
			return end
		}
	}
	return 0
}

// said returns the length of the time and the level that a line of text begins
// with, as Python's and Java's libraries write them, if both stand before the line
// already and something follows; else 0.
func (p *Painter) said(line []byte, sev record.Severity) int {
	stamp := stampLen(line)
	if stamp < len("2006-01-02 15:04:05") || sev == 0 {
		return 0
	}
	start := stamp
	for start < len(line) && line[start] == ' ' {
		start++
	}
	end := start
	for end < len(line) && line[end] != ' ' {
		end++
	}
	word, rest := line[start:end], bytes.TrimLeft(line[end:], " ")
	if start == stamp || len(rest) == 0 || rest[0] <= ' ' {
		return 0
	}
	if n := len(word); n > 2 && word[0] == '[' && word[n-1] == ']' {
		word = word[1 : n-1]
	}
	if len(word) < 4 || !usualLevel(word) || bytes.ContainsAny(word, "abcdefghijklmnopqrstuvwxyz") {
		return 0
	}
	when := bytes.TrimSuffix(bytes.TrimPrefix(line[:stamp], []byte("[")), []byte("]"))
	level, ok := stage.ParseLevel(word)
	ns, zoned, timed := p.stamps.Parse(when)
	if !ok || !timed || levelIndex(level) != levelIndex(sev) || !p.isNow(ns, zoned) {
		return 0
	}
	return len(line) - len(rest)
}
