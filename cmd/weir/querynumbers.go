package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/show"
)

// numbers shows series to people: one number each as a table, several as a line
// that goes up and down.
func (q *query) numbers(series []read.Series) error {
	if len(series) == 0 {
		return nil
	}
	width, color := terminalWidth(q.out), q.options.Color
	if !q.ranged {
		if len(series) == 1 && len(series[0].Labels) == 0 {
			_, err := fmt.Fprintln(q.w, series[0].Points[0].Value)
			return err
		}
		if !strings.HasPrefix(strings.TrimSpace(q.text), "sort") {
			slices.SortStableFunc(series, func(x, y read.Series) int { return cmp.Compare(valueOf(y.Points[0]), valueOf(x.Points[0])) })
		}
		t, common := numberTable(series)
		if len(common) > 0 {
			fmt.Fprintf(q.w, "all of %s\n", show.Printable(show.LabelText(common)))
		}
		return t.write(q.w, "pretty", color, tableWidth(q.out))
	}
	zone := q.options.Zone
	if zone == nil {
		zone = time.Local
	}
	_, err := q.w.Write(appendSparklines(nil, series, q.step, width, color, zone))
	return err
}

// valueOf is a point as a number; NaN is one, too.
func valueOf(p show.Point) float64 {
	f, err := strconv.ParseFloat(p.Value, 64)
	if err != nil {
		return math.NaN()
	}
	return f
}

// manyLabels is how many columns of labels are too many for people.
const manyLabels = 4

// numberTable has a column per label, and the number. Of many labels only those
// that tell the series apart are columns; common is the others.
func numberTable(series []read.Series) (t *table, common map[string]string) {
	names, differ := seriesNames(series)
	if len(names) > manyLabels && len(differ) > 0 {
		common = maps.Clone(series[0].Labels)
		for _, n := range differ {
			delete(common, n)
		}
		names = differ
	}
	t = &table{}
	for _, n := range names {
		t.columns = append(t.columns, column{name: n, whole: true})
	}
	t.columns = append(t.columns, column{name: "value", right: true})
	for _, s := range series {
		var row []cell
		for _, n := range names {
			v := s.Labels[n]
			if v == "" {
				v = "–"
			}
			row = append(row, cell{value: v})
		}
		t.rows = append(t.rows, append(row, cell{value: s.Points[0].Value}))
	}
	return t, common
}

// seriesNames returns the names of labels that some of the series have, and
// those of which the value is not the same in all.
func seriesNames(series []read.Series) (all, differ []string) {
	set := make(map[string]bool)
	for _, s := range series {
		for n := range s.Labels {
			set[n] = true
		}
	}
	all = slices.Sorted(maps.Keys(set))
	for _, n := range all {
		if slices.ContainsFunc(series, func(s read.Series) bool { return s.Labels[n] != series[0].Labels[n] }) {
			differ = append(differ, n)
		}
	}
	return all, differ
}

// appendSparklines draws a line per series, each to its own scale, with its least
// and greatest number and the last one.
func appendSparklines(dst []byte, series []read.Series, step time.Duration, width int, color bool, zone *time.Location) []byte {
	from, to := int64(math.MaxInt64), int64(math.MinInt64)
	for _, s := range series {
		for _, p := range s.Points {
			from, to = min(from, p.Time.UnixNano()), max(to, p.Time.UnixNano())
		}
	}
	if from > to {
		return dst
	}
	n := int((to-from)/int64(step)) + 1
	edges := make([]int64, n+1) // a column stands for the time of its number
	for i := range edges {
		edges[i] = from + int64(i)*int64(step)
	}
	all, differ := seriesNames(series)
	if len(differ) == 0 {
		differ = all
	}
	paint := func(s, code string) string {
		if !color || code == "" || strings.TrimSpace(s) == "" {
			return s
		}
		return "\x1b[" + code + "m" + s + "\x1b[0m"
	}
	type drawn struct {
		name, min, max, last string
		values               []float64
		labels               map[string]string
	}
	rows := make([]drawn, len(series))
	nameWidth, numWidth := len(strings.Join(differ, " ")), 4
	for i, s := range series {
		r := drawn{name: rowName(differ, s.Labels), values: make([]float64, n), labels: only(s.Labels, differ)}
		for j := range r.values {
			r.values[j] = math.NaN()
		}
		lo, hi := math.Inf(1), math.Inf(-1)
		for _, p := range s.Points {
			v := valueOf(p)
			if j := int((p.Time.UnixNano() - from + int64(step)/2) / int64(step)); j >= 0 && j < n {
				r.values[j] = v
			}
			if !math.IsNaN(v) {
				lo, hi = min(lo, v), max(hi, v)
			}
			r.last = shortNumber(v)
		}
		if lo > hi { // none is a number
			lo, hi = math.NaN(), math.NaN()
		}
		r.min, r.max = shortNumber(lo), shortNumber(hi)
		rows[i] = r
		nameWidth = max(nameWidth, utf8.RuneCountInString(r.name))
		numWidth = max(numWidth, len(r.min), len(r.max), len(r.last))
	}
	nameWidth = min(nameWidth, max(maxNameWidth, width/3))
	steps, columns := columnsFor(n, max(minChart, width-nameWidth-1-3*(numWidth+1)))
	chart := (n + steps - 1) / steps * columns
	line := func(name, code, spark, a, b, c string) {
		name = cutName(show.Printable(name), nameWidth)
		text := paint(name, code) + strings.Repeat(" ", nameWidth-utf8.RuneCountInString(name)) + " " +
			paint(spark, code) + strings.Repeat(" ", chart-utf8.RuneCountInString(spark))
		text += fmt.Sprintf(" %*s %*s %*s", numWidth, a, numWidth, b, numWidth, c)
		dst = append(append(dst, strings.TrimRight(text, " ")...), '\n')
	}
	h := histogram{edges: edges}
	head := fmt.Sprintf("%s to %s, %s", time.Unix(0, from).In(zone).Format(time.DateTime), time.Unix(0, to).In(zone).Format(time.DateTime), h.scale(steps, columns))
	dst = append(append(dst, paint(head, dimColor)...), '\n')
	line(strings.ToUpper(strings.Join(differ, " ")), "1", "", "MIN", "MAX", "LAST")
	for _, r := range rows {
		line(r.name, rowColor(r.labels, r.name), spark(r.values, steps, columns), r.min, r.max, r.last)
	}
	dst = append(dst, strings.Repeat(" ", nameWidth+1)...)
	return append(append(dst, paint(axis(edges, steps, columns, chart, zone), dimColor)...), '\n')
}

// spark draws numbers in eighths of a character, from the least, or zero, to the
// greatest. Where there is none it is blank.
func spark(values []float64, steps, columns int) string {
	lo, hi := 0.0, 0.0
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	var b strings.Builder
	for i := 0; i < len(values); i += steps {
		// The greatest of a column: a peak must not vanish in a mean.
		v := math.NaN()
		for _, x := range values[i:min(i+steps, len(values))] {
			if math.IsNaN(v) || x > v {
				v = x
			}
		}
		h := 0
		switch {
		case math.IsNaN(v), v == 0 && lo == 0:
		case math.IsInf(v, 1):
			h = 8
		case math.IsInf(v, -1) || hi == lo:
			h = 1
		default:
			h = max(1, min(8, int((v-lo)/(hi-lo)*8+0.5)))
		}
		for range columns {
			b.WriteRune(eighths[h])
		}
	}
	return b.String()
}

// shortNumber writes a number with four digits, large ones whole.
func shortNumber(f float64) string {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	if a := math.Abs(f); a >= 1000 && a < 1e15 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'g', 4, 64)
}
