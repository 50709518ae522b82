package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/show"
)

// aroundFlags say how much around a line is shown, and of whom.
type aroundFlags struct {
	around, before, after int
	scope                 string
	allContainers         bool
}

// scopes are whose lines surround a line.
var scopes = []string{"stream", "container", "pod", "workload", "node", "namespace"}

func (f *aroundFlags) add(cmd *cobra.Command, lines int) {
	c := cmd.Flags()
	c.IntVarP(&f.around, "around", "C", lines, "lines before and after each match")
	c.IntVar(&f.before, "before", -1, "lines before each match (default that of -C)")
	c.IntVar(&f.after, "after", -1, "lines after each match (default that of -C)")
	c.Lookup("before").DefValue, c.Lookup("after").DefValue = "0", "0" // not a number, for the help
	c.StringVar(&f.scope, "scope", "", "whose lines are around: "+strings.Join(scopes, ", ")+" (default container)")
	c.BoolVar(&f.allContainers, "all-containers", false, "the same as --scope pod")
	cmd.MarkFlagsMutuallyExclusive("scope", "all-containers")
	if err := cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions(scopes, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was added above
	}
}

// lines returns how many lines before and after are wanted.
func (f *aroundFlags) lines() (before, after int, err error) {
	const most = 10_000
	before, after = f.around, f.around
	if f.before >= 0 {
		before = f.before
	}
	if f.after >= 0 {
		after = f.after
	}
	if before < 0 || before > most || after < 0 || after > most {
		return 0, 0, usageError("lines around a match: want 0 to %d", most)
	}
	if f.allContainers {
		f.scope = "pod"
	}
	if f.scope != "" && !slices.Contains(scopes, f.scope) {
		return 0, 0, usageError("--scope %s: want %s%s", f.scope, strings.Join(scopes, ", "), didYouMean(f.scope, scopes))
	}
	return before, after, nil
}

type contextFlags struct {
	sourceFlags
	rangeFlags
	outputFlags
	aroundFlags
	at string
}

func contextCommand() *cobra.Command {
	var flags contextFlags
	cmd := &cobra.Command{
		Use:   "context [TIME] QUERY",
		Short: "Show the lines around a line",
		Long: `Shows what the same container wrote before and after a line: the one at TIME,
which is given as 'weir query' and 'weir tail' print it, else the newest that the
query finds. It is marked with '>'. --scope shows what others wrote meanwhile.

A time with milliseconds means all lines of that millisecond, if none is there
exactly. When there is none at all, the last one before it is taken.

'weir query -C 5' does the same for every line that a query finds.`,
		Example: `  weir context '{app="shop"} |= "panic"'
  weir context '2026-11-22 10:00:00.123' '{pod="web-1"}'
  weir context '{pod="web-1"}' --at 10:00:00.123 --before 50 --after 5
  weir context '{app="shop"} |= "panic"' --scope pod`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usageError("which line is missing: weir context '{app=\"shop\"} |= \"panic\"'")
			case len(args) > 2 || len(args) == 2 && flags.at != "" || len(args) == 2 && isSelector(args[0]) == isSelector(args[1]):
				return usageError("want a time and a query: weir context '2026-11-22 10:00:00.123' '{pod=\"web-1\"}'")
			case len(args) == 1 && !isSelector(args[0]):
				return usageError("whose line is missing: weir context '%s' '{pod=\"web-1\"}'", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			text := args[0]
			if len(args) == 2 {
				flags.at, text = args[0], args[1]
				if isSelector(args[0]) {
					flags.at, text = args[1], args[0]
				}
			}
			return runContext(cmd.Context(), &flags, text, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags.sourceFlags.add(cmd)
	flags.rangeFlags.add(cmd)
	flags.outputFlags.add(cmd)
	flags.addPager(cmd)
	flags.aroundFlags.add(cmd, 10)
	cmd.Flags().StringVar(&flags.at, "at", "", "the time of the line, as it is printed; or TIME before the query")
	return cmd
}

// fraction is what says how exact a time is.
var fraction = regexp.MustCompile(`:\d\d:\d\d(\.\d+)?`)

// exactness returns how long what a written time means is: a second for one with
// seconds, a millisecond for one with three digits more. 0 is a moment.
func exactness(text string) time.Duration {
	m := fraction.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	d := time.Second
	for range min(9, max(0, len(m[1])-1)) {
		d /= 10
	}
	return d
}

func runContext(ctx context.Context, flags *contextFlags, text string, out, errOut io.Writer) error {
	before, after, err := flags.lines()
	if err != nil {
		return err
	}
	expr, err := parseSelection(text, "context")
	if err != nil {
		return err
	}
	var at time.Time
	if flags.at != "" {
		if at, err = parseWhen(flags.at, time.Now()); err != nil {
			return usageError("time %s: %v", flags.at, err)
		}
	}
	pages := flags.page(ctx, out, errOut)
	w := bufio.NewWriterSize(pages, 64<<10)
	p, err := newAroundPrinter(&flags.outputFlags, w, out, expr, flags.oneNamespace() && flags.scope != "node")
	if err != nil {
		return err
	}
	errOut = pages.Err()
	flags.others = !slices.Contains([]string{"", "stream", "container"}, flags.scope)
	return pages.close(askAbout(ctx, &flags.sourceFlags, &flags.rangeFlags, expr, errOut, func(a *asking) error {
		if !at.IsZero() && !a.given && !a.c.Local {
			a.from = at.Add(-time.Hour) // its last hour is about another time
			a.to = at.Add(time.Hour)
		}
		matches, err := a.linesAt(ctx, at, exactness(flags.at))
		if err != nil {
			return err
		}
		if len(matches) == 0 {
			a.nothingIn(ctx)
			return nil
		}
		err = a.around(ctx, matches, flags.scope, before, after, p)
		if e := w.Flush(); err == nil {
			err = e
		}
		return err
	}))
}

// linesAt returns the lines of the query at a time, the last one before or the
// first one after it if there is none; the newest of all for no time.
func (a *asking) linesAt(ctx context.Context, at time.Time, exact time.Duration) ([]show.Entry, error) {
	var cost read.Cost
	var got []show.Entry
	get := func(want read.Want) error {
		got = nil
		want.Query = a.moved
		return a.c.Lines(ctx, want, &cost, func(page []show.Entry) error {
			got = append(got, page...)
			return nil
		})
	}
	if at.IsZero() {
		err := get(read.Want{From: a.start(), To: a.end(), Limit: 1})
		return got, err
	}
	t := at.UnixNano()
	// As programs print it to the nanosecond, as people see it cut.
	for _, d := range []time.Duration{1, exact} {
		const most = 1000
		if d == 0 {
			continue
		}
		if err := get(read.Want{From: t, To: t + int64(d), Limit: most, Forward: true}); err != nil || len(got) > 0 {
			return got, err
		}
	}
	if err := get(read.Want{From: a.start(), To: t + 1, Limit: 1}); err != nil {
		return nil, err
	}
	if len(got) == 0 {
		if err := get(read.Want{From: t, To: max(a.end(), t+1), Limit: 1, Forward: true}); err != nil {
			return nil, err
		}
	}
	if len(got) > 0 && got[0].Time != t {
		fmt.Fprintf(a.errOut, "no line at %s; the nearest is at %s\n", at.Format("2006-01-02 15:04:05.999999999"), time.Unix(0, got[0].Time).Format("2006-01-02 15:04:05.999999999"))
	}
	return got, nil
}

// scopeOf returns the selector of the lines that surround a line.
func (a *asking) scopeOf(e *show.Entry, scope string) (string, error) {
	var names []string
	switch scope {
	case "", "container":
		names = []string{"namespace", "pod", "container"}
	case "pod":
		names = []string{"namespace", "pod"}
	case "workload":
		names = []string{"namespace", "workload"}
	case "node", "namespace":
		names = []string{scope}
	}
	labels := e.Stream.Labels
	if len(names) > 0 {
		need := names[len(names)-1]
		if scope == "" {
			need = "pod"
		}
		if labels[need] != "" {
			names = slices.DeleteFunc(names, func(n string) bool { return labels[n] == "" })
			return "{" + matchersFor(names, labels) + "}", nil
		}
		if scope != "" {
			return "", usageError("--scope %s: the line has no label %q, only %s", scope, need, e.Stream.Text)
		}
	}
	// What is no container's: the stream, of what the source has labels for.
	names = nil
	for _, n := range slices.Sorted(maps.Keys(labels)) {
		if a.isLabel(n) {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return a.selector(), nil
	}
	return "{" + matchersFor(names, labels) + "}", nil
}

// around prints the lines around matches, which are in the order of time: block
// by block, those of one scope together.
func (a *asking) around(ctx context.Context, matches []show.Entry, scope string, before, after int, p *aroundPrinter) error {
	by := make(map[string][]show.Entry)
	var order []string
	for _, m := range matches {
		sel, err := a.scopeOf(&m, scope)
		if err != nil {
			return err
		}
		if by[sel] == nil {
			order = append(order, sel)
		}
		by[sel] = append(by[sel], m)
	}
	for _, sel := range order {
		list := by[sel]
		slices.SortStableFunc(list, func(x, y show.Entry) int { return cmp.Compare(x.Time, y.Time) })
		s := surroundings{src: &cachedLines{src: &askedLines{a, sel}}, before: before, after: after, rewritten: rewrites(a.expr)}
		if err := s.blocks(ctx, list, p.block); err != nil {
			return err
		}
	}
	return p.end()
}

// rewrites reports whether a query's lines are not as they were written.
func rewrites(e *logql.LogExpr) bool {
	text := e.String()
	for _, stage := range []string{"line_format", "label_format", "decolorize", "unpack", "| drop", "| keep"} {
		if strings.Contains(text, stage) {
			return true
		}
	}
	return false
}

// askedLines is a lineSource that asks.
type askedLines struct {
	a        *asking
	selector string
}

// reach is how far from a line a server is asked for those around it.
const reach = 24 * time.Hour

func (l *askedLines) get(ctx context.Context, want read.Want) (out []show.Entry, err error) {
	if want.Limit == 0 {
		return nil, nil
	}
	want.Query = l.selector
	var cost read.Cost
	err = l.a.c.Lines(ctx, want, &cost, func(page []show.Entry) error {
		out = append(out, page...)
		return nil
	})
	return out, err
}

func (l *askedLines) before(ctx context.Context, t int64, n int) ([]show.Entry, error) {
	from := t - int64(reach)
	if l.a.c.Local {
		from = 0
	}
	out, err := l.get(ctx, read.Want{From: from, To: t, Limit: n})
	slices.Reverse(out)
	return out, err
}

func (l *askedLines) from(ctx context.Context, t int64, n int) ([]show.Entry, error) {
	to := t + int64(reach)
	if l.a.c.Local {
		to = max(l.a.now.Add(time.Hour).UnixNano(), to)
	}
	return l.get(ctx, read.Want{From: t, To: to, Limit: n, Forward: true})
}

// aroundPrinter prints blocks of lines, with the matches marked: people see '>'
// before them and '--' between blocks, programs a field.
type aroundPrinter struct {
	w      *bufio.Writer
	p      show.Printer
	held   bytes.Buffer
	hw     *bufio.Writer
	format string
	color  bool
	blocks int
}

func newAroundPrinter(f *outputFlags, w *bufio.Writer, out io.Writer, expr *logql.LogExpr, oneNamespace bool) (*aroundPrinter, error) {
	o, err := f.options(out)
	if err != nil {
		return nil, err
	}
	o.Include = append(o.Include, needles(expr)...)
	o.OneNamespace = oneNamespace
	a := &aroundPrinter{w: w, format: o.Format, color: o.Color}
	a.hw = bufio.NewWriter(&a.held)
	a.p, err = newPrinter(a.hw, o)
	return a, err
}

// needles are what the query looked for, to be marked.
func needles(e *logql.LogExpr) (out []*regexp.Regexp) {
	if e == nil {
		return nil
	}
	for _, text := range e.Needles() {
		if re, err := regexp.Compile(text); err == nil {
			out = append(out, re)
		}
	}
	return out
}

func (a *aroundPrinter) block(lines []contextLine) error {
	people := a.format == "" || a.format == "pretty" || a.format == "default" || a.format == "raw"
	if a.blocks++; a.blocks > 1 && people {
		sep := "--\n"
		if a.color {
			sep = "\x1b[" + dimColor + "m--\x1b[0m\n"
		}
		if _, err := a.w.WriteString(sep); err != nil {
			return err
		}
	}
	for i := range lines {
		a.held.Reset()
		if err := a.p.Line(&lines[i].Entry); err != nil {
			return err
		}
		if err := a.hw.Flush(); err != nil {
			return err
		}
		a.mark(a.held.Bytes(), lines[i].match)
	}
	return a.w.Flush()
}

// mark writes what was printed of a line so that a match can be told.
func (a *aroundPrinter) mark(text []byte, match bool) {
	body := bytes.TrimSuffix(text, []byte("\n"))
	switch {
	case a.format == "json" && match && bytes.HasSuffix(body, []byte("}")):
		a.w.Write(body[:len(body)-1])
		a.w.WriteString(",\"match\":true}\n")
		return
	case a.format == "logfmt" && match:
		a.w.Write(body)
		a.w.WriteString(" match=true\n")
		return
	case a.format != "" && a.format != "pretty" && a.format != "default":
		a.w.Write(text)
		return
	}
	gutter := "  "
	if match {
		if gutter = "> "; a.color {
			gutter = "\x1b[" + hitColor + "m>\x1b[0m "
		}
	}
	for _, l := range bytes.SplitAfter(text, []byte("\n")) {
		if len(l) > 0 {
			a.w.WriteString(gutter)
			a.w.Write(l)
		}
	}
}

func (a *aroundPrinter) end() error {
	a.held.Reset()
	if err := a.p.End(); err != nil {
		return err
	}
	if err := a.hw.Flush(); err != nil {
		return err
	}
	_, err := a.w.Write(a.held.Bytes())
	return err
}
