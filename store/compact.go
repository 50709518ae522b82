package store

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/weirlog/weir/columns"
	"github.com/weirlog/weir/record"
)

const (
	// maxLevel is how often a row is rewritten at most.
	maxLevel = 2
	// maxMerge bounds the segments that are merged at once.
	maxMerge = 64
	// dayGrace is how long after its end a day is closed.
	dayGrace = time.Hour
)

func sortByAge(gs []*segment) {
	slices.SortFunc(gs, func(a, b *segment) int {
		if c := cmp.Compare(a.info.MaxTime, b.info.MaxTime); c != 0 {
			return c
		}
		return cmp.Compare(a.info.Seq, b.info.Seq)
	})
}

// compact does one piece of work: small segments of a closed day become one, or
// a segment loses streams whose retention has passed. It reports whether there
// was nothing to do. keepMu is held.
func (s *Store) compact(ctx context.Context, sw *segmentWriter) (done bool, err error) {
	s.mu.Lock()
	all := slices.Clone(s.segments)
	for _, g := range all {
		g.hold()
	}
	s.mu.Unlock()
	defer func() {
		for _, g := range all {
			g.drop()
		}
	}()
	if gone := s.allExpired(all); len(gone) > 0 {
		s.expire(gone)
		return false, nil
	}
	group := s.chooseMerge(all)
	if len(group) == 0 {
		group = s.chooseShrink(all)
	}
	if len(group) == 0 {
		return true, nil
	}
	return false, s.merge(ctx, sw, group)
}

// chooseMerge returns segments that are worth to be one.
func (s *Store) chooseMerge(all []*segment) []*segment {
	byDay := map[int64][]*segment{}
	now := s.clock.now()
	for _, g := range all {
		closed := (g.info.Day+1)*dayNs+int64(dayGrace) <= now
		if closed && !g.damaged.Load() && g.info.Level < maxLevel && g.info.Bytes <= s.cfg.SegmentBytes/8 {
			byDay[g.info.Day] = append(byDay[g.info.Day], g)
		}
	}
	var best []*segment
	for _, gs := range byDay {
		slices.SortFunc(gs, func(a, b *segment) int {
			if c := cmp.Compare(a.info.MinTime, b.info.MinTime); c != 0 {
				return c
			}
			return cmp.Compare(a.info.Seq, b.info.Seq)
		})
		size, n := int64(0), 0
		for n < len(gs) && n < maxMerge && size+gs[n].info.Bytes <= s.cfg.SegmentBytes {
			size += gs[n].info.Bytes
			n++
		}
		if n > 1 && (best == nil || gs[0].info.Day < best[0].info.Day) {
			best = gs[:n]
		}
	}
	// Of equal rows those of the first come first: what was merged before is
	// older.
	slices.SortFunc(best, func(a, b *segment) int {
		if c := cmp.Compare(b.info.Level, a.info.Level); c != 0 {
			return c
		}
		return cmp.Compare(a.info.Seq, b.info.Seq)
	})
	return best
}

// expired returns which streams of a segment are past their retention.
func (s *Store) expired(x *columns.Index) (streams []bool, rows uint32) {
	now := s.clock.now()
	streams = make([]bool, len(x.Streams))
	for i := range x.Streams {
		st := &x.Streams[i]
		keep := s.retentionOf(st.Labels)
		if keep > 0 && st.MaxTime < dayOf(now-int64(keep))*dayNs {
			streams[i] = true
			rows += st.Rows
		}
	}
	return streams, rows
}

func (s *Store) retentionOf(labels []record.Attr) time.Duration {
	for _, r := range s.cfg.Rules {
		if matchLabels(r, labels) {
			return r.Retention
		}
	}
	return s.cfg.Retention
}

// matchLabels decides by labels alone: what a row's metadata would say is not
// looked at, and counts as not there.
func matchLabels(r Rule, labels []record.Attr) bool {
	return r.Selector.Decided(labels, func(string) bool { return false }) != 0
}

// mayExpire reports whether some stream could be past its retention.
func (s *Store) mayExpire(g *segment) bool {
	shortest := s.cfg.Retention
	for _, r := range s.cfg.Rules {
		if r.Retention > 0 && (shortest == 0 || r.Retention < shortest) {
			shortest = r.Retention
		}
	}
	return len(s.cfg.Rules) > 0 && shortest > 0 && g.info.MinTime < dayOf(s.clock.now()-int64(shortest))*dayNs && !g.damaged.Load()
}

// allExpired returns the segments of which every stream is past its retention.
func (s *Store) allExpired(all []*segment) (gone []*segment) {
	for _, g := range all {
		if !s.mayExpire(g) {
			continue
		}
		if x, err := s.cache.get(g); err == nil {
			if _, rows := s.expired(x); rows == x.Rows {
				gone = append(gone, g)
			}
		}
	}
	return gone
}

// chooseShrink returns a segment of which a tenth or more is past retention.
func (s *Store) chooseShrink(all []*segment) []*segment {
	for _, g := range all {
		if !s.mayExpire(g) {
			continue
		}
		if x, err := s.cache.get(g); err == nil {
			if _, rows := s.expired(x); rows > 0 && rows >= x.Rows/10 {
				return []*segment{g}
			}
		}
	}
	return nil
}

// merge writes the rows of the segments, without those past retention, into one.
func (s *Store) merge(ctx context.Context, sw *segmentWriter, group []*segment) error {
	dec, err := s.decoder()
	if err != nil {
		return err
	}
	defer s.decoders.Put(dec)
	info := segmentInfo{Day: group[0].info.Day}
	var its []*segmentRows
	var streams []columns.Stream
	for _, g := range group {
		x, err := s.cache.get(g)
		if err != nil {
			g.damaged.Store(true)
			return err
		}
		info.Level = max(info.Level, g.info.Level)
		skip, _ := s.expired(x)
		it := &segmentRows{g: g, x: x, skip: skip, dec: dec}
		its = append(its, it)
		for i := range x.Streams {
			streams = append(streams, x.Streams[i].Stream)
		}
	}
	info.Level = min(info.Level+1, maxLevel)
	slices.SortFunc(streams, func(a, b columns.Stream) int { return compareStreams(&a, &b) })
	streams = slices.CompactFunc(streams, func(a, b columns.Stream) bool { return compareStreams(&a, &b) == 0 })
	for _, it := range its {
		for i := range it.x.Streams {
			n, _ := slices.BinarySearchFunc(streams, it.x.Streams[i].Stream, func(a, b columns.Stream) int { return compareStreams(&a, &b) })
			it.rank = append(it.rank, uint32(n))
		}
		if err := it.advance(); err != nil && err != io.EOF {
			return err
		}
	}
	n := 0
	info.Seq = s.newSegment()
	err = sw.write(&info, streams, func(r *columns.Row) error {
		if n++; n&1023 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		var best *segmentRows
		for _, it := range its {
			// Of equal rows the one of the earlier segment was stored first.
			if !it.ended && (best == nil || it.row.Stream < best.row.Stream || it.row.Stream == best.row.Stream && it.row.Time < best.row.Time) {
				best = it
			}
		}
		if best == nil {
			return io.EOF
		}
		*r = best.row
		best.used = true
		return nil
	}, func() error {
		for _, it := range its {
			if it.used {
				it.used = false
				if err := it.advance(); err != nil && err != io.EOF {
					it.g.damaged.Store(true)
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		s.discard([]segmentInfo{info})
		return fmt.Errorf("merge %d segments of %s: %w", len(group), dayDir(info.Day), err)
	}
	e := &edit{Add: []segmentInfo{info}, Seen: s.cfg.Now().UnixNano()}
	remove := map[uint64]bool{}
	for _, g := range group {
		e.Remove = append(e.Remove, g.info.Seq)
		remove[g.info.Seq] = true
	}
	if err := s.commitEdit(e); err != nil {
		return err
	}
	s.mu.Lock()
	s.publish(s.newSegments([]segmentInfo{info}), remove)
	s.mu.Unlock()
	for _, g := range group {
		s.cache.forget(g)
		g.retire()
	}
	s.stats.compactions.Add(1)
	return nil
}

// segmentRows reads the rows of a segment one after the other. row is valid until
// the next call of advance.
type segmentRows struct {
	g     *segment
	x     *columns.Index
	dec   *columns.Decoder
	skip  []bool   // streams
	rank  []uint32 // of streams
	row   columns.Row
	used  bool
	ended bool

	next   uint32 // row
	stream uint32
	span   int
	block  int
	times  []int64
	sev    []record.Severity
	attrs  []int32
	texts  []string
	dict   []string
	buf    []byte
	bodies []record.Span
	page   []byte
}

func (it *segmentRows) read(p columns.Page) ([]byte, error) {
	var err error
	it.page, err = it.g.page(p, it.page)
	return it.page, err
}

// advance goes to the next row; io.EOF says that there is none.
func (it *segmentRows) advance() error {
	x := it.x
	for it.next < x.Rows {
		for x.Streams[it.stream].Row+x.Streams[it.stream].Rows <= it.next {
			it.stream++
		}
		if st := &x.Streams[it.stream]; it.skip != nil && it.skip[it.stream] {
			it.next = st.Row + st.Rows
			continue
		}
		if err := it.load(); err != nil {
			return err
		}
		s, b := &x.Spans[it.span], &x.Blocks[it.block]
		i, j := it.next-s.Row, it.next-b.Row
		sp := it.bodies[j]
		it.row = columns.Row{Stream: it.rank[it.stream], Severity: it.sev[i], Time: it.times[i], Body: it.buf[sp.Off:sp.End()]}
		if it.attrs[i] >= 0 {
			it.row.Attrs = []byte(it.texts[it.attrs[i]])
		}
		it.next++
		return nil
	}
	it.ended = true
	return io.EOF
}

// load decodes the span and the block of the next row, if they are not.
func (it *segmentRows) load() error {
	x := it.x
	if it.dict == nil && x.AttrValues > 0 {
		p, err := it.read(x.AttrDict)
		if err != nil {
			return err
		}
		if it.dict, err = it.dec.AttrValues(x, p); err != nil {
			return err
		}
	}
	for x.Spans[it.span].Row+x.Spans[it.span].Rows <= it.next {
		it.span++
		it.times = nil
	}
	if it.times == nil {
		if err := it.loadSpan(&x.Spans[it.span]); err != nil {
			it.times = nil // what has been decoded is not of one span
			return err
		}
	}
	for x.Blocks[it.block].Row+x.Blocks[it.block].Rows <= it.next {
		it.block++
		it.bodies = nil
	}
	if b := &x.Blocks[it.block]; it.bodies == nil {
		p, err := it.read(b.Body)
		if err != nil {
			return err
		}
		if it.buf, it.bodies, err = it.dec.Body(it.buf, nil, b, p); err != nil {
			return err
		}
	}
	return nil
}

// loadSpan decodes a span.
func (it *segmentRows) loadSpan(s *columns.Span) error {
	p, err := it.read(s.Time)
	if err != nil {
		return err
	}
	if it.times, err = it.dec.Times(it.times, s, p); err != nil {
		return err
	}
	if p, err = it.read(s.Severity); err != nil {
		return err
	}
	if it.sev, err = it.dec.Severities(it.sev, s, p); err != nil {
		return err
	}
	if p, err = it.read(s.Attrs); err != nil {
		return err
	}
	it.attrs, it.texts, err = it.dec.Attrs(it.attrs, it.x, s, it.dict, p)
	return err
}
