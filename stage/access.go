package stage

import (
	"bytes"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/record"
)

// Access is a parser for the access logs of nginx and Apache, in the common and in
// the combined log format:
//
//	192.0.2.1 - alice [23/Nov/2026:11:05:01 +0000] "GET /a HTTP/1.1" 200 1234 "https://example.com/" "curl/8"
//
// https://httpd.apache.org/docs/current/logs.html#accesslog,
// https://nginx.org/en/docs/http/ngx_http_log_module.html
//
// Fields are remote_addr, user, method, path, protocol, status, bytes, referer and
// user_agent, those that are not "-". The level follows the status: error from 500
// on, warn from 400 on, else info. The body stays as it is. What follows behind the
// user agent is left alone. Other lines pass on as they are, and count.
type Access struct {
	stamps stamps
	misses misses
}

// AccessConfig configures NewAccess.
type AccessConfig struct {
	// Misses counts the records that are no access log; nil: nobody counts.
	Misses *atomic.Uint64
}

// NewAccess returns the parser.
func NewAccess(c AccessConfig) *Access { return &Access{misses: misses{c.Misses}} }

// Process implements the step.
func (s *Access) Process(b *record.Batch, now time.Time) error {
	each(b, now, s)
	return nil
}

func (s *Access) record(b *record.Batch, i int, now time.Time) {
	r := b.Record(i)
	body, ok := begin(b, r)
	setUTF8(r, body)
	if !ok || s.one(b, i, r, body, now) {
		return
	}
	s.misses.add()
	if r.Severity == record.Unknown {
		r.Severity = textLevel(body)
	}
}

// cursor walks over a line.
type cursor struct {
	p  []byte
	at int
}

// until returns what stands before the next c, and goes behind it.
func (w *cursor) until(c byte) (from, to int, ok bool) {
	n := bytes.IndexByte(w.p[w.at:], c)
	if n < 0 {
		return 0, 0, false
	}
	from, to = w.at, w.at+n
	w.at = to + 1
	return from, to, true
}

// skip goes over c.
func (w *cursor) skip(c byte) bool {
	if w.at < len(w.p) && w.p[w.at] == c {
		w.at++
		return true
	}
	return false
}

// quoted returns what stands between quotes; a backslash takes the next byte with it.
func (w *cursor) quoted() (from, to int, ok bool) {
	if !w.skip('"') {
		return 0, 0, false
	}
	from = w.at
	for i := from; i < len(w.p); i++ {
		switch w.p[i] {
		case '\\':
			i++
		case '"':
			w.at = i + 1
			return from, i, true
		}
	}
	return 0, 0, false
}

// number returns digits, or a dash.
func (w *cursor) number() (from, to int, ok bool) {
	from = w.at
	for w.at < len(w.p) && w.p[w.at]-'0' <= 9 {
		w.at++
	}
	if w.at == from && !w.skip('-') {
		return 0, 0, false
	}
	return from, w.at, w.at == len(w.p) || w.p[w.at] == ' '
}

func (s *Access) one(b *record.Batch, i int, r *record.Record, body []byte, now time.Time) bool {
	w := cursor{p: body}
	hostFrom, hostTo, ok := w.until(' ')
	if !ok || hostFrom == hostTo {
		return false
	}
	if _, _, ok = w.until(' '); !ok { // the identity of RFC 1413, which nobody has
		return false
	}
	userFrom := w.at
	n := bytes.Index(body[userFrom:], []byte(" [")) // a user may hold spaces
	if n < 1 {
		return false
	}
	userTo := userFrom + n
	w.at = userTo + 2
	timeFrom, timeTo, ok := w.until(']')
	if !ok || !w.skip(' ') {
		return false
	}
	reqFrom, reqTo, ok := w.quoted()
	if !ok || !w.skip(' ') {
		return false
	}
	statusFrom, statusTo, ok := w.number()
	if !ok || statusTo-statusFrom != 3 || !w.skip(' ') {
		return false
	}
	bytesFrom, bytesTo, ok := w.number()
	if !ok {
		return false
	}
	t, ok := s.stamps.parse(body[timeFrom:timeTo])
	if !ok {
		return false
	}
	off := r.Body.Off // SetField may move the buffer, but not what stands in it
	set := func(name string, kind record.Kind, from, to int) {
		if to > from && (to-from != 1 || body[from] != '-') {
			b.SetField(i, name, kind, record.Span{Off: off + uint32(from), Len: uint32(to - from)})
		}
	}
	set("remote_addr", record.String, hostFrom, hostTo)
	set("user", record.String, userFrom, userTo)
	request := body[reqFrom:reqTo]
	if a, z := bytes.IndexByte(request, ' '), bytes.LastIndexByte(request, ' '); a > 0 && z > a {
		set("method", record.String, reqFrom, reqFrom+a)
		set("path", record.String, reqFrom+a+1, reqFrom+z)
		set("protocol", record.String, reqFrom+z+1, reqTo)
	} else {
		set("request", record.String, reqFrom, reqTo)
	}
	set("status", kindOf(record.Int, body[statusFrom:statusTo]), statusFrom, statusTo)
	if kindOf(record.Int, body[bytesFrom:bytesTo]) == record.Int {
		set("bytes", record.Int, bytesFrom, bytesTo)
	}
	for _, name := range []string{"referer", "user_agent"} {
		if !w.skip(' ') {
			break
		}
		from, to, ok := w.quoted()
		if !ok {
			break
		}
		set(name, record.String, from, to)
	}
	if !r.Flags.Has(record.TimeParsed) {
		setTime(r, t, now)
	}
	if r.Severity == record.Unknown {
		switch body[statusFrom] {
		case '5':
			r.Severity = record.Error
		case '4':
			r.Severity = record.Warn
		default:
			r.Severity = record.Info
		}
	}
	return true
}
