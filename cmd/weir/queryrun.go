package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirlog/weir/logql"
)

// query is one run of `weir query`.
type query struct {
	flags  *queryFlags
	text   string
	expr   logql.Expr // nil if it is not ours to read: the server decides
	lines  bool
	client *lokiClient
	p      printer
	errOut io.Writer

	now, from, to time.Time
	ranged        bool // a range was given
	step          time.Duration
	warnings      []string
	bytes, rows   int64
	began         time.Time
}

// entry is a line with everything that is known of it.
type entry struct {
	lokiEntry
	labels map[string]string // of the stream
	key    string            // of labels
}

// identity tells entries of the same time apart.
func (e *entry) identity() string { return e.key + "\x00" + e.line }

func (q *query) run(ctx context.Context) error {
	q.began = time.Now()
	if !q.client.local {
		q.moveMatchers(ctx)
	}
	var found int
	var err error
	if q.lines {
		found, err = q.runLines(ctx)
	} else {
		found, err = q.runNumbers(ctx)
	}
	if err != nil {
		return err
	}
	if q.flags.stats {
		fmt.Fprintf(q.errOut, "%d rows and %s looked at in %s\n", q.rows, size(q.bytes), time.Since(q.began).Round(time.Millisecond))
	}
	if found == 0 {
		q.nothing(ctx)
	}
	return nil
}

// moveMatchers writes matchers on names that are no labels at the server behind
// the braces: a Loki finds structured metadata only there.
func (q *query) moveMatchers(ctx context.Context) {
	if q.expr == nil {
		return
	}
	names, err := q.labelNames(ctx)
	if err != nil {
		return // the query itself will say why
	}
	moved := logql.MoveMatchers(q.expr, func(name string) bool { return slices.Contains(names, name) })
	if _, err := logql.Parse(moved.String()); err == nil && moved.String() != q.expr.String() {
		q.text, q.expr = moved.String(), moved
	}
}

func (q *query) labelNames(ctx context.Context) ([]string, error) {
	form := url.Values{}
	if q.ranged {
		form.Set("start", nanos(q.from))
		form.Set("end", nanos(q.to))
	} else if q.client.local {
		form.Set("start", "0")
	}
	var a struct {
		Data []string `json:"data"`
	}
	err := q.client.get(ctx, "/loki/api/v1/labels", form, &a)
	return a.Data, err
}

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

// span is the range for lines: of a store on this host everything, of a server
// its last hour, unless a range was given.
func (q *query) span() (from, to int64) {
	to = q.to.UnixNano()
	switch {
	case q.ranged:
		return q.from.UnixNano(), to
	case !q.client.local:
		return q.to.Add(-time.Hour).UnixNano(), to
	case q.flags.to == "":
		to = q.now.Add(time.Hour).UnixNano() // clocks differ
	}
	return 0, to
}

// runLines gets lines page by page. The newest ones come backwards and are
// printed when all are there; without a limit they come in the order in which
// they are printed.
func (q *query) runLines(ctx context.Context) (found int, err error) {
	forward := q.flags.forward
	if q.flags.limit == 0 {
		forward = !q.flags.reverse
	}
	turn := forward == q.flags.reverse // the pages come in the other order
	var held []entry
	from, to := q.span()
	left := q.flags.limit
	size, most := q.client.page, 50_000
	seen := make(map[string]int) // of the time where the last page ended
	var edge int64
	for {
		n := size
		if left > 0 {
			n = min(n, left+len(seen))
		}
		page, err := q.page(ctx, from, to, n, forward)
		if tooMuch(err) && n > 1 {
			// Long lines, or a server that gives fewer at a time.
			size, most = max(1, n/4), n*3/4
			continue
		}
		if err != nil {
			return found, err
		}
		full := len(page) >= n
		again := maps.Clone(seen)
		fresh := page[:0]
		for _, e := range page {
			if e.time == edge && again[e.identity()] > 0 {
				again[e.identity()]--
				continue
			}
			fresh = append(fresh, e)
		}
		if left > 0 && len(fresh) > left {
			fresh = fresh[:left]
		}
		for i := range fresh {
			if turn {
				held = append(held, fresh[i])
				continue
			}
			if err := q.p.line(&fresh[i]); err != nil {
				return found, err
			}
		}
		found += len(fresh)
		if left > 0 {
			if left -= len(fresh); left <= 0 {
				break
			}
		}
		if !full {
			break
		}
		last := page[len(page)-1].time
		if len(fresh) == 0 && last == edge {
			// More lines of one nanosecond than a page has.
			if size >= most {
				q.warnings = append(q.warnings, fmt.Sprintf("more than %d lines have the time %s; some are left out", size, time.Unix(0, edge).UTC().Format(time.RFC3339Nano)))
				seen, edge = make(map[string]int), 0
				if forward {
					from = last + 1
				} else {
					to = last
				}
				continue
			}
			size = min(2*size, most)
			continue
		}
		if last != edge {
			seen, edge = make(map[string]int), last
		}
		for i := range fresh {
			if fresh[i].time == edge {
				seen[fresh[i].identity()]++
			}
		}
		if forward {
			from = last
		} else {
			to = last + 1
		}
	}
	for i := len(held) - 1; i >= 0; i-- {
		if err := q.p.line(&held[i]); err != nil {
			return found, err
		}
	}
	return found, q.p.end()
}

// tooMuch reports whether an answer would have been larger than the server
// allows: weir's and Loki's words for too many lines, and too many bytes.
func tooMuch(err error) bool {
	var se *serverError
	if !errors.As(err, &se) {
		return false
	}
	for _, words := range []string{"bytes of answer", "max entries limit", "larger than max"} {
		if strings.Contains(se.text, words) {
			return true
		}
	}
	return false
}

// page gets lines in the order of time, forward or backward.
func (q *query) page(ctx context.Context, from, to int64, limit int, forward bool) ([]entry, error) {
	form := url.Values{
		"query": {q.text}, "limit": {strconv.Itoa(limit)}, "direction": {"backward"},
		"start": {strconv.FormatInt(from, 10)}, "end": {strconv.FormatInt(to, 10)},
	}
	if forward {
		form.Set("direction", "forward")
	}
	a, err := q.client.query(ctx, "/loki/api/v1/query_range", form)
	if err != nil {
		return nil, err
	}
	q.count(a)
	if a.Data.ResultType != "streams" {
		return nil, fmt.Errorf("%s answers with %s, not with lines", q.client.what, a.Data.ResultType)
	}
	var streams []lokiStream
	if err := json.Unmarshal(a.Data.Result, &streams); err != nil {
		return nil, fmt.Errorf("the answer of %s cannot be read: %w", q.client.what, err)
	}
	var out []entry
	for _, s := range streams {
		key := labelText(s.Labels)
		for _, v := range s.Values {
			out = append(out, entry{v, s.Labels, key})
		}
	}
	slices.SortStableFunc(out, func(a, b entry) int {
		if forward {
			return compareTimes(a.time, b.time)
		}
		return compareTimes(b.time, a.time)
	})
	return out, nil
}

func compareTimes(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// runNumbers gets numbers: at one time, or a series.
func (q *query) runNumbers(ctx context.Context) (found int, err error) {
	form := url.Values{"query": {q.text}}
	path := "/loki/api/v1/query"
	if q.ranged {
		path += "_range"
		if q.step == 0 {
			q.step = niceStep(q.to.Sub(q.from))
		}
		// The last number is that of the range's end: what is new is in it.
		form.Set("start", nanos(q.to.Add(-(q.to.Sub(q.from) / q.step * q.step))))
		form.Set("end", nanos(q.to))
		form.Set("step", strconv.FormatFloat(q.step.Seconds(), 'f', -1, 64))
	} else {
		form.Set("time", nanos(q.to))
	}
	a, err := q.client.query(ctx, path, form)
	if err != nil {
		return 0, err
	}
	q.count(a)
	var series []lokiSeries
	switch a.Data.ResultType {
	case "matrix", "vector":
		err = json.Unmarshal(a.Data.Result, &series)
	case "scalar":
		series = make([]lokiSeries, 1)
		err = json.Unmarshal(a.Data.Result, &series[0].Value)
	case "streams":
		return 0, fmt.Errorf("%s answers with lines", q.client.what)
	default:
		err = fmt.Errorf("unknown kind %q", a.Data.ResultType)
	}
	if err != nil {
		return 0, fmt.Errorf("the answer of %s cannot be read: %w", q.client.what, err)
	}
	for i := range series {
		points := series[i].Values
		if a.Data.ResultType != "matrix" {
			points = []lokiPoint{series[i].Value}
		}
		if err := q.p.series(series[i].Labels, points); err != nil {
			return len(series), err
		}
	}
	return len(series), q.p.end()
}

// niceStep divides a range into some sixty steps of a round length.
func niceStep(d time.Duration) time.Duration {
	for _, s := range []time.Duration{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 3 * 3600, 6 * 3600, 12 * 3600} {
		if s *= time.Second; d/s <= 60 {
			return s
		}
	}
	return 24 * time.Hour * (1 + d/(60*24*time.Hour))
}

func (q *query) count(a *lokiAnswer) {
	q.bytes += a.Data.Stats.Summary.Bytes
	q.rows += a.Data.Stats.Summary.Lines
	for _, w := range a.Warnings {
		if !slices.Contains(q.warnings, w) {
			q.warnings = append(q.warnings, w)
		}
	}
}

// nothing says on stderr that nothing was found, and what may be the reason.
func (q *query) nothing(ctx context.Context) {
	msg := "nothing found"
	switch {
	case q.ranged:
		msg += fmt.Sprintf(" from %s to %s", q.from.Format(time.DateTime), q.to.Format(time.DateTime))
	case q.lines && !q.client.local:
		msg += " in the last hour; --since 24h looks further back"
	}
	names, err := q.labelNames(ctx)
	if err != nil || q.expr == nil {
		fmt.Fprintln(q.errOut, msg)
		return
	}
	if len(names) == 0 {
		fmt.Fprintln(q.errOut, msg+"; there are no logs at all")
		return
	}
	for _, name := range selectorNames(q.expr) {
		if slices.Contains(names, name) {
			continue
		}
		if best := nearestName(name, names); best != "" {
			msg += fmt.Sprintf("; there is no label %q, did you mean %q?", name, best)
		}
	}
	fmt.Fprintln(q.errOut, msg)
}

// selectorNames returns the names in the braces of a query.
func selectorNames(e logql.Expr) []string {
	var out []string
	for text := e.String(); text != ""; {
		switch text[0] {
		case '"', '`':
			text = text[quoted(text):]
		case '{':
			end := 1
			for end < len(text) && text[end] != '}' {
				end += max(1, quoted(text[end:]))
			}
			end = min(end+1, len(text))
			if sel, err := logql.ParseMatchers(text[:end]); err == nil {
				out = append(out, sel.Names()...)
			}
			text = text[end:]
		default:
			text = text[1:]
		}
	}
	return out
}

// quoted returns the length of the quoted text at the beginning, 0 if there is
// none.
func quoted(s string) int {
	switch s[0] {
	case '`':
		return min(strings.IndexByte(s[1:]+"`", '`')+2, len(s))
	case '"':
		for i := 1; i < len(s); i++ {
			switch s[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
		return len(s)
	}
	return 0
}

// nearestName returns the name that differs by at most two letters.
func nearestName(name string, names []string) string {
	best, least := "", 3
	for _, n := range names {
		if d := editDistance(name, n); d < least && d < len(name) {
			best, least = n, d
		}
	}
	return best
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			prev, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, prev+cost)
		}
	}
	return row[len(b)]
}
