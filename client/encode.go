package client

import (
	"encoding"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Numbers of fields, of
// https://github.com/open-telemetry/opentelemetry-proto/tree/main/opentelemetry/proto
const (
	requestResourceLogs = 1

	logsResource = 1
	logsScope    = 2

	scopeRecords = 2

	resourceAttributes = 1

	recordTime         = 1
	recordSeverity     = 2
	recordSeverityText = 3
	recordBody         = 5
	recordAttributes   = 6
	recordDropped      = 7
	recordFlags        = 8
	recordTraceID      = 9
	recordSpanID       = 10
	recordObserved     = 11

	pairKey   = 1
	pairValue = 2

	anyString = 1
	anyBool   = 2
	anyInt    = 3
	anyDouble = 4
	anyList   = 6
	anyBytes  = 7

	listValues = 1
)

const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

func appendTag(dst []byte, num, typ byte) []byte { return append(dst, num<<3|typ) }

func appendStringField(dst []byte, num byte, s string) []byte {
	dst = binary.AppendUvarint(append(dst, num<<3|wireBytes), uint64(len(s)))
	return append(dst, s...)
}

// insertLen inserts, at at, the length of what stands behind it.
func insertLen(dst []byte, at int) []byte {
	n := len(dst) - at
	if n < 1<<7 { // what most are
		dst = append(dst, 0)
		copy(dst[at+1:], dst[at:])
		dst[at] = byte(n)
		return dst
	}
	var l [binary.MaxVarintLen64]byte
	k := binary.PutUvarint(l[:], uint64(n))
	dst = append(dst, l[:k]...)
	copy(dst[at+k:], dst[at:])
	copy(dst[at:], l[:k])
	return dst
}

// What gateways take of attributes: weir 128 and 64 KiB, with those it adds.
const (
	maxAttrs     = 110
	maxAttrBytes = 56 << 10
	maxValue     = 32 << 10
	maxDepth     = 32
)

// encoder writes one record at a time. It belongs to one goroutine at a time.
type encoder struct {
	c      *Client
	buf    []byte
	groups []string // open, for ReplaceAttr

	attrs, bytes int  // taken
	dropped      int  // that did not fit
	cut          bool // the message is
	cuts         int  // values that are

	shard  int
	prefix [12]byte // of ids; with n, never used twice
	n      uint32
}

func (e *encoder) newPrefix() {
	binary.LittleEndian.PutUint64(e.prefix[:], rand.Uint64())
	binary.LittleEndian.PutUint32(e.prefix[8:], rand.Uint32())
}

func (e *encoder) begin() {
	e.buf, e.groups = e.buf[:0], e.groups[:0]
	e.attrs, e.bytes, e.dropped, e.cut, e.cuts = 0, 0, 0, false, 0
}

// uidPair is the attribute with the id, up to its 32 digits.
const uidPair = "\x32\x34\x0a\x0elog.record.uid\x12\x22\x0a\x20"

const hexDigits = "0123456789abcdef"

func (e *encoder) uid() {
	e.n++
	if e.n == 0 {
		e.newPrefix()
	}
	e.buf = append(e.buf, uidPair...)
	for _, c := range e.prefix {
		e.buf = append(e.buf, hexDigits[c>>4], hexDigits[c&15])
	}
	for s := 28; s >= 0; s -= 4 {
		e.buf = append(e.buf, hexDigits[e.n>>s&15])
	}
}

// partialPair is weir.partial: true.
const partialPair = "\x32\x12\x0a\x0cweir.partial\x12\x02\x10\x01"

// levelText is weir's word for a severity number.
func levelText(n int) string {
	return [...]string{"trace", "debug", "info", "warn", "error", "fatal"}[(n-1)/4]
}

// severity is the severity number of a level: 4 apart as well, and Info is 9.
func severity(l slog.Level) int { return min(max(int(l), -8), 15) + 9 }

// record encodes r, as an element of ScopeLogs. Its time comes first, at timeAt:
// the shards are merged by it.
func (e *encoder) record(h *handler, r *slog.Record, t Trace, traced bool) {
	e.begin()
	e.buf = append(e.buf, scopeRecords<<3|wireBytes)
	at := len(e.buf)
	if r.Time.IsZero() {
		e.buf = binary.LittleEndian.AppendUint64(append(e.buf, recordObserved<<3|wireFixed64), uint64(time.Now().UnixNano()))
	} else {
		e.buf = binary.LittleEndian.AppendUint64(append(e.buf, recordTime<<3|wireFixed64), uint64(r.Time.UnixNano()))
	}
	n := severity(r.Level)
	e.buf = append(e.buf, recordSeverity<<3|wireVarint, byte(n))
	e.buf = appendStringField(e.buf, recordSeverityText, levelText(n))
	e.body(r.Message)
	if e.cut {
		e.buf = append(e.buf, partialPair...)
	}
	e.uid()
	for _, l := range h.levels {
		e.attrs += l.attrs
		e.bytes += len(l.pre)
		e.dropped += l.dropped
	}
	e.source(r)
	e.level(h, 0, r)
	if e.dropped > 0 {
		e.buf = binary.AppendUvarint(append(e.buf, recordDropped<<3|wireVarint), uint64(e.dropped))
	}
	if traced {
		e.buf = append(append(e.buf, recordTraceID<<3|wireBytes, 16), t.TraceID[:]...)
		if t.SpanID != [8]byte{} {
			e.buf = append(append(e.buf, recordSpanID<<3|wireBytes, 8), t.SpanID[:]...)
		}
		e.buf = append(e.buf, recordFlags<<3|wireFixed32, t.Flags, 0, 0, 0)
	}
	e.buf = insertLen(e.buf, at)
}

func (e *encoder) body(s string) {
	if limit := e.c.cfg.MaxRecord; len(s) > limit {
		s, e.cut = cutString(s, limit), true
	}
	e.buf = append(e.buf, recordBody<<3|wireBytes)
	at := len(e.buf)
	if utf8.ValidString(s) {
		e.buf = appendStringField(e.buf, anyString, s)
	} else {
		e.buf = appendStringField(e.buf, anyBytes, s)
	}
	e.buf = insertLen(e.buf, at)
}

// cutString returns the first n bytes of s, less if that is amid a rune.
func cutString(s string, n int) string {
	for k := range min(utf8.UTFMax, n) {
		if utf8.RuneStart(s[n-k]) {
			return s[:n-k]
		}
	}
	return s[:n]
}

// level writes what a handler has been given at the nth group, r's attributes if
// it is the last one, and the groups below.
func (e *encoder) level(h *handler, n int, r *slog.Record) {
	tag := pairTag(n)
	e.buf = append(e.buf, h.levels[n].pre...)
	if n == len(h.levels)-1 {
		r.Attrs(func(a slog.Attr) bool {
			e.attr(tag, a, n)
			return true
		})
		return
	}
	begin := len(e.buf)
	name := h.levels[n+1].name
	e.groups = append(e.groups, name)
	g := e.openGroup(tag, name)
	e.level(h, n+1, r)
	e.closeGroup(begin, g)
	e.groups = e.groups[:len(e.groups)-1]
}

// pairTag is the tag of an attribute in n groups: of a record, or of a list.
func pairTag(n int) byte {
	if n == 0 {
		return recordAttributes<<3 | wireBytes
	}
	return listValues<<3 | wireBytes
}

// group is where the lengths of an open group belong.
type group struct{ pair, value, list int }

func (e *encoder) openGroup(tag byte, name string) (g group) {
	e.buf = append(e.buf, tag)
	g.pair = len(e.buf)
	e.key(name)
	e.buf = append(e.buf, pairValue<<3|wireBytes)
	g.value = len(e.buf)
	e.buf = append(e.buf, anyList<<3|wireBytes)
	g.list = len(e.buf)
	return g
}

// closeGroup sets the lengths, or takes the group back to begin if it is empty.
func (e *encoder) closeGroup(begin int, g group) {
	if len(e.buf) == g.list {
		e.buf = e.buf[:begin]
		return
	}
	e.buf = insertLen(e.buf, g.list)
	e.buf = insertLen(e.buf, g.value)
	e.buf = insertLen(e.buf, g.pair)
}

func (e *encoder) key(s string) {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if len(s) > 1024 {
		s = cutString(s, 1024)
	}
	e.buf = appendStringField(e.buf, pairKey, s)
}

// attr writes an attribute that stands in depth groups.
func (e *encoder) attr(tag byte, a slog.Attr, depth int) {
	v := a.Value
	if v.Kind() == slog.KindLogValuer {
		v = v.Resolve()
	}
	if replace := e.c.cfg.ReplaceAttr; replace != nil && v.Kind() != slog.KindGroup {
		a = replace(e.groups, slog.Attr{Key: a.Key, Value: v})
		v = a.Value.Resolve()
	}
	if v.Kind() == slog.KindGroup {
		e.group(tag, a.Key, v.Group(), depth)
		return
	}
	if a.Key == "" && v.Kind() == slog.KindAny && v.Any() == nil {
		return
	}
	begin := len(e.buf)
	e.buf = append(e.buf, tag)
	at := len(e.buf)
	e.key(a.Key)
	e.buf = append(e.buf, pairValue<<3|wireBytes)
	val := len(e.buf)
	e.value(v)
	e.buf = insertLen(e.buf, val)
	e.buf = insertLen(e.buf, at)
	n := len(e.buf) - begin
	if e.attrs == maxAttrs || e.bytes+n > maxAttrBytes {
		e.buf = e.buf[:begin]
		e.dropped++
		return
	}
	e.attrs++
	e.bytes += n
}

func (e *encoder) group(tag byte, name string, attrs []slog.Attr, depth int) {
	if len(attrs) == 0 {
		return
	}
	if depth >= maxDepth {
		e.dropped++
		return
	}
	if name == "" {
		for _, a := range attrs {
			e.attr(tag, a, depth+1) // deeper, so that this comes to an end
		}
		return
	}
	begin := len(e.buf)
	e.groups = append(e.groups, name)
	g := e.openGroup(tag, name)
	for _, a := range attrs {
		e.attr(listValues<<3|wireBytes, a, depth+1)
	}
	e.closeGroup(begin, g)
	e.groups = e.groups[:len(e.groups)-1]
}

// value writes an AnyValue.
func (e *encoder) value(v slog.Value) {
	switch v.Kind() {
	case slog.KindString:
		e.str(v.String())
	case slog.KindInt64:
		e.int(v.Int64())
	case slog.KindUint64:
		if u := v.Uint64(); u <= math.MaxInt64 {
			e.int(int64(u))
		} else {
			e.str(strconv.FormatUint(u, 10))
		}
	case slog.KindFloat64:
		e.float(v.Float64())
	case slog.KindBool:
		e.bool(v.Bool())
	case slog.KindDuration:
		e.int(int64(v.Duration())) // nanoseconds, as slog's JSON
	case slog.KindTime:
		e.buf = append(e.buf, anyString<<3|wireBytes)
		at := len(e.buf)
		e.buf = v.Time().AppendFormat(e.buf, time.RFC3339Nano)
		e.buf = insertLen(e.buf, at)
	default:
		e.any(v.Any())
	}
}

func (e *encoder) int(n int64) {
	e.buf = binary.AppendUvarint(append(e.buf, anyInt<<3|wireVarint), uint64(n))
}

func (e *encoder) float(f float64) {
	e.buf = binary.LittleEndian.AppendUint64(append(e.buf, anyDouble<<3|wireFixed64), math.Float64bits(f))
}

func (e *encoder) bool(b bool) {
	n := byte(0)
	if b {
		n = 1
	}
	e.buf = append(e.buf, anyBool<<3|wireVarint, n)
}

func (e *encoder) str(s string) {
	if len(s) > maxValue {
		s = cutString(s, maxValue)
		e.cuts++
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	e.buf = appendStringField(e.buf, anyString, s)
}

// any writes what slog has no kind for, as slog's JSON does: an error as its
// text, anything else as what it is in JSON.
func (e *encoder) any(x any) {
	at := len(e.buf)
	defer func() {
		if p := recover(); p != nil {
			e.buf = e.buf[:at]
			if v := reflect.ValueOf(x); v.Kind() == reflect.Pointer && v.IsNil() {
				e.str("<nil>")
			} else {
				e.str(fmt.Sprintf("!PANIC: %v", p))
			}
		}
	}()
	switch x := x.(type) {
	case nil:
		return
	case []byte:
		if len(x) > maxValue {
			x = x[:maxValue]
			e.cuts++
		}
		e.buf = append(binary.AppendUvarint(append(e.buf, anyBytes<<3|wireBytes), uint64(len(x))), x...)
		return
	case json.Marshaler:
	case error:
		e.str(x.Error())
		return
	case encoding.TextMarshaler:
		if text, err := x.MarshalText(); err == nil {
			e.str(string(text))
		} else {
			e.str("!ERROR:" + err.Error())
		}
		return
	case *slog.Source:
		if x != nil {
			e.str(x.File + ":" + strconv.Itoa(x.Line))
		}
		return
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(x); err != nil {
		e.str("!ERROR:" + err.Error())
		return
	}
	e.json(strings.TrimSuffix(b.String(), "\n"))
}

// json writes a JSON value: a scalar as what it is, anything else as its text.
func (e *encoder) json(s string) {
	switch s[0] {
	case '"':
		var text string
		if json.Unmarshal([]byte(s), &text) == nil {
			s = text
		}
	case 't', 'f':
		e.bool(s[0] == 't')
		return
	case 'n':
		return
	case '{', '[':
	default:
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			e.int(n)
			return
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil && strings.ContainsAny(s, ".eE") {
			e.float(f)
			return
		}
	}
	e.str(s)
}

// sources holds the attributes of places in the program, encoded. There are only
// so many of them.
var sources sync.Map // uintptr → string

func (e *encoder) source(r *slog.Record) {
	if !e.c.cfg.AddSource || r.PC == 0 {
		return
	}
	s, ok := sources.Load(r.PC)
	if !ok {
		s, _ = sources.LoadOrStore(r.PC, encodeSource(r.PC))
	}
	e.buf = append(e.buf, s.(string)...)
	e.attrs += 3
	e.bytes += len(s.(string))
}

func encodeSource(pc uintptr) string {
	f, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	e := &encoder{c: &Client{}}
	// https://opentelemetry.io/docs/specs/semconv/registry/attributes/code/
	e.attr(pairTag(0), slog.String("code.file.path", f.File), 0)
	e.attr(pairTag(0), slog.Int("code.line.number", f.Line), 0)
	e.attr(pairTag(0), slog.String("code.function.name", f.Function), 0)
	return string(e.buf)
}
