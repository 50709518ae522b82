package forward

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/tinylib/msgp/msgp"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// Config says how records are written.
type Config struct {
	// Key is the name of the member with the text; "" means log.
	Key string
	// Labels and Annotations choose the pod labels and annotations to write; a
	// name that ends in * stands for all that begin so.
	Labels, Annotations []string
	// IDs adds the record's id, if it has one, as weir_id.
	IDs bool
	// Merge makes the members of a body that is a JSON object members of the
	// entry, instead of writing it as text.
	Merge bool
}

// Encoder writes entries, as they stand in the messages of PackedForward mode:
//
//	[EventTime, {"log": …, "stream": "stdout", "kubernetes": {"namespace_name": …,
//	  "pod_name": …, "pod_id": …, "container_name": …, "docker_id": …, "host": …,
//	  "container_image": …, "labels": {…}, "annotations": {…}}, "level": "info",
//	  fields …, "weir_id": …, "weir": {"attrs": {…}, "partial": true}}]
//
// which is what Fluent Bit's tail input and kubernetes filter make, and what a
// Decoder reads back. The text is byte for byte the record's body, also where it
// is not UTF-8, and also where it is JSON. Attributes without a place in
// kubernetes are in weir. A field whose name is one of these has field_ before
// it.
//
// With Merge a body that is a JSON object has no member log: its own members stand
// there instead, as Fluent Bit's Merge_Log with Keep_Log off does it, in their
// order and nested as they are. Of a field of the same name and a member the field
// stays; stream, kubernetes, weir and weir_id have field_ before them; numbers that
// 64 bits do not hold are texts.
//
// An Encoder is for one goroutine.
type Encoder struct {
	cfg     Config
	streams *wire.Streams[stream]
	last    wire.Last
	rd      json.Reader
	text    []byte
	batch   *record.Batch
	names   [][]byte // by key of the batch, as written
	level   []bool   // by key: it is level
}

// stream is what the encoder makes of a record.Stream.
type stream struct {
	members []byte // stream, kubernetes
	n       int
	attrs   []byte // the member attrs of weir
}

// NewEncoder returns an encoder.
func NewEncoder(cfg Config) *Encoder {
	if cfg.Key == "" {
		cfg.Key = "log"
	}
	e := &Encoder{cfg: cfg}
	e.streams = wire.NewStreams(e.build)
	return e
}

// Clone returns an encoder of the same configuration for another goroutine.
func (e *Encoder) Clone() *Encoder { return NewEncoder(e.cfg) }

// kubernetesOrder are the attributes in the map kubernetes.
var kubernetesOrder = [...][2]string{
	{record.AttrCluster, "cluster_name"}, {record.AttrNode, "host"}, {record.AttrNamespace, "namespace_name"},
	{record.AttrPod, "pod_name"}, {record.AttrPodUID, "pod_id"}, {record.AttrContainer, "container_name"},
	{record.AttrContainerID, "docker_id"}, {record.AttrImage, "container_image"},
	{record.AttrRestart, "restart"}, {record.AttrWorkload, "workload"},
}

func (e *Encoder) build(s *record.Stream) *stream {
	st := &stream{}
	if v := s.Get(record.AttrStream); v != "" {
		st.members = appendPair(st.members, record.AttrStream, v)
		st.n++
	}
	var k []byte
	n := uint32(0)
	inside := map[string]bool{record.AttrStream: true, record.AttrTenant: true}
	for _, o := range kubernetesOrder {
		if v := s.Get(o[0]); v != "" {
			k = appendPair(k, o[1], v)
			n++
			inside[o[0]] = true
		}
	}
	for _, set := range []struct {
		name  string
		attrs []record.Attr
	}{{"labels", wire.Choose(s.Labels(), e.cfg.Labels)}, {"annotations", wire.Choose(s.Annotations(), e.cfg.Annotations)}} {
		if len(set.attrs) == 0 {
			continue
		}
		k = msgp.AppendMapHeader(msgp.AppendString(k, set.name), uint32(len(set.attrs)))
		for _, a := range set.attrs {
			k = appendPair(k, a.Name, a.Value)
		}
		n++
	}
	if n > 0 {
		st.members = msgp.AppendMapHeader(msgp.AppendString(st.members, "kubernetes"), n)
		st.members = append(st.members, k...)
		st.n++
	}
	var own []byte
	n = 0
	for _, a := range s.Attrs() {
		if !inside[a.Name] {
			own = appendPair(own, a.Name, a.Value)
			n++
		}
	}
	st.attrs = append(msgp.AppendMapHeader(msgp.AppendString(nil, "attrs"), n), own...)
	return st
}

func appendPair(dst []byte, name, value string) []byte {
	return msgp.AppendString(msgp.AppendString(dst, name), value)
}

// Append appends one entry for each record of the parts, in order.
func (e *Encoder) Append(dst []byte, parts []record.Part) []byte {
	for _, p := range parts {
		b := p.Batch()
		e.streams.Use(b)
		e.batch, e.names, e.level = b, e.names[:0], e.level[:0]
		for _, i := range p.Index() {
			dst = e.append(dst, b, int(i))
		}
	}
	e.streams.Done()
	e.batch = nil
	return dst
}

// member of every record, beside what is in the stream's.
var (
	nameLevel = msgp.AppendString(nil, "level")
	nameID    = msgp.AppendString(nil, "weir_id")
	nameWeir  = msgp.AppendString(nil, wire.FlagsName)
)

func (e *Encoder) append(dst []byte, b *record.Batch, i int) []byte {
	r := b.Record(i)
	s := e.streams.Get(r.Stream)
	dst = AppendTime(append(dst, 0x92), r.Time)
	head := len(dst)
	dst = append(dst, 0xde, 0, 0) // map16
	n, merged, leveled := 1+s.n, false, false
	fields := b.Fields(i)
	if e.cfg.Merge && r.Flags.Has(record.JSONObject) {
		var members int
		if dst, members, leveled, merged = e.members(dst, b.Bytes(r.Body), fields); merged {
			n += members
		}
	}
	if !merged {
		dst = msgp.AppendString(dst, e.cfg.Key)
		dst = msgp.AppendStringFromBytes(dst, b.Bytes(r.Body))
		n++
	}
	dst = append(dst, s.members...)
	if len(fields) > 1 {
		e.last.Load(fields)
	}
	for j, f := range fields {
		if len(fields) > 1 && !e.last.Is(f.Key, j) || n >= math.MaxUint16-2 {
			continue
		}
		dst = append(dst, e.name(f.Key)...)
		dst = e.value(dst, f.Kind, b.Bytes(f.Val))
		leveled = leveled || e.level[f.Key]
		n++
	}
	if r.Severity != record.Unknown && !leveled {
		dst = msgp.AppendString(append(dst, nameLevel...), r.Severity.Level())
		n++
	}
	if e.cfg.IDs {
		if id := wire.RecordID(b, i); !id.IsZero() {
			dst = append(append(dst, nameID...), 0xd9, 32)
			dst = wire.AppendID(dst, id)
			n++
		}
	}
	dst = append(dst, nameWeir...)
	at := len(dst)
	dst = append(append(dst, 0x81), s.attrs...)
	if r.Flags&wire.Notable != 0 {
		wire.EachFlag(r.Flags, func(name string) {
			dst = msgp.AppendBool(msgp.AppendString(dst, name), true)
			dst[at]++
		})
	}
	binary.BigEndian.PutUint16(dst[head+1:], uint16(n))
	return dst
}

// members appends the members of body, an object, that no field of the record has
// the name of, and returns how many they are and whether one of them is level. If
// that cannot be done nothing is appended.
func (e *Encoder) members(dst, body []byte, fields []record.Field) (out []byte, n int, leveled, ok bool) {
	at := len(dst)
	e.rd.Reset(body)
	if !e.rd.Enter('{') {
		return dst, 0, false, false
	}
	for {
		s, esc, more := e.rd.Name()
		if !more {
			break
		}
		name := body[s.Off:s.End()]
		if esc {
			e.text = json.Unescape(e.text[:0], name)
			name = e.text
		}
		start, covered := len(dst), false
		for _, f := range fields {
			covered = covered || e.batch.KeyName(f.Key) == string(name)
		}
		leveled = leveled || string(name) == "level"
		if ours(string(name)) {
			dst = msgp.AppendString(dst, "field_"+string(name))
		} else {
			dst = msgp.AppendStringFromBytes(dst, name)
		}
		if dst, ok = e.json(dst, body); !ok {
			return dst[:at], 0, false, false
		}
		if covered {
			dst = dst[:start]
		} else {
			n++
		}
	}
	if n == 0 || n > math.MaxUint16/2 || !e.rd.End() {
		return dst[:at], 0, false, false
	}
	return dst, n, leveled, true
}

// ours are the names in an entry that mean something whatever the body is.
func ours(name string) bool {
	switch name {
	case "stream", "kubernetes", wire.FlagsName, "weir_id":
		return true
	}
	return false
}

// AppendTime appends an EventTime. Times before 1970 and from 2106 on, which it
// does not have, are appended as seconds.
func AppendTime(dst []byte, ns int64) []byte {
	sec, nano := ns/1e9, ns%1e9
	if nano < 0 {
		sec, nano = sec-1, nano+1e9
	}
	if sec < 0 || sec > math.MaxUint32-2 { // -1 and -2 are Fluent Bit's marks
		return msgp.AppendInt64(dst, sec)
	}
	dst = append(dst, 0xd7, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(sec))
	return binary.BigEndian.AppendUint32(dst, uint32(nano))
}

// name returns the field's name as msgpack.
func (e *Encoder) name(key uint16) []byte {
	for int(key) >= len(e.names) {
		if len(e.names) < cap(e.names) {
			e.names = e.names[:len(e.names)+1]
			e.names[len(e.names)-1] = e.names[len(e.names)-1][:0]
		} else {
			e.names = append(e.names, nil)
		}
		e.level = append(e.level, false)
	}
	if len(e.names[key]) == 0 {
		name := e.batch.KeyName(key)
		e.level[key] = name == "level"
		if e.reserved(name) {
			name = "field_" + name
		}
		e.names[key] = msgp.AppendString(e.names[key], name)
	}
	return e.names[key]
}

func (e *Encoder) reserved(name string) bool {
	switch name {
	case e.cfg.Key, "log", "stream", "kubernetes", wire.FlagsName, "weir_id", "container_id", "container_name",
		"partial_message", "partial_id", "partial_ordinal", "partial_last":
		return true
	}
	return false
}

// value appends a field's value: numbers whose text is not what their value is
// written as stay text.
func (e *Encoder) value(dst []byte, kind record.Kind, v []byte) []byte {
	switch kind {
	case record.Int:
		if len(v) < 20 {
			if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
				return msgp.AppendInt64(dst, n)
			}
		}
	case record.Float:
		if len(v) < 40 {
			if f, err := strconv.ParseFloat(string(v), 64); err == nil {
				return msgp.AppendFloat64(dst, f)
			}
		}
	case record.Bool:
		return msgp.AppendBool(dst, string(v) == "true")
	case record.Null:
		return msgp.AppendNil(dst)
	case record.JSON:
		e.rd.Reset(v)
		if out, ok := e.json(dst, v); ok && e.rd.End() {
			return out
		}
	}
	return msgp.AppendStringFromBytes(dst, v)
}

// json appends the value that e.rd, which reads p, comes to.
func (e *Encoder) json(dst, p []byte) ([]byte, bool) {
	switch c := e.rd.Kind(); c {
	case '"':
		s, esc, ok := e.rd.String()
		v := p[s.Off:s.End()]
		if esc {
			e.text = json.Unescape(e.text[:0], v)
			v = e.text
		}
		return msgp.AppendStringFromBytes(dst, v), ok
	case '{', '[':
		if !e.rd.Enter(c) {
			return dst, false
		}
		at := len(dst)
		first := byte(0xdd) // array32
		if c == '{' {
			first = 0xdf
		}
		dst = append(dst, first, 0, 0, 0, 0)
		n := uint32(0)
		for {
			if c == '{' {
				s, esc, more := e.rd.Name()
				if !more {
					break
				}
				v := p[s.Off:s.End()]
				if esc {
					e.text = json.Unescape(e.text[:0], v)
					v = e.text
				}
				dst = msgp.AppendStringFromBytes(dst, v)
			} else if !e.rd.More() {
				break
			}
			var ok bool
			if dst, ok = e.json(dst, p); !ok {
				return dst, false
			}
			n++
		}
		binary.BigEndian.PutUint32(dst[at+1:], n)
		return dst, e.rd.Err() == nil
	default:
		s, kind, ok := e.rd.Scalar()
		if !ok || kind == record.JSON || kind == record.String {
			return dst, false
		}
		return e.value(dst, kind, p[s.Off:s.End()]), true
	}
}

// AppendPacked appends the head of a message of PackedForward mode, up to its
// entries, of which there are size bytes; AppendOption appends what follows them.
func AppendPacked(dst []byte, tag string, size int) []byte {
	dst = msgp.AppendString(append(dst, 0x93), tag)
	return append(dst, 0xc6, byte(size>>24), byte(size>>16), byte(size>>8), byte(size))
}

// AppendOption appends the option of a message with n entries. An empty chunk asks
// for no acknowledgement; compressed is gzip, zstd or "".
func AppendOption(dst []byte, n int, chunk, compressed string) []byte {
	at := len(dst)
	dst = msgp.AppendInt(msgp.AppendString(append(dst, 0x81), "size"), n)
	if chunk != "" {
		dst[at]++
		dst = appendPair(dst, "chunk", chunk)
	}
	if compressed != "" {
		dst[at]++
		dst = appendPair(dst, "compressed", compressed)
	}
	return dst
}

// AppendAck appends the answer to a chunk that is safe.
func AppendAck(dst, chunk []byte) []byte {
	return msgp.AppendStringFromBytes(msgp.AppendString(append(dst, 0x81), "ack"), chunk)
}

// ParseAck returns the id of the chunk that the answer p, which is whole,
// acknowledges.
func ParseAck(p []byte) (chunk []byte, ok bool) {
	m := read(p, 0)
	if m.kind != kindMap {
		return nil, false
	}
	i := m.body
	for range m.n {
		k := read(p, i)
		var err error
		if i, err = skip(p, i); err != nil {
			return nil, false
		}
		v := read(p, i)
		if i, err = skip(p, i); err != nil {
			return nil, false
		}
		if k.isText() && v.isText() && string(p[k.body:k.end()]) == "ack" {
			chunk, ok = p[v.body:v.end()], true
		}
	}
	return chunk, ok
}
