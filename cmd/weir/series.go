package main

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/show"
)

type seriesFlags struct {
	sourceFlags
	rangeFlags
	tableFlags
	analyze bool
	limit   int
}

func seriesCommand() *cobra.Command {
	var flags seriesFlags
	cmd := &cobra.Command{
		Use:   "series [SELECTOR]",
		Short: "Show which streams of logs there are",
		Long: `Shows the streams of logs: every set of labels, with its bytes, lines and the
time of its last line, the largest first. Bytes and lines are the index's, which
estimates at the edges of the range.

With --analyze, which labels make how many streams: a label with about as many
values as there are streams is what makes them many.

Without a range it is about the whole store, or a server's last hour.`,
		Example: `  weir series '{namespace="shop"}'
  weir series --analyze --since 24h
  weir series -o json | jq -r .labels.pod`,
		Args: oneQuery(`weir series '{namespace="shop"}'`),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			if flags.limit < 0 {
				return usageError("--limit %d: want a number of streams, or 0 for all", flags.limit)
			}
			expr, err := parseSelection(first(args), "series")
			if err != nil {
				return err
			}
			if expr != nil && expr.Stages() > 0 {
				return usageError("weir series looks at streams and wants only a selector, such as %s", expr.Prefix(0))
			}
			return askAbout(cmd.Context(), &flags.sourceFlags, &flags.rangeFlags, expr, cmd.ErrOrStderr(), func(a *asking) error {
				streams, err := a.streams(cmd.Context())
				if err != nil {
					return err
				}
				if len(streams) == 0 {
					a.nothingIn(cmd.Context())
					return nil
				}
				t := analysis(streams)
				if !flags.analyze {
					if t, err = a.seriesTable(cmd.Context(), streams, flags.limit, flags.place()); err != nil {
						return err
					}
				}
				out := cmd.OutOrStdout()
				if err := flags.print(t, out); err != nil {
					return err
				}
				if n := len(streams); flags.analyze {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s\n", plural(int64(n), "stream"))
				} else if n > len(t.rows) {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s of %s streams; --limit 0 shows all\n", grouped(int64(len(t.rows))), grouped(int64(n)))
				}
				return nil
			})
		},
	}
	flags.sourceFlags.add(cmd)
	flags.rangeFlags.add(cmd)
	flags.tableFlags.add(cmd)
	f := cmd.Flags()
	f.BoolVar(&flags.analyze, "analyze", false, "how many values each label has, and in how many streams it is")
	f.IntVar(&flags.limit, "limit", 100, "streams at most; 0 for all")
	return cmd
}

// analysis is how the labels make the streams.
func analysis(streams []map[string]string) *table {
	type label struct {
		name   string
		values map[string]int
		in     int
	}
	by := make(map[string]*label)
	for _, s := range streams {
		for name, v := range s {
			l := by[name]
			if l == nil {
				l = &label{name: name, values: make(map[string]int)}
				by[name] = l
			}
			l.values[v]++
			l.in++
		}
	}
	var list []*label
	for _, l := range by {
		list = append(list, l)
	}
	slices.SortFunc(list, func(x, y *label) int {
		return cmp.Or(cmp.Compare(len(y.values), len(x.values)), cmp.Compare(x.name, y.name))
	})
	t := &table{columns: []column{{name: "label"}, {name: "values", right: true}, {name: "streams", right: true}, {name: "share", right: true}, {name: "most frequent"}}}
	for _, l := range list {
		best := ""
		for v, n := range l.values {
			if n > l.values[best] || n == l.values[best] && v < best {
				best = v
			}
		}
		share := float64(l.in) / float64(len(streams))
		t.rows = append(t.rows, []cell{
			{value: l.name}, {value: int64(len(l.values)), text: grouped(int64(len(l.values)))}, {value: int64(l.in), text: grouped(int64(l.in))},
			{value: millionths(share), text: percent(share)},
			{value: best, text: fmt.Sprintf("%s (%s)", best, grouped(int64(l.values[best])))},
		})
	}
	return t
}

// seriesTable lists streams, the largest first.
func (a *asking) seriesTable(ctx context.Context, streams []map[string]string, limit int, zone *time.Location) (*table, error) {
	names := sortedNames(streams)
	sums, err := a.volumes(ctx, names)
	if err := unlessUnknown(err); err != nil {
		return nil, err
	}
	by := make(map[string]volume)
	for _, s := range sums {
		by[show.LabelText(s.labels)] = s
	}
	slices.SortFunc(streams, func(x, y map[string]string) int {
		tx, ty := show.LabelText(x), show.LabelText(y)
		return cmp.Or(cmp.Compare(by[ty].bytes, by[tx].bytes), cmp.Compare(tx, ty))
	})
	if limit > 0 && len(streams) > limit {
		streams = streams[:limit]
	}
	last := make([]int64, len(streams))
	if err := each(ctx, len(streams), func(ctx context.Context, i int) (err error) {
		last[i], err = a.edge(ctx, "{"+matchersFor(names, streams[i])+"}", a.start(), a.end(), false)
		return err
	}); err != nil {
		return nil, err
	}
	t := &table{columns: []column{{name: "labels", data: true}, {name: "bytes", right: true}, {name: "lines", right: true}, {name: "last", whole: true}, {name: "stream", plain: true, whole: true}}}
	for i, s := range streams {
		v, ok := by[show.LabelText(s)]
		if !ok {
			v.lines = -1
		}
		row := []cell{{value: s}, {value: v.bytes, text: size(v.bytes)}, linesCell(v.lines), {}, {text: show.LabelText(s)}}
		if last[i] != 0 {
			t := time.Unix(0, last[i])
			row[3] = cell{value: t.UTC().Format(time.RFC3339Nano), text: t.In(zone).Format(time.DateTime)}
		}
		t.rows = append(t.rows, row)
	}
	return t, nil
}

// edge returns the time of the first or the last line that a query finds in
// [from, to), 0 if there is none.
func (a *asking) edge(ctx context.Context, query string, from, to int64, forward bool) (int64, error) {
	form := url.Values{"query": {query}, "limit": {"1"}, "direction": {"backward"}, "start": {strconv.FormatInt(from, 10)}, "end": {strconv.FormatInt(to, 10)}}
	if forward {
		form.Set("direction", "forward")
	}
	answer, err := a.c.Query(ctx, "/loki/api/v1/query_range", form)
	if err != nil {
		return 0, err
	}
	list, err := a.c.Entries(answer)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return list[0].Time, nil
}
