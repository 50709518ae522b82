package syslog

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// Config says how records are written.
type Config struct {
	// Format is RFC5424 (also for Auto) or RFC3164.
	Format Format
	// Facility is that of records whose stream has none, by number.
	Facility int
	// StructuredData is the id of the element with attributes and fields; "" means
	// none is written. RFC 3164 has none.
	StructuredData string
	// Counted frames messages by their length (RFC 6587, 3.4.1), else by a line feed.
	Counted bool
	// Datagrams leaves out all framing: Ends tells messages apart.
	Datagrams bool
	// MaxBytes is where a message is cut; 0: never.
	MaxBytes int
	// Zone is that of the times of RFC 3164; nil: UTC.
	Zone *time.Location
	// IDs adds the record's id to the structured data.
	IDs bool
	// Params makes parameters of the structured data of the texts, numbers and
	// truth values in a body that is a JSON object; its member message, msg or log
	// is the message then, if it has one that is a text.
	Params bool
}

// Encoder writes messages:
//
//	<134>1 2026-11-22T10:00:00.123456Z node-1 cart - - [weir@32473 namespace="shop" …] text
//	<134>Nov 22 10:00:00 node-1 cart[cart-7d4b9c-x2x1p]: text
//
// HOSTNAME is the stream's node, APP-NAME its app, container, service or input,
// PROCID the field procid or, where there is no structured data, the pod, MSGID the field msgid. Nothing in a record
// can begin another message or element: bytes that are not printable are replaced
// in names, and control bytes, line feeds among them, are written as # and three
// octal digits, as rsyslog does it. An Encoder is for one goroutine.
type Encoder struct {
	cfg     Config
	streams *wire.Streams[stream]
	clock   json.Clock
	last    wire.Last
	ends    []int
	scratch []byte
	rd      json.Reader
	text    []byte // the message, of Params
	plain   []byte
	taken   map[string]bool
}

// stream is what the encoder makes of a record.Stream.
type stream struct {
	facility  int
	host, app []byte
	procid    []byte
	params    []byte // of the structured data, each with a space before it
	names     []string
}

// NewEncoder returns an encoder.
func NewEncoder(cfg Config) (*Encoder, error) {
	if cfg.Facility < 0 || cfg.Facility > 23 {
		return nil, fmt.Errorf("syslog: facility %d: want 0 to 23", cfg.Facility)
	}
	if cfg.StructuredData != "" && string(appendName(nil, cfg.StructuredData, 32)) != cfg.StructuredData {
		return nil, fmt.Errorf("syslog: structured data id %q: want 1 to 32 printable characters without space, =, ] and quotes", cfg.StructuredData)
	}
	if cfg.Zone == nil {
		cfg.Zone = time.UTC
	}
	e := &Encoder{cfg: cfg, taken: make(map[string]bool)}
	e.streams = wire.NewStreams(e.build)
	return e, nil
}

// Clone returns an encoder of the same configuration for another goroutine.
func (e *Encoder) Clone() *Encoder {
	c, err := NewEncoder(e.cfg)
	if err != nil {
		panic(err) // it was right before
	}
	return c
}

func (e *Encoder) build(s *record.Stream) *stream {
	first := func(names ...string) string {
		for _, n := range names {
			if v := s.Get(n); v != "" {
				return v
			}
		}
		return ""
	}
	st := &stream{facility: e.cfg.Facility}
	if f := Facility(s.Get("facility")); f >= 0 {
		st.facility = f
	}
	st.host = appendToken(nil, first(record.AttrNode, record.AttrPod, record.AttrCluster), 255)
	app := 48
	if e.cfg.Format == RFC3164 {
		app = 32
	}
	st.app = appendToken(nil, first(record.AttrApp, record.AttrContainer, record.AttrService, record.AttrInput), app)
	// Many receivers take numbers only; the pod stands there if it has no other place.
	st.procid = []byte{'-'}
	if e.cfg.Format == RFC3164 || e.cfg.StructuredData == "" {
		st.procid = appendToken(nil, s.Get(record.AttrPod), 128)
	}
	for _, a := range s.Attrs() {
		if a.Name != record.AttrTenant {
			st.params = appendParam(st.params, a.Name, []byte(a.Value))
			st.names = append(st.names, a.Name)
		}
	}
	for _, a := range s.Labels() {
		st.params = appendParam(st.params, "label_"+record.SanitizeName(a.Name), []byte(a.Value))
		st.names = append(st.names, "label_"+record.SanitizeName(a.Name))
	}
	return st
}

// appendToken appends s as a field of the header: what is not printable ASCII is an
// underscore, and nothing is "-".
func appendToken(dst []byte, s string, most int) []byte {
	if s == "" {
		return append(dst, '-')
	}
	for i := 0; i < len(s) && i < most; i++ {
		c := s[i]
		if c <= ' ' || c >= 0x7f {
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}

// appendName appends s as a name of structured data.
func appendName(dst []byte, s string, most int) []byte {
	for i := 0; i < len(s) && i < most; i++ {
		c := s[i]
		if c <= ' ' || c >= 0x7f || c == '=' || c == ']' || c == '"' {
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}

func appendParam(dst []byte, name string, value []byte) []byte {
	if name == "" || len(value) == 0 {
		return dst
	}
	dst = append(appendName(append(dst, ' '), name, 32), '=', '"')
	from := 0
	for i, c := range value {
		if c >= ' ' && c != '"' && c != '\\' && c != ']' && c < 0x7f {
			continue
		}
		switch {
		case c >= 0x80:
			continue
		case c == '"' || c == '\\' || c == ']':
			dst = append(append(dst, value[from:i]...), '\\', c)
		default:
			dst = appendOctal(append(dst, value[from:i]...), c)
		}
		from = i + 1
	}
	return append(append(dst, value[from:]...), '"')
}

func appendOctal(dst []byte, c byte) []byte {
	return append(dst, '#', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
}

// appendText appends p with its control bytes, but for tabs, in octal.
func appendText(dst, p []byte) []byte {
	from := 0
	for i, c := range p {
		if c >= ' ' && c != 0x7f || c == '\t' {
			continue
		}
		dst = appendOctal(append(dst, p[from:i]...), c)
		from = i + 1
	}
	return append(dst, p[from:]...)
}

// Append appends one message for each record of the parts, in order.
func (e *Encoder) Append(dst []byte, parts []record.Part) []byte {
	e.ends = e.ends[:0]
	for _, p := range parts {
		b := p.Batch()
		e.streams.Use(b)
		for _, i := range p.Index() {
			dst = e.append(dst, b, int(i))
			e.ends = append(e.ends, len(dst))
		}
	}
	e.streams.Done()
	return dst
}

// Ends returns where the messages of the last Append end. It is valid until the
// next.
func (e *Encoder) Ends() []int { return e.ends }

func (e *Encoder) append(dst []byte, b *record.Batch, i int) []byte {
	const room = 10 // for a count and a space
	from := len(dst)
	start := from
	if e.cfg.Counted && !e.cfg.Datagrams {
		dst = append(dst, "          "[:room]...)
		start += room
	}
	r := b.Record(i)
	s := e.streams.Get(r.Stream)
	dst = append(strconv.AppendInt(append(dst, '<'), int64(s.facility<<3|levelOf(r.Severity)), 10), '>')
	procid, msgid, fields := s.procid, []byte("-"), b.Fields(i)
	if len(fields) > 1 {
		e.last.Load(fields)
	}
	e.scratch = e.scratch[:0]
	for j, f := range fields {
		if len(fields) > 1 && !e.last.Is(f.Key, j) {
			continue
		}
		name, v := b.KeyName(f.Key), b.Bytes(f.Val)
		switch name {
		case "procid":
			procid = v
		case "msgid":
			msgid = v
		default:
			if e.cfg.StructuredData != "" && e.cfg.Format != RFC3164 {
				e.scratch = appendParam(e.scratch, name, v)
			}
		}
	}
	text := b.Bytes(r.Body)
	if e.cfg.Params && r.Flags.Has(record.JSONObject) && e.cfg.StructuredData != "" && e.cfg.Format != RFC3164 {
		clear(e.taken)
		for _, n := range s.names {
			e.taken[string(appendName(nil, n, 32))] = true
		}
		for _, f := range fields {
			e.taken[string(appendName(nil, b.KeyName(f.Key), 32))] = true
		}
		text = e.params(text)
	}
	if e.cfg.Format == RFC3164 {
		dst = time.Unix(0, r.Time).In(e.cfg.Zone).AppendFormat(dst, time.Stamp)
		dst = append(append(append(dst, ' '), s.host...), ' ')
		dst = append(dst, s.app...)
		if string(procid) != "-" {
			dst = append(appendHeader(append(dst, '['), procid, 128), ']')
		}
		dst = append(dst, ": "...)
	} else {
		dst = append(dst, "1 "...)
		at := len(dst)
		dst = e.clock.Append(dst, r.Time)
		dst = append(dst[:at+26], "Z "...) // microseconds are all there are
		dst = append(append(dst, s.host...), ' ')
		dst = append(append(dst, s.app...), ' ')
		dst = append(appendHeader(dst, procid, 128), ' ')
		dst = append(appendHeader(dst, msgid, 32), ' ')
		if e.cfg.StructuredData == "" {
			dst = append(dst, "- "...)
		} else {
			dst = append(append(dst, '['), e.cfg.StructuredData...)
			dst = append(append(dst, s.params...), e.scratch...)
			if e.cfg.IDs {
				if id := wire.RecordID(b, i); !id.IsZero() {
					dst = append(wire.AppendID(append(dst, ` weir_id="`...), id), '"')
				}
			}
			wire.EachFlag(r.Flags, func(name string) { dst = append(append(append(dst, " weir_"...), name...), `="true"`...) })
			dst = append(dst, "] "...)
		}
	}
	dst = appendText(dst, text)
	if m := e.cfg.MaxBytes; m > 0 && len(dst)-start > m {
		cut := start + m
		for k := 0; k < utf8.UTFMax-1 && cut > start && dst[cut]&0xc0 == 0x80; k++ {
			cut--
		}
		dst = dst[:cut]
	}
	switch {
	case e.cfg.Datagrams:
	case e.cfg.Counted:
		var n [room]byte
		count := append(strconv.AppendInt(n[:0], int64(len(dst)-start), 10), ' ')
		copy(dst[from:], count)
		dst = append(dst[:from+len(count)], dst[start:]...)
	default:
		dst = append(dst, '\n')
	}
	return dst
}

// params appends the members of body, an object, to e.scratch, but for those whose
// names are taken, and returns the message.
func (e *Encoder) params(body []byte) (text []byte) {
	at, rank := len(e.scratch), 0
	text = body
	e.rd.Reset(body)
	if !e.rd.Enter('{') {
		return body
	}
	for {
		s, esc, more := e.rd.Name()
		if !more {
			break
		}
		name := body[s.Off:s.End()]
		if esc {
			name = json.Unescape(nil, name)
		}
		var v []byte
		isText := e.rd.Kind() == '"'
		switch e.rd.Kind() {
		case '{', '[':
			e.rd.Skip()
			continue
		case '"':
			s, esc, _ := e.rd.String()
			if v = body[s.Off:s.End()]; esc {
				e.plain = json.Unescape(e.plain[:0], v)
				v = e.plain
			}
		default:
			s, kind, _ := e.rd.Scalar()
			if kind == record.Null {
				continue
			}
			v = body[s.Off:s.End()]
		}
		switch k := string(name); {
		case isText && k == "message" && rank < 3, isText && k == "msg" && rank < 2, isText && k == "log" && rank < 1:
			rank = map[string]int{"message": 3, "msg": 2, "log": 1}[k]
			e.text = append(e.text[:0], v...)
			text = e.text
			continue
		}
		key := string(appendName(nil, string(name), 32))
		if key == "" || key == "weir_id" || e.taken[key] {
			continue
		}
		e.taken[key] = true
		e.scratch = appendParam(e.scratch, key, v)
	}
	if !e.rd.End() {
		e.scratch = e.scratch[:at]
		return body
	}
	return text
}

// appendHeader is appendToken for bytes.
func appendHeader(dst, p []byte, most int) []byte {
	if len(p) == 0 {
		return append(dst, '-')
	}
	for _, c := range p[:min(len(p), most)] {
		if c <= ' ' || c >= 0x7f {
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}
