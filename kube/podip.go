package kube

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/weirlog/weir/record"
)

// PodIPs knows which pod of the cluster has which address. Permissions needed: get,
// list and watch of pods in all namespaces. Its methods may be called concurrently;
// Run only once.
type PodIPs struct {
	client *client
	log    *slog.Logger
	filter filter

	mu     sync.RWMutex
	pods   map[string]*addressed   // by uid
	byIP   map[netip.Addr][]string // uids
	synced bool
	down   bool
}

// addressed is what is kept of a pod.
type addressed struct {
	namespace, name, uid string
	attrs                []record.Attr
	ips                  []netip.Addr
}

// PodIPsConfig is what PodIPs needs to know.
type PodIPsConfig struct {
	// Kubeconfig is the path of a kubeconfig; "" means the pod's service account.
	Kubeconfig string
	// Logger is where trouble with the API server is told; nil discards.
	Logger *slog.Logger
}

// NewPodIPs does not talk to the API server.
func NewPodIPs(c PodIPsConfig) (*PodIPs, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	cl, err := newClient(c.Kubeconfig, "")
	if err != nil {
		return nil, err
	}
	p := &PodIPs{client: cl, log: c.Logger, filter: filter{labels: []string{}}, pods: make(map[string]*addressed), byIP: make(map[netip.Addr][]string)}
	cl.observe = p.observe
	return p, nil
}

// Run watches until ctx ends and then returns nil. Whatever the API server does, it
// goes on trying.
func (p *PodIPs) Run(ctx context.Context) error {
	defer p.client.close()
	ctx = klog.NewContext(ctx, logr.Discard())
	quiet := logr.Discard()
	r := cache.NewReflectorWithOptions(p.client.listerWatcher(), &corev1.Pod{}, (*ipStore)(p), cache.ReflectorOptions{
		Name: "weir", Logger: &quiet,
		Backoff: &wait.Backoff{Duration: 800 * time.Millisecond, Factor: 2, Jitter: 1, Steps: 6, Cap: 12 * time.Second},
	})
	r.RunWithContext(ctx)
	return nil
}

// Synced reports whether the API server has told all pods at least once.
func (p *PodIPs) Synced() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.synced
}

// Pod returns the pod with that address: its namespace, name, uid, and the
// attributes of its streams. There is none for addresses of nodes, which pods on
// the host's network share, nor while two pods claim one.
func (p *PodIPs) Pod(a netip.Addr) (namespace, name, uid string, attrs []record.Attr, ok bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if uids := p.byIP[a.Unmap().WithZone("")]; len(uids) == 1 {
		e := p.pods[uids[0]]
		return e.namespace, e.name, e.uid, e.attrs, true
	}
	return "", "", "", nil, false
}

// Attrs returns the attributes of the streams of the pod with that uid.
func (p *PodIPs) Attrs(uid string) ([]record.Attr, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if e := p.pods[uid]; e != nil {
		return e.attrs, true
	}
	return nil, false
}

func (p *PodIPs) observe(verb string, err error) {
	if err != nil && routine(err) {
		return
	}
	p.mu.Lock()
	changed := p.down != (err != nil)
	p.down = err != nil
	p.mu.Unlock()
	switch {
	case changed && err != nil:
		p.log.Warn(trouble(err)+"; going on with what is known of the pods' addresses", "verb", verb, "error", err)
	case changed:
		p.log.Info("Kubernetes API server answers again", "verb", verb)
	}
}

// ipStore is PodIPs as what the reflector writes into, in one goroutine.
type ipStore PodIPs

var _ cache.TransformingStore = (*ipStore)(nil)

// Transformer drops what is not needed while a list is collected.
func (s *ipStore) Transformer() cache.TransformFunc {
	return func(o any) (any, error) {
		p, ok := o.(*corev1.Pod)
		if !ok {
			return o, nil
		}
		out := slim(p)
		out.Spec.HostNetwork, out.Status.PodIP, out.Status.PodIPs, out.Status.Phase = p.Spec.HostNetwork, p.Status.PodIP, p.Status.PodIPs, p.Status.Phase
		return out, nil
	}
}

// set takes a pod as the server tells it. s.mu is held.
func (s *ipStore) set(o *corev1.Pod) {
	s.forget(string(o.UID))
	if o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed {
		return // its address may be another's already
	}
	pod := s.filter.pod(o)
	e := &addressed{namespace: o.Namespace, name: o.Name, uid: string(o.UID)}
	container := ""
	if len(pod.Containers) == 1 {
		for name := range pod.Containers {
			container = name
		}
	}
	for _, a := range pod.Attrs(container) {
		// Which life of the container it is nobody knows here.
		if a.Value != "" && a.Name != record.AttrContainerID {
			e.attrs = append(e.attrs, a)
		}
	}
	if !o.Spec.HostNetwork {
		for _, ip := range append(o.Status.PodIPs, corev1.PodIP{IP: o.Status.PodIP}) {
			a, err := netip.ParseAddr(ip.IP)
			if err == nil && !contains(e.ips, a.Unmap()) {
				e.ips = append(e.ips, a.Unmap())
			}
		}
	}
	s.pods[e.uid] = e
	for _, a := range e.ips {
		s.byIP[a] = append(s.byIP[a], e.uid)
	}
}

func contains(list []netip.Addr, a netip.Addr) bool {
	for _, x := range list {
		if x == a {
			return true
		}
	}
	return false
}

// forget removes a pod. s.mu is held.
func (s *ipStore) forget(uid string) {
	e := s.pods[uid]
	if e == nil {
		return
	}
	delete(s.pods, uid)
	for _, a := range e.ips {
		var left []string
		for _, other := range s.byIP[a] {
			if other != uid {
				left = append(left, other)
			}
		}
		if s.byIP[a] = left; len(left) == 0 {
			delete(s.byIP, a)
		}
	}
}

// Add takes a pod that the server tells.
func (s *ipStore) Add(o any) error {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("kube: not a pod: %T", o)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(p)
	return nil
}

// Update is Add.
func (s *ipStore) Update(o any) error { return s.Add(o) }

// Delete takes a pod that the server no longer has.
func (s *ipStore) Delete(o any) error {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("kube: not a pod: %T", o)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(string(p.UID))
	return nil
}

// Replace takes the list of all pods.
func (s *ipStore) Replace(list []any, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.synced {
		s.log.Info("addresses of pods are known", "pods", len(list))
	}
	s.synced = true
	clear(s.pods)
	clear(s.byIP)
	for _, o := range list {
		if p, ok := o.(*corev1.Pod); ok {
			s.set(p)
		}
	}
	return nil
}

// Resync has nothing to do.
func (s *ipStore) Resync() error { return nil }
