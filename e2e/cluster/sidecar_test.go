package cluster

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// Applications write files and rotate them in three ways, a sidecar streams each to
// its standard output, kubelet rotates that, and the agent sends it on, while the
// sidecars are killed and asked to end: every line arrives.
func TestStreamingSidecar(t *testing.T) {
	agentReady(t)
	ways := []string{"rename", "replace", "copytruncate"}
	for _, how := range ways {
		startPod(t, "stream-"+how, withSidecar(&stub, "Always", sidecar(true, "--stream", "/var/log/app.log"),
			writes("app", "app.log", "-rate", "0.3", "-for", "60s", "-rotate", how, "-every", "400", "-stay")))
	}
	// kubelet lets a container that was ended wait for 10 s, 20 s, …
	kills := 0
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL} {
		time.Sleep(5 * time.Second) // of a story's 60 s
		var pods []string
		for _, how := range ways {
			pods = append(pods, "stream-"+how)
		}
		signalSidecars(t, sig, pods...)
		if sig == syscall.SIGKILL {
			kills++
		}
	}
	for _, how := range ways {
		pod := "stream-" + how
		ended(t, pod, 2*time.Minute)
		mayRepeat(t, pod, kills)
		t.Logf("%s: %d restarts, %.1f MiB anonymous memory", pod, status(t, pod).container("log").RestartCount,
			float64(anonymous(t, sidecarProcess(t, pod)))/(1<<20))
	}
	// All at once: the judge asks for the lines of all of them.
	streamed(t, "stream-rename", "stream-replace", "stream-copytruncate")
}

// streamed is accounted for pods with a sidecar, whose own few lines to standard error
// are collected with those of the application.
func streamed(t *testing.T, pods ...string) {
	t.Helper()
	accountedWithGaps(t, 10, pods...)
}

// shippingConfig is what a team would write: two files, each with a parser, a tag and
// a destination.
const shippingConfig = `
inputs:
  file/a: {paths: [/var/log/a.log], parse: json, labels: {tag: ship.a}}
  file/b: {paths: [/var/log/b.log], parse: none, labels: {tag: ship.b}}
outputs:
  elasticsearch/a: {urls: ['http://10.99.0.1:9201'], index: 'ship-a-%%Y.%%m.%%d', auth: {user: weir, password: '%[1]s'}, buffer: {disk: 16MiB}}
  elasticsearch/b: {urls: ['http://10.99.0.1:9201'], index: 'ship-b-%%Y.%%m.%%d', auth: {user: weir, password: '%[1]s'}, buffer: {disk: 16MiB}}
routes:
  - {when: '{tag="ship.a"}', to: [elasticsearch/a]}
  - {when: '{tag="ship.b"}', to: [elasticsearch/b]}
sidecar: {native: true}
`

func configMap(t *testing.T, name, text string) {
	t.Helper()
	applyObject(t, object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": name, "namespace": namespace}, "data": object{"weir.yaml": text}})
	t.Cleanup(func() {
		if _, err := command(nil, "kubectl", "-n", namespace, "delete", "configmap", name); err != nil {
			t.Error(err)
		}
	})
}

// A sidecar ships two files to two destinations, is killed on the way, and when the
// backend is away at the end of the pod's life says exactly what did not arrive, and
// does not keep the pod.
func TestShippingSidecar(t *testing.T) {
	startAside(t)
	configMap(t, "ship", fmt.Sprintf(shippingConfig, password))
	spec := func() object {
		return withSidecar(&aside, "Never", ships(sidecar(true), "ship"),
			writes("app", "a.log", "-rate", "0.5", "-for", "20s", "-rotate", "rename", "-every", "2000"),
			writes("other", "b.log", "-rate", "0.5", "-for", "20s"))
	}
	startPod(t, "ship", spec())
	eventually(t, time.Minute, "lines arrive", func() bool { return aside.state(t).Account.Distinct > 1000 }, func() string { return describe(t, "ship") })
	signalSidecars(t, syscall.SIGKILL, "ship")
	t.Logf("%.1f MiB anonymous memory", float64(anonymous(t, sidecarProcess(t, "ship")))/(1<<20))
	w, _ := said(t, "ship", 2*time.Minute)
	if w.undelivered != 0 {
		t.Errorf("%d lines were not delivered", w.undelivered)
	}
	if err := aside.verdict(t).Err(); err != nil {
		t.Error(err)
	}
	indexed := make(map[string]uint64)
	for _, index := range []string{"a", "b"} {
		var docs struct{ Count uint64 }
		aside.call(t, "GET", aside.URL+"/ship-"+index+"-*/_count", nil, &docs)
		indexed[index] = docs.Count
	}
	lines, _ := aside.written(t, "ship")
	if indexed["a"] == 0 || indexed["b"] == 0 || indexed["a"]+indexed["b"] != lines {
		t.Errorf("documents by index: %v, want %d", indexed, lines)
	}
	var found struct {
		Hits struct {
			Hits []struct {
				Index  string         `json:"_index"`
				Source map[string]any `json:"_source"`
			}
		}
	}
	aside.call(t, "GET", aside.URL+"/_search?size=1", nil, &found)
	t.Logf("a document: %+v", found.Hits.Hits)

	before := aside.state(t).Account.Distinct
	startPod(t, "ship-down", spec())
	eventually(t, time.Minute, "lines arrive", func() bool { return aside.state(t).Account.Distinct > before+5000 }, func() string { return describe(t, "ship-down") })
	aside.faults(t, `{"down":true}`)
	w, _ = said(t, "ship-down", 2*time.Minute)
	p := status(t, "ship-down")
	took := p.container("log").State.Terminated.FinishedAt.Sub(p.container("app").State.Terminated.FinishedAt)
	t.Logf("ended %v after the application", took)
	if took > 12*time.Second {
		t.Error("a backend that is down kept the pod")
	}
	lines, _ = aside.written(t, "ship-down")
	if arrived := aside.state(t).Account.Distinct - before; w.undelivered == 0 || lines-arrived != w.undelivered {
		t.Errorf("%d lines written, %d arrived, and the last word is %+v", lines, arrived, w)
	}
}
