package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/kube"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/show"
)

// readCluster reads over the Kubernetes API.
//
//	targets ─▶ kubePick, one each for what differs ─▶ kube.Logs.Read ─▶ read.Merge ─▶ filters ─▶ print
//
// Something that is missing is told where it is, and by the exit code of a
// command that ends by itself.
func (j *tailJob) readCluster(parent context.Context, chosen bool) error {
	ctx := parent
	logs, err := j.flags.openLogs()
	if err != nil {
		return err
	}
	defer logs.Close()
	expr, err := j.clusterQuery()
	if err != nil {
		return err
	}
	picks := j.picks(expr)
	if !j.match.empty() || j.flags.around > 0 {
		j.print.match = &j.match
	}
	j.announceCluster(logs, picks, chosen)
	cfg := read.MergeConfig{Window: j.window, Settle: 2 * time.Second}
	if !j.live {
		cfg.Settle, cfg.Bytes = -1, 256<<20
	}
	if j.window == 0 {
		cfg.Settle = 0
	}
	if !j.times.to.IsZero() && j.live {
		var cancel context.CancelFunc
		if ctx, cancel = context.WithDeadline(ctx, j.times.to.Add(2*time.Second)); !j.times.to.After(time.Now()) {
			j.live = false
			ctx = context.WithoutCancel(ctx)
		}
		defer cancel()
	}
	claims := &claims{by: make(map[claim]int)}
	var missing atomic.Int64
	planned := &planned{picks: len(picks)}
	var sources []func(context.Context, *read.Merge) error
	for i, p := range picks {
		if len(picks) > 1 {
			keep := p.Keep
			p.Keep = func(s *show.Stream) bool { return (keep == nil || keep(s)) && claims.take(s, i) }
		}
		sources = append(sources, func(ctx context.Context, m *read.Merge) error {
			return kubeError(logs.Read(ctx, kube.Reading{
				Pick: p, Since: j.times.from, Until: j.times.to, Tail: int64(j.tail), Previous: j.flags.previous,
				Follow: j.live, MaxRequests: j.flags.maxRequests, Events: j.flags.events,
			}, &tailSink{ctx, m, j.notices, j.live, &missing, planned}))
		})
	}
	err = j.merge(ctx, cfg, sources...)
	if errors.Is(err, context.DeadlineExceeded) && parent.Err() == nil {
		err = nil // --until has come
	}
	if err == nil && parent.Err() == nil && missing.Load() > 0 {
		return &exitError{exitDropped, errors.New("not everything could be read, as said above")}
	}
	return err
}

// tailSink puts what is read of a cluster into order.
type tailSink struct {
	ctx     context.Context
	m       *read.Merge
	notices *notices
	live    bool // containers come and go
	missing *atomic.Int64
	planned *planned
}

// planned counts what several readings found.
type planned struct {
	mu                sync.Mutex
	picks, containers int
}

// Planned implements kube.Planner: silence is explained.
func (s *tailSink) Planned(n int) {
	p := s.planned
	p.mu.Lock()
	p.picks--
	p.containers += n
	none := p.picks == 0 && p.containers == 0
	p.mu.Unlock()
	switch {
	case !none:
	case s.live:
		s.notices.say("no container matches yet; waiting for one")
	default:
		s.notices.say("no container matches")
	}
}

// Lines implements kube.Sink.
func (s *tailSink) Lines(entries []show.Entry) {
	_ = s.m.Put(s.ctx, entries) // it fails when all is over, and the context ends
}

// Notice implements kube.Sink.
func (s *tailSink) Notice(n kube.Notice) {
	if n.Kind == kube.NoticeError {
		s.missing.Add(1)
	}
	if s.live || n.Kind != kube.NoticeJoined && n.Kind != kube.NoticeLeft {
		s.notices.kube(n)
	}
}

// clusterQuery returns the query that lines are filtered with here, nil if there
// is none.
func (j *tailJob) clusterQuery() (*logql.LogExpr, error) {
	if j.text == "" {
		return nil, nil
	}
	text := j.text
	if !strings.HasPrefix(strings.TrimSpace(text), "{") {
		text = `{input=~".+"} ` + text
	}
	expr, err := logql.ParseLog(text)
	if err != nil {
		return nil, queryError(text, err)
	}
	if j.print.pipe, err = logql.NewPipeline(expr, time.Now().UnixNano()); err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return expr, nil
}

// picks makes of the targets what to read: all with a kind are one, and so are
// all regular expressions, unless they name different namespaces or containers.
func (j *tailJob) picks(expr *logql.LogExpr) []kube.Pick {
	base := kube.Pick{
		Namespaces: j.flags.namespaces, All: j.flags.all, Labels: j.flags.selector, Fields: j.flags.fieldSelector, Node: j.flags.node,
		Init: j.flags.init, Ephemeral: j.flags.ephemeral, States: j.flags.states,
	}
	keep := j.keepContainer()
	if expr != nil {
		selectors := []*logql.Selector{expr.Selector()}
		if !base.All && len(base.Namespaces) == 0 {
			base.All, base.Namespaces = j.flags.kubeNamespaces(selectors)
		}
		inner := keep
		keep = func(s *show.Stream) bool { return inner(s) && anyMatches(selectors, s) }
	}
	if len(j.targets) == 0 {
		base.Keep = keep
		return []kube.Pick{base}
	}
	type group struct {
		namespace, container string
		regex                bool
	}
	var order []group
	of := make(map[group][]read.Target)
	for _, t := range j.targets {
		g := group{t.Namespace, t.Container, t.Kind == ""}
		if !slices.Contains(order, g) {
			order = append(order, g)
		}
		of[g] = append(of[g], t)
	}
	var out []kube.Pick
	for _, g := range order {
		p := base
		switch g.namespace {
		case "":
		case "*":
			p.All, p.Namespaces = true, nil
		default:
			p.All, p.Namespaces = false, []string{g.namespace}
		}
		var pods []*regexp.Regexp
		for _, t := range of[g] {
			if g.regex {
				pods = append(pods, regexp.MustCompile(t.Name)) // ParseTarget has looked at it
				continue
			}
			p.Objects = append(p.Objects, kube.Object{Kind: t.Kind, Name: t.Name})
		}
		p.Keep = func(s *show.Stream) bool {
			if g.container != "" && s.Labels["container"] != g.container {
				return false
			}
			return keep(s) && (len(pods) == 0 || anyRegexp(pods, s.Labels["pod"]))
		}
		out = append(out, p)
	}
	return out
}

func anyRegexp(list []*regexp.Regexp, s string) bool {
	return slices.ContainsFunc(list, func(re *regexp.Regexp) bool { return re.MatchString(s) })
}

// keepContainer returns what -c, -E and --exclude-pod say.
func (j *tailJob) keepContainer() func(*show.Stream) bool {
	compile := func(list []string) []*regexp.Regexp {
		out, _ := regexps("", list) // options has looked at them
		return out
	}
	only, not, notPods := compile(j.flags.containers), compile(j.flags.noContainers), compile(j.flags.noPods)
	return func(s *show.Stream) bool {
		c := s.Labels["container"]
		return (len(only) == 0 || anyRegexp(only, c)) && !anyRegexp(not, c) && !anyRegexp(notPods, s.Labels["pod"])
	}
}

// announceCluster says what is read.
func (j *tailJob) announceCluster(logs *kube.Logs, picks []kube.Pick, chosen bool) {
	var where []string
	for _, p := range picks {
		text := "namespace " + strings.Join(p.Namespaces, ", ")
		switch {
		case p.All:
			text = "all namespaces"
		case len(p.Namespaces) == 0:
			text = "namespace " + logs.Namespace() + " (-A for all)"
		}
		if !slices.Contains(where, text) {
			where = append(where, text)
		}
	}
	how := "reading"
	if j.live {
		how = "tailing"
	}
	why := ""
	if !chosen {
		why = " through its API, as no weir runs here"
	}
	last := ""
	if j.tail >= 0 && !j.live {
		last = fmt.Sprintf("; the last %d lines of each container, --tail -1 for all", j.tail)
	}
	j.notices.say("%s %s%s: %s%s", how, logs, why, strings.Join(where, " and "), last)
}

func (m *lineMatch) empty() bool { return len(m.include) == 0 && len(m.exclude) == 0 && m.level == 0 }

// claims gives each container to one of several readings that find it.
type claims struct {
	mu sync.Mutex
	by map[claim]int
}

type claim struct{ uid, container string }

func (c *claims) take(s *show.Stream, by int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := claim{s.Labels["pod_uid"], s.Labels["container"]}
	if k.uid == "" {
		return by == 0 || s.Labels["input"] != "events"
	}
	owner, taken := c.by[k]
	if !taken {
		c.by[k] = by
	}
	return !taken || owner == by
}
