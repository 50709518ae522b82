package cluster

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Job with a sidecar completes, whether the sidecar is a native one, waits for the
// application's last file, or for the end of its process, and also when the application
// fails; the last line arrives.
func TestFailure101_JobWithNativeSidecar(t *testing.T) {
	agentReady(t)
	const lines = 20000
	write := func(more ...string) object {
		return writes("app", "app.log", append([]string{"-rate", "0", "-lines", fmt.Sprint(lines)}, more...)...)
	}
	shared := withSidecar(&stub, "Never", sidecar(false, "--stream", "/var/log/app.log", "--until-exit"), write("-rate", "3"))
	shared["shareProcessNamespace"] = true
	jobs := []struct {
		name, ends string
		spec       object
	}{
		{"job-native", "Complete", withSidecar(&stub, "Never", sidecar(true, "--stream", "/var/log/app.log"), write())},
		{"job-fails", "Failed", withSidecar(&stub, "Never", sidecar(true, "--stream", "/var/log/app.log"), write("-exit", "1"))},
		{"job-until-file", "Complete", withSidecar(&stub, "Never", sidecar(false, "--stream", "/var/log/app.log", "--until-file", "/var/log/done"), write("-done", "/var/log/done"))},
		{"job-until-exit", "Complete", shared},
	}
	for _, j := range jobs {
		applyObject(t, object{
			"apiVersion": "batch/v1", "kind": "Job", "metadata": object{"name": j.name, "namespace": namespace},
			"spec": object{"backoffLimit": 0, "template": object{"spec": j.spec}},
		})
		t.Cleanup(func() { kubectl(t, "-n", namespace, "delete", "job", j.name) })
	}
	var pods []string
	for _, j := range jobs {
		kubectl(t, "-n", namespace, "wait", "--for=condition="+j.ends, "job/"+j.name, "--timeout=120s")
		pod := kubectl(t, "-n", namespace, "get", "pods", "-l", "job-name="+j.name, "-o", "jsonpath={.items[0].metadata.name}")
		w, text := said(t, pod, time.Minute)
		if w.undelivered != 0 || w.delivered != lines {
			t.Errorf("%s: %s", j.name, text)
		}
		p := status(t, pod)
		if took := p.container("log").State.Terminated.FinishedAt.Sub(p.container("app").State.Terminated.FinishedAt); took > 10*time.Second {
			t.Errorf("%s: the sidecar ended %v after the application", j.name, took)
		}
		pods = append(pods, pod)
	}
	streamed(t, pods...)
}

// slowly passes requests on to a backend that takes so many bytes of lines per second,
// whatever the connections, counted by their text and not by what is around it.
type slowly struct {
	rate  float64
	proxy *httputil.ReverseProxy
	mu    sync.Mutex
}

func (s *slowly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var text int
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, len(body)+1)
	for lines.Scan() {
		var doc struct{ Log string }
		if json.Unmarshal(lines.Bytes(), &doc) == nil && doc.Log != "" {
			text += len(doc.Log) + 1
		}
	}
	s.mu.Lock()
	time.Sleep(time.Duration(float64(text) / s.rate * 1e9)) // it is the one that is slow
	s.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.proxy.ServeHTTP(w, r)
}

// The application's last words are 10 MB, written when it was told to end. Those who
// ship them at 1 MB/s within a grace period of 15 s are done; at half of that the
// termination message says exactly how many lines did not arrive.
func TestLastTenMegabytes(t *testing.T) {
	for _, c := range []struct {
		name  string
		rate  float64
		whole bool
	}{{"last-1000k", 1e6, true}, {"last-500k", 0.5e6, false}} {
		t.Run(c.name, func(t *testing.T) {
			startAside(t)
			to, err := url.Parse(aside.URL)
			if err != nil {
				t.Fatal(err)
			}
			listener, err := net.Listen("tcp", "127.0.0.1:9202")
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: &slowly{rate: c.rate, proxy: httputil.NewSingleHostReverseProxy(to)}}
			go server.Serve(listener)
			t.Cleanup(func() { server.Close() })
			configMap(t, c.name, fmt.Sprintf(`
inputs: {file: {paths: [/var/log/app.log]}}
outputs:
  elasticsearch: {urls: ['http://10.99.0.1:9202'], index: 'last-%%Y.%%m.%%d', auth: {user: weir, password: '%s'}, compression: none, buffer: {disk: 32MiB}}
sidecar: {native: true}
`, password))
			startPod(t, c.name, withSidecar(&aside, "Never", ships(sidecar(true), c.name), writes("app", "app.log", "-lines", "100", "-last", "10000000")))
			eventually(t, time.Minute, "the first lines arrive", func() bool { return aside.state(t).Account.Distinct == 100 }, func() string { return describe(t, c.name) })
			// A finalizer keeps the pod's status.
			const finalizer = "e2e.local/read-the-last-word"
			kubectl(t, "-n", namespace, "patch", "pod", c.name, "--type=json", "-p", `[{"op":"add","path":"/metadata/finalizers","value":["`+finalizer+`"]}]`)
			t.Cleanup(func() {
				command(nil, "kubectl", "-n", namespace, "patch", "pod", c.name, "--type=json", "-p", `[{"op":"remove","path":"/metadata/finalizers"}]`)
			})
			kubectl(t, "-n", namespace, "delete", "pod", c.name, "--wait=false")
			w, text := said(t, c.name, time.Minute)
			p := status(t, c.name)
			lines, bytes := aside.written(t, c.name)
			arrived := aside.state(t).Account
			app, end := p.container("app").State.Terminated, p.container("log").State.Terminated
			t.Logf("%d lines, %d bytes; %d arrived; the sidecar ended %v after the application, which said: %s", lines, bytes, arrived.Distinct,
				end.FinishedAt.Sub(app.FinishedAt), strings.TrimSpace(kubectl(t, "-n", namespace, "logs", c.name, "-c", "app")))
			if w.undelivered != lines-arrived.Distinct || arrived.Again != 0 {
				t.Errorf("%d of %d lines arrived, %d of them again, and the last word is %s", arrived.Distinct, lines, arrived.Again, text)
			}
			if c.whole != (w.undelivered == 0) {
				t.Errorf("at %.0f bytes per second %d lines were not delivered", c.rate, w.undelivered)
			}
		})
	}
}
