package syslog

import (
	"bytes"
	"fmt"
	"time"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// Format is what messages are expected to be.
type Format uint8

// The formats.
const (
	Auto    Format = iota // each message says what it is
	RFC3164               // also what begins like RFC 5424
	RFC5424               // anything else is a parse error
)

// Decoder reads messages into batches; see the package documentation for what
// becomes of them. Messages stand in the batch's buffer already and stay where
// they are; nothing is allocated per record. No message is left out: what cannot
// be read is a record that says so. A Decoder is for one goroutine; the cache may
// be shared by decoders with equal Attrs, Labels and Local.
//
// A time without a year is the last such time, or up to a week ahead of now, so that
// one of December that comes in January is of last year. One without a zone is in
// Zone.
type Decoder struct {
	// Attrs are part of every Stream, unless the message says otherwise; Labels
	// are whatever it says.
	Attrs, Labels []record.Attr
	Format        Format
	Zone          *time.Location // nil: UTC
	// Local says that messages of RFC 3164 have no host name, as on /dev/log.
	Local bool

	limits wire.Limits
	cache  *wire.StreamCache

	b      *record.Batch
	now    int64
	tenant string
	peer   string
	out    wire.Outcome
	keys   wire.Keys
	stamp  stamp
	key    []byte
	last   []byte // the key of stream
	stream uint16
	ref    *record.Stream

	m message
}

// message is the one at hand. Its spans are of d.b's buffer.
type message struct {
	pri     int // negative: none
	time    int64
	hasTime bool
	host    record.Span
	app     record.Span
	procid  record.Span
	msgid   record.Span
	body    record.Span
	data    []param
	size    int
	bad     bool // is no syslog
}

// param is a parameter of structured data.
type param struct {
	id, name, value record.Span
}

// NewDecoder returns a decoder. Zero limits are the defaults.
func NewDecoder(l wire.Limits, cache *wire.StreamCache) *Decoder {
	return &Decoder{limits: l.WithDefaults(), cache: cache}
}

// Begin says that the messages that follow are for b. peer is who sends them: the
// node of messages that name none; it may be empty. The tenant, if not empty,
// becomes an attribute of every stream; now is the time in Unix nanoseconds.
func (d *Decoder) Begin(b *record.Batch, peer, tenant string, now int64) {
	d.b, d.peer, d.tenant, d.now = b, peer, tenant, now
	d.out = wire.Outcome{}
	d.keys.Reset()
	d.last = d.last[:0]
	d.stamp.zone = d.Zone
	if cap(d.key) > 1<<20 {
		d.key, d.last = nil, nil
	}
}

// From sets the peer of the messages that follow.
func (d *Decoder) From(peer string) {
	if peer != d.peer {
		d.peer, d.last = peer, d.last[:0]
	}
}

// Message adds the message s of the batch's buffer, without what ends it. flags
// are those of its Frame: the pieces of a long one follow each other.
func (d *Decoder) Message(s record.Span, flags record.Flags) error {
	if d.out.Records == d.limits.Entries {
		return fmt.Errorf("more than %d messages: %w", d.limits.Entries, wire.ErrTooMany)
	}
	d.out.Records++
	m := &d.m
	*m = message{pri: -1, time: d.now, body: s, data: m.data[:0]}
	if flags&record.Continued == 0 {
		d.read(s)
	} else if d.ref != nil && len(d.last) == 0 {
		// The rest of a message whose beginning is in another batch.
		d.stream = d.b.AddStream(record.StreamRef{Stream: d.ref})
	}
	if flags&record.Continued == 0 || d.ref == nil {
		if err := d.use(); err != nil {
			return err
		}
	}
	r := record.Record{Time: m.time, Observed: d.now, Body: m.body, Source: s, Stream: d.stream, Flags: flags}
	if m.pri >= 0 {
		r.Severity = severities[m.pri&7]
	}
	if m.bad {
		r.Flags |= record.ParseError
		r.Body = s
	}
	i := d.b.Add(r)
	if m.bad {
		return nil
	}
	n := 0
	field := func(name []byte, v record.Span) {
		if k, ok := d.keys.Index(d.b, n, name); ok {
			d.b.AddField(i, record.Field{Key: k, Kind: record.String, Val: v})
			n++
		}
	}
	if m.procid.Len > 0 {
		field(nameProcID, m.procid)
	}
	if m.msgid.Len > 0 {
		field(nameMsgID, m.msgid)
	}
	for _, p := range m.data {
		buf := d.b.Buf()
		d.key = append(append(append(d.key[:0], buf[p.id.Off:p.id.End()]...), '_'), buf[p.name.Off:p.name.End()]...)
		field(d.key, p.value)
	}
	return nil
}

// End forgets the batch and returns what was decoded since Begin.
func (d *Decoder) End() wire.Outcome {
	out := d.out
	d.b, d.out = nil, wire.Outcome{}
	return out
}

// Decode decodes the bytes of body in b's buffer: a stream of messages of which no
// more will come.
func (d *Decoder) Decode(b *record.Batch, body record.Span, tenant string, now int64) (wire.Outcome, error) {
	d.Begin(b, "", tenant, now)
	var f Framer
	i := int(body.Off)
	for {
		fr, ok := f.Next(b.Buf()[i:body.End()], true)
		if !ok {
			return d.End(), nil
		}
		if fr.To > fr.From {
			if err := d.Message(record.Span{Off: uint32(i + fr.From), Len: uint32(fr.To - fr.From)}, fr.Flags); err != nil {
				return d.End(), err
			}
		}
		i += fr.Next
	}
}

var (
	nameProcID = []byte("procid")
	nameMsgID  = []byte("msgid")
	nilValue   = "-"
	bom        = "\xef\xbb\xbf"
)

// read parses the message s into d.m.
func (d *Decoder) read(s record.Span) {
	m := &d.m
	p := d.b.Buf()[:s.End()]
	i := int(s.Off)
	if i < len(p) && p[i] == '<' {
		pri, j := 0, i+1
		for j < len(p) && p[j]-'0' <= 9 && j-i <= 3 {
			pri = pri*10 + int(p[j]-'0')
			j++
		}
		if j > i+1 && j < len(p) && p[j] == '>' && pri <= 191 {
			m.pri = pri
			i = j + 1
		}
	}
	if d.Format != RFC3164 && m.pri >= 0 && i+1 < len(p) && p[i] == '1' && p[i+1] == ' ' {
		if d.rfc5424(p, i+2) {
			return
		}
		pri := m.pri
		*m = message{pri: pri, time: d.now, data: m.data[:0], bad: true}
		return
	}
	if d.Format == RFC5424 {
		m.bad = true
		return
	}
	d.rfc3164(p, i)
}

// token returns the text up to the next space at p[i], and where what follows the
// space begins; next is negative if there is no space.
func token(p []byte, i int) (s record.Span, next int) {
	k := bytes.IndexByte(p[i:], ' ')
	if k < 0 {
		return record.Span{Off: uint32(i), Len: uint32(len(p) - i)}, -1
	}
	return record.Span{Off: uint32(i), Len: uint32(k)}, i + k + 1
}

// rfc5424 reads what follows the version. https://www.rfc-editor.org/rfc/rfc5424#section-6
func (d *Decoder) rfc5424(p []byte, i int) bool {
	m := &d.m
	at, next := token(p, i)
	if next < 0 {
		return false
	}
	if string(p[at.Off:at.End()]) != nilValue {
		ns, end, ok := d.stamp.iso(p[:at.End()], i)
		if !ok || end != int(at.End()) {
			return false
		}
		m.time, m.hasTime = ns, true
	}
	for _, f := range [...]*record.Span{&m.host, &m.app, &m.procid, &m.msgid} {
		if i = next; i >= len(p) {
			return false
		}
		*f, next = token(p, i)
		if f.Len == 0 || next < 0 && f != &m.msgid {
			return false
		}
		if string(p[f.Off:f.End()]) == nilValue {
			*f = record.Span{}
		}
	}
	if next < 0 {
		m.body = record.Span{Off: uint32(len(p))}
		return true // without structured data, as some send
	}
	i = next
	switch {
	case i < len(p) && p[i] == '-' && (i+1 == len(p) || p[i+1] == ' '):
		i++
	case i < len(p) && p[i] == '[':
		if end, ok := d.structured(p, i); ok {
			i = end
			break
		}
		// What is not structured, or is too much, is text.
		m.data = m.data[:0]
		m.body = record.Span{Off: uint32(i), Len: uint32(len(p) - i)}
		return true
	default:
		m.body = record.Span{Off: uint32(i), Len: uint32(len(p) - i)}
		return true
	}
	if i < len(p) && p[i] == ' ' {
		i++
	}
	if len(p)-i >= 3 && string(p[i:i+3]) == bom {
		i += 3
	}
	m.body = record.Span{Off: uint32(i), Len: uint32(len(p) - i)}
	return true
}

// structured reads the elements at p[i].
func (d *Decoder) structured(p []byte, i int) (end int, ok bool) {
	m := &d.m
	for i < len(p) && p[i] == '[' {
		i++
		id := i
		for i < len(p) && p[i] != ' ' && p[i] != ']' && p[i] != '=' && p[i] != '"' {
			i++
		}
		if i == id || i == len(p) {
			return 0, false
		}
		element := record.Span{Off: uint32(id), Len: uint32(i - id)}
		for i < len(p) && p[i] == ' ' {
			for i < len(p) && p[i] == ' ' {
				i++
			}
			if i < len(p) && p[i] == ']' {
				break
			}
			name := i
			for i < len(p) && p[i] != '=' && p[i] != ' ' && p[i] != ']' && p[i] != '"' {
				i++
			}
			if i == name || i+1 >= len(p) || p[i] != '=' || p[i+1] != '"' {
				return 0, false
			}
			key := record.Span{Off: uint32(name), Len: uint32(i - name)}
			i += 2
			from, escaped := i, false
			for i < len(p) && p[i] != '"' {
				if p[i] == '\\' && i+1 < len(p) {
					escaped = true
					i++
				}
				i++
			}
			if i >= len(p) {
				return 0, false
			}
			v := record.Span{Off: uint32(from), Len: uint32(i - from)}
			if escaped {
				v = d.unescape(p[from:i])
			}
			i++
			m.size += int(element.Len) + int(key.Len) + int(v.Len)
			if len(m.data) == d.limits.Metadata-2 || m.size > d.limits.MetadataBytes || int(element.Len)+int(key.Len) >= d.limits.NameBytes {
				return 0, false
			}
			m.data = append(m.data, param{element, key, v})
		}
		if i >= len(p) || p[i] != ']' {
			return 0, false
		}
		i++
	}
	return i, i == len(p) || p[i] == ' '
}

// unescape appends a value without the backslashes before quotes, brackets and
// backslashes; one before anything else stands for itself.
func (d *Decoder) unescape(v []byte) record.Span {
	room := d.b.Reserve(len(v))
	n := 0
	for i := 0; i < len(v); i++ {
		if v[i] == '\\' && i+1 < len(v) && (v[i+1] == '"' || v[i+1] == ']' || v[i+1] == '\\') {
			i++
		}
		room[n] = v[i]
		n++
	}
	return d.b.Extend(n)
}

// use finds the stream of the message at hand.
func (d *Decoder) use() error {
	m := &d.m
	p := d.b.Buf()
	host, app := p[m.host.Off:m.host.End()], p[m.app.Off:m.app.End()]
	if len(host) > d.limits.ValueBytes || m.bad {
		host = nil
	}
	if len(app) > d.limits.ValueBytes || m.bad {
		app = nil
	}
	fac := byte(255)
	if m.pri >= 0 {
		fac = byte(m.pri >> 3)
	}
	k := append(append(d.key[:0], d.tenant...), 0, fac)
	if len(host) == 0 {
		k = append(append(k, 1), d.peer...)
	} else {
		k = append(append(k, 0), host...)
	}
	k = append(append(k, 0), app...)
	d.key = k
	if len(d.last) > 0 && string(k) == string(d.last) {
		return nil
	}
	s := d.cache.Get(k)
	if s == nil {
		s = d.cache.Put(k, &wire.PushedStream{Stream: d.newStream(host, app)})
	}
	if len(d.b.Streams()) == wire.MaxStreams {
		return fmt.Errorf("more than %d streams: %w", wire.MaxStreams, wire.ErrTooMany)
	}
	d.stream, d.ref = d.addStream(s.Stream), s.Stream
	d.key, d.last = d.last, d.key
	return nil
}

// addStream returns the stream's index, also if it is not one of the last.
func (d *Decoder) addStream(s *record.Stream) uint16 {
	have := d.b.Streams()
	for i := max(0, len(have)-64); i < len(have); i++ {
		if have[i] == (record.StreamRef{Stream: s}) {
			return uint16(i)
		}
	}
	return d.b.AddStream(record.StreamRef{Stream: s})
}

func (d *Decoder) newStream(host, app []byte) *record.Stream {
	attrs := append([]record.Attr(nil), d.Attrs...)
	put := func(name, value string) {
		if value != "" {
			attrs = append(attrs, record.Attr{Name: name, Value: value})
		}
	}
	put(record.AttrNode, d.peer)
	put(record.AttrNode, string(wire.AppendText(nil, host)))
	put(record.AttrApp, string(wire.AppendText(nil, app)))
	if d.m.pri >= 0 {
		put("facility", facilities[d.m.pri>>3])
	}
	attrs = append(attrs, d.Labels...)
	put(record.AttrTenant, d.tenant)
	return record.NewStream(attrs, nil, nil)
}
