package stage

import (
	"bytes"
	"time"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

const (
	// logfmtWindow is how much of a line decides whether it is logfmt, and
	// where level and time are looked for, in bytes.
	logfmtWindow = 256
	// maxFields and maxKeyLen bound what a line can add to a record; what is
	// beyond stays in the body only.
	maxFields = 1000
	maxKeyLen = 256
)

// pair is a key and its value in a logfmt line, as offsets into the line. The
// value of a quoted pair stands between its quotes.
type pair struct {
	key, val record.Span
	bare     bool // a key without "="
	escaped  bool // the value holds escapes
}

// nextPair reads the pair at or behind p[i] and returns where to go on. ok is
// false at the end of the line and where it is not logfmt.
func nextPair(p []byte, i int) (kv pair, next int, ok bool) {
	for i < len(p) && p[i] <= ' ' {
		i++
	}
	start := i
	for i < len(p) && p[i] > ' ' && p[i] != '=' && p[i] != '"' {
		i++
	}
	if i == start || i < len(p) && p[i] == '"' {
		return kv, i, false
	}
	kv.key = record.Span{Off: uint32(start), Len: uint32(i - start)}
	if i == len(p) || p[i] != '=' {
		kv.bare = true
		return kv, i, true
	}
	i++
	if i < len(p) && p[i] == '"' {
		i++
		start = i
		for i < len(p) && p[i] != '"' {
			if p[i] == '\\' {
				kv.escaped = true
				i++
			}
			i++
		}
		if i >= len(p) {
			return kv, len(p), false
		}
		kv.val = record.Span{Off: uint32(start), Len: uint32(i - start)}
		return kv, i + 1, true
	}
	start = i
	for i < len(p) && p[i] > ' ' {
		i++
	}
	kv.val = record.Span{Off: uint32(start), Len: uint32(i - start)}
	return kv, i, true
}

// role is what a logfmt key is for.
type role uint8

const (
	plain role = iota
	levelRole
	timeRole
	messageRole
	traceRole
	spanRole
)

func roleOf(key []byte) role {
	switch string(key) {
	case "level", "lvl", "severity", "loglevel", "log.level":
		return levelRole
	case "ts", "time", "timestamp", "@timestamp", "t":
		return timeRole
	case "msg", "message":
		return messageRole
	case "trace_id", "traceID", "traceId", "traceid", "trace.id", "dd.trace_id":
		return traceRole
	case "span_id", "spanID", "spanId", "spanid", "span.id", "dd.span_id":
		return spanRole
	}
	return plain
}

// autoLogfmt takes level, time and trace ids from a body that looks like
// logfmt: it begins with a key and "=", and its beginning holds a level, a
// message or at least three pairs.
func (s *Parse) autoLogfmt(b *record.Batch, i int, body []byte, now time.Time) bool {
	if !beginsWithKey(body) {
		return false
	}
	var level, when pair
	pairs, sure := 0, false
	for at := 0; at < len(body) && at < logfmtWindow && (level.key.Len == 0 || when.key.Len == 0); {
		kv, next, ok := nextPair(body, at)
		if !ok {
			break
		}
		at = next
		if kv.bare {
			continue
		}
		pairs++
		switch roleOf(body[kv.key.Off:kv.key.End()]) {
		case levelRole:
			level, sure = kv, true
		case timeRole:
			when = kv
		case messageRole:
			sure = true
		}
	}
	if !sure && pairs < 3 {
		return false
	}
	r := b.Record(i)
	if level.key.Len > 0 {
		takeLevel(r, body[level.val.Off:level.val.End()])
	}
	if when.key.Len > 0 {
		s.takeTime(r, body[when.val.Off:when.val.End()], now)
	}
	s.traceIDs(b, i, 0)
	return true
}

// beginsWithKey reports whether p begins with a short name and "=".
func beginsWithKey(p []byte) bool {
	for i, c := range p[:min(len(p), 48)] {
		if class[c]&isWord == 0 && c != '.' && c != '-' && c != '@' && c != '/' {
			return c == '=' && i > 0
		}
	}
	return false
}

func takeLevel(r *record.Record, val []byte) bool {
	sev, ok := memberLevel(val, 0)
	if ok && r.Severity == record.Unknown {
		r.Severity = sev
	}
	return ok
}

func (s *Parse) takeTime(r *record.Record, val []byte, now time.Time) bool {
	if r.Flags.Has(record.TimeParsed) {
		return false
	}
	t, ok := s.stamps.parse(val)
	return ok && setTime(r, t, now)
}

// holdsID reports whether the key of a pair in p could end in "id", as those of
// all ids do. Most messages have no pairs at all, and looking for a byte is
// several times faster than for a word.
func holdsID(p []byte) bool {
	for at := 0; ; at++ {
		i := bytes.IndexByte(p[at:], '=')
		if i < 0 {
			return false
		}
		if at += i; at >= 2 && p[at-1]|0x20 == 'd' && p[at-2]|0x20 == 'i' {
			return true
		}
	}
}

// traceIDs makes fields of the trace and span id among the pairs of the body
// from that offset on.
func (s *Parse) traceIDs(b *record.Batch, i, from int) {
	span := b.Record(i).Body
	body := b.Bytes(span)
	if !holdsID(body[from:]) {
		return
	}
	for at := from; at < len(body); {
		kv, next, ok := nextPair(body, at)
		if !ok {
			// A quoted message, as klog's, or something else: go on behind it.
			at = skipQuoted(body, next)
			continue
		}
		at = next
		if kv.bare || kv.escaped || kv.val.Len == 0 {
			continue
		}
		name := ""
		switch roleOf(body[kv.key.Off:kv.key.End()]) {
		case traceRole:
			name = "trace_id"
		case spanRole:
			name = "span_id"
		default:
			continue
		}
		b.SetField(i, name, record.String, record.Span{Off: span.Off + kv.val.Off, Len: kv.val.Len})
	}
}

// skipQuoted returns the offset behind the quoted text at p[i], or behind p[i]
// if there is none.
func skipQuoted(p []byte, i int) int {
	if i >= len(p) || p[i] != '"' {
		return i + 1
	}
	for i++; i < len(p) && p[i] != '"'; i++ {
		if p[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// logfmt makes fields of all pairs of the body. Pairs that became the record's
// level and time are not repeated as fields; of a key that stands twice the
// last value counts. It reports whether there was a pair.
func (s *Parse) logfmt(b *record.Batch, i int, body []byte, now time.Time) (some bool) {
	off := b.Record(i).Body.Off
	for at, n := 0, 0; at < len(body) && n < maxFields; n++ {
		kv, next, ok := nextPair(body, at)
		if !ok {
			return some
		}
		at = next
		key, val := body[kv.key.Off:kv.key.End()], body[kv.val.Off:kv.val.End()]
		if kv.bare || len(key) > maxKeyLen {
			continue // a word of prose, as far as anybody can tell
		}
		some = true
		name := ""
		switch roleOf(key) {
		case levelRole:
			if takeLevel(b.Record(i), val) {
				continue
			}
		case timeRole:
			if s.takeTime(b.Record(i), val, now) {
				continue
			}
		case traceRole:
			name = "trace_id"
		case spanRole:
			name = "span_id"
		}
		span := record.Span{Off: off + kv.val.Off, Len: kv.val.Len}
		if kv.escaped {
			s.buf = json.Unescape(s.buf[:0], val)
			span = b.Append(s.buf)
		}
		if name != "" {
			b.SetField(i, name, record.String, span)
			continue
		}
		k, ok := b.Key(key)
		if !ok {
			continue // the key table is full: the value stays in the body
		}
		setField(b, i, record.Field{Key: k, Kind: record.String, Val: span})
	}
	return some
}

// setField is Batch.SetField for a key that is in the table already.
func setField(b *record.Batch, i int, f record.Field) {
	fs := b.Fields(i)
	for j := range fs {
		if fs[j].Key == f.Key {
			fs[j] = f
			return
		}
	}
	b.AddField(i, f)
}
