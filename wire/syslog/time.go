package syslog

import "time"

// stamp reads times and remembers the last: messages come many in a second.
type stamp struct {
	zone *time.Location

	text [32]byte // of the last
	n    int
	year int // 0: it has none of its own
	near int64
	ns   int64
}

// digits returns the number that the n digits at p[i] are, negative if they are
// none.
func digits(p []byte, i, n int) int {
	if i+n > len(p) {
		return -1
	}
	v := 0
	for _, c := range p[i : i+n] {
		if c-'0' > 9 {
			return -1
		}
		v = v*10 + int(c-'0')
	}
	return v
}

// fraction reads up to nine digits behind a point or comma at p[i], and passes
// more.
func fraction(p []byte, i int) (ns int64, end int) {
	if i+1 >= len(p) || p[i] != '.' && p[i] != ',' || p[i+1]-'0' > 9 {
		return 0, i
	}
	unit := int64(100_000_000)
	for i++; i < len(p) && p[i]-'0' <= 9; i++ {
		ns += int64(p[i]-'0') * unit
		unit /= 10
	}
	return ns, i
}

// clock reads 15:04:05 at p[i].
func clock(p []byte, i int) (h, m, s int, ok bool) {
	if i+8 > len(p) || p[i+2] != ':' || p[i+5] != ':' {
		return 0, 0, 0, false
	}
	h, m, s = digits(p, i, 2), digits(p, i+3, 2), digits(p, i+6, 2)
	return h, m, s, uint(h) < 24 && uint(m) < 60 && uint(s) <= 60
}

// days returns the days from 1970-01-01 to the date, of the Gregorian calendar.
// https://howardhinnant.github.io/date_algorithms.html#days_from_civil
func days(y, m, d int) int64 {
	if m <= 2 {
		y--
	}
	era := y / 400
	yoe := y - era*400
	mp := (m + 9) % 12
	doy := (153*mp+2)/5 + d - 1
	return int64(era)*146097 + int64(yoe*365+yoe/4-yoe/100+doy) - 719468
}

var monthDays = [13]int{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

func leap(y int) bool { return y%4 == 0 && (y%100 != 0 || y%400 == 0) }

func validDate(y, m, d int) bool {
	return m >= 1 && m <= 12 && d >= 1 && d <= monthDays[m] && (m != 2 || d < 29 || leap(y))
}

// inZone returns the time with these civil numbers in the stamp's zone.
func (t *stamp) inZone(y, mo, d, h, mi, s int) int64 {
	if t.zone == nil || t.zone == time.UTC {
		return (days(y, mo, d)*86400 + int64(h*3600+mi*60+s)) * 1e9
	}
	return time.Date(y, time.Month(mo), d, h, mi, s, 0, t.zone).UnixNano()
}

// iso reads 2006-01-02T15:04:05.999Z at p[i]: RFC 3339, also with a space for the
// T, without a colon in the zone, or without a zone.
func (t *stamp) iso(p []byte, i int) (ns int64, end int, ok bool) {
	if i+19 > len(p) || p[i+4] != '-' || p[i+7] != '-' || p[i+10] != 'T' && p[i+10] != 't' && p[i+10] != ' ' {
		return 0, i, false
	}
	y, mo, d := digits(p, i, 4), digits(p, i+5, 2), digits(p, i+8, 2)
	h, mi, s, ok := clock(p, i+11)
	// Years that nanoseconds do not reach are no times.
	if !ok || y < 1700 || y > 2250 || !validDate(y, mo, d) {
		return 0, i, false
	}
	frac, end := fraction(p, i+19)
	if end < len(p) {
		switch c := p[end]; c {
		case 'Z', 'z':
			return (days(y, mo, d)*86400+int64(h*3600+mi*60+s))*1e9 + frac, end + 1, true
		case '+', '-':
			zh := digits(p, end+1, 2)
			at := end + 3
			if at < len(p) && p[at] == ':' {
				at++
			}
			zm := digits(p, at, 2)
			if uint(zh) > 23 || uint(zm) > 59 {
				return 0, i, false
			}
			off := zh*3600 + zm*60
			if c == '-' {
				off = -off
			}
			return (days(y, mo, d)*86400+int64(h*3600+mi*60+s-off))*1e9 + frac, at + 2, true
		}
	}
	if ns, hit := t.known(p[i:i+19], y, 0); hit {
		return ns + frac, end, true
	}
	ns = t.inZone(y, mo, d, h, mi, s)
	t.keep(p[i:i+19], y, 0, ns)
	return ns + frac, end, true
}

// known returns the time that the same text was last.
func (t *stamp) known(text []byte, year int, near int64) (int64, bool) {
	return t.ns, t.n == len(text) && t.year == year && t.near == near && string(t.text[:t.n]) == string(text)
}

func (t *stamp) keep(text []byte, year int, near, ns int64) {
	t.n = copy(t.text[:], text)
	t.year, t.near, t.ns = year, near, ns
}

// month returns the number of the month whose name is at p[i], 0 if none is.
func month(p []byte, i int) int {
	if i+4 > len(p) || p[i+3] != ' ' {
		return 0
	}
	switch uint32(p[i]|0x20)<<16 | uint32(p[i+1]|0x20)<<8 | uint32(p[i+2]|0x20) {
	case 'j'<<16 | 'a'<<8 | 'n':
		return 1
	case 'f'<<16 | 'e'<<8 | 'b':
		return 2
	case 'm'<<16 | 'a'<<8 | 'r':
		return 3
	case 'a'<<16 | 'p'<<8 | 'r':
		return 4
	case 'm'<<16 | 'a'<<8 | 'y':
		return 5
	case 'j'<<16 | 'u'<<8 | 'n':
		return 6
	case 'j'<<16 | 'u'<<8 | 'l':
		return 7
	case 'a'<<16 | 'u'<<8 | 'g':
		return 8
	case 's'<<16 | 'e'<<8 | 'p':
		return 9
	case 'o'<<16 | 'c'<<8 | 't':
		return 10
	case 'n'<<16 | 'o'<<8 | 'v':
		return 11
	case 'd'<<16 | 'e'<<8 | 'c':
		return 12
	}
	return 0
}

// ahead is how far a time without a year may be in the future, by clocks that are
// wrong and over New Year.
const ahead = 7 * 86400e9

// bsd reads Jan _2 15:04:05 at p[i], also with a year before or behind the clock
// and a fraction. Without a year it is the last such time before now, or a little after.
func (t *stamp) bsd(p []byte, i int, now int64) (ns int64, end int, ok bool) {
	mo := month(p, i)
	if mo == 0 {
		return 0, i, false
	}
	from := i
	i += 4
	for i < len(p) && p[i] == ' ' && i < from+6 {
		i++
	}
	d := digits(p, i, 2)
	switch {
	case d >= 0:
		i += 2
	default:
		if d = digits(p, i, 1); d < 0 {
			return 0, from, false
		}
		i++
	}
	if i >= len(p) || p[i] != ' ' {
		return 0, from, false
	}
	i++
	year := 0
	if y := digits(p, i, 4); y >= 1970 && i+5 < len(p) && p[i+4] == ' ' {
		year = y
		i += 5
	}
	h, mi, s, ok := clock(p, i)
	if !ok {
		return 0, from, false
	}
	i += 8
	text := p[from:i]
	frac, i := fraction(p, i)
	if y := digits(p, i+1, 4); year == 0 && y >= 1970 && y <= 2250 && p[i] == ' ' && (i+5 == len(p) || p[i+5] == ' ' || p[i+5] == ':') {
		year = y
		i += 5
	}
	if year > 2250 {
		return 0, from, false
	}
	// A day is near enough to know the year by.
	near := int64(0)
	if year == 0 {
		near = now/86400e9 + 1
	}
	if ns, hit := t.known(text, year, near); hit {
		return ns + frac, i, true
	}
	if year != 0 {
		if !validDate(year, mo, d) {
			return 0, from, false
		}
		ns = t.inZone(year, mo, d, h, mi, s)
	} else {
		found := false
		for y := time.Unix(0, now).UTC().Year() + 1; y > 1970 && !found; y-- {
			if validDate(y, mo, d) {
				ns = t.inZone(y, mo, d, h, mi, s)
				found = ns <= now+ahead
			}
		}
		if !found {
			return 0, from, false
		}
	}
	t.keep(text, year, near, ns)
	return ns + frac, i, true
}
