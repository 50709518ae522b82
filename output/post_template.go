package output

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/json"
)

// RecordTemplate makes the text of a record: what stands in it, with {{.name}}
// filled in as JSON: a text in quotes, a number, an object. It is immutable.
//
// Names are time (RFC 3339), time_unix, time_unix_milli, time_unix_nano, level,
// severity_number, body (a JSON body as it stands, any other as a text), text
// (the body as a text whatever it is), id, and any attribute of the stream or
// field of the record; null if there is none.
type RecordTemplate struct {
	parts []templatePiece
}

type templatePiece struct{ text, name string }

// ParseRecordTemplate parses a RecordTemplate.
func ParseRecordTemplate(s string) (*RecordTemplate, error) {
	t := &RecordTemplate{}
	for rest := s; rest != ""; {
		text, after, found := strings.Cut(rest, "{{")
		if text != "" {
			t.parts = append(t.parts, templatePiece{text: text})
		}
		if !found {
			break
		}
		name, tail, closed := strings.Cut(after, "}}")
		name = strings.TrimSpace(name)
		if !closed {
			return nil, errors.New("{{ without }}")
		}
		if len(name) < 2 || name[0] != '.' || strings.ContainsAny(name[1:], " \t{}|\"'()") {
			return nil, fmt.Errorf("{{%s}}: write {{.name}}", name)
		}
		t.parts = append(t.parts, templatePiece{name: name[1:]})
		rest = tail
	}
	if len(t.parts) == 0 {
		return nil, errors.New("is empty")
	}
	return t, nil
}

// templateEncoder writes records by a RecordTemplate. It is for one goroutine.
type templateEncoder struct {
	t       *RecordTemplate
	between string
	clock   json.Clock
}

func (e *templateEncoder) clone() encoder { return &templateEncoder{t: e.t, between: e.between} }

// Append appends the records of the parts, in order.
func (e *templateEncoder) Append(dst []byte, parts []record.Part) []byte {
	first := true
	for _, p := range parts {
		for _, i := range p.Index() {
			if !first {
				dst = append(dst, e.between...)
			}
			first = false
			for _, piece := range e.t.parts {
				if piece.name == "" {
					dst = append(dst, piece.text...)
				} else {
					dst = e.value(dst, piece.name, p.Batch(), int(i))
				}
			}
		}
	}
	return dst
}

func (e *templateEncoder) value(dst []byte, name string, b *record.Batch, i int) []byte {
	r := b.Record(i)
	switch name {
	case "time":
		return append(e.clock.Append(append(dst, '"'), r.Time), '"')
	case "time_unix":
		return strconv.AppendInt(dst, r.Time/int64(time.Second), 10)
	case "time_unix_milli":
		return strconv.AppendInt(dst, r.Time/int64(time.Millisecond), 10)
	case "time_unix_nano":
		return strconv.AppendInt(dst, r.Time, 10)
	case "level":
		return append(append(append(dst, '"'), r.Severity.Level()...), '"')
	case "severity_number":
		return strconv.AppendUint(dst, uint64(r.Severity), 10)
	case "body":
		if r.Flags.Has(record.JSONObject) {
			return appendOneLine(dst, b.Bytes(r.Body))
		}
		return json.AppendString(dst, b.Bytes(r.Body))
	case "text":
		return json.AppendString(dst, b.Bytes(r.Body))
	case "id":
		if id := wire.RecordID(b, i); !id.IsZero() {
			return append(wire.AppendID(append(dst, '"'), id), '"')
		}
		return append(dst, "null"...)
	}
	if v := b.Stream(i).Get(name); v != "" {
		return json.AppendStringString(dst, v)
	}
	if f, ok := b.FindField(i, name); ok && !wire.IsAttr(name) {
		switch f.Kind {
		case record.String:
			return json.AppendString(dst, b.Bytes(f.Val))
		case record.Null:
		default:
			if v := b.Bytes(f.Val); stdjson.Valid(v) {
				return appendOneLine(dst, v)
			}
			return json.AppendString(dst, b.Bytes(f.Val))
		}
	}
	return append(dst, "null"...)
}

// appendOneLine appends JSON without its line breaks, which can only stand between
// values: a record that was logged over several lines must not look like several.
func appendOneLine(dst, v []byte) []byte {
	at := len(dst)
	dst = append(dst, v...)
	for i := at; i < len(dst); i++ {
		if dst[i] == '\n' || dst[i] == '\r' {
			dst[i] = ' '
		}
	}
	return dst
}
