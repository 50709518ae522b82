package deliver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// moody is a destination that fails in every way there is. All of its
// endpoints share its random numbers, which follow from one seed.
type moody struct {
	mu       sync.Mutex
	rnd      *rand.Rand
	trouble  int // in percent
	maxBytes int
	byItem   bool // it names the poison, else it refuses the request
	poison   func(n int) bool
	deaf     time.Time // endpoint 0 does not answer until then
}

func (m *moody) intn(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rnd.IntN(n)
}

func (m *moody) send(endpoint int, s *sink) func(context.Context, int, []record.Part) (ack.Result, error) {
	return func(ctx context.Context, _ int, parts []record.Part) (ack.Result, error) {
		select {
		case <-time.After(time.Duration(m.intn(300)) * time.Millisecond):
		case <-ctx.Done():
			return ack.Result{}, ctx.Err()
		}
		if endpoint == 0 && time.Now().Before(m.deaf) {
			<-ctx.Done()
			return ack.Result{}, ctx.Err()
		}
		flaky := false
		if m.intn(100) < m.trouble {
			switch m.intn(10) {
			case 0:
				return ack.Result{}, errDown
			case 1:
				return ack.Result{}, err429
			case 2:
				return ack.Result{}, err503
			case 3:
				return ack.Result{}, err401
			case 4:
				return ack.Result{}, &ack.SendError{Kind: ack.Retry, Code: 429, RetryAfter: time.Duration(m.intn(20)) * time.Second}
			case 5:
				<-ctx.Done()
				return ack.Result{}, fmt.Errorf("hung: %w", ctx.Err())
			case 6: // stored, but the answer is lost
				for _, n := range numbers(parts) {
					if !m.poison(n) {
						s.store(n)
					}
				}
				return ack.Result{}, errDown
			case 7:
				return ack.Result{Failures: []ack.Failure{{Part: len(parts)}}}, nil
			case 8:
				return ack.Result{}, err413 // a proxy's mood; a single record pays for it
			default:
				flaky = true
			}
		}
		size := 0
		for _, p := range parts {
			size += p.Size()
		}
		if size > m.maxBytes {
			return ack.Result{}, err413
		}
		if !m.byItem && slices.ContainsFunc(numbers(parts), m.poison) {
			return ack.Result{}, err400
		}
		return failures(parts, func(n int) (bool, bool) {
			if m.poison(n) {
				return true, true
			}
			return flaky && m.intn(3) == 0, false
		}), nil
	}
}

// Whatever the destination does: every record has exactly one status, every
// batch is released exactly once, and what is delivered is everything that is
// not dead. After a stop, every record is settled or handed back, never both.
func TestEveryRecordEndsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The wrapper hides t.Deadline, which may not be called in a bubble.
		rapid.Check(struct{ rapid.TB }{t}, everyRecordEndsOnce)
	})
}

func everyRecordEndsOnce(t *rapid.T) {
	rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	modulus := rapid.SampledFrom([]int{2, 7, 50, 1000000}).Draw(t, "poison every")
	m := &moody{
		rnd:      rnd,
		trouble:  rapid.SampledFrom([]int{0, 10, 40, 70}).Draw(t, "trouble"),
		maxBytes: rapid.IntRange(500, 20000).Draw(t, "destination takes"),
		byItem:   rapid.Bool().Draw(t, "by item"),
		poison:   func(n int) bool { return n%modulus == modulus-1 },
	}
	if rapid.Bool().Draw(t, "first endpoint deaf") {
		m.deaf = time.Now().Add(10 * time.Minute)
	}
	sinks := make([]*sink, rapid.IntRange(1, 3).Draw(t, "endpoints"))
	c := Config{
		Balance:     Balance(rapid.IntRange(0, 3).Draw(t, "balance")),
		Failback:    time.Duration(rapid.IntRange(0, 2).Draw(t, "failback")) * 5 * time.Second,
		Dynamic:     rapid.Bool().Draw(t, "dynamic"),
		Batch:       Batch{Bytes: rapid.IntRange(100, 8000).Draw(t, "batch"), Records: rapid.IntRange(0, 20).Draw(t, "records")},
		Concurrency: rapid.IntRange(1, 5).Draw(t, "concurrency"),
		MaxInHand:   rapid.IntRange(1, 50000).Draw(t, "in hand"),
		Timeout:     5 * time.Second,
		Rand:        func() float64 { return float64(m.intn(1000)) / 1000 },
	}
	if rapid.Bool().Draw(t, "by attribute") {
		c.HashBy = []string{"pod"}
	}
	for i := range sinks {
		sinks[i] = &sink{}
		sinks[i].f = m.send(i, sinks[i])
	}
	h := &hall{sinks: sinks, now: make(map[string]*door)}
	groups := rapid.SliceOfN(rapid.IntRange(0, 2), len(sinks), len(sinks)).Draw(t, "groups")
	c.Endpoints = h.list(upTo(len(sinks)), groups)
	expires := rapid.IntRange(0, 3).Draw(t, "expires") == 0
	if expires {
		c.Retry.For = 20 * time.Second
	}
	y := &yard{fail: func(int) error {
		if m.intn(3) == 0 {
			return errors.New("disk full")
		}
		return nil
	}}
	c.DeadLetters = y
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r := start(t, ctx, c)
	total := 0
	for range rapid.IntRange(1, 12).Draw(t, "parts") {
		n := rapid.IntRange(0, 30).Draw(t, "part")
		total += n
		r.put(n, rapid.IntRange(0, 400).Draw(t, "size"))
		if rapid.Bool().Draw(t, "pause") {
			<-time.After(time.Second)
		}
		if c.Dynamic && rapid.IntRange(0, 2).Draw(t, "change") == 0 {
			h.change(t, r.Deliverer, rapid.SliceOfNDistinct(rapid.IntRange(0, len(sinks)-1), 0, len(sinks), rapid.ID[int]).Draw(t, "members"), groups)
		}
		if st := r.Stats(); records(st)+st.Waiting.Records != total {
			t.Fatalf("%d records put, stats %+v", total, st)
		}
	}
	if c.Dynamic { // or nothing would ever end
		h.change(t, r.Deliverer, upTo(len(sinks)), groups)
	}
	if rapid.IntRange(0, 3).Draw(t, "stop") == 0 {
		<-time.After(time.Duration(rapid.IntRange(0, 8000).Draw(t, "after ms")) * time.Millisecond)
		cancel()
		<-r.err
	} else {
		r.q.Close()
		if err := <-r.err; err != nil {
			t.Fatalf("Run: %v", err)
		}
	}

	h.check(t)
	stored := map[int]bool{}
	for _, s := range sinks {
		for n := range s.got {
			stored[n] = true
		}
	}
	left := r.Remaining()
	for p, ok := r.q.TryNext(); ok; p, ok = r.q.TryNext() {
		left = append(left, p)
	}
	open := map[int]bool{}
	for _, n := range numbers(left) {
		if _, dead := y.dead[n]; open[n] || dead {
			t.Fatalf("record %d is open and also dead or open twice", n)
		}
		open[n] = true
	}
	sum, _ := r.src.tally()
	if int(sum[ack.Delivered])+len(y.dead)+len(open) != total || y.doubly {
		t.Fatalf("delivered %d + dead %d + open %d != %d (dead doubly: %v)", sum[ack.Delivered], len(y.dead), len(open), total, y.doubly)
	}
	if st := r.Stats(); st.Waiting.Records != len(numbers(r.Remaining())) && len(open) == 0 || st.Records != sum {
		t.Fatalf("open %d, counted %v, stats %+v", len(open), sum, st)
	}
	for n := range total {
		d, dead := y.dead[n]
		switch {
		case open[n]:
		case !dead && (!stored[n] || m.poison(n)):
			t.Fatalf("record %d counts as delivered; stored %v, poison %v", n, stored[n], m.poison(n))
		case dead && d.Status == ack.DeadExpired && !expires, dead && d.Status == ack.DeadRejected && !m.poison(n):
			t.Fatalf("record %d is dead for no reason: %+v", n, d)
		}
	}
	for _, p := range left {
		p.Settle(testIndex, ack.Delivered)
	}
	r.src.finished()
}

func records(s Stats) int {
	n := uint64(0)
	for _, c := range s.Records {
		n += c
	}
	return int(n)
}

// Splitting keeps all records, in order, with at least one on each side.
func TestSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := &source{t: t}
		r := &request{}
		for range rapid.IntRange(1, 4).Draw(t, "parts") {
			p := src.part(rapid.IntRange(1, 5).Draw(t, "n"), rapid.IntRange(0, 300).Draw(t, "size"))
			r.add(p, p.Size(), time.Time{})
		}
		if r.records < 2 {
			return
		}
		bytes, total := r.bytes, r.records
		byRecords := rapid.Bool().Draw(t, "by records")
		limit := rapid.IntRange(1, 2*bytes).Draw(t, "limit")
		head := r.split(limit, byRecords)
		if diff := cmp.Diff(upTo(total), append(numbers(head.parts), numbers(r.parts)...)); diff != "" {
			t.Fatal(diff)
		}
		if head.records == 0 || r.records == 0 || head.bytes+r.bytes != bytes || head.records+r.records != total || len(numbers(head.parts)) != head.records {
			t.Fatalf("%d + %d records of %d, %d + %d bytes of %d", head.records, r.records, total, head.bytes, r.bytes, bytes)
		}
		if byRecords && head.records != min(limit, total-1) || !byRecords && head.bytes > limit && head.records > 1 {
			t.Fatalf("%d records, %d bytes for limit %d", head.records, head.bytes, limit)
		}
		for _, p := range append(head.parts, r.parts...) {
			p.Settle(testIndex, ack.Delivered)
		}
		src.finished()
	})
}
