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
	// abbreviated: the zone is a name, which says its offset for UTC and GMT only.
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
	zoned := l.zoned
	if l.abbreviated && !zoned {
		name, _ := t.Zone()
		zoned = name == "UTC" || name == "GMT" || name == "Z"
	}
	return stamp{t.UnixNano(), zoned}, true
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
