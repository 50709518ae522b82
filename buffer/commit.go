package buffer

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/weirlog/weir/ack"
)

const (
	// groupBytes is how much is made durable at once at most, as of Part.Size.
	groupBytes = 8 << 20
	// frameBytes is the size at which a Part is cut into several frames.
	frameBytes = 16 << 20

	minPause, maxPause = 50 * time.Millisecond, 5 * time.Second
)

// segment is one file of the log.
type segment struct {
	name    string
	number  uint64
	first   uint64 // number of its first record
	salt    uint32
	end     int64 // of what may be read
	size    int64 // on disk
	damaged bool  // to be kept for people when it is finished
	// snapshot says that it begins with an intact one: what is before it is not
	// needed to know what the sources have given.
	snapshot bool
	gone     bool // removed
	f        File // of the one being written
}

// group is what is made durable together.
type group struct {
	items  []waiting
	buf    []byte // its frames
	first  uint64
	end    pos
	known  uint64 // records that the log had already
	frames int
}

// commitLoop makes what was put durable, one group after the other.
func (d *Disk) commitLoop() {
	defer d.done.Done()
	e := encoder{salt: d.salt}
	var buf []byte
	limit := groupBytes
	for {
		d.mu.Lock()
		for len(d.pending) == 0 && !d.stop && !d.rotate {
			d.work.Wait()
		}
		if len(d.pending) == 0 && d.rotate {
			d.rotate = false
			d.retire()
			g := group{first: d.end.seq, end: d.end}
			d.mu.Unlock()
			_ = d.begin(&g) // the keeper asks again
			d.wakeKeeper()
			continue
		}
		if len(d.pending) == 0 {
			d.mu.Unlock()
			return
		}
		n, bytes := 0, 0
		for n < len(d.pending) && (n == 0 || bytes+d.pending[n].size <= limit) {
			bytes += d.pending[n].size
			n++
		}
		d.committing = n
		g := group{items: d.pending[:n:n], buf: buf[:0], first: d.end.seq, end: d.end}
		if e.packFrom = cmp.Or(d.c.packFrom, packFrom); d.c.Plain {
			e.packFrom = 0
		}
		d.mu.Unlock()

		d.encode(&e, &g)
		if err := d.attempt(&g); err != nil {
			// Less may fit where so much does not.
			limit = max(limit/2, 1)
			d.sources.undo()
			if !d.rest() {
				return
			}
			continue
		}
		limit = min(2*limit, groupBytes)
		d.sources.settled()
		for i := range g.items {
			g.items[i].part.Settle(d.c.Index, ack.Buffered)
		}
		if buf = g.buf; cap(buf) > 4*groupBytes {
			buf = nil
		}
		d.published(&g)
	}
}

// encode makes the group's frames.
func (d *Disk) encode(e *encoder, g *group) {
	clock := d.clock()
	var fresh []uint32
	for _, it := range g.items {
		b, idx := it.part.Batch(), it.part.Index()
		fresh = fresh[:0]
		d.sources.batch()
		for _, i := range idx {
			if d.sources.take(b, int(i), clock) {
				fresh = append(fresh, i)
			}
		}
		size := it.size
		if n := len(idx) - len(fresh); n > 0 {
			g.known += uint64(n)
			size = 0
			for _, i := range fresh {
				size += b.RecordSize(int(i))
			}
		}
		for idx = fresh; len(idx) > 0; {
			n, cut := len(idx), size
			if size > frameBytes {
				n, cut = 0, 0
				for n < len(idx) && (n == 0 || cut+b.RecordSize(int(idx[n])) <= frameBytes) {
					cut += b.RecordSize(int(idx[n]))
					n++
				}
			}
			g.buf = e.frame(g.buf, b, idx[:n], cut, place{g.end.seq, g.end.parts, g.end.sizes, it.at.UnixNano(), clock})
			g.frames++
			g.end.seq += uint64(n)
			g.end.parts++
			g.end.sizes += uint64(cut)
			idx, size = idx[n:], size-cut
		}
	}
}

// attempt writes the group once. If that fails nothing of it is durable.
func (d *Disk) attempt(g *group) error {
	if len(g.buf) == 0 {
		return nil
	}
	err := d.write(g)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		if d.failing != nil {
			d.log.Info("buffer can be written again", "output", d.c.Output, "after_attempts", d.attempts)
		}
		d.failing, d.attempts = nil, 0
		return nil
	}
	d.failing = err
	d.attempts++
	d.failedRounds++
	d.stats.errors++
	d.stats.lastError, d.stats.lastErrorAt = err.Error(), d.c.Now()
	if d.every("write", time.Minute) {
		d.log.Error("buffer cannot be written; nothing is taken until it can, and what is in it goes on being delivered", "output", d.c.Output, "error", err)
	}
	d.committing = 0
	d.isFull = d.full()
	d.settled.Broadcast()
	return err
}

// rest waits before the next attempt. It reports false if there is to be none:
// the buffer is shut.
func (d *Disk) rest() bool {
	d.wakeKeeper() // there may be something to remove
	d.mu.Lock()
	pause := min(minPause<<min(d.attempts-1, 10), maxPause)
	hurry := d.hurry
	d.mu.Unlock()
	if hurry {
		return false
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-d.stopped:
	}
	return true
}

// write makes the group durable, in the active segment or a new one.
func (d *Disk) write(g *group) error {
	d.mu.Lock()
	s := d.active
	if s != nil && s.end+int64(len(g.buf)) > d.segmentBytes() && s.end > headerSize {
		d.retire()
		s = nil
	}
	d.mu.Unlock()
	if s == nil {
		return d.begin(g)
	}
	err := writeFull(s.f, g.buf, s.end)
	if err == nil {
		err = d.sync(s.f)
	}
	if err != nil {
		// Whatever is behind the last sync that worked is not trusted. It may be
		// there or not; it stands in the next segment as well.
		_ = s.f.Truncate(s.end)
		d.mu.Lock()
		d.stats.poisoned++
		d.retire()
		d.mu.Unlock()
		return fmt.Errorf("write %s: %w", s.name, err)
	}
	d.mu.Lock()
	s.end += int64(len(g.buf))
	s.size = s.end
	d.diskSize += int64(len(g.buf))
	d.mu.Unlock()
	return nil
}

// retire ends the writing of the active segment. The caller holds mu.
func (d *Disk) retire() {
	if d.active != nil {
		d.active.f.Close()
		d.active.f, d.active = nil, nil
	}
}

// begin makes a new segment with the group.
func (d *Disk) begin(g *group) (err error) {
	d.mu.Lock()
	h := header{number: d.number, first: g.first, parts: d.end.parts, sizes: d.end.sizes, made: d.c.Now().UnixNano(), salt: d.salt}
	c := d.state()
	d.number++
	d.mu.Unlock()
	head := h.append(nil)
	at := len(head)
	head = append(head, make([]byte, frameHead)...)
	head = binary.LittleEndian.AppendUint32(head, kindSnapshot)
	head = c.appendState(head)
	head = d.sources.append(head, d.clock())
	seal(head[at:], g.first, 0, false, d.salt)

	s := &segment{name: segmentName(h.number), number: h.number, first: g.first, salt: d.salt, snapshot: true}
	f, err := d.fs.Create(s.name)
	if err != nil {
		return fmt.Errorf("create %s: %w", s.name, err)
	}
	if err = writeFull(f, head, 0); err == nil {
		if err = writeFull(f, g.buf, int64(len(head))); err == nil {
			if err = d.sync(f); err == nil {
				err = d.fs.SyncDir()
			}
		}
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("write %s: %w", s.name, err), f.Close())
		_ = d.fs.Remove(s.name) // if it stays, what it has is in the next one as well
		return err
	}
	s.f = f
	s.end = int64(len(head) + len(g.buf))
	s.size = s.end
	d.mu.Lock()
	defer d.mu.Unlock()
	d.active = s
	d.segments = append(d.segments, s)
	d.diskSize += s.size
	d.emptySize = int64(len(head))
	return nil
}

func (d *Disk) sync(f File) error {
	begin := time.Now()
	err := f.Sync()
	took := time.Since(begin)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.syncs++
	d.stats.syncTime += took
	if took > slowSync && d.every("slow", time.Minute) {
		d.log.Warn("the disk of the buffer is slow", "output", d.c.Output, "fsync", took.Round(time.Millisecond))
	}
	return err
}

// slowSync is how long a sync may take before somebody should know.
const slowSync = 2 * time.Second

// published lets the group be read and forgets it as pending.
func (d *Disk) published(g *group) {
	d.mu.Lock()
	d.end = pos{seq: g.end.seq, parts: g.end.parts, sizes: g.end.sizes}
	d.stats.known += g.known
	d.stats.groups++
	for i := range g.items {
		d.pendingSum.parts--
		d.pendingSum.records -= g.items[i].part.Len()
		d.pendingSum.bytes -= g.items[i].size
		d.pending[i] = waiting{}
	}
	if d.pending = d.pending[len(g.items):]; len(d.pending) == 0 {
		d.pending = nil
	}
	d.committing = 0
	tell := d.update()
	d.work.Broadcast()
	d.settled.Broadcast()
	t := d.taker
	d.mu.Unlock()
	d.announce(tell)
	if d.Drained() {
		t.signal()
	}
}

func segmentName(number uint64) string { return fmt.Sprintf("%016x.seg", number) }
