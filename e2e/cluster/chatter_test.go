package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// object is a Kubernetes object or a part of one.
type object = map[string]any

// podSpec is the spec of a pod that runs the program chatter with these
// arguments; limits may be nil.
func podSpec(restart string, limits object, args ...string) object {
	return object{
		"restartPolicy": restart, "terminationGracePeriodSeconds": 10, "enableServiceLinks": false,
		"containers": []object{{
			"name": "chatter", "image": "e2e.local/chatter:v1", "imagePullPolicy": "Never", "args": args,
			"resources":    object{"limits": limits},
			"volumeMounts": []object{{"name": "journals", "mountPath": "/journals"}},
		}},
		"volumes": []object{{"name": "journals", "hostPath": object{"path": journals}}},
	}
}

func applyObject(t *testing.T, o object) {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, b)
}

// chatter starts a pod that writes, and stays silent afterwards.
func chatter(t *testing.T, name string, limits object, args ...string) {
	t.Helper()
	applyObject(t, object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": object{"name": name, "namespace": namespace, "labels": object{"app": name, "team": "stories"}},
		"spec":     podSpec("Always", limits, append(args, "-stay")...),
	})
	t.Cleanup(func() {
		if _, err := command(nil, "kubectl", "-n", namespace, "delete", "pod", name, "--ignore-not-found", "--wait=false"); err != nil {
			t.Error(err)
		}
	})
}

// ended waits until a pod has written everything.
func ended(t *testing.T, pod string, limit time.Duration) {
	t.Helper()
	eventually(t, limit, pod+" has written everything", func() bool {
		_, ended := runs(t, pod)
		return ended
	}, func() string {
		out, _ := command(nil, "kubectl", "-n", namespace, "describe", "pod", pod)
		return out
	})
}

// logFolder returns the folder of a pod's logs, empty when it is gone.
func logFolder(t *testing.T, pod string) string {
	t.Helper()
	found, err := filepath.Glob(fmt.Sprintf("/var/log/pods/%s_%s_*", namespace, pod))
	if err != nil || len(found) > 1 {
		t.Fatal(found, err)
	}
	return strings.Join(found, "")
}

// accounted waits until every line of the pods has arrived and the agent's
// ledger says so, and judges: all lines of all pods until now arrived exactly
// once, as they were written, and the backend holds as many documents as the
// ledger says were delivered in all.
func accounted(t *testing.T, pods ...string) {
	t.Helper()
	accountedWithGaps(t, 0, pods...)
}

// accountedWithGaps is for stories in which the agent cannot know that nothing
// came and went unseen, and says so by that many gap records at most.
func accountedWithGaps(t *testing.T, most uint64, pods ...string) {
	t.Helper()
	for _, pod := range pods {
		if _, ended := runs(t, pod); !ended {
			t.Fatalf("%s has not ended", pod)
		}
		lines, bytes := written(t, pod)
		var row ledger
		var gaps uint64
		eventually(t, 3*time.Minute, "the ledger says that every line of "+pod+" is delivered and none lost", func() bool {
			var live, settled bool
			row, live = ledgerOf(t, pod)
			gaps, settled = row.settled(lines)
			return live && settled
		}, func() string {
			status, _ := weir(t, "status")
			logs, _ := command(nil, "kubectl", "-n", "logging", "logs", "ds/weir-agent", "--tail=20")
			return fmt.Sprintf("%d lines written\n%+v\n%v\n%s\n%s", lines, row, stub.verdict(t).Err(), status, logs)
		})
		if gaps > most {
			t.Errorf("%s: %d records besides its lines, want at most %d gap records", pod, gaps, most)
		}
		t.Logf("%s: %d lines, %.1f MB; ledger: written %d = read %d + unread %d + lost %d; records read %d = delivered %d; gap records %d",
			pod, lines, float64(bytes)/1e6, row.Written, row.Read, row.Unread, row.Lost, row.Records, row.Outputs[0].Delivered, gaps)
	}
	v := stub.verdict(t)
	if err := v.Err(); err != nil && !onlyRepeated(v) {
		t.Error(err)
	}
	s := stub.state(t)
	t.Logf("verdict over %d pods: %d lines written, %d delivered, missing %d, extra %d, different %d, doubled %d; sent again and answered with 409: %d",
		len(v.Streams), v.Total.Written, v.Total.Delivered, v.Total.Missing, v.Total.Extra, v.Total.Different, v.Total.Doubled, s.Stub.Conflicts)
	// Agents' own lines and gap records are among them, and may just be coming.
	var docs struct{ Count uint64 }
	var total ledger
	eventually(t, time.Minute, "the backend holds what the ledger says is delivered", func() bool {
		var ok bool
		if _, total, ok = ledgers(t); !ok || len(total.Outputs) != 1 {
			return false
		}
		stub.call(t, "GET", stub.URL+"/kubernetes-*/_count", nil, &docs)
		o := total.Outputs[0]
		return o.Delivered == docs.Count && o.Read == o.Delivered
	}, func() string { return fmt.Sprintf("%d documents; the ledger's total %+v", docs.Count, total) })
	if len(s.Violations) > 0 || s.Stub.Collisions > 0 {
		t.Errorf("the backend's rules were broken: %q; two lines under one id: %d", s.Violations, s.Stub.Collisions)
	}
}

// rotations are the rotated files of a pod that were seen.
type rotations struct{ plain, compressed map[string]bool }

func (r *rotations) look(folder string) {
	if r.plain == nil {
		r.plain, r.compressed = make(map[string]bool), make(map[string]bool)
	}
	files, _ := os.ReadDir(filepath.Join(folder, "chatter"))
	for _, f := range files {
		name, gz := strings.CutSuffix(f.Name(), ".gz")
		if !strings.Contains(name, ".log.") || strings.HasSuffix(name, ".tmp") {
			continue
		}
		r.plain[name] = true
		if gz {
			r.compressed[name] = true
		}
	}
}
