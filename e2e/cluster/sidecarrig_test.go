package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirlog/weir/e2e/internal/account"
)

// What the pods of these stories have in common: applications that write files to
// the volume "logs", which is /var/log in every container.

// aside is a backend of its own for sidecars that ship, so that what may not arrive
// does not disturb the agent's books.
var aside = backend{addr: "127.0.0.1:9201", journals: "/var/lib/e2e/aside"}

// startAside starts the second backend with empty books.
func startAside(t *testing.T) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(aside.journals), os.MkdirAll(aside.journals, 0o755), aside.start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(aside.stop)
}

// writes is a container whose chatter writes a file.
func writes(name, file string, args ...string) object {
	return object{
		"name": name, "image": "e2e.local/chatter:v1", "imagePullPolicy": "Never",
		"args":         append([]string{"-file", "/var/log/" + file}, args...),
		"volumeMounts": []object{{"name": "journals", "mountPath": "/journals"}, {"name": "logs", "mountPath": "/var/log"}},
	}
}

// sidecar is the container "log" with weir, native unless said otherwise.
func sidecar(native bool, args ...string) object {
	c := object{
		"name": "log", "image": "weir:latest", "imagePullPolicy": "IfNotPresent", "args": append([]string{"sidecar"}, args...),
		"securityContext": object{"readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "capabilities": object{"drop": []string{"ALL"}}},
		"volumeMounts":    []object{{"name": "logs", "mountPath": "/var/log"}},
		"resources":       object{"limits": object{"memory": "64Mi"}},
	}
	if native {
		c["restartPolicy"] = "Always"
	}
	return c
}

// ships makes a sidecar one that ships, with the configuration of a ConfigMap, an
// identity, and a volume for what waits.
func ships(c object, configMap string) object {
	field := func(name, path string) object {
		return object{"name": name, "valueFrom": object{"fieldRef": object{"fieldPath": path}}}
	}
	c["args"] = append(c["args"].([]string), "-c", "/etc/weir/weir.yaml")
	c["env"] = []object{
		field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace"), field("POD_UID", "metadata.uid"), field("NODE_NAME", "spec.nodeName"),
		{"name": "CONTAINER_NAME", "value": "app"},
	}
	c["volumeMounts"] = append(c["volumeMounts"].([]object),
		object{"name": "config", "mountPath": "/etc/weir", "readOnly": true}, object{"name": "state", "mountPath": "/var/lib/weir"})
	c["config"] = configMap // taken out again by withSidecar
	return c
}

// withSidecar is the spec of a pod with applications and a sidecar.
func withSidecar(b *backend, restart string, c object, apps ...object) object {
	volumes := []object{{"name": "journals", "hostPath": object{"path": b.journals}}, {"name": "logs", "emptyDir": object{}}}
	if name, ok := c["config"]; ok {
		delete(c, "config")
		volumes = append(volumes, object{"name": "config", "configMap": object{"name": name}}, object{"name": "state", "emptyDir": object{"sizeLimit": "64Mi"}})
	}
	spec := object{"restartPolicy": restart, "terminationGracePeriodSeconds": 15, "enableServiceLinks": false, "volumes": volumes}
	if c["restartPolicy"] == "Always" {
		spec["initContainers"], spec["containers"] = []object{c}, apps
	} else {
		spec["containers"] = append(apps, c)
	}
	return spec
}

// startPod starts a pod of the namespace of stories.
func startPod(t *testing.T, name string, spec object, annotations ...string) {
	t.Helper()
	notes := object{}
	for _, a := range annotations {
		k, v, _ := strings.Cut(a, "=")
		notes[k] = v
	}
	applyObject(t, object{
		"apiVersion": "v1", "kind": "Pod", "spec": spec,
		"metadata": object{"name": name, "namespace": namespace, "labels": object{"app": name}, "annotations": notes},
	})
	t.Cleanup(func() {
		if _, err := command(nil, "kubectl", "-n", namespace, "delete", "pod", name, "--ignore-not-found", "--wait=false"); err != nil {
			t.Error(err)
		}
	})
}

func describe(t *testing.T, pod string) string {
	out, _ := command(nil, "kubectl", "-n", namespace, "describe", "pod", pod)
	logs, _ := command(nil, "kubectl", "-n", namespace, "logs", pod, "--all-containers", "--tail=5")
	return out + logs
}

// podStatus is a pod as far as these stories need it.
type podStatus struct {
	Status struct {
		Phase                                    string
		Reason                                   string
		InitContainerStatuses, ContainerStatuses []containerStatus
		Conditions                               []struct {
			Type, Status       string
			LastTransitionTime time.Time
		}
	}
	Metadata struct{ CreationTimestamp time.Time }
}

type containerStatus struct {
	Name             string
	Ready            bool
	RestartCount     int
	State, LastState struct {
		Terminated *struct {
			ExitCode   int
			Message    string
			FinishedAt time.Time
		}
	}
}

func status(t *testing.T, pod string) (p podStatus) {
	t.Helper()
	get(t, &p, "pod", "-n", namespace, pod)
	return p
}

// container returns the status of a container.
func (p podStatus) container(name string) containerStatus {
	for _, c := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
		if c.Name == name {
			return c
		}
	}
	return containerStatus{}
}

// lastWord is what a sidecar left in its pod's status.
type lastWord struct{ undelivered, unread, waiting, delivered uint64 }

// said waits until the sidecar of a pod has ended for good, and returns its last word.
func said(t *testing.T, pod string, limit time.Duration) (w lastWord, text string) {
	t.Helper()
	eventually(t, limit, "the sidecar of "+pod+" has ended", func() bool {
		end := status(t, pod).container("log").State.Terminated
		if end == nil {
			return false
		}
		if end.ExitCode != 0 {
			t.Errorf("the sidecar of %s ended with %d: %s", pod, end.ExitCode, end.Message)
		}
		text = end.Message
		return true
	}, func() string { return describe(t, pod) })
	if _, err := fmt.Sscanf(text, "undelivered=%d (unread=%d waiting=%d) delivered=%d", &w.undelivered, &w.unread, &w.waiting, &w.delivered); err != nil {
		t.Errorf("the last word of %s is %q: %v", pod, text, err)
	}
	t.Logf("%s: %s", pod, text)
	return w, text
}

// sidecarProcess returns the process of the sidecar in a pod, by what the pod's name
// makes of its hostname; 0 if it does not run.
func sidecarProcess(t *testing.T, pod string) int {
	t.Helper()
	for _, pid := range processesOf(t, "sidecar") {
		env, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "environ"))
		if err == nil && bytes.Contains(append([]byte{0}, env...), []byte("\x00HOSTNAME="+pod+"\x00")) {
			return pid
		}
	}
	return 0
}

// signalSidecars sends a signal to the sidecars in pods, and waits until their
// containers run again.
func signalSidecars(t *testing.T, sig syscall.Signal, pods ...string) {
	t.Helper()
	was := make(map[string]int)
	for _, pod := range pods {
		eventually(t, time.Minute, "the sidecar of "+pod+" runs", func() bool { was[pod] = sidecarProcess(t, pod); return was[pod] != 0 },
			func() string { return describe(t, pod) })
		if err := syscall.Kill(was[pod], sig); err != nil {
			t.Fatal(err)
		}
	}
	for _, pod := range pods {
		eventually(t, 2*time.Minute, "the sidecar of "+pod+" runs again", func() bool { p := sidecarProcess(t, pod); return p != 0 && p != was[pod] },
			func() string { return describe(t, pod) })
	}
}

// anonymous returns a process's anonymous memory.
func anonymous(t *testing.T, pid int) (bytes int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "RssAnon:")
	if _, err := fmt.Sscan(rest, &bytes); err != nil {
		t.Fatal(err)
	}
	return bytes << 10
}

// repeatable are streams of which lines may come twice, as what streamed them was
// killed: one write for each kill, of 4096 bytes or a line.
var repeatable = make(map[string]uint64)

// mayRepeat allows the streams of a pod what its sidecar does when it is killed.
func mayRepeat(t *testing.T, pod string, kills int) {
	t.Helper()
	files, _ := runs(t, pod)
	for _, f := range files {
		repeatable[filepath.Base(f)] = uint64(kills) * 40 // lines have 100 bytes at least
	}
}

// onlyRepeated reports whether nothing is wrong but lines that may come twice.
func onlyRepeated(v *account.Verdict) bool {
	if !v.Complete {
		return false
	}
	for name, s := range v.Streams {
		if s.Missing|s.Extra|s.Different != 0 || s.Doubled > repeatable[name] {
			return false
		}
	}
	return true
}
