package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// overdue is how long a log may go on after the container has ended. kubelet
// ends it by itself, unless its node is gone.
const overdue = 10 * time.Second

// follow reads until ctx ends.
func (rd *reader) follow(ctx context.Context) error {
	for {
		if err := rd.plan(ctx); err != nil {
			return ignoreEnd(ctx, err)
		}
		err := rd.followScopes(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if !rd.narrow(err) {
			return err
		}
	}
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// followScopes watches the pods and reads the containers that are wanted.
func (rd *reader) followScopes(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f := &following{rd: rd, ctx: ctx, cancel: cancel, unsynced: len(rd.scopes)}
	var watches sync.WaitGroup
	for i := range rd.scopes {
		w := &podFeed{f: f, scope: &rd.scopes[i], known: make(map[types.UID]bool)}
		watches.Go(func() { w.run(ctx) })
	}
	if rd.r.Events {
		watches.Go(func() { rd.followEvents(ctx, f) })
	}
	<-ctx.Done()
	watches.Wait()
	rd.wg.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return nil
}

// following joins the watches of the scopes: reading begins when all of them
// have told what is there.
type following struct {
	rd     *reader
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	unsynced int
	refused  int // scopes that could not be listed
	pending  []*container
	synced   bool
}

// add begins to read containers, or notes them until all scopes are known.
func (f *following) add(list []*container) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.synced {
		f.pending = append(f.pending, list...)
		return
	}
	f.start(list)
}

func (f *following) start(list []*container) {
	if f.rd.r.NoLogs {
		return
	}
	for _, c := range list {
		f.rd.wg.Go(func() { c.follow(f.ctx) })
	}
}

// done notes that a scope is known, or why it cannot be.
func (f *following) done(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unsynced--
	if err != nil {
		f.refused++
		if !apierrors.IsForbidden(err) || f.refused == len(f.rd.scopes) {
			f.cancel(err)
			return
		}
		f.rd.notice(NoticeError, nil, err.Error())
	}
	if f.unsynced > 0 {
		return
	}
	n := 0
	for _, c := range f.pending {
		if c.status.lived && !c.status.over && !f.rd.r.NoLogs {
			n++
		}
	}
	switch {
	case n > f.rd.r.MaxRequests:
		f.cancel(&TooManyError{n, f.rd.r.MaxRequests})
		return
	case len(f.pending) == 0 && f.refused == 0:
		f.rd.wg.Go(func() {
			if err := f.rd.nothing(f.ctx); err != nil {
				f.cancel(err)
			}
		})
	}
	f.synced = true
	if p, ok := f.rd.s.(Planner); ok {
		p.Planned(len(f.pending))
	}
	f.start(f.pending)
	f.pending = nil
}

// TooManyError says that more containers match than logs may be followed.
type TooManyError struct{ Logs, Max int }

func (e *TooManyError) Error() string {
	return fmt.Sprintf("%d containers match, and no more than %d logs are followed at a time", e.Logs, e.Max)
}

// update takes what the API server tells of the container.
func (c *container) update(s condition) {
	c.mu.Lock()
	s.gone = s.gone || c.status.gone
	c.status = s
	if c.life >= 0 && c.cut != nil && c.overdue == nil && s.ended(c.life) {
		c.overdue = time.AfterFunc(overdue, c.cut)
	}
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *container) deleted() {
	c.mu.Lock()
	s := c.status
	c.mu.Unlock()
	s.gone = true
	c.update(s)
}

func (c *container) now() condition {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// wait waits for news of the container, or some time unless d is 0, and reports
// whether ctx goes on.
func (c *container) wait(ctx context.Context, d time.Duration) bool {
	var timer <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-c.changed:
	case <-timer:
	}
	return true
}

// follow reads all lives of the container from now on.
func (c *container) follow(ctx context.Context) {
	life := int32(-1)
	for ctx.Err() == nil {
		st := c.now()
		switch {
		case st.lived && st.restarts > life:
			again := c.live(ctx, life, st)
			life = st.restarts
			if !again {
				return
			}
		case st.gone, st.over && life >= 0:
			return
		default:
			c.explainWaiting()
			if !c.wait(ctx, 0) {
				return
			}
		}
	}
}

// live reads one life of the container, and what was left of the one before it.
// It reports whether there may be another.
func (c *container) live(ctx context.Context, former int32, st condition) bool {
	if !c.slot(ctx) {
		return false
	}
	defer func() { <-c.rd.slots }()
	life := st.restarts
	switch {
	case former >= 0:
		if n := life - former - 1; n > 0 {
			c.notice(NoticeWarning, fmt.Sprintf("%d lives of the container in between cannot be read: Kubernetes keeps the log of the last one only", n))
		}
		c.previous(ctx, ask{previous: true, same: life == former+1, tail: -1})
	case c.rd.r.Previous && st.former:
		c.previous(ctx, ask{previous: true, tail: c.tail})
	}
	text := ""
	if life > 0 {
		text = fmt.Sprintf("restart %d", life)
	}
	c.notice(NoticeJoined, text)
	a := ask{tail: -1}
	if former < 0 {
		a.tail = c.tail
	}
	c.whole = false
	again := c.followLife(ctx, a, life)
	if ctx.Err() == nil {
		c.notice(NoticeLeft, c.how(life))
	}
	return again
}

// slot waits until another log may be open.
func (c *container) slot(ctx context.Context) bool {
	select {
	case c.rd.slots <- struct{}{}:
		return true
	default:
	}
	c.notice(NoticeWarning, fmt.Sprintf("waits until another container ends: %d logs are followed already", cap(c.rd.slots)))
	select {
	case c.rd.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// previous reads the log of the former life. That there is none any more is no
// news.
func (c *container) previous(ctx context.Context, a ask) {
	for n := range 4 {
		err := c.pull(ctx, a, true)
		switch {
		case err == nil, errors.Is(err, errEnough), ctx.Err() != nil, apierrors.IsBadRequest(err), apierrors.IsNotFound(err):
			return
		case final(err), n == 3:
			c.fail(ctx, err)
			return
		}
		if c.cur.any {
			a.tail = -1
		}
		if !pause(ctx, backoff(n)) {
			return
		}
	}
}

// followLife reads a life of the container to its end. It reports whether there
// may be another.
func (c *container) followLife(ctx context.Context, a ask, life int32) bool {
	c.mu.Lock()
	c.life = life
	c.mu.Unlock()
	for n := 0; ; n++ {
		st := c.now()
		if st.restarts > life {
			return true // the rest is read as that of the former life
		}
		ended := st.ended(life)
		a.follow = !ended
		began := c.rd.l.serverTime()
		read := c.cur.count
		err := c.pullUntilCut(ctx, a, ended)
		if ctx.Err() != nil {
			return false
		}
		if c.cur.count != read {
			n = 0
		}
		switch {
		case c.cur.any:
			a.tail, a.same = -1, true
		case a.tail == 0 && c.cur.floor.IsZero():
			a.tail, c.cur.floor = -1, began
		}
		switch {
		case errors.Is(err, errEnough):
			return false
		case ended && err == nil:
			c.whole = true
			return !st.over && !st.gone
		case err == nil:
			// The container has ended and the API server does not know it yet; or
			// kubelet's connection was cut.
		case apierrors.IsNotFound(err), apierrors.IsBadRequest(err):
			if ended || n > 10 {
				return !st.over && !st.gone && !apierrors.IsNotFound(err)
			}
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err) && n > 2:
			c.fail(ctx, err)
			return false
		case ended && n > 10:
			c.fail(ctx, err)
			return !st.over && !st.gone
		default:
			c.trouble(err)
		}
		if !c.wait(ctx, backoff(n)) {
			return false
		}
	}
}

// pullUntilCut is pull, which ends some time after the container has.
func (c *container) pullUntilCut(ctx context.Context, a ask, whole bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	if a.follow {
		c.cut = cancel
		if c.status.ended(c.life) {
			c.overdue = time.AfterFunc(overdue, cancel)
		}
	}
	c.mu.Unlock()
	err := c.pull(ctx, a, whole)
	c.mu.Lock()
	c.cut = nil
	if c.overdue != nil {
		c.overdue.Stop()
		c.overdue = nil
	}
	c.mu.Unlock()
	return err
}

// trouble tells of a connection that was cut and cannot be had again: of the
// cluster once, of what kubelet says once for each container.
func (c *container) trouble(err error) {
	if unreachable(err) {
		c.rd.away(err)
		return
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return // cut in the middle: it is taken up again
	}
	text := reason(err)
	c.mu.Lock()
	told := c.told[text]
	c.told[text] = true
	c.mu.Unlock()
	if !told {
		c.notice(NoticeWarning, "its log cannot be read, trying again: "+text)
	}
}

// away and back tell that the API server does not answer, and that it does.
func (rd *reader) away(err error) {
	if rd.l.health.set(true) {
		rd.notice(NoticeWarning, nil, fmt.Sprintf("%s does not answer, trying again: %s", rd.l.name, reason(err)))
	}
}

func (rd *reader) back() {
	if rd.l.health.set(false) {
		rd.notice(NoticeWarning, nil, rd.l.name+" answers again")
	}
}

// explainWaiting tells once why a container does not start.
func (c *container) explainWaiting() {
	st := c.now()
	if st.state != stateWaiting {
		return
	}
	switch st.reason {
	case "", "ContainerCreating", "PodInitializing":
		return
	}
	key := st.reason
	if key == "ErrImagePull" {
		key = "ImagePullBackOff" // they take turns
	}
	if key == "CrashLoopBackOff" {
		key += fmt.Sprint(st.restarts)
	}
	c.mu.Lock()
	told := c.told[key]
	c.told[key] = true
	c.mu.Unlock()
	if told {
		return
	}
	text := "waiting: " + plain(st.reason)
	if st.message != "" {
		text += ": " + plain(st.message)
	}
	c.notice(NoticeWarning, text)
}

// how says how a life ended.
func (c *container) how(life int32) string {
	st := c.now()
	switch {
	case st.restarts == life && (st.state == stateTerminated || st.state == stateWaiting && st.lived):
		text := fmt.Sprintf("exit code %d", st.exit)
		if r := plain(st.reason); r != "" && r != "Error" && r != "CrashLoopBackOff" {
			text = strings.TrimSpace(r + ", " + text)
		}
		return text
	case st.gone:
		return "the pod was deleted"
	}
	return ""
}

func lower(s string) string { return strings.ToLower(s) }

func cutWorkload(load string) (kind, name string, ok bool) { return strings.Cut(load, "/") }

// gone notes that a pod was deleted.
func (rd *reader) gone(uid types.UID) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	for key, c := range rd.containers {
		if key.uid != uid {
			continue
		}
		if c != nil {
			c.deleted()
		}
		delete(rd.containers, key) // uids do not come back
	}
}
