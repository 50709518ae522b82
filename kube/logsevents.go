package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weirlog/weir/show"
)

// eventsOf are the Events about what a reader has picked.
type eventsOf struct {
	rd      *reader
	mu      sync.Mutex
	streams map[corev1.ObjectReference]*show.Stream
	seen    map[types.UID]string // version told last
	later   []*corev1.Event      // about what is not known yet: an Event may come before its pod
}

func newEvents(rd *reader) *eventsOf {
	return &eventsOf{rd: rd, streams: make(map[corev1.ObjectReference]*show.Stream), seen: make(map[types.UID]string)}
}

// maxEventsHeld bounds what is remembered of Events.
const maxEventsHeld = 2000

// listEvents reads the Events there are.
func (rd *reader) listEvents(ctx context.Context) error {
	ev := newEvents(rd)
	var all []*corev1.Event
	for i := range rd.scopes {
		o := metav1.ListOptions{Limit: 500}
		for {
			list := &corev1.EventList{}
			ns := rd.scopes[i].namespace
			err := rd.l.rest.Get().NamespaceIfScoped(ns, ns != "").Resource("events").VersionedParams(&o, metav1.ParameterCodec).Do(ctx).Into(list)
			if err != nil {
				rd.notice(NoticeWarning, nil, rd.l.explain(err, "list", "events", ns).Error())
				break
			}
			for j := range list.Items {
				all = append(all, &list.Items[j])
			}
			if o.Continue = list.Continue; o.Continue == "" {
				break
			}
		}
	}
	slices.SortFunc(all, func(a, b *corev1.Event) int { return eventTime(a).Compare(eventTime(b)) })
	for _, e := range all {
		ev.take(e)
	}
	return nil
}

// followEvents reads the Events from now on, and those since Since.
func (rd *reader) followEvents(ctx context.Context, f *following) {
	ev := newEvents(rd)
	var wg sync.WaitGroup
	for i := range rd.scopes {
		ns := rd.scopes[i].namespace
		list := &listing{
			l: rd.l, resource: "events", namespace: ns,
			empty: func() runtime.Object { return &corev1.EventList{} }, item: &corev1.Event{}, store: &eventFeed{ev: ev, began: rd.l.serverTime()},
			failed:      func(err error) { rd.notice(NoticeWarning, nil, err.Error()) },
			outcome:     rd.request,
			watchDenied: func(err error) { rd.notice(NoticeWarning, nil, err.Error()) },
		}
		wg.Go(func() { list.run(ctx) })
	}
	wg.Wait()
}

// eventFeed brings the Events of a scope.
type eventFeed struct {
	ev    *eventsOf
	began time.Time
	again bool
}

// Add takes an Event that the server tells.
func (w *eventFeed) Add(o any) error {
	if e, ok := o.(*corev1.Event); ok {
		w.ev.take(e)
	}
	return nil
}

// Update is Add: an Event that happens again counts up.
func (w *eventFeed) Update(o any) error { return w.Add(o) }

// Delete has nothing to do: Events are forgotten after an hour.
func (w *eventFeed) Delete(any) error { return nil }

// Replace takes all Events. The first time those count that are in the range,
// and without one those of the last minute, which may be about why nothing
// comes.
func (w *eventFeed) Replace(list []any, _ string) error {
	var all []*corev1.Event
	for _, o := range list {
		e, ok := o.(*corev1.Event)
		if !ok || !w.again && w.ev.rd.r.Since.IsZero() && eventTime(e).Before(w.began.Add(-time.Minute)) {
			continue
		}
		all = append(all, e)
	}
	w.again = true
	slices.SortFunc(all, func(a, b *corev1.Event) int { return eventTime(a).Compare(eventTime(b)) })
	for _, e := range all {
		w.ev.take(e)
	}
	return nil
}

// Resync has nothing to do.
func (w *eventFeed) Resync() error { return nil }

// eventTime is when it happened last.
func eventTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	case !e.FirstTimestamp.IsZero():
		return e.FirstTimestamp.Time
	}
	return e.CreationTimestamp.Time
}

// take gives an Event to the sink if it is about what is read.
func (v *eventsOf) take(e *corev1.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	again := v.later
	v.later = nil
	for _, old := range append(again, e) {
		if v.known(old) {
			v.tell(old)
		} else if len(v.later) < maxEventsHeld {
			v.later = append(v.later, old)
		}
	}
}

// known reports whether an Event is about a pod that is read, or what it
// belongs to.
func (v *eventsOf) known(e *corev1.Event) bool {
	of := &e.InvolvedObject
	v.rd.mu.Lock()
	defer v.rd.mu.Unlock()
	if of.Kind == "Pod" {
		return v.rd.pods[of.UID] != nil
	}
	o := Object{of.Namespace, lower(of.Kind), of.Name}
	for _, p := range v.rd.pods {
		if slices.Contains(p.owners, o) {
			return true
		}
	}
	return false
}

// tell gives out an Event that is news.
func (v *eventsOf) tell(e *corev1.Event) {
	at := eventTime(e).UnixNano()
	if v.seen[e.UID] == e.ResourceVersion || at < v.rd.bounds.since || at >= v.rd.bounds.until {
		return
	}
	if len(v.seen) >= maxEventsHeld {
		clear(v.seen)
	}
	v.seen[e.UID] = e.ResourceVersion
	count := e.Count
	if e.Series != nil {
		count = e.Series.Count
	}
	line := fmt.Sprintf("%s %s: %s", cmp.Or(e.Type, "Normal"), e.Reason, strings.TrimSpace(e.Message))
	if count > 1 {
		line += fmt.Sprintf(" (x%d)", count)
	}
	level := "info"
	if e.Type == corev1.EventTypeWarning {
		level = "warn"
	}
	v.rd.s.Lines([]show.Entry{{
		Time: at, Line: line, Stream: v.stream(e),
		Meta: map[string]string{"level": level, "reason": e.Reason, "object": lower(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name},
	}})
}

// stream is that of the object: labels of its pod if it is one.
func (v *eventsOf) stream(e *corev1.Event) *show.Stream {
	of := e.InvolvedObject
	of.ResourceVersion, of.APIVersion = "", ""
	if s := v.streams[of]; s != nil {
		return s
	}
	l := map[string]string{"namespace": cmp.Or(of.Namespace, e.Namespace), "input": "events"}
	if of.Kind == "Pod" {
		l["pod"] = of.Name
		v.rd.mu.Lock()
		if p := v.rd.pods[of.UID]; p != nil {
			for _, k := range []string{"node", "workload", "app", "service_name", "pod_uid"} {
				if s := p.stream.Labels[k]; s != "" {
					l[k] = s
				}
			}
		}
		v.rd.mu.Unlock()
	} else {
		l["workload"] = lower(of.Kind) + "/" + of.Name
	}
	if _, name, ok := strings.Cut(of.FieldPath, "{"); ok {
		l["container"] = strings.TrimSuffix(name, "}")
	}
	if len(v.streams) >= maxEventsHeld {
		clear(v.streams)
	}
	s := show.NewStream(l)
	v.streams[of] = s
	return s
}
