package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// kubeapi DIR starts a Kubernetes API server for the story and makes KUBECONFIG
// lead to it: contexts prod (namespace shop) and staging. The cluster is what is
// in the directory, also what comes later: logs are namespace/pod/container.log,
// with a time before each line, or how long before the start of the story it
// was: -5m. A pod web-… belongs to the deployment web and has the label app=web.
// A file namespace/DENY forbids to read the logs there, namespace/HIDE to list
// its pods; namespace/pod/HANG never answers and writes the file hanging beside
// it; namespace/pod/ROTATED makes the pod a day older than its log.
func kubeapi(ts *testscript.TestScript, _ bool, args []string) {
	api := &storyCluster{dir: ts.MkAbs(args[0]), began: time.Now()}
	srv := httptest.NewServer(api)
	ts.Defer(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	path := ts.MkAbs("kubeconfig")
	ts.Check(os.WriteFile(path, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: prod, cluster: {server: %q}}]
users: [{name: u, user: {}}]
contexts: [{name: prod, context: {cluster: prod, user: u, namespace: shop}}, {name: staging, context: {cluster: prod, user: u, namespace: staging}}]
current-context: prod
`, srv.URL), 0o600))
	ts.Setenv("KUBECONFIG", path)
}

type storyCluster struct {
	dir   string
	began time.Time
}

func (c *storyCluster) has(path ...string) bool {
	_, err := os.Stat(filepath.Join(append([]string{c.dir}, path...)...))
	return err == nil
}

func (c *storyCluster) refuse(w http.ResponseWriter, code int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"message":%q,"code":%d}`, reason, reason, code)
}

func (c *storyCluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	namespace := "*"
	if len(parts) > 4 && parts[2] == "namespaces" {
		namespace, parts = parts[3], append(parts[:2:2], parts[4:]...)
	}
	what := parts[len(parts)-1]
	switch {
	case what == "log":
		c.log(w, r, namespace, parts[3])
		return
	case namespace != "*" && c.has(namespace, "HIDE"), namespace == "*" && c.has("HIDE") && what == "pods":
		c.refuse(w, http.StatusForbidden, "Forbidden")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	var items []any
	kind := "List"
	switch what {
	case "pods":
		items, kind = c.pods(namespace), "PodList"
	case "namespaces":
		dirs, _ := filepath.Glob(filepath.Join(c.dir, "*"))
		for _, d := range dirs {
			items = append(items, map[string]any{"metadata": map[string]any{"name": filepath.Base(d)}})
		}
	case "deployments":
		items = append(items, map[string]any{"metadata": map[string]any{"name": "web"}})
	case "events":
		kind = "EventList"
		items = append(items, map[string]any{
			"metadata":       map[string]any{"name": "e1", "namespace": "shop", "uid": "e1", "resourceVersion": "1"},
			"involvedObject": map[string]any{"kind": "Pod", "namespace": "shop", "name": "web-1", "uid": "uid-web-1", "fieldPath": "spec.containers{main}"},
			"type":           "Warning", "reason": "BackOff", "message": "Back-off restarting failed container", "count": 12,
			"lastTimestamp": c.began.Add(-time.Minute).UTC().Format(time.RFC3339),
		})
	}
	if r.URL.Query().Get("watch") != "" {
		c.watch(w, r, what, namespace)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": kind, "apiVersion": "v1", "metadata": map[string]any{"resourceVersion": "1"}, "items": items})
}

func (c *storyCluster) pods(namespace string) (out []any) {
	dirs, _ := filepath.Glob(filepath.Join(c.dir, namespace, "*"))
	for _, d := range dirs {
		if filepath.Base(d) == "DENY" || filepath.Base(d) == "HIDE" || filepath.Base(filepath.Dir(d)) == filepath.Base(c.dir) {
			continue
		}
		name, ns := filepath.Base(d), filepath.Base(filepath.Dir(d))
		app, hash, _ := strings.Cut(name, "-")
		var containers, statuses []any
		logs, _ := filepath.Glob(filepath.Join(d, "*.log"))
		for _, l := range logs {
			container := strings.TrimSuffix(filepath.Base(l), ".log")
			containers = append(containers, map[string]any{"name": container})
			statuses = append(statuses, map[string]any{"name": container, "containerID": "x", "state": map[string]any{"running": map[string]any{"startedAt": c.started(l)}}})
		}
		out = append(out, map[string]any{
			"kind": "Pod", "apiVersion": "v1",
			"metadata": map[string]any{"name": name, "namespace": ns, "uid": "uid-" + name, "resourceVersion": "1",
				"labels":          map[string]any{"app": app, "pod-template-hash": hash},
				"ownerReferences": []any{map[string]any{"apiVersion": "apps/v1", "uid": "u", "kind": "ReplicaSet", "name": app + "-" + hash, "controller": true}}},
			"spec":   map[string]any{"nodeName": "node-1", "containers": containers},
			"status": map[string]any{"phase": "Running", "containerStatuses": statuses},
		})
	}
	return out
}

// started is when a container began: with its first line, unless that was
// rotated away.
func (c *storyCluster) started(log string) string {
	text, _ := os.ReadFile(log)
	stamp, _, _ := strings.Cut(string(text), " ")
	at := c.began
	if d, err := time.ParseDuration(stamp); err == nil {
		at = at.Add(d)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(log), "ROTATED")); err == nil {
		at = at.Add(-24 * time.Hour)
	}
	return at.UTC().Format(time.RFC3339)
}

// watch tells of pods that come.
func (c *storyCluster) watch(w http.ResponseWriter, r *http.Request, what, namespace string) {
	known := len(c.pods(namespace))
	w.(http.Flusher).Flush()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
		if now := c.pods(namespace); what == "pods" && len(now) != known {
			known = len(now)
			for _, p := range now {
				_ = json.NewEncoder(w).Encode(map[string]any{"type": "ADDED", "object": p})
			}
			w.(http.Flusher).Flush()
		}
	}
}

func (c *storyCluster) log(w http.ResponseWriter, r *http.Request, namespace, pod string) {
	q := r.URL.Query()
	if c.has(namespace, "DENY") {
		c.refuse(w, http.StatusForbidden, "Forbidden")
		return
	}
	if c.has(namespace, pod, "HANG") {
		_ = os.WriteFile(filepath.Join(c.dir, namespace, pod, "hanging"), nil, 0o600)
		<-r.Context().Done()
		return
	}
	since, _ := time.Parse(time.RFC3339, q.Get("sinceTime"))
	sent := 0
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for first := true; ; first = false {
		text, err := os.ReadFile(filepath.Join(c.dir, namespace, pod, q.Get("container")+".log"))
		if err != nil {
			c.refuse(w, http.StatusNotFound, "NotFound")
			return
		}
		lines := slices.Collect(strings.Lines(string(text)))
		if n := q.Get("tailLines"); first && n != "" {
			var most int
			fmt.Sscan(n, &most)
			sent = max(0, len(lines)-most)
		}
		for ; sent < len(lines) && strings.HasSuffix(lines[sent], "\n"); sent++ {
			stamp, text, _ := strings.Cut(lines[sent], " ")
			at, err := time.Parse(time.RFC3339Nano, stamp)
			if d, e := time.ParseDuration(stamp); e == nil {
				at, err = c.began.Add(d), nil
			}
			if err != nil || at.Before(since) {
				continue
			}
			fmt.Fprintf(w, "%s %s", at.UTC().Format(time.RFC3339Nano), text)
		}
		w.(http.Flusher).Flush()
		if q.Get("follow") == "" {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}
