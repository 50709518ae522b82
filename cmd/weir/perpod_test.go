package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirlog/weir/cri"
	"github.com/weirlog/weir/kube"
	"github.com/weirlog/weir/metrics"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/tail"
)

// podAPI is an API server that knows pods with annotations, and tells of changes.
type podAPI struct {
	mu      sync.Mutex
	version int
	pods    map[string]map[string]string // annotations by the pod's name
	changed chan struct{}
	events  []string // pod, reason and message
}

func (a *podAPI) set(pod string, annotations map[string]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	a.pods[pod] = annotations
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *podAPI) object(pod string) map[string]any {
	return map[string]any{
		"kind": "Pod", "apiVersion": "v1",
		"metadata": map[string]any{"name": pod, "namespace": "shop", "uid": "uid-" + pod, "resourceVersion": fmt.Sprint(a.version + 1), "annotations": a.pods[pod]},
		"spec":     map[string]any{"nodeName": "node-1", "containers": []any{map[string]any{"name": "app"}, map[string]any{"name": "side"}}},
	}
}

// event notes a Warning, and says that it is there already, which is as good.
func (a *podAPI) event(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var e struct {
		InvolvedObject        struct{ Name, UID string }
		Type, Reason, Message string
	}
	// The client may send Protobuf; then the text is found as it stands.
	if err := json.Unmarshal(body, &e); err != nil {
		e.Message = string(body)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, e.Type+" "+e.InvolvedObject.Name+" "+e.Reason+" "+e.Message)
	w.WriteHeader(http.StatusConflict)
	fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"AlreadyExists","code":409}`)
}

// told reports whether there is an event with all of the texts.
func (a *podAPI) told(texts ...string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.events, func(e string) bool {
		return !slices.ContainsFunc(texts, func(t string) bool { return !strings.Contains(e, t) })
	})
}

func (a *podAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Query().Get("sendInitialEvents") == "true" { // as a server that does not know it
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422,"message":"sendInitialEvents is forbidden"}`)
		return
	}
	if r.Method == http.MethodPost && r.URL.Path == "/api/v1/namespaces/shop/events" {
		a.event(w, r)
		return
	}
	a.mu.Lock()
	var items []any
	for pod := range a.pods {
		items = append(items, a.object(pod))
	}
	version, changed := a.version, a.changed
	a.mu.Unlock()
	if r.URL.Query().Get("watch") == "" {
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": "PodList", "apiVersion": "v1", "metadata": map[string]any{"resourceVersion": fmt.Sprint(version + 1)}, "items": items})
		return
	}
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
		a.mu.Lock()
		for pod := range a.pods {
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "MODIFIED", "object": a.object(pod)})
		}
		changed = a.changed
		a.mu.Unlock()
		w.(http.Flusher).Flush()
	}
}

// podLine is a line as the file output writes it.
type podLine struct {
	Pod, Container, Level, Count, Method string
	Msg                                  string `json:"_msg"`
	Time                                 string `json:"_time"`
}

type podsRun struct {
	*running
	api *podAPI
}

func startPods(t *testing.T, more string, pods map[string]map[string]string) podsRun {
	t.Helper()
	api := &podAPI{pods: pods, changed: make(chan struct{})}
	srv := httptest.NewServer(api)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q}}]
users: [{name: u, user: {}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
`, srv.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	return podsRun{start(t, `
state: DIR/state
node: node-1
log: {level: error}
inputs: {kubernetes: {root: DIR/pods, metadata: api, kubeconfig: `+kubeconfig+more+`}}
pipeline: [{parse: auto}]
outputs: {file: {path: DIR/out.jsonl, batch: {wait: 1ms}}}
`), api}
}

// write adds lines to the log of a container, as a runtime does.
func (r podsRun) write(pod, container, stream string, lines ...string) {
	r.t.Helper()
	dir := r.path("pods/shop_" + pod + "_uid-" + pod + "/" + container)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%s %s F %s\n", time.Now().UTC().Format(time.RFC3339Nano), stream, l)
	}
	r.append(strings.TrimPrefix(filepath.Join(dir, "0.log"), r.dir+"/"), b.String())
}

// line waits for the record whose message holds text.
func (r podsRun) line(text string) (l podLine) {
	r.t.Helper()
	r.until("there is a record with "+text, func() bool {
		data, _ := os.ReadFile(r.path("out.jsonl")) // not there yet
		for line := range bytes.Lines(data) {
			l = podLine{}
			if json.Unmarshal(line, &l) == nil && strings.Contains(l.Msg, text) {
				return true
			}
		}
		return false
	})
	return l
}

func TestPodsChooseTheirParsers(t *testing.T) {
	r := startPods(t, "", map[string]map[string]string{
		"counter": {
			"weir.dev/parser":      `regex:^(?P<count>\d+): (?P<time>.+)$`,
			"weir.dev/parser.side": `regex:^(?P<time>.+ \d{4}) (?P<level>[A-Z]+) (?P<count>\d+)$`,
		},
		"web":   {"fluentbit.io/parser_stdout-app": "nginx", "weir.dev/multiline": "java"},
		"plain": nil,
		"raw":   {"weir.dev/parser": "none"},
		"wrong": {"weir.dev/parser": "jsn", "weir.dev/rate.ap": "5/s"},
	})
	now := time.Now().UTC().Add(-time.Minute)
	r.write("counter", "app", "stdout", "7: "+now.Format(time.UnixDate))
	r.write("counter", "side", "stdout", now.Format(time.UnixDate)+" INFO 8", "level=error 9")
	r.write("web", "app", "stdout", `h - - [`+now.Format("02/Jan/2006:15:04:05 -0700")+`] "GET / HTTP/1.1" 503 1`)
	r.write("web", "app", "stderr", "level=warn x=1", "java.lang.X: y", "\tat a.B.c(B.java:1)", "end")
	for _, pod := range []string{"plain", "raw", "wrong"} {
		r.write(pod, "app", "stdout", "level=warn pod="+pod)
	}
	for text, want := range map[string]podLine{
		"7: ":       {Pod: "counter", Container: "app", Count: "7"},
		"INFO 8":    {Pod: "counter", Container: "side", Count: "8", Level: "info"},
		"error 9":   {Pod: "counter", Container: "side", Level: "error"},
		"GET /":     {Pod: "web", Container: "app", Method: "GET", Level: "error"},
		"x=1":       {Pod: "web", Container: "app", Level: "warn"},
		"pod=plain": {Pod: "plain", Container: "app", Level: "warn"},
		"pod=raw":   {Pod: "raw", Container: "app"},
		"pod=wrong": {Pod: "wrong", Container: "app", Level: "warn"},
		"java.lang": {Pod: "web", Container: "app"},
	} {
		got := r.line(text)
		at, err := time.Parse(time.RFC3339Nano, got.Time)
		if strings.Contains("7: INFO 8 GET /", text) && (err != nil || !at.Equal(now.Truncate(time.Second))) {
			t.Errorf("%s: time %s, want %s", text, got.Time, now)
		}
		if text == "java.lang" && got.Msg != "java.lang.X: y\n\tat a.B.c(B.java:1)" {
			t.Errorf("a trace is %q", got.Msg)
		}
		if got.Level == "unknown" {
			got.Level = ""
		}
		if text == "java.lang" {
			got.Level = ""
		}
		if got.Msg, got.Time = "", ""; got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
	if n := r.troubles.n.Load(); n != 2 {
		t.Errorf("%d annotations are wrong, want 2", n)
	}
	if got := r.snapshot(); got.Kube.AnnotationErrors != 2 || len(got.Parsers) != 2 {
		t.Errorf("metrics: %d annotation errors, parsers %+v", got.Kube.AnnotationErrors, got.Parsers)
	} else if i := slices.IndexFunc(got.Parsers, func(p metrics.Parser) bool { return p.Name == "regex" && p.At == "annotation" }); i < 0 || got.Parsers[i].Errors != 1 {
		t.Errorf("parsers %+v: a line that does not match is not counted", got.Parsers)
	}

	// The people of the pods are told, in the words of weir check.
	for _, want := range [][]string{
		{"wrong", "weir.dev/parser", `unknown value "jsn"; did you mean "json"?`}, {"wrong", "weir.dev/rate.ap", "the pod has no container of that name; it has app, side"},
	} {
		r.until("there is an event "+strings.Join(want, " "), func() bool { return r.api.told(want...) })
	}

	// Somebody makes up their mind: what comes then is read the new way.
	r.api.set("wrong", map[string]string{"weir.dev/parser": `regex:(?P<count>\d+)$`})
	r.until("the new annotation is obeyed", func() bool {
		r.write("wrong", "app", "stdout", "now 99")
		return bytes.Contains(r.read("out.jsonl"), []byte(`"count":"99"`))
	})
	if n := r.troubles.n.Load(); n != 2 {
		t.Errorf("%d annotations are wrong, 2 were", n)
	}
}

func (r podsRun) read(name string) []byte {
	data, _ := os.ReadFile(r.path(name)) // not there yet
	return data
}

// TestFailure47_PodsExpressions: a pod whose people choose an expression that takes for
// ever has its lines collected, and so have the others.
func TestFailure47_PodsExpressions(t *testing.T) {
	r := startPods(t, "", map[string]map[string]string{
		"evil": {"weir.dev/parser": `regex:(?P<a>(?:x?){600}x{600}y)`, "weir.dev/multiline": `first:` + strings.Repeat("(?:x?){999}", 90)}, "good": nil,
	})
	line := strings.Repeat("x", 2000)
	r.write("evil", "app", "stdout", slices.Repeat([]string{line}, 300)...)
	r.write("good", "app", "stdout", "good line")
	r.line("good line")
	r.until("all lines are there", func() bool { return bytes.Count(r.read("out.jsonl"), []byte(line)) == 300 })
	r.until("it is told", func() bool {
		return r.api.told("evil", "takes more than a microsecond for a byte") && r.api.told("evil", "weir.dev/multiline", "too large")
	})
}

// Of a container that wishes for a rate what is above is dropped, counted, and of no
// other.
func TestPodsChooseTheirRates(t *testing.T) {
	r := startPods(t, "", map[string]map[string]string{"loud": {"weir.dev/rate.app": "10/m"}, "other": nil})
	var lines []string
	for i := range 1000 {
		lines = append(lines, fmt.Sprintf("line %d", i))
	}
	for _, pod := range []string{"loud", "other"} {
		r.write(pod, "app", "stdout", lines...)
		r.write(pod, "side", "stdout", lines...)
	}
	n := map[string]int{}
	var rep ledgerReport
	r.until("all is delivered or dropped", func() bool {
		clear(n)
		for line := range bytes.Lines(r.read("out.jsonl")) {
			var l podLine
			if json.Unmarshal(line, &l) == nil {
				n[l.Pod+"/"+l.Container]++
			}
		}
		rep = ledgerReport{}
		return ask(r.ctx, r.path("state"), "/v1/ledger", &rep) == nil && rep.Total.Records == 4000 && len(rep.Total.Outputs) == 1 && rep.Total.Outputs[0].Waiting == 0
	})
	if n["loud/app"] < 10 || n["loud/app"] > 20 || n["loud/side"] != 1000 || n["other/app"] != 1000 || n["other/side"] != 1000 {
		t.Errorf("records %v", n)
	}
	if out := rep.Total.Outputs[0]; out.Reasons["dropped/rate_limited"] != uint64(1000-n["loud/app"]) {
		t.Errorf("%v, and %v arrived", out.Reasons, n)
	}
}

func TestPerPodForgets(t *testing.T) {
	type told struct{ annotation, text string }
	var tells []told
	p := newPerPod(new(parseMisses), func(_ tail.Container, annotation, text string) { tells = append(tells, told{annotation, text}) })
	describe := func(uid string, annotations map[string]string) tail.Description {
		m := podMetadata{containers: map[string]kube.Container{"app": {}}}
		pod := kube.Pod{Asked: annotations, Containers: m.containers}
		m.wishes, m.strays = pod.Wishes("app"), pod.Strays()
		d := tail.Description{Streams: containerStreams([]record.Attr{{Name: "pod", Value: uid}}, nil, nil)}
		p.obey(tail.Container{UID: uid, Pod: uid, Container: "app"}, &m, &d)
		return d
	}
	bad := map[string]string{
		"weir.dev/parser": "regex:(?P<x>a", "weir.dev/multiline": "jvaa", "weir.dev/rate": "0/s", "weir.dev/rate.ap": "1/s", "weir.dev/parser.app": "jsno",
	}
	for version := range uint64(20) {
		p.round(version)
		for _, uid := range []string{"a", "b"} {
			describe(uid, bad)
			describe(uid, bad) // another container of the same name: after a restart
		}
		if d := describe("c", map[string]string{"weir.dev/multiline": "off", "weir.dev/rate": "5/s", "weir.dev/parser": fmt.Sprintf("regex:(?P<x>%d)", version)}); d.Multiline != cri.Off {
			t.Fatal("off does not turn joining off")
		}
	}
	if len(p.values) > 10 || len(p.old) > 10 || len(p.parsers) != 2 || len(p.rates) != 1 || len(p.told) > 10 {
		t.Errorf("%d and %d values, %d parsers, %d rates, %d troubles are kept", len(p.values), len(p.old), len(p.parsers), len(p.rates), len(p.told))
	}
	for i := range maxExpressions + 100 {
		describe("d", map[string]string{"weir.dev/parser": fmt.Sprintf("regex:(?P<y>%d)", i)})
	}
	if n := len(p.parsers) / 2; n > maxExpressions || n < maxExpressions-2 {
		t.Errorf("%d expressions are in use", n)
	}
	if last := tells[len(tells)-1]; !strings.Contains(last.text, "ask for more than 200") {
		t.Errorf("told %q", last)
	}
	tells = tells[:len(tells)-1]
	var texts []string
	for _, x := range tells {
		texts = append(texts, x.annotation+": "+x.text)
	}
	slices.Sort(texts)
	if texts = slices.Compact(texts); len(tells) != 8 || len(texts) != 4 {
		t.Errorf("told %d times, want once for each of 4 and of 2 pods: %q", len(tells), texts)
	}
	for i, want := range []string{
		`weir.dev/multiline: unknown value "jvaa"; did you mean "java"?`, `weir.dev/parser.app: unknown value "jsno"; did you mean "json"?`,
		"weir.dev/rate.ap: the pod has no container of that name; it has app", "weir.dev/rate: a rate of 0",
	} {
		if i >= len(texts) || !strings.HasPrefix(texts[i], want) {
			t.Errorf("told %q, want %s", texts, want)
		}
	}
}
