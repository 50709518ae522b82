package kube

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weirlog/weir/record"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

func pod(uid, name string, edit ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), Namespace: "shop", Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{NodeName: "node1", Containers: []corev1.Container{{Name: "main", Image: "img:1"}}},
	}
	for _, f := range edit {
		f(p)
	}
	return p
}

func start(t *testing.T, c Config, edit ...func(*client)) *Pods {
	t.Helper()
	c.NodeName = "node1"
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range edit {
		f(p.client)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p
}

// eventually waits for changes until ok holds. The limit is only there so that
// a failing test ends.
func eventually(t *testing.T, p *Pods, what string, ok func() bool) {
	t.Helper()
	limit := time.After(60 * time.Second)
	for {
		changed := p.Changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond): // counters change silently
		case <-limit:
			t.Fatalf("never: %s; %+v", what, p.Stats())
		}
	}
}

func known(p *Pods, uid string) func() bool {
	return func() bool { _, ok := p.Pod(uid); return ok }
}

func TestWatch(t *testing.T) {
	for i := range 4 {
		streams := i&1 != 0
		a := newAPI(t)
		a.streams = streams
		if i&2 != 0 {
			a.wire = protobuf()
		}
		a.put(pod("u1", "a"))
		mem := newMemory()
		p := start(t, Config{Kubeconfig: a.kubeconfig(""), Cache: mem})
		eventually(t, p, "first pod", known(p, "u1"))
		eventually(t, p, "synced", func() bool { return p.Stats().Synced })
		v := p.Version()
		a.put(pod("u2", "b"))
		eventually(t, p, "second pod", known(p, "u2"))
		if p.Version() <= v {
			t.Error("version did not grow")
		}
		a.put(pod("u2", "b", func(p *corev1.Pod) { p.Labels["app"] = "other" }))
		eventually(t, p, "new label", func() bool { q, _ := p.Pod("u2"); return q.App == "other" })
		// A change of nothing we look at is none.
		v = p.Version()
		a.put(pod("u2", "b", func(p *corev1.Pod) { p.Labels["app"], p.Status.Phase = "other", corev1.PodRunning }))
		a.put(pod("u3", "c"))
		eventually(t, p, "third pod", known(p, "u3"))
		if got := p.Version(); got != v+1 {
			t.Errorf("version grew by %d, want 1", got-v)
		}
		// A pod that is gone stays known, as its files may still be read.
		a.remove("u1")
		a.put(pod("u4", "d"))
		eventually(t, p, "fourth pod", known(p, "u4"))
		if !known(p, "u1")() || !mem.has("u1") {
			t.Error("a deleted pod was forgotten at once")
		}
		st := p.Stats()
		if st.Errors != 0 || st.Pods != 4 || st.LastEvent.IsZero() {
			t.Errorf("stats %+v", st)
		}
		if want := map[bool]string{true: "streamlist", false: "list"}[streams]; a.count(want) != 1 {
			t.Errorf("requests %v", a.requests)
		}
	}
}

func TestFailure15_RecreatedUnderTheSameName(t *testing.T) {
	a := newAPI(t)
	a.put(pod("old", "web-0", func(p *corev1.Pod) { p.Labels["version"] = "1" }))
	p := start(t, Config{Kubeconfig: a.kubeconfig("")})
	eventually(t, p, "old pod", known(p, "old"))
	a.remove("old")
	a.put(pod("new", "web-0", func(p *corev1.Pod) { p.Labels["version"] = "2" }))
	eventually(t, p, "new pod", known(p, "new"))
	for uid, want := range map[string]string{"old": "1", "new": "2"} {
		q, ok := p.Pod(uid)
		if !ok || len(q.Labels) != 2 || q.Labels[1].Value != want {
			t.Errorf("%s: %+v %v", uid, q, ok)
		}
	}
	if _, ok := p.Pod("web-0"); ok {
		t.Error("found by name")
	}
}

func TestFailure98_APIServerAway(t *testing.T) {
	mem := newMemory()
	a := newAPI(t)
	a.put(pod("u1", "a"))
	t.Run("first life", func(t *testing.T) {
		p := start(t, Config{Kubeconfig: a.kubeconfig(""), Cache: mem})
		eventually(t, p, "first pod", known(p, "u1"))
	})

	t.Run("down at start", func(t *testing.T) {
		a.do(func() { a.down = true })
		p := start(t, Config{Kubeconfig: a.kubeconfig(""), Cache: mem})
		if q, ok := p.Pod("u1"); !ok || q.App != "a" {
			t.Errorf("not known from the cache: %+v", q)
		}
		eventually(t, p, "errors are counted", func() bool { return p.Stats().Errors > 0 })
		if p.Stats().Synced {
			t.Error("synced")
		}
		a.do(func() { a.down = false })
		a.put(pod("u2", "b"))
		eventually(t, p, "it comes back", known(p, "u2"))
	})

	t.Run("nobody listens at start", func(t *testing.T) {
		b := newAPI(t)
		b.srv.Close()
		p := start(t, Config{Kubeconfig: b.kubeconfig(""), Cache: mem})
		if !known(p, "u1")() {
			t.Error("not known from the cache")
		}
		eventually(t, p, "errors are counted", func() bool { return p.Stats().Errors > 0 })
	})

	t.Run("unauthorized", func(t *testing.T) {
		b := newAPI(t)
		b.token = "secret"
		b.put(pod("u1", "a"))
		p := start(t, Config{Kubeconfig: b.kubeconfig("")})
		eventually(t, p, "errors are counted", func() bool { return p.Stats().Errors > 0 })
		b.do(func() { b.token = "" })
		eventually(t, p, "permission comes", known(p, "u1"))
	})

	t.Run("gone", func(t *testing.T) {
		b := newAPI(t)
		b.put(pod("u1", "a"))
		p := start(t, Config{Kubeconfig: b.kubeconfig("")}, func(c *client) { c.watch = -watchGrace + 1500*time.Millisecond })
		eventually(t, p, "first pod", known(p, "u1"))
		b.do(func() { b.forget = true })
		eventually(t, p, "listed again", func() bool { return b.count("list") > 1 })
		b.remove("u1")
		b.put(pod("u2", "b"))
		eventually(t, p, "second pod", known(p, "u2"))
	})

	t.Run("stalls at start", func(t *testing.T) {
		b := newAPI(t)
		b.silent = true
		b.put(pod("u1", "a"))
		p := start(t, Config{Kubeconfig: b.kubeconfig("")}, func(c *client) { c.list = 200 * time.Millisecond })
		eventually(t, p, "it gives up waiting", func() bool { return p.Stats().Errors > 0 })
		b.do(func() { b.silent = false })
		eventually(t, p, "first pod", known(p, "u1"))
	})

	t.Run("watch stalls", func(t *testing.T) {
		b := newAPI(t)
		b.put(pod("u1", "a"))
		p := start(t, Config{Kubeconfig: b.kubeconfig("")}, func(c *client) { c.list, c.watch = 300*time.Millisecond, -watchGrace+300*time.Millisecond })
		eventually(t, p, "first pod", known(p, "u1"))
		b.do(func() { b.silent = true })
		eventually(t, p, "it asks again", func() bool { return p.Stats().Errors > 0 })
		b.do(func() { b.silent = false })
		b.put(pod("u2", "b"))
		eventually(t, p, "second pod", known(p, "u2"))
	})
}

// For some errors the reflector waits without looking at its context; it must
// not see them, or the agent's end takes up to a minute.
func TestErrorsThatBlockTheEnd(t *testing.T) {
	a := newAPI(t)
	p, err := New(Config{NodeName: "node1", Kubeconfig: a.kubeconfig("")})
	if err != nil {
		t.Fatal(err)
	}
	a.srv.Close()
	for _, initial := range []bool{true, false} {
		_, err = p.client.watchPods(t.Context(), metav1.ListOptions{SendInitialEvents: &initial})
		if err == nil || utilnet.IsConnectionRefused(err) == initial {
			t.Errorf("initial %v: %v", initial, err)
		}
	}
}

func TestFailure99_TokenRotated(t *testing.T) {
	a := newAPI(t)
	a.token = "first"
	a.put(pod("u1", "a"))
	file := filepath.Join(t.TempDir(), "token")
	write := func(s string) {
		// As kubelet does: a new file under the old name.
		tmp := file + ".new"
		if err := errors.Join(os.WriteFile(tmp, []byte(s), 0o600), os.Rename(tmp, file)); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	p := start(t, Config{Kubeconfig: a.kubeconfig(file)}, func(c *client) { c.watch = -watchGrace + 500*time.Millisecond })
	eventually(t, p, "first pod", known(p, "u1"))
	write("second")
	a.do(func() { a.token = "second" })
	eventually(t, p, "the old token is refused", func() bool { return a.count("401") > 0 })
	a.put(pod("u2", "b"))
	eventually(t, p, "the new token is used", known(p, "u2"))
}

func TestCache(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	mem := newMemory()
	mem.Put("broken", []byte("{"))
	mem.Put("other", []byte(`{"pod":{"uid":"x"}}`))
	cfg := Config{NodeName: "node1", Kubeconfig: newAPI(t).kubeconfig(""), Cache: mem, Clock: func() time.Time { return now }}
	open := func() *Pods {
		t.Helper()
		p, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := open()
	if st := p.Stats(); st.BadCache != 2 || st.Pods != 0 || mem.has("broken") {
		t.Errorf("stats %+v", st)
	}
	full := pod("u1", "web-7d9f", func(p *corev1.Pod) {
		p.Labels["pod-template-hash"] = "7d9f"
		p.Annotations = map[string]string{"weir.dev/exclude.main": "true", "weir.dev/level": "x"}
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-7d9f"}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", ContainerID: "containerd://abc", RestartCount: 2}}
	})
	if err := p.store.Replace([]any{full, pod("u2", "b")}, ""); err != nil {
		t.Fatal(err)
	}
	before, _ := p.Pod("u1")
	p = open()
	after, ok := p.Pod("u1")
	if d := cmp.Diff(before, after); !ok || d != "" {
		t.Errorf("after a restart: %v\n%s", ok, d)
	}
	// What the server no longer has is kept for an hour, over restarts.
	if err := p.store.Replace([]any{pod("u2", "b")}, ""); err != nil {
		t.Fatal(err)
	}
	now = now.Add(50 * time.Minute)
	p = open()
	p.store.sweep()
	if !known(p, "u1")() {
		t.Error("forgotten too early")
	}
	// Not while the server does not say so.
	now = now.Add(11 * time.Minute)
	p.store.sweep()
	if known(p, "u1")() || mem.has("u1") || !known(p, "u2")() {
		t.Error("not forgotten, or too much")
	}
}

func TestStaticPods(t *testing.T) {
	const hash = "0123456789abcdef0123456789abcdef"
	s := newStore(Config{KeepGone: time.Hour, Clock: time.Now})
	mirror := func(uid string) *corev1.Pod {
		return pod(uid, "etcd-node1", func(p *corev1.Pod) {
			p.Annotations = map[string]string{"kubernetes.io/config.hash": hash, "kubernetes.io/config.mirror": hash, "kubernetes.io/config.source": "file"}
			p.OwnerReferences = []metav1.OwnerReference{{Kind: "Node", Name: "node1"}}
		})
	}
	if err := s.Add(mirror("api-uid")); err != nil {
		t.Fatal(err)
	}
	for _, uid := range []string{"api-uid", hash} {
		p, ok := s.pod(uid)
		if !ok || !p.Static || p.Workload != "pod/etcd" || p.UID != "api-uid" {
			t.Errorf("%s: %+v %v", uid, p, ok)
		}
	}
	// Its mirror is deleted and made anew.
	if err := s.Delete(mirror("api-uid")); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(mirror("api-uid-2")); err != nil {
		t.Fatal(err)
	}
	if p, _ := s.pod(hash); p.UID != "api-uid-2" {
		t.Errorf("%+v", p)
	}
	s.pods["api-uid"].Gone = 1
	s.sweep()
	if p, ok := s.pod(hash); !ok || p.UID != "api-uid-2" {
		t.Errorf("%+v", p)
	}
}

func TestWorkload(t *testing.T) {
	yes := true
	for _, tt := range []struct {
		kind, owner string
		labels      map[string]string
		want        string
	}{
		{"", "", nil, "pod/p"},
		{"ReplicaSet", "api-7d9f", map[string]string{"pod-template-hash": "7d9f"}, "deployment/api"},
		{"ReplicaSet", "api", nil, "replicaset/api"},
		{"ReplicaSet", "api-x", map[string]string{"pod-template-hash": "7d9f"}, "replicaset/api-x"},
		{"ReplicaSet", "api-55", map[string]string{"rollouts-pod-template-hash": "55"}, "rollout/api"},
		{"StatefulSet", "db", nil, "statefulset/db"},
		{"DaemonSet", "agent", nil, "daemonset/agent"},
		{"Job", "migrate", nil, "job/migrate"},
		{"Job", "migrate-2", nil, "job/migrate-2"},
		{"Job", "backup-28391040", nil, "cronjob/backup"},
		{"Job", "backup-1592836800", nil, "cronjob/backup"},
		{"Job", "-28391040", nil, "job/-28391040"},
		{"Kafka", "main", nil, "kafka/main"},
	} {
		p := pod("u", "p", func(p *corev1.Pod) {
			p.Labels = tt.labels
			if tt.kind != "" {
				p.OwnerReferences = []metav1.OwnerReference{{Kind: "Other", Name: "x"}, {Kind: tt.kind, Name: tt.owner, Controller: &yes}}
			}
		})
		if got := workload(p, false); got != tt.want {
			t.Errorf("%s %s: got %s, want %s", tt.kind, tt.owner, got, tt.want)
		}
	}
}

func TestService(t *testing.T) {
	all := map[string]string{"app.kubernetes.io/instance": "inst", "app.kubernetes.io/name": "name"}
	for _, tt := range []struct {
		labels, annotations map[string]string
		want                string
	}{
		{all, map[string]string{"resource.opentelemetry.io/service.name": "annotated"}, "annotated"},
		{all, nil, "inst"},
		{map[string]string{"app.kubernetes.io/name": "name"}, nil, "name"},
		{map[string]string{"app": "x"}, nil, "p"},
	} {
		f := filter{}
		p := f.pod(pod("u", "p", func(p *corev1.Pod) { p.Labels, p.Annotations = tt.labels, tt.annotations }))
		if p.Service != tt.want {
			t.Errorf("%v %v: got %s, want %s", tt.labels, tt.annotations, p.Service, tt.want)
		}
	}
}

func TestExclude(t *testing.T) {
	for _, tt := range []struct {
		name        string
		labels      map[string]string
		annotations map[string]string
		main, side  bool
		bad         []string
	}{
		{name: "nothing"},
		{name: "pod", annotations: map[string]string{"weir.dev/exclude": "true"}, main: true, side: true},
		{name: "pod, false", annotations: map[string]string{"weir.dev/exclude": "false"}},
		{name: "spelling", annotations: map[string]string{"weir.dev/exclude": " True "}, main: true, side: true},
		{name: "container", annotations: map[string]string{"weir.dev/exclude.side": "true"}, side: true},
		{name: "all but one", annotations: map[string]string{"weir.dev/exclude": "true", "weir.dev/exclude.main": "false"}, side: true},
		{name: "bad value", annotations: map[string]string{"weir.dev/exclude": "yes please"}, bad: []string{"weir.dev/exclude"}},
		{name: "bad value of a container", annotations: map[string]string{"weir.dev/exclude.side": "", "weir.dev/exclude": "true"}, main: true, side: true, bad: []string{"weir.dev/exclude.side"}},
		{name: "fluent bit", annotations: map[string]string{"fluentbit.io/exclude": "true"}, main: true, side: true},
		{name: "fluent bit, container", annotations: map[string]string{"fluentbit.io/exclude-side": "true"}, side: true},
		{name: "vector", labels: map[string]string{"vector.dev/exclude": "true"}, main: true, side: true},
		{name: "vector, as an annotation", annotations: map[string]string{"vector.dev/exclude": "true"}},
		{name: "vector, containers", annotations: map[string]string{"vector.dev/exclude-containers": "x, side"}, side: true},
		{name: "ours beats theirs", labels: map[string]string{"vector.dev/exclude": "true"}, annotations: map[string]string{"weir.dev/exclude": "false"}},
	} {
		s := newStore(Config{KeepGone: time.Hour, Clock: time.Now, Logger: discard})
		if err := s.Add(pod("u", "p", func(p *corev1.Pod) { p.Labels, p.Annotations = tt.labels, tt.annotations })); err != nil {
			t.Fatal(err)
		}
		p, _ := s.pod("u")
		if p.Excluded("main") != tt.main || p.Excluded("side") != tt.side {
			t.Errorf("%s: main %v, side %v", tt.name, p.Excluded("main"), p.Excluded("side"))
		}
		if d := cmp.Diff(tt.bad, p.BadAnnotations); d != "" || s.stats().BadAnnotations != uint64(len(tt.bad)) {
			t.Errorf("%s: bad annotations: %s", tt.name, d)
		}
	}
}

func TestChosen(t *testing.T) {
	f := filter{labels: []string{"app*", "*/tier"}, annotations: []string{"team"}}
	p := f.pod(pod("u", "p", func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "1", "app.kubernetes.io/name": "2", "x.y/tier": "3", "tier": "4"}
		p.Annotations = map[string]string{"team": "a", "secret": "b"}
	}))
	if d := cmp.Diff([]record.Attr{{Name: "app", Value: "1"}, {Name: "app.kubernetes.io/name", Value: "2"}, {Name: "x.y/tier", Value: "3"}}, p.Labels); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]record.Attr{{Name: "team", Value: "a"}}, p.Annotations); d != "" {
		t.Error(d)
	}
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true}, {"*", "a/b", true}, {"a", "a", true}, {"a", "ab", false}, {"a*b*c", "aXbYc", true}, {"a*b*c", "acb", false},
		{"a*a", "a", false}, {"**a", "ba", true}, {"", "", true}, {"", "a", false}, {"*a*", "bab", true}, {"ab*b", "ab", false},
	} {
		if got := glob(tt.pattern, tt.s); got != tt.want {
			t.Errorf("glob(%q, %q) = %v", tt.pattern, tt.s, got)
		}
	}
}

func TestContainersAndAttrs(t *testing.T) {
	f := filter{}
	p := f.pod(slim(pod("u", "p", func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "i:1", Env: []corev1.EnvVar{{Name: "A", Value: "b"}}}}
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "d:1"}}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", ContainerID: "cri-o://abc", RestartCount: 3}, {Name: "ghost"}}
	})))
	if d := cmp.Diff(map[string]Container{"init": {Image: "i:1"}, "main": {Image: "img:1", ID: "abc", Restarts: 3}, "debug": {Image: "d:1"}}, p.Containers); d != "" {
		t.Error(d)
	}
	s := record.NewStream(p.Attrs("main"), p.Labels, nil)
	for name, want := range map[string]string{
		"node": "node1", "namespace": "shop", "pod": "p", "pod_uid": "u", "container": "main", "container_id": "abc",
		"image": "img:1", "workload": "pod/p", "app": "p", "service_name": "p", "label_app": "p",
	} {
		if got := s.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestNew(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := New(Config{NodeName: "n"}); !errors.Is(err, ErrNoCluster) {
		t.Errorf("outside of a cluster: %v", err)
	}
	if _, err := New(Config{NodeName: "n", Kubeconfig: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("no error for a missing kubeconfig")
	}
	t.Setenv("NODE_NAME", "from-env")
	p, err := New(Config{Kubeconfig: newAPI(t).kubeconfig("")})
	if err != nil || p.client.node != "from-env" {
		t.Errorf("node %v, %v", p, err)
	}
}

// A wrong name of the node selects nothing and is no error to the server.
func TestWrongNodeName(t *testing.T) {
	for _, tt := range []struct {
		pods int
		want string
	}{{0, "knows no pods"}, {1, "pods of this node are known"}} {
		a := newAPI(t)
		if tt.pods > 0 {
			a.put(pod("u1", "a"))
		}
		var logged syncBuffer
		p := start(t, Config{Kubeconfig: a.kubeconfig(""), Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		eventually(t, p, "synced", func() bool { return p.Stats().Synced })
		if got := logged.String(); !strings.Contains(got, tt.want) || !strings.Contains(got, "node=node1") {
			t.Errorf("%d pods: logged %q, want %q and the node's name", tt.pods, got, tt.want)
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestProbe(t *testing.T) {
	a := newAPI(t)
	a.put(pod("u1", "a"))
	p, err := New(Config{NodeName: "node1", Kubeconfig: a.kubeconfig("")})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := p.Probe(t.Context()); err != nil || n != 1 || p.Node() != "node1" {
		t.Errorf("%d pods on %s, %v", n, p.Node(), err)
	}
	a.do(func() { a.down = true })
	if _, err := p.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "node1") {
		t.Errorf("server down: %v", err)
	}
}

// What the log says of a failed request names who can help.
func TestTrouble(t *testing.T) {
	server := func(edit func(*api)) (kubeconfig string) {
		a := newAPI(t)
		edit(a)
		return a.kubeconfig("")
	}
	for _, tt := range []struct{ kubeconfig, want string }{
		{server(func(a *api) { a.token = "secret" }), "does not accept the credentials"},
		{server(func(a *api) { a.down = true }), "does not answer"},
	} {
		p, err := New(Config{NodeName: "node1", Kubeconfig: tt.kubeconfig})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("no"))
	if got := trouble(forbidden); !strings.Contains(got, "needs get, list and watch on pods") {
		t.Error(got)
	}
	cert := &url.Error{Op: "Get", URL: "https://x", Err: &tls.CertificateVerificationError{Err: errors.New("unknown authority")}}
	if got := trouble(cert); !strings.Contains(got, "not trusted") {
		t.Error(got)
	}
}
