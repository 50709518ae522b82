package deploy

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// The webhook may read and change one Secret and one configuration, and runs where
// the most restrictive Pod Security level is enforced.
func TestWebhook(t *testing.T) {
	text, err := Manifests("webhook", Options{Namespace: "obs", Image: "registry.example.com/weir:v2"})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("logging")) || bytes.Contains(text, []byte("weir:latest")) {
		t.Errorf("the defaults stand somewhere:\n%s", text)
	}
	for _, o := range parse(t, text) {
		rules, _ := o["rules"].([]any)
		for _, r := range rules {
			verbs, names := strings.Join(stringsOf(at(r, "verbs")), " "), stringsOf(at(r, "resourceNames"))
			if verbs != "create" && !slices.Equal(names, []string{"weir-webhook"}) {
				t.Errorf("%v %v: %s of %v", o["kind"], at(o, "metadata", "name"), verbs, names)
			}
		}
		switch o["kind"] {
		case "Deployment":
			pod := at(o, "spec", "template", "spec")
			c := at(pod, "containers").([]any)[0]
			if at(pod, "securityContext", "runAsNonRoot") != true || at(pod, "securityContext", "seccompProfile", "type") != "RuntimeDefault" ||
				at(c, "securityContext", "readOnlyRootFilesystem") != true || at(c, "securityContext", "allowPrivilegeEscalation") != false ||
				!slices.Equal(stringsOf(at(c, "securityContext", "capabilities", "drop")), []string{"ALL"}) {
				t.Errorf("%v, %v", at(pod, "securityContext"), at(c, "securityContext"))
			}
		case "MutatingWebhookConfiguration":
			hook := at(o, "webhooks").([]any)[0]
			if at(hook, "failurePolicy") != "Ignore" || at(hook, "sideEffects") != "None" || at(hook, "clientConfig", "service", "namespace") != "obs" {
				t.Errorf("%v", hook)
			}
		}
	}
}

func stringsOf(v any) (out []string) {
	list, _ := v.([]any)
	for _, x := range list {
		s, _ := x.(string)
		out = append(out, s)
	}
	return out
}

// The examples at the top of the folder are of the API as well.
func TestExampleFiles(t *testing.T) {
	files := exampleFiles(t)
	for name, text := range files {
		for _, o := range parse(t, text) {
			if err := strict(o); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if len(files) < 6 {
		t.Errorf("only %d examples", len(files))
	}
}
