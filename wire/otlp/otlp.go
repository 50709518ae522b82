// Package otlp writes OpenTelemetry's ExportLogsServiceRequest (Encoder) and reads
// it (Decoder, also as JSON), and reads and writes the answers to it, for OTLP
// over HTTP and gRPC.
// https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/collector/logs/v1/logs_service.proto
//
// A record's writer is the resource, by the semantic conventions:
// k8s.cluster.name, k8s.node.name, k8s.namespace.name, k8s.pod.name,
// k8s.pod.uid, k8s.container.name, k8s.container.restart_count, container.id,
// container.image.name, k8s.deployment.name (or statefulset, daemonset, job …)
// of the workload, service.name, k8s.pod.label.*, k8s.pod.annotation.*, and
// weir.input. Records of one resource share one ResourceLogs.
//
// A record has its time, the time it was seen, severity number and text, its
// body as a string (as bytes if it is not UTF-8), its fields as attributes, and
// the attributes log.iostream, log.file.path, log.record.uid (its id), and, for
// a receiver that removes doubles by source, weir.source (the key of the
// file's generation), weir.start and weir.end. The fields trace_id and span_id
// go to their places if they are 32 and 16 hexadecimal digits. weir.partial,
// weir.continued, weir.gap and weir.parse_error are true where they hold.
package otlp

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// Config says how records are written.
type Config struct {
	// Labels and Annotations choose the pod labels and annotations that become
	// attributes of the resource; a name that ends in * stands for all that
	// begin so.
	Labels, Annotations []string
	// Scope is the name of the instrumentation scope, "weir" if empty.
	Scope string
	// Version is the scope's version; may be empty.
	Version string
}

// Encoder writes export requests. It is for one goroutine.
type Encoder struct {
	cfg       Config
	streams   *wire.Streams[stream]
	resources map[string]*wire.Group[resource]
	groups    wire.Groups[resource, entry]
	scope     []byte // the field with the scope
	scratch   []byte
	last      wire.Last
}

// resource is the field with a Resource as it stands in ResourceLogs.
type resource struct{ field []byte }

// stream is what the encoder makes of a record.Stream.
type stream struct {
	group *wire.Group[resource]
	attrs []byte // attributes of every record
}

// entry is what is known of a record before it is written.
type entry struct {
	size   int
	stream *stream
	attrs  record.Span // further attributes, trace and span id, in Encoder.scratch
	text   bool        // the body is UTF-8
}

// Fields of the messages.
const (
	requestResourceLogs = 1

	logsResource = 1
	logsScope    = 2

	resourceAttributes = 1

	scopeScope   = 1
	scopeRecords = 2
	scopeName    = 1
	scopeVersion = 2

	recordTime         = 1
	recordSeverity     = 2
	recordSeverityText = 3
	recordBody         = 5
	recordAttributes   = 6
	recordTraceID      = 9
	recordSpanID       = 10
	recordObserved     = 11

	pairKey   = 1
	pairValue = 2

	anyString = 1
	anyBool   = 2
	anyInt    = 3
	anyDouble = 4
	anyBytes  = 7
)

// resourceNames maps canonical attributes to those of the resource.
var resourceNames = map[string]string{
	record.AttrCluster:     "k8s.cluster.name",
	record.AttrNode:        "k8s.node.name",
	record.AttrNamespace:   "k8s.namespace.name",
	record.AttrPod:         "k8s.pod.name",
	record.AttrPodUID:      "k8s.pod.uid",
	record.AttrContainer:   "k8s.container.name",
	record.AttrContainerID: "container.id",
	record.AttrImage:       "container.image.name",
	record.AttrService:     "service.name",
	record.AttrInput:       "weir.input",
	record.AttrApp:         "weir.app",
}

// New returns an encoder.
func New(cfg Config) *Encoder {
	if cfg.Scope == "" {
		cfg.Scope = "weir"
	}
	e := &Encoder{cfg: cfg, resources: make(map[string]*wire.Group[resource])}
	var sc []byte
	sc = appendString(sc, scopeName, cfg.Scope)
	if cfg.Version != "" {
		sc = appendString(sc, scopeVersion, cfg.Version)
	}
	e.scope = protowire.AppendBytes(protowire.AppendTag(nil, scopeScope, protowire.BytesType), sc)
	e.streams = wire.NewStreams(e.build)
	return e
}

// Clone returns an encoder of the same configuration for another goroutine.
func (e *Encoder) Clone() *Encoder { return New(e.cfg) }

func (e *Encoder) build(s *record.Stream) *stream {
	var res []byte
	st := &stream{}
	add := func(name, value string) {
		res = appendPair(res, resourceAttributes, utf8Name(name), anyString, wire.AppendText(nil, []byte(value)))
	}
	for _, a := range s.Attrs() {
		switch a.Name {
		case record.AttrStream:
			st.attrs = appendPair(st.attrs, recordAttributes, "log.iostream", anyString, wire.AppendText(nil, []byte(a.Value)))
		case record.AttrFile:
			st.attrs = appendPair(st.attrs, recordAttributes, "log.file.path", anyString, wire.AppendText(nil, []byte(a.Value)))
		case record.AttrRestart:
			if n, err := strconv.ParseInt(a.Value, 10, 64); err == nil {
				res = appendPairVarint(res, resourceAttributes, "k8s.container.restart_count", anyInt, uint64(n))
			}
		case record.AttrWorkload:
			kind, name, ok := strings.Cut(a.Value, "/")
			switch {
			case !ok:
				add("weir.workload", a.Value)
			case kind == "deployment", kind == "statefulset", kind == "daemonset", kind == "replicaset", kind == "job", kind == "cronjob":
				add("k8s."+kind+".name", name)
			default:
				add("weir.workload", a.Value)
			}
		default:
			if name, ok := resourceNames[a.Name]; ok {
				add(name, a.Value)
			} else {
				add(a.Name, a.Value)
			}
		}
	}
	for _, a := range wire.Choose(s.Labels(), e.cfg.Labels) {
		add("k8s.pod.label."+a.Name, a.Value)
	}
	for _, a := range wire.Choose(s.Annotations(), e.cfg.Annotations) {
		add("k8s.pod.annotation."+a.Name, a.Value)
	}
	field := protowire.AppendBytes(protowire.AppendTag(nil, logsResource, protowire.BytesType), res)
	if st.group = e.resources[string(field)]; st.group == nil {
		if len(e.resources) >= wire.MaxCachedStreams {
			clear(e.resources)
		}
		st.group = &wire.Group[resource]{Data: resource{field: field}}
		e.resources[string(field)] = st.group
	}
	return st
}

func utf8Name(s string) string {
	if json.ValidUTF8([]byte(s)) {
		return s
	}
	return string(wire.AppendText(nil, []byte(s)))
}

func appendString(dst []byte, field protowire.Number, s string) []byte {
	dst = protowire.AppendTag(dst, field, protowire.BytesType)
	return protowire.AppendString(dst, s)
}

// sizeBytes is the size of a field of n bytes with a number below 16.
func sizeBytes(n int) int { return 1 + protowire.SizeBytes(n) }

// appendKey appends a KeyValue up to the tag of its value, which has kind and
// takes n bytes behind the tag.
func appendKey(dst []byte, field protowire.Number, key string, kind protowire.Number, wt protowire.Type, n int) []byte {
	dst = protowire.AppendTag(dst, field, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(sizeBytes(len(key))+sizeBytes(1+n)))
	dst = appendString(dst, pairKey, key)
	dst = protowire.AppendTag(dst, pairValue, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(1+n))
	return protowire.AppendTag(dst, kind, wt)
}

func appendPair(dst []byte, field protowire.Number, key string, kind protowire.Number, value []byte) []byte {
	dst = appendKey(dst, field, key, kind, protowire.BytesType, protowire.SizeBytes(len(value)))
	return protowire.AppendBytes(dst, value)
}

func appendPairVarint(dst []byte, field protowire.Number, key string, kind protowire.Number, v uint64) []byte {
	dst = appendKey(dst, field, key, kind, protowire.VarintType, protowire.SizeVarint(v))
	return protowire.AppendVarint(dst, v)
}

// Append appends the ExportLogsServiceRequest with the records of the parts.
// Protobuf messages of one kind may be joined, so that requests may be too.
func (e *Encoder) Append(dst []byte, parts []record.Part) []byte {
	e.group(parts)
	for _, g := range e.groups.Active {
		scopeLogs := len(e.scope) + g.Size
		dst = protowire.AppendTag(dst, requestResourceLogs, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(len(g.Data.field)+sizeBytes(scopeLogs)))
		dst = append(dst, g.Data.field...)
		dst = protowire.AppendTag(dst, logsScope, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(scopeLogs))
		dst = append(dst, e.scope...)
		e.groups.Each(g, false, func(b *record.Batch, i int, en *entry) {
			dst = e.appendRecord(dst, b, i, en)
		})
	}
	e.end()
	return dst
}

// Order calls f for the records of the parts in the order in which Append writes
// them: part is the position in parts, rec the record's index in its batch.
func (e *Encoder) Order(parts []record.Part, f func(part int, rec uint32)) {
	e.group(parts)
	defer e.end()
	e.groups.Order(parts, false, f)
}

// group sorts the records by resource.
func (e *Encoder) group(parts []record.Part) {
	e.scratch = e.scratch[:0]
	for _, p := range parts {
		b := p.Batch()
		e.streams.Use(b)
		for _, i := range p.Index() {
			e.add(b, int(i))
		}
	}
}

func (e *Encoder) end() {
	e.groups.Reset()
	e.streams.Done()
}

// add makes record i ready and notes its sizes.
func (e *Encoder) add(b *record.Batch, i int) {
	r := b.Record(i)
	s := e.streams.Get(r.Stream)
	en := entry{stream: s, text: wire.IsText(b, i)}
	from := len(e.scratch)
	p := e.scratch
	if id := wire.RecordID(b, i); !id.IsZero() {
		p = append(p, uidPair...)
		p = wire.AppendID(p, id)
	}
	if gen := b.Streams()[r.Stream].Generation; !gen.IsZero() {
		p = append(p, sourcePair...)
		p = wire.AppendID(p, gen)
		p = appendPairVarint(p, recordAttributes, "weir.start", anyInt, uint64(r.Start))
		p = appendPairVarint(p, recordAttributes, "weir.end", anyInt, uint64(r.End))
	}
	if r.Flags&wire.Notable != 0 {
		wire.EachFlag(r.Flags, func(name string) {
			p = appendPairVarint(p, recordAttributes, "weir."+name, anyBool, 1)
		})
	}
	fields := b.Fields(i)
	if len(fields) > 1 {
		e.last.Load(fields)
	}
	for j, f := range fields {
		if len(fields) > 1 && !e.last.Is(f.Key, j) {
			continue
		}
		name, v := b.KeyName(f.Key), b.Bytes(f.Val)
		switch {
		case name == "trace_id" && len(v) == 32:
			var raw [16]byte
			if _, err := hex.Decode(raw[:], v); err == nil {
				p = protowire.AppendTag(p, recordTraceID, protowire.BytesType)
				p = protowire.AppendBytes(p, raw[:])
				continue
			}
		case name == "span_id" && len(v) == 16:
			var raw [8]byte
			if _, err := hex.Decode(raw[:], v); err == nil {
				p = protowire.AppendTag(p, recordSpanID, protowire.BytesType)
				p = protowire.AppendBytes(p, raw[:])
				continue
			}
		}
		p = appendField(p, name, f.Kind, v)
	}
	e.scratch = p
	en.attrs = record.Span{Off: uint32(from), Len: uint32(len(p) - from)}
	en.size = timesSize(r) + sizeBytes(bodySize(r)) + len(s.attrs) + int(en.attrs.Len)
	if r.Severity != record.Unknown {
		en.size += 1 + protowire.SizeVarint(uint64(r.Severity)) + sizeBytes(len(r.Severity.Level()))
	}
	e.groups.Add(s.group, b, i, sizeBytes(en.size), en)
}

// uidPair and sourcePair are the attributes of ids up to their 32 digits.
var uidPair, sourcePair = idPair("log.record.uid"), idPair("weir.source")

func idPair(name string) []byte {
	p := appendPair(nil, recordAttributes, name, anyString, make([]byte, 32))
	return p[:len(p)-32]
}

// timesSize is the size of the two times. Zero stands for none, and so do
// times before 1970, which the protocol cannot express.
func timesSize(r *record.Record) (n int) {
	if r.Time > 0 {
		n += 9
	}
	if r.Observed > 0 {
		n += 9
	}
	return n
}

func bodySize(r *record.Record) int { return sizeBytes(int(r.Body.Len)) }

// appendField appends a field as an attribute. Values that are not what their
// kind says are strings; objects and arrays stay JSON text.
func appendField(dst []byte, name string, kind record.Kind, v []byte) []byte {
	name = fieldName(name)
	switch kind {
	case record.Int:
		if n, ok := parseInt(v); ok {
			return appendPairVarint(dst, recordAttributes, name, anyInt, uint64(n))
		}
	case record.Float:
		if wire.IsNumber(v) {
			if x, err := strconv.ParseFloat(string(v), 64); err == nil {
				dst = appendKey(dst, recordAttributes, name, anyDouble, protowire.Fixed64Type, 8)
				return protowire.AppendFixed64(dst, math.Float64bits(x))
			}
		}
	case record.Bool:
		switch string(v) {
		case "true":
			return appendPairVarint(dst, recordAttributes, name, anyBool, 1)
		case "false":
			return appendPairVarint(dst, recordAttributes, name, anyBool, 0)
		}
	case record.Null:
		dst = protowire.AppendTag(dst, recordAttributes, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(sizeBytes(len(name))+sizeBytes(0)))
		dst = appendString(dst, pairKey, name)
		dst = protowire.AppendTag(dst, pairValue, protowire.BytesType)
		return protowire.AppendVarint(dst, 0)
	}
	if !json.ValidUTF8(v) {
		return appendPair(dst, recordAttributes, name, anyBytes, v)
	}
	return appendPair(dst, recordAttributes, name, anyString, v)
}

// fieldName keeps fields apart from what the encoder writes itself: nothing
// that a program logs can claim another record's id.
func fieldName(name string) string {
	switch {
	case name == "log.record.uid", name == "log.iostream", name == "log.file.path", strings.HasPrefix(name, "weir."):
		return "field." + name
	}
	return utf8Name(name)
}

func parseInt(p []byte) (n int64, ok bool) {
	i, neg := 0, false
	if len(p) > 0 && p[0] == '-' {
		i, neg = 1, true
	}
	if i == len(p) || len(p)-i > 18 {
		return 0, false
	}
	for ; i < len(p); i++ {
		c := p[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	if neg {
		n = -n
	}
	return n, true
}

func (e *Encoder) appendRecord(dst []byte, b *record.Batch, i int, en *entry) []byte {
	r := b.Record(i)
	dst = protowire.AppendTag(dst, scopeRecords, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(en.size))
	if r.Time > 0 {
		dst = protowire.AppendTag(dst, recordTime, protowire.Fixed64Type)
		dst = protowire.AppendFixed64(dst, uint64(r.Time))
	}
	if r.Observed > 0 {
		dst = protowire.AppendTag(dst, recordObserved, protowire.Fixed64Type)
		dst = protowire.AppendFixed64(dst, uint64(r.Observed))
	}
	if r.Severity != record.Unknown {
		dst = protowire.AppendTag(dst, recordSeverity, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(r.Severity))
		dst = appendString(dst, recordSeverityText, r.Severity.Level())
	}
	body := b.Bytes(r.Body)
	kind := protowire.Number(anyString)
	if !en.text {
		kind = anyBytes
	}
	dst = protowire.AppendTag(dst, recordBody, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(bodySize(r)))
	dst = protowire.AppendTag(dst, kind, protowire.BytesType)
	dst = protowire.AppendBytes(dst, body)
	dst = append(dst, en.stream.attrs...)
	return append(dst, e.scratch[en.attrs.Off:en.attrs.End()]...)
}
