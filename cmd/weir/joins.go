package main

import (
	"cmp"
	"context"
	"time"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/cri"
	"github.com/weirlog/weir/pipeline"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
)

// joining returns which lines of files belong together, nil if none do. What cannot
// be was refused when the configuration was loaded.
func joining(m *config.Multiline) *cri.Multiline {
	j, err := m.Joining()
	if err != nil {
		return nil
	}
	return j
}

var overs = map[string]stage.Over{"drop": stage.DropOver, "sample": stage.SampleOver, "wait": stage.WaitOver}

// rateLimitStep returns the step of a rate limit, nil if there is none. of is as in
// stage.RateLimitConfig.
func rateLimitStep(r *config.RateLimit, of func(*record.Stream) bool) (*stage.RateLimit, error) {
	if r.None() {
		return nil, nil
	}
	rate := r.Lines
	if rate.Per == 0 {
		rate = r.Bytes
	}
	burst := float64(r.Burst)
	if burst == 0 {
		burst = float64(rate.N)
	}
	return stage.NewRateLimit(stage.RateLimitConfig{
		Per: r.Per, Rate: float64(rate.N) / rate.Per.Seconds(), Bytes: rate.Bytes, Burst: burst, Over: overs[r.Over], Text: rate.String(), Of: of,
	})
}

// readAtOnce is how many bytes an input reads at once, 0 for the usual: with a limit
// that waits about what may come at once, so that it is not ahead of its rate by much.
func readAtOnce(r *config.RateLimit) int {
	if r.None() || r.Over != "wait" {
		return 0
	}
	const line = 128 // bytes, about
	n := cmp.Or(int64(r.Burst), r.Bytes.N, r.Lines.N)
	if r.Bytes.Per == 0 {
		n *= line
	}
	return int(min(max(n, 4<<10), 256<<10))
}

// limited is an input with a rate limit before everything else.
type limited struct {
	pipeline.Input
	limit *stage.RateLimit
	now   func() time.Time
}

// limit puts the rate limit, if there is one, behind an input.
func limit(in pipeline.Input, r *config.RateLimit) (pipeline.Input, error) {
	step, err := rateLimitStep(r, nil)
	if err != nil || step == nil {
		return in, err
	}
	return limited{Input: in, limit: step, now: time.Now}, nil
}

func (l limited) Run(ctx context.Context, sink record.Sink) error {
	s := &limitedSink{Sink: sink, l: l}
	defer s.stop()
	return l.Input.Run(ctx, s)
}

// Finish passes on to the input.
func (l limited) Finish(ctx context.Context) error {
	if f, ok := l.Input.(pipeline.Finisher); ok {
		return f.Finish(ctx)
	}
	return nil
}

// limitedSink has no room while its input is ahead of its rate: the input then waits
// as it does for an output, with its positions saved and its files held.
type limitedSink struct {
	record.Sink
	l     limited
	room  chan struct{} // closed when there is room again; nil: there is
	timer *time.Timer
}

// Room is of the input's goroutine, as Get and Put are.
func (s *limitedSink) Room() <-chan struct{} {
	wait := s.l.limit.Wait(s.l.now())
	if wait <= 0 {
		s.stop()
		return s.Sink.Room()
	}
	if s.room == nil {
		room := make(chan struct{})
		s.room, s.timer = room, time.AfterFunc(wait, func() { close(room) })
	}
	return s.room
}

func (s *limitedSink) stop() {
	if s.timer != nil {
		s.timer.Stop()
		s.room, s.timer = nil, nil
	}
}

func (s *limitedSink) Get() *record.Batch {
	if s.l.limit.Wait(s.l.now()) > 0 {
		return nil
	}
	return s.Sink.Get()
}

func (s *limitedSink) Put(ctx context.Context, b *record.Batch) error {
	_ = s.l.limit.Process(b, s.l.now()) // it cannot fail
	return s.Sink.Put(ctx, b)
}
