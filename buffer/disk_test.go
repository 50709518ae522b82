package buffer

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/buffer/buffertest"
)

// openDisk opens a buffer that the test's end shuts.
func openDisk(t buffertest.T, c DiskConfig) *Disk {
	t.Helper()
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 30
	}
	d, err := OpenDisk(c)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { shut(t, d) })
	return d
}

func shut(t buffertest.T, d *Disk) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := d.Shut(ctx); err != nil {
		t.Fatalf("shut: %v", err)
	}
}

func TestDisk(t *testing.T) {
	buffertest.Run(t, func(t buffertest.T, maxBytes int) buffertest.Queue {
		return openDisk(t, DiskConfig{FS: newCrashFS(1), MaxBytes: max(int64(maxBytes), 256<<10), Memory: max(maxBytes, 64<<10)})
	})
}

func TestDiskOnDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("syncs")
	}
	buffertest.Run(t, func(bt buffertest.T, maxBytes int) buffertest.Queue {
		return openDisk(bt, DiskConfig{Dir: t.TempDir(), MaxBytes: max(int64(maxBytes), 256<<10), Memory: max(maxBytes, 64<<10)})
	})
}

// What is written plain and what is written compressed is read alike, also after a
// restart with the other setting.
func TestPlain(t *testing.T) {
	dir := t.TempDir()
	const parts, lines = 8, 200
	size := func(plain bool) int64 {
		d := openDisk(t, DiskConfig{Dir: dir, Plain: !plain})
		d.SetPlain(plain)
		before := d.Stats().Bytes
		for range parts {
			if !d.Put(benchPart(lines)) {
				t.Fatal("refused")
			}
		}
		if err := d.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		n := d.Stats().Bytes - before
		shut(t, d)
		return n
	}
	if plain, packed := size(true), size(false); plain < parts*lines*200 || packed > plain/2 {
		t.Errorf("%d bytes plain, %d compressed", plain, packed)
	}
	d := openDisk(t, DiskConfig{Dir: dir, Plain: true})
	want := benchPart(lines)
	for n := 0; n < 2*parts*lines; {
		p, ok := d.TryNext()
		if !ok {
			<-d.Ready()
			continue
		}
		for _, i := range p.Index() {
			at := int(p.Batch().Record(int(i)).Time)
			if got := string(p.Batch().Body(int(i))); got != string(want.Batch().Body(at)) {
				t.Fatalf("line %d is %q", at, got)
			}
		}
		n += p.Len()
		p.Settle(0, ack.Delivered)
	}
}

// Within moments of an answer a kill repeats nothing of what was answered, and
// between two of them the fsyncs are few: 32 records that are answered one by one.
func TestShortLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newCrashFS(1)
		w := &world{t: t, r: rand.New(rand.NewPCG(1, 1)), fs: fs, segment: 1 << 20, delivered: map[int]bool{}}
		if err := w.open(); err != nil {
			t.Fatal(err)
		}
		for n := range 64 {
			tok := w.tokens.Track(n+1, time.Now())
			if !w.d.Put(w.part(n, n+1, tok)) {
				t.Fatal("refused")
			}
		}
		if err := w.d.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // the last save is not of this moment
		before := w.d.Stats().Syncs
		for n := range 32 {
			p, ok := w.d.TryNext()
			for !ok {
				<-w.d.Ready()
				p, ok = w.d.TryNext()
			}
			p.Settle(0, ack.Delivered)
			time.Sleep(2 * keepEvery)
			f, err := fs.Open(cursorName, false)
			if err != nil {
				t.Fatal(err)
			}
			if c, found, err := readCursor(f); err != nil || !found || c.at.seq != uint64(n+1) {
				t.Fatalf("after %d records the cursor is at %d (%v, %v)", n+1, c.at.seq, found, err)
			}
		}
		if n := w.d.Stats().Syncs - before; n > 3 {
			t.Errorf("%d fsyncs in a second", n)
		}
		w.fs.crashNow()
		w.d.Shut(context.Background())
	})
}
