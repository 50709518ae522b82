package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/config"
)

// rangeFlags are a range of time. --since and --until are stern's and kubectl's
// names, --from and --to logcli's; each takes a moment or how long ago it was.
type rangeFlags struct{ since, until, from, to string }

func (f *rangeFlags) add(cmd *cobra.Command) {
	c := cmd.Flags()
	c.StringVarP(&f.since, "since", "s", "", "from when: 15m, 2h or 7d (ago), 10:30, 2026-11-22, '2026-11-22 10:00', RFC 3339")
	c.StringVarP(&f.until, "until", "u", "", "up to when, likewise (default now)")
	c.StringVar(&f.from, "from", "", "the same as --since")
	c.StringVar(&f.to, "to", "", "the same as --until")
	cmd.MarkFlagsMutuallyExclusive("since", "from")
	cmd.MarkFlagsMutuallyExclusive("until", "to")
}

// timeRange is a range of time that people gave, or what stands for it.
type timeRange struct {
	now, from, to time.Time
	given, until  bool // a beginning, an end was given
}

// parse works out the range; from is zero and to is now if nothing was said.
func (f *rangeFlags) parse(now time.Time) (timeRange, error) {
	r := timeRange{now: now, to: now}
	var err error
	for _, e := range []struct{ name, text string }{{"--until", f.until}, {"--to", f.to}} {
		if e.text == "" {
			continue
		}
		if r.to, err = parseWhen(e.text, now); err != nil {
			return r, usageError("%s %s: %v", e.name, e.text, err)
		}
		r.until = true
	}
	for _, e := range []struct{ name, text string }{{"--since", f.since}, {"--from", f.from}} {
		if e.text == "" {
			continue
		}
		if r.from, err = parseWhen(e.text, now); err != nil {
			return r, usageError("%s %s: %v", e.name, e.text, err)
		}
		r.given = true
	}
	return r, r.check()
}

func (r *timeRange) check() error {
	if r.given && !r.from.Before(r.to) {
		return usageError("the range is empty: it goes from %s to %s", r.from.Format(time.RFC3339), r.to.Format(time.RFC3339))
	}
	return nil
}

// times works out the range of the query.
func (q *query) times() error {
	r, err := q.flags.rangeFlags.parse(q.now)
	if err != nil {
		return err
	}
	q.from, q.to, q.ranged, q.until = r.from, r.to, r.given, r.until
	if f := q.flags; f.step != "" {
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
	return nil
}

func parseSpan(s string) (time.Duration, error) {
	var d config.Duration
	if years, ok := strings.CutSuffix(s, "y"); ok { // as LogQL has them
		if n, err := strconv.ParseUint(years, 10, 8); err == nil {
			s = strconv.FormatUint(n*365, 10) + "d"
		}
	}
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
	// Without a year, as narrow terminals show it: of the last twelve months.
	for _, layout := range []string{"01-02 15:04:05.999999999", "01-02 15:04"} {
		if t, err := time.ParseInLocation("2006-"+layout, strconv.Itoa(now.Year())+"-"+text, now.Location()); err == nil {
			if t.After(now.AddDate(0, 0, 1)) {
				t = t.AddDate(-1, 0, 0)
			}
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
