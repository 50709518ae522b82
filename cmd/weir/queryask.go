package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/read"
)

// asking is a question to a source about a selection of logs: what the commands
// labels, series, volume, hits and context have in common.
type asking struct {
	timeRange
	c      *read.Client
	errOut io.Writer
	expr   *logql.LogExpr // nil for everything
	names  []string       // of labels at the source
	query  *logql.LogExpr // expr as the source understands it
	moved  string         // its text
}

// lines returns the log query that a selection is, nil for "". What wants is the
// command, for messages.
func parseSelection(text, command string) (*logql.LogExpr, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	expr, err := logql.Parse(text)
	if err != nil {
		return nil, queryError(text, err)
	}
	e, ok := expr.(*logql.LogExpr)
	if !ok {
		return nil, usageError("weir %s counts lines and wants a query for lines, such as '{app=\"shop\"} |= \"error\"'; numbers are for 'weir query'", command)
	}
	return e, nil
}

// askAbout opens the source and calls do. The range that was not given is
// everything in a store of this host, and a server's last hour.
func askAbout(ctx context.Context, source *sourceFlags, span *rangeFlags, expr *logql.LogExpr, errOut io.Writer, do func(*asking) error) error {
	r, err := span.parse(time.Now())
	if err != nil {
		return err
	}
	if expr != nil {
		narrowed, err := onlyNamespaces(expr, source.namespaces)
		if err != nil {
			return err
		}
		expr = narrowed.(*logql.LogExpr)
	}
	// Without an expression wanted.expr has to be an untyped nil.
	want := wanted{from: r.from, to: r.to}
	if expr != nil {
		want.expr = expr
	}
	err = source.use(ctx, want, errOut, func(c *read.Client) error {
		a := &asking{timeRange: r, c: c, errOut: errOut, expr: expr}
		if !a.given {
			switch {
			case c.Local && !a.until:
				a.from, a.to = time.Unix(0, 0), a.now.Add(time.Hour) // clocks differ
			case c.Local:
				a.from = time.Unix(0, 0)
			default:
				a.from = a.to.Add(-time.Hour)
			}
		}
		// Whole milliseconds: a Loki's durations have no finer ones.
		a.from, a.to = a.from.Truncate(time.Millisecond), a.to.Add(time.Millisecond-1).Truncate(time.Millisecond)
		if a.names, err = c.Names(ctx, a.start(), a.end()); err != nil {
			return err
		}
		slices.Sort(a.names)
		if a.expr == nil {
			if a.expr, err = a.everything(source.namespaces); err != nil {
				return err
			}
		}
		a.query = a.expr
		if !c.Local {
			if e, ok := movedMatchers(a.expr, a.names).(*logql.LogExpr); ok {
				a.query = e
			}
		}
		a.moved = a.query.String()
		return do(a)
	})
	if errors.Is(err, context.Canceled) {
		return nil // Ctrl-C
	}
	return err
}

func (a *asking) start() int64 { return a.from.UnixNano() }
func (a *asking) end() int64   { return a.to.UnixNano() }

func (a *asking) isLabel(name string) bool { return slices.Contains(a.names, name) }

// everything selects all logs.
func (a *asking) everything(namespaces []string) (*logql.LogExpr, error) {
	e, err := logql.Parse(anything(a.names))
	if err != nil {
		return nil, err
	}
	if e, err = onlyNamespaces(e, namespaces); err != nil {
		return nil, err
	}
	return e.(*logql.LogExpr), nil
}

// anything is a selector of all logs, which has to name something, where these are
// the labels.
func anything(names []string) string {
	name := "service_name" // every stream has it, in a weir as in a Loki since 3.0
	if !slices.Contains(names, name) && len(names) > 0 {
		name = names[0]
	}
	return "{" + name + `=~".+"}`
}

// movedMatchers returns a query with the matchers on what is none of the labels
// behind the braces: a Loki finds structured metadata only there.
func movedMatchers(e logql.Expr, names []string) logql.Expr {
	moved := logql.MoveMatchers(e, func(name string) bool { return slices.Contains(names, name) })
	if m, err := logql.Parse(moved.String()); err == nil {
		return m
	}
	// Nothing is left in some braces.
	all, err := logql.ParseMatchers(anything(names))
	if err != nil || len(names) == 0 {
		return e
	}
	if m, err := logql.Parse(logql.Narrow(moved, all.Matchers()).String()); err == nil {
		return m
	}
	return e
}

// selector returns the part in braces, as the source understands it.
func (a *asking) selector() string { return a.query.Prefix(0).String() }

// onlySelector reports whether there are no stages behind the braces, so that an
// index can answer.
func (a *asking) onlySelector() bool { return a.query.Stages() == 0 }

// span is the range as parameters of a request.
func (a *asking) span() url.Values {
	return url.Values{"start": {strconv.FormatInt(a.start(), 10)}, "end": {strconv.FormatInt(a.end(), 10)}}
}

// values returns the values of a label in the selection.
func (a *asking) values(ctx context.Context, name string) ([]string, error) {
	form := a.span()
	form.Set("query", a.selector())
	var got struct{ Data []string }
	err := a.c.Get(ctx, "/loki/api/v1/label/"+url.PathEscape(name)+"/values", form, &got)
	slices.Sort(got.Data)
	return got.Data, err
}

// streams returns the labels of every stream in the selection.
func (a *asking) streams(ctx context.Context) ([]map[string]string, error) {
	form := a.span()
	form.Set("match[]", a.selector())
	var got struct{ Data []map[string]string }
	err := a.c.Get(ctx, "/loki/api/v1/series", form, &got)
	return got.Data, err
}

// indexStats is what an index says of a selection.
type indexStats struct{ Streams, Bytes, Entries int64 }

func (a *asking) stats(ctx context.Context, selector string) (s indexStats, err error) {
	form := a.span()
	form.Set("query", selector)
	err = a.c.Get(ctx, "/loki/api/v1/index/stats", form, &s)
	return s, err
}

// number asks for a number per set of labels, over the whole range.
func (a *asking) number(ctx context.Context, query string) ([]read.Series, error) {
	// A range of LogQL is (from, to], ours [from, to).
	got, err := a.c.Query(ctx, "/loki/api/v1/query", url.Values{"query": {query}, "time": {strconv.FormatInt(a.end()-1, 10)}})
	if err != nil {
		return nil, err
	}
	return a.c.Series(got)
}

// window is the whole range as LogQL writes it.
func (a *asking) window() string { return strconv.FormatInt((a.end()-a.start())/1e6, 10) + "ms" }

// each calls f for 0 … n-1, some at a time, and returns the first error.
func each(ctx context.Context, n int, f func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(n, 8) {
		wg.Go(func() {
			for i := range next {
				if err := f(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
feed:
	for i := range n {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// onlyNamespaces adds the namespaces of -n to every selector of a query.
func onlyNamespaces(e logql.Expr, namespaces []string) (logql.Expr, error) {
	if len(namespaces) == 0 {
		return e, nil
	}
	m := "{namespace=" + strconv.Quote(namespaces[0]) + "}"
	if len(namespaces) > 1 {
		m = "{namespace=~" + strconv.Quote(anyOf(namespaces)) + "}"
	}
	sel, err := logql.ParseMatchers(m)
	if err != nil {
		return nil, err
	}
	return logql.Narrow(e, sel.Matchers()), nil
}

// anyOf is a regular expression of which each text is a match.
func anyOf(texts []string) string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = regexpQuote(t)
	}
	return strings.Join(out, "|")
}

// matcherFor writes a selector of exactly these labels; a label that is "" is
// not there.
func matchersFor(names []string, labels map[string]string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = n + "=" + strconv.Quote(labels[n])
	}
	return strings.Join(out, ", ")
}

// and adds matchers to a selector.
func and(selector, matchers string) string {
	if matchers == "" {
		return selector
	}
	if selector == "{}" {
		return "{" + matchers + "}"
	}
	return "{" + matchers + ", " + selector[1:]
}

// nearest says which of the names was perhaps meant, "" if none.
func didYouMean(name string, names []string) string {
	if best := nearestName(name, names); best != "" {
		return fmt.Sprintf(", did you mean %q?", best)
	}
	return ""
}
