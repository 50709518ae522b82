package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWorkloadOf(t *testing.T) {
	for pod, want := range map[string]string{
		"web-7d4b9c6f5-x2x9p":        "deployment/web",
		"coredns-wpn4pnhn2k-585sh":   "deployment/coredns",
		"my-web-5d5fh46t6r-5mbtr":    "deployment/my-web",
		"postgres-0":                 "statefulset/postgres",
		"kube-proxy-nmcr5":           "daemonset/kube-proxy",
		"report-29923023-g8zxm":      "cronjob/report",
		"etcd-node-1":                "pod/etcd",
		"my-nginx":                   "pod/my-nginx", // i is no letter of a suffix
		"tool":                       "pod/tool",
		"-node-1":                    "statefulset/-node",
		"debug-shell":                "pod/debug-shell",
		"web-7d4b9c6f5-x2x9p-extra1": "pod/web-7d4b9c6f5-x2x9p-extra1",
	} {
		kind, name := workloadOf(pod, "node-1")
		if got := kind + "/" + name; got != want {
			t.Errorf("%s: %s, want %s", pod, got, want)
		}
	}
}

func TestServiceOfFile(t *testing.T) {
	for path, want := range map[string]string{
		"/var/log/app.log": "app", "/x/app.json.log": "app", "/x/syslog": "syslog", "/x/APP.LOG": "APP", "/x/.log": ".log", "/x/a.b.txt": "a.b",
	} {
		if got := serviceOfFile(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestDockerAbout(t *testing.T) {
	dir := t.TempDir()
	log, file := filepath.Join(dir, "abc-json.log"), filepath.Join(dir, "config.v2.json")
	if _, ok := dockerAbout(log); ok {
		t.Error("found without a file")
	}
	for _, c := range []struct {
		text, service string
		ok, excluded  bool
	}{
		{`{"ID":"abc","Name":"/shop-web-1","Config":{"Image":"web:1","Labels":{"com.docker.compose.service":"web","com.docker.compose.project":"shop"}}}`, "web", true, false},
		{`{"ID":"abc","Name":"/db","Config":{"Labels":null}}`, "db", true, false},
		{`{"ID":"abc","Name":"/db","Config":{"Labels":{"weir.dev/exclude":"true"}}}`, "db", true, true},
		{`{"ID":"abc"}`, "", false, false}, {`{"Name":7}`, "", false, false}, {`{"Na`, "", false, false}, {``, "", false, false},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		about, ok := dockerAbout(log)
		if ok != c.ok || ok && (about.service() != c.service || about.excluded() != c.excluded) {
			t.Errorf("%s: %+v %v", c.text, about, ok)
		}
	}
}
