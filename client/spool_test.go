package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"testing"
	"time"
)

// testPayload is n elements of ScopeLogs with a bytes each, beginning with id.
func testPayload(id uint64, n, size int) []byte {
	var p []byte
	for range n {
		rec := binary.LittleEndian.AppendUint64([]byte{recordTime<<3 | wireFixed64}, id)
		rec = appendStringField(rec, recordSeverityText, strings.Repeat("x", size))
		p = append(binary.AppendUvarint(append(p, scopeRecords<<3|wireBytes), uint64(len(rec))), rec...)
	}
	return p
}

func testSpool(t testing.TB, dir string, max int64, sync Sync) (*spool, uint64) {
	t.Helper()
	s, waiting, err := openSpool(Spool{Dir: dir, MaxBytes: max, Sync: sync}, []byte("resource"), openFile)
	if err != nil {
		t.Fatal(err)
	}
	return s, waiting
}

// crash leaves a spool as a killed process does.
func (s *spool) crash() {
	for _, seg := range s.segs {
		if seg.f != nil {
			seg.f.Close()
		}
	}
	s.lock.Close()
}

// drain takes and acknowledges all there is.
func drain(t testing.TB, s *spool) (out [][]byte) {
	t.Helper()
	for {
		tk, err := s.take(1)
		if err != nil {
			t.Fatal(err)
		}
		if tk.records == 0 {
			return out
		}
		out = append(out, tk.buf)
		if err := s.ack(tk.end); err != nil {
			t.Fatal(err)
		}
	}
}

// Random appends, takes, acknowledgements, restarts and kills, against a list.
func TestSpoolModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rounds := 60
	if testing.Short() || raceEnabled {
		rounds = 15
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		dir := t.TempDir()
		max := int64(1<<20 + r.IntN(1<<20))
		s, _ := testSpool(t, dir, max, Sync(r.IntN(3)))
		var model [][]byte // what was appended and is not acknowledged
		var open []taken   // taken, in order
		next := uint64(0)
		restart := func(kill bool) {
			if kill {
				s.crash()
			} else if err := s.close(); err != nil {
				t.Fatal(err)
			}
			open = nil
			var waiting uint64
			s, waiting = testSpool(t, dir, max, Sync(r.IntN(3)))
			n := 0
			for _, p := range model {
				n += count(p)
			}
			if int(waiting) != n {
				t.Fatalf("seed %d/%d: %d records wait, want %d", seed, round, waiting, n)
			}
		}
		taken := 0
		for range 300 {
			switch k := r.IntN(20); {
			case k < 9:
				p := testPayload(next, 1+r.IntN(5), r.IntN(20000))
				next++
				err := s.append(p, count(p))
				if errors.Is(err, errSpoolFull) {
					if total, _, _ := s.bytes(); total < max*6/10 {
						t.Fatalf("seed %d/%d: full at %d of %d", seed, round, total, max)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				model = append(model, p)
			case k < 14:
				tk, err := s.take(1 + r.IntN(100000))
				if err != nil {
					t.Fatal(err)
				}
				if tk.records == 0 {
					if taken != len(model) {
						t.Fatalf("seed %d/%d: nothing to take, but %d of %d are", seed, round, taken, len(model))
					}
					continue
				}
				for rest := tk.buf; len(rest) > 0; taken++ {
					if !bytes.HasPrefix(rest, model[taken]) {
						t.Fatalf("seed %d/%d: another payload", seed, round)
					}
					rest = rest[len(model[taken]):]
				}
				if string(tk.res) != "resource" {
					t.Fatalf("resource %q", tk.res)
				}
				open = append(open, tk)
			case k < 18:
				if len(open) == 0 {
					continue
				}
				if err := s.ack(open[0].end); err != nil {
					t.Fatal(err)
				}
				for n := len(open[0].buf); n > 0; taken-- {
					n -= len(model[0])
					model = model[1:]
				}
				open = open[1:]
			case k == 18:
				if err := s.flush(); err != nil {
					t.Fatal(err)
				}
			default:
				if r.IntN(3) == 0 {
					restart(r.IntN(2) == 0)
					taken = 0
				}
			}
			if total, _, damaged := s.bytes(); total > max || damaged > 0 {
				t.Fatalf("seed %d/%d: %d bytes of %d, %d damaged", seed, round, total, max, damaged)
			}
		}
		restart(true)
		if got := drain(t, s); !slices.EqualFunc(got, model, bytes.Equal) {
			t.Fatalf("seed %d/%d: %d payloads, want %d", seed, round, len(got), len(model))
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		if names, _ := segmentNames(s.dir); len(names) > 0 {
			t.Fatalf("%v are left", names)
		}
	}
}

func count(p []byte) (n int) {
	for len(p) > 0 {
		p = p[recordLen(p):]
		n++
	}
	return n
}

// written makes a spool with some frames in one segment, and returns its file.
func written(t testing.TB, dir string, frames int) (name string, payloads [][]byte) {
	s, _ := testSpool(t, dir, 1<<20, SyncNever)
	for i := range frames {
		p := testPayload(uint64(i), 1+i%3, 20+i)
		if err := s.append(p, count(p)); err != nil {
			t.Fatal(err)
		}
		payloads = append(payloads, p)
	}
	name = s.segs[0].name
	s.crash()
	return name, payloads
}

// Wherever the last write was torn, all frames before are there.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	name, payloads := written(t, dir, 4)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	begin := len(whole) - frameHeader - len(payloads[3])
	for size := begin; size <= len(whole); size++ {
		if err := os.WriteFile(name, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		want := payloads[:3]
		if size == len(whole) {
			want = payloads
		}
		s, waiting := testSpool(t, dir, 1<<20, SyncNever)
		got := drain(t, s)
		if !slices.EqualFunc(got, want, bytes.Equal) || int(waiting) != count(bytes.Join(want, nil)) {
			t.Fatalf("cut at %d: %d payloads", size, len(got))
		}
		if _, _, damaged := s.bytes(); size < len(whole) && int(damaged) != size-begin {
			t.Fatalf("cut at %d: %d bytes damaged", size, damaged)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
	// Not even a header.
	for size := range segmentFixed + len("resource") {
		if err := os.WriteFile(name, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		s, waiting := testSpool(t, dir, 1<<20, SyncNever)
		if got := drain(t, s); len(got) > 0 || waiting > 0 {
			t.Fatalf("cut at %d: %d payloads", size, len(got))
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Whichever byte is flipped, exactly the frame it is in is missing, and nothing
// comes out that did not go in.
func TestFlippedByte(t *testing.T) {
	dir := t.TempDir()
	name, payloads := written(t, dir, 5)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	ends := []int{segmentFixed + len("resource")}
	for _, p := range payloads {
		ends = append(ends, ends[len(ends)-1]+frameHeader+len(p))
	}
	for i := range whole {
		p := bytes.Clone(whole)
		p[i] ^= 1 << (i % 8)
		if err := os.WriteFile(name, p, 0o600); err != nil {
			t.Fatal(err)
		}
		want := payloads
		switch at, _ := slices.BinarySearch(ends, i+1); {
		case at > 0:
			want = slices.Delete(slices.Clone(payloads), at-1, at)
		case i >= ackedAt && i < segmentFixed: // all are sent again, that is all
		default:
			want = nil // the salt, or the resource: put aside as a whole
		}
		s, waiting := testSpool(t, dir, 1<<20, SyncNever)
		got := drain(t, s)
		if !slices.EqualFunc(got, want, bytes.Equal) || int(waiting) != count(bytes.Join(want, nil)) {
			t.Fatalf("byte %d: %d payloads, want %d", i, len(got), len(want))
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
	bad, _ := filepath.Glob(filepath.Join(dir, "*", "*"+badExt))
	if len(bad) == 0 {
		t.Error("no segment was put aside")
	}
}

// What a program logs cannot pass for a frame when a damaged one is skipped.
func TestFrameInRecord(t *testing.T) {
	dir := t.TempDir()
	name, _ := written(t, dir, 2)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := testSpool(t, dir, 1<<20, SyncNever)
	drain(t, s)
	inner := string(whole[segmentFixed+len("resource"):]) // frames of another segment
	rec := appendStringField(nil, recordSeverityText, strings.Repeat(inner, 10))
	p := append(binary.AppendUvarint([]byte{scopeRecords<<3 | wireBytes}, uint64(len(rec))), rec...)
	if err := s.append(p, 1); err != nil {
		t.Fatal(err)
	}
	name = s.segs[len(s.segs)-1].name
	s.crash()
	whole, err = os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	whole[segmentFixed+len("resource")] ^= 1
	if err := os.WriteFile(name, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	s, waiting := testSpool(t, dir, 1<<20, SyncNever)
	if got := drain(t, s); len(got) != 0 || waiting != 0 {
		t.Errorf("%d payloads", len(got))
	}
	s.close()
}

// What was put aside does not fill the disk.
func TestDamagedAreBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range 8 {
		name, _ := written(t, dir, 1)
		if err := os.WriteFile(name, make([]byte, 100<<10), 0o600); err != nil {
			t.Fatal(i, err)
		}
	}
	s, _ := testSpool(t, dir, 1<<20, SyncNever)
	defer s.close()
	if bad, _ := filepath.Glob(filepath.Join(dir, "*", "*"+badExt)); len(bad) != 2 {
		t.Errorf("%d", len(bad))
	}
}

// Two processes with one directory do not touch each other's files, and the
// next one takes what they left.
// Programs of several users share a directory: slots that belong to another are
// passed over.
func TestSlotsOfOthers(t *testing.T) {
	if os.Getuid() == 0 || runtime.GOOS == "windows" {
		t.Skip("needs a user who may not do everything")
	}
	dir := t.TempDir()
	for _, name := range []string{"slot-00", "slot-02"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := testSpool(t, dir, 1<<20, SyncNever)
	if filepath.Base(s.dir) != "slot-01" {
		t.Error(s.dir)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

func TestSlots(t *testing.T) {
	dir := t.TempDir()
	a, _ := testSpool(t, dir, 1<<20, SyncNever)
	b, _ := testSpool(t, dir, 1<<20, SyncNever)
	if a.dir == b.dir {
		t.Fatal("the same directory")
	}
	pa, pb := testPayload(1, 1, 10), testPayload(2, 2, 10)
	if err := errors.Join(a.append(pa, 1), b.append(pb, 2)); err != nil {
		t.Fatal(err)
	}
	c, waiting := testSpool(t, dir, 1<<20, SyncNever)
	if waiting != 0 {
		t.Error("took what belongs to a living process")
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	b.crash()
	a.crash()
	c, waiting = testSpool(t, dir, 1<<20, SyncNever)
	if waiting != 3 {
		t.Errorf("%d wait", waiting)
	}
	if got := drain(t, c); !slices.EqualFunc(got, [][]byte{pa, pb}, bytes.Equal) {
		t.Errorf("%d payloads", len(got))
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	var held []*spool
	for range maxSlots {
		s, _ := testSpool(t, dir, 1<<20, SyncNever)
		held = append(held, s)
	}
	if _, _, err := openSpool(Spool{Dir: dir, MaxBytes: 1 << 20}, nil, openFile); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a slot too many: %v", err)
	}
	for _, s := range held {
		s.close()
	}
}

// disk is a disk that can be full or broken.
type disk struct {
	mu    sync.Mutex
	room  int64 // bytes that can still be written
	sync  error
	trunc error
}

type diskFile struct {
	*os.File
	d *disk
}

func (d *disk) open(name string, create bool) (file, error) {
	f, err := openFile(name, create)
	if err != nil {
		return nil, err
	}
	return &diskFile{f.(*os.File), d}, nil
}

func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	if off == ackedAt {
		return f.File.WriteAt(p, off)
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if int64(len(p)) > f.d.room {
		n, _ := f.File.WriteAt(p[:f.d.room], off)
		f.d.room = 0
		return n, &os.PathError{Op: "write", Path: f.Name(), Err: errNoSpace}
	}
	f.d.room -= int64(len(p))
	return f.File.WriteAt(p, off)
}

func (f *diskFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.d.sync
}

func (f *diskFile) Truncate(n int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.trunc != nil {
		return f.d.trunc
	}
	return f.File.Truncate(n)
}

func (d *disk) set(f func()) {
	d.mu.Lock()
	f()
	d.mu.Unlock()
}

func logN(l *slog.Logger, from, n int) {
	for i := from; i < from+n; i++ {
		l.Info("record", "i", i)
	}
}

// check compares the numbers of the records with 0 … n-1, each once.
func check(t *testing.T, got []entry, n int) {
	t.Helper()
	seen := make(map[int64]string)
	for _, e := range got {
		i, ok := e.Attrs["i"].(int64)
		if !ok {
			continue
		}
		if uid, ok := seen[i]; ok && uid != e.UID {
			t.Errorf("record %d has two ids", i)
		}
		seen[i] = e.UID
	}
	if len(seen) != n {
		t.Errorf("%d records, want %d", len(seen), n)
	}
}

// The disk is full while the gateways are away, and then not any more: what is
// in memory is sent, or spooled, and nothing is lost.
func TestDiskFull(t *testing.T) {
	for _, trunc := range []error{nil, errIO} {
		dir := t.TempDir()
		d := &disk{room: 3000, trunc: trunc}
		w := &wire{answer: func(int, *http.Request, []entry) (int, map[string]string, string) { return 503, nil, "" }}
		var own bytes.Buffer
		simulate(t, w, Config{Spool: Spool{Dir: dir}, open: d.open, Logger: slog.New(slog.NewTextHandler(&own, nil))}, func(c *Client) {
			for i := range 50 {
				logN(c.Logger(), i*10, 10)
				pass(200 * time.Millisecond)
			}
			if st := c.Stats(); st.Waiting != 500 || st.MemoryBytes == 0 || st.SpoolBytes == 0 {
				t.Errorf("%+v", st)
			}
			d.set(func() { d.room, d.trunc = 1<<30, nil })
			pass(3 * time.Second)
			if st := c.Stats(); st.Waiting != 500 || st.Dropped > 0 {
				t.Errorf("behind the full disk: %+v", st)
			}
			logN(c.Logger(), 500, 10)
			w.mu.Lock()
			w.answer = nil
			w.mu.Unlock()
			pass(2 * time.Minute)
			check(t, w.taken, 510)
			if st := c.Stats(); st.Waiting != 0 || st.MemoryBytes != 0 || st.Delivered != 510 {
				t.Errorf("%+v", st)
			}
		})
		if !strings.Contains(own.String(), "cannot be written") || !strings.Contains(own.String(), "takes records again") {
			t.Errorf("not told: %s", own.String())
		}
	}
}

// A disk that is full for good: the client works from memory.
func TestDiskFullForGood(t *testing.T) {
	d := &disk{}
	w := &wire{}
	simulate(t, w, Config{Spool: Spool{Dir: t.TempDir()}, open: d.open}, func(c *Client) {
		logN(c.Logger(), 0, 100)
		flush(t, c)
		check(t, w.taken, 100)
	})
}

// A sync fails: with SyncAlways who logged is told, and the record comes once.
func TestSyncFails(t *testing.T) {
	d := &disk{room: 1 << 30, sync: errIO}
	w := &wire{answer: func(int, *http.Request, []entry) (int, map[string]string, string) { return 503, nil, "" }}
	simulate(t, w, Config{Spool: Spool{Dir: t.TempDir(), Sync: SyncAlways}, open: d.open}, func(c *Client) {
		r := slog.NewRecord(time.Now(), slog.LevelInfo, "record", 0)
		r.AddAttrs(slog.Int("i", 0))
		if err := c.Handler().Handle(context.Background(), r); !errors.Is(err, errIO) {
			t.Errorf("the error is %v", err)
		}
		d.set(func() { d.sync = nil })
		pass(2 * time.Second)
		logN(c.Logger(), 1, 1)                                            // returns when it is on disk
		if st := c.Stats(); st.MemoryBytes > 150 || st.SpoolBytes < 150 { // the first one is with a sender
			t.Errorf("%+v", st)
		}
		w.do(func() { w.answer = nil })
		pass(time.Minute)
		check(t, w.taken, 2)
		if len(w.taken) != 2 {
			t.Errorf("%d records", len(w.taken))
		}
	})
}

// The spool is full: memory goes on, then records are dropped, and all that was
// taken arrives.
func TestSpoolFull(t *testing.T) {
	w := &wire{answer: func(int, *http.Request, []entry) (int, map[string]string, string) { return 503, nil, "" }}
	simulate(t, w, Config{Spool: Spool{Dir: t.TempDir(), MaxBytes: 1 << 20}, MemoryBytes: 256 << 10}, func(c *Client) {
		body := strings.Repeat("x", 1000)
		for i := range 3000 {
			c.Logger().Info(body, "i", i)
			pass(5 * time.Millisecond)
		}
		st := c.Stats()
		if st.Dropped == 0 || st.SpoolBytes > 1<<20 || st.SpoolBytes < 800<<10 || st.MemoryBytes > 256<<10 || st.Waiting != st.Logged {
			t.Fatalf("%+v", st)
		}
		w.do(func() { w.answer = nil })
		pass(time.Minute)
		check(t, w.taken, int(st.Logged))
		if end := c.Stats(); end.Waiting != 0 || end.MemoryBytes != 0 || end.Delivered != st.Logged+1 {
			t.Errorf("%+v", end)
		}
	})
}

// A client that ends while gateways are away leaves its records to the next one,
// with their resource and ids.
func TestHandedOn(t *testing.T) {
	dir := t.TempDir()
	down := &wire{answer: func(int, *http.Request, []entry) (int, map[string]string, string) { return 503, nil, "" }}
	simulate(t, down, Config{Spool: Spool{Dir: dir}, Service: "old", BatchWait: 10 * time.Millisecond}, func(c *Client) {
		logN(c.Logger(), 0, 100)
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	w := &wire{}
	simulate(t, w, Config{Spool: Spool{Dir: dir}, Service: "new"}, func(c *Client) {
		if st := c.Stats(); st.Recovered != 100 {
			t.Errorf("%+v", st)
		}
		logN(c.Logger(), 100, 1)
		flush(t, c)
		check(t, w.taken, 101)
		for _, e := range w.taken {
			want := "old"
			if e.Attrs["i"] == int64(100) {
				want = "new"
			}
			if e.Resource["service.name"] != want {
				t.Errorf("%v: %v", e.Attrs, e.Resource)
			}
		}
		if st := c.Stats(); st.Delivered != 101 || st.Waiting != 0 || st.Logged != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// A file that goes bad while the client runs costs its records, and not Flush.
func TestFileVanishes(t *testing.T) {
	dir := t.TempDir()
	w := &wire{answer: func(int, *http.Request, []entry) (int, map[string]string, string) { return 503, nil, "" }}
	simulate(t, w, Config{Spool: Spool{Dir: dir, MaxBytes: 1 << 20}, BatchBytes: 10 << 10, Concurrency: 1}, func(c *Client) {
		for i := range 500 {
			c.Logger().Info(strings.Repeat("x", 1000), "i", i)
		}
		pass(time.Second)
		// The spool has handed out the first 10 KiB only.
		c.queue.sp.mu.Lock()
		seg := c.queue.sp.segs[1]
		c.queue.sp.mu.Unlock()
		if err := os.Truncate(seg.name, seg.size/2); err != nil {
			t.Fatal(err)
		}
		w.do(func() { w.answer = nil })
		flush(t, c)
		st := c.Stats()
		if st.Lost == 0 || st.Lost+st.Delivered != 500 || st.DamagedBytes == 0 || st.Waiting != 0 {
			t.Errorf("%+v", st)
		}
		check(t, w.taken, int(st.Delivered))
	})
}

// memFile is a file in memory.
type memFile []byte

func (f memFile) ReadAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil // as *os.File
	}
	if off >= int64(len(f)) {
		return 0, io.EOF
	}
	n := copy(p, f[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
func (memFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (memFile) Truncate(int64) error                   { return nil }
func (memFile) Sync() error                            { return nil }
func (memFile) Close() error                           { return nil }

// Any bytes for a segment: what comes out is well-formed and was in the file, and
// it comes to an end.
func FuzzSegment(f *testing.F) {
	name, _ := written(f, f.TempDir(), 4)
	whole, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add([]byte(segmentMagic))
	huge := bytes.Clone(whole)
	binary.LittleEndian.PutUint32(huge[16:], 1<<32-1)
	f.Add(huge)
	f.Add(append(bytes.Clone(whole[:segmentFixed+8]), bytes.Repeat([]byte(frameMagic), 1000)...))
	f.Fuzz(func(t *testing.T, p []byte) {
		s, err := openSegment(memFile(p), "x", int64(len(p)))
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatal(err)
			}
			return
		}
		for off := s.read; off < s.size; {
			payload, n, next, skipped, err := s.frame(off)
			if err != nil || next <= off || skipped < 0 || skipped > next-off {
				t.Fatal(err, off, next, skipped)
			}
			if n > 0 && (!bytes.Contains(p, payload) || count(payload) != n) {
				t.Fatal("not in the file")
			}
			off = next
		}
	})
}

// FuzzAnswer: whatever a gateway answers.
func FuzzAnswer(f *testing.F) {
	f.Add(protoAnswer(3, "why"), "application/x-protobuf")
	f.Add([]byte(`{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"x"},"message":"m"}`), "application/json")
	f.Add([]byte("\n\xff"), "text/plain")
	f.Fuzz(func(t *testing.T, p []byte, kind string) {
		_, msg := partialSuccess(p, kind)
		for _, s := range []string{msg, statusMessage(p, kind)} {
			if len(s) > 1000 && kind != "application/json" || strings.ContainsAny(s, "\n\x00") && kind != "application/json" {
				t.Fatalf("%q", s)
			}
		}
		retryAfter(string(p), time.Now())
	})
}

var errNoSpace, errIO = errors.New("no space left on device"), errors.New("input/output error")

// Flush and Close do not wait for a batch to be full, or old.
func TestFlushHurries(t *testing.T) {
	w := &wire{}
	simulate(t, w, Config{Spool: Spool{Dir: t.TempDir()}, BatchWait: time.Hour}, func(c *Client) {
		began := time.Now()
		logN(c.Logger(), 0, 1)
		flush(t, c)
		logN(c.Logger(), 1, 1)
		pass(time.Minute) // it is in the spool
		if st := c.Stats(); st.Waiting != 1 || st.SpoolBytes == 0 || st.MemoryBytes != 0 {
			t.Errorf("%+v", st)
		}
		logN(c.Logger(), 2, 1)
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
		check(t, w.taken, 3)
		if d := time.Since(began); d > 2*time.Minute {
			t.Errorf("it took %v", d)
		}
	})
}
