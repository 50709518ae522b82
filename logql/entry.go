package logql

import (
	"slices"
	"strings"

	"github.com/weirlog/weir/record"
)

// Labels that tell about an error in a stage, as in Loki.
const (
	errorLabel   = "__error__"
	detailsLabel = "__error_details__"
	// preserveLabel, if it is true, lets a metric query count a row although it
	// has an error.
	preserveLabel = "__preserve_error__"
)

// Values of __error__.
const (
	errJSON     = "JSONParserErr"
	errLogfmt   = "LogfmtParserErr"
	errTemplate = "TemplateFormatErr"
	errFilter   = "LabelFilterErr"
	errSample   = "SampleExtractionErr"
)

const duplicateSuffix = "_extracted"

// maxLabels bounds what a line can make a parser extract.
const maxLabels = 1024

// entry is one row on its way through a pipeline. Its strings are views into
// the row, the arena and the stages' own memory: they are valid until the next
// reset, and what is kept must be cloned.
type entry struct {
	line []byte
	time int64
	now  int64 // what templates take for the time of the query

	base   []Label // of the stream, sorted
	meta   []Label // structured metadata
	parsed []Label // by stages, in order of appearance
	gone   []string

	err, details string

	fields []fieldValue // what json would extract, if the source said
	noJSON bool         // and the line is no object

	arena []byte
}

// fieldValue is an extracted field that came from a column.
type fieldValue struct{ name, value string }

// reset begins a new row.
func (e *entry) reset(base []Label, line []byte, time int64) {
	e.line, e.time, e.base = line, time, base
	e.meta, e.parsed, e.gone = e.meta[:0], e.parsed[:0], e.gone[:0]
	e.err, e.details = "", ""
	e.arena = e.arena[:0]
}

// addMeta adds structured metadata; a name that the stream has too gets a
// suffix.
func (e *entry) addMeta(name, value string) {
	if has(e.base, name) {
		name = e.concat(name, duplicateSuffix)
	}
	e.meta = append(e.meta, Label{Name: name, Value: value})
}

// setSeverity sets what detected_level says, unless labels say it. level says
// the same unless there is such a label.
func (e *entry) setSeverity(s record.Severity) {
	if !has(e.base, detectedLevelName) && !has(e.meta, detectedLevelName) {
		e.meta = append(e.meta, Label{Name: detectedLevelName, Value: s.Level()})
	}
}

func has(ls []Label, name string) bool { return index(ls, name) >= 0 }

func index(ls []Label, name string) int {
	for i := range ls {
		if ls[i].Name == name {
			return i
		}
	}
	return -1
}

// get returns what a name means now.
func (e *entry) get(name string) (string, bool) {
	if i := index(e.parsed, name); i >= 0 {
		return e.parsed[i].Value, true
	}
	if strings.HasPrefix(name, "__error") {
		switch name {
		case errorLabel:
			return e.err, e.err != ""
		case detailsLabel:
			return e.details, e.details != ""
		}
	}
	if len(e.gone) > 0 && slices.Contains(e.gone, name) {
		return "", false
	}
	if i := index(e.meta, name); i >= 0 {
		return e.meta[i].Value, true
	}
	if i := index(e.base, name); i >= 0 {
		return e.base[i].Value, true
	}
	if name == levelName {
		return e.get(detectedLevelName)
	}
	return "", false
}

// extract adds what a parser found; of a name that is found twice, by whichever
// parser, the first counts. It reports whether there was room.
func (e *entry) extract(name, value string) bool {
	if name == "" {
		return true
	}
	// As in Loki, what was dropped of the metadata is out of the way; a label of
	// the stream is not.
	if has(e.base, name) || has(e.meta, name) && !slices.Contains(e.gone, name) {
		name = e.concat(name, duplicateSuffix)
	}
	if has(e.parsed, name) {
		return true
	}
	if len(e.parsed) >= maxLabels {
		return false
	}
	e.parsed = append(e.parsed, Label{Name: name, Value: value})
	return true
}

// set sets a label to a value that a query asks for; the empty value removes
// it.
func (e *entry) set(name, value string) {
	if value == "" {
		e.remove(name)
		return
	}
	if i := index(e.parsed, name); i >= 0 {
		e.parsed[i].Value = value
		return
	}
	e.parsed = append(e.parsed, Label{Name: name, Value: value})
}

// remove takes a label away.
func (e *entry) remove(name string) {
	switch name {
	case errorLabel:
		e.err = ""
		return
	case detailsLabel:
		e.details = ""
		return
	}
	if i := index(e.parsed, name); i >= 0 {
		e.parsed = slices.Delete(e.parsed, i, i+1)
	}
	if !slices.Contains(e.gone, name) {
		e.gone = append(e.gone, name)
	}
}

// fail notes an error; the last one counts.
func (e *entry) fail(kind, details string) { e.err, e.details = kind, details }

// labels appends everything that the row is labelled with now, sorted.
func (e *entry) labels(dst []Label) []Label {
	from := len(dst)
	dst = e.appendLive(dst, e.base)
	dst = e.appendLive(dst, e.meta)
	dst = append(dst, e.parsed...)
	if e.err != "" {
		dst = append(dst, Label{Name: errorLabel, Value: e.err})
	}
	if e.details != "" {
		dst = append(dst, Label{Name: detailsLabel, Value: e.details})
	}
	out := dropEmpty(dst[from:])
	sortLabels(out)
	return dst[:from+len(out)]
}

// appendLive appends labels of the stream or of the metadata that nothing
// hides.
func (e *entry) appendLive(dst, ls []Label) []Label {
	for i := range ls {
		if !e.hidden(ls[i].Name) {
			dst = append(dst, ls[i])
		}
	}
	return dst
}

func (e *entry) hidden(name string) bool {
	return len(e.gone) > 0 && slices.Contains(e.gone, name) || has(e.parsed, name)
}

func dropEmpty(ls []Label) []Label {
	return slices.DeleteFunc(ls, func(l Label) bool { return l.Value == "" })
}

func sortLabels(ls []Label) {
	// Mostly few and nearly sorted.
	for i := 1; i < len(ls); i++ {
		if i > 32 {
			slices.SortStableFunc(ls, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
			return
		}
		for j := i; j > 0 && ls[j].Name < ls[j-1].Name; j-- {
			ls[j], ls[j-1] = ls[j-1], ls[j]
		}
	}
}

func (e *entry) concat(a, b string) string {
	e.room(len(a) + len(b))
	from := len(e.arena)
	e.arena = append(append(e.arena, a...), b...)
	return view(e.arena[from:])
}

// room makes sure that n bytes fit without moving what is there: views into it
// stay.
func (e *entry) room(n int) {
	if cap(e.arena)-len(e.arena) < n {
		e.arena = make([]byte, 0, max(2*cap(e.arena), n, 1024))
	}
}

// appendSanitized appends a key as the name of a label.
func appendSanitized(dst []byte, key string, first bool) []byte {
	if first && key != "" && isDigit(key[0]) {
		dst = append(dst, '_')
	}
	for i := 0; i < len(key); i++ {
		c := key[i]
		switch {
		case isNameStart(c) || isDigit(c):
			dst = append(dst, c)
		case c&0xc0 != 0x80: // one for every character
			dst = append(dst, '_')
		}
	}
	return dst
}

// sanitized returns the name of a label for a key, in the arena if it differs.
func (e *entry) sanitized(key []byte) string {
	clean := len(key) > 0 && !isDigit(key[0])
	for _, c := range key {
		if !isNameStart(c) && !isDigit(c) {
			clean = false
			break
		}
	}
	if clean || len(key) == 0 {
		return view(key)
	}
	e.room(len(key) + 1)
	from := len(e.arena)
	e.arena = appendSanitized(e.arena, view(key), true)
	return view(e.arena[from:])
}
