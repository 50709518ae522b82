package show

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire/line"
)

// templateExample is a template that works.
const templateExample = `-o 'template={{.PodName}} {{.Message}}'`

// TemplateError says that a template is wrong, or cannot be used for a line.
type TemplateError struct{ Err error }

func (e *TemplateError) Error() string { return e.Err.Error() }
func (e *TemplateError) Unwrap() error { return e.Err }

// TemplateLine is what a template is given: a line, with stern's names and our
// own.
type TemplateLine struct {
	// Message is the line, as stern calls it, and so is Line.
	Message, Line string
	// Timestamp is the time as -t and --zone say; Time is it as Go has it.
	Timestamp string
	Time      time.Time
	// Level is trace, debug, info, warn, error, fatal, or what the line calls it.
	Level string

	Namespace, PodName, ContainerName, NodeName string
	// Labels and Annotations are those of the pod; Labels are those of the stream
	// where the pod's are not known.
	Labels, Annotations      map[string]string
	PodColor, ContainerColor Color

	look *looker
}

// Get returns a key of the line, a label or structured metadata, "" if there is
// none.
func (l TemplateLine) Get(name string) string {
	v, _ := l.look.get(name)
	return v
}

// Color is a colour: the parameters of an SGR sequence.
type Color string

type templatePrinter struct {
	w     *bufio.Writer
	o     Options
	t     *template.Template
	look  *looker
	buf   bytes.Buffer
	plain *prettyPrinter // for numbers
}

func newTemplate(w *bufio.Writer, o Options) (*templatePrinter, error) {
	p := &templatePrinter{w: w, o: o, look: newLooker(), plain: newPretty(w, o)}
	var err error
	if p.t, err = template.New("template").Funcs(templateFuncs(o.Color)).Parse(o.Template); err != nil {
		return nil, templateError(err)
	}
	if strings.TrimSpace(o.Template) == "" {
		return nil, templateError(errors.New("the template is empty"))
	}
	// A misspelt name shows now, not with the first line. Lines differ, so that
	// other errors say nothing yet.
	sample := &Entry{Line: "{}", Stream: NewStream(nil)}
	if err := p.execute(sample); err != nil && strings.Contains(err.Error(), "can't evaluate field") {
		return nil, templateError(fmt.Errorf("%w; there are .Message .Time .Timestamp .Level .Namespace .PodName .ContainerName .NodeName .Labels .Annotations .PodColor .ContainerColor and .Get \"name\"", err))
	}
	return p, nil
}

var templatePlace = regexp.MustCompile(`^template: template:`)

func templateError(err error) error {
	text := templatePlace.ReplaceAllString(err.Error(), "template:")
	return &TemplateError{fmt.Errorf("%s\nOne that works: %s", text, templateExample)}
}

func (p *templatePrinter) execute(e *Entry) error {
	p.look.at(e)
	labels := e.Stream.Labels
	data := TemplateLine{
		Message: e.Line, Line: e.Line, Time: time.Unix(0, e.Time).In(p.o.Zone),
		Timestamp: p.timestamp(e.Time),
		Namespace: labels["namespace"], PodName: labels["pod"], ContainerName: labels["container"], NodeName: e.Get("node"),
		Labels: e.Stream.PodLabels, Annotations: e.Stream.PodAnnotations,
		look: p.look,
	}
	data.Level, _ = p.look.get("level")
	if data.Labels == nil {
		data.Labels = labels
	}
	if p.o.Color {
		data.PodColor = Color(p.plain.paint.NameColor(data.Namespace + "/" + data.PodName))
		data.ContainerColor = Color(line.NameColor(data.Namespace + "/" + data.PodName + " " + data.ContainerName))
	}
	p.buf.Reset()
	return p.t.Execute(&p.buf, data)
}

func (p *templatePrinter) timestamp(ns int64) string {
	return strings.TrimSpace(string(p.plain.paint.AppendTime(nil, ns)))
}

// Line executes the template. What it makes ends with a line feed; if it makes
// nothing, there is nothing.
func (p *templatePrinter) Line(e *Entry) error {
	if err := p.execute(e); err != nil {
		text := templatePlace.ReplaceAllString(err.Error(), "template:")
		if strings.Contains(text, "arseJSON") || strings.Contains(text, "JSONParts") {
			text += "; tryParseJSON and tryExtractJSONParts do for lines that are no JSON"
		}
		return &TemplateError{errors.New(text)}
	}
	if p.buf.Len() == 0 {
		return nil
	}
	if out := p.buf.Bytes(); out[len(out)-1] != '\n' {
		p.buf.WriteByte('\n')
	}
	_, err := p.w.Write(p.buf.Bytes())
	return err
}

func (p *templatePrinter) Series(labels map[string]string, points []Point) error {
	return p.plain.Series(labels, points)
}

func (p *templatePrinter) End() error { return nil }

// templateFuncs are stern's functions, and a few for text.
func templateFuncs(color bool) template.FuncMap {
	paint := func(params, text string) string {
		if !color || params == "" || text == "" {
			return text
		}
		return "\x1b[" + params + "m" + text + "\x1b[0m"
	}
	f := template.FuncMap{
		"json":       marshal,
		"color":      func(c Color, text any) string { return paint(string(c), toText(text)) },
		"parseJSON":  parseJSON,
		"prettyJSON": prettyJSON,
		"tryParseJSON": func(text string) map[string]any {
			v, _ := parseJSON(text)
			return v
		},
		"extractJSONParts": extractJSON,
		"tryExtractJSONParts": func(text string, keys ...string) string {
			if out, err := extractJSON(text, keys...); err == nil {
				return out
			}
			return text
		},
		"toRFC3339Nano": func(v any) (string, error) {
			t, err := toTime(v)
			return t.Format(time.RFC3339Nano), err
		},
		"toUTC": func(v any) (time.Time, error) {
			t, err := toTime(v)
			return t.UTC(), err
		},
		"toTimestamp": func(v any, layout string, zone ...string) (string, error) {
			t, err := toTime(v)
			if err != nil {
				return "", err
			}
			z := time.UTC
			if len(zone) > 0 {
				if z, err = time.LoadLocation(zone[0]); err != nil {
					return "", err
				}
			}
			return t.In(z).Format(layout), nil
		},
		"levelColor": func(v any) string {
			text := toText(v)
			sev, _ := stage.NamedLevel([]byte("level"), []byte(text))
			return paint(line.LevelColor(sev), text)
		},
		"colorCustom": func(text any, params ...int) string {
			var list []string
			for _, n := range params {
				list = append(list, strconv.Itoa(n))
			}
			return paint(strings.Join(list, ";"), toText(text))
		},
		"upper": func(v any) string { return strings.ToUpper(toText(v)) },
		"lower": func(v any) string { return strings.ToLower(toText(v)) },
		"trim":  func(v any) string { return strings.TrimSpace(toText(v)) },
	}
	f["bunyanLevelColor"] = f["levelColor"]
	for name, params := range map[string]string{"Black": "30", "Red": "31", "Green": "32", "Yellow": "33", "Blue": "34", "Magenta": "35", "Cyan": "36", "White": "37"} {
		f["color"+name] = func(v any) string { return paint(params, toText(v)) }
	}
	return f
}

// toText is a value as templates print it; what is not there is empty.
func toText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	return fmt.Sprint(v)
}

func marshal(v any) (string, error) {
	if l, ok := v.(TemplateLine); ok { // as stern's -o json
		v = map[string]any{
			"message": l.Message, "nodeName": l.NodeName, "namespace": l.Namespace, "podName": l.PodName,
			"containerName": l.ContainerName, "labels": l.Labels, "annotations": l.Annotations,
		}
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

func parseJSON(text string) (map[string]any, error) {
	var v map[string]any
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return v, nil
}

func extractJSON(text string, keys ...string) (string, error) {
	v, err := parseJSON(text)
	if err != nil {
		return "", err
	}
	var parts []string
	for _, k := range keys {
		if part, ok := v[k]; ok {
			parts = append(parts, toText(part))
		}
	}
	return strings.Join(parts, ", "), nil
}

func prettyJSON(v any) string {
	if text, ok := v.(string); ok {
		if !json.Valid([]byte(text)) {
			return text
		}
		v = json.RawMessage(text)
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// toTime reads a time as programs log it.
func toTime(v any) (time.Time, error) {
	if t, ok := v.(time.Time); ok {
		return t, nil
	}
	text := toText(v)
	if f, ok := v.(float64); ok {
		text = strconv.FormatFloat(f, 'f', -1, 64)
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	var stamps stage.Timestamps
	if ns, _, ok := stamps.Parse([]byte(text)); ok {
		return time.Unix(0, ns).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time", text)
}
