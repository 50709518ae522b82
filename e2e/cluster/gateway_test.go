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

// The API server accepts every object that deploy/ and its examples make,
// without a field it does not know, and 'weir manifests' prints the same ones.
func TestGatewayObjectsAreAccepted(t *testing.T) {
	examples, err := filepath.Glob("../../deploy/examples/*/kustomization.yaml")
	if err != nil || len(examples) < 2 {
		t.Fatal(examples, err)
	}
	for i, name := range examples {
		examples[i] = filepath.Dir(name)
	}
	for _, dir := range append(examples, "../../deploy/agent", "../../deploy/gateway", "../../deploy/store", "../../deploy/webhook", "overlays/emptydir") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			objects := kubectl(t, "kustomize", dir)
			accepted(t, objects)
		})
	}
	for _, role := range []string{"agent", "gateway", "store", "webhook"} {
		t.Run("manifests "+role, func(t *testing.T) {
			objects, err := command(nil, "weir", "manifests", role)
			if err != nil {
				t.Fatal(err)
			}
			accepted(t, objects)
		})
	}
}

// accepted asks the API server whether it would take the objects.
func accepted(t *testing.T, objects string) {
	t.Helper()
	out, err := command([]byte(objects), "kubectl", "apply", "--server-side", "--dry-run=server", "--force-conflicts", "--validate=strict", "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Count("\n"+objects, "\nkind: ")
	if got := strings.Count(out, "serverside-applied (server dry run)"); got != want || want == 0 {
		t.Errorf("%d of %d objects accepted:\n%s", got, want, out)
	}
}

// gatewayProcesses returns the ids of the gateways' processes on the node.
func gatewayProcesses(t *testing.T) []int { return processesOf(t, "gateway") }

// gatewayPods returns the names of the gateways' pods that are not being deleted.
func gatewayPods(t *testing.T) (names []string) {
	t.Helper()
	var pods struct{ Items []agentPod }
	get(t, &pods, "pods", "-n", "logging", "-l", "app.kubernetes.io/name=weir,app.kubernetes.io/component=gateway")
	for _, p := range pods.Items {
		if p.Metadata.DeletionTimestamp == nil {
			names = append(names, p.Metadata.Name)
		}
	}
	return names
}

// gateways returns the gateways' pods, those on their way out included, how many are
// ready, and how often their containers were started again.
func gateways(t *testing.T) (pods, ready, restarts int) {
	t.Helper()
	var list struct{ Items []agentPod }
	get(t, &list, "pods", "-n", "logging", "-l", "app.kubernetes.io/name=weir,app.kubernetes.io/component=gateway")
	for _, p := range list.Items {
		if p.ready() {
			ready++
		}
		for _, c := range p.Status.ContainerStatuses {
			restarts += c.RestartCount
		}
	}
	return len(list.Items), ready, restarts
}

// gatewaysReady waits until two gateways take logs, none is on its way out, and
// containers were started again so often: kubelet's word comes a second late. What
// waits in a gateway that kubelet is about to start again is lost with its pod, since
// they have no volumes here.
func gatewaysReady(t *testing.T, restarts int) {
	t.Helper()
	eventually(t, 3*time.Minute, "two gateways are ready", func() bool {
		pods, ready, n := gateways(t)
		return pods == 2 && ready == 2 && n >= restarts
	}, func() string {
		out, _ := command(nil, "kubectl", "-n", "logging", "describe", "hpa,deploy,pods")
		return out
	})
}

// Agents send to two gateways and these to Elasticsearch, as in the example, while
// gateways are killed, replaced by a rollout, deleted, and the backend is away:
// every line arrives once.
func TestAgentsOverGateways(t *testing.T) {
	long(t)
	t.Cleanup(func() {
		_, err := command(nil, "kubectl", "delete", "-k", filepath.Join("overlays", "gateway"), "--ignore-not-found", "--cascade=foreground", "--timeout=90s")
		stub.stop()
		if err := errors.Join(err, prepare()); err != nil { // the agents' books begin anew
			t.Fatal(err)
		}
	})
	applyObject(t, object{"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": "weir-gateway", "namespace": "logging"}, "stringData": object{"token": "of-the-agents"}})
	if _, err := command(nil, "kubectl", "apply", "--server-side", "--force-conflicts", "--validate=strict", "-k", filepath.Join("overlays", "gateway")); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "-n", "logging", "rollout", "status", "deploy/weir-gateway", "--timeout=90s")
	kubectl(t, "-n", "logging", "rollout", "status", "ds/weir-agent", "--timeout=60s")
	agentReady(t)
	gatewaysReady(t, 0)

	const pod = "through-gateways"
	arrived := func() uint64 { return stub.state(t).Account.Distinct }
	moves := func(what string) {
		t.Helper()
		before := arrived()
		eventually(t, time.Minute, "lines arrive: "+what, func() bool { return arrived() > before+2000 }, func() string {
			agents, _ := command(nil, "kubectl", "-n", "logging", "logs", "ds/weir-agent", "--tail=10")
			gateways, _ := command(nil, "kubectl", "-n", "logging", "logs", "deploy/weir-gateway", "--tail=10")
			return agents + gateways
		})
	}
	chatter(t, pod, nil, "-rate", "1", "-for", "2m")
	moves("at first")
	killed := 0
	for i := range 2 {
		for _, pid := range gatewayProcesses(t) {
			killed++
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		moves(fmt.Sprint("all gateways were killed, time ", i+1))
	}
	gatewaysReady(t, killed)
	kubectl(t, "-n", "logging", "rollout", "restart", "deploy/weir-gateway")
	moves("during a rollout")
	kubectl(t, "-n", "logging", "rollout", "status", "deploy/weir-gateway", "--timeout=120s")
	gatewaysReady(t, 0)
	stub.faults(t, `{"down":true}`)
	time.Sleep(5 * time.Second) // what comes meanwhile is the gateways' to keep
	if pids := gatewayProcesses(t); len(pids) > 0 {
		_ = syscall.Kill(pids[0], syscall.SIGKILL) // kubelet starts it again
	}
	stub.faults(t, noFaults)
	moves("the backend was away")
	gatewaysReady(t, 1)
	kubectl(t, "-n", "logging", "delete", "pod", gatewayPods(t)[0], "--wait=false")
	moves("a gateway's pod was deleted")
	ended(t, pod, 2*time.Minute)

	lines, _ := written(t, pod)
	eventually(t, 2*time.Minute, "the agent has delivered everything", func() bool {
		row, live := ledgerOf(t, pod)
		_, settled := row.settled(lines)
		return live && settled
	}, func() string { out, _ := weir(t, "status"); return out })
	eventually(t, 2*time.Minute, "all of it arrives", func() bool { return stub.verdict(t).Err() == nil }, func() string {
		logs, _ := command(nil, "kubectl", "-n", "logging", "logs", "deploy/weir-gateway", "--tail=20")
		return fmt.Sprint(stub.verdict(t).Err(), "\n", logs)
	})
	s := stub.state(t)
	t.Logf("%d lines; sent again and answered with 409: %d", lines, s.Stub.Conflicts)
	if len(s.Violations) > 0 || s.Stub.Collisions > 0 {
		t.Errorf("the backend's rules were broken: %q; two lines under one id: %d", s.Violations, s.Stub.Collisions)
	}
	// The gateways believe a relay: namespaces are those of the pods.
	var docs struct{ Count uint64 }
	stub.call(t, "GET", stub.URL+"/kubernetes-"+namespace+"-*/_count", nil, &docs)
	if docs.Count < lines {
		t.Errorf("%d documents in the namespace's index, want at least %d", docs.Count, lines)
	}
	for _, name := range gatewayPods(t) {
		if out, err := command(nil, "kubectl", "-n", "logging", "exec", name, "--", "/weir", "ledger", "--check"); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
