package stage

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirlog/weir/record"
)

// layout is a form of times that somebody has named.
type layout struct {
	text string // as package time reads it
	// abbreviated: the zone is a name, which says its offset for few (isUTC).
	abbreviated bool
	zoned       bool
	yearless    bool
	epoch       bool // seconds, or what parseUnix takes
}

// strftime maps directives of strftime(3), as fluentd, Fluent Bit and Vector take
// them, to Go's.
var strftime = map[byte]string{
	'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'e': "_2", 'b': "Jan", 'h': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday",
	'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'Z': "MST", 'z': "-0700", 'j': "002",
	'T': "15:04:05", 'R': "15:04", 'F': "2006-01-02", 'D': "01/02/06", 'n': "\n", 't': "\t", '%': "%",
}

// newLayout reads a form of times: directives of strftime(3), with %s for seconds
// since the epoch and %f, %L or %N for a fraction behind %S; or a layout of Go's
// package time, which has no percent sign.
func newLayout(form string) (*layout, error) {
	if form == "%s" {
		return &layout{epoch: true, zoned: true}, nil
	}
	text := form
	if strings.Contains(form, "%") {
		var b strings.Builder
		for i := 0; i < len(form); i++ {
			if form[i] != '%' {
				b.WriteByte(form[i])
				continue
			}
			i++
			if i == len(form) {
				return nil, fmt.Errorf("time %q: a percent sign stands at the end", form)
			}
			switch c := form[i]; c {
			case 'f', 'L', 'N': // Go reads a fraction behind seconds by itself
				s := strings.TrimRight(b.String(), ".,")
				if !strings.HasSuffix(s, "05") {
					return nil, fmt.Errorf("time %q: %%%c is for a fraction behind %%S", form, c)
				}
				b.Reset()
				b.WriteString(s)
			default:
				go_, ok := strftime[c]
				if !ok {
					return nil, fmt.Errorf("time %q: unknown directive %%%c", form, c)
				}
				b.WriteString(go_)
			}
		}
		text = b.String()
	}
	l := &layout{text: text}
	l.abbreviated = strings.Contains(text, "MST")
	l.zoned = strings.Contains(text, "-07") || strings.Contains(text, "Z07")
	l.yearless = !strings.Contains(text, "06")
	// What the layout writes, it must read.
	sample := time.Date(2026, 11, 23, 11, 5, 1, 0, time.UTC)
	if _, err := time.Parse(text, sample.Format(text)); err != nil {
		return nil, fmt.Errorf("time %q is no form of times: %w", form, err)
	}
	if sample.Format(text) == text {
		return nil, fmt.Errorf("time %q holds no part of a time: write it as in %%Y-%%m-%%d %%H:%%M:%%S", form)
	}
	return l, nil
}

// parse reads a time. ref is about when it was written, for forms without a year.
func (l *layout) parse(p []byte, ref time.Time) (stamp, bool) {
	if l.epoch {
		return parseUnix(p)
	}
	t, err := time.Parse(l.text, string(p))
	if err != nil {
		return stamp{}, false
	}
	if l.yearless {
		t = t.AddDate(ref.Year()-t.Year(), 0, 0)
		switch d := t.Sub(ref); {
		case d > 183*24*time.Hour:
			t = t.AddDate(-1, 0, 0)
		case d < -183*24*time.Hour:
			t = t.AddDate(1, 0, 0)
		}
	}
	if t.Year() < 1678 || t.Year() > 2261 {
		return stamp{}, false
	}
	if l.abbreviated && !l.zoned {
		// Package time knows the abbreviations of the zone that we run in.
		if name, _ := t.Zone(); !isUTC(name) && !strings.HasPrefix(name, "GMT") && t.Location() != time.Local {
			return stamp{}, false
		}
		return stamp{t.UnixNano(), true}, true
	}
	return stamp{t.UnixNano(), l.zoned}, true
}

// setNamedTime gives r the time that p says in that form, or, without a form, in
// whichever is known.
func setNamedTime(r *record.Record, l *layout, known *stamps, p []byte, now time.Time) bool {
	ref := now
	if r.Observed != 0 {
		ref = time.Unix(0, r.Observed)
	}
	var t stamp
	var ok bool
	if l == nil {
		t, ok = known.parse(p)
	} else {
		t, ok = l.parse(p, ref.UTC())
	}
	return ok && setTime(r, t, now)
}

// parseDate reads what date(1) writes in the POSIX locale, Mon Nov 23 11:05:01 UTC
// 2026, with an offset in place of UTC, too, or, as asctime(3) does, with none. Other
// abbreviations of zones do not say when it was.
func parseDate(p []byte) (stamp, bool) {
	month, ok1 := monthByName(p[4:7])
	day, ok2 := digits(p[9:10])
	if p[8] != ' ' {
		day, ok2 = digits(p[8:10])
	}
	year, ok3 := digits(p[len(p)-4:])
	sec, nsec, rest, ok4 := timeOfDay(p[11 : len(p)-5])
	if !ok1 || !ok2 || !ok3 || !ok4 || p[len(p)-5] != ' ' {
		return stamp{}, false
	}
	if len(rest) == 1 || len(rest) > 1 && rest[0] != ' ' {
		return stamp{}, false
	}
	offset, zoned, ok := zone(rest)
	if !ok {
		return stamp{}, false
	}
	ns, ok := unixNano(year, month, day, sec-offset, nsec)
	return stamp{ns, zoned}, ok
}

// isUTC reports whether an abbreviation of a zone means UTC. No other says its
// offset: CST is that of Chicago and that of Shanghai.
func isUTC(name string) bool { return name == "UTC" || name == "GMT" || name == "Z" }
