package tail

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/weirlog/weir/record"
)

// TestModelLoss is TestModelKubelet with kills at the worst moments and files
// removed whether a reader had them or not. Something may be lost then; what
// the ledger says is lost, is exactly what did not arrive, for every
// generation that a reader has ever saved; and where files came and went
// unseen, a gap record says so.
func TestModelLoss(t *testing.T) {
	for i := range *modelSeeds {
		seed := *modelFirst + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { modelLoss(t, seed, false) })
		if t.Failed() {
			return
		}
	}
}

// TestModelHold is TestModelLoss with links: what a reader has seen once
// survives its kill, so nothing is lost.
func TestModelHold(t *testing.T) {
	for i := range *modelSeeds {
		seed := *modelFirst + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { modelLoss(t, seed, true) })
		if t.Failed() {
			return
		}
	}
}

func modelLoss(t *testing.T, seed uint64, links bool) {
	r := rand.New(rand.NewPCG(seed, 2))
	n := newNode(t)
	n.cfg.MaxHandles = 1 + r.IntN(8)
	n.cfg.ReadBytes = 1 << (8 + r.IntN(9))
	n.cfg.PartialAge = time.Hour
	n.sink.hold = true
	if links {
		n.cfg.Hold = Hold{By: HoldLink, LinkDir: filepath.Join(n.dir, "hold")}
	}
	n.start()
	p := n.path("a", "c", "0.log")
	var files []string
	var written int64
	lines := map[string]int{} // message → bytes of its line
	write := func() {
		for range 1 + r.IntN(20) {
			m := fmt.Sprintf("message %d", n.line)
			l := n.out(m)
			lines[m] = len(l)
			written += int64(len(l))
			appendFile(t, p, l)
		}
	}
	rotate := func() {
		if _, err := os.Stat(p); err != nil {
			return
		}
		old := fmt.Sprintf("%s.20261122-%06d", p, n.line)
		n.line++
		rename(t, p, old)
		n.maybeStep(r)
		files = append(files, old)
		if k := len(files); k >= 2 && filepath.Ext(files[k-2]) != ".gz" {
			compress(t, files[k-2])
			files[k-2] += ".gz"
		}
		if n.in != nil {
			n.everythingSeen()
		}
		for len(files) > 2 {
			remove(t, files[0])
			files = files[1:]
		}
	}
	down := false // something happened while no reader was there
	for range 30 + r.IntN(150) {
		switch op := r.IntN(60); {
		case op < 16:
			write()
		case op < 26:
			rotate()
		case op < 40:
			n.step(time.Duration(r.IntN(1500)) * time.Millisecond)
		case op < 50:
			n.sink.finishSome(r)
		case op < 54:
			n.sink.full = !n.sink.full
		case op < 56:
			n.kill()
			n.start()
		case op < 57 && seed%2 == 0 && len(n.in.chains) > 0:
			if err := n.in.save(); err != nil { // it has been seen once
				t.Fatal(err)
			}
			n.kill()
			for range r.IntN(5) {
				write()
				rotate()
				down = true
			}
			n.start()
		}
	}
	n.sink.full = false
	n.settle()
	n.sink.finishAll()
	n.settle()
	n.step(time.Minute)
	n.settle()

	ids := map[string]bool{}
	count := map[string]int{}
	var arrived int64
	unknown := false
	var gapBytes int64
	for _, k := range n.sink.all {
		if ids[k.id()] {
			continue
		}
		ids[k.id()] = true
		if k.flags.Has(record.Gap) {
			if k.reason == reasonUnknown {
				unknown = true
			}
			gapBytes += k.end - k.start
			continue
		}
		count[k.body]++
		if count[k.body] > 1 {
			t.Errorf("twice: %q", k.body)
		}
		if lines[k.body] == 0 {
			t.Errorf("not written: %q", k.body)
		}
		arrived += int64(lines[k.body])
	}
	l := n.ledger()
	if l.Unread != 0 {
		t.Errorf("ledger %+v", l)
	}
	if gapBytes != l.Lost {
		t.Errorf("gap records tell of %d bytes, the ledger of %d", gapBytes, l.Lost)
	}
	missing := written - arrived
	// A reader that was killed before it saved what it had seen, or before
	// its sink had finished what it had taken, may have counted as lost what
	// did arrive; never the other way round, unless it says "unknown".
	if missing > l.Lost && !unknown {
		t.Errorf("%d bytes are missing, %d are counted as lost, and no gap is unknown", missing, l.Lost)
	}
	if links && !down {
		if missing != 0 || l.Lost != 0 {
			t.Errorf("%d bytes are missing, %d are counted as lost", missing, l.Lost)
		}
		if k := heldFiles(t, n.cfg.Hold.LinkDir); k > 1 {
			t.Errorf("%d links are left", k)
		}
	}
	if missing > 0 && len(n.sink.gaps()) == 0 {
		t.Errorf("%d bytes are missing without a gap record", missing)
	}
}

// TestModelPlain rotates plain files by number and by copytruncate, as
// logrotate does, with restarts of the reader anywhere.
func TestModelPlain(t *testing.T) {
	for i := range *modelSeeds {
		seed := *modelFirst + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { modelPlain(t, seed) })
		if t.Failed() {
			return
		}
	}
}

func modelPlain(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 3))
	n := newNode(t)
	n.cfg.ReadBytes = 1 << (8 + r.IntN(9))
	n.cfg.MaxHandles = 1 + r.IntN(8)
	n.sink.hold = true
	p := n.plain("app.log*") + "/app.log"
	n.start()
	var want []string
	keep := 3
	copying := r.IntN(2) == 0
	name := func(i int) string { return fmt.Sprintf("%s.%d", p, i) }
	shift := func() {
		for i := keep; i >= 1; i-- {
			for _, gz := range []string{"", ".gz"} {
				if _, err := os.Stat(name(i) + gz); err == nil {
					if i == keep {
						remove(t, name(i)+gz)
						continue
					}
					rename(t, name(i)+gz, name(i+1)+gz)
				}
			}
		}
	}
	restartable := n.nothingAtRisk
	for range 30 + r.IntN(100) {
		switch op := r.IntN(30); {
		case op < 10:
			for range 1 + r.IntN(20) {
				m := fmt.Sprintf("message %d", n.line)
				n.line++
				want = append(want, m)
				appendFile(t, p, m+"\n")
			}
		case op < 14:
			if fi, err := os.Stat(p); err != nil || fi.Size() == 0 {
				break
			}
			n.everythingSeen()
			shift()
			if copying {
				copyTruncate(t, p, name(1), func() { n.maybeStep(r) })
			} else {
				rename(t, p, name(1))
				n.maybeStep(r)
				if _, err := os.Stat(name(2)); err == nil && r.IntN(2) == 0 {
					compress(t, name(2))
				}
			}
			n.everythingSeen()
		case op < 20:
			n.step(time.Duration(r.IntN(1500)) * time.Millisecond)
		case op < 25:
			n.sink.finishSome(r)
		case op < 27:
			n.sink.full = !n.sink.full
		case op < 28 && restartable():
			n.kill()
			n.start()
		}
	}
	n.sink.full = false
	n.settle()
	n.sink.finishAll()
	n.settle()
	ids := map[string]bool{}
	var got []string
	for _, k := range n.sink.all {
		if !ids[k.id()] {
			got = append(got, k.body)
		}
		ids[k.id()] = true
	}
	slices.Sort(got)
	slices.Sort(want)
	wantBodies(t, got, want...)
	if l := n.ledger(); l.Lost != 0 || l.Unread != 0 {
		t.Errorf("ledger %+v", l)
	}
}
