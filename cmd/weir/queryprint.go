package main

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

	"github.com/weirlog/weir/wire/line"
)

// printer writes what a query finds.
type printer interface {
	line(e *entry) error
	series(labels map[string]string, points []lokiPoint) error
	end() error
}

func newPrinter(format string, w *bufio.Writer, color bool) (printer, error) {
	switch format {
	case "pretty":
		return &prettyPrinter{w: w, color: color, prefixes: make(map[string]string)}, nil
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
	return nil, usageError("-o %s: want pretty, raw, json, logfmt or csv", format)
}

// labelText is a set of labels as LogQL writes it.
func labelText(labels map[string]string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(labels)) {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name)
		b.WriteByte('=')
		b.WriteString(strconv.Quote(labels[name]))
	}
	b.WriteByte('}')
	return b.String()
}

// get returns a label wherever it comes from.
func (e *entry) get(name string) string {
	for _, m := range []map[string]string{e.parsed, e.meta, e.labels} {
		if v := m[name]; v != "" {
			return v
		}
	}
	return ""
}

func (e *entry) level() string {
	if l := e.get("detected_level"); l != "" && l != "unknown" {
		return l
	}
	return e.get("level")
}

// all returns every label of a line; those of the query's stages win.
func (e *entry) all() map[string]string {
	out := maps.Clone(e.labels)
	if out == nil {
		out = make(map[string]string)
	}
	maps.Copy(out, e.meta)
	maps.Copy(out, e.parsed)
	return out
}

func utc(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// prettyPrinter writes for people: control bytes never reach the terminal.
type prettyPrinter struct {
	w        *bufio.Writer
	color    bool
	prefixes map[string]string // by stream
	buf      []byte
	blank    bool
}

var levelColors = map[string]string{"fatal": "35", "critical": "35", "error": "31", "warn": "33", "warning": "33", "info": "32", "debug": "36", "trace": "90"}

func (p *prettyPrinter) line(e *entry) error {
	b := time.Unix(0, e.time).Local().AppendFormat(p.buf[:0], "2006-01-02 15:04:05.000 ")
	level := e.level()
	if len(level) > 5 {
		level = level[:5]
	}
	code := ""
	if p.color {
		code = levelColors[e.level()]
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
	for i, l := range strings.Split(strings.TrimRight(e.line, "\r\n"), "\n") {
		if i > 0 {
			b = append(append(b, '\n'), b[:head]...)
		}
		b = line.AppendPlain(b, []byte(strings.TrimSuffix(l, "\r")))
	}
	for _, name := range []string{"__error__", "__error_details__"} {
		if v := e.get(name); v != "" {
			b = line.AppendPlain(append(b, ' '), []byte(name+"="+strconv.Quote(v)))
		}
	}
	p.buf = append(b, '\n')
	_, err := p.w.Write(p.buf)
	return err
}

// prefix says who wrote a line: the pod and container, else the file, the
// service, or all labels.
func (p *prettyPrinter) prefix(e *entry) string {
	file := e.meta["file"]
	key := e.key + "\x00" + file
	if s, ok := p.prefixes[key]; ok {
		return s
	}
	who := e.labels["pod"]
	if ns := e.labels["namespace"]; ns != "" && who != "" {
		who = ns + "/" + who
	}
	name := who
	if c := e.labels["container"]; c != "" && who != "" {
		name += " " + c
	}
	if name == "" {
		name = file
	}
	for _, l := range []string{"service_name", "app", "job"} {
		if v := e.labels[l]; name == "" && v != "unknown_service" {
			name = v
		}
	}
	if name == "" {
		shown := maps.Clone(e.labels)
		delete(shown, "service_name") // unknown
		name = labelText(shown)
	}
	if who == "" {
		who = name
	}
	s := string(line.AppendPlain(nil, []byte(name)))
	if p.color {
		h := uint32(2166136261) // FNV-1a
		for _, c := range []byte(who) {
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

func (p *prettyPrinter) series(labels map[string]string, points []lokiPoint) error {
	name := string(line.AppendPlain(nil, []byte(labelText(labels))))
	if len(points) == 1 {
		_, err := fmt.Fprintf(p.w, "%14s  %s\n", points[0].value, name)
		return err
	}
	if p.blank {
		fmt.Fprintln(p.w)
	}
	p.blank = true
	fmt.Fprintln(p.w, name)
	for _, pt := range points {
		if _, err := fmt.Fprintf(p.w, "  %s  %14s\n", pt.when().Local().Format("2006-01-02 15:04:05"), pt.value); err != nil {
			return err
		}
	}
	return nil
}

func (p *prettyPrinter) end() error { return nil }

func (pt *lokiPoint) when() time.Time {
	sec, frac := math.Modf(pt.time)
	return time.Unix(int64(sec), int64(math.Round(frac*1e3))*1e6)
}

// rawPrinter writes lines as they are, and bare values.
type rawPrinter struct{ w *bufio.Writer }

func (p rawPrinter) line(e *entry) error {
	p.w.WriteString(e.line)
	return p.w.WriteByte('\n')
}

func (p rawPrinter) series(_ map[string]string, points []lokiPoint) error {
	for _, pt := range points {
		if _, err := fmt.Fprintln(p.w, pt.value); err != nil {
			return err
		}
	}
	return nil
}

func (p rawPrinter) end() error { return nil }

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

func (p jsonPrinter) line(e *entry) error {
	return p.e.Encode(jsonLine{utc(e.time), e.line, e.labels, e.meta, e.parsed})
}

func (p jsonPrinter) series(labels map[string]string, points []lokiPoint) error {
	if labels == nil {
		labels = map[string]string{}
	}
	for _, pt := range points {
		var v any = pt.value
		if f, err := strconv.ParseFloat(pt.value, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			v = json.Number(pt.value)
		}
		if err := p.e.Encode(jsonPoint{pt.when().UTC().Format(time.RFC3339Nano), labels, v}); err != nil {
			return err
		}
	}
	return nil
}

func (p jsonPrinter) end() error { return nil }

// logfmtPrinter writes time=… level=… label=… line=… a line.
type logfmtPrinter struct{ w *bufio.Writer }

func (p logfmtPrinter) line(e *entry) error {
	p.w.WriteString("time=" + utc(e.time))
	all := e.all()
	if l := e.level(); l != "" {
		p.w.WriteString(" level=" + logfmtValue(l))
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name != "level" && name != "detected_level" {
			p.w.WriteString(" " + name + "=" + logfmtValue(all[name]))
		}
	}
	_, err := p.w.WriteString(" line=" + logfmtValue(e.line) + "\n")
	return err
}

func (p logfmtPrinter) series(labels map[string]string, points []lokiPoint) error {
	for _, pt := range points {
		p.w.WriteString("time=" + pt.when().UTC().Format(time.RFC3339Nano))
		for _, name := range slices.Sorted(maps.Keys(labels)) {
			p.w.WriteString(" " + name + "=" + logfmtValue(labels[name]))
		}
		if _, err := p.w.WriteString(" value=" + pt.value + "\n"); err != nil {
			return err
		}
	}
	return nil
}

func (p logfmtPrinter) end() error { return nil }

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

func (p *csvPrinter) line(e *entry) error {
	p.header("time", "level", "labels", "line")
	all := e.all()
	delete(all, "detected_level")
	return p.w.Write([]string{utc(e.time), e.level(), labelText(all), e.line})
}

func (p *csvPrinter) series(labels map[string]string, points []lokiPoint) error {
	p.header("time", "labels", "value")
	for _, pt := range points {
		if err := p.w.Write([]string{pt.when().UTC().Format(time.RFC3339Nano), labelText(labels), pt.value}); err != nil {
			return err
		}
	}
	return nil
}

func (p *csvPrinter) end() error {
	p.w.Flush()
	return p.w.Error()
}

// printableLine escapes what a terminal would obey, a column for a character.
func printableLine(s string) string {
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
