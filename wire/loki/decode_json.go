package loki

import (
	"errors"
	"fmt"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// JSON decodes a request of Content-Type application/json,
//
//	{"streams": [{"stream": {"name": "value"}, "values": [["<nanoseconds>", "line", {"name": "value"}]]}]}
//
// the bytes of body in b's buffer, which it changes: strings with escapes are
// resolved in place. Other members are passed over. Numbers, true and false in
// the place of a label's or metadata's value stand for their text. Everything
// else is as with Protobuf.
// https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs
func (d *Decoder) JSON(b *record.Batch, body record.Span, tenant string, now int64) (wire.Outcome, error) {
	d.begin(b, body, tenant, now)
	d.base = body.Off
	d.rd.Reset(d.p[body.Off:])
	err := d.document()
	d.rd.Reset(nil)
	return d.end(err)
}

func (d *Decoder) document() error {
	r := &d.rd
	if !r.Enter('{') {
		return r.Err()
	}
	for {
		name, esc, more := r.Name()
		if !more {
			break
		}
		if string(d.text(name, esc)) != "streams" || r.Kind() == 'n' {
			r.Skip()
			continue
		}
		if !r.Enter('[') {
			break
		}
		for r.More() {
			d.out.Streams++
			if err := d.jsonStream(); err != nil {
				return fmt.Errorf("stream %d: %w", d.out.Streams, err)
			}
		}
	}
	r.End()
	return r.Err()
}

// text returns the bytes that a string of the document means.
func (d *Decoder) text(s record.Span, esc bool) []byte {
	p := d.p[d.base+s.Off : d.base+s.End()]
	if esc {
		p = json.UnescapeInPlace(p)
	}
	return p
}

// span is text as a span of the batch's buffer.
func (d *Decoder) span(s record.Span, esc bool) record.Span {
	n := s.Len
	if esc {
		n = uint32(len(d.text(s, true)))
	}
	return record.Span{Off: d.base + s.Off, Len: n}
}

func (d *Decoder) jsonStream() error {
	r := &d.rd
	var labels []byte
	var late []json.Mark // values that stand before the labels
	known, bad := false, error(nil)
	d.entries = 0
	if !r.Enter('{') {
		return r.Err()
	}
	for {
		name, esc, more := r.Name()
		if !more {
			break
		}
		switch string(d.text(name, esc)) {
		case "stream":
			s, ok := r.Skip()
			if !ok {
				break
			}
			labels, known = d.p[d.base+s.Off:d.base+s.End()], true
			if bad = d.use(labels, (*Decoder).parseObject); r.Err() != nil {
				return r.Err()
			}
		case "values":
			if !known {
				late = append(late[:0], r.Mark())
				r.Skip()
				break
			}
			if err := d.values(bad); err != nil {
				return err
			}
		default:
			r.Skip()
		}
	}
	if err := r.Err(); err != nil {
		return err
	}
	if !known {
		bad = d.use([]byte("{}"), (*Decoder).parseText)
	}
	for _, m := range late {
		end := r.Mark()
		r.Return(m)
		if err := d.values(bad); err != nil {
			return err
		}
		r.Return(end)
	}
	return d.endStream(bad)
}

// parseObject parses labels that stand as a JSON object.
func (d *Decoder) parseObject(text []byte) error {
	var r json.Reader
	r.Reset(text)
	if !r.Enter('{') {
		return errors.New("labels are not an object of strings")
	}
	str := func(s record.Span, esc bool) []byte {
		p := text[s.Off:s.End()]
		if esc {
			p = json.Unescape(nil, p) // the text is the key of the cache
		}
		return p
	}
	for {
		s, esc, more := r.Name()
		if !more {
			break
		}
		name := str(s, esc)
		switch r.Kind() {
		case '"':
			s, esc, _ = r.String()
		case 'n', '0', 't', 'f':
			s, _, _ = r.Scalar()
			esc = false
		default:
			return fmt.Errorf("label %q is not a string", clip(name))
		}
		if r.Err() != nil {
			break
		}
		value := string(wire.AppendText(nil, str(s, esc)))
		var err error
		if d.attrs, err = addLabel(d.attrs, name, value, &d.limits); err != nil {
			return err
		}
	}
	return r.Err()
}

// values decodes the entries of a stream.
func (d *Decoder) values(bad error) error {
	r := &d.rd
	if r.Kind() == 'n' {
		r.Scalar()
		return r.Err()
	}
	if !r.Enter('[') {
		return r.Err()
	}
	for r.More() {
		d.entries++
		if bad != nil {
			r.Skip()
		} else if err := d.jsonEntry(); err != nil {
			return fmt.Errorf("entry %d: %w", d.entries, err)
		}
	}
	return r.Err()
}

func (d *Decoder) jsonEntry() error {
	r := &d.rd
	if !r.Enter('[') {
		return r.Err()
	}
	var line record.Span
	var at int64
	inRange := true
	many := 0
	d.pairs = d.pairs[:0]
	n := 0
	for ; r.More(); n++ {
		switch n {
		case 0:
			var s record.Span
			var ok bool
			if r.Kind() == '"' {
				s, _, ok = r.String()
			} else {
				s, _, ok = r.Scalar()
			}
			if !ok {
				return r.Err()
			}
			text := d.text(s, false)
			if at, inRange, ok = nanoseconds(text); !ok {
				return fmt.Errorf("timestamp %q is not a number of nanoseconds", clip(text))
			}
		case 1:
			s, esc, ok := r.String()
			if !ok {
				return fmt.Errorf("line: %w", r.Err())
			}
			line = d.span(s, esc)
		case 2:
			var err error
			if many, err = d.jsonMetadata(); err != nil {
				return fmt.Errorf("structured metadata: %w", err)
			}
		default:
			r.Skip()
		}
	}
	if err := r.Err(); err != nil {
		return err
	}
	if n < 2 {
		return fmt.Errorf("an entry is [timestamp, line], this one has %d of them", n)
	}
	return d.entry(at, inRange, line, many)
}

// jsonMetadata reads the object into d.pairs and returns how many more there are
// than the limit.
func (d *Decoder) jsonMetadata() (many int, err error) {
	r := &d.rd
	if r.Kind() == 'n' {
		r.Scalar()
		return 0, r.Err()
	}
	if !r.Enter('{') {
		return 0, r.Err()
	}
	for {
		s, esc, more := r.Name()
		if !more {
			return many, r.Err()
		}
		kv := pair{name: d.span(s, esc)}
		switch r.Kind() {
		case '"':
			s, esc, _ = r.String()
		case 't', 'f', '0', 'n':
			s, _, _ = r.Scalar()
			esc = false
		default:
			r.Skip()
			if r.Err() != nil {
				return 0, r.Err()
			}
			return 0, fmt.Errorf("%q is not a string", clip(d.p[kv.name.Off:kv.name.End()]))
		}
		if r.Err() != nil {
			return 0, r.Err()
		}
		if len(d.pairs) > d.limits.Metadata {
			many++
			continue
		}
		kv.value = d.span(s, esc)
		d.pairs = append(d.pairs, kv)
	}
}

// nanoseconds parses an integer; inRange is false if it is one but does not fit.
func nanoseconds(p []byte) (n int64, inRange, ok bool) {
	i, neg := 0, false
	if len(p) > 0 && p[0] == '-' {
		i, neg = 1, true
	}
	if i == len(p) {
		return 0, false, false
	}
	inRange = true
	for ; i < len(p); i++ {
		c := p[i] - '0'
		if c > 9 {
			return 0, false, false
		}
		if n > (1<<63-1-int64(c))/10 {
			inRange = false
			continue
		}
		n = n*10 + int64(c)
	}
	if neg {
		n = -n
	}
	return n, inRange, true
}
