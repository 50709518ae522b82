package output

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MaxRetryAfter is the longest wait a destination can ask for; more is cut to
// this.
const MaxRetryAfter = 10 * time.Minute

// parseRetryAfter reads a Retry-After header, seconds or a date (RFC 9110,
// section 10.2.3). What it cannot read, and the past, is 0.
func parseRetryAfter(v string, now time.Time) time.Duration {
	v = strings.TrimSpace(v)
	if v == "" {
		return 0
	}
	if isDigits(v) {
		s, err := strconv.ParseInt(v, 10, 64)
		if err != nil || s > int64(MaxRetryAfter/time.Second) {
			return MaxRetryAfter // out of range is still a wish to wait
		}
		return time.Duration(s) * time.Second
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return capRetryAfter(t.Sub(now))
}

func capRetryAfter(d time.Duration) time.Duration { return min(max(d, 0), MaxRetryAfter) }

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
