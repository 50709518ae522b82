package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	duration = flag.Duration("for", time.Minute, "how long the chatty pod of TestRotation writes; 10m is the acceptance")
	rate     = flag.Float64("rate", 5, "MB of lines per second of that pod")
)

// journals is where pods leave the journals of what they wrote, on the node and
// in the pods.
const journals = "/var/lib/e2e/journals"

const namespace = "stories"

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("WEIR_E2E_CLUSTER") != "1" {
		fmt.Println("the stories on a real Kubernetes node need root and containerd, and are skipped; sudo e2e/cluster/run runs them")
		os.Exit(0)
	}
	code := 1
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "prepare the node:", err)
	} else {
		code = m.Run()
	}
	stub.stop()
	os.Exit(code)
}

// prepare starts the backend and installs the agent as the documentation says.
// It can be done again on a node that stories have run on.
func prepare() error {
	if _, err := command(nil, "kubectl", "-n", "logging", "delete", "ds/weir-agent", "--ignore-not-found", "--cascade=foreground"); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll("/var/lib/weir"), os.RemoveAll(filepath.Dir(journals)), os.MkdirAll(journals, 0o755), os.MkdirAll(aside.journals, 0o755)); err != nil {
		return err
	}
	if err := stub.start(); err != nil {
		return err
	}
	manifests, err := command(nil, "weir", "manifests", "agent")
	if err != nil {
		return err
	}
	const namespaceObject = `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "` + namespace + `"}}`
	const secret = `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "weir-elasticsearch", "namespace": "logging"},
		"stringData": {"user": "weir", "password": "` + password + `"}}`
	for _, step := range []struct {
		stdin string
		args  []string
	}{
		{namespaceObject, []string{"apply", "--server-side", "-f", "-"}},
		{manifests, []string{"apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-"}},
		{secret, []string{"apply", "--server-side", "-f", "-"}},
		{"", []string{"-n", "logging", "set", "env", "ds/weir-agent", "ELASTICSEARCH_HOST=10.99.0.1"}},
		{"", []string{"-n", "logging", "rollout", "status", "ds/weir-agent", "--timeout=60s"}},
	} {
		if _, err := command([]byte(step.stdin), "kubectl", step.args...); err != nil {
			return err
		}
	}
	return nil
}

// command runs a program and returns its standard output.
func command(stdin []byte, name string, args ...string) (string, error) {
	var out, errOut bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(errOut.Bytes()))
	}
	return out.String(), nil
}

// kubectl runs kubectl, which must succeed.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := command(nil, "kubectl", args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// apply hands objects to the API server, as YAML or JSON.
func apply(t *testing.T, objects []byte) {
	t.Helper()
	if _, err := command(objects, "kubectl", "apply", "--server-side", "--validate=strict", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// get reads an object.
func get(t *testing.T, into any, args ...string) {
	t.Helper()
	out := kubectl(t, append(append([]string{"get"}, args...), "-o", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatal(err)
	}
}

// long skips a story with -test.short, which leaves what fits into 20 minutes.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("only without -test.short")
	}
}

// eventually polls until cond is true. why is asked when it never is.
func eventually(t *testing.T, limit time.Duration, what string, cond func() bool, why func() string) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	end := time.After(limit)
	for !cond() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within %v: %s\n%s", limit, what, why())
		}
	}
}
