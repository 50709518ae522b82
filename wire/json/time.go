package json

import (
	"encoding/binary"
	"math"
	"slices"
)

// TimeLen is the number of bytes AppendTime appends.
const TimeLen = len("2006-01-02T15:04:05.000000000Z")

// Clock appends times. It keeps the text of the last minute it wrote, as a
// time is usually in the same as the one before it. The zero Clock is ready;
// it is for one goroutine.
type Clock struct {
	from int64  // the minute's first nanosecond since the Unix epoch
	size uint64 // of the minute, in nanoseconds; 0 at first: no time is in it
	text [len("2006-01-02T15:04:")]byte
}

const minute = 60_000_000_000

// Append appends the time, nanoseconds since the Unix epoch, in RFC 3339 with
// always nine fractional digits, in UTC and without quotes:
// 2006-01-02T15:04:05.000000000Z. Every int64 has such a time (1677 to 2262).
func (c *Clock) Append(dst []byte, ns int64) []byte {
	// The minutes at both ends of int64 reach out of it; the difference is
	// right nevertheless.
	in := uint64(ns) - uint64(c.from)
	if in >= c.size {
		c.set(ns)
		in = uint64(ns) - uint64(c.from)
	}
	sec, frac := in/1e9, in%1e9
	// In place: what is written in pieces is better not read at once.
	n := len(dst)
	dst = slices.Grow(dst, TimeLen)[:n+TimeLen]
	b := (*[TimeLen]byte)(dst[n:])
	copy(b[:], c.text[:])
	b[17], b[18] = '0'+byte(sec/10), '0'+byte(sec%10)
	b[19] = '.'
	binary.LittleEndian.PutUint64(b[20:], eightDigits(frac/10))
	b[28], b[29] = '0'+byte(frac%10), 'Z'
	return dst
}

// eightDigits returns the decimal digits of n, below 1e8, the first in the
// lowest byte. It halves all parts at once: by 10 000, 100 and 10.
func eightDigits(n uint64) uint64 {
	n = n/10000 | n%10000<<32
	q := n * 10486 >> 20 & 0x0000007f0000007f // n/100 of each half
	n = q | (n-q*100)<<16
	q = n * 103 >> 10 & 0x000f000f000f000f // n/10 of each quarter
	n = q | (n-q*10)<<8
	return n | '0'*lowBits
}

// set makes the minute that ns is in the clock's.
func (c *Clock) set(ns int64) {
	const day = 24 * 60
	m := ns / minute
	if ns%minute < 0 {
		m--
	}
	days := m / day
	rest := m % day
	if rest < 0 {
		rest += day
		days--
	}
	c.from, c.size = m*minute, minute
	if m == math.MaxInt64/minute || m == math.MinInt64/minute-1 {
		c.size = 0 // reaches out of int64: not kept
	}
	y, mo, d := civil(days)
	two := func(i int, n int64) { c.text[i], c.text[i+1] = '0'+byte(n/10), '0'+byte(n%10) }
	two(0, y/100)
	two(2, y%100)
	c.text[4] = '-'
	two(5, mo)
	c.text[7] = '-'
	two(8, d)
	c.text[10] = 'T'
	two(11, rest/60)
	c.text[13] = ':'
	two(14, rest%60)
	c.text[16] = ':'
}

// AppendTime appends what the Append of a new Clock does.
func AppendTime(dst []byte, ns int64) []byte {
	var c Clock
	return c.Append(dst, ns)
}

// civil returns the date of a day counted from 1970-01-01 in the proleptic
// Gregorian calendar. Years are counted from March, so that the leap day is
// the last of its year, in eras of 400 years.
func civil(days int64) (year, month, day int64) {
	const era = 146097 // days in 400 years
	z := days + 719468 // from 0000-03-01; positive for every int64 of nanoseconds
	n := z / era
	doe := z % era
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = doy - (153*mp+2)/5 + 1
	month = mp + 3
	year = n*400 + yoe
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}
