package api

import (
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weirlog/weir/logql"
)

// Defaults of parameters, as Loki has them.
const (
	defaultLimit      = 100
	defaultQueryRange = time.Hour
	defaultNamesRange = 6 * time.Hour
	defaultPoints     = 250 // steps of a range query that names none
)

// parseTime reads a time as Loki does: Unix nanoseconds, Unix seconds (up to
// ten digits, or with a fraction), or RFC 3339.
func parseTime(s string) (int64, bool) {
	if strings.Contains(s, ".") {
		if ns, ok := parseDecimalSeconds(s); ok {
			return ns, true
		}
		if f, ok := parseFloat(s); ok {
			return floatNanos(f)
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if len(s) <= 10 {
			return n * 1e9, true
		}
		return n, true
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1678 || t.Year() > 2261 {
		return 0, false
	}
	return t.UnixNano(), true
}

// parseDecimalSeconds reads digits, a point and digits, exactly.
func parseDecimalSeconds(s string) (int64, bool) {
	whole, frac, _ := strings.Cut(s, ".")
	if whole == "" || len(whole) > 10 || !digits(whole) || !digits(frac) {
		return 0, false
	}
	sec, _ := strconv.ParseInt(whole, 10, 64)
	frac = (frac + "000000000")[:9]
	ns, _ := strconv.ParseInt(frac, 10, 64)
	if sec > math.MaxInt64/1_000_000_000-1 {
		return 0, false
	}
	return sec*1e9 + ns, true
}

// parseFloat reads a decimal number: not the words and the hexadecimal forms
// that Go knows.
func parseFloat(s string) (float64, bool) {
	if strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func floatNanos(f float64) (int64, bool) {
	ns := f * 1e9
	if math.IsNaN(ns) || ns >= math.MaxInt64 || ns <= math.MinInt64 {
		return 0, false
	}
	return int64(ns), true
}

// parseDuration reads a number of seconds or a duration: 1h30m, 1.5h, 2d, 1w.
func parseDuration(s string) (time.Duration, bool) {
	if f, ok := parseFloat(s); ok {
		ns, ok := floatNanos(f)
		return time.Duration(ns), ok
	}
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	if s == "" {
		return 0, false
	}
	var sum float64
	for s != "" {
		n := 0
		for n < len(s) && (s[n] >= '0' && s[n] <= '9' || s[n] == '.') {
			n++
		}
		num, err := strconv.ParseFloat(s[:n], 64)
		if err != nil {
			return 0, false
		}
		s = s[n:]
		n = 0
		for n < len(s) && (s[n] < '0' || s[n] > '9') && s[n] != '.' {
			n++
		}
		unit, ok := units[s[:n]]
		if !ok {
			return 0, false
		}
		s = s[n:]
		sum += num * float64(unit)
	}
	if neg {
		sum = -sum
	}
	if sum >= math.MaxInt64 || sum <= math.MinInt64 {
		return 0, false
	}
	return time.Duration(sum), true
}

var units = map[string]time.Duration{
	"ns": 1, "us": time.Microsecond, "µs": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour,
	"d": 24 * time.Hour, "w": 7 * 24 * time.Hour, "y": 365 * 24 * time.Hour,
}

// bounds returns start and end. without is how far before the end the start is
// if no parameter says it.
func (s *Server) bounds(q *request, without time.Duration) (start, end int64, err error) {
	end = q.now
	if v := q.form.Get("end"); v != "" {
		var ok bool
		if end, ok = parseTime(v); !ok {
			return 0, 0, badRequest("could not parse 'end' parameter: %s is neither Unix nanoseconds, Unix seconds nor RFC 3339", quote(v))
		}
	}
	if v := q.form.Get("since"); v != "" {
		d, ok := parseDuration(v)
		if !ok || d < 0 {
			return 0, 0, badRequest("could not parse 'since' parameter: %s is no duration such as 30m, 6h or 2d", quote(v))
		}
		without = d
	}
	start = sub(min(end, q.now), int64(without))
	if v := q.form.Get("start"); v != "" {
		var ok bool
		if start, ok = parseTime(v); !ok {
			return 0, 0, badRequest("could not parse 'start' parameter: %s is neither Unix nanoseconds, Unix seconds nor RFC 3339", quote(v))
		}
	}
	if end < start {
		return 0, 0, badRequest("end timestamp must not be before or equal to start time")
	}
	if r := s.cfg.Limits.Range; r > 0 && sub(end, start) > int64(r) {
		return 0, 0, badRequest("the query time range exceeds the limit (query length: %v, limit: %v)", time.Duration(sub(end, start)), r)
	}
	return start, end, nil
}

// sub is a−b, at the ends of what an int64 holds where it holds no more.
func sub(a, b int64) int64 {
	d := a - b
	if (a < b) == (d < 0) {
		return d
	}
	if a < b {
		return math.MinInt64
	}
	return math.MaxInt64
}

// quote shows a parameter's value in an error, shortened.
func quote(v string) string {
	const most = 80
	if len(v) > most {
		v = v[:most] + "…"
	}
	return strconv.Quote(v)
}

// positive returns the parameter as a number of at most most, or what it is
// without.
func positive(form url.Values, name string, without, most int) (int, error) {
	v := form.Get(name)
	if v == "" {
		return min(without, most), nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, badRequest("could not parse '%s' parameter: %s is no number", name, quote(v))
	}
	if n <= 0 {
		return 0, badRequest("%s must be a positive value", name)
	}
	if n > most {
		return 0, badRequest("max entries limit per query exceeded, %s > %d (%d)", name, most, n)
	}
	return n, nil
}

func direction(form url.Values) (logql.Order, error) {
	switch v := form.Get("direction"); strings.ToLower(v) {
	case "", "backward":
		return logql.Backward, nil
	case "forward":
		return logql.Forward, nil
	default:
		return 0, badRequest("invalid direction %s: forward or backward", quote(v))
	}
}

// step returns the distance of a range query's points.
func step(form url.Values, start, end int64) (int64, error) {
	v := form.Get("step")
	if v == "" {
		return max(1, sub(end, start)/int64(time.Second)/defaultPoints) * int64(time.Second), nil
	}
	d, ok := parseDuration(v)
	if !ok {
		return 0, badRequest("could not parse 'step' parameter: %s is neither a number of seconds nor a duration", quote(v))
	}
	if d <= 0 {
		return 0, badRequest("zero or negative query resolution step widths are not accepted. Try a positive integer")
	}
	if sub(end, start)/int64(d) > logql.MaxSteps {
		return 0, badRequest("exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter")
	}
	return int64(d), nil
}

// interval returns how far apart the entries of a stream must be at least.
func interval(form url.Values) (int64, error) {
	v := form.Get("interval")
	if v == "" {
		return 0, nil
	}
	d, ok := parseDuration(v)
	if !ok || d < 0 {
		return 0, badRequest("could not parse 'interval' parameter: %s is neither a number of seconds nor a duration", quote(v))
	}
	return int64(d), nil
}
