package config

import (
	"bytes"
	"encoding"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Show writes the configuration in effect as YAML that Load reads again, but
// for secrets: they are shown as the reference they were given by, or as
// [redacted]. With origins every value has a comment that says where it was
// given.
func (c *Config) Show(w io.Writer, origins bool) error {
	e := emitter{nodes: c.from.nodes}
	e.structure(reflect.ValueOf(c).Elem(), fieldsOf(reflect.TypeFor[Config]()), "", "")
	var b bytes.Buffer
	for _, l := range e.lines {
		b.WriteString(l.text)
		if origins && l.origin != "" {
			pad := max(2, 50-utf8.RuneCountInString(l.text))
			fmt.Fprintf(&b, "%*s# %s", pad, "", printable(l.origin))
		}
		b.WriteByte('\n')
	}
	_, err := w.Write(b.Bytes())
	return err
}

// emitter writes settings as YAML lines.
type emitter struct {
	nodes  map[string]given
	reveal bool // secrets in clear, for comparing
	lines  []emitted
}

type emitted struct{ text, origin string }

func (e *emitter) line(path, format string, args ...any) {
	e.lines = append(e.lines, emitted{fmt.Sprintf(format, args...), e.origin(path)})
}

func (e *emitter) origin(path string) string {
	if path == "" {
		return ""
	}
	if g, ok := e.nodes[path]; ok && !g.null {
		return g.pos.String()
	}
	return "default"
}

func (e *emitter) structure(v reflect.Value, fs []field, path, indent string) {
	for i := range fs {
		e.member(v.FieldByIndex(fs[i].index), &fs[i], sub(path, fs[i].name), indent)
	}
}

// member writes one key of a struct, nothing if it has no value.
func (e *emitter) member(v reflect.Value, f *field, path, indent string) {
	head := indent + f.name + ":"
	switch x := v.Interface().(type) {
	case Inputs:
		e.block(head, func() {
			for _, in := range x {
				e.component(in.ID, in.Settings, path, indent+"  ")
			}
		})
		return
	case Outputs:
		e.block(head, func() {
			for _, out := range x {
				e.component(out.ID, out.Settings, path, indent+"  ")
			}
		})
		return
	}
	t := v.Type()
	switch {
	case isScalar(t):
		if _, given := e.nodes[path]; v.IsZero() && f.def == "" && !given {
			return
		}
		e.line(path, "%s %s", head, e.scalar(v, f, path))
	case t.Kind() == reflect.Struct:
		e.block(head, func() { e.structure(v, fieldsOf(t), path, indent+"  ") })
	case t.Kind() == reflect.Map:
		e.block(head, func() {
			for _, key := range sortedKeys(v) {
				p := sub(path, key.String())
				e.line(p, "%s  %s: %s", indent, quote(key.String()), e.scalar(v.MapIndex(key), nil, p))
			}
		})
	case t.Kind() == reflect.Slice && isScalar(t.Elem()):
		if _, given := e.nodes[path]; v.Len() == 0 && !given {
			return
		}
		var items []string
		for i := range v.Len() {
			items = append(items, e.scalar(v.Index(i), f, path+"["+strconv.Itoa(i)+"]"))
		}
		e.line(path, "%s [%s]", head, strings.Join(items, ", "))
	default: // a list of steps or routes
		e.block(head, func() {
			for i := range v.Len() {
				e.item(v.Index(i), path+"["+strconv.Itoa(i)+"]", indent+"  ")
			}
		})
	}
}

// item writes a map as an entry of a list.
func (e *emitter) item(v reflect.Value, path, indent string) {
	fs := fieldsOf(v.Type())
	if s, ok := v.Interface().(Step); ok { // only what the step is
		fs = []field{*findField(fs, s.Kind)}
	}
	from := len(e.lines)
	e.structure(v, fs, path, indent+"  ")
	if from == len(e.lines) {
		e.line(path, "%s- {}", indent)
		return
	}
	l := &e.lines[from]
	l.text = indent + "- " + l.text[len(indent)+2:]
}

func (e *emitter) component(id ID, settings any, path, indent string) {
	p := sub(path, string(id))
	v := reflect.ValueOf(settings).Elem()
	from := len(e.lines)
	e.line("", "%s%s:", indent, id)
	e.structure(v, fieldsOf(v.Type()), p, indent+"  ")
	if len(e.lines) == from+1 {
		e.lines[from].text += " {}"
	}
}

// block writes a head and what body writes, nothing if that is nothing.
func (e *emitter) block(head string, body func()) {
	from := len(e.lines)
	e.line("", "%s", head)
	if body(); len(e.lines) == from+1 {
		e.lines = e.lines[:from]
	}
}

func sortedKeys(v reflect.Value) []reflect.Value {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return keys
}

func (e *emitter) scalar(v reflect.Value, f *field, path string) string {
	switch x := v.Interface().(type) {
	case Secret:
		switch g, ok := e.nodes[path]; {
		case e.reveal:
			return quote(string(x))
		case ok && g.node != nil && whole(g.raw):
			return quote(g.raw)
		}
		return quote(x.String())
	case URL:
		if e.reveal {
			return quote(string(x))
		}
		return quote(escapeReferences(x.String()))
	}
	if f != nil && f.words != nil {
		for word, n := range f.words {
			if v.Int() == n {
				return word
			}
		}
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		if err != nil {
			panic("config: " + err.Error()) // our own types do not fail
		}
		return string(text)
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	}
	return quote(escapeReferences(v.String()))
}

// whole reports whether a text is one reference and nothing else.
func whole(raw string) bool {
	return reference.MatchString(raw) && strings.Count(raw, "}") == 1 && strings.HasSuffix(raw, "}")
}

var wouldFill = regexp.MustCompile(`\$\{(?:[a-z]+:(?:[^-]|$))|\$\$\{`)

// escapeReferences writes a text so that filling in gives it back.
func escapeReferences(s string) string {
	return wouldFill.ReplaceAllStringFunc(s, func(m string) string { return "$" + m })
}

var plain = regexp.MustCompile(`^[A-Za-z_/.][A-Za-z0-9_./+@%-]*(?::[A-Za-z0-9_./+@%-]+)*$`)

// quote writes a text as a YAML scalar that is always read as that text.
func quote(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "y", "n", "~":
		return "'" + s + "'"
	}
	if plain.MatchString(s) && s != "." && s != "..." {
		return s
	}
	printable := strings.IndexFunc(s, func(r rune) bool {
		return !unicode.IsPrint(r) || r == utf8.RuneError || r == '\uFEFF'
	}) < 0
	if printable {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r) && r != '\uFEFF':
			b.WriteRune(r)
		case r <= 0xff:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
