package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	minSpool = 1 << 20
	maxSlots = 64
	segExt   = ".wlog"
	badExt   = ".damaged"
	lockName = "lock"
)

var (
	errLocked    = errors.New("in use by another process")
	errSpoolFull = errors.New("the spool is full")
)

// spool is the records in files. The directory of the configuration has
// directories called slot-00, slot-01 …, each with a file lock, whose lock the
// process has that writes there, and segments called by a number that grows.
//
// One goroutine appends and syncs; others take and ack.
type spool struct {
	dir     string
	open    openFunc
	res     []byte
	max     int64
	segSize int64
	sync    Sync
	lock    *os.File

	mu      sync.Mutex
	segs    []*segment // in the order of their records; the last one may be written
	total   int64      // bytes of files
	unread  int64      // bytes that no sender has
	seq     uint64     // of the last segment
	damaged uint64     // bytes skipped, or in segments put aside
}

// openSpool takes a free slot, and what is in others that nobody has. It returns
// how many records wait there.
func openSpool(c Spool, resource []byte, open openFunc) (s *spool, waiting uint64, err error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, 0, fmt.Errorf("spool: %w", err)
	}
	s = &spool{open: open, res: resource, max: c.MaxBytes, segSize: min(max(c.MaxBytes/8, 64<<10), 8<<20), sync: c.Sync}
	var denied error
	for n := range maxSlots {
		dir := filepath.Join(c.Dir, fmt.Sprintf("slot-%02d", n))
		lock, err := lockSlot(dir, s.lock == nil)
		switch {
		case errors.Is(err, errLocked), errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, fs.ErrPermission): // a program of another user shares the directory
			denied = err
			continue
		case err != nil:
			s.close()
			return nil, 0, fmt.Errorf("spool: %w", err)
		}
		if s.lock == nil {
			s.dir, s.lock = dir, lock
			waiting, err = s.recover(dir)
		} else {
			var more uint64
			more, err = s.recover(dir)
			waiting += more
			err = errors.Join(err, lock.Close())
		}
		if err != nil {
			s.close()
			return nil, 0, fmt.Errorf("spool: %w", err)
		}
	}
	if s.lock == nil && denied != nil {
		return nil, 0, fmt.Errorf("spool: no slot of %s can be used: %w", c.Dir, denied)
	}
	if s.lock == nil {
		return nil, 0, fmt.Errorf("spool: %s: all %d slots are in use by other processes", c.Dir, maxSlots)
	}
	return s, waiting, nil
}

// lockSlot locks a slot, which is made if create says so.
func lockSlot(dir string, create bool) (*os.File, error) {
	if create {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	return lockFile(filepath.Join(dir, lockName))
}

// recover takes the segments of a slot whose lock this process has. Those of
// another than its own are renamed into its own: behind that they belong to it
// whatever happens, and those that are not yet stay where they are.
func (s *spool) recover(dir string) (waiting uint64, err error) {
	names, err := segmentNames(dir)
	if err != nil {
		return 0, err
	}
	for _, old := range names {
		name := old
		if dir == s.dir {
			if n, ok := segmentSeq(filepath.Base(name)); ok {
				s.seq = max(s.seq, n)
			}
		} else {
			s.seq++
			name = s.segmentName(s.seq)
			if err := os.Rename(old, name); err != nil {
				return waiting, err
			}
		}
		n, err := s.adopt(name)
		if err != nil {
			return waiting, err
		}
		waiting += n
	}
	return waiting, s.limitDamaged()
}

// adopt adds a segment and counts what is in it.
func (s *spool) adopt(name string) (waiting uint64, err error) {
	info, err := os.Lstat(name)
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := s.open(name, false)
	if err != nil {
		return 0, err
	}
	seg, err := openSegment(f, name, info.Size())
	if errors.Is(err, errDamaged) {
		// An empty file is one that was just made.
		s.damaged += uint64(info.Size())
		if err := f.Close(); err != nil {
			return 0, err
		}
		if info.Size() == 0 {
			return 0, os.Remove(name)
		}
		return 0, os.Rename(name, strings.TrimSuffix(name, segExt)+badExt)
	}
	if err != nil {
		return 0, errors.Join(err, f.Close())
	}
	for off := seg.read; off < seg.size; {
		_, n, next, _, err := seg.frame(off)
		if err != nil {
			return 0, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
		}
		seg.unread += n
		off = next
	}
	waiting = uint64(seg.unread)
	s.total += seg.size
	s.unread += seg.size - seg.read
	seg.f = nil
	s.segs = append(s.segs, seg)
	return waiting, f.Close() // until a sender comes to it
}

// limitDamaged removes the oldest segments that were put aside if they take more
// than a quarter of what the spool may.
func (s *spool) limitDamaged() error {
	names, err := filepath.Glob(filepath.Join(s.dir, "*"+badExt))
	if err != nil {
		return err
	}
	slices.Sort(names)
	room := s.max / 4
	for _, name := range slices.Backward(names) {
		info, err := os.Lstat(name)
		if err != nil {
			return err
		}
		if room -= info.Size(); room < 0 {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *spool) segmentName(seq uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%016x%s", seq, segExt))
}

func segmentSeq(base string) (uint64, bool) {
	digits, ok := strings.CutSuffix(base, segExt)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	return n, err == nil
}

// segmentNames lists the segments of a directory, the oldest first.
func segmentNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if _, ok := segmentSeq(e.Name()); ok {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	return names, nil
}

// append writes a frame; with SyncAlways it is synced when append returns.
// errSpoolFull is in the error's chain if there is no room.
func (s *spool) append(payload []byte, records int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := int64(frameHeader + len(payload))
	seg := s.active()
	if seg != nil && seg.size+n > s.segSize && seg.size > int64(segmentFixed+len(seg.res)) {
		if err := s.seal(seg); err != nil {
			return err
		}
		seg = nil
	}
	need := n
	if seg == nil {
		need += int64(segmentFixed + len(s.res))
	}
	if s.total+need > s.max {
		return errSpoolFull
	}
	if seg == nil {
		s.seq++
		var err error
		if seg, err = createSegment(s.open, s.segmentName(s.seq), s.res); err != nil {
			return err
		}
		s.segs = append(s.segs, seg)
		s.total += seg.size
		if s.sync != SyncNever {
			if err := syncDir(s.dir); err != nil {
				return err
			}
		}
	}
	before := seg.size
	err := seg.append(payload, records)
	if err == nil && s.sync == SyncAlways {
		if err = seg.f.Sync(); err == nil {
			seg.dirty = false
		} else {
			// After a failed sync nobody knows what is on disk: the caller has the
			// records and will write them again, elsewhere.
			seg.size = before
			err = errors.Join(err, seg.f.Truncate(before))
		}
	}
	if err != nil {
		seg.sealed = true
		s.retire(seg)
		return err
	}
	s.total += n
	s.unread += n
	seg.unread += records
	return nil
}

// active is the segment that is written, nil if there is none.
func (s *spool) active() *segment {
	if n := len(s.segs); n > 0 && !s.segs[n-1].sealed {
		return s.segs[n-1]
	}
	return nil
}

// seal ends the writing of a segment.
func (s *spool) seal(seg *segment) error {
	seg.sealed = true
	var err error
	if seg.dirty && s.sync != SyncNever {
		err = seg.f.Sync()
		seg.dirty = false
	}
	s.retire(seg)
	return err
}

// flush syncs what was written since the last time.
func (s *spool) flush() error {
	s.mu.Lock()
	seg := s.active()
	if seg == nil || !seg.dirty {
		s.mu.Unlock()
		return nil
	}
	seg.dirty = false
	seg.taken++ // nobody closes it meanwhile
	s.mu.Unlock()
	err := seg.f.Sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	seg.taken--
	if err != nil {
		seg.sealed = true // what comes next goes elsewhere
	}
	s.retire(seg)
	return err
}

// position is the end of a batch in the spool.
type position struct {
	seg *segment
	off int64
}

// taken is what take has found.
type taken struct {
	buf     []byte
	records int
	res     []byte
	end     position
	lost    int // records that were there once and cannot be read any more
}

// take returns the next records, of one segment, up to limit bytes unless a frame
// alone is longer.
func (s *spool) take(limit int) (t taken, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range slices.Clone(s.segs) {
		for seg.read < seg.size {
			if seg.f == nil {
				if seg.f, err = s.open(seg.name, false); err != nil {
					return t, s.unreadable(seg, &t, err)
				}
			}
			p, n, next, skipped, err := seg.frame(seg.read)
			if err != nil {
				return t, s.unreadable(seg, &t, err)
			}
			if t.records > 0 && len(t.buf)+len(p) > limit {
				break
			}
			s.damaged += uint64(skipped)
			s.unread -= next - seg.read
			seg.read = next
			seg.unread -= n
			t.buf = append(t.buf, p...)
			t.records += n
		}
		if seg.read == seg.size {
			t.lost += seg.unread
			seg.unread = 0
		}
		if t.records > 0 {
			seg.taken++
			t.res, t.end = seg.res, position{seg, seg.read}
			return t, nil
		}
		s.retire(seg)
	}
	return t, nil
}

// unreadable gives up the rest of a segment that cannot be read.
func (s *spool) unreadable(seg *segment, t *taken, err error) error {
	s.damaged += uint64(seg.size - seg.read)
	s.unread -= seg.size - seg.read
	seg.read = seg.size
	seg.sealed = true
	t.lost += seg.unread
	seg.unread = 0
	if t.records > 0 {
		seg.taken++
		t.res, t.end = seg.res, position{seg, seg.read}
	} else {
		s.retire(seg)
	}
	return fmt.Errorf("%s: %w", seg.name, err)
}

// ack notes that all up to the end of a batch is acknowledged.
func (s *spool) ack(end position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	end.seg.taken--
	err := end.seg.ack(end.off)
	s.retire(end.seg)
	return err
}

// retire removes a segment that has nothing any more that is not acknowledged,
// and nobody writes.
func (s *spool) retire(seg *segment) {
	if !seg.sealed || seg.taken > 0 || seg.read < seg.size {
		return
	}
	i := slices.Index(s.segs, seg)
	if i < 0 {
		return
	}
	s.segs = slices.Delete(s.segs, i, i+1)
	s.total -= seg.size
	if seg.f != nil {
		seg.f.Close()
	}
	// If it stays, it is sent once more by the next process.
	os.Remove(seg.name)
}

// bytes returns the size of all files, and of what no sender has.
func (s *spool) bytes() (total, unread int64, damaged uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total, s.unread, s.damaged
}

// close syncs and closes the files; those that hold nothing are removed.
func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, seg := range slices.Clone(s.segs) {
		if seg.acked >= seg.size {
			seg.sealed, seg.taken, seg.read = true, 0, seg.size
			s.retire(seg)
			continue
		}
		if seg.f == nil {
			continue
		}
		if seg.dirty && s.sync != SyncNever {
			errs = append(errs, seg.f.Sync())
		}
		errs = append(errs, seg.f.Close())
		seg.f = nil
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
