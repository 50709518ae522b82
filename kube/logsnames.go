package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// maxNames is how many objects are asked for a list of names.
const maxNames = 1000

// kinds are the API groups of what can be named.
var kinds = map[string]string{
	"namespaces": "api/v1", "nodes": "api/v1", "pods": "api/v1", "services": "api/v1", "replicationcontrollers": "api/v1",
	"deployments": "apis/apps/v1", "statefulsets": "apis/apps/v1", "daemonsets": "apis/apps/v1", "replicasets": "apis/apps/v1",
	"jobs": "apis/batch/v1", "cronjobs": "apis/batch/v1",
}

// Names returns the names there are, sorted: of namespaces, nodes, pods,
// deployments, statefulsets, daemonsets, replicasets, replicationcontrollers,
// jobs, cronjobs, services, of the containers of pods ("containers"), or of
// their labels ("labels": name=value). namespace "" means all. It is for
// completion: it answers within 3 seconds or fails, and gives the first 1000.
func (l *Logs) Names(ctx context.Context, what, namespace string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	set := make(map[string]bool)
	var err error
	switch what {
	case "containers", "labels":
		s := scope{namespace: namespace}
		n := 0
		err = l.listPods(ctx, &s, func(o *corev1.Pod) {
			if n++; n > maxNames {
				return
			}
			if what == "containers" {
				for _, c := range podContainers(o) {
					set[c.name] = true
				}
				return
			}
			for k, v := range o.Labels {
				set[k+"="+v] = true
			}
		})
	default:
		err = l.objectNames(ctx, what, namespace, set)
	}
	if err != nil {
		return nil, err
	}
	return slices.Sorted(func(yield func(string) bool) {
		for k := range set {
			if !yield(k) {
				return
			}
		}
	}), nil
}

// objectNames asks for nothing but the objects' metadata.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
func (l *Logs) objectNames(ctx context.Context, what, namespace string, set map[string]bool) error {
	group, ok := kinds[what]
	if !ok {
		return fmt.Errorf("no names of %q are known", what)
	}
	u := l.base.JoinPath(group)
	if namespace != "" && what != "namespaces" && what != "nodes" {
		u = u.JoinPath("namespaces", namespace)
	}
	u = u.JoinPath(what)
	u.RawQuery = url.Values{"limit": {fmt.Sprint(maxNames)}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json")
	req.Header.Set("User-Agent", "weir")
	resp, err := l.http.Do(req)
	if err != nil {
		return l.explain(err, "list", what, namespace)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return l.explain(statusError(resp), "list", what, namespace)
	}
	var list struct {
		Items []struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
		} `json:"items"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return fmt.Errorf("%s: names of %s: %w", l.name, what, err)
	}
	for _, i := range list.Items {
		if strings.TrimSpace(i.Metadata.Name) != "" {
			set[i.Metadata.Name] = true
		}
	}
	return nil
}
