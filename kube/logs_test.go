package kube

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weirlog/weir/show"
)

// collect is a Sink.
type collect struct {
	t       *testing.T
	mu      sync.Mutex
	lines   map[string][]string // by pod/container
	entries []show.Entry
	notices []string
	news    chan struct{}
}

func newCollect(t *testing.T) *collect {
	return &collect{t: t, lines: map[string][]string{}, news: make(chan struct{}, 1)}
}

func (s *collect) poke() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

func (s *collect) Lines(list []show.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range list {
		key := e.Stream.Labels["pod"] + "/" + e.Stream.Labels["container"]
		if e.Stream.Labels["input"] == "events" {
			key = "events"
		}
		s.lines[key] = append(s.lines[key], e.Line)
	}
	s.entries = append(s.entries, list...)
	s.poke()
}

func (s *collect) Notice(n Notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	who := ""
	if n.Stream != nil {
		who = n.Stream.Labels["pod"] + "/" + n.Stream.Labels["container"]
	}
	s.notices = append(s.notices, strings.Join(strings.Fields(n.Kind+" "+who+" "+n.Text), " "))
	s.poke()
}

func (s *collect) has(notice string) func() bool {
	return func() bool {
		return slices.ContainsFunc(s.notices, func(n string) bool { return strings.Contains(n, notice) })
	}
}

func (s *collect) got(key string, n int) func() bool {
	return func() bool { return len(s.lines[key]) >= n }
}

// until waits for ok, which is asked under the lock.
func (s *collect) until(what string, ok func() bool) {
	s.t.Helper()
	limit := time.After(60 * time.Second)
	for {
		s.mu.Lock()
		yes := ok()
		s.mu.Unlock()
		if yes {
			return
		}
		select {
		case <-s.news:
		case <-limit:
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.Fatalf("never: %s\nnotices %q\nlines %.3000q", what, s.notices, s.lines)
		}
	}
}

func (s *collect) want(key string, want []string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := cmp.Diff(want, s.lines[key]); d != "" {
		s.t.Errorf("%s: want - got +\n%.4000s\nnotices %q", key, d, s.notices)
	}
}

func openCluster(t *testing.T, c *cluster, context string) *Logs {
	t.Helper()
	l, err := OpenLogs(LogsConfig{Kubeconfig: c.config(), Context: context})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// follow reads in the background until the test ends or stop is called, which
// returns the error.
func follow(t *testing.T, l *Logs, r Reading) (s *collect, stop func() error) {
	s = newCollect(t)
	r.Follow = true
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Read(ctx, r, s) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return s, stop
}

var day = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// at is a line as kubelet has it, and its text.
func at(d time.Duration, text string) string {
	return day.Add(d).Format("2006-01-02T15:04:05.000000000Z") + " " + text
}

func texts(lines []string) []string {
	var out []string
	for _, l := range lines {
		_, text, _ := strings.Cut(l, " ")
		out = append(out, text)
	}
	return out
}

// running makes a pod of the deployment web whose container main runs.
func running(name string, edit ...func(*corev1.Pod)) *corev1.Pod {
	yes := true
	p := pod("uid-"+name, name, func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "web", "pod-template-hash": "abc"}
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-abc", Controller: &yes}}
		p.Status.Phase = corev1.PodRunning
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "main", ContainerID: "containerd://1",
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(day)}},
		}}
	})
	for _, f := range edit {
		f(p)
	}
	return p
}

// restarted is in its n-th life after the first.
func restarted(n int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		s := &p.Status.ContainerStatuses[0]
		s.RestartCount, s.ContainerID = n, fmt.Sprintf("containerd://%d", n+1)
		s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ContainerID: fmt.Sprintf("containerd://%d", n), ExitCode: 1}
	}
}

func terminated(code int32, reason string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: "containerd://1", ExitCode: code, Reason: reason}}
	}
}

func TestLogsOnce(t *testing.T) {
	c := newCluster(t)
	a := []string{at(0, "one"), at(time.Second, ""), at(2*time.Second, "two \x1b[31mred"), at(3*time.Second, "three")}
	c.put(running("a"))
	c.put(running("b", restarted(1), func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "setup"}}
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "setup", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: "x"}}}}
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "late"})
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: "late",
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image\x1b[2J"}}})
	}))
	c.put(pod("other", "elsewhere", func(p *corev1.Pod) { p.Namespace = "pay" }))
	c.write("a/main", a...)
	c.write("b/main", at(9*time.Second, "b now"))
	c.write("b/main/previous", at(5*time.Second, "b before"))
	c.write("b/setup", at(0, "setting up"))
	c.do(func() { c.logs["a/main"].rest = at(4*time.Second, "no end of line") })
	l := openCluster(t, c, "")
	if l.String() != "cluster prod (context prod-eu)" || l.Namespace() != "shop" {
		t.Errorf("%s, %s", l, l.Namespace())
	}
	s := newCollect(t)
	if err := l.Read(t.Context(), Reading{Tail: -1, Previous: true, Pick: Pick{Init: true}}, s); err != nil {
		t.Fatal(err)
	}
	s.want("a/main", append(texts(a), "no end of line"))
	s.want("b/main", []string{"b before", "b now"})
	s.want("b/setup", []string{"setting up"})
	s.until("waiting is explained", s.has(`warning b/late waiting: ImagePullBackOff: no such image`))
	for _, n := range s.notices {
		if strings.Contains(n, "\x1b") {
			t.Errorf("a control byte of foreign origin: %q", n)
		}
	}
	for _, e := range s.entries {
		if e.Stream.Labels["pod"] != "a" {
			continue
		}
		want := map[string]string{"namespace": "shop", "pod": "a", "container": "main", "node": "node1", "workload": "deployment/web", "app": "web",
			"service_name": "web", "pod_uid": "uid-a", "input": "kubernetes"}
		if d := cmp.Diff(want, e.Stream.Labels); d != "" {
			t.Error(d)
		}
		if e.Stream.PodLabels["pod-template-hash"] != "abc" || e.Time != day.UnixNano() {
			t.Errorf("%+v %v", e, e.Stream.PodLabels)
		}
		break
	}

	// Bounds and the last lines.
	for _, r := range []struct {
		what string
		r    Reading
		want []string
	}{
		{"last two", Reading{Tail: 2}, []string{"two \x1b[31mred", "three", "no end of line"}},
		{"since", Reading{Tail: -1, Since: day.Add(1500 * time.Millisecond)}, []string{"two \x1b[31mred", "three", "no end of line"}},
		{"until", Reading{Tail: -1, Until: day.Add(2 * time.Second)}, []string{"one", ""}},
		{"last before", Reading{Tail: 1, Until: day.Add(3 * time.Second)}, []string{"two \x1b[31mred"}},
	} {
		t.Run(r.what, func(t *testing.T) {
			s := newCollect(t)
			r.r.Objects = []Object{{Kind: "pod", Name: "a"}}
			if err := l.Read(t.Context(), r.r, s); err != nil {
				t.Fatal(err)
			}
			s.want("a/main", r.want)
		})
	}
}

// Whatever is cut, each line comes once, also when many have one time and one
// text.
func TestLogsCuts(t *testing.T) {
	c := newCluster(t)
	c.put(running("a"))
	c.write("a/main", at(0, "first"))
	s, stop := follow(t, openCluster(t, c, ""), Reading{Tail: -1})
	s.until("the first line", s.got("a/main", 1))
	rng := rand.New(rand.NewPCG(1, 2))
	want := []string{"first"}
	var now time.Duration
	for i := range 60 {
		var add []string
		for range rng.IntN(20) {
			// Times jump over seconds, stand still, and step back a little.
			now += []time.Duration{0, 0, time.Microsecond, -time.Microsecond, 300 * time.Millisecond, 3 * time.Second}[rng.IntN(6)]
			add = append(add, at(now, fmt.Sprint("text ", rng.IntN(3))))
		}
		want = append(want, texts(add)...)
		half := at(now, fmt.Sprint("cut in the middle ", i))
		c.do(func() {
			f := c.logs["a/main"]
			f.lines, f.rest = append(f.lines, add...), half[:rng.IntN(len(half)-1)+1]
		})
		if rng.IntN(2) == 0 {
			s.until("what was written before the cut", s.got("a/main", len(want)))
		}
		c.do(func() {
			if rng.IntN(3) == 0 {
				c.ends++ // properly, though the container goes on
			} else {
				c.cuts++
			}
			f := c.logs["a/main"]
			f.lines, f.rest = append(f.lines, half), ""
		})
		want = append(want, texts([]string{half})...)
	}
	s.until("everything", s.got("a/main", len(want)))
	if err := stop(); err != nil {
		t.Errorf("Read: %v", err)
	}
	s.want("a/main", want)
	if s.has("missing")() {
		t.Errorf("%q", s.notices)
	}
}

func TestLogsRestart(t *testing.T) {
	c := newCluster(t)
	c.put(running("a"))
	c.write("a/main", at(0, "1"))
	s, stop := follow(t, openCluster(t, c, ""), Reading{Tail: -1})
	s.until("the first line", s.got("a/main", 1))
	// The connection is cut, the container ends and comes back before we are.
	c.do(func() {
		c.cuts++
		c.logs["a/main/previous"] = &logFile{lines: []string{at(0, "1"), at(time.Second, "last words")}, done: true}
		c.logs["a/main"] = &logFile{lines: []string{at(2*time.Second, "again")}}
	})
	c.put(running("a", restarted(1)))
	s.until("both lives", s.got("a/main", 3))
	s.until("the restart is told", s.has("joined a/main restart 1"))
	// It is in its fifth life when we hear of it next.
	c.do(func() {
		c.ends++
		c.logs["a/main/previous"] = &logFile{lines: []string{at(8*time.Second, "fourth")}, done: true}
		c.logs["a/main"] = &logFile{lines: []string{at(9*time.Second, "fifth")}}
	})
	c.put(running("a", restarted(4)))
	s.until("what can be had", s.got("a/main", 5))
	s.until("what cannot is told", s.has("warning a/main 2 lives"))
	// It ends, is read to its end, and its log is gone when it is back.
	c.do(func() { c.logs["a/main"].done = true })
	c.put(running("a", restarted(4), terminated(1, "Error")))
	s.until("the end of a life", s.has("left a/main exit code 1"))
	c.do(func() {
		c.logs["a/main/previous"] = &logFile{lines: []string{"unable to retrieve container logs for containerd://4"}, done: true}
		c.logs["a/main"] = &logFile{lines: []string{at(10*time.Second, "sixth")}}
	})
	c.put(running("a", restarted(5)))
	s.until("the next", s.got("a/main", 6))
	if s.has("unable to retrieve")() {
		t.Errorf("%q", s.notices)
	}
	// It ends for good.
	c.do(func() {
		f := c.logs["a/main"]
		f.lines, f.done = append(f.lines, at(11*time.Second, "bye")), true
	})
	c.put(running("a", restarted(5), terminated(137, "OOMKilled"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }))
	s.until("it left", s.has("left a/main OOMKilled, exit code 137"))
	if err := stop(); err != nil {
		t.Error(err)
	}
	s.want("a/main", []string{"1", "last words", "again", "fourth", "fifth", "sixth", "bye"})
}

func TestLogsJoinAndLeave(t *testing.T) {
	c := newCluster(t)
	c.put(running("a"))
	c.write("a/main", at(0, "old"))
	s, stop := follow(t, openCluster(t, c, ""), Reading{Tail: 0, Pick: Pick{Objects: []Object{{Kind: "deployment", Name: "web"}}}})
	s.until("it joined", s.has("joined a/main"))
	// The server forgets our version, and meanwhile a pod comes and one goes.
	c.do(func() { c.forget = true })
	c.write("b/main", at(time.Second, "new"))
	c.put(running("b"))
	c.put(pod("x", "stranger"))
	s.until("the new pod is read from its beginning", s.got("b/main", 1))
	c.do(func() {
		c.logs["a/main"].lines = append(c.logs["a/main"].lines, at(2*time.Second, "bye"))
		c.logs["a/main"].done = true
	})
	s.until("its last line", s.got("a/main", 1))
	c.remove("uid-a")
	s.until("it left", s.has("left a/main the pod was deleted"))
	if err := stop(); err != nil {
		t.Error(err)
	}
	s.want("a/main", []string{"bye"})
	if s.has("stranger")() {
		t.Errorf("%q", s.notices)
	}
}

func TestLogsRotated(t *testing.T) {
	c := newCluster(t)
	c.put(running("a"))
	c.write("a/main", at(0, "1"), at(time.Second, "2"))
	s, stop := follow(t, openCluster(t, c, ""), Reading{Tail: -1})
	s.until("two lines", s.got("a/main", 2))
	c.do(func() {
		c.deny = func(*http.Request) int { return 503 }
		c.cuts++
	})
	s.until("it is cut", s.has("does not answer"))
	c.do(func() {
		c.deny = nil
		f := c.logs["a/main"]
		f.lines = append(f.lines, at(5*time.Second, "lost"), at(9*time.Second, "4"))
		f.from = len(f.lines) - 1
	})
	s.until("what is left", s.got("a/main", 3))
	s.until("the gap is told", s.has("may be missing"))
	if err := stop(); err != nil {
		t.Error(err)
	}
	s.want("a/main", []string{"1", "2", "4"})
}

func TestLogsEvents(t *testing.T) {
	c := newCluster(t)
	c.put(running("a"))
	c.write("a/main", at(0, "1"))
	event := func(uid types.UID, of corev1.ObjectReference, kind, reason string, count int32) *corev1.Event {
		of.Namespace = "shop"
		return &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{UID: uid, Name: string(uid), Namespace: "shop"},
			InvolvedObject: of, Type: kind, Reason: reason, Message: "Back-off restarting failed container", Count: count, LastTimestamp: metav1.NewTime(time.Now()),
		}
	}
	one := event("1", corev1.ObjectReference{Kind: "Pod", Name: "a", UID: "uid-a", FieldPath: "spec.containers{main}"}, "Warning", "BackOff", 12)
	two := event("2", corev1.ObjectReference{Kind: "ReplicaSet", Name: "web-abc"}, "Normal", "SuccessfulCreate", 1)
	three := event("3", corev1.ObjectReference{Kind: "ReplicaSet", Name: "other-abc"}, "Normal", "SuccessfulCreate", 1)
	c.happen(one)
	s, stop := follow(t, openCluster(t, c, ""), Reading{Tail: -1, Events: true})
	s.until("the line", s.got("a/main", 1))
	c.happen(three)
	c.happen(two)
	s.until("the events", s.got("events", 2))
	if err := stop(); err != nil {
		t.Error(err)
	}
	s.want("events", []string{"Warning BackOff: Back-off restarting failed container (x12)", "Normal SuccessfulCreate: Back-off restarting failed container"})
	for _, e := range s.entries {
		if e.Stream.Labels["input"] == "events" && e.Stream.Labels["pod"] == "a" {
			if e.Level() != "warn" || e.Stream.Labels["container"] != "main" || e.Stream.Labels["workload"] != "deployment/web" {
				t.Errorf("%+v %v", e, e.Stream.Labels)
			}
		}
	}
}

func TestLogsLimits(t *testing.T) {
	c := newCluster(t)
	for i := range 12 {
		name := fmt.Sprintf("p%02d", i)
		c.put(running(name))
		c.write(name+"/main", at(0, name))
	}
	l := openCluster(t, c, "")
	s := newCollect(t)
	if err := l.Read(t.Context(), Reading{Tail: -1, MaxRequests: 3}, s); err != nil {
		t.Fatal(err)
	}
	if len(s.entries) != 12 || c.most > 3 {
		t.Errorf("%d lines, %d logs at a time", len(s.entries), c.most)
	}
	var many *TooManyError
	if err := l.Read(t.Context(), Reading{Tail: -1, MaxRequests: 3, Follow: true}, s); !errors.As(err, &many) || many.Logs != 12 || many.Max != 3 {
		t.Errorf("%v", err)
	}
}

func TestLogsLongLines(t *testing.T) {
	c := newCluster(t)
	c.put(running("a"))
	long := strings.Repeat("0123456789abcdef", 3*maxLine/16) + "the end"
	c.write("a/main", at(0, "short"), at(time.Second, long), at(2*time.Second, "after"))
	s := newCollect(t)
	if err := openCluster(t, c, "").Read(t.Context(), Reading{Tail: -1}, s); err != nil {
		t.Fatal(err)
	}
	var whole strings.Builder
	var parts []int
	for _, e := range s.entries[1 : len(s.entries)-1] {
		whole.WriteString(e.Line)
		parts = append(parts, len(e.Line))
		if last := len(parts) == 4; (e.Meta["partial"] == "true") == last || e.Time != day.Add(time.Second).UnixNano() {
			t.Errorf("part %d: %v at %d", len(parts), e.Meta, e.Time)
		}
	}
	if whole.String() != long || !slices.Equal(parts, []int{maxLine, maxLine, maxLine, len("the end")}) {
		t.Errorf("%d bytes in parts %v", whole.Len(), parts)
	}
	if got := s.entries[len(s.entries)-1].Line; got != "after" {
		t.Errorf("%.50q", got)
	}
}

func TestLogsErrors(t *testing.T) {
	c := newCluster(t)
	c.put(running("a"))
	c.write("a/main", at(0, "1"))
	c.do(func() {
		c.names["deployments"] = []string{"web", "api"}
		c.names["namespaces"] = []string{"shop", "pay"}
		c.services["front"] = map[string]string{"app": "web"}
	})
	only := func(code int, what string) {
		c.do(func() {
			c.deny = func(r *http.Request) int {
				if strings.HasSuffix(r.URL.Path, what) {
					return code
				}
				return 0
			}
		})
	}
	read := func(context string, r Reading) (*collect, error) {
		s := newCollect(t)
		r.Tail = -1
		return s, openCluster(t, c, context).Read(t.Context(), r, s)
	}
	for _, tc := range []struct {
		what string
		do   func()
		r    Reading
		want string
	}{
		{"list", func() { only(403, "/pods") }, Reading{}, "does not allow to list pods in namespace shop; see: kubectl auth can-i list pods -n shop"},
		{"logs", func() { only(403, "/log") }, Reading{}, "does not allow to get pods/log in namespace shop; see: kubectl auth can-i get pods/log -n shop"},
		{"credentials", func() { only(401, "/pods") }, Reading{}, "does not accept the credentials"},
		{"deployment", func() { only(0, "x") }, Reading{Pick: Pick{Objects: []Object{{Kind: "deployment", Name: "wep"}}}}, "there is no deployment/wep in namespace shop, did you mean deployment/web?"},
		{"service", func() {}, Reading{Pick: Pick{Objects: []Object{{Kind: "service", Name: "none"}}}}, "there is no service/none"},
		{"namespace", func() {}, Reading{Pick: Pick{Namespaces: []string{"pai"}}}, `there is no namespace pai in cluster prod (context prod-eu), did you mean namespace pay?`},
		{"state", func() {}, Reading{Pick: Pick{States: []string{"ended"}}}, `no container state "ended"`},
		{"selector", func() {}, Reading{Pick: Pick{Labels: "a==="}}, `label selector "a==="`},
	} {
		t.Run(tc.what, func(t *testing.T) {
			tc.do()
			for _, follow := range []bool{false, true} {
				r := tc.r
				r.Follow = follow
				if follow && tc.what == "logs" {
					continue
				}
				if _, err := read("", r); err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("follow %v: %v, want %s", follow, err, tc.want)
				}
			}
		})
	}
	only(0, "x")
	for _, o := range []Object{{Kind: "service", Name: "front"}, {Kind: "node", Name: "node1"}, {Kind: "replicaset", Name: "web-abc"}, {Kind: "deployment", Name: "web", Namespace: "shop"}, {Kind: "pod", Name: "a"}} {
		if s, err := read("", Reading{Pick: Pick{Objects: []Object{o}}}); err != nil || len(s.entries) != 1 {
			t.Errorf("%s: %d lines, %v", o, len(s.entries), err)
		}
	}
	// All namespaces are not allowed: the context's is read, and it is said.
	c.do(func() {
		c.deny = func(r *http.Request) int {
			if r.URL.Path == "/api/v1/pods" {
				return 403
			}
			return 0
		}
	})
	s, err := read("", Reading{Pick: Pick{All: true}})
	if err != nil || len(s.entries) != 1 || !s.has("only namespace shop is read")() {
		t.Errorf("%v %q", err, s.notices)
	}

	var unknown *UnknownContextError
	if _, err := OpenLogs(LogsConfig{Kubeconfig: c.config(), Context: "prod-au"}); !errors.As(err, &unknown) || !strings.Contains(err.Error(), `did you mean "prod-eu"?`) {
		t.Error(err)
	}
	if _, err := OpenLogs(LogsConfig{Kubeconfig: c.config(), Context: "zzz"}); err == nil || !strings.Contains(err.Error(), "it has prod-eu, prod-us") {
		t.Error(err)
	}
	if _, err := OpenLogs(LogsConfig{Kubeconfig: filepath.Join(t.TempDir(), "none")}); err == nil || !strings.Contains(err.Error(), "there is no such file") {
		t.Error(err)
	}
	config := c.config()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "missing")+string(os.PathListSeparator)+config)
	if l, err := OpenLogs(LogsConfig{Context: "prod-us"}); err != nil || l.Namespace() != "default" || !HasKubeconfig() {
		t.Errorf("a list of kubeconfigs: %v", err)
	}
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "missing"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := OpenLogs(LogsConfig{}); !errors.Is(err, ErrNoKubeconfig) || HasKubeconfig() {
		t.Error(err)
	}
	l, err := OpenLogs(LogsConfig{Kubeconfig: config})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c.srv.CloseClientConnections()
	c.srv.Listener.Close()
	var access *AccessError
	for _, f := range []bool{false, true} {
		if err := l.Read(t.Context(), Reading{Tail: -1, Follow: f}, newCollect(t)); !errors.As(err, &access) || !strings.Contains(err.Error(), "cannot be reached at https://127.0.0.1") {
			t.Errorf("follow %v: %v", f, err)
		}
	}
}

func TestLogsNames(t *testing.T) {
	c := newCluster(t)
	c.put(running("a"))
	c.do(func() {
		c.names["namespaces"] = []string{"pay", "default"}
		c.names["deployments"] = []string{"web"}
		c.names["pods"] = []string{"a"}
	})
	l := openCluster(t, c, "")
	for what, want := range map[string][]string{
		"namespaces": {"default", "pay"}, "deployments": {"web"}, "pods": {"a"}, "containers": {"main"}, "labels": {"app=web", "pod-template-hash=abc"}, "nodes": nil,
	} {
		got, err := l.Names(t.Context(), what, "shop")
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v %s", what, err, d)
		}
	}
	if _, err := l.Names(t.Context(), "secrets", "shop"); err == nil {
		t.Error("names of secrets")
	}
}

// A container's API server goes away while it is followed, and comes back.
func TestLogsServerAway(t *testing.T) {
	c := newCluster(t)
	c.put(running("a"))
	c.write("a/main", at(0, "1"))
	s, stop := follow(t, openCluster(t, c, ""), Reading{Tail: -1})
	s.until("the first line", s.got("a/main", 1))
	c.do(func() {
		c.deny = func(*http.Request) int { return 503 }
		c.cuts++
	})
	s.until("it is told", s.has("does not answer, trying again"))
	c.do(func() {
		c.deny = nil
		c.logs["a/main"].lines = append(c.logs["a/main"].lines, at(time.Second, "2"))
	})
	s.until("the rest", s.got("a/main", 2))
	s.until("that is told, too", s.has("answers again"))
	if err := stop(); err != nil {
		t.Error(err)
	}
	s.want("a/main", []string{"1", "2"})
}

// Credentials may come from a command, as those of clouds do.
func TestLogsExecPlugin(t *testing.T) {
	c := newCluster(t)
	c.put(running("a"))
	c.write("a/main", at(0, "1"))
	var got string
	c.do(func() {
		c.deny = func(r *http.Request) int {
			if got = r.Header.Get("Authorization"); got != "Bearer from-the-plugin" {
				return 401
			}
			return 0
		}
	})
	for _, tc := range []struct{ command, want string }{
		{`{command: sh, args: ["-c", 'echo "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"from-the-plugin\"}}"']`, ""},
		{`{command: no-such-plugin`, "the command that the kubeconfig names for the credentials of cluster prod (context prod-eu) fails: exec: executable no-such-plugin not found"},
		{`{command: sh, args: ["-c", "exit 1"]`, "exit"},
	} {
		raw, err := os.ReadFile(c.config())
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "kubeconfig")
		text := strings.Replace(string(raw), "{token: t}", "{exec: "+tc.command+", apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never}}", 1)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLogs(LogsConfig{Kubeconfig: path})
		if err != nil {
			t.Fatal(err)
		}
		s := newCollect(t)
		err = l.Read(t.Context(), Reading{Tail: -1}, s)
		l.Close()
		if tc.want == "" && (err != nil || len(s.entries) != 1) || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %d lines, %v", tc.command, len(s.entries), err)
		} else if err != nil {
			t.Log(err)
		}
	}
}

// What is no log at all must neither stop nor vanish.
func TestLogsRubbish(t *testing.T) {
	c := newCluster(t)
	c.put(running("a"))
	rubbish := []string{"no time at all", "", " ", "\x00\xff\xfe binary", "2026-13-77T99:99:99Z not a time", "2026-11-22T10:00:00Z", strings.Repeat("x", maxLine+10)}
	c.write("a/main", append([]string{at(0, "good")}, append(rubbish, "rpc error: code = Unknown", at(time.Second, "good again"))...)...)
	s := newCollect(t)
	if err := openCluster(t, c, "").Read(t.Context(), Reading{Tail: -1}, s); err != nil {
		t.Fatal(err)
	}
	want := []string{"good", rubbish[0], "", " ", rubbish[3], rubbish[4], "", rubbish[6][:maxLine], rubbish[6][maxLine:], "good again"}
	s.want("a/main", want)
	for _, e := range s.entries[1:] {
		if e.Time < day.UnixNano() || e.Time > day.Add(time.Second).UnixNano() {
			t.Errorf("%.40q has the time %v", e.Line, time.Unix(0, e.Time))
		}
	}
	s.until("kubelet's own words are told", s.has("error a/main kubelet: rpc error: code = Unknown"))
}

// A log that begins long after its container and after what was asked for is
// suspicious.
func TestLogsRotatedAway(t *testing.T) {
	c := newCluster(t)
	c.put(running("a")) // started at day
	c.put(running("b"))
	c.put(running("quiet"))
	c.write("a/main", at(time.Second, "gone"), at(10*time.Minute, "here"))
	c.write("b/main", at(time.Second, "here"), at(10*time.Minute, "and here"))
	c.write("quiet/main", at(30*time.Second, "late"))
	c.put(running("empty"))
	c.write("empty/main", at(time.Second, "gone"))
	c.do(func() { c.logs["a/main"].from, c.logs["empty/main"].from = 1, 1 })
	l := openCluster(t, c, "")
	for _, r := range []struct {
		since time.Duration
		told  bool
	}{{-time.Hour, true}, {5 * time.Minute, true}, {9*time.Minute + 30*time.Second, false}} {
		s := newCollect(t)
		if err := l.Read(t.Context(), Reading{Tail: -1, Since: day.Add(r.since)}, s); err != nil {
			t.Fatal(err)
		}
		if s.has("rotated a/main its log begins at")() != r.told || s.has("rotated b")() || s.has("rotated quiet")() || !s.has("empty empty/main its log is empty")() || s.has("empty quiet")() {
			t.Errorf("since %v: %q", r.since, s.notices)
		}
	}
}
