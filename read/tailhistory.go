package read

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/show"
)

const (
	// maxContainers is of how many containers the last lines are asked for one by
	// one; of more, the newest lines of all are.
	maxContainers = 64
	// asking is how many questions are asked at a time.
	asking = 4
)

// history passes on the lines of the beginning.
func (f *Follow) history(ctx context.Context) error {
	now := time.Now()
	from, to := now.Add(-time.Hour).UnixNano(), min(f.until, now.Add(end).UnixNano())
	if !f.From.IsZero() {
		from = f.From.UnixNano()
	}
	f.floor = now.UnixNano()
	if f.Tail == 0 {
		return nil
	}
	entries, err := f.beginning(ctx, from, to)
	if err == nil && entries == 0 && f.From.IsZero() && f.Client.Local {
		entries, err = f.beginning(ctx, 0, from)
	}
	if err != nil {
		return err
	}
	if f.latest != 0 {
		// Lines of a file without times of their own may all have the same.
		f.floor = min(f.floor, f.latest+1)
	}
	if entries == 0 && f.Live {
		if f.Empty != nil {
			f.Empty(ctx)
		}
		if names, err := f.Client.Names(ctx, from, to); err == nil {
			f.nothing(names)
		}
	}
	return nil
}

// nothing says why there may be nothing.
func (f *Follow) nothing(names []string) {
	for _, m := range f.Expr.Selector().Matchers() {
		if !slices.Contains(names, m.Name()) && len(names) > 0 && m.Name() != "level" && m.Name() != "detected_level" && !f.Client.Local {
			f.notice("nothing yet, and no label %q; there are %s", m.Name(), strings.Join(names, ", "))
			return
		}
	}
}

// beginning passes on the lines of a range and returns how many there were.
func (f *Follow) beginning(ctx context.Context, from, to int64) (int, error) {
	if from >= to {
		return 0, nil
	}
	if f.Tail < 0 {
		n := 0
		err := f.Client.Lines(ctx, Want{Query: f.Expr.String(), From: from, To: to, Forward: true}, &f.cost, func(page []show.Entry) error {
			n += len(page)
			return f.past(ctx, page)
		})
		return n, err
	}
	var entries []show.Entry
	containers, err := f.containers(ctx, from, to)
	switch {
	case err != nil:
		return 0, err
	case len(containers) > 0 && len(containers) <= maxContainers:
		entries, err = f.ofEach(ctx, containers, from, to)
	case f.Match != nil && f.Around > 0 && len(containers) > 0:
		if containers, err = f.matching(ctx, from, to); err == nil {
			entries, err = f.ofEach(ctx, containers, from, to)
		}
	default:
		entries, err = f.newest(ctx, f.Expr, max(f.Client.Page, f.Tail), from, to)
		entries = lastOfEach(entries, f.Tail)
	}
	if err != nil {
		return 0, err
	}
	slices.Reverse(entries) // those of the same time, too
	slices.SortStableFunc(entries, byTime)
	return len(entries), f.past(ctx, entries)
}

// past passes on lines of the beginning, and remembers them.
func (f *Follow) past(ctx context.Context, entries []show.Entry) error {
	entries = f.keep(entries)
	for i := range entries {
		e := &entries[i]
		f.seen.add(e)
		if f.seen.passed != nil {
			f.seen.passed[f.seen.id(e)]++
		}
	}
	return f.put(ctx, entries)
}

// containerOf returns what tells a container from others in a set of labels: its
// names, or all labels but those that differ from line to line.
func containerOf(labels map[string]string) map[string]string {
	out := make(map[string]string)
	for _, name := range []string{"cluster", "namespace", "pod", "container"} {
		if v := labels[name]; v != "" {
			out[name] = v
		}
	}
	if out["pod"] != "" && out["container"] != "" {
		return out
	}
	for name, v := range labels {
		switch name {
		case "stream", "level", "detected_level":
		default:
			out[name] = v
		}
	}
	return out
}

// containers returns what has logs in the range.
func (f *Follow) containers(ctx context.Context, from, to int64) ([]map[string]string, error) {
	form := f.Client.span(from, to)
	form.Set("match[]", f.Expr.Prefix(0).String())
	var a struct {
		Data []map[string]string `json:"data"`
	}
	if err := f.Client.Get(ctx, "/loki/api/v1/series", form, &a); err != nil {
		return nil, err
	}
	by := make(map[string]map[string]string)
	for _, labels := range a.Data {
		if f.Keep != nil && !f.Keep(show.NewStream(labels)) {
			continue
		}
		c := containerOf(labels)
		by[show.LabelText(c)] = c
	}
	return slices.Collect(maps.Values(by)), nil
}

// matching returns what has the newest matches.
func (f *Follow) matching(ctx context.Context, from, to int64) ([]map[string]string, error) {
	entries, err := f.newest(ctx, f.Match, max(f.Client.Page, f.Tail), from, to)
	by := make(map[string]map[string]string)
	had := make(map[*show.Stream]bool)
	for i := range entries {
		if s := entries[i].Stream; !had[s] && len(by) < maxContainers {
			had[s] = true
			c := containerOf(s.Labels)
			by[show.LabelText(c)] = c
		}
	}
	return slices.Collect(maps.Values(by)), err
}

// ofEach gets the last lines of each of some containers.
func (f *Follow) ofEach(ctx context.Context, containers []map[string]string, from, to int64) ([]show.Entry, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var out []show.Entry
	var failed error
	next := 0
	for range min(asking, len(containers)) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= len(containers) || ctx.Err() != nil {
					return
				}
				entries, err := f.ofOne(ctx, containers[i], from, to)
				mu.Lock()
				out = append(out, entries...)
				if err != nil && failed == nil {
					failed = err
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return out, failed
}

func (f *Follow) ofOne(ctx context.Context, labels map[string]string, from, to int64) ([]show.Entry, error) {
	sel, err := logql.ParseMatchers(show.LabelText(labels))
	if err != nil {
		return nil, err
	}
	expr := logql.Narrow(f.Expr, sel.Matchers())
	if f.Match != nil && f.Around > 0 {
		return f.around(ctx, expr, logql.Narrow(f.Match, sel.Matchers()), from, to)
	}
	return f.newest(ctx, expr, f.Tail, from, to)
}

// newest gets the newest lines of a query.
func (f *Follow) newest(ctx context.Context, expr logql.Expr, limit int, from, to int64) ([]show.Entry, error) {
	var out []show.Entry
	var cost Cost
	err := f.Client.Lines(ctx, Want{Query: expr.String(), From: from, To: to, Limit: limit}, &cost, func(page []show.Entry) error {
		out = append(out, page...)
		return nil
	})
	return out, err
}

// lastOfEach keeps the first n lines of each container, of lines that come newest
// first.
func lastOfEach(entries []show.Entry, n int) []show.Entry {
	had := make(map[string]int)
	names := make(map[*show.Stream]string)
	out := entries[:0]
	for _, e := range entries {
		name, ok := names[e.Stream]
		if !ok {
			name = show.LabelText(containerOf(e.Stream.Labels))
			names[e.Stream] = name
		}
		if had[name]++; had[name] <= n {
			out = append(out, e)
		}
	}
	return out
}

// Live reports whether what the client reads grows: a store of this host that no
// process has does not.
func (c *Client) Live() bool {
	_, still := c.HTTP.Transport.(inProcess)
	return !still
}
