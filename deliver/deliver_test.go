package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

func TestDeliversInBatches(t *testing.T) {
	for _, c := range []struct {
		name     string
		parts    []int // records each, of 200 bytes
		batch    Batch
		attempts int
		most     int
	}{
		{"several parts, one request", []int{10, 10, 10}, Batch{}, 1, 30},
		{"full by bytes", []int{10, 10, 10, 10}, Batch{Bytes: 20 * 264}, 2, 20},
		{"a part that does not fit begins the next", []int{10, 15, 10}, Batch{Bytes: 20 * 264}, 3, 15},
		{"an oversized part is split", []int{50}, Batch{Bytes: 20 * 264}, 3, 20},
		{"a single record over the limit goes alone", []int{3}, Batch{Bytes: 100}, 3, 1},
		{"full by records", []int{10, 10, 10}, Batch{Records: 20}, 2, 20},
		{"split by records", []int{100}, Batch{Records: 30}, 4, 30},
		{"no waiting", []int{5}, Batch{Wait: -1}, 1, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{}
				r := start(t, t.Context(), Config{Endpoints: one(s), Batch: c.batch})
				for _, n := range c.parts {
					r.put(n, 200)
				}
				r.end()
				if s.attempts != c.attempts || s.most != c.most {
					t.Errorf("%d attempts of at most %d records, want %d, %d", s.attempts, s.most, c.attempts, c.most)
				}
				if diff := cmp.Diff(upTo(r.src.next), s.stored()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestWaitsForABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		r := start(t, t.Context(), Config{Endpoints: one(s)})
		r.put(1, 10)
		<-time.After(900 * time.Millisecond)
		r.put(1, 10)
		synctest.Wait()
		if st := r.Stats(); s.attempts != 0 || st.Waiting.Records != 2 || r.Waiting() != 2 || time.Since(st.OldestWaiting) != 900*time.Millisecond {
			t.Errorf("after 0.9 s: %d attempts, %+v", s.attempts, st)
		}
		<-time.After(100 * time.Millisecond)
		synctest.Wait()
		if st := r.Stats(); s.attempts != 1 || st.Waiting.Records != 0 || r.Waiting() != 0 || st.LastSuccess != time.Now() {
			t.Errorf("after 1 s: %d attempts, %+v", s.attempts, st)
		}
		r.end()
	})
}

func TestParts0Records(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		r := start(t, t.Context(), Config{Endpoints: one(s)})
		r.put(0, 0)
		r.put(1, 0)
		r.put(0, 0)
		r.end()
	})
}

func TestRetryDelaysGrowWithJitter(t *testing.T) {
	for _, c := range []struct {
		rand float64
		want []time.Duration
	}{
		{1, []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second}},
		{0.5, []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second}},
		{0, []time.Duration{50 * time.Millisecond, 50 * time.Millisecond, 50 * time.Millisecond, 50 * time.Millisecond}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var at []time.Time
			s := &sink{f: func(_ context.Context, n int, _ []record.Part) (ack.Result, error) {
				at = append(at, time.Now())
				if n <= 4 {
					return ack.Result{}, errDown
				}
				return ack.Result{}, nil
			}}
			r := start(t, t.Context(), Config{Endpoints: one(s), Rand: func() float64 { return c.rand }})
			r.put(10, 10)
			r.end()
			var got []time.Duration
			for i := 1; i < len(at); i++ {
				got = append(got, at[i].Sub(at[i-1]))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("rand %v: %s", c.rand, diff)
			}
			if st := r.Stats(); st.Retried != 40 || st.Requests[NoAnswer] != 4 || st.Requests[OK] != 1 || st.LastError != errDown.Error() {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestExpiredIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		s := &sink{f: func(context.Context, int, []record.Part) (ack.Result, error) { return ack.Result{}, errDown }}
		y := &yard{}
		r := start(t, t.Context(), Config{Endpoints: one(s), DeadLetters: y, Retry: Retry{For: 5 * time.Minute}, Batch: Batch{Wait: -1}, Eject: Eject{Errors: 1 << 30}})
		r.put(10, 10)
		sum := r.end()
		if sum[ack.DeadExpired] != 10 || y.dead[3].Reasons[0] != "not delivered within 5m0s: connection refused" {
			t.Errorf("%v %+v", sum, y.dead[3])
		}
		if took := time.Since(begin); took < 5*time.Minute || took > 5*time.Minute+10*time.Millisecond {
			t.Errorf("given up after %s", took)
		}
	})
}

// What is taken from the queue is bounded, whatever the destination does; the
// queue is to be full then, so that inputs stop reading.
func TestInHandIsBounded(t *testing.T) {
	const batch = 100 * 264
	for _, c := range []struct {
		name   string
		c      Config
		f      func(ctx context.Context) error
		before int // parts that are put first
		most   int // batches in hand
	}{
		{"a hanging destination", Config{}, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 0, 3},
		{"failures without end", Config{MaxInHand: 4 * batch, Eject: Eject{Errors: 1 << 30}}, func(context.Context) error { return err503 }, 0, 5},
		{"no endpoint works", Config{}, func(context.Context) error { return errDown }, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{f: func(ctx context.Context, _ int, _ []record.Part) (ack.Result, error) { return ack.Result{}, c.f(ctx) }}
				ctx, cancel := context.WithCancel(t.Context())
				c.c.Endpoints, c.c.Batch = one(s), Batch{Bytes: batch, Wait: -1}
				c.c.Timeout = time.Hour
				r := start(t, ctx, c.c)
				if c.before > 0 {
					r.put(100, 200)
					<-time.After(2 * time.Minute)
				}
				for range 50 {
					r.put(100, 200)
				}
				for range 100 {
					<-time.After(5 * time.Second)
					if st := r.Stats(); st.Waiting.Bytes-st.Queued.Bytes > c.most*batch {
						t.Fatalf("%d bytes in hand, more than %d batches of %d", st.Waiting.Bytes-st.Queued.Bytes, c.most, batch)
					}
				}
				cancel()
				<-r.err
			})
		})
	}
}

func TestWithoutDeadLettersRefusedIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{f: func(context.Context, int, []record.Part) (ack.Result, error) { return ack.Result{}, err400 }}
		r := start(t, t.Context(), Config{Endpoints: one(s)})
		r.put(10, 10)
		if sum := r.end(); sum[ack.DroppedRejected] != 10 {
			t.Errorf("%v", sum)
		}
	})
}

// Dead letters that cannot be written wait; what is delivered flows on.
func TestDeadLettersFail(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want ack.Status
	}{{"disk full", errors.New("no space left on device"), ack.DeadRejected}, {"policy drop", fmt.Errorf("full: %w", ErrDropped), ack.DroppedRejected}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{f: func(_ context.Context, _ int, parts []record.Part) (ack.Result, error) {
					return failures(parts, func(v int) (bool, bool) { return v%10 == 0, true }), nil
				}}
				healed := time.Now().Add(10 * time.Minute)
				y := &yard{fail: func(int) error {
					if time.Now().Before(healed) {
						return c.err
					}
					return nil
				}}
				r := start(t, t.Context(), Config{Endpoints: one(s), DeadLetters: y})
				r.put(100, 10)
				<-time.After(5 * time.Minute)
				r.put(100, 10)
				<-time.After(4 * time.Minute)
				synctest.Wait()
				st := r.Stats()
				if waits := c.want == ack.DeadRejected; waits && (st.Unburied != 20 || st.Waiting.Records != 20) || st.Records[ack.Delivered] != 180 {
					t.Errorf("%+v", st)
				}
				if sum := r.end(); sum[c.want] != 20 || sum[ack.Delivered] != 180 {
					t.Errorf("%v", sum)
				}
			})
		})
	}
}

// A stop with the sink down: attempts in flight get the grace, nothing is
// delivered twice over, nothing is dropped, nothing becomes a dead letter, and
// the tokens stay open.
func TestFailure96_StopWithSinkDown(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func(ctx context.Context) error
		took time.Duration
	}{
		{"refusing", func(context.Context) error { return errDown }, 0},
		{"hanging", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 5 * time.Second},
		{"rejecting all", func(context.Context) error { <-time.After(3 * time.Second); return err400 }, 3 * time.Second},
		{"answering within the grace", func(context.Context) error { <-time.After(3 * time.Second); return nil }, 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{f: func(ctx context.Context, _ int, _ []record.Part) (ack.Result, error) { return ack.Result{}, c.f(ctx) }}
				y := &yard{}
				ctx, cancel := context.WithCancel(t.Context())
				r := start(t, ctx, Config{Endpoints: one(s), DeadLetters: y, Batch: Batch{Bytes: 10 * 264, Wait: -1}, Retry: Retry{For: 100 * time.Millisecond}})
				// Under For, so that only the stop could make anything dead.
				for range 20 {
					r.put(10, 200)
				}
				<-time.After(50 * time.Millisecond)
				synctest.Wait()
				begin := time.Now()
				cancel()
				if err := <-r.err; !errors.Is(err, context.Canceled) {
					t.Errorf("Run: %v", err)
				}
				if took := time.Since(begin) + 50*time.Millisecond; took < c.took || took > c.took+100*time.Millisecond {
					t.Errorf("the stop took %s, want %s", took, c.took)
				}
				sum, done := r.src.tally()
				if done || len(y.dead) != 0 || sum[ack.DeadRejected]+sum[ack.DeadExpired]+sum[ack.DroppedRejected] != 0 || int(sum[ack.Delivered]) != len(s.stored()) {
					t.Errorf("all tokens done: %v, dead %v, counted %v, stored %d", done, y.dead, sum, len(s.stored()))
				}
				// Every record is either delivered, or in the queue, or handed back.
				left := r.Remaining()
				all := append(numbers(left), s.stored()...)
				for p, ok := r.q.TryNext(); ok; p, ok = r.q.TryNext() {
					left = append(left, p)
					all = append(all, numbers([]record.Part{p})...)
				}
				slices.Sort(all)
				if diff := cmp.Diff(upTo(200), all); diff != "" {
					t.Error(diff)
				}
				// As after a reload: another deliverer can take over.
				for _, p := range left {
					p.Settle(testIndex, ack.Delivered)
				}
				r.src.finished()
			})
		})
	}
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{f: func(_ context.Context, n int, _ []record.Part) (ack.Result, error) {
			if n < 3 {
				return ack.Result{}, errDown
			}
			return ack.Result{}, nil
		}}
		r := start(t, t.Context(), Config{Endpoints: one(s)})
		r.put(10, 10)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		if err := r.Drain(ctx); err != nil || time.Since(begin) > 2*time.Second {
			t.Errorf("Drain: %v after %s", err, time.Since(begin))
		}
		r.src.finished()
		<-r.err

		s = &sink{f: func(context.Context, int, []record.Part) (ack.Result, error) { return ack.Result{}, errDown }}
		r = start(t, t.Context(), Config{Endpoints: one(s)})
		r.put(10, 10)
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin = time.Now()
		if err := r.Drain(ctx); err == nil || time.Since(begin) > time.Minute+5*time.Second {
			t.Errorf("Drain: %v after %s", err, time.Since(begin))
		}
		if err := <-r.err; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestConfigErrors(t *testing.T) {
	good := func() Config {
		return Config{Name: "x", Queue: queueStub{}, Endpoints: one(&sink{})}
	}
	if _, err := New(good()); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Config){
		"name": func(c *Config) { c.Name = "" }, "queue": func(c *Config) { c.Queue = nil }, "endpoints": func(c *Config) { c.Endpoints = nil },
		"output": func(c *Config) { c.Endpoints[0].Output = nil }, "balance": func(c *Config) { c.Balance = 4 }, "bytes": func(c *Config) { c.Batch.Bytes = -1 },
		"delays": func(c *Config) { c.Retry.MinDelay = time.Hour }, "index": func(c *Config) { c.Index = -1 },
	} {
		c := good()
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("bad %s accepted", name)
		}
	}
	for b := RoundRobin; b <= Failover; b++ {
		if got, err := ParseBalance(b.String()); got != b || err != nil {
			t.Errorf("ParseBalance(%s): %v %v", b, got, err)
		}
	}
	if _, err := ParseBalance("random"); err == nil {
		t.Error("unknown balance accepted")
	}
}

type queueStub struct{ Queue }
