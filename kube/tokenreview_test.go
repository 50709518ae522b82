package kube

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// reviewer is as much of an API server as reviews of tokens need.
type reviewer struct {
	mu     sync.Mutex
	asked  int
	tokens map[string]authv1.TokenReviewStatus
	code   int           // 0: 201
	hold   chan struct{} // nil: answers at once
	came   chan struct{}
}

func (r *reviewer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var in authv1.TokenReview
	if req.Method != "POST" || req.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" {
		http.Error(w, "unexpected", 404)
		return
	}
	p, err := io.ReadAll(req.Body)
	if err == nil {
		if strings.Contains(req.Header.Get("Content-Type"), "json") {
			err = json.Unmarshal(p, &in)
		} else {
			err = in.Unmarshal(p[4+protoHead(p):])
		}
	}
	if err != nil {
		http.Error(w, err.Error(), 400)
		return
	}
	r.mu.Lock()
	r.asked++
	in.Status = r.tokens[in.Spec.Token]
	code, hold, came := r.code, r.hold, r.came
	r.mu.Unlock()
	if came != nil {
		came <- struct{}{}
	}
	if hold != nil {
		<-hold
	}
	w.Header().Set("Content-Type", "application/json")
	if code != 0 {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: int32(code),
			Reason: metav1.StatusReasonForbidden, Message: "no for " + in.Spec.Token})
		return
	}
	in.TypeMeta = metav1.TypeMeta{Kind: "TokenReview", APIVersion: "authentication.k8s.io/v1"}
	w.WriteHeader(201)
	_ = json.NewEncoder(w).Encode(in)
}

// protoHead returns the length of what stands before the object in Kubernetes'
// envelope of protobuf: TypeMeta, and the tag and length of raw.
func protoHead(p []byte) int {
	i := 4
	n := int(p[i+1]) // field 1, TypeMeta: short
	i += 2 + n
	i++ // tag of raw
	for p[i]&0x80 != 0 {
		i++
	}
	return i + 1 - 4
}

func newReviewer(t *testing.T) (*reviewer, string) {
	r := &reviewer{tokens: make(map[string]authv1.TokenReviewStatus)}
	s := httptest.NewUnstartedServer(r)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}]\nusers: [{name: u, user: {}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n",
		s.URL, base64.StdEncoding.EncodeToString(ca))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return r, path
}

func (r *reviewer) do(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func jwt(exp int64) string {
	return "h." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, exp)) + ".s"
}

func TestTokenReview(t *testing.T) {
	r, path := newReviewer(t)
	now := time.Unix(1e9, 0)
	var mu sync.Mutex
	pass := func(d time.Duration) { mu.Lock(); now = now.Add(d); mu.Unlock() }
	tr, err := NewTokenReviews(TokenReviewsConfig{Kubeconfig: path, Audiences: []string{"weir"}, Clock: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	good := authv1.TokenReviewStatus{Authenticated: true, Audiences: []string{"weir"}, User: authv1.UserInfo{
		Username: "system:serviceaccount:shop:api",
		Extra: map[string]authv1.ExtraValue{"authentication.kubernetes.io/pod-name": {"api-1"}, "authentication.kubernetes.io/pod-uid": {"u1"},
			"authentication.kubernetes.io/node-name": {"n1"}},
	}}
	long, short := jwt(now.Unix()+3600), jwt(now.Unix()+30)
	other, human, anyAudience := good, good, good
	other.Audiences = []string{"vault"}
	human.User.Username = "ann"
	anyAudience.Audiences = nil
	r.tokens = map[string]authv1.TokenReviewStatus{long: good, short: good, "other": other, "human": human, "any": anyAudience}
	want := TokenUser{"shop", "api", "api-1", "u1", "n1"}
	check := func(token string, ask bool, asked int, wantErr error) {
		t.Helper()
		u, err := tr.Review(t.Context(), token, ask)
		if !errors.Is(err, wantErr) || err == nil && u != want {
			t.Errorf("%s: %+v %v", token, u, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.asked != asked {
			t.Errorf("%s: %d requests, want %d", token, r.asked, asked)
		}
	}
	check(long, false, 0, errNotAsked)
	check(long, true, 1, nil)
	check(long, false, 1, nil)
	check(long, true, 1, nil)
	for i, bad := range []string{"bad", "other", "human", "any"} {
		check(bad, true, 2+i, ErrBadToken)
		check(bad, true, 2+i, ErrBadToken)
	}
	pass(badFor)
	check("bad", true, 6, ErrBadToken)
	pass(goodFor)
	check(long, true, 7, nil)
	// A token is not good beyond its end, whatever is remembered.
	pass(-goodFor - badFor)
	check(short, true, 8, nil)
	pass(31 * time.Second)
	r.do(func() { delete(r.tokens, short) })
	check(short, true, 9, ErrBadToken)
	// The API server does not answer: what it said counts on, and it is not asked
	// each time.
	pass(2 * goodFor)
	r.do(func() { r.code = 403 })
	check(long, true, 10, nil)
	check(long, true, 10, nil)
	pass(retryAfter)
	check(long, true, 11, nil)
	_, err = tr.Review(t.Context(), "new", true)
	if err == nil || errors.Is(err, ErrBadToken) || !strings.Contains(err.Error(), "create on tokenreviews") || strings.Contains(err.Error(), "no for") {
		t.Errorf("forbidden: %v", err)
	}
	pass(staleFor)
	if _, err = tr.Review(t.Context(), long, true); err == nil {
		t.Error("an old answer counts for ever")
	}
	if s := tr.Stats(); s.Stale != 2 || s.Failed != 4 || s.Bad != 6 || s.Known == 0 {
		t.Errorf("%+v", s)
	}
}

// TestTokenReviewOnce: many who ask for one token at a time are one request, also if
// the first of them leaves.
func TestTokenReviewOnce(t *testing.T) {
	r, path := newReviewer(t)
	tr, err := NewTokenReviews(TokenReviewsConfig{Kubeconfig: path, Audiences: []string{"weir"}})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	r.hold, r.came = make(chan struct{}), make(chan struct{}, 10)
	r.tokens["t"] = authv1.TokenReviewStatus{Authenticated: true, Audiences: []string{"weir"}, User: authv1.UserInfo{Username: "system:serviceaccount:a:b"}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	results := make(chan error, 20)
	ask := func(ctx context.Context) {
		u, err := tr.Review(ctx, "t", true)
		if err == nil && u.Namespace != "a" {
			err = errors.New("somebody else")
		}
		results <- err
	}
	wg.Go(func() { ask(ctx) })
	<-r.came
	cancel()
	for range 9 {
		wg.Go(func() { ask(t.Context()) })
	}
	close(r.hold)
	wg.Wait()
	close(results)
	for err := range results {
		if err != nil {
			t.Error(err)
		}
	}
	if r.asked != 1 {
		t.Errorf("%d requests", r.asked)
	}
}

// TestTokenReviewMemory: no number of bad tokens makes good ones forgotten or memory
// grow.
func TestTokenReviewMemory(t *testing.T) {
	m := answers{m: make(map[[32]byte]answer)}
	now := time.Unix(1e9, 0)
	for i := range 3 * maxAnswers {
		m.put([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}, answer{until: now.Add(time.Hour)}, now)
	}
	if len(m.m) > maxAnswers {
		t.Errorf("%d answers", len(m.m))
	}
}

func TestPodIPs(t *testing.T) {
	store := &ipStore{filter: filter{labels: []string{}}, log: discard, pods: make(map[string]*addressed), byIP: make(map[netip.Addr][]string)}
	p := (*PodIPs)(store)
	at := func(ip string) string {
		ns, name, uid, attrs, ok := p.Pod(netip.MustParseAddr(ip))
		if !ok {
			return "-"
		}
		out := ns + "/" + name + " " + uid
		for _, a := range attrs {
			out += " " + a.Name + "=" + a.Value
		}
		return out
	}
	tell := func(uid, ip string, phase corev1.PodPhase, host bool) *corev1.Pod {
		o := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), Name: "web", Namespace: "shop", Labels: map[string]string{"app": "web"}}}
		o.Spec.NodeName, o.Spec.HostNetwork = "n1", host
		o.Spec.Containers = []corev1.Container{{Name: "c", Image: "i:1"}}
		o.Status.PodIP, o.Status.Phase = ip, phase
		o.Status.PodIPs = []corev1.PodIP{{IP: ip}, {IP: "fd00::" + uid[1:]}}
		slim, err := store.Transformer()(o)
		if err != nil {
			t.Fatal(err)
		}
		return slim.(*corev1.Pod)
	}
	check := func(ip, want string) {
		t.Helper()
		if got := at(ip); got != want {
			t.Errorf("%s: %s, want %s", ip, got, want)
		}
	}
	const attrs = " node=n1 namespace=shop pod=web pod_uid=u1 container=c image=i:1 workload=pod/web app=web service_name=web"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(store.Replace([]any{tell("u1", "10.0.0.1", corev1.PodRunning, false)}, ""))
	check("10.0.0.1", "shop/web u1"+attrs)
	check("::ffff:10.0.0.1", "shop/web u1"+attrs)
	check("fd00::1", "shop/web u1"+attrs)
	check("10.0.0.2", "-")
	must(store.Add(tell("u2", "10.0.0.9", corev1.PodRunning, true))) // the node's address
	check("10.0.0.9", "-")
	if a, ok := p.Attrs("u2"); !ok || len(a) == 0 {
		t.Error("a pod on the host's network is not known by its uid")
	}
	must(store.Add(tell("u3", "10.0.0.1", corev1.PodPending, false))) // for a moment both
	check("10.0.0.1", "-")
	must(store.Update(tell("u1", "10.0.0.1", corev1.PodSucceeded, false)))
	if ns, _, uid, _, ok := p.Pod(netip.MustParseAddr("10.0.0.1")); !ok || uid != "u3" || ns != "shop" {
		t.Error("an address that was given away is not the new one's")
	}
	must(store.Delete(tell("u3", "10.0.0.1", corev1.PodRunning, false)))
	check("10.0.0.1", "-")
	if len(p.byIP) != 0 {
		t.Errorf("left: %v", p.byIP)
	}
	var zero netip.Addr
	if _, _, _, _, ok := p.Pod(zero); ok {
		t.Error("no address is somebody's")
	}
}
