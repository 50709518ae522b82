package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/weirlog/weir/bench/corpus"
)

// liveOptions says what a participant has to follow.
type liveOptions struct {
	corpus.LiveConfig
	duration time.Duration
	dead     bool          // the sink refuses connections until the end
	warm     time.Duration // how long at the beginning does not count for memory
}

// live has a participant follow files while they are written.
func (b *bench) live(p *participant, o liveOptions, round int) (Result, error) {
	root, err := os.MkdirTemp(b.dir, "live-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(root)
	o.Root = filepath.Join(root, "pods")
	w, err := corpus.NewLive(o.LiveConfig)
	if err != nil {
		return Result{}, err
	}
	if b.api != nil {
		if err := b.api.serve(o.Root); err != nil {
			return Result{}, err
		}
	}
	r, err := b.prepare(p, o.Root)
	if err != nil {
		return Result{}, err
	}
	if err := r.start(); err != nil {
		return Result{}, err
	}
	// The first line of each file has been written: who has sent them is up. One
	// that takes its time has no disadvantage for it.
	first := w.Corpus().Total()
	cause := r.watch(func(s *sample) bool { return s.arrived() >= first || s.at > b.patience })
	if cause == nil && o.dead {
		err = b.sink.set(faults{Down: true})
	}
	if err != nil {
		return Result{}, err
	}
	began := time.Now()
	ctx, cancel := context.WithCancel(b.ctx)
	written := make(chan error, 1)
	go func() { written <- w.Run(ctx, o.duration) }()
	if cause == nil {
		cause = r.watch(func(*sample) bool { return time.Since(began) >= o.duration })
	}
	cancel()
	if err := <-written; err != nil && ctx.Err() == nil {
		return Result{}, fmt.Errorf("write logs: %w", err)
	}
	spent := time.Since(began)
	from, to := r.at(began.Add(o.warm)), len(r.samples)
	if o.dead {
		if err := b.sink.set(faults{}); err != nil {
			return Result{}, err
		}
	}
	c := w.Corpus()
	if cause == nil {
		patience := b.patience
		if o.dead {
			patience = max(patience, afterOutage)
		}
		cause = r.watch(b.settled(c.Total(), b.quiet, patience))
	}
	if err := w.Close(); err != nil {
		return Result{}, fmt.Errorf("write logs: %w", err)
	}
	res, err := r.finish(round, c.Bytes, c.Lines, cause)
	res.Rate = Secs(float64(c.Bytes) / 1e6 / spent.Seconds())
	res.LinesPerSecond = Secs(float64(c.Total()) / spent.Seconds())
	r.meanwhile(&res, from, to)
	if b.api != nil && p.peer.Name == weirName && b.api.asked() == 0 && res.Error == "" {
		res.Error = "it did not ask the API server"
	}
	return res, err
}

// afterOutage is how long a participant may take to find out that the backend
// is back: longer than the longest delays between attempts.
const afterOutage = 2 * time.Minute

// at returns the first sample at or after a time.
func (r *run) at(t time.Time) int {
	for i := range r.samples {
		if r.samples[i].at >= t.Sub(r.began) {
			return i
		}
	}
	return max(0, len(r.samples)-1)
}

// meanwhile fills in what a participant used between two samples.
func (r *run) meanwhile(res *Result, from, to int) {
	if from >= to {
		return
	}
	part := r.samples[from:to]
	var sum int64
	for i := range part {
		sum += part[i].rss
	}
	res.Mean = sum / int64(len(part))
	last := &part[len(part)-1]
	if d := last.at - part[0].at; d > 0 {
		res.Busy = Secs((last.cpu - part[0].cpu).Seconds() / d.Seconds())
	}
}
