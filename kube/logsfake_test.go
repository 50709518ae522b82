package kube

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// cluster is as much of an API server, and of the kubelets behind it, as
// reading logs needs. A log is a file as kubelet has it: rotation empties it,
// and a request gets what it holds from sinceTime's second on.
type cluster struct {
	t   *testing.T
	srv *httptest.Server

	mu       sync.Mutex
	rv       int
	pods     map[types.UID]*corev1.Pod
	events   []*corev1.Event
	names    map[string][]string // of other objects, by path
	services map[string]map[string]string
	watches  []watched
	forget   bool // the next watch is told 410
	wake     chan struct{}
	logs     map[string]*logFile // pod/container, with "/previous" behind it
	deny     func(r *http.Request) int
	cuts     int // grows: every open log is cut, without a proper end
	ends     int // grows: every open log is ended properly
	most     int // logs open at a time
	open     int
}

type watched struct {
	rv     int
	kind   string
	object runtime.Object
}

// logFile is what kubelet hands out.
type logFile struct {
	lines []string // with their times
	rest  string   // an unfinished line
	from  int      // lines rotated away
	done  bool     // the container has ended
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, rv: 10, pods: map[types.UID]*corev1.Pod{}, wake: make(chan struct{}), logs: map[string]*logFile{},
		names: map[string][]string{}, services: map[string]map[string]string{}}
	c.srv = httptest.NewUnstartedServer(c)
	c.srv.EnableHTTP2 = true
	c.srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	c.srv.StartTLS()
	t.Cleanup(func() {
		c.srv.CloseClientConnections()
		c.srv.Close()
	})
	return c
}

func (c *cluster) do(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.wake)
	c.wake = make(chan struct{})
}

// write appends complete lines.
func (c *cluster) write(name string, lines ...string) {
	c.do(func() {
		f := c.logs[name]
		if f == nil {
			f = &logFile{}
			c.logs[name] = f
		}
		f.lines = append(f.lines, lines...)
	})
}

func (c *cluster) put(p *corev1.Pod) {
	c.do(func() {
		kind := "ADDED"
		if c.pods[p.UID] != nil {
			kind = "MODIFIED"
		}
		c.rv++
		p = p.DeepCopy()
		p.ResourceVersion = strconv.Itoa(c.rv)
		p.TypeMeta = metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}
		c.pods[p.UID] = p
		c.watches = append(c.watches, watched{c.rv, kind, p})
	})
}

func (c *cluster) remove(uid types.UID) {
	c.do(func() {
		p := c.pods[uid].DeepCopy()
		delete(c.pods, uid)
		c.rv++
		p.ResourceVersion = strconv.Itoa(c.rv)
		c.watches = append(c.watches, watched{c.rv, "DELETED", p})
	})
}

func (c *cluster) happen(e *corev1.Event) {
	c.do(func() {
		c.rv++
		e.ResourceVersion = strconv.Itoa(c.rv)
		e.TypeMeta = metav1.TypeMeta{Kind: "Event", APIVersion: "v1"}
		c.events = append(c.events, e)
		c.watches = append(c.watches, watched{c.rv, "ADDED", e})
	})
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, msg string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	st := status(code, reason)
	st.Message = msg
	_ = json.NewEncoder(w).Encode(st)
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	deny := c.deny
	c.mu.Unlock()
	if deny != nil {
		switch code := deny(r); code {
		case 0:
		case 401:
			refuse(w, 401, metav1.StatusReasonUnauthorized, "Unauthorized")
			return
		case 403:
			refuse(w, 403, metav1.StatusReasonForbidden, "forbidden")
			return
		default:
			refuse(w, code, metav1.StatusReasonServiceUnavailable, "not now")
			return
		}
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	namespace := ""
	if len(parts) > 4 && parts[2] == "namespaces" {
		namespace, parts = parts[3], append(parts[:2:2], parts[4:]...)
	}
	switch {
	case len(parts) == 5 && parts[2] == "pods" && parts[4] == "log":
		c.log(w, r, namespace, parts[3])
	case len(parts) == 3 && (parts[2] == "pods" || parts[2] == "events") && r.URL.Query().Get("watch") != "":
		c.watch(w, r, parts[2], namespace)
	case len(parts) == 3 && parts[2] == "pods" && !strings.Contains(r.Header.Get("Accept"), "PartialObject"):
		c.list(w, r, namespace)
	case len(parts) == 3 && parts[2] == "events":
		c.mu.Lock()
		defer c.mu.Unlock()
		list := corev1.EventList{TypeMeta: metav1.TypeMeta{Kind: "EventList", APIVersion: "v1"}, ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(c.rv)}}
		for _, e := range c.events {
			list.Items = append(list.Items, *e)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list)
	case len(parts) == 4 && parts[2] == "services":
		c.mu.Lock()
		sel, ok := c.services[parts[3]]
		c.mu.Unlock()
		if !ok {
			refuse(w, 404, metav1.StatusReasonNotFound, "not found")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(corev1.Service{TypeMeta: metav1.TypeMeta{Kind: "Service", APIVersion: "v1"}, Spec: corev1.ServiceSpec{Selector: sel}})
	default:
		c.mu.Lock()
		names := c.names[parts[len(parts)-1]]
		c.mu.Unlock()
		var list metav1.PartialObjectMetadataList
		for _, n := range names {
			list.Items = append(list.Items, metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: n}})
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list)
	}
}

func (c *cluster) selects(r *http.Request, namespace string, p *corev1.Pod) bool {
	l, _ := labels.Parse(r.URL.Query().Get("labelSelector"))
	f, _ := fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	return (namespace == "" || p.Namespace == namespace) && l.Matches(labels.Set(p.Labels)) &&
		f.Matches(fields.Set{"metadata.name": p.Name, "spec.nodeName": p.Spec.NodeName})
}

func (c *cluster) list(w http.ResponseWriter, r *http.Request, namespace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(c.rv)}}
	for _, p := range c.pods {
		if c.selects(r, namespace, p) {
			list.Items = append(list.Items, *p)
		}
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list)
}

func (c *cluster) watch(w http.ResponseWriter, r *http.Request, what, namespace string) {
	w.Header().Set("Content-Type", "application/json")
	send := func(kind string, o any) {
		raw, err := json.Marshal(o)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(w, `{"type":%q,"object":%s}`+"\n", kind, raw)
		w.(http.Flusher).Flush()
	}
	seen, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	w.(http.Flusher).Flush()
	for {
		c.mu.Lock()
		wake, forget := c.wake, c.forget && what == "pods"
		if forget {
			c.forget = false
		}
		var news []watched
		for _, e := range c.watches {
			p, isPod := e.object.(*corev1.Pod)
			if e.rv > seen && isPod == (what == "pods") && (!isPod || c.selects(r, namespace, p)) {
				news = append(news, e)
			}
		}
		c.mu.Unlock()
		if forget {
			send("ERROR", status(410, metav1.StatusReasonExpired))
			return
		}
		for _, e := range news {
			send(e.kind, e.object)
			seen = e.rv
		}
		select {
		case <-wake:
		case <-r.Context().Done():
			return
		}
	}
}

// log is kubelet's.
func (c *cluster) log(w http.ResponseWriter, r *http.Request, namespace, pod string) {
	q := r.URL.Query()
	name := pod + "/" + q.Get("container")
	if q.Get("previous") == "true" {
		name += "/previous"
	}
	since, _ := time.Parse(time.RFC3339, q.Get("sinceTime"))
	c.mu.Lock()
	there := slices.ContainsFunc(slices.Collect(func(yield func(*corev1.Pod) bool) {
		for _, p := range c.pods {
			if !yield(p) {
				return
			}
		}
	}), func(p *corev1.Pod) bool { return p.Name == pod && p.Namespace == namespace })
	f := c.logs[name]
	cuts, ends := c.cuts, c.ends
	c.open++
	c.most = max(c.most, c.open)
	next := 0
	if f != nil {
		next = f.from
		if tail := q.Get("tailLines"); tail != "" {
			n, _ := strconv.Atoi(tail)
			next = max(next, len(f.lines)-n)
		}
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.open--
		c.mu.Unlock()
	}()
	if !there {
		refuse(w, 404, metav1.StatusReasonNotFound, "pods not found")
		return
	}
	if f == nil {
		refuse(w, 400, metav1.StatusReasonBadRequest, "container is waiting to start")
		return
	}
	half := 0 // bytes of the unfinished line that were sent
	for {
		c.mu.Lock()
		wake := c.wake
		if c.logs[name] != f { // another life
			c.mu.Unlock()
			return
		}
		next = max(next, f.from)
		var out strings.Builder
		for ; next < len(f.lines); next++ {
			l := f.lines[next]
			stamp, _, _ := strings.Cut(l, " ")
			if t, err := time.Parse(time.RFC3339Nano, stamp); err == nil && t.Before(since) {
				continue
			}
			out.WriteString(l[min(half, len(l)):])
			out.WriteByte('\n')
			half = 0
		}
		if len(f.rest) > half {
			out.WriteString(f.rest[half:])
			half = len(f.rest)
		}
		cut, end := c.cuts != cuts, c.ends != ends || f.done || q.Get("follow") != "true"
		c.mu.Unlock()
		_, _ = io.WriteString(w, out.String())
		w.(http.Flusher).Flush()
		if cut {
			panic(http.ErrAbortHandler)
		}
		if end {
			return
		}
		select {
		case <-wake:
		case <-r.Context().Done():
			return
		}
	}
}

// config writes a kubeconfig.
func (c *cluster) config() string {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.srv.Certificate().Raw})
	path := filepath.Join(c.t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: prod, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: prod-eu, context: {cluster: prod, user: u, namespace: shop}}, {name: prod-us, context: {cluster: prod, user: u}}]
current-context: prod-eu
`, c.srv.URL, base64.StdEncoding.EncodeToString(ca))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}
