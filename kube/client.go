package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
)

// ErrNoCluster is returned by New if no kubeconfig is given and the process
// does not run in a cluster.
var ErrNoCluster = errors.New("not in a cluster: no service account and no kubeconfig")

// How long the API server may take. A watch is also cut from this side, in
// case the server has stopped answering on a connection that is still open.
const (
	listTimeout  = 30 * time.Second // also of a watch that sends the list first
	watchTimeout = 5 * time.Minute  // asked of the server
	watchGrace   = 15 * time.Second
)

// client lists and watches the pods of one node, or of all that have not ended.
type client struct {
	rest rest.Interface
	http *http.Client
	node string
	// observe is told of every request's outcome.
	observe func(verb string, err error)
	// The constants above; tests shorten them.
	list, watch time.Duration
}

// newClient does not talk to the server. Without node it is for the pods of all
// nodes.
func newClient(kubeconfig, node string) (*client, error) {
	rc, hc, err := restClient(kubeconfig, "/api", corev1.SchemeGroupVersion, corev1.AddToScheme)
	if err != nil {
		return nil, err
	}
	return &client{rest: rc, http: hc, node: node, list: listTimeout, watch: watchTimeout}, nil
}

// restClient returns a client of one group. Only the types of that group are known
// to it, as registering all of Kubernetes costs megabytes.
func restClient(kubeconfig, path string, group schema.GroupVersion, add func(*runtime.Scheme) error) (*rest.RESTClient, *http.Client, error) {
	cfg, err := restConfig(kubeconfig)
	if err != nil {
		return nil, nil, err
	}
	scheme := runtime.NewScheme()
	if err := add(scheme); err != nil {
		return nil, nil, fmt.Errorf("kube: register types: %w", err)
	}
	cfg.APIPath = path
	cfg.GroupVersion = &group
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	cfg.ContentType = runtime.ContentTypeProtobuf
	cfg.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	cfg.UserAgent = "weir"
	cfg.WarningHandler = rest.NoWarnings{}
	if cfg.BearerTokenFile != "" {
		// The token is rotated. client-go by itself reads the file again once
		// a minute; this does so after each 401, too.
		source := transport.NewCachedFileTokenSource(cfg.BearerTokenFile)
		cfg.BearerToken, cfg.BearerTokenFile = "", ""
		cfg.Wrap(transport.ResettableTokenSourceWrapTransport(source))
	}
	hc, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("kube: HTTP client for %s: %w", cfg.Host, err)
	}
	rc, err := rest.RESTClientForConfigAndClient(cfg, hc)
	if err != nil {
		return nil, nil, fmt.Errorf("kube: client for %s: %w", cfg.Host, err)
	}
	return rc, hc, nil
}

// restConfig reads the kubeconfig, or what kubelet puts into every pod.
func restConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig != "" {
		cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return nil, fmt.Errorf("kube: read kubeconfig %s: %w", kubeconfig, err)
		}
		return cfg, nil
	}
	cfg, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, fmt.Errorf("kube: %w", ErrNoCluster)
	}
	if err != nil {
		return nil, fmt.Errorf("kube: read the service account: %w", err)
	}
	return cfg, nil
}

func (c *client) close() { utilnet.CloseIdleConnectionsFor(c.http.Transport) }

func (c *client) listerWatcher() cache.ListerWatcher {
	return &cache.ListWatch{ListWithContextFunc: c.listPods, WatchFuncWithContext: c.watchPods}
}

func (c *client) request(o *metav1.ListOptions) *rest.Request {
	o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", c.node).String()
	if c.node == "" {
		o.FieldSelector = "status.phase!=Succeeded,status.phase!=Failed"
	}
	return c.rest.Get().Resource("pods").VersionedParams(o, metav1.ParameterCodec)
}

func (c *client) listPods(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, c.list)
	defer cancel()
	list := &corev1.PodList{}
	err := c.request(&o).Do(ctx).Into(list)
	c.observe("list", err)
	if err != nil {
		return nil, err
	}
	return list, nil
}

func (c *client) watchPods(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	limit := c.watch + watchGrace
	initial := o.SendInitialEvents != nil && *o.SendInitialEvents
	if initial {
		limit = c.list
	}
	seconds := int64(max(1, (limit - watchGrace).Seconds()))
	o.Watch, o.TimeoutSeconds = true, &seconds
	ctx, cancel := context.WithTimeout(ctx, limit)
	w, err := c.request(&o).Watch(ctx)
	c.observe("watch", err)
	if err != nil {
		cancel()
		if initial && (utilnet.IsConnectionRefused(err) || apierrors.IsTooManyRequests(err)) {
			// For these the reflector would wait up to a minute without
			// looking at its context, and Run could not end. What it does not
			// recognise makes it try a plain list, where it waits properly.
			err = errors.New(err.Error())
		}
		return nil, err
	}
	return stopper{w, cancel}, nil
}

// stopper ends the context of a watch together with it.
type stopper struct {
	watch.Interface
	cancel context.CancelFunc
}

func (s stopper) Stop() {
	s.cancel()
	s.Interface.Stop()
}

// routine reports whether the error is part of watching: the server has
// forgotten the version we know, or does not stream lists.
func routine(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsInvalid(err) || apierrors.IsTooManyRequests(err)
}
