package cluster

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const examples = "../../deploy/examples"

// example applies one of the examples in the default namespace, as a user does.
func example(t *testing.T, name string) {
	t.Helper()
	file := filepath.Join(examples, name+".yaml")
	kubectl(t, "apply", "--validate=strict", "-f", file)
	t.Cleanup(func() {
		begin := time.Now()
		args := []string{"delete", "-f", file, "--timeout=60s"}
		if name == "counter-busybox" {
			args = append(args, "--grace-period=1") // tail does not end when it is told to
		}
		kubectl(t, args...)
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("%s takes %v to end", name, took.Round(time.Second))
		}
	})
}

// logsOf waits until the logs of a container have so many lines, and returns them.
func logsOf(t *testing.T, least int, args ...string) (lines []string) {
	t.Helper()
	eventually(t, time.Minute, fmt.Sprint("lines of ", args), func() bool {
		out, _ := command(nil, "kubectl", append([]string{"logs"}, args...)...)
		lines = strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		return len(lines) >= least
	}, func() string {
		out, _ := command(nil, "kubectl", "describe", "pods")
		return out
	})
	return lines
}

// counted checks that lines are the counter's, from 0 on without a hole.
func counted(t *testing.T, lines []string, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	n := 0
	for _, line := range lines {
		m := re.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("line %q, want %s", line, pattern)
		}
		if m[1] != fmt.Sprint(n) {
			t.Fatalf("line %q, want number %d", line, n)
		}
		n++
	}
}

const (
	date    = `\w{3} \w{3} +\d+ \d\d:\d\d:\d\d UTC \d{4}`
	format1 = `^(\d+): ` + date + `$`
	format2 = `^` + date + ` INFO (\d+)$`
)

// The examples of the counter do what their README says.
func TestExamplesCounter(t *testing.T) {
	agentReady(t)
	for _, name := range []string{"counter-busybox", "counter"} {
		t.Run(name, func(t *testing.T) {
			example(t, name)
			counted(t, logsOf(t, 5, "counter", "count-log-1"), format1)
			counted(t, logsOf(t, 5, "counter", "count-log-2"), format2)
		})
	}
	t.Run("counter-native", func(t *testing.T) {
		example(t, "counter-native")
		var one, two []string
		for _, line := range logsOf(t, 10, "counter-native", "logs") {
			if rest, ok := strings.CutPrefix(line, "[1.log] "); ok {
				one = append(one, rest)
			} else if rest, ok := strings.CutPrefix(line, "[2.log] "); ok {
				two = append(two, rest)
			} else {
				t.Errorf("line %q has no file", line)
			}
		}
		counted(t, one, format1)
		counted(t, two, format2)
	})
	for name, job := range map[string]string{"counter-job": "counter", "counter-job-oldstyle": "counter-oldstyle"} {
		t.Run(name, func(t *testing.T) {
			example(t, name)
			kubectl(t, "wait", "--for=condition=Complete", "job/"+job, "--timeout=60s")
			lines := logsOf(t, 21, "job/"+job, "-c", "log")
			if last := lines[len(lines)-1]; len(lines) != 21 || last != "the last line" {
				t.Errorf("%d lines, the last one %q", len(lines), last)
			}
		})
	}
	t.Run("counter-agent", shippingExample)
	t.Run("counter-injected", func(t *testing.T) {
		installWebhook(t)
		example(t, "counter-injected")
		var one []string
		for _, line := range logsOf(t, 10, "counter-injected", "weir") {
			if rest, ok := strings.CutPrefix(line, "[1.log] "); ok {
				one = append(one, rest)
			}
		}
		counted(t, one, format1)
	})
	t.Run("counter-emptydir", emptyDirExample)
}

// The node's agent reads the annotated volume.
func emptyDirExample(t *testing.T) {
	deployAgent(t, "emptydir")
	t.Cleanup(func() { deployAgent(t, "fd") })
	example(t, "counter-emptydir")
	count := func() (n uint64) {
		var docs struct{ Count uint64 }
		stub.call(t, "GET", stub.URL+"/kubernetes-default-*/_count", nil, &docs)
		return docs.Count
	}
	before := count()
	eventually(t, time.Minute, "both files arrive", func() bool { return count() >= before+10 }, func() string {
		logs, _ := command(nil, "kubectl", "-n", "logging", "logs", "ds/weir-agent", "--tail=10")
		return logs
	})
	out, err := weir(t, "ledger")
	if err != nil || !strings.Contains(out, "counter-emptydir") {
		t.Errorf("weir ledger: %v\n%s", err, out)
	}
}

// The second classical form: each file has its parser, tag and destination.
func shippingExample(t *testing.T) {
	es := backend{addr: "127.0.0.1:9203", journals: aside.journals, open: true}
	if err := es.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(es.stop)
	kubectl(t, "create", "secret", "generic", "counter-elasticsearch", "--from-literal=url=http://10.99.0.1:9203")
	t.Cleanup(func() { kubectl(t, "delete", "secret", "counter-elasticsearch") })
	example(t, "counter-agent")
	count := func(index string) uint64 {
		var docs struct{ Count uint64 }
		es.call(t, "GET", es.URL+"/"+index+"-*/_count", nil, &docs)
		return docs.Count
	}
	eventually(t, time.Minute, "both files arrive", func() bool { return count("count-format1") >= 5 && count("count-format2") >= 5 }, func() string {
		out, _ := command(nil, "kubectl", "describe", "pod", "counter-agent")
		logs, _ := command(nil, "kubectl", "logs", "counter-agent", "-c", "logs")
		return out + logs
	})
	var found struct {
		Hits struct {
			Hits []struct {
				Index  string         `json:"_index"`
				Source map[string]any `json:"_source"`
			}
		}
	}
	es.call(t, "GET", es.URL+"/_search?size=100", nil, &found)
	for _, h := range found.Hits.Hits {
		k, _ := h.Source["kubernetes"].(map[string]any)
		labels, _ := k["labels"].(map[string]any)
		tag := "count.format1"
		if strings.HasPrefix(h.Index, "count-format2-") {
			tag = "count.format2"
			if h.Source["level"] != "info" {
				t.Errorf("level %v", h.Source)
			}
		}
		at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(h.Source["@timestamp"]))
		if h.Source["tag"] != tag || h.Source["count"] == nil || err != nil || !at.Equal(at.Truncate(time.Second)) ||
			k["pod_name"] != "counter-agent" || k["namespace_name"] != "default" || k["container_name"] != "count" || k["host"] != "node-1" || labels["app"] != "counter" {
			b, _ := json.Marshal(h)
			t.Fatalf("a document of %s: %s", tag, b)
		}
	}
	out := kubectl(t, "exec", "counter-agent", "-c", "logs", "--", "/weir", "status")
	if !strings.Contains(out, "healthy") {
		t.Errorf("weir status says:\n%s", out)
	}
	pid := sidecarProcess(t, "counter-agent")
	memory := anonymous(t, pid)
	t.Logf("%.1f MiB anonymous memory while idle", float64(memory)/(1<<20))
	if memory > 16<<20 {
		t.Error("that is more than 16 MiB")
	}
}
