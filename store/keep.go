package store

import (
	"context"
	"time"
)

// keepLoop does what is due from time to time.
func (s *Store) keepLoop(ctx context.Context) {
	defer s.done.Done()
	var tick <-chan time.Time
	if s.cfg.Check > 0 {
		t := time.NewTicker(min(s.cfg.Check, 5*time.Second))
		defer t.Stop()
		tick = t.C
	}
	sw := &segmentWriter{fs: s.fs}
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.keepWake:
			if s.cfg.Check < 0 {
				continue
			}
		case <-tick:
		}
		now := s.cfg.Now()
		s.watchDisk()
		s.sealOld(now)
		if now.Sub(last) < s.cfg.Check && now.After(last) {
			s.retainSize()
			continue
		}
		last = now
		s.maintain(ctx, sw)
	}
}

// Maintain does at once what is due from time to time: retention, then
// compaction until there is nothing to do.
func (s *Store) Maintain(ctx context.Context) error {
	s.watchDisk()
	return s.maintain(ctx, &segmentWriter{fs: s.fs})
}

func (s *Store) maintain(ctx context.Context, sw *segmentWriter) error {
	s.keepMu.Lock()
	defer s.keepMu.Unlock()
	s.clock.tick(s.cfg.Now())
	s.retain()
	s.retainSizeLocked()
	s.forget()
	for {
		done, err := s.compact(ctx, sw)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Error("compaction failed; it is tried again", "error", err)
			}
			return err
		}
		if done {
			return nil
		}
	}
}

// watchDisk notes whether there is room for more.
func (s *Store) watchDisk() {
	if s.cfg.MinFree < 0 {
		return
	}
	free, err := s.fs.Free()
	if err != nil {
		s.log.Warn("free space is not known", "error", err)
		return
	}
	low := free < uint64(s.cfg.MinFree)
	if s.lowDisk.Swap(low) != low {
		if low {
			s.log.Error("the disk is nearly full: nothing is taken until there is room", "free", free, "floor", s.cfg.MinFree)
		} else {
			s.log.Info("there is room on the disk again", "free", free)
		}
	}
}

// sealOld has a memtable that is old enough made into segments.
func (s *Store) sealOld(now time.Time) {
	s.mu.Lock()
	old := s.active.born != 0 && now.UnixNano()-s.active.born >= int64(s.cfg.MemtableAge)
	if old {
		s.full = true
	}
	s.mu.Unlock()
	if old {
		poke(s.wake)
	}
}

// retain removes the segments whose retention has passed.
func (s *Store) retain() {
	horizon := s.clock.horizon(s.cfg.Retention, s.cfg.Rules)
	var gone []*segment
	s.mu.Lock()
	for _, g := range s.segments {
		if g.info.MaxTime < horizon {
			gone = append(gone, g)
		}
	}
	s.mu.Unlock()
	s.expire(gone)
}

// retainSize removes the oldest segments until the store is as small as it must
// be.
func (s *Store) retainSize() {
	s.keepMu.Lock()
	defer s.keepMu.Unlock()
	s.retainSizeLocked()
}

func (s *Store) retainSizeLocked() {
	if s.cfg.MaxDisk == 0 {
		return
	}
	s.mu.Lock()
	size := int64(0)
	for _, m := range []*memtable{s.active, s.sealed} {
		if m != nil {
			size += m.bytes // as large in the log
		}
	}
	for _, g := range s.segments {
		size += g.info.Size
	}
	byAge := append([]*segment(nil), s.segments...)
	s.mu.Unlock()
	sortByAge(byAge)
	var gone []*segment
	for _, g := range byAge {
		if size <= s.cfg.MaxDisk {
			break
		}
		gone = append(gone, g)
		size -= g.info.Size
	}
	s.expire(gone)
}

// expire forgets segments, durably, and then removes their files.
func (s *Store) expire(gone []*segment) {
	if len(gone) == 0 {
		return
	}
	e := &edit{Seen: s.cfg.Now().UnixNano()}
	remove := map[uint64]bool{}
	rows := int64(0)
	for _, g := range gone {
		e.Remove = append(e.Remove, g.info.Seq)
		remove[g.info.Seq] = true
		rows += g.info.Rows
	}
	if err := s.commitEdit(e); err != nil {
		s.log.Error("old segments stay", "error", err)
		return
	}
	s.mu.Lock()
	s.publish(nil, remove)
	s.mu.Unlock()
	for _, g := range gone {
		s.cache.forget(g)
		g.retire()
	}
	s.stats.expired.Add(int64(len(gone)))
	s.stats.expiredRows.Add(rows)
	s.log.Info("old segments were removed", "segments", len(gone), "rows", rows)
}

// forgetAfter is when a source is forgotten if nothing else says so.
const forgetAfter = 30 * 24 * time.Hour

// forget drops the sources of which nothing has come for as long as rows are kept.
func (s *Store) forget() {
	limit := s.clock.now() - int64(forgetAfter)
	if h := s.clock.horizon(s.cfg.Retention, s.cfg.Rules); h != minTime {
		limit = h
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, f := range s.sources {
		if _, busy := s.changed[id]; !busy && f.last < limit {
			delete(s.sources, id)
			s.forgot = append(s.forgot, id)
		}
	}
}
