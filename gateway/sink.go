package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// Sink takes what was pushed. Safe for concurrent use.
type Sink interface {
	// Batch returns an empty batch, nil while there is no room for one. Who has
	// it gives it to Take, or ends it with Abandon.
	Batch() *record.Batch
	// Take hands b over, also if it fails, and returns when every record of it
	// that is not refused is durable. Refusals are for good, and in the order of
	// the records. An *ack.SendError says that nothing was taken, as far as is
	// known, with the Code 413, 429 or 503 as of HTTP.
	Take(ctx context.Context, b *record.Batch) ([]Refusal, error)
}

// Refusal is a record that is not taken.
type Refusal struct {
	Record uint32 // its number in the batch
	// Reason is a sentence for people that names the record.
	Reason string
}

// pipeSink hands what was pushed to the pipeline.
type pipeSink struct {
	sink  record.Sink
	tally func(*ack.Tally) // of every batch that is finished
	// Patience is how long a push waits until its records are durable.
	patience time.Duration
	waiting  atomic.Int64 // records of pushes that are not answered
}

func (s *pipeSink) Batch() *record.Batch { return s.sink.Get() }

// Take waits for the token of the batch. A push whose sender has lost patience
// goes on all the same.
func (s *pipeSink) Take(ctx context.Context, b *record.Batch) ([]Refusal, error) {
	n := int64(b.NumRecords())
	if n == 0 {
		b.Abandon()
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	done := make(chan struct{})
	tok := ack.NewToken(func(sum *ack.Tally) {
		s.tally(sum)
		close(done)
	})
	for i := range b.Streams() {
		b.SetToken(uint16(i), tok)
	}
	s.waiting.Add(n)
	defer s.waiting.Add(-n)
	if err := s.sink.Put(ctx, b); err != nil {
		if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, &ack.SendError{Code: 503, Err: errors.New("stopping")}
		}
		return nil, &ack.SendError{Code: 429, Err: errors.New("the queue of a destination is full; send again later")}
	}
	select {
	case <-done:
		return nil, nil
	case <-ctx.Done():
		return nil, &ack.SendError{Code: 503, Err: fmt.Errorf("not safe yet after %s: a destination without a buffer on disk does not answer; send again", s.patience)}
	}
}

// StoreSink is a Sink over a store that answers for every record.
type StoreSink struct {
	// Append stores the records of parts and returns when they are durable.
	// Refusals as a whole are *ack.SendError.
	Append func(ctx context.Context, parts []record.Part) (ack.Result, error)

	batches sync.Pool // *record.Batch
}

// maxPooledBatch is the largest batch that is kept, in bytes.
const maxPooledBatch = 16 << 20

// Batch implements Sink. How much there may be is the Memory's to say.
func (s *StoreSink) Batch() *record.Batch {
	b, _ := s.batches.Get().(*record.Batch)
	if b == nil {
		b = new(record.Batch)
	}
	b.Reset(s.recycle)
	return b
}

func (s *StoreSink) recycle(b *record.Batch) {
	if b.Size() <= maxPooledBatch {
		s.batches.Put(b)
	}
}

// Take implements Sink.
func (s *StoreSink) Take(ctx context.Context, b *record.Batch) ([]Refusal, error) {
	defer b.Release()
	b.Freeze()
	if len(b.Live()) == 0 {
		return nil, nil
	}
	part := record.NewPart(b, b.Live())
	defer part.Finish()
	res, err := s.Append(ctx, []record.Part{part})
	if err != nil {
		return nil, err
	}
	for _, f := range res.Failures {
		if !f.Permanent {
			return nil, &ack.SendError{Code: 429, RetryAfter: res.RetryAfter,
				Err: fmt.Errorf("%d of %d records are to be sent again: %s", len(res.Failures), len(b.Live()), f.Reason)}
		}
	}
	var out []Refusal
	for i, f := range res.Failures {
		r := Refusal{Record: f.Record}
		if i < wire.MaxReasons {
			r.Reason = describe(b, f)
		}
		out = append(out, r)
	}
	return out, nil
}

// describe says, for people, which record was refused and why.
func describe(b *record.Batch, f ack.Failure) string {
	r := b.Record(int(f.Record))
	at := time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano)
	var sb strings.Builder
	for _, a := range b.Stream(int(f.Record)).Attrs() {
		if a.Name == record.AttrTenant {
			continue
		}
		if sb.Len() > 0 {
			sb.WriteString(", ")
		}
		if sb.Len() > 1024 {
			sb.WriteString("…")
			break
		}
		fmt.Fprintf(&sb, "%s=%q", a.Name, a.Value)
	}
	if strings.HasPrefix(f.Reason, "older ") {
		// Loki's words, which senders know.
		return fmt.Sprintf("entry for stream '{%s}' has timestamp too old: %s: %s", sb.String(), at, f.Reason)
	}
	return fmt.Sprintf("entry for stream '{%s}' with timestamp %s ignored, reason: '%s'", sb.String(), at, f.Reason)
}
