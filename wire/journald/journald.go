// Package journald reads the Journal Export Format, in which systemd's journal is
// sent (systemd-journal-upload) and exported (journalctl -o export).
//
//	MESSAGE                         the body, byte for byte
//	_SOURCE_REALTIME_TIMESTAMP      Time; without it __REALTIME_TIMESTAMP
//	__CURSOR                        the record's id (its XXH3-128 hash)
//	PRIORITY                        the severity
//	_HOSTNAME                       the Stream's node
//	_SYSTEMD_UNIT                   the Stream's unit
//	SYSLOG_IDENTIFIER               the Stream's app
//	CONTAINER_NAME, CONTAINER_ID    the Stream's, as docker's journald driver writes them
//	everything else                 fields by their names, but for those of the
//	                                journal's own bookkeeping (__…)
//
// https://systemd.io/JOURNAL_EXPORT_FORMATS/#journal-export-format
package journald

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/document"
	"github.com/weirlog/weir/wire/syslog"
)

// AttrUnit is the stream's attribute for the unit of systemd.
const AttrUnit = "unit"

// MaxEntry is how large an entry may be, in bytes. systemd's own limit for one is
// larger (1 GiB); what it writes by itself is far below.
const MaxEntry = 16 << 20

// ErrCut says that the bytes end in the middle of an entry.
var ErrCut = errors.New("the entry is cut off")

// ErrFormat is in the chain of an error about bytes that are no Journal Export
// Format.
var ErrFormat = errors.New("not in the Journal Export Format")

// Decoder reads entries. It is for one goroutine; the cache may be shared.
type Decoder struct {
	limits wire.Limits
	cache  *wire.StreamCache

	b      *record.Batch
	p      []byte
	now    int64
	tenant string
	out    wire.Outcome
	keys   wire.Keys
	key    []byte
	last   []byte
	stream uint16
	index  map[*record.Stream]uint16
	fields []record.Field
}

// NewDecoder returns a decoder. Zero limits are the defaults.
func NewDecoder(l wire.Limits, cache *wire.StreamCache) *Decoder {
	return &Decoder{limits: l.WithDefaults(), cache: cache}
}

// Decode decodes the whole entries among the bytes of body in b's buffer and
// returns how many bytes they are; more may follow. last says that none do: an
// entry without the empty line behind it is whole then. The tenant, if not empty,
// becomes an attribute of every stream; now is the time in Unix nanoseconds. After
// an error the batch must not be used.
func (d *Decoder) Decode(b *record.Batch, body record.Span, last bool, tenant string, now int64) (int, wire.Outcome, error) {
	d.b, d.p, d.now, d.tenant = b, b.Buf()[:body.End()], now, tenant
	d.out = wire.Outcome{}
	d.keys.Reset()
	d.last = d.last[:0]
	if len(d.index) > 1<<12 {
		d.index = nil
	}
	clear(d.index)
	i := int(body.Off)
	var err error
	for i < len(d.p) && d.out.Records < d.limits.Entries {
		if d.p[i] == '\n' { // between entries
			i++
			continue
		}
		var next int
		if next, err = d.entry(i, last); err != nil {
			break
		}
		i = next
	}
	if errors.Is(err, ErrCut) && !last {
		err = nil
	}
	out := d.out
	d.b, d.p, d.out = nil, nil, wire.Outcome{}
	return i - int(body.Off), out, err
}

// special are the fields that have a meaning.
type special struct {
	message, host, unit, app, container, containerID, cursor record.Span
	priority                                                 record.Span
	real, source                                             record.Span
}

// entry adds the entry at d.p[i] and returns where the next may begin.
func (d *Decoder) entry(i int, last bool) (int, error) {
	var e special
	d.fields = d.fields[:0]
	from := i
	full := false
	for {
		if i == len(d.p) {
			if last && i > from {
				break
			}
			return 0, ErrCut
		}
		if d.p[i] == '\n' {
			i++
			break
		}
		n := bytes.IndexByte(d.p[i:], '\n')
		if n < 0 {
			if len(d.p)-from > MaxEntry {
				return 0, fmt.Errorf("an entry of more than %d bytes: %w", MaxEntry, wire.ErrTooMany)
			}
			return 0, ErrCut
		}
		line := d.p[i : i+n]
		var name []byte
		var val record.Span
		if eq := bytes.IndexByte(line, '='); eq >= 0 {
			name = line[:eq]
			val = record.Span{Off: uint32(i + eq + 1), Len: uint32(n - eq - 1)}
			i += n + 1
		} else {
			// Binary: the length, the bytes, a line feed.
			name = line
			at := i + n + 1
			if len(d.p)-at < 8 {
				return 0, ErrCut
			}
			size := binary.LittleEndian.Uint64(d.p[at:])
			at += 8
			if size > MaxEntry {
				return 0, fmt.Errorf("a field of %d bytes: %w", size, wire.ErrTooMany)
			}
			if uint64(len(d.p)-at) < size+1 {
				return 0, ErrCut
			}
			if d.p[at+int(size)] != '\n' {
				return 0, fmt.Errorf("no line feed behind a binary field: %w", ErrFormat)
			}
			val = record.Span{Off: uint32(at), Len: uint32(size)}
			i = at + int(size) + 1
		}
		if !validName(name) {
			return 0, fmt.Errorf("%q is no name of a field: %w", name[:min(len(name), 40)], ErrFormat)
		}
		if d.take(&e, name, val) {
			continue
		}
		if len(d.fields) == d.limits.Metadata {
			full = true
			continue
		}
		key, ok := d.keys.Index(d.b, len(d.fields), name)
		if !ok {
			full = true
			continue
		}
		d.fields = append(d.fields, record.Field{Key: key, Val: val})
	}
	d.out.Records++
	if full {
		d.out.Refuse(1, "entry %d: more than %d fields", d.out.Records, d.limits.Metadata)
		return i, nil
	}
	return i, d.add(&e)
}

// validName reports whether a field may have the name: upper-case letters, digits
// and underscores, at most 64 bytes.
func validName(p []byte) bool {
	if len(p) == 0 || len(p) > 64 {
		return false
	}
	for _, c := range p {
		if c != '_' && c-'A' > 25 && c-'0' > 9 {
			return false
		}
	}
	return true
}

// take notes the field if it has a meaning of its own.
func (d *Decoder) take(e *special, name []byte, val record.Span) bool {
	var at *record.Span
	switch string(name) {
	case "MESSAGE":
		at = &e.message
	case "_HOSTNAME":
		at = &e.host
	case "_SYSTEMD_UNIT":
		at = &e.unit
	case "SYSLOG_IDENTIFIER":
		at = &e.app
	case "CONTAINER_NAME":
		at = &e.container
	case "CONTAINER_ID_FULL":
		at = &e.containerID
	case "PRIORITY":
		e.priority = val
		return false
	case "_SOURCE_REALTIME_TIMESTAMP":
		e.source = val
		return false
	case "__REALTIME_TIMESTAMP":
		at = &e.real
	case "__CURSOR":
		at = &e.cursor
	default:
		return len(name) > 1 && name[0] == '_' && name[1] == '_'
	}
	if at.Len > 0 {
		return false // a field may stand more than once
	}
	*at = val
	return true
}

// micros reads microseconds.
func (d *Decoder) micros(s record.Span) (int64, bool) {
	if s.Len == 0 || s.Len > 18 {
		return 0, false
	}
	var n int64
	for _, c := range d.p[s.Off:s.End()] {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n * 1000, n < 1<<63/1000
}

func (d *Decoder) add(e *special) error {
	stream, err := d.use(e)
	if err != nil {
		return err
	}
	r := record.Record{Time: d.now, Observed: d.now, Body: e.message, Source: e.message, Stream: stream}
	if ns, ok := d.micros(e.real); ok {
		r.Time, r.Observed = ns, ns
	}
	if ns, ok := d.micros(e.source); ok {
		r.Time = ns
	}
	if e.priority.Len == 1 {
		r.Severity = syslog.Severity(int(d.p[e.priority.Off] - '0'))
	}
	i := d.b.Add(r)
	for _, f := range d.fields {
		d.b.AddField(i, f)
	}
	if e.cursor.Len > 0 {
		h := xxh3.Hash128(d.p[e.cursor.Off:e.cursor.End()])
		d.b.SetID(i, record.ID{Hi: h.Hi, Lo: h.Lo})
	}
	return nil
}

// use returns the index of the stream of the entry at hand.
func (d *Decoder) use(e *special) (uint16, error) {
	parts := [...]struct {
		name string
		s    record.Span
	}{
		{record.AttrNode, e.host}, {AttrUnit, e.unit}, {record.AttrApp, e.app},
		{record.AttrContainer, e.container}, {record.AttrContainerID, e.containerID},
	}
	k := append(append(d.key[:0], d.tenant...), 0)
	for _, p := range parts {
		k = binary.AppendUvarint(k, uint64(p.s.Len))
		k = append(k, d.p[p.s.Off:p.s.End()]...)
	}
	d.key = k
	if len(d.last) > 0 && string(d.last) == string(k) {
		return d.stream, nil
	}
	s := d.cache.Get(k)
	if s == nil {
		a := document.Attrs{Limits: &d.limits}
		for _, p := range parts {
			a.Put(p.name, string(wire.AppendText(nil, d.p[p.s.Off:p.s.End()])))
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
