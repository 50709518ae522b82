package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/show"
)

// query is one run of `weir query`.
type query struct {
	flags   *queryFlags
	text    string
	expr    logql.Expr // nil if it is not ours to read: the server decides
	lines   bool
	log     *logql.LogExpr // expr, if it finds lines
	client  *read.Client
	w       *bufio.Writer // what p writes to
	p       show.Printer
	options show.Options
	around  *aroundPrinter // instead of p with -C
	out     io.Writer
	errOut  io.Writer

	before, after int

	now, from, to time.Time
	ranged        bool // a range was given
	until         bool // an end was given
	step          time.Duration
	cost          read.Cost
	began         time.Time
	found         int
}

func (q *query) run(ctx context.Context) (err error) {
	q.began = time.Now()
	if !q.client.Local {
		q.moveMatchers(ctx)
	}
	switch {
	case q.around != nil:
		q.found, err = q.runAround(ctx)
	case q.lines:
		q.found, err = q.runLines(ctx)
	default:
		q.found, err = q.runNumbers(ctx)
	}
	if err != nil {
		return err
	}
	if q.flags.stats && !q.flags.quiet {
		fmt.Fprintf(q.errOut, "%s found; %s and %s looked at in %s\n", grouped(int64(q.found)), plural(q.cost.Rows, "row"), size(q.cost.Bytes), time.Since(q.began).Round(time.Millisecond))
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
	if moved := movedMatchers(q.expr, names); moved.String() != q.expr.String() {
		q.text, q.expr = moved.String(), moved
		q.log, _ = moved.(*logql.LogExpr)
	}
}

func (q *query) labelNames(ctx context.Context) ([]string, error) {
	if q.ranged {
		return q.client.Names(ctx, q.from.UnixNano(), q.to.UnixNano())
	}
	return q.client.Names(ctx, 0, 0)
}

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

// span is the range for lines: of a store on this host everything, of a server
// its last hour, unless a range was given.
func (q *query) span() (from, to int64) {
	to = q.to.UnixNano()
	switch {
	case q.ranged:
		return q.from.UnixNano(), to
	case !q.client.Local:
		return q.to.Add(-time.Hour).UnixNano(), to
	case !q.until:
		to = q.now.Add(time.Hour).UnixNano() // clocks differ
	}
	return 0, to
}

// runLines gets lines page by page and prints each page at once. The newest ones
// come backwards and are printed when all are there; without a limit they come in
// the order in which they are printed.
func (q *query) runLines(ctx context.Context) (found int, err error) {
	want := read.Want{Query: q.text, Limit: q.flags.limit, Forward: q.flags.forward}
	if want.Limit == 0 {
		want.Forward = !q.flags.reverse
	}
	if q.inBulk() {
		if found, ok, err := q.runBulk(ctx); ok {
			return found, err
		}
	}
	want.From, want.To = q.span()
	turn := want.Forward == q.flags.reverse // the pages come in the other order
	var held []show.Entry
	err = q.client.Lines(ctx, want, &q.cost, func(page []show.Entry) error {
		found += len(page)
		if turn {
			held = append(held, page...)
			return nil
		}
		for i := range page {
			if err := q.p.Line(&page[i]); err != nil {
				return err
			}
		}
		return q.w.Flush()
	})
	if err != nil {
		return found, err
	}
	for i := range slices.Backward(held) {
		if err := q.p.Line(&held[i]); err != nil {
			return found, err
		}
	}
	return found, q.p.End()
}

// runAround gets lines and what stands around them.
func (q *query) runAround(ctx context.Context) (found int, err error) {
	want := read.Want{Query: q.text, Limit: q.flags.limit, Forward: q.flags.forward || q.flags.limit == 0}
	want.From, want.To = q.span()
	var matches []show.Entry
	if err := q.client.Lines(ctx, want, &q.cost, func(page []show.Entry) error {
		matches = append(matches, page...)
		return nil
	}); err != nil || len(matches) == 0 {
		return 0, err
	}
	a, err := q.asking(ctx)
	if err != nil {
		return 0, err
	}
	if !want.Forward {
		slices.Reverse(matches)
	}
	return len(matches), a.around(ctx, matches, q.flags.scope, q.before, q.after, q.around)
}

// asking is the query as the other commands ask it.
func (q *query) asking(ctx context.Context) (*asking, error) {
	from, to := q.span()
	a := &asking{
		timeRange: timeRange{now: q.now, from: time.Unix(0, from), to: time.Unix(0, to), given: q.ranged, until: q.until},
		c:         q.client, errOut: q.errOut, expr: q.log, query: q.log, moved: q.text,
	}
	var err error
	a.names, err = q.labelNames(ctx)
	return a, err
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
	a, err := q.client.Query(ctx, path, form)
	if err != nil {
		return 0, err
	}
	q.cost.Count(a)
	series, err := q.client.Series(a)
	if err != nil {
		return 0, err
	}
	if f := q.options.Format; f == "" || f == "pretty" || f == "default" {
		return len(series), q.numbers(series)
	}
	for i := range series {
		if err := q.p.Series(series[i].Labels, series[i].Points); err != nil {
			return len(series), err
		}
	}
	return len(series), q.p.End()
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

// nothing says on stderr that nothing was found, and what may be the reason. It
// is an error only if that was asked for.
func (q *query) nothing(ctx context.Context) error {
	msg := ""
	if !q.flags.quiet {
		// Why is worth a few questions, but not much time.
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		msg = "nothing found" + q.whyNothing(ctx)
	}
	if q.flags.exitCode {
		return &exitError{exitFailed, errors.New(msg)}
	}
	if msg != "" {
		fmt.Fprintln(q.errOut, printableText(msg))
	}
	return nil
}

func (q *query) whyNothing(ctx context.Context) string {
	a, err := q.asking(ctx)
	if err == nil && a.expr != nil {
		return a.whyNothing(ctx)
	}
	msg := ""
	if q.ranged {
		msg = fmt.Sprintf(" from %s to %s", q.from.Format(time.DateTime), q.to.Format(time.DateTime))
	}
	if err != nil || q.expr == nil {
		return msg
	}
	if len(a.names) == 0 {
		return msg + "; there are no logs at all"
	}
	for _, name := range selectorNames(q.expr) {
		if best := nearestName(name, a.names); best != "" && !a.isLabel(name) {
			return msg + fmt.Sprintf("; there is no label %q, did you mean %q?", name, best)
		}
	}
	return msg
}

// selectorNames returns the names in the braces of a query.
func selectorNames(e logql.Expr) []string {
	var out []string
	for _, sel := range logql.Selectors(e) {
		out = append(out, sel.Names()...)
	}
	return out
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
