package peers

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// pods imitates the parts of a Kubernetes API server that list what runs on a
// node: the node, the namespaces, the pods, and a watch for pods that come. It
// reads them off the node's log directory, and keeps the symbolic links beside
// it that kubelet keeps in /var/log/containers.
type pods struct{ root, links string }

type meta struct {
	Name            string            `json:"name,omitempty"`
	Namespace       string            `json:"namespace,omitempty"`
	UID             string            `json:"uid,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
}

type containerStatus struct {
	Name        string `json:"name"`
	ContainerID string `json:"containerID"`
}

type pod struct {
	Metadata meta `json:"metadata"`
	Spec     struct {
		NodeName   string              `json:"nodeName"`
		Containers []map[string]string `json:"containers"`
	} `json:"spec"`
	Status struct {
		PodIP             string            `json:"podIP"`
		ContainerStatuses []containerStatus `json:"containerStatuses"`
	} `json:"status"`
}

type list[T any] struct {
	Metadata meta `json:"metadata"`
	Items    []T  `json:"items"`
}

type named struct {
	Metadata meta `json:"metadata"`
}

const nodeName = "node-1"

// servePods starts a server that ends with the process, and returns its URL.
func servePods(root, links string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	p := &pods{root, links}
	if _, err := p.list(); err != nil { // the links are there before anyone asks
		return "", errors.Join(err, l.Close())
	}
	go func() { _ = http.Serve(l, p.handler()) }() // its clients say so if it fails
	return "http://" + l.Addr().String(), nil
}

func (p *pods) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/nodes", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, list[named]{Items: []named{{meta{Name: nodeName}}}}, nil)
	})
	mux.HandleFunc("GET /api/v1/nodes/{name}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, named{meta{Name: r.PathValue("name")}}, nil)
	})
	mux.HandleFunc("GET /api/v1/namespaces", func(w http.ResponseWriter, _ *http.Request) {
		all, err := p.list()
		out, seen := list[named]{}, map[string]bool{}
		for _, pod := range all {
			if ns := pod.Metadata.Namespace; !seen[ns] {
				seen[ns] = true
				out.Items = append(out.Items, named{meta{Name: ns}})
			}
		}
		answer(w, out, err)
	})
	mux.HandleFunc("GET /api/v1/pods", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") != "" {
			p.watch(w, r)
			return
		}
		all, err := p.list()
		answer(w, list[pod]{Metadata: meta{ResourceVersion: "1"}, Items: all}, err)
	})
	return mux
}

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client is gone if this fails
}

// watch tells of every pod once, those that are there first.
func (p *pods) watch(w http.ResponseWriter, r *http.Request) {
	out, told := json.NewEncoder(w), map[string]bool{}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		all, err := p.list()
		for _, pod := range all {
			if told[pod.Metadata.UID] || err != nil {
				continue
			}
			told[pod.Metadata.UID] = true
			if err = out.Encode(map[string]any{"type": "ADDED", "object": pod}); err != nil {
				return
			}
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// list reads the pods off the directory and makes their links.
func (p *pods) list() ([]pod, error) {
	dirs, err := filepath.Glob(filepath.Join(p.root, "*_*_*", "*"))
	if err != nil {
		return nil, err
	}
	var all []pod
	at := map[string]int{}
	for _, dir := range dirs {
		name, container := filepath.Base(filepath.Dir(dir)), filepath.Base(dir)
		part := strings.SplitN(name, "_", 3)
		if _, ok := at[name]; !ok {
			at[name] = len(all)
			q := pod{Metadata: meta{Namespace: part[0], Name: part[1], UID: part[2], ResourceVersion: "1"}}
			q.Spec.NodeName, q.Status.PodIP = nodeName, "10.0.0.1"
			all = append(all, q)
		}
		q := &all[at[name]]
		id := strings.ReplaceAll(part[2], "-", "") + fmt.Sprintf("%032x", len(q.Spec.Containers))
		q.Spec.Containers = append(q.Spec.Containers, map[string]string{"name": container})
		q.Status.ContainerStatuses = append(q.Status.ContainerStatuses, containerStatus{container, "containerd://" + id})
		link := filepath.Join(p.links, part[1]+"_"+part[0]+"_"+container+"-"+id+".log")
		if err := os.Symlink(filepath.Join(dir, "0.log"), link); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	return all, nil
}
