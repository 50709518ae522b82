package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/show"
	"github.com/weirlog/weir/wire/line"
)

// histogram is counts over time.
type histogram struct {
	edges []int64 // Unix nanoseconds; a step is from one to the next
	rows  []histRow
}

// histRow is the counts of one set of labels.
type histRow struct {
	labels map[string]string // nil for those of several
	name   string
	counts []int64 // one per step
	total  int64
}

// steps are the round lengths of time, of steps and of what stands on an axis.
var roundSpans = []time.Duration{
	time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 20 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 3 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 20 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	24 * time.Hour, 2 * 24 * time.Hour, 7 * 24 * time.Hour, 14 * 24 * time.Hour, 28 * 24 * time.Hour, 91 * 24 * time.Hour, 364 * 24 * time.Hour,
}

// roundStep returns the shortest round step that makes at most columns of a range;
// one column is for the step that is cut.
func roundStep(d time.Duration, columns int) time.Duration {
	columns = max(1, columns-1)
	for _, s := range roundSpans {
		if d/s < time.Duration(columns) {
			return s
		}
	}
	year := roundSpans[len(roundSpans)-1]
	return year * (1 + d/year/time.Duration(columns))
}

// Widths of a chart: names on the left, numbers on the right.
const (
	maxNameWidth = 24
	numbersWidth = 25
	minChart     = 20
	chartRows    = 4
)

// chartWidth is how many columns a histogram has at least on a terminal.
func chartWidth(width int) int { return max(minChart, width-8-numbersWidth) }

// keep keeps n rows and makes one of the others; 0 keeps all.
func (h *histogram) keep(n int) {
	if n == 0 || len(h.rows) <= n {
		return
	}
	slices.SortStableFunc(h.rows, func(x, y histRow) int {
		switch {
		case x.total > y.total:
			return -1
		case x.total < y.total:
			return 1
		}
		return 0
	})
	rest := histRow{name: fmt.Sprintf("(%d more)", len(h.rows)-n), counts: make([]int64, len(h.edges)-1)}
	for _, r := range h.rows[n:] {
		rest.add(&r)
	}
	h.rows = append(h.rows[:n:n], rest)
}

func (r *histRow) add(o *histRow) {
	for i, n := range o.counts {
		r.counts[i] += n
	}
	r.total += o.total
}

// all is the sum of all rows.
func (h *histogram) all() histRow {
	all := histRow{name: "all", counts: make([]int64, len(h.edges)-1)}
	for i := range h.rows {
		all.add(&h.rows[i])
	}
	return all
}

// table is the histogram for programs: a row per set of labels and step.
func (h *histogram) table() *table {
	t := &table{columns: []column{{name: "time"}, {name: "labels"}, {name: "count"}}, bare: 2}
	for _, r := range h.rows {
		for i, n := range r.counts {
			t.rows = append(t.rows, []cell{{value: time.Unix(0, h.edges[i]).UTC().Format(time.RFC3339Nano)}, {value: r.labels}, {value: n}})
		}
	}
	return t
}

// columnsFor says how a chart of that width shows n steps: so many steps in a
// column, or so many columns for a step.
func columnsFor(n, width int) (steps, columns int) {
	if n > width {
		return (n + width - 1) / width, 1
	}
	return 1, max(1, width/max(1, n))
}

// spread makes columns of counts: sums of steps, or a step several times.
func spread(counts []int64, steps, columns int) []int64 {
	var out []int64
	for i := 0; i < len(counts); i += steps {
		var sum int64
		for _, n := range counts[i:min(i+steps, len(counts))] {
			sum += n
		}
		for range columns {
			out = append(out, sum)
		}
	}
	return out
}

// eighths are blocks of rising height; the first one is nothing.
var eighths = []rune(" ▁▂▃▄▅▆▇█")

// bars draws columns in rows of eighths of a character, the top row first. What
// is not nothing is at least an eighth.
func bars(columns []int64, rows int) []string {
	most := slices.Max(append([]int64{0}, columns...))
	out := make([]string, rows)
	for r := range rows {
		var b strings.Builder
		floor := (rows - 1 - r) * 8
		for _, n := range columns {
			h := 0
			if n > 0 {
				// Rounded, but the highest is the only one that is full.
				h = max(1, int(float64(n)/float64(most)*float64(rows*8)+0.5))
			}
			b.WriteRune(eighths[min(8, max(0, h-floor))])
		}
		out[r] = b.String()
	}
	return out
}

// axis writes times below columns: each label begins at the column of its time,
// marked by a stroke.
func axis(edges []int64, steps, columns, width int, zone *time.Location) string {
	from, to := edges[0], edges[len(edges)-1]
	perColumn := float64(to-from) / float64(max(1, width))
	layout, span := "", time.Duration(0)
	for _, s := range roundSpans {
		if s == 3*time.Minute {
			continue // nobody thinks in these
		}
		layout = "15:04"
		switch {
		case s < time.Second:
			layout = "15:04:05.000"
		case s < time.Minute:
			layout = "15:04:05"
		case s >= 24*time.Hour:
			layout = "01-02"
		}
		if span = s; float64(s)/perColumn >= float64(len(layout)+4) {
			break
		}
	}
	out := []rune(strings.Repeat(" ", width))
	_, offset := time.Unix(0, from).In(zone).Zone()
	off := int64(offset) * 1e9
	for t := from - mod(from+off, int64(span)); t < to; t += int64(span) {
		if t < from {
			continue
		}
		// The step that begins there, or the one that it stands in.
		i, exact := slices.BinarySearch(edges, t)
		if !exact {
			i--
		}
		at := i / steps * columns
		text := time.Unix(0, t).In(zone).Format(layout)
		if strings.HasPrefix(layout, "15:04") && strings.Trim(text, "0:.") == "" && len(layout) == 5 {
			text = time.Unix(0, t).In(zone).Format("01-02")
		}
		label := []rune("╵" + text)
		// Neither over another label nor over the end.
		if at+len(label) > width || strings.TrimSpace(string(out[max(0, at-1):at+len(label)])) != "" {
			continue
		}
		copy(out[at:], label)
	}
	return strings.TrimRight(string(out), " ")
}

// appendChart draws the histogram for people, at most width columns wide unless
// that is very little.
func (h *histogram) appendChart(dst []byte, width int, color bool, zone *time.Location) []byte {
	all := h.all()
	nameWidth := 3
	for _, r := range h.rows {
		nameWidth = max(nameWidth, utf8.RuneCountInString(r.name))
	}
	peakWidth := max(7, len(grouped(slices.Max(all.counts))))
	linesWidth := max(8, len(grouped(all.total)))
	nameWidth = min(nameWidth, maxNameWidth, max(3, width-1-minChart-(peakWidth+linesWidth+10)))
	steps, columns := columnsFor(len(h.edges)-1, max(minChart, width-nameWidth-1-(peakWidth+linesWidth+10)))
	chart := len(spread(all.counts, steps, columns))
	paint := func(s, code string) string {
		if !color || code == "" || strings.TrimSpace(s) == "" {
			return s
		}
		return "\x1b[" + code + "m" + s + "\x1b[0m"
	}
	row := func(name, code, drawn, numbers string) {
		name = show.Printable(cutName(name, nameWidth))
		pad := strings.Repeat(" ", nameWidth-utf8.RuneCountInString(name)+1)
		s := paint(name, code) + pad + paint(drawn, code) + strings.Repeat(" ", chart-utf8.RuneCountInString(drawn)) + numbers
		dst = append(append(dst, strings.TrimRight(s, " ")...), '\n')
	}
	numbers := func(counts []int64, total int64) string {
		share := 0.0
		if all.total > 0 {
			share = float64(total) / float64(all.total)
		}
		return fmt.Sprintf(" %*s %*s %7s", peakWidth, grouped(slices.Max(counts)), linesWidth, grouped(total), percent(share))
	}
	from, to := time.Unix(0, h.edges[0]).In(zone), time.Unix(0, h.edges[len(h.edges)-1]).In(zone)
	dst = append(dst, paint(fmt.Sprintf("%s to %s, %s", from.Format(time.DateTime), to.Format(time.DateTime), h.scale(steps, columns)), dimColor)...)
	dst = append(dst, '\n')
	row("", "", "", fmt.Sprintf(" %*s %*s %7s", peakWidth, "PEAK", linesWidth, "LINES", "SHARE"))
	drawn := bars(spread(all.counts, steps, columns), chartRows)
	for i, d := range drawn {
		if i < chartRows-1 {
			row("", "", d, "")
		} else {
			row("all", "", d, numbers(all.counts, all.total))
		}
	}
	if len(h.rows) > 1 || len(h.rows[0].labels) > 0 {
		for _, r := range h.rows {
			row(r.name, rowColor(r.labels, r.name), bars(spread(r.counts, steps, columns), 1)[0], numbers(r.counts, r.total))
		}
	}
	dst = append(dst, strings.Repeat(" ", nameWidth+1)...)
	dst = append(dst, paint(axis(h.edges, steps, columns, chart, zone), dimColor)...)
	return append(dst, '\n')
}

// scale says how long a column is.
func (h *histogram) scale(steps, columns int) string {
	// Of a step that is not cut.
	var d time.Duration
	for i := range len(h.edges) - 1 {
		d = max(d, time.Duration(h.edges[i+1]-h.edges[i]))
	}
	if columns > 1 {
		return fmt.Sprintf("%d columns are %s", columns, shortSpan(d))
	}
	return fmt.Sprintf("a column is %s", shortSpan(time.Duration(steps)*d))
}

// shortSpan writes a duration without zeros: 5m, 1h, 7d.
func shortSpan(d time.Duration) string {
	if d >= 24*time.Hour && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	s := d.Round(time.Millisecond).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// severities are the names of levels.
var severities = map[string]record.Severity{
	"trace": record.Trace, "debug": record.Debug, "info": record.Info, "warn": record.Warn, "warning": record.Warn,
	"error": record.Error, "critical": record.Fatal, "fatal": record.Fatal,
}

// rowColor is the colour of a row: that of its level, else that of its name, as
// where lines have it.
func rowColor(labels map[string]string, name string) string {
	if l, ok := labels["level"]; ok && len(labels) == 1 {
		return line.LevelColor(severities[l])
	}
	if len(labels) == 0 {
		return dimColor
	}
	return line.NameColor(name)
}

// Colours that can be read on dark and on light.
const (
	dimColor = "38;5;244"
	barColor = "38;5;33"
	hitColor = "1;38;5;130"
)
