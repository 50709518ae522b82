package tail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// copies returns what stands beside a file.
func copies(t *testing.T, p string) []string {
	t.Helper()
	names, err := filepath.Glob(p + "-*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func rotating(t *testing.T) (*node, string) {
	n, p := reclaiming(t)
	n.cfg.Reclaim, n.cfg.RotateSize = false, 200_000
	return n, p
}

func TestRotate(t *testing.T) {
	n, p := rotating(t)
	n.start()
	to := 0
	more := func(lines int) {
		appendFile(t, p, numbered(to, to+lines))
		to += lines
	}
	for i := range 5 {
		more(3000)
		n.settle()
		if st, err := os.Stat(p); err != nil || st.Size() != 0 {
			t.Fatalf("turn %d: %v, %v", i, st.Size(), err)
		}
		n.wantNumbers(to)
	}
	if s := n.in.collect(); s.Rotations != 5 || s.MaybeLost <= 0 || len(s.Gaps) != 0 || len(copies(t, p)) != 0 {
		t.Errorf("%d rotations, at most %d lost, gaps %v, copies %v", s.Rotations, s.MaybeLost, s.Gaps, copies(t, p))
	}
	if l := n.ledger(); l.Lost != 0 || l.Unread != 0 || l.Read != int64(to)*100 {
		t.Errorf("ledger %+v", l)
	}
	// What is not finished is read on from the copy, over a kill.
	n.sink.hold = true
	more(3000)
	n.settle()
	if st, err := os.Stat(p); err != nil || st.Size() != 0 || len(copies(t, p)) != 1 {
		t.Fatalf("%d bytes, copies %v", st.Size(), copies(t, p))
	}
	more(10)
	n.settle()
	n.kill()
	n.sink.hold, n.sink.all = false, n.sink.all[:15_000]
	n.start()
	n.settle()
	n.wantNumbers(to)
	if c := copies(t, p); len(c) != 0 {
		t.Errorf("copies %v", c)
	}
	if l := n.ledger(); l.Lost != 0 || l.Unread != 0 {
		t.Errorf("ledger %+v", l)
	}
}

// Copies are kept as told, and nobody else's files are removed.
func TestRotateKeep(t *testing.T) {
	n, p := rotating(t)
	n.cfg.RotateKeep = 2
	for _, other := range []string{p + "-20260101", p + "-20260101T000000", p + ".1"} {
		appendFile(t, other, fmt.Sprintf("%s\n", filepath.Base(other)))
	}
	n.start()
	for i := range 5 {
		appendFile(t, p, numbered(i*3000, i*3000+3000))
		n.settle()
	}
	if c := copies(t, p); len(c) != 4 {
		t.Errorf("%q", c)
	}
}

// Lines that come while the copy is made are copied, too; if they never stop it is
// tried again later.
func TestRotateOfABusyFile(t *testing.T) {
	n, p := rotating(t)
	n.start()
	appendFile(t, p, numbered(0, 3000))
	to, lately := 3000, 0
	fresh := func() {
		if lately > 0 {
			lately--
			appendFile(t, p, numbered(to, to+1))
			to++
		}
	}
	pread := n.in.sys.pread
	n.in.sys.pread = func(fd int, b []byte, off int64) (int, error) { fresh(); return pread(fd, b, off) }
	lately = 20
	n.settle()
	if s := n.in.collect(); s.Rotations != 1 || lately != 0 {
		t.Errorf("%d rotations", s.Rotations)
	}
	n.wantNumbers(to)
	truncate := n.in.sys.truncate
	n.in.sys.truncate = func(int, int64) error { return errors.New("no") }
	appendFile(t, p, numbered(to, to+3000))
	to += 3000
	n.settle()
	n.wantNumbers(to)
	if s := n.in.collect(); s.Rotations != 1 || s.Errors["rotate"] != 1 || len(copies(t, p)) != 0 {
		t.Errorf("%d rotations, errors %v, copies %v", s.Rotations, s.Errors, copies(t, p))
	}
	n.in.sys.truncate = truncate
}

// A writer without O_APPEND goes on at its old place: the file has a hole then.
func TestRotateUnderAWriterWithAPosition(t *testing.T) {
	n, p := rotating(t)
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(from, to int) {
		if _, err := f.WriteString(numbered(from, to)); err != nil {
			t.Fatal(err)
		}
	}
	write(0, 3000)
	n.start()
	n.settle()
	write(3000, 3100)
	n.settle()
	n.wantNumbers(3100)
	if l := n.ledger(); l.Lost != 0 || l.Unread != 0 {
		t.Errorf("ledger %+v", l)
	}
	if s := n.in.collect(); s.Rotations < 1 || len(s.Gaps) != 0 {
		t.Errorf("%d rotations, gaps %v", s.Rotations, s.Gaps)
	}
}

func TestRotateRefused(t *testing.T) {
	n, p := rotating(t)
	n.start()
	n.in.sys.writable = func(int) (int, error) { return -1, unix.EACCES }
	appendFile(t, p, numbered(0, 5000))
	n.settle()
	n.wantNumbers(5000)
	if s := n.in.collect(); s.Errors["rotate"] != 1 || s.Rotations != 0 {
		t.Errorf("errors %v", s.Errors)
	}
	if rotatedByUs("a.log", "a.log-"+strings.Repeat("0", 25)) || !rotatedByUs("a.log", "a.log-"+time.Now().UTC().Format(rotatedForm)) || rotatedByUs("a.log", "b.log-"+time.Now().Format(rotatedForm)) {
		t.Error("names")
	}
}

// A line whose end is not written yet goes into the next life of the file, whole.
func TestRotateWithinALine(t *testing.T) {
	n, p := rotating(t)
	n.start()
	appendFile(t, p, numbered(0, 3000), "30")
	n.settleFor(time.Second)
	if s := n.in.collect(); s.Rotations != 1 {
		t.Fatalf("%d rotations", s.Rotations)
	}
	if got, err := os.ReadFile(p); err != nil || string(got) != "30" {
		t.Errorf("%q, %v", got, err)
	}
	appendFile(t, p, fmt.Sprintf("%-97s\n", "00"))
	n.settle()
	n.wantNumbers(3001)
}

// settleFor steps for that long on the node's clock.
func (n *node) settleFor(d time.Duration) {
	for end := n.now.Add(d); n.now.Before(end); {
		n.step(20 * time.Millisecond)
	}
}
