package stage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/record"
)

func newRateLimit(t testing.TB, c RateLimitConfig) *RateLimit {
	t.Helper()
	s, err := NewRateLimit(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pods returns a batch with n records of each of the pods.
func pods(n int, names ...string) *record.Batch {
	b := record.NewBatch(nil)
	for _, name := range names {
		st := b.AddStream(record.StreamRef{Stream: record.NewStream([]record.Attr{{Name: "pod", Value: name}}, nil, nil)})
		for i := range n {
			span := b.AppendString(fmt.Sprintf("%s line %d", name, i))
			b.Add(record.Record{Body: span, Source: span, Stream: st})
		}
	}
	return b
}

func kept(b *record.Batch) (n map[string]int, sampled, generated int) {
	n = map[string]int{}
	for i, r := range b.Records() {
		switch {
		case r.Flags.Has(record.Generated):
			generated++
		case !r.Flags.Has(record.Dropped):
			n[b.Stream(i).Get("pod")]++
			k := 1
			if f, ok := b.FindField(i, SampledField); ok {
				fmt.Sscan(string(b.Bytes(f.Val)), &k)
			}
			sampled += k
		case !r.Flags.Has(record.RateLimited):
			panic("dropped, and nobody says why")
		}
	}
	return n, sampled, generated
}

func TestRateLimitDropsAboveTheRatePerKey(t *testing.T) {
	s := newRateLimit(t, RateLimitConfig{Per: []string{"pod"}, Rate: 10, Burst: 20, Text: "10/s"})
	now := observed
	total := map[string]int{}
	for range 10 { // of 100 lines a second of a, and 5 of b
		b := pods(100, "a")
		s.Process(b, now)
		n, _, _ := kept(b)
		total["a"] += n["a"]
		b = pods(5, "b")
		s.Process(b, now)
		n, _, _ = kept(b)
		total["b"] += n["b"]
		now = now.Add(time.Second)
	}
	if total["a"] != 20+9*10 || total["b"] != 50 {
		t.Errorf("kept %v", total)
	}
	// After a minute the stream says how many, also when another's records come.
	b := pods(1, "b")
	s.Process(b, now.Add(time.Minute))
	if _, _, g := kept(b); g != 1 {
		t.Fatalf("%d generated", g)
	}
	i := b.NumRecords() - 1
	if text := string(b.Body(i)); !strings.Contains(text, "890 records") || !strings.Contains(text, "10/s") || b.Stream(i).Get("pod") != "a" {
		t.Errorf("%s: %s", b.Stream(i).Get("pod"), text)
	}
	b = pods(1, "b")
	s.Process(b, now.Add(2*time.Minute))
	if _, _, g := kept(b); g != 0 {
		t.Error("told twice")
	}
}

func TestRateLimitOfBytes(t *testing.T) {
	s := newRateLimit(t, RateLimitConfig{Rate: 100, Bytes: true})
	b := batchOf(strings.Repeat("x", 60), strings.Repeat("y", 60), strings.Repeat("z", 10))
	s.Process(b, observed)
	for i, want := range []bool{false, true, false} {
		if got := b.Record(i).Flags.Has(record.Dropped); got != want {
			t.Errorf("record %d dropped: %v", i, got)
		}
	}
	// A record larger than ever there is comes through when all is there.
	b = batchOf(strings.Repeat("x", 1000))
	s.Process(b, observed.Add(time.Minute))
	if b.Record(0).Flags.Has(record.Dropped) {
		t.Error("a large record never comes through")
	}
}

func TestRateLimitSampleStandsForAll(t *testing.T) {
	s := newRateLimit(t, RateLimitConfig{Per: []string{"pod"}, Rate: 50, Over: SampleOver})
	now := observed
	count, standsFor, came := 0, 0, 0
	for i := range 600 { // a minute of 1000 lines a second
		b := pods(100, "a")
		s.Process(b, now)
		n, k, g := kept(b)
		came += 100
		if i >= 50 { // the burst is spent
			count += n["a"]
		}
		standsFor += k
		if g != 0 {
			t.Fatal("generated")
		}
		now = now.Add(100 * time.Millisecond)
	}
	if rate := float64(count) / 55; rate > 51 || rate < 35 {
		t.Errorf("%.1f a second are kept, of 50", rate)
	}
	if missing := came - standsFor; missing < 0 || missing > 200 {
		t.Errorf("what is kept stands for %d of %d", standsFor, came)
	}
	// Of many that come at once, not only the first are kept.
	now = now.Add(10 * time.Second)
	b := pods(5000, "a")
	s.Process(b, now)
	if n, _, _ := kept(b); n["a"] > 50 || n["a"] < 25 {
		t.Errorf("%d of 5000 are kept", n["a"])
	}
	last := 0
	for i, r := range b.Records() {
		if !r.Flags.Has(record.Dropped) {
			last = i
		}
	}
	if last < 4*50 {
		t.Errorf("nothing behind the record %d of 5000 is kept", last)
	}
	// Below the rate nothing is lost, at once or after a moment.
	now = now.Add(10 * time.Second)
	for i := range 10 {
		b := pods(2, "a")
		s.Process(b, now)
		if n, _, _ := kept(b); i > 0 && n["a"] != 2 {
			t.Errorf("%v of 2 are kept below the rate", n)
		}
		now = now.Add(100 * time.Millisecond)
	}
}

func TestRateLimitWaitDropsNothing(t *testing.T) {
	s := newRateLimit(t, RateLimitConfig{Per: []string{"pod"}, Rate: 10, Burst: 10, Over: WaitOver})
	b := pods(30, "a")
	s.Process(b, observed)
	if n, _, _ := kept(b); n["a"] != 30 {
		t.Errorf("kept %v", n)
	}
	if d := s.Wait(observed); d != 2*time.Second {
		t.Errorf("waits %v", d)
	}
	if d := s.Wait(observed.Add(2 * time.Second)); d > 0 {
		t.Errorf("still waits %v", d)
	}
}

func TestRateLimitForgetsTheLongestUnused(t *testing.T) {
	s := newRateLimit(t, RateLimitConfig{Per: []string{"pod"}, Rate: 1, MaxKeys: 100})
	for i := range 10_000 {
		s.Process(pods(2, fmt.Sprint(i)), observed.Add(time.Duration(i)*time.Millisecond))
	}
	if len(s.buckets) != 100 || s.recent.Len() != 100 || s.owing.Len() > 100 {
		t.Errorf("%d buckets, %d, %d owing", len(s.buckets), s.recent.Len(), s.owing.Len())
	}
}

func TestRateLimitPerField(t *testing.T) {
	s := newRateLimit(t, RateLimitConfig{Per: []string{"user"}, Rate: 1})
	b := batchOf(`{"user":"a"}`, `{"user":"b"}`, `{"user":"a"}`)
	process(t, newParse(t, ""), b)
	s.Process(b, observed)
	if b.Record(0).Flags.Has(record.Dropped) || b.Record(1).Flags.Has(record.Dropped) || !b.Record(2).Flags.Has(record.Dropped) {
		t.Error("not per field")
	}
}

func TestRateLimitAllocatesNothing(t *testing.T) {
	for _, over := range []Over{DropOver, SampleOver, WaitOver} {
		s := newRateLimit(t, RateLimitConfig{Per: []string{"namespace", "pod", "container"}, Rate: 5, Over: over})
		r := newRewind(shapes[5].line, 16)
		now := observed
		run := func() {
			r.reset()
			s.Process(r.b, now)
			now = now.Add(10 * time.Millisecond)
		}
		run()
		if n := testing.AllocsPerRun(100, run); n > 1 { // the list of what is owed, the field's name
			t.Errorf("%v: %v allocations for 16 records", over, n)
		}
	}
}

func BenchmarkRateLimit(b *testing.B) {
	for name, rate := range map[string]float64{"under": 1e12, "over": 1} {
		s := newRateLimit(b, RateLimitConfig{Per: []string{"namespace", "pod", "container"}, Rate: rate})
		b.Run(name, func(b *testing.B) { benchmark(b, s, shapes[5].line, nil) })
	}
}
