package deliver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// door is the Output of an endpoint that comes and goes. It finds out whether it is
// used after it was closed, or closed while it is in use.
type door struct {
	*sink
	use    sync.Mutex
	inside int
	closed int
	wrong  error
}

func (d *door) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	d.use.Lock()
	if d.closed > 0 {
		d.wrong = errors.New("used after it was closed")
	}
	d.inside++
	d.use.Unlock()
	defer func() {
		d.use.Lock()
		d.inside--
		d.use.Unlock()
	}()
	return d.sink.Send(ctx, parts)
}

func (d *door) Close() error {
	d.use.Lock()
	defer d.use.Unlock()
	if d.closed++; d.closed > 1 || d.inside > 0 {
		d.wrong = fmt.Errorf("closed %d times, %d requests under way", d.closed, d.inside)
	}
	return nil
}

// sendFunc is an Output that is a function.
type sendFunc func(context.Context, []record.Part) (ack.Result, error)

func (f sendFunc) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	return f(ctx, parts)
}

// hall has the doors of a test to the same sinks.
type hall struct {
	sinks []*sink
	now   map[string]*door
	gone  []*door
}

// list returns endpoints for the sinks of those numbers. Those that are there
// already keep their doors.
func (h *hall) list(members, groups []int) (list []Endpoint) {
	before := h.now
	h.now = make(map[string]*door)
	for _, i := range members {
		name := fmt.Sprint("e", i)
		d := before[name]
		if d == nil {
			d = &door{sink: h.sinks[i]}
		}
		delete(before, name)
		h.now[name] = d
		list = append(list, Endpoint{Name: name, Output: d, Group: groups[i]})
	}
	for _, d := range before {
		h.gone = append(h.gone, d)
	}
	return list
}

func (h *hall) change(t fataler, d *Deliverer, members, groups []int) {
	t.Helper()
	if err := d.SetEndpoints(h.list(members, groups)); err != nil {
		t.Fatalf("SetEndpoints: %v", err)
	}
}

// check fails unless exactly those doors are closed that are not in use any more.
func (h *hall) check(t fataler) {
	t.Helper()
	for name, d := range h.now {
		if d.wrong != nil || d.closed != 0 {
			t.Fatalf("%s: closed %d times: %v", name, d.closed, d.wrong)
		}
	}
	for _, d := range h.gone {
		if d.wrong != nil || d.closed != 1 {
			t.Fatalf("a door of the past: closed %d times: %v", d.closed, d.wrong)
		}
	}
}

// The pool changes while requests are under way: what left gets nothing new and is
// closed after its last answer; what came gets its share, slowly at first.
func TestEndpointsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hall{now: make(map[string]*door)}
		for range 3 {
			s := &sink{}
			s.f = func(context.Context, int, []record.Part) (ack.Result, error) {
				<-time.After(time.Second)
				return ack.Result{}, nil
			}
			h.sinks = append(h.sinks, s)
		}
		groups := make([]int, 3)
		r := start(t, t.Context(), Config{Dynamic: true, Batch: Batch{Records: 1, Wait: -1}, Concurrency: 8})
		r.put(1000, 10)
		<-time.After(time.Minute)
		if st := r.Stats(); st.InFlight != 0 || st.Waiting.Records != 1000 {
			t.Fatalf("without endpoints: %+v", st)
		}
		h.change(t, r.Deliverer, []int{0, 1}, groups)
		synctest.Wait()
		if st := r.Stats(); st.InFlight != 2 || st.Endpoints[0].State != "starting" {
			t.Errorf("at first: %+v", st)
		}
		<-time.After(20500 * time.Millisecond)
		if st := r.Stats(); st.InFlight != 8 || st.Endpoints[0].State != "active" {
			t.Errorf("after a while: %+v", st)
		}
		leaver := h.now["e1"]
		h.change(t, r.Deliverer, []int{0, 2}, groups)
		synctest.Wait()
		st := r.Stats()
		if len(st.Endpoints) != 3 || st.Endpoints[2].Name != "e1" || st.Endpoints[2].State != "leaving" || leaver.closed != 0 {
			t.Errorf("a moment after: %+v, closed %d", st.Endpoints, leaver.closed)
		}
		before := h.sinks[1].tries()
		<-time.After(2 * time.Second)
		synctest.Wait()
		if st := r.Stats(); len(st.Endpoints) != 2 || leaver.closed != 1 || h.sinks[1].tries() != before {
			t.Errorf("after the last answer: %+v, closed %d, %d requests more", st.Endpoints, leaver.closed, h.sinks[1].tries()-before)
		}
		<-time.After(10 * time.Second)
		if h.sinks[2].tries() < 20 {
			t.Errorf("the new one got %d requests", h.sinks[2].tries())
		}
		if err := r.SetEndpoints([]Endpoint{{Name: "a", Output: h.sinks[0]}, {Name: "a", Output: h.sinks[1]}}); err == nil {
			t.Error("two endpoints of one name")
		}
		r.end()
		h.check(t)
	})
}

// While an endpoint of the first group works the second gets nothing; it takes over
// at once; and the first is back only when it has worked for Failback, which an
// endpoint never does that fails every other time.
func TestGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var state atomic.Int32 // of group 0: 0 works, 1 down, 2 every other request fails
		all, eps := servers(3, func(i int) error {
			switch {
			case i == 2 || state.Load() == 0:
				return nil
			case state.Load() == 2 && rand.IntN(2) == 0:
				return nil
			}
			return errDown
		})
		eps[2].Group = 1
		r := start(t, t.Context(), Config{Endpoints: eps, Batch: Batch{Records: 1, Wait: -1}, Failback: time.Minute})
		during := func(d time.Duration) (first, second int) {
			f, s := all[0].tries()+all[1].tries(), all[2].tries()
			for end := time.Now().Add(d); time.Now().Before(end); {
				r.put(1, 10)
				<-time.After(100 * time.Millisecond)
			}
			return all[0].tries() + all[1].tries() - f, all[2].tries() - s
		}
		if f, s := during(time.Minute); s != 0 || f < 590 {
			t.Errorf("at first: %d and %d requests", f, s)
		}
		state.Store(1)
		if f, s := during(2 * time.Minute); f > 40 || s < 1100 {
			t.Errorf("the first group is down: %d and %d requests", f, s)
		}
		if st := r.Stats(); st.Group != 1 || st.Endpoints[2].State != "active" {
			t.Errorf("the first group is down: %+v", st)
		}
		state.Store(2)
		switches := 0
		for range 20 {
			if _, s := during(time.Minute); s < 500 {
				switches++
			}
		}
		if switches > 0 {
			t.Errorf("a group that fails every other time was used in %d of 20 minutes", switches)
		}
		state.Store(1)
		during(2 * time.Minute)
		state.Store(0)
		if f, s := during(50 * time.Second); s < 450 || f > 40 {
			t.Errorf("the first group works again for less than a minute: %d and %d requests", f, s)
		}
		<-time.After(2 * time.Minute)
		during(30 * time.Second)
		during(90 * time.Second)
		if f, s := during(time.Minute); s != 0 || f < 590 {
			t.Errorf("the first group is back: %d and %d requests", f, s)
		}
		r.end()
	})
}

// An endpoint that was down for long and is back is found out at once when there is
// no time to wait.
func TestHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		all, eps := servers(1, func(int) error {
			if down.Load() {
				return errDown
			}
			return nil
		})
		r := start(t, t.Context(), Config{Endpoints: eps, Batch: Batch{Records: 10, Wait: -1}, Rand: func() float64 { return 0.9 }})
		r.put(100, 10)
		<-time.After(10*time.Minute + 100*time.Millisecond) // between two attempts
		down.Store(false)
		before := all[0].tries()
		<-time.After(time.Second)
		if n := all[0].tries() - before; n != 0 {
			t.Fatalf("%d attempts: the test shows nothing", n)
		}
		r.Hurry()
		<-time.After(time.Second)
		if st := r.Stats(); st.Waiting.Records != 0 {
			t.Errorf("%d records still wait", st.Waiting.Records)
		}
		r.end()
	})
}

// With Hash all records of a stream go to one endpoint; when it leaves only they go
// elsewhere; when it is back they return.
func TestHash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		dead := -1
		took := make(map[string]map[int]int) // pod → endpoint → records
		list := make([]Endpoint, 4)
		for i := range list {
			list[i] = Endpoint{Name: fmt.Sprint("e", i), Output: sendFunc(func(_ context.Context, parts []record.Part) (ack.Result, error) {
				<-time.After(10 * time.Millisecond)
				mu.Lock()
				defer mu.Unlock()
				if i == dead {
					return ack.Result{}, errDown
				}
				for _, p := range parts {
					for _, n := range p.Index() {
						pod := p.Batch().Stream(int(n)).Get("pod")
						if took[pod] == nil {
							took[pod] = make(map[int]int)
						}
						took[pod][i]++
					}
				}
				return ack.Result{}, nil
			})}
		}
		r := start(t, t.Context(), Config{Endpoints: list, Balance: Hash, HashBy: []string{"pod"}, Batch: Batch{Bytes: 4000, Wait: 100 * time.Millisecond}, Concurrency: 16, Eject: Eject{For: time.Minute}})
		round := func() map[string][]int {
			mu.Lock()
			clear(took)
			mu.Unlock()
			for range 50 {
				r.put(70, 100)
				<-time.After(200 * time.Millisecond)
			}
			<-time.After(time.Second)
			mu.Lock()
			defer mu.Unlock()
			at := make(map[string][]int)
			for pod, m := range took {
				for e := range m {
					at[pod] = append(at[pod], e)
				}
				slices.Sort(at[pod])
			}
			return at
		}
		first := round()
		used := make(map[int]int)
		for pod, e := range first {
			if len(e) != 1 {
				t.Errorf("%s went to %v", pod, e)
			}
			used[e[0]]++
		}
		if len(first) != 7 || len(used) < 2 {
			t.Fatalf("7 streams: %v", first)
		}
		victim := first["web-1"][0]
		mu.Lock()
		dead = victim
		mu.Unlock()
		round() // it is found out
		second := round()
		if len(second) != len(first) {
			t.Errorf("without e%d: records of %d streams arrived, not of %d", victim, len(second), len(first))
		}
		for pod, e := range second {
			switch {
			case len(e) != 1:
				t.Errorf("without e%d: %s went to %v", victim, pod, e)
			case first[pod][0] == victim && e[0] == victim, first[pod][0] != victim && e[0] != first[pod][0]:
				t.Errorf("without e%d: %s went from e%d to e%d", victim, pod, first[pod][0], e[0])
			}
		}
		mu.Lock()
		dead = -1
		mu.Unlock()
		<-time.After(time.Minute)
		round()
		third := round()
		if len(third) != len(first) {
			t.Errorf("afterwards: records of %d streams arrived, not of %d", len(third), len(first))
		}
		for pod, e := range third {
			if len(e) != 1 || e[0] != first[pod][0] {
				t.Errorf("afterwards: %s went to %v, before to %v", pod, e, first[pod])
			}
		}
		r.end()
	})
}

// An endpoint that answers slowly does not keep records from the others.
func TestHashSlowEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fast atomic.Int64
		var slow int // the one that most of the streams belong to
		list := make([]Endpoint, 3)
		var p pool
		for i := range list {
			list[i] = Endpoint{Name: fmt.Sprint("e", i), Output: &sink{}}
		}
		p.all, _, _ = p.set(list, false)
		owned := make([]int, len(list))
		for _, s := range streams {
			o := owner(p.all, s.Hash(), func(*endpoint) bool { return false })
			owned[slices.Index(p.all, o)]++
		}
		slow = slices.Index(owned, slices.Max(owned))
		for i := range list {
			list[i] = Endpoint{Name: fmt.Sprint("e", i), Output: sendFunc(func(_ context.Context, parts []record.Part) (ack.Result, error) {
				if i == slow {
					<-time.After(20 * time.Second)
					return ack.Result{}, nil
				}
				<-time.After(10 * time.Millisecond)
				for _, p := range parts {
					fast.Add(int64(p.Len()))
				}
				return ack.Result{}, nil
			})}
		}
		r := start(t, t.Context(), Config{Endpoints: list, Balance: Hash, Batch: Batch{Bytes: 1000, Wait: -1}, Concurrency: 8, MaxInHand: 100_000})
		r.put(7000, 100)
		<-time.After(time.Minute)
		if n := fast.Load(); n < 6000 {
			t.Errorf("%d of 7000 records in a minute", n)
		}
		r.end()
	})
}

// An Output given for an endpoint that is there already is closed, not used.
func TestKnownEndpointKeepsItsOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := &door{sink: &sink{}}, &door{sink: &sink{}}
		r := start(t, t.Context(), Config{Endpoints: []Endpoint{{Name: "a", Output: first}}, Batch: Batch{Records: 1, Wait: -1}})
		if err := r.SetEndpoints([]Endpoint{{Name: "a", Output: second}}); err != nil {
			t.Fatal(err)
		}
		r.put(10, 10)
		<-time.After(time.Second)
		if first.closed != 0 || second.closed != 1 || first.tries() != 10 || second.tries() != 0 {
			t.Errorf("closed %d and %d times, %d and %d requests", first.closed, second.closed, first.tries(), second.tries())
		}
		r.end()
	})
}

// A group that is entered again starts slowly, also where it had been given many
// requests at once, and what it does not take meanwhile goes to the one that worked.
func TestGroupIsEnteredSlowly(t *testing.T) {
	now := time.Now()
	p := pool{max: 16, rand: rand.Float64, eject: Eject{Errors: 1, For: time.Second}}
	p.all, _, _ = p.set([]Endpoint{{Name: "a", Output: &sink{}}, {Name: "b", Output: &sink{}, Group: 1}}, false)
	a, b := p.all[0], p.all[1]
	a.limit.limit, b.limit.limit = 16, 16
	p.group = 1
	a.back = now
	e, _ := p.choose(now)
	if e != a || a.allow != 1 || p.group != 0 {
		t.Fatalf("chose %v, allow %d, group %d", e.Name, a.allow, p.group)
	}
	e.inflight++
	if e, _ = p.choose(now); e != b {
		t.Errorf("with one request at a, the next goes to %+v", e)
	}
	p.alive(a, now)
	a.allow = 0
	a.inflight = 16
	if e, _ = p.choose(now); e != nil {
		t.Errorf("a is merely busy, but %s got a request", e.Name)
	}
}

// TestFailure94_HerdAfterOutage: 500 agents have waited for a destination. When it is
// back it gets no more at once than it can bear, and everything soon enough.
func TestFailure94_HerdAfterOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const agents, backlog, capacity = 500, 40, 100
		var inflight, peak, refused, arrivals atomic.Int64
		var perSecond [120]atomic.Int64
		back := time.Now().Add(time.Hour)
		server := sendFunc(func(ctx context.Context, parts []record.Part) (ack.Result, error) {
			now := time.Now()
			if now.Before(back) {
				return ack.Result{}, errDown
			}
			arrivals.Add(1)
			if s := int(now.Sub(back) / time.Second); s < len(perSecond) {
				perSecond[s].Add(1)
			}
			n := inflight.Add(1)
			defer inflight.Add(-1)
			for {
				p := peak.Load()
				if n <= p || peak.CompareAndSwap(p, n) {
					break
				}
			}
			if n > capacity {
				refused.Add(1)
				return ack.Result{}, err429
			}
			<-time.After(50 * time.Millisecond)
			return ack.Result{}, nil
		})
		var rigs []*rig
		for range agents {
			r := start(t, t.Context(), Config{Endpoints: one(server), Batch: Batch{Records: 1, Wait: -1}, Rand: rand.Float64})
			r.put(backlog, 10)
			rigs = append(rigs, r)
		}
		<-time.After(time.Until(back) + 2*time.Minute)
		left := 0
		for _, r := range rigs {
			left += r.Stats().Waiting.Records
		}
		most := int64(0)
		for i := range perSecond {
			most = max(most, perSecond[i].Load())
		}
		t.Logf("%d arrivals, %d refused, %d at once at most, %d in the busiest second", arrivals.Load(), refused.Load(), peak.Load(), most)
		if left > 0 {
			t.Errorf("%d records wait two minutes after the destination came back", left)
		}
		if peak.Load() > 2*capacity || refused.Load()*10 > arrivals.Load() {
			t.Errorf("%d requests at once for a destination that takes %d; %d of %d refused", peak.Load(), capacity, refused.Load(), arrivals.Load())
		}
		for _, r := range rigs {
			r.end()
		}
	})
}

func BenchmarkChoose(b *testing.B) {
	for _, n := range []int{1, 3, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := pool{max: 1000, rand: rand.Float64}
			var list []Endpoint
			for i := range n {
				list = append(list, Endpoint{Name: fmt.Sprint(i), Output: &sink{}})
			}
			p.all, _, _ = p.set(list, false)
			now := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				e, _ := p.choose(now)
				e.inflight++
				p.alive(e, now)
				e.inflight--
			}
		})
	}
}
