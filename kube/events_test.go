package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

// eventAPI takes events. It answers with the status codes in codes, and then with 201.
func eventAPI(t *testing.T, codes ...int) (*Events, <-chan string) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	decode := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	got := make(chan string, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		if len(codes) > 0 && codes[0] >= 400 {
			w.WriteHeader(codes[0])
			fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"reason":%q}`, codes[0], map[int]string{403: "Forbidden", 404: "NotFound"}[codes[0]])
			codes = codes[1:]
			got <- r.Method + " refused"
			return
		}
		codes = codes[min(1, len(codes)):]
		if r.Method == "POST" {
			o, _, err := decode.Decode(body, nil, nil)
			if err != nil {
				t.Error(err)
				return
			}
			ev := o.(*corev1.Event)
			got <- fmt.Sprintf("POST %s %s %s/%s %s %s: %s ×%d", r.URL.Path, ev.Type, ev.InvolvedObject.Kind, ev.InvolvedObject.Name, ev.InvolvedObject.UID, ev.Reason, ev.Message, ev.Count)
		} else {
			var m map[string]any
			if err := json.Unmarshal(body, &m); err != nil {
				t.Error(err)
			}
			got <- fmt.Sprintf("%s ×%v", r.Method, m["count"])
		}
		io.WriteString(w, `{"kind":"Event","apiVersion":"v1","metadata":{"name":"x"}}`)
	}))
	t.Cleanup(srv.Close)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":%q}}],"contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}],"current-context":"x","users":[{"name":"u","user":{}}]}`, srv.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := NewEvents(EventsConfig{Kubeconfig: path, Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	return e, got
}

func TestEvents(t *testing.T) {
	e, got := eventAPI(t)
	now := time.Now()
	pod := PodRef{"shop", "web-1", "u-1"}
	write := func(w warning, at time.Time) {
		t.Helper()
		if err := e.write(t.Context(), w, at); err != nil {
			t.Fatal(err)
		}
	}
	w := warning{pod, "WeirAnnotationIgnored", "weir.dev/parser: unknown value"}
	write(w, now)
	if s := <-got; s != "POST /api/v1/namespaces/shop/events Warning Pod/web-1 u-1 WeirAnnotationIgnored: weir.dev/parser: unknown value ×1" {
		t.Error(s)
	}
	// The same again is the same event, and not written at once.
	write(w, now.Add(time.Second))
	write(w, now.Add(eventAgain+time.Second))
	if s := <-got; s != "PATCH ×3" {
		t.Error(s)
	}
	write(warning{PodRef{"shop", "web-2", "u-2"}, w.reason, w.message}, now)
	if s := <-got; !strings.Contains(s, "web-2") {
		t.Error(s)
	}
	if s := e.Stats(); s.Written != 3 || s.Failed != 0 || len(got) != 0 {
		t.Errorf("%+v, %d more requests", s, len(got))
	}
}

// Events live for an hour; one that is gone is made anew.
func TestEventThatIsGone(t *testing.T) {
	e, got := eventAPI(t, 201, 404, 201)
	w := warning{PodRef{"shop", "web-1", "u-1"}, "R", "m"}
	now := time.Now()
	for _, at := range []time.Time{now, now.Add(2 * time.Hour)} {
		if err := e.write(t.Context(), w, at); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"POST /", "PATCH refused", "POST /"} {
		if s := <-got; !strings.HasPrefix(s, want) {
			t.Errorf("%s, want %s", s, want)
		}
	}
}

// Run goes on after a refusal, Warn never blocks, and long texts are cut between
// characters.
func TestEventsRun(t *testing.T) {
	e, got := eventAPI(t, 403)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	pod := PodRef{"shop", "web-1", "u-1"}
	for range maxEvents + 5 {
		e.Warn(pod, "R", strings.Repeat("é", 600))
	}
	if s := e.Stats(); s.Dropped != 5 {
		t.Errorf("%+v", s)
	}
	go func() { e.Run(ctx); close(done) }()
	if s := <-got; s != "POST refused" {
		t.Error(s)
	}
	if s := <-got; !strings.Contains(s, strings.Repeat("é", 512)+" ×2") {
		t.Error(s)
	}
	for deadline := time.Now().Add(time.Minute); e.Stats().Written == 0 && time.Now().Before(deadline); {
		goruntime.Gosched() // until the answer has been read
	}
	cancel()
	<-done
	if s := e.Stats(); s.Failed != 1 || s.Written != 1 {
		t.Errorf("%+v", s)
	}
}
