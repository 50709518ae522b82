package buffer

import (
	"slices"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// reader is where reading stands. Only readLoop touches it.
type reader struct {
	seg     *segment
	f       File
	off     int64
	seq     uint64 // of the next record
	parts   uint64
	sizes   uint64
	tries   int
	decoder decoder
	payload payloads
	head    [frameHead]byte
}

func (r *reader) close() {
	if r.f != nil {
		r.f.Close()
		r.f = nil
	}
}

const (
	// readTries is how often a place that cannot be read is tried before it
	// counts as damaged.
	readTries = 8
	readPause = 250 * time.Millisecond
)

// readLoop keeps some Parts read.
func (d *Disk) readLoop() {
	defer d.done.Done()
	r := &d.reader
	for {
		d.mu.Lock()
		for !d.stop && (len(d.loaded) > 0 && d.loadSize >= d.c.Memory || r.seq >= d.end.seq) {
			if r.f != nil && r.seg.gone {
				r.close()
			}
			d.work.Wait()
		}
		if d.stop {
			d.mu.Unlock()
			return
		}
		s, limit, end := d.segmentOf(r)
		all := d.end
		d.mu.Unlock()

		if s == nil {
			// The log ends before it should: what was durable is gone.
			d.lose(r, all.seq, ack.DroppedDamaged, 0)
			r.parts, r.sizes = all.parts, all.sizes
			continue
		}
		if err := d.readNext(r, s, limit, end); err != nil {
			r.close()
			r.tries++
			d.mu.Lock()
			d.stats.errors++
			d.stats.lastError, d.stats.lastErrorAt = err.Error(), d.c.Now()
			if d.every("read", time.Minute) {
				d.log.Error("buffer cannot be read", "output", d.c.Output, "segment", s.name, "error", err)
			}
			d.mu.Unlock()
			if r.tries >= readTries {
				// What follows may be readable: behind the sector, or in the
				// next segment.
				r.tries = 0
				d.damage(s, 4096)
				r.off = min(r.off+4096, end)
				r.off = d.search(r, s, end)
				continue
			}
			t := time.NewTimer(readPause)
			select {
			case <-t.C:
			case <-d.stopped:
				t.Stop()
				return
			}
			continue
		}
		r.tries = 0
	}
}

// segmentOf returns the segment to read in, the number of the record that is in
// another one, and how far it may be read. The caller holds mu.
func (d *Disk) segmentOf(r *reader) (s *segment, limit uint64, end int64) {
	for i := max(slices.Index(d.segments, r.seg), 0); i < len(d.segments); i++ {
		x := d.segments[i]
		limit = ^uint64(0)
		if i+1 < len(d.segments) {
			limit = d.segments[i+1].first
		}
		if limit > r.seq && (x != r.seg || r.off < x.end) {
			return x, limit, x.end
		}
	}
	return nil, 0, 0
}

// readNext goes on by one frame, or over what is damaged. The error is one of
// reading: nothing has changed.
func (d *Disk) readNext(r *reader, s *segment, limit uint64, end int64) error {
	if r.seg != s {
		r.close()
		r.seg, r.off = s, headerSize
	}
	if r.f == nil {
		f, err := d.fs.Open(s.name, false)
		if err != nil {
			return err
		}
		r.f = f
	}
	if r.off+frameHead > end {
		if r.off < end {
			d.damage(s, end-r.off)
		}
		r.off = end
		return nil
	}
	if err := readFull(r.f, r.head[:], r.off); err != nil {
		return err
	}
	fr, ok := parseFrame(r.head[:], s.salt)
	if !ok || fr.length() > end-r.off || fr.records > 0 && !fr.packed && int64(fr.records)*rowSize > int64(fr.size) {
		from := r.off
		next, err := findFrame(r.f, r.off+1, end, s.salt)
		if err != nil {
			return err
		}
		d.damage(s, next-from)
		r.off = next
		return nil
	}
	switch {
	case fr.first >= limit:
		// It was written again, into the next segment.
		r.off = end
		return nil
	case fr.records == 0 || fr.next() <= r.seq:
		r.off += fr.length()
		return nil
	case fr.first < r.seq:
		// Frames do not overlap: this is none of ours.
		d.damage(s, fr.length())
		r.off += fr.length()
		return nil
	}
	b := d.pool.Get(d.release)
	space, intact, err := r.payload.load(r.f, r.off+frameHead, &fr, b)
	if err != nil {
		b.Abandon()
		return err
	}
	if fr.first > r.seq {
		d.lose(r, fr.first, ack.DroppedDamaged, 0)
	}
	in, ok := parseInfo(space)
	if !intact || !ok {
		b.Abandon()
		d.damage(s, fr.length())
		r.off += fr.length()
		d.lose(r, fr.next(), ack.DroppedDamaged, 1)
		return nil
	}
	r.parts, r.sizes = in.parts, in.sizes
	if d.old(in.clock) {
		b.Abandon()
		r.off += fr.length()
		r.parts++
		r.sizes += uint64(in.size)
		d.lose(r, fr.next(), ack.DroppedExpired, 0)
		return nil
	}
	after := pos{fr.next(), in.parts + 1, in.sizes + uint64(in.size), s.number, r.off + fr.length()}
	token := new(ack.Token)
	token.Expect(d.c.Index + 1)
	if err := r.decoder.decode(b, 0, fr.records, token); err != nil {
		b.Abandon()
		d.damage(s, fr.length())
		r.off += fr.length()
		d.lose(r, fr.next(), ack.DroppedDamaged, 1)
		return nil
	}
	d.tracker.Add(after, token, time.Now())
	b.AddToken(token)
	b.Freeze()
	p := record.NewPart(b, b.Live())
	b.Release()
	r.seq, r.off, r.parts, r.sizes = after.seq, after.off, after.parts, after.sizes
	d.mu.Lock()
	bytes := b.Size()
	d.loaded = append(d.loaded, loaded{p, in.size, bytes, in.wall, in.clock, after})
	d.loadSize += bytes
	t := d.taker
	d.mu.Unlock()
	t.signal()
	return nil
}

// search returns the next place with a frame, or the end.
func (d *Disk) search(r *reader, s *segment, end int64) int64 {
	f, err := d.fs.Open(s.name, false)
	if err != nil {
		return r.off
	}
	defer f.Close()
	off := r.off
	for off < end {
		next, err := findFrame(f, off, end, s.salt)
		if err == nil {
			return next
		}
		off = next + findChunk
	}
	return end
}

// old reports whether a frame that was written at that time of the buffer's clock
// is to be dropped.
func (d *Disk) old(clock int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.c.MaxAge > 0 && d.clock()-clock > int64(d.c.MaxAge)
}

// lose finishes the records up to number to with status s, parts frames of them.
// The caller is the reader.
func (d *Disk) lose(r *reader, to uint64, s ack.Status, parts uint64) {
	n := to - r.seq
	r.seq, r.parts = to, r.parts+parts
	at := pos{to, r.parts, r.sizes, 0, r.off}
	if r.seg != nil {
		at.segment = r.seg.number
	}
	token := new(ack.Token)
	token.Expect(d.c.Index + 1)
	token.Count(d.c.Index, s, int(n))
	d.tracker.Add(at, token, time.Now())
	token.Done()
	d.mu.Lock()
	if s == ack.DroppedDamaged {
		d.stats.damagedRecords += n
		if d.every("lost", time.Minute) {
			d.log.Error("records in the buffer are damaged; they are lost", "output", d.c.Output, "records", n)
		}
	} else {
		d.stats.expired += n
		if d.every("expired", time.Minute) {
			d.log.Warn("records waited longer than buffer.max_age; they are dropped", "output", d.c.Output, "records", n)
		}
	}
	if k := len(d.loaded); k > 0 {
		d.loaded[k-1].at = at // behind it, for the one who takes it
	} else {
		d.taken = at
	}
	t := d.taker
	d.mu.Unlock()
	t.signal() // it may be drained now
	d.wakeKeeper()
}

// damage counts bytes that make no sense.
func (d *Disk) damage(s *segment, bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.damaged = true
	d.stats.damagedBytes += uint64(bytes)
	d.stats.damagedPlaces++
	if d.every("damage", time.Minute) {
		d.log.Error("damage in the buffer; what is intact around it is delivered", "output", d.c.Output, "segment", s.name, "bytes", bytes)
	}
}
