package wire

import (
	"bytes"
	stdjson "encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// Own is the set of member names that an encoder writes into a document beside
// the record's body and fields. It is immutable.
type Own struct {
	mask     uint64   // the well-known names among them
	other    []string // the rest; one that ends in a dot stands for all that begin so
	probes   []probe  // a body that holds none of these holds none of other
	optional uint64
}

// NewOwn returns the set of the structural names, which the encoder writes
// whatever the body holds, and of the optional ones, of which the body's or
// the field's is as good as the encoder's. A structural name that ends in a dot
// stands for all that begin so: to Elasticsearch "kubernetes.pod_name" is the
// member pod_name of kubernetes. Optional names must be well known to
// wire/json; those that are not are ignored.
func NewOwn(structural, optional []string) *Own {
	o := &Own{}
	for _, n := range structural {
		if bit, ok := json.Known([]byte(n)); ok {
			o.mask |= 1 << bit
		} else {
			o.other = append(o.other, n)
			// label_a, label_b …: one search for all.
			if i := strings.IndexByte(n, '_'); i >= 3 {
				n = n[:i+1]
			}
			if p := newProbe(`"` + n); !slices.Contains(o.probes, p) {
				o.probes = append(o.probes, p)
			}
		}
	}
	o.optional, _ = json.KnownMask(optional...)
	o.optional &^= o.mask
	return o
}

func (o *Own) has(name []byte, bit uint8) bool {
	if bit != json.NoBit {
		return o.mask>>bit&1 != 0
	}
	for _, n := range o.other {
		if n == string(name) || strings.HasSuffix(n, ".") && len(name) >= len(n) && string(name[:len(n)]) == n {
			return true
		}
	}
	return false
}

// Prefixes of names that had to give way.
const (
	bodyPrefix  = "body_"
	fieldPrefix = "field_"
)

// Merger appends a JSON body's members and a record's fields to a document
// that has members of its own. Its rules hold for all encoders:
//
//   - A structural name belongs to the encoder. A member of the body with such
//     a name is kept as body_<name>, a field as field_<name>.
//   - Of an optional name (Own) the body's stands, then the field's; the
//     encoder leaves its own away.
//   - A field that the configuration or a parser added wins against a member
//     of the body, which is kept as body_<name>; if both have the same value
//     there is one.
//   - Of two fields with one name the later stands.
//   - Where none of this applies the body is copied byte for byte, but for line
//     feeds between its tokens, which become spaces.
//
// No name stands twice in what it makes. A Merger is for one goroutine.
type Merger struct {
	b    *record.Batch
	keys []fieldKey // by key index of the batch
	enc  []byte     // the keys' encoded names
	last Last

	scan  json.Scanner
	name  []byte
	other []byte
}

type fieldKey struct {
	enc   record.Span // of `,"name":` in Merger.enc; zero: not looked at
	bit   uint8
	plain bool // the name is written without escapes
	own   *Own // whose answer structural is
	taken bool
}

// Use says that the next calls of Append are about b. It must be called
// whenever records of a batch follow, also of one seen before.
func (m *Merger) Use(b *record.Batch) {
	m.b = b
	m.keys, m.enc = m.keys[:0], m.enc[:0]
}

// Done forgets the batch given to Use.
func (m *Merger) Done() { m.b = nil }

// Append appends the members of record i's body, if it is flagged JSONObject,
// and the record's fields, each behind a comma. It returns the set of
// well-known names, numbered as by json.Known, that body and fields have.
//
// ok is false, and nothing but the fields is appended, if the body is flagged
// but is no object: the caller writes it as text.
func (m *Merger) Append(dst []byte, i int, own *Own) (out []byte, present uint64, ok bool) {
	r := m.b.Record(i)
	fields := m.b.Fields(i)
	ok = true
	if len(fields) > 0 {
		m.load(fields, own)
	}
	var body []byte
	if r.Flags.Has(record.JSONObject) {
		body = m.b.Bytes(r.Body)
		present = r.KnownKeys
		if r.KnownKeys&own.mask != 0 || len(own.other) > 0 && own.mayStandIn(body) || m.mayClash(r.KnownKeys, body, own, fields) {
			if dst, ok = m.members(dst, body, own, fields); !ok {
				present, body = 0, nil
			}
		} else {
			dst = splice(dst, body)
		}
	}
	if len(fields) > 0 {
		var p uint64
		dst, p = m.fields(dst, body, own, fields)
		present |= p
	}
	return dst, present, ok
}

// splice appends the inside of a checked object behind a comma.
func splice(dst, body []byte) []byte {
	inner := body[1 : len(body)-1]
	if len(inner) == 0 || inner[0] != '"' && len(bytes.TrimLeft(inner, " \t\r\n")) == 0 {
		return dst
	}
	dst = append(dst, ',')
	n := len(dst)
	dst = append(dst, inner...)
	oneLine(dst[n:])
	return dst
}

// oneLine makes spaces of the line feeds in JSON text: there are none in its
// strings.
func oneLine(p []byte) {
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return
		}
		p[i] = ' '
		p = p[i+1:]
	}
}

// mayStandIn reports whether one of the names that are not well known could
// stand in the object.
func (o *Own) mayStandIn(body []byte) bool {
	for i := range o.probes {
		if o.probes[i].in(body) {
			return true
		}
	}
	return oddNames(body)
}

// probe looks for a text by the byte of it that is rarest in logs. Nearly
// always it is not there, and then this takes a fraction of the time of
// bytes.Contains.
type probe struct {
	text string
	at   int // of the rare byte
}

// usual are bytes of names, the usual ones first.
const usual = `"etaoinsrlcdmpuhg_.fyb-wvxjqzk`

func newProbe(text string) probe {
	p, rank := probe{text: text}, -1
	for i := range len(text) {
		r := strings.IndexByte(usual, text[i])
		if r < 0 {
			r = len(usual)
		}
		if r > rank {
			p.at, rank = i, r
		}
	}
	return p
}

func (p *probe) in(body []byte) bool {
	for i := p.at; i < len(body); i++ {
		j := bytes.IndexByte(body[i:], p.text[p.at])
		if j < 0 {
			return false
		}
		i += j
		if from := i - p.at; body[from] == p.text[0] && len(body)-from >= len(p.text) && string(body[from:from+len(p.text)]) == p.text {
			return true
		}
	}
	return false
}

// oddNames reports whether a name in the object could be written with escapes
// that it does not need.
func oddNames(body []byte) bool {
	return bytes.IndexByte(body, '\\') >= 0 && (bytes.Contains(body, unicodeEscape) || bytes.Contains(body, slashEscape))
}

var unicodeEscape, slashEscape = []byte(`\u`), []byte(`\/`)

// mayClash reports whether a member of the body could have a field's name. Of
// optional names the field is taken out: the body's stands.
func (m *Merger) mayClash(known uint64, body []byte, own *Own, fields []record.Field) bool {
	looked := false
	for _, f := range fields {
		k := &m.keys[f.Key]
		if k.bit != json.NoBit {
			switch {
			case known>>k.bit&1 == 0:
			case own.optional>>k.bit&1 != 0:
				m.last.Drop(f.Key)
			default:
				return true
			}
			continue
		}
		if !k.plain {
			return true
		}
		if !looked {
			if oddNames(body) {
				return true
			}
			looked = true
		}
		quoted := m.enc[k.enc.Off+1 : k.enc.End()-1]
		if bytes.Contains(body, quoted) {
			return true
		}
	}
	return false
}

// load gets ready what is known of the fields' keys and finds the last field
// of each name.
func (m *Merger) load(fields []record.Field, own *Own) {
	m.last.Load(fields)
	for _, f := range fields {
		for int(f.Key) >= len(m.keys) {
			m.keys = append(m.keys, fieldKey{})
		}
		k := &m.keys[f.Key]
		if k.enc.Len == 0 {
			name := m.b.KeyName(f.Key)
			off := len(m.enc)
			m.enc = append(m.enc, ',')
			m.enc = json.AppendStringString(m.enc, name)
			m.enc = append(m.enc, ':')
			k.enc = record.Span{Off: uint32(off), Len: uint32(len(m.enc) - off)}
			k.plain = len(m.enc)-off == len(name)+4
			bit, known := json.Known(bytesOf(name))
			if !known {
				bit = json.NoBit
			}
			k.bit = bit
		}
		if k.own != own {
			k.own, k.taken = own, own.has(bytesOf(m.b.KeyName(f.Key)), k.bit)
		}
	}
}

// field returns the position of the record's field with that name, -1 if there
// is none.
func (m *Merger) field(fields []record.Field, name []byte) int {
	if len(fields) == 0 {
		return -1
	}
	// The string does not outlive the call.
	key, ok := m.b.FindKey(unsafe.String(unsafe.SliceData(name), len(name)))
	if !ok {
		return -1
	}
	return m.last.Find(key)
}

// members appends the body's members, renamed where they must be. A field that
// is as good as a member is taken out of last.
func (m *Merger) members(dst, body []byte, own *Own, fields []record.Field) ([]byte, bool) {
	if !m.scan.Object(body) {
		return dst, false
	}
	mark, todo := len(dst), 0 // body[todo:] is not yet copied
	for k := range m.scan.Members {
		mem := &m.scan.Members[k]
		name := body[mem.Key.Off:mem.Key.End()]
		if mem.Escaped {
			m.name = json.Unescape(m.name[:0], name)
			name = m.name
		}
		rename := own.has(name, mem.Bit)
		if j := m.field(fields, name); j >= 0 && !rename {
			if mem.Bit != json.NoBit && own.optional>>mem.Bit&1 != 0 || m.same(body, mem, fields[j]) {
				m.last.Drop(fields[j].Key)
			} else {
				rename = true
			}
		}
		if !rename {
			continue
		}
		dst = appendInside(dst, body, todo, int(mem.Key.Off))
		for range m.depth(body, bodyPrefix, name, own, fields) + 1 {
			dst = append(dst, bodyPrefix...)
		}
		todo = int(mem.Key.Off)
	}
	if todo == 0 {
		return splice(dst, body), true
	}
	dst = append(dst, body[todo:len(body)-1]...)
	oneLine(dst[mark:])
	return dst, true
}

// appendInside appends body[from:to], with a comma in the place of the brace
// at its beginning.
func appendInside(dst, body []byte, from, to int) []byte {
	if from == 0 {
		dst = append(dst, ',')
		from = 1
	}
	return append(dst, body[from:to]...)
}

// same reports whether a member and a field have the same value, as far as can
// be told without work.
func (m *Merger) same(body []byte, mem *json.Member, f record.Field) bool {
	return mem.Kind == f.Kind && !mem.ValEscaped &&
		bytes.Equal(body[mem.Val.Off:mem.Val.End()], m.b.Bytes(f.Val))
}

// depth returns how many prefixes the most prefixed of the names
// prefix…prefix+stem has that body, fields or own hold, the stem being name
// without its prefixes. So many and one more before a name make it one that is
// free, and two names with one stem, both of which give way, two.
func (m *Merger) depth(body []byte, prefix string, name []byte, own *Own, fields []record.Field) int {
	stem := name
	for len(stem) >= len(prefix) && string(stem[:len(prefix)]) == prefix {
		stem = stem[len(prefix):]
	}
	deepest := 0
	look := func(other []byte) {
		n := 0
		for len(other) > len(stem) && len(other) >= len(prefix) && string(other[:len(prefix)]) == prefix {
			other = other[len(prefix):]
			n++
		}
		if n > deepest && bytes.Equal(other, stem) {
			deepest = n
		}
	}
	if body != nil {
		for k := range m.scan.Members {
			mem := &m.scan.Members[k]
			other := body[mem.Key.Off:mem.Key.End()]
			if mem.Escaped {
				m.other = json.Unescape(m.other[:0], other)
				other = m.other
			}
			look(other)
		}
	}
	for _, f := range fields {
		look(bytesOf(m.b.KeyName(f.Key)))
	}
	for _, n := range own.other {
		look(bytesOf(n))
	}
	return deepest
}

// fields appends the record's fields.
func (m *Merger) fields(dst, body []byte, own *Own, fields []record.Field) (out []byte, present uint64) {
	for j, f := range fields {
		if !m.last.Is(f.Key, j) {
			continue // a later one, or the body's, stands
		}
		k := &m.keys[f.Key]
		enc := m.enc[k.enc.Off:k.enc.End()]
		if k.taken {
			name := bytesOf(m.b.KeyName(f.Key))
			if body != nil && !m.scan.Object(body) {
				body = nil
			}
			dst = append(dst, ',', '"')
			for range m.depth(body, fieldPrefix, name, own, fields) + 1 {
				dst = append(dst, fieldPrefix...)
			}
			dst = append(dst, enc[2:]...)
		} else {
			dst = append(dst, enc...)
			if k.bit != json.NoBit {
				present |= 1 << k.bit
			}
		}
		dst = AppendValue(dst, f.Kind, m.b.Bytes(f.Val))
	}
	return dst, present
}

// AppendValue appends a field's value as JSON: numbers, booleans, objects and
// arrays as they stand if they are valid JSON, everything else as a string.
func AppendValue(dst []byte, kind record.Kind, val []byte) []byte {
	switch kind {
	case record.Int, record.Float:
		if IsNumber(val) {
			return append(dst, val...)
		}
	case record.Bool:
		if s := string(val); s == "true" || s == "false" {
			return append(dst, val...)
		}
	case record.Null:
		return append(dst, "null"...)
	case record.JSON:
		if len(val) > 0 && stdjson.Valid(val) && utf8.Valid(val) {
			n := len(dst)
			dst = append(dst, val...)
			oneLine(dst[n:])
			return dst
		}
	}
	return json.AppendString(dst, val)
}

// IsNumber reports whether p is a number by JSON's grammar (RFC 8259 §6).
func IsNumber(p []byte) bool {
	i := 0
	digits := func() bool {
		from := i
		for i < len(p) && p[i]-'0' <= 9 {
			i++
		}
		return i > from
	}
	if i < len(p) && p[i] == '-' {
		i++
	}
	if i < len(p) && p[i] == '0' {
		i++
	} else if !digits() {
		return false
	}
	if i < len(p) && p[i] == '.' {
		i++
		if !digits() {
			return false
		}
	}
	if i < len(p) && p[i]|0x20 == 'e' {
		i++
		if i < len(p) && (p[i] == '+' || p[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(p)
}

// bytesOf returns the bytes of s, which must not be modified.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
