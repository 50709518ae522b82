package stage

import (
	"encoding/binary"
	"math"
	"math/bits"
	"time"

	"github.com/weirlog/weir/record"
)

// A parsed time is believed within these bounds around the time the container
// runtime saw the line; else the runtime's stands.
const (
	maxBehind = 7 * 24 * time.Hour
	maxAhead  = time.Hour
	// A time without a zone is taken as UTC, and believed only as near to the
	// runtime's as no zone's offset brings it: offsets are multiples of 15
	// minutes, and a local time taken for UTC would be hours wrong.
	maxZoneless = 14 * time.Minute
)

// setTime gives r the parsed time if it is believable and reports whether it
// is.
func setTime(r *record.Record, t stamp, now time.Time) bool {
	ref := r.Observed
	if ref == 0 {
		ref = now.UnixNano()
	}
	// The reference is not near the ends of int64, so this does not overflow
	// unless the parsed time is absurd, and then the comparison says so.
	behind, ahead := int64(maxBehind), int64(maxAhead)
	if !t.zoned {
		behind, ahead = int64(maxZoneless), int64(maxZoneless)
	}
	if t.ns < ref-behind || t.ns > ref+ahead {
		return false
	}
	r.Time = t.ns
	r.Flags |= record.TimeParsed
	return true
}

// stamp is a parsed timestamp.
type stamp struct {
	ns    int64 // since the Unix epoch
	zoned bool  // the text said its zone, or needs none
}

// stamps parses timestamps. It remembers the last minute it saw written as in
// RFC 3339, as a time usually stands in the same as the one before it. The
// zero stamps is ready.
type stamps struct {
	w0, w1 uint64 // "2006-01-02T15:04"; w0 is 0 at first
	minute int64  // its nanoseconds since the epoch if the zone is UTC
}

// parse returns what parseStamp does.
func (c *stamps) parse(p []byte) (stamp, bool) {
	if len(p) < 20 {
		return parseStamp(p)
	}
	w0, w1 := binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
	if w0 != c.w0 || w1 != c.w1 || c.w0 == 0 || p[16] != ':' {
		t, ok := parseStamp(p)
		if ok && p[4] == p[7] && p[13] == ':' && p[16] == ':' { // a year stands first
			c.remember(p)
		}
		return t, ok
	}
	sec, ok := digits(p[17:19])
	if !ok || sec > 60 {
		return stamp{}, false
	}
	nsec, p := fraction(p[19:])
	offset, zoned, ok := zone(p)
	return stamp{c.minute + int64(sec-offset)*1e9 + int64(nsec), zoned}, ok
}

// remember keeps the minute that p, the text of a time that was parsed, begins
// with.
func (c *stamps) remember(p []byte) {
	if t, ok := parseStamp(append(append(make([]byte, 0, 20), p[:16]...), ":00Z"...)); ok {
		c.w0, c.w1 = binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
		c.minute = t.ns
	}
}

// parseStamp reads the timestamps that logging libraries write: RFC 3339 and
// its relatives (space for T, slashes in the date, comma before the fraction,
// zone as Z, ±hh:mm, ±hhmm, ±hh, UTC or missing), the access log's
// 02/Jan/2006:15:04:05 -0700, what date(1) and asctime(3) write (parseDate), and
// Unix times (parseUnix). The whole of p must be one.
func parseStamp(p []byte) (stamp, bool) {
	if len(p) >= 19 && p[4] == p[7] && (p[4] == '-' || p[4] == '/') {
		year, ok1 := digits(p[0:4])
		month, ok2 := digits(p[5:7])
		day, ok3 := digits(p[8:10])
		if !ok1 || !ok2 || !ok3 || p[10] != 'T' && p[10] != ' ' && p[10] != 't' {
			return stamp{}, false
		}
		return clock(year, month, day, p[11:])
	}
	if len(p) >= 20 && p[2] == '/' && p[6] == '/' && p[11] == ':' {
		day, ok1 := digits(p[0:2])
		month, ok2 := monthByName(p[3:6])
		year, ok3 := digits(p[7:11])
		if !ok1 || !ok2 || !ok3 {
			return stamp{}, false
		}
		return clock(year, month, day, p[12:])
	}
	if len(p) >= 24 && p[3] == ' ' && p[7] == ' ' && p[10] == ' ' {
		return parseDate(p)
	}
	return parseUnix(p)
}

// clock reads hh:mm:ss with fraction and zone and adds the date.
func clock(year, month, day int, p []byte) (stamp, bool) {
	sec, nsec, p, ok := timeOfDay(p)
	if !ok {
		return stamp{}, false
	}
	offset, zoned, ok := zone(p)
	if !ok {
		return stamp{}, false
	}
	ns, ok := unixNano(year, month, day, sec-offset, nsec)
	return stamp{ns, zoned}, ok
}

// timeOfDay reads hh:mm:ss[.fraction] and returns the seconds since midnight
// and what follows. A leap second counts as the next minute's first.
func timeOfDay(p []byte) (sec, nsec int, rest []byte, ok bool) {
	if len(p) < 8 || p[2] != ':' || p[5] != ':' {
		return 0, 0, nil, false
	}
	h, ok1 := digits(p[0:2])
	m, ok2 := digits(p[3:5])
	s, ok3 := digits(p[6:8])
	if !ok1 || !ok2 || !ok3 || h > 23 || m > 59 || s > 60 {
		return 0, 0, nil, false
	}
	nsec, rest = fraction(p[8:])
	return h*3600 + m*60 + s, nsec, rest, true
}

// fraction reads a fraction of a second, if p begins with one, and returns it
// in nanoseconds, and what follows. Digits behind the ninth add nothing.
func fraction(p []byte) (nsec int, rest []byte) {
	if len(p) < 2 || p[0] != '.' && p[0] != ',' || p[1]-'0' > 9 {
		return 0, p
	}
	i, scale := 1, 100_000_000
	if len(p) >= 9 {
		// Eight digits at once, zeros in the place of what is not there.
		w := binary.LittleEndian.Uint64(p[1:]) ^ zeros
		n := bits.TrailingZeros64((w+(0x80-10)*ones|w)&(0x80*ones)) >> 3
		w &= 1<<(8*n) - 1
		w = w*10 + w>>8 // pairs, in every second byte
		const pairs = 0x000000ff000000ff
		nsec = int(((w&pairs)*(100+1000000<<32)+(w>>16&pairs)*(1+10000<<32))>>32) * 10
		if i += n; n < 8 {
			return nsec, p[i:]
		}
		scale = 1
	}
	for ; i < len(p) && p[i]-'0' <= 9; i++ {
		nsec += int(p[i]-'0') * scale
		scale /= 10
	}
	return nsec, p[i:]
}

const (
	ones  = 0x0101010101010101
	zeros = '0' * ones
)

// zone reads a zone and returns its offset from UTC in seconds.
func zone(p []byte) (offset int, zoned, ok bool) {
	if len(p) == 0 {
		return 0, false, true
	}
	if p[0] == ' ' {
		p = p[1:]
	}
	if len(p) == 1 {
		return 0, true, p[0] == 'Z' || p[0] == 'z'
	}
	switch string(p) {
	case "UTC", "GMT":
		return 0, true, true
	}
	if len(p) < 3 || p[0] != '+' && p[0] != '-' {
		return 0, false, false
	}
	h, okH := digits(p[1:3])
	m, okM := 0, true
	switch {
	case len(p) == 3:
	case len(p) == 5:
		m, okM = digits(p[3:5])
	case len(p) == 6 && p[3] == ':':
		m, okM = digits(p[4:6])
	default:
		okM = false
	}
	if !okH || !okM || h > 15 || m > 59 {
		return 0, false, false
	}
	offset = h*3600 + m*60
	if p[0] == '-' {
		offset = -offset
	}
	return offset, true, true
}

// parseUnix reads a decimal number, fraction and exponent allowed, as a time
// since the Unix epoch in the unit that its magnitude tells: with ten digits
// before the point seconds, with 13 milliseconds, 16 microseconds, 19
// nanoseconds. So it knows the years 2001 to 2286.
func parseUnix(p []byte) (stamp, bool) {
	var (
		n     uint64 // all digits
		nd    int    // how many
		point = -1   // digits before the point
		i     int
	)
	for ; i < len(p); i++ {
		c := p[i] - '0'
		if c <= 9 {
			if nd < 19 {
				n = n*10 + uint64(c)
				nd++
			} else if point < 0 {
				return stamp{}, false
			}
			if nd == 1 && c == 0 {
				return stamp{}, false
			}
			continue
		}
		if p[i] == '.' && point < 0 && nd > 0 {
			point = nd
			continue
		}
		break
	}
	if nd == 0 {
		return stamp{}, false
	}
	if point < 0 {
		point = nd
	}
	if i < len(p) {
		// 1.763814667e+09
		if p[i]|0x20 != 'e' || i+1 >= len(p) {
			return stamp{}, false
		}
		i++
		if p[i] == '+' {
			i++
		}
		exp, ok := smallInt(p[i:])
		if !ok || exp > 30 {
			return stamp{}, false
		}
		point += exp
	}
	var unit int // nanoseconds of the unit as a power of ten
	switch point {
	case 10:
		unit = 9
	case 13:
		unit = 6
	case 16:
		unit = 3
	case 19:
		unit = 0
	default:
		return stamp{}, false
	}
	// The value is n·10^(point-nd) units.
	for e := point - nd + unit; e != 0; {
		if e > 0 {
			if n > math.MaxInt64/10 {
				return stamp{}, false
			}
			n *= 10
			e--
		} else {
			n /= 10
			e++
		}
	}
	if n > math.MaxInt64 {
		return stamp{}, false
	}
	return stamp{int64(n), true}, true
}

// unixNano returns the time of a date in the Gregorian calendar; ok is false
// for dates that do not exist or do not fit into an int64. sec may reach into
// the neighbouring days.
func unixNano(year, month, day, sec, nsec int) (ns int64, ok bool) {
	if year < 1678 || year > 2261 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return 0, false
	}
	// Years from March on, in eras of 400 years.
	y := year
	m := month - 3
	if m < 0 {
		m += 12
		y--
	}
	era, yoe := y/400, y%400
	doy := (153*m+2)/5 + day - 1
	days := era*146097 + yoe*365 + yoe/4 - yoe/100 + doy - 719468
	return (int64(days)*86400+int64(sec))*1e9 + int64(nsec), true
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

func monthByName(p []byte) (int, bool) {
	switch string(p) {
	case "Jan":
		return 1, true
	case "Feb":
		return 2, true
	case "Mar":
		return 3, true
	case "Apr":
		return 4, true
	case "May":
		return 5, true
	case "Jun":
		return 6, true
	case "Jul":
		return 7, true
	case "Aug":
		return 8, true
	case "Sep":
		return 9, true
	case "Oct":
		return 10, true
	case "Nov":
		return 11, true
	case "Dec":
		return 12, true
	}
	return 0, false
}

// digits returns the value of p, all digits and short.
func digits(p []byte) (n int, ok bool) {
	for _, c := range p {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
