package store

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/weirlog/weir/columns"
)

// maxDays bounds the segments that one memtable becomes: rows of further days
// share one.
const maxDays = 64

// flushLoop makes segments of sealed memtables.
func (s *Store) flushLoop(ctx context.Context) {
	defer s.done.Done()
	delay := time.Duration(0)
	sw := &segmentWriter{fs: s.fs}
	for {
		var again <-chan time.Time
		if delay > 0 {
			t := time.NewTimer(delay)
			defer t.Stop()
			again = t.C
		}
		select {
		case <-ctx.Done():
			return
		case <-s.flushWake:
		case <-again:
		}
		s.mu.Lock()
		m := s.sealed
		s.mu.Unlock()
		if m == nil {
			delay = 0
			continue
		}
		if err := s.flush(ctx, sw, m); err != nil {
			if ctx.Err() != nil {
				return
			}
			delay = min(max(2*delay, 10*time.Millisecond), s.cfg.retry)
			s.stats.flushErrors.Add(1)
			s.mu.Lock()
			s.flushErr = err
			s.noteFlush()
			s.mu.Unlock()
			s.log.Error("rows cannot be made into segments; they stay in the log, and it is tried again", "error", err, "in", delay)
			continue
		}
		delay = 0
		poke(s.wake)
	}
}

// flush makes segments of a sealed memtable, names them in the manifest and
// removes the log before them.
func (s *Store) flush(ctx context.Context, sw *segmentWriter, m *memtable) error {
	s.mu.Lock()
	v := m.view()
	s.mu.Unlock()
	defer s.release(v)
	if err := s.saveRecent(m); err != nil {
		return err
	}
	infos, err := s.writeSegments(ctx, sw, v)
	if err != nil {
		s.discard(infos)
		return err
	}
	e := &edit{Add: infos, Floor: m.nextWAL, LastSeq: m.lastSeq, Sources: append(m.sources, m.forgot...), Seen: s.cfg.Now().UnixNano()}
	if err := s.commitEdit(e); err != nil {
		return err
	}
	s.pruneRecent()
	s.mu.Lock()
	s.publish(s.newSegments(infos), nil)
	s.sealed, s.flushErr = nil, nil
	s.noteFlush()
	s.mu.Unlock()
	m.refs.Add(-1) // the store's own
	s.stats.flushes.Add(1)
	s.removeLogs(m.nextWAL)
	poke(s.keepWake)
	return nil
}

// noteFlush tells those who wait for a flush how the last attempt ended. mu is
// held.
func (s *Store) noteFlush() {
	close(s.flushed)
	s.flushed = make(chan struct{})
}

func (s *Store) newSegments(infos []segmentInfo) []*segment {
	var out []*segment
	for _, i := range infos {
		x := i.index
		i.index = nil
		g := &segment{info: i, fs: s.fs}
		if x != nil {
			s.cache.put(g, x)
		}
		out = append(out, g)
	}
	return out
}

// commitEdit makes an edit of the manifest durable.
func (s *Store) commitEdit(e *edit) error {
	s.manifestMu.Lock()
	defer s.manifestMu.Unlock()
	for n, given := range s.busy {
		switch {
		case given:
			e.Remove = append(e.Remove, n)
		case !slices.ContainsFunc(e.Add, func(i segmentInfo) bool { return i.Seq == n }):
			e.Busy = append(e.Busy, n)
		}
	}
	if err := s.manifest.commit(e); err != nil {
		// The edit may yet turn out to be durable: its files must stay until
		// another edit is.
		s.garbage = append(s.garbage, e.Add...)
		return err
	}
	for _, i := range e.Add {
		delete(s.busy, i.Seq)
	}
	for _, n := range e.Remove {
		delete(s.busy, n)
	}
	s.removeFiles(s.garbage)
	s.garbage = nil
	return nil
}

// newSegment returns the number of a segment that is going to be written. A start
// after a crash knows by the edits that came meanwhile what its files are.
func (s *Store) newSegment() uint64 {
	s.manifestMu.Lock()
	defer s.manifestMu.Unlock()
	s.lastSegment++
	s.busy[s.lastSegment] = false
	return s.lastSegment
}

// discard removes files that no edit has named.
func (s *Store) discard(infos []segmentInfo) {
	s.manifestMu.Lock()
	defer s.manifestMu.Unlock()
	s.removeFiles(infos)
}

// removeFiles removes the files of segments that are given up. manifestMu is
// held.
func (s *Store) removeFiles(infos []segmentInfo) {
	for i := range infos {
		s.fs.Remove(infos[i].idxName())
		s.fs.Remove(infos[i].dataName())
		s.busy[infos[i].Seq] = true
	}
}

// writeSegments writes a segment per day. Those begun are returned even then
// when it fails.
func (s *Store) writeSegments(ctx context.Context, sw *segmentWriter, v *view) ([]segmentInfo, error) {
	streams, rank := rankStreams(v.streams)
	days := daysOf(v)
	order := v.sorted(rank, days)
	var infos []segmentInfo
	for len(order) > 0 {
		day := days[dayOf(v.rows[order[0]].time)]
		n := 0
		from, to := int64(1), int64(0) // times known to be of the day
		infos = append(infos, segmentInfo{Seq: s.newSegment(), Day: day})
		err := sw.write(&infos[len(infos)-1], streams, func(r *columns.Row) error {
			if n == len(order) {
				return io.EOF
			}
			row := &v.rows[order[n]]
			if row.time < from || row.time >= to {
				d := dayOf(row.time)
				if days[d] != day {
					return io.EOF
				}
				from, to = d*dayNs, (d+1)*dayNs
			}
			if n&1023 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			*r = columns.Row{Stream: rank[row.stream], Severity: row.severity, Time: row.time, Attrs: v.attrs(row), Body: v.body(row)}
			n++
			return nil
		})
		if err != nil {
			return infos, err
		}
		if n == 0 {
			return infos, fmt.Errorf("segment of no rows")
		}
		order = order[n:]
	}
	return infos, nil
}

// rankStreams returns the streams in the order of segments, and the place in it
// of each.
func rankStreams(streams []columns.Stream) (sorted []columns.Stream, rank []uint32) {
	order := make([]int, len(streams))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return compareStreams(&streams[a], &streams[b]) })
	rank = make([]uint32, len(streams))
	for i, n := range order {
		rank[n] = uint32(i)
		sorted = append(sorted, streams[n])
	}
	return sorted, rank
}

// daysOf maps the days of the rows to those under which they are filed: the
// days with the most rows to themselves, the others to one of these.
func daysOf(v *view) map[int64]int64 {
	count := map[int64]int{}
	for i := range v.rows {
		count[dayOf(v.rows[i].time)]++
	}
	var days []int64
	out := make(map[int64]int64, len(count))
	for d := range count {
		days = append(days, d)
		out[d] = d
	}
	if len(days) > maxDays {
		slices.SortFunc(days, func(a, b int64) int {
			if c := cmp.Compare(count[b], count[a]); c != 0 {
				return c
			}
			return cmp.Compare(a, b)
		})
		for _, d := range days[maxDays:] {
			out[d] = days[maxDays-1]
		}
	}
	return out
}

// removeLogs removes the log files that the manifest says are not needed; those
// that were damaged are put aside and returned.
func (s *Store) removeLogs(floor uint64) (aside []string) {
	names, err := s.fs.ReadDir(walDir)
	if err != nil {
		s.log.Warn("old logs stay", "error", err)
		return nil
	}
	for _, name := range names {
		n, ok := walNumber(name)
		if !ok || n >= floor {
			continue
		}
		if s.damagedWAL[n] {
			if err = s.quarantine(walName(n)); err == nil {
				aside = append(aside, asideName(walName(n)))
			}
		} else {
			err = s.fs.Remove(walName(n))
		}
		if err != nil && !notExist(err) {
			s.log.Warn("an old log stays until the next start", "file", walName(n), "error", err)
		}
	}
	return aside
}
