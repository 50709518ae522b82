package deliver

import "time"

// limiter is the number of requests that may be in flight: additive increase,
// multiplicative decrease.
type limiter struct {
	limit, max int
	good       int       // successes at the present limit with all slots taken
	cutAt      time.Time // attempts that started before have been answered for
}

func (l *limiter) success(saturated bool) {
	if !saturated || l.limit >= l.max {
		return
	}
	if l.good++; l.good >= l.limit {
		l.limit++
		l.good = 0
	}
}

// overload halves the limit, once for all attempts that were in flight together.
func (l *limiter) overload(started, now time.Time) {
	if started.Before(l.cutAt) {
		return
	}
	l.limit = max(1, l.limit/2)
	l.good, l.cutAt = 0, now
}

// sizer is the size up to which a request is collected. When the destination
// finds requests too large it learns, so that not every batch has to be refused
// before it is split; from time to time it tries twice as much again. It begins
// small, so that a process that does not live long before a slow destination
// gets something acknowledged, and doubles with each success.
type sizer struct {
	max, cur int
	learned  time.Time
}

func newSizer(max int) sizer { return sizer{max: max, cur: min(max, firstBatch)} }

// success is told of each request that was taken.
func (s *sizer) success() {
	if s.learned.IsZero() {
		s.cur = min(2*s.cur, s.max)
	}
}

const (
	minBatch    = 64 << 10
	firstBatch  = 512 << 10
	relearnTime = 10 * time.Minute
)

func (s *sizer) tooLarge(bytes int, now time.Time) {
	if n := max(bytes/2, min(minBatch, s.max)); n < s.cur {
		s.cur = n
	}
	s.learned = now
}

func (s *sizer) bytes(now time.Time) int {
	if s.cur < s.max && !s.learned.IsZero() && now.Sub(s.learned) >= relearnTime {
		s.cur = min(2*s.cur, s.max)
		s.learned = now
	}
	return s.cur
}

// backoff returns a delay before the attempt after n failures: full jitter
// below a limit that doubles from lo to hi, but never next to nothing.
func backoff(lo, hi time.Duration, n int, random float64) time.Duration {
	d := lo
	for i := 1; i < n && d < hi; i++ {
		d *= 2
	}
	d = min(d, hi)
	return max(time.Duration(random*float64(d)), lo/10)
}
