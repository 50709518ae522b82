// Package gelf reads GELF 1.1, the Graylog Extended Log Format: messages
// (Decoder), their chunks (Chunks), their boundaries in a stream (Framer) and what
// they are compressed with (Unzipper). It does no input and output and reads no
// clock.
// https://go2docs.graylog.org/current/getting_in_log_data/gelf.html
//
// # What a message becomes
//
//	full_message, if it begins with short_message or that is missing   the body
//	short_message      the body else; full_message is a field then
//	host               the Stream's node
//	timestamp          Time: seconds with a fraction
//	level              the severity
//	_container_id, _container_name, _image_name, _kubernetes_…   the Stream's, as
//	                   docker and Fluent Bit send them
//	_x, and any other  fields, without the underscore; arrays and objects as JSON
//
// A message without text, or with more fields than the limits allow, is kept
// whole: its JSON is the body.
package gelf

import (
	"errors"
	"fmt"
	"strings"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
	"github.com/weirlog/weir/wire/syslog"
)

// Decoder reads messages into batches. They stand in the batch's buffer already;
// text stays where it is unless it holds escapes. Nothing is allocated per record.
// A Decoder is for one goroutine; the cache may be shared by decoders with equal
// Attrs and Labels.
type Decoder struct {
	// Attrs are part of every Stream, unless the message says otherwise; Labels
	// are whatever it says.
	Attrs, Labels []record.Attr

	limits wire.Limits
	cache  *wire.StreamCache

	b    *record.Batch
	keys wire.Keys
	use  *record.Batch // whose names keys has
	scan json.Scanner
	key  []byte

	fields []pending
	size   int
	full   bool
	attrs  []attr
}

type pending struct {
	val  record.Span
	key  uint16
	kind record.Kind
}

// attr is an attribute of the stream.
type attr struct {
	name string
	val  record.Span
}

// NewDecoder returns a decoder. Zero limits are the defaults.
func NewDecoder(l wire.Limits, cache *wire.StreamCache) *Decoder {
	return &Decoder{limits: l.WithDefaults(), cache: cache}
}

// ErrNoMessage is in the chain of the error for what is no GELF message.
var ErrNoMessage = errors.New("not a GELF message")

// streamNames are the additional fields that say who wrote a message.
var streamNames = map[string]string{
	"_container_id":               record.AttrContainerID,
	"_container_name":             record.AttrContainer,
	"_image_name":                 record.AttrImage,
	"_kubernetes_cluster_name":    record.AttrCluster,
	"_kubernetes_namespace_name":  record.AttrNamespace,
	"_kubernetes_pod_name":        record.AttrPod,
	"_kubernetes_pod_id":          record.AttrPodUID,
	"_kubernetes_container_name":  record.AttrContainer,
	"_kubernetes_container_image": record.AttrImage,
	"_kubernetes_docker_id":       record.AttrContainerID,
	"_kubernetes_host":            record.AttrNode,
}

// Begin says that the messages that follow are for b. It need not be called for
// the first message of a batch.
func (d *Decoder) Begin(b *record.Batch) {
	d.use = b
	d.keys.Reset()
}

// Decode adds the message that the bytes of body in b's buffer are, uncompressed.
// The tenant, if not empty, becomes an attribute of its stream; now is the time in
// Unix nanoseconds. After an error nothing has been added; it has ErrNoMessage in
// its chain if the bytes are no message, wire.ErrTooMany if the batch is full.
func (d *Decoder) Decode(b *record.Batch, body record.Span, tenant string, now int64) (wire.Outcome, error) {
	if b != d.use || b.NumRecords() == 0 {
		d.Begin(b)
	}
	d.b = b
	defer func() { d.b = nil }()
	out := wire.Outcome{Streams: 1, Records: 1}
	p := b.Bytes(body)
	from := 0
	for from < len(p) && p[from] <= ' ' {
		from++
	}
	to := len(p)
	for to > from && (p[to-1] <= ' ') {
		to--
	}
	base := body.Off + uint32(from)
	p = p[from:to]
	if !d.scan.Object(p) {
		return out, fmt.Errorf("%w: %s", ErrNoMessage, d.scan.Why())
	}
	if b.NumRecords() == d.limits.Entries {
		return out, fmt.Errorf("more than %d messages: %w", d.limits.Entries, wire.ErrTooMany)
	}
	d.fields, d.attrs, d.size, d.full = d.fields[:0], d.attrs[:0], 0, false
	whole := record.Span{Off: base, Len: uint32(len(p))}
	r := record.Record{Time: now, Observed: now, Source: whole}
	var short, long record.Span
	for i := range d.scan.Members {
		m := &d.scan.Members[i]
		name := p[m.Key.Off:m.Key.End()]
		if m.Escaped {
			name = json.Unescape(nil, name)
		}
		raw := p[m.Val.Off:m.Val.End()]
		if len(name) > 0 && name[0] != '_' {
			switch string(name) {
			case "version":
				continue
			case "host":
				if m.Kind == record.String {
					d.attrs = append(d.attrs, attr{record.AttrNode, d.value(m, raw, base)})
					continue
				}
			case "short_message":
				if m.Kind == record.String {
					short = d.value(m, raw, base)
					continue
				}
			case "full_message":
				if m.Kind == record.String {
					long = d.value(m, raw, base)
					continue
				}
			case "timestamp":
				if ns, ok := seconds(raw); ok {
					if ns != 0 { // which is of clients that leave it to us
						r.Time = ns
					}
					continue
				}
			case "level":
				if len(raw) == 1 {
					r.Severity = syslog.Severity(int(raw[0]) - '0')
				}
				if r.Severity != record.Unknown {
					continue
				}
			}
			d.add(name, m.Kind, d.value(m, raw, base))
			continue
		}
		v := d.value(m, raw, base)
		if c, ok := streamNames[string(name)]; ok && m.Kind == record.String {
			d.attrs = append(d.attrs, attr{c, v})
			continue
		}
		d.add(name[min(len(name), 1):], m.Kind, v)
	}
	switch {
	case short.Len == 0:
		r.Body = long
	case long.Len >= short.Len && string(b.Bytes(long)[:short.Len]) == string(b.Bytes(short)):
		r.Body = long
	default:
		r.Body = short
		if long.Len > 0 {
			d.add([]byte("full_message"), record.String, long)
		}
	}
	if r.Body.Len == 0 || d.full || len(d.fields) > d.limits.Metadata || d.size > d.limits.MetadataBytes {
		r.Body, d.fields = whole, d.fields[:0]
		r.Flags |= record.JSONObject | record.ValidUTF8
		r.KnownKeys = d.scan.Known
	}
	var err error
	if r.Stream, err = d.stream(tenant); err != nil {
		return out, err
	}
	i := b.Add(r)
	for _, f := range d.fields {
		b.AddField(i, record.Field{Key: f.key, Kind: f.kind, Val: f.val})
	}
	return out, nil
}

// Raw adds what is no message as a record of its own, flagged ParseError beside
// flags.
func (d *Decoder) Raw(b *record.Batch, body record.Span, tenant string, now int64, flags record.Flags) error {
	d.b, d.attrs = b, d.attrs[:0]
	defer func() { d.b = nil }()
	stream, err := d.stream(tenant)
	if err == nil {
		b.Add(record.Record{Time: now, Observed: now, Body: body, Source: body, Stream: stream, Flags: flags | record.ParseError})
	}
	return err
}

// value returns where the value of m, which raw is, stands as text.
func (d *Decoder) value(m *json.Member, raw []byte, base uint32) record.Span {
	if m.Kind == record.String && m.ValEscaped {
		return d.b.Extend(len(json.Unescape(d.b.Reserve(len(raw))[:0], raw)))
	}
	return record.Span{Off: base + m.Val.Off, Len: m.Val.Len}
}

func (d *Decoder) add(name []byte, kind record.Kind, v record.Span) {
	if len(d.fields) > d.limits.Metadata || kind == record.Null {
		return
	}
	if len(name) == 0 || len(name) > d.limits.NameBytes {
		d.full = true
		return
	}
	key, ok := d.keys.Index(d.b, len(d.fields), name)
	if !ok {
		d.full = true
		return
	}
	d.size += len(name) + int(v.Len)
	d.fields = append(d.fields, pending{v, key, kind})
}

// stream returns the index of the stream with the attributes at hand.
func (d *Decoder) stream(tenant string) (uint16, error) {
	p := d.b.Buf()
	k := append(append(d.key[:0], tenant...), 0)
	for _, a := range d.attrs {
		if int(a.val.Len) <= d.limits.ValueBytes {
			k = append(append(k, a.name...), byte(a.val.Len), byte(a.val.Len>>8))
			k = append(k, p[a.val.Off:a.val.End()]...)
		}
	}
	d.key = k
	s := d.cache.Get(k)
	if s == nil {
		attrs := append([]record.Attr(nil), d.Attrs...)
		for _, a := range d.attrs {
			if v := p[a.val.Off:a.val.End()]; a.val.Len > 0 && int(a.val.Len) <= d.limits.ValueBytes {
				text := string(wire.AppendText(nil, v))
				if a.name == record.AttrContainer {
					text = strings.TrimPrefix(text, "/")
				}
				attrs = append(attrs, record.Attr{Name: a.name, Value: text})
			}
		}
		attrs = append(attrs, d.Labels...)
		if tenant != "" {
			attrs = append(attrs, record.Attr{Name: record.AttrTenant, Value: tenant})
		}
		s = d.cache.Put(k, &wire.PushedStream{Stream: record.NewStream(attrs, nil, nil)})
	}
	have := d.b.Streams()
	for i := max(0, len(have)-64); i < len(have); i++ {
		if have[i] == (record.StreamRef{Stream: s.Stream}) {
			return uint16(i), nil
		}
	}
	if len(have) == wire.MaxStreams {
		return 0, fmt.Errorf("more than %d streams: %w", wire.MaxStreams, wire.ErrTooMany)
	}
	return d.b.AddStream(record.StreamRef{Stream: s.Stream}), nil
}

// seconds reads a number of seconds as nanoseconds, exactly: 1385053862.3072.
func seconds(p []byte) (ns int64, ok bool) {
	i, neg := 0, false
	if len(p) > 0 && p[0] == '-' {
		neg, i = true, 1
	}
	start := i
	for ; i < len(p) && p[i]-'0' <= 9; i++ {
		if ns = ns*10 + int64(p[i]-'0'); ns > 9_000_000_000 {
			return 0, false
		}
	}
	if i == start {
		return 0, false
	}
	ns *= 1e9
	if i < len(p) && p[i] == '.' {
		unit := int64(100_000_000)
		for i++; i < len(p) && p[i]-'0' <= 9; i++ {
			ns += int64(p[i]-'0') * unit
			unit /= 10
		}
	}
	if neg {
		ns = -ns
	}
	return ns, i == len(p)
}
