package deliver

import (
	"context"
	"fmt"
	"math/bits"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// A backend that is down for 72 hours, with more waiting than may be in hand:
// memory stays bounded, nothing is lost, and the number of attempts is that of
// one sender with the greatest delay, however much waits.
func TestFailure75_DownFor72Hours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const outage = 72 * time.Hour
		begin := time.Now()
		s := &sink{f: func(context.Context, int, []record.Part) (ack.Result, error) {
			if time.Since(begin) < outage {
				return ack.Result{}, errDown
			}
			return ack.Result{}, nil
		}}
		batch := 100 * 264
		r := start(t, t.Context(), Config{Endpoints: one(s), Batch: Batch{Bytes: batch}, Retry: Retry{For: 0}})
		for range 200 {
			r.put(100, 200)
		}
		for range 72 {
			<-time.After(time.Hour)
			st := r.Stats()
			if st.Waiting.Records != 20000 || time.Since(begin) < outage && (st.Healthy != 0 || st.Limit != 1) {
				t.Fatalf("after %s: %+v", time.Since(begin), st)
			}
			if inHand := st.Waiting.Bytes - st.Queued.Bytes; inHand > 6*batch {
				t.Fatalf("%d bytes in hand, more than 6 batches of %d", inHand, batch)
			}
		}
		failed := s.tries()
		// Full jitter: the mean delay is half the greatest.
		if mean := outage / time.Duration(failed); mean < 13*time.Second || mean > 18*time.Second {
			t.Errorf("%d attempts, one every %s", failed, mean)
		}
		back := time.Now()
		for r.Stats().LastSuccess.IsZero() {
			<-time.After(100 * time.Millisecond)
		}
		<-time.After(time.Second)
		if n := r.Waiting(); n != 0 {
			t.Errorf("%d records wait a second after the first success: requests sit out their delays", n)
		}
		sum := r.end()
		if sum[ack.Delivered] != 20000 || len(s.got) != 20000 {
			t.Errorf("delivered %d of 20000, the sink has %d", sum[ack.Delivered], len(s.got))
		}
		if took := time.Since(back); took > 30*time.Second {
			t.Errorf("all delivered %s after the end of the outage", took)
		}
	})
}

// A backend that accepts connections and never answers ends an attempt by its
// deadline and holds up nobody else's deliverer.
func TestFailure76_BlockedBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		blocked := &sink{f: func(ctx context.Context, n int, _ []record.Part) (ack.Result, error) {
			if n > 3 {
				return ack.Result{}, nil
			}
			<-ctx.Done()
			return ack.Result{}, fmt.Errorf("no answer: %w", ctx.Err())
		}}
		good := &sink{}
		a := start(t, t.Context(), Config{Endpoints: one(blocked), Timeout: 10 * time.Second})
		b := start(t, t.Context(), Config{Endpoints: one(good)})
		a.put(10, 10)
		b.put(10, 10)
		b.end()
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the good one took %s", took)
		}
		a.end()
		if took := time.Since(begin); took < 30*time.Second || took > 40*time.Second {
			t.Errorf("the blocked one took %s", took)
		}
		if st := a.Stats(); st.Requests[TimedOut] != 3 {
			t.Errorf("%+v", st.Requests)
		}
	})
}

// An answer is lost after the server stored the request: the same records are
// sent again, and nothing else.
func TestFailure78_TimeoutAfterStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent [][]int
		s := &sink{}
		s.f = func(ctx context.Context, n int, parts []record.Part) (ack.Result, error) {
			sent = append(sent, numbers(parts))
			if n == 1 {
				for _, v := range numbers(parts) {
					s.store(v)
				}
				<-ctx.Done()
				return ack.Result{}, ctx.Err()
			}
			return ack.Result{}, nil
		}
		r := start(t, t.Context(), Config{Endpoints: one(s)})
		r.put(5, 10)
		r.put(5, 10)
		sum := r.end()
		if diff := cmp.Diff([][]int{upTo(10), upTo(10)}, sent); diff != "" {
			t.Error(diff)
		}
		if sum[ack.Delivered] != 10 {
			t.Errorf("counted %d as delivered", sum[ack.Delivered])
		}
	})
}

// failures answers for records of parts by number.
func failures(parts []record.Part, f func(n int) (fails, permanent bool)) (r ack.Result) {
	for k, p := range parts {
		for _, i := range p.Index() {
			if fails, permanent := f(number(p.Batch(), i)); fails {
				r.Failures = append(r.Failures, ack.Failure{Part: k, Record: i, Permanent: permanent, Reason: fmt.Sprintf("reason %v", permanent)})
			}
		}
	}
	return r
}

// An accepted request with failed items: what was taken is settled at once,
// what failed for now goes again alone, what was refused is dead.
func TestFailure79_OutcomesPerRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent [][]int
		s := &sink{f: func(_ context.Context, n int, parts []record.Part) (ack.Result, error) {
			sent = append(sent, numbers(parts))
			if n <= 2 {
				return failures(parts, func(v int) (bool, bool) { return v%5 == 0 || v == 7, v == 7 }), nil
			}
			return ack.Result{}, nil
		}}
		y := &yard{}
		r := start(t, t.Context(), Config{Endpoints: one(s), DeadLetters: y})
		r.put(10, 10)
		r.put(10, 10)
		r.put(3, 10)
		<-time.After(time.Second)
		synctest.Wait()
		if st := r.Stats(); st.Waiting.Records != 5 || st.Records[ack.Delivered] != 17 || st.Records[ack.DeadRejected] != 1 || st.Requests[Partial] != 1 {
			t.Errorf("after the first answer: %+v", st)
		}
		sum := r.end()
		again := []int{0, 5, 10, 15, 20}
		if diff := cmp.Diff([][]int{upTo(23), again, again}, sent); diff != "" {
			t.Error(diff)
		}
		if sum[ack.Delivered] != 22 || sum[ack.DeadRejected] != 1 || y.dead[7].Reasons[0] != "reason true" || len(s.stored()) != 22 {
			t.Errorf("%v %v", sum, y.dead)
		}
	})
}

// What single records of many requests left over is sent again together.
func TestRestsAreMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		overload := time.Now().Add(time.Minute)
		s := &sink{f: func(_ context.Context, _ int, parts []record.Part) (ack.Result, error) {
			r := failures(parts, func(v int) (bool, bool) { return v%10 == 0 && time.Now().Before(overload), false })
			r.RetryAfter = max(0, time.Until(overload))
			return r, nil
		}}
		r := start(t, t.Context(), Config{Endpoints: one(s), Batch: Batch{Records: 100, Wait: -1}, Rand: func() float64 { return 0 }})
		for range 20 {
			r.put(100, 10)
		}
		if sum := r.end(); sum[ack.Delivered] != 2000 {
			t.Errorf("%v", sum)
		}
		if s.attempts != 20+2 {
			t.Errorf("%d attempts for 20 requests and 200 records left over", s.attempts)
		}
	})
}

// A result that does not fit the request delivers nothing.
func TestMalformedResultIsAFailure(t *testing.T) {
	for _, f := range [][]ack.Failure{
		{{Part: 2}}, {{Part: -1}}, {{Part: 0, Record: 9}}, {{Part: 0, Record: 1}, {Part: 0, Record: 1}},
		{{Part: 1, Record: 0}, {Part: 0, Record: 0}}, {{Part: 0, Record: 1}, {Part: 0, Record: 0}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &sink{}
			s.f = func(_ context.Context, n int, parts []record.Part) (ack.Result, error) {
				if n == 1 {
					return ack.Result{Failures: f}, nil
				}
				if len(numbers(parts)) != 6 {
					t.Errorf("%v again after %v", numbers(parts), f)
				}
				return ack.Result{}, nil
			}
			out := outputFunc(s.f)
			n := 0
			r := start(t, t.Context(), Config{Endpoints: one(outputFunc(func(ctx context.Context, _ int, parts []record.Part) (ack.Result, error) {
				n++
				return out(ctx, n, parts)
			}))})
			r.put(3, 10)
			r.put(3, 10)
			r.end()
			if n != 2 {
				t.Errorf("%v: %d attempts", f, n)
			}
		})
	}
}

type outputFunc func(ctx context.Context, n int, parts []record.Part) (ack.Result, error)

func (f outputFunc) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	return f(ctx, 0, parts)
}

// A request is refused because of some records in it: they are found by
// bisection, with a bounded number of attempts, and all others are delivered.
func TestFailure80_PoisonBisected(t *testing.T) {
	for _, c := range []struct{ n, k int }{{1, 1}, {2, 1}, {1000, 1}, {1000, 7}, {64, 64}} {
		synctest.Test(t, func(t *testing.T) {
			poison := func(v int) bool { return v%(c.n/c.k) == 0 && v/(c.n/c.k) < c.k }
			s := &sink{f: func(_ context.Context, _ int, parts []record.Part) (ack.Result, error) {
				if slices.ContainsFunc(numbers(parts), poison) {
					return ack.Result{}, err400
				}
				return ack.Result{}, nil
			}}
			y := &yard{}
			begin := time.Now()
			r := start(t, t.Context(), Config{Endpoints: one(s), DeadLetters: y})
			for left := c.n; left > 0; left -= 100 {
				r.put(min(left, 100), 10)
			}
			sum := r.end()
			if int(sum[ack.DeadRejected]) != c.k || int(sum[ack.Delivered]) != c.n-c.k || len(y.dead) != c.k {
				t.Errorf("%+v: %v", c, sum)
			}
			for v, d := range y.dead {
				if !poison(v) || d.Status != ack.DeadRejected || d.Reasons[0] != err400.Error() {
					t.Errorf("%+v: dead %d: %+v", c, v, d)
				}
			}
			if limit := 2*c.k*(bits.Len(uint(c.n-1))+1) + 1; s.attempts > limit {
				t.Errorf("%+v: %d attempts, want at most %d", c, s.attempts, limit)
			}
			if time.Since(begin) > 2*time.Second {
				t.Errorf("%+v: took %s", c, time.Since(begin))
			}
		})
	}
}

// A request that is never taken does not hold up the others.
func TestFailure80_RetriesDoNotBlockOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{f: func(ctx context.Context, _ int, parts []record.Part) (ack.Result, error) {
			if slices.Contains(numbers(parts), 0) {
				<-ctx.Done() // the worst: it costs the whole timeout every time
				return ack.Result{}, ctx.Err()
			}
			return ack.Result{}, nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		r := start(t, ctx, Config{Endpoints: one(s), Batch: Batch{Bytes: 10 * 264}, Eject: Eject{Errors: 1000}})
		for range 100 {
			r.put(10, 200)
		}
		<-time.After(10 * time.Minute)
		if st := r.Stats(); st.Waiting.Records != 10 {
			t.Errorf("%d of 1000 records wait, want the 10 of the one bad request", st.Waiting.Records)
		}
		cancel()
		<-r.err
	})
}

// Neither do many that are always due again keep fresh ones from a slot, nor the
// other way round.
func TestFailure80_FreshAndRetriedTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const poison, good = 10, 100
		begin := time.Now()
		s := &sink{f: func(_ context.Context, _ int, parts []record.Part) (ack.Result, error) {
			<-time.After(10 * time.Millisecond)
			if numbers(parts)[0] < poison && time.Since(begin) < 3*time.Second {
				return ack.Result{}, errDown
			}
			return ack.Result{}, nil
		}}
		r := start(t, t.Context(), Config{Endpoints: one(s), Concurrency: 1, Eject: Eject{Errors: 1 << 30}, Batch: Batch{Records: 1, Wait: -1},
			Retry: Retry{MinDelay: time.Millisecond, MaxDelay: time.Millisecond}})
		r.put(poison+good, 10)
		<-time.After(2900 * time.Millisecond)
		if n := r.Waiting(); n != poison {
			t.Errorf("%d records wait after 290 attempts, want the %d that fail", n, poison)
		}
		// Now they would succeed, while there is always something fresh.
		for range 100 {
			r.put(1, 10)
		}
		<-time.After(300 * time.Millisecond)
		synctest.Wait()
		for n := range poison {
			s.mu.Lock()
			if s.got[n] != 1 {
				t.Errorf("record %d waits behind fresh ones", n)
			}
			s.mu.Unlock()
		}
		if n := r.Waiting(); n < 50 {
			t.Errorf("only %d fresh records wait: the test shows nothing", n)
		}
		r.end()
	})
}

// A request that is too large is halved; a record that is too large alone is
// dead; the size to collect is learned.
func TestFailure81_TooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 300 << 10
		s := &sink{f: func(_ context.Context, _ int, parts []record.Part) (ack.Result, error) {
			n := 0
			for _, p := range parts {
				n += p.Size()
			}
			if n > limit {
				return ack.Result{}, err413
			}
			return ack.Result{}, nil
		}}
		y := &yard{}
		r := start(t, t.Context(), Config{Endpoints: one(s), DeadLetters: y, Batch: Batch{Bytes: 1 << 20}, Concurrency: 1})
		r.put(1, limit) // one record over the limit
		for range 40 {
			r.put(100, 1000)
		}
		r.put(1, limit)
		<-time.After(time.Minute)
		synctest.Wait()
		if st := r.Stats(); st.Waiting.Records != 0 || st.Requests[TooLarge] > 8 {
			t.Errorf("the size was not learned: %+v", st)
		}
		sum := r.end()
		if sum[ack.DeadTooLarge] != 2 || sum[ack.Delivered] != 4000 || y.dead[0].Status != ack.DeadTooLarge || y.dead[4001].Status != ack.DeadTooLarge {
			t.Errorf("%v", sum)
		}
	})
}

// What the destination asks for is honoured to the full, but capped.
func TestFailure82_RetryAfter(t *testing.T) {
	for _, c := range []struct{ asked, want time.Duration }{
		{0, 0}, {7 * time.Second, 7 * time.Second}, {3 * time.Minute, 3 * time.Minute},
		{1000 * time.Hour, MaxRetryAfter}, {-time.Hour, 0},
	} {
		for _, kind := range []string{"request", "items"} {
			synctest.Test(t, func(t *testing.T) {
				var at []time.Time
				s := &sink{f: func(_ context.Context, n int, parts []record.Part) (ack.Result, error) {
					at = append(at, time.Now())
					switch {
					case n > 1:
						return ack.Result{}, nil
					case kind == "request":
						return ack.Result{}, &ack.SendError{Kind: ack.Retry, Code: 429, RetryAfter: c.asked}
					}
					r := failures(parts, func(int) (bool, bool) { return true, false })
					r.RetryAfter = c.asked
					return r, nil
				}}
				r := start(t, t.Context(), Config{Endpoints: one(s)})
				r.put(1, 10)
				<-time.After(1100 * time.Millisecond)
				if kind == "request" {
					r.put(1, 10) // another one keeps silent, too
				}
				r.end()
				if wait := at[1].Sub(at[0]); wait < c.want || wait > c.want+500*time.Millisecond {
					t.Errorf("%s: asked for %s, waited %s", kind, c.asked, wait)
				}
			})
		}
	}
}

// Refused credentials: nothing is given up, even with retry.for, and there is
// one attempt per MaxDelay.
func TestFailure83_Unauthorized(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		s := &sink{f: func(context.Context, int, []record.Part) (ack.Result, error) {
			if time.Since(begin) < time.Hour {
				return ack.Result{}, err401
			}
			return ack.Result{}, nil
		}}
		y := &yard{}
		r := start(t, t.Context(), Config{Endpoints: one(s), DeadLetters: y, Retry: Retry{For: time.Minute}})
		r.put(10, 10)
		<-time.After(time.Hour)
		if n := s.tries(); n < 100 || n > 122 {
			t.Errorf("%d attempts in an hour", n)
		}
		if sum := r.end(); sum[ack.Delivered] != 10 || len(y.dead) != 0 {
			t.Errorf("%v", sum)
		}
	})
}
