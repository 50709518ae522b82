package main

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/weirlog/weir/record"
)

// podIdentity is who a sidecar's application is, as the downward API tells it.
type podIdentity struct {
	attrs  []record.Attr
	labels []record.Attr
}

// identityOfPod reads the environment, and the labels' file.
// https://kubernetes.io/docs/concepts/workloads/pods/downward-api/
func identityOfPod(env func(string) string, read func(string) ([]byte, error)) *podIdentity {
	var id podIdentity
	add := func(name, value string) {
		if value != "" {
			id.attrs = append(id.attrs, record.Attr{Name: name, Value: value})
		}
	}
	add(record.AttrNode, env("NODE_NAME"))
	add(record.AttrNamespace, env("POD_NAMESPACE"))
	add(record.AttrPod, env("POD_NAME"))
	add(record.AttrPodUID, env("POD_UID"))
	add(record.AttrContainer, env("CONTAINER_NAME"))
	add(record.AttrWorkload, env("POD_WORKLOAD"))
	service := env("OTEL_SERVICE_NAME")
	if file := env("POD_LABELS_FILE"); file != "" {
		if text, err := read(file); err == nil { // without it there are no labels
			id.labels = downwardMap(string(text))
		}
	}
	label := func(names ...string) string {
		for _, n := range names {
			for _, l := range id.labels {
				if l.Name == n && l.Value != "" {
					return l.Value
				}
			}
		}
		return ""
	}
	add(record.AttrApp, label("app.kubernetes.io/name", "app", "k8s-app"))
	add(record.AttrService, cmp.Or(service, label("app.kubernetes.io/instance", "app.kubernetes.io/name")))
	return &id
}

// downwardMap reads labels or annotations as kubelet writes them: key="value", a
// line each, quoted as by Go.
func downwardMap(text string) (out []record.Attr) {
	for line := range strings.Lines(text) {
		key, quoted, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		value, err := strconv.Unquote(quoted)
		if ok && err == nil {
			out = append(out, record.Attr{Name: key, Value: value})
		}
	}
	return out
}
