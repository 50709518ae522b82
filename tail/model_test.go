package tail

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/cri"
	"github.com/weirlog/weir/record"
)

var (
	modelSeeds = flag.Int("model.seeds", 40, "how many histories the model tests try")
	modelFirst = flag.Uint64("model.first", 0, "seed of the first history")
)

// writer is a container's runtime and kubelet together: it writes lines, and
// rotates, compresses and removes its files.
type writer struct {
	n         *node
	r         *rand.Rand
	pod       string
	restart   int
	files     []string // rotated ones of this restart, oldest first
	rotations int
	part      [2]string       // unfinished message per stream
	want      []string        // "container/stream message", complete ones
	tails     map[string]bool // ends of messages, of which the beginnings may be gone
	pieces    [2][]string
	wiped     bool // the reader's state was removed
	keep      int
}

func (w *writer) live() string { return w.n.path(w.pod, "c", fmt.Sprintf("%d.log", w.restart)) }

var streamNames = [2]string{"stdout", "stderr"}

func (w *writer) write() {
	var text strings.Builder
	for range 1 + w.r.IntN(8) {
		s := w.r.IntN(2)
		msg := fmt.Sprintf("<%s %d %d %s>", w.pod, w.n.line, w.r.Uint32(), strings.Repeat("x", w.r.IntN(200)))
		if w.r.IntN(20) == 0 {
			msg += strings.Repeat("long", w.r.IntN(20_000))
		}
		w.part[s] += msg
		w.pieces[s] = append(w.pieces[s], msg)
		if w.r.IntN(4) == 0 {
			text.WriteString(w.n.cri(streamNames[s], "P", msg))
			continue
		}
		text.WriteString(w.n.cri(streamNames[s], "F", msg))
		w.want = append(w.want, w.name(s)+w.part[s])
		for i := 1; i < len(w.pieces[s]); i++ {
			w.tails[w.name(s)+strings.Join(w.pieces[s][i:], "")] = true
		}
		w.part[s], w.pieces[s] = "", nil
	}
	// A reader may see any part of a write.
	b := text.String()
	if w.r.IntN(3) == 0 {
		k := w.r.IntN(len(b))
		appendFile(w.n.t, w.live(), b[:k])
		w.n.maybeStep(w.r)
		b = b[k:]
	}
	appendFile(w.n.t, w.live(), b)
}

func (w *writer) name(s int) string { return "ns/" + w.pod + "/c/" + streamNames[s] + " " }

// rotate does what kubelet does. steps says that readers may look in between.
func (w *writer) rotate() {
	if _, err := os.Stat(w.live()); err != nil {
		return
	}
	w.rotations++
	old := fmt.Sprintf("%s.20261122-%06d", w.live(), w.rotations)
	rename(w.n.t, w.live(), old)
	w.n.maybeStep(w.r)
	if w.r.IntN(2) == 0 {
		appendFile(w.n.t, w.live())
		w.n.maybeStep(w.r)
	}
	w.files = append(w.files, old)
	if len(w.files) >= 2 {
		if f := w.files[len(w.files)-2]; !strings.HasSuffix(f, ".gz") {
			compress(w.n.t, f)
			w.files[len(w.files)-2] = f + ".gz"
			w.n.maybeStep(w.r)
		}
	}
}

// expire removes the oldest rotated file beyond keep.
func (w *writer) expire() {
	for len(w.files) > w.keep {
		remove(w.n.t, w.files[0])
		w.files = w.files[1:]
	}
}

func (w *writer) giveUpParts() {
	w.part, w.pieces = [2]string{}, [2][]string{}
}

func (w *writer) crash() {
	if _, err := os.Stat(w.live()); err != nil {
		return
	}
	w.giveUpParts()
	w.restart++
	w.files = nil // stay where they are
}

func (n *node) maybeStep(r *rand.Rand) {
	if n.in != nil && r.IntN(2) == 0 {
		n.step(time.Duration(r.IntN(1200)) * time.Millisecond)
	}
}

// everythingSeen steps until the reader has a handle on, or has finished, all
// there is, without the sink taking anything more.
func (n *node) everythingSeen() {
	n.step(time.Second)
	n.step(time.Second)
}

// settledAll reports whether no deleted generation has bytes that are not
// finished: then a kill loses nothing.
func (n *node) nothingAtRisk() bool {
	if err := n.in.save(); err != nil {
		n.t.Fatal(err)
	}
	for _, c := range n.in.chains {
		for _, g := range c.gens {
			if _, err := os.Stat(filepath.Join(c.dir, g.name)); (g.name == "" || err != nil) && (g.acked < g.size || slices.Index(c.gens, g) >= c.openFrom()) {
				return false
			}
			for _, p := range c.state.Open {
				if p.Open && !slices.ContainsFunc(c.gens, func(g *generation) bool { return g.key == p.Generation && g.onDisk() }) {
					return false
				}
			}
		}
	}
	return true
}

// TestModelKubelet writes, rotates, compresses and removes at random, restarts
// containers, and kills and restarts the reader anywhere, also without its
// state. As long as no file is removed that a reader could not have opened, and
// no reader is killed that holds the only handle, everything written arrives,
// byte for byte, under one id.
func TestModelKubelet(t *testing.T) {
	for i := range *modelSeeds {
		seed := *modelFirst + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { modelKubelet(t, seed) })
		if t.Failed() {
			return
		}
	}
}

func modelKubelet(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	n := newNode(t)
	n.cfg.MaxHandles = 1 + r.IntN(8)
	n.cfg.ReadBytes = 1 << (8 + r.IntN(9))
	n.cfg.PartialAge = time.Hour
	n.sink.hold = true
	if seed%2 == 1 { // nothing of what is written belongs together
		n.cfg.Multiline = multiline(t, cri.MultilineConfig{Traces: "auto"})
	}
	ws := []*writer{{n: n, r: r, pod: "a", keep: 3, tails: map[string]bool{}}, {n: n, r: r, pod: "b", keep: 2, tails: map[string]bool{}}}
	n.start()
	for range 30 + r.IntN(150) {
		w := ws[r.IntN(len(ws))]
		switch op := r.IntN(40); {
		case op < 12:
			w.write()
		case op < 17:
			w.rotate()
			n.everythingSeen()
			w.expire()
		case op < 18:
			w.crash()
		case op < 28:
			n.step(time.Duration(r.IntN(1500)) * time.Millisecond)
		case op < 34:
			n.sink.finishSome(r)
		case op < 36:
			n.sink.full = !n.sink.full
		case op < 38 && n.nothingAtRisk():
			n.kill()
			if r.IntN(2) == 0 {
				w.write()
				w.rotate()
			}
			n.start()
		case op == 38 && n.nothingAtRisk():
			n.kill()
			if r.IntN(2) == 0 {
				os.RemoveAll(filepath.Join(n.dir, "state"))
				ws[0].wiped, ws[1].wiped = true, true
			}
			n.start()
		}
	}
	n.sink.full = false
	n.settle()
	n.sink.finishAll()
	n.settle()
	for _, w := range ws {
		w.giveUpParts()
	}
	n.sink.verify(t, ws)
	l := n.ledger()
	if l.Lost != 0 || l.Unread != 0 || l.Read != l.Written {
		t.Errorf("ledger at the end: %+v", l)
	}
	for _, g := range n.sink.gaps() {
		// Where only empty files were left, nobody can tell after a restart.
		if g.reason != reasonUnknown {
			t.Errorf("gap: %v", g)
		}
	}
}

// finishSome finishes a random choice of what is open, in any order.
func (s *testSink) finishSome(r *rand.Rand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Shuffle(len(s.open), func(i, j int) { s.open[i], s.open[j] = s.open[j], s.open[i] })
	k := r.IntN(len(s.open) + 1)
	if r.IntN(3) == 0 {
		k = len(s.open)
	}
	for _, b := range s.open[:k] {
		finish(b)
	}
	s.open = s.open[k:]
}

// verify compares what arrived, each id once, with what was written.
func (s *testSink) verify(t *testing.T, ws []*writer) {
	t.Helper()
	type key struct {
		gen        record.ID
		start, end int64
	}
	ids := map[string]bool{}
	spans := map[key]string{}
	var got []string
	first := map[string]rec{}
	for _, r := range s.all {
		if r.flags.Has(record.Gap) {
			continue
		}
		k := key{r.gen, r.start, r.end}
		if old, ok := spans[k]; ok && old != r.body {
			t.Errorf("one place, two bodies: %v: %q, %q", k, old, r.body)
		}
		spans[k] = r.body
		if !ids[r.id()] {
			ids[r.id()] = true
			if r.flags&(record.Partial|record.Continued|record.ParseError) != 0 {
				t.Errorf("flags %b of %q", r.flags, r.body)
			}
			got = append(got, r.stream+" "+r.body)
			if o, ok := first[r.stream+r.body]; ok {
				t.Errorf("two ids: %s %d-%d, %s %d-%d: %.60q", o.gen, o.start, o.end, r.gen, r.start, r.end, r.body)
			}
			first[r.stream+r.body] = r
		}
	}
	var want []string
	for _, w := range ws {
		want = append(want, w.want...)
	}
	// Without its state a reader cannot know that a message began in a file
	// that is gone.
	got = slices.DeleteFunc(got, func(g string) bool {
		return slices.ContainsFunc(ws, func(w *writer) bool { return w.wiped && w.tails[g] })
	})
	slices.Sort(got)
	slices.Sort(want)
	for len(got) > 0 || len(want) > 0 {
		switch {
		case len(got) > 0 && len(want) > 0 && got[0] == want[0]:
			got, want = got[1:], want[1:]
		case len(want) == 0 || len(got) > 0 && cmp.Compare(got[0], want[0]) < 0:
			t.Errorf("not written, or twice: %.120q", got[0])
			got = got[1:]
		default:
			t.Errorf("missing: %.120q", want[0])
			want = want[1:]
		}
	}
}
