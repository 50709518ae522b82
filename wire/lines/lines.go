// Package lines reads what is pushed line by line: text, and JSON lines as weir,
// VictoriaLogs and applications write them. What becomes of an object is in
// package document.
package lines

import (
	"bytes"
	"fmt"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/document"
	"github.com/weirlog/weir/wire/json"
)

// Format is how a body is to be read.
type Format uint8

// The formats.
const (
	// Auto takes lines that are JSON objects as those, and others as text; a body
	// that is one array of objects is one.
	Auto Format = iota
	// Text takes every line as it stands.
	Text
	// JSON refuses what is not an object: lines of them, one after the other, or
	// one array.
	JSON
)

// MaxLine is where a line of text is cut, in bytes: its pieces are flagged
// partial and continued.
const MaxLine = 1 << 20

// Sender is what a request says of all its lines.
type Sender struct {
	Attrs []record.Attr
	Key   []byte // equal keys, equal attributes
}

// Decoder reads requests. It is for one goroutine; the cache may be shared by
// those with the same options.
type Decoder struct {
	doc *document.Decoder
	rd  json.Reader
}

// NewDecoder returns a decoder. Zero limits are the defaults.
func NewDecoder(l wire.Limits, cache *wire.StreamCache, rules *document.Rules) *Decoder {
	return &Decoder{doc: document.NewDecoder(l, cache, rules)}
}

// SetRules makes other rules those of the next request, with a cache of their own.
func (d *Decoder) SetRules(rules *document.Rules, cache *wire.StreamCache) {
	d.doc.SetRules(rules, cache)
}

// Decode decodes the bytes of body in b's buffer, which it may change: records
// are spans of it. The tenant, if not empty, becomes an attribute of every stream;
// now is the time in Unix nanoseconds. Empty lines are none. Lines that cannot be
// taken are refused alone; an array that is cut short is an error as a whole, after
// which the batch must not be used. ErrTooMany is in the error's chain if the
// request should be split.
func (d *Decoder) Decode(b *record.Batch, body record.Span, f Format, from *Sender, tenant string, now int64) (wire.Outcome, error) {
	d.doc.Begin(b, body.End(), tenant, now)
	err := d.decode(b, body, f, &document.Sent{Attrs: from.Attrs, Key: from.Key})
	return d.doc.End(), err
}

func (d *Decoder) decode(b *record.Batch, body record.Span, f Format, sent *document.Sent) error {
	p := b.Buf()[:body.End()]
	i := int(body.Off)
	if f != Text {
		if first := skipSpace(p, i); first < len(p) && p[first] == '[' && (f == JSON || isArray(p[first:])) {
			return d.array(b, p, first, sent)
		}
	}
	for line := 1; i < len(p); line++ {
		n := bytes.IndexByte(p[i:], '\n')
		next := i + n + 1
		if n < 0 {
			n, next = len(p)-i, len(p)
		}
		end := i + n
		if end > i && p[end-1] == '\r' {
			end--
		}
		if err := d.line(b, p, i, end, line, f, sent); err != nil {
			return err
		}
		i = next
	}
	return nil
}

func (d *Decoder) line(b *record.Batch, p []byte, i, end, line int, f Format, sent *document.Sent) error {
	if f != Text {
		from, to := skipSpace(p[:end], i), end
		for to > from && (p[to-1] == ' ' || p[to-1] == '\t') {
			to--
		}
		if from == to {
			return nil
		}
		if f == JSON || p[from] == '{' {
			if err := d.doc.Count(); err != nil {
				return err
			}
			_, err := d.doc.Add(record.Span{Off: uint32(from), Len: uint32(to - from)}, sent)
			if err == nil {
				return nil
			}
			why, ok := document.Refusal(err)
			if !ok {
				return err
			}
			if f == JSON {
				d.doc.Outcome().Refuse(1, "line %d: %s", line, why)
				return nil
			}
			return d.text(i, end, sent) // something that only begins like an object
		}
	}
	if i == end {
		return nil
	}
	if err := d.doc.Count(); err != nil {
		return err
	}
	return d.text(i, end, sent)
}

// text adds a line, in pieces if it is too long.
func (d *Decoder) text(i, end int, sent *document.Sent) error {
	flags := record.Flags(0)
	for {
		n := min(end-i, MaxLine)
		if n < end-i {
			flags |= record.Partial
		}
		if err := d.doc.AddText(record.Span{Off: uint32(i), Len: uint32(n)}, flags, sent); err != nil {
			return err
		}
		if i += n; i == end {
			return nil
		}
		flags = record.Continued
		if err := d.doc.Count(); err != nil {
			return err
		}
	}
}

// isArray reports whether p, which begins with a bracket, looks like an array of
// objects rather than a line of text.
func isArray(p []byte) bool {
	i := skipSpace(p, 1)
	return i < len(p) && (p[i] == '{' || p[i] == ']')
}

func (d *Decoder) array(b *record.Batch, p []byte, i int, sent *document.Sent) error {
	r := &d.rd
	r.Reset(p[i:])
	defer r.Reset(nil)
	if !r.Enter('[') {
		return r.Err()
	}
	for n := 1; r.More(); n++ {
		s, ok := r.Skip()
		if !ok {
			return fmt.Errorf("element %d: %w", n, r.Err())
		}
		if err := d.doc.Count(); err != nil {
			return err
		}
		_, err := d.doc.Add(record.Span{Off: uint32(i) + s.Off, Len: s.Len}, sent)
		if err != nil {
			why, ok := document.Refusal(err)
			if !ok {
				return err
			}
			d.doc.Outcome().Refuse(1, "element %d: %s", n, why)
		}
	}
	r.End()
	return r.Err()
}

func skipSpace(p []byte, i int) int {
	for i < len(p) && (p[i] == ' ' || p[i] == '\t' || p[i] == '\n' || p[i] == '\r') {
		i++
	}
	return i
}
