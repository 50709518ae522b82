package cri

import "bytes"

// The lines that stack traces consist of. Each function looks at one line, without
// its end.

// isAt: "at a.b.C.d(C.java:1)", "at async f (file:///x.js:1:2)", "at A.B() in C:\x.cs:line 1".
func isAt(text []byte) bool {
	return len(text) > 4 && text[1] == 't' && text[2] == ' ' && text[3] != ' ' && bytes.ContainsAny(text[3:min(len(text), 512)], "(:.")
}

// isMore: "... 12 more", "... 12 common frames omitted".
func isMore(text []byte) bool {
	rest, ok := bytes.CutPrefix(text, []byte("... "))
	return ok && len(rest) > 0 && isDigit(rest[0])
}

// isCause: "Caused by: …", "Suppressed: …", "Wrapped by: …".
func isCause(text []byte) bool {
	return bytes.HasPrefix(text, []byte("Caused by: ")) || bytes.HasPrefix(text, []byte("Suppressed: ")) || bytes.HasPrefix(text, []byte("Wrapped by: "))
}

// isException: "java.lang.IllegalStateException: text", "Exception in thread …",
// "Unhandled exception. System.Exception: text".
func isException(line []byte) bool {
	if bytes.HasPrefix(line, []byte(`Exception in thread "`)) || bytes.HasPrefix(line, []byte("Unhandled exception. ")) || bytes.HasPrefix(line, []byte("Unhandled Exception: ")) {
		return true
	}
	name := line[:min(len(line), 256)]
	if i := bytes.IndexAny(name, ": "); i >= 0 {
		if name[i] != ':' || i+1 < len(line) && line[i+1] != ' ' {
			return false
		}
		name = name[:i]
	} else if len(name) < len(line) {
		return false
	}
	dots := 0
	for _, c := range name {
		switch {
		case c == '.':
			dots++
		case c == '_' || c == '$' || isDigit(c) || isLetter(c):
		default:
			return false
		}
	}
	return dots > 0 && (bytes.HasSuffix(name, []byte("Exception")) || bytes.HasSuffix(name, []byte("Error")) || bytes.HasSuffix(name, []byte("Throwable")))
}

// isInner: "---> System.Exception: text", "--- End of inner exception stack trace ---".
func isInner(text []byte) bool {
	return bytes.HasPrefix(text, []byte("--- End of ")) || bytes.HasPrefix(text, []byte("---> ")) && bytes.Contains(text[:min(len(text), 256)], []byte("Exception"))
}

// isNodeSource: "/app/index.js:3", "node:internal/fs:12".
func isNodeSource(line []byte) bool {
	line = trimCR(line)
	i := len(line)
	for i > 0 && isDigit(line[i-1]) {
		i--
	}
	if i == len(line) || i < 4 || line[i-1] != ':' || bytes.IndexByte(line, ' ') >= 0 {
		return false
	}
	path := line[:i-1]
	if bytes.HasPrefix(path, []byte("node:internal/")) {
		return true
	}
	for _, ext := range []string{".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".jsx", ".tsx"} {
		if bytes.HasSuffix(path, []byte(ext)) {
			return true
		}
	}
	return false
}

// isPyFile: `File "x.py", line 1, in f`.
func isPyFile(text []byte) bool {
	return bytes.HasPrefix(text, []byte(`File "`)) && bytes.Contains(text[:min(len(text), 1024)], []byte(`", line `))
}

// isPyException: "ValueError: text", "a.b.Error", "KeyboardInterrupt".
func isPyException(line []byte) bool {
	if line[0] != '_' && !isLetter(line[0]) {
		return false
	}
	for i, c := range line[:min(len(line), 256)] {
		switch {
		case c == ':':
			return i+1 == len(line) || line[i+1] == ' '
		case c == '.' || c == '_' || c == '<' || c == '>' || isDigit(c) || isLetter(c) || c >= 0x80:
		default:
			return false
		}
	}
	return len(line) <= 256
}

// isGoPanic: "panic: text", "fatal error: text", "SIGQUIT: quit".
func isGoPanic(line []byte) bool {
	return bytes.HasPrefix(line, []byte("panic: ")) || bytes.HasPrefix(line, []byte("fatal error: ")) ||
		bytes.HasPrefix(line, []byte("SIG")) && bytes.Contains(line[:min(len(line), 16)], []byte(": "))
}

// isGoroutine: "goroutine 12 [running]:".
func isGoroutine(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("goroutine "))
	return ok && len(rest) > 3 && isDigit(rest[0]) && bytes.Contains(rest[:min(len(rest), 64)], []byte(" ["))
}

// isGoFunction: "main.(*T).f(0x1, {0x2, 0x3})".
func isGoFunction(line []byte) bool {
	if line[len(line)-1] != ')' {
		return false
	}
	open := bytes.IndexByte(line, '(')
	if open > 0 && line[open-1] == '.' { // of a method's receiver
		if i := bytes.Index(line[open+1:], []byte("(")); i >= 0 {
			return bytes.IndexByte(line[:open+1+i], ' ') < 0
		}
	}
	return open > 0 && bytes.IndexByte(line[:open], ' ') < 0 && (bytes.IndexByte(line[:open], '.') > 0 || string(line[:open]) == "panic")
}

// isRegister: "rax    0x1".
func isRegister(line []byte) bool {
	i := bytes.IndexByte(line, ' ')
	return i > 1 && i < 8 && bytes.HasPrefix(bytes.TrimLeft(line[i:], " "), []byte("0x"))
}

// isRubyFrame: "/app/x.rb:3:in `f'", "x.rb:3:in 'A#f': text (Error)", "<internal:kernel>:187:in `loop'".
func isRubyFrame(line []byte) bool {
	line = line[:min(len(line), 1024)]
	i := bytes.Index(line, []byte(":in "))
	if i < 3 || i+4 >= len(line) || !isDigit(line[i-1]) || line[i+4] != '`' && line[i+4] != '\'' {
		return false
	}
	return bytes.IndexByte(line[:i], ' ') < 0
}

// isRubyFrom: "from x.rb:3:in `f'", "2: from x.rb:3:in `f'".
func isRubyFrom(text []byte) bool {
	i := 0
	for i < len(text) && isDigit(text[i]) {
		i++
	}
	if i > 0 {
		if !bytes.HasPrefix(text[i:], []byte(": ")) {
			return false
		}
		text = text[i+2:]
	}
	rest, ok := bytes.CutPrefix(text, []byte("from "))
	return ok && (isRubyFrame(rest) || endsWithPlace(rest))
}

// endsWithPlace: "bin/x:3", of a frame of a program's own lines.
func endsWithPlace(text []byte) bool {
	i := len(text)
	for i > 0 && isDigit(text[i-1]) {
		i--
	}
	return i > 1 && i < len(text) && text[i-1] == ':' && bytes.IndexByte(text, ' ') < 0
}

// troubles are words of lines that a stack trace may follow.
var troubles = [][]byte{
	[]byte("ERR"), []byte("rror"), []byte("err"), []byte("xception"), []byte("EXCEPTION"), []byte("WARN"), []byte("arn"), []byte("FATAL"), []byte("atal"),
	[]byte("SEVERE"), []byte("CRIT"), []byte("crit"), []byte("PANIC"), []byte("anic"), []byte("FAIL"), []byte("fail"), []byte("Fail"),
}

// trouble reports whether the first line of a record tells of an error.
func trouble(text []byte) bool {
	text = text[:min(len(text), 512)]
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		text = text[:i]
	}
	if len(text) > 5 && (text[0] == 'E' || text[0] == 'F' || text[0] == 'W') && isDigit(text[1]) && isDigit(text[4]) {
		return true // klog
	}
	for _, w := range troubles {
		if bytes.Contains(text, w) {
			return true
		}
	}
	return false
}

// levels are what lines of loggers may begin with.
var levels = [][]byte{
	[]byte("INFO"), []byte("ERROR"), []byte("WARN"), []byte("DEBUG"), []byte("TRACE"), []byte("FATAL"), []byte("SEVERE"), []byte("CRITICAL"), []byte("NOTICE"),
	[]byte("info: "), []byte("warn: "), []byte("fail: "), []byte("crit: "), []byte("dbug: "), []byte("trce: "), []byte("level="), []byte("time="), []byte("ts="),
}

// likeLog reports whether a record begins as a logger's line does: with a time or a
// level. What is indented below it is not a line of its own.
func likeLog(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	if text[0] == '[' || text[0] == '(' || text[0] == '<' {
		text = text[1:]
	}
	if startsWithTime(text) {
		return true
	}
	for _, l := range levels {
		if bytes.HasPrefix(text, l) {
			return true
		}
	}
	return false
}

// startsWithTime: "2026-11-22", "2026/11/22", "12:31:07", "22/Nov/2026", "Nov 22 ",
// "I1122 12:31", also in brackets.
func startsWithTime(p []byte) bool {
	if len(p) > 0 && (p[0] == '[' || p[0] == '(') {
		p = p[1:]
	}
	if len(p) < 8 {
		return false
	}
	digits := 0
	for digits < 5 && isDigit(p[digits]) {
		digits++
	}
	switch c := p[digits]; {
	case digits == 4:
		return (c == '-' || c == '/' || c == '.') && isDigit(p[5]) && isDigit(p[6])
	case digits == 2 && c == ':':
		return isDigit(p[3]) && isDigit(p[4]) && p[5] == ':'
	case digits == 2 && (c == '/' || c == '.' || c == '-'):
		return isLetter(p[3]) && isLetter(p[4]) || isDigit(p[3]) && isDigit(p[4]) && p[5] == c
	case digits == 0 && (c == 'I' || c == 'W' || c == 'E' || c == 'F') && isDigit(p[1]):
		return isDigit(p[2]) && isDigit(p[3]) && isDigit(p[4]) && p[5] == ' ' && isDigit(p[6])
	case digits == 0 && c >= 'A' && c <= 'Z':
		return isMonth(p[:3]) && p[3] == ' ' && (p[4] == ' ' || isDigit(p[4])) && isDigit(p[5])
	}
	return false
}

func isMonth(p []byte) bool {
	switch string(p) {
	case "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec":
		return true
	}
	return false
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
