package deliver

import "time"

// pool chooses endpoints and keeps their health. It is not safe for concurrent
// use.
type pool struct {
	all     []*endpoint
	balance Balance
	eject   Eject
	retry   Retry
	max     int // requests in flight over all endpoints
	rand    func() float64
	turn    int // of round robin

	down   bool      // all endpoints are ejected
	gate   time.Time // while down: when the next may be tried
	failed int       // failures in a row, for the gate's delay
}

type endpoint struct {
	Endpoint
	inflight int
	errors   int       // failures in a row
	ejected  bool      // no request but probes
	at       time.Time // when it was ejected last
	until    time.Time // when it may be probed
	paused   time.Time // the destination asked for silence until then
	allow    int       // slow start: requests it may have in flight, 0 = no limit

	requests, failures uint64
}

// choose returns the endpoint for a request that is sent now. If there is none
// now, wake says when to ask again; zero means when an attempt has ended.
func (p *pool) choose(now time.Time) (e *endpoint, wake time.Time) {
	sooner := func(t time.Time) {
		if t.After(now) && (wake.IsZero() || t.Before(wake)) {
			wake = t
		}
	}
	if p.down {
		for _, c := range p.all {
			if c.inflight > 0 {
				return nil, time.Time{} // one probe at a time
			}
		}
		if now.Before(p.gate) {
			return nil, p.gate
		}
		for _, c := range p.all {
			if c.paused.After(now) {
				sooner(c.paused)
			} else if e == nil || c.at.Before(e.at) {
				e = c
			}
		}
		return e, wake
	}
	for _, c := range p.all {
		switch {
		case !c.ejected || c.inflight > 0:
		case c.until.After(now):
			sooner(c.until)
		case c.paused.After(now):
			sooner(c.paused)
		default:
			return c, time.Time{} // half open
		}
	}
	for i := range p.all {
		c := p.all[i]
		if p.balance != Failover {
			c = p.all[(p.turn+i)%len(p.all)]
		}
		if c.ejected || c.allow > 0 && c.inflight >= c.allow {
			continue
		}
		if c.paused.After(now) {
			sooner(c.paused)
			continue
		}
		if e == nil || p.balance == LeastInflight && c.inflight < e.inflight {
			e = c
		}
	}
	if e != nil {
		for i, c := range p.all {
			if c == e {
				p.turn = i + 1
			}
		}
	}
	return e, wake
}

// alive notes an answer of e, whatever it says about the records. It reports
// whether e had been ejected and whether all had been.
func (p *pool) alive(e *endpoint) (back, wasDown bool) {
	e.errors = 0
	back, wasDown = e.ejected, p.down
	if back {
		e.ejected = false
		e.allow = 1
	} else if e.allow > 0 {
		if e.allow *= 2; e.allow >= p.max {
			e.allow = 0
		}
	}
	p.down, p.failed = false, 0
	return back, wasDown
}

// fail notes that e did not do its work. It reports whether e was ejected now.
func (p *pool) fail(e *endpoint, now time.Time) (ejected bool) {
	e.errors++
	e.failures++
	if e.errors < p.eject.Errors && !e.ejected && e.allow == 0 {
		return false
	}
	ejected = !e.ejected
	e.ejected, e.at, e.until, e.allow = true, now, now.Add(p.eject.For), 0
	for _, c := range p.all {
		if !c.ejected {
			return ejected
		}
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
