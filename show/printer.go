package show

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirlog/weir/wire/line"
)

// Printer writes what a query finds. An error is that of the writer and stays.
type Printer interface {
	// Line writes a line.
	Line(e *Entry) error
	// Series writes numbers of one series, or one number.
	Series(labels map[string]string, points []Point) error
	// End writes what is held back, if anything is. It does not flush the writer.
	End() error
}

// Options say how things are written.
type Options struct {
	// Format is one of Formats, or template; "" is pretty.
	Format string
	// Template is the Go template of the format template.
	Template string
	// Color allows ANSI colours in the formats for people.
	Color bool
	// Terminal says that the output goes to a terminal: what templates make is
	// escaped.
	Terminal bool
	// Times is one of TimeStyles, "" is default.
	Times string
	// Zone is the zone of times for people; nil is the machine's. Formats for
	// programs write UTC.
	Zone *time.Location
	// Now is the clock for times relative to it.
	Now func() time.Time
	// Fields, if there are any, are the only keys and labels that pretty shows
	// behind the message, and the columns of csv.
	Fields []string
	// OneNamespace leaves the namespace out of the names of pods: all are of the
	// same.
	OneNamespace bool
	// Highlight marks what matches any of them in pretty lines; Include likewise,
	// as grep marks what it looked for. They show only with Color.
	Highlight, Include []*regexp.Regexp
}

// TimeStyles are the ways to show a line's time.
var TimeStyles = []string{"default", "short", "clock", "rfc3339", "relative", "none"}

// Formats are the names of the formats.
var Formats = []string{"pretty", "raw", "json", "logfmt", "csv"}

// New returns a printer to w. The error names a format that does not exist.
func New(w *bufio.Writer, o Options) (Printer, error) {
	if o.Zone == nil {
		o.Zone = time.Local
	}
	switch o.Format {
	case "", "pretty":
		return &prettyPrinter{w: w, o: o, prefixes: make(map[who]string)}, nil
	case "raw":
		return rawPrinter{w}, nil
	case "json":
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return jsonPrinter{e}, nil
	case "logfmt":
		return logfmtPrinter{w}, nil
	case "csv":
		return &csvPrinter{w: csv.NewWriter(w)}, nil
	}
	return nil, fmt.Errorf("no format %q: want %s or %s", o.Format, strings.Join(Formats[:len(Formats)-1], ", "), Formats[len(Formats)-1])
}

func utc(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// who is what the prefix of a line depends on.
type who struct {
	stream *Stream
	file   string
}

// prettyPrinter writes for people: control bytes never reach the terminal.
type prettyPrinter struct {
	w        *bufio.Writer
	o        Options
	prefixes map[who]string
	buf      []byte
	blank    bool
}

var levelColors = map[string]string{"fatal": "35", "critical": "35", "error": "31", "warn": "33", "warning": "33", "info": "32", "debug": "36", "trace": "90"}

func (p *prettyPrinter) Line(e *Entry) error {
	b := time.Unix(0, e.Time).In(p.o.Zone).AppendFormat(p.buf[:0], "2006-01-02 15:04:05.000 ")
	level := e.Level()
	if len(level) > 5 {
		level = level[:5]
	}
	code := ""
	if p.o.Color {
		code = levelColors[e.Level()]
	}
	if code != "" {
		b = append(append(append(b, "\x1b["...), code...), 'm')
	}
	b = line.AppendPlain(b, []byte(fmt.Sprintf("%-5s", strings.ToUpper(level))))
	if code != "" {
		b = append(b, "\x1b[0m"...)
	}
	b = append(b, ' ')
	b = append(b, p.prefix(e)...)
	head := len(b)
	// Every line of a text with several has the prefix.
	for i, l := range strings.Split(strings.TrimRight(e.Line, "\r\n"), "\n") {
		if i > 0 {
			b = append(append(b, '\n'), b[:head]...)
		}
		b = line.AppendPlain(b, []byte(strings.TrimSuffix(l, "\r")))
	}
	for _, name := range []string{"__error__", "__error_details__"} {
		if v := e.Get(name); v != "" {
			b = line.AppendPlain(append(b, ' '), []byte(name+"="+strconv.Quote(v)))
		}
	}
	p.buf = append(b, '\n')
	_, err := p.w.Write(p.buf)
	return err
}

// prefix says who wrote a line: the pod and container, else the file, the
// service, or all labels.
func (p *prettyPrinter) prefix(e *Entry) string {
	file := e.Meta["file"]
	key := who{e.Stream, file}
	if s, ok := p.prefixes[key]; ok {
		return s
	}
	pod := e.Stream.Labels["pod"]
	if ns := e.Stream.Labels["namespace"]; ns != "" && pod != "" {
		pod = ns + "/" + pod
	}
	name := pod
	if c := e.Stream.Labels["container"]; c != "" && pod != "" {
		name += " " + c
	}
	if name == "" {
		name = file
	}
	for _, l := range []string{"service_name", "app", "job"} {
		if v := e.Stream.Labels[l]; name == "" && v != "unknown_service" {
			name = v
		}
	}
	if name == "" {
		shown := maps.Clone(e.Stream.Labels)
		delete(shown, "service_name") // unknown
		name = LabelText(shown)
	}
	if pod == "" {
		pod = name
	}
	s := string(line.AppendPlain(nil, []byte(name)))
	if p.o.Color {
		h := uint32(2166136261) // FNV-1a
		for _, c := range []byte(pod) {
			h = (h ^ uint32(c)) * 16777619
		}
		s = fmt.Sprintf("\x1b[%dm%s │\x1b[0m ", []int{32, 33, 34, 35, 36, 92, 93, 94, 95, 96}[h%10], s)
	} else {
		s += " │ "
	}
	if len(p.prefixes) < 10_000 {
		p.prefixes[key] = s
	}
	return s
}

func (p *prettyPrinter) Series(labels map[string]string, points []Point) error {
	name := string(line.AppendPlain(nil, []byte(LabelText(labels))))
	if len(points) == 1 {
		_, err := fmt.Fprintf(p.w, "%14s  %s\n", points[0].Value, name)
		return err
	}
	if p.blank {
		fmt.Fprintln(p.w)
	}
	p.blank = true
	fmt.Fprintln(p.w, name)
	for _, pt := range points {
		if _, err := fmt.Fprintf(p.w, "  %s  %14s\n", pt.Time.In(p.o.Zone).Format("2006-01-02 15:04:05"), pt.Value); err != nil {
			return err
		}
	}
	return nil
}

func (p *prettyPrinter) End() error { return nil }

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

// jsonPrinter writes an object a line. The names are an interface.
type jsonPrinter struct{ e *json.Encoder }

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

// logfmtPrinter writes time=… level=… label=… line=… a line.
type logfmtPrinter struct{ w *bufio.Writer }

func (p logfmtPrinter) Line(e *Entry) error {
	p.w.WriteString("time=" + utc(e.Time))
	all := e.All()
	if l := e.Level(); l != "" {
		p.w.WriteString(" level=" + logfmtValue(l))
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name != "level" && name != "detected_level" {
			p.w.WriteString(" " + name + "=" + logfmtValue(all[name]))
		}
	}
	_, err := p.w.WriteString(" line=" + logfmtValue(e.Line) + "\n")
	return err
}

func (p logfmtPrinter) Series(labels map[string]string, points []Point) error {
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

func (p logfmtPrinter) End() error { return nil }

func logfmtValue(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == '"' || r == '=' || r == '\\' || r == 0x7f || r >= 0x80 && !strconv.IsPrint(r)
	}) {
		return strconv.Quote(s)
	}
	return s
}

// csvPrinter writes time, level, labels, line; or time, labels, value.
type csvPrinter struct {
	w    *csv.Writer
	head bool
}

func (p *csvPrinter) header(names ...string) {
	if !p.head {
		p.head = true
		_ = p.w.Write(names) // an error stays and shows at the end
	}
}

func (p *csvPrinter) Line(e *Entry) error {
	p.header("time", "level", "labels", "line")
	all := e.All()
	delete(all, "detected_level")
	return p.w.Write([]string{utc(e.Time), e.Level(), LabelText(all), e.Line})
}

func (p *csvPrinter) Series(labels map[string]string, points []Point) error {
	p.header("time", "labels", "value")
	for _, pt := range points {
		if err := p.w.Write([]string{pt.Time.UTC().Format(time.RFC3339Nano), LabelText(labels), pt.Value}); err != nil {
			return err
		}
	}
	return nil
}

func (p *csvPrinter) End() error {
	p.w.Flush()
	return p.w.Error()
}

// Printable returns s as a terminal may have it, one column for a character.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if string(line.AppendPlain(nil, []byte(string(r)))) != string(r) {
			return '?'
		}
		return r
	}, s)
}
