package elastic

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/document"
	"github.com/weirlog/weir/wire/json"
)

// IndexAttr is the stream's attribute for the index that a document was sent to.
const IndexAttr = "_index"

// Action is one of a bulk request and what has become of it.
type Action struct {
	Op     OpCode
	Record int32       // in the batch; -1 if it was refused
	Index  record.Span // in the batch's buffer; empty: the request's
	ID     record.Span // empty: none
	Why    string      // it was refused
	Type   string      // of the exception, if it was refused
	Status int         // the same
}

// OpCode is the operation of an Action.
type OpCode uint8

// The operations.
const (
	OpIndex OpCode = iota
	OpCreate
	OpUpdate
	OpDelete
)

var opNames = [...]string{"index", "create", "update", "delete"}

// String returns the operation's name.
func (o OpCode) String() string { return opNames[o] }

// Decoder reads bulk requests into batches. What becomes of a document is in
// package document, by the rules document.Elastic; the index is the attribute
// _index of its stream, its _id the record's id (document.IDOf). Log stores take
// what is added: index and create do the same, update and delete are refused for
// each.
//
// A Decoder is for one goroutine; the cache may be shared.
// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
type Decoder struct {
	doc   *document.Decoder
	rd    json.Reader
	items []Action

	// The action before, to whose end they are mostly alike.
	action []byte
	op     OpCode
	index  record.Span // in the buffer
	attrs  []record.Attr
	of     string // index that attrs are of
	key    []byte
	name   string // of the index, of the request
	exact  bool   // the action has no more than an index
}

// NewDecoder returns a decoder. Zero limits are the defaults.
func NewDecoder(l wire.Limits, cache *wire.StreamCache) *Decoder {
	return &Decoder{doc: document.NewDecoder(l, cache, document.Elastic())}
}

// ErrBody is in the chain of an error about a request that is no bulk request.
var ErrBody = errors.New("the bulk request must be terminated by a newline [\\n]")

// Decode decodes the bytes of body in b's buffer, which it changes. index is that
// of the request's path, "" if there is none. The items, in the order of the
// request, are valid until the next call. After an error nothing can be taken.
// ErrTooMany is in its chain if the request should be split.
func (d *Decoder) Decode(b *record.Batch, body record.Span, index, tenant string, now int64) ([]Action, wire.Outcome, error) {
	d.doc.Begin(b, body.End(), tenant, now)
	d.items, d.action, d.name = d.items[:0], d.action[:0], index
	if cap(d.items) > 1<<16 {
		d.items = nil
	}
	d.of, d.key, d.attrs = "", d.key[:0], d.attrs[:0]
	err := d.lines(b, body)
	return d.items, d.doc.End(), err
}

// line returns the bounds of the line at p[i:], without its end, and where the
// next begins.
func line(p []byte, i int) (end, next int) {
	n := bytes.IndexByte(p[i:], '\n')
	if n < 0 {
		end, next = len(p), len(p)
	} else {
		end, next = i+n, i+n+1
	}
	if end > i && p[end-1] == '\r' {
		end--
	}
	return end, next
}

func (d *Decoder) lines(b *record.Batch, body record.Span) error {
	p := b.Buf()[:body.End()]
	i := int(body.Off)
	var sent document.Sent
	for n := 1; i < len(p); n++ {
		end, next := line(p, i)
		if end == i { // between requests that were put together
			i = next
			continue
		}
		if err := d.doc.Count(); err != nil {
			return err
		}
		it := Action{Record: -1}
		if err := d.head(p, i, end, &it); err != nil {
			return fmt.Errorf("line %d: malformed action/metadata: %w", n, err)
		}
		i = next
		switch it.Op {
		case OpDelete:
			d.refuse(&it, 400, "action_request_validation_exception", "delete is not supported: logs are only added")
			continue
		case OpUpdate:
			if _, i = line(p, min(i, len(p))); i == next {
				return fmt.Errorf("line %d: there is no document behind the action", n)
			}
			n++
			d.refuse(&it, 400, "action_request_validation_exception", "update is not supported: logs are only added")
			continue
		}
		if i >= len(p) {
			return fmt.Errorf("line %d: there is no document behind the action", n)
		}
		end, next = line(p, i)
		n++
		name := d.name
		if it.Index.Len > 0 {
			if string(p[it.Index.Off:it.Index.End()]) != d.of || len(d.key) == 0 {
				name = string(p[it.Index.Off:it.Index.End()])
			} else {
				name = d.of
			}
		}
		if name == "" {
			d.refuse(&it, 400, "action_request_validation_exception", "Validation Failed: 1: index is missing;")
			i = next
			continue
		}
		if name != d.of || len(d.key) == 0 {
			d.of = name
			d.key = append(append(d.key[:0], 'i'), name...)
			d.attrs = append(d.attrs[:0], record.Attr{Name: IndexAttr, Value: name})
		}
		sent = document.Sent{Attrs: d.attrs, Key: d.key}
		if it.ID.Len > 0 {
			sent.ID = document.IDOf(p[it.ID.Off:it.ID.End()])
		}
		from := i
		for from < end && (p[from] == ' ' || p[from] == '\t') {
			from++
		}
		for end > from && (p[end-1] == ' ' || p[end-1] == '\t') {
			end--
		}
		rec, err := d.doc.Add(record.Span{Off: uint32(from), Len: uint32(end - from)}, &sent)
		i = next
		if err != nil {
			why, ok := document.Refusal(err)
			if !ok {
				return err
			}
			d.refuse(&it, 400, "document_parsing_exception", "failed to parse: "+why)
			continue
		}
		it.Record = int32(rec)
		d.items = append(d.items, it)
	}
	return nil
}

func (d *Decoder) refuse(it *Action, status int, typ, why string) {
	it.Status, it.Type, it.Why = status, typ, why
	d.items = append(d.items, *it)
	d.doc.Outcome().Refuse(1, "item %d: %s", len(d.items)-1, why)
}

// head reads an action line.
func (d *Decoder) head(p []byte, i, end int, it *Action) error {
	// Mostly it is the one before, byte for byte.
	if d.exact && end-i == len(d.action) && string(p[i:end]) == string(d.action) {
		it.Op, it.Index = d.op, d.index
		return nil
	}
	d.exact = false
	r := &d.rd
	text := p[i:end]
	r.Reset(text)
	str := func(s record.Span, esc bool) record.Span {
		n := s.Len
		if esc {
			n = uint32(len(json.UnescapeInPlace(text[s.Off:s.End()])))
		}
		return record.Span{Off: uint32(i) + s.Off, Len: n}
	}
	if !r.Enter('{') {
		return r.Err()
	}
	s, _, more := r.Name()
	if !more {
		if r.Err() != nil {
			return r.Err()
		}
		return errors.New("expected FIELD_NAME but found [END_OBJECT]")
	}
	switch string(text[s.Off:s.End()]) {
	case "index":
		it.Op = OpIndex
	case "create":
		it.Op = OpCreate
	case "update":
		it.Op = OpUpdate
	case "delete":
		it.Op = OpDelete
	default:
		return fmt.Errorf("expected one of [create, delete, index, update] but found [%q]", text[s.Off:min(s.End(), s.Off+40)])
	}
	changed := false
	if !r.Enter('{') {
		return r.Err()
	}
	for {
		s, _, more := r.Name()
		if !more {
			break
		}
		name := text[s.Off:s.End()]
		switch {
		case r.Kind() != '"':
			// Versions, routing by number and flags are of no concern to logs.
			v, ok := r.Skip()
			if ok && string(name) == "_id" && text[v.Off] != 'n' {
				it.ID = record.Span{Off: uint32(i) + v.Off, Len: v.Len}
			}
		case string(name) == "_index":
			v, esc, _ := r.String()
			it.Index = str(v, esc)
			changed = changed || esc
		case string(name) == "_id":
			v, esc, _ := r.String()
			if v.Len > 512 {
				return errors.New("id is too long, must be no longer than 512 bytes")
			}
			it.ID = str(v, esc)
			changed = changed || esc
		default:
			r.String()
		}
	}
	for { // there are clients that leave members of their own behind the action
		if _, _, more := r.Name(); !more {
			break
		}
		r.Skip()
	}
	r.End()
	if r.Err() == nil && it.ID.Len == 0 && !changed {
		d.action, d.exact, d.op, d.index = append(d.action[:0], text...), true, it.Op, it.Index
	}
	return r.Err()
}

// Document decodes a request with one document, the bytes of body in b's buffer,
// for that index and with that id, "" for none. A *document.Refused error says
// what is wrong with it.
func (d *Decoder) Document(b *record.Batch, body record.Span, index, id, tenant string, now int64) (wire.Outcome, error) {
	d.doc.Begin(b, body.End(), tenant, now)
	p := b.Buf()
	for body.Len > 0 && p[body.Off] <= ' ' {
		body.Off, body.Len = body.Off+1, body.Len-1
	}
	for body.Len > 0 && p[body.End()-1] <= ' ' {
		body.Len--
	}
	sent := document.Sent{Attrs: []record.Attr{{Name: IndexAttr, Value: index}}, Key: append([]byte{'i'}, index...)}
	if id != "" {
		sent.ID = document.IDOf([]byte(id))
	}
	err := d.doc.Count()
	if err == nil {
		_, err = d.doc.Add(body, &sent)
	}
	return d.doc.End(), err
}
