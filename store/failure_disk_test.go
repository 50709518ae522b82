package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirlog/weir/ack"
)

func isWAL(name string) bool { return strings.HasPrefix(name, walDir+"/") }

// FAILURES 55: one sync of the log fails, and the next one would succeed: the
// rows are acknowledged only because they are in another file, and survive a
// machine that forgets the first.
func TestFailure55_SyncFailsOnce(t *testing.T) {
	for seed := range uint64(30) {
		fs := newCrashFS(seed)
		s := open(t, Config{FS: fs, MinFree: -1})
		var want []line
		l := func(i int) line { return line{labels: "app=a", time: base, body: fmt.Sprint(i)} }
		for i := range 6 {
			if i%2 == 1 {
				fs.mu.Lock()
				left := 1
				fs.failSync = func(name string) bool { left--; return isWAL(name) && left >= 0 }
				fs.mu.Unlock()
			}
			mustSend(t, s, l(i))
			want = append(want, l(i))
		}
		if fs.syncs(isWAL) < 9 {
			t.Errorf("%d syncs of logs: the failed ones were not repeated elsewhere", fs.syncs(isWAL))
		}
		// Both the sync and the one of the other file fail: refused, to be sent again.
		fs.mu.Lock()
		fs.failSync = isWAL
		fs.mu.Unlock()
		_, err := send(s, l(99))
		var se *ack.SendError
		if !errors.As(err, &se) || se.Kind != ack.Retry || se.Code != 503 {
			t.Fatal(err)
		}
		same(t, all(t, s), want)
		fs.mu.Lock()
		fs.failSync = nil
		fs.mu.Unlock()
		mustSend(t, s, l(100))
		want = append(want, l(100))
		same(t, all(t, s), want)
		fs.crashNow()
		s.Close()
		got := all(t, open(t, Config{FS: fs.restart(), MinFree: -1}))
		for i, g := range got {
			if g.body == "99" { // was sent, may have become durable
				got = append(got[:i], got[i+1:]...)
				break
			}
		}
		same(t, got, want)
	}
}

// FAILURES 56, 57, 58: operations fail, in every place in turn, with errors of a
// full, a read-only or a failing disk, and with half of a write done. What is
// refused is not there, nothing else is lost, and when the disk is well again
// everything goes on by itself.
func TestFailure56_57_58_EveryOperation(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EROFS, syscall.EIO} {
		for n := 0; ; n++ {
			fs := newCrashFS(uint64(n))
			s := open(t, Config{FS: fs, MinFree: -1, MemtableBytes: 1 << 10, retry: time.Millisecond})
			l := func(i int) line {
				return line{labels: fmt.Sprint("app=a", i%3), time: base, body: fmt.Sprint(i, strings.Repeat(" x", 100)), gen: 1, from: int64(i), to: int64(i + 1)}
			}
			var want []line
			for i := range 4 {
				mustSend(t, s, l(i))
				want = append(want, l(i))
			}
			fs.mu.Lock()
			k, failed := n, false
			fs.failOp = func(string) error {
				// The n-th operation and the two behind it.
				if k--; k >= 0 || k < -3 {
					return nil
				}
				failed = true
				return cause
			}
			fs.half = true
			fs.mu.Unlock()
			for i := 4; i < 12; i++ {
				if _, err := send(s, l(i)); err == nil {
					want = append(want, l(i))
				} else if len(all(t, s)) != len(want) {
					t.Fatalf("%v at operation %d: %d rows after a refusal, want %d", cause, n, len(all(t, s)), len(want))
				}
			}
			fs.mu.Lock()
			fs.failOp = nil
			done := !failed
			fs.mu.Unlock()
			for i := range 12 {
				mustSend(t, s, l(i))
			}
			want = want[:0]
			for i := range 12 {
				want = append(want, l(i))
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			for s.Flush(ctx) != nil && ctx.Err() == nil { // what failed before is tried again
			}
			cancel()
			same(t, all(t, s), want)
			s.Close()
			s = open(t, Config{FS: fs, MinFree: -1})
			same(t, all(t, s), want)
			if r := s.Recovery(); r.Places > 0 || r.Missing > 0 || len(r.Quarantined) > 0 {
				t.Fatalf("%v at operation %d: %+v", cause, n, r)
			}
			s.Close()
			if done {
				if n < 10 {
					t.Fatalf("only %d operations", n)
				}
				break
			}
		}
	}
}

// FAILURES 67: while one sync takes its time, what comes in the meantime waits,
// and is made durable by one more.
func TestFailure67_SlowSync(t *testing.T) {
	fs := newCrashFS(1)
	s := open(t, Config{FS: fs, MinFree: -1})
	entered, leave := make(chan struct{}, 100), make(chan struct{})
	fs.mu.Lock()
	fs.beforeSync = func(string) { entered <- struct{}{}; <-leave }
	fs.mu.Unlock()
	var wg sync.WaitGroup
	store := func(i int) {
		if _, err := send(s, line{labels: "app=a", time: base, body: fmt.Sprint(i)}); err != nil {
			t.Error(err)
		}
	}
	wg.Go(func() { store(0) })
	<-entered
	for i := range 50 {
		wg.Go(func() { store(1 + i) })
	}
	waiting := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.pending.frames)
	}
	for waiting() < 50 {
		runtime.Gosched()
	}
	close(leave)
	wg.Wait()
	if n := fs.syncs(isWAL); n != 2 {
		t.Errorf("%d syncs", n)
	}
	if n := len(all(t, s)); n != 51 {
		t.Errorf("%d rows", n)
	}
}

// FAILURES 56, 71: a full disk refuses, goes on answering, and resumes.
func TestFailure56_71_FullDisk(t *testing.T) {
	fs := newCrashFS(1)
	s := open(t, Config{FS: fs, MinFree: -1})
	l := line{labels: "app=a", time: base, body: strings.Repeat("x", 1000)}
	mustSend(t, s, l)
	fs.mu.Lock()
	fs.room = 100
	fs.mu.Unlock()
	if _, err := send(s, l); err == nil {
		t.Fatal("stored on a full disk")
	}
	if n := len(all(t, s)); n != 1 {
		t.Errorf("%d rows", n)
	}
	fs.mu.Lock()
	fs.room = -1
	fs.mu.Unlock()
	mustSend(t, s, l)
	if n := len(all(t, s)); n != 2 {
		t.Errorf("%d rows", n)
	}
}

// FAILURES 71: below the floor of free space nothing is taken, and above it again
// everything is.
func TestFailure71_Floor(t *testing.T) {
	fs := newCrashFS(1)
	s := open(t, Config{FS: fs, MinFree: 1 << 20})
	ctx := context.Background()
	l := line{labels: "app=a", time: base, body: "x"}
	mustSend(t, s, l)
	for range 2 {
		fs.mu.Lock()
		fs.free = 1<<20 - 1
		fs.mu.Unlock()
		s.Maintain(ctx)
		_, err := send(s, l)
		var se *ack.SendError
		if !errors.As(err, &se) || se.Code != 503 || !s.Stats().LowDisk {
			t.Fatal(err)
		}
		if n := len(all(t, s)); n < 1 {
			t.Error("nothing can be read")
		}
		fs.mu.Lock()
		fs.free = 1 << 20
		fs.mu.Unlock()
		s.Maintain(ctx)
		mustSend(t, s, l)
	}
}

// FAILURES 71: a start on a full disk takes nothing from the first moment.
func TestFailure71_FloorAtStart(t *testing.T) {
	fs := newCrashFS(1)
	s := open(t, Config{FS: fs, MinFree: 1 << 20})
	l := line{labels: "app=a", time: base, body: "x"}
	mustSend(t, s, l)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fs.mu.Lock()
	fs.free = 1<<20 - 1
	fs.mu.Unlock()
	s = open(t, Config{FS: fs, MinFree: 1 << 20})
	var se *ack.SendError
	if _, err := send(s, l); !errors.As(err, &se) || se.Code != 503 {
		t.Fatal(err)
	}
	if n := len(all(t, s)); n != 1 {
		t.Errorf("%d rows can be read", n)
	}
}
