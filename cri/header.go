package cri

import (
	"encoding/binary"
	"math"
)

// header is what stands before the message of a CRI line.
type header struct {
	s       int  // 0 stdout, 1 stderr
	more    bool // tagged P
	body    int  // where the message begins
	time    int64
	timeLen int
	badTime bool // the time is right but does not fit into int64 nanoseconds
}

// clock parses times. It remembers the last minute and zone it saw, as nearly
// all lines share theirs with the line before.
type clock struct {
	valid  bool
	w0, w1 uint64 // "2006-01-02T15:04"
	minute int64  // its ns since the epoch, zone applied
	zone   uint64 // "+07:00", or "Z"
	zlen   int
}

// As they are read from the line in little-endian order.
const (
	stdoutF = 'F'<<56 | ' '<<48 | 't'<<40 | 'u'<<32 | 'o'<<24 | 'd'<<16 | 't'<<8 | 's'
	stderrF = 'F'<<56 | ' '<<48 | 'r'<<40 | 'r'<<32 | 'e'<<24 | 'd'<<16 | 't'<<8 | 's'
)

// usual recognises the header that nearly all lines have: a time in the same
// minute as the line before with nine digits of fraction, tag F. body is where
// the message begins; 0 means that header has to look.
func (c *clock) usual(line []byte) (s, body int, t int64) {
	if len(line) < 40 || !c.valid {
		return 0, 0, 0
	}
	if binary.LittleEndian.Uint64(line) != c.w0 || binary.LittleEndian.Uint64(line[8:]) != c.w1 || line[16] != ':' || line[19] != '.' {
		return 0, 0, 0
	}
	s1, s0, f8 := line[17]-'0', line[18]-'0', line[28]-'0'
	frac, ok := digits8(binary.LittleEndian.Uint64(line[20:]))
	if s1 > 5 || s0 > 9 || f8 > 9 || !ok {
		return 0, 0, 0
	}
	h := 30
	if c.zlen == 1 {
		if line[29] != 'Z' {
			return 0, 0, 0
		}
	} else {
		if binary.LittleEndian.Uint64(line[29:])&(1<<48-1) != c.zone || len(line) < 45 {
			return 0, 0, 0
		}
		h = 35
	}
	if line[h] != ' ' || line[h+9] != ' ' {
		return 0, 0, 0
	}
	switch binary.LittleEndian.Uint64(line[h+1:]) {
	case stdoutF:
	case stderrF:
		s = 1
	default:
		return 0, 0, 0
	}
	t = c.minute + int64(s1*10+s0)*1e9 + int64(frac)*10 + int64(f8)
	return s, h + 10, t
}

// digits8 returns the value of eight decimal digits, the first in the lowest
// byte.
func digits8(w uint64) (uint64, bool) {
	const zeros, high = 0x3030303030303030, 0xf0f0f0f0f0f0f0f0
	if w&high != zeros || (w+0x0606060606060606)&high != zeros {
		return 0, false
	}
	w -= zeros
	w = w*10 + w>>8 // pairs, in every second byte
	const mask = 0x000000ff000000ff
	return ((w&mask)*(100+1000000<<32) + (w>>16&mask)*(1+10000<<32)) >> 32, true
}

// maxTags bounds the part of a header behind its time, in bytes.
const maxTags = 256

// header parses the header of a CRI line: a time, a blank, stdout or stderr, a
// blank, the tag P or F with further tags behind colons, a blank. The last
// blank may be missing if the line is whole and nothing follows.
func (c *clock) header(line []byte, whole bool) (h header, ok bool) {
	t, n, st := c.time(line)
	if st == timeNone || len(line) < n+9 || line[n] != ' ' {
		return h, false
	}
	h.time, h.timeLen, h.badTime = t, n, st == timeFar
	switch string(line[n+1 : n+8]) {
	case "stdout ":
	case "stderr ":
		h.s = 1
	default:
		return h, false
	}
	i := n + 8
	switch line[i] {
	case 'F':
	case 'P':
		h.more = true
	default:
		return h, false
	}
	i++
	if i < len(line) && line[i] == ':' {
		for i < len(line) && i < n+maxTags && line[i] != ' ' {
			i++
		}
	}
	switch {
	case i < len(line) && line[i] == ' ':
		i++
	case i < len(line) || !whole:
		return h, false
	}
	h.body = i
	return h, true
}

type timeStatus uint8

const (
	timeNone timeStatus = iota // there is no time
	timeFar                    // it does not fit into int64 nanoseconds
	timeOK
)

// time parses the RFC 3339 time at the beginning of p: years 0001 to 9999, up
// to 18 digits of fraction (those behind the ninth are ignored), Z or an
// offset up to 23:59, second 60. n is its length. A time that fits fills the
// cache.
func (c *clock) time(p []byte) (t int64, n int, st timeStatus) {
	if len(p) < 20 || p[4] != '-' || p[7] != '-' || p[10] != 'T' || p[13] != ':' || p[16] != ':' {
		return 0, 0, timeNone
	}
	y1, ok1 := digits2(p[0:])
	y2, ok2 := digits2(p[2:])
	mo, ok3 := digits2(p[5:])
	d, ok4 := digits2(p[8:])
	hh, ok5 := digits2(p[11:])
	mm, ok6 := digits2(p[14:])
	ss, ok7 := digits2(p[17:])
	y := y1*100 + y2
	if !(ok1 && ok2 && ok3 && ok4 && ok5 && ok6 && ok7) || y == 0 || mo == 0 || mo > 12 || d == 0 || d > daysIn(y, mo) || hh > 23 || mm > 59 || ss > 60 {
		return 0, 0, timeNone
	}
	i := 19
	frac := 0
	if p[i] == '.' {
		i++
		scale := 100_000_000
		for ; i < len(p) && p[i]-'0' <= 9; i++ {
			frac += int(p[i]-'0') * scale
			scale /= 10
		}
		if i == 20 || i > 20+maxDigits || i == len(p) {
			return 0, 0, timeNone
		}
	}
	offset, zlen := 0, 1
	var zone uint64 = 'Z'
	switch p[i] {
	case 'Z':
	case '+', '-':
		if len(p) < i+6 || p[i+3] != ':' {
			return 0, 0, timeNone
		}
		oh, ok1 := digits2(p[i+1:])
		om, ok2 := digits2(p[i+4:])
		if !ok1 || !ok2 || oh > 23 || om > 59 {
			return 0, 0, timeNone
		}
		offset = oh*60 + om
		if p[i] == '-' {
			offset = -offset
		}
		zlen, zone = 6, 0
		for k := range 6 {
			zone |= uint64(p[i+k]) << (8 * k)
		}
	default:
		return 0, 0, timeNone
	}
	n = i + zlen
	minute := ((daysFromCivil(y, mo, d)*24+int64(hh))*60 + int64(mm) - int64(offset)) * 60
	// One minute of room at both ends.
	if minute < math.MinInt64/1_000_000_000+60 || minute > math.MaxInt64/1_000_000_000-120 {
		return 0, n, timeFar
	}
	c.valid = true
	c.w0, c.w1 = binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
	c.minute, c.zone, c.zlen = minute*1e9, zone, zlen
	return c.minute + int64(ss)*1e9 + int64(frac), n, timeOK
}

const maxDigits = 18

func digits2(p []byte) (int, bool) {
	a, b := p[0]-'0', p[1]-'0'
	return int(a)*10 + int(b), a <= 9 && b <= 9
}

func daysIn(y, m int) int {
	switch m {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// daysFromCivil returns the days from 1970-01-01 to the given date of the
// proleptic Gregorian calendar. The year is taken to begin in March, so that
// the leap day is its last.
func daysFromCivil(y, m, d int) int64 {
	if m <= 2 {
		y--
		m += 12
	}
	era := y / 400
	yoe := y - era*400
	doy := (153*(m-3)+2)/5 + d - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return int64(era)*146097 + int64(doe) - 719468
}
