package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/record"
)

// reader reads 100 lines at a time for as long as the sink has room.
type reader struct{ times []time.Duration }

func (r *reader) Run(ctx context.Context, sink record.Sink) error {
	start := time.Now()
	st := record.NewStream([]record.Attr{{Name: "file", Value: "a"}}, nil, nil)
	for range 10 {
		for {
			room := sink.Room()
			b := sink.Get()
			if b == nil {
				select {
				case <-room:
				case <-ctx.Done():
					return nil
				}
				continue
			}
			at := b.AddStream(record.StreamRef{Stream: st})
			for range 100 {
				b.Add(record.Record{Stream: at, Body: b.AppendString("x")})
			}
			if err := sink.Put(ctx, b); err != nil {
				return err
			}
			r.times = append(r.times, time.Since(start))
			break
		}
	}
	return nil
}

type countingSink struct{ kept, dropped int }

func (s *countingSink) Get() *record.Batch    { return record.NewBatch(nil) }
func (s *countingSink) Room() <-chan struct{} { return make(chan struct{}) }
func (s *countingSink) Put(_ context.Context, b *record.Batch) error {
	for _, r := range b.Records() {
		if r.Flags.Has(record.Dropped) {
			s.dropped++
		} else {
			s.kept++
		}
	}
	b.Release()
	return nil
}

// TestAnInputWaitsForItsRate: nothing is dropped, and no faster than the rate.
func TestAnInputWaitsForItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := config.RateLimit{Per: []string{"file"}, Lines: config.Rate{N: 50, Per: time.Second}, Over: "wait"}
		rd := new(reader)
		in, err := limit(rd, &r)
		if err != nil {
			t.Fatal(err)
		}
		var sink countingSink
		if err := in.Run(t.Context(), &sink); err != nil {
			t.Fatal(err)
		}
		if sink.kept != 1000 || sink.dropped != 0 {
			t.Errorf("%d kept, %d dropped", sink.kept, sink.dropped)
		}
		// 100 lines cost two seconds; the first 50 are the burst.
		if last := rd.times[9]; last != 17*time.Second {
			t.Errorf("the last came after %v: %v", last, rd.times)
		}
	})
}

// TestAnInputThatWaitsStops: a stop does not wait for the rate.
func TestAnInputThatWaitsStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, err := limit(new(reader), &config.RateLimit{Lines: config.Rate{N: 1, Per: time.Hour}, Over: "wait"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var sink countingSink
		if err := in.Run(ctx, &sink); err != nil || sink.kept != 100 {
			t.Errorf("%d kept, %v", sink.kept, err)
		}
	})
}
