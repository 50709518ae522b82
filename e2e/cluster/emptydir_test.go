package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// warned waits for a Warning event of a pod, and returns what it says.
func warned(t *testing.T, pod, reason string) (message string) {
	t.Helper()
	var events struct {
		Items []struct {
			Type, Message string
			Source        struct{ Component string }
		}
	}
	eventually(t, time.Minute, "an event "+reason+" of "+pod, func() bool {
		get(t, &events, "events", "-n", namespace, "--field-selector", "involvedObject.name="+pod+",reason="+reason)
		return len(events.Items) > 0
	}, func() string {
		logs, _ := command(nil, "kubectl", "-n", "logging", "logs", "ds/weir-agent", "--tail=20")
		return describe(t, pod) + logs
	})
	if e := events.Items[0]; e.Type != "Warning" || len(events.Items) != 1 {
		t.Errorf("events of %s: %+v", pod, events.Items)
	}
	t.Logf("%s: %s: %s", pod, reason, events.Items[0].Message)
	return events.Items[0].Message
}

// metric returns the sum of a metric's values over all labels at the agent's probe port.
func metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	_, text := probe(t, "/metrics")
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok && strings.IndexAny(rest, "{ ") == 0 {
			var v float64
			fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &v)
			sum += v
		}
	}
	return sum
}

// The agent reads the files of annotated emptyDirs, without a sidecar, while they are
// rotated, it is killed and replaced, and the pod deleted at the end. What is no file
// of the volume is not read.
func TestAnnotatedEmptyDir(t *testing.T) {
	deployAgent(t, "emptydir")
	t.Cleanup(func() { deployAgent(t, "fd") })
	files := object{"weir.dev/files": "logs:app.log"}
	startObject(t, pod("annotated", files, annotatedSpec(&stub, "-rate", "1", "-for", "20s", "-rotate", "rename", "-every", "3000")))
	eventually(t, time.Minute, "the agent reads the volume", func() bool { row, _ := ledgerOf(t, "annotated"); return row.Read > 0 }, func() string {
		logs, _ := command(nil, "kubectl", "-n", "logging", "logs", "ds/weir-agent", "--tail=20")
		return describe(t, "annotated") + logs
	})
	killAgent(t)
	agentReady(t)
	deleteAgent(t)
	agentReady(t)
	ended(t, "annotated", time.Minute)
	// Files are looked for once a second; what is there must be read, though the pod goes.
	time.Sleep(2 * time.Second)
	kubectl(t, "-n", namespace, "delete", "pod", "annotated", "--timeout=60s")
	accounted(t, "annotated")
	labelled(t, "annotated", false) // it has others: app only

	link := annotatedSpec(&aside)
	link["containers"] = []object{{
		"name": "app", "image": "busybox:1.36", "command": []string{"sh", "-c", "trap exit TERM; ln -s /etc/passwd /var/log/app.log; while sleep 1; do :; done"},
		"volumeMounts": []object{{"name": "logs", "mountPath": "/var/log"}},
	}}
	startObject(t, pod("linked-out", files, link))
	if said := warned(t, "linked-out", "WeirFileNotRead"); !strings.Contains(said, "app.log") {
		t.Errorf("the event does not name the file")
	}
	if row, _ := ledgerOf(t, "linked-out"); row.Read > 0 {
		t.Errorf("something of it was read: %+v", row)
	}
	before := metric(t, "weir_annotation_errors_total")
	startObject(t, pod("lost-volume", object{"weir.dev/files": "lgos:app.log"}, annotatedSpec(&aside, "-lines", "10")))
	if said := warned(t, "lost-volume", "WeirAnnotationIgnored"); !strings.Contains(said, "lgos") {
		t.Errorf("the event does not name the volume")
	}
	if after := metric(t, "weir_annotation_errors_total"); after <= before {
		t.Errorf("weir_annotation_errors_total was %v and is %v", before, after)
	}
	kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "pod/lost-volume", "--timeout=60s")
}
