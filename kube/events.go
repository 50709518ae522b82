package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"

	"github.com/zeebo/xxh3"
)

// PodRef names a pod.
type PodRef struct{ Namespace, Name, UID string }

// EventsConfig is what NewEvents needs to know.
type EventsConfig struct {
	Kubeconfig string       // "" means the pod's service account
	Node       string       // where the events come from
	Logger     *slog.Logger // nil discards
}

// Events writes Warning events about pods (core/v1), so that kubectl describe shows
// what is wrong with a pod's annotations. Equal ones, of one pod and reason and
// message, become one with a count. Permissions needed: create and patch of events.
// Warn may be called from anywhere; Run once.
type Events struct {
	rest  *rest.RESTClient
	http  *http.Client
	c     EventsConfig
	queue chan warning
	s     struct{ written, failed, dropped atomic.Uint64 }

	mu   sync.Mutex
	seen map[eventKey]*eventState
}

type warning struct {
	pod             PodRef
	reason, message string
}

type eventKey struct{ uid, reason, message string }

type eventState struct {
	name  string
	first time.Time
	last  time.Time // written
	count int32
}

// EventStats tells how writing goes.
type EventStats struct{ Written, Failed, Dropped uint64 }

// Limits of events: those that wait, those that are known, and how often one is
// written again, and any at all.
const (
	maxEvents      = 256
	maxSeenEvents  = 4096
	eventAgain     = 10 * time.Minute
	eventInterval  = 100 * time.Millisecond
	eventTimeout   = 10 * time.Second
	maxEventReason = 128
	maxEventText   = 1024
)

// NewEvents does not talk to the API server.
func NewEvents(c EventsConfig) (*Events, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	rc, hc, err := restClient(c.Kubeconfig, "/api", corev1.SchemeGroupVersion, corev1.AddToScheme)
	if err != nil {
		return nil, err
	}
	return &Events{rest: rc, http: hc, c: c, queue: make(chan warning, maxEvents), seen: make(map[eventKey]*eventState)}, nil
}

// Warn has an event written. It never blocks: what does not fit is dropped and counted.
func (e *Events) Warn(pod PodRef, reason, message string) {
	message = cutText(message, maxEventText)
	select {
	case e.queue <- warning{pod, cutText(reason, maxEventReason), message}:
	default:
		e.s.dropped.Add(1)
	}
}

// cutText shortens s to at most n bytes, between characters.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Stats returns the counters.
func (e *Events) Stats() EventStats {
	return EventStats{e.s.written.Load(), e.s.failed.Load(), e.s.dropped.Load()}
}

// Run writes events until ctx ends.
func (e *Events) Run(ctx context.Context) {
	defer utilnet.CloseIdleConnectionsFor(e.http.Transport)
	tick := time.NewTicker(eventInterval)
	defer tick.Stop()
	denied := false
	for {
		var w warning
		select {
		case <-ctx.Done():
			return
		case w = <-e.queue:
		}
		err := e.write(ctx, w, time.Now())
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
		case apierrors.IsForbidden(err):
			if !denied {
				denied = true
				e.c.Logger.Warn("no events about pods: the service account may not create or patch events", "error", err)
			}
		default:
			e.c.Logger.Debug("event not written", "pod", w.pod.Name, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// write creates an event, or counts it up.
func (e *Events) write(ctx context.Context, w warning, now time.Time) (err error) {
	key := eventKey{w.pod.UID, w.reason, w.message}
	e.mu.Lock()
	if len(e.seen) >= maxSeenEvents {
		clear(e.seen) // the next ones are new events
	}
	st := e.seen[key]
	if st == nil {
		st = &eventState{first: now}
		e.seen[key] = st
	}
	st.count++
	again := st.name != ""
	if again && now.Sub(st.last) < eventAgain {
		e.mu.Unlock()
		return nil
	}
	count, name, first := st.count, st.name, st.first
	e.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	if again {
		body, err := json.Marshal(map[string]any{"count": count, "lastTimestamp": metav1.NewTime(now)})
		if err != nil {
			return err
		}
		err = e.rest.Patch(types.MergePatchType).Namespace(w.pod.Namespace).Resource("events").Name(name).Body(body).Do(ctx).Error()
		if !apierrors.IsNotFound(err) {
			return e.wrote(key, name, now, err)
		}
	}
	// The name is of what happened: several agents, and this one after a restart,
	// mean the same event.
	hash := xxh3.HashString(w.pod.UID + "\x00" + w.reason + "\x00" + w.message + "\x00" + strconv.FormatInt(first.UnixNano(), 10))
	name = cutText(w.pod.Name, 200) + "." + strconv.FormatUint(hash, 16)
	ev := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: name, Namespace: w.pod.Namespace},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: w.pod.Namespace, Name: w.pod.Name, UID: types.UID(w.pod.UID)},
		Reason:         w.reason, Message: w.message, Type: corev1.EventTypeWarning, Count: count,
		FirstTimestamp: metav1.NewTime(first), LastTimestamp: metav1.NewTime(now),
		Source:              corev1.EventSource{Component: "weir", Host: e.c.Node},
		ReportingController: "weir.dev/agent", ReportingInstance: e.c.Node,
	}
	err = e.rest.Post().Namespace(w.pod.Namespace).Resource("events").Body(ev).Do(ctx).Error()
	if apierrors.IsAlreadyExists(err) {
		err = nil
	}
	return e.wrote(key, name, now, err)
}

func (e *Events) wrote(key eventKey, name string, now time.Time, err error) error {
	if err != nil {
		e.s.failed.Add(1)
		return fmt.Errorf("kube: event: %w", err)
	}
	e.s.written.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if st := e.seen[key]; st != nil {
		st.name, st.last = name, now
	}
	return nil
}
