package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/line"
)

// ErrClosed says that nobody reads the standard output any more, as when
// `weir … | head` has seen enough. The program should end quietly. (Go ends a
// program by signal at a write to a closed standard output, before any error
// is seen, unless it has called signal.Ignore(syscall.SIGPIPE) or Notify.)
var ErrClosed = errors.New("nobody reads the output any more")

// StdoutConfig configures NewStdout.
type StdoutConfig struct {
	Format Format
	// W is where it goes; nil is os.Stdout.
	W io.Writer
	// Terminal says that W is a terminal: what it would obey is escaped, in every
	// format.
	Terminal bool
}

// Stdout writes records to the standard output, one write per Send. What the
// write took counts as delivered. A write that blocks, because a pager pauses,
// outlives its Send when the Send's context ends, and the next waits for it.
type Stdout struct {
	enc    *encoders
	w      io.Writer
	closed chan struct{}
	once   sync.Once
	turn   chan struct{} // holds a value while nobody writes
	safe   bool          // escape what the format does not
	color  bool

	// Of who has the turn:
	torn bool // the last write ended within a line
}

// NewStdout returns an output to the standard output.
func NewStdout(c StdoutConfig) (*Stdout, error) {
	enc, err := c.Format.encoders()
	if err != nil {
		return nil, err
	}
	if c.W == nil {
		c.W = os.Stdout
	}
	s := &Stdout{
		enc: enc, w: c.W, closed: make(chan struct{}), turn: make(chan struct{}, 1),
		safe: c.Terminal && c.Format.Name != "line", color: c.Format.Line.Color,
	}
	s.turn <- struct{}{}
	return s, nil
}

// String names the output.
func (s *Stdout) String() string { return "stdout" }

// Send writes the records of parts.
func (s *Stdout) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	w := getWork()
	enc := s.enc.get()
	w.raw = enc.Append(w.raw[:0], parts)
	s.enc.put(enc)
	if s.safe {
		w.raw = line.AppendSafe(nil, w.raw, s.color)
	}
	select {
	case <-ctx.Done():
		w.put()
		return ack.Result{}, ctx.Err()
	case <-s.closed:
		w.put()
		return ack.Result{}, s.failed(ErrClosed)
	case <-s.turn:
	}
	if err := ctx.Err(); err != nil {
		s.turn <- struct{}{}
		w.put()
		return ack.Result{}, err
	}
	size := len(w.raw)
	ended := make(chan error, 1)
	go func() { // ends with the write, whoever still waits for it
		err := s.write(w.raw)
		w.put()
		ended <- err
		s.turn <- struct{}{}
	}()
	select {
	case <-ctx.Done():
		return ack.Result{}, ctx.Err()
	case err := <-ended:
		if err != nil {
			return ack.Result{}, s.failed(err)
		}
		return ack.Result{Bytes: size}, nil
	}
}

func (s *Stdout) write(p []byte) error {
	if s.torn {
		if _, err := s.w.Write([]byte{'\n'}); err != nil {
			return err
		}
		s.torn = false
	}
	n, err := s.w.Write(p)
	if err != nil {
		s.torn = n > 0 && p[n-1] != '\n'
	}
	return err
}

func (s *Stdout) failed(err error) error {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, os.ErrClosed) {
		s.once.Do(func() { close(s.closed) })
		err = fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return &ack.SendError{Kind: ack.Retry, Err: fmt.Errorf("write stdout: %w", err)}
}

// Closed returns a channel that is closed when a Send found that nobody reads
// any more.
func (s *Stdout) Closed() <-chan struct{} { return s.closed }

// Probe reports ErrClosed if a Send met it.
func (s *Stdout) Probe(context.Context) error {
	select {
	case <-s.closed:
		return ErrClosed
	default:
		return nil
	}
}

// Close ends the output; the writer stays open, and a write that blocks goes
// on until its reader does.
func (s *Stdout) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}
