package cluster

import (
	"testing"
	"time"
)

// Pods with sidecars are drained from the node, and evicted for the storage that their
// files take: the sidecars end after the applications, and every line arrives.
func TestFailure105_DrainAndEviction(t *testing.T) {
	agentReady(t)
	t.Cleanup(func() { command(nil, "kubectl", "uncordon", "node-1") })
	spec := func(rate string) object {
		return withSidecar(&stub, "Always", sidecar(true, "--stream", "/var/log/app.log"), writes("app", "app.log", "-rate", rate, "-stay"))
	}
	startPod(t, "drained-sidecar", spec("1"))
	eventually(t, time.Minute, "the sidecar streams", func() bool { row, _ := ledgerOf(t, "drained-sidecar"); return row.Read > 0 }, func() string { return describe(t, "drained-sidecar") })
	begin := time.Now()
	kubectl(t, "drain", "node-1", "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s")
	t.Logf("drained in %v", time.Since(begin).Round(100*time.Millisecond))
	if took := time.Since(begin); took > 30*time.Second {
		t.Error("the sidecar kept the node from being drained")
	}
	ended(t, "drained-sidecar", time.Second)
	kubectl(t, "uncordon", "node-1")
	streamed(t, "drained-sidecar")

	// Kubelet gives a pod that it evicts for its storage one second.
	full := spec("2")
	full["volumes"].([]object)[1]["emptyDir"] = object{"sizeLimit": "15Mi"}
	startPod(t, "evicted-sidecar", full)
	var events struct {
		Items []struct{ Reason, Message string }
	}
	eventually(t, 3*time.Minute, "the pod is evicted", func() bool {
		get(t, &events, "events", "-n", namespace, "--field-selector", "involvedObject.name=evicted-sidecar,reason=Evicted")
		return len(events.Items) > 0
	}, func() string { return describe(t, "evicted-sidecar") })
	t.Log(events.Items)
	ended(t, "evicted-sidecar", 30*time.Second)
	streamed(t, "evicted-sidecar")
}
