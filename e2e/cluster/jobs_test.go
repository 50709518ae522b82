package cluster

import (
	"strings"
	"testing"
	"time"
)

// A Job that is deleted with its pods the moment it finishes, and one that
// stays.
func TestJobs(t *testing.T) {
	agentReady(t)
	job := func(name string, completions int, more object) {
		spec := object{
			"completions": completions, "parallelism": 2, "backoffLimit": 0,
			"template": object{"spec": podSpec("Never", nil, "-rate", "0", "-lines", "20000")},
		}
		for k, v := range more {
			spec[k] = v
		}
		applyObject(t, object{
			"apiVersion": "batch/v1", "kind": "Job",
			"metadata": object{"name": name, "namespace": namespace}, "spec": spec,
		})
	}
	job("brief", 4, object{"ttlSecondsAfterFinished": 0})
	job("finished", 2, nil)
	t.Cleanup(func() { kubectl(t, "-n", namespace, "delete", "job", "finished") })
	kubectl(t, "-n", namespace, "wait", "--for=condition=Complete", "job/finished", "--timeout=120s")
	kubectl(t, "-n", namespace, "wait", "--for=delete", "job/brief", "--timeout=120s")
	pods := make(map[string]bool)
	for _, prefix := range []string{"brief", "finished"} {
		files, ended := runs(t, prefix)
		if !ended {
			t.Errorf("%s: a pod was cut off", prefix)
		}
		for _, f := range files {
			name := f[strings.LastIndexByte(f, '/')+1:]
			pods[name[:strings.LastIndexByte(name, '-')]] = true
		}
	}
	if len(pods) != 6 {
		t.Fatalf("pods %v, want 4 and 2", pods)
	}
	for pod := range pods {
		accounted(t, pod)
	}
}

// A container that fails again and again: kubelet deletes the logs of the run
// before last while the next waits to be started.
func TestContainerThatFails(t *testing.T) {
	long(t)
	agentReady(t)
	applyObject(t, object{
		"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": "failing", "namespace": namespace},
		"spec": podSpec("Always", nil, "-rate", "0", "-lines", "30000", "-exit", "1"),
	})
	t.Cleanup(func() { kubectl(t, "-n", namespace, "delete", "pod", "failing", "--ignore-not-found") })
	eventually(t, 2*time.Minute, "the container has run three times", func() bool {
		files, ended := runs(t, "failing")
		return ended && len(files) >= 3
	}, func() string { return kubectl(t, "-n", namespace, "describe", "pod", "failing") })
	deletePod(t, "failing")
	accounted(t, "failing")
}
