package read

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/show"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire/line"
)

// LineReader makes entries of lines as they stand in files and pipes: of a
// container runtime (CRI, Docker's json-file), of weir, stern and logcli as JSON,
// and anything else. It is for one goroutine.
type LineReader struct {
	own     *show.Stream            // of lines that do not say whose they are
	streams map[string]*show.Stream // by their labels
	parts   map[string][]byte       // beginnings of lines that the runtime cut
	times   stage.Timestamps
	paint   *line.Painter
}

// NewLineReader returns a LineReader for lines with these labels.
func NewLineReader(labels map[string]string) *LineReader {
	if labels == nil {
		labels = make(map[string]string)
	}
	return &LineReader{
		own: show.NewStream(labels), streams: make(map[string]*show.Stream), parts: make(map[string][]byte),
		paint: line.NewPainter(line.Style{}),
	}
}

// maxJoined bounds a line that is put together from parts, in bytes.
const maxJoined = 1 << 20

// Read makes an entry of a line without its newline; now is its time if it tells
// none. It reports false for the beginning of a line that goes on.
func (r *LineReader) Read(p []byte, now time.Time) (show.Entry, bool) {
	p = bytes.TrimSuffix(p, []byte("\r"))
	if e, whole, ok := r.cri(p); ok {
		return e, whole
	}
	if len(p) > 0 && p[0] == '{' {
		if e, whole, ok := r.wrapped(p); ok {
			return e, whole
		}
	}
	e := show.Entry{Time: now.UnixNano(), Line: string(p), Stream: r.own}
	if t, ok := r.timeOf(p); ok {
		e.Time = t
	}
	return e, true
}

// cri reads 2016-10-06T00:17:09.669794202Z stdout F text.
// https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
func (r *LineReader) cri(p []byte) (e show.Entry, whole, ok bool) {
	stamp, rest, _ := bytes.Cut(p, []byte(" "))
	if len(stamp) < len("2006-01-02T15:04:05Z") || stamp[10] != 'T' {
		return e, false, false
	}
	name, rest, found := bytes.Cut(rest, []byte(" "))
	if !found && len(rest) == 0 || string(name) != "stdout" && string(name) != "stderr" {
		return e, false, false
	}
	tags, text, _ := bytes.Cut(rest, []byte(" "))
	if len(tags) == 0 || tags[0] != 'F' && tags[0] != 'P' || len(tags) > 1 && tags[1] != ':' {
		return e, false, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return e, false, false
	}
	return r.part(t, string(name), text, tags[0] == 'P')
}

// part joins what the runtime cut.
func (r *LineReader) part(t time.Time, name string, text []byte, more bool) (e show.Entry, whole, ok bool) {
	if before := r.parts[name]; len(before) > 0 || more {
		text = append(before, text...)
		if more && len(text) < maxJoined {
			r.parts[name] = text
			return e, false, true
		}
		delete(r.parts, name)
	}
	return show.Entry{Time: t.UnixNano(), Line: string(text), Stream: r.own, Meta: metaOf(name)}, true, true
}

var stderrMeta = map[string]string{record.AttrStream: "stderr"}

// metaOf is what is told of a line from a container's stdout or stderr.
func metaOf(name string) map[string]string {
	if name == "stderr" {
		return stderrMeta
	}
	return nil
}

func (r *LineReader) stream(labels map[string]string) *show.Stream {
	s := show.NewStream(labels)
	if old := r.streams[s.Text]; old != nil {
		return old
	}
	if len(r.streams) >= maxStreams {
		clear(r.streams)
	}
	r.streams[s.Text] = s
	return s
}

// wrapped reads lines that a tool has put into JSON.
func (r *LineReader) wrapped(p []byte) (e show.Entry, whole, ok bool) {
	var l struct {
		// Docker's json-file.
		Log    *string `json:"log"`
		Stream string  `json:"stream"`
		Time   string  `json:"time"`
		// weir's -o json, logcli's -o jsonl.
		Line     *string           `json:"line"`
		Labels   map[string]string `json:"labels"`
		Metadata map[string]string `json:"metadata"`
		Parsed   map[string]string `json:"parsed"`
		Stamp    string            `json:"timestamp"`
		// stern's -o json.
		Message   *string `json:"message"`
		Node      string  `json:"nodeName"`
		Namespace string  `json:"namespace"`
		Pod       string  `json:"podName"`
		Container string  `json:"containerName"`
	}
	known := false
	for _, key := range []string{`"log":`, `"line":`, `"podName":`} {
		known = known || bytes.Contains(p, []byte(key))
	}
	if !known || json.Unmarshal(p, &l) != nil {
		return e, false, false
	}
	switch {
	case l.Line != nil && bytes.Contains(p, []byte(`"labels":`)):
		if l.Labels == nil {
			l.Labels = make(map[string]string)
		}
		stamp := l.Time
		if stamp == "" {
			stamp = l.Stamp
		}
		t, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			return e, false, false
		}
		return show.Entry{Time: t.UnixNano(), Line: *l.Line, Stream: r.stream(l.Labels), Meta: l.Metadata, Parsed: l.Parsed}, true, true
	case l.Message != nil && l.Pod != "":
		labels := map[string]string{"namespace": l.Namespace, "pod": l.Pod, "container": l.Container, "node": l.Node}
		text := strings.TrimSuffix(*l.Message, "\n")
		e = show.Entry{Time: time.Now().UnixNano(), Line: text, Stream: r.stream(labels)}
		if t, ok := r.timeOf([]byte(text)); ok {
			e.Time = t
		}
		return e, true, true
	case l.Log != nil && (l.Stream == "stdout" || l.Stream == "stderr"):
		t, err := time.Parse(time.RFC3339Nano, l.Time)
		if err != nil {
			return e, false, false
		}
		text, end := strings.CutSuffix(*l.Log, "\n")
		return r.part(t, l.Stream, []byte(text), !end)
	}
	return e, false, false
}

// timeNames are the keys under which libraries write a line's time.
var timeNames = []string{"time", "ts", "timestamp", "@timestamp", "t", "datetime", "date"}

// timeOf finds the time that a line says of itself: at its beginning, or under
// one of the usual keys.
func (r *LineReader) timeOf(p []byte) (int64, bool) {
	head := bytes.TrimLeft(p[:min(len(p), 80)], "[")
	for n := range 2 {
		i := nthSpace(head, n)
		if ns, zoned, ok := r.times.Parse(bytes.TrimRight(head[:i], "]:,")); ok {
			return localTime(ns, zoned), true
		}
	}
	if len(p) == 0 || p[0] != '{' && !bytes.Contains(p[:min(len(p), 200)], []byte("=")) {
		return 0, false
	}
	r.paint.Read(&line.Item{Body: p})
	for _, name := range timeNames {
		if v, ok := r.paint.Field(name); ok {
			if ns, zoned, ok := r.times.Parse(bytes.Trim(v, `"`)); ok {
				return localTime(ns, zoned), true
			}
		}
	}
	return 0, false
}

// localTime takes a time without a zone as the machine's.
func localTime(ns int64, zoned bool) int64 {
	if zoned {
		return ns
	}
	t := time.Unix(0, ns).UTC()
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.Local).UnixNano()
}

// nthSpace returns where the space behind n others is, or the length.
func nthSpace(p []byte, n int) int {
	for i, c := range p {
		if c == ' ' {
			if n == 0 {
				return i
			}
			n--
		}
	}
	return len(p)
}

// Rest returns what waits for its end: lines that the runtime cut and that do not
// go on.
func (r *LineReader) Rest(now time.Time) []show.Entry {
	var out []show.Entry
	for name, text := range r.parts {
		out = append(out, show.Entry{Time: now.UnixNano(), Line: string(text), Stream: r.own, Meta: metaOf(name)})
	}
	clear(r.parts)
	return out
}
