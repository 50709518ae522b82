package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // --zone must work in images without zones

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/show"
	"github.com/weirlog/weir/wire/line"
)

// outputFlags say how lines and numbers are printed.
type outputFlags struct {
	format, template, templateFile string
	fields, highlight              []string
	times, zone, color             string
	noPager                        bool
}

// add adds the flags of every command that prints lines.
func (f *outputFlags) add(cmd *cobra.Command) {
	c := cmd.Flags()
	c.StringVarP(&f.format, "output", "o", "pretty", strings.Join(show.Formats, ", ")+", template=TEXT or template-file=FILE")
	c.StringVar(&f.template, "template", "", "Go template for each line, as -o template=…; see 'weir help templates'")
	c.StringVarP(&f.templateFile, "template-file", "T", "", "file with such a template")
	f.addLooks(cmd)
}

// addLooks adds the flags of how pretty lines look.
func (f *outputFlags) addLooks(cmd *cobra.Command) {
	c := cmd.Flags()
	c.StringSliceVar(&f.fields, "fields", nil, "of a line's own keys and labels only these: a,b; the columns of csv")
	c.StringArrayVarP(&f.highlight, "highlight", "H", nil, "highlight what matches this regular expression; may be repeated")
	c.StringVarP(&f.times, "timestamps", "t", "", "how pretty lines show their time: "+strings.Join(show.TimeStyles, ", "))
	c.Lookup("timestamps").NoOptDefVal = "default"
	c.StringVarP(&f.zone, "zone", "z", "", "time zone of times for people: UTC, Europe/Berlin, +02:00 (default local)")
	c.StringVar(&f.zone, "timezone", "", "stern's name of --zone")
	if err := c.MarkHidden("timezone"); err != nil {
		panic(err) // it is there
	}
	c.StringVar(&f.color, "color", "auto", "auto, always or never")
}

// joinTimestamps makes -t=short of -t short: -t alone is a flag, so that the style
// would be taken for an argument.
func joinTimestamps(args []string) []string {
	for i := 0; i+1 < len(args) && args[i] != "--"; i++ {
		if (args[i] == "-t" || args[i] == "--timestamps") && slices.Contains(show.TimeStyles, args[i+1]) {
			args = slices.Concat(args[:i], []string{args[i] + "=" + args[i+1]}, args[i+2:])
		}
	}
	return args
}

// addPager adds the flag of commands that print through a pager.
func (f *outputFlags) addPager(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.noPager, "no-pager", false, "do not print through $WEIR_PAGER, $PAGER or less")
}

// narrow is the width below which times are shown short.
const narrow = 100

// options returns what the flags say about output to out.
func (f *outputFlags) options(out io.Writer) (show.Options, error) {
	o := show.Options{Format: f.format, Fields: f.fields, Now: time.Now, Terminal: isTerminal(out)}
	if text, ok := strings.CutPrefix(f.format, "template="); ok {
		o.Format, o.Template = "template", text
	}
	file := f.templateFile
	if path, ok := strings.CutPrefix(f.format, "template-file="); ok {
		file = path
	}
	if f.template != "" {
		o.Format, o.Template = "template", f.template
	}
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return o, usageError("template: %v", err)
		}
		o.Format, o.Template = "template", string(text)
	}
	var err error
	if o.Color, err = f.colorOf(out); err != nil {
		return o, err
	}
	if o.Zone, err = parseZone(f.zone); err != nil {
		return o, err
	}
	if o.Times = f.times; o.Times == "" && o.Terminal && terminalWidth(out) < narrow {
		o.Times = "short"
	}
	o.Narrow = o.Terminal && terminalWidth(out) < narrow
	o.Highlight, err = regexps("--highlight", f.highlight)
	return o, err
}

// regexps compiles the values of a flag.
func regexps(flag string, list []string) ([]*regexp.Regexp, error) {
	var out []*regexp.Regexp
	for _, text := range list {
		re, err := regexp.Compile(text)
		if err != nil {
			return nil, usageError("%s %s: %v", flag, text, err)
		}
		out = append(out, re)
	}
	return out, nil
}

func (f *outputFlags) colorOf(out io.Writer) (bool, error) {
	switch f.color {
	case "", "auto":
		return colorFor(out), nil
	case "always":
		return true, nil
	case "never":
		return false, nil
	}
	return false, usageError("--color %s: want auto, always or never", f.color)
}

// parseZone reads a time zone: a name, or an offset. "" is the machine's.
func parseZone(name string) (*time.Location, error) {
	switch strings.ToLower(name) {
	case "", "local":
		return time.Local, nil
	case "utc", "z":
		return time.UTC, nil
	}
	if t, err := time.Parse("-07:00", name); err == nil {
		_, offset := t.Zone()
		return time.FixedZone(name, offset), nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, usageError("--zone %s: want a time zone such as UTC, Europe/Berlin or +02:00", name)
	}
	return zone, nil
}

// newPrinter returns the printer to w; its errors are of wrong usage.
func newPrinter(w *bufio.Writer, o show.Options) (show.Printer, error) {
	p, err := show.New(w, o)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	if o.Format == "template" {
		p = templatePrinter{p}
	}
	return p, nil
}

// templatePrinter gives the errors of templates their exit code.
type templatePrinter struct{ show.Printer }

func (p templatePrinter) Line(e *show.Entry) error {
	err := p.Printer.Line(e)
	var te *show.TemplateError
	if errors.As(err, &te) {
		return &exitError{exitUsage, err}
	}
	return err
}

// page returns the pager to out. What is printed goes to it, messages go to its
// Err, and close must be called at the end.
func (f *outputFlags) page(ctx context.Context, out, errOut io.Writer) *pager {
	return startPager(ctx, out, errOut, f.noPager)
}

// lineStyle returns how the lines of a pipeline look on out.
func (f *outputFlags) lineStyle(out io.Writer) (line.Style, error) {
	o, err := f.options(out)
	if err != nil {
		return line.Style{}, err
	}
	style := o.Style()
	if err := style.Check(); err != nil {
		return line.Style{}, &exitError{exitUsage, err}
	}
	return style, nil
}

// looks returns how lines look on out: as the command's flags say if it has them,
// else as out suggests.
func (p *process) looks(out io.Writer) line.Style {
	if p.style != nil {
		return *p.style
	}
	var f outputFlags
	style, err := f.lineStyle(out)
	if err != nil {
		return line.Style{} // without flags there is nothing to be wrong
	}
	return style
}
