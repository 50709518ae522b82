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
}

// Stdout writes records to the standard output, one write per Send. What the
// write took counts as delivered.
type Stdout struct {
	enc    *encoders
	closed chan struct{}

	mu   sync.Mutex
	w    io.Writer
	torn bool // the last write ended within a line
	gone bool
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
	return &Stdout{enc: enc, w: c.W, closed: make(chan struct{})}, nil
}

// String names the output.
func (s *Stdout) String() string { return "stdout" }

// Send writes the records of parts.
func (s *Stdout) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	w := getWork()
	defer w.put()
	enc := s.enc.get()
	w.raw = enc.Append(w.raw[:0], parts)
	s.enc.put(enc)

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return ack.Result{}, &ack.SendError{Kind: ack.Retry, Err: fmt.Errorf("write stdout: %w", ErrClosed)}
	}
	if err := ctx.Err(); err != nil {
		return ack.Result{}, err
	}
	if s.torn {
		if _, err := s.w.Write([]byte{'\n'}); err != nil {
			return ack.Result{}, s.failed(err)
		}
		s.torn = false
	}
	n, err := s.w.Write(w.raw)
	if err != nil {
		s.torn = n > 0 && w.raw[n-1] != '\n'
		return ack.Result{}, s.failed(err)
	}
	return ack.Result{Bytes: n}, nil
}

func (s *Stdout) failed(err error) error {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, os.ErrClosed) {
		s.gone = true
		close(s.closed)
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

// Close ends the output; the writer stays open.
func (s *Stdout) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.gone {
		s.gone = true
		close(s.closed)
	}
	return nil
}
