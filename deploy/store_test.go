package deploy

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

func TestStoreManifests(t *testing.T) {
	text, err := os.ReadFile("store/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var k struct{ Resources []string }
	if err := yaml.Unmarshal(text, &k); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range k.Resources {
		text, err := os.ReadFile("store/" + name)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, string(text))
	}
	got, err := Manifests("store", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Join(want, "---\n"), string(got)); diff != "" {
		t.Error(diff)
	}
	named, err := Manifests("store", Options{Namespace: "on", Image: "r/weir:v1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range parse(t, named) {
		if at(o, "metadata", "namespace") != "on" || at(o, "metadata", "name") != "weir-store" {
			t.Errorf("%v: %v", o["kind"], o["metadata"])
		}
		if o["kind"] == "StatefulSet" && at(o, "spec", "template", "spec", "containers", 0, "image") != "r/weir:v1" {
			t.Error("the image is not replaced")
		}
	}
}

// The store needs nothing of the node and nothing of the API server.
func TestSecurityOfTheStore(t *testing.T) {
	text, err := Manifests("store", Options{})
	if err != nil {
		t.Fatal(err)
	}
	objects := parse(t, text)
	set := objects[len(objects)-1]
	spec := at(set, "spec", "template", "spec").(object)
	c := at(spec, "containers", 0)
	for _, f := range []struct {
		what      string
		got, want any
	}{
		{"selector", at(set, "spec", "selector", "matchLabels"), at(set, "spec", "template", "metadata", "labels")},
		{"service", at(objects[1], "spec", "selector"), at(set, "spec", "template", "metadata", "labels")},
		{"replicas", at(set, "spec", "replicas"), 1},
		{"token", spec["automountServiceAccountToken"], false},
		{"service links", spec["enableServiceLinks"], false},
		{"non-root", at(spec, "securityContext", "runAsNonRoot"), true},
		{"seccomp", at(spec, "securityContext", "seccompProfile"), object{"type": "RuntimeDefault"}},
		{"container", at(c, "securityContext"), object{
			"privileged": false, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": object{"drop": []any{"ALL"}}}},
		{"volumes", spec["volumes"], []any{object{"name": "config", "configMap": object{"name": "weir-store"}}}},
		{"password", at(c, "env", 0, "valueFrom", "secretKeyRef"), object{"name": "weir-store", "key": "password"}},
	} {
		if diff := cmp.Diff(f.want, f.got); diff != "" {
			t.Errorf("%s: %s", f.what, diff)
		}
	}
}
