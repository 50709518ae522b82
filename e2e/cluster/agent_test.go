package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// agentPod is the DaemonSet's pod that is not being deleted, as far as stories
// need it; its name is empty when there is none.
type agentPod struct {
	Metadata struct {
		Name              string
		UID               string
		DeletionTimestamp *string
	}
	Status struct {
		ContainerStatuses []struct {
			Ready        bool
			RestartCount int
			LastState    struct {
				Terminated struct {
					ExitCode int
					Reason   string
				}
			}
		}
	}
}

func agent(t *testing.T) agentPod {
	t.Helper()
	var pods struct{ Items []agentPod }
	get(t, &pods, "pods", "-n", "logging", "-l", "app.kubernetes.io/name=weir,app.kubernetes.io/component=agent")
	for _, p := range pods.Items {
		if p.Metadata.DeletionTimestamp == nil {
			return p
		}
	}
	return agentPod{}
}

func (p agentPod) ready() bool {
	return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].Ready
}

// agentReady waits until the agent is ready.
func agentReady(t *testing.T) agentPod {
	t.Helper()
	var p agentPod
	eventually(t, time.Minute, "the agent is ready", func() bool { p = agent(t); return p.ready() }, func() string {
		out, _ := command(nil, "kubectl", "-n", "logging", "describe", "pods")
		return out
	})
	return p
}

// deployAgent brings the DaemonSet to one of the overlays.
func deployAgent(t *testing.T, overlay string) {
	t.Helper()
	out, err := command(nil, "kubectl", "apply", "--server-side", "--force-conflicts", "--validate=strict", "-k", filepath.Join("overlays", overlay))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("overlay %s: %s", overlay, strings.ReplaceAll(strings.TrimSpace(out), "\n", ", "))
	kubectl(t, "-n", "logging", "rollout", "status", "ds/weir-agent", "--timeout=60s")
	agentReady(t)
}

// weir runs the agent's own binary in the agent's pod, and reports whether the
// pod was there and the command succeeded.
func weir(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return command(nil, "kubectl", append([]string{"-n", "logging", "exec", agent(t).Metadata.Name, "--", "/weir"}, args...)...)
}

// ledger is a row of "weir ledger -o json".
type ledger struct {
	Namespace, Pod, Container   string
	Written, Read, Unread, Lost int64
	Records                     uint64
	Outputs                     []struct{ Read, Delivered, Waiting, Dropped, Dead uint64 }
}

// settled reports whether the agent has nothing left to read or deliver of
// the row's container, lost nothing, and counted so many lines. gaps is how
// many records it counted besides: those that say "lines may be missing here".
func (l ledger) settled(lines uint64) (gaps uint64, ok bool) {
	if l.Written != l.Read || l.Unread != 0 || l.Lost != 0 || l.Written == 0 || len(l.Outputs) != 1 {
		return 0, false
	}
	o := l.Outputs[0]
	return l.Records - lines, l.Records >= lines && o.Read == l.Records && o.Delivered == l.Records && o.Waiting+o.Dropped+o.Dead == 0
}

// ledgers asks the agent's pod for its ledger. ok is false when no agent
// answers.
func ledgers(t *testing.T) (containers []ledger, total ledger, ok bool) {
	t.Helper()
	out, err := weir(t, "ledger", "-o", "json")
	if err != nil {
		return nil, ledger{}, false
	}
	var report struct {
		Live       bool
		Containers []ledger
		Total      ledger
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("weir ledger: %v in %s", err, out)
	}
	return report.Containers, report.Total, report.Live
}

// ledgerOf returns the row of a pod with a single container, or of the only one that
// writes to its standard output.
func ledgerOf(t *testing.T, pod string) (row ledger, ok bool) {
	t.Helper()
	rows, _, ok := ledgers(t)
	for _, r := range rows {
		if r.Namespace == namespace && r.Pod == pod && (r.Written > 0 || row.Pod == "") {
			row = r
		}
	}
	return row, ok
}

// agentProcesses returns the ids of the agents' processes on the node.
func agentProcesses(t *testing.T) []int { return processesOf(t, "agent") }

// processesOf returns the ids of weir's processes with that command.
func processesOf(t *testing.T, role string) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && bytes.HasPrefix(b, []byte("/weir\x00"+role+"\x00")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// killAgent ends the agent's process without warning; kubelet starts its
// container again.
func killAgent(t *testing.T) {
	t.Helper()
	pids := agentProcesses(t)
	if len(pids) == 0 {
		t.Log("no agent to kill")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
}

// deleteAgent deletes the agent's pod; the DaemonSet makes another.
func deleteAgent(t *testing.T) {
	t.Helper()
	kubectl(t, "-n", "logging", "delete", "pod", agentReady(t).Metadata.Name, "--wait=false")
}

// usage is what processes have used, from /proc.
type usage struct {
	cpu  map[int]float64 // seconds by process id
	peak map[int]uint64  // bytes resident at most
}

// look notes what the processes have used until now. What they use after the
// last look before they end is not seen.
func (u *usage) look(pids []int) {
	if u.cpu == nil {
		u.cpu, u.peak = make(map[int]float64), make(map[int]uint64)
	}
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // gone
		}
		// utime and stime are fields 14 and 15, in ticks of 10 ms; the name in
		// parentheses is field 2.
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		user, _ := strconv.ParseFloat(f[11], 64)
		system, _ := strconv.ParseFloat(f[12], 64)
		u.cpu[pid] = (user + system) / 100
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if _, rest, ok := strings.Cut(string(status), "VmHWM:"); ok {
			kb, _ := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			u.peak[pid] = max(u.peak[pid], kb<<10)
		}
	}
}

func (u *usage) String() string {
	var cpu float64
	var peak uint64
	for pid := range u.cpu {
		cpu += u.cpu[pid]
		peak = max(peak, u.peak[pid])
	}
	return fmt.Sprintf("%d processes, %.1f CPU-seconds, %.1f MiB resident at most", len(u.cpu), cpu, float64(peak)/(1<<20))
}
