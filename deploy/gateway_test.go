package deploy

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// gateway returns the gateway's objects by kind; of several of a kind the first.
func gateway(t *testing.T, o Options) (text []byte, by map[string]object) {
	t.Helper()
	text, err := Manifests("gateway", o)
	if err != nil {
		t.Fatal(err)
	}
	by = make(map[string]object)
	for _, o := range parse(t, text) {
		kind := o["kind"].(string)
		if by[kind] == nil {
			by[kind] = o
		}
	}
	return text, by
}

func TestGatewayManifests(t *testing.T) {
	text, err := os.ReadFile("gateway/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var k struct{ Resources []string }
	if err := yaml.Unmarshal(text, &k); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range k.Resources {
		text, err := os.ReadFile("gateway/" + name)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, string(text))
	}
	got, by := gateway(t, Options{})
	if diff := cmp.Diff(strings.Join(want, "---\n"), string(got)); diff != "" {
		t.Error(diff)
	}
	kinds := slices.Sorted(maps.Keys(by))
	if diff := cmp.Diff([]string{
		"ClusterRole", "ClusterRoleBinding", "ConfigMap", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount", "StatefulSet",
	}, kinds); diff != "" {
		t.Error(diff)
	}
	named, by := gateway(t, Options{Namespace: "on", Image: "r/weir:v1"})
	if at(by["StatefulSet"], "spec", "template", "spec", "containers", 0, "image") != "r/weir:v1" {
		t.Error("the image is not replaced")
	}
	for _, o := range parse(t, named) {
		if ns := at(o, "metadata", "namespace"); ns != "on" && !strings.HasPrefix(o["kind"].(string), "Cluster") {
			t.Errorf("%v is in namespace %v", o["kind"], ns)
		}
	}
	if at(by["ClusterRoleBinding"], "subjects", 0, "namespace") != "on" {
		t.Error("the binding is for an account of another namespace")
	}
}

// The gateway may ask whose a token is, and nothing else; it needs nothing of the
// node.
func TestSecurityOfTheGateway(t *testing.T) {
	_, by := gateway(t, Options{})
	set := by["StatefulSet"]
	spec := at(set, "spec", "template", "spec").(object)
	c := at(spec, "containers", 0)
	labels := at(set, "spec", "template", "metadata", "labels")
	for _, f := range []struct {
		what      string
		got, want any
	}{
		{"rules", by["ClusterRole"]["rules"], []any{object{"apiGroups": []any{"authentication.k8s.io"}, "resources": []any{"tokenreviews"}, "verbs": []any{"create"}}}},
		{"selector", at(set, "spec", "selector", "matchLabels"), labels},
		{"service", at(by["Service"], "spec", "selector"), labels},
		{"network policy", at(by["NetworkPolicy"], "spec", "podSelector", "matchLabels"), labels},
		{"disruptions", at(by["PodDisruptionBudget"], "spec", "selector", "matchLabels"), labels},
		{"spread", at(spec, "topologySpreadConstraints", 0, "labelSelector", "matchLabels"), labels},
		{"scaled", at(by["HorizontalPodAutoscaler"], "spec", "scaleTargetRef"), object{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": at(set, "metadata", "name")}},
		{"replicas", at(set, "spec", "replicas"), nil}, // the autoscaler's
		{"service links", spec["enableServiceLinks"], false},
		{"host network", spec["hostNetwork"], nil},
		{"non-root", at(spec, "securityContext", "runAsNonRoot"), true},
		{"seccomp", at(spec, "securityContext", "seccompProfile"), object{"type": "RuntimeDefault"}},
		{"container", at(c, "securityContext"), object{
			"privileged": false, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": object{"drop": []any{"ALL"}}}},
		{"volumes", spec["volumes"], []any{object{"name": "config", "configMap": object{"name": "weir-gateway"}}}},
		{"token", at(c, "env", 0, "valueFrom", "secretKeyRef"), object{"name": "weir-gateway", "key": "token"}},
		{"what waits is kept", at(set, "spec", "persistentVolumeClaimRetentionPolicy"), object{"whenScaled": "Retain", "whenDeleted": "Retain"}},
		{"memory", at(c, "resources", "limits", "memory"), "512Mi"},
	} {
		if diff := cmp.Diff(f.want, f.got); diff != "" {
			t.Errorf("%s: %s", f.what, diff)
		}
	}
	// The image has no shell.
	if at(c, "lifecycle", "preStop", "sleep", "seconds") == nil || at(c, "lifecycle", "preStop", "exec") != nil {
		t.Errorf("preStop is %v", at(c, "lifecycle"))
	}
}

// Every port of the services and of the network policy is one of the container,
// and every one of those but the probe is in both services.
func TestPortsOfTheGateway(t *testing.T) {
	text, by := gateway(t, Options{})
	ports := make(map[any]any)
	for _, p := range at(by["StatefulSet"], "spec", "template", "spec", "containers", 0, "ports").([]any) {
		ports[at(p, "name")] = at(p, "containerPort")
	}
	allowed := make(map[any]any)
	for _, p := range at(by["NetworkPolicy"], "spec", "ingress", 0, "ports").([]any) {
		allowed[at(p, "port")] = ports[at(p, "port")]
	}
	if diff := cmp.Diff(ports, allowed); diff != "" {
		t.Errorf("the network policy: %s", diff)
	}
	services := 0
	for _, o := range parse(t, text) {
		if o["kind"] != "Service" {
			continue
		}
		services++
		got := map[any]any{"probe": ports["probe"]}
		for _, p := range at(o, "spec", "ports").([]any) {
			got[at(p, "targetPort")] = at(p, "port")
		}
		if diff := cmp.Diff(ports, got); diff != "" {
			t.Errorf("%v: %s", at(o, "metadata", "name"), diff)
		}
	}
	if services != 2 {
		t.Errorf("%d services", services)
	}
	// What the configuration listens on can be reached.
	config := at(by["ConfigMap"], "data", "weir.yaml").(string)
	for name, port := range ports {
		if !strings.Contains(config, "':"+strconv.Itoa(port.(int))+"'") {
			t.Errorf("nothing listens on port %v (%v)", port, name)
		}
	}
}

// The component makes a Deployment of the StatefulSet that keeps all but the
// volumes.
func TestGatewayAsDeployment(t *testing.T) {
	text, err := os.ReadFile("gateway/components/deployment/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, by := gateway(t, Options{})
	for i, kind := range []string{"StatefulSet", "HorizontalPodAutoscaler"} {
		component := parse(t, text)[0]
		p := at(component, "patches", i)
		if at(p, "target", "kind") != kind || at(p, "target", "name") != at(by[kind], "metadata", "name") {
			t.Fatalf("patch %d is for %v", i, at(p, "target"))
		}
		var ops []struct {
			Op, Path string
			Value    any
		}
		if err := yaml.Unmarshal([]byte(at(p, "patch").(string)), &ops); err != nil {
			t.Fatal(err)
		}
		for _, op := range ops {
			path := strings.Split(strings.TrimPrefix(op.Path, "/"), "/")
			last := path[len(path)-1]
			parent, grand := by[kind], object(nil)
			for _, k := range path[:len(path)-1] {
				grand = parent
				if next, ok := parent[k].(object); ok {
					parent = next
				}
			}
			_, there := parent[last]
			switch {
			case last == "-":
				list := path[len(path)-2]
				grand[list] = append(grand[list].([]any), op.Value)
			case op.Op == "add" && !there:
				parent[last] = op.Value
			case op.Op == "replace" && there:
				parent[last] = op.Value
			case op.Op == "remove" && there:
				delete(parent, last)
			default:
				t.Errorf("%s %s cannot be done", op.Op, op.Path)
			}
		}
	}
	d := by["StatefulSet"]
	if err := strict(d); err != nil {
		t.Error(err)
	}
	if d["kind"] != "Deployment" || at(by["HorizontalPodAutoscaler"], "spec", "scaleTargetRef", "kind") != "Deployment" {
		t.Errorf("a %v is scaled as %v", d["kind"], at(by["HorizontalPodAutoscaler"], "spec", "scaleTargetRef"))
	}
	var mounted, volumes []string
	for _, m := range at(d, "spec", "template", "spec", "containers", 0, "volumeMounts").([]any) {
		mounted = append(mounted, at(m, "name").(string))
	}
	for _, v := range at(d, "spec", "template", "spec", "volumes").([]any) {
		volumes = append(volumes, at(v, "name").(string))
	}
	if diff := cmp.Diff(mounted, volumes); diff != "" {
		t.Errorf("volumes: %s", diff)
	}
}
