package kube

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	_ "k8s.io/client-go/plugin/pkg/client/auth/oidc" // plugins that are commands need no import
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/transport"
	"k8s.io/klog/v2"
)

// ErrNoKubeconfig is returned by OpenLogs where there is neither a kubeconfig
// nor a pod's service account.
var ErrNoKubeconfig = errors.New("no cluster: there is no kubeconfig")

// UnknownContextError names a context that the kubeconfig does not have.
type UnknownContextError struct {
	Context string
	Known   []string
}

func (e *UnknownContextError) Error() string {
	msg := fmt.Sprintf("there is no context %q in the kubeconfig", e.Context)
	if best := nearest(e.Context, e.Known); best != "" {
		return fmt.Sprintf("%s, did you mean %q?", msg, best)
	}
	if len(e.Known) == 0 {
		return msg + ", which has none"
	}
	list := e.Known
	more := ""
	if len(list) > 20 {
		list, more = list[:20], ", …"
	}
	return msg + "; it has " + strings.Join(list, ", ") + more
}

// HasKubeconfig reports whether OpenLogs would find a cluster without being
// told where: one that is not a pod's own.
func HasKubeconfig() bool {
	raw, err := loadingRules("").Load()
	return err == nil && len(raw.Contexts) > 0 && raw.CurrentContext != ""
}

func loadingRules(path string) *clientcmd.ClientConfigLoadingRules {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = path
	rules.WarnIfAllMissing = false
	return rules
}

// quiet keeps client-go's own words, which are for its authors, from stderr.
var quiet = sync.OnceFunc(func() { klog.SetLogger(logr.Discard()) })

// OpenLogs finds the cluster. It does not talk to it. Errors are
// ErrNoKubeconfig, *UnknownContextError and what is wrong with the files.
func OpenLogs(c LogsConfig) (*Logs, error) {
	quiet()
	cfg, name, namespace, err := logsConfig(c)
	if err != nil {
		return nil, err
	}
	return newLogs(cfg, name, namespace)
}

// logsConfig reads the kubeconfig as kubectl does.
func logsConfig(c LogsConfig) (cfg *rest.Config, name, namespace string, err error) {
	rules := loadingRules(c.Kubeconfig)
	raw, err := rules.Load()
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, "", "", fmt.Errorf("kubeconfig %s: there is no such file", kubeconfigPath(c))
		}
		// client-go names the file, one of a list, too.
		text := strings.TrimPrefix(err.Error(), fmt.Sprintf("error loading config file %q: ", kubeconfigPath(c)))
		return nil, "", "", fmt.Errorf("kubeconfig %s: %s", kubeconfigPath(c), plain(text))
	}
	context := cmp.Or(c.Context, raw.CurrentContext)
	if len(raw.Contexts) == 0 && len(raw.Clusters) == 0 && c.Kubeconfig == "" && c.Context == "" {
		return inPod(rules)
	}
	if len(raw.Contexts) == 0 {
		return nil, "", "", fmt.Errorf("kubeconfig %s: it names no cluster", kubeconfigPath(c))
	}
	if context == "" {
		return nil, "", "", fmt.Errorf("the kubeconfig has no current context; name one with --context: %s", strings.Join(sortedKeys(raw.Contexts), ", "))
	}
	if raw.Contexts[context] == nil {
		return nil, "", "", &UnknownContextError{context, sortedKeys(raw.Contexts)}
	}
	// client-go's words for these would send people after the wrong thing.
	if name := raw.Contexts[context].Cluster; raw.Clusters[name] == nil {
		return nil, "", "", fmt.Errorf("context %q of the kubeconfig names cluster %q, which is not in it", context, name)
	}
	if name := raw.Contexts[context].AuthInfo; name != "" && raw.AuthInfos[name] == nil {
		return nil, "", "", fmt.Errorf("context %q of the kubeconfig names user %q, who is not in it", context, name)
	}
	cc := clientcmd.NewNonInteractiveClientConfig(*raw, context, &clientcmd.ConfigOverrides{}, rules)
	if cfg, err = cc.ClientConfig(); err != nil {
		return nil, "", "", fmt.Errorf("context %q of the kubeconfig: %w", context, err)
	}
	if namespace, _, err = cc.Namespace(); err != nil {
		return nil, "", "", fmt.Errorf("context %q of the kubeconfig: %w", context, err)
	}
	return cfg, clusterName(raw, context), namespace, nil
}

// kubeconfigPath is what the kubeconfig is called in messages.
func kubeconfigPath(c LogsConfig) string {
	return cmp.Or(c.Kubeconfig, os.Getenv(clientcmd.RecommendedConfigPathEnvVar), clientcmd.RecommendedHomeFile)
}

func clusterName(raw *clientcmdapi.Config, context string) string {
	cluster := raw.Contexts[context].Cluster
	if cluster == context {
		return "cluster " + cluster
	}
	return fmt.Sprintf("cluster %s (context %s)", cluster, context)
}

// inPod is the cluster whose pod this is.
func inPod(rules *clientcmd.ClientConfigLoadingRules) (*rest.Config, string, string, error) {
	cfg, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, "", "", fmt.Errorf("%w: looked for %s; name one with --kubeconfig or KUBECONFIG", ErrNoKubeconfig, strings.Join(rules.GetLoadingPrecedence(), ", "))
	}
	if err != nil {
		return nil, "", "", fmt.Errorf("the pod's service account: %w", err)
	}
	namespace := "default"
	if b, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace"); err == nil {
		namespace = strings.TrimSpace(string(b))
	}
	return cfg, "the cluster of this pod", namespace, nil
}

// How long a connection may be silent before it is asked whether it is alive,
// and how long the answer may take: a laptop that slept, a NAT that forgot.
const (
	pingAfter   = 20 * time.Second
	pingTimeout = 15 * time.Second
	// streamBuffer is what a log may be ahead of its reader, in each of perhaps
	// hundreds of streams. Go's default is 4 MiB.
	streamBuffer = 256 << 10
)

func newLogs(cfg *rest.Config, name, namespace string) (*Logs, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("kube: register types: %w", err)
	}
	cfg = rest.CopyConfig(cfg)
	cfg.APIPath = "/api"
	cfg.GroupVersion = &corev1.SchemeGroupVersion
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	cfg.ContentType = runtime.ContentTypeProtobuf
	cfg.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	cfg.UserAgent = "weir"
	cfg.WarningHandler = rest.NoWarnings{}
	cfg.Timeout = 0
	// Lists and watches are few; the server has a limit of its own.
	cfg.QPS, cfg.Burst = 50, 100
	hc, err := logsClient(cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	l := &Logs{name: name, namespace: namespace, http: hc}
	hc.Transport = &clockWatch{hc.Transport, l}
	rc, err := rest.RESTClientForConfigAndClient(cfg, hc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	l.rest = rc
	if l.base, _, err = rest.DefaultServerUrlFor(cfg); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return l, nil
}

// logsClient makes a client whose streams have small buffers; client-go's
// transport cannot be told so.
func logsClient(cfg *rest.Config) (*http.Client, error) {
	tc, err := cfg.TransportConfig()
	if err != nil {
		return nil, err
	}
	tlsConfig, err := transport.TLSConfigFor(tc)
	if err != nil {
		return nil, err
	}
	dial := (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	if tc.DialHolder != nil {
		dial = tc.DialHolder.Dial
	}
	proxy := http.ProxyFromEnvironment
	if tc.Proxy != nil {
		proxy = tc.Proxy
	}
	t := &http.Transport{
		Proxy: proxy, DialContext: gathering(dial), TLSClientConfig: tlsConfig,
		TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 8,
		ForceAttemptHTTP2:  true,
		DisableCompression: tc.DisableCompression,
		HTTP2:              &http.HTTP2Config{MaxReceiveBufferPerStream: streamBuffer, SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	rt, err := transport.HTTPWrappersForConfig(tc, t)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: rt}, nil
}

// nearest returns the name that differs least, "" if none is near.
func nearest(name string, names []string) string {
	best, least := "", max(2, len(name)/3)+1
	for _, n := range slices.Sorted(slices.Values(names)) {
		if d := distance(name, n); d < least && d < len(name) {
			best, least = n, d
		}
	}
	if best == "" {
		for _, n := range slices.Sorted(slices.Values(names)) {
			if len(name) > 2 && strings.Contains(n, name) {
				return n
			}
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			prev, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, prev+cost)
		}
	}
	return row[len(b)]
}
