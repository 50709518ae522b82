package cluster

import (
	"strings"
	"testing"
	"time"
)

// The agents are rolled out to another version under load, and back: no line is lost or
// comes twice.
func TestAgentUpgrade(t *testing.T) {
	agentReady(t)
	version := func() string {
		out, err := weir(t, "version")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	to := func(image string) {
		t.Helper()
		kubectl(t, "-n", "logging", "set", "image", "ds/weir-agent", "weir="+image)
		kubectl(t, "-n", "logging", "rollout", "status", "ds/weir-agent", "--timeout=90s")
		agentReady(t)
	}
	t.Cleanup(func() { to("weir:latest") })
	chatter(t, "upgraded", nil, "-rate", "3", "-for", "25s")
	eventually(t, time.Minute, "the agent reads the pod", func() bool { row, _ := ledgerOf(t, "upgraded"); return row.Read > 0 }, func() string { return describe(t, "upgraded") })
	before := version()
	to("weir:next")
	if after := version(); after == before || !strings.Contains(after, "e2e-next") {
		t.Errorf("the version was %q and is %q", before, after)
	} else {
		t.Logf("%s → %s", before, after)
	}
	to("weir:latest")
	if _, over := runs(t, "upgraded"); over {
		t.Error("the pod had written everything before the upgrades were over")
	}
	ended(t, "upgraded", time.Minute)
	accounted(t, "upgraded")
}

// The API server goes away and comes back; meanwhile a pod writes, and the agent is
// killed and starts without knowing any pod. Every line arrives, and labels are there
// again for pods that come later.
func TestAPIServerDownAndBack(t *testing.T) {
	agentReady(t)
	chatter(t, "headless", nil, "-rate", "1", "-for", "25s")
	eventually(t, time.Minute, "the agent reads the pod", func() bool { row, _ := ledgerOf(t, "headless"); return row.Read > 0 }, func() string { return describe(t, "headless") })
	go func() {
		time.Sleep(3 * time.Second)
		killAgent(t) // the API server is away by then
	}()
	restartAPIServer(t, 15*time.Second)
	ended(t, "headless", time.Minute)
	agentReady(t)
	accounted(t, "headless")
	chatter(t, "later", nil, "-lines", "100")
	ended(t, "later", time.Minute)
	accounted(t, "later")
	labelled(t, "later", true)
}

// labelled checks whether the documents of a pod carry its labels, of which "team" is
// one that all pods of chatter have.
func labelled(t *testing.T, pod string, want bool) {
	t.Helper()
	var found struct {
		Hits struct {
			Hits []struct {
				Source struct {
					Kubernetes struct {
						PodName string `json:"pod_name"`
						Labels  map[string]string
					}
				} `json:"_source"`
			}
		}
	}
	stub.call(t, "GET", stub.URL+"/_search?size=1000", nil, &found)
	n := 0
	for _, h := range found.Hits.Hits {
		if k := h.Source.Kubernetes; k.PodName == pod {
			n++
			if (k.Labels["team"] == "stories") != want {
				t.Fatalf("a document of %s has the labels %v", pod, k.Labels)
			}
		}
	}
	if n == 0 {
		t.Errorf("no documents of %s", pod)
	}
}

// The agent may not ask for pods: it says so, and what has to be done, collects
// everything without labels, and has labels again when it may.
func TestRBACDenied(t *testing.T) {
	agentReady(t)
	binding := kubectl(t, "get", "clusterrolebinding", "weir-agent", "-o", "json")
	restart := func() {
		t.Helper()
		deleteAgent(t)
		agentReady(t)
	}
	back := func() {
		t.Helper()
		if _, err := command([]byte(binding), "kubectl", "replace", "--force", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	kubectl(t, "delete", "clusterrolebinding", "weir-agent")
	restored := false
	t.Cleanup(func() {
		if !restored {
			back()
		}
	})
	restart()
	chatter(t, "denied", nil, "-lines", "500")
	ended(t, "denied", time.Minute)
	accounted(t, "denied")
	labelled(t, "denied", false)
	logs := kubectl(t, "-n", "logging", "logs", "ds/weir-agent")
	if !strings.Contains(logs, "forbidden") || !strings.Contains(logs, "weir-agent") {
		t.Errorf("the agent does not say what is forbidden to whom:\n%s", logs)
	}
	for line := range strings.Lines(logs) {
		if strings.Contains(line, "forbidden") {
			t.Log(strings.TrimSpace(line))
			break
		}
	}
	back()
	restored = true
	// Nobody restarts the agent: it asks again.
	eventually(t, 2*time.Minute, "the agent knows the pods again", func() bool {
		out, _ := weir(t, "status")
		return strings.Contains(out, "kubernetes API      synced")
	}, func() string { out, _ := weir(t, "status"); return out })
	chatter(t, "allowed", nil, "-lines", "500")
	ended(t, "allowed", time.Minute)
	accounted(t, "allowed")
	labelled(t, "allowed", true)
}
