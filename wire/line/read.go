package line

import (
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
)

// Read takes a line apart without painting it, for Field, Message and Severity,
// whose results are valid until the next call of Read or Append.
func (p *Painter) Read(it *Item) {
	p.now = it.Time
	p.line.reset()
	p.text = p.text[:0]
	p.parse(it.Body)
}

// Message returns the message of the line that was read: what people read first.
// Of a line in no known format it is the line.
func (p *Painter) Message() []byte { return p.line.message }

// Severity returns what the line that was read says of itself.
func (p *Painter) Severity() record.Severity {
	if p.line.severity != 0 {
		return p.line.severity
	}
	return stage.DetectSeverity(p.line.message)
}

// Field returns the value of a key of the line that was read; message and msg
// are its message whatever it is called there, and a dot goes into objects.
func (p *Painter) Field(name string) ([]byte, bool) {
	l := &p.line
	if l.rank > 0 && (name == "message" || name == "msg" || name == string(l.name)) {
		return l.message, true
	}
	if pc, ok := p.find(bytesOf(name)); ok {
		return pc.val, true
	}
	if !l.structured && (name == "message" || name == "msg") {
		return l.message, true
	}
	return nil, false
}

// AppendSafe appends text that may have several rows, as a terminal may have it:
// of colours those that leave text readable, if they are wanted, and all of them
// end with their row. Everything else that a terminal would obey is escaped.
func AppendSafe(dst, text []byte, color bool) []byte {
	p := Painter{style: Style{Color: color}}
	return p.appendText(dst, text, "")
}
