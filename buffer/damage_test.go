package buffer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// filled returns the files of a buffer with some lines in several segments of
// which the first few are finished, and how many lines there are.
func filled(t testing.TB, segment int64, parts, each int) (files map[string][]byte, w *world) {
	w = newWorld(t, 1)
	w.segment = segment
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	for range parts {
		token := w.tokens.Track(w.next+each, time.Now())
		p := w.part(w.next, w.next+each, token)
		w.next += each
		w.lines = w.next
		w.d.Put(p)
		if err := w.d.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
	if !w.take() {
		t.Fatal("nothing to take")
	}
	w.settle()
	if err := w.d.Shut(context.Background()); err != nil {
		t.Fatal(err)
	}
	return w.fs.contents(), w
}

func (c *crashFS) contents() map[string][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string][]byte{}
	for name, n := range c.names {
		out[name] = slices.Clone(n.data)
	}
	return out
}

func fsOf(files map[string][]byte) *crashFS {
	c := newCrashFS(1)
	for name, data := range files {
		n := &inode{data: slices.Clone(data), durable: slices.Clone(data)}
		c.names[name], c.durable[name] = n, n
	}
	return c
}

// readAll opens the buffer of some files and takes everything, checked. It
// returns the lines in the order in which they came, and the books.
func (w *world) readAll(files map[string][]byte) (lines []int, s DiskStats) {
	w.fs = fsOf(files)
	w.acked = 0
	if err := w.open(); err != nil {
		w.t.Fatalf("open: %v", err)
	}
	for {
		synctest.Wait()
		if !w.take() {
			break
		}
		for _, i := range w.held[0].Index() {
			lines = append(lines, int(w.held[0].Batch().Record(int(i)).Time))
		}
		w.settle()
	}
	if err := w.d.Shut(context.Background()); err != nil {
		w.t.Fatalf("shut: %v", err)
	}
	s = w.d.Stats()
	if s.Waiting != 0 || s.Written != s.Ended[ack.Delivered]+s.Ended[ack.DroppedDamaged] {
		w.t.Fatalf("books: %+v", s)
	}
	return lines, s
}

func segmentsOf(files map[string][]byte) (names []string) {
	for name := range files {
		if strings.HasSuffix(name, ".seg") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func clone(files map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for name, data := range files {
		out[name] = slices.Clone(data)
	}
	return out
}

// FAILURES 59: every byte of header, frames and cursor, flipped: exactly the
// records of that frame are missing, counted to the record, and nothing else.
func TestFailure59_EveryByteFlipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 2
		files, w := filled(t, 1500, 6, each)
		names := append(segmentsOf(files), cursorName)
		if len(names) < 4 {
			t.Fatalf("only %v", names)
		}
		for at, name := range names {
			step := 1
			if testing.Short() {
				step = 13
			}
			for off := 0; off < len(files[name]); off += step {
				bad := clone(files)
				bad[name][off] ^= 1 << (off % 8)
				lines, s := w.readAll(bad)
				lost := w.lines - each - len(lines) // the first part is finished
				if name == cursorName && lost < 0 {
					lost += each // the older cursor, or none: delivered again
				}
				switch {
				case lost != 0 && lost != each:
					t.Fatalf("%s, byte %d flipped: %d lines missing, got %v", name, off, lost, lines)
				case !slices.IsSorted(lines):
					t.Fatalf("%s, byte %d flipped: order %v", name, off, lines)
				case lost > 0 && at < len(names)-2 && s.Ended[ack.DroppedDamaged] != uint64(lost):
					t.Fatalf("%s, byte %d flipped: %d lines missing, %d counted", name, off, lost, s.Ended[ack.DroppedDamaged])
				case lost > 0 && at == len(names)-2 && s.Ended[ack.DroppedDamaged] != uint64(lost):
					t.Fatalf("last segment %s, byte %d flipped: %d lines missing, %d counted", name, off, lost, s.Ended[ack.DroppedDamaged])
				}
				if lost > 0 && at < len(names)-2 && !slices.ContainsFunc(segmentsBad(w.fs), func(n string) bool { return strings.HasPrefix(n, name) }) {
					t.Fatalf("%s, byte %d flipped: not put aside: %v", name, off, segmentsBad(w.fs))
				}
			}
		}
	})
}

func segmentsBad(c *crashFS) (names []string) {
	for name := range c.contents() {
		if strings.HasSuffix(name, damagedSuffix) {
			names = append(names, name)
		}
	}
	return names
}

// FAILURES 60: segments missing, doubled, empty, short, with exchanged names.
func TestFailure60_SegmentsMissingExtraSwapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 2
		files, w := filled(t, 1500, 8, each)
		names := segmentsOf(files)
		if len(names) < 4 {
			t.Fatalf("only %v", names)
		}
		all, _ := w.readAll(files)
		for at, name := range names {
			less := clone(files)
			delete(less, name)
			lines, s := w.readAll(less)
			if got := len(all) - len(lines); got == 0 && at > 0 || s.Ended[ack.DroppedDamaged] != uint64(got) {
				t.Errorf("%s missing: %d lines missing, %d counted", name, got, s.Ended[ack.DroppedDamaged])
			}
			less[name] = nil
			if again, _ := w.readAll(less); !slices.Equal(again, lines) {
				t.Errorf("%s empty: %v, missing: %v", name, again, lines)
			}
			less[name] = files[name][:headerSize/2]
			if again, _ := w.readAll(less); !slices.Equal(again, lines) {
				t.Errorf("%s cut in its header: %v, missing: %v", name, again, lines)
			}
			twice := clone(files)
			twice[segmentName(100+uint64(at))] = files[name]
			if again, s := w.readAll(twice); !slices.Equal(again, all) || s.Ended[ack.DroppedDamaged] != 0 {
				t.Errorf("%s twice: %v %+v", name, again, s)
			}
			if at > 0 {
				swapped := clone(files)
				swapped[name], swapped[names[at-1]] = files[names[at-1]], files[name]
				if again, s := w.readAll(swapped); !slices.Equal(again, all) || s.Ended[ack.DroppedDamaged] != 0 {
					t.Errorf("%s and %s exchanged: %v %+v", name, names[at-1], again, s)
				}
			}
		}
		extra := clone(files)
		extra[segmentName(50)] = []byte("this is no segment")
		extra["notes.txt"] = []byte("neither is this")
		if again, _ := w.readAll(extra); !slices.Equal(again, all) {
			t.Errorf("with strange files: %v", again)
		}
		if got := w.fs.contents(); got["notes.txt"] == nil || got[segmentName(50)+damagedSuffix] == nil {
			t.Error("strange files were removed")
		}
	})
}

// FAILURES 61: the cursor is gone, or from an older copy of the directory: what
// was delivered since then may come again, nothing is missing.
func TestFailure61_OldCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files, w := filled(t, 1500, 6, 2)
		all, _ := w.readAll(files)
		less := clone(files)
		delete(less, cursorName)
		lines, s := w.readAll(less)
		// The first part was finished and its segment removed: without the cursor
		// that looks as if it had been lost.
		if len(lines) < len(all) || s.Ended[ack.DroppedDamaged] > 2 {
			t.Errorf("without a cursor: %v, want at least %v; %+v", lines, all, s)
		}
		// The log is older than the cursor: an old copy of the segments.
		w.fs = fsOf(map[string][]byte{cursorName: files[cursorName]})
		if err := w.open(); err != nil {
			t.Fatal(err)
		}
		s = w.d.Stats()
		if s.Written != uint64(w.lines) {
			t.Errorf("with the cursor alone: %+v", s)
		}
		synctest.Wait()
		if _, n, _ := w.d.Len(); n != 0 {
			t.Errorf("%d records wait in no log", n)
		}
		if err := w.d.Shut(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

// FAILURES 66: what a later version wrote is refused, and not touched.
func TestFailure66_UnknownVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files, _ := filled(t, 1500, 6, 2)
		name := segmentsOf(files)[1]
		later := clone(files)
		h, err := parseHeader(later[name])
		if err != nil {
			t.Fatal(err)
		}
		p := h.append(nil)
		p[8] = 2
		copy(later[name], reseal(p))
		cursors := clone(files)
		c := cursors[cursorName]
		for i := range 2 {
			one := c[i*cursorSlot : (i+1)*cursorSlot]
			var cur cursor
			if cur.parse(one) == nil {
				q := cur.append(nil)
				q[8] = 2
				copy(one, reseal(q))
			}
		}
		for what, files := range map[string]map[string][]byte{"segment": later, "cursor": cursors} {
			fs := fsOf(files)
			_, err := OpenDisk(DiskConfig{FS: fs, MaxBytes: 1 << 20})
			if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "version 2") || !strings.Contains(err.Error(), "update weir") {
				t.Errorf("%s of a later version: %v", what, err)
			}
			for name, data := range files {
				if string(fs.contents()[name]) != string(data) {
					t.Errorf("%s of a later version: %s was changed", what, name)
				}
			}
		}
	})
}

// FAILURES 63: a second process is told who has the buffer.
func TestFailure63_SecondProcess(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, DiskConfig{Dir: dir})
	_, err := OpenDisk(DiskConfig{Dir: dir, MaxBytes: 1 << 20})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "in use by process") {
		t.Errorf("second open: %v", err)
	}
	if _, err := Inspect(dir); err != nil {
		t.Errorf("a reader is refused: %v", err)
	}
	if err := d.Shut(context.Background()); err != nil {
		t.Fatal(err)
	}
	shut(t, openDisk(t, DiskConfig{Dir: dir}))
}

// FAILURES 65: a backlog is not read to be opened, and reading it is bounded.
func TestFailure65_Backlog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files, w := filled(t, 8<<10, 400, 8)
		w.fs = fsOf(files)
		w.acked = 0
		var bytes atomic.Int64
		w.fs.onRead = func(_ string, n int) { bytes.Add(int64(n)) }
		if err := w.open(); err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		for _, data := range files {
			total += int64(len(data))
		}
		if bytes.Load() > total/8 {
			t.Errorf("%d of %d bytes were read to open it", bytes.Load(), total)
		}
		synctest.Wait()
		if bytes.Load() > total/4 {
			t.Errorf("%d of %d bytes are read ahead", bytes.Load(), total)
		}
		w.d.mu.Lock()
		if n := w.d.loadSize; n > 64<<10 {
			t.Errorf("%d bytes are in memory, want about 4 KiB", n)
		}
		w.d.mu.Unlock()
		if n := w.d.Stats().Waiting; n != uint64(w.lines-8) {
			t.Errorf("%d records wait, want %d", n, w.lines-8)
		}
		if err := w.d.Shut(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

// FAILURES 67: a sync takes 2 s, then the disk stalls for 60 s. What is put
// meanwhile is made durable together; nobody is kept waiting by anything but Full.
func TestFailure67_SlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.segment = 1 << 20
		if err := w.open(); err != nil {
			t.Fatal(err)
		}
		w.d.SetLimits(1<<30, 0, 1<<20)
		var stall atomic.Int64
		stall.Store(int64(2 * time.Second))
		w.fs.mu.Lock()
		w.fs.beforeSync = func(string) { time.Sleep(time.Duration(stall.Load())) }
		w.fs.mu.Unlock()
		begin := time.Now()
		for range 50 {
			w.put()
		}
		if time.Since(begin) > 0 {
			t.Errorf("Put waited for %s", time.Since(begin))
		}
		if err := w.d.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("50 parts took %s at 2 s a sync: %+v", took, w.d.Stats())
		}
		stall.Store(int64(time.Minute))
		w.put()
		synctest.Wait()
		begin = time.Now()
		w.d.Stats()
		w.d.Full()
		for w.take() {
			w.settle()
			w.d.Len()
		}
		if time.Since(begin) > 0 {
			t.Errorf("reading and asking took %s while the disk stalls", time.Since(begin))
		}
		stall.Store(0)
		if err := w.d.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := w.d.Shut(context.Background()); err != nil {
			t.Fatal(err)
		}
		w.finish()
	})
}

// FAILURES 68: the clock is set by an hour and by ten years, forth and back, and
// the process is down for a month: max_age drops nothing for it. What was in an
// open buffer for longer is dropped and counted.
func TestFailure68_ClockJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newCrashFS(1)
		var jump atomic.Int64
		open := func() *Disk {
			d, err := OpenDisk(DiskConfig{FS: fs, MaxBytes: 1 << 30, MaxAge: time.Hour, Now: func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }})
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		w := newWorld(t, 1)
		d := open()
		put := func(n int) {
			d.Put(w.part(n, n+1, new(ack.Token)))
			if err := d.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		put(0)
		for i, j := range []time.Duration{time.Hour, -time.Hour, 87600 * time.Hour, -87600 * time.Hour, 0} {
			jump.Store(int64(j))
			time.Sleep(time.Minute)
			put(1 + i)
			if since, ok := d.OldestSince(); !ok || since.After(time.Now().Add(j)) {
				t.Errorf("jump by %s: oldest since %v, in the future", j, since)
			}
			if n := d.Stats().Expired; n != 0 {
				t.Fatalf("jump by %s: %d records dropped", j, n)
			}
		}
		if err := d.Shut(context.Background()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * 24 * time.Hour)
		d = open()
		time.Sleep(10 * time.Minute)
		if s := d.Stats(); s.Expired != 0 || s.Waiting != 6 {
			t.Fatalf("after a month of downtime: %+v", s)
		}
		time.Sleep(2 * time.Hour)
		s := d.Stats()
		if s.Expired != 6 || s.Waiting != 0 || s.Ended[ack.DroppedExpired] != 6 {
			t.Fatalf("after two hours in it: %+v", s)
		}
		if err := d.Shut(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

// A buffer whose files are larger than its limit is full until it is drained, and
// says so.
func TestDiskBoundedByBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.fs = newCrashFS(1)
		d, err := OpenDisk(DiskConfig{FS: w.fs, MaxBytes: 64 << 10, SegmentBytes: 8 << 10, Memory: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		w.d, w.inLife = d, map[int]bool{}
		rooms := 0
		d.OnRoom(func() { rooms++ })
		for !d.Full() {
			w.put()
			if err := d.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if s := d.Stats(); s.Bytes < 60<<10 || s.Bytes > 70<<10 {
			t.Errorf("full at %d bytes", s.Bytes)
		}
		for n := 0; d.Full(); n++ {
			if !w.take() {
				time.Sleep(time.Second)
				continue
			}
			w.settle()
			time.Sleep(20 * time.Millisecond)
		}
		if s := d.Stats(); rooms != 1 || s.Waiting == 0 || s.Bytes < 48<<10 {
			t.Errorf("room %d times, %+v: want it after one segment", rooms, s)
		}
		// A smaller limit is one at once, a larger one as well.
		d.SetLimits(1<<10, 0, 0)
		if !d.Full() {
			t.Error("not full at a smaller limit")
		}
		d.SetLimits(1<<20, 0, 0)
		if d.Full() || rooms != 2 {
			t.Errorf("full %v at a larger limit, room %d times", d.Full(), rooms)
		}
		if err := d.Shut(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

// An output whose settings change hands over: what its predecessor took and did
// not deliver comes first.
func TestTakerHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		if err := w.open(); err != nil {
			t.Fatal(err)
		}
		old := w.d.Taker()
		for range 3 {
			w.put()
		}
		if err := w.d.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		p, ok := old.TryNext()
		if !ok {
			t.Fatal("nothing to take")
		}
		young := w.d.Taker()
		if _, ok := old.TryNext(); ok || !old.Drained() || old.Current() {
			t.Error("the old one still gets something")
		}
		w.d.Return([]record.Part{p})
		<-young.Ready()
		var got []string
		for {
			p, ok := young.TryNext()
			if !ok {
				break
			}
			for _, i := range p.Index() {
				got = append(got, fmt.Sprint(w.check(p.Batch(), int(i))))
			}
			p.Settle(0, ack.Delivered)
			synctest.Wait()
		}
		if len(got) != w.lines || got[0] != "0" || !slices.IsSortedFunc(got, func(a, b string) int { return len(a) - len(b) }) {
			t.Errorf("got %v of %d", got, w.lines)
		}
		if err := w.d.Shut(context.Background()); err != nil {
			t.Fatal(err)
		}
		if s := w.d.Stats(); s.Ended[ack.Delivered] != uint64(w.lines) || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// reseal computes the sum at the end of p anew.
func reseal(p []byte) []byte {
	binary.LittleEndian.PutUint32(p[len(p)-4:], crc32.Checksum(p[:len(p)-4], castagnoli))
	return p
}
