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

	"github.com/weirlog/weir/cri"
)

// reclaiming is a node with a plain file of which the space is given back.
func reclaiming(t *testing.T) (n *node, path string) {
	n = newNode(t)
	dir := t.TempDir()
	n.cfg.Paths, n.cfg.Reclaim = []string{filepath.Join(dir, "*.log")}, true
	return n, filepath.Join(dir, "a.log")
}

// numbered returns the lines from to to, exclusive, of 100 bytes each.
func numbered(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%-99d\n", i)
	}
	return b.String()
}

// blocks returns the disk space of a file, in bytes.
func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// wantNumbers checks that the lines arrived, each once and in order.
func (n *node) wantNumbers(to int) {
	n.t.Helper()
	bodies := n.sink.bodies()
	for i, b := range bodies {
		if want := fmt.Sprintf("%-99d", i); b != want {
			n.t.Fatalf("line %d is %.60q, want %.60q", i, b, want)
		}
	}
	if len(bodies) != to {
		n.t.Fatalf("%d lines, want %d", len(bodies), to)
	}
}

func TestReclaim(t *testing.T) {
	n, p := reclaiming(t)
	appendFile(t, p, numbered(0, 50_000)) // 5 MB
	n.start()
	n.settle()
	if got := blocks(t, p); got > 1_200_000 {
		t.Errorf("%d bytes on disk", got)
	}
	head, err := os.ReadFile(p)
	if err != nil || string(head[:4096]) != numbered(0, 41)[:4096] || len(head) != 5_000_000 || !strings.HasSuffix(string(head), numbered(49_999, 50_000)) {
		t.Error("the beginning, the size or the end has changed")
	}
	if s := n.in.collect(); s.Reclaimed < 4_000_000 || s.Reclaimed > 5_000_000 {
		t.Errorf("%d reclaimed", s.Reclaimed)
	}
	// What is not finished stays.
	n.sink.hold = true
	appendFile(t, p, numbered(50_000, 80_000))
	before := blocks(t, p)
	n.settle()
	if got := blocks(t, p); got < before {
		t.Errorf("%d bytes on disk, %d before", got, before)
	}
	n.kill()
	n.sink.hold, n.sink.all = false, n.sink.all[:50_000]
	n.start()
	n.settle()
	n.wantNumbers(80_000)
	if got := blocks(t, p); got > 1_200_000 {
		t.Errorf("%d bytes on disk", got)
	}
	n.stop()
	// A start with state reads nothing again and misses nothing.
	appendFile(t, p, numbered(80_000, 80_010))
	n.start()
	n.settle()
	n.wantNumbers(80_010)
	if l := n.ledger(); l.Lost != 0 || l.Unread != 0 || l.Read != 8_001_000 || len(n.in.collect().Gaps) != 0 {
		t.Errorf("ledger %+v, gaps %v", l, n.in.collect().Gaps)
	}
	// Rotated files keep no more than their beginning and end.
	rename(t, p, p+"-20260101-000001")
	appendFile(t, p, numbered(80_010, 80_020))
	n.settle()
	n.wantNumbers(80_020)
	if got := blocks(t, p+"-20260101-000001"); got > 20_000 {
		t.Errorf("%d bytes on disk of the rotated file", got)
	}
}

// Without its state the file is read from its beginning: what was given back is
// skipped, and is not lost.
func TestReclaimedAndStateLost(t *testing.T) {
	n, p := reclaiming(t)
	appendFile(t, p, numbered(0, 50_000))
	n.start()
	n.settle()
	n.stop()
	if err := os.RemoveAll(filepath.Join(n.dir, "state")); err != nil {
		t.Fatal(err)
	}
	n.sink.all = nil
	appendFile(t, p, numbered(50_000, 50_100))
	n.start()
	n.settle()
	whole := 0
	for _, r := range n.sink.all {
		if strings.Contains(r.body, "\x00") {
			t.Errorf("a line with NULs: %.80q", r.body)
		}
		if len(r.body) == 99 && r.flags == 0 {
			whole++
		}
	}
	if s := n.sink.all; s[0].body != fmt.Sprintf("%-99d", 0) || s[len(s)-1].body != fmt.Sprintf("%-99d", 50_099) || whole < 140 {
		t.Errorf("%d whole lines, the first %.20q, the last %.20q", whole, s[0].body, s[len(s)-1].body)
	}
	if l := n.ledger(); l.Lost != 0 || l.Unread != 0 {
		t.Errorf("ledger %+v", l)
	}
}

// What an open record of several lines needs after a restart is kept.
func TestReclaimKeepsWhatIsOpen(t *testing.T) {
	n, p := reclaiming(t)
	join, err := cri.NewMultiline(cri.MultilineConfig{First: "^begin", MaxLines: 1_000_000, MaxBytes: 16 << 20, Wait: int64(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	n.cfg.Multiline = join
	n.cfg.MaxLine = 16 << 20
	appendFile(t, p, "begin\n"+numbered(0, 30_000)+"begin\n", numbered(0, 30_000))
	n.start()
	n.settle()
	if s := n.in.collect(); s.Reclaimed > 3_000_000 || s.Reclaimed < 1_500_000 {
		t.Errorf("%d reclaimed", s.Reclaimed)
	}
	n.kill()
	n.start()
	n.settle()
	appendFile(t, p, "begin\n")
	n.settle()
	want := "begin\n" + strings.TrimSuffix(numbered(0, 30_000), "\n")
	if got := n.sink.bodies(); len(got) != 2 || got[0] != want || got[1] != want {
		t.Errorf("%d records", len(got))
	}
}

// The application truncates the file and writes it anew, before the punch, and in the
// very moment of it.
func TestReclaimOfAChangedFile(t *testing.T) {
	for name, when := range map[string]func(n *node, change func()){
		"before the last look": func(n *node, change func()) {
			writable := n.in.sys.writable
			n.in.sys.writable = func(fd int) (int, error) { change(); return writable(fd) }
		},
		"after it": func(n *node, change func()) {
			punch := n.in.sys.punch
			n.in.sys.punch = func(fd int, off, size int64) error { change(); return punch(fd, off, size) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, p := reclaiming(t)
			appendFile(t, p, numbered(0, 30_000))
			n.start()
			changed := false
			when(n, func() {
				if changed {
					return
				}
				changed = true
				if err := os.WriteFile(p, []byte(strings.ReplaceAll(numbered(0, 40_000), " ", "x")), 0o644); err != nil {
					t.Fatal(err)
				}
			})
			n.settle()
			if !changed {
				t.Fatal("nothing was punched")
			}
			fresh := 0
			for _, b := range n.sink.bodies() {
				if strings.Contains(b, "x") && len(b) == 99 {
					fresh++
				}
			}
			gaps := n.in.collect().Gaps[reasonTruncated]
			// Reading tells one gap by itself: the file had grown, as it seemed.
			if name == "before the last look" && (fresh != 40_000 || gaps != 1) {
				t.Errorf("%d of 40000 new lines, %d gaps", fresh, gaps)
			}
			if name == "after it" && (fresh == 40_000 || gaps != 2) {
				t.Errorf("%d new lines, %d gaps: the loss is not told", fresh, gaps)
			}
		})
	}
}

// Where it cannot be done it is said once, and the lines go on.
func TestReclaimRefused(t *testing.T) {
	for name, refuse := range map[string]func(s *system){
		"read-only": func(s *system) { s.writable = func(int) (int, error) { return -1, unix.EROFS } },
		"no holes":  func(s *system) { s.punch = func(int, int64, int64) error { return unix.EOPNOTSUPP } },
		"an error":  func(s *system) { s.punch = func(int, int64, int64) error { return errors.New("broken") } },
	} {
		n, p := reclaiming(t)
		appendFile(t, p, numbered(0, 30_000))
		n.start()
		refuse(&n.in.sys)
		n.settle()
		appendFile(t, p, numbered(30_000, 60_000))
		n.settle()
		n.wantNumbers(60_000)
		if s := n.in.collect(); s.Errors["reclaim"] != 1 || s.Reclaimed != 0 {
			t.Errorf("%s: errors %v, %d reclaimed", name, s.Errors, s.Reclaimed)
		}
	}
}
