package tail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// heldFiles returns how many links there are.
func heldFiles(t *testing.T, dir string) (n int) {
	filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			n++
		}
		return nil
	})
	return n
}

func TestHoldLinkSurvivesKillAndDeletion(t *testing.T) {
	for _, state := range []string{"kept", "lost"} {
		for _, pod := range []string{"stays", "deleted"} {
			t.Run(state+" "+pod, func(t *testing.T) {
				n := newNode(t)
				n.cfg.Hold = Hold{By: HoldLink, LinkDir: filepath.Join(n.dir, "hold")}
				n.start()
				n.sink.full = true
				p := n.path("a", "c", "0.log")
				var want []string
				for i := range 5 {
					text, msgs := n.lines(i*10, 10)
					want = append(want, msgs...)
					appendFile(t, p, text)
					n.step(time.Second)
					old := fmt.Sprintf("%s.20261122-%06d", p, i)
					if i < 4 || pod == "deleted" {
						rename(t, p, old)
						n.step(time.Second)
						if i == 1 {
							compress(t, old)
							n.step(time.Second)
						}
						remove(t, old, old+".gz")
						n.step(time.Second)
					}
				}
				if pod == "deleted" {
					remove(t, filepath.Join(n.pods, "ns_a_uid-a"))
					n.step(time.Second)
				}
				n.kill()
				if state == "lost" {
					remove(t, filepath.Join(n.dir, "state"))
				}
				n.sink.full = false
				n.start()
				n.settle()
				wantBodies(t, n.sink.bodies(), want...)
				if l := n.ledger(); l.Lost != 0 || l.Unread != 0 || l.Durable != l.Written {
					t.Errorf("ledger %+v", l)
				}
				wantGaps := 0
				if state == "kept" && pod == "deleted" {
					wantGaps = 1 // nobody knows what came after
				}
				if g := n.sink.gaps(); len(g) != wantGaps {
					t.Errorf("gaps %v", g)
				}
				n.step(time.Minute)
				n.settle()
				live := 1
				if pod == "deleted" {
					live = 0
				}
				if k := heldFiles(t, n.cfg.Hold.LinkDir); k != live {
					t.Errorf("%d links are left, want %d", k, live)
				}
				n.stop()
				n.start()
				n.settle()
				wantBodies(t, n.sink.bodies(), want...)
			})
		}
	}
}

func TestHoldLinkFallsBackToHandles(t *testing.T) {
	other, err := os.MkdirTemp("/dev/shm", "weir")
	if err != nil {
		t.Skip("no second file system: ", err)
	}
	defer os.RemoveAll(other)
	n := newNode(t)
	n.cfg.Hold = Hold{By: HoldLink, LinkDir: filepath.Join(other, "hold")}
	p := n.path("a", "c", "0.log")
	appendFile(t, p, n.out("one"))
	n.start()
	n.sink.full = true
	n.step(time.Second)
	n.step(time.Second)
	if st, _ := lstat(n.cfg.Hold.LinkDir); st.dev == mustStat(t, p).dev {
		t.Skip("one file system")
	}
	remove(t, p)
	n.step(time.Second)
	n.step(time.Second)
	n.sink.full = false
	n.settle()
	wantBodies(t, n.sink.bodies(), "one")
	if e := n.in.collect().Errors["hold"]; e != 1 {
		t.Errorf("%d errors counted", e)
	}
}

func mustStat(t *testing.T, path string) stat {
	st, err := lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestHoldLinkIsBounded(t *testing.T) {
	n := newNode(t)
	n.cfg.Hold = Hold{By: HoldLink, LinkDir: filepath.Join(n.dir, "hold"), MaxBytes: 1000}
	n.start()
	n.sink.full = true
	p := n.path("a", "c", "0.log")
	for i := range 5 {
		text, _ := n.lines(i*10, 10)
		appendFile(t, p, text)
		n.step(time.Second)
		rename(t, p, p+".20261122-000001")
		n.step(time.Second)
		remove(t, p+".20261122-000001")
		n.step(time.Second)
		n.step(time.Second)
	}
	n.step(time.Second)
	n.step(time.Second)
	if k := heldFiles(t, n.cfg.Hold.LinkDir); k == 0 || k > 2 {
		t.Errorf("%d links", k)
	}
	if l := n.ledger(); l.Lost == 0 {
		t.Errorf("ledger %+v", l)
	}
}

// What may have come after a pod's last file is told once, however often the
// agent is killed before the pod's lines are acknowledged.
func TestHoldLinkTellsTheUnknownOnce(t *testing.T) {
	n := newNode(t)
	n.cfg.Hold = Hold{By: HoldLink, LinkDir: filepath.Join(n.dir, "hold")}
	n.start()
	n.sink.full = true
	p := n.path("a", "c", "0.log")
	text, want := n.lines(0, 10)
	appendFile(t, p, text)
	n.step(time.Second)
	remove(t, filepath.Join(n.pods, "ns_a_uid-a"))
	n.step(time.Second)
	for range 3 {
		n.kill()
		n.start()
		n.step(time.Second)
		n.step(2 * time.Second)
		n.step(2 * time.Second)
	}
	n.sink.full = false
	n.settle()
	wantBodies(t, n.sink.bodies(), want...)
	if g := n.sink.gaps(); len(g) != 1 {
		t.Errorf("gaps %v, want one", g)
	}
}

// Links that an earlier setting made are read and used up after the setting
// is another.
func TestHoldFDReadsTheLinksOfBefore(t *testing.T) {
	n := newNode(t)
	dir := filepath.Join(n.dir, "hold")
	n.cfg.Hold = Hold{By: HoldLink, LinkDir: dir}
	n.start()
	n.sink.full = true
	text, want := n.lines(0, 10)
	appendFile(t, n.path("a", "c", "0.log"), text)
	n.step(time.Second)
	remove(t, filepath.Join(n.pods, "ns_a_uid-a"))
	n.step(time.Second)
	if heldFiles(t, dir) != 1 {
		t.Fatalf("%d files held, want one", heldFiles(t, dir))
	}
	n.kill()

	n.cfg.Hold = Hold{By: HoldFD, LinkDir: dir}
	n.start()
	n.sink.full = false
	other, more := n.lines(10, 20)
	appendFile(t, n.path("b", "c", "0.log"), other)
	n.settle()
	wantBodies(t, n.sink.bodies(), append(want, more...)...)
	if k := heldFiles(t, dir); k != 0 {
		t.Errorf("%d links are left, want none: neither an old nor a new one", k)
	}
}

// Where there were no links the directory is neither made nor missed.
func TestHoldFDMakesNoDirectory(t *testing.T) {
	n := newNode(t)
	n.cfg.Hold = Hold{By: HoldFD, LinkDir: filepath.Join(n.dir, "hold")}
	n.start()
	text, want := n.lines(0, 3)
	appendFile(t, n.path("a", "c", "0.log"), text)
	n.settle()
	wantBodies(t, n.sink.bodies(), want...)
	if _, err := os.Lstat(n.cfg.Hold.LinkDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("hold directory: %v, want none", err)
	}
	if e := n.in.collect().Errors["hold"]; e != 0 {
		t.Errorf("%d errors counted", e)
	}
}
