package line

import (
	"bytes"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire/json"
)

// parsed is what a line says.
type parsed struct {
	// structured says that the line has one of the formats; else it is all
	// message.
	structured bool
	message    []byte
	name       []byte // of the message
	rank       int    // of that name; 0 if there is no message
	severity   record.Severity
	pieces     []piece
}

// piece is a key and its value.
type piece struct {
	parent, key []byte // parent is the object that the key stands in, if any
	val         []byte
	kind        pieceKind
	severity    record.Severity // what a level means; 0 for other pieces
	hidden      bool            // it says what stands before the line
	number      bool            // a level again, as a number: hidden if there is a word
}

type pieceKind uint8

const (
	text   pieceKind = iota // a string, its escapes resolved
	scalar                  // a number, true, false, null
	nested                  // an object or array
)

func (l *parsed) reset() { *l = parsed{pieces: l.pieces[:0]} }

// parse finds out what a body is: its first byte tells what it may be.
func (p *Painter) parse(body []byte) {
	l := &p.line
	if n := len(body); n > 0 && body[n-1] == '\n' {
		body = body[:n-1]
	}
	if n := len(body); n > 0 && body[n-1] == '\r' {
		body = body[:n-1]
	}
	at := 0
	for at < len(body) && body[at] == ' ' {
		at++
	}
	if at < len(body) {
		ok := false
		switch c := body[at]; {
		case c == '{':
			ok = p.object(body[at:])
		case at > 0:
		case c-'0' <= 9:
			ok = p.console(body)
		case (c == 'I' || c == 'W' || c == 'E' || c == 'F') && len(body) > 1 && body[1]-'0' <= 9:
			ok = p.klog(body)
		case c|0x20-'a' < 26 || c == '@' || c == '_':
			ok = p.logfmt(body)
		}
		if ok {
			l.structured = true
			return
		}
		l.reset()
	}
	l.message = body
}

// role is what a key stands for.
type role uint8

const (
	other role = iota
	timeRole
	levelRole
	messageRole
	versionRole // of a format
	schemaRole  // an object with the version of a format
	numberRole  // a level as a number, usually beside its word
	unfolded    // an object whose members are shown one by one
)

// roleOf returns what a key of the line itself stands for, and for messages
// their rank: several may be there, and the highest is it.
func roleOf(key []byte) (role, int) {
	switch string(key) {
	case "msg":
		return messageRole, 12
	case "message":
		return messageRole, 11
	case "@m":
		return messageRole, 10
	case "_msg", "@message", "Message", "MESSAGE":
		return messageRole, 9
	case "short_message", "textPayload":
		return messageRole, 8
	case "@mt", "body":
		return messageRole, 7
	case "log":
		return messageRole, 6
	case "event": // structlog's
		return messageRole, 5
	case "ts", "time", "timestamp", "@timestamp", "_time", "t", "@t", "datetime", "date", "eventTime", "Timestamp", "asctime":
		return timeRole, 0
	case "level", "severity", "lvl", "loglevel", "logLevel", "log.level", "log_level", "levelname", "severity_text", "severityText", "Level", "LogLevel", "@l", "priority", "s":
		return levelRole, 0
	case "@version", "ecs.version":
		return versionRole, 0
	case "ecs":
		return schemaRole, 0
	case "level_value", "levelno":
		return numberRole, 0
	case "err", "error", "exception", "fields":
		return unfolded, 0
	}
	return other, 0
}

// isError reports whether a key tells what went wrong.
func isError(key []byte) bool {
	switch string(key) {
	case "err", "error", "exception", "cause", "error.message", "errorMessage", "exc":
		return true
	}
	return false
}

// isStack reports whether a key with several rows needs no heading.
func isStack(key []byte) bool {
	switch string(key) {
	case "stack", "stacktrace", "stackTrace", "stack_trace", "error.stack_trace", "error.stack", "exception", "exc_info", "traceback", "thrown", "@x", "errorVerbose", "exception.stacktrace":
		return true
	}
	return false
}

// object takes a line apart that is one JSON object.
func (p *Painter) object(line []byte) bool {
	r := &p.reader
	r.Reset(line)
	p.members(line, nil)
	return r.End()
}

// members takes an object apart that is part of line, and that stands under
// parent.
func (p *Painter) members(line, parent []byte) {
	r := &p.reader
	r.Enter('{')
	for {
		name, esc, more := r.Name()
		if !more {
			return
		}
		key := line[name.Off:name.End()]
		if esc {
			key = p.unescape(key)
		}
		switch kind := r.Kind(); kind {
		case '"':
			s, esc, ok := r.String()
			if !ok {
				return
			}
			val := line[s.Off:s.End()]
			if esc {
				val = p.unescape(val)
			}
			p.add(parent, key, val, text)
		case '{', '[':
			mark := r.Mark()
			s, ok := r.Skip()
			if !ok {
				return
			}
			val := line[s.Off:s.End()]
			if kind == '{' && parent == nil && unfold(key, val) {
				r.Return(mark)
				p.members(line, key)
				continue
			}
			p.add(parent, key, val, nested)
		default:
			s, _, ok := r.Scalar()
			if !ok {
				return
			}
			p.add(parent, key, line[s.Off:s.End()], scalar)
		}
	}
}

// unfold reports whether an object's members are to be shown one by one: those
// of errors, of a level, of Rust's fields, and where there are texts with
// several rows.
func unfold(key, val []byte) bool {
	if len(bytes.TrimSpace(val[1:len(val)-1])) == 0 {
		return false // nothing of it would be there
	}
	if r, rank := roleOf(key); r == unfolded || r == messageRole && rank == 6 {
		return true
	}
	return bytes.Contains(val, []byte(`\n`))
}

func (p *Painter) unescape(s []byte) []byte {
	n := len(p.text)
	p.text = json.Unescape(p.text, s)
	return p.text[n:len(p.text):len(p.text)]
}

// add adds a piece, or makes it what its key says.
func (p *Painter) add(parent, key, val []byte, kind pieceKind) {
	l := &p.line
	what, rank := other, 0
	switch {
	case parent == nil:
		what, rank = roleOf(key)
	case string(parent) == "fields" && string(key) == "message":
		what, rank = messageRole, 4
	case string(parent) == "log" && string(key) == "level":
		what = levelRole
	}
	pc := piece{parent: parent, key: key, val: val, kind: kind}
	switch what {
	case messageRole:
		if kind != text {
			break
		}
		if rank > l.rank {
			if l.rank > 0 { // what was it is a piece like others
				l.pieces = append(l.pieces, piece{key: l.name, val: l.message})
			}
			l.message, l.name, l.rank = val, key, rank
			return
		}
	case timeRole:
		switch {
		case kind == nested:
			if date, kind, ok := p.descend(val, dateKey); ok && kind == text { // MongoDB's
				ns, zoned, ok := p.stamps.Parse(date)
				pc.hidden = ok && p.isNow(ns, zoned)
			}
		case len(val) > 0:
			ns, zoned, ok := p.stamps.Parse(val)
			pc.hidden = ok && p.isNow(ns, zoned)
		}
	case levelRole:
		if kind != nested {
			if sev, ok := levelOf(key, val); ok {
				pc.severity = sev
				if l.severity == 0 {
					l.severity = sev
				}
			}
		}
	case versionRole:
		pc.hidden = kind != nested
	case schemaRole:
		pc.hidden = kind == nested && onlyVersion(val)
	case numberRole:
		pc.number = true
	}
	l.pieces = append(l.pieces, pc)
}

// onlyVersion reports whether an object has a version and nothing else.
func onlyVersion(object []byte) bool {
	var r json.Reader
	r.Reset(object)
	r.Enter('{')
	for {
		name, _, more := r.Name()
		if !more {
			return true
		}
		if string(object[name.Off:name.End()]) != "version" {
			return false
		}
		if _, ok := r.Skip(); !ok {
			return false
		}
	}
}

// usualLevel reports whether a level says nothing but what is shown for it: one of
// the usual words, or bunyan's and syslog's numbers. Others stay to be seen.
func usualLevel(val []byte) bool {
	var buf [13]byte
	word := bytes.TrimSpace(val)
	if len(word) > len(buf) {
		return false
	}
	for i, c := range word {
		if c-'A' < 26 {
			c |= 0x20
		}
		buf[i] = c
	}
	switch string(buf[:len(word)]) {
	case "trace", "trc", "t", "debug", "dbg", "d", "info", "inf", "i", "information", "informational",
		"warn", "warning", "wrn", "w", "error", "err", "e", "severe", "fatal", "ftl", "f", "critical", "crit", "c",
		"10", "20", "30", "40", "50", "60", "3", "4", "6", "7":
		return true
	}
	return false
}

func levelOf(key, val []byte) (record.Severity, bool) {
	if sev, ok := stage.NamedLevel(key, val); ok {
		return sev, ok
	}
	if len(val) > 0 && val[0] > '9' && string(key) != "priority" {
		return stage.ParseLevel(val)
	}
	return 0, false
}

// isNow reports whether a time is the one that stands before the line: within
// two seconds, as runtimes see lines later than programs write them. Without a
// zone it may be off by one.
func (p *Painter) isNow(ns int64, zoned bool) bool {
	const slack, quarter = 2e9, 900e9
	d := ns - p.now
	if d < 0 {
		d = -d
	}
	if zoned || d < slack {
		return d >= 0 && d < slack
	}
	return d < 15*3600e9 && (d+slack)%quarter < 2*slack
}

// logfmt takes a line apart that is all key=value.
func (p *Painter) logfmt(line []byte) bool {
	for i, c := range line[:min(len(line), 48)] {
		if c <= ' ' || c == '"' || c == ':' {
			return false
		}
		if c == '=' {
			return i > 0 && p.pairs(line, 3)
		}
	}
	return false
}

// pairs takes key=value apart. There must be a message, a level, or least of
// them, and nothing else.
func (p *Painter) pairs(line []byte, least int) bool {
	n := 0
	for i := 0; ; n++ {
		for i < len(line) && line[i] <= ' ' {
			i++
		}
		start := i
		for i < len(line) && line[i] > ' ' && line[i] != '=' && line[i] != '"' {
			i++
		}
		if i == len(line) && i == start {
			break
		}
		if i == start || i == len(line) || line[i] != '=' {
			return false
		}
		key := line[start:i]
		i++
		if i == len(line) || line[i] != '"' {
			start = i
			for i < len(line) && line[i] > ' ' {
				i++
			}
			p.add(nil, key, line[start:i], text)
			continue
		}
		val, end := p.quoted(line, i)
		if end < 0 || end < len(line) && line[end] > ' ' {
			return false
		}
		i = end
		p.add(nil, key, val, text)
	}
	return n >= least || n > 0 && (p.line.rank > 0 || p.line.severity > 0)
}

// quoted returns the text in the quotes at line[i], and where it ends; a
// negative end if it does not.
func (p *Painter) quoted(line []byte, i int) (val []byte, end int) {
	esc := false
	for end = i + 1; end < len(line) && line[end] != '"'; end++ {
		if line[end] == '\\' {
			esc = true
			end++
		}
	}
	if end >= len(line) {
		return nil, -1
	}
	val = line[i+1 : end]
	if esc {
		val = p.unescape(val)
	}
	return val, end + 1
}
