package stage

import (
	"bytes"
	"time"

	"github.com/weirlog/weir/record"
)

// klogHeader is what stands before a klog message:
//
//	Lmmdd hh:mm:ss.uuuuuu threadid file:line] msg
//
// https://github.com/kubernetes/klog (klog.go, formatHeader)
type klogHeader struct {
	severity   record.Severity
	month, day int
	sec, nsec  int
	caller     record.Span // file:line, in the line
	end        int         // where the message begins
}

// parseKlog reads a klog (or glog) header at the beginning of p.
func parseKlog(p []byte) (h klogHeader, ok bool) {
	if len(p) < 25 || p[5] != ' ' || p[8] != ':' || p[14] != '.' {
		return h, false
	}
	switch p[0] {
	case 'I':
		h.severity = record.Info
	case 'W':
		h.severity = record.Warn
	case 'E':
		h.severity = record.Error
	case 'F':
		h.severity = record.Fatal
	default:
		return h, false
	}
	var ok1, ok2 bool
	h.month, ok1 = digits(p[1:3])
	h.day, ok2 = digits(p[3:5])
	if !ok1 || !ok2 {
		return h, false
	}
	var rest []byte
	if h.sec, h.nsec, rest, ok = timeOfDay(p[6:]); !ok {
		return h, false
	}
	// Spaces, the thread, a space.
	thread := bytes.TrimLeft(rest, " ")
	if len(thread) == len(rest) {
		return h, false
	}
	n := 0
	for n < len(thread) && thread[n]-'0' <= 9 {
		n++
	}
	if n == 0 || n == len(thread) || thread[n] != ' ' {
		return h, false
	}
	caller := thread[n+1:]
	from := len(p) - len(caller)
	// Up to the bracket there is a file name, a colon and a number.
	end := bytes.IndexByte(caller[:min(len(caller), 256)], ']')
	if end < 0 {
		return h, false
	}
	colon := bytes.LastIndexByte(caller[:end], ':')
	if colon <= 0 || colon+1 == end || bytes.IndexByte(caller[:end], ' ') >= 0 {
		return h, false
	}
	h.caller = record.Span{Off: uint32(from), Len: uint32(end)}
	h.end = from + end + 1
	if h.end < len(p) && p[h.end] == ' ' {
		h.end++
	}
	return h, true
}

// klog treats the body as a klog line and reports whether it is one.
func (s *Parse) klog(b *record.Batch, i int, body []byte, now time.Time) bool {
	h, ok := parseKlog(body)
	if !ok {
		return false
	}
	r := b.Record(i)
	if r.Severity == record.Unknown {
		r.Severity = h.severity
	}
	if !r.Flags.Has(record.TimeParsed) {
		if t, ok := h.time(r.Observed, now); ok {
			setTime(r, t, now)
		}
	}
	if key, ok := b.Key(callerKey); ok {
		setField(b, i, record.Field{Key: key, Kind: record.String, Val: record.Span{Off: r.Body.Off + h.caller.Off, Len: h.caller.Len}})
	}
	// Structured messages end in pairs: "Message" key="value".
	s.traceIDs(b, i, h.end)
	return true
}

var callerKey = []byte("caller")

// time completes the header's date with the year that brings it nearest to
// when the line was seen: a line of New Year's Eve may be seen in January.
func (h *klogHeader) time(observed int64, now time.Time) (stamp, bool) {
	if observed == 0 {
		observed = now.UnixNano()
	}
	year := time.Unix(0, observed).UTC().Year()
	const halfYear = 182 * 24 * int64(time.Hour)
	if ns, ok := unixNano(year, h.month, h.day, h.sec, h.nsec); ok && distance(ns, observed) < halfYear {
		return stamp{ns, false}, true // other years are further away
	}
	var best stamp
	found := false
	for y := year - 1; y <= year+1; y++ {
		ns, ok := unixNano(y, h.month, h.day, h.sec, h.nsec)
		if ok && (!found || distance(ns, observed) < distance(best.ns, observed)) {
			best, found = stamp{ns, false}, true
		}
	}
	return best, found
}

func distance(a, b int64) int64 {
	if a < b {
		a, b = b, a
	}
	return a - b
}
