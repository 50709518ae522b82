package cluster

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// installWebhook installs the admission webhook as the documentation says, and waits
// until it injects.
func installWebhook(t *testing.T) {
	t.Helper()
	manifests, err := command(nil, "weir", "manifests", "webhook")
	if err != nil {
		t.Fatal(err)
	}
	apply(t, []byte(manifests))
	t.Cleanup(func() {
		if _, err := command([]byte(manifests), "kubectl", "delete", "--ignore-not-found", "--cascade=foreground", "--timeout=90s", "-f", "-"); err != nil {
			t.Error(err)
		}
		command(nil, "kubectl", "-n", "logging", "delete", "secret", "weir-webhook", "--ignore-not-found")
	})
	kubectl(t, "-n", "logging", "rollout", "status", "deploy/weir-webhook", "--timeout=90s")
	eventually(t, time.Minute, "the webhook injects", func() bool {
		p := pod("asks", withFiles("stream"), annotatedSpec(&aside, "-lines", "1"))
		b, _ := json.Marshal(p)
		out, err := command(b, "kubectl", "apply", "--dry-run=server", "-o", "json", "-f", "-")
		return err == nil && strings.Contains(out, `"weir.dev/injected"`)
	}, func() string {
		out, _ := command(nil, "kubectl", "-n", "logging", "describe", "pods", "-l", "app.kubernetes.io/component=webhook")
		logs, _ := command(nil, "kubectl", "-n", "logging", "logs", "deploy/weir-webhook", "--tail=20")
		return out + logs
	})
}

// pod is a pod of the namespace of stories.
func pod(name string, annotations, spec object) object {
	return object{
		"apiVersion": "v1", "kind": "Pod", "spec": spec,
		"metadata": object{"name": name, "namespace": namespace, "labels": object{"app": name}, "annotations": annotations},
	}
}

func withFiles(mode string) object {
	return object{"weir.dev/sidecar": mode, "weir.dev/files": "logs:app.log"}
}

// annotatedSpec is a pod whose application writes to the volume "logs", and that has
// no sidecar. b is the backend that its lines come to; they come to none if it is aside.
func annotatedSpec(b *backend, args ...string) object {
	spec := withSidecar(b, "Always", object{}, writes("app", "app.log", append(args, "-stay")...))
	spec["containers"] = spec["containers"].([]object)[:1]
	return spec
}

// startObject creates a pod, and returns what kubectl says: warnings first.
func startObject(t *testing.T, o object) (says string) {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	name := o["metadata"].(object)["name"].(string)
	t.Cleanup(func() {
		if _, err := command(nil, "kubectl", "-n", namespace, "delete", "pod", name, "--ignore-not-found", "--wait=false"); err != nil {
			t.Error(err)
		}
	})
	cmd := exec.Command("kubectl", "create", "-f", "-")
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("create %s: %v: %s", name, err, out)
	}
	return string(out)
}

// One annotation gives a pod a native sidecar; its lines arrive, and it becomes ready
// two seconds later at most than without.
func TestInjectedSidecar(t *testing.T) {
	agentReady(t)
	installWebhook(t)
	startObject(t, pod("injected", withFiles("stream"), annotatedSpec(&stub, "-rate", "1", "-for", "5s", "-rotate", "rename")))
	ended(t, "injected", time.Minute)
	p := status(t, "injected")
	if len(p.Status.InitContainerStatuses) != 1 || p.Status.InitContainerStatuses[0].Name != "weir" {
		t.Fatalf("no sidecar: %+v", p.Status)
	}
	streamed(t, "injected")

	ready := func(name string, b *backend, annotations object) time.Duration {
		t.Helper()
		begin := time.Now()
		startObject(t, pod(name, annotations, annotatedSpec(b, "-lines", "10")))
		kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "pod/"+name, "--timeout=60s")
		took := time.Since(begin)
		kubectl(t, "-n", namespace, "delete", "pod", name, "--wait=false")
		return took
	}
	var plain, injected []time.Duration
	for i := range 10 {
		n := string(rune('a' + i))
		plain = append(plain, ready("plain-"+n, &aside, nil))
		injected = append(injected, ready("injected-"+n, &stub, withFiles("stream")))
	}
	slices.Sort(plain)
	slices.Sort(injected)
	t.Logf("ready after, of 10 each: plain %v … %v … %v, injected %v … %v … %v", plain[0], plain[5], plain[9], injected[0], injected[5], injected[9])
	if later := injected[5] - plain[5]; later > 2*time.Second {
		t.Errorf("injection makes pods ready %v later", later)
	}
}

// Whoever writes a bad annotation is told, and the pod runs.
func TestBadAnnotations(t *testing.T) {
	agentReady(t)
	installWebhook(t)
	for name, c := range map[string]struct {
		annotations object
		want        string
	}{
		"bad-mode":    {object{"weir.dev/sidecar": "steam", "weir.dev/files": "logs:app.log"}, "want stream or ship"},
		"bad-volume":  {object{"weir.dev/sidecar": "stream", "weir.dev/files": "lgos:app.log"}, "logs"},
		"bad-glob":    {object{"weir.dev/sidecar": "stream", "weir.dev/files": "logs:../../etc/passwd"}, ".."},
		"bad-option":  {object{"weir.dev/sidecar": "stream", "weir.dev/files": "logs:app.log;multilin=java"}, "multiline"},
		"bad-missing": {object{"weir.dev/sidecar": "stream"}, "weir.dev/files"},
	} {
		said := startObject(t, pod(name, c.annotations, annotatedSpec(&aside, "-lines", "10")))
		t.Logf("%s: %s", name, strings.TrimSpace(said))
		if !strings.Contains(said, "Warning: weir: ") || !strings.Contains(said, c.want) {
			t.Errorf("%s: no warning with %q", name, c.want)
		}
		kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "pod/"+name, "--timeout=60s")
		// Who made the pod may not have seen that: the agent tells it by an event.
		if said := warned(t, name, "WeirAnnotationIgnored"); !strings.Contains(said, "weir.dev/") {
			t.Errorf("%s: event %q", name, said)
		}
	}
	startObject(t, pod("bad-parser", object{"weir.dev/parser": "jsn"}, annotatedSpec(&aside, "-lines", "10")))
	if said := warned(t, "bad-parser", "WeirAnnotationIgnored"); !strings.Contains(said, "json") {
		t.Error("the event does not say what would be right")
	}
	kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "pod/bad-parser", "--timeout=60s")
}
