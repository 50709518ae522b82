package kube

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Cache keeps what is known about pods over restarts. Keys are pod uids. It
// must be safe for concurrent use with whatever else its owner does.
type Cache interface {
	// Range calls f for every entry. f must not keep value.
	Range(f func(key string, value []byte))
	Put(key string, value []byte)
	Delete(key string)
}

// Config is what Pods needs to know.
type Config struct {
	// NodeName is the name of this node; "" means the environment's NODE_NAME,
	// else the host's name.
	NodeName string
	// Kubeconfig is the path of a kubeconfig; "" means the pod's service
	// account.
	Kubeconfig string
	// Cache may be nil: then nothing is known after a restart until the API
	// server answers.
	Cache Cache
	// Labels and Annotations choose which of a pod's are kept, as globs in
	// which * stands for any text. Nil Labels means all, nil Annotations none.
	Labels, Annotations []string
	// KeepGone is how long a pod is remembered after it has vanished, as its
	// files may still be read; 0 means an hour.
	KeepGone time.Duration
	// Clock is the time; nil means time.Now.
	Clock func() time.Time
	// Logger is where trouble with the API server is told; nil discards.
	Logger *slog.Logger
}

// Stats tells how the watching goes.
type Stats struct {
	Synced         bool      // the API server has told all pods at least once
	Pods           int       // pods known, vanished ones included
	Restarts       uint64    // times the watch was begun anew
	Errors         uint64    // requests that failed, but for what belongs to watching
	LastEvent      time.Time // last time the server told anything
	BadAnnotations uint64    // annotations seen whose value was not understood
	BadCache       uint64    // entries of the cache that could not be read
}

// Pods knows the pods of this node. Its methods may be called concurrently;
// Run only once.
type Pods struct {
	client *client
	store  *store
	log    *slog.Logger
}

// New reads the cache and returns Pods that answer from it. It does not talk
// to the API server.
func New(c Config) (*Pods, error) {
	if c.NodeName == "" {
		c.NodeName = os.Getenv("NODE_NAME")
	}
	if c.NodeName == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("kube: find the node's name: %w", err)
		}
		c.NodeName = name
	}
	if c.KeepGone < 0 {
		return nil, fmt.Errorf("kube: KeepGone is negative: %s", c.KeepGone)
	}
	if c.KeepGone == 0 {
		c.KeepGone = time.Hour
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	cl, err := newClient(c.Kubeconfig, c.NodeName)
	if err != nil {
		return nil, err
	}
	p := &Pods{client: cl, store: newStore(c), log: c.Logger}
	cl.observe = p.store.observe
	return p, nil
}

// Run watches until ctx ends and then returns nil. Whatever the API server
// does, it goes on trying.
func (p *Pods) Run(ctx context.Context) error {
	defer p.client.close()
	// client-go's own words are for its authors; ours are in observe.
	ctx = klog.NewContext(ctx, logr.Discard())
	quiet := logr.Discard()
	r := cache.NewReflectorWithOptions(p.client.listerWatcher(), &corev1.Pod{}, p.store, cache.ReflectorOptions{
		Name: "weir", Logger: &quiet,
		// client-go's own goes up to a minute, and after an outage it takes
		// two rounds: one until the server is there, one because it has
		// forgotten our version.
		Backoff: &wait.Backoff{Duration: 800 * time.Millisecond, Factor: 2, Jitter: 1, Steps: 6, Cap: 12 * time.Second},
	})
	var wg sync.WaitGroup
	wg.Go(func() { r.RunWithContext(ctx) })
	sweep := time.NewTicker(p.store.keep / 8)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			wg.Wait()
			return nil
		case <-sweep.C:
			p.store.sweep()
		}
	}
}

// Pod returns the pod with that uid, or whose folder under /var/log/pods
// carries it: for a static pod that is the hash of its manifest.
func (p *Pods) Pod(uid string) (Pod, bool) { return p.store.pod(uid) }

// WithFiles returns the pods that are there and have Files.
func (p *Pods) WithFiles() []Pod { return p.store.withFiles() }

// Version grows with every change of what Pod answers.
func (p *Pods) Version() uint64 { return p.store.version.Load() }

// Changed returns a channel that is closed at the next change. Take it before
// Version is read.
func (p *Pods) Changed() <-chan struct{} { return p.store.changes() }

// Stats returns the present counters.
func (p *Pods) Stats() Stats { return p.store.stats() }

// Node returns the name whose pods are watched.
func (p *Pods) Node() string { return p.store.node }

// Probe asks the API server once for the pods of the node and returns how many
// there are. It is for a check before anything runs, and needs no Run.
func (p *Pods) Probe(ctx context.Context) (int, error) {
	defer p.client.close()
	list, err := p.client.listPods(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, fmt.Errorf("%s: list the pods of node %s: %w", trouble(err), p.store.node, err)
	}
	return len(list.(*corev1.PodList).Items), nil
}
