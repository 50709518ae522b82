package store

import (
	"context"
	"slices"

	"github.com/weirlog/weir/logql"
)

// StreamStats is what a stream has in a range of time. Streams are told apart by
// their labels.
type StreamStats struct {
	Labels []logql.Label // sorted; do not modify
	Rows   int64
	Bytes  int64 // of lines
	Blocks int64 // pages and memtables that hold some of it
}

// Streams calls f for every stream that the tenant sees, that has rows in
// [start, end) and that the selector matches or, as far as can be said without
// reading rows, may match: once per stream and in no order, without holding
// anything that others wait for. It reads indexes only. Where a page has rows of
// several streams, or some outside the range, bytes are shared among its rows and
// rows among its time. Damaged indexes are passed over. It ends with f's error.
func (s *Store) Streams(ctx context.Context, tenant string, sel *logql.Selector, start, end int64, f func(StreamStats) error) error {
	v, err := s.hold(start, end)
	if err != nil {
		return err
	}
	sum := streamSum{match: matching{sel: sel, tenant: tenant}, start: start, end: end, by: make(map[uint64][]*StreamStats)}
	err = sum.add(ctx, s, &v)
	s.drop(&v)
	if err != nil {
		return err
	}
	for _, same := range sum.by {
		for _, st := range same {
			if err := f(*st); err != nil {
				return err
			}
		}
	}
	return nil
}

// streamSum adds up.
type streamSum struct {
	match      matching
	start, end int64
	by         map[uint64][]*StreamStats // by the labels' hash
}

func (u *streamSum) add(ctx context.Context, s *Store, v *version) error {
	for _, g := range v.held {
		if err := ctx.Err(); err != nil {
			return err
		}
		in, err := s.cache.load(g)
		if err := s.tolerate(err); err != nil {
			return err
		}
		if err == nil {
			u.segment(in)
		}
	}
	for _, m := range v.views {
		if err := ctx.Err(); err != nil {
			return err
		}
		u.memtable(m)
	}
	return nil
}

// stats returns the one entry for a set of labels.
func (u *streamSum) stats(id uint64, labels []logql.Label) *StreamStats {
	for _, have := range u.by[id] {
		if slices.Equal(have.Labels, labels) {
			return have
		}
	}
	st := &StreamStats{Labels: labels}
	u.by[id] = append(u.by[id], st)
	return st
}

func (u *streamSum) segment(in *cached) {
	x := in.x
	rows := rowNames{x}
	for bi := range x.Blocks {
		b := &x.Blocks[bi]
		if b.MaxTime < u.start || b.MinTime >= u.end {
			continue
		}
		for i := b.First; i <= b.Last; i++ {
			st := &x.Streams[i]
			lo, hi := max(b.MinTime, st.MinTime), min(b.MaxTime, st.MaxTime)
			if hi < u.start || lo >= u.end || u.match.inSegment(in.numbers[i], &st.Stream, rows) == logql.No {
				continue
			}
			m := u.match.numbered(in.numbers[i], &st.Stream)
			if m.stats == nil {
				m.stats = u.stats(st.ID, m.labels)
			}
			n := float64(min(st.Row+st.Rows, b.Row+b.Rows) - max(st.Row, b.Row))
			if lo < u.start || hi >= u.end {
				n = max(1, n*float64(min(hi, u.end-1)-max(lo, u.start)+1)/float64(hi-lo+1))
			}
			m.stats.Rows += int64(n + 0.5)
			m.stats.Bytes += int64(n*float64(b.Bytes)/float64(b.Rows) + 0.5)
			m.stats.Blocks++
		}
	}
}

func (u *streamSum) memtable(v *view) {
	sums := make([]StreamStats, len(v.streams))
	for i := range v.rows {
		if r := &v.rows[i]; r.time >= u.start && r.time < u.end {
			sums[r.stream].Rows++
			sums[r.stream].Bytes += int64(r.body)
		}
	}
	for i := range sums {
		if sums[i].Rows == 0 {
			continue
		}
		m := u.match.ask(&v.streams[i])
		if m.verdict == logql.No {
			continue
		}
		st := u.stats(v.streams[i].ID, m.labels)
		st.Rows += sums[i].Rows
		st.Bytes += sums[i].Bytes
		st.Blocks++
	}
}
