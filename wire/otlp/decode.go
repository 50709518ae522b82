package otlp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire"
)

// Decoder reads ExportLogsServiceRequests, protobuf (Protobuf) and JSON (JSON),
// into batches. The request stands in the batch's buffer already, uncompressed;
// strings stay where they are, and what has no text yet (numbers, ids, nested
// values) is appended. Nothing is allocated per record.
//
// What a request says becomes:
//
//	resource attributes    the Stream: the names the Encoder writes become the
//	                       canonical attributes again, k8s.pod.label.* and
//	                       k8s.pod.annotation.* the pod's labels and annotations,
//	                       what Loki makes index labels of are attributes with
//	                       underscores for dots, and all others keep their names
//	scope                  the fields scope_name, scope_version and its attributes,
//	                       unless it is weir's own
//	body                   the body: a string or bytes as they are, a map or array
//	                       as JSON, anything else as text
//	time, observed time    Time (else the observed one, else now), Observed
//	severity number, text  the severity; a text in other words than weir's stays, as
//	                       severity_text
//	trace_id, span_id, flags, event_name   fields, if set
//	attributes             fields: maps flattened with underscores between the
//	                       names, arrays as JSON, bytes as base64; but for
//	  log.iostream, log.file.path   the Stream's stream and file
//	  log.record.uid       the record's id: 32 hexadecimal digits as they are;
//	                       others are hashed, and stay fields
//	  weir.partial, weir.continued, weir.parse_error, weir.gap = true   flags
//	  weir.source, weir.start, weir.end   where the record was read: the
//	                       generation, and the record's Start and End in it
//
// Who reads the batch decides whether the sender may say the last of them, and
// weir.gap: see wire.Distrust.
//
// A request that is not well-formed is an error as a whole, which names the
// resource, scope and record, counted from 1. Records that exceed the limits are
// left out alone, and the Outcome tells of them, its Streams being resources.
//
// A Decoder is for one goroutine; the cache may be shared.
type Decoder struct {
	limits wire.Limits
	cache  *wire.StreamCache

	b       *record.Batch
	p       []byte // the request: the buffer as it was before anything was appended
	now     int64
	tenant  string
	out     wire.Outcome
	keys    wire.Keys
	repeat  int    // bytes that may still be repeated
	name    []byte // of a nested field
	key     []byte // of the cache
	scratch []byte
	trans   transcoder

	// The resource and scope at hand.
	resource []byte
	bad      error             // why the resource's records are refused
	streams  map[string]uint16 // by own key
	scopes   []pending
	nscope   int // of scope
	nrecord  int // in the scope

	// The record at hand.
	fields []pending
	size   int
	full   bool // the batch takes no more names
	long   bool // a name is too long
	deep   bool // a value is nested too deeply
	level  record.Severity
	stream string      // stdout or stderr
	file   record.Span // log.file.path
	flags  record.Flags
	id     record.ID
	source record.ID // weir.source
	start  int64
	stop   int64 // weir.end
}

// fieldSize is what a field takes in a batch, in bytes.
const fieldSize = 12

// pending is a field of a record before it is known that the record is taken.
type pending struct {
	val  record.Span
	key  uint16
	kind record.Kind
}

// NewDecoder returns a decoder. Zero limits are the defaults.
func NewDecoder(l wire.Limits, cache *wire.StreamCache) *Decoder {
	return &Decoder{limits: l.WithDefaults(), cache: cache, streams: make(map[string]uint16)}
}

// repeatFloor is how much a request may make the decoder repeat, beside four
// times its own size: what is said once of a scope becomes part of each of its
// records, and what is said of a resource part of each of its streams.
const repeatFloor = 16 << 20

// errWire is what is wrong with bytes that are not the protobuf message.
var errWire = errors.New("not a protobuf message of this kind: cut short, or a length or tag that cannot be")

// Protobuf decodes the bytes of body in b's buffer. The tenant, if not empty,
// becomes an attribute of every stream; now is the time in Unix nanoseconds.
// After an error the batch holds some of the records and must not be used.
// wire.ErrTooMany is in the error's chain if the request should be split.
func (d *Decoder) Protobuf(b *record.Batch, body record.Span, tenant string, now int64) (wire.Outcome, error) {
	d.b, d.p, d.now, d.tenant = b, b.Buf()[:body.End()], now, tenant
	d.out = wire.Outcome{}
	d.keys.Reset()
	d.repeat = repeatFloor + 4*int(body.Len)
	err := d.request(int(body.Off), int(body.End()))
	out := d.out
	d.b, d.p, d.resource, d.out = nil, nil, nil, wire.Outcome{}
	if cap(d.key) > 1<<20 {
		d.key = nil
	}
	if cap(d.scratch) > 1<<20 {
		d.scratch = nil
	}
	return out, err
}

// JSON decodes the bytes of body in b's buffer, which are OTLP's JSON. In the
// buffer, which body must be the end of, the request as protobuf takes their
// place. Else it is as Protobuf.
// https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
func (d *Decoder) JSON(b *record.Batch, body record.Span, tenant string, now int64) (wire.Outcome, error) {
	p, err := d.trans.request(b.Bytes(body))
	if err != nil {
		return wire.Outcome{}, err
	}
	b.Truncate(int(body.Off))
	return d.Protobuf(b, b.Append(p), tenant, now)
}

// eachField calls f for every field of the message p[i:] with the offsets of its
// value, from to to, and the value itself if it is a number.
func eachField(p []byte, i int, f func(num int, typ wire.ProtoType, from, to int, n uint64) error) error {
	for i < len(p) {
		num, typ, next := wire.ProtoTag(p, i)
		if next < 0 {
			return errWire
		}
		var n uint64
		from, to := next, 0
		switch typ {
		case wire.ProtoBytes:
			from, to = wire.ProtoLen(p, next)
		case wire.ProtoVarint:
			n, to = wire.Uvarint(p, next)
		default:
			to = wire.ProtoSkip(p, next, typ)
			switch {
			case to < 0:
			case typ == wire.ProtoFixed64:
				n = binary.LittleEndian.Uint64(p[next:])
			default:
				n = uint64(binary.LittleEndian.Uint32(p[next:]))
			}
		}
		if to < 0 {
			return errWire
		}
		if err := f(num, typ, from, to, n); err != nil {
			return err
		}
		i = to
	}
	return nil
}

func (d *Decoder) request(i, end int) error {
	return eachField(d.p[:end], i, func(num int, typ wire.ProtoType, from, to int, _ uint64) error {
		if num != requestResourceLogs || typ != wire.ProtoBytes {
			return nil
		}
		d.out.Streams++
		if err := d.resourceLogs(from, to); err != nil {
			return fmt.Errorf("resource %d: %w", d.out.Streams, err)
		}
		return nil
	})
}

// first returns the first field with that number of the message p[i:], which may
// stand behind others, as the empty message if there is none.
func first(p []byte, i, num int) (from, to int, err error) {
	for i < len(p) {
		n, typ, next := wire.ProtoTag(p, i)
		if next < 0 {
			return 0, 0, errWire
		}
		if n == num && typ == wire.ProtoBytes {
			if from, to = wire.ProtoLen(p, next); to < 0 {
				return 0, 0, errWire
			}
			return from, to, nil
		}
		if i = wire.ProtoSkip(p, next, typ); i < 0 {
			return 0, 0, errWire
		}
	}
	return 0, 0, nil
}

func (d *Decoder) resourceLogs(i, end int) error {
	p := d.p[:end]
	from, to, err := first(p, i, logsResource)
	if err != nil {
		return err
	}
	d.resource, d.bad, d.nscope = p[from:to], nil, 0
	clear(d.streams)
	refused := 0
	err = eachField(p, i, func(num int, typ wire.ProtoType, from, to int, _ uint64) error {
		if num != logsScope || typ != wire.ProtoBytes {
			return nil
		}
		d.nscope++
		before := d.out.Refused
		if err := d.scopeLogs(from, to); err != nil {
			return fmt.Errorf("scope %d: %w", d.nscope, err)
		}
		if d.bad != nil {
			refused += d.nrecord
			d.out.Refused = before
		}
		return nil
	})
	if err == nil && d.bad != nil && refused > 0 {
		d.out.Refuse(refused, "resource %d: %s", d.out.Streams, d.bad)
	}
	return err
}

func (d *Decoder) scopeLogs(i, end int) error {
	p := d.p[:end]
	from, to, err := first(p, i, scopeScope)
	if err != nil {
		return err
	}
	d.begin()
	d.nrecord = 0
	if err := d.scope(from, to); err != nil {
		return err
	}
	// A scope that does not fit is no reason to refuse what was logged in it.
	if d.overflow() != "" {
		d.fields = d.fields[:0]
	}
	d.scopes = append(d.scopes[:0], d.fields...)
	for i < end {
		num, typ, next := wire.ProtoTag(p, i)
		if next < 0 {
			return errWire
		}
		if num != scopeRecords || typ != wire.ProtoBytes {
			if i = wire.ProtoSkip(p, next, typ); i < 0 {
				return errWire
			}
			continue
		}
		from, to := wire.ProtoLen(p, next)
		d.nrecord++
		if to < 0 {
			return fmt.Errorf("record %d: %w", d.nrecord, errWire)
		}
		if d.out.Records == d.limits.Entries {
			return fmt.Errorf("more than %d records in a request: %w", d.limits.Entries, wire.ErrTooMany)
		}
		d.out.Records++
		if d.bad == nil {
			if err := d.record(from, to); err != nil {
				return fmt.Errorf("record %d: %w", d.nrecord, err)
			}
		}
		i = to
	}
	return nil
}

// begin forgets the record before.
func (d *Decoder) begin() {
	d.fields, d.size, d.full, d.long, d.deep = d.fields[:0], 0, false, false, false
	d.level, d.stream, d.file, d.flags, d.id = 0, "", record.Span{}, 0, record.ID{}
	d.source, d.start, d.stop = record.ID{}, 0, 0
}

// scope makes fields of an InstrumentationScope.
func (d *Decoder) scope(i, end int) error {
	own := false
	return eachField(d.p[:end], i, func(num int, typ wire.ProtoType, from, to int, _ uint64) error {
		if typ != wire.ProtoBytes || from == to || own {
			return nil
		}
		s := record.Span{Off: uint32(from), Len: uint32(to - from)}
		switch num {
		case scopeName:
			if own = string(d.p[from:to]) == "weir"; !own {
				d.add(nameScopeName, record.String, s)
			}
		case scopeVersion:
			d.add(nameScopeVersion, record.String, s)
		case scopeAttributes:
			return d.attribute(from, to, false)
		}
		return nil
	})
}

// Further fields of the messages.
const (
	scopeAttributes = 3

	recordDropped   = 7
	recordFlags     = 8
	recordEventName = 12

	anyArray = 5
	anyList  = 6

	listValues = 1
)

// record decodes one LogRecord. Its loop is eachField's, written out: it is what
// all time goes to.
func (d *Decoder) record(i, end int) error {
	d.begin()
	p := d.p[:end]
	var at, observed uint64
	var body record.Span
	var number uint64
	var text []byte
	for i < end {
		num, typ, next := wire.ProtoTag(p, i)
		if next < 0 {
			return errWire
		}
		switch typ {
		case wire.ProtoBytes:
			from, to := wire.ProtoLen(p, next)
			if to < 0 {
				return errWire
			}
			s := record.Span{Off: uint32(from), Len: uint32(to - from)}
			switch num {
			case recordSeverityText:
				text = p[from:to]
			case recordBody:
				var err error
				if body, err = d.body(from, to); err != nil {
					return err
				}
			case recordAttributes:
				if err := d.attribute(from, to, true); err != nil {
					return err
				}
			case recordTraceID:
				if to-from == 16 && !zero(p[from:to]) {
					d.add(nameTraceId, record.String, d.hex(p[from:to]))
				}
			case recordSpanID:
				if to-from == 8 && !zero(p[from:to]) {
					d.add(nameSpanId, record.String, d.hex(p[from:to]))
				}
			case recordEventName:
				if to > from {
					d.add(nameEventName, record.String, s)
				}
			}
			i = to
		case wire.ProtoFixed64:
			if next+8 > end {
				return errWire
			}
			switch num {
			case recordTime:
				at = binary.LittleEndian.Uint64(p[next:])
			case recordObserved:
				observed = binary.LittleEndian.Uint64(p[next:])
			}
			i = next + 8
		case wire.ProtoVarint:
			n, to := wire.Uvarint(p, next)
			if to < 0 {
				return errWire
			}
			switch {
			case num == recordSeverity:
				number = n
			case num == recordDropped && n > 0:
				d.add(nameDroppedAttributesCount, record.Int, d.int(int64(uint32(n))))
			}
			i = to
		case wire.ProtoFixed32:
			if next+4 > end {
				return errWire
			}
			if n := binary.LittleEndian.Uint32(p[next:]); num == recordFlags && n != 0 {
				d.add(nameFlags, record.Int, d.int(int64(n)))
			}
			i = next + 4
		default:
			return errWire
		}
	}
	return d.take(at, observed, body, number, text)
}

func zero(p []byte) bool {
	for _, c := range p {
		if c != 0 {
			return false
		}
	}
	return true
}

// take adds the record at hand to the batch, or counts it as refused.
func (d *Decoder) take(at, observed uint64, body record.Span, number uint64, text []byte) error {
	sev := record.Severity(0)
	if number <= 24 {
		sev = record.Severity(number)
	}
	if len(text) > 0 {
		said, ok := stage.ParseLevel(text)
		if sev == 0 && ok {
			sev = said
		}
		if string(text) != sev.Level() {
			d.add(nameSeverityText, record.String, d.b.Append(text))
		}
	}
	if sev == 0 {
		sev = d.level
	}
	if why := d.overflow(); why != "" {
		d.refuse(why)
		return nil
	}
	if at > math.MaxInt64 || observed > math.MaxInt64 {
		d.refuse("time is beyond the year 2262")
		return nil
	}
	if observed == 0 {
		observed = uint64(d.now)
	}
	if at == 0 {
		at = observed
	}
	again := 0
	for _, f := range d.scopes {
		again += fieldSize + int(f.val.Len)
	}
	if d.repeat -= again; d.repeat < 0 && again > 0 {
		return fmt.Errorf("attributes of scopes, repeated in their records, are much larger than the request: %w", wire.ErrTooMany)
	}
	stream, err := d.use()
	if err != nil || d.bad != nil {
		return err
	}
	b := d.b
	i := b.Add(record.Record{Time: int64(at), Observed: int64(observed), Body: body, Source: body, Stream: stream, Severity: sev, Flags: d.flags, Start: d.start, End: d.stop})
	for _, f := range d.scopes {
		b.AddField(i, record.Field{Key: f.key, Kind: f.kind, Val: f.val})
	}
	for _, f := range d.fields {
		b.AddField(i, record.Field{Key: f.key, Kind: f.kind, Val: f.val})
	}
	if !d.id.IsZero() {
		b.SetID(i, d.id)
	}
	return nil
}

// overflow says which limit the record at hand exceeds, "" if none.
func (d *Decoder) overflow() string {
	switch {
	case len(d.fields) > d.limits.Metadata:
		return fmt.Sprintf("more than %d attributes", d.limits.Metadata)
	case d.size > d.limits.MetadataBytes:
		return fmt.Sprintf("attributes of more than %d bytes", d.limits.MetadataBytes)
	case d.full:
		return fmt.Sprintf("more than %d names of attributes in a request", record.MaxKeys)
	case d.long:
		return fmt.Sprintf("attribute name of more than %d bytes", d.limits.NameBytes)
	case d.deep:
		return errDeep.Error()
	}
	return ""
}

func (d *Decoder) refuse(why string) {
	d.out.Refuse(1, "resource %d: scope %d: record %d: %s", d.out.Streams, d.nscope, d.nrecord, why)
}
