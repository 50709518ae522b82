package stage

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// ParseConfig configures NewParse.
type ParseConfig struct {
	// Format is what bodies are: auto, json, logfmt, klog or none. "" is auto.
	Format string
	// Misses counts the records that are not json, logfmt or klog although the
	// format says so; nil: nobody counts.
	Misses *atomic.Uint64
}

// Parse finds out what a record's body is and takes from it what every record
// should know about itself: level, time, trace ids, whether it is UTF-8 and
// whether it is one JSON object. It never fails and drops nothing: what is not
// as expected is text.
//
// Whatever the format, a level or time that the record has already (a
// sender's) stays, and the body stays as it is, in one span; only format json
// takes off white space around an object. With auto and klog some values
// become fields: caller (klog), trace_id and span_id (klog, logfmt). Format
// logfmt makes fields of all pairs. Members of a JSON body never become fields.
//
// A piece of a split line (record.Partial, record.Continued) is text without
// level.
type Parse struct {
	format format
	misses misses
	scan   json.Scanner
	stamps stamps
	buf    []byte
}

type format uint8

const (
	auto format = iota
	jsonFormat
	logfmtFormat
	klogFormat
	noFormat
)

// NewParse returns the step for one of the formats.
func NewParse(c ParseConfig) (*Parse, error) {
	for i, name := range [...]string{auto: "auto", jsonFormat: "json", logfmtFormat: "logfmt", klogFormat: "klog", noFormat: "none"} {
		if c.Format == name || c.Format == "" {
			return &Parse{format: format(i), misses: misses{c.Misses}}, nil
		}
	}
	return nil, fmt.Errorf("parse: unknown format %q: want auto, json, logfmt, klog or none", c.Format)
}

// Process implements the step.
func (s *Parse) Process(b *record.Batch, now time.Time) error {
	each(b, now, s)
	return nil
}

func (s *Parse) record(b *record.Batch, i int, now time.Time) {
	r := b.Record(i)
	body, ok := begin(b, r)
	if !ok {
		setUTF8(r, body)
		return
	}
	s.one(b, i, r, body, now)
}

func (s *Parse) one(b *record.Batch, i int, r *record.Record, body []byte, now time.Time) {
	switch s.format {
	case auto:
		switch c := body[0]; {
		case c == '{' || c <= ' ':
			if s.object(r, body, now) {
				return
			}
		case c == 'I' || c == 'W' || c == 'E' || c == 'F':
			if s.klog(b, i, body, now) {
				break
			}
			fallthrough
		default:
			s.autoLogfmt(b, i, body, now)
		}
	case jsonFormat:
		if s.object(r, body, now) {
			return
		}
		s.misses.add()
	case logfmtFormat:
		if !s.logfmt(b, i, body, now) {
			s.misses.add()
		}
	case klogFormat:
		if !s.klog(b, i, body, now) {
			s.misses.add()
		}
	}
	setUTF8(r, body)
	if r.Severity == record.Unknown && s.format != noFormat {
		r.Severity = textLevel(body)
	}
}

func setUTF8(r *record.Record, body []byte) {
	if json.ValidUTF8(body) {
		r.Flags |= record.ValidUTF8
	} else {
		r.Flags |= record.InvalidUTF8
	}
}

// Names under which libraries write their level and time. The second sets are
// looked at only when nothing in the first could be used: applications have
// their own ideas of those.
var (
	levelKeys  = knownMask("level", "severity", "lvl", "loglevel", "log.level", "levelname", "severity_text")
	levelKeys2 = knownMask("priority")
	timeKeys   = knownMask("@timestamp", "time", "timestamp", "ts", "_time", "t")
	timeKeys2  = knownMask("eventTime", "datetime", "date")
	syslogKeys = knownMask("severity", "priority")
)

func knownMask(names ...string) uint64 {
	mask, all := json.KnownMask(names...)
	if !all {
		panic("stage: a name of " + fmt.Sprint(names) + " is not in wire/json's table")
	}
	return mask
}

// object treats the body as a JSON object and reports whether it is one as it
// stands. White space around one is not part of the object: format json takes
// it off, auto leaves the line as it was written, as text, but knows its level
// and time.
func (s *Parse) object(r *record.Record, body []byte, now time.Time) bool {
	text := trimSpace(body)
	if !s.scan.Object(text) {
		return false
	}
	s.levelAndTime(r, text, now)
	if len(text) != len(body) {
		if s.format != jsonFormat {
			return false
		}
		from := 0
		for body[from] != '{' {
			from++
		}
		r.Body = record.Span{Off: r.Body.Off + uint32(from), Len: uint32(len(text))}
	}
	r.Flags |= record.JSONObject | record.ValidUTF8
	r.KnownKeys = s.scan.Known
	return true
}

// trimSpace takes JSON's white space off both ends.
func trimSpace(p []byte) []byte {
	space := func(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
	for len(p) > 0 && space(p[0]) {
		p = p[1:]
	}
	for len(p) > 0 && space(p[len(p)-1]) {
		p = p[:len(p)-1]
	}
	return p
}

// levelAndTime takes both from the members of the object just scanned.
func (s *Parse) levelAndTime(r *record.Record, text []byte, now time.Time) {
	known := s.scan.Known
	needLevel, needTime := r.Severity == record.Unknown, !r.Flags.Has(record.TimeParsed)
	for _, keys := range [2][2]uint64{{levelKeys, timeKeys}, {levelKeys2, timeKeys2}} {
		var want uint64
		if needLevel {
			want |= keys[0]
		}
		if needTime {
			want |= keys[1]
		}
		want &= known
		// Members stand in the order of the text, and what is wanted usually
		// stands first.
		for j := 0; want != 0 && j < len(s.scan.Members); j++ {
			m := &s.scan.Members[j]
			bit := uint64(1) << m.Bit // 0 for NoBit
			if want&bit == 0 {
				continue
			}
			want &^= bit
			if m.ValEscaped || m.Kind > record.Float {
				continue
			}
			val := text[m.Val.Off:m.Val.End()]
			if keys[0]&bit != 0 {
				if sev, ok := memberLevel(val, bit); ok {
					r.Severity, needLevel = sev, false
					want &^= keys[0]
				}
			} else if t, ok := s.stamps.parse(val); ok && setTime(r, t, now) {
				needTime = false
				want &^= keys[1]
			}
		}
		if !needLevel && !needTime {
			return
		}
	}
}

// memberLevel parses a level, a word or a number, under the name of that bit.
func memberLevel(val []byte, bit uint64) (record.Severity, bool) {
	if len(val) == 0 {
		return 0, false
	}
	if val[0] > '9' {
		return ParseLevel(val)
	}
	n, ok := smallInt(val)
	if !ok {
		return 0, false
	}
	if sev, ok := numberLevel(n); ok {
		return sev, true
	}
	if bits.OnesCount64(bit&syslogKeys) == 1 {
		return syslogLevel(n)
	}
	return 0, false
}
