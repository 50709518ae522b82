package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weirlog/weir/config"
)

// times works out the range of the query.
func (q *query) times() error {
	f := q.flags
	var err error
	q.to = q.now
	if f.to != "" {
		if q.to, err = parseWhen(f.to, q.now); err != nil {
			return usageError("--to %s: %v", f.to, err)
		}
	}
	switch {
	case f.since != "":
		d, err := parseSpan(f.since)
		if err != nil {
			return usageError("--since %s: %v", f.since, err)
		}
		q.from, q.ranged = q.now.Add(-d), true
	case f.from != "":
		if q.from, err = parseWhen(f.from, q.now); err != nil {
			return usageError("--from %s: %v", f.from, err)
		}
		q.ranged = true
	}
	if f.step != "" {
		if q.step, err = parseSpan(f.step); err != nil || q.step <= 0 {
			return usageError("--step %s: want a duration such as 30s or 5m", f.step)
		}
		if q.lines {
			return usageError("--step is for numbers; this query finds lines")
		}
		q.ranged = true
	}
	if q.ranged && q.from.IsZero() {
		q.from = q.to.Add(-time.Hour)
	}
	if q.ranged && !q.from.Before(q.to) {
		return usageError("the range is empty: it goes from %s to %s", q.from.Format(time.RFC3339), q.to.Format(time.RFC3339))
	}
	return nil
}

func parseSpan(s string) (time.Duration, error) {
	var d config.Duration
	if err := d.UnmarshalText([]byte(s)); err != nil {
		return 0, fmt.Errorf("want a duration such as 15m, 2h or 7d")
	}
	return time.Duration(d), nil
}

// parseWhen reads a moment.
func parseWhen(s string, now time.Time) (time.Time, error) {
	text := strings.TrimSuffix(strings.TrimSpace(s), " ago")
	switch text {
	case "now":
		return now, nil
	case "today", "yesterday":
		y, m, d := now.Date()
		if text == "yesterday" {
			d--
		}
		return time.Date(y, m, d, 0, 0, 0, 0, now.Location()), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"15:04:05.999999999", "15:04"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			y, m, d := now.Date()
			return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), now.Location()), nil
		}
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 {
		switch {
		case n < 1e11:
			return time.Unix(n, 0), nil
		case n < 1e14:
			return time.UnixMilli(n), nil
		}
		return time.Unix(0, n), nil
	}
	if d, err := parseSpan(strings.TrimPrefix(text, "-")); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("want a time such as 2026-11-22T10:00:00Z, '2026-11-22 10:00', 10:30 or 15m (ago)")
}
