package buffer

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/weirlog/weir/ack"
)

const (
	// keepEvery is how often it is looked what is finished, while something is
	// not, and noted where the end of the process changes nothing. saveEvery is how
	// often that is made durable if nobody waits for it.
	keepEvery = 20 * time.Millisecond
	keepFull  = 10 * time.Millisecond // while it is full
	saveEvery = time.Second
	// maxQuarantine is how many damaged segments are kept.
	maxQuarantine = 4
	// smallSegment is the size up to which an empty log keeps its last file,
	// beside what that began with.
	smallSegment = 64 << 10

	damagedSuffix = ".bad"
)

func (d *Disk) wakeKeeper() {
	select {
	case d.wakeup <- struct{}{}:
	default:
	}
}

// keepLoop moves the cursor and removes what is behind it.
func (d *Disk) keepLoop() {
	defer d.done.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	armed, fast := true, false
	for {
		select {
		case <-d.stopped:
			return
		case <-d.wakeup:
			if pause := d.pause(); !armed || !fast && pause < keepEvery {
				timer.Reset(pause)
				armed, fast = true, pause < keepEvery
			}
			continue
		case <-timer.C:
			armed = false
		}
		if err := d.keep(false); err != nil {
			d.mu.Lock()
			d.stats.errors++
			d.stats.lastError, d.stats.lastErrorAt = err.Error(), d.c.Now()
			if d.every("cursor", time.Minute) {
				d.log.Error("the cursor of the buffer cannot be saved; what is delivered meanwhile may be sent again", "output", d.c.Output, "error", err)
			}
			d.mu.Unlock()
		}
		if d.busy() {
			pause := d.pause()
			timer.Reset(pause)
			armed, fast = true, pause < keepEvery
		}
	}
}

func (d *Disk) pause() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isFull {
		return keepFull
	}
	return keepEvery
}

// busy reports whether the keeper has to look again without being woken.
func (d *Disk) busy() bool {
	n, _ := d.tracker.Open()
	d.mu.Lock()
	defer d.mu.Unlock()
	return n > 0 || d.at != d.saved || len(d.segments) > 1 && d.at.seq >= d.end.seq || d.c.MaxAge > 0 && d.taken.seq < d.end.seq
}

// keep moves the cursor over what is finished and, if it is time, saves it and
// removes segments.
func (d *Disk) keep(now bool) error {
	d.keeping.Lock()
	defer d.keeping.Unlock()
	d.expire()
	d.mu.Lock()
	if at, ok := d.tracker.Advance(&d.sum); ok {
		d.at = at
	}
	move := d.at != d.saved
	due := now || d.isFull || d.at.seq == d.end.seq || time.Since(d.stats.lastSave) >= saveEvery
	c := d.state()
	tell := d.update()
	d.mu.Unlock()
	d.announce(tell)
	if !due {
		if move {
			d.note(&c)
		}
		return nil
	}
	if !move && !now {
		return d.removeFinished(d.saved)
	}
	if err := d.save(&c); err != nil {
		return fmt.Errorf("save %s: %w", cursorName, err)
	}
	d.mu.Lock()
	d.turn = c.turn + 1
	d.saved = c.at
	d.stats.lastSave = time.Now()
	d.mu.Unlock()
	return d.removeFinished(c.at)
}

// state returns the cursor of this moment. The caller holds mu.
func (d *Disk) state() cursor {
	c := cursor{turn: d.turn, at: d.at, end: d.end, clock: d.clock(), salt: d.salt, tally: d.base}
	if d.c.Index < len(d.sum.Outputs) {
		for s, n := range d.sum.Outputs[d.c.Index] {
			c.tally[s] += n
		}
	}
	return c
}

// save makes a cursor durable, in the place that the newest one does not have.
// After a failure that is the same again: the other one is still good.
func (d *Disk) save(c *cursor) error {
	if d.cursorF == nil {
		f, err := d.fs.Create(cursorName)
		if err != nil {
			return err
		}
		// The room for both places, once and for all.
		if err = writeFull(f, make([]byte, 2*cursorSlot), 0); err == nil {
			if err = f.Sync(); err == nil {
				err = d.fs.SyncDir()
			}
		}
		if err != nil {
			f.Close()
			return err
		}
		d.mu.Lock()
		d.cursorF = f
		d.mu.Unlock()
	}
	var slot [cursorSlot]byte
	c.append(slot[:0])
	if err := writeFull(d.cursorF, slot[:], int64(c.turn%2)*cursorSlot); err != nil {
		return err
	}
	return d.sync(d.cursorF)
}

// note writes a cursor where the next save will write, and does not wait for the
// disk: a kill then repeats next to nothing, however short the process's life. When
// the power fails the place may be damaged; the other one, which is durable, is not
// touched.
func (d *Disk) note(c *cursor) {
	d.mu.Lock()
	f, news := d.cursorF, d.noted != c.at
	d.noted = c.at
	d.mu.Unlock()
	if f == nil || !news {
		return
	}
	var slot [cursorSlot]byte
	c.append(slot[:0])
	_ = writeFull(f, slot[:], int64(c.turn%2)*cursorSlot) // the next save tells
}

// expire drops what was read ahead and has become too old.
func (d *Disk) expire() {
	for {
		d.mu.Lock()
		if d.c.MaxAge <= 0 || len(d.loaded) == 0 || d.clock()-d.loaded[0].clock <= int64(d.c.MaxAge) {
			d.mu.Unlock()
			return
		}
		it := d.loaded[0]
		d.loaded[0] = loaded{}
		d.loaded = d.loaded[1:]
		d.loadSize -= it.bytes
		d.taken = it.at
		d.stats.expired += uint64(it.part.Len())
		if d.every("expired", time.Minute) {
			d.log.Warn("records waited longer than buffer.max_age; they are dropped", "output", d.c.Output, "records", it.part.Len())
		}
		d.work.Broadcast()
		d.mu.Unlock()
		it.part.Settle(d.c.Index, ack.DroppedExpired)
	}
}

// removeFinished removes the segments that end before a cursor that is durable.
func (d *Disk) removeFinished(at pos) error {
	d.mu.Lock()
	var gone []*segment
	for len(d.segments) > 1 && d.segments[1].first <= at.seq && slices.ContainsFunc(d.segments[1:], hasSnapshot) {
		gone = append(gone, d.segments[0])
		d.segments = d.segments[1:]
	}
	// Room goes first: with a full disk a new segment can only come in the place
	// of the old ones. A crash in between forgets what the sources have given,
	// which doubles what is read again.
	if d.failing != nil && d.active == nil && at.seq >= d.end.seq {
		gone = append(gone, d.segments...)
		d.segments = nil
	}
	// An empty log is a new file without records: what is remembered of sources
	// must not go with the old one.
	if s := d.segments; len(s) > 0 && at.seq >= d.end.seq && (len(s) > 1 || d.diskSize > smallSegment+d.emptySize) && len(d.pending) == 0 {
		d.rotate = true
		d.work.Broadcast()
	}
	for _, s := range gone {
		s.gone = true
	}
	if len(gone) > 0 {
		d.work.Broadcast() // the reader holds one open, which holds its room
	}
	d.mu.Unlock()
	var errs error
	for i, s := range gone {
		if err := d.discard(s.name, s.damaged); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = errors.Join(errs, fmt.Errorf("remove %s: %w", s.name, err))
			d.mu.Lock()
			d.segments = append(slices.Clone(gone[i:i+1]), d.segments...)
			d.mu.Unlock()
			continue
		}
		d.mu.Lock()
		d.diskSize -= s.size
		d.mu.Unlock()
	}
	d.mu.Lock()
	tell := d.update()
	d.mu.Unlock()
	d.announce(tell)
	return errs
}

func hasSnapshot(s *segment) bool { return s.snapshot }

// discard removes a file, or puts it aside if it is damaged.
func (d *Disk) discard(name string, damaged bool) error {
	if !damaged {
		return d.fs.Remove(name)
	}
	if err := d.fs.Rename(name, name+damagedSuffix); err != nil {
		return err
	}
	names, err := d.fs.ReadDir()
	if err != nil {
		return err
	}
	var bad []string
	for _, n := range names {
		if strings.HasSuffix(n, damagedSuffix) {
			bad = append(bad, n)
		}
	}
	slices.Sort(bad)
	for len(bad) > maxQuarantine {
		if err := d.fs.Remove(bad[0]); err != nil {
			return err
		}
		bad = bad[1:]
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.quarantined++
	if d.every("quarantine "+name, 0) {
		d.log.Warn("a damaged segment of the buffer is put aside", "output", d.c.Output, "file", name+damagedSuffix)
	}
	return nil
}
