package forward

import (
	"fmt"
	"math"
	"strings"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// entry is the record at hand.
type entry struct {
	tag    record.Span
	asked  bool // for an acknowledgement
	fields []pending
	size   int
	body   record.Span
	rank   int // of the body's name; 0: there is no body
	level  record.Severity
	flags  record.Flags
	id     record.ID
	own    bool // weir's Encoder wrote it
	broken bool // does not fit into fields

	stream                 string // stdout or stderr
	taken                  int    // where the value that says so stands
	source                 record.Span
	kubernetes             record.Span // the map's bytes
	attrs                  record.Span // the map of attributes of the Encoder
	container, containerID record.Span
	part                   part
}

// pending is a field before it is known that it is one.
type pending struct {
	val  record.Span
	key  uint16
	kind record.Kind
}

// part is what docker says of a piece of a line.
type part struct {
	is, first, last bool
	id              record.Span
}

// bodyRank orders the names that the text of a record may have, the best highest.
func bodyRank(name []byte) int {
	switch string(name) {
	case "log":
		return 4
	case "message":
		return 3
	case "msg":
		return 2
	case "MESSAGE":
		return 1
	}
	return 0
}

// entry adds the record whose time is at d.p[at] and whose map is at d.p[i], and
// returns where that ends. After errCut and errDeep nothing has been added.
func (d *Decoder) entry(at, i int) (end int, err error) {
	if d.out.Records == d.limits.Entries {
		return 0, fmt.Errorf("more than %d entries: %w", d.limits.Entries, wire.ErrTooMany)
	}
	d.out.Records++
	p := d.p
	t := read(p, at)
	if t.kind == kindArray && t.n > 0 { // time and metadata
		t = read(p, t.body)
		if t.group(p) { // Fluent Bit's marks around groups of records
			d.out.Records--
			return skip(p, i)
		}
	}
	m := read(p, i)
	if m.kind != kindMap {
		if end, err = skip(p, i); err == nil {
			d.refuse("the record is not a map")
		}
		return end, err
	}
	ns, known := t.time(p)
	if !known {
		ns = d.now
	}
	e := &d.rec
	*e = entry{tag: e.tag, asked: e.asked, fields: e.fields[:0]}
	end = m.body
	for range m.n {
		k := read(p, end)
		if end, err = skip(p, end); err != nil {
			return 0, err
		}
		v := read(p, end)
		from := end
		if end, err = skip(p, end); err != nil {
			return 0, err
		}
		if !k.isText() {
			e.broken = true
			continue
		}
		d.pair(p[k.body:k.end()], v, from, end)
	}
	stream, err := d.use()
	if err != nil {
		return 0, err
	}
	whole := e.rank == 0 || e.broken || len(e.fields) > d.limits.Metadata || e.size > d.limits.MetadataBytes
	if whole {
		e.fields = e.fields[:0]
		if e.body, err = d.whole(m); err != nil {
			d.refuse(err.Error())
			return end, nil
		}
	}
	if e.part.is && !d.piece(&ns, stream) {
		return end, nil
	}
	r := record.Record{Time: ns, Observed: d.now, Body: e.body, Source: e.body, Stream: stream, Severity: e.level, Flags: e.flags}
	if whole && d.scan.Object(d.b.Bytes(e.body)) {
		r.Flags |= record.JSONObject | record.ValidUTF8
		r.KnownKeys = d.scan.Known
	}
	n := d.b.Add(r)
	for _, f := range e.fields {
		d.b.AddField(n, record.Field{Key: f.key, Kind: f.kind, Val: f.val})
	}
	if e.id.IsZero() && e.asked && d.IDs {
		e.id = d.id()
	}
	if !e.id.IsZero() {
		d.b.SetID(n, e.id)
	}
	return end, nil
}

func (d *Decoder) refuse(why string) {
	d.out.Refuse(1, "message %d: entry %d: %s", d.out.Streams, d.out.Records, why)
}

// group reports whether a time is the mark of a group's beginning or end, -1 or
// -2 seconds.
func (h *head) group(p []byte) bool {
	if h.kind == kindInt {
		return int64(h.n) == -1 || int64(h.n) == -2
	}
	return h.kind == kindExt && h.n == 8 && (string(p[h.body:h.body+4]) == "\xff\xff\xff\xff" || string(p[h.body:h.body+4]) == "\xff\xff\xff\xfe")
}

// whole appends the map m as JSON, without what has become part of the stream.
func (d *Decoder) whole(m head) (record.Span, error) {
	e, p := &d.rec, d.p
	out := append(d.b.Reserve(256)[:0], '{')
	i := m.body
	for range m.n {
		k := read(p, i)
		at, err := skip(p, i)
		if err != nil {
			return record.Span{}, err
		}
		if i, err = skip(p, at); err != nil {
			return record.Span{}, err
		}
		if k.isText() && (at == int(e.kubernetes.Off) || at == e.taken || e.own && string(p[k.body:k.end()]) == "weir") {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		if out, err = appendKey(out, p, &k); err != nil {
			return record.Span{}, err
		}
		if out, _, err = appendJSON(out, p, at, 1); err != nil {
			return record.Span{}, err
		}
	}
	out = append(out, '}')
	if len(out) <= 256 {
		return d.b.Extend(len(out)), nil
	}
	return d.b.Append(out), nil
}

// pair takes a member of the record, whose value v is at d.p[from:to].
func (d *Decoder) pair(name []byte, v head, from, to int) {
	e, p := &d.rec, d.p
	if v.isText() {
		text := p[v.body:v.end()]
		if rank := bodyRank(name); rank > 0 {
			if rank > e.rank {
				if e.rank > 0 {
					d.add(bodyNames[e.rank], record.String, e.body)
				}
				e.rank, e.body = rank, v.span()
			} else {
				d.add(name, record.String, v.span())
			}
			return
		}
		switch string(name) {
		case "stream":
			if s := ioStream(text); s != "" {
				e.stream, e.taken = s, from
				return
			}
		case "source":
			if e.source.Len == 0 && ioStream(text) != "" {
				e.source = v.span()
				return
			}
		case "container_id":
			e.containerID = v.span()
			return
		case "container_name":
			e.container = v.span()
			return
		case "partial_message":
			e.part.is = string(text) == "true"
			return
		case "partial_id":
			e.part.id = v.span()
			return
		case "partial_ordinal":
			e.part.first = string(text) == "1"
			return
		case "partial_last":
			e.part.last = string(text) == "true"
			return
		case "weir_id":
			if id, ok := record.ParseID(string(text)); ok {
				e.id = id
				return
			}
		}
		if sev, ok := stage.NamedLevel(name, text); ok && e.level == 0 {
			e.level = sev
		}
		d.add(name, record.String, v.span())
		return
	}
	if v.kind == kindMap {
		switch string(name) {
		case "kubernetes":
			e.kubernetes = record.Span{Off: uint32(from), Len: uint32(to - from)}
			return
		case "weir":
			if d.weir(v) {
				return
			}
		}
	}
	if v.kind == kindInt && e.level == 0 && len(name) > 0 && (name[0] == 'l' || name[0] == 's') {
		var text [20]byte
		if sev, ok := stage.NamedLevel(name, appendText(text[:0], p, &v)); ok {
			e.level = sev
		}
	}
	d.value(name, v, from, 1)
}

var bodyNames = [...][]byte{4: []byte("log"), 3: []byte("message"), 2: []byte("msg"), 1: []byte("MESSAGE")}

func ioStream(text []byte) string {
	switch string(text) {
	case "stdout":
		return "stdout"
	case "stderr":
		return "stderr"
	}
	return ""
}

// weir reads the map that the Encoder writes: flags, and the attributes that have
// no other place.
func (d *Decoder) weir(m head) bool {
	e, p := &d.rec, d.p
	i := m.body
	for range m.n {
		k := read(p, i)
		i, _ = skip(p, i)
		from := i
		v := read(p, i)
		i, _ = skip(p, i)
		if !k.isText() {
			return false
		}
		switch name := string(p[k.body:k.end()]); {
		case name == "attrs" && v.kind == kindMap:
			e.own = true
			e.attrs = record.Span{Off: uint32(from), Len: uint32(i - from)}
		case v.kind != kindBool || v.n == 0:
		case name == "partial":
			e.flags |= record.Partial
		case name == "continued":
			e.flags |= record.Continued
		case name == "parse_error":
			e.flags |= record.ParseError
		}
	}
	return true
}

// add notes a field.
func (d *Decoder) add(name []byte, kind record.Kind, val record.Span) {
	e := &d.rec
	if len(e.fields) > d.limits.Metadata {
		return // one too many is enough to know
	}
	if len(name) > d.limits.NameBytes || len(name) == 0 {
		e.broken = true
		return
	}
	key, ok := d.keys.Index(d.b, len(e.fields), name)
	if !ok {
		e.broken = true
		return
	}
	e.size += len(name) + int(val.Len)
	e.fields = append(e.fields, pending{val, key, kind})
}

// value adds the value v at d.p[from] under that name.
func (d *Decoder) value(name []byte, v head, from, depth int) {
	e, p := &d.rec, d.p
	if len(e.fields) > d.limits.Metadata || e.broken {
		return
	}
	switch v.kind {
	case kindStr, kindBin:
		d.add(name, record.String, v.span())
	case kindNil: // nothing to say
	case kindMap:
		if depth >= maxDepth || len(name) > d.limits.NameBytes {
			e.broken = true
			return
		}
		// Names grow in d.name, of which name may be the beginning.
		d.name = append(d.name[:0], name...)
		n := len(d.name)
		i := v.body
		for range v.n {
			k := read(p, i)
			i, _ = skip(p, i)
			in := read(p, i)
			at := i
			i, _ = skip(p, i)
			if !k.isText() {
				e.broken = true
				return
			}
			if n+1+int(k.n) > d.limits.NameBytes {
				e.broken = true
				return
			}
			d.name = append(append(d.name[:n], '_'), p[k.body:k.end()]...)
			d.value(d.name, in, at, depth+1)
		}
	case kindArray:
		out, _, err := appendJSON(d.b.Reserve(64)[:0], p, from, depth)
		if err != nil {
			e.broken = true
			return
		}
		if len(out) <= 64 {
			d.add(name, record.JSON, d.b.Extend(len(out)))
			return
		}
		d.add(name, record.JSON, d.b.Append(out))
	default:
		kind := [...]record.Kind{kindBool: record.Bool, kindInt: record.Int, kindUint: record.Int, kindFloat: record.Float, kindExt: record.String}[v.kind]
		room := d.b.Reserve(32)[:0]
		var out []byte
		if ns, ok := v.eventTime(p); ok {
			out = json.AppendTime(room, ns)
		} else {
			out = appendText(room, p, &v)
		}
		if f := math.Float64frombits(v.n); v.kind == kindFloat && f-f != 0 {
			kind = record.String
		}
		if len(out) <= 32 {
			d.add(name, kind, d.b.Extend(len(out)))
			return
		}
		d.add(name, kind, d.b.Append(out))
	}
}

// kubernetesNames maps the members of the map kubernetes to attributes.
var kubernetesNames = map[string]string{
	"cluster_name":    record.AttrCluster,
	"host":            record.AttrNode,
	"namespace_name":  record.AttrNamespace,
	"namespace":       record.AttrNamespace,
	"pod_name":        record.AttrPod,
	"pod":             record.AttrPod,
	"pod_id":          record.AttrPodUID,
	"container_name":  record.AttrContainer,
	"docker_id":       record.AttrContainerID,
	"container_id":    record.AttrContainerID,
	"container_image": record.AttrImage,
	"workload":        record.AttrWorkload,
	"restart":         record.AttrRestart,
}

// use returns the index of the stream of the record at hand.
func (d *Decoder) use() (uint16, error) {
	e := &d.rec
	p := d.b.Buf()
	k := d.key[:0]
	part := func(s record.Span) {
		k = append(k, byte(s.Len), byte(s.Len>>8), byte(s.Len>>16), byte(s.Len>>24))
		k = append(k, p[s.Off:s.End()]...)
	}
	k = append(append(k, d.tenant...), 0)
	part(e.tag)
	if e.stream == "" && e.source.Len > 0 && e.containerID.Len > 0 {
		e.stream = ioStream(p[e.source.Off:e.source.End()])
		e.source = record.Span{}
	}
	k = append(append(k, e.stream...), 0)
	part(e.containerID)
	part(e.container)
	part(e.kubernetes)
	part(e.attrs)
	d.key = k
	if e.source.Len > 0 {
		d.add([]byte("source"), record.String, e.source)
	}
	if len(d.last) > 0 && string(d.last) == string(k) {
		return d.stream, nil
	}
	s := d.cache.Get(k)
	if s == nil {
		s = d.cache.Put(k, &wire.PushedStream{Stream: d.newStream()})
	}
	if len(d.b.Streams()) == wire.MaxStreams {
		return 0, fmt.Errorf("more than %d streams: %w", wire.MaxStreams, wire.ErrTooMany)
	}
	d.stream = d.addStream(s.Stream)
	d.key, d.last = d.last, d.key
	return d.stream, nil
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

// newStream makes the Stream of the record at hand. What exceeds the limits of a
// stream is left out of it.
func (d *Decoder) newStream() *record.Stream {
	e, p := &d.rec, d.b.Buf()
	attrs := append([]record.Attr(nil), d.Attrs...) // of two with one name the later wins
	var labels, annotations []record.Attr
	put := func(set *[]record.Attr, name, value string) {
		if len(*set) >= d.limits.Labels || name == "" || value == "" || len(name) > d.limits.NameBytes || len(value) > d.limits.ValueBytes {
			return
		}
		// However it is written: a tenant's logs are no other's to write.
		if set == &attrs && record.SanitizeName(name) == record.AttrTenant {
			return
		}
		*set = append(*set, record.Attr{Name: name, Value: value})
	}
	text := func(s record.Span) string { return string(wire.AppendText(nil, p[s.Off:s.End()])) }
	put(&attrs, "tag", text(e.tag))
	put(&attrs, record.AttrContainerID, text(e.containerID))
	put(&attrs, record.AttrContainer, strings.TrimPrefix(text(e.container), "/"))
	if e.attrs.Len > 0 {
		each(p, e.attrs, func(name string, v head, _ int) {
			if v.isText() {
				put(&attrs, name, text(v.span()))
			}
		})
	}
	if e.kubernetes.Len > 0 {
		each(p, e.kubernetes, func(name string, v head, at int) {
			switch {
			case name == "labels" && v.kind == kindMap, name == "annotations" && v.kind == kindMap:
				set := &labels
				if name == "annotations" {
					set = &annotations
				}
				end, err := skip(p, at)
				if err != nil {
					return
				}
				each(p, record.Span{Off: uint32(at), Len: uint32(end - at)}, func(name string, v head, at int) {
					if v.isText() {
						put(set, name, text(v.span()))
					} else if out, _, err := appendJSON(nil, p, at, 2); err == nil && v.kind != kindNil {
						put(set, name, string(out))
					}
				})
			case v.isText():
				if c, ok := kubernetesNames[name]; ok {
					put(&attrs, c, text(v.span()))
				} else {
					put(&attrs, "kubernetes."+name, text(v.span()))
				}
			case v.kind != kindNil:
				if out, _, err := appendJSON(nil, p, at, 1); err == nil {
					put(&attrs, "kubernetes."+name, string(out))
				}
			}
		})
	}
	attrs = append(attrs, record.Attr{Name: record.AttrStream, Value: e.stream})
	if e.stream == "" {
		attrs = attrs[:len(attrs)-1]
	}
	attrs = append(attrs, d.Labels...)
	if d.tenant != "" {
		attrs = append(attrs, record.Attr{Name: record.AttrTenant, Value: d.tenant})
	}
	return record.NewStream(attrs, labels, annotations)
}

// each calls f for every member of the map in s with a name that is text. The map
// has been skipped before, so that it is whole.
func each(p []byte, s record.Span, f func(name string, v head, at int)) {
	m := read(p, int(s.Off))
	i := m.body
	for range m.n {
		k := read(p, i)
		i, _ = skip(p, i)
		at := i
		v := read(p, i)
		i, _ = skip(p, i)
		if k.isText() {
			f(string(wire.AppendText(nil, p[k.body:k.end()])), v, at)
		}
	}
}
