package line

import (
	"fmt"
	"strconv"
	"time"
)

// Times are the ways to show a time.
var Times = []string{"default", "short", "clock", "rfc3339", "relative", "none"}

// clock writes times. It keeps the text of the last second, as a line is usually
// in the same as the one before it.
type clock struct {
	layout   string
	fraction bool // milliseconds behind the second
	nanos    bool // the layout has the fraction
	relative bool
	zone     *time.Location
	now      func() time.Time

	second int64
	text   []byte // of the second; empty at first
}

func newClock(style string, zone *time.Location, now func() time.Time) (*clock, error) {
	c := &clock{zone: zone, now: now}
	if c.zone == nil {
		c.zone = time.Local
	}
	switch style {
	case "", "default":
		c.layout, c.fraction = "2006-01-02 15:04:05", true
	case "short": // stern's
		c.layout = "01-02 15:04:05"
	case "clock":
		c.layout, c.fraction = "15:04:05", true
	case "rfc3339":
		c.layout, c.nanos = "2006-01-02T15:04:05.000000000Z07:00", true
	case "relative":
		c.relative = true
		if c.now == nil {
			return nil, fmt.Errorf("times relative to now need a clock")
		}
	case "none":
	default:
		return nil, fmt.Errorf("no style of times %q: want default, short, clock, rfc3339, relative or none", style)
	}
	return c, nil
}

// append appends the time and a space, or nothing.
func (c *clock) append(dst []byte, ns int64) []byte {
	if c.relative {
		return append(appendAgo(dst, c.now().UnixNano()-ns), ' ')
	}
	if c.layout == "" {
		return dst
	}
	if c.nanos {
		return append(time.Unix(0, ns).In(c.zone).AppendFormat(dst, c.layout), ' ')
	}
	second, rest := ns/1e9, ns%1e9
	if rest < 0 {
		second--
		rest += 1e9
	}
	if second != c.second || len(c.text) == 0 {
		c.second = second
		c.text = time.Unix(second, 0).In(c.zone).AppendFormat(c.text[:0], c.layout)
	}
	dst = append(dst, c.text...)
	if c.fraction {
		ms := rest / 1e6
		dst = append(dst, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
	}
	return append(dst, ' ')
}

// appendAgo appends how long ago something was, in eight columns.
func appendAgo(dst []byte, ns int64) []byte {
	end := " ago"
	if ns < 0 {
		ns, end = -ns, " on " // clocks differ
	}
	var buf [24]byte
	b := buf[:0]
	switch d := time.Duration(ns); {
	case d < 0: // the smallest int64
		b = append(b, "ever"...)
	case d < time.Minute:
		b = append(strconv.AppendInt(b, int64(d/time.Second), 10), 's')
	case d < time.Hour:
		b = append(strconv.AppendInt(b, int64(d/time.Minute), 10), 'm')
	case d < 48*time.Hour:
		b = append(strconv.AppendInt(b, int64(d/time.Hour), 10), 'h')
	default:
		b = append(strconv.AppendInt(b, int64(d/(24*time.Hour)), 10), 'd')
	}
	for range 4 - len(b) {
		dst = append(dst, ' ')
	}
	return append(append(dst, b...), end...)
}
