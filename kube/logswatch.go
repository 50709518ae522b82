package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// listing is a list and watch of one resource that ends if the first list
// fails, as nothing has begun yet; after that it goes on trying.
type listing struct {
	l                    *Logs
	resource, namespace  string
	labels, fields       string
	empty                func() runtime.Object // a list
	item                 runtime.Object
	store                cache.ReflectorStore
	failed               func(error) // the first list
	outcome              func(error) // every request after it
	watchDenied          func(error)
	once                 sync.Once
	synced, deniedBefore bool
}

func (w *listing) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, logr.Discard()))
	defer cancel()
	quiet := logr.Discard()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			ctx, stop := context.WithTimeout(ctx, listTimeout)
			defer stop()
			o.LabelSelector, o.FieldSelector = w.labels, w.fields
			list := w.empty()
			err := w.l.rest.Get().NamespaceIfScoped(w.namespace, w.namespace != "").Resource(w.resource).VersionedParams(&o, metav1.ParameterCodec).Do(ctx).Into(list)
			if err != nil && errors.Is(ctx.Err(), context.Canceled) {
				return nil, err
			}
			first := !w.synced && o.Continue == ""
			if err != nil && first {
				w.once.Do(func() {
					w.failed(w.l.explain(err, "list", w.resource, w.namespace))
					cancel()
				})
				return nil, err
			}
			w.outcome(err)
			w.synced = w.synced || err == nil
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) { return w.watch(ctx, o) },
	}
	r := cache.NewReflectorWithOptions(lw, w.item, w.store, cache.ReflectorOptions{
		Name: "weir", Logger: &quiet,
		Backoff: &wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 1, Steps: 5, Cap: 8 * time.Second},
	})
	r.RunWithContext(ctx)
}

func (w *listing) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if o.SendInitialEvents != nil && *o.SendInitialEvents {
		// Not a list by watching: its errors would not tell that the first list
		// has failed. This makes the reflector list.
		return nil, errNoStream
	}
	seconds := int64(watchTimeout.Seconds())
	o.Watch, o.TimeoutSeconds = true, &seconds
	o.LabelSelector, o.FieldSelector = w.labels, w.fields
	ctx, cancel := context.WithTimeout(ctx, watchTimeout+watchGrace)
	got, err := w.l.rest.Get().NamespaceIfScoped(w.namespace, w.namespace != "").Resource(w.resource).VersionedParams(&o, metav1.ParameterCodec).Watch(ctx)
	if err == nil {
		w.outcome(nil)
		return stopper{got, cancel}, nil
	}
	ended := ctx.Err() != nil
	cancel()
	switch {
	case ended:
	case apierrors.IsForbidden(err):
		if !w.deniedBefore {
			w.deniedBefore = true
			w.watchDenied(w.l.explain(err, "watch", w.resource, w.namespace))
		}
	case !routine(err):
		w.outcome(err)
	}
	if utilnet.IsConnectionRefused(err) || apierrors.IsTooManyRequests(err) {
		err = errors.New(err.Error()) // see client.watchPods
	}
	return nil, err
}

var errNoStream = errors.New("lists are not streamed")

// podFeed brings the pods of a scope.
type podFeed struct {
	f     *following
	scope *scope

	listed bool
	known  map[types.UID]bool
}

func (w *podFeed) run(ctx context.Context) {
	list := &listing{
		l: w.f.rd.l, resource: "pods", namespace: w.scope.namespace, labels: w.scope.labels, fields: w.scope.fields,
		empty: func() runtime.Object { return &corev1.PodList{} }, item: &corev1.Pod{}, store: w,
		failed: w.f.done, outcome: w.f.rd.request,
		watchDenied: func(err error) {
			w.f.rd.notice(NoticeWarning, nil, fmt.Sprintf("pods that come later will join late: %s", err))
		},
	}
	list.run(ctx)
}

// request notes the outcome of a list or watch.
func (rd *reader) request(err error) {
	switch {
	case err == nil:
		rd.back()
	case unreachable(err):
		rd.away(err)
	}
}

// Add takes a pod that the server tells.
func (w *podFeed) Add(o any) error {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("kube: not a pod: %T", o)
	}
	w.known[p.UID] = true
	w.f.add(w.f.rd.pick(p, false))
	return nil
}

// Update is Add.
func (w *podFeed) Update(o any) error { return w.Add(o) }

// Delete takes a pod that the server no longer has.
func (w *podFeed) Delete(o any) error {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("kube: not a pod: %T", o)
	}
	if w.known[p.UID] {
		w.f.add(w.f.rd.pick(p, false)) // its last state
	}
	delete(w.known, p.UID)
	w.f.rd.gone(p.UID)
	return nil
}

// Replace takes the list of all pods: the first, or what has become of them
// since the watch was lost.
func (w *podFeed) Replace(list []any, _ string) error {
	there := make(map[types.UID]bool, len(list))
	for _, o := range list {
		p, ok := o.(*corev1.Pod)
		if !ok {
			continue
		}
		there[p.UID] = true
		w.f.add(w.f.rd.pick(p, !w.listed))
	}
	for uid := range w.known {
		if !there[uid] {
			w.f.rd.gone(uid)
		}
	}
	w.known = there
	if !w.listed {
		w.listed = true
		w.f.done(nil)
	}
	return nil
}

// Resync has nothing to do.
func (w *podFeed) Resync() error { return nil }
