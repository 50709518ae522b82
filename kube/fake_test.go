package kube

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is how the server writes objects.
type wire struct {
	mime   string
	object func(o runtime.Object) []byte
	event  func(w io.Writer, kind string, o runtime.Object)
}

func asJSON() wire {
	object := func(o runtime.Object) []byte {
		raw, err := json.Marshal(o)
		if err != nil {
			panic(err)
		}
		return raw
	}
	return wire{"application/json", object, func(w io.Writer, kind string, o runtime.Object) {
		fmt.Fprintf(w, `{"type":%q,"object":%s}`+"\n", kind, object(o))
	}}
}

func protobuf() wire {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	if err := corev1.AddToScheme(scheme); err != nil {
		panic(err)
	}
	codecs := serializer.NewCodecFactory(scheme)
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	enc := codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion)
	stream := codecs.EncoderForVersion(info.StreamSerializer.Serializer, corev1.SchemeGroupVersion)
	encode := func(e runtime.Encoder, o runtime.Object) []byte {
		raw, err := runtime.Encode(e, o)
		if err != nil {
			panic(err)
		}
		return raw
	}
	object := func(o runtime.Object) []byte { return encode(enc, o) }
	return wire{runtime.ContentTypeProtobuf, object, func(w io.Writer, kind string, o runtime.Object) {
		raw := encode(stream, &metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Raw: object(o)}})
		if _, err := info.StreamSerializer.Framer.NewFrameWriter(w).Write(raw); err != nil {
			panic(err)
		}
	}}
}

// api is as much of an API server as a watch of pods needs.
type api struct {
	t   *testing.T
	srv *httptest.Server

	mu       sync.Mutex
	rv       int
	pods     map[types.UID]*corev1.Pod
	events   []event
	wake     chan struct{}
	wire     wire
	token    string // "": not asked for
	streams  bool   // lists by watch
	down     bool   // answers 503
	silent   bool   // takes requests and says nothing
	forget   bool   // the next watch is told 410, inside the stream
	requests map[string]int
	odd      []string // requests that must not happen
}

type event struct {
	rv   int
	kind string
	pod  *corev1.Pod
}

func newAPI(t *testing.T) *api {
	a := &api{t: t, rv: 10, pods: map[types.UID]*corev1.Pod{}, wake: make(chan struct{}), requests: map[string]int{}, wire: asJSON()}
	// With TLS, as client-go sends no token without, and HTTP/2.
	a.srv = httptest.NewUnstartedServer(a)
	a.srv.EnableHTTP2 = true
	a.srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	a.srv.StartTLS()
	t.Cleanup(func() {
		a.srv.CloseClientConnections()
		a.srv.Close()
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, o := range a.odd {
			t.Error(o)
		}
	})
	return a
}

// do changes the server's state and wakes all that wait for it.
func (a *api) do(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	close(a.wake)
	a.wake = make(chan struct{})
}

func (a *api) put(p *corev1.Pod) {
	a.do(func() {
		kind := "ADDED"
		if a.pods[p.UID] != nil {
			kind = "MODIFIED"
		}
		a.rv++
		p = p.DeepCopy()
		p.ResourceVersion = strconv.Itoa(a.rv)
		a.pods[p.UID] = p
		a.events = append(a.events, event{a.rv, kind, p})
	})
}

func (a *api) remove(uid types.UID) {
	a.do(func() {
		p := a.pods[uid].DeepCopy()
		delete(a.pods, uid)
		a.rv++
		p.ResourceVersion = strconv.Itoa(a.rv)
		a.events = append(a.events, event{a.rv, "DELETED", p})
	})
}

func status(code int, reason metav1.StatusReason) *metav1.Status {
	return &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: int32(code), Reason: reason, Message: string(reason)}
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	verb := "list"
	if q.Get("watch") != "" {
		verb = "watch"
		if q.Get("sendInitialEvents") == "true" {
			verb = "streamlist"
		}
	}
	fail := func(code int, reason metav1.StatusReason) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(status(code, reason))
	}
	a.mu.Lock()
	a.requests[verb]++
	if r.Method != "GET" || r.URL.Path != "/api/v1/pods" || q.Get("fieldSelector") != "spec.nodeName=node1" {
		a.odd = append(a.odd, "unexpected request: "+r.Method+" "+r.URL.String())
	}
	if !strings.HasPrefix(r.Header.Get("Accept"), runtime.ContentTypeProtobuf) {
		a.odd = append(a.odd, "protobuf is not preferred: "+r.Header.Get("Accept"))
	}
	unauthorized := a.token != "" && r.Header.Get("Authorization") != "Bearer "+a.token
	down, silent, streams, forget := a.down, a.silent, a.streams, a.forget
	if unauthorized {
		a.requests["401"]++
	}
	a.mu.Unlock()
	switch {
	case silent:
		<-r.Context().Done()
	case unauthorized:
		fail(401, metav1.StatusReasonUnauthorized)
	case down:
		fail(503, metav1.StatusReasonServiceUnavailable)
	case verb == "streamlist" && !streams:
		fail(422, metav1.StatusReasonInvalid)
	case verb == "list":
		a.mu.Lock()
		defer a.mu.Unlock()
		list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(a.rv)}}
		for _, p := range a.pods {
			list.Items = append(list.Items, *p)
		}
		w.Header().Set("Content-Type", a.wire.mime)
		_, _ = w.Write(a.wire.object(&list))
	default:
		a.watch(w, r, verb == "streamlist", forget)
	}
}

func (a *api) watch(w http.ResponseWriter, r *http.Request, initial, forget bool) {
	w.Header().Set("Content-Type", a.wire.mime)
	send := func(kind string, o runtime.Object) {
		a.wire.event(w, kind, o)
		w.(http.Flusher).Flush()
	}
	typed := func(p *corev1.Pod) *corev1.Pod {
		p = p.DeepCopy()
		p.TypeMeta = metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}
		return p
	}
	if forget {
		a.mu.Lock()
		a.forget = false
		a.mu.Unlock()
		send("ERROR", status(410, metav1.StatusReasonExpired))
		return
	}
	seen, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	if initial {
		a.mu.Lock()
		seen = a.rv
		var all []*corev1.Pod
		for _, p := range a.pods {
			all = append(all, p)
		}
		a.mu.Unlock()
		for _, p := range all {
			send("ADDED", typed(p))
		}
		mark := typed(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{ResourceVersion: strconv.Itoa(seen), Annotations: map[string]string{"k8s.io/initial-events-end": "true"}}})
		send("BOOKMARK", mark)
	}
	w.(http.Flusher).Flush()
	seconds, _ := strconv.Atoi(r.URL.Query().Get("timeoutSeconds"))
	end := time.NewTimer(time.Duration(seconds) * time.Second)
	defer end.Stop()
	for {
		a.mu.Lock()
		wake, down := a.wake, a.down
		var news []event
		for _, e := range a.events {
			if e.rv > seen {
				news = append(news, e)
			}
		}
		a.mu.Unlock()
		if down {
			return
		}
		for _, e := range news {
			send(e.kind, typed(e.pod))
			seen = e.rv
		}
		select {
		case <-wake:
		case <-end.C:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (a *api) count(what string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests[what]
}

// kubeconfig writes one that leads to the server, with a token file if token
// is not empty.
func (a *api) kubeconfig(tokenFile string) string {
	user := "{}"
	if tokenFile != "" {
		user = "{tokenFile: " + tokenFile + "}"
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.srv.Certificate().Raw})
	path := filepath.Join(a.t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: u, user: %s}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, a.srv.URL, base64.StdEncoding.EncodeToString(ca), user)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// memory is a Cache.
type memory struct {
	mu sync.Mutex
	m  map[string]string
}

func newMemory() *memory { return &memory{m: map[string]string{}} }

func (c *memory) Range(f func(string, []byte)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, v := range c.m {
		f(k, []byte(v))
	}
}

func (c *memory) Put(k string, v []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m[k] = string(v)
}

func (c *memory) Delete(k string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, k)
}

func (c *memory) has(k string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.m[k]
	return ok
}

var discard = slog.New(slog.DiscardHandler)
