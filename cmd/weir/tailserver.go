package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/show"
)

// readServer follows a server, or reads the store of this host.
//
//	targets ─▶ read.Names ─▶ queries ─▶ read.Follow, one each ─▶ read.Merge ─▶ print
func (j *tailJob) readServer(ctx context.Context, c *read.Client, chosen bool) error {
	exprs, matches, err := j.queries(ctx, c)
	if err != nil {
		return err
	}
	var texts []string
	for _, e := range exprs {
		texts = append(texts, e.String())
	}
	live := j.live && c.Live()
	j.announce(c, live, chosen, strings.Join(texts, " and "))
	if f := j.flags; f.events || f.previous || len(f.states) > 0 {
		j.notices.say("--events, --previous and --container-state are for clusters (--kube); what is kept has all lives of a container, and events as {input=\"events\"}")
	}
	if j.flags.around > 0 {
		j.print.match = &lineMatch{include: j.match.include, level: j.match.level}
	}
	cfg := read.MergeConfig{Window: j.window}
	if len(exprs) > 1 {
		cfg.Settle = 2 * time.Second
	} else if !live {
		cfg.Window = 0 // it comes in order
	}
	same := sameStages(exprs)
	var empty atomic.Int32
	var sources []func(context.Context, *read.Merge) error
	for i, e := range exprs {
		sources = append(sources, func(ctx context.Context, m *read.Merge) error {
			f := read.Follow{
				Client: c, Expr: e, From: j.times.from, Until: j.times.to, Tail: j.tail, Live: live,
				Put:    m.Put,
				Notice: func(text string) { j.notices.sign("!", "33", text) },
			}
			if len(matches) > 0 {
				f.Match, f.Around = matches[i], j.flags.around
			}
			f.Empty = func(ctx context.Context) {
				if int(empty.Add(1)) == len(exprs) {
					j.notices.say("nothing yet%s; waiting for lines that match", j.reasons(ctx, c))
				}
			}
			if same {
				f.Keep = notAmong(exprs[:i])
			}
			if !live && f.Until.IsZero() {
				f.Until = time.Now().Add(time.Hour) // clocks differ
			}
			return f.Run(ctx)
		})
	}
	err = j.merge(ctx, cfg, sources...)
	if err == nil && j.print.count == 0 && !live {
		j.nothing(ctx, c)
	}
	if err == nil && j.live && !live {
		j.notices.say("nothing is being written there, as no weir runs with it; start one with 'weir up'")
	}
	return err
}

// queries makes the queries; with -C, those that find the matches, too.
func (j *tailJob) queries(ctx context.Context, c *read.Client) (all, matches []*logql.LogExpr, err error) {
	labels, err := c.Names(ctx, 0, 0)
	if err != nil {
		return nil, nil, err
	}
	names := read.NewNames(labels)
	if !c.Local && !names.Has("service_name") {
		now := time.Now()
		if all, err := c.Everything(ctx, now.Add(-time.Hour).UnixNano(), now.UnixNano()); err == nil && all != "" {
			names.Anything = strings.Trim(all, "{}")
		}
	}
	ask := func(stages string) ([]*logql.LogExpr, error) {
		exprs, err := names.Queries(j.targets, &j.filter, j.text+stages, c.Local)
		var se *logql.SyntaxError
		if errors.As(err, &se) {
			return nil, queryError(j.text+stages, err)
		}
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		return exprs, nil
	}
	if all, err = ask(j.stages()); err == nil && j.flags.around > 0 {
		matches, err = ask(j.excludeStage() + j.matchStages())
	}
	return all, matches, err
}

// announce says what is read.
func (j *tailJob) announce(c *read.Client, live, chosen bool, query string) {
	what := "reading "
	if live {
		what = "tailing "
	}
	or := ""
	if !chosen {
		or = " (--kube reads the cluster)"
	}
	j.notices.say("%s%s%s: %s", what, c.What, or, query)
}

// nothing says that nothing was found, and what may be the reason.
func (j *tailJob) nothing(ctx context.Context, c *read.Client) {
	msg := "nothing found"
	switch {
	case j.times.given:
		msg += " since " + j.times.from.Format(time.DateTime)
	case !c.Local:
		msg += " in the last hour; --since 24h looks further back"
	}
	j.notices.say("%s", msg+j.reasons(ctx, c))
}

// reasons says which of the names that were given there are not, and which they
// may be meant for; "" if all are there.
func (j *tailJob) reasons(ctx context.Context, c *read.Client) string {
	msg := ""
	near := func(label, value, typed string) {
		values, err := c.Values(ctx, label, 0, 0)
		if err != nil || len(values) == 0 || slices.Contains(values, value) {
			return
		}
		msg += fmt.Sprintf("; there is no %s", typed)
		if best := nearestName(value, values); best != "" {
			msg += fmt.Sprintf(", did you mean %s?", best)
		} else if label == "namespace" {
			msg += ": there are " + someOf(values)
		}
	}
	for i := range j.targets {
		switch t := &j.targets[i]; t.Kind {
		case "":
			msg += podReason(ctx, c, t.Name)
		case "pod", "node":
			near(t.Kind, t.Name, t.Kind+"/"+t.Name)
		default:
			near("workload", t.Kind+"/"+t.Name, t.Kind+"/"+t.Name)
		}
		if ns := j.targets[i].Namespace; ns != "" && ns != "*" {
			near("namespace", ns, "namespace "+ns)
		}
	}
	for _, ns := range j.filter.Namespaces {
		near("namespace", ns, "namespace "+ns)
	}
	return msg
}

// podReason says that no pod's name matches a regular expression, if so, and what
// is like it.
func podReason(ctx context.Context, c *read.Client, expr string) string {
	re, err := regexp.Compile(expr)
	if err != nil {
		return ""
	}
	pods, err := c.Values(ctx, "pod", 0, 0)
	if err != nil || slices.ContainsFunc(pods, re.MatchString) {
		return ""
	}
	if len(pods) == 0 {
		return "; no pod is known there"
	}
	msg := "; no pod matches " + expr
	names := slices.Clone(pods)
	if workloads, err := c.Values(ctx, "workload", 0, 0); err == nil {
		for _, w := range workloads {
			_, name, _ := strings.Cut(w, "/")
			names = append(names, name)
		}
	}
	if best := nearestName(expr, names); best != "" {
		return msg + ", did you mean " + best + "?"
	}
	return msg + ": there are " + someOf(pods)
}

// someOf lists the first few of some names.
func someOf(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d others", strings.Join(names[:most], ", "), len(names)-most)
}

// notAmong returns a test for streams that none of the queries finds for sure.
// It works only if they differ in nothing but their selectors.
func notAmong(exprs []*logql.LogExpr) func(*show.Stream) bool {
	if len(exprs) == 0 {
		return nil
	}
	return func(s *show.Stream) bool {
		labels := streamLabels(s)
		return !slices.ContainsFunc(exprs, func(e *logql.LogExpr) bool { return e.Selector().Stream(labels) == logql.Yes })
	}
}

// sameStages reports whether the queries differ only in their selectors.
func sameStages(exprs []*logql.LogExpr) bool {
	stages := func(e *logql.LogExpr) string { return strings.TrimPrefix(e.String(), e.Prefix(0).String()) }
	return !slices.ContainsFunc(exprs, func(e *logql.LogExpr) bool { return stages(e) != stages(exprs[0]) })
}

// streamLabels returns the labels of a stream, sorted.
func streamLabels(s *show.Stream) []logql.Label {
	out := make([]logql.Label, 0, len(s.Labels))
	for k, v := range s.Labels {
		out = append(out, logql.Label{Name: k, Value: v})
	}
	slices.SortFunc(out, func(a, b logql.Label) int { return strings.Compare(a.Name, b.Name) })
	return out
}
