package cluster

import (
	"testing"
	"time"
)

// behind waits until the agent has seen all of a pod that has ended and has
// much of it left to read; without that a story would prove nothing.
func behind(t *testing.T, pod string) {
	t.Helper()
	var row ledger
	_, bytes := written(t, pod)
	eventually(t, time.Minute, "the agent is behind with "+pod, func() bool {
		row, _ = ledgerOf(t, pod)
		return row.Unread > 5<<20 && row.Written >= int64(bytes)
	}, func() string { s, _ := weir(t, "status"); return s })
	t.Logf("behind: %d bytes of %s unread of %d", row.Unread, pod, row.Written)
}

func deletePod(t *testing.T, pod string) {
	t.Helper()
	kubectl(t, "-n", namespace, "delete", "pod", pod, "--timeout=60s")
	eventually(t, time.Minute, "kubelet has deleted the logs of "+pod, func() bool { return logFolder(t, pod) == "" },
		func() string { return logFolder(t, pod) })
}

// A pod is deleted, with its logs, while the backend does not answer and most
// is unread: the agent holds the files open and reads them when it can.
func TestPodDeletedWhileBehind(t *testing.T) {
	agentReady(t)
	defer stub.faults(t, noFaults)
	stub.faults(t, `{"freeze":true}`)
	chatter(t, "deleted", nil, "-rate", "10", "-for", "4s")
	ended(t, "deleted", time.Minute)
	behind(t, "deleted")
	deletePod(t, "deleted")
	stub.faults(t, noFaults)
	accounted(t, "deleted")
}

// The same with a backend that is down, kill -9 of the agent before the
// deletion, and deletion of the agent's pod after it; the files survive as
// hard links.
func TestPodDeletedWhileBehindAndKilled(t *testing.T) {
	long(t)
	deployAgent(t, "link")
	t.Cleanup(func() { deployAgent(t, "fd") })
	defer stub.faults(t, noFaults)
	stub.faults(t, `{"down":true}`)
	chatter(t, "linked", nil, "-rate", "10", "-for", "4s")
	ended(t, "linked", time.Minute)
	behind(t, "linked")
	killAgent(t)
	deletePod(t, "linked")
	agentReady(t)
	deleteAgent(t)
	agentReady(t)
	stub.faults(t, noFaults)
	// While it was away, more may have been written and deleted; it says so.
	accountedWithGaps(t, 2, "linked")
}

// Kubelet evicts a pod for its ephemeral storage, of which its logs are part,
// while the backend does not answer.
func TestEvictedWhileBehind(t *testing.T) {
	agentReady(t)
	defer stub.faults(t, noFaults)
	stub.faults(t, `{"freeze":true}`)
	chatter(t, "evicted", object{"ephemeral-storage": "20Mi"}, "-rate", "3")
	// Having ended in good order when it was told to, the pod counts as
	// succeeded; only the event tells of the eviction.
	var events struct {
		Items []struct{ Reason, Message string }
	}
	eventually(t, 2*time.Minute, "the pod is evicted", func() bool {
		get(t, &events, "events", "-n", namespace, "--field-selector", "involvedObject.name=evicted,reason=Evicted")
		return len(events.Items) > 0
	}, func() string { return kubectl(t, "-n", namespace, "describe", "pod", "evicted") })
	t.Log(events.Items)
	ended(t, "evicted", 30*time.Second)
	behind(t, "evicted")
	stub.faults(t, noFaults)
	accounted(t, "evicted")
}

// The agent is rolled out twice and killed in between while it catches up with
// a slow backend whose answers get lost.
func TestRolloutWhileCatchingUp(t *testing.T) {
	long(t)
	agentReady(t)
	defer stub.faults(t, noFaults)
	stub.faults(t, `{"latency":"uniform:200ms-600ms","p_503":0.1,"p_reset_after":0.2}`)
	chatter(t, "rolled", nil, "-rate", "4", "-for", "15s")
	restart := func() {
		t.Helper()
		eventually(t, time.Minute, "the pod writes", func() bool { files, _ := runs(t, "rolled"); return len(files) > 0 }, func() string { return "" })
		kubectl(t, "-n", "logging", "rollout", "restart", "ds/weir-agent")
		kubectl(t, "-n", "logging", "rollout", "status", "ds/weir-agent", "--timeout=60s")
	}
	restart()
	killAgent(t)
	agentReady(t)
	restart()
	ended(t, "rolled", time.Minute)
	stub.faults(t, noFaults)
	accounted(t, "rolled")
}
