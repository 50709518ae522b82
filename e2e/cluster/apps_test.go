package cluster

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pusher starts a pod that pushes lines with a token that kubelet makes for that
// audience, and ends.
func pusher(t *testing.T, name, audience string, args ...string) {
	t.Helper()
	applyObject(t, object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": object{"name": name, "namespace": namespace},
		"spec": object{
			"restartPolicy": "Never", "terminationGracePeriodSeconds": 10, "enableServiceLinks": false, "automountServiceAccountToken": false,
			"securityContext": object{"runAsUser": 65532, "runAsGroup": 65532, "runAsNonRoot": true},
			"containers": []object{{
				"name": "push", "image": "weir:latest", "imagePullPolicy": "IfNotPresent",
				"args":         append([]string{"send", "--token-file", "/var/run/secrets/weir/token", "--retry", "2m"}, args...),
				"volumeMounts": []object{{"name": "token", "mountPath": "/var/run/secrets/weir", "readOnly": true}},
			}},
			"volumes": []object{{"name": "token", "projected": object{"sources": []object{
				{"serviceAccountToken": object{"path": "token", "audience": audience, "expirationSeconds": 3600}},
			}}}},
		},
	})
	t.Cleanup(func() {
		if _, err := command(nil, "kubectl", "-n", namespace, "delete", "pod", name, "--ignore-not-found", "--wait=false"); err != nil {
			t.Error(err)
		}
	})
}

// endOf waits until a pusher has ended, and returns its exit code and what it said.
func endOf(t *testing.T, name string) (code int, said string) {
	t.Helper()
	var pod struct {
		Status struct {
			Phase             string
			ContainerStatuses []struct {
				State struct{ Terminated *struct{ ExitCode int } }
			}
		}
	}
	eventually(t, 4*time.Minute, name+" has ended", func() bool {
		get(t, &pod, "pod", "-n", namespace, name)
		return pod.Status.Phase == "Succeeded" || pod.Status.Phase == "Failed"
	}, func() string {
		out, _ := command(nil, "kubectl", "-n", namespace, "describe", "pod", name)
		logs, _ := command(nil, "kubectl", "-n", "logging", "logs", "deploy/weir-gateway", "--tail=20")
		return out + logs
	})
	said = kubectl(t, "-n", namespace, "logs", name)
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Terminated != nil {
			return c.State.Terminated.ExitCode, said
		}
	}
	return -1, said
}

// Pods push with tokens that kubelet makes for them, over gRPC and HTTP, as in the
// example, while the gateways are killed, replaced and deleted. Every line that was
// acknowledged is at the backend, once, under the namespace that Kubernetes says; a
// token for another audience opens nothing. The API server itself sends its audit
// events.
func TestAppsToGateway(t *testing.T) {
	long(t)
	t.Cleanup(func() {
		_, err := command(nil, "kubectl", "delete", "-k", filepath.Join("overlays", "apps"), "--ignore-not-found", "--cascade=foreground", "--timeout=90s")
		stub.stop()
		if err := errors.Join(err, prepare()); err != nil {
			t.Fatal(err)
		}
	})
	applyObject(t, object{"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": "weir-gateway", "namespace": "logging"}, "stringData": object{"token": "of-those-outside"}})
	if _, err := command(nil, "kubectl", "apply", "--server-side", "--force-conflicts", "--validate=strict", "-k", filepath.Join("overlays", "apps")); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "-n", "logging", "rollout", "status", "deploy/weir-gateway", "--timeout=90s")
	gatewaysReady(t, 0)
	count := func(index string) uint64 {
		t.Helper()
		var docs struct{ Count uint64 }
		stub.call(t, "GET", stub.URL+"/"+index+"/_count", nil, &docs)
		return docs.Count
	}
	// The example's own application, in the namespace of the gateways.
	eventually(t, time.Minute, "the example's application is heard", func() bool { return count("otlp-logging-*") > 50 }, func() string {
		logs, _ := command(nil, "kubectl", "-n", "logging", "logs", "deploy/app", "--tail=20")
		return logs
	})

	// The API server's audit events.
	const objects = 20
	const audited = "audit-*"
	had := count(audited)
	for i := range objects {
		kubectl(t, "-n", namespace, "create", "configmap", fmt.Sprint("audited-", i))
	}
	kubectl(t, "-n", namespace, "delete", "configmap", "--all")
	eventually(t, time.Minute, "the API server's audit events arrive", func() bool { return count(audited) >= had+2*objects }, func() string {
		logs, _ := command(nil, "kubectl", "-n", "logging", "logs", "deploy/weir-gateway", "--tail=20")
		status, _ := command(nil, "kubectl", "-n", "logging", "exec", "deploy/weir-gateway", "--", "/weir", "status")
		return fmt.Sprint(had, " before, now ", count(audited), "\n", logs, status)
	})

	const lines = 30_000
	index := "otlp-" + namespace + "-*"
	before := count(index)
	if before > 0 {
		t.Fatalf("%d documents before anything is pushed", before)
	}
	// What they say of their namespace is not believed.
	pusher(t, "push-grpc", "weir", "otlp-grpc://10.96.0.50:4317", "--ids", "--rate", "500/s", "--lines", fmt.Sprint(lines), "--label", "namespace=kube-system")
	pusher(t, "push-http", "weir", "otlp://10.96.0.50:4318", "--ids", "--rate", "500/s", "--batch", "50", "--lines", fmt.Sprint(lines), "--label", "k8s.namespace.name=kube-system")
	moves := func(what string) {
		t.Helper()
		before := count(index)
		eventually(t, time.Minute, "lines arrive: "+what, func() bool { return count(index) > before+1000 }, func() string {
			out, _ := command(nil, "kubectl", "-n", namespace, "describe", "pods")
			gateways, _ := command(nil, "kubectl", "-n", "logging", "logs", "deploy/weir-gateway", "--tail=10")
			return out + gateways
		})
	}
	moves("at first")
	pusher(t, "push-other", "https://kubernetes.default.svc", "otlp://10.96.0.50:4318", "--ids", "--lines", "100", "--retry", "3s")
	if code, said := endOf(t, "push-other"); code != 4 || !strings.Contains(said, "401") && !strings.Contains(said, "nauthorized") {
		t.Errorf("a token for the API server: exit code %d\n%s", code, said)
	}
	killed := 0
	for _, pid := range gatewayProcesses(t) {
		killed++
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	moves("all gateways were killed")
	gatewaysReady(t, killed)
	kubectl(t, "-n", "logging", "rollout", "restart", "deploy/weir-gateway")
	moves("during a rollout")
	kubectl(t, "-n", "logging", "rollout", "status", "deploy/weir-gateway", "--timeout=120s")
	gatewaysReady(t, 0)
	kubectl(t, "-n", "logging", "delete", "pod", gatewayPods(t)[0], "--wait=false")
	moves("a gateway's pod was deleted")
	for _, name := range []string{"push-grpc", "push-http"} {
		code, said := endOf(t, name)
		t.Logf("%s:\n%s", name, said)
		if code != 0 {
			t.Errorf("%s ended with %d", name, code)
		}
	}
	eventually(t, time.Minute, "all of it arrives", func() bool { return count(index) >= 2*lines }, func() string { return fmt.Sprint(count(index), " of ", 2*lines) })
	if n := count(index); n != 2*lines {
		t.Errorf("%d documents, want %d", n, 2*lines)
	}
	if n := count("otlp-kube-system-*"); n > 0 {
		t.Errorf("%d documents in a namespace that a pod only claimed", n)
	}
}
