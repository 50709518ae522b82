package export

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire/json"
)

// Names of the formats.
const (
	JSONL = "jsonl" // {"time","line","labels","metadata","parsed"} a line
	CSV   = "csv"   // RFC 4180, with a line of names first
	Raw   = "raw"   // the lines alone
	Rows  = "rows"  // for Decoder
)

// Formats are the formats there are.
var Formats = []string{JSONL, CSV, Raw, Rows}

// Columns are the columns of CSV unless others are named.
var Columns = []string{"time", "level", "labels", "line"}

// ContentType returns the media type of a format.
func ContentType(format string) string {
	switch format {
	case JSONL:
		return "application/x-ndjson"
	case CSV:
		return "text/csv; charset=utf-8; header=present"
	case Raw:
		return "text/plain; charset=utf-8"
	}
	return "application/vnd.weir.rows"
}

// Encoder appends rows in one format.
type Encoder interface {
	// Head appends what stands at the front of a file.
	Head(dst []byte) []byte
	// Append appends a row.
	Append(dst []byte, r *Row) []byte
}

// New returns the encoder of a format. The columns are those of CSV, nil for
// Columns: time, level, line, labels (all of the row's as LogQL writes them), or
// the name of a label. The error says what there is instead.
func New(format string, columns []string) (Encoder, error) {
	switch format {
	case JSONL:
		return &jsonEncoder{}, nil
	case CSV:
		if len(columns) == 0 {
			columns = Columns
		}
		return &csvEncoder{columns: columns}, nil
	case Raw:
		return rawEncoder{}, nil
	case Rows:
		return &rowsEncoder{}, nil
	}
	return nil, fmt.Errorf("no format %s: want %s", strconv.Quote(format), strings.Join(Formats, ", "))
}

// clock appends times in UTC, RFC 3339, without the zeros that say nothing.
type clock struct{ json.Clock }

func (c *clock) Append(dst []byte, ns int64) []byte {
	dst = c.Clock.Append(dst, ns)
	i := len(dst) - 1 // the Z
	for dst[i-1] == '0' {
		i--
	}
	if dst[i-1] == '.' {
		i--
	}
	return append(dst[:i], 'Z')
}

type jsonEncoder struct{ clock clock }

func (e *jsonEncoder) Head(dst []byte) []byte { return dst }

func (e *jsonEncoder) Append(b []byte, r *Row) []byte {
	b = append(b, `{"time":"`...)
	b = e.clock.Append(b, r.Time)
	b = append(b, `","line":`...)
	b = json.AppendString(b, r.Line)
	b = append(b, ',')
	b = append(b, r.Stream.json...)
	if len(r.Meta) > 0 {
		b = appendObject(append(b, `,"metadata":`...), r.Meta)
	}
	if len(r.Parsed) > 0 {
		b = appendObject(append(b, `,"parsed":`...), r.Parsed)
	}
	return append(b, "}\n"...)
}

type rawEncoder struct{}

func (rawEncoder) Head(dst []byte) []byte { return dst }

func (rawEncoder) Append(dst []byte, r *Row) []byte {
	return append(append(dst, r.Line...), '\n')
}

type csvEncoder struct {
	columns []string
	clock   clock
	more    []record.Attr // of the row, beside the stream's
	text    []byte
}

func (e *csvEncoder) Head(dst []byte) []byte {
	for i, name := range e.columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendField(dst, []byte(name))
	}
	return append(dst, '\n')
}

func (e *csvEncoder) Append(dst []byte, r *Row) []byte {
	for i, name := range e.columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		switch name {
		case "time":
			dst = e.clock.Append(dst, r.Time)
		case "line":
			dst = appendField(dst, r.Line)
		case "labels":
			dst = e.labels(dst, r)
		case "level":
			e.text = append(e.text[:0], r.Level()...)
			dst = appendField(dst, e.text)
		default:
			e.text = append(e.text[:0], r.Get(name)...)
			dst = appendField(dst, e.text)
		}
	}
	return append(dst, '\n')
}

// labels appends the field with all labels but detected_level as LogQL writes
// them, sorted. What a stream has is worked out once.
func (e *csvEncoder) labels(dst []byte, r *Row) []byte {
	e.more = e.more[:0]
	for i := range r.Parsed {
		if r.Parsed[i].Name != "detected_level" {
			e.more = append(e.more, r.Parsed[i])
		}
	}
	for i := range r.Meta {
		if n := r.Meta[i].Name; n != "detected_level" && !slices.ContainsFunc(r.Parsed, func(l record.Attr) bool { return l.Name == n }) {
			e.more = append(e.more, r.Meta[i])
		}
	}
	s := r.Stream
	if s.csv == nil {
		for i := range s.Labels {
			s.csv = append(s.csv, e.label(nil, &s.Labels[i]))
		}
	}
	if len(s.csv)+len(e.more) == 0 {
		return append(dst, "{}"...)
	}
	if len(e.more) > 1 {
		slices.SortFunc(e.more, func(a, b record.Attr) int { return strings.Compare(a.Name, b.Name) })
	}
	from := len(dst)
	for i, k := 0, 0; i < len(s.csv) || k < len(e.more); {
		switch {
		case k == len(e.more), i < len(s.csv) && s.Labels[i].Name < e.more[k].Name:
			if s.Labels[i].Name != "detected_level" {
				dst = append(append(dst, ", "...), s.csv[i]...)
			}
			i++
		default:
			if i < len(s.csv) && s.Labels[i].Name == e.more[k].Name {
				i++ // the row's own goes before
			}
			dst = e.label(append(dst, ", "...), &e.more[k])
			k++
		}
	}
	if len(dst) == from {
		return append(dst, "{}"...)
	}
	dst[from], dst[from+1] = '"', '{'
	return append(dst, '}', '"')
}

// label appends name="value" as it stands in a quoted field.
func (e *csvEncoder) label(dst []byte, l *record.Attr) []byte {
	dst = append(append(dst, l.Name...), '=')
	if plain(l.Value) {
		dst = append(dst, '"', '"')
		dst = append(dst, l.Value...)
		return append(dst, '"', '"')
	}
	e.text = strconv.AppendQuote(e.text[:0], l.Value)
	return appendDoubled(dst, e.text)
}

// plain reports whether strconv.Quote only puts quotes around s.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// appendField appends a field of CSV as encoding/csv does: in quotes where it
// must be, or might be taken for something else.
func appendField(dst, f []byte) []byte {
	if !quotes(f) {
		return append(dst, f...)
	}
	return append(appendDoubled(append(dst, '"'), f), '"')
}

// appendDoubled appends f with its quotes doubled.
func appendDoubled(dst, f []byte) []byte {
	n := len(dst)
	dst = slices.Grow(dst, 2*len(f)+1)
	to := dst[n : n+2*len(f)+1]
	k := 0
	for _, c := range f {
		// The second one is overwritten unless it is meant: there is no branch
		// that a line of JSON would make slow.
		to[k], to[k+1] = c, c
		k++
		if c == '"' {
			k++
		}
	}
	return dst[:n+k]
}

func quotes(f []byte) bool {
	if len(f) == 0 {
		return false
	}
	if string(f) == `\.` {
		return true // the end of data to PostgreSQL
	}
	for _, c := range f {
		if c == '"' || c == ',' || c == '\n' || c == '\r' {
			return true
		}
	}
	if c := f[0]; c < utf8.RuneSelf {
		return c == ' ' || c == '\t' || c == '\v' || c == '\f'
	}
	c, _ := utf8.DecodeRune(f)
	return c == 0x85 || c == 0xa0 || c == 0x1680 || c >= 0x2000 && c <= 0x200a || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000
}
