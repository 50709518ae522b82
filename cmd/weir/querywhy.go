package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/show"
)

// lookback is how far from the range it is looked for where there are logs: what
// a Loki allows by default.
const lookback = 30 * 24 * time.Hour

// whyNothing says what may be the reason that the query found nothing: text to
// go behind "nothing found", "" if nothing is known.
func (a *asking) whyNothing(ctx context.Context) string {
	where := ""
	switch {
	case a.given:
		where = fmt.Sprintf(" from %s to %s", a.from.Format(time.DateTime), a.to.Format(time.DateTime))
	case a.until:
		where = " before " + a.to.Format(time.DateTime)
	case !a.c.Local:
		where = " in the last hour"
	}
	if len(a.names) == 0 {
		if t := a.nearest(ctx, ""); t != "" {
			return where + "; " + t
		}
		if where == "" {
			return "; there are no logs at all"
		}
		return where + "; there are no logs at all in that time"
	}
	sel := a.expr.Selector()
	for _, m := range sel.Matchers() {
		if a.isLabel(m.Name()) {
			continue
		}
		if best := nearestName(m.Name(), a.names); best != "" {
			return where + fmt.Sprintf("; there is no label %q, did you mean %q?", m.Name(), best)
		}
	}
	if t, err := a.edge(ctx, a.selector(), a.start(), a.end(), false); err == nil && t == 0 {
		if s := a.wrongValue(ctx, sel); s != "" {
			return where + "; " + s
		}
		if s := a.nearest(ctx, a.selector()); s != "" {
			return where + "; " + s
		}
		return where + fmt.Sprintf("; no stream has %s", a.selector())
	}
	if s := a.culprit(ctx); s != "" {
		return where + "; " + s
	}
	if s := a.nearest(ctx, a.moved); s != "" {
		return where + "; " + s
	}
	return where
}

// wrongValue says which value in the selector no stream has.
func (a *asking) wrongValue(ctx context.Context, sel *logql.Selector) string {
	for _, m := range sel.Matchers() {
		if m.Op() != "=" || m.Value() == "" || !a.isLabel(m.Name()) {
			continue
		}
		values, err := a.c.Values(ctx, m.Name(), a.start(), a.end())
		if err != nil || len(values) == 0 || slices.Contains(values, m.Value()) {
			continue
		}
		hint := fmt.Sprintf("no %s is %q", m.Name(), m.Value())
		if best := nearestName(m.Value(), values); best != "" {
			return hint + fmt.Sprintf(", did you mean %q?", best)
		}
		var like []string
		for _, v := range values {
			if strings.Contains(strings.ToLower(v), strings.ToLower(m.Value())) {
				like = append(like, v)
			}
		}
		if len(like) == 0 {
			like = values
		}
		some := slices.Clone(like[:min(5, len(like))])
		for i, v := range some {
			some[i] = show.Printable(v)
			if r := []rune(some[i]); len(r) > 60 {
				some[i] = string(r[:59]) + "…"
			}
		}
		more := ""
		if len(some) < len(like) {
			more = ", …"
		}
		return hint + "; there is " + strings.Join(some, ", ") + more
	}
	return ""
}

// culprit says which of the query's stages lets nothing through.
func (a *asking) culprit(ctx context.Context) string {
	q := a.query
	for n := range q.Stages() {
		t, err := a.edge(ctx, q.Prefix(n+1).String(), a.start(), a.end(), false)
		if err != nil {
			return ""
		}
		if t == 0 {
			before := q.Prefix(n).String()
			return fmt.Sprintf("%s has lines, %s removes them all", before, strings.TrimSpace(strings.TrimPrefix(q.Prefix(n+1).String(), before)))
		}
	}
	return ""
}

// nearest says where there is something of a query near the range, "" if
// nowhere.
func (a *asking) nearest(ctx context.Context, query string) string {
	if query == "" {
		names, err := a.c.Names(ctx, a.to.Add(-lookback).UnixNano(), a.now.UnixNano())
		if err != nil || len(names) == 0 {
			return ""
		}
		query = "{" + names[0] + `=~".+"}`
		if slices.Contains(names, "service_name") {
			query = `{service_name=~".+"}`
		}
	}
	if a.given || !a.c.Local {
		from := a.from.Add(-lookback).UnixNano()
		if a.c.Local {
			from = 0
		}
		if t, err := a.edge(ctx, query, from, a.start(), false); err == nil && t != 0 {
			return fmt.Sprintf("the nearest before that are at %s: --since '%s'", time.Unix(0, t).Format(time.DateTime), time.Unix(0, t).Format(time.DateTime))
		}
	}
	if a.until {
		to := a.now.UnixNano()
		if !a.c.Local {
			to = min(to, a.end()+int64(lookback))
		}
		if t, err := a.edge(ctx, query, a.end(), to, true); err == nil && t != 0 {
			return fmt.Sprintf("the nearest after that are at %s", time.Unix(0, t).Format(time.DateTime))
		}
	}
	return ""
}
