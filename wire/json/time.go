package json

// TimeLen is the number of bytes AppendTime appends.
const TimeLen = len("2006-01-02T15:04:05.000000000Z")

const digitPairs = "00010203040506070809" +
	"10111213141516171819" +
	"20212223242526272829" +
	"30313233343536373839" +
	"40414243444546474849" +
	"50515253545556575859" +
	"60616263646566676869" +
	"70717273747576777879" +
	"80818283848586878889" +
	"90919293949596979899"

// AppendTime appends the time, nanoseconds since the Unix epoch, in RFC 3339
// with always nine fractional digits, in UTC and without quotes:
// 2006-01-02T15:04:05.000000000Z. Every int64 has such a time (1677 to 2262).
func AppendTime(dst []byte, ns int64) []byte {
	const day = 24 * 60 * 60
	sec := ns / 1e9
	frac := ns % 1e9
	if frac < 0 {
		frac += 1e9
		sec--
	}
	days := sec / day
	rest := sec % day
	if rest < 0 {
		rest += day
		days--
	}
	y, m, d := civil(days)
	var b [TimeLen]byte
	two(b[0:], uint64(y)/100)
	two(b[2:], uint64(y)%100)
	b[4] = '-'
	two(b[5:], uint64(m))
	b[7] = '-'
	two(b[8:], uint64(d))
	b[10] = 'T'
	s := uint64(rest)
	two(b[11:], s/3600)
	b[13] = ':'
	two(b[14:], s/60%60)
	b[16] = ':'
	two(b[17:], s%60)
	b[19] = '.'
	f := uint64(frac)
	b[20] = '0' + byte(f/1e8)
	two(b[21:], f/1e6%100)
	two(b[23:], f/1e4%100)
	two(b[25:], f/100%100)
	two(b[27:], f%100)
	b[29] = 'Z'
	return append(dst, b[:]...)
}

func two(b []byte, n uint64) {
	b[1], b[0] = digitPairs[2*n+1], digitPairs[2*n]
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
