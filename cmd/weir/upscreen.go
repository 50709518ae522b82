package main

import (
	"cmp"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/deliver"
	"github.com/weirlog/weir/record"
)

// upScreen stands before stdout. What containers wrote before the start goes into
// the store, but a terminal is no place for gigabytes of it: only the last few
// lines of it are shown, as soon as they are known. Nobody knows when the lines of
// plain files were written: they are shown whole, unless the flag files is set; then
// what is read until all has been read that was there is of the past.
//
// Until then nothing is shown, at most for a moment (see open).
type upScreen struct {
	out  deliver.Output
	from int64 // Observed of the first line that is not of the past
	most int   // how many of the past are shown; less than 0: all

	files bool // plain files have a past, too

	mu      sync.Mutex
	opened  bool
	begun   bool         // something was shown
	caught  bool         // all that was there has been read
	last    []screenLine // of the past, sorted
	waiting []screenLine // what came since, in this order
	past    int64        // how many lines were of the past
	oldest  int64        // time of the first of them
	all     int64        // how many lines there were
}

type screenLine struct {
	part record.Part // of one record
	at   int64       // Observed
}

// maxWaiting is how many lines wait for the ones before them.
const maxWaiting = 2000

func (s *upScreen) Close() error {
	s.mu.Lock()
	s.drop()
	s.mu.Unlock()
	if c, ok := s.out.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Send is deliver.Output.
func (s *upScreen) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var now []record.Part
	defer func() {
		for _, p := range now {
			p.Finish()
		}
	}()
	bytes := 0
	for _, p := range parts {
		b := p.Batch()
		bytes += p.Size()
		s.all += int64(p.Len())
		var live []uint32
		for k := p.Len() - 1; k >= 0; k-- { // from the newest: few of a batch are among the last
			i := p.Index()[k]
			if r := b.Record(int(i)); s.isPast(r, b.Stream(int(i))) {
				s.remember(p, i, r)
			} else {
				live = append(live, i)
			}
		}
		if len(live) == 0 {
			continue
		}
		slices.Reverse(live)
		if s.opened {
			now = append(now, p.Select(live))
			continue
		}
		for _, i := range live {
			s.waiting = append(s.waiting, screenLine{p.Select([]uint32{i}), b.Record(int(i)).Observed})
		}
	}
	if len(s.waiting) > maxWaiting {
		s.begin()
		return ack.Result{Bytes: bytes}, s.show(ctx)
	}
	if len(now) == 0 {
		return ack.Result{Bytes: bytes}, nil
	}
	s.begin()
	_, err := s.out.Send(ctx, now)
	return ack.Result{Bytes: bytes}, err
}

// isPast reports whether a record was written before the start.
func (s *upScreen) isPast(r *record.Record, by *record.Stream) bool {
	switch {
	case s.most < 0:
		return false
	case by.Get(record.AttrContainer) != "":
		return r.Observed < s.from
	}
	return s.files && !s.caught
}

// remember counts a line of the past and keeps it if it is among the last.
func (s *upScreen) remember(p record.Part, i uint32, r *record.Record) {
	at := r.Observed
	if s.past++; s.past == 1 || min(at, r.Time) < s.oldest {
		s.oldest = min(at, r.Time)
	}
	if s.begun || s.most == 0 || len(s.last) == s.most && at <= s.last[0].at {
		return
	}
	if len(s.last) == s.most {
		s.last[0].part.Finish()
		s.last = s.last[1:]
	}
	// Lines of one moment come newest first.
	k, _ := slices.BinarySearchFunc(s.last, at, func(l screenLine, at int64) int { return cmp.Compare(l.at, at) })
	s.last = slices.Insert(s.last, k, screenLine{p.Select([]uint32{i}), at})
}

// begin notes that something of the present is shown: older lines come too late.
func (s *upScreen) begin() {
	s.begun = true
	for _, l := range s.last {
		l.part.Finish()
	}
	s.last = nil
}

// open shows what was held back and lets everything through from now on. The last
// lines of the past are shown with it, or else once they are known, if nothing
// else has come in between.
func (s *upScreen) open(ctx context.Context, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.caught = s.caught || known
	if s.opened && (!known || s.begun) {
		return
	}
	if !known {
		s.opened = true
		if len(s.waiting) == 0 {
			return
		}
		s.begin()
	}
	// The lines are counted as delivered already. A reader that left ends the
	// process otherwise.
	_ = s.show(ctx)
}

func (s *upScreen) show(ctx context.Context) error {
	slices.SortStableFunc(s.waiting, func(a, b screenLine) int { return cmp.Compare(a.at, b.at) })
	var parts []record.Part
	for _, l := range slices.Concat(s.last, s.waiting) {
		parts = append(parts, l.part)
	}
	var err error
	if len(parts) > 0 {
		_, err = s.out.Send(ctx, parts)
	}
	s.drop()
	s.opened, s.begun = true, s.begun || len(parts) > 0
	return err
}

func (s *upScreen) drop() {
	for _, l := range slices.Concat(s.last, s.waiting) {
		l.part.Finish()
	}
	s.last, s.waiting = nil, nil
}

// seen returns how many lines came, how many of them were of the past, and how
// old the oldest of these was at the start.
func (s *upScreen) seen() (all, past int64, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.past > 0 {
		age = time.Duration(s.from - s.oldest)
	}
	return s.all, s.past, age
}
