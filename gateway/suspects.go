package gateway

import (
	"net/netip"
	"time"
)

// suspect is an address that had connections closed for what they did. New ones
// from there are not heard at once: whoever must wait for each can do little with
// many, and an honest sender behind the same address is late, not refused.
type suspect struct {
	wait  time.Duration // before the first byte of a connection is read
	until time.Time     // forgotten then
}

const (
	minWait     = time.Second
	maxWait     = 4 * time.Second  // headerPatience has to last
	suspicion   = 30 * time.Second // after the last time
	maxSuspects = 10_000
)

// suspect notes that a connection from there was closed for what it did.
func (l *ConnLimit) suspect(from netip.Prefix, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.suspects[from]
	if s == nil || now.After(s.until) {
		if s == nil && len(l.suspects) >= maxSuspects {
			for p, o := range l.suspects {
				if now.After(o.until) {
					delete(l.suspects, p)
				}
			}
			if len(l.suspects) >= maxSuspects {
				return
			}
		}
		s = &suspect{wait: minWait / 2}
		l.suspects[from] = s
	}
	s.wait, s.until = min(2*s.wait, maxWait), now.Add(suspicion)
}

// waitOf returns how long a new connection from there waits. l.mu is held.
func (l *ConnLimit) waitOf(from netip.Prefix, now time.Time) time.Duration {
	s := l.suspects[from]
	if s == nil {
		return 0
	}
	if now.After(s.until) {
		delete(l.suspects, from)
		return 0
	}
	return s.wait
}
