package tail

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/weirlog/weir/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// awaitHint waits until the kernel has told of something.
func (n *node) awaitHint() {
	n.t.Helper()
	select {
	case <-n.in.notify.wake:
	case <-time.After(time.Minute):
		n.t.Fatal("no notification")
	}
}

func TestFailure16_ShorterLivedThanAScan(t *testing.T) {
	n := newNode(t)
	n.cfg.NoNotify = false
	n.start()
	stop := n.in.startNotify()
	defer stop()
	n.step(time.Second)
	n.step(0)
	want := make([]string, 0, 50)
	for i := range 50 {
		p := n.path(fmt.Sprint("p", i), "c", "0.log")
		want = append(want, fmt.Sprint("line ", i))
		appendFile(t, p, n.out(want[i]))
		// The clock stands still: no scan is due, only notifications help.
		for n.in.chains[fmt.Sprintf("p/ns_p%d_uid-p%d/c/0", i, i)] == nil {
			n.awaitHint()
			n.step(0)
		}
		appendFile(t, p, n.out("more"))
		remove(t, filepath.Dir(filepath.Dir(p)))
	}
	n.settle()
	got := slices.DeleteFunc(n.sink.bodies(), func(s string) bool { return s == "more" })
	slices.Sort(got)
	slices.Sort(want)
	wantBodies(t, got, want...)
	if len(n.sink.all) != 100 {
		t.Errorf("%d records", len(n.sink.all))
	}
}

func TestFailure19_NoNotifications(t *testing.T) {
	n := newNode(t)
	n.cfg.NoNotify = false
	n.start()
	stop := n.in.startNotify()
	defer stop()
	// As when the host's watches are used up.
	n.in.noNotify(fmt.Errorf("watch: %w", unix.ENOSPC))
	n.in.noNotify(fmt.Errorf("watch: %w", unix.ENOSPC))
	appendFile(t, n.path("a", "c", "0.log"), n.out("found by polling"))
	n.settle()
	wantBodies(t, n.sink.bodies(), "found by polling")
	if e := n.in.collect().Errors["notify"]; e != 2 {
		t.Errorf("%d errors counted", e)
	}
}

func TestFailure20_NotificationsLost(t *testing.T) {
	n := newNode(t)
	n.cfg.NoNotify = false
	n.start()
	stop := n.in.startNotify()
	defer stop()
	n.step(time.Second)
	appendFile(t, n.path("a", "c", "0.log"), n.out("one"))
	n.in.notify.hints() // events are lost …
	var overflow [unix.SizeofInotifyEvent]byte
	overflow[0], overflow[1], overflow[2], overflow[3] = 0xff, 0xff, 0xff, 0xff
	overflow[5] = unix.IN_Q_OVERFLOW >> 8
	n.in.notify.take(overflow[:]) // … and the kernel says so
	n.step(0)
	n.step(0)
	wantBodies(t, n.sink.bodies(), "one")
}

func TestRunReadsAndFinishes(t *testing.T) {
	n := newNode(t)
	n.cfg.NoNotify = false
	n.cfg.Clock = nil
	n.cfg.PollInterval = 5 * time.Millisecond
	p := n.path("a", "c", "0.log")
	appendFile(t, p, n.out("one"))
	n.start()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- n.in.Run(ctx, n.sink) }()
	wait := func(k int) {
		t.Helper()
		for len(n.sink.bodies()) < k {
			select {
			case <-n.sink.came:
			case <-time.After(time.Minute):
				t.Fatalf("%d records", len(n.sink.bodies()))
			}
		}
	}
	wait(1)
	appendFile(t, p, n.out("two"))
	rename(t, p, p+".20261122-000001")
	appendFile(t, p, n.out("three"))
	wait(3)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := n.in.Finish(context.Background()); err != nil {
		t.Fatal(err)
	}
	wantBodies(t, n.sink.bodies(), "one", "two", "three")
	var l Ledger
	for _, l = range n.in.Stats().Ledgers {
	}
	if l.Durable == 0 || l.Durable != l.Written {
		t.Errorf("ledger %+v", l)
	}
	n.kill()
	n.start()
	n.settle()
	if k := len(n.sink.all); k != 3 {
		t.Errorf("%d records after a restart", k)
	}
}

func TestRunWaitsForRoom(t *testing.T) {
	n := newNode(t)
	n.cfg.Clock = nil
	n.cfg.PollInterval = time.Hour // only the room wakes it
	appendFile(t, n.path("a", "c", "0.log"), n.out("one"))
	n.start()
	n.sink.full = true
	room := make(chan struct{})
	n.sink.room = room
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- n.in.Run(ctx, n.sink) }()
	<-n.sink.refused
	n.sink.mu.Lock()
	n.sink.full, n.sink.room = false, nil
	n.sink.mu.Unlock()
	close(room)
	select {
	case <-n.sink.came:
	case <-time.After(time.Minute):
		t.Fatal("not woken")
	}
	cancel()
	<-done
}

// BenchmarkIdle is what half a thousand quiet containers cost: a poll of all
// files, and once a second a look at all directories.
func BenchmarkIdle500(b *testing.B) {
	n := newNode(b)
	for i := range 500 {
		appendFile(b, n.path(fmt.Sprint("p", i), "c", "0.log"), n.out("line"))
	}
	n.start()
	n.settle()
	sink := &discard{}
	b.ReportAllocs()
	for b.Loop() {
		n.now = n.now.Add(250 * time.Millisecond)
		if _, err := n.in.step(b.Context(), sink); err != nil {
			b.Fatal(err)
		}
	}
}

// discard is a sink that forgets at once.
type discard struct {
	pool record.Pool
	n    int
}

func (d *discard) Get() *record.Batch    { return d.pool.Get(d.pool.Put) }
func (d *discard) Room() <-chan struct{} { return nil }
func (d *discard) Put(_ context.Context, b *record.Batch) error {
	b.Freeze()
	d.n += b.NumRecords()
	finish(b)
	return nil
}

func BenchmarkReadCRI(b *testing.B) {
	n := newNode(b)
	p := n.path("a", "c", "0.log")
	var text []byte
	for len(text) < 32<<20 {
		text = append(text, n.out(`{"level":"info","msg":"request served","path":"/api/v1/items","status":200,"ms":12.5,"trace":"4bf92f3577b34da6a3ce929d0e0e4736"}`)...)
	}
	if err := os.WriteFile(p, text, 0o644); err != nil {
		b.Fatal(err)
	}
	n.cfg.NoNotify = true
	n.start()
	sink := &discard{}
	n.now = n.now.Add(time.Second)
	n.in.step(b.Context(), sink)
	var c *chain
	for _, c = range n.in.chains {
	}
	g := c.gens[0]
	b.SetBytes(int64(n.cfg.ReadBytes))
	b.ReportAllocs()
	b.ResetTimer()
	before := sink.n
	size := n.in.cfg.ReadBytes
	b.SetBytes(int64(size))
	for b.Loop() {
		if g.size-g.pos < int64(size) { // from the beginning again
			g.pos, g.ntail = 0, 0
		}
		if _, err := n.in.readPass(b.Context(), sink); err != nil {
			b.Fatal(err)
		}
		n.in.advance(c)
	}
	b.ReportMetric(float64(sink.n-before)/float64(b.N), "records/op")
}
