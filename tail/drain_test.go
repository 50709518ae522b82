package tail

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// end steps until the reader would return, and reports how long that took on its
// clock; it gives up after most.
func (n *node) end(most time.Duration) (took time.Duration, ended bool) {
	n.t.Helper()
	begin := n.now
	for n.now.Sub(begin) <= most {
		if !n.step(20*time.Millisecond) && n.in.settled() {
			return n.now.Sub(begin), true
		}
	}
	return most, false
}

func TestSettleReadsToTheEnd(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	n.cfg.Paths = []string{filepath.Join(dir, "*.log")}
	n.start()
	n.settle()
	plain, pod := filepath.Join(dir, "a.log"), n.path("a", "c", "0.log")
	appendFile(t, plain, "one\ntw")
	appendFile(t, pod, n.out("pod one"), n.cri("stdout", "P", "first part, "))
	n.in.Settle(300 * time.Millisecond)
	took, ended := n.end(20 * time.Second)
	if !ended || took > 2*time.Second {
		t.Errorf("ended %v after %v", ended, took)
	}
	// A file born after Settle is found, and what has no end counts as it is.
	wantBodies(t, sorted(n.sink.bodies()), "first part, ", "one", "pod one", "tw")
	if lines, ok := n.in.UnreadLines(); lines != 0 || !ok {
		t.Errorf("%d lines unread, %v", lines, ok)
	}
}

func TestSettleWaitsWhileSomethingIsWritten(t *testing.T) {
	n := newNode(t)
	p := n.path("a", "c", "0.log")
	appendFile(t, p, n.out("0"))
	n.start()
	n.settle()
	n.in.Settle(time.Second)
	for i := range 20 {
		if _, ended := n.end(500 * time.Millisecond); ended {
			t.Fatalf("ended after %d more lines", i)
		}
		appendFile(t, p, n.out("more"))
	}
	if _, ended := n.end(5 * time.Second); !ended {
		t.Error("does not end")
	}
	if got := len(n.sink.bodies()); got != 21 {
		t.Errorf("%d lines", got)
	}
}

// Without room nothing is read; what is left is counted, whichever file it stands
// in.
func TestUnreadLines(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	n.cfg.Paths = []string{filepath.Join(dir, "*.log")}
	p := filepath.Join(dir, "a.log")
	appendFile(t, p, "one\n", "two\n")
	n.start()
	n.settle()
	n.sink.full = true
	appendFile(t, p, "three\nfour\n")
	n.step(time.Second)
	rename(t, p, p+"-20260101-000001")
	appendFile(t, p, "five\n")
	n.step(time.Second)
	rename(t, p, p+"-20260101-000002")
	appendFile(t, p, "six\nseven, unfinished")
	n.in.Settle(100 * time.Millisecond)
	if _, ended := n.end(5 * time.Second); ended {
		t.Error("ended with lines unread")
	}
	if lines, ok := n.in.UnreadLines(); lines != 5 || !ok {
		t.Errorf("%d lines unread, %v; want 5", lines, ok)
	}
	n.sink.full = false
	if _, ended := n.end(5 * time.Second); !ended {
		t.Error("does not end")
	}
	wantBodies(t, n.sink.bodies(), "one", "two", "three", "four", "five", "six", "seven, unfinished")
	n.in.countUnread()
	if lines, ok := n.in.UnreadLines(); lines != 0 || !ok {
		t.Errorf("%d lines unread, %v", lines, ok)
	}
}

// Run returns by itself after Settle.
func TestRunEndsAfterSettle(t *testing.T) {
	n := newNode(t)
	p := n.path("a", "c", "0.log")
	appendFile(t, p, n.out("one"))
	n.cfg.Clock = nil
	n.start()
	done := make(chan error, 1)
	go func() { done <- n.in.Run(context.Background(), n.sink) }()
	<-n.sink.came
	appendFile(t, p, n.out("two"))
	n.in.Settle(50 * time.Millisecond)
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	wantBodies(t, n.sink.bodies(), "one", "two")
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}
