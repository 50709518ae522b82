package cluster

import (
	"fmt"
	"testing"
	"time"
)

// A pod writes faster than kubelet's rotation keeps, while agents are killed
// and their pods deleted: every line is accounted for.
func TestRotation(t *testing.T) {
	agentReady(t)
	chatter(t, "chatty", nil, "-rate", fmt.Sprint(*rate), "-for", duration.String())
	begin := time.Now()
	// Kubelet starts a container that was killed for the first time at once,
	// later ones after 10 s, 20 s, 40 s, …; hence each pod is killed once.
	disturbances := []struct {
		what string
		do   func(*testing.T)
	}{{"kill -9", killAgent}, {"pod deleted", deleteAgent}}
	pause := max(10*time.Second, *duration/14)
	next, done := begin.Add(pause), 0
	var seen rotations
	var agents usage
	eventually(t, *duration+time.Minute, "the pod has written everything", func() bool {
		seen.look(logFolder(t, "chatty"))
		agents.look(agentProcesses(t))
		if time.Now().After(next) && time.Since(begin) < *duration {
			d := disturbances[done%len(disturbances)]
			t.Logf("%3.0f s: %s", time.Since(begin).Seconds(), d.what)
			d.do(t)
			done++
			next = time.Now().Add(pause)
		}
		_, ended := runs(t, "chatty")
		return ended
	}, func() string { return kubectl(t, "-n", namespace, "describe", "pod", "chatty") })
	_, bytes := written(t, "chatty")
	took := time.Since(begin)
	accounted(t, "chatty")
	agents.look(agentProcesses(t))
	t.Logf("%.2f MB/s for %v, everything accounted for %v later; %d rotations (%d seen compressed), %d disturbances; agents: %v",
		float64(bytes)/1e6/took.Seconds(), took.Round(time.Second), (time.Since(begin) - took).Round(100*time.Millisecond),
		len(seen.plain), len(seen.compressed), done, &agents)
	if len(seen.plain) < int(duration.Seconds()/10) || len(seen.compressed) == 0 {
		t.Errorf("kubelet hardly rotated: %v", seen)
	}
	if done == 0 {
		t.Error("nothing was disturbed")
	}
	if p := agent(t); len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].LastState.Terminated.Reason == "OOMKilled" {
		t.Error("the agent did not keep to its memory limit")
	}
}
