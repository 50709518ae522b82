package show

import (
	"bufio"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unsafe"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/line"
)

// prettyPrinter writes for people: control bytes never reach the terminal. Lines
// look as those of a pipeline do (wire/line).
type prettyPrinter struct {
	w     *bufio.Writer
	o     Options
	paint *line.Painter
	names map[who]*line.Who
	item  line.Item
	entry *Entry
	buf   []byte
	blank bool
}

// who is what the name in front of a line depends on.
type who struct {
	stream *Stream
	file   string
}

// maxNames bounds the names that are kept: streams come and go.
const maxNames = 10_000

func newPretty(w *bufio.Writer, o Options) *prettyPrinter {
	p := &prettyPrinter{w: w, o: o, paint: line.NewPainter(o.Style()), names: make(map[who]*line.Who)}
	p.item.Get = func(name string) string { return p.entry.Get(name) }
	return p
}

func (p *prettyPrinter) Line(e *Entry) error {
	it := &p.item
	p.entry = e
	it.Time, it.Body, it.Who = e.Time, bytesOf(e.Line), p.name(e)
	it.Level = e.Level()
	it.Severity, _ = stage.ParseLevel(bytesOf(it.Level))
	it.Pairs = it.Pairs[:0]
	if len(e.Meta) > 0 {
		for k, v := range e.Meta {
			if tells(k) {
				it.Pairs = append(it.Pairs, line.Pair{Key: k, Val: bytesOf(v)})
			}
		}
		if len(it.Pairs) > 1 {
			slices.SortFunc(it.Pairs, func(a, b line.Pair) int { return strings.Compare(a.Key, b.Key) })
		}
	}
	if len(e.Parsed) > 0 {
		for _, name := range []string{"__error__", "__error_details__"} {
			if v := e.Parsed[name]; v != "" {
				it.Pairs = append(it.Pairs, line.Pair{Key: name, Val: bytesOf(v)})
			}
		}
	}
	p.buf = p.paint.Append(p.buf[:0], it)
	_, err := p.w.Write(p.buf)
	p.entry, it.Body = nil, nil
	return err
}

// tells reports whether structured metadata of that name tells something of the
// line, and not who wrote it and what stands before it.
func tells(name string) bool {
	if wire.IsAttr(name) {
		return false
	}
	switch name {
	case "level", "detected_level", "severity", "severity_text", "severity_number", "observed_timestamp", "flags", "job":
		return false
	}
	for _, prefix := range []string{"k8s_", "telemetry_", "host_", "os_", "process_", "container_", "cloud_", "deployment_", "service_", "scope_", "weir_", "log_record_", "log_iostream", "log_file_", "pod_"} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return true
}

// name returns who wrote a line.
func (p *prettyPrinter) name(e *Entry) *line.Who {
	key := who{e.Stream, e.Meta[record.AttrFile]}
	w := p.names[key]
	if w != nil {
		return w
	}
	labels := e.Stream.Labels
	rest := labels[record.AttrInput]
	if rest == "" && len(labels) > 0 {
		shown := maps.Clone(labels)
		delete(shown, record.AttrService) // unknown
		rest = LabelText(shown)
	}
	w = p.paint.Who(func(name string) string {
		if v := labels[name]; v != "" || name != record.AttrFile {
			return v
		}
		return key.file
	}, rest)
	if len(p.names) >= maxNames {
		clear(p.names)
	}
	p.names[key] = w
	return w
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

// bytesOf returns the bytes of s, which must not be changed.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
