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
	// Progress, if not nil, keeps what an earlier process has written from being
	// written again; such records count as delivered. Each write then is of at most
	// PIPE_BUF bytes of whole records, or a single longer one: a pipe takes that
	// whole or not at all (POSIX, write), whenever the process is killed. Close
	// closes it.
	Progress *Progress
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
	format Format

	// Of who has the turn:
	torn     bool // the last write ended within a line
	progress *Progress
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
		format: c.Format, progress: c.Progress,
	}
	s.turn <- struct{}{}
	return s, nil
}

// String names the output.
func (s *Stdout) String() string { return "stdout" }

// Send writes the records of parts.
func (s *Stdout) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	w := getWork()
	var pieces []piece
	if s.progress != nil {
		pieces = s.encodePieces(w, parts)
	} else {
		enc := s.enc.get()
		w.raw = enc.Append(w.raw[:0], parts)
		s.enc.put(enc)
	}
	if s.safe {
		w.raw = line.AppendSafe(nil, w.raw, s.color)
		pieces = nil // who looks at a terminal can bear to see a line again
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
		var err error
		if pieces != nil {
			err = s.writePieces(w.raw, pieces)
		} else {
			err = s.write(w.raw)
		}
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

// piece is a record in the encoded bytes, which end at end.
type piece struct {
	end  int
	gen  record.ID // zero: nothing is noted of it
	stop int64     // the record's end in gen
}

// encodePieces encodes the records that have not been written by an earlier
// process.
func (s *Stdout) encodePieces(w *work, parts []record.Part) []piece {
	pieces := make([]piece, 0, count(parts))
	enc := s.enc.get()
	defer s.enc.put(enc)
	w.raw = w.raw[:0]
	plain := s.format.Name == "raw" && !s.format.Prefix
	for _, p := range parts {
		b := p.Batch()
		streams := b.Streams()
		for k, i := range p.Index() {
			r := b.Record(int(i))
			pc := piece{stop: r.End}
			if r.Flags&(record.Gap|record.Generated) == 0 {
				pc.gen = streams[r.Stream].Generation
				if !pc.gen.IsZero() && s.progress.written(pc.gen, r.End) {
					continue
				}
			}
			if plain {
				w.raw = append(append(w.raw, b.Bytes(r.Body)...), '\n')
			} else {
				one := [1]record.Part{p.Select(p.Index()[k : k+1])}
				w.raw = enc.Append(w.raw, one[:])
				one[0].Finish()
			}
			pc.end = len(w.raw)
			pieces = append(pieces, pc)
		}
	}
	return pieces
}

// pipeBuf is the most that a pipe takes whole or not at all: PIPE_BUF of
// limits.h, on Linux.
const pipeBuf = 4096

// fewPieces are written one by one: a kill between a write and its note doubles one
// record then.
const fewPieces = 16

// writePieces writes as many records at a time as a pipe takes whole, and notes
// each lot when it is written.
func (s *Stdout) writePieces(p []byte, pieces []piece) error {
	from := 0
	for i := 0; i < len(pieces); {
		n := i + 1
		for n < len(pieces) && len(pieces) > fewPieces && pieces[n].end-from <= pipeBuf {
			n++
		}
		to := pieces[n-1].end
		if err := s.write(p[from:to]); err != nil {
			s.progress.frozen = true
			return err
		}
		if !s.progress.frozen {
			for k := n - 1; k >= i; k-- {
				// One note a file: mostly all are of one.
				if pc := &pieces[k]; !pc.gen.IsZero() && (k == n-1 || pieces[k+1].gen != pc.gen) {
					s.progress.note(pc.gen, pc.stop)
				}
			}
		}
		i, from = n, to
	}
	return nil
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
	if s.progress != nil {
		select {
		case <-s.turn: // for good: nothing is written after this
			return s.progress.close()
		default: // a write blocks and will note what it wrote
		}
	}
	return nil
}
