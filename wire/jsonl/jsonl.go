// Package jsonl writes records as lines of JSON, one object per record, as
// VictoriaLogs (/insert/jsonline), Vector and files take them.
//
//	{"namespace":"shop","pod":"api-7d…","stream":"stdout",
//	 "_time":"2026-11-22T10:00:00.123456789Z","level":"info","_msg":"hello"}
//
// Names are weir's canonical ones. A text body is the member _msg; bytes of it
// that are not UTF-8 become U+FFFD. The members of a JSON body are merged into
// the object as they stand, by the rules of wire.Merger; there is no _msg then,
// and a receiver is told where else to look (VictoriaLogs: the URL parameter
// _msg_field=_msg,message,msg,log).
//
// A record that is not a whole line says so in a member "weir":
// {"partial":true} for a piece whose rest follows, "continued" for one whose
// beginning went before, "gap" for a notice that bytes are missing,
// "parse_error" for a line without its container format.
package jsonl

import (
	"slices"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// Keys are the names of the members whose name a receiver may want otherwise.
type Keys struct {
	Time    string // "" means _time
	Message string // "" means _msg
}

// DefaultAttrs are the stream attributes that are written if Config says
// nothing.
var DefaultAttrs = []string{
	record.AttrCluster, record.AttrNode, record.AttrNamespace, record.AttrPod, record.AttrPodUID,
	record.AttrContainer, record.AttrWorkload, record.AttrApp, record.AttrService,
	record.AttrStream, record.AttrInput, record.AttrFile,
}

// Config says how records are written. The zero Config is ready for
// VictoriaLogs.
type Config struct {
	Keys Keys
	// Attrs are the canonical stream attributes to write; nil means
	// DefaultAttrs. Attributes with other names, which come from the
	// configuration of an input, are always written.
	Attrs []string
	// Labels and Annotations choose the pod labels and annotations to write,
	// as label_<name> and annotation_<name> with everything but letters,
	// digits and underscores replaced by underscores. A name that ends in *
	// stands for all that begin so.
	Labels, Annotations []string
	// IDs adds the record's id, if it has one, as log_record_uid.
	IDs bool
}

// Encoder writes records as JSON lines. It is for one goroutine.
type Encoder struct {
	cfg     Config
	streams *wire.Streams[stream]
	merge   wire.Merger
	clock   json.Clock
	mid     []byte // `"_time":"`
	msg     []byte // `,"_msg":`
	level   uint64
}

// stream is what the encoder makes of a record.Stream.
type stream struct {
	prefix     []byte // from the brace to the quote before the time
	text, json *wire.Own
}

// New returns an encoder.
func New(cfg Config) *Encoder {
	if cfg.Keys.Time == "" {
		cfg.Keys.Time = "_time"
	}
	if cfg.Keys.Message == "" {
		cfg.Keys.Message = "_msg"
	}
	if cfg.Attrs == nil {
		cfg.Attrs = DefaultAttrs
	}
	e := &Encoder{cfg: cfg}
	e.streams = wire.NewStreams(e.build)
	e.mid = append(json.AppendStringString(nil, cfg.Keys.Time), `:"`...)
	e.msg = append(json.AppendStringString([]byte{','}, cfg.Keys.Message), ':')
	e.level, _ = json.KnownMask("level")
	return e
}

// Clone returns an encoder of the same configuration for another goroutine.
func (e *Encoder) Clone() *Encoder { return New(e.cfg) }

func (e *Encoder) build(s *record.Stream) *stream {
	p := []byte{'{'}
	names := []string{e.cfg.Keys.Time, wire.FlagsName}
	used := map[string]bool{e.cfg.Keys.Time: true, e.cfg.Keys.Message: true, wire.FlagsName: true, "level": true}
	if e.cfg.IDs {
		names = append(names, idName)
		used[idName] = true
	}
	add := func(name, value string) {
		name = wire.Unique(used, name)
		names = append(names, name)
		p = json.AppendStringString(p, name)
		p = append(p, ':')
		p = json.AppendStringString(p, value)
		p = append(p, ',')
	}
	for _, a := range s.Attrs() {
		if !wire.IsAttr(a.Name) || slices.Contains(e.cfg.Attrs, a.Name) {
			add(a.Name, a.Value)
		}
	}
	for _, a := range wire.Choose(s.Labels(), e.cfg.Labels) {
		add("label_"+record.SanitizeName(a.Name), a.Value)
	}
	for _, a := range wire.Choose(s.Annotations(), e.cfg.Annotations) {
		add("annotation_"+record.SanitizeName(a.Name), a.Value)
	}
	p = append(p, e.mid...)
	optional := []string{"level", "trace_id", "span_id"}
	return &stream{
		prefix: p,
		json:   wire.NewOwn(names, optional),
		text:   wire.NewOwn(append(names, e.cfg.Keys.Message), optional),
	}
}

const idName = "log_record_uid"

// Append appends one line for each record of the parts, in order.
func (e *Encoder) Append(dst []byte, parts []record.Part) []byte {
	for _, p := range parts {
		b := p.Batch()
		e.streams.Use(b)
		e.merge.Use(b)
		for _, i := range p.Index() {
			dst = e.append(dst, b, int(i))
		}
	}
	e.streams.Done()
	e.merge.Done()
	return dst
}

func (e *Encoder) append(dst []byte, b *record.Batch, i int) []byte {
	r := b.Record(i)
	s := e.streams.Get(r.Stream)
	dst = append(dst, s.prefix...)
	dst = e.clock.Append(dst, r.Time)
	dst = append(dst, '"')
	isJSON := r.Flags.Has(record.JSONObject)
	own := s.text
	if isJSON {
		own = s.json
	}
	dst, present, ok := e.merge.Append(dst, i, own)
	if r.Severity != record.Unknown && present&e.level == 0 {
		dst = wire.AppendLevel(dst, `,"level":"`, r.Severity)
	}
	if !isJSON || !ok {
		dst = append(dst, e.msg...)
		dst = json.AppendString(dst, b.Bytes(r.Body))
	}
	if e.cfg.IDs {
		if id := wire.RecordID(b, i); !id.IsZero() {
			dst = append(dst, `,"`+idName+`":"`...)
			dst = wire.AppendID(dst, id)
			dst = append(dst, '"')
		}
	}
	if r.Flags&wire.Notable != 0 {
		dst = wire.AppendFlags(append(dst, ','), r.Flags)
	}
	return append(dst, '}', '\n')
}
