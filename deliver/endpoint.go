package deliver

import (
	"slices"
	"time"
)

// pool chooses endpoints and keeps their health. It is not safe for concurrent
// use.
type pool struct {
	all      []*endpoint // in the order of groups
	balance  Balance
	eject    Eject
	retry    Retry
	failback time.Duration
	max      int // requests in flight over all endpoints
	rand     func() float64
	turn     int // of round robin
	group    int // in use: endpoints of others get nothing but requests to try them with

	down   bool      // all endpoints are ejected
	gate   time.Time // while down: when the next may be tried
	failed int       // failures in a row, for the gate's delay
}

type endpoint struct {
	Endpoint
	hash     uint64 // of Name
	limit    limiter
	inflight int
	errors   int       // failures in a row
	ejected  bool      // no request but probes
	at       time.Time // when it was ejected last
	until    time.Time // when it may be probed
	back     time.Time // when it came back; zero if it was never away
	trial    time.Time // when it may be tried again, while another group is in use
	paused   time.Time // the destination asked for silence until then
	allow    int       // slow start: requests it may have in flight, 0 = no limit
	left     bool      // no longer in the pool

	requests, failures uint64
}

// full reports whether e has as many requests as it takes.
func (e *endpoint) full() bool {
	return e.inflight >= e.limit.limit || e.allow > 0 && e.inflight >= e.allow
}

// sooner returns the earlier of two moments that lie after now; zero stands for
// never.
func sooner(a, b, now time.Time) time.Time {
	if b.After(now) && (a.IsZero() || b.Before(a)) {
		return b
	}
	return a
}

// choose returns the endpoint for a request that is sent now. If there is none
// now, wake says when to ask again; zero means when an attempt has ended.
func (p *pool) choose(now time.Time) (e *endpoint, wake time.Time) {
	e, wake, only := p.probe(now)
	if e != nil || only {
		return e, wake
	}
	members := p.members()
	for i := range members {
		c := members[(p.turn+i)%len(members)]
		if c.ejected || c.full() {
			continue
		}
		if c.paused.After(now) {
			wake = sooner(wake, c.paused, now)
			continue
		}
		if e == nil || p.balance == LeastInflight && c.inflight < e.inflight {
			e = c
		}
	}
	if e == nil {
		// What the group in use cannot take because it is only coming back, or wants
		// silence, the next ones take.
		e = p.beside(members, now)
	} else {
		p.turn = slices.Index(members, e) + 1
	}
	return e, wake
}

// beside returns an endpoint of a later group, if all of members are away, start,
// or want silence.
func (p *pool) beside(members []*endpoint, now time.Time) *endpoint {
	for _, c := range members {
		if !c.ejected && c.allow == 0 && !c.paused.After(now) {
			return nil // it is merely busy
		}
	}
	for _, c := range p.all {
		if c.Group > p.group && !c.ejected && !c.full() && !c.paused.After(now) {
			return c
		}
	}
	return nil
}

// probe returns an endpoint that a request is to find out about. only says that
// there is no other.
func (p *pool) probe(now time.Time) (e *endpoint, wake time.Time, only bool) {
	if len(p.all) == 0 {
		return nil, time.Time{}, true
	}
	if p.down {
		for _, c := range p.all {
			if c.inflight > 0 {
				return nil, time.Time{}, true // one probe at a time
			}
		}
		if now.Before(p.gate) {
			return nil, p.gate, true
		}
		for _, c := range p.all {
			if c.paused.After(now) {
				wake = sooner(wake, c.paused, now)
			} else if e == nil || c.at.Before(e.at) {
				e = c
			}
		}
		return e, wake, true
	}
	wake = p.regroup(now)
	for _, c := range p.all {
		switch {
		case c.inflight > 0:
		case c.ejected && (c.until.After(now) || c.paused.After(now)):
			wake = sooner(sooner(wake, c.until, now), c.paused, now)
		case c.ejected:
			return c, time.Time{}, false // half open
		case c.Group < p.group && (c.trial.After(now) || c.paused.After(now)):
			wake = sooner(sooner(wake, c.trial, now), c.paused, now)
		case c.Group < p.group:
			c.trial = now.Add(p.failback / trials)
			return c, time.Time{}, false
		}
	}
	return nil, wake, false
}

// trials is how many requests an endpoint of a better group gets, one at a time,
// before its group is used again.
const trials = 10

// members returns the endpoints of the group in use.
func (p *pool) members() []*endpoint {
	from := slices.IndexFunc(p.all, func(e *endpoint) bool { return e.Group == p.group })
	if from < 0 {
		return nil
	}
	to := from
	for to < len(p.all) && p.all[to].Group == p.group {
		to++
	}
	return p.all[from:to]
}

// regroup chooses the group in use: the first with an endpoint that works, but a
// better one than the present only when one of its endpoints has worked for
// p.failback. It returns when there will be something to choose again.
func (p *pool) regroup(now time.Time) (wake time.Time) {
	if p.all[len(p.all)-1].Group == p.all[0].Group { // nothing to choose
		p.group = p.all[0].Group
		return time.Time{}
	}
	works := slices.ContainsFunc(p.members(), func(e *endpoint) bool { return !e.ejected })
	for _, e := range p.all {
		if e.ejected {
			continue
		}
		if works && e.Group >= p.group {
			break
		}
		if ripe := e.back.Add(p.failback); works && !e.back.IsZero() && ripe.After(now) {
			wake = sooner(wake, ripe, now)
			continue
		}
		p.enter(e.Group)
		return time.Time{}
	}
	return wake
}

// enter makes g the group in use. Its endpoints start slowly: they have had next
// to nothing to do.
func (p *pool) enter(g int) {
	p.group, p.turn = g, 0
	for _, e := range p.members() {
		if !e.ejected {
			e.allow = 1
		}
	}
}

// alive notes an answer of e, whatever it says about the records. It reports
// whether e had been ejected and whether all had been.
func (p *pool) alive(e *endpoint, now time.Time) (back, wasDown bool) {
	e.errors = 0
	back, wasDown = e.ejected, p.down
	if back {
		e.ejected, e.back = false, now
		e.allow = 1
		e.trial = now.Add(p.failback / trials)
	} else if e.allow > 0 {
		// What it was limited to before it went away says little now.
		e.allow = min(2*e.allow, p.max)
		e.limit.limit = max(e.limit.limit, e.allow)
		if e.allow == p.max {
			e.allow = 0
		}
	}
	if !e.left {
		p.down, p.failed = false, 0
	}
	return back, wasDown
}

// fail notes that e did not do its work. It reports whether e was ejected now.
func (p *pool) fail(e *endpoint, now time.Time) (ejected bool) {
	e.errors++
	e.failures++
	// One that starts, or is being tried, has no credit.
	if e.left || e.errors < p.eject.Errors && !e.ejected && e.allow == 0 && e.Group >= p.group {
		return false
	}
	ejected = !e.ejected
	e.ejected, e.at, e.until, e.allow = true, now, now.Add(p.eject.For), 0
	if p.healthy() > 0 {
		return ejected
	}
	p.down = true
	p.failed++
	p.gate = now.Add(backoff(p.retry.MinDelay, p.retry.MaxDelay, p.failed+1, p.rand()))
	return ejected
}

// pause keeps e silent until t.
func (p *pool) pause(e *endpoint, t time.Time) {
	if t.After(e.paused) {
		e.paused = t
	}
}

// healthy returns how many endpoints are not ejected.
func (p *pool) healthy() int {
	n := 0
	for _, e := range p.all {
		if !e.ejected {
			n++
		}
	}
	return n
}

// limits returns how many requests may be in flight.
func (p *pool) limits() int {
	n := 0
	for _, e := range p.members() {
		if !e.ejected {
			n += e.limit.limit
		}
	}
	return min(max(n, 1), p.max)
}

// state is what an operator is told of e.
func (p *pool) state(e *endpoint, now time.Time) string {
	switch {
	case e.left:
		return "leaving"
	case e.ejected:
		return "ejected"
	case e.paused.After(now):
		return "paused"
	case e.Group != p.group:
		return "standby"
	case e.allow > 0:
		return "starting"
	}
	return "active"
}
