package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A kubeconfig that is none says what is wrong with it, in words that lead to
// the mistake.
func TestLogsBadKubeconfig(t *testing.T) {
	const config = `apiVersion: v1
kind: Config
current-context: a
clusters: [{name: prod, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: a, context: {cluster: gone, user: u}}, {name: b, context: {cluster: prod, user: nobody}}]
`
	dir := t.TempDir()
	for _, c := range []struct{ name, text, context, want string }{
		{"empty", "", "", "kubeconfig PATH: it names no cluster"},
		{"bare", "apiVersion: v1\nkind: Config\n", "", "kubeconfig PATH: it names no cluster"},
		{"bare-context", "apiVersion: v1\nkind: Config\n", "a", "kubeconfig PATH: it names no cluster"},
		{"garbage", "\x00\xff\x1b[2J: [", "", "kubeconfig PATH: yaml"},
		{"yaml", "a: [b\n", "", "kubeconfig PATH: yaml: line 1"},
		{"dir", "/", "", "kubeconfig PATH: read PATH: is a directory"},
		{"cluster", config, "", `context "a" of the kubeconfig names cluster "gone", which is not in it`},
		{"user", config, "b", `context "b" of the kubeconfig names user "nobody", who is not in it`},
	} {
		path := filepath.Join(dir, c.name)
		if c.text == "/" {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenLogs(LogsConfig{Kubeconfig: path, Context: c.context})
		want := strings.ReplaceAll(c.want, "PATH", path)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: %v, want %s", c.name, err, want)
		}
	}
}
