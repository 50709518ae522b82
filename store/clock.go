package store

import (
	"sync"
	"time"
)

// A guard keeps a clock that jumps from throwing logs away. Retention by age
// needs to know what time it is; a clock that suddenly says next year would end
// everything. So after a jump ahead of more than an hour (against what was last
// seen, or, at the start, against what is stored) nothing is too old until the
// clock has gone on for a day.
type guard struct {
	mu      sync.Mutex
	last    time.Time // with the monotonic reading
	wall    int64     // what the clock said then
	trusted int64     // time by which retention goes
	hold    time.Duration
}

const (
	maxJump  = time.Hour
	holdTime = 24 * time.Hour
)

// start begins with the clock as it is; seen is what it said when the store was
// last written to, 0 if that is not known, newest the latest row.
func (g *guard) start(now time.Time, seen, newest int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last, g.wall = now, now.UnixNano()
	g.trusted = g.wall
	if seen > 0 && g.wall-seen > int64(maxJump) {
		g.trusted, g.hold = seen, holdTime
	}
}

// tick looks at the clock.
func (g *guard) tick(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	passed := now.Sub(g.last) // by the monotonic clock, if there is one
	wall := now.UnixNano()
	jump := wall - g.wall - int64(passed)
	g.last, g.wall = now, wall
	passed = max(passed, 0)
	switch {
	case jump > int64(maxJump):
		g.hold = holdTime
	case jump < -int64(maxJump):
		g.hold = 0 // back again, or into the past, where less is too old
		g.trusted = min(g.trusted, wall)
	}
	if g.hold > 0 {
		g.hold -= passed
		g.trusted += int64(passed)
		if g.trusted >= wall {
			g.hold = 0
		}
	}
	if g.hold <= 0 {
		g.hold = 0
		g.trusted = wall
	}
}

// now is the time by which retention goes.
func (g *guard) now() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.trusted
}

// horizon is the time before which nothing is taken: the beginning of the day
// that the longest retention reaches back to.
func (g *guard) horizon(retention time.Duration, rules []Rule) int64 {
	longest := retention
	for _, r := range rules {
		if r.Retention == 0 {
			return minTime
		}
		longest = max(longest, r.Retention)
	}
	if retention == 0 {
		return minTime
	}
	return dayOf(g.now()-int64(longest)) * dayNs
}

const minTime = -1 << 63
