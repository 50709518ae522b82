// Package document reads the JSON objects that people and collectors log into
// records: what of them says who wrote, when and how grave it is, and what is the
// message. Elasticsearch's bulk requests, JSON lines and Datadog's logs are such
// objects; what their members are called is in the Rules of each.
//
// # What an object becomes
//
// An object whose text stands in a member that only an envelope has (log, _msg,
// Datadog's message) is one: that text is the body, byte for byte, and the other
// members are fields, objects and arrays as JSON text.
//
// Every other object is the body, flagged JSONObject: as it stands if somebody
// logged it, and without the members that weir's encoders write back from what is
// known of the record (its time, its stream, its level) if a collector has put
// them there. If nothing but one text is left, that is the body.
//
// A member that says something of the stream and that no encoder would write back
// the same way is read and stays where it is. Nothing is lost.
package document

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// Decoder adds JSON objects to a batch. It is for one goroutine; the cache may be
// shared by decoders with the same Rules.
type Decoder struct {
	limits wire.Limits
	cache  *wire.StreamCache
	rules  *Rules

	b      *record.Batch
	p      []byte // the buffer's bytes up to the request's end
	now    int64
	tenant string
	out    wire.Outcome
	keys   wire.Keys
	scan   json.Scanner
	stamps stage.Timestamps

	key, last []byte // of the cache, for the object at hand and the one before
	stream    uint16 // of the one before, if last has anything
	index     map[*record.Stream]uint16
	of        []rule // of the members at hand
	fields    []record.Field
	name      []byte
	text      []byte
}

// Sent is what a request says of an object outside of it.
type Sent struct {
	ID record.ID
	// Attrs are attributes of its stream in the order of the request, which those
	// in the object win over. Key tells them apart: equal keys, equal attributes.
	Attrs []record.Attr
	Key   []byte
	// Time is its time if the object has none; 0 is none either.
	Time int64
}

// NewDecoder returns a decoder. Zero limits are the defaults.
func NewDecoder(l wire.Limits, cache *wire.StreamCache, rules *Rules) *Decoder {
	return &Decoder{limits: l.WithDefaults(), cache: cache, rules: rules}
}

// SetRules makes other rules those of the next Begin. The cache must be their own.
func (d *Decoder) SetRules(rules *Rules, cache *wire.StreamCache) { d.rules, d.cache = rules, cache }

// Limits returns the limits with defaults.
func (d *Decoder) Limits() *wire.Limits { return &d.limits }

// Begin says that objects of a request follow, whose bytes end at end in b's
// buffer. The tenant, if not empty, becomes an attribute of every stream; now is
// the time in Unix nanoseconds.
func (d *Decoder) Begin(b *record.Batch, end uint32, tenant string, now int64) {
	d.b, d.p, d.now, d.tenant = b, b.Buf()[:end], now, tenant
	d.out = wire.Outcome{}
	d.keys.Reset()
	d.last = d.last[:0]
	if len(d.index) > 1<<12 {
		d.index = nil
	}
	clear(d.index)
}

// End forgets the request and returns what was found.
func (d *Decoder) End() wire.Outcome {
	out := d.out
	d.b, d.p, d.out = nil, nil, wire.Outcome{}
	if cap(d.key) > 1<<20 || cap(d.last) > 1<<20 || cap(d.text) > 1<<20 {
		d.key, d.last, d.text = nil, nil, nil
	}
	return out
}

// Outcome is what was found so far.
func (d *Decoder) Outcome() *wire.Outcome { return &d.out }

// Count counts a record that Add was not asked about. The error is ErrTooMany's.
func (d *Decoder) Count() error {
	if d.out.Records == d.limits.Entries {
		return fmt.Errorf("more than %d records in a request: %w", d.limits.Entries, wire.ErrTooMany)
	}
	d.out.Records++
	return nil
}

// Refused is why an object is not taken, while the rest of its request may be.
type Refused struct{ Why string }

func (e *Refused) Error() string { return e.Why }

// Refusal returns why an object is not taken; ok is false if err is of the whole
// request.
func Refusal(err error) (why string, ok bool) {
	var e *Refused
	if errors.As(err, &e) {
		return e.Why, true
	}
	return "", false
}

// Add adds the object that the bytes of s are, which it may change, and returns
// the record's number. A *Refused error means that there is none; other errors are
// of the whole request. It counts nothing.
func (d *Decoder) Add(s record.Span, sent *Sent) (int, error) {
	text := d.p[s.Off:s.End()]
	if !d.scan.Object(text) {
		return 0, &Refused{d.scan.Err().Error()}
	}
	return d.object(text, s, sent)
}

// message is the member that holds the text.
type message struct {
	i    int // -1: none
	rank uint8
	rule rule
}

func (d *Decoder) object(text []byte, s record.Span, sent *Sent) (int, error) {
	r := record.Record{Time: sent.Time, Observed: d.now}
	rank := uint8(255) // of the time
	msg := message{i: -1, rank: 255}
	id := sent.ID
	d.of = d.of[:0]
	d.key = append(append(append(d.key[:0], d.tenant...), 0), sent.Key...)
	cut, marked, timed := 0, d.rules.always, -1
	ms := d.scan.Members
	for i := range ms {
		m := &ms[i]
		ru := d.rule(text, m)
		if ru.what != nothing {
			val := text[m.Val.Off:m.Val.End()]
			switch ru.what {
			case isTime:
				ns, ok := int64(0), false
				if !m.ValEscaped && m.Kind <= record.Float && ru.rank < rank {
					ns, _, ok = d.stamps.Parse(val)
				}
				if ok {
					r.Time, rank, timed = ns, ru.rank, i
					r.Flags |= record.TimeParsed
				} else {
					ru.cut = false
				}
			case isMessage, isEnvelope:
				if m.Kind == record.String && ru.rank < msg.rank {
					msg = message{i, ru.rank, ru}
				} else if m.Kind == record.JSON && string(text[m.Key.Off:m.Key.End()]) == "log" {
					d.stage(m, ru, val) // ECS: log.file.path
				}
				ru.cut = false
			case isLevel:
				ru.cut = d.level(&r, text, m, val) && ru.cut
			case isID:
				if m.Kind == record.String && !m.ValEscaped {
					id, ru.cut = IDOf(val), true
				}
			case isFlags:
				if ru.cut = m.Kind == record.JSON && d.flags(&r, val); !ru.cut {
					ru.what = nothing
				}
			case isIgnored:
				ru.cut = true
			case isKubernetes:
				if m.Kind != record.JSON || val[0] != '{' {
					ru = rule{}
					break
				}
				ru.cut = fluentdNames(val)
				d.stage(m, ru, val)
			case isStdStream:
				if m.Kind == record.String && (string(val) == "stdout" || string(val) == "stderr") {
					d.stage(m, ru, val)
				} else {
					ru = rule{}
				}
			case isAttr:
				if m.Kind == record.String && ru.cut || !ru.cut && m.Kind != record.Null {
					d.stage(m, ru, val)
				} else {
					ru = rule{}
				}
			default:
				d.stage(m, ru, val)
			}
			if ru.cut {
				cut++
			}
			marked = marked || ru.mark
		}
		d.of = append(d.of, ru)
	}
	if r.Time == 0 {
		r.Time = d.now
	}
	stream, sev, err := d.use(text, sent)
	if err != nil {
		return 0, err
	}
	r.Stream = stream
	if r.Severity == record.Unknown {
		r.Severity = sev
	}
	left := len(ms) - cut
	if timed >= 0 && d.of[timed].cut {
		timed = -1
	}
	if timed >= 0 {
		left--
	}
	switch {
	case msg.i >= 0 && (msg.rule.what == isEnvelope && left-1 <= d.limits.Metadata || left == 1 && !d.rules.keep):
		if timed >= 0 {
			d.of[timed].cut = true
		}
		return d.envelope(r, text, s, msg.i, id)
	case cut > 0 && marked:
		s = d.cut(&r, text, s)
	default:
		r.KnownKeys = d.scan.Known
	}
	r.Body, r.Source = s, s
	r.Flags |= record.JSONObject | record.ValidUTF8
	return d.add(r, id), nil
}

func (d *Decoder) add(r record.Record, id record.ID) int {
	i := d.b.Add(r)
	if !id.IsZero() {
		d.b.SetID(i, id)
	}
	return i
}

// rule returns what is to become of a member.
func (d *Decoder) rule(text []byte, m *json.Member) rule {
	if m.Bit != json.NoBit {
		return d.rules.known[m.Bit]
	}
	if n := m.Key.Len; len(d.rules.other) == 0 && len(d.rules.prefixes) == 0 || n == 0 {
		return rule{}
	}
	key := text[m.Key.Off:m.Key.End()]
	if m.Escaped {
		d.name = json.Unescape(d.name[:0], key)
		key = d.name
	}
	if ru, ok := d.rules.other[string(key)]; ok {
		return ru
	}
	for _, p := range d.rules.prefixes {
		if len(key) > len(p.name) && string(key[:len(p.name)]) == p.name {
			return p.rule
		}
	}
	return rule{}
}

// stage notes a member that the stream is made from.
func (d *Decoder) stage(m *json.Member, ru rule, val []byte) {
	k := append(d.key, byte(ru.what), byte(m.Kind), byte(len(ru.attr)))
	k = append(k, ru.attr...)
	if ru.what == isPrefix {
		k = binary.AppendUvarint(k, uint64(m.Key.Len))
		k = append(k, d.name...)
	}
	k = binary.AppendUvarint(k, uint64(len(val)))
	d.key = append(k, val...)
}

// level reads a level's member and reports whether encoders write it back the
// same.
func (d *Decoder) level(r *record.Record, text []byte, m *json.Member, val []byte) bool {
	if r.Severity != record.Unknown || m.Kind > record.Int || m.ValEscaped {
		return false
	}
	sev, ok := stage.NamedLevel(text[m.Key.Off:m.Key.End()], val)
	if !ok && m.Kind == record.String {
		sev, ok = stage.ParseLevel(val)
	}
	if !ok {
		return false
	}
	r.Severity = sev
	return m.Kind == record.String && string(val) == sev.Level()
}

// flags reads the member in which encoders write flags.
func (d *Decoder) flags(r *record.Record, val []byte) bool {
	var rd json.Reader
	rd.Reset(val)
	flags := record.Flags(0)
	rd.Enter('{')
	for {
		name, _, more := rd.Name()
		if !more {
			break
		}
		s, kind, ok := rd.Scalar()
		if !ok || kind != record.Bool || val[s.Off] != 't' {
			return false
		}
		switch string(val[name.Off:name.End()]) {
		case "partial":
			flags |= record.Partial
		case "continued":
			flags |= record.Continued
		case "parse_error":
			flags |= record.ParseError
		default: // gap: no sender may say that of what it sends
			return false
		}
	}
	if rd.Err() != nil || flags == 0 {
		return false
	}
	r.Flags |= flags
	return true
}

// envelope adds the record whose body is the member msg and whose fields are the
// others.
func (d *Decoder) envelope(r record.Record, text []byte, s record.Span, msg int, id record.ID) (int, error) {
	ms := d.scan.Members
	m := &ms[msg]
	val := text[m.Val.Off:m.Val.End()]
	n := m.Val.Len
	if m.ValEscaped {
		n = uint32(len(json.UnescapeInPlace(val)))
	}
	r.Body = record.Span{Off: s.Off + m.Val.Off, Len: n}
	r.Source = r.Body
	r.Flags |= record.ValidUTF8
	d.fields = d.fields[:0]
	for k := range ms {
		if k == msg || d.of[k].cut {
			continue
		}
		m := &ms[k]
		name := text[m.Key.Off:m.Key.End()]
		if m.Escaped {
			d.name = json.Unescape(d.name[:0], name)
			name = d.name
		}
		if len(name) > d.limits.NameBytes {
			return 0, &Refused{fmt.Sprintf("name of a member too long: %d bytes; limit %d", len(name), d.limits.NameBytes)}
		}
		key, ok := d.keys.Index(d.b, len(d.fields), name)
		if !ok {
			return 0, &Refused{fmt.Sprintf("more than %d names of members in a request", record.MaxKeys)}
		}
		v := m.Val
		if m.ValEscaped {
			v.Len = uint32(len(json.UnescapeInPlace(text[v.Off:v.End()])))
		}
		d.fields = append(d.fields, record.Field{Key: key, Kind: m.Kind, Val: record.Span{Off: s.Off + v.Off, Len: v.Len}})
	}
	i := d.add(r, id)
	for _, f := range d.fields {
		d.b.AddField(i, f)
	}
	return i, nil
}

// cut takes the members out of the object that are to be, where it stands.
func (d *Decoder) cut(r *record.Record, text []byte, s record.Span) record.Span {
	ms := d.scan.Members
	w := 1
	known := uint64(0)
	for i := 0; i < len(ms); {
		if d.of[i].cut {
			i++
			continue
		}
		from := ms[i].Start()
		j := i
		for ; j < len(ms) && !d.of[j].cut; j++ {
			if ms[j].Bit != json.NoBit {
				known |= 1 << ms[j].Bit
			}
		}
		last := &ms[j-1]
		if w > 1 {
			text[w] = ','
			w++
		}
		w += copy(text[w:], text[from:last.Raw().End()])
		i = j
	}
	text[w] = '}'
	r.KnownKeys = known
	return record.Span{Off: s.Off, Len: uint32(w + 1)}
}

// use returns the index of the stream of the object at hand, by d.key.
func (d *Decoder) use(text []byte, sent *Sent) (uint16, record.Severity, error) {
	if len(d.last) > 0 && string(d.last) == string(d.key) {
		return d.stream, 0, nil
	}
	s := d.cache.Get(d.key)
	if s == nil {
		stream, err := d.newStream(text, sent)
		if err != nil {
			return 0, 0, err
		}
		s = d.cache.Put(d.key, &wire.PushedStream{Stream: stream})
	}
	i, ok := d.index[s.Stream]
	if !ok {
		if len(d.b.Streams()) == wire.MaxStreams {
			return 0, 0, fmt.Errorf("more than %d streams in a request: %w", wire.MaxStreams, wire.ErrTooMany)
		}
		i = d.b.AddStream(record.StreamRef{Stream: s.Stream})
		if d.index == nil {
			d.index = make(map[*record.Stream]uint16)
		}
		d.index[s.Stream] = i
	}
	d.stream = i
	d.key, d.last = d.last, d.key
	return i, s.Severity, nil
}

// IDOf returns the id that a sender's stands for: what weir writes as it is, of
// any other text the XXH3-128 hash.
func IDOf(text []byte) record.ID {
	if len(text) == 32 {
		if id, ok := record.ParseID(string(text)); ok {
			return id
		}
	}
	h := xxh3.Hash128(text)
	return record.ID{Hi: h.Hi, Lo: h.Lo}
}

// AddText adds a record whose body is the text at s.
func (d *Decoder) AddText(s record.Span, flags record.Flags, sent *Sent) error {
	d.scan.Members, d.of = d.scan.Members[:0], d.of[:0]
	d.key = append(append(append(d.key[:0], d.tenant...), 0), sent.Key...)
	stream, _, err := d.use(nil, sent)
	if err != nil {
		return err
	}
	t := sent.Time
	if t == 0 {
		t = d.now
	}
	d.add(record.Record{Time: t, Observed: d.now, Body: s, Source: s, Stream: stream, Flags: flags}, sent.ID)
	return nil
}
