package gateway

import (
	"net/netip"
	"sync"
	"time"
)

// throttle lets through a burst, and then so many a second. The zero throttle is
// for messages that an attacker makes us write.
type throttle struct {
	mu      sync.Mutex
	left    float64
	last    time.Time
	skipped int
}

const (
	tellBurst = 20
	tellRate  = 2 // a second
)

// allow reports whether it may be, and how many were not since the last that was.
func (t *throttle) allow(now time.Time) (skipped int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last.IsZero() {
		t.left = tellBurst
	} else {
		t.left = min(tellBurst, t.left+max(0, now.Sub(t.last).Seconds())*tellRate)
	}
	t.last = now
	if t.left < 1 {
		t.skipped++
		return 0, false
	}
	t.left--
	skipped, t.skipped = t.skipped, 0
	return skipped, true
}

// reviewLimit keeps those who try tokens from making us ask Kubernetes too often:
// so many bad ones from an address, and none more for a while.
type reviewLimit struct {
	mu sync.Mutex
	by map[netip.Prefix]*throttle
}

const maxTriers = 4096

// network is what counts as one sender: an address of IPv4, and the /64 that
// a site of IPv6 has at least.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.WithZone("").Prefix(bits) // the zero Prefix for the zero Addr
	return p
}

// allow reports whether a token from there may be looked at.
func (l *reviewLimit) allow(from netip.Addr, now time.Time) bool {
	l.mu.Lock()
	t := l.by[network(from)]
	l.mu.Unlock()
	if t == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.left+now.Sub(t.last).Seconds()*tellRate >= 1
}

// failed notes a bad token.
func (l *reviewLimit) failed(from netip.Addr, now time.Time) {
	l.mu.Lock()
	k := network(from)
	t := l.by[k]
	if t == nil {
		if l.by == nil || len(l.by) >= maxTriers {
			l.by = make(map[netip.Prefix]*throttle)
		}
		t = new(throttle)
		l.by[k] = t
	}
	l.mu.Unlock()
	t.allow(now)
}
