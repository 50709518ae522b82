package cluster

import (
	"strings"
	"testing"
	"time"
)

// A node is drained and tainted: the agent stays and ships the last words of
// the pods that must go.
func TestDrainAndTaint(t *testing.T) {
	before := agentReady(t)
	const node = "node-1"
	t.Cleanup(func() {
		command(nil, "kubectl", "uncordon", node)
		command(nil, "kubectl", "taint", "node", node, "maintenance-")
	})
	chatter(t, "drained", nil, "-rate", "1")
	eventually(t, time.Minute, "the pod writes", func() bool { n, _ := runs(t, "drained"); return len(n) > 0 }, func() string { return "" })
	out := kubectl(t, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s")
	if !strings.Contains(out, "evicting pod "+namespace+"/drained") || strings.Contains(out, "evicting pod logging/") {
		t.Errorf("drain: %s", out)
	}
	ended(t, "drained", time.Second)
	kubectl(t, "uncordon", node)

	chatter(t, "tainted", nil, "-rate", "1")
	eventually(t, time.Minute, "the pod writes", func() bool { n, _ := runs(t, "tainted"); return len(n) > 0 }, func() string { return "" })
	kubectl(t, "taint", "node", node, "maintenance=1:NoExecute")
	kubectl(t, "-n", namespace, "wait", "--for=delete", "pod/tainted", "--timeout=60s")
	ended(t, "tainted", time.Second)
	if p := agent(t); p.Metadata.UID != before.Metadata.UID || !p.ready() {
		t.Errorf("the agent did not stay: before %+v, now %+v", before, p)
	}
	// A new agent must be able to come to such a node, too.
	deleteAgent(t)
	agentReady(t)
	kubectl(t, "taint", "node", node, "maintenance-")
	accounted(t, "drained", "tainted")
}
