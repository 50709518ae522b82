package store

import "sync/atomic"

type counters struct {
	rows, doubles, tooOld                atomic.Int64
	walErrors, flushErrors, damagedPages atomic.Int64
	flushes, compactions, expired        atomic.Int64
	expiredRows, tailDropped             atomic.Int64
}

// Stats is what the store holds and has done since Open.
type Stats struct {
	Rows     int64 // taken
	Doubles  int64 // not taken, as they were there
	TooOld   int64 // refused for their time
	Segments int
	// SegmentRows, SegmentBytes (of lines) and DiskBytes (of files) are of all
	// segments.
	SegmentRows, SegmentBytes, DiskBytes int64
	MemtableRows, MemtableBytes          int64
	Sources                              int
	WALErrors, FlushErrors               int64
	DamagedPages                         int64 // met while reading, and passed over
	Flushes, Compactions                 int64
	Expired                              int64 // segments removed by retention
	ExpiredRows                          int64
	TailDropped                          int64
	LowDisk                              bool // nothing is taken for want of room
}

// Stats returns the numbers of now.
func (s *Store) Stats() Stats {
	c := &s.stats
	st := Stats{
		Rows: c.rows.Load(), Doubles: c.doubles.Load(), TooOld: c.tooOld.Load(), WALErrors: c.walErrors.Load(), FlushErrors: c.flushErrors.Load(),
		DamagedPages: c.damagedPages.Load(), Flushes: c.flushes.Load(), Compactions: c.compactions.Load(), Expired: c.expired.Load(),
		ExpiredRows: c.expiredRows.Load(), TailDropped: c.tailDropped.Load(), LowDisk: s.lowDisk.Load(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segments {
		st.Segments++
		st.SegmentRows += g.info.Rows
		st.SegmentBytes += g.info.Bytes
		st.DiskBytes += g.info.Size
	}
	for _, m := range []*memtable{s.active, s.sealed} {
		if m != nil {
			st.MemtableRows += int64(m.committed.rows)
			st.MemtableBytes += m.committed.bytes
		}
	}
	st.Sources = len(s.sources)
	return st
}
