// Package audit reads the audit events that a Kubernetes API server posts to its
// webhook: lists of audit.k8s.io/v1.
//
//	the event                     the body, as JSON, byte for byte
//	auditID and stage             the record's id
//	stageTimestamp                Time; without it requestReceivedTimestamp
//	verb, user, objectRef …       fields, named as LogQL's json parser names them
//	responseStatus.code           the severity: 5xx error, 4xx warn, else info
//
// The stream's input is audit.
// https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/
package audit

import (
	"errors"
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// Decoder reads requests. It is for one goroutine; the cache may be shared.
type Decoder struct {
	limits wire.Limits
	cache  *wire.StreamCache

	b      *record.Batch
	p      []byte // the request
	base   uint32
	now    int64
	out    wire.Outcome
	keys   wire.Keys
	rd     json.Reader
	scan   json.Scanner
	stamps stage.Timestamps
	fields []record.Field
	id     []byte
	stream uint16
}

// NewDecoder returns a decoder. Zero limits are the defaults.
func NewDecoder(l wire.Limits, cache *wire.StreamCache) *Decoder {
	return &Decoder{limits: l.WithDefaults(), cache: cache}
}

// Decode decodes an EventList, or one Event, the bytes of body in b's buffer. The
// tenant, if not empty, becomes an attribute of the stream; now is the time in Unix
// nanoseconds. After an error the batch must not be used. ErrTooMany is in its
// chain if the request should be split.
func (d *Decoder) Decode(b *record.Batch, body record.Span, tenant string, now int64) (wire.Outcome, error) {
	d.b, d.p, d.base, d.now = b, b.Buf()[body.Off:body.End()], body.Off, now
	d.out = wire.Outcome{}
	d.keys.Reset()
	s := d.cache.Get([]byte(tenant))
	if s == nil {
		attrs := []record.Attr{{Name: record.AttrInput, Value: "audit"}}
		if tenant != "" {
			attrs = append(attrs, record.Attr{Name: record.AttrTenant, Value: tenant})
		}
		s = d.cache.Put([]byte(tenant), &wire.PushedStream{Stream: record.NewStream(attrs, nil, nil)})
	}
	d.stream = b.AddStream(record.StreamRef{Stream: s.Stream})
	d.rd.Reset(d.p)
	err := d.list()
	out := d.out
	d.rd.Reset(nil)
	d.b, d.p, d.out = nil, nil, wire.Outcome{}
	return out, err
}

func (d *Decoder) list() error {
	r := &d.rd
	if !r.Enter('{') {
		return r.Err()
	}
	list, single := false, false
	for {
		s, _, more := r.Name()
		if !more {
			break
		}
		switch name := d.p[s.Off:s.End()]; {
		case string(name) == "auditID":
			single = true
			r.Skip()
		case string(name) == "items" && r.Kind() == '[':
			list = true
			r.Enter('[')
			for n := 1; r.More(); n++ {
				s, ok := r.Skip()
				if !ok {
					return fmt.Errorf("item %d: %w", n, r.Err())
				}
				if err := d.event(s, n); err != nil {
					return err
				}
			}
		default:
			r.Skip()
		}
	}
	r.End()
	switch {
	case r.Err() != nil:
		return r.Err()
	case list:
		return nil
	case single:
		from, to := 0, len(d.p)
		for d.p[from] != '{' {
			from++
		}
		for d.p[to-1] != '}' {
			to--
		}
		return d.event(record.Span{Off: uint32(from), Len: uint32(to - from)}, 1)
	}
	return errors.New("not an EventList of audit.k8s.io: it has no items")
}

// paths are the members that become fields, the second element being of an object.
// level is one of detail, not of gravity.
var paths = [...]struct{ top, in, field string }{
	{"verb", "", "verb"}, {"stage", "", "stage"}, {"requestURI", "", "requestURI"}, {"userAgent", "", "userAgent"},
	{"user", "username", "user_username"}, {"impersonatedUser", "username", "impersonatedUser_username"},
	{"objectRef", "resource", "objectRef_resource"}, {"objectRef", "subresource", "objectRef_subresource"},
	{"objectRef", "namespace", "objectRef_namespace"}, {"objectRef", "name", "objectRef_name"}, {"objectRef", "apiGroup", "objectRef_apiGroup"},
	{"responseStatus", "code", "responseStatus_code"}, {"responseStatus", "reason", "responseStatus_reason"},
}

func (d *Decoder) event(s record.Span, n int) error {
	if d.out.Records == d.limits.Entries {
		return fmt.Errorf("more than %d events in a request: %w", d.limits.Entries, wire.ErrTooMany)
	}
	d.out.Records++
	text := d.p[s.Off:s.End()]
	body := record.Span{Off: d.base + s.Off, Len: s.Len}
	r := record.Record{Time: d.now, Observed: d.now, Body: body, Source: body, Stream: d.stream, Severity: record.Info}
	if !d.scan.Object(text) {
		if len(text) == 0 || text[0] != '{' {
			d.out.Refuse(1, "item %d: not an object", n)
			return nil
		}
		// Well-formed, or it would not be here; not fit to be merged.
		d.b.Add(r)
		return nil
	}
	r.Flags = record.JSONObject | record.ValidUTF8
	r.KnownKeys = d.scan.Known
	d.fields, d.id = d.fields[:0], d.id[:0]
	var stage, received record.Span
	for i := range d.scan.Members {
		m := &d.scan.Members[i]
		name := text[m.Key.Off:m.Key.End()]
		switch string(name) {
		case "auditID":
			d.id = append(d.id, text[m.Val.Off:m.Val.End()]...)
			continue
		case "stageTimestamp":
			stage = m.Val
			continue
		case "requestReceivedTimestamp":
			received = m.Val
			continue
		}
		d.member(text, s.Off, m, name, &r)
	}
	for _, t := range [2]record.Span{received, stage} {
		if ns, _, ok := d.stamps.Parse(text[t.Off:t.End()]); t.Len > 0 && ok {
			r.Time = ns
			r.Flags |= record.TimeParsed
		}
	}
	i := d.b.Add(r)
	for _, f := range d.fields {
		d.b.AddField(i, f)
	}
	if len(d.id) > 0 {
		if m, ok := d.scan.Find(text, "stage"); ok {
			d.id = append(append(d.id, '/'), text[m.Val.Off:m.Val.End()]...)
		}
		h := xxh3.Hash128(d.id)
		d.b.SetID(i, record.ID{Hi: h.Hi, Lo: h.Lo})
	}
	return nil
}

// member makes fields of what a member of the event holds.
func (d *Decoder) member(text []byte, off uint32, m *json.Member, name []byte, r *record.Record) {
	for i := range paths {
		p := &paths[i]
		if p.top != string(name) {
			continue
		}
		val, kind, esc := m.Val, m.Kind, m.ValEscaped
		if p.in != "" {
			if m.Kind != record.JSON {
				continue
			}
			var ok bool
			if val, kind, esc, ok = inside(text, m.Val, p.in); !ok {
				continue
			}
		}
		if esc || kind == record.JSON || kind == record.Null {
			continue // it stands in the body
		}
		if p.field == "responseStatus_code" && val.Len == 3 {
			switch text[val.Off] {
			case '5':
				r.Severity = record.Error
			case '4':
				r.Severity = record.Warn
			}
		}
		if key, ok := d.keys.Index(d.b, len(d.fields), []byte(p.field)); ok {
			d.fields = append(d.fields, record.Field{Key: key, Kind: kind, Val: record.Span{Off: d.base + off + val.Off, Len: val.Len}})
		}
	}
}

// inside finds a member of the object at s.
func inside(text []byte, s record.Span, name string) (val record.Span, kind record.Kind, esc, ok bool) {
	var r json.Reader
	r.Reset(text[s.Off:s.End()])
	if !r.Enter('{') {
		return val, 0, false, false
	}
	for {
		k, _, more := r.Name()
		if !more {
			return val, 0, false, false
		}
		if string(text[s.Off+k.Off:s.Off+k.End()]) != name {
			r.Skip()
			continue
		}
		switch r.Kind() {
		case '"':
			val, esc, ok = r.String()
		case '{', '[':
			return val, 0, false, false
		default:
			val, kind, ok = r.Scalar()
		}
		val.Off += s.Off
		return val, kind, esc, ok
	}
}
