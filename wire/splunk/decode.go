package splunk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/document"
	"github.com/weirlog/weir/wire/json"
)

// Names of stream attributes that only Splunk has.
const (
	AttrSource     = "source"
	AttrSourcetype = "sourcetype"
	AttrIndex      = "index"
)

// Metadata are what a request says of all its events, and an event of itself.
type Metadata struct {
	Host, Source, Sourcetype, Index string
	Time                            int64 // 0: none
}

// Decoder reads the bodies of Splunk's HTTP Event Collector. It is for one
// goroutine; the cache may be shared.
//
// What an event becomes:
//
//	event                text: the body, byte for byte; an object: the body, as JSON
//	time                 Time, in seconds
//	host                 the Stream's node
//	source, sourcetype,
//	index                the Stream's attributes of these names
//	fields               fields; those named like an attribute of Kubernetes (k8s.pod.name …)
//	                     are the Stream's, severity and level the severity
//
// https://docs.splunk.com/Documentation/Splunk/latest/Data/FormateventsforHTTPEventCollector
type Decoder struct {
	limits wire.Limits
	cache  *wire.StreamCache

	b      *record.Batch
	p      []byte
	base   uint32
	now    int64
	tenant string
	out    wire.Outcome
	keys   wire.Keys
	rd     json.Reader
	scan   json.Scanner
	key    []byte
	last   []byte
	stream uint16
	index  map[*record.Stream]uint16
	fields []field
}

type field struct {
	name, val record.Span
	kind      record.Kind
	attr      string // the stream's, canonical
}

// EventError is what is wrong with an event: those before it can be taken, and
// nothing behind it has been looked at.
type EventError struct {
	Code   int // as in Splunk's answers: 6, 12, 13, 15
	Number int // of the event, from 0
	Err    error
}

func (e *EventError) Error() string { return fmt.Sprintf("event %d: %v", e.Number, e.Err) }

func (e *EventError) Unwrap() error { return e.Err }

// NewDecoder returns a decoder. Zero limits are the defaults.
func NewDecoder(l wire.Limits, cache *wire.StreamCache) *Decoder {
	return &Decoder{limits: l.WithDefaults(), cache: cache}
}

func (d *Decoder) begin(b *record.Batch, body record.Span, tenant string, now int64) {
	d.b, d.p, d.base, d.now, d.tenant = b, b.Buf()[body.Off:body.End()], body.Off, now, tenant
	d.out = wire.Outcome{}
	d.keys.Reset()
	d.last = d.last[:0]
	if len(d.index) > 1<<12 {
		d.index = nil
	}
	clear(d.index)
}

func (d *Decoder) end(err error) (wire.Outcome, error) {
	out := d.out
	d.rd.Reset(nil)
	d.b, d.p, d.out = nil, nil, wire.Outcome{}
	if cap(d.key) > 1<<20 || cap(d.last) > 1<<20 {
		d.key, d.last = nil, nil
	}
	return out, err
}

// Events decodes JSON objects, one behind the other, or in an array: the bytes of
// body in b's buffer, which it changes. of is what the request says of all of them;
// an event's own words win. The tenant, if not empty, becomes an attribute of
// every stream; now is the time in Unix nanoseconds.
//
// An *EventError says that the events before it are in the batch and are to be
// taken. After another error the batch must not be used; ErrTooMany is in its chain
// if the request should be split.
func (d *Decoder) Events(b *record.Batch, body record.Span, of Metadata, tenant string, now int64) (wire.Outcome, error) {
	d.begin(b, body, tenant, now)
	return d.end(d.events(of))
}

func (d *Decoder) events(of Metadata) error {
	r := &d.rd
	r.Reset(d.p)
	array := r.Kind() == '['
	if array {
		r.Enter('[')
	}
	for n := 0; ; n++ {
		if array {
			if !r.More() {
				if r.Err() != nil {
					return &EventError{6, n, r.Err()}
				}
				if !r.End() {
					return &EventError{6, n, r.Err()}
				}
				return nil
			}
		} else if at := skipSpace(d.p, r.Offset()); at == len(d.p) {
			return nil
		}
		if d.out.Records == d.limits.Entries {
			return fmt.Errorf("more than %d events in a request: %w", d.limits.Entries, wire.ErrTooMany)
		}
		if err := d.event(n, of); err != nil {
			return err
		}
		d.out.Records++
	}
}

func skipSpace(p []byte, i int) int {
	for i < len(p) && (p[i] == ' ' || p[i] == '\t' || p[i] == '\n' || p[i] == '\r' || p[i] == ',') {
		i++
	}
	return i
}

// text returns the bytes of a string, in place.
func (d *Decoder) text(s record.Span, esc bool) record.Span {
	if esc {
		s.Len = uint32(len(json.UnescapeInPlace(d.p[s.Off:s.End()])))
	}
	return s
}

func (d *Decoder) event(n int, of Metadata) error {
	r := &d.rd
	bad := func(code int, err error) error { return &EventError{code, n, err} }
	if !r.Enter('{') {
		return bad(6, r.Err())
	}
	var event, host, source, sourcetype, index record.Span
	var kind byte
	at := of.Time
	d.fields = d.fields[:0]
	for {
		s, esc, more := r.Name()
		if !more {
			break
		}
		name := string(d.p[s.Off:s.End()])
		if esc {
			name = string(json.Unescape(nil, d.p[s.Off:s.End()]))
		}
		switch k := r.Kind(); {
		case name == "event":
			kind = k
			if k == '"' {
				s, esc, _ := r.String()
				event = d.text(s, esc)
			} else {
				event, _ = r.Skip()
			}
		case name == "time":
			var v record.Span
			if k == '"' {
				v, _, _ = r.String()
			} else {
				v, _ = r.Skip()
			}
			if r.Err() == nil && v.Len > 0 && k != 'n' {
				ns, ok := seconds(bytes.TrimSpace(d.p[v.Off:v.End()]))
				if !ok {
					return bad(6, errors.New("time is no number of seconds"))
				}
				at = ns
			}
		case name == "fields":
			if k == 'n' {
				r.Skip()
				break
			}
			if k != '{' {
				return bad(15, errors.New("fields is no object"))
			}
			if err := d.indexed(); err != nil {
				return bad(15, err)
			}
		default:
			var v record.Span
			if k == '"' {
				v, esc, _ = r.String()
				v = d.text(v, esc)
			} else {
				v, _ = r.Skip()
				if k == 'n' {
					v = record.Span{}
				}
			}
			switch name {
			case "host":
				host = v
			case "source":
				source = v
			case "sourcetype":
				sourcetype = v
			case "index":
				index = v
			}
		}
	}
	switch {
	case r.Err() != nil:
		return bad(6, r.Err())
	case kind == 0, kind == 'n':
		return bad(12, errors.New("there is no event"))
	case event.Len == 0:
		return bad(13, errors.New("the event is blank"))
	}
	stream, err := d.use(&of, host, source, sourcetype, index)
	if err != nil {
		return err
	}
	return d.add(n, event, kind, at, stream)
}

func (d *Decoder) add(n int, event record.Span, kind byte, at int64, stream uint16) error {
	if at == 0 {
		at = d.now
	}
	body := record.Span{Off: d.base + event.Off, Len: event.Len}
	r := record.Record{Time: at, Observed: d.now, Body: body, Source: body, Stream: stream}
	if kind == '{' && d.scan.Object(d.p[event.Off:event.End()]) {
		r.Flags |= record.JSONObject | record.ValidUTF8
		r.KnownKeys = d.scan.Known
	}
	if len(d.fields) > d.limits.Metadata {
		return &EventError{15, n, fmt.Errorf("more than %d fields", d.limits.Metadata)}
	}
	pos := 0
	for i := range d.fields {
		f := &d.fields[i]
		if f.attr != "" {
			continue
		}
		name, val := d.p[f.name.Off:f.name.End()], d.p[f.val.Off:f.val.End()]
		if r.Severity == record.Unknown {
			if sev, ok := stage.NamedLevel(name, val); ok {
				r.Severity = sev
			}
		}
		if len(name) > d.limits.NameBytes {
			return &EventError{15, n, errors.New("name of a field too long")}
		}
		key, ok := d.keys.Index(d.b, pos, name)
		if !ok {
			return &EventError{15, n, fmt.Errorf("more than %d names of fields in a request", record.MaxKeys)}
		}
		pos++
		f.name.Len = uint32(key) // no longer a name
	}
	i := d.b.Add(r)
	for _, f := range d.fields {
		if f.attr == "" {
			d.b.AddField(i, record.Field{Key: uint16(f.name.Len), Kind: f.kind, Val: record.Span{Off: d.base + f.val.Off, Len: f.val.Len}})
		}
	}
	return nil
}

// indexed reads the object fields.
func (d *Decoder) indexed() error {
	r := &d.rd
	r.Enter('{')
	for {
		s, esc, more := r.Name()
		if !more {
			return r.Err()
		}
		f := field{name: d.text(s, esc)}
		switch r.Kind() {
		case '"':
			s, esc, _ := r.String()
			f.val = d.text(s, esc)
		case '[', '{':
			f.val, _ = r.Skip()
			f.kind = record.JSON
		default:
			f.val, f.kind, _ = r.Scalar()
		}
		if r.Err() != nil {
			return r.Err()
		}
		if f.kind == record.String {
			name := d.p[f.name.Off:f.name.End()]
			if c := document.Canonical(string(name)); c != string(name) || wire.IsAttr(c) {
				f.attr = c
			}
		}
		if len(d.fields) <= d.limits.Metadata && f.name.Len > 0 {
			d.fields = append(d.fields, f)
		}
	}
}

// seconds reads a time in seconds with a fraction; larger numbers are in
// milliseconds and less, as their size tells.
func seconds(p []byte) (int64, bool) {
	var t stage.Timestamps
	if len(p) == 0 || p[0]-'0' > 9 {
		return 0, false
	}
	if !wire.IsNumber(p) {
		return 0, false
	}
	if ns, _, ok := t.Parse(p); ok {
		return ns, true
	}
	// Small ones, of clocks that were never set.
	var n int64
	for _, c := range p {
		if c == '.' {
			break
		}
		if c-'0' > 9 || n > 1<<33 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n * 1e9, true
}

// Raw decodes text, each line an event. Empty lines are none.
func (d *Decoder) Raw(b *record.Batch, body record.Span, of Metadata, tenant string, now int64) (wire.Outcome, error) {
	d.begin(b, body, tenant, now)
	return d.end(d.raw(of))
}

// maxLine is where a line of text is cut, in bytes.
const maxLine = 1 << 20

func (d *Decoder) raw(of Metadata) error {
	d.fields = d.fields[:0]
	none := record.Span{}
	stream, err := d.use(&of, none, none, none, none)
	if err != nil {
		return err
	}
	at := of.Time
	if at == 0 {
		at = d.now
	}
	for i := 0; i < len(d.p); {
		n := bytes.IndexByte(d.p[i:], '\n')
		next := i + n + 1
		if n < 0 {
			n, next = len(d.p)-i, len(d.p)
		}
		end := i + n
		if end > i && d.p[end-1] == '\r' {
			end--
		}
		flags := record.Flags(0)
		for i < end {
			if d.out.Records == d.limits.Entries {
				return fmt.Errorf("more than %d events in a request: %w", d.limits.Entries, wire.ErrTooMany)
			}
			d.out.Records++
			n := min(end-i, maxLine)
			if n < end-i {
				flags |= record.Partial
			}
			s := record.Span{Off: d.base + uint32(i), Len: uint32(n)}
			d.b.Add(record.Record{Time: at, Observed: d.now, Body: s, Source: s, Stream: stream, Flags: flags})
			flags = record.Continued
			i += n
		}
		i = next
	}
	return nil
}

// use returns the index of the stream of the event at hand.
func (d *Decoder) use(of *Metadata, host, source, sourcetype, index record.Span) (uint16, error) {
	k := append(append(d.key[:0], d.tenant...), 0)
	for i, s := range [4]record.Span{host, source, sourcetype, index} {
		k = binary.AppendUvarint(k, uint64(s.Len))
		if s.Len > 0 {
			k = append(k, d.p[s.Off:s.End()]...)
		} else {
			v := [4]string{of.Host, of.Source, of.Sourcetype, of.Index}[i]
			k = append(binary.AppendUvarint(k, uint64(len(v))), v...)
		}
	}
	for i := range d.fields {
		if f := &d.fields[i]; f.attr != "" {
			k = append(append(k, f.attr...), 0)
			k = binary.AppendUvarint(k, uint64(f.val.Len))
			k = append(k, d.p[f.val.Off:f.val.End()]...)
		}
	}
	d.key = k
	if len(d.last) > 0 && string(d.last) == string(k) {
		return d.stream, nil
	}
	s := d.cache.Get(k)
	if s == nil {
		a := document.Attrs{Limits: &d.limits}
		or := func(s record.Span, def string) string {
			if s.Len == 0 {
				return def
			}
			return string(wire.AppendText(nil, d.p[s.Off:s.End()]))
		}
		a.Put(record.AttrNode, or(host, of.Host))
		a.Put(AttrSource, or(source, of.Source))
		a.Put(AttrSourcetype, or(sourcetype, of.Sourcetype))
		a.Put(AttrIndex, or(index, of.Index))
		for i := range d.fields {
			if f := &d.fields[i]; f.attr != "" {
				a.Put(f.attr, or(f.val, ""))
			}
		}
		s = d.cache.Put(k, &wire.PushedStream{Stream: a.Stream(d.tenant)})
	}
	i, ok := d.index[s.Stream]
	if !ok {
		if len(d.b.Streams()) == wire.MaxStreams {
			return 0, fmt.Errorf("more than %d streams in a request: %w", wire.MaxStreams, wire.ErrTooMany)
		}
		i = d.b.AddStream(record.StreamRef{Stream: s.Stream})
		if d.index == nil {
			d.index = make(map[*record.Stream]uint16)
		}
		d.index[s.Stream] = i
	}
	d.stream = i
	d.key, d.last = d.last, d.key
	return i, nil
}
