package buffer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// seeds is how many histories a crash test lives through.
func seeds(t *testing.T) uint64 {
	if n, err := strconv.ParseUint(os.Getenv("WEIR_CRASH_SEEDS"), 10, 64); err == nil {
		return n
	}
	if testing.Short() {
		return 30
	}
	return 150
}

// world is the reference: a file of numbered lines that an input reads in order,
// and what was delivered of it. The input goes on after a crash where its
// checkpoint was, which may be anywhere before what was acknowledged.
type world struct {
	t         testing.TB
	r         *rand.Rand
	fs        *crashFS
	d         *Disk
	segment   int64
	lines     int // put so far, over all lives
	acked     int // lines that the input was told are safe
	next      int // of the input in this life
	tokens    ack.Tracker[int]
	sum       ack.Tally
	delivered map[int]bool // settled as delivered, ever
	inLife    map[int]bool // given out in this life
	held      []record.Part
	lives     int
}

var worldStream = record.NewStream([]record.Attr{{Name: "pod", Value: "p"}, {Name: "namespace", Value: "n"}}, []record.Attr{{Name: "app", Value: "x"}}, nil)

// worldLine is line n as it must come out. Two lines are 400 bytes long together,
// each with 40 bytes of a container runtime's before it.
func worldLine(n int) (body string, start, end int64) {
	r := rand.New(rand.NewPCG(uint64(n/2), 3))
	size, start := 20+r.IntN(360), int64(n/2)*480
	if n%2 == 1 {
		start += int64(size) + 40
		size = 400 - size
	}
	body = fmt.Sprintf("%d ", n)
	body += strings.Repeat(string(rune('a'+r.IntN(26))), size-len(body))
	return body, start, start + int64(size) + 40
}

func (w *world) part(from, to int, token *ack.Token) record.Part {
	b := record.NewBatch(nil)
	token.Expect(1)
	st := b.AddStream(record.StreamRef{Stream: worldStream, Generation: record.ID{Hi: 7, Lo: 9}, Token: token})
	for n := from; n < to; n++ {
		body, start, end := worldLine(n)
		sp := b.AppendString(body)
		i := b.Add(record.Record{Time: int64(n), Observed: int64(n) + 1, Start: start, End: end, Body: sp, Source: sp, Stream: st, Severity: record.Severity(n % 25)})
		if n%3 == 0 {
			b.SetField(i, "n", record.Int, b.AppendString(strconv.Itoa(n)))
		}
	}
	b.Freeze()
	p := record.NewPart(b, b.Live())
	b.Release()
	return p
}

// check reports what is wrong with a record that came out, and its number.
func (w *world) check(b *record.Batch, i int) int {
	r := b.Record(i)
	n := int(r.Time)
	body, start, end := worldLine(n)
	ref := b.Streams()[r.Stream]
	switch {
	case n < 0 || n >= w.lines:
		w.t.Fatalf("line %d was never put", n)
	case string(b.Bytes(r.Body)) != body || string(b.Bytes(r.Source)) != body || r.Start != start || r.End != end || r.Observed != int64(n)+1 ||
		r.Severity != record.Severity(n%25):
		w.t.Fatalf("line %d came out as %+v %q", n, r, b.Bytes(r.Body))
	case ref.Generation != (record.ID{Hi: 7, Lo: 9}) || ref.Stream.Hash() != worldStream.Hash():
		w.t.Fatalf("line %d: stream %+v", n, ref)
	}
	if f, ok := b.FindField(i, "n"); ok != (n%3 == 0) || ok && (string(b.Bytes(f.Val)) != strconv.Itoa(n) || f.Kind != record.Int) {
		w.t.Fatalf("line %d: field %+v", n, f)
	}
	if id := wire.RecordID(b, i); id != wire.SourceID(ref.Generation, start, end, []byte(body)) {
		w.t.Fatalf("line %d: id %v", n, id)
	}
	return n
}

func (w *world) open() error {
	d, err := OpenDisk(DiskConfig{FS: w.fs, MaxBytes: 1 << 30, SegmentBytes: w.segment, Memory: 4 << 10, packFrom: []int{1, 512, 0}[w.r.IntN(3)], Plain: w.r.IntN(4) == 0})
	if err != nil {
		return err
	}
	w.d = d
	w.lives++
	w.inLife = map[int]bool{}
	w.held = nil
	w.tokens, w.sum = ack.Tracker[int]{}, ack.Tally{}
	w.next = w.acked
	if w.acked > 0 && w.r.IntN(2) == 0 {
		w.next = max(0, w.acked-w.r.IntN(40)) // an older checkpoint
	}
	return nil
}

func (w *world) put() {
	n := 1 + w.r.IntN(8)
	token := w.tokens.Track(w.next+n, time.Now())
	p := w.part(w.next, w.next+n, token)
	w.next += n
	w.lines = max(w.lines, w.next)
	if !w.d.Put(p) {
		w.t.Fatal("refused")
	}
}

// note looks what was acknowledged.
func (w *world) note() {
	if at, ok := w.tokens.Advance(&w.sum); ok {
		w.acked = max(w.acked, at)
	}
}

func (w *world) take() bool {
	p, ok := w.d.TryNext()
	if !ok {
		return false
	}
	for _, i := range p.Index() {
		n := w.check(p.Batch(), int(i))
		if w.inLife[n] {
			w.t.Fatalf("line %d came out twice in one life", n)
		}
		w.inLife[n] = true
	}
	w.held = append(w.held, p)
	return true
}

func (w *world) settle() {
	if len(w.held) == 0 {
		return
	}
	k := w.r.IntN(len(w.held))
	p := w.held[k]
	w.held = append(w.held[:k], w.held[k+1:]...)
	for _, i := range p.Index() {
		w.delivered[int(p.Batch().Record(int(i)).Time)] = true
	}
	p.Settle(0, ack.Delivered)
}

func (w *world) step() {
	switch w.r.IntN(10) {
	case 0, 1, 2:
		w.put()
	case 3:
		synctest.Wait()
	case 4:
		w.d.Sync(context.Background())
	case 5, 6:
		w.take()
	case 7, 8:
		w.settle()
	case 9:
		if w.r.IntN(3) == 0 {
			w.d.keep(true)
		}
	}
	w.note()
}

func (w *world) crash() {
	w.fs.crashNow()
	w.note()
	w.d.Shut(context.Background()) // cannot do anything any more
	w.note()                       // what was told before the crash
	w.fs = w.fs.restart()
}

// finish reads everything once more in a last life, and compares the books.
func (w *world) finish() {
	for tries := 0; ; tries++ {
		if err := w.open(); err == nil {
			break
		} else if tries > 3 {
			w.t.Fatalf("open: %v", err)
		}
	}
	for w.next < w.lines {
		w.put()
	}
	if err := w.d.Sync(context.Background()); err != nil {
		w.t.Fatalf("sync: %v", err)
	}
	for {
		synctest.Wait()
		if !w.take() {
			break
		}
	}
	for len(w.held) > 0 {
		w.settle()
	}
	time.Sleep(5 * time.Second) // of the bubble
	w.note()
	if w.acked != w.lines {
		w.t.Fatalf("%d of %d lines are acknowledged", w.acked, w.lines)
	}
	for n := range w.lines {
		if !w.delivered[n] {
			w.t.Fatalf("line %d is lost", n)
		}
	}
	if err := w.d.Shut(context.Background()); err != nil {
		w.t.Fatalf("shut: %v", err)
	}
	s := w.d.Stats()
	if s.Waiting != 0 || s.Ended[ack.Delivered] != uint64(w.lines) || s.Written != uint64(w.lines)+s.Ended[ack.DroppedDamaged] {
		w.t.Fatalf("books of %d lines: %+v", w.lines, s)
	}
	if s.Segments > 1 || s.Bytes > 2*smallSegment {
		w.t.Fatalf("an empty log has %d segments with %d bytes", s.Segments, s.Bytes)
	}
}

func newWorld(t testing.TB, seed uint64) *world {
	return &world{t: t, r: rand.New(rand.NewPCG(seed, 1)), fs: newCrashFS(seed), segment: 2 << 10 << (seed % 4), delivered: map[int]bool{}}
}

// FAILURES 53, 54, 64: the process dies, or the machine, at any operation, also
// while it recovers, again and again: what was acknowledged is there, what is
// there was put, nothing twice, and the books agree to the record.
func TestFailure53_54_64_Crash(t *testing.T) {
	for seed := range seeds(t) {
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			w := newWorld(t, seed)
			for life := range 2 + w.r.IntN(6) {
				if life > 0 && w.r.IntN(2) == 0 {
					w.fs.crashAt = w.fs.ops + 1 + w.r.IntN(12) // while it recovers
				}
				if err := w.open(); err != nil {
					if !errors.Is(err, errCrashed) {
						t.Fatalf("open: %v", err)
					}
					w.fs = w.fs.restart()
					continue
				}
				w.fs.mu.Lock()
				if w.fs.crashAt == 0 {
					w.fs.crashAt = w.fs.ops + 1 + w.r.IntN(150)
				}
				w.fs.mu.Unlock()
				for range 20 + w.r.IntN(60) {
					w.step()
				}
				w.crash()
			}
			w.finish()
		})
	}
}

// FAILURES 55: a sync fails once and works then, as Linux does after it has
// thrown the page away. Power goes later.
func TestFailure55_SyncFailsOnce(t *testing.T) {
	for seed := range seeds(t) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, seed)
			for range 4 {
				fails := w.r.IntN(5)
				w.fs.failSync = func(string) bool {
					fails--
					return fails >= 0 && fails%2 == 0
				}
				if err := w.open(); err != nil {
					t.Fatalf("open: %v", err)
				}
				for range 60 {
					w.step()
				}
				w.crash()
			}
			w.finish()
		})
	}
}

// FAILURES 56, 57, 58: the disk is full, read-only, writes half; after a while it
// is well again. The buffer lives, says so, gives out what it has, and goes on by
// itself.
func TestFailure56_57_58_DiskFull(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO} {
		for seed := range seeds(t) / 4 {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, seed)
				if err := w.open(); err != nil {
					t.Fatal(err)
				}
				for range 30 {
					w.step()
				}
				if err := w.d.Sync(context.Background()); err != nil {
					t.Fatal(err)
				}
				w.note()
				before := w.acked
				// Nothing new can be written; what exists can be written over, as
				// with a full disk, or not even that.
				w.fs.mu.Lock()
				w.fs.half = w.r.IntN(2) == 0
				w.fs.failOp = func(name string) error {
					if name == cursorName && cause != syscall.EROFS {
						return nil
					}
					return cause
				}
				w.fs.mu.Unlock()
				w.put()
				if err := w.d.Sync(context.Background()); !errors.Is(err, cause) {
					t.Fatalf("sync with %v: %v", cause, err)
				}
				w.note()
				if !w.d.Full() || w.d.Stats().Failing == "" || w.acked != before {
					t.Fatalf("full %v, %+v, acked %d", w.d.Full(), w.d.Stats(), w.acked-before)
				}
				// Draining goes on.
				time.Sleep(time.Minute)
				for w.take() {
					w.settle()
					synctest.Wait()
				}
				time.Sleep(time.Minute)
				if _, n, _ := w.d.Len(); n != w.d.Pending() {
					t.Fatalf("%d records queued, %d of them pending", n, w.d.Pending())
				}
				rooms := 0
				w.d.OnRoom(func() { rooms++ })
				w.fs.mu.Lock()
				w.fs.failOp = nil
				w.fs.mu.Unlock()
				time.Sleep(time.Minute)
				w.note()
				if w.d.Full() || rooms == 0 || w.acked != w.next || w.d.Stats().Failing != "" {
					t.Fatalf("did not recover: %+v, rooms %d", w.d.Stats(), rooms)
				}
				if err := w.d.Shut(context.Background()); err != nil {
					t.Fatal(err)
				}
				w.finish()
			})
		}
	}
}
