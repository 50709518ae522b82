package stage

// Timestamps reads the timestamps that logging libraries write: RFC 3339 and its
// relatives (a space for the T, slashes in the date, a comma before the
// fraction, any zone or none), access logs' 02/Jan/2006:15:04:05 -0700, and
// Unix times, whose unit their size tells. The zero Timestamps is ready; it is
// for one goroutine.
type Timestamps struct{ s stamps }

// Parse returns the time that the whole of p is, in nanoseconds since the Unix
// epoch. zoned is false if p does not say its zone: then it is taken as UTC.
func (t *Timestamps) Parse(p []byte) (ns int64, zoned, ok bool) {
	s, ok := t.s.parse(p)
	return s.ns, s.zoned, ok
}
