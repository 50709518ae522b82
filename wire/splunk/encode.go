package splunk

import (
	"strconv"
	"strings"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// EncoderConfig says how events are written. A template that is nil is left out.
type EncoderConfig struct {
	Index, Source, Sourcetype, Host *wire.Template
}

// Encoder writes events for the HTTP Event Collector, one JSON object behind the
// other:
//
//	{"host":"node-1","source":"shop/api-1/api","sourcetype":"kube:container:api",
//	 "time":1795000000.123456789,"event":"hello",
//	 "fields":{"namespace":"shop","pod":"api-1","level":"info","weir_id":"…"}}
//
// A JSON body is the event as it stands, any other a text; an empty one is
// {"message":""}, since the collector refuses blank events. The record's writer,
// level, fields, notable flags and id are indexed fields, all of them texts.
// https://docs.splunk.com/Documentation/Splunk/latest/Data/FormateventsforHTTPEventCollector
//
// It is for one goroutine.
type Encoder struct {
	cfg     EncoderConfig
	streams *wire.Streams[encStream]
	names   []encName // those that are not the same for a whole stream
	scratch []byte
}

type encName struct {
	key []byte // `"index":`
	t   *wire.Template
}

// encStream is what the encoder makes of a record.Stream.
type encStream struct {
	prefix []byte // from the brace on, each member with a comma behind it
	fields []byte // members of fields, each with a comma before it
	used   map[string]bool
}

// NewEncoder returns an encoder.
func NewEncoder(cfg EncoderConfig) *Encoder {
	e := &Encoder{cfg: cfg}
	for _, n := range cfg.all() {
		if n.t != nil && !perStream(n.t) {
			e.names = append(e.names, n)
		}
	}
	e.streams = wire.NewStreams(e.build)
	return e
}

func (c *EncoderConfig) all() []encName {
	return []encName{
		{[]byte(`"host":`), c.Host}, {[]byte(`"source":`), c.Source}, {[]byte(`"sourcetype":`), c.Sourcetype}, {[]byte(`"index":`), c.Index},
	}
}

// perStream reports whether the template makes the same of all records of a
// stream.
func perStream(t *wire.Template) bool {
	from, to := t.Window(0)
	return !t.PerRecord() && from < 0 && to > 1<<62
}

// Clone returns an encoder of the same configuration for another goroutine.
func (e *Encoder) Clone() *Encoder { return NewEncoder(e.cfg) }

func (e *Encoder) build(s *record.Stream) *encStream {
	st := &encStream{prefix: []byte{'{'}, used: map[string]bool{"level": true, "weir_id": true}}
	one := record.NewBatch(nil)
	one.Add(record.Record{Stream: one.AddStream(record.StreamRef{Stream: s})})
	for _, n := range e.cfg.all() {
		if n.t != nil && perStream(n.t) {
			st.prefix = append(json.AppendString(append(st.prefix, n.key...), n.t.Append(nil, one, 0)), ',')
		}
	}
	add := func(name, value string) {
		name = wire.Unique(st.used, name)
		st.fields = append(json.AppendStringString(append(st.fields, ','), name), ':')
		st.fields = json.AppendStringString(st.fields, value)
	}
	for _, a := range s.Attrs() {
		if !strings.HasPrefix(a.Name, "__") {
			add(a.Name, a.Value)
		}
	}
	for _, a := range s.Labels() {
		add("label_"+record.SanitizeName(a.Name), a.Value)
	}
	for _, a := range s.Annotations() {
		add("annotation_"+record.SanitizeName(a.Name), a.Value)
	}
	return st
}

// Append appends an event for each record of the parts, in order.
func (e *Encoder) Append(dst []byte, parts []record.Part) []byte {
	for _, p := range parts {
		b := p.Batch()
		e.streams.Use(b)
		for _, i := range p.Index() {
			dst = e.append(dst, b, int(i))
		}
	}
	e.streams.Done()
	return dst
}

func (e *Encoder) append(dst []byte, b *record.Batch, i int) []byte {
	r := b.Record(i)
	s := e.streams.Get(r.Stream)
	dst = append(dst, s.prefix...)
	for _, n := range e.names {
		e.scratch = n.t.Append(e.scratch[:0], b, i)
		dst = append(json.AppendString(append(dst, n.key...), e.scratch), ',')
	}
	dst = append(dst, `"time":`...)
	dst = appendSeconds(dst, r.Time)
	dst = append(dst, `,"event":`...)
	switch body := b.Bytes(r.Body); {
	case len(body) == 0:
		dst = append(dst, `{"message":""}`...)
	case r.Flags.Has(record.JSONObject) && len(body) > 2:
		dst = append(dst, body...)
	default:
		dst = json.AppendString(dst, body)
	}
	dst = append(dst, `,"fields":`...)
	at := len(dst)
	dst = append(dst, s.fields...)
	if r.Severity != record.Unknown {
		dst = wire.AppendLevel(dst, `,"level":"`, r.Severity)
	}
	fields := b.Fields(i)
next:
	for j, f := range fields {
		if f.Val.Len == 0 || f.Kind == record.Null {
			continue
		}
		for _, g := range fields[j+1:] {
			if g.Key == f.Key {
				continue next
			}
		}
		dst = append(dst, ',')
		if name := b.KeyName(f.Key); s.used[name] {
			dst = json.AppendStringString(dst, "field_"+name)
		} else {
			dst = json.AppendStringString(dst, name)
		}
		dst = json.AppendString(append(dst, ':'), b.Bytes(f.Val))
	}
	if flags := r.Flags & wire.Notable; flags != 0 {
		wire.EachFlag(flags, func(name string) {
			dst = append(append(append(dst, `,"weir_`...), name...), `":"true"`...)
		})
	}
	if id := wire.RecordID(b, i); !id.IsZero() {
		dst = append(dst, `,"weir_id":"`...)
		dst = append(wire.AppendID(dst, id), '"')
	}
	if len(dst) == at {
		return append(dst, "{}}\n"...)
	}
	dst[at] = '{'
	return append(dst, "}}\n"...)
}

// appendSeconds appends a time as seconds with nine decimals.
func appendSeconds(dst []byte, ns int64) []byte {
	if ns < 0 {
		return append(dst, '0') // before 1970 the collector knows no time
	}
	dst = strconv.AppendInt(dst, ns/1e9, 10)
	frac := ns % 1e9
	dst = append(dst, ".000000000"...)
	for k := len(dst) - 1; frac > 0; k-- {
		dst[k] = byte('0' + frac%10)
		frac /= 10
	}
	return dst
}
