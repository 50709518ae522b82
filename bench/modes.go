package main

import (
	"time"

	"github.com/weirlog/weir/bench/corpus"
	"github.com/weirlog/weir/bench/peers"
)

// settled returns a condition for watch: everything came and then nothing for
// quiet, or nothing at all came for the patience, counted from now.
func (b *bench) settled(total uint64, quiet, patience time.Duration) func(*sample) bool {
	from := time.Now()
	return func(s *sample) bool {
		idle := min(time.Duration(s.LastMilli)*time.Millisecond, time.Since(from))
		return s.arrived() >= total && idle >= quiet || idle >= patience
	}
}

// catchUp gives a participant a directory of files and waits for the last
// record.
func (b *bench) catchUp(p *participant, c *corpus.Corpus, round int) (Result, error) {
	r, err := b.prepare(p, c.Root)
	if err != nil {
		return Result{}, err
	}
	if err := r.start(); err != nil {
		return Result{}, err
	}
	done := b.settled(c.Total(), b.quiet, b.patience)
	if p.form.Protocol == peers.Null {
		done = r.allRead(c.Bytes)
	}
	cause := r.watch(done)
	lines := c.Lines
	if p.form.Protocol == peers.Null {
		lines = nil
	}
	res, err := r.finish(round, c.Bytes, lines, cause)
	if err != nil {
		return res, err
	}
	if p.form.Protocol == peers.Null {
		// Nothing arrives anywhere; what was read is what counts.
		res.Records, res.Written = c.Total(), c.Total()
	}
	if p.peer.Name == weirName && res.Requests > 0 {
		b.request[p.form] = int(c.Bytes) / int(res.Requests)
	}
	return res, nil
}

// allRead returns a condition for watch: the participant has read as much as
// there is and does nothing any more.
func (r *run) allRead(bytes int64) func(*sample) bool {
	return func(s *sample) bool {
		if s.read < bytes {
			return s.at > 10*time.Minute
		}
		const still = 10 // samples
		if len(r.samples) < still {
			return false
		}
		past := r.samples[len(r.samples)-still]
		return past.read >= bytes && s.cpu-past.cpu < (s.at-past.at)/20
	}
}

// killed is catchUp with one kill -9 when 40 % of the records have come, and a
// new start at once.
func (b *bench) killed(p *participant, c *corpus.Corpus, round int) (Result, error) {
	r, err := b.prepare(p, c.Root)
	if err != nil {
		return Result{}, err
	}
	if err := r.start(); err != nil {
		return Result{}, err
	}
	cause := r.watch(b.settled(c.Total()*2/5, 0, b.patience))
	var at uint64
	if cause == nil {
		at = r.samples[len(r.samples)-1].arrived()
		r.kill()
		if err := r.start(); err != nil {
			return Result{}, err
		}
		// One that begins again sends for a long time what came before.
		cause = r.watch(b.settled(c.Total(), 5*b.quiet, b.patience))
	}
	res, err := r.finish(round, c.Bytes, c.Lines, cause)
	res.KilledAt = Secs(float64(at) / float64(c.Total()))
	if res.Error == "" && at >= c.Total()*9/10 {
		res.Error = "it had sent nearly everything when it was killed: the corpus is too small"
	}
	return res, err
}
