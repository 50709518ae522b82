package read

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirlog/weir/show"
)

// merged collects what a merge passes on, and when.
type merged struct {
	mu    sync.Mutex
	lines []string
	times []int64
	at    []time.Time
}

func (o *merged) emit(batch []show.Entry) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range batch {
		o.lines = append(o.lines, batch[i].Line)
		o.times = append(o.times, batch[i].Time)
		o.at = append(o.at, time.Now())
	}
	return nil
}

func (o *merged) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return fmt.Sprint(o.lines)
}

func nothing() error { return nil }

func entryAt(t time.Time, line string) show.Entry { return show.Entry{Time: t.UnixNano(), Line: line} }

func TestMergeOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMerge(MergeConfig{Window: 200 * time.Millisecond})
		var o merged
		done := make(chan error)
		go func() { done <- m.Run(t.Context(), o.emit, nothing) }()
		began := time.Now()
		put := func(ago time.Duration, line string) {
			t.Helper()
			if err := m.Put(t.Context(), []show.Entry{entryAt(time.Now().Add(-ago), line)}); err != nil {
				t.Fatal(err)
			}
		}
		put(0, "second")
		time.Sleep(100 * time.Millisecond)
		put(150*time.Millisecond, "first")
		time.Sleep(50 * time.Millisecond)
		put(0, "third")
		time.Sleep(49 * time.Millisecond)
		synctest.Wait()
		if got := o.text(); got != "[]" {
			t.Fatalf("%s passed on before the window is over", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got := o.text(); got != "[first second]" {
			t.Fatal(got)
		}
		put(time.Second, "late")
		synctest.Wait()
		if got := o.text(); got != "[first second late]" {
			t.Fatalf("a late line waits: %s", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := o.text(); got != "[first second late third]" {
			t.Fatal(got)
		}
		o.mu.Lock()
		if held := o.at[3].Sub(began.Add(150 * time.Millisecond)); held != 200*time.Millisecond {
			t.Errorf("held for %s", held)
		}
		o.mu.Unlock()
		m.Close()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := m.Put(t.Context(), []show.Entry{{}}); !errors.Is(err, ErrMergeEnded) {
			t.Errorf("Put after the end: %v", err)
		}
	})
}

// A line from the future does not drag along what others still wait for.
func TestMergeFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMerge(MergeConfig{Window: 200 * time.Millisecond})
		var o merged
		done := make(chan error)
		go func() { done <- m.Run(t.Context(), o.emit, nothing) }()
		now := time.Now()
		_ = m.Put(t.Context(), []show.Entry{entryAt(now, "now"), entryAt(now.AddDate(70, 0, 0), "2100")})
		time.Sleep(150 * time.Millisecond)
		_ = m.Put(t.Context(), []show.Entry{entryAt(now.Add(100*time.Millisecond), "b")})
		time.Sleep(100 * time.Millisecond)
		_ = m.Put(t.Context(), []show.Entry{entryAt(now.Add(50*time.Millisecond), "a")})
		time.Sleep(time.Second)
		synctest.Wait()
		if got := o.text(); got != "[now 2100 a b]" {
			t.Error(got)
		}
		m.Close()
		<-done
	})
}

func TestMergeSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMerge(MergeConfig{Window: 200 * time.Millisecond, Settle: 2 * time.Second})
		var o merged
		done := make(chan error)
		go func() { done <- m.Run(t.Context(), o.emit, nothing) }()
		old := time.Now().Add(-time.Hour)
		time.Sleep(time.Minute)
		_ = m.Put(t.Context(), []show.Entry{entryAt(old.Add(3), "c"), entryAt(old.Add(4), "d")})
		time.Sleep(300 * time.Millisecond)
		_ = m.Put(t.Context(), []show.Entry{entryAt(old.Add(2), "b")})
		time.Sleep(300 * time.Millisecond)
		_ = m.Put(t.Context(), []show.Entry{entryAt(old.Add(1), "a")})
		time.Sleep(399 * time.Millisecond)
		synctest.Wait()
		if got := o.text(); got != "[]" {
			t.Errorf("not settled, but passed on: %s", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got := o.text(); got != "[a b c d]" {
			t.Error(got)
		}
		m.Close()
		<-done
	})
}

// Everything is sorted if there is room; if not, nearly.
func TestMergeAll(t *testing.T) {
	for _, room := range []int{64 << 20, 64 << 10} {
		m := NewMerge(MergeConfig{Window: time.Millisecond, Settle: -1, Bytes: room})
		var o merged
		done := make(chan error)
		go func() { done <- m.Run(t.Context(), o.emit, nothing) }()
		const sources, each = 8, 2000
		for i := range each / 10 {
			for s := range sources {
				var batch []show.Entry
				for j := range 10 {
					batch = append(batch, show.Entry{Time: int64((i*10+j)*sources + s), Line: "x"})
				}
				if err := m.Put(t.Context(), batch); err != nil {
					t.Fatal(err)
				}
			}
		}
		m.Close()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if len(o.times) != sources*each || !slices.IsSorted(o.times) {
			t.Errorf("%d bytes: %d lines, sorted: %v", room, len(o.times), slices.IsSorted(o.times))
		}
	}
}

// What is delayed by less than the window comes in the order of time, whatever
// the sources do; nothing is lost, doubled or held longer.
func TestMergeProperty(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			window := time.Duration(1+rnd.IntN(300)) * time.Millisecond
			m := NewMerge(MergeConfig{Window: window, Bytes: 1 << (12 + rnd.IntN(10))})
			var o merged
			done := make(chan error)
			go func() { done <- m.Run(t.Context(), o.emit, nothing) }()
			arrived := make(map[string]time.Time)
			var mu sync.Mutex
			var want []string
			var wg sync.WaitGroup
			blocked := false
			for s := range 1 + rnd.IntN(8) {
				rnd := rand.New(rand.NewPCG(seed, uint64(s)))
				wg.Go(func() {
					for b := range 30 {
						// A batch holds what was written since the last one, so that
						// each line is delayed by less than the window.
						time.Sleep(time.Duration(rnd.Int64N(int64(window))))
						var batch []show.Entry
						now := time.Now()
						mu.Lock()
						for i := range 1 + rnd.IntN(5) {
							line := fmt.Sprintf("%d/%d/%d", s, b, i)
							batch = append(batch, entryAt(now.Add(-time.Duration(rnd.Int64N(int64(window)))), line))
							arrived[line] = now
							want = append(want, line)
						}
						mu.Unlock()
						if err := m.Put(t.Context(), batch); err != nil {
							t.Error(err)
						}
						mu.Lock()
						blocked = blocked || time.Since(now) > 0
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			time.Sleep(window)
			synctest.Wait()
			m.Close()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if !blocked && !slices.IsSorted(o.times) {
				t.Errorf("seed %d: not in the order of time", seed)
			}
			for i, line := range o.lines {
				if held := o.at[i].Sub(arrived[line]); held > window && !blocked {
					t.Fatalf("seed %d: %s was held for %s, the window is %s", seed, line, held, window)
				}
			}
			slices.Sort(want)
			got := slices.Sorted(slices.Values(o.lines))
			if !slices.Equal(got, want) {
				t.Errorf("seed %d: %d lines of %d", seed, len(got), len(want))
			}
		})
	}
}

// A source waits while too much waits, and is let go when nobody takes more.
func TestMergeBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMerge(MergeConfig{Window: time.Second, Bytes: 1000})
		broken := errors.New("broken pipe")
		done := make(chan error)
		go func() { done <- m.Run(t.Context(), func([]show.Entry) error { return broken }, nothing) }()
		errs := make(chan error)
		go func() {
			var err error
			for n := 0; err == nil; n++ {
				err = m.Put(t.Context(), []show.Entry{entryAt(time.Now(), strconv.Itoa(n)+string(make([]byte, 300)))})
			}
			errs <- err
		}()
		synctest.Wait()
		m.mu.Lock()
		if m.size > 1000 || m.size < 600 {
			t.Errorf("%d bytes wait", m.size)
		}
		m.mu.Unlock()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := m.Put(ctx, []show.Entry{entryAt(time.Now(), string(make([]byte, 600)))}); !errors.Is(err, context.Canceled) {
			t.Errorf("Put: %v", err)
		}
		if err := <-done; err != broken {
			t.Errorf("Run: %v", err)
		}
		if err := <-errs; !errors.Is(err, ErrMergeEnded) {
			t.Errorf("Put: %v", err)
		}
	})
}

func TestMergeArrival(t *testing.T) {
	m := NewMerge(MergeConfig{})
	for i := range 1000 {
		_ = m.Put(t.Context(), []show.Entry{{Time: int64(-i), Line: strconv.Itoa(i)}, {Time: 5, Line: "x"}})
	}
	m.Close()
	var o merged
	if err := m.Run(t.Context(), o.emit, nothing); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if o.lines[2*i] != strconv.Itoa(i) || o.lines[2*i+1] != "x" {
			t.Fatalf("line %d is %q", 2*i, o.lines[2*i])
		}
	}
}

// 50 sources, batches of 20 lines each.
func BenchmarkMerge(b *testing.B) {
	m := NewMerge(MergeConfig{Window: 200 * time.Millisecond})
	n := 0
	done := make(chan error)
	go func() {
		done <- m.Run(context.Background(), func(batch []show.Entry) error { n += len(batch); return nil }, nothing)
	}()
	line := string(make([]byte, 150))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		batch := make([]show.Entry, 20)
		now := time.Now().UnixNano()
		for j := range batch {
			batch[j] = show.Entry{Time: now - int64((i%50)*100_000) + int64(j)*1000, Line: line}
		}
		if i++; m.Put(context.Background(), batch) != nil {
			b.Fatal("ended")
		}
	}
	m.Close()
	<-done
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/line")
}
