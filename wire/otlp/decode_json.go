package otlp

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// transcoder writes a request in OTLP's JSON as protobuf, so that there is one
// reading of what it says. It follows protojson's mapping (names as in JSON or as
// in the schema, 64-bit numbers as numbers or strings, null for nothing) with
// OTLP's differences: trace and span ids are hexadecimal, members that are not
// known are passed over.
// https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
// https://protobuf.dev/programming-guides/json/
type transcoder struct {
	r   json.Reader
	p   []byte
	out []byte
	at  [3]int // resource, scope and record at hand
	buf []byte
}

// jsonKind is how a member is written in JSON.
type jsonKind uint8

const (
	jsonMessage jsonKind = iota
	jsonString
	jsonBase64
	jsonHex
	jsonBool
	jsonInt     // a varint
	jsonFixed64 // of an unsigned number
	jsonFixed32
	jsonDouble
	jsonSeverity // a varint, or the name of the enumeration's value
)

// jsonField is a member: the number of the field, and of a message its members.
type jsonField struct {
	num      protowire.Number
	kind     jsonKind
	repeated bool
	of       *map[string]jsonField // jsonMessage
	level    int                   // 1, 2, 3: its elements are the resources, scopes, records
}

// both adds a member under its name in JSON and in the schema.
func both(m map[string]jsonField, camel, snake string, f jsonField) {
	m[camel], m[snake] = f, f
}

var jsonRequest, jsonResourceLogs, jsonResource, jsonScopeLogs, jsonScope, jsonRecord, jsonPair, jsonAny, jsonArray, jsonList map[string]jsonField

func init() {
	attributes := func(num protowire.Number) jsonField {
		return jsonField{num: num, repeated: true, of: &jsonPair}
	}
	jsonRequest = map[string]jsonField{}
	both(jsonRequest, "resourceLogs", "resource_logs", jsonField{num: requestResourceLogs, repeated: true, of: &jsonResourceLogs, level: 1})
	jsonResourceLogs = map[string]jsonField{"resource": {num: logsResource, of: &jsonResource}}
	both(jsonResourceLogs, "scopeLogs", "scope_logs", jsonField{num: logsScope, repeated: true, of: &jsonScopeLogs, level: 2})
	jsonResource = map[string]jsonField{"attributes": attributes(resourceAttributes)}
	jsonScopeLogs = map[string]jsonField{"scope": {num: scopeScope, of: &jsonScope}}
	both(jsonScopeLogs, "logRecords", "log_records", jsonField{num: scopeRecords, repeated: true, of: &jsonRecord, level: 3})
	jsonScope = map[string]jsonField{
		"name": {num: scopeName, kind: jsonString}, "version": {num: scopeVersion, kind: jsonString}, "attributes": attributes(scopeAttributes),
	}
	jsonRecord = map[string]jsonField{"body": {num: recordBody, of: &jsonAny}, "attributes": attributes(recordAttributes), "flags": {num: recordFlags, kind: jsonFixed32}}
	both(jsonRecord, "timeUnixNano", "time_unix_nano", jsonField{num: recordTime, kind: jsonFixed64})
	both(jsonRecord, "observedTimeUnixNano", "observed_time_unix_nano", jsonField{num: recordObserved, kind: jsonFixed64})
	both(jsonRecord, "severityNumber", "severity_number", jsonField{num: recordSeverity, kind: jsonSeverity})
	both(jsonRecord, "severityText", "severity_text", jsonField{num: recordSeverityText, kind: jsonString})
	both(jsonRecord, "droppedAttributesCount", "dropped_attributes_count", jsonField{num: recordDropped, kind: jsonInt})
	both(jsonRecord, "traceId", "trace_id", jsonField{num: recordTraceID, kind: jsonHex})
	both(jsonRecord, "spanId", "span_id", jsonField{num: recordSpanID, kind: jsonHex})
	both(jsonRecord, "eventName", "event_name", jsonField{num: recordEventName, kind: jsonString})
	jsonPair = map[string]jsonField{"key": {num: pairKey, kind: jsonString}, "value": {num: pairValue, of: &jsonAny}}
	jsonAny = map[string]jsonField{}
	both(jsonAny, "stringValue", "string_value", jsonField{num: anyString, kind: jsonString})
	both(jsonAny, "boolValue", "bool_value", jsonField{num: anyBool, kind: jsonBool})
	both(jsonAny, "intValue", "int_value", jsonField{num: anyInt, kind: jsonInt})
	both(jsonAny, "doubleValue", "double_value", jsonField{num: anyDouble, kind: jsonDouble})
	both(jsonAny, "bytesValue", "bytes_value", jsonField{num: anyBytes, kind: jsonBase64})
	both(jsonAny, "arrayValue", "array_value", jsonField{num: anyArray, of: &jsonArray})
	both(jsonAny, "kvlistValue", "kvlist_value", jsonField{num: anyList, of: &jsonList})
	jsonArray = map[string]jsonField{"values": {num: listValues, repeated: true, of: &jsonAny}}
	jsonList = map[string]jsonField{"values": {num: listValues, repeated: true, of: &jsonPair}}
}

// request writes the request p as protobuf. The result is valid until the next
// call; strings of p with escapes are resolved in place.
func (t *transcoder) request(p []byte) ([]byte, error) {
	t.p, t.out, t.at = p, t.out[:0], [3]int{}
	if cap(t.out) > maxKept {
		t.out = nil
	}
	t.r.Reset(p)
	err := t.message(jsonRequest)
	t.r.End()
	if err == nil {
		err = t.r.Err()
	}
	t.r.Reset(nil)
	t.p = nil
	if err == nil {
		return t.out, nil
	}
	for i, what := range [...]string{"record", "scope", "resource"} {
		if n := t.at[2-i]; n > 0 {
			err = fmt.Errorf("%s %d: %w", what, n, err)
		}
	}
	return nil, err
}

// maxKept is how much memory a transcoder keeps from one request to the next.
const maxKept = 16 << 20

// message writes the members of the object that comes.
func (t *transcoder) message(fields map[string]jsonField) error {
	if !t.r.Enter('{') {
		return t.r.Err()
	}
	for {
		s, esc, more := t.r.Name()
		if !more {
			return t.r.Err()
		}
		name := t.text(s, esc)
		f, known := fields[string(name)]
		if !known || t.r.Kind() == 'n' {
			t.r.Skip()
			continue
		}
		if err := t.field(f); err != nil {
			if f.of != nil {
				return err // the innermost name is what helps
			}
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

func (t *transcoder) field(f jsonField) error {
	if !f.repeated {
		return t.one(f)
	}
	if !t.r.Enter('[') {
		return t.r.Err()
	}
	for t.r.More() {
		if f.level > 0 {
			t.at[f.level-1]++
		}
		if err := t.one(f); err != nil {
			return err
		}
	}
	if f.level > 0 && t.r.Err() == nil {
		t.at[f.level-1] = 0
	}
	return t.r.Err()
}

// text returns what a string of the text means.
func (t *transcoder) text(s record.Span, esc bool) []byte {
	p := t.p[s.Off:s.End()]
	if esc {
		p = json.UnescapeInPlace(p)
	}
	return p
}

// one writes one value of a field.
func (t *transcoder) one(f jsonField) error {
	switch f.kind {
	case jsonMessage:
		if t.r.Kind() == 'n' { // in an array: the empty message
			t.r.Scalar()
			t.bytes(f.num, nil)
			return t.r.Err()
		}
		// The length is written when it is known, in as many bytes as any takes.
		t.out = protowire.AppendTag(t.out, f.num, protowire.BytesType)
		t.out = append(t.out, 0x80, 0x80, 0x80, 0x80, 0)
		from := len(t.out)
		if err := t.message(*f.of); err != nil {
			return err
		}
		n := len(t.out) - from
		for i := range 4 {
			t.out[from-5+i] |= byte(n >> (7 * i) & 0x7f)
		}
		t.out[from-1] = byte(n >> 28)
		return nil
	case jsonString, jsonBase64, jsonHex:
		s, esc, ok := t.r.String()
		if !ok {
			return t.r.Err()
		}
		return t.str(f, t.text(s, esc))
	case jsonBool:
		s, kind, ok := t.r.Scalar()
		if !ok {
			return t.r.Err()
		}
		if kind != record.Bool {
			return fmt.Errorf("neither true nor false")
		}
		n := uint64(0)
		if t.p[s.Off] == 't' {
			n = 1
		}
		t.out = protowire.AppendVarint(protowire.AppendTag(t.out, f.num, protowire.VarintType), n)
		return nil
	}
	// Numbers, which may be strings.
	var text []byte
	if t.r.Kind() == '"' {
		s, esc, ok := t.r.String()
		if !ok {
			return t.r.Err()
		}
		text = t.text(s, esc)
	} else {
		s, kind, ok := t.r.Scalar()
		if !ok {
			return t.r.Err()
		}
		if kind != record.Int && kind != record.Float {
			return fmt.Errorf("not a number")
		}
		text = t.p[s.Off:s.End()]
	}
	return t.number(f, text)
}

func (t *transcoder) bytes(num protowire.Number, p []byte) {
	t.out = protowire.AppendBytes(protowire.AppendTag(t.out, num, protowire.BytesType), p)
}

func (t *transcoder) str(f jsonField, p []byte) (err error) {
	switch f.kind {
	case jsonHex:
		if t.buf, err = hex.AppendDecode(t.buf[:0], p); err != nil {
			return fmt.Errorf("not hexadecimal digits")
		}
		p = t.buf
	case jsonBase64:
		// Both alphabets, with and without padding.
		for len(p) > 0 && p[len(p)-1] == '=' {
			p = p[:len(p)-1]
		}
		for i, c := range p {
			switch c {
			case '-':
				p[i] = '+'
			case '_':
				p[i] = '/'
			}
		}
		if t.buf, err = base64.RawStdEncoding.AppendDecode(t.buf[:0], p); err != nil {
			return fmt.Errorf("not base64")
		}
		p = t.buf
	}
	t.bytes(f.num, p)
	return nil
}

func (t *transcoder) number(f jsonField, p []byte) error {
	switch f.kind {
	case jsonDouble:
		var x float64
		switch string(p) {
		case "NaN":
			x = math.NaN()
		case "Infinity":
			x = math.Inf(1)
		case "-Infinity":
			x = math.Inf(-1)
		default:
			var err error
			if x, err = strconv.ParseFloat(string(p), 64); err != nil || x-x != 0 {
				return fmt.Errorf("not a number: %q", p[:min(len(p), 40)])
			}
		}
		t.out = protowire.AppendTag(t.out, f.num, protowire.Fixed64Type)
		t.out = binary.LittleEndian.AppendUint64(t.out, math.Float64bits(x))
		return nil
	case jsonSeverity:
		if n, ok := severityNames[string(p)]; ok {
			t.out = protowire.AppendVarint(protowire.AppendTag(t.out, f.num, protowire.VarintType), n)
			return nil
		}
	}
	n, neg, ok := integer(p)
	if !ok || neg && f.kind != jsonInt || !neg && f.kind == jsonInt && n > math.MaxInt64 || f.kind == jsonFixed32 && n > math.MaxUint32 {
		return fmt.Errorf("not an integer that fits: %q", p[:min(len(p), 40)])
	}
	switch f.kind {
	case jsonFixed64:
		t.out = protowire.AppendFixed64(protowire.AppendTag(t.out, f.num, protowire.Fixed64Type), n)
	case jsonFixed32:
		t.out = protowire.AppendFixed32(protowire.AppendTag(t.out, f.num, protowire.Fixed32Type), uint32(n))
	default:
		t.out = protowire.AppendVarint(protowire.AppendTag(t.out, f.num, protowire.VarintType), n)
	}
	return nil
}

// integer parses a whole number, which JSON may also write as 1.0 or 1e3; n is
// in two's complement if it is negative.
func integer(p []byte) (n uint64, neg, ok bool) {
	if len(p) > 40 {
		return 0, false, false
	}
	s := string(p)
	if s != "" && s[0] == '-' {
		i, err := strconv.ParseInt(s, 10, 64)
		if err == nil {
			return uint64(i), true, true
		}
	} else if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return n, false, true
	}
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || x != math.Trunc(x) || x >= 1<<63 || x <= -1<<63 {
		return 0, false, false
	}
	return uint64(int64(x)), x < 0, true
}

// severityNames are the names of the enumeration SeverityNumber.
var severityNames = func() map[string]uint64 {
	m := map[string]uint64{"SEVERITY_NUMBER_UNSPECIFIED": 0}
	for i, name := range []string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"} {
		for k := range 4 {
			suffix := ""
			if k > 0 {
				suffix = strconv.Itoa(k + 1)
			}
			m["SEVERITY_NUMBER_"+name+suffix] = uint64(4*i + k + 1)
		}
	}
	return m
}()
