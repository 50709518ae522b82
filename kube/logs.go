package kube

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"

	"github.com/weirlog/weir/show"
)

// LogsConfig says which cluster.
type LogsConfig struct {
	// Kubeconfig is the path of a kubeconfig; "" means the files of KUBECONFIG,
	// ~/.kube/config, or the pod's service account.
	Kubeconfig string
	// Context is a context of it; "" means the current one.
	Context string
}

// Logs reads logs over the API of a cluster, in which nothing needs to be
// installed. Its methods may be called concurrently.
//
// Permissions needed: list (and, to follow, watch) of pods, and get of
// pods/log, in the namespaces that are read; list and watch of events for
// events; get of services to pick their pods.
type Logs struct {
	name, namespace string
	rest            rest.Interface // the core group
	http            *http.Client
	base            *url.URL
	health          health
	skew            atomic.Int64 // of the server's clock, nanoseconds
}

// String names the cluster for messages.
func (l *Logs) String() string { return l.name }

// Namespace is that of the context.
func (l *Logs) Namespace() string { return l.namespace }

// Close closes idle connections.
func (l *Logs) Close() { utilnet.CloseIdleConnectionsFor(l.http.Transport) }

// Object is a pod, or something that pods belong to.
type Object struct {
	// Namespace is "" for those of the Pick.
	Namespace string
	// Kind is pod, deployment, statefulset, daemonset, replicaset, job, cronjob,
	// service, replicationcontroller, node, or another kind of owner.
	Kind string
	Name string
}

func (o Object) String() string { return o.Kind + "/" + o.Name }

// Pick says whose logs are read.
type Pick struct {
	// Namespaces to look in. None and not All means the context's.
	Namespaces []string
	All        bool
	// Labels and Fields are selectors as kubectl has them.
	Labels, Fields string
	// Node is the name of a node, "" for all.
	Node string
	// Objects of which the pod must belong to one; none means every pod.
	Objects []Object
	// Keep is asked for each container, more than once if its pod waits for a node; nil means all.
	Keep func(*show.Stream) bool
	// Init and Ephemeral containers are read, too.
	Init, Ephemeral bool
	// States of containers that are read: running, waiting, terminated; none
	// means all.
	States []string
}

// Reading is a wish to read.
type Reading struct {
	Pick
	// Since and Until are bounds of time, of the lines of containers and of
	// events; zero means none.
	Since, Until time.Time
	// Tail is how many of the last lines of each container are read; negative
	// means all. Containers that start while following are read from their
	// beginning.
	Tail int64
	// Previous reads the container's former life first, too.
	Previous bool
	// Follow goes on until the context ends: new pods join, restarted containers
	// go on, connections that are cut are taken up again where they ended.
	Follow bool
	// MaxRequests is how many logs are read at a time; 0 means 50. Without
	// Follow the rest waits its turn. With Follow, more containers than that at
	// the beginning are an error, and those that join later wait until another
	// has left.
	MaxRequests int
	// Events also reads the Kubernetes Events about the picked pods and what
	// they belong to.
	Events bool
	// NoLogs reads nothing but Events.
	NoLogs bool
}

// Kinds of notices.
const (
	NoticeJoined  = "joined"  // a container is read from now on
	NoticeLeft    = "left"    // a container has ended, and was read to its end
	NoticeWarning = "warning" // something may be missing, or is on its way
	NoticeError   = "error"   // something is missing
	NoticeRotated = "rotated" // the log begins later than asked for; kubelet may have rotated away what was before
	NoticeEmpty   = "empty"   // the log holds nothing at all: nothing was written, or everything rotated away
)

// Notice is something to be known about what is read.
type Notice struct {
	Kind   string
	Stream *show.Stream // nil if it is not about one container
	Text   string       // without control bytes of foreign origin
	Time   time.Time
}

// Sink takes what is read. It is called by many goroutines at once.
type Sink interface {
	// Lines takes lines of one stream, in its order; the slice is the sink's to
	// keep. While it does not return, the container is not read.
	Lines(entries []show.Entry)
	Notice(n Notice)
}

// defaultRequests is how many logs are read at a time.
const defaultRequests = 50

// Read reads logs and gives them to s. Without Follow it returns when
// everything there is has been read; with it, when ctx ends, with nil. Errors
// are those that concern everything, such as a cluster that cannot be reached
// or permissions that are missing; what concerns a single pod is a notice.
func (l *Logs) Read(ctx context.Context, r Reading, s Sink) error {
	if r.MaxRequests <= 0 {
		r.MaxRequests = defaultRequests
	}
	if err := r.Pick.check(); err != nil {
		return err
	}
	rd := newReader(l, r, s)
	if r.Follow {
		return rd.follow(ctx)
	}
	return rd.once(ctx)
}

func (p *Pick) check() error {
	for _, st := range p.States {
		switch st {
		case stateRunning, stateWaiting, stateTerminated:
		default:
			return fmt.Errorf("no container state %q: want running, waiting or terminated", st)
		}
	}
	return nil
}

// health tells once that the API server is away, and once that it is back,
// however many containers notice.
type health struct {
	mu   sync.Mutex
	down bool
}

// set notes an outcome and reports whether it is news.
func (h *health) set(down bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	news := h.down != down
	h.down = down
	return news
}

// serverTime is the API server's time, a second or so more or less.
func (l *Logs) serverTime() time.Time {
	return time.Now().Add(time.Duration(l.skew.Load()) - time.Second)
}

// clockWatch learns the server's time from its answers.
type clockWatch struct {
	http.RoundTripper
	l *Logs
}

// RoundTrip implements http.RoundTripper.
func (c *clockWatch) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.RoundTripper.RoundTrip(r)
	if err == nil {
		if t, e := http.ParseTime(resp.Header.Get("Date")); e == nil {
			c.l.skew.Store(int64(time.Until(t)))
		}
	}
	return resp, err
}

// WrappedRoundTripper leads client-go to the transport.
func (c *clockWatch) WrappedRoundTripper() http.RoundTripper { return c.RoundTripper }
