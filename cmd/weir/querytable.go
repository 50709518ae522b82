package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/show"
)

func regexpQuote(s string) string { return regexp.QuoteMeta(s) }

// column is a column of a table: its name for programs, and for people unless it
// is shown under another one.
type column struct {
	name  string
	right bool // aligned to the right, as numbers are
	plain bool // for people only: no field for programs
	data  bool // for programs only
	whole bool // never cut: the terminal may wrap it
}

// cell is a value for programs (string, int64, float64, map[string]string, nil
// for none) and how people see it; "" is the value itself.
type cell struct {
	value any
	text  string
	color string // ANSI code of the text, "" for none
}

func (c cell) shown() string {
	if c.text != "" || c.value == nil {
		return c.text
	}
	return plainText(c.value)
}

func plainText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case map[string]string:
		return show.LabelText(v)
	case []string:
		return strings.Join(v, " ")
	}
	return fmt.Sprint(v)
}

// tableFormats are the formats of a table.
var tableFormats = []string{"pretty", "raw", "json", "logfmt", "csv"}

// tableFlags say how a table is printed.
type tableFlags struct{ format, zone, color string }

func (f *tableFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.format, "output", "o", "pretty", strings.Join(tableFormats, ", ")+"; raw is the first column")
	cmd.Flags().StringVarP(&f.zone, "zone", "z", "", "time zone of times for people: UTC, Europe/Berlin, +02:00 (default local)")
	cmd.Flags().StringVar(&f.color, "color", "auto", "auto, always or never")
	if err := cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(tableFormats, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was added above
	}
}

func (f *tableFlags) check() error {
	if !slices.Contains(tableFormats, f.format) {
		return usageError("-o %s: want %s or %s%s", f.format, strings.Join(tableFormats[:4], ", "), tableFormats[4], didYouMean(f.format, tableFormats))
	}
	if _, err := f.colored(io.Discard); err != nil {
		return err
	}
	_, err := parseZone(f.zone)
	return err
}

// colored reports whether what goes to out is coloured.
func (f *tableFlags) colored(out io.Writer) (bool, error) {
	o := outputFlags{color: f.color}
	return o.colorOf(out)
}

// place returns the zone of times; check was called.
func (f *tableFlags) place() *time.Location {
	zone, err := parseZone(f.zone)
	if err != nil {
		return time.Local
	}
	return zone
}

// print writes a table to out.
func (f *tableFlags) print(t *table, out io.Writer) error {
	color, err := f.colored(out)
	if err != nil {
		return err
	}
	return t.write(out, f.format, color, tableWidth(out))
}

// table is an answer with rows and columns.
type table struct {
	columns []column
	rows    [][]cell
	foot    [][]cell // sums, for people only
	bare    int      // the column of -o raw
}

// tableWidth is how wide a table may be: a program that reads it gets all.
func tableWidth(out io.Writer) int {
	if !isTerminal(out) {
		return math.MaxInt32
	}
	return terminalWidth(out)
}

// write prints the table; people get at most width columns.
func (t *table) write(w io.Writer, format string, color bool, width int) error {
	var b bytes.Buffer
	switch format {
	case "raw":
		for _, row := range t.rows {
			b.WriteString(plainText(row[t.bare].value))
			b.WriteByte('\n')
		}
	case "json":
		for _, row := range t.rows {
			if err := t.json(&b, row); err != nil {
				return err
			}
		}
	case "logfmt":
		for _, row := range t.rows {
			t.logfmt(&b, row)
		}
	case "csv":
		if err := t.csv(&b); err != nil {
			return err
		}
	default:
		t.pretty(&b, color, width)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (t *table) json(b *bytes.Buffer, row []cell) error {
	b.WriteByte('{')
	n := 0
	for i, c := range t.columns {
		if c.plain || row[i].value == nil {
			continue
		}
		v := &bytes.Buffer{}
		e := json.NewEncoder(v)
		e.SetEscapeHTML(false)
		if err := e.Encode(row[i].value); err != nil {
			return err
		}
		if n++; n > 1 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, "%q:%s", c.name, bytes.TrimSpace(v.Bytes()))
	}
	b.WriteString("}\n")
	return nil
}

func (t *table) logfmt(b *bytes.Buffer, row []cell) {
	n := 0
	pair := func(name, value string) {
		if n++; n > 1 {
			b.WriteByte(' ')
		}
		if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == '"' || r == '=' || r == '\\' || !strconv.IsPrint(r) }) {
			value = strconv.Quote(value)
		}
		b.WriteString(name + "=" + value)
	}
	for i, c := range t.columns {
		if c.plain || row[i].value == nil {
			continue
		}
		if labels, ok := row[i].value.(map[string]string); ok {
			for _, name := range slices.Sorted(maps.Keys(labels)) {
				pair(name, labels[name])
			}
			continue
		}
		pair(c.name, plainText(row[i].value))
	}
	b.WriteByte('\n')
}

func (t *table) csv(b *bytes.Buffer) error {
	w := csv.NewWriter(b)
	record := func(f func(i int) string) {
		var out []string
		for i, c := range t.columns {
			if !c.plain {
				out = append(out, f(i))
			}
		}
		_ = w.Write(out) // an error stays and shows at the end
	}
	record(func(i int) string { return t.columns[i].name })
	for _, row := range t.rows {
		record(func(i int) string { return plainText(row[i].value) })
	}
	w.Flush()
	return w.Error()
}

// pretty aligns the columns. The last one gives way when the terminal is too
// narrow, then the widest of the others.
func (t *table) pretty(b *bytes.Buffer, color bool, width int) {
	var at []int
	for i, c := range t.columns {
		if !c.data {
			at = append(at, i)
		}
	}
	widths := make([]int, len(t.columns))
	for _, i := range at {
		widths[i] = utf8.RuneCountInString(t.columns[i].name)
	}
	rows := slices.Concat(t.rows, t.foot)
	shown := make([][]string, len(rows))
	for r, row := range rows {
		shown[r] = make([]string, len(row))
		for _, i := range at {
			shown[r][i] = show.Printable(row[i].shown())
			widths[i] = max(widths[i], utf8.RuneCountInString(shown[r][i]))
		}
	}
	fitWidths(widths, at, t.columns, width)
	line := func(text func(i int) string, code func(i int) string) {
		start := b.Len()
		for k, i := range at {
			s := text(i)
			if k < len(at)-1 {
				s = cutName(s, widths[i])
			} else {
				s = cut(s, widths[i])
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(s))
			if k > 0 {
				b.WriteString("  ")
			}
			if t.columns[i].right {
				b.WriteString(pad)
			}
			if c := code(i); color && c != "" && s != "" {
				b.WriteString("\x1b[" + c + "m" + s + "\x1b[0m")
			} else {
				b.WriteString(s)
			}
			if !t.columns[i].right {
				b.WriteString(pad)
			}
		}
		b.Truncate(start + len(bytes.TrimRight(b.Bytes()[start:], " ")))
		b.WriteByte('\n')
	}
	line(func(i int) string { return strings.ToUpper(t.columns[i].name) }, func(int) string { return "1" })
	for r, row := range rows {
		line(func(i int) string { return shown[r][i] }, func(i int) string { return row[i].color })
	}
}

// fitWidths shrinks columns of text until they fit.
func fitWidths(widths, at []int, columns []column, width int) {
	const least = 8
	for {
		sum := 2 * (len(at) - 1)
		widest := -1
		for _, i := range at {
			sum += widths[i]
			if !columns[i].right && !columns[i].whole && widths[i] > least && (widest < 0 || widths[i] >= widths[widest]) {
				widest = i
			}
		}
		if sum <= width || widest < 0 {
			return
		}
		widths[widest] = max(least, widths[widest]-(sum-width), widths[widest]*3/4)
	}
}

// cut shortens a text to n characters; the last one says so.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:max(0, n-1)]) + "…"
}

// cutName shortens a name to n characters in its middle: pods differ at the end.
func cutName(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	tail := max(0, n-1) / 2
	return string(r[:max(0, n-1-tail)]) + "…" + string(r[len(r)-tail:])
}

// grouped writes a number with spaces between thousands.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}
