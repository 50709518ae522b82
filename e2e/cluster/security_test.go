package cluster

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const agentAccount = "system:serviceaccount:logging:weir-agent"

// The agent may read pods and write events, and may do nothing else.
func TestLeastRBAC(t *testing.T) {
	for _, c := range []struct {
		allowed bool
		verbs   string
		what    []string
	}{
		{true, "get list watch", []string{"pods", "pods -n stories", "pods -n kube-system"}},
		{true, "create patch", []string{"events", "events -n stories"}},
		{false, "update delete", []string{"events"}},
		{false, "create update patch delete deletecollection", []string{"pods", "pods -n logging"}},
		{false, "get list watch", []string{
			"secrets", "secrets -n logging", "configmaps", "nodes", "namespaces", "serviceaccounts", "events",
			"nodes --subresource=proxy", "nodes --subresource=log", "nodes --subresource=metrics", "pods --subresource=log", "deployments.apps", "leases.coordination.k8s.io",
		}},
		{false, "create get", []string{"pods --subresource=exec", "pods --subresource=attach", "pods --subresource=portforward", "nodes --subresource=proxy"}},
		{false, "create", []string{"serviceaccounts --subresource=token", "tokenreviews.authentication.k8s.io", "subjectaccessreviews.authorization.k8s.io"}},
		{false, "impersonate", []string{"users", "serviceaccounts"}},
		{false, "*", []string{"*", "pods"}},
	} {
		for verb := range strings.FieldsSeq(c.verbs) {
			for _, what := range c.what {
				args := append([]string{"auth", "can-i", verb}, strings.Fields(what)...)
				if !strings.Contains(what, "-n ") {
					args = append(args, "--all-namespaces")
				}
				out, _ := command(nil, "kubectl", append(args, "--as="+agentAccount)...)
				if got := strings.TrimSpace(out); got != map[bool]string{true: "yes", false: "no"}[c.allowed] {
					t.Errorf("can-i %s %s: %q, want allowed = %v", verb, what, got, c.allowed)
				}
			}
		}
	}
	// The whole list, so that nothing that is not asked for above is missed:
	// pods, events, and what every authenticated account may do.
	list := kubectl(t, "auth", "can-i", "--list", "--as="+agentAccount, "-n", "logging", "--no-headers")
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		switch {
		case f[0] == "pods" && strings.HasSuffix(strings.TrimSpace(line), "[get list watch]"),
			f[0] == "events" && strings.HasSuffix(strings.TrimSpace(line), "[create patch]"),
			strings.HasPrefix(f[0], "self"), strings.HasPrefix(f[0], "["): // SelfSubjectReview and alike; URLs such as /healthz
		default:
			t.Errorf("more is allowed: %s", line)
		}
	}
}

// What the agent has asked the API server for since it was installed is the
// pods of its own node.
func TestAsksForItsPodsOnly(t *testing.T) {
	p := agentReady(t)
	f, err := os.Open(filepath.Join(os.Getenv("WEIR_CLUSTER_DIR"), "log/audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	asked := make(map[string]int)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			Verb, RequestURI string
			User             struct{ Username string }
			ImpersonatedUser *struct{}
			ResponseStatus   struct{ Code int }
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if e.User.Username != agentAccount || e.ImpersonatedUser != nil {
			continue
		}
		path, query, _ := strings.Cut(e.RequestURI, "?")
		asked[fmt.Sprintf("%s %s %d", e.Verb, path, e.ResponseStatus.Code)]++
		if path != "/api/v1/pods" || !strings.Contains(query, "fieldSelector=spec.nodeName%3Dnode-1") || e.ResponseStatus.Code != 200 {
			t.Errorf("%s %s: %d", e.Verb, e.RequestURI, e.ResponseStatus.Code)
		}
	}
	if err := lines.Err(); err != nil || asked["list /api/v1/pods 200"]+asked["watch /api/v1/pods 200"] == 0 {
		t.Errorf("%s asked for nothing: %v, %v", p.Metadata.Name, asked, err)
	}
	t.Log(asked)
}

// The process has what DESIGN §10 says: uid 0 without any capability, nothing
// to gain, seccomp, a read-only root, and its state as the only place on the
// node that it can write to.
func TestRestricted(t *testing.T) {
	agentReady(t)
	pids := agentProcesses(t)
	if len(pids) != 1 {
		t.Fatalf("agents %v", pids)
	}
	proc := fmt.Sprintf("/proc/%d/", pids[0])
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Uid:\t0\t0\t0\t0", "CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
		"CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2",
	} {
		if !bytes.Contains(status, []byte("\n"+want+"\n")) {
			t.Errorf("no %q in its status:\n%s", want, status)
		}
	}
	mounts, err := os.ReadFile(proc + "mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var onDisk []string // mounts with a file system of the node that can be written to
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		point, options := f[4], strings.Split(f[5], ",")
		if strings.Contains(line, " - overlay ") && point == "/" && !slices.Contains(options, "ro") {
			t.Errorf("the root file system can be written to: %s", line)
		}
		kind := f[slices.Index(f, "-")+1]
		if slices.Contains(options, "rw") && !slices.Contains([]string{"proc", "devpts", "mqueue", "tmpfs"}, kind) {
			onDisk = append(onDisk, point)
		}
	}
	slices.Sort(onDisk)
	// The last two are kubelet's, a file each for this pod.
	if want := []string{"/var/lib/weir", "/etc/hosts", "/dev/termination-log"}; len(onDisk) != 3 || !slices.Contains(onDisk, want[0]) || !slices.Contains(onDisk, want[1]) || !slices.Contains(onDisk, want[2]) {
		t.Errorf("can write to %v, want %v", onDisk, want)
	}
	for _, ns := range []string{"net", "pid", "ipc", "mnt", "uts"} {
		own, err := os.Readlink(proc + "ns/" + ns)
		if err != nil {
			t.Fatal(err)
		}
		if node, err := os.Readlink("/proc/1/ns/" + ns); err != nil || node == own {
			t.Errorf("it is in the node's %s namespace (%v)", ns, err)
		}
	}
	// Kubelet makes the directory itself, for everyone to enter; what is in it
	// is root's alone.
	n := 0
	err = filepath.WalkDir("/var/lib/weir", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "/var/lib/weir" {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n++
		if owner := info.Sys().(*syscall.Stat_t).Uid; info.Mode().Perm()&0o077 != 0 || owner != 0 {
			t.Errorf("%s: %v, owner %d", path, info.Mode(), owner)
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Errorf("state on the node: %d files, %v", n, err)
	}
}

// Records carry what only the API server knows.
func TestMetadataFromTheAPI(t *testing.T) {
	agentReady(t)
	applyObject(t, object{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": object{"name": "named", "namespace": namespace},
		"spec": object{
			"selector": object{"matchLabels": object{"app": "named"}},
			"template": object{
				"metadata": object{"labels": object{"app": "named", "team": "payments"}},
				"spec":     podSpec("Always", nil, "-lines", "100", "-stay"),
			},
		},
	})
	t.Cleanup(func() { kubectl(t, "-n", namespace, "delete", "deployment", "named") })
	ended(t, "named", time.Minute)
	pod := kubectl(t, "-n", namespace, "get", "pods", "-l", "app=named", "-o", "jsonpath={.items[0].metadata.name}")
	accounted(t, pod)
	var found struct {
		Hits struct {
			Hits []struct {
				Index  string `json:"_index"`
				Source struct {
					Kubernetes struct {
						Host          string
						NamespaceName string `json:"namespace_name"`
						PodName       string `json:"pod_name"`
						ContainerName string `json:"container_name"`
						Workload      string
						Labels        map[string]string
					}
				} `json:"_source"`
			}
		}
	}
	stub.call(t, "GET", stub.URL+"/_search?size=1000", nil, &found)
	n := 0
	for _, h := range found.Hits.Hits {
		k := h.Source.Kubernetes
		if k.PodName != pod {
			continue
		}
		n++
		if k.Host != "node-1" || k.NamespaceName != namespace || k.ContainerName != "chatter" || k.Workload != "deployment/named" ||
			k.Labels["team"] != "payments" || !strings.HasPrefix(h.Index, "kubernetes-stories-") {
			t.Fatalf("%+v", h)
		}
	}
	if n != 100 {
		t.Errorf("%d documents of %s, want 100", n, pod)
	}
}
