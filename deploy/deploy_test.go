package deploy

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// object is any Kubernetes object.
type object = map[string]any

// at follows keys and indexes into an object; nil where there is nothing.
func at(v any, keys ...any) any {
	for _, k := range keys {
		switch k := k.(type) {
		case string:
			m, _ := v.(object)
			v = m[k]
		case int:
			l, _ := v.([]any)
			if k >= len(l) {
				return nil
			}
			v = l[k]
		}
	}
	return v
}

// parse reads a stream of YAML documents; duplicate keys are errors.
func parse(t *testing.T, text []byte) []object {
	t.Helper()
	var out []object
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var o object
		err := dec.Decode(&o)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("not YAML: %v\n%s", err, text)
		}
		out = append(out, o)
	}
}

func manifests(t *testing.T, o Options) ([]byte, []object) {
	t.Helper()
	text, err := Manifests("agent", o)
	if err != nil {
		t.Fatal(err)
	}
	return text, parse(t, text)
}

func daemonSet(t *testing.T, objects []object) object {
	t.Helper()
	i := slices.IndexFunc(objects, func(o object) bool { return o["kind"] == "DaemonSet" })
	if i < 0 {
		t.Fatal("no DaemonSet")
	}
	return at(objects[i], "spec", "template", "spec").(object)
}

func TestManifestsAreTheFilesInKustomizationOrder(t *testing.T) {
	text, err := os.ReadFile("agent/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var k struct {
		APIVersion, Kind, Namespace string
		Resources                   []string
	}
	if err := yaml.Unmarshal(text, &k); err != nil {
		t.Fatal(err)
	}
	if k.Namespace != DefaultNamespace || len(k.Resources) == 0 {
		t.Errorf("kustomization: %+v", k)
	}
	var want []string
	for _, name := range k.Resources {
		text, err := os.ReadFile("agent/" + name)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, string(text))
	}
	got, objects := manifests(t, Options{})
	if diff := cmp.Diff(strings.Join(want, "---\n"), string(got)); diff != "" {
		t.Error(diff)
	}
	var kinds []string
	for _, o := range objects {
		kinds = append(kinds, o["apiVersion"].(string)+" "+o["kind"].(string))
	}
	if diff := cmp.Diff([]string{
		"v1 Namespace", "v1 ServiceAccount", "rbac.authorization.k8s.io/v1 ClusterRole",
		"rbac.authorization.k8s.io/v1 ClusterRoleBinding", "v1 ConfigMap", "apps/v1 DaemonSet",
	}, kinds); diff != "" {
		t.Error(diff)
	}
}

// Three files are enough where the namespace exists, and the namespace's own
// is not among them: applying and deleting them must not touch it.
func TestOnlyOneFileHoldsTheNamespace(t *testing.T) {
	for _, name := range roles[0].files {
		text, err := files.ReadFile("agent/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range parse(t, text) {
			if (o["kind"] == "Namespace") != (name == "namespace.yaml") {
				t.Errorf("%s holds a %v", name, o["kind"])
			}
		}
	}
}

func TestNamespaceAndImage(t *testing.T) {
	// Names that YAML would take for a number or a truth value stay text.
	for _, ns := range []string{"", "observability", "0123", "on", "1e3"} {
		want := ns
		if want == "" {
			want = DefaultNamespace
		}
		_, objects := manifests(t, Options{Namespace: ns, Image: "registry.example.com:5000/a/weir:v1@sha256:00ff"})
		for _, o := range objects {
			name := at(o, "metadata", "name")
			switch o["kind"] {
			case "Namespace":
				if name != want {
					t.Errorf("the namespace is called %v, want %q", name, want)
				}
				continue
			case "ClusterRole":
			case "ClusterRoleBinding":
				if got := at(o, "subjects", 0, "namespace"); got != want {
					t.Errorf("subject in namespace %v, want %q", got, want)
				}
			default:
				if got := at(o, "metadata", "namespace"); got != want {
					t.Errorf("%v in namespace %v, want %q", o["kind"], got, want)
				}
			}
			if name != "weir-agent" {
				t.Errorf("%v is called %v", o["kind"], name)
			}
		}
		if got := at(daemonSet(t, objects), "containers", 0, "image"); got != "registry.example.com:5000/a/weir:v1@sha256:00ff" {
			t.Errorf("image %v", got)
		}
	}
	for _, bad := range []Options{
		{Namespace: "a b"}, {Namespace: "A"}, {Namespace: "-a"}, {Namespace: "a\n"}, {Namespace: "a.b"}, {Namespace: strings.Repeat("a", 64)},
		{Image: "a b"}, {Image: "a\nb: c"}, {Image: "a'"}, {Image: "a:"}, {Image: "-"},
	} {
		if out, err := Manifests("agent", bad); err == nil {
			t.Errorf("%+v was taken: %s", bad, out)
		}
	}
	if _, err := Manifests("barge", Options{}); !errors.Is(err, ErrUnknownRole) {
		t.Errorf("unknown role: %v", err)
	}
}

// The permissions of docs/DESIGN.md: pods, to be read, and nothing else.
func TestLeastPermissions(t *testing.T) {
	_, objects := manifests(t, Options{})
	for _, o := range objects {
		switch o["kind"] {
		case "ClusterRole":
			want := []any{
				object{"apiGroups": []any{""}, "resources": []any{"pods"}, "verbs": []any{"get", "list", "watch"}},
				object{"apiGroups": []any{""}, "resources": []any{"events"}, "verbs": []any{"create", "patch"}},
			}
			if diff := cmp.Diff(want, o["rules"]); diff != "" {
				t.Error(diff)
			}
		case "ClusterRoleBinding":
			if at(o, "roleRef", "kind") != "ClusterRole" || at(o, "roleRef", "name") != "weir-agent" {
				t.Errorf("roleRef %v", o["roleRef"])
			}
			want := []any{object{"kind": "ServiceAccount", "name": "weir-agent", "namespace": DefaultNamespace}}
			if diff := cmp.Diff(want, o["subjects"]); diff != "" {
				t.Error(diff)
			}
		}
	}
}

func TestSecurityOfTheAgent(t *testing.T) {
	_, objects := manifests(t, Options{})
	spec := daemonSet(t, objects)
	for _, key := range []string{"hostNetwork", "hostPID", "hostIPC", "initContainers", "shareProcessNamespace"} {
		if spec[key] != nil {
			t.Errorf("%s: %v", key, spec[key])
		}
	}
	if n := len(spec["containers"].([]any)); n != 1 {
		t.Fatalf("%d containers", n)
	}
	want := object{
		"runAsUser": 0, "runAsGroup": 0, "privileged": false, "allowPrivilegeEscalation": false,
		"readOnlyRootFilesystem": true, "capabilities": object{"drop": []any{"ALL"}},
	}
	if diff := cmp.Diff(want, at(spec, "containers", 0, "securityContext")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(object{"seccompProfile": object{"type": "RuntimeDefault"}}, spec["securityContext"]); diff != "" {
		t.Error(diff)
	}
	// The state is all it can write to.
	writable := []string{}
	for _, m := range at(spec, "containers", 0, "volumeMounts").([]any) {
		if at(m, "readOnly") != true {
			writable = append(writable, at(m, "mountPath").(string))
		}
	}
	if diff := cmp.Diff([]string{"/var/lib/weir"}, writable); diff != "" {
		t.Errorf("writable mounts: %s", diff)
	}
}

func TestAgentOnEveryNode(t *testing.T) {
	_, objects := manifests(t, Options{})
	ds := objects[len(objects)-1]
	spec := daemonSet(t, objects)
	c := at(spec, "containers", 0)
	for _, f := range []struct {
		what      string
		got, want any
	}{
		{"selector", at(ds, "spec", "selector", "matchLabels"), at(ds, "spec", "template", "metadata", "labels")},
		{"maxUnavailable", at(ds, "spec", "updateStrategy", "rollingUpdate", "maxUnavailable"), "10%"},
		{"scrape", at(ds, "spec", "template", "metadata", "annotations", "prometheus.io/port"), "7411"},
		{"tolerations", spec["tolerations"], []any{object{"operator": "Exists"}}},
		{"priority", spec["priorityClassName"], "system-node-critical"},
		{"grace", spec["terminationGracePeriodSeconds"], 30},
		{"account", spec["serviceAccountName"], "weir-agent"},
		{"service links", spec["enableServiceLinks"], false},
		{"liveness", at(c, "livenessProbe", "httpGet"), object{"path": "/healthz", "port": "probe"}},
		{"readiness", at(c, "readinessProbe", "httpGet"), object{"path": "/readyz", "port": "probe"}},
		{"port", at(c, "ports"), []any{object{"name": "probe", "containerPort": 7411}}},
		{"volumes", spec["volumes"], []any{
			object{"name": "config", "configMap": object{"name": "weir-agent"}},
			object{"name": "state", "hostPath": object{"path": "/var/lib/weir", "type": "DirectoryOrCreate"}},
			object{"name": "varlog", "hostPath": object{"path": "/var/log", "type": ""}},
			object{"name": "docker", "hostPath": object{"path": "/var/lib/docker/containers", "type": ""}},
		}},
	} {
		if diff := cmp.Diff(f.want, f.got); diff != "" {
			t.Errorf("%s: %s", f.what, diff)
		}
	}
	// Everything in the environment: literal, from the optional Secret, or
	// from the pod.
	env := map[string]string{}
	for _, e := range at(c, "env").([]any) {
		text, _ := at(e, "value").(string)
		if ref := at(e, "valueFrom", "secretKeyRef"); ref != nil {
			text = "secret " + at(ref, "name").(string) + "/" + at(ref, "key").(string)
			if at(ref, "optional") != true {
				t.Errorf("%v does not start without a Secret", at(e, "name"))
			}
		}
		if ref := at(e, "valueFrom", "fieldRef", "fieldPath"); ref != nil {
			text = "pod " + ref.(string)
		}
		env[at(e, "name").(string)] = text
	}
	if diff := cmp.Diff(map[string]string{
		"ELASTICSEARCH_HOST": "elasticsearch", "ELASTICSEARCH_PORT": "9200", "ELASTICSEARCH_SCHEME": "http",
		"ELASTICSEARCH_USER": "secret weir-elasticsearch/user", "ELASTICSEARCH_PASSWORD": "secret weir-elasticsearch/password",
		"NODE_NAME": "pod spec.nodeName", "POD_NAME": "pod metadata.name", "POD_UID": "pod metadata.uid",
	}, env); diff != "" {
		t.Error(diff)
	}
}

// The component must change what the DaemonSet calls by these names.
func TestHoldLinkComponent(t *testing.T) {
	text, err := os.ReadFile("agent/components/hold-link/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	component := parse(t, text)[0]
	if component["kind"] != "Component" {
		t.Errorf("kind %v", component["kind"])
	}
	patch := parse(t, []byte(at(component, "patches", 0, "patch").(string)))[0]
	if at(patch, "metadata", "name") != "weir-agent" || at(component, "patches", 0, "target", "name") != "weir-agent" {
		t.Error("patches another object")
	}
	_, objects := manifests(t, Options{})
	old, c := at(daemonSet(t, objects), "containers", 0), at(patch, "spec", "template", "spec", "containers", 0)
	if at(c, "name") != at(old, "name") {
		t.Errorf("patches container %v", at(c, "name"))
	}
	mount := at(c, "volumeMounts", 0)
	i := slices.IndexFunc(at(old, "volumeMounts").([]any), func(m any) bool {
		return at(m, "mountPath") == at(mount, "mountPath") && at(m, "name") == at(mount, "name")
	})
	if i < 0 || at(mount, "readOnly") != false || len(at(c, "volumeMounts").([]any)) != 1 {
		t.Errorf("mount %v", mount)
	}
	if diff := cmp.Diff([]any{object{"name": "WEIR_INPUTS_KUBERNETES_HOLD_BY", "value": "link"}}, at(c, "env")); diff != "" {
		t.Error(diff)
	}
}
