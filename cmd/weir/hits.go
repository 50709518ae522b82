package main

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/show"
)

type hitsFlags struct {
	sourceFlags
	rangeFlags
	tableFlags
	by    []string
	step  string
	limit int
}

func hitsCommand() *cobra.Command {
	var flags hitsFlags
	cmd := &cobra.Command{
		Use:   "hits [QUERY]",
		Short: "Count lines over time, as a histogram",
		Long: `Counts the lines that a query finds, over time: a histogram that fits the
terminal, and a row for every level, or for every value of --by. Every row is
drawn to its own scale; PEAK is the most in one step.

For programs (-o json, csv, logfmt) there is a count for every step, also for
those with none, and no division unless --by asks for one. The first and the last
step are cut by the range.

Without a range it is about the whole store, or a server's last hour.`,
		Example: `  weir hits
  weir hits '{namespace="shop"} |= "timeout"' --since 24h
  weir hits '{namespace="shop"}' --by app --step 10m
  weir hits '{app="shop"} | json | status >= 500' -o csv`,
		Args: oneQuery(`weir hits '{app="shop"} |= "timeout"'`),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			step, err := flags.parseStep()
			if err != nil {
				return err
			}
			for _, name := range flags.by {
				if !isName(name) {
					return usageError("--by %s: want names of labels, such as --by app", name)
				}
			}
			if flags.limit < 0 {
				return usageError("--limit %d: want a number of rows, or 0 for all", flags.limit)
			}
			expr, err := parseSelection(first(args), "hits")
			if err != nil {
				return err
			}
			return askAbout(cmd.Context(), &flags.sourceFlags, &flags.rangeFlags, expr, cmd.ErrOrStderr(), func(a *asking) error {
				return a.hits(cmd.Context(), &flags, step, cmd)
			})
		},
	}
	flags.sourceFlags.add(cmd)
	flags.rangeFlags.add(cmd)
	flags.tableFlags.add(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&flags.by, "by", nil, "a row for every value of these labels (default level)")
	f.StringVar(&flags.step, "step", "", "how long one count is: 10s, 5m (default what fits the terminal)")
	f.IntVar(&flags.limit, "limit", 10, "rows at most, the others in one; 0 for all")
	return cmd
}

func (f *hitsFlags) parseStep() (time.Duration, error) {
	if f.step == "" {
		return 0, nil
	}
	step, err := parseSpan(f.step)
	if err != nil || step < time.Millisecond {
		return 0, usageError("--step %s: want a duration such as 30s or 5m", f.step)
	}
	return step, nil
}

// maxSteps is how many counts a Loki gives for a series.
const maxSteps = 11_000

func (a *asking) hits(ctx context.Context, flags *hitsFlags, step time.Duration, cmd *cobra.Command) error {
	if len(a.names) == 0 {
		a.nothingIn(ctx)
		return nil
	}
	if err := a.tighten(ctx); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	width := terminalWidth(out)
	if step == 0 {
		step = roundStep(a.to.Sub(a.from), chartWidth(width))
	}
	if n := a.to.Sub(a.from) / step; n >= maxSteps {
		return usageError("--step %s makes %s counts of this range; %d are possible", flags.step, grouped(int64(n)), maxSteps)
	}
	by := flags.by
	if len(by) == 0 && flags.format == "pretty" {
		by = []string{"level"}
	}
	h, err := a.count(ctx, by, step, flags.place())
	if err != nil {
		return err
	}
	if len(h.rows) == 0 {
		a.nothingIn(ctx)
		return nil
	}
	if len(flags.by) > 0 && len(h.rows) == 1 && len(h.rows[0].labels) == 0 {
		a.hintBy(flags.by, []volume{{}})
	}
	if flags.format != "pretty" {
		return flags.print(h.table(), out)
	}
	h.keep(flags.limit)
	color, err := flags.colored(out)
	if err != nil {
		return err
	}
	_, err = out.Write(h.appendChart(nil, width, color, flags.place()))
	return err
}

// tighten makes a range that was not given that of the logs, so that a histogram
// does not begin in 1970.
func (a *asking) tighten(ctx context.Context) error {
	if a.given || !a.c.Local {
		return nil
	}
	first, err := a.edge(ctx, a.selector(), a.start(), a.end(), true)
	if err != nil || first == 0 {
		return err
	}
	last, err := a.edge(ctx, a.selector(), a.start(), a.end(), false)
	if err != nil {
		return err
	}
	a.from = time.Unix(0, first).Truncate(time.Millisecond)
	if !a.until {
		a.to = time.Unix(0, last).Truncate(time.Millisecond).Add(time.Millisecond)
	}
	return nil
}

// count counts the query's lines by labels and step. Steps begin at round times;
// the first and the last are cut by the range.
func (a *asking) count(ctx context.Context, by []string, step time.Duration, zone *time.Location) (*histogram, error) {
	h := &histogram{edges: edgesOf(a.start(), a.end(), int64(step), a.from.In(zone))}
	names := make([]string, len(by))
	for i, n := range by {
		names[i] = a.label(n)
	}
	query := func(d int64, offset string) string {
		q := fmt.Sprintf("(count_over_time(%s [%dms]%s))", a.moved, d/1e6, offset)
		if len(by) > 0 {
			return "sum by (" + strings.Join(names, ", ") + ") " + q
		}
		return "sum" + q
	}
	rows := make(map[string]*histRow)
	add := func(series []read.Series, at func(time.Time) int) error {
		for _, s := range series {
			labels := make(map[string]string)
			for i, n := range by {
				if v := s.Labels[names[i]]; v != "" && (v != "unknown" || n != "level") {
					labels[n] = v
				}
			}
			key := show.LabelText(labels)
			r := rows[key]
			if r == nil {
				r = &histRow{labels: labels, name: rowName(by, labels), counts: make([]int64, len(h.edges)-1)}
				rows[key] = r
			}
			for _, p := range s.Points {
				n, err := strconv.ParseFloat(p.Value, 64)
				if err != nil {
					return fmt.Errorf("the answer of %s cannot be read: %w", a.c.What, err)
				}
				if i := at(p.Time); i >= 0 && i < len(r.counts) {
					r.counts[i] += int64(n)
					r.total += int64(n)
				}
			}
		}
		return nil
	}
	// Whole steps come in one question, the ends that the range cuts in their own.
	// A count at t is of (t-step, t]: one nanosecond before an edge it is of what
	// stands before it.
	one := func(i int) error {
		form := url.Values{"query": {query(h.edges[i+1]-h.edges[i], "")}, "time": {strconv.FormatInt(h.edges[i+1]-1, 10)}}
		answer, err := a.c.Query(ctx, "/loki/api/v1/query", form)
		if err != nil {
			return err
		}
		series, err := a.c.Series(answer)
		if err != nil {
			return err
		}
		return add(series, func(time.Time) int { return i })
	}
	lo, hi := 0, len(h.edges)-1
	for ; lo < hi && h.edges[lo+1]-h.edges[lo] != int64(step); lo++ {
		if err := one(lo); err != nil {
			return nil, err
		}
	}
	for ; hi > lo && h.edges[hi]-h.edges[hi-1] != int64(step); hi-- {
		if err := one(hi - 1); err != nil {
			return nil, err
		}
	}
	if hi-lo == 1 { // as a range has two ends
		if err := one(lo); err != nil {
			return nil, err
		}
		lo++
	}
	if lo < hi {
		shift := mod(-h.edges[lo], int64(step))
		form := url.Values{
			"query": {query(int64(step), a.offset(shift))}, "step": {strconv.FormatFloat(step.Seconds(), 'f', -1, 64)},
			"start": {strconv.FormatInt(h.edges[lo+1]+shift, 10)}, "end": {strconv.FormatInt(h.edges[hi]+shift, 10)},
		}
		answer, err := a.c.Query(ctx, "/loki/api/v1/query_range", form)
		if err != nil {
			return nil, err
		}
		series, err := a.c.Series(answer)
		if err != nil {
			return nil, err
		}
		at := func(t time.Time) int {
			i := lo + int((t.UnixNano()-shift-h.edges[lo])/int64(step)) - 1
			if i < lo || i >= hi {
				return -1
			}
			return i
		}
		if err := add(series, at); err != nil {
			return nil, err
		}
	}
	for _, r := range rows {
		h.rows = append(h.rows, *r)
	}
	slices.SortFunc(h.rows, func(x, y histRow) int {
		return cmp.Or(cmp.Compare(levelRank(x.labels), levelRank(y.labels)), cmp.Compare(y.total, x.total), cmp.Compare(x.name, y.name))
	})
	return h, nil
}

// offset writes an offset that makes counts of (t-step, t], which servers give
// at multiples of the step, such of [t-step, t) earlier by shift. A Loki has
// nothing shorter than a millisecond.
func (a *asking) offset(shift int64) string {
	if a.c.Local {
		return fmt.Sprintf(" offset %dns", shift+1)
	}
	return fmt.Sprintf(" offset %dms", shift/1e6+1)
}

// rowName is how people see the labels of a row.
func rowName(by []string, labels map[string]string) string {
	var parts []string
	for _, n := range by {
		v := labels[n]
		if v == "" {
			v = "–"
		}
		parts = append(parts, v)
	}
	return strings.Join(parts, " ")
}

// levelRank puts the worst level first, and the same number for what is none.
func levelRank(labels map[string]string) int {
	if len(labels) > 1 {
		return 0
	}
	order := []string{"fatal", "critical", "error", "warn", "warning", "info", "debug", "trace"}
	if l, ok := labels["level"]; ok {
		if i := slices.Index(order, l); i >= 0 {
			return i - len(order)
		}
	}
	return 0
}

// edgesOf returns where the steps of [from, to) begin and end: at multiples of
// the step in the zone of at, the first and the last one cut.
func edgesOf(from, to, step int64, at time.Time) []int64 {
	_, offset := at.Zone()
	off := int64(offset) * 1e9
	edges := []int64{from}
	for t := from - mod(from+off, step) + step; t < to; t += step {
		edges = append(edges, t)
	}
	return append(edges, to)
}

func mod(a, b int64) int64 { return (a%b + b) % b }
