package tail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"time"

	"github.com/weirlog/weir/cri"
	"github.com/weirlog/weir/record"
)

// Reader is an input that reads lines from a stream, such as a pipe, once. It
// has no positions: what it read cannot be read again.
type Reader struct {
	// R is read to its end.
	R io.Reader
	// Stream is who wrote the lines.
	Stream *record.Stream
	// Generation makes the ids of this stream's records different from those
	// of others.
	Generation record.ID
	// MaxLine is the longest message, in bytes; 0 means cri.DefaultMaxLine.
	MaxLine int
	// Multiline says which lines belong together in one record; nil: none do.
	Multiline *cri.Multiline
}

const readerChunk = 64 << 10

// readerPatience is how often a Reader sees whether a record is complete.
const readerPatience = 50 * time.Millisecond

// Run reads until the end of the stream and returns nil, or until ctx ends.
// Lines are handed on as they come. A read that blocks when ctx ends is left
// behind: nothing can interrupt it.
func (r *Reader) Run(ctx context.Context, sink record.Sink) error {
	type piece struct {
		data []byte
		err  error
	}
	pieces := make(chan piece)
	go func() {
		for {
			buf := make([]byte, readerChunk)
			n, err := r.R.Read(buf)
			select {
			case pieces <- piece{buf[:n], err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	joiner := cri.NewJoiner(cri.Config{Format: cri.Plain, MaxLine: r.MaxLine, Multiline: r.Multiline})
	joiner.Begin(r.Generation, 0, 0)
	limit := r.MaxLine
	if limit == 0 {
		limit = cri.DefaultMaxLine
	}
	streams := [2]*record.Stream{r.Stream, r.Stream}
	var rest []byte
	var off int64
	var due <-chan time.Time // when to see whether a record that may go on does
	if r.Multiline != nil {
		tick := time.NewTicker(readerPatience)
		defer tick.Stop()
		due = tick.C
	}
	for {
		var p piece
		select {
		case <-ctx.Done():
			return nil
		case now := <-due:
			if !joiner.Due(now.UnixNano(), math.MaxInt64) {
				continue
			}
			b, err := waitForBatch(ctx, sink)
			if b == nil {
				return err
			}
			joiner.FlushDue(b, streams, now.UnixNano(), math.MaxInt64)
			if err := sink.Put(ctx, b); err != nil {
				return nil // the sink is stopping
			}
			continue
		case p = <-pieces:
		}
		rest = append(rest, p.data...)
		mode := cri.More
		switch {
		case p.err != nil:
			mode = cri.End
		case len(rest) >= limit && bytes.IndexByte(rest, '\n') < 0:
			mode = cri.Cut
		}
		if len(rest) > 0 || p.err != nil && r.Multiline != nil {
			b, err := waitForBatch(ctx, sink)
			if b == nil {
				return err
			}
			span := b.Append(rest)
			n := joiner.Frame(b, span, off, streams, time.Now().UnixNano(), mode)
			if p.err != nil {
				joiner.Flush(b, streams, math.MaxInt64)
			}
			off += int64(n)
			rest = append(rest[:0], rest[n:]...)
			if err := sink.Put(ctx, b); err != nil {
				return nil // the sink is stopping
			}
		}
		switch {
		case errors.Is(p.err, io.EOF):
			return nil
		case p.err != nil:
			return p.err
		}
	}
}

// waitForBatch returns nil when ctx ends first.
func waitForBatch(ctx context.Context, sink record.Sink) (*record.Batch, error) {
	for {
		room := sink.Room()
		if b := sink.Get(); b != nil {
			return b, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-room:
		}
	}
}
