package show

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"regexp"
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
	// Format is one of Formats, template, or a name that stern and logcli have for
	// one (default, extjson, ppextjson, jsonl); "" is pretty.
	Format string
	// Template is the Go template of the format template. Its errors when it is
	// executed are those of Line.
	Template string
	// Color allows ANSI colours in the formats for people.
	Color bool
	// Terminal says that the output goes to a terminal: what templates make is
	// escaped, and so are bare lines.
	Terminal bool
	// Times is one of TimeStyles, "" is default.
	Times string
	// Zone is the zone of times for people; nil is the machine's. Formats for
	// programs write UTC.
	Zone *time.Location
	// Now is the clock for times relative to it.
	Now func() time.Time
	// Fields, if there are any, are the only keys and labels that pretty shows
	// behind the message, and the columns of csv behind the time. A dot goes into
	// the objects of a JSON line.
	Fields []string
	// Narrow saves columns in the names of pods: no namespace, and no container
	// that the pod's name begins with. OneNamespace leaves out only the namespace:
	// all are of the same.
	Narrow, OneNamespace bool
	// Highlight marks what matches any of them in pretty lines; Include likewise,
	// as grep marks what it looked for. They show only with Color.
	Highlight, Include []*regexp.Regexp
}

// TimeStyles are the ways to show a line's time.
var TimeStyles = line.Times

// Formats are the names of the formats, without templates.
var Formats = []string{"pretty", "raw", "json", "logfmt", "csv"}

// Aliases are other tools' names of formats, and what they are called there.
var Aliases = []string{"default", "extjson", "ppextjson", "jsonl"}

// Style returns how these options make lines look, for lines that come from a
// pipeline.
func (o *Options) Style() line.Style {
	return line.Style{
		Color: o.Color, Times: o.Times, Zone: o.Zone, Now: o.Now, Fields: o.Fields,
		Narrow: o.Narrow, OneNamespace: o.OneNamespace, Highlight: o.Highlight, Include: o.Include,
	}
}

// New returns a printer to w. The error names a format or style that does not
// exist, or what is wrong with the template and one that works.
func New(w *bufio.Writer, o Options) (Printer, error) {
	if o.Zone == nil {
		o.Zone = time.Local
	}
	style := o.Style()
	if err := style.Check(); err != nil {
		return nil, err
	}
	switch o.Format {
	case "", "pretty", "default":
		return newPretty(w, o), nil
	}
	if o.Terminal {
		return newSafe(w, o)
	}
	switch o.Format {
	case "raw":
		return rawPrinter{w}, nil
	case "json":
		return newJSON(w), nil
	case "extjson", "ppextjson":
		return newExtJSON(w, o), nil
	case "jsonl":
		return logcliPrinter{newJSON(w)}, nil
	case "logfmt":
		return &logfmtPrinter{w: w, fields: o.Fields, look: newLooker()}, nil
	case "csv":
		return &csvPrinter{w: csv.NewWriter(w), fields: o.Fields, look: newLooker()}, nil
	case "template":
		return newTemplate(w, o)
	}
	return nil, fmt.Errorf("no format %q: want %s or a template such as %s", o.Format, strings.Join(Formats, ", "), templateExample)
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
