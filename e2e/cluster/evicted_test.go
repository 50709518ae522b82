package cluster

import (
	"testing"
	"time"
)

// Pods with sidecars and with annotated volumes are drained from the node, and evicted
// for the storage that their files take: the sidecars end after the applications, and
// every line arrives.
func TestFailure105_DrainAndEviction(t *testing.T) {
	deployAgent(t, "emptydir")
	t.Cleanup(func() { deployAgent(t, "fd") })
	t.Cleanup(func() { command(nil, "kubectl", "uncordon", "node-1") })
	spec := func(rate string) object {
		return withSidecar(&stub, "Always", sidecar(true, "--stream", "/var/log/app.log"), writes("app", "app.log", "-rate", rate, "-stay"))
	}
	startPod(t, "drained-sidecar", spec("1"))
	eventually(t, time.Minute, "the sidecar streams", func() bool { row, _ := ledgerOf(t, "drained-sidecar"); return row.Read > 0 }, func() string { return describe(t, "drained-sidecar") })
	files := object{"weir.dev/files": "logs:app.log"}
	startObject(t, pod("drained-volume", files, annotatedSpec(&stub, "-rate", "1")))
	eventually(t, time.Minute, "the volume is read", func() bool { row, _ := ledgerOf(t, "drained-volume"); return row.Read > 0 }, func() string { return describe(t, "drained-volume") })
	begin := time.Now()
	kubectl(t, "drain", "node-1", "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s")
	t.Logf("drained in %v", time.Since(begin).Round(100*time.Millisecond))
	if took := time.Since(begin); took > 30*time.Second {
		t.Error("the sidecar kept the node from being drained")
	}
	ended(t, "drained-sidecar", time.Second)
	ended(t, "drained-volume", time.Second)
	kubectl(t, "uncordon", "node-1")
	streamed(t, "drained-sidecar", "drained-volume")

	// Kubelet gives a pod that it evicts for its storage one second.
	full := spec("2")
	full["volumes"].([]object)[1]["emptyDir"] = object{"sizeLimit": "15Mi"}
	startPod(t, "evicted-sidecar", full)
	fullVolume := annotatedSpec(&stub, "-rate", "2")
	fullVolume["volumes"].([]object)[1]["emptyDir"] = object{"sizeLimit": "15Mi"}
	startObject(t, pod("evicted-volume", files, fullVolume))
	var events struct {
		Items []struct{ Reason, Message string }
	}
	for _, name := range []string{"evicted-sidecar", "evicted-volume"} {
		eventually(t, 3*time.Minute, name+" is evicted", func() bool {
			get(t, &events, "events", "-n", namespace, "--field-selector", "involvedObject.name="+name+",reason=Evicted")
			return len(events.Items) > 0
		}, func() string { return describe(t, name) })
		t.Log(name, events.Items)
		ended(t, name, 30*time.Second)
	}
	streamed(t, "evicted-sidecar", "evicted-volume")
}
