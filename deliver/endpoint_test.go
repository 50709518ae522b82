package deliver

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// servers returns n endpoints; each fails as f says.
func servers(n int, f func(i int) error) (all []*sink, eps []Endpoint) {
	for i := range n {
		s := &sink{f: func(context.Context, int, []record.Part) (ack.Result, error) {
			<-time.After(10 * time.Millisecond)
			return ack.Result{}, f(i)
		}}
		all = append(all, s)
		eps = append(eps, Endpoint{Name: string(rune('a' + i)), Output: s})
	}
	return all, eps
}

func TestBalance(t *testing.T) {
	for _, c := range []struct {
		balance Balance
		check   func(a, b, c int) bool
	}{
		{RoundRobin, func(a, b, c int) bool { return max(a, b, c)-min(a, b, c) <= 3 }},
		{LeastInflight, func(a, b, c int) bool { return a+b+c == 300 && min(a, b, c) > 60 }},
		{Failover, func(a, b, c int) bool { return a == 300 && b+c == 0 }},
	} {
		t.Run(c.balance.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all, eps := servers(3, func(int) error { return nil })
				r := start(t, t.Context(), Config{Endpoints: eps, Balance: c.balance, Batch: Batch{Records: 1}})
				r.put(300, 10)
				r.end()
				if !c.check(all[0].attempts, all[1].attempts, all[2].attempts) {
					t.Errorf("%d %d %d requests", all[0].attempts, all[1].attempts, all[2].attempts)
				}
			})
		})
	}
}

// One of the endpoints is slow: least_inflight gives it less.
func TestLeastInflightAvoidsTheSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, eps := servers(2, func(i int) error {
			<-time.After(time.Duration(i) * time.Second)
			return nil
		})
		r := start(t, t.Context(), Config{Endpoints: eps, Balance: LeastInflight, Batch: Batch{Records: 1}, Concurrency: 4})
		r.put(500, 10)
		r.end()
		if all[0].attempts < 400 {
			t.Errorf("%d and %d requests", all[0].attempts, all[1].attempts)
		}
	})
}

// A dead endpoint costs a few requests and then one probe per Eject.For; what it
// refused goes to the others. When it is back it takes part again.
func TestDeadEndpointIsEjectedAndComesBack(t *testing.T) {
	for _, balance := range []Balance{RoundRobin, LeastInflight, Failover} {
		t.Run(balance.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				back := time.Now().Add(10 * time.Minute)
				all, eps := servers(2, func(i int) error {
					if i == 0 && time.Now().Before(back) {
						return errDown
					}
					return nil
				})
				r := start(t, t.Context(), Config{Endpoints: eps, Balance: balance, Batch: Batch{Records: 1, Wait: -1}})
				for range 600 {
					r.put(2, 10)
					<-time.After(time.Second)
				}
				st := r.Stats()
				if n := all[0].tries(); n < 5+15 || n > 5+21 {
					t.Errorf("%d requests to the dead endpoint in 10 minutes", n)
				}
				if st.Healthy != 1 || st.Endpoints[0].Healthy || !st.Endpoints[1].Healthy || st.Waiting.Records > 4 {
					t.Errorf("%+v", st)
				}
				<-time.After(time.Minute)
				for range 100 {
					r.put(2, 10)
					<-time.After(time.Second)
				}
				if st := r.Stats(); st.Healthy != 2 {
					t.Errorf("%+v", st)
				}
				before := all[0].tries()
				for range 100 {
					r.put(2, 10)
					<-time.After(time.Second)
				}
				if n := all[0].tries() - before; balance == Failover && n != 200 || n < 90 {
					t.Errorf("%d of 200 requests to the endpoint that is back", n)
				}
				if sum := r.end(); sum[ack.Delivered] != 1600 {
					t.Errorf("%v", sum)
				}
			})
		})
	}
}

// With all endpoints dead each is tried in turn, and never more than one at a
// time.
func TestAllEjected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(31 * time.Minute)
		all, eps := servers(3, func(i int) error {
			if time.Now().Before(back) || i != 2 {
				return errDown
			}
			return nil
		})
		r := start(t, t.Context(), Config{Endpoints: eps, Batch: Batch{Records: 1, Wait: -1}, Retry: Retry{MaxDelay: 10 * time.Second}})
		r.put(50, 10)
		<-time.After(time.Minute) // all are ejected by now
		before := [3]int{all[0].tries(), all[1].tries(), all[2].tries()}
		<-time.After(30 * time.Minute)
		for i, s := range all {
			if n := s.tries() - before[i]; n < 80 || n > 180 {
				t.Errorf("endpoint %d: %d attempts in half an hour with delays below 10 s", i, n)
			}
		}
		begin := time.Now()
		if sum := r.end(); sum[ack.Delivered] != 50 {
			t.Errorf("%v", sum)
		}
		if took := time.Since(begin); took > 2*time.Minute {
			t.Errorf("took %s with one endpoint back", took)
		}
	})
}

// An endpoint that is back takes one request, then two, then four, whatever the
// others are used to.
func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(2 * time.Minute)
		all, eps := servers(2, func(i int) error {
			if i == 0 && time.Now().Before(back) {
				return errDown
			}
			<-time.After(time.Second)
			return nil
		})
		r := start(t, t.Context(), Config{Endpoints: eps, Batch: Batch{Records: 1, Wait: -1}, Concurrency: 16, Balance: LeastInflight})
		r.put(3000, 10)
		peak := func() int {
			all[0].mu.Lock()
			defer all[0].mu.Unlock()
			p := all[0].peak
			all[0].peak = all[0].inflight
			return p
		}
		<-time.After(2 * time.Minute)
		if st := r.Stats(); st.Limit < 8 {
			t.Fatalf("limit %d: the test shows nothing", st.Limit)
		}
		for peak(); peak() == 0; {
			<-time.After(100 * time.Millisecond)
		}
		var got []int
		for range 5 {
			<-time.After(1050 * time.Millisecond)
			got = append(got, peak())
		}
		if got[0] > 2 || got[1] > 4 || got[4] < 6 {
			t.Errorf("requests at once in the seconds after the return: %v", got)
		}
		r.end()
	})
}

// A pause that one endpoint asks for leaves the others at work, and a request
// that was answered so is honoured itself.
func TestPausedEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := false
		all, eps := servers(2, func(i int) error {
			if i == 0 && !asked {
				asked = true
				return &ack.SendError{Kind: ack.Retry, Code: 503, RetryAfter: 5 * time.Minute}
			}
			return nil
		})
		r := start(t, t.Context(), Config{Endpoints: eps, Batch: Batch{Records: 1, Wait: -1}})
		r.put(100, 10)
		<-time.After(4 * time.Minute)
		if st := r.Stats(); all[0].tries() != 1 || all[1].tries() != 99 || st.Waiting.Records != 1 || !st.Endpoints[0].PausedUntil.After(time.Now()) {
			t.Errorf("%d and %d requests, %+v", all[0].tries(), all[1].tries(), st)
		}
		r.end()
	})
}

// The limit grows while all slots are taken and halves once per congestion.
func TestLimiter(t *testing.T) {
	l := limiter{limit: 1, max: 10}
	now := time.Unix(0, 0)
	for range 100 {
		l.success(false)
	}
	if l.limit != 1 {
		t.Errorf("limit %d grew without need", l.limit)
	}
	for range 1 + 2 + 3 + 4 {
		l.success(true)
	}
	if l.limit != 5 {
		t.Errorf("limit %d, want 5", l.limit)
	}
	for range 100 {
		l.success(true)
	}
	if l.limit != 10 {
		t.Errorf("limit %d, want the maximum 10", l.limit)
	}
	started := now
	now = now.Add(time.Second)
	for range 10 { // all in flight together
		l.overload(started, now)
	}
	if l.limit != 5 {
		t.Errorf("limit %d after one congestion, want 5", l.limit)
	}
	for range 10 {
		l.overload(now, now.Add(time.Second))
		now = now.Add(2 * time.Second)
	}
	if l.limit != 1 {
		t.Errorf("limit %d, want 1", l.limit)
	}
}

// Concurrency follows what the destination can do.
func TestAdaptiveConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		s.f = func(context.Context, int, []record.Part) (ack.Result, error) {
			s.mu.Lock()
			n := s.inflight
			s.mu.Unlock()
			if n > 5 {
				return ack.Result{}, err429
			}
			<-time.After(100 * time.Millisecond)
			return ack.Result{}, nil
		}
		r := start(t, t.Context(), Config{Endpoints: one(s), Concurrency: 32, Batch: Batch{Records: 1, Wait: -1}})
		r.put(5000, 10)
		begin := time.Now()
		sum := r.end()
		st := r.Stats()
		if refused := st.Requests[Throttled]; sum[ack.Delivered] != 5000 || refused == 0 || refused > 500 {
			t.Errorf("%v, %d of %d requests refused", sum, refused, s.attempts)
		}
		// Five at a time take 100 s.
		if took := time.Since(begin); took > 170*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// A destination that puts off one record of each request works; one that puts
// off half of them has too much to do.
func TestFewRecordsPutOffAreNoOverload(t *testing.T) {
	for share, want := range map[int]time.Duration{100: 12 * time.Second, 2: 0} {
		synctest.Test(t, func(t *testing.T) {
			first := make(map[*record.Batch]bool)
			s := &sink{}
			s.f = func(_ context.Context, _ int, parts []record.Part) (res ack.Result, err error) {
				<-time.After(100 * time.Millisecond)
				s.mu.Lock()
				defer s.mu.Unlock()
				for i, p := range parts {
					if first[p.Batch()] || p.Len() < 100 {
						continue
					}
					first[p.Batch()] = true
					for k, rec := range p.Index() {
						if k%share == 0 {
							res.Failures = append(res.Failures, ack.Failure{Part: i, Record: rec, Reason: "429"})
						}
					}
				}
				return res, nil
			}
			r := start(t, t.Context(), Config{Endpoints: one(s), Concurrency: 16, Batch: Batch{Records: 100, Wait: -1}, Retry: Retry{MinDelay: time.Millisecond, MaxDelay: time.Millisecond}})
			begin := time.Now()
			for range 400 {
				r.put(100, 10)
			}
			if sum := r.end(); sum[ack.Delivered] != 40000 {
				t.Error(sum)
			}
			// One at a time they would take 40 s and more.
			if took := time.Since(begin); want > 0 && took > want {
				t.Errorf("one of %d put off: took %s", share, took)
			} else if want == 0 && took < 20*time.Second {
				t.Errorf("one of %d put off: took only %s", share, took)
			}
		})
	}
}

func TestSizer(t *testing.T) {
	now := time.Unix(0, 0)
	s := sizer{max: 8 << 20, cur: 8 << 20}
	s.tooLarge(8<<20, now)
	if got := s.bytes(now); got != 4<<20 {
		t.Errorf("%d", got)
	}
	s.tooLarge(100, now)
	if got := s.bytes(now.Add(time.Minute)); got != minBatch {
		t.Errorf("%d, want no less than %d", got, minBatch)
	}
	for i := range 20 {
		now = now.Add(relearnTime)
		if got, want := s.bytes(now), min(8<<20, minBatch<<(i+1)); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	// As long as nothing was too large it doubles with each success, up to the
	// configured size.
	s = newSizer(8 << 20)
	for _, want := range []int{firstBatch, 1 << 20, 2 << 20, 4 << 20, 8 << 20, 8 << 20} {
		if got := s.bytes(now); got != want {
			t.Errorf("%d, want %d", got, want)
		}
		s.success()
	}
	s = sizer{max: 1000, cur: 1000} // smaller than the least from the beginning
	s.tooLarge(1000, now)
	if got := s.bytes(now); got != 1000 {
		t.Errorf("%d", got)
	}
}
