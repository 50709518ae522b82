package cri

import "bytes"

// trace is where in a stack trace the last line of a record stood.
type trace uint8

const (
	noTrace    trace = iota
	logIndent        // a log line with an indented text behind it
	atLines          // java, .NET: an exception and its lines of "at …"
	nodeSource       // node: the place of an uncaught error, its source comes
	nodeCaret        // the source line, the line of carets comes
	nodeError        // the error and whatever its text is
	nodeAt           // its lines of "at …"
	nodeBlank        // an empty line; node's version comes
	pyFrames         // python: a traceback's places, the exception comes
	pyGroup          // of a group of exceptions: every line is indented
	pyEnd            // the exception
	pyBlank          // an empty line; another traceback may be announced
	pyChain          // it is
	goPanic          // go: panic, fatal error, signal
	goFrames         // functions of a goroutine
	goBlank          // an empty line; another goroutine may come
	rubyFrames       // ruby: "file:line:in …"
	traceEnd         // nothing more can come
)

// verdict says what a line is to the record before it.
type verdict uint8

const (
	starts verdict = iota // it begins a record, which may go on
	joins                 // it continues the record before
	alone                 // it is a record of its own, which nothing continues
)

// lookAt says by its first byte whether a line may be anything but the beginning of
// an ordinary record.
var lookAt = [256]bool{' ': true, '\t': true, '{': true, '}': true, '-': true, '/': true, '<': true, '^': true, '.': true,
	'C': true, 'S': true, 'T': true, 'E': true, 'U': true, 'W': true}

func init() {
	for c := 'a'; c <= 'z'; c++ {
		lookAt[c] = true
	}
}

// traceback is how Python's and old Ruby's traces begin.
const traceback = "Traceback (most recent call last):"

// look reports whether a line must be looked at closely, if the one before it is
// not in a trace.
func (m *Multiline) look(line []byte) bool {
	if m.first != nil {
		return true
	}
	n := len(line)
	return n > 0 && (lookAt[line[0]] || line[n-1] == ':' || line[n-1] == '\r')
}

// next says what line is to the record before it, of which before is the text so
// far, nil if there is none, and where in a trace it stands then. It allocates
// nothing and looks at the first bytes of both, but for the end of the line.
func (m *Multiline) next(at trace, before, line []byte) (trace, verdict) {
	if m.first != nil {
		if m.first.Match(line[:min(len(line), MaxFirst)]) {
			return noTrace, starts
		}
		return noTrace, joins
	}
	line = trimCR(line)
	if n := len(line); n > 1 && line[0] == '{' && line[n-1] == '}' {
		return noTrace, alone
	}
	if before != nil || at != noTrace {
		if to, ok := m.continues(at, before, line); ok {
			return to, joins
		}
	}
	return m.begin(line), starts
}

// begin returns where in a trace the first line of a record stands.
func (m *Multiline) begin(line []byte) trace {
	line = trimCR(line)
	if len(line) == 0 || m.first != nil {
		return noTrace
	}
	switch c := line[0]; {
	case line[len(line)-1] == ':' && m.langs&(python|ruby) != 0 && bytes.HasSuffix(line, []byte(traceback)):
		return pyTrace(line)
	case !lookAt[c]:
	case c == ' ' && m.langs&python != 0 && isPyFile(bytes.TrimLeft(line, " ")):
		return pyFrames
	case m.langs&golang != 0 && isGoPanic(line):
		return goPanic
	case m.langs&golang != 0 && isGoroutine(line):
		return goFrames
	case m.langs&(java|dotnet) != 0 && isException(line):
		return atLines
	case m.langs&node != 0 && isNodeSource(line):
		return nodeSource
	case m.langs&ruby != 0 && isRubyFrame(line):
		return rubyFrames
	}
	return noTrace
}

func pyTrace(line []byte) trace {
	if line[0] == ' ' {
		return pyGroup
	}
	return pyFrames
}

// continues reports whether line continues a record, and where in a trace it stands.
func (m *Multiline) continues(at trace, before, line []byte) (trace, bool) {
	text := bytes.TrimLeft(line, " \t")
	if len(text) == 0 {
		return emptyLine(at)
	}
	if indent := len(line) - len(text); indent > 0 {
		return m.indented(at, before, line, text, indent)
	}
	switch at {
	case atLines:
		if m.langs&java != 0 && isCause(line) || m.langs&dotnet != 0 && bytes.HasPrefix(line, []byte("--- End of ")) || len(line) == 1 && line[0] == '}' {
			return atLines, true
		}
	case nodeSource:
		return nodeCaret, true
	case nodeCaret:
		if line[0] == '^' {
			return nodeError, true
		}
	case nodeError, nodeBlank:
		if bytes.HasPrefix(line, []byte("Node.js v")) {
			return traceEnd, true
		}
		return nodeError, at == nodeError
	case nodeAt:
		return nodeAt, line[0] == '}'
	case pyFrames:
		if isPyException(line) || isRubyFrame(line) {
			return pyEnd, true
		}
	case pyBlank:
		if bytes.HasPrefix(line, []byte("During handling of the above exception")) || bytes.HasPrefix(line, []byte("The above exception was the direct cause")) {
			return pyChain, true
		}
	case pyChain:
		if bytes.HasPrefix(line, []byte(traceback)) {
			return pyFrames, true
		}
	case goPanic, goBlank, goFrames:
		if to, ok := goNext(at, line); ok {
			return to, true
		}
	case rubyFrames:
		if isRubyFrame(line) {
			return rubyFrames, true
		}
	}
	if at > logIndent || before == nil {
		return noTrace, false
	}
	// A trace that begins with this line belongs to a message of trouble before it.
	switch to := m.begin(line); {
	case to == nodeSource || to == noTrace && !(m.langs&java != 0 && isCause(line)):
		return noTrace, false
	case to == noTrace:
		return atLines, trouble(before)
	default:
		return to, trouble(before)
	}
}

// emptyLine is continues for an empty line.
func emptyLine(at trace) (trace, bool) {
	switch at {
	case nodeError, nodeCaret:
		return nodeError, true
	case nodeAt:
		return nodeBlank, true
	case pyFrames:
		return pyFrames, true // an empty line of source
	case pyEnd:
		return pyBlank, true
	case pyChain:
		return pyChain, true
	case goPanic, goFrames:
		return goBlank, true
	}
	return noTrace, false
}

// indented is continues for a line that begins with space, text without it.
func (m *Multiline) indented(at trace, before, line, text []byte, indent int) (trace, bool) {
	switch at {
	case nodeSource:
		return nodeCaret, true
	case nodeCaret:
		return nodeError, text[0] == '^'
	case nodeError, nodeAt:
		return nodeAt, true
	case pyFrames, pyGroup, atLines, rubyFrames, logIndent:
		return at, at != logIndent || !startsWithTime(text)
	case goPanic, goFrames:
		if line[0] == '\t' {
			return at, true
		}
	}
	if before == nil {
		return noTrace, false
	}
	switch c := text[0]; {
	case c == 'a' && m.langs&(java|node|dotnet) != 0 && isAt(text),
		c == '.' && m.langs&java != 0 && isMore(text),
		c == '-' && m.langs&dotnet != 0 && isInner(text),
		(c == 'C' || c == 'S') && m.langs&java != 0 && isCause(text):
		return atLines, true
	case m.langs&ruby != 0 && isRubyFrom(text):
		return rubyFrames, true
	case m.langs&python != 0 && (c == '+' && bytes.HasSuffix(text, []byte(traceback)) || c == 'F' && isPyFile(text)):
		if trouble(before) {
			return pyTrace(line), true
		}
		return noTrace, false
	}
	if at == noTrace && (indent > 1 || line[0] == '\t') && likeLog(before) && !startsWithTime(text) {
		return logIndent, true
	}
	return noTrace, false
}

// goNext is continues in what Go writes when it dies.
func goNext(at trace, line []byte) (trace, bool) {
	switch {
	case isGoroutine(line), bytes.HasPrefix(line, []byte("runtime stack:")):
		return goFrames, true
	case bytes.HasPrefix(line, []byte("exit status ")):
		return traceEnd, true
	}
	switch at {
	case goPanic:
		if line[0] == '[' || isGoPanic(line) || bytes.HasPrefix(line, []byte("runtime")) || bytes.HasPrefix(line, []byte("PC=")) {
			return goPanic, true
		}
	case goFrames:
		if isGoFunction(line) || bytes.HasPrefix(line, []byte("created by ")) || bytes.HasPrefix(line, []byte("...")) || bytes.HasPrefix(line, []byte("[originating from ")) {
			return goFrames, true
		}
	case goBlank:
		if isRegister(line) {
			return goBlank, true
		}
	}
	return noTrace, false
}

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}
