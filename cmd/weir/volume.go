package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/show"
)

type volumeFlags struct {
	sourceFlags
	rangeFlags
	tableFlags
	by    []string
	limit int
}

func volumeCommand() *cobra.Command {
	var flags volumeFlags
	cmd := &cobra.Command{
		Use:   "volume [QUERY]",
		Short: "Show who writes most",
		Long: `Shows how many bytes and lines of logs there are by label, the most first: by
default by namespace and workload, or what comes nearest to that.

With a selector only, the index answers, at no cost; it estimates at the edges of
the range, and a Loki's by whole chunks: up to 256 MiB a server counts instead.
With a filter or a parser behind the selector, or a label that is none of the
streams' (level), lines are read and counted.

Without a range it is about the whole store, or a server's last hour.`,
		Example: `  weir volume
  weir volume '{namespace="shop"}' --by pod,container --since 24h
  weir volume '{namespace="shop"} |= "healthz"' --by app
  weir volume --by level -o csv`,
		Args: oneQuery("weir volume '{namespace=\"shop\"}' --by pod"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			if flags.limit < 0 {
				return usageError("--limit %d: want a number of rows, or 0 for all", flags.limit)
			}
			expr, err := parseSelection(first(args), "volume")
			if err != nil {
				return err
			}
			for _, name := range flags.by {
				if !isName(name) {
					return usageError("--by %s: want names of labels, such as --by namespace,pod", name)
				}
			}
			return askAbout(cmd.Context(), &flags.sourceFlags, &flags.rangeFlags, expr, cmd.ErrOrStderr(), func(a *asking) error {
				out := cmd.OutOrStdout()
				color, err := flags.colored(out)
				if err != nil {
					return err
				}
				t, err := a.volumeTable(cmd.Context(), flags.by, flags.limit, isTerminal(out) || color, terminalWidth(out))
				if err != nil {
					return err
				}
				if len(t.rows) == 0 {
					a.nothingIn(cmd.Context())
					return nil
				}
				return flags.print(t, out)
			})
		},
	}
	flags.sourceFlags.add(cmd)
	flags.rangeFlags.add(cmd)
	flags.tableFlags.add(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&flags.by, "by", nil, "labels to add up by (default namespace,workload)")
	f.IntVar(&flags.limit, "limit", 20, "rows at most, the others in one; 0 for all")
	return cmd
}

// oneQuery is for commands with at most one argument, a query.
func oneQuery(example string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usageError("more than one query; put it in single quotes: %s", example)
		}
		return nil
	}
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// isName reports whether s can be the name of a label.
func isName(s string) bool {
	for i, r := range s {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// volume is how much one set of labels has.
type volume struct {
	labels map[string]string
	bytes  int64
	lines  int64 // -1: not known
}

// volumeLimit is how many sums a Loki makes at most.
const volumeLimit = 1000

// indexVolume asks the index how many bytes there are by labels, the most first.
func (a *asking) indexVolume(ctx context.Context, by []string) ([]volume, error) {
	// It adds up by the names in the selector; targetLabels would leave out
	// streams that lack one.
	var more []string
	have := selectorNames(a.expr)
	for _, name := range by {
		if !slices.Contains(have, name) {
			more = append(more, name+`=~".*"`)
		}
	}
	form := a.span()
	form.Set("query", and(a.selector(), strings.Join(more, ", ")))
	form.Set("limit", strconv.Itoa(volumeLimit))
	form.Set("aggregateBy", "series")
	answer, err := a.c.Query(ctx, "/loki/api/v1/index/volume", form)
	if err != nil {
		return nil, err
	}
	series, err := a.c.Series(answer)
	if err != nil {
		return nil, err
	}
	sums := make(map[string]*volume)
	for _, s := range series {
		if len(s.Points) == 0 {
			continue
		}
		n, err := strconv.ParseFloat(s.Points[len(s.Points)-1].Value, 64)
		if err != nil {
			return nil, fmt.Errorf("the answer of %s cannot be read: %w", a.c.What, err)
		}
		addVolume(sums, only(s.Labels, by)).bytes += int64(n)
	}
	return largest(sums), nil
}

// only returns the labels with these names.
func only(labels map[string]string, names []string) map[string]string {
	out := make(map[string]string, len(names))
	for _, n := range names {
		if v := labels[n]; v != "" {
			out[n] = v
		}
	}
	return out
}

func addVolume(sums map[string]*volume, labels map[string]string) *volume {
	key := show.LabelText(labels)
	if sums[key] == nil {
		sums[key] = &volume{labels: labels, lines: -1}
	}
	return sums[key]
}

// largest returns the sums, the largest first.
func largest(sums map[string]*volume) []volume {
	var out []volume
	for _, v := range sums {
		out = append(out, *v)
	}
	slices.SortFunc(out, func(x, y volume) int {
		return cmp.Or(cmp.Compare(y.bytes, x.bytes), cmp.Compare(y.lines, x.lines), cmp.Compare(show.LabelText(x.labels), show.LabelText(y.labels)))
	})
	return out
}

// countedVolume reads the lines and counts them and their bytes by labels.
func (a *asking) countedVolume(ctx context.Context, by []string) ([]volume, error) {
	names := make([]string, len(by))
	for i, name := range by {
		names[i] = a.label(name)
	}
	sums := make(map[string]*volume)
	for _, fn := range []string{"bytes_over_time", "count_over_time"} {
		series, err := a.number(ctx, fmt.Sprintf("sum by (%s) (%s(%s [%s]))", strings.Join(names, ", "), fn, a.moved, a.window()))
		if err != nil {
			return nil, err
		}
		for _, s := range series {
			labels := make(map[string]string)
			for i, name := range by {
				if v := s.Labels[names[i]]; v != "" && (v != "unknown" || name != "level") {
					labels[name] = v
				}
			}
			n, err := strconv.ParseFloat(s.Points[0].Value, 64)
			if err != nil {
				return nil, fmt.Errorf("the answer of %s cannot be read: %w", a.c.What, err)
			}
			if v := addVolume(sums, labels); fn == "bytes_over_time" {
				v.bytes += int64(n)
			} else {
				v.lines = max(v.lines, 0) + int64(n)
			}
		}
	}
	return largest(sums), nil
}

// label is the name that the source has for a label of ours: a Loki knows the
// level of a line as detected_level.
func (a *asking) label(name string) string {
	if name == "level" && !a.c.Local && !a.isLabel(name) {
		return "detected_level"
	}
	return name
}

// usualLabels returns by what volumes are added up when nothing was said.
func (a *asking) usualLabels() []string {
	for _, names := range [][]string{{"namespace", "workload"}, {"namespace", "app"}, {"namespace", "service_name"}, {"namespace", "pod"}, {"service_name"}, {"app"}, {"job"}} {
		if !slices.ContainsFunc(names, func(n string) bool { return !a.isLabel(n) }) {
			return names
		}
	}
	return a.names[:min(2, len(a.names))]
}

// volumes returns how much there is by labels, the most first: at no great cost,
// and as exactly as that allows.
func (a *asking) volumes(ctx context.Context, by []string) ([]volume, error) {
	if !a.onlySelector() || slices.ContainsFunc(by, func(n string) bool { return !a.isLabel(n) }) {
		return a.countedVolume(ctx, by)
	}
	list, err := a.indexVolume(ctx, by)
	switch {
	case err != nil && unlessUnknown(err) == nil:
		return a.countedVolume(ctx, by) // a Loki may have it switched off
	case err != nil:
		return nil, err
	case !a.c.Local && sumBytes(list) <= cheapBytes:
		// A Loki's index counts whole chunks, and some twice.
		exact, err := a.countedVolume(ctx, by)
		if err == nil {
			return exact, nil
		}
		if unlessUnknown(err) != nil { // else there are too many
			return nil, err
		}
	}
	return list, a.countLines(ctx, by, list)
}

func (a *asking) volumeTable(ctx context.Context, by []string, limit int, bars bool, width int) (*table, error) {
	if len(a.names) == 0 {
		return &table{}, nil
	}
	if len(by) == 0 {
		by = a.usualLabels()
	}
	list, err := a.volumes(ctx, by)
	if err != nil {
		return nil, err
	}
	top := list
	if limit > 0 {
		top = list[:min(limit, len(list))]
	}
	all := volume{labels: map[string]string{}}
	for _, v := range list {
		all.bytes += v.bytes
		if v.lines < 0 {
			all.lines = -1
		} else if all.lines >= 0 {
			all.lines += v.lines
		}
	}
	a.hintBy(by, list)
	return volumeRows(by, top, len(list)-len(top), all, bars, width), nil
}

// cheapBytes is how much may be read only to count lines.
const cheapBytes = 256 << 20

// countLines says how many lines the volumes have, where that is cheap. A Loki's
// index does not know what is not in a finished chunk yet.
func (a *asking) countLines(ctx context.Context, by []string, list []volume) error {
	bytes := sumBytes(list)
	total, err := a.stats(ctx, a.selector())
	if err != nil && unlessUnknown(err) != nil {
		return err
	}
	const most = 2000 // questions more
	if total.Entries > 0 && total.Bytes >= bytes*95/100 && len(list) <= most {
		return each(ctx, len(list), func(ctx context.Context, i int) error {
			s, err := a.stats(ctx, and(a.selector(), matchersFor(by, list[i].labels)))
			list[i].lines = s.Entries
			return err
		})
	}
	if max(bytes, total.Bytes) > cheapBytes {
		return nil
	}
	return a.readLines(ctx, by, list)
}

func sumBytes(list []volume) (n int64) {
	for _, v := range list {
		n += v.bytes
	}
	return n
}

// readLines reads the lines of volumes to count them.
func (a *asking) readLines(ctx context.Context, by []string, list []volume) error {
	series, err := a.number(ctx, fmt.Sprintf("sum by (%s) (count_over_time(%s [%s]))", strings.Join(by, ", "), a.selector(), a.window()))
	if err != nil {
		return unlessUnknown(err)
	}
	lines := make(map[string]int64)
	for _, s := range series {
		n, err := strconv.ParseFloat(s.Points[0].Value, 64)
		if err != nil {
			return fmt.Errorf("the answer of %s cannot be read: %w", a.c.What, err)
		}
		lines[show.LabelText(only(s.Labels, by))] += int64(n)
	}
	for i := range list {
		list[i].lines = lines[show.LabelText(list[i].labels)]
	}
	return nil
}

// hintBy says that nothing has one of the labels.
func (a *asking) hintBy(by []string, list []volume) {
	for _, name := range by {
		if len(list) == 0 || a.isLabel(name) || slices.ContainsFunc(list, func(v volume) bool { return v.labels[name] != "" }) {
			continue
		}
		hint := didYouMean(name, a.names)
		if hint == "" {
			hint = "; if it is a field of the lines, the query needs a parser: … | json"
		}
		fmt.Fprintf(a.errOut, "no line has %q%s\n", name, hint)
	}
}

// volumeRows makes the table: a row per sum, one for the others, one for all.
func volumeRows(by []string, top []volume, others int, all volume, bars bool, width int) *table {
	t := &table{columns: []column{{name: "labels", data: true}}}
	for _, name := range by {
		t.columns = append(t.columns, column{name: name, plain: true})
	}
	t.columns = append(t.columns, column{name: "bytes", right: true}, column{name: "lines", right: true}, column{name: "share", right: true})
	if bars {
		t.columns = append(t.columns, column{name: "", plain: true})
	}
	used := 9 + 13 + 8 + 6
	for _, name := range by {
		w := len(name)
		for _, v := range top {
			w = max(w, len(v.labels[name]))
		}
		used += min(w, 40) + 2
	}
	barWidth := min(40, max(0, width-used))
	most := int64(1) // the longest bar
	for _, v := range top {
		most = max(most, v.bytes)
	}
	share := func(n int64) float64 {
		if all.bytes == 0 {
			return 0
		}
		return float64(n) / float64(all.bytes)
	}
	add := func(labels map[string]string, names []string, v volume) {
		row := []cell{{value: labels}}
		for _, n := range names {
			row = append(row, cell{text: n})
		}
		s := share(v.bytes)
		row = append(row, cell{value: v.bytes, text: size(v.bytes)}, linesCell(v.lines), cell{value: millionths(s), text: percent(s)})
		if bars {
			row = append(row, cell{text: bar(float64(v.bytes)/float64(most), barWidth), color: barColor})
		}
		t.rows = append(t.rows, row)
	}
	rest := all
	for _, v := range top {
		names := make([]string, len(by))
		for i, name := range by {
			if names[i] = v.labels[name]; names[i] == "" {
				names[i] = "–"
			}
		}
		add(v.labels, names, v)
		rest.bytes -= v.bytes
		rest.lines -= v.lines
	}
	if others > 0 {
		names := make([]string, len(by))
		if len(names) > 0 {
			names[0] = fmt.Sprintf("(%s more)", grouped(int64(others)))
		}
		if all.lines < 0 {
			rest.lines = -1
		}
		n := len(t.rows)
		add(nil, names, rest)
		t.foot, t.rows = append(t.foot, t.rows[n]), t.rows[:n]
	}
	if len(top) > 1 || others > 0 {
		names := make([]string, len(by))
		if len(names) > 0 {
			names[0] = "all"
		}
		n := len(t.rows)
		add(nil, names, all)
		if bars {
			t.rows[n][len(t.rows[n])-1] = cell{}
		}
		t.foot, t.rows = append(t.foot, t.rows[n]), t.rows[:n]
	}
	return t
}

// linesCell is a number of lines; negative is not known.
func linesCell(n int64) cell {
	if n < 0 {
		return cell{text: "?"}
	}
	return cell{value: n, text: grouped(n)}
}

// millionths rounds a share, so that programs get no more digits than it has.
func millionths(f float64) float64 { return math.Round(f*1e6) / 1e6 }

func percent(share float64) string {
	switch p := share * 100; {
	case p == 0:
		return "0 %"
	case p < 0.1:
		return "<0.1 %"
	case p < 99.95 && p >= 0:
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	}
	return "100 %"
}

// bar draws a share of a width in eighths of a character.
func bar(share float64, width int) string {
	n := int(min(share, 1)*float64(width)*8 + 0.5)
	if n == 0 && share > 0 && width > 0 {
		n = 1
	}
	s := strings.Repeat("█", n/8)
	if n%8 > 0 {
		s += string([]rune("▏▎▍▌▋▊▉")[n%8-1])
	}
	return s
}

// nothingIn says on stderr that a selection has nothing, and what may be the
// reason.
func (a *asking) nothingIn(ctx context.Context) {
	why := a.whyNothing(ctx)
	fmt.Fprintln(a.errOut, printableText("nothing found"+why))
}

// sortedNames returns the names of all labels of the streams.
func sortedNames(streams []map[string]string) []string {
	set := make(map[string]bool)
	for _, s := range streams {
		for n := range s {
			set[n] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}
