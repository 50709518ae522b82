package client

import (
	"bytes"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// resource returns the attributes of the resource: what is known of the program
// and its pod, the environment's, and at last those given.
func (c *Config) resource(getenv func(string) string) map[string]string {
	m := make(map[string]string)
	set := func(name string, values ...string) {
		for _, v := range values {
			if v != "" {
				m[name] = v
				return
			}
		}
	}
	exe := ""
	if len(os.Args) > 0 {
		exe = strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	}
	set("service.name", exe, "unknown_service:go")
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "(devel)" {
		set("service.version", info.Main.Version)
	}
	host, _ := os.Hostname()
	set("host.name", host)
	if getenv("KUBERNETES_SERVICE_HOST") != "" || getenv("POD_NAME") != "" {
		namespace, _ := os.ReadFile(namespaceFile)
		set("k8s.pod.name", getenv("POD_NAME"), getenv("HOSTNAME"), host)
		set("k8s.namespace.name", getenv("POD_NAMESPACE"), string(bytes.TrimSpace(namespace)))
		set("k8s.pod.uid", getenv("POD_UID"))
		set("k8s.node.name", getenv("NODE_NAME"))
		set("k8s.container.name", getenv("CONTAINER_NAME"))
		set("k8s.cluster.name", getenv("CLUSTER_NAME"))
		delete(m, "host.name") // the pod's name once more
	}
	// https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable
	for pair := range strings.SplitSeq(getenv("OTEL_RESOURCE_ATTRIBUTES"), ",") {
		name, value, ok := strings.Cut(pair, "=")
		if v, err := url.PathUnescape(strings.TrimSpace(value)); ok && err == nil {
			set(strings.TrimSpace(name), v)
		}
	}
	set("service.name", getenv("OTEL_SERVICE_NAME"))
	for name, v := range c.Resource {
		if v == "" {
			delete(m, name)
		} else {
			m[name] = v
		}
	}
	set("service.name", c.Service)
	return m
}

// appendResource appends the Resource with the attributes of m, sorted.
func appendResource(dst []byte, m map[string]string) []byte {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		dst = appendTag(dst, resourceAttributes, wireBytes)
		at := len(dst)
		dst = appendStringField(dst, pairKey, name)
		dst = appendTag(dst, pairValue, wireBytes)
		v := len(dst)
		dst = appendStringField(dst, anyString, m[name])
		dst = insertLen(dst, v)
		dst = insertLen(dst, at)
	}
	return dst
}
