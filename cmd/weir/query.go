package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/show"
)

// queryFlags are what `weir query` is told.
type queryFlags struct {
	sourceFlags
	rangeFlags
	outputFlags
	aroundFlags
	step             string
	limit            int
	forward, reverse bool
	stats, quiet     bool
	exitCode         bool
}

func queryCommand() *cobra.Command {
	var flags queryFlags
	cmd := &cobra.Command{
		Use:   "query LOGQL|@FILE|-",
		Short: "Find stored logs, or count them",
		Long: `Finds stored logs with LogQL: those that 'weir up' or another weir on this host
keeps, or those of a server, a weir or a Loki (--server).

Lines: the newest 100 (--limit) of the whole store, of a server's last hour; --since
and --until choose another range. They are printed oldest first.

With -C, also what the same container wrote around each of them, marked with
'>' (see 'weir context').

Numbers: the value at --until, or now; with --since or --step a series of
values over the range: drawn for people, all of them in json, csv, logfmt.

The query may be in a file (@FILE), or come on standard input (-).

Times: 2026-11-22T10:00:00Z, '2026-11-22 10:00', 2026-11-22, 10:30 (of today),
15m (ago), Unix seconds. Those without a zone are local.`,
		Example: `  weir query '{app="shop"}'
  weir query '{namespace="shop"} |= "timeout" | json | status >= 500' --since 2h
  weir query 'sum by (level) (count_over_time({app="shop"}[5m]))' --since 1h --step 5m
  weir query '{app="shop"} |= "panic"' -C 5
  weir query '{app="shop"}' --limit 0 -o raw | grep -c timeout
  weir query @errors.logql --since 24h --exit-code
  weir query --server http://loki:3100 --tenant team-a '{app="shop"}'`,
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return usageError("what to find is missing: weir query '{app=\"shop\"} |= \"error\"'")
			case 1:
				return nil
			}
			return usageError("more than one query; put it in single quotes: weir query '%s'", strings.Join(args, " "))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := queryText(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			err = runQuery(cmd.Context(), &flags, text, cmd.OutOrStdout(), cmd.ErrOrStderr())
			if errors.Is(err, context.Canceled) {
				return nil // Ctrl-C
			}
			return err
		},
	}
	flags.sourceFlags.add(cmd)
	flags.rangeFlags.add(cmd)
	flags.outputFlags.add(cmd)
	flags.addPager(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.step, "step", "", "distance of the numbers in a series: 30s, 5m")
	f.IntVar(&flags.limit, "limit", 100, "lines at most; 0 for all")
	f.BoolVar(&flags.forward, "forward", false, "the oldest lines instead of the newest")
	f.BoolVarP(&flags.reverse, "reverse", "r", false, "print the newest line first")
	f.BoolVar(&flags.stats, "stats", false, "say what the query cost, on stderr")
	f.BoolVarP(&flags.quiet, "quiet", "q", false, "nothing on stderr but errors")
	f.BoolVar(&flags.exitCode, "exit-code", false, "exit with 1 if nothing is found, as grep does")
	flags.aroundFlags.add(cmd, 0)
	return cmd
}

// queryText returns the query that an argument is or names.
func queryText(arg string, in io.Reader) (string, error) {
	const most = 1 << 20
	var text []byte
	var err error
	switch path, isFile := strings.CutPrefix(arg, "@"); {
	case arg == "-":
		text, err = io.ReadAll(io.LimitReader(in, most))
	case isFile:
		text, err = os.ReadFile(path)
	default:
		return arg, nil
	}
	if err != nil {
		return "", usageError("the query: %v", err)
	}
	if len(strings.TrimSpace(string(text))) == 0 {
		return "", usageError("the query: %s is empty", map[bool]string{true: "standard input", false: strings.TrimPrefix(arg, "@")}[arg == "-"])
	}
	return strings.TrimSpace(string(text)), nil
}

func runQuery(ctx context.Context, flags *queryFlags, text string, out, errOut io.Writer) error {
	if flags.limit < 0 {
		return usageError("--limit %d: want a number of lines, or 0 for all", flags.limit)
	}
	before, after, err := flags.aroundFlags.lines()
	if err != nil {
		return err
	}
	expr, syntax := logql.Parse(text)
	if syntax != nil && (flagOrEnv(flags.server, "WEIR_SERVER") == "" || len(flags.namespaces) > 0) {
		return queryError(text, syntax)
	}
	if syntax == nil && len(flags.namespaces) > 0 {
		if expr, err = onlyNamespaces(expr, flags.namespaces); err != nil {
			return err
		}
		text = expr.String()
	}
	pages := flags.page(ctx, out, errOut)
	w := bufio.NewWriterSize(pages, 64<<10)
	q := &query{flags: flags, text: text, expr: expr, w: w, out: out, errOut: pages.Err(), now: time.Now(), before: before, after: after}
	q.log, q.lines = expr.(*logql.LogExpr)
	if expr == nil && strings.HasPrefix(text, "{") {
		q.lines = true
	}
	switch around := before > 0 || after > 0; {
	case around && q.log == nil:
		return usageError("-C shows lines around lines; this query finds numbers")
	case around && flags.reverse:
		return usageError("-C shows lines in the order of time; leave out --reverse")
	case around:
		q.around, err = newAroundPrinter(&flags.outputFlags, w, out, q.log, flags.oneNamespace() && flags.scope != "node")
	default:
		var o show.Options
		if o, err = flags.options(out); err == nil {
			o.Include = append(o.Include, needles(q.log)...)
			o.OneNamespace = flags.oneNamespace()
			q.options = o
			q.p, err = newPrinter(w, o)
		}
	}
	if err != nil {
		return err
	}
	if err := q.times(); err != nil {
		return err
	}
	return pages.close(flags.use(ctx, wanted{expr, q.from, q.to}, q.errOut, func(c *read.Client) error {
		q.client = c
		err := q.run(ctx)
		var se *read.ServerError
		if errors.As(err, &se) && se.Status == http.StatusBadRequest && syntax != nil {
			err = queryError(text, syntax)
		}
		if e := w.Flush(); err == nil {
			err = e
		}
		if err == nil && len(q.cost.Warnings) > 0 {
			err = &exitError{exitDropped, errors.New(strings.Join(q.cost.Warnings, "; "))}
		}
		if err == nil && q.found == 0 {
			err = q.nothing(ctx)
		}
		return err
	}))
}

// queryError shows a query and where in it something is wrong.
func queryError(text string, err error) error {
	var se *logql.SyntaxError
	if !errors.As(err, &se) || se.Line == 0 {
		return &exitError{exitUsage, err}
	}
	lines := strings.Split(text, "\n")
	line := []rune(lines[min(se.Line, len(lines))-1])
	col := min(se.Column-1, len(line))
	return &exitError{exitUsage, fmt.Errorf("%s\n\n  %s\n  %s^", se.Msg, show.Printable(string(line)), strings.Repeat(" ", col))}
}
