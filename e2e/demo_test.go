package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// demoAccount is what `weir demo -o json` says it has written.
type demoAccount struct {
	Lines, Removed, Restarts, Rotations int
	Namespaces, Workloads               map[string]int
	Stories                             []struct {
		Name, Query string
		Lines       int
	}
}

// instant asks a running weir for numbers, by the named labels joined with slashes.
func instant(t *testing.T, address, query string, labels ...string) map[string]int {
	t.Helper()
	resp, err := http.Get("http://" + address + "/loki/api/v1/query?" + url.Values{"query": {query}}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]int)
	for _, r := range answer.Data.Result {
		var name []string
		for _, l := range labels {
			name = append(name, r.Metric[l])
		}
		n, err := strconv.Atoi(r.Value[1].(string))
		if err != nil {
			t.Fatal(err)
		}
		out[strings.Join(name, "/")] = n
	}
	return out
}

// A newcomer's first minutes: the demo's files are read while they are written,
// rotated, compressed and deleted, with a kill -9 in between. What can be found is
// what the demo says it wrote, to the line: in all, by namespace and workload, and
// for each of its stories.
func TestDemoIsFound(t *testing.T) {
	dir := t.TempDir()
	pods, state, address := filepath.Join(dir, "pods"), filepath.Join(dir, "state"), freePort(t)
	var out bytes.Buffer
	// In a past of a minute the pods of the deploy before are deleted and a
	// container is out of memory while it is live.
	demo := start(t, filepath.Join(dir, "demo.stderr"), &out, weir(t), "demo", pods, "--past", "1m", "--for", "20s", "--rate", "500", "--max-disk", "20MiB", "-o", "json")
	var past demoAccount
	eventually(t, "the demo has written its past", func() bool {
		text, err := os.ReadFile(filepath.Join(pods, ".weir-demo"))
		return err == nil && json.Unmarshal(text, &past) == nil && past.Lines > 0
	}, demo.tail)
	// Soon it deletes the oldest files of some containers, and pods. What is gone
	// before anybody looked nobody can find: it waits until the past is read.
	if err := demo.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	startUp := func(name string) *process {
		return start(t, filepath.Join(dir, name), nil, weir(t), "up", pods, "--state", state, "--listen", address)
	}
	rows := func() int {
		resp, err := http.Get("http://" + address + "/loki/api/v1/labels")
		if err != nil {
			return 0
		}
		_ = resp.Body.Close() // it is only to see whether the store answers
		if resp.StatusCode != http.StatusOK {
			return 0
		}
		return instant(t, address, `sum(count_over_time({input="kubernetes"}[1h]))`)[""]
	}
	up := startUp("up1.stderr")
	eventually(t, "weir up has read the past", func() bool { return rows() >= past.Lines }, up.tail)
	if err := demo.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "weir up follows", func() bool { return rows() >= past.Lines+200 }, up.tail)
	up.signal(syscall.SIGKILL)
	up = startUp("up2.stderr")
	if code := demo.wait(); code != 0 {
		t.Fatalf("demo ended with %d: %s", code, demo.tail())
	}
	var want demoAccount
	if err := json.Unmarshal(out.Bytes(), &want); err != nil {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	if want.Rotations < 10 || want.Restarts == 0 || want.Lines < 30_000 || want.Removed < 5_000 {
		t.Errorf("%+v: the story wants more to happen", want)
	}
	last := -1
	eventually(t, "everything is found", func() bool {
		last = rows()
		return last >= want.Lines
	}, func() string { return strconv.Itoa(last) + " of " + strconv.Itoa(want.Lines) + "\n" + up.tail() })
	if last != want.Lines {
		t.Errorf("%d lines found, %d written", last, want.Lines)
	}
	same := func(what string, got, want map[string]int) {
		t.Helper()
		for name, n := range want {
			if got[name] != n {
				t.Errorf("%s %s: %d lines found, %d written", what, name, got[name], n)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: found %v, written %v", what, got, want)
		}
	}
	same("namespace", instant(t, address, `sum by (namespace) (count_over_time({input="kubernetes"}[1h]))`, "namespace"), want.Namespaces)
	same("workload", instant(t, address, `sum by (namespace, workload) (count_over_time({input="kubernetes"}[1h]))`, "namespace", "workload"), want.Workloads)
	for _, s := range want.Stories {
		if n := instant(t, address, `sum(count_over_time(`+s.Query+`[1h]))`)[""]; n != s.Lines || n == 0 {
			t.Errorf("story %s: %d lines found, %d written", s.Name, n, s.Lines)
		}
	}
	if stdout, stderr, code := run(t, weir(t), "ledger", "--state", state, "--check"); code != 0 {
		t.Errorf("ledger: %d\n%s%s", code, stdout, stderr)
	}
	begun := time.Now()
	if code := up.signal(syscall.SIGINT); code != 130 {
		t.Errorf("up ended with %d after Ctrl-C: %s", code, up.tail())
	}
	t.Logf("%d lines, %d rotations, %d restarts; up took %v to end", want.Lines, want.Rotations, want.Restarts, time.Since(begun))
	if _, stderr, code := run(t, weir(t), "demo", "--remove", pods); code != 0 {
		t.Errorf("remove: %d %s", code, stderr)
	}
	if _, err := os.Stat(pods); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", pods, err)
	}
}
