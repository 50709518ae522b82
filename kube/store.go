package kube

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"
)

// store holds the pods. It is what the reflector writes into; nothing of the
// API's objects stays in it.
type store struct {
	filter filter
	cache  Cache
	keep   time.Duration
	clock  func() time.Time
	log    *slog.Logger
	node   string

	version atomic.Uint64

	mu      sync.RWMutex
	pods    map[string]*entry // by uid
	alias   map[string]string // config hash → uid
	changed chan struct{}     // closed at the next change
	s       Stats
	watches uint64
	failing bool
}

// entry is a pod and when it vanished, and its form in the cache.
type entry struct {
	Pod  *Pod  `json:"pod"`
	Gone int64 `json:"gone,omitempty"` // seconds since 1970, 0: it is there
}

func newStore(c Config) *store {
	s := &store{
		filter: filter{c.Labels, c.Annotations}, cache: c.Cache, keep: c.KeepGone, clock: c.Clock, log: c.Logger, node: c.NodeName,
		pods: make(map[string]*entry), alias: make(map[string]string), changed: make(chan struct{}),
	}
	if s.cache == nil {
		s.cache = noCache{}
	}
	var bad []string
	s.cache.Range(func(key string, value []byte) {
		e := &entry{}
		if err := json.Unmarshal(value, e); err != nil || e.Pod == nil || e.Pod.UID != key {
			bad = append(bad, key)
			return
		}
		s.index(e)
	})
	for _, key := range bad { // it is only a cache
		s.cache.Delete(key)
	}
	s.s.BadCache = uint64(len(bad))
	return s
}

type noCache struct{}

func (noCache) Range(func(string, []byte)) {}
func (noCache) Put(string, []byte)         {}
func (noCache) Delete(string)              {}

// index puts e under its names. s.mu is held, or s is not shared yet.
func (s *store) index(e *entry) {
	s.pods[e.Pod.UID] = e
	if h := e.Pod.ConfigHash; h != "" {
		// The mirror of a static pod may be made anew with another uid; the
		// one that is there counts.
		if old, ok := s.pods[s.alias[h]]; !ok || old.Gone != 0 || e.Gone == 0 {
			s.alias[h] = e.Pod.UID
		}
	}
}

// save writes e to the cache. s.mu is held.
func (s *store) save(e *entry) {
	value, err := json.Marshal(e)
	if err != nil {
		panic("kube: marshal a pod: " + err.Error()) // no type in it can fail
	}
	s.cache.Put(e.Pod.UID, value)
}

// notify says that the answers changed. s.mu is held.
func (s *store) notify() {
	s.version.Add(1)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *store) changes() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

func (s *store) pod(uid string) (Pod, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.pods[uid]
	if !ok {
		if e, ok = s.pods[s.alias[uid]]; !ok {
			return Pod{}, false
		}
	}
	return *e.Pod, true
}

func (s *store) withFiles() (out []Pod) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, e := range s.pods {
		if e.Gone == 0 && len(e.Pod.Files) > 0 {
			out = append(out, *e.Pod)
		}
	}
	slices.SortFunc(out, func(a, b Pod) int { return strings.Compare(a.UID, b.UID) })
	return out
}

func (s *store) stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := s.s
	st.Pods = len(s.pods)
	if s.watches > 0 {
		st.Restarts = s.watches - 1
	}
	return st
}

// set takes a pod as the server tells it and reports whether that is news.
// s.mu is held.
func (s *store) set(o *corev1.Pod) bool {
	p := s.filter.pod(o)
	old := s.pods[p.UID]
	if old != nil && old.Gone == 0 && reflect.DeepEqual(old.Pod, p) {
		return false
	}
	if old == nil || !reflect.DeepEqual(old.Pod.BadAnnotations, p.BadAnnotations) {
		s.s.BadAnnotations += uint64(len(p.BadAnnotations))
		for _, name := range p.BadAnnotations {
			s.log.Warn("annotation ignored: its value is neither true nor false", "namespace", p.Namespace, "pod", p.Name, "annotation", name)
		}
	}
	e := &entry{Pod: p}
	s.index(e)
	s.save(e)
	return true
}

// gone notes that a pod has vanished. It is kept for a while. s.mu is held.
func (s *store) gone(e *entry) {
	if e.Gone == 0 {
		e.Gone = max(1, s.clock().Unix())
		s.save(e)
	}
}

// sweep forgets the pods that vanished long ago.
func (s *store) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.clock().Add(-s.keep).Unix()
	for uid, e := range s.pods {
		if e.Gone == 0 || e.Gone > limit {
			continue
		}
		delete(s.pods, uid)
		if s.alias[e.Pod.ConfigHash] == uid {
			delete(s.alias, e.Pod.ConfigHash)
		}
		s.cache.Delete(uid)
	}
}

// observe counts requests, and logs when the server goes away and comes back.
func (s *store) observe(verb string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if verb == "watch" && err == nil {
		s.watches++
	}
	switch {
	case err != nil && routine(err):
	case err != nil:
		s.s.Errors++
		if !s.failing {
			s.failing = true
			s.log.Warn(trouble(err)+"; going on with what is known of the pods", "verb", verb, "error", err)
		}
	case s.failing:
		s.failing = false
		s.log.Info("Kubernetes API server answers again", "verb", verb)
	}
}

// trouble says who has to do what about a request that failed.
func trouble(err error) string {
	var cert *tls.CertificateVerificationError
	switch {
	case apierrors.IsForbidden(err):
		return "Kubernetes API server forbids to watch pods: the account needs get, list and watch on pods in all namespaces"
	case apierrors.IsUnauthorized(err):
		return "Kubernetes API server does not accept the credentials: see the token of the service account or the kubeconfig"
	case errors.As(err, &cert):
		return "the certificate of the Kubernetes API server is not trusted: see the CA of the kubeconfig"
	}
	return "Kubernetes API server does not answer"
}

// The rest is cache.ReflectorStore: what the reflector calls, in one goroutine.

var (
	_ cache.TransformingStore      = (*store)(nil)
	_ cache.ReflectorBookmarkStore = (*store)(nil)
)

// Transformer makes the reflector drop what we do not need while it collects
// a list.
func (s *store) Transformer() cache.TransformFunc {
	return func(o any) (any, error) {
		if p, ok := o.(*corev1.Pod); ok {
			return slim(p), nil
		}
		return o, nil
	}
}

// Add takes a pod that the server tells.
func (s *store) Add(o any) error {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("kube: not a pod: %T", o)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.LastEvent = s.clock()
	if s.set(p) {
		s.notify()
	}
	return nil
}

// Update is Add.
func (s *store) Update(o any) error { return s.Add(o) }

// Delete takes a pod that the server no longer has.
func (s *store) Delete(o any) error {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("kube: not a pod: %T", o)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.LastEvent = s.clock()
	news := s.set(p) // its last state
	if e := s.pods[string(p.UID)]; e != nil {
		s.gone(e)
	}
	if news {
		s.notify()
	}
	return nil
}

// Replace takes the list of all pods.
func (s *store) Replace(list []any, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.s.Synced {
		s.first(len(list))
	}
	s.s.LastEvent, s.s.Synced = s.clock(), true
	news := false
	there := make(map[string]bool, len(list))
	for _, o := range list {
		if p, ok := o.(*corev1.Pod); ok {
			there[string(p.UID)] = true
			news = s.set(p) || news
		}
	}
	for uid, e := range s.pods {
		if !there[uid] {
			s.gone(e)
		}
	}
	if news {
		s.notify()
	}
	return nil
}

// first tells what the server's first list holds. A wrong name of the node is
// no error to the server: it selects nothing, and every record would go
// without its labels in silence.
func (s *store) first(pods int) {
	if pods == 0 {
		s.log.Warn("Kubernetes API server knows no pods on a node of this name; if some run here, set 'node' or NODE_NAME to the name in 'kubectl get nodes'", "node", s.node)
		return
	}
	s.log.Info("pods of this node are known", "node", s.node, "pods", pods)
}

// Resync has nothing to do.
func (s *store) Resync() error { return nil }

// Bookmark is a sign of life.
func (s *store) Bookmark(string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.LastEvent = s.clock()
	return nil
}
