package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/show"
)

type tapFlags struct {
	stateFlags
	outputFlags
	rate    float64
	limit   int
	changed bool
}

func tapCommand() *cobra.Command {
	var f tapFlags
	cmd := &cobra.Command{
		Use:   "tap COMPONENT [LOGQL]",
		Short: "Show records that pass a place of the running pipeline",
		Long: `Shows some of the records that pass a place of the running process now: at an
input, before and after a step, or at an output. At a step it shows what the
step changed: the body, level and time, fields that came (+), went (-) or
changed (~), and whether it dropped the record.

COMPONENT is an id such as kubernetes or elasticsearch/main, with inputs. or
outputs. before it where both have it; pipeline[1] is a step, counted from 0, and
pipeline all of them. A wrong one tells which there are.

LOGQL is a condition as in the configuration, on the records as they come:
{namespace="shop"} |= "timeout". Samples are taken over the batches that pass,
--rate of them a second at most. The process does not wait for a slow reader:
what that missed is counted on stderr. Nothing is kept, and while nobody taps it
costs nothing.

What is shown is what is logged, also what a later step removes or masks. So
only the owner of the process's state directory can tap: it asks by the socket
there.`,
		Example: `  weir tap kubernetes
  weir tap 'pipeline[0]' --changed
  weir tap elasticsearch/main '{namespace="shop", level="error"}' --limit 20
  weir tap pipeline -o json | jq .after.fields`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usageError("tap what? %s kubernetes; a wrong name tells which there are", cmd.CommandPath())
			case len(args) > 2:
				return usageError("%s takes a component and a condition, and got %q too", cmd.CommandPath(), args[2])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.stateFlags.add(cmd)
	f.outputFlags.add(cmd)
	c := cmd.Flags()
	c.Float64Var(&f.rate, "rate", 10, "samples a second at most")
	c.IntVar(&f.limit, "limit", 0, "end after so many samples; 0 for none")
	c.BoolVar(&f.changed, "changed", false, "only what a step has changed or dropped")
	return cmd
}

func (f *tapFlags) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	out := cmd.OutOrStdout()
	if f.rate <= 0 || f.rate > 1e6 {
		return usageError("--rate %g: want samples a second, more than 0", f.rate)
	}
	if f.limit < 0 {
		return usageError("--limit %d: want 0 or more", f.limit)
	}
	form := url.Values{"component": {args[0]}, "rate": {strconv.FormatFloat(f.rate, 'g', -1, 64)}}
	if len(args) > 1 {
		if _, err := logql.ParseCondition(args[1]); err != nil {
			return usageError("%s: %v", args[1], err)
		}
		form.Set("match", args[1])
	}
	options, err := f.outputFlags.options(out)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	printer := &tapPrinter{w: w, options: options, changed: f.changed}
	if options.Format != "json" || len(options.Fields) > 0 {
		if printer.lines, err = show.New(w, options); err != nil {
			return usageError("%v", err)
		}
	}
	state, err := f.dir()
	if err != nil {
		return err
	}
	resp, err := tapOf(ctx, state, form)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	err = printer.print(resp.Body, f.limit, cmd.ErrOrStderr())
	if e := w.Flush(); err == nil {
		err = e
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// tapOf asks the process of a state directory for samples.
func tapOf(ctx context.Context, state string, form url.Values) (*http.Response, error) {
	client := adminClient(state)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://weir/v1/tap?"+form.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		if err = adminError(state, err); errors.Is(err, errNotRunning) {
			return nil, &exitError{exitUnreachable, fmt.Errorf("%w; name its state directory with --state", err)}
		}
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return resp, nil
	case http.StatusBadRequest:
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 16<<10)) // what has come is shown
		return nil, usageError("%s", strings.TrimSpace(string(text)))
	}
	defer resp.Body.Close()
	return nil, answered(state, resp)
}

// tapPrinter prints samples.
type tapPrinter struct {
	w       *bufio.Writer
	lines   show.Printer // nil for JSON as it comes
	options show.Options
	changed bool
	streams map[string]*show.Stream
	kind    string
}

// print prints the samples that come, limit of them if it is not 0.
func (p *tapPrinter) print(r io.Reader, limit int, errOut io.Writer) error {
	in := bufio.NewReaderSize(r, 64<<10)
	dec := json.NewDecoder(in)
	missed, n := uint64(0), 0
	for {
		var m tapMessage
		if err := dec.Decode(&m); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return &exitError{exitUnreachable, errors.New("the process has ended")}
			}
			return err
		}
		if m.Kind != "" {
			p.kind = m.Kind
		}
		if m.Missed > missed {
			if err := p.w.Flush(); err != nil {
				return err
			}
			fmt.Fprintf(errOut, "%s missed: they are not read as fast as they come\n", plural(int64(m.Missed-missed), "sample"))
			missed = m.Missed
		}
		if m.Before == nil && m.After == nil {
			// A reader that has left shows only when something is written.
			if err := p.w.Flush(); err != nil {
				return err
			}
			continue
		}
		if p.changed && p.kind == "step" && len(changes(m.Before, m.After)) == 0 {
			continue
		}
		if err := p.sample(&m); err != nil {
			return err
		}
		if in.Buffered() == 0 || n+1 == limit {
			if err := p.w.Flush(); err != nil {
				return err
			}
		}
		if n++; n == limit {
			if p.lines != nil {
				return p.lines.End()
			}
			return nil
		}
	}
}

func (p *tapPrinter) sample(m *tapMessage) error {
	if p.lines == nil {
		m.Missed = 0
		return json.NewEncoder(p.w).Encode(m)
	}
	r := m.After
	if r == nil || r.Dropped && m.Before != nil {
		r = m.Before
	}
	if err := p.lines.Line(p.entry(r)); err != nil {
		return err
	}
	if p.kind != "step" || p.options.Format != "pretty" && p.options.Format != "" {
		return nil
	}
	list := changes(m.Before, m.After)
	if len(list) == 0 {
		p.change("=", "unchanged", "2")
	}
	for _, c := range list {
		p.change(c.sign, c.text, map[string]string{"+": "32", "-": "31", "~": "33", "×": "31"}[c.sign])
	}
	return nil
}

// change prints a difference below a line.
func (p *tapPrinter) change(sign, text, color string) {
	text = show.Printable(text)
	if p.options.Color {
		fmt.Fprintf(p.w, "    \x1b[%sm%s %s\x1b[0m\n", color, sign, text)
		return
	}
	fmt.Fprintf(p.w, "    %s %s\n", sign, text)
}

// entry is a record as lines are printed.
func (p *tapPrinter) entry(r *tapRecord) *show.Entry {
	key := show.LabelText(r.Labels)
	s := p.streams[key]
	if s == nil {
		if p.streams == nil || len(p.streams) > 10_000 {
			p.streams = make(map[string]*show.Stream)
		}
		s = show.NewStream(r.Labels)
		p.streams[key] = s
	}
	e := &show.Entry{Time: r.Time, Line: r.Body, Stream: s, Meta: make(map[string]string)}
	for _, f := range r.Fields {
		e.Meta[record.SanitizeName(f.Name)] = f.Value
	}
	if r.Level != "" {
		e.Meta["level"] = r.Level
	}
	return e
}

// difference is a thing that a step did to a record.
type difference struct {
	sign string // + - ~ or × for a record that is no more
	text string
}

// changes says what a step did, nothing if it left the record as it was.
func changes(before, after *tapRecord) (list []difference) {
	add := func(sign, format string, args ...any) {
		list = append(list, difference{sign, fmt.Sprintf(format, args...)})
	}
	if after == nil {
		add("×", "gone: the step took it out of the batch")
		return list
	}
	if after.Dropped && !before.Dropped {
		add("×", "dropped")
	}
	if before.Body != after.Body {
		old, now := differing(before.Body, after.Body)
		add("-", "body %s", old)
		add("+", "body %s", now)
	}
	switch {
	case before.Level == after.Level:
	case before.Level == "":
		add("+", "level=%s", after.Level)
	case after.Level == "":
		add("-", "level=%s", before.Level)
	default:
		add("~", "level=%s, was %s", after.Level, before.Level)
	}
	if before.Time != after.Time {
		add("~", "time=%s, was %s", time.Unix(0, after.Time).UTC().Format(time.RFC3339Nano), time.Unix(0, before.Time).UTC().Format(time.RFC3339Nano))
	}
	was, is := fieldsOf(before), fieldsOf(after)
	names := slices.Sorted(maps.Keys(is))
	for name := range was {
		if _, still := is[name]; !still {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		old, had := was[name]
		now, has := is[name]
		switch {
		case !has:
			add("-", "%s=%s", name, short(old))
		case !had:
			add("+", "%s=%s", name, short(now))
		case old != now:
			add("~", "%s=%s, was %s", name, short(now), short(old))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after.Labels)) {
		if before.Labels[name] != after.Labels[name] {
			add("~", "%s=%s, was %q", name, short(after.Labels[name]), before.Labels[name])
		}
	}
	return list
}

func fieldsOf(r *tapRecord) map[string]string {
	m := make(map[string]string, len(r.Fields))
	for _, f := range r.Fields {
		m[f.Name] = f.Value
	}
	return m
}

// shortValue is how many bytes of a value a difference shows.
const shortValue = 200

func short(s string) string {
	if len(s) <= shortValue {
		return s
	}
	return strings.ToValidUTF8(s[:shortValue], "") + "…"
}

// differing returns two texts, each from a little before the place where they
// begin to differ to a little behind the one where they end to.
func differing(a, b string) (string, string) {
	const around = 20
	from := 0
	for from < len(a) && from < len(b) && a[from] == b[from] {
		from++
	}
	same := 0
	for same < len(a)-from && same < len(b)-from && a[len(a)-1-same] == b[len(b)-1-same] {
		same++
	}
	from, same = max(0, from-around), max(0, same-around)
	cut := func(s string) string {
		text := strings.ToValidUTF8(s[from:len(s)-same], "")
		if from > 0 {
			text = "…" + text
		}
		text = short(text)
		if same > 0 && !strings.HasSuffix(text, "…") {
			text += "…"
		}
		return text
	}
	return cut(a), cut(b)
}
