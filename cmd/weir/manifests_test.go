package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/weirlog/weir/deploy"
)

// The configuration in the manifests must be one that the agent takes: with
// the variables that the DaemonSet sets, with a Secret, an empty one, and none.
func TestManifestsConfigurationIsValid(t *testing.T) {
	text, err := deploy.Manifests("agent", deploy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var weirYAML string
	var env []struct{ Name, Value string }
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc struct {
			Kind string
			Data map[string]string
			Spec struct {
				Template struct {
					Spec struct {
						Containers []struct {
							Env []struct{ Name, Value string }
						}
					}
				}
			}
		}
		if err := dec.Decode(&doc); err != nil {
			break
		}
		switch doc.Kind {
		case "ConfigMap":
			weirYAML = doc.Data["weir.yaml"]
		case "DaemonSet":
			env = doc.Spec.Template.Spec.Containers[0].Env
		}
	}
	if weirYAML == "" || len(env) == 0 {
		t.Fatal("no configuration or no environment in the manifests")
	}
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(file, []byte(weirYAML), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, e := range env {
		if e.Value != "" {
			t.Setenv(e.Name, e.Value)
		}
	}
	check := func() (code int, out string) {
		var b bytes.Buffer
		code = run([]string{"check", "--role", "agent", file}, nil, &b, &b)
		return code, b.String()
	}
	const user, password = "ELASTICSEARCH_USER", "ELASTICSEARCH_PASSWORD"
	for _, name := range []string{user, password} {
		t.Setenv(name, "") // restores it afterwards
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	if code, out := check(); code != exitOK {
		t.Errorf("without a Secret: exit %d\n%s", code, out)
	}
	t.Setenv(user, "")
	t.Setenv(password, "")
	if code, out := check(); code != exitOK {
		t.Errorf("with an empty Secret: exit %d\n%s", code, out)
	}
	t.Setenv(user, "weir")
	t.Setenv(password, `p: "'${x}`)
	t.Setenv("ELASTICSEARCH_SCHEME", "https")
	t.Setenv("WEIR_INPUTS_KUBERNETES_HOLD_BY", "link") // as components/hold-link sets it
	if code, out := check(); code != exitOK || strings.Contains(out, "warning") {
		t.Errorf("with a Secret: exit %d\n%s", code, out)
	}
	if err := os.Unsetenv("ELASTICSEARCH_HOST"); err != nil {
		t.Fatal(err)
	}
	if code, _ := check(); code != exitConfig {
		t.Errorf("without ELASTICSEARCH_HOST: exit %d: the check checks nothing", code)
	}
}

// The store's configuration in the manifests listens to the whole cluster, with
// the password of the Secret and not without.
func TestStoreManifestsConfigurationIsValid(t *testing.T) {
	text, err := deploy.Manifests("store", deploy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := bytes.Cut(text, []byte("---\n"))
	var m struct{ Data map[string]string }
	if err := yaml.Unmarshal(first, &m); err != nil || m.Data["weir.yaml"] == "" {
		t.Fatal(err, m)
	}
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(file, []byte(m.Data["weir.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("STORE_PASSWORD", "s3cret")
	var b bytes.Buffer
	if code := run([]string{"check", "--role", "store", file}, nil, &b, &b); code != exitOK || strings.Contains(b.String(), "s3cret") {
		t.Errorf("exit %d\n%s", code, b.String())
	}
	t.Setenv("STORE_PASSWORD", "")
	if code := run([]string{"check", "--role", "store", file}, nil, &b, &b); code != exitConfig {
		t.Errorf("without a password: exit %d\n%s", code, b.String())
	}
}

// The gateway's configuration in the manifests listens to the whole cluster, with
// the token of the Secret and not without, and holds what waits on disk.
func TestGatewayManifestsConfigurationIsValid(t *testing.T) {
	text, err := deploy.Manifests("gateway", deploy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	config := ""
	for doc := range bytes.SplitSeq(text, []byte("---\n")) {
		var m struct {
			Kind string
			Data map[string]string
		}
		if err := yaml.Unmarshal(doc, &m); err != nil {
			t.Fatal(err)
		}
		if m.Kind == "ConfigMap" {
			config = m.Data["weir.yaml"]
		}
	}
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"GATEWAY_TOKEN": "s3cret", "ELASTICSEARCH_SCHEME": "http", "ELASTICSEARCH_HOST": "es", "ELASTICSEARCH_PORT": "9200"} {
		t.Setenv(name, value)
	}
	check := func() (int, string) {
		var b bytes.Buffer
		code := run([]string{"check", "--role", "gateway", file}, nil, &b, &b)
		return code, b.String()
	}
	if code, out := check(); code != exitOK || strings.Contains(out, "s3cret") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if !strings.Contains(config, "disk: ") {
		t.Error("nothing is held on disk")
	}
	t.Setenv("GATEWAY_TOKEN", "")
	if code, out := check(); code != exitConfig {
		t.Errorf("without a token: exit %d\n%s", code, out)
	}
}
