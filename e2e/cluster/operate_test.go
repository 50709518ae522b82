package cluster

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// probe asks the agent's probe port as kubelet does.
func probe(t *testing.T, path string) (int, string) {
	t.Helper()
	ip := kubectl(t, "-n", "logging", "get", "pod", agentReady(t).Metadata.Name, "-o", "jsonpath={.status.podIP}")
	resp, err := http.Get("http://" + ip + ":7411" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestProbes(t *testing.T) {
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/": 404, "/v1/ledger": 404, "/debug/pprof/": 404} {
		if got, body := probe(t, path); got != want {
			t.Errorf("%s: %d %s, want %d", path, got, body, want)
		}
	}
}

// A changed ConfigMap is taken by the running agent, one that is wrong is
// refused, and neither restarts it.
func TestConfigMapChange(t *testing.T) {
	before := agentReady(t)
	text := kubectl(t, "-n", "logging", "get", "configmap", "weir-agent", "-o", `jsonpath={.data.weir\.yaml}`)
	reloads := func() (metrics string) { _, metrics = probe(t, "/metrics"); return metrics }
	change := func(config string) {
		t.Helper()
		applyObject(t, object{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": "weir-agent", "namespace": "logging"},
			"data": object{"weir.yaml": config},
		})
		// Kubelet looks at a pod's ConfigMaps about once a minute, and when the
		// pod changes.
		kubectl(t, "-n", "logging", "annotate", "--overwrite", "pod", before.Metadata.Name, fmt.Sprintf("e2e/look=%d", time.Now().UnixNano()))
	}
	wait := func(want string) {
		t.Helper()
		eventually(t, 2*time.Minute, want, func() bool { return strings.Contains(reloads(), "\n"+want+"\n") }, func() string {
			out, _ := command(nil, "kubectl", "-n", "logging", "logs", "ds/weir-agent", "--tail=20")
			return out
		})
	}
	t.Cleanup(func() {
		// Ids are exact per index: lines that are sent again after a kill must
		// not go to another one, so the index is back before stories go on.
		deployAgent(t, "fd")
		kubectl(t, "-n", "logging", "rollout", "restart", "ds/weir-agent")
		kubectl(t, "-n", "logging", "rollout", "status", "ds/weir-agent", "--timeout=60s")
		agentReady(t)
	})
	change(strings.Replace(text, "outputs:", "cluster: [no\noutputs:", 1))
	wait("weir_config_reload_success 0")
	change(strings.Replace(text, "${namespace}-", "${namespace}-reloaded-", 1))
	wait("weir_config_reload_success 1")
	chatter(t, "reloaded", nil, "-lines", "1000")
	ended(t, "reloaded", time.Minute)
	var docs struct{ Count uint64 }
	eventually(t, time.Minute, "lines are in the new index", func() bool {
		stub.call(t, "GET", stub.URL+"/kubernetes-"+namespace+"-reloaded-*/_count", nil, &docs)
		return docs.Count == 1000
	}, func() string { return fmt.Sprint(docs.Count) })
	accounted(t, "reloaded")
	if p := agent(t); p.Metadata.UID != before.Metadata.UID || p.Status.ContainerStatuses[0].RestartCount != before.Status.ContainerStatuses[0].RestartCount {
		t.Errorf("it was restarted: before %+v, now %+v", before, p)
	}
}

// An agent that hangs is killed by its liveness probe, and goes on.
func TestHangingAgentIsRestarted(t *testing.T) {
	if *duration < 5*time.Minute {
		t.Skip("takes three minutes: only with -for 5m and more")
	}
	before := agentReady(t)
	for _, pid := range agentProcesses(t) {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	chatter(t, "meanwhile", nil, "-rate", "1", "-for", "5s")
	eventually(t, 5*time.Minute, "kubelet restarts the container", func() bool {
		p := agent(t)
		return p.ready() && p.Status.ContainerStatuses[0].RestartCount > before.Status.ContainerStatuses[0].RestartCount
	}, func() string { return kubectl(t, "-n", "logging", "describe", "pods") })
	accounted(t, "meanwhile")
}
