package loki

import (
	"errors"
	"fmt"
	"math"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// Decoder reads push requests, protobuf (Protobuf) and JSON (JSON), into
// batches. The request stands in the batch's buffer already, uncompressed, and
// what becomes a record's line or metadata stays where it is: nothing is copied
// and nothing is allocated per record. Records keep the request's order.
//
// What a request says becomes:
//
//	stream labels          the Stream's attributes, by their names
//	line                   the body, byte for byte
//	timestamp              Time; Observed is when the request came
//	structured metadata    fields, but for:
//	  detected_level       the severity, if it is a level's name
//	  weir_id              the record's id (32 hexadecimal digits)
//	  weir_partial, weir_continued, weir_parse_error = true   flags
//
// The severity is that of the metadata detected_level, else of the first with a
// level's name (stage.NamedLevel), else of a stream's label with one, else
// unknown. The label detected_level is only that, not a label.
//
// A request that is not well-formed is an error as a whole, which names the
// stream and entry, counted from 1. Streams and entries that exceed the limits,
// or whose labels are wrong, are left out alone, and the Outcome tells of them.
//
// A Decoder is for one goroutine; the cache may be shared.
type Decoder struct {
	limits wire.Limits
	cache  *wire.StreamCache

	b      *record.Batch
	p      []byte // the buffer's bytes up to the request's end
	base   uint32 // where in it a JSON text begins
	now    int64
	tenant string
	out    wire.Outcome
	keys   wire.Keys
	rd     json.Reader
	key    []byte // of the cache
	attrs  []record.Attr

	// The stream at hand.
	stream  uint16
	level   record.Severity
	added   bool // it has an entry in the batch's stream table
	pushed  *wire.PushedStream
	entries int // seen of the stream

	// The entry at hand.
	pairs []pair
	id    record.ID
}

// pair is structured metadata.
type pair struct {
	name, value record.Span
	key         uint16 // if isField
	flag        record.Flags
	what        meaning
}

// meaning is what becomes of a pair.
type meaning uint8

const (
	isNothing meaning = iota
	isField
	isID
	isFlag
)

// NewDecoder returns a decoder. Zero limits are the defaults.
func NewDecoder(l wire.Limits, cache *wire.StreamCache) *Decoder {
	return &Decoder{limits: l.WithDefaults(), cache: cache}
}

func (d *Decoder) begin(b *record.Batch, body record.Span, tenant string, now int64) {
	d.b, d.p, d.now, d.tenant = b, b.Buf()[:body.End()], now, tenant
	d.out = wire.Outcome{}
	d.keys.Reset()
}

func (d *Decoder) end(err error) (wire.Outcome, error) {
	out := d.out
	d.b, d.p, d.pushed, d.out = nil, nil, nil, wire.Outcome{}
	if cap(d.key) > 1<<20 {
		d.key = nil
	}
	return out, err
}

// Protobuf decodes a logproto.PushRequest, the bytes of body in b's buffer. The
// tenant, if not empty, becomes an attribute of every stream; now is the time in
// Unix nanoseconds. After an error the batch holds some of the records and must
// not be used. ErrTooMany is in the error's chain if the request should be
// split.
func (d *Decoder) Protobuf(b *record.Batch, body record.Span, tenant string, now int64) (wire.Outcome, error) {
	d.begin(b, body, tenant, now)
	return d.end(d.request(int(body.Off), int(body.End())))
}

// errWire is what is wrong with bytes that are not the protobuf message.
var errWire = errors.New("not a protobuf message of this kind: cut short, or a length or tag that cannot be")

func (d *Decoder) request(i, end int) error {
	for i < end {
		num, typ, next := wire.ProtoTag(d.p[:end], i)
		if next < 0 {
			return fmt.Errorf("request: %w", errWire)
		}
		if num != pushStreams || typ != wire.ProtoBytes {
			if i = wire.ProtoSkip(d.p[:end], next, typ); i < 0 {
				return fmt.Errorf("request: %w", errWire)
			}
			continue
		}
		from, to := wire.ProtoLen(d.p[:end], next)
		if to < 0 {
			return fmt.Errorf("stream %d: %w", d.out.Streams+1, errWire)
		}
		d.out.Streams++
		if err := d.protoStream(from, to); err != nil {
			return fmt.Errorf("stream %d: %w", d.out.Streams, err)
		}
		i = to
	}
	return nil
}

func (d *Decoder) protoStream(i, end int) error {
	p := d.p[:end]
	labels, err := findLabels(p, i)
	if err != nil {
		return err
	}
	bad := d.use(labels, (*Decoder).parseText)
	d.entries = 0
	for i < end {
		num, typ, next := wire.ProtoTag(p, i)
		if next < 0 {
			return errWire
		}
		if num != streamEntries || typ != wire.ProtoBytes {
			if i = wire.ProtoSkip(p, next, typ); i < 0 {
				return errWire
			}
			continue
		}
		from, to := wire.ProtoLen(p, next)
		d.entries++
		if to < 0 {
			return fmt.Errorf("entry %d: %w", d.entries, errWire)
		}
		if bad == nil {
			if err := d.protoEntry(from, to); err != nil {
				return fmt.Errorf("entry %d: %w", d.entries, err)
			}
		}
		i = to
	}
	return d.endStream(bad)
}

// endStream counts the entries of a stream that was refused as a whole.
func (d *Decoder) endStream(bad error) error {
	if bad != nil {
		if d.out.Records+d.entries > d.limits.Entries {
			return d.tooMany()
		}
		d.out.Records += d.entries
		d.out.Refuse(d.entries, "stream %d: %s", d.out.Streams, bad)
	}
	return nil
}

func (d *Decoder) tooMany() error {
	return fmt.Errorf("more than %d entries in a request: %w", d.limits.Entries, wire.ErrTooMany)
}

// findLabels returns the labels of the stream message at p[i:]; the field may
// stand behind the entries.
func findLabels(p []byte, i int) ([]byte, error) {
	for i < len(p) {
		num, typ, next := wire.ProtoTag(p, i)
		if next < 0 {
			return nil, errWire
		}
		if num == streamLabels && typ == wire.ProtoBytes {
			from, to := wire.ProtoLen(p, next)
			if to < 0 {
				return nil, errWire
			}
			return p[from:to], nil
		}
		if i = wire.ProtoSkip(p, next, typ); i < 0 {
			return nil, errWire
		}
	}
	return nil, nil
}

// protoEntry decodes one logproto.Entry.
func (d *Decoder) protoEntry(i, end int) error {
	p := d.p[:end]
	var line record.Span
	var at stamp
	d.pairs = d.pairs[:0]
	many := 0
	for i < end {
		num, typ, next := wire.ProtoTag(p, i)
		if next < 0 {
			return errWire
		}
		if typ != wire.ProtoBytes || num > entryMetadata {
			if i = wire.ProtoSkip(p, next, typ); i < 0 {
				return errWire
			}
			continue
		}
		from, to := wire.ProtoLen(p, next)
		if to < 0 {
			return errWire
		}
		switch num {
		case entryTime:
			if !at.decode(p[:to], from) {
				return errWire
			}
		case entryLine:
			line = record.Span{Off: uint32(from), Len: uint32(to - from)}
		case entryMetadata:
			if len(d.pairs) > d.limits.Metadata {
				many++
				break
			}
			kv, ok := protoPair(p[:to], from)
			if !ok {
				return errWire
			}
			d.pairs = append(d.pairs, kv)
		}
		i = to
	}
	ns, ok := at.nanos()
	return d.entry(ns, ok, line, many)
}

// protoPair decodes one logproto.LabelPairAdapter.
func protoPair(p []byte, i int) (kv pair, ok bool) {
	for i < len(p) {
		num, typ, next := wire.ProtoTag(p, i)
		if next < 0 {
			return kv, false
		}
		if typ != wire.ProtoBytes || num > pairValue {
			if i = wire.ProtoSkip(p, next, typ); i < 0 {
				return kv, false
			}
			continue
		}
		from, to := wire.ProtoLen(p, next)
		if to < 0 {
			return kv, false
		}
		s := record.Span{Off: uint32(from), Len: uint32(to - from)}
		if num == pairName {
			kv.name = s
		} else {
			kv.value = s
		}
		i = to
	}
	return kv, true
}

// stamp is a google.protobuf.Timestamp.
type stamp struct{ sec, nano int64 }

func (t *stamp) decode(p []byte, i int) bool {
	for i < len(p) {
		num, typ, next := wire.ProtoTag(p, i)
		if next < 0 {
			return false
		}
		if typ != wire.ProtoVarint || num > timeNanos {
			if i = wire.ProtoSkip(p, next, typ); i < 0 {
				return false
			}
			continue
		}
		v, next := wire.Uvarint(p, next)
		if next < 0 {
			return false
		}
		if num == timeSeconds {
			t.sec = int64(v)
		} else {
			t.nano = int64(int32(v))
		}
		i = next
	}
	return true
}

func (t *stamp) nanos() (int64, bool) {
	const most = math.MaxInt64/1_000_000_000 - 1
	return t.sec*1e9 + t.nano, t.sec <= most && t.sec >= -most
}

// use finds the Stream of the labels at hand, which text stands for, or parses
// it. The error is why the stream's entries are refused.
func (d *Decoder) use(text []byte, parse func(*Decoder, []byte) error) error {
	d.added, d.pushed, d.level = false, nil, 0
	d.key = append(append(append(d.key[:0], d.tenant...), 0), text...)
	s := d.cache.Get(d.key)
	if s == nil {
		d.attrs = d.attrs[:0]
		if err := parse(d, text); err != nil {
			return err
		}
		s = &wire.PushedStream{}
		kept := d.attrs[:0]
		for _, a := range d.attrs {
			sev, ok := stage.NamedLevel([]byte(a.Name), []byte(a.Value))
			if ok {
				s.Severity = sev
				if a.Name == detectedLevel {
					continue
				}
			}
			kept = append(kept, a)
		}
		if d.tenant != "" {
			kept = append(kept, record.Attr{Name: record.AttrTenant, Value: d.tenant})
		}
		s.Stream = record.NewStream(kept, nil, nil)
		s = d.cache.Put(d.key, s)
	}
	d.pushed, d.level = s, s.Severity
	return nil
}

func (d *Decoder) parseText(text []byte) (err error) {
	d.attrs, err = parseLabels(d.attrs, text, &d.limits)
	return err
}

// entry adds the record of line and d.pairs, or counts it as refused. many is
// how many pairs there were beyond d.pairs.
func (d *Decoder) entry(ns int64, inRange bool, line record.Span, many int) error {
	if d.out.Records == d.limits.Entries {
		return d.tooMany()
	}
	d.out.Records++
	if !inRange {
		d.refuse("timestamp is out of the range of years 1678 to 2262")
		return nil
	}
	if n := len(d.pairs) + many; n > d.limits.Metadata {
		d.refuse(fmt.Sprintf("too many structured metadata: %d pairs; limit %d", n, d.limits.Metadata))
		return nil
	}
	size := 0
	for _, kv := range d.pairs {
		size += int(kv.name.Len) + int(kv.value.Len)
		if int(kv.name.Len) > d.limits.NameBytes {
			d.refuse(fmt.Sprintf("name of structured metadata too long: %d bytes; limit %d", kv.name.Len, d.limits.NameBytes))
			return nil
		}
	}
	if size > d.limits.MetadataBytes {
		d.refuse(fmt.Sprintf("structured metadata too large: %d bytes; limit %d", size, d.limits.MetadataBytes))
		return nil
	}
	b := d.b
	level, ok := d.sortOut()
	if !ok {
		d.refuse(fmt.Sprintf("more than %d names of structured metadata in a request", record.MaxKeys))
		return nil
	}
	if !d.added {
		if len(b.Streams()) == wire.MaxStreams {
			return fmt.Errorf("more than %d streams in a request: %w", wire.MaxStreams, wire.ErrTooMany)
		}
		d.stream = b.AddStream(record.StreamRef{Stream: d.pushed.Stream})
		d.added = true
	}
	i := b.Add(record.Record{Time: ns, Observed: d.now, Body: line, Source: line, Stream: d.stream, Severity: level})
	for _, kv := range d.pairs {
		switch kv.what {
		case isField:
			b.AddField(i, record.Field{Key: kv.key, Kind: record.String, Val: kv.value})
		case isID:
			b.SetID(i, d.id)
		case isFlag:
			b.Record(i).Flags |= kv.flag
		}
	}
	return nil
}

func (d *Decoder) refuse(why string) {
	d.out.Refuse(1, "stream %d: entry %d: %s", d.out.Streams, d.entries, why)
}

const detectedLevel = "detected_level"

// sortOut finds out what the pairs are and returns the entry's severity. ok is
// false if the batch takes no more names.
func (d *Decoder) sortOut() (level record.Severity, ok bool) {
	level = d.level
	rank := 0 // of what level is from
	n := 0
	for i := range d.pairs {
		kv := &d.pairs[i]
		name, value := d.p[kv.name.Off:kv.name.End()], d.p[kv.value.Off:kv.value.End()]
		kv.what = isNothing
		if len(name) == 0 {
			continue
		}
		if sev, ok := stage.NamedLevel(name, value); ok {
			if string(name) == detectedLevel {
				level, rank = sev, 2
				continue
			}
			if rank == 0 {
				level, rank = sev, 1
			}
		}
		if name[0] == 'w' {
			if string(name) == "weir_id" {
				if id, ok := record.ParseID(string(value)); ok {
					d.id, kv.what = id, isID
					continue
				}
			}
			if kv.flag = flagOf(name, value); kv.flag != 0 {
				kv.what = isFlag
				continue
			}
		}
		if kv.key, ok = d.keys.Index(d.b, n, name); !ok {
			return 0, false
		}
		kv.what = isField
		n++
	}
	return level, true
}

// flagOf returns the flag that the encoder writes in that way, 0 if it is none.
// weir_gap stays metadata: steps leave gap records alone, and no sender may say
// that of what it sends.
func flagOf(name, value []byte) record.Flags {
	if string(value) != "true" {
		return 0
	}
	switch string(name) {
	case "weir_partial":
		return record.Partial
	case "weir_continued":
		return record.Continued
	case "weir_parse_error":
		return record.ParseError
	}
	return 0
}
