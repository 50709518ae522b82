package otlp

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
	"github.com/zeebo/xxh3"
)

// maxDepth is how deeply values may be nested.
const maxDepth = 64

var errDeep = errors.New("values nested deeper than 64")

// Names of fields that are not attributes.
var (
	nameScopeName              = []byte("scope_name")
	nameScopeVersion           = []byte("scope_version")
	nameTraceId                = []byte("trace_id")
	nameSpanId                 = []byte("span_id")
	nameEventName              = []byte("event_name")
	nameFilePath               = []byte("log.file.path")
	nameFlags                  = []byte("flags")
	nameSeverityText           = []byte("severity_text")
	nameDroppedAttributesCount = []byte("dropped_attributes_count")
)

// value is an AnyValue: its member's number (0: none), and where that stands or,
// of a number, what it is.
type value struct {
	num      int
	from, to int
	n        uint64
}

// parseValue reads the AnyValue p[i:].
func parseValue(p []byte, i int) (v value, err error) {
	for i < len(p) {
		num, typ, next := wire.ProtoTag(p, i)
		if next < 0 {
			return v, errWire
		}
		if i = wire.ProtoSkip(p, next, typ); i < 0 {
			return v, errWire
		}
		switch {
		case typ == wire.ProtoBytes && (num == anyString || num == anyArray || num == anyList || num == anyBytes):
			v.num = num
			v.from, v.to = wire.ProtoLen(p, next)
		case typ == wire.ProtoVarint && (num == anyBool || num == anyInt):
			v.num = num
			v.n, _ = wire.Uvarint(p, next)
		case typ == wire.ProtoFixed64 && num == anyDouble:
			v.num, v.n = num, fixed64(p[next:])
		}
	}
	return v, nil
}

func fixed64(p []byte) uint64 {
	_ = p[7]
	return uint64(p[0]) | uint64(p[1])<<8 | uint64(p[2])<<16 | uint64(p[3])<<24 | uint64(p[4])<<32 | uint64(p[5])<<40 | uint64(p[6])<<48 | uint64(p[7])<<56
}

// parsePair reads the KeyValue p[i:].
func parsePair(p []byte, i int) (key []byte, v value, err error) {
	for i < len(p) {
		num, typ, next := wire.ProtoTag(p, i)
		if next < 0 {
			return nil, v, errWire
		}
		if typ != wire.ProtoBytes || num > pairValue {
			if i = wire.ProtoSkip(p, next, typ); i < 0 {
				return nil, v, errWire
			}
			continue
		}
		from, to := wire.ProtoLen(p, next)
		if to < 0 {
			return nil, v, errWire
		}
		if num == pairKey {
			key = p[from:to]
		} else if v, err = parseValue(p[:to], from); err != nil {
			return nil, v, err
		}
		i = to
	}
	return key, v, nil
}

// attribute makes fields, and what else they say, of the KeyValue d.p[i:end].
// ofRecord says that it is an attribute of a record.
func (d *Decoder) attribute(i, end int, ofRecord bool) error {
	key, v, err := parsePair(d.p[:end], i)
	if err != nil || len(key) == 0 {
		return err
	}
	if ofRecord && (key[0] == 'l' || key[0] == 'w') && d.special(key, v) {
		return nil
	}
	if v.num == anyString {
		s := d.p[v.from:v.to]
		if d.level == 0 {
			if sev, ok := stage.NamedLevel(key, s); ok && ofRecord {
				d.level = sev
			}
		}
		d.add(key, record.String, record.Span{Off: uint32(v.from), Len: uint32(v.to - v.from)})
		return nil
	}
	return d.value(key, v, 1)
}

// special takes an attribute that has a meaning of its own.
func (d *Decoder) special(key []byte, v value) bool {
	if v.num == anyBool && v.n != 0 {
		switch string(key) {
		case "weir.gap":
			d.flags |= record.Gap
			return true
		case "weir.partial":
			d.flags |= record.Partial
			return true
		case "weir.continued":
			d.flags |= record.Continued
			return true
		case "weir.parse_error":
			d.flags |= record.ParseError
			return true
		}
		return false
	}
	if v.num == anyInt {
		switch n := int64(v.n); {
		case n < 0:
		case string(key) == "weir.start":
			d.start = n
			return true
		case string(key) == "weir.end":
			d.stop = n
			return true
		}
		return false
	}
	if v.num != anyString || v.from == v.to || v.to-v.from > d.limits.ValueBytes {
		return false
	}
	s := d.p[v.from:v.to]
	switch string(key) {
	case "log.iostream":
		if string(s) == "stdout" {
			d.stream = "stdout"
			return true
		}
		if string(s) == "stderr" {
			d.stream = "stderr"
			return true
		}
	case "log.file.path":
		d.file = record.Span{Off: uint32(v.from), Len: uint32(v.to - v.from)}
		return true
	case "weir.source":
		if id, ok := record.ParseID(string(s)); ok && len(s) == 32 {
			d.source = id
			return true
		}
	case "log.record.uid":
		if len(s) == 32 {
			if id, ok := record.ParseID(string(s)); ok {
				d.id = id
				return true
			}
		}
		h := xxh3.Hash128(s)
		d.id = record.ID{Hi: h.Hi, Lo: h.Lo}
	}
	return false
}

// add notes a field of the record.
func (d *Decoder) add(name []byte, kind record.Kind, val record.Span) {
	if len(name) > d.limits.NameBytes {
		d.long = true
		return
	}
	if len(d.fields) > d.limits.Metadata {
		return // one too many is enough to know
	}
	d.size += len(name) + int(val.Len)
	key, ok := d.keys.Index(d.b, len(d.fields), name)
	if !ok {
		d.full = true
		return
	}
	d.fields = append(d.fields, pending{val, key, kind})
}

// value adds a value under that name.
func (d *Decoder) value(name []byte, v value, depth int) error {
	if len(name) > d.limits.NameBytes {
		d.long = true
		return nil
	}
	switch v.num {
	case anyList:
		if depth > maxDepth {
			d.deep = true
			return nil
		}
		// Names grow in d.name, of which name may be the beginning.
		n := copy(d.room(len(name)), name)
		return eachField(d.p[:v.to], v.from, func(num int, typ wire.ProtoType, from, to int, _ uint64) error {
			if num != listValues || typ != wire.ProtoBytes || len(d.fields) > d.limits.Metadata {
				return nil
			}
			key, v, err := parsePair(d.p[:to], from)
			if err != nil {
				return err
			}
			if n+1+len(key) > d.limits.NameBytes {
				d.long = true
				return nil
			}
			d.name = append(append(d.name[:n], '_'), key...)
			return d.value(d.name, v, depth+1)
		})
	case anyString:
		d.add(name, record.String, record.Span{Off: uint32(v.from), Len: uint32(v.to - v.from)})
	case anyInt:
		d.add(name, record.Int, d.int(int64(v.n)))
	case anyArray:
		p, err := appendJSON(d.scratch[:0], d.p, v, depth)
		d.scratch = p
		if err == errDeep {
			d.deep = true
			return nil
		}
		if err != nil {
			return err
		}
		d.add(name, record.JSON, d.b.Append(p))
	case anyBool, anyDouble, anyBytes:
		kind := record.Bool
		switch {
		case v.num == anyBytes, v.num == anyDouble && !finite(v.n):
			kind = record.String
		case v.num == anyDouble:
			kind = record.Float
		}
		d.scratch = appendText(d.scratch[:0], d.p, v)
		d.add(name, kind, d.b.Append(d.scratch))
	}
	return nil
}

// room returns n bytes of d.name.
func (d *Decoder) room(n int) []byte {
	if cap(d.name) < n {
		d.name = append(d.name[:cap(d.name)], make([]byte, n-cap(d.name))...)
	}
	d.name = d.name[:max(n, len(d.name))]
	return d.name[:n]
}

func (d *Decoder) int(n int64) record.Span {
	return d.b.Extend(len(strconv.AppendInt(d.b.Reserve(20)[:0], n, 10)))
}

func (d *Decoder) hex(p []byte) record.Span {
	return d.b.Extend(hex.Encode(d.b.Reserve(2*len(p)), p))
}

// body returns the body that an AnyValue is.
func (d *Decoder) body(i, end int) (record.Span, error) {
	v, err := parseValue(d.p[:end], i)
	if err != nil {
		return record.Span{}, err
	}
	switch v.num {
	case anyString, anyBytes:
		return record.Span{Off: uint32(v.from), Len: uint32(v.to - v.from)}, nil
	case anyArray, anyList:
		p, err := appendJSON(d.scratch[:0], d.p, v, 1)
		d.scratch = p
		if err == errDeep {
			d.deep = true
			return record.Span{}, nil
		}
		return d.b.Append(p), err
	}
	d.scratch = appendText(d.scratch[:0], d.p, v)
	return d.b.Append(d.scratch), nil
}

func finite(bits uint64) bool {
	f := math.Float64frombits(bits)
	return f-f == 0
}

// appendText appends a value that is neither a map nor an array as text: bytes
// as base64, as OTLP's JSON has them.
func appendText(dst, p []byte, v value) []byte {
	switch v.num {
	case anyString:
		return append(dst, p[v.from:v.to]...)
	case anyBool:
		return strconv.AppendBool(dst, v.n != 0)
	case anyInt:
		return strconv.AppendInt(dst, int64(v.n), 10)
	case anyDouble:
		return appendDouble(dst, v.n)
	case anyBytes:
		return base64.StdEncoding.AppendEncode(dst, p[v.from:v.to])
	}
	return dst
}

// appendDouble appends the shortest text of a number, as encoding/json writes
// it; what is no number has the names of OTLP's JSON.
func appendDouble(dst []byte, bits uint64) []byte {
	f := math.Float64frombits(bits)
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, 64)
}

// appendJSON appends a value as JSON.
func appendJSON(dst, p []byte, v value, depth int) ([]byte, error) {
	switch v.num {
	case anyArray, anyList:
	case anyBool, anyInt:
		return appendText(dst, p, v), nil
	case anyDouble:
		if finite(v.n) {
			return appendText(dst, p, v), nil
		}
		dst = append(dst, '"')
		return append(appendText(dst, p, v), '"'), nil
	case anyString:
		return json.AppendString(dst, p[v.from:v.to]), nil
	case anyBytes:
		dst = append(dst, '"')
		return append(appendText(dst, p, v), '"'), nil
	default:
		return append(dst, "null"...), nil
	}
	if depth > maxDepth {
		return dst, errDeep
	}
	open, end := byte('['), byte(']')
	if v.num == anyList {
		open, end = '{', '}'
	}
	dst = append(dst, open)
	start := len(dst)
	err := eachField(p[:v.to], v.from, func(num int, typ wire.ProtoType, from, to int, _ uint64) (err error) {
		if num != listValues || typ != wire.ProtoBytes {
			return nil
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		var in value
		if v.num == anyList {
			var key []byte
			if key, in, err = parsePair(p[:to], from); err != nil {
				return err
			}
			dst = append(json.AppendString(dst, key), ':')
		} else if in, err = parseValue(p[:to], from); err != nil {
			return err
		}
		dst, err = appendJSON(dst, p, in, depth+1)
		return err
	})
	return append(dst, end), err
}

// flatten calls put for the KeyValue p[i:], once for each value in a map, until
// it returns an error. No name is longer than most.
func flatten(p []byte, i, most int, put func(name, value string) error) error {
	key, v, err := parsePair(p, i)
	if err != nil {
		return err
	}
	return flattenValue("", key, p, v, 1, most, put)
}

func flattenValue(prefix string, key, p []byte, v value, depth, most int, put func(name, value string) error) error {
	if len(prefix)+len(key) > most {
		return fmt.Errorf("attribute name of more than %d bytes", most)
	}
	name := prefix + string(key)
	switch v.num {
	case anyList:
		if depth > maxDepth {
			return errDeep
		}
		return eachField(p[:v.to], v.from, func(num int, typ wire.ProtoType, from, to int, _ uint64) error {
			if num != listValues || typ != wire.ProtoBytes {
				return nil
			}
			key, v, err := parsePair(p[:to], from)
			if err != nil {
				return err
			}
			return flattenValue(name+"_", key, p, v, depth+1, most, put)
		})
	case anyArray:
		text, err := appendJSON(nil, p, v, depth)
		if err != nil {
			return err
		}
		return put(name, string(text))
	}
	return put(name, string(wire.AppendText(nil, appendText(nil, p, v))))
}
