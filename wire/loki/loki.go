// Package loki writes bodies of Loki's push API (POST /loki/api/v1/push,
// Content-Type application/x-protobuf; Encoder), reads them (Decoder, also the
// JSON ones) and reads its refusals. The body is the
// protobuf message logproto.PushRequest; the request wants it compressed with
// snappy's block format, which is left to the caller.
// https://github.com/grafana/loki/blob/main/pkg/push/push.proto
//
// A record's line is its body as it is; bytes of it that are not UTF-8 become
// U+FFFD. Labels are the attributes of few values (DefaultLabels); what has
// many values is structured metadata: pod, pod_uid, the level as
// detected_level, which is Loki's own name for it and keeps it from guessing,
// the record's fields, its id as weir_id, and weir_partial, weir_continued,
// weir_gap or weir_parse_error where they hold. Records of one label set are
// one stream, ordered by time.
package loki

import (
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// DefaultLabels are the attributes that become labels if Config says nothing.
var DefaultLabels = []string{
	record.AttrCluster, record.AttrNamespace, record.AttrNode, record.AttrWorkload, record.AttrApp,
	record.AttrService, record.AttrContainer, record.AttrStream, record.AttrInput,
}

// DefaultMetadata are the attributes that become structured metadata if Config
// says nothing.
var DefaultMetadata = []string{record.AttrPod, record.AttrPodUID, record.AttrFile}

// Limits of structured metadata that a Loki has if nobody set others; what
// exceeds them would make it refuse the line. Fields beyond are left away:
// with text and JSON bodies they stand in the line too.
const (
	maxMetadata      = 128
	maxMetadataBytes = 60 << 10
)

// Config says how records are written.
type Config struct {
	// Labels are the names that become labels: canonical attributes, label_x
	// or annotation_x. Nil means DefaultLabels. Attributes with names of their
	// own, which come from the configuration of an input, are labels too.
	Labels []string
	// Metadata are the names that become structured metadata. Nil means
	// DefaultMetadata.
	Metadata []string
	// PodLabels chooses the pod labels that are added to the metadata as
	// label_<name>; a name that ends in * stands for all that begin so.
	PodLabels []string
	// IDs adds the record's id as weir_id.
	IDs bool
}

// Encoder writes push requests. It is for one goroutine.
type Encoder struct {
	cfg     Config
	streams *wire.Streams[stream]
	sets    map[string]*wire.Group[labels]
	groups  wire.Groups[labels, entry]
	scratch []byte

	batch *record.Batch // whose field names these are:
	names []string
	used  map[string]bool
	last  wire.Last
}

// labels is a label set as Loki writes it, with the tag and the length that
// stand before it in a stream.
type labels struct{ field []byte }

// stream is what the encoder makes of a record.Stream.
type stream struct {
	group *wire.Group[labels]
	meta  []byte   // encoded pairs of structured metadata
	n     int      // how many
	own   []string // names in use that are not reserved for every stream
}

// entry is a record ready to be written but for its time and line.
type entry struct {
	size   int // of the message
	stamp  int // of the timestamp message
	stream *stream
	meta   record.Span // further metadata, in Encoder.scratch
	line   record.Span // in Encoder.scratch, if fixed
	fixed  bool        // the body is not UTF-8
}

// New returns an encoder.
func New(cfg Config) *Encoder {
	if cfg.Labels == nil {
		cfg.Labels = DefaultLabels
	}
	if cfg.Metadata == nil {
		cfg.Metadata = DefaultMetadata
	}
	e := &Encoder{cfg: cfg, sets: make(map[string]*wire.Group[labels]), used: make(map[string]bool)}
	e.streams = wire.NewStreams(e.build)
	return e
}

// Clone returns an encoder of the same configuration for another goroutine.
func (e *Encoder) Clone() *Encoder { return New(e.cfg) }

// Fields of the messages.
const (
	pushStreams = 1

	streamLabels  = 1
	streamEntries = 2

	entryTime     = 1
	entryLine     = 2
	entryMetadata = 3

	pairName  = 1
	pairValue = 2

	timeSeconds = 1
	timeNanos   = 2
)

func (e *Encoder) build(s *record.Stream) *stream {
	var set []record.Attr
	used := map[string]bool{}
	for _, n := range e.cfg.Labels {
		if v := s.Get(n); v != "" && !used[labelName(n)] {
			set = append(set, record.Attr{Name: wire.Unique(used, labelName(n)), Value: v})
		}
	}
	for _, a := range s.Attrs() {
		if !wire.IsAttr(a.Name) && !slices.Contains(e.cfg.Labels, a.Name) && !slices.Contains(e.cfg.Metadata, a.Name) {
			set = append(set, record.Attr{Name: wire.Unique(used, labelName(a.Name)), Value: a.Value})
		}
	}
	if len(set) == 0 { // Loki wants at least one, and calls it so itself
		set = append(set, record.Attr{Name: record.AttrService, Value: "unknown_service"})
	}
	st := &stream{}
	own := func(name string) {
		if !reserved(name) {
			st.own = append(st.own, name)
		}
	}
	for _, a := range set {
		own(a.Name)
	}
	slices.SortFunc(set, func(a, b record.Attr) int { return strings.Compare(a.Name, b.Name) })
	text := []byte{'{'}
	for i, a := range set {
		if i > 0 {
			text = append(text, ", "...)
		}
		text = append(text, a.Name...)
		text = append(text, '=')
		text = strconv.AppendQuote(text, string(wire.AppendText(nil, []byte(a.Value))))
	}
	text = append(text, '}')
	if st.group = e.sets[string(text)]; st.group == nil {
		if len(e.sets) >= wire.MaxCachedStreams {
			clear(e.sets)
		}
		f := protowire.AppendTag(nil, streamLabels, protowire.BytesType)
		f = protowire.AppendBytes(f, text)
		st.group = &wire.Group[labels]{Data: labels{field: f}}
		e.sets[string(text)] = st.group
	}
	used = map[string]bool{}
	add := func(name, value string) {
		name = wire.Unique(used, name)
		st.meta = appendPair(st.meta, name, wire.AppendText(nil, []byte(value)))
		st.n++
		own(name)
	}
	for _, n := range e.cfg.Metadata {
		if v := s.Get(n); v != "" {
			add(labelName(n), v)
		}
	}
	for _, a := range wire.Choose(s.Labels(), e.cfg.PodLabels) {
		if !slices.Contains(e.cfg.Labels, "label_"+record.SanitizeName(a.Name)) {
			add("label_"+record.SanitizeName(a.Name), a.Value)
		}
	}
	return st
}

// labelName returns the name as Loki accepts it: [a-zA-Z_][a-zA-Z0-9_]*.
func labelName(name string) string {
	name = record.SanitizeName(name)
	if name == "" || name[0]-'0' <= 9 {
		name = "_" + name
	}
	return name
}

func appendPair(dst []byte, name string, value []byte) []byte {
	dst = protowire.AppendTag(dst, entryMetadata, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(sizeBytes(len(name))+sizeBytes(len(value))))
	dst = protowire.AppendTag(dst, pairName, protowire.BytesType)
	dst = protowire.AppendString(dst, name)
	dst = protowire.AppendTag(dst, pairValue, protowire.BytesType)
	return protowire.AppendBytes(dst, value)
}

// sizeBytes is the size of a field of n bytes with a number below 16.
func sizeBytes(n int) int { return 1 + protowire.SizeBytes(n) }

// Append appends the PushRequest with the records of the parts, uncompressed.
// Protobuf messages of one kind may be joined, so that requests may be too.
func (e *Encoder) Append(dst []byte, parts []record.Part) []byte {
	e.group(parts)
	for _, g := range e.groups.Active {
		dst = protowire.AppendTag(dst, pushStreams, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(len(g.Data.field)+g.Size))
		dst = append(dst, g.Data.field...)
		e.groups.Each(g, true, func(b *record.Batch, i int, en *entry) {
			dst = e.appendEntry(dst, b, i, en)
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
	e.groups.Order(parts, true, f)
}

// group sorts the records by stream.
func (e *Encoder) group(parts []record.Part) {
	e.scratch = e.scratch[:0]
	for _, p := range parts {
		b := p.Batch()
		e.streams.Use(b)
		e.names = e.names[:0]
		clear(e.used)
		e.batch = b
		for _, i := range p.Index() {
			e.add(b, int(i))
		}
	}
}

func (e *Encoder) end() {
	e.groups.Reset()
	e.streams.Done()
	e.batch = nil
}

// add makes record i ready and notes its sizes.
func (e *Encoder) add(b *record.Batch, i int) {
	r := b.Record(i)
	s := e.streams.Get(r.Stream)
	en := entry{stream: s}
	from := len(e.scratch)
	n := s.n
	if r.Severity != record.Unknown {
		e.scratch = append(e.scratch, levelPairs[r.Severity%25]...)
		n++
	}
	if e.cfg.IDs {
		if id := wire.RecordID(b, i); !id.IsZero() {
			e.scratch = append(e.scratch, idPair...)
			e.scratch = wire.AppendID(e.scratch, id)
			n++
		}
	}
	if r.Flags&wire.Notable != 0 {
		wire.EachFlag(r.Flags, func(name string) {
			e.scratch = appendPair(e.scratch, "weir_"+name, []byte("true"))
			n++
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
		v := b.Bytes(f.Val)
		name := e.name(f.Key)
		if slices.Contains(s.own, name) {
			name = fieldPrefix + name
		}
		if n >= maxMetadata || len(s.meta)+len(e.scratch)-from+len(name)+len(v)+16 > maxMetadataBytes {
			break
		}
		if !json.ValidUTF8(v) {
			v = wire.AppendText(nil, v)
		}
		e.scratch = appendPair(e.scratch, name, v)
		n++
	}
	en.meta = record.Span{Off: uint32(from), Len: uint32(len(e.scratch) - from)}
	line := int(r.Body.Len)
	if !wire.IsText(b, i) {
		from := len(e.scratch)
		e.scratch = wire.AppendText(e.scratch, b.Bytes(r.Body))
		line = len(e.scratch) - from
		en.fixed, en.line = true, record.Span{Off: uint32(from), Len: uint32(line)}
	}
	sec, nano := split(r.Time)
	en.stamp = 1 + protowire.SizeVarint(uint64(sec))
	if nano != 0 {
		en.stamp += 1 + protowire.SizeVarint(uint64(nano))
	}
	en.size = sizeBytes(en.stamp) + sizeBytes(line) + len(s.meta) + int(en.meta.Len)
	e.groups.Add(s.group, b, i, sizeBytes(en.size), en)
}

// levelPairs holds the metadata of each severity.
var levelPairs = func() (t [25][]byte) {
	for s := range t {
		t[s] = appendPair(nil, "detected_level", []byte(record.Severity(s).Level()))
	}
	return t
}()

// idPair is the metadata of an id up to its 32 digits.
var idPair = func() []byte {
	p := appendPair(nil, "weir_id", make([]byte, 32))
	return p[:len(p)-32]
}()

// name returns a field's name as Loki accepts it, with field_ before it if it
// is one of ours. Those that become equal to another are told apart.
func (e *Encoder) name(key uint16) string {
	for int(key) >= len(e.names) {
		e.names = append(e.names, "")
	}
	if e.names[key] == "" {
		name := labelName(e.batch.KeyName(key))
		if reserved(name) {
			name = fieldPrefix + name
		}
		e.names[key] = wire.Unique(e.used, name)
	}
	return e.names[key]
}

// fieldPrefix keeps fields apart from what the encoder writes itself: nothing
// that a program logs can claim to be of another pod.
const fieldPrefix = "field_"

func reserved(name string) bool {
	return wire.IsAttr(name) || name == "detected_level" || strings.HasPrefix(name, "weir_") || strings.HasPrefix(name, fieldPrefix)
}

func split(ns int64) (sec, nano int64) {
	sec, nano = ns/1e9, ns%1e9
	if nano < 0 {
		sec, nano = sec-1, nano+1e9
	}
	return sec, nano
}

func (e *Encoder) appendEntry(dst []byte, b *record.Batch, i int, en *entry) []byte {
	r := b.Record(i)
	dst = protowire.AppendTag(dst, streamEntries, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(en.size))
	dst = protowire.AppendTag(dst, entryTime, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(en.stamp))
	sec, nano := split(r.Time)
	dst = protowire.AppendTag(dst, timeSeconds, protowire.VarintType)
	dst = protowire.AppendVarint(dst, uint64(sec))
	if nano != 0 {
		dst = protowire.AppendTag(dst, timeNanos, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(nano))
	}
	dst = protowire.AppendTag(dst, entryLine, protowire.BytesType)
	if en.fixed {
		dst = protowire.AppendBytes(dst, e.scratch[en.line.Off:en.line.End()])
	} else {
		dst = protowire.AppendBytes(dst, b.Bytes(r.Body))
	}
	dst = append(dst, en.stream.meta...)
	return append(dst, e.scratch[en.meta.Off:en.meta.End()]...)
}
