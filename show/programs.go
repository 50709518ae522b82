package show

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weirlog/weir/wire/line"
)

func utc(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// rawPrinter writes lines as they are, and bare values.
type rawPrinter struct{ w *bufio.Writer }

func (p rawPrinter) Line(e *Entry) error {
	p.w.WriteString(e.Line)
	return p.w.WriteByte('\n')
}

func (p rawPrinter) Series(_ map[string]string, points []Point) error {
	for _, pt := range points {
		if _, err := fmt.Fprintln(p.w, pt.Value); err != nil {
			return err
		}
	}
	return nil
}

func (p rawPrinter) End() error { return nil }

// jsonPrinter writes an object a line. The names are an interface:
//
//	{"time":"2026-11-22T10:00:00.123456789Z","line":"…","labels":{…},"metadata":{…},"parsed":{…}}
//	{"time":"2026-11-22T10:00:00Z","labels":{…},"value":3}
type jsonPrinter struct{ e *json.Encoder }

func newJSON(w *bufio.Writer) jsonPrinter {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return jsonPrinter{e}
}

type jsonLine struct {
	Time     string            `json:"time"`
	Line     string            `json:"line"`
	Labels   map[string]string `json:"labels"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Parsed   map[string]string `json:"parsed,omitempty"`
}

type jsonPoint struct {
	Time   string            `json:"time"`
	Labels map[string]string `json:"labels"`
	Value  any               `json:"value"` // a number; NaN, +Inf and -Inf as text
}

func (p jsonPrinter) Line(e *Entry) error {
	return p.e.Encode(jsonLine{utc(e.Time), e.Line, e.Stream.Labels, e.Meta, e.Parsed})
}

func (p jsonPrinter) Series(labels map[string]string, points []Point) error {
	if labels == nil {
		labels = map[string]string{}
	}
	for _, pt := range points {
		var v any = pt.Value
		if f, err := strconv.ParseFloat(pt.Value, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			v = json.Number(pt.Value)
		}
		if err := p.e.Encode(jsonPoint{pt.Time.UTC().Format(time.RFC3339Nano), labels, v}); err != nil {
			return err
		}
	}
	return nil
}

func (p jsonPrinter) End() error { return nil }

// logcliPrinter writes an object a line as logcli's jsonl does.
type logcliPrinter struct{ jsonPrinter }

type logcliLine struct {
	Labels    map[string]string `json:"labels"`
	Line      string            `json:"line"`
	Timestamp string            `json:"timestamp"`
}

func (p logcliPrinter) Line(e *Entry) error {
	return p.e.Encode(logcliLine{e.All(), e.Line, utc(e.Time)})
}

// extJSONPrinter writes an object a line as stern's extjson and ppextjson do:
// the line is in it as the JSON that it is, and names have colours.
type extJSONPrinter struct {
	jsonPrinter
	w             *bufio.Writer
	color, indent bool
}

func newExtJSON(w *bufio.Writer, o Options) extJSONPrinter {
	return extJSONPrinter{newJSON(w), w, o.Color, o.Format == "ppextjson"}
}

func (p extJSONPrinter) Line(e *Entry) error {
	var b []byte
	sep, pad, colon := "{", "", ": "
	if p.indent {
		sep, pad = "{\n", "  "
	}
	add := func(key, value string, color string) {
		if value == "" {
			return
		}
		text := jsonText(value)
		if p.color && color != "" {
			text = "\x1b[" + color + "m" + text + "\x1b[0m"
		}
		b = append(b, sep+pad+strconv.Quote(key)+colon+text...)
		if sep = ", "; p.indent {
			sep = ",\n"
		}
	}
	pod := e.Stream.Labels["pod"]
	color := line.NameColor(e.Stream.Labels["namespace"] + "/" + pod)
	add("time", utc(e.Time), "")
	add("namespace", e.Stream.Labels["namespace"], "")
	add("pod", pod, color)
	add("container", e.Stream.Labels["container"], color)
	if pod == "" {
		add("labels", e.Stream.Text, "")
	}
	b = append(b, sep+pad+`"message"`+colon...)
	if t := strings.TrimSpace(e.Line); json.Valid([]byte(t)) {
		if p.indent {
			var out strings.Builder
			enc := json.NewEncoder(&out)
			enc.SetEscapeHTML(false)
			enc.SetIndent("  ", "  ")
			if err := enc.Encode(json.RawMessage(t)); err == nil {
				t = strings.TrimSpace(out.String())
			}
		}
		b = append(b, t...)
	} else {
		b = append(b, jsonText(e.Line)...)
	}
	if p.indent {
		b = append(b, '\n')
	}
	_, err := p.w.Write(append(b, "}\n"...))
	return err
}

// jsonText is a text as JSON has it.
func jsonText(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil {
		return `""` // texts can always be encoded
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// logfmtPrinter writes time=… level=… label=… line=… a line; with fields, time,
// level and these.
type logfmtPrinter struct {
	w      *bufio.Writer
	fields []string
	look   *looker
}

func (p *logfmtPrinter) Line(e *Entry) error {
	p.w.WriteString("time=" + utc(e.Time))
	if l := e.Level(); l != "" {
		p.w.WriteString(" level=" + logfmtValue(l))
	}
	if len(p.fields) > 0 {
		p.look.at(e)
		for _, name := range p.fields {
			if v, ok := p.look.get(name); ok && name != "time" && name != "level" {
				p.w.WriteString(" " + name + "=" + logfmtValue(v))
			}
		}
		return p.w.WriteByte('\n')
	}
	all := e.All()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name != "level" && name != "detected_level" {
			p.w.WriteString(" " + name + "=" + logfmtValue(all[name]))
		}
	}
	_, err := p.w.WriteString(" line=" + logfmtValue(e.Line) + "\n")
	return err
}

func (p *logfmtPrinter) Series(labels map[string]string, points []Point) error {
	for _, pt := range points {
		p.w.WriteString("time=" + pt.Time.UTC().Format(time.RFC3339Nano))
		for _, name := range slices.Sorted(maps.Keys(labels)) {
			p.w.WriteString(" " + name + "=" + logfmtValue(labels[name]))
		}
		if _, err := p.w.WriteString(" value=" + pt.Value + "\n"); err != nil {
			return err
		}
	}
	return nil
}

func (p *logfmtPrinter) End() error { return nil }

func logfmtValue(s string) string {
	if s == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == '"' || r == '=' || r == '\\' || r == 0x7f || r >= 0x80 && !strconv.IsPrint(r)
	}) {
		return strconv.Quote(s)
	}
	return s
}

// csvPrinter writes time, level, labels, line; or time, labels, value. With
// fields, these are the columns: time, level, line, labels, and the keys of lines.
type csvPrinter struct {
	w      *csv.Writer
	fields []string
	look   *looker
	head   bool
	row    []string
}

func (p *csvPrinter) header(names ...string) {
	if !p.head {
		p.head = true
		_ = p.w.Write(names) // an error stays and shows at the end
	}
}

func (p *csvPrinter) Line(e *Entry) error {
	if len(p.fields) == 0 {
		p.header("time", "level", "labels", "line")
		all := e.All()
		delete(all, "detected_level")
		return p.w.Write([]string{utc(e.Time), cell(e.Level()), LabelText(all), cell(e.Line)})
	}
	p.header(p.fields...)
	p.look.at(e)
	p.row = p.row[:0]
	for _, name := range p.fields {
		v, _ := p.look.get(name)
		p.row = append(p.row, cell(v))
	}
	return p.w.Write(p.row)
}

func (p *csvPrinter) Series(labels map[string]string, points []Point) error {
	if len(p.fields) == 0 {
		p.header("time", "labels", "value")
	} else {
		p.header(slices.Concat([]string{"time"}, p.fields, []string{"value"})...)
	}
	for _, pt := range points {
		p.row = append(p.row[:0], pt.Time.UTC().Format(time.RFC3339Nano))
		if len(p.fields) == 0 {
			p.row = append(p.row, LabelText(labels))
		}
		for _, name := range p.fields {
			p.row = append(p.row, cell(labels[name]))
		}
		if err := p.w.Write(append(p.row, pt.Value)); err != nil {
			return err
		}
	}
	return nil
}

func (p *csvPrinter) End() error {
	p.w.Flush()
	return p.w.Error()
}

// cell is a value as a spreadsheet may have it: what it would take for a formula
// has an apostrophe before it, which spreadsheets do not show. Numbers stay.
func cell(s string) string {
	if s == "" || !strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return s
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return s
	}
	return "'" + s
}

// looker looks up names in a line: its time, level, text and labels, the keys
// that the line itself has, and all labels by their names.
type looker struct {
	paint *line.Painter
	entry *Entry
	item  line.Item
}

func newLooker() *looker { return &looker{paint: line.NewPainter(line.Style{})} }

func (l *looker) at(e *Entry) {
	l.entry = e
	l.item = line.Item{Time: e.Time, Body: bytesOf(e.Line)}
	l.paint.Read(&l.item)
}

func (l *looker) get(name string) (string, bool) {
	switch name {
	case "time":
		return utc(l.entry.Time), true
	case "level":
		if v := l.entry.Level(); v != "" {
			return v, true
		}
		v := l.paint.Severity().Level()
		return v, v != "unknown"
	case "line":
		return l.entry.Line, true
	case "labels":
		return l.entry.Stream.Text, true
	}
	if v, ok := l.paint.Field(name); ok {
		return string(v), true
	}
	v := l.entry.Get(name)
	return v, v != ""
}
