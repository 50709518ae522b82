package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weirlog/weir/show"
)

// States of containers.
const (
	stateRunning    = "running"
	stateWaiting    = "waiting"
	stateTerminated = "terminated"
)

// reader is one Read.
type reader struct {
	l      *Logs
	r      Reading
	s      Sink
	scopes []scope
	bounds bounds
	slots  chan struct{} // one for each log that is open

	wg sync.WaitGroup

	mu         sync.Mutex
	containers map[containerKey]*container // nil: not wanted
	pods       map[types.UID]*pickedPod
	denied     map[string]bool // namespaces of which it was told that logs are not allowed
	failed     error           // the first container whose log could not be read at all
	read       int             // containers whose log could be read

	rotated atomic.Bool // it was told that kubelet rotates what is followed
}

type containerKey struct {
	uid  types.UID
	name string
}

// pickedPod is a pod of which containers are read, or will be.
type pickedPod struct {
	target   // the stream is that of its first container
	owners   []Object
	existing bool // it was there when reading began
}

// bounds are times in nanoseconds: since ≤ t < until.
type bounds struct{ since, until int64 }

func newReader(l *Logs, r Reading, s Sink) *reader {
	rd := &reader{
		l: l, r: r, s: s, slots: make(chan struct{}, r.MaxRequests),
		bounds:     bounds{math.MinInt64, math.MaxInt64 - 2e9},
		containers: make(map[containerKey]*container), pods: make(map[types.UID]*pickedPod), denied: make(map[string]bool),
	}
	if !r.Since.IsZero() {
		rd.bounds.since = r.Since.UnixNano()
	}
	if !r.Until.IsZero() {
		rd.bounds.until = r.Until.UnixNano()
	}
	return rd
}

func (rd *reader) notice(kind string, s *show.Stream, text string) {
	rd.s.Notice(Notice{Kind: kind, Stream: s, Text: text, Time: time.Now()})
}

// container is one that is read.
type container struct {
	target
	rd   *reader
	role role
	cur  cursor // of the goroutine that reads
	tail int64  // of the first request
	// current says that the log was read as it was written; see lag.
	current bool
	// whole says that the former life was read to its end: what kubelet says of
	// its log, which may be gone, is no news.
	whole    bool
	rotation rotation

	mu       sync.Mutex
	status   condition
	life     int32         // that is being read, -1 before
	changed  chan struct{} // has room for one: status is new
	cut      context.CancelFunc
	overdue  *time.Timer // cuts a log that does not end
	told     map[string]bool
	existing bool
}

func (c *container) notice(kind, text string) { c.rd.notice(kind, c.stream, text) }

// pick returns the containers of a pod that are wanted and new, after it has
// told the known ones what is new of them.
func (rd *reader) pick(o *corev1.Pod, existing bool) (fresh []*container) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	load := workload(o, isStatic(o))
	if !slices.ContainsFunc(rd.scopes, func(s scope) bool {
		return (s.namespace == "" || s.namespace == o.Namespace) && s.matches(o, load)
	}) {
		return nil
	}
	p := rd.pods[o.UID]
	for _, seen := range podContainers(o) {
		key := containerKey{o.UID, seen.name}
		c, known := rd.containers[key]
		if known && c != nil {
			c.update(seen.condition)
		}
		if known || !rd.r.wanted(&seen) {
			continue
		}
		if o.Spec.NodeName == "" && seen.state == "" && rd.r.Follow {
			continue // its labels are not complete before a node has it
		}
		t := newTarget(o, load, seen.name)
		if rd.r.Keep != nil && !rd.r.Keep(t.stream) {
			rd.containers[key] = nil
			continue
		}
		c = &container{target: t, rd: rd, role: seen.role, life: -1, tail: -1, existing: existing, changed: make(chan struct{}, 1), told: make(map[string]bool)}
		if existing {
			c.tail = rd.r.Tail
		}
		c.status = seen.condition
		rd.containers[key] = c
		fresh = append(fresh, c)
		if p == nil {
			p = &pickedPod{target: t, owners: owners(o, load), existing: existing}
			rd.pods[o.UID] = p
		}
	}
	if why := unschedulable(o); why != "" && p == nil && rd.r.Follow && rd.keeps(o, load) {
		t := newTarget(o, load, "")
		delete(t.stream.Labels, "container")
		t.stream = show.NewStream(t.stream.Labels)
		p = &pickedPod{target: t, owners: owners(o, load), existing: existing}
		rd.pods[o.UID] = p
		rd.notice(NoticeWarning, t.stream, "waits for a node: "+plain(why))
	}
	return fresh
}

// keeps reports whether any of a pod's containers would be read.
func (rd *reader) keeps(o *corev1.Pod, load string) bool {
	for _, seen := range podContainers(o) {
		if rd.r.wanted(&seen) && (rd.r.Keep == nil || rd.r.Keep(newTarget(o, load, seen.name).stream)) {
			return true
		}
	}
	return false
}

// owners are what a pod belongs to.
func owners(o *corev1.Pod, load string) []Object {
	var out []Object
	for i := range o.OwnerReferences {
		r := &o.OwnerReferences[i]
		out = append(out, Object{o.Namespace, lower(r.Kind), r.Name})
	}
	if kind, name, ok := cutWorkload(load); ok && kind != "pod" {
		if w := (Object{o.Namespace, kind, name}); !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}

// once reads what there is.
func (rd *reader) once(ctx context.Context) error {
	if err := rd.plan(ctx); err != nil {
		return err
	}
	var all []*container
	if err := rd.list(ctx, func(o *corev1.Pod) { all = append(all, rd.pick(o, true)...) }); err != nil {
		return err
	}
	if err := rd.nothing(ctx); err != nil {
		return err
	}
	if rd.r.NoLogs {
		all = nil
	}
	// As many goroutines as logs may be open: a cluster may have ten thousand.
	work := make(chan *container)
	for range min(rd.r.MaxRequests, len(all)) {
		rd.wg.Go(func() {
			for c := range work {
				c.readAll(ctx)
			}
		})
	}
	if p, ok := rd.s.(Planner); ok {
		p.Planned(len(all))
	}
	for _, c := range all {
		select {
		case work <- c:
		case <-ctx.Done():
		}
	}
	close(work)
	var err error
	if rd.r.Events {
		err = rd.listEvents(ctx)
	}
	rd.wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return cmp.Or(err, rd.verdict())
}

// Planner is a Sink that wants to know how many containers will be read, where
// that is known: without Follow. Each ends with a notice that it left.
type Planner interface{ Planned(containers int) }

// verdict is an error if no log at all could be read.
func (rd *reader) verdict() error {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	if rd.read == 0 {
		return rd.failed
	}
	return nil
}

// plan works out what is listed.
func (rd *reader) plan(ctx context.Context) (err error) {
	rd.scopes, err = rd.l.scopes(ctx, &rd.r.Pick)
	return err
}

// narrow makes the context's namespace of all of them, where listing all is not
// allowed, and reports whether it did.
func (rd *reader) narrow(err error) bool {
	if !rd.r.All || !apierrors.IsForbidden(err) {
		return false
	}
	p := rd.r.Pick
	p.All, p.Namespaces = false, []string{rd.l.namespace}
	rd.notice(NoticeError, nil, fmt.Sprintf("only namespace %s is read: %s", rd.l.namespace, err))
	rd.r.Pick = p
	return true
}

// list lists the pods of all scopes.
func (rd *reader) list(ctx context.Context, f func(*corev1.Pod)) error {
	var first error
	good := 0
	for i := range rd.scopes {
		err := rd.l.listPods(ctx, &rd.scopes[i], f)
		switch {
		case err == nil:
			good++
		case ctx.Err() != nil:
			return ctx.Err()
		case rd.narrow(err):
			if err := rd.plan(ctx); err != nil {
				return err
			}
			return rd.list(ctx, f)
		case !apierrors.IsForbidden(err):
			return err
		case first == nil:
			first = err
		}
		if err != nil && len(rd.scopes) > 1 {
			rd.notice(NoticeError, nil, err.Error())
		}
	}
	if good == 0 {
		return first
	}
	return nil
}

// nothing returns an error if nothing is picked because what was named is not
// there.
func (rd *reader) nothing(ctx context.Context) error {
	rd.mu.Lock()
	n := len(rd.pods)
	rd.mu.Unlock()
	if n > 0 {
		return nil
	}
	for _, s := range rd.scopes {
		if s.namespace != "" && s.namespace != rd.l.namespace {
			if err := rd.l.missing(ctx, "", Object{Kind: "namespace", Name: s.namespace}); err != nil {
				return err
			}
		}
		for _, o := range s.objects {
			if err := rd.l.missing(ctx, s.namespace, o.Object); err != nil {
				return err
			}
		}
	}
	return nil
}

// deny tells once for each namespace that its logs may not be read.
func (rd *reader) deny(c *container, err error) {
	rd.mu.Lock()
	news := !rd.denied[c.namespace]
	rd.denied[c.namespace] = true
	rd.mu.Unlock()
	if news {
		rd.notice(NoticeError, nil, err.Error())
	}
}

// outcome notes whether a container's log could be read.
func (rd *reader) outcome(err error) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	switch {
	case err == nil:
		rd.read++
	case rd.failed == nil:
		rd.failed = err
	}
}

// readAll reads a container's log without following it.
func (c *container) readAll(ctx context.Context) {
	if !c.status.lived {
		c.explainWaiting()
		c.notice(NoticeLeft, "has not started")
		return
	}
	if c.rd.r.Previous && c.status.former {
		if err := c.attempts(ctx, ask{previous: true, tail: c.tail}); err != nil && !apierrors.IsBadRequest(err) {
			c.fail(ctx, err)
		}
		c.cur = cursor{}
	}
	err := c.attempts(ctx, ask{tail: c.tail})
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		c.fail(ctx, err)
	} else {
		c.rd.outcome(nil)
		c.tellRotated(ctx)
	}
	c.notice(NoticeLeft, "")
}

// quietStart is how long after its start a container may write nothing without
// being suspected of having written something that is gone.
const quietStart = time.Minute

// tellRotated tells of a log that begins later than asked for, and so much later
// than its container that kubelet has probably rotated away its beginning.
func (c *container) tellRotated(ctx context.Context) {
	r := &c.rd.r
	from := later(r.Since, c.status.started).Add(quietStart)
	switch {
	case r.Tail >= 0, c.status.started.IsZero(), c.cur.any && !time.Unix(0, c.cur.first).After(from):
		return
	case !c.cur.any && c.rd.l.serverTime().Before(c.status.started.Add(quietStart)):
		return
	}
	body, err := c.rd.l.open(ctx, &c.target, ask{tail: -1, bytes: maxPrefix}, time.Time{})
	if err != nil {
		return // it was only to see
	}
	defer body.Close()
	head, err := io.ReadAll(io.LimitReader(body, maxPrefix))
	if err != nil {
		return
	}
	if len(head) == 0 {
		c.notice(NoticeEmpty, "its log is empty: it has written nothing, or kubelet has rotated away what it wrote")
		return
	}
	stamp, _, _ := strings.Cut(string(head), " ")
	begins, err := time.Parse(time.RFC3339Nano, stamp)
	if err == nil && begins.After(from) {
		c.notice(NoticeRotated, "its log begins at "+begins.Local().Format(time.DateTime)+" only: kubelet hands out the newest file, and may have rotated away what was written before")
	}
}

// attempts reads a log to its end, taking up cut connections.
func (c *container) attempts(ctx context.Context, a ask) error {
	const most = 5
	if !c.rd.r.Until.IsZero() && a.tail >= 0 {
		return c.lastBefore(ctx, a, most)
	}
	for n := 0; ; n++ {
		err := c.pull(ctx, a, true)
		if errors.Is(err, errEnough) {
			return nil
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		if final(err) || n == most {
			return err
		}
		if c.cur.any {
			a.tail, a.same = -1, true
		}
		if !pause(ctx, backoff(n)) {
			return ctx.Err()
		}
	}
}

// fail tells what could not be read.
func (c *container) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	told := c.rd.l.explain(err, "get", "pods/log", c.namespace)
	c.rd.outcome(told)
	switch {
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		c.rd.deny(c, told)
	case apierrors.IsNotFound(err):
		c.notice(NoticeWarning, "the pod is gone, and its log with it")
	default:
		c.notice(NoticeError, "its log cannot be read: "+reason(err))
	}
}

// final reports whether trying again cannot help.
func final(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) || apierrors.IsBadRequest(err)
}

// lastBefore reads the last lines before Until, which the API cannot be asked
// for.
func (c *container) lastBefore(ctx context.Context, a ask, most int) error {
	keep := &ring{most: a.tail, Sink: c.rd.s}
	rd := c.ringReader(keep)
	sub := &container{target: c.target, rd: rd, status: c.status, changed: c.changed, told: c.told}
	a.tail = -1
	var err error
	for n := 0; n <= most; n++ {
		if err = sub.pull(ctx, a, true); errors.Is(err, errEnough) {
			err = nil
		}
		if err == nil || final(err) || !pause(ctx, backoff(n)) {
			break
		}
		a.same = sub.cur.any
	}
	if out := keep.last(); len(out) > 0 {
		c.rd.s.Lines(out)
	}
	return err
}

// ringReader is a reader with the same bounds that gives lines to a ring.
func (c *container) ringReader(s Sink) *reader {
	return &reader{l: c.rd.l, r: c.rd.r, s: s, bounds: c.rd.bounds, denied: make(map[string]bool)}
}

// ring keeps the last lines.
type ring struct {
	Sink
	most  int64
	lines []show.Entry
}

// Lines implements Sink.
func (r *ring) Lines(entries []show.Entry) {
	r.lines = append(r.lines, entries...)
	if n := int64(len(r.lines)); n > 2*r.most+1000 {
		r.lines = append([]show.Entry(nil), r.lines[n-r.most:]...)
	}
}

func (r *ring) last() []show.Entry {
	return r.lines[max(0, int64(len(r.lines))-r.most):]
}

// backoff is how long to wait before the n-th attempt after the first.
func backoff(n int) time.Duration {
	d := 100 * time.Millisecond << min(n, 6)
	return min(d, 5*time.Second)
}

// pause waits and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
