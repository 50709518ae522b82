package deploy

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The component for applications puts in the container of the example, which runs on a
// real node, with files in a place of its own.
func TestSidecarComponent(t *testing.T) {
	text := func(name string) object {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return parse(t, b)[0]
	}
	patch := text("sidecar/patch.yaml")
	if err := strict(patch); err != nil {
		t.Error(err)
	}
	got := at(patch, "spec", "template", "spec", "initContainers", 0).(object)
	want := at(text("examples/counter-native.yaml"), "spec", "initContainers", 0).(object)
	if args := at(got, "args", 2); args != "/logs/*.log" || at(got, "volumeMounts", 0, "mountPath") != "/logs" {
		t.Errorf("reads %v of %v", args, at(got, "volumeMounts"))
	}
	got["args"].([]any)[2] = at(want, "args", 2)
	got["volumeMounts"], got["name"] = want["volumeMounts"], want["name"]
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if at(text("sidecar/kustomization.yaml"), "patches", 0, "path") != "patch.yaml" {
		t.Error("the component has no patch")
	}
}
