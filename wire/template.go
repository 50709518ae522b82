package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/record"
)

// Missing is what a template writes for a name without value and default.
const Missing = "unknown"

// Template makes a name (of an index, of a tenant) out of a record. It is
// immutable and safe for concurrent use.
//
//	${name}            a stream attribute (namespace, pod …), level, label_x_y,
//	                   annotation_x_y, or any other attribute or field
//	${name:-default}   the same with a value for when it is missing or empty
//	%Y %y %m %d %j     year, month, day, day of the year
//	%H %M %S %F        hour, minute, second, %Y-%m-%d
//	%G %V %u           ISO 8601 year, week and weekday
//	%%                 a percent sign
//
// Times are the record's, in UTC; the clock is never read, so a line that is
// read twice goes to the same index twice. A canonical attribute name is only
// ever looked up in the stream: a field cannot take its place. Values pass
// through the Sanitizer, so that nothing a program logs can form a name that
// the configuration does not mean.
type Template struct {
	parts  []templatePart
	rules  *Sanitizer
	period int64 // nanoseconds in which the time directives stay the same; 0: there are none
	record bool  // depends on more of the record than its stream and time
}

type templatePart struct {
	text string // literal, or name
	def  string
	verb byte // 'l' literal, 'v' value, or of strftime with the top bit set
}

const strftime = 0x80

// ParseTemplate parses a template for names that obey rules.
func ParseTemplate(s string, rules *Sanitizer) (*Template, error) {
	if rules == nil {
		return nil, errors.New("template: no rules for names")
	}
	t := &Template{rules: rules}
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			t.parts = append(t.parts, templatePart{verb: 'l', text: lit.String()})
			lit.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '%':
			i++
			if i == len(s) {
				return nil, fmt.Errorf("template %q: %% at the end; write %%%% for a percent sign", s)
			}
			if s[i] == '%' {
				lit.WriteByte('%')
				continue
			}
			p := verbPeriod(s[i])
			if p == 0 {
				return nil, fmt.Errorf("template %q: unknown time directive %%%c; known are %%Y %%y %%m %%d %%j %%H %%M %%S %%F %%G %%V %%u", s, s[i])
			}
			if t.period == 0 || p < t.period {
				t.period = p
			}
			flush()
			t.parts = append(t.parts, templatePart{verb: strftime | s[i]})
		case s[i] == '$' && i+1 < len(s) && s[i+1] == '{':
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				return nil, fmt.Errorf("template %q: ${ without }", s)
			}
			name, def, _ := strings.Cut(s[i+2:i+end], ":-")
			if err := checkVariable(name); err != nil {
				return nil, fmt.Errorf("template %q: %w", s, err)
			}
			if def != "" && !rules.fits(def) {
				return nil, fmt.Errorf("template %q: default %q is not allowed in %s", s, def, rules.what)
			}
			flush()
			t.parts = append(t.parts, templatePart{verb: 'v', text: name, def: def})
			if !IsAttr(name) && !strings.HasPrefix(name, "label_") && !strings.HasPrefix(name, "annotation_") {
				t.record = true
			}
			i += end
		default:
			lit.WriteByte(s[i])
		}
	}
	flush()
	if len(t.parts) == 0 {
		return nil, errors.New("template: empty")
	}
	for i, p := range t.parts {
		if p.verb != 'l' {
			continue
		}
		if !rules.fits(p.text) {
			return nil, fmt.Errorf("template %q: %q is not allowed in %s", s, p.text, rules.what)
		}
		if i == 0 && p.text[0] != '.' && strings.IndexByte(rules.noLead, p.text[0]) >= 0 {
			return nil, fmt.Errorf("template %q: %s must not begin with %q", s, rules.what, p.text[:1])
		}
	}
	if len(t.parts) == 1 && t.parts[0].verb == 'l' && (s == "." || s == ".." || len(s) > rules.max) {
		return nil, fmt.Errorf("template %q: not a name of %s", s, rules.what)
	}
	return t, nil
}

func checkVariable(name string) error {
	if name == "" {
		return errors.New("${} without a name")
	}
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c >= 0x7f || c == '$' || c == '{' || c == '"' || c == ':' {
			return fmt.Errorf("%q in the name %q", c, name)
		}
	}
	return nil
}

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
	hour   = int64(time.Hour)
	day    = 24 * hour
)

func verbPeriod(c byte) int64 {
	switch c {
	case 'Y', 'y', 'm', 'd', 'j', 'F', 'G', 'V', 'u':
		return day
	case 'H':
		return hour
	case 'M':
		return minute
	case 'S':
		return second
	}
	return 0
}

// Const reports whether the template makes the same name of every record.
func (t *Template) Const() bool { return len(t.parts) == 1 && t.parts[0].verb == 'l' }

// PerRecord reports whether two records of one stream and one time may have
// different names, because the template asks for a field or the level.
func (t *Template) PerRecord() bool { return t.record }

// Window returns the range of times, from ≤ ns < to, within which records of
// one stream have the same name as one of the time ns, provided the template
// is not PerRecord.
func (t *Template) Window(ns int64) (from, to int64) {
	if t.period == 0 {
		return math.MinInt64, math.MaxInt64
	}
	from = ns - mod(ns, t.period)
	if from > ns { // underflow at the beginning of time
		from = math.MinInt64
	}
	to = from + t.period
	if to < from {
		to = math.MaxInt64
	}
	return from, to
}

func mod(a, b int64) int64 {
	m := a % b
	if m < 0 {
		m += b
	}
	return m
}

// Append appends the name for record i.
func (t *Template) Append(dst []byte, b *record.Batch, i int) []byte {
	start := len(dst)
	var tm time.Time
	if t.period != 0 {
		tm = time.Unix(0, b.Record(i).Time).UTC()
	}
	for k := range t.parts {
		p := &t.parts[k]
		switch {
		case p.verb == 'l':
			dst = append(dst, p.text...)
		case p.verb == 'v':
			before := len(dst)
			dst = t.appendValue(dst, start, p.text, b, i)
			if len(dst) == before {
				if p.def != "" {
					dst = appendSafe(t.rules, dst, start, p.def)
				} else {
					dst = append(dst, Missing...)
				}
			}
		default:
			dst = appendTime(dst, p.verb&^strftime, tm)
		}
	}
	return t.rules.finish(dst, start)
}

// appendValue appends the sanitized value of the name, or nothing.
func (t *Template) appendValue(dst []byte, start int, name string, b *record.Batch, i int) []byte {
	if name == "level" {
		if s := b.Record(i).Severity; s != record.Unknown {
			dst = append(dst, s.Level()...)
		}
		return dst
	}
	if v := b.Stream(i).Get(name); v != "" {
		return appendSafe(t.rules, dst, start, v)
	}
	if IsAttr(name) {
		return dst
	}
	if f, ok := b.FindField(i, name); ok && f.Kind != record.Null {
		return appendSafe(t.rules, dst, start, b.Bytes(f.Val))
	}
	return dst
}

func appendTime(dst []byte, verb byte, tm time.Time) []byte {
	switch verb {
	case 'Y':
		return appendInt(dst, tm.Year(), 4)
	case 'y':
		return appendInt(dst, tm.Year()%100, 2)
	case 'm':
		return appendInt(dst, int(tm.Month()), 2)
	case 'd':
		return appendInt(dst, tm.Day(), 2)
	case 'j':
		return appendInt(dst, tm.YearDay(), 3)
	case 'H':
		return appendInt(dst, tm.Hour(), 2)
	case 'M':
		return appendInt(dst, tm.Minute(), 2)
	case 'S':
		return appendInt(dst, tm.Second(), 2)
	case 'F':
		dst = appendInt(dst, tm.Year(), 4)
		dst = append(dst, '-')
		dst = appendInt(dst, int(tm.Month()), 2)
		dst = append(dst, '-')
		return appendInt(dst, tm.Day(), 2)
	case 'G':
		y, _ := tm.ISOWeek()
		return appendInt(dst, y, 4)
	case 'V':
		_, w := tm.ISOWeek()
		return appendInt(dst, w, 2)
	case 'u':
		return appendInt(dst, (int(tm.Weekday())+6)%7+1, 1)
	}
	return dst
}

func appendInt(dst []byte, n, width int) []byte {
	var b [4]byte
	for k := width - 1; k >= 0; k-- {
		b[k] = byte('0' + n%10)
		n /= 10
	}
	return append(dst, b[:width]...)
}

// Sanitizer are the rules for one kind of name.
type Sanitizer struct {
	what   string    // for messages
	table  [256]byte // what each byte becomes
	noLead string    // bytes that must not come first
	max    int       // bytes
	extra  string    // bytes that the configuration's own text may hold besides
}

const nameBytes = "abcdefghijklmnopqrstuvwxyz0123456789-_."

// SanitizeIndex are the rules for names of Elasticsearch and OpenSearch
// indexes and data streams: of a value only lower-case letters, digits and
// "-_." remain, capitals become small, anything else an underscore; values do
// not put one of "-_+." at the beginning. A name of more than 255 bytes ends
// in a hash of the whole.
// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create
var SanitizeIndex = newSanitizer("an index name", nameBytes, true, "-_+.", 255)

// SanitizeTenant are the rules for tenant ids of Loki and Mimir: letters,
// digits and "!-_.*'()", at most 150 bytes; anything else in a value becomes an
// underscore, and a value does not begin with a dot.
// https://grafana.com/docs/loki/latest/operations/multi-tenancy/
var SanitizeTenant = newSanitizer("a tenant id", nameBytes+"ABCDEFGHIJKLMNOPQRSTUVWXYZ!*'()", false, ".", 150)

func newSanitizer(what, allowed string, fold bool, noLead string, maxLen int) *Sanitizer {
	s := &Sanitizer{what: what, noLead: noLead, max: maxLen}
	for i := range s.table {
		s.table[i] = '_'
	}
	for i := range len(allowed) {
		s.table[allowed[i]] = allowed[i]
	}
	if fold {
		for c := byte('A'); c <= 'Z'; c++ {
			s.table[c] = c + 'a' - 'A'
		}
	}
	return s
}

// fits reports whether text of the configuration may stand in a name.
func (s *Sanitizer) fits(text string) bool {
	for i := range len(text) {
		if s.table[text[i]] != text[i] && strings.IndexByte(s.extra, text[i]) < 0 {
			return false
		}
	}
	return true
}

// appendSafe appends what remains of a value; the name begins at start.
func appendSafe[T string | []byte](s *Sanitizer, dst []byte, start int, value T) []byte {
	for i := 0; i < len(value); i++ {
		c := s.table[value[i]]
		if len(dst) == start && strings.IndexByte(s.noLead, c) >= 0 {
			continue
		}
		if len(dst)-start > 4*s.max {
			break // the rest cannot make a difference worth its cost
		}
		dst = append(dst, c)
	}
	return dst
}

// finish makes a whole name fit.
func (s *Sanitizer) finish(dst []byte, start int) []byte {
	name := dst[start:]
	switch {
	case len(name) > s.max:
		h := xxh3.Hash(name)
		dst = append(dst[:start+s.max-17], '-')
		dst = binary.BigEndian.AppendUint64(dst, hex8(h>>32))
		dst = binary.BigEndian.AppendUint64(dst, hex8(h&(1<<32-1)))
	case len(name) == 0 || string(name) == "." || string(name) == "..":
		dst = append(dst[:start], Missing...)
	}
	return dst
}
