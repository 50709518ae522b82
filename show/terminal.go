package show

import (
	"bufio"
	"bytes"

	"github.com/weirlog/weir/wire/line"
)

// safePrinter keeps from a terminal what it would obey, in the formats that do
// not escape it themselves.
type safePrinter struct {
	p     Printer
	out   *bufio.Writer
	inner *bufio.Writer // p writes here
	buf   bytes.Buffer  // and inner here
	color bool
	safe  []byte
}

// newSafe returns the printer that make returns, with its output made safe.
func newSafe(w *bufio.Writer, o Options) (Printer, error) {
	s := &safePrinter{out: w, color: o.Color}
	s.inner = bufio.NewWriter(&s.buf)
	o.Terminal = false
	var err error
	s.p, err = New(s.inner, o)
	return s, err
}

func (s *safePrinter) pass(err error) error {
	if e := s.inner.Flush(); err == nil {
		err = e
	}
	s.safe = line.AppendSafe(s.safe[:0], s.buf.Bytes(), s.color)
	s.buf.Reset()
	if _, e := s.out.Write(s.safe); err == nil {
		err = e
	}
	return err
}

func (s *safePrinter) Line(e *Entry) error { return s.pass(s.p.Line(e)) }

func (s *safePrinter) Series(labels map[string]string, points []Point) error {
	return s.pass(s.p.Series(labels, points))
}

func (s *safePrinter) End() error { return s.pass(s.p.End()) }
