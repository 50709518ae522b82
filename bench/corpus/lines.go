package corpus

import "time"

// Lines makes the bare lines of one stream, without a container's framing: what
// an application that sends its logs itself has. It is for one goroutine.
type Lines struct {
	text *text
	at   time.Time
	line []byte
}

// NewLines returns the lines of a stream, from the first on. Their times begin
// at start.
func NewLines(seed uint64, stream uint32, start time.Time) *Lines {
	return &Lines{text: newText(seed, stream), at: start}
}

// Next returns the next line, valid until the next call, and its time.
func (l *Lines) Next() ([]byte, time.Time) {
	l.at = l.at.Add(time.Duration(1 + l.text.rng.IntN(2_000_000)))
	l.line, _ = l.text.line(l.line[:0], l.at)
	return l.line, l.at
}

// Made is how many lines there were.
func (l *Lines) Made() uint32 { return l.text.seq }
