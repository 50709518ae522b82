package ack

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestAdvanceStopsAtTheFirstOpenToken(t *testing.T) {
	var tr Tracker[int]
	now := time.Unix(1, 0)
	var toks []*Token
	for i := range 4 {
		tok := tr.Track(i, now)
		tok.Expect(1)
		tok.CountRead(10)
		toks = append(toks, tok)
	}
	var sum Tally
	toks[1].Count(0, Delivered, 10)
	toks[1].Done()
	if _, ok := tr.Advance(&sum); ok {
		t.Fatal("advanced over an open token")
	}
	toks[0].Count(0, Delivered, 9)
	toks[0].Count(0, DeadRejected, 1)
	toks[0].Done()
	pos, ok := tr.Advance(&sum)
	if !ok || pos != 1 {
		t.Fatalf("pos %d ok %v, want 1", pos, ok)
	}
	want := Tally{Read: 20, Outputs: make([][NumStatus]uint64, 1)}
	want.Outputs[0][Delivered], want.Outputs[0][DeadRejected] = 19, 1
	if d := cmp.Diff(want, sum); d != "" {
		t.Fatal(d)
	}
	if n, oldest := tr.Open(); n != 2 || !oldest.Equal(now) {
		t.Fatalf("open %d since %v", n, oldest)
	}
	var peek Tally
	tr.Peek(&peek)
	if peek.Read != 20 {
		t.Fatalf("peek %d", peek.Read)
	}
}

// Also long after the tracker has passed it: were it then another piece's, that
// one would be finished before it is delivered.
func TestHoldNeedsAnotherDone(t *testing.T) {
	var tr Tracker[int]
	tok := tr.Track(1, time.Time{})
	tok.Hold()
	tok.Done()
	if _, ok := tr.Advance(&Tally{}); ok {
		t.Fatal("finished while held")
	}
	tok.Done()
	if _, ok := tr.Advance(&Tally{}); !ok {
		t.Fatal("not finished")
	}
}

func TestDoneTwicePanics(t *testing.T) {
	var tr Tracker[int]
	tok := tr.Track(1, time.Time{})
	tok.Done()
	tr.Advance(new(Tally))
	next := tr.Track(2, time.Time{})
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
		if _, ok := tr.Advance(new(Tally)); ok {
			t.Error("another piece was finished")
		}
		next.Done()
	}()
	tok.Done()
}

// Whoever shows figures may look while an input tracks and expects.
func TestPeekWhileTracking(t *testing.T) {
	var tr Tracker[int]
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				tr.Peek(new(Tally))
				tr.Open()
			}
		}
	}()
	var sum Tally
	for i := range 2000 {
		tok := tr.Track(i, time.Time{})
		tok.Expect(1)
		tok.Expect(3)
		tok.CountRead(2)
		tok.Count(2, Delivered, 2)
		tok.Done()
	}
	close(stop)
	<-stopped
	tr.Advance(&sum)
	if sum.Read != 4000 || sum.Outputs[2][Delivered] != 4000 {
		t.Fatal(sum)
	}
}

// The reference: a slice of positions and a set of finished ones.
func TestTrackerAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tr Tracker[int]
		type item struct {
			tok  *Token
			done bool
			n    int
		}
		var all []*item
		head := 0
		var got, want Tally
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"track": func(t *rapid.T) {
				it := &item{tok: tr.Track(next, time.Time{}), n: rapid.IntRange(0, 5).Draw(t, "n")}
				it.tok.Expect(2)
				it.tok.CountRead(it.n)
				it.tok.Count(1, Delivered, it.n)
				all = append(all, it)
				next++
			},
			"done": func(t *rapid.T) {
				if len(all) == head {
					t.Skip("none open")
				}
				it := all[rapid.IntRange(head, len(all)-1).Draw(t, "i")]
				if !it.done {
					it.done = true
					it.tok.Done()
				}
			},
			"advance": func(t *rapid.T) {
				from := head
				for head < len(all) && all[head].done {
					want.Read += uint64(all[head].n)
					head++
				}
				pos, ok := tr.Advance(&got)
				if ok != (head > from) || ok && pos != head-1 {
					t.Fatalf("pos %d ok %v, model %d..%d", pos, ok, from, head)
				}
				if got.Read != want.Read || len(got.Outputs) > 1 && got.Outputs[1][Delivered] != want.Read {
					t.Fatalf("tally %+v, model %d", got, want.Read)
				}
				if n, _ := tr.Open(); n != len(all)-head {
					t.Fatalf("open %d, model %d", n, len(all)-head)
				}
			},
		})
	})
}

func TestTrackerConcurrently(t *testing.T) {
	var tr Tracker[int]
	const n = 5000
	ch := make(chan *Token, 64)
	var wg sync.WaitGroup
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var held []*Token
			for tok := range ch {
				held = append(held, tok)
				if len(held) > 8 {
					i := rand.IntN(len(held))
					held[i].Count(0, Delivered, 3)
					held[i].Done()
					held[i] = held[len(held)-1]
					held = held[:len(held)-1]
				}
			}
			for _, tok := range held {
				tok.Count(0, Delivered, 3)
				tok.Done()
			}
		}()
	}
	var sum Tally
	last := -1
	for i := range n {
		tok := tr.Track(i, time.Time{})
		tok.Expect(1)
		ch <- tok
		if pos, ok := tr.Advance(&sum); ok {
			if pos <= last {
				t.Fatalf("position went from %d to %d", last, pos)
			}
			last = pos
		}
	}
	close(ch)
	wg.Wait()
	tr.Advance(&sum)
	if sum.Outputs[0][Delivered] != 3*n {
		t.Fatalf("delivered %d", sum.Outputs[0][Delivered])
	}
}

func TestStatusNames(t *testing.T) {
	seen := map[[2]string]bool{}
	for s := range NumStatus {
		n := [2]string{s.Class(), s.Reason()}
		if n[0] == "" || seen[n] {
			t.Errorf("status %d: name %q empty or twice", s, n)
		}
		seen[n] = true
		if p, ok := ParseStatus(n[0], n[1]); !ok || p != s {
			t.Errorf("ParseStatus(%q) = %d, %v", n, p, ok)
		}
	}
}

func BenchmarkTrackDoneAdvance(b *testing.B) {
	var tr Tracker[[2]int64]
	var sum Tally
	now := time.Unix(1, 0)
	b.ReportAllocs()
	for i := range b.N {
		tok := tr.Track([2]int64{int64(i), 0}, now)
		tok.Expect(2)
		tok.CountRead(1)
		tok.Count(1, Delivered, 1)
		tok.Done()
		tr.Advance(&sum)
	}
}

func TestNewTokenTells(t *testing.T) {
	var told []Tally
	tok := NewToken(func(sum *Tally) { told = append(told, *sum) })
	tok.Expect(2)
	tok.CountRead(3)
	tok.Count(1, Delivered, 2)
	tok.Hold()
	tok.Done()
	if told != nil {
		t.Fatal("told while it was held")
	}
	tok.Count(1, DeadRejected, 1)
	tok.Done()
	if len(told) != 1 || told[0].Read != 3 || told[0].Outputs[1][Delivered] != 2 || told[0].Outputs[1][DeadRejected] != 1 {
		t.Errorf("told %+v", told)
	}
}
