// Package show writes log lines and numbers for people and for programs: as a
// terminal likes them, bare, as JSON, logfmt or CSV.
//
// Nothing here reads a clock or opens a file: times are shown in the zone that
// the options name, and everything goes to a buffered writer that the caller
// flushes. Printers are for one goroutine.
package show

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Stream is who wrote a line. It is made once per set of labels and shared by
// its entries, so that printers can keep by its address what they worked out
// for it. It must not change.
type Stream struct {
	// Labels are named as in LogQL: namespace, pod, container, app, ….
	Labels map[string]string
	// Text is Labels as LogQL writes them: {app="shop", pod="web-1"}.
	Text string
	// PodLabels and PodAnnotations are those of the pod, for templates, where they
	// are known (from the Kubernetes API); else nil.
	PodLabels, PodAnnotations map[string]string
}

// NewStream returns the stream with these labels, which it keeps.
func NewStream(labels map[string]string) *Stream {
	return &Stream{Labels: labels, Text: LabelText(labels)}
}

// Entry is a line with everything that is known of it.
type Entry struct {
	Time   int64 // Unix nanoseconds
	Line   string
	Stream *Stream
	// Meta is structured metadata, Parsed what the query's stages made. Nil if
	// there is none.
	Meta, Parsed map[string]string
}

// Point is a number of a series.
type Point struct {
	Time time.Time
	// Value is as the server wrote it: NaN and +Inf are possible.
	Value string
}

// LabelText is a set of labels as LogQL writes it, sorted.
func LabelText(labels map[string]string) string {
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

// Get returns a label wherever it comes from, "" if there is none: what the
// query's stages made wins over structured metadata, that over the stream.
func (e *Entry) Get(name string) string {
	if v := e.Parsed[name]; v != "" {
		return v
	}
	if v := e.Meta[name]; v != "" {
		return v
	}
	return e.Stream.Labels[name]
}

// Level is the line's severity as a word, "" if it is not known.
func (e *Entry) Level() string {
	if l := e.Get("detected_level"); l != "" && l != "unknown" {
		return l
	}
	return e.Get("level")
}

// All returns a new map of every label of the line, as Get finds them.
func (e *Entry) All() map[string]string {
	out := make(map[string]string, len(e.Stream.Labels)+len(e.Meta)+len(e.Parsed))
	maps.Copy(out, e.Stream.Labels)
	maps.Copy(out, e.Meta)
	maps.Copy(out, e.Parsed)
	return out
}
