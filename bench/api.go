package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/weirlog/weir/bench/peers"
)

// apiServer imitates as much of a Kubernetes API server as an agent needs to
// know its pods: lists and watches of pods, the size of real ones.
type apiServer struct {
	dir string
	url string

	mu   sync.Mutex
	pods []json.RawMessage
	asks int
}

func newAPI(dir string) (*apiServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &apiServer{dir: dir, url: "http://" + l.Addr().String()}
	srv := &http.Server{Handler: a, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(l) }() // for as long as the process lives
	return a, nil
}

// serve makes a pod of every directory of a log root.
func (a *apiServer) serve(root string) error {
	dirs, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pods, a.asks = nil, 0
	for _, d := range dirs {
		f := strings.Split(d.Name(), "_")
		if len(f) != 3 {
			return fmt.Errorf("%s is not a pod's directory", d.Name())
		}
		p, err := json.Marshal(pod(f[0], f[1], f[2]))
		if err != nil {
			return err
		}
		a.pods = append(a.pods, p)
	}
	return nil
}

type object = map[string]any

// pod is a pod of a Deployment with what such pods have, about 4 KB.
func pod(namespace, name, uid string) object {
	app, _, _ := strings.Cut(name, "-")
	env := make([]object, 20)
	for i := range env {
		env[i] = object{"name": fmt.Sprintf("SETTING_%d", i), "value": fmt.Sprintf("value of setting %d of %s", i, name)}
	}
	now := "2026-11-22T08:00:00Z"
	fields := object{"f:metadata": object{"f:labels": object{".": object{}, "f:app": object{}}}, "f:spec": object{"f:containers": object{
		`k:{"name":"app"}`: object{"f:image": object{}, "f:env": object{}, "f:resources": object{}}}}}
	return object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": object{
			"name": name, "namespace": namespace, "uid": uid, "resourceVersion": "1", "creationTimestamp": now,
			"labels": object{"app": app, "app.kubernetes.io/name": app, "app.kubernetes.io/instance": app + "-prod", "tier": "backend",
				"pod-template-hash": "6d5f7c9b4"},
			"annotations": object{"prometheus.io/scrape": "true", "prometheus.io/port": "8080", "kubernetes.io/config.source": "api"},
			"ownerReferences": []object{{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": app + "-6d5f7c9b4", "uid": uid, "controller": true,
				"blockOwnerDeletion": true}},
			"managedFields": []object{{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": now,
				"fieldsType": "FieldsV1", "fieldsV1": fields}},
		},
		"spec": object{
			"nodeName": "node-1", "serviceAccountName": app, "restartPolicy": "Always",
			"containers": []object{{"name": "app", "image": "registry.example.com/" + app + ":v1", "env": env,
				"resources":    object{"requests": object{"cpu": "100m", "memory": "128Mi"}, "limits": object{"memory": "256Mi"}},
				"volumeMounts": []object{{"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}}}},
			"volumes": []object{{"name": "token", "projected": object{"sources": []object{{"serviceAccountToken": object{"path": "token"}}}}}},
		},
		"status": object{
			"phase": "Running", "podIP": "10.42.0.17", "hostIP": "10.0.0.1", "startTime": now,
			"containerStatuses": []object{{"name": "app", "ready": true, "restartCount": 0, "image": "registry.example.com/" + app + ":v1",
				"containerID": "containerd://" + strings.Repeat("0123456789abcdef", 4), "state": object{"running": object{"startedAt": now}}}},
		},
	}
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/api/v1/pods" {
		http.NotFound(w, r)
		return
	}
	a.mu.Lock()
	a.asks++
	pods := a.pods
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	q := r.URL.Query()
	if q.Get("watch") != "true" && q.Get("watch") != "1" {
		items, err := json.Marshal(pods)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":%s}`, items)
		return
	}
	if q.Get("sendInitialEvents") == "true" {
		for _, p := range pods {
			fmt.Fprintf(w, `{"type":"ADDED","object":%s}`+"\n", p)
		}
		fmt.Fprintln(w, `{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"1","annotations":{"k8s.io/initial-events-end":"true"}}}}`)
	}
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	<-r.Context().Done() // nothing changes
}

// configure has weir ask this server.
func (a *apiServer) configure(c *peers.Command) error {
	path := filepath.Join(a.dir, "kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: '%s'}}]
users: [{name: u, user: {}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, a.url)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	c.Env = append(c.Env, "WEIR_INPUTS_KUBERNETES_METADATA=api", "WEIR_INPUTS_KUBERNETES_KUBECONFIG="+path)
	return nil
}

// asked is how often pods were asked for.
func (a *apiServer) asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asks
}
