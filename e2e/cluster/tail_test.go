package cluster

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirlog/weir/e2e/internal/account"
	"github.com/weirlog/weir/e2e/internal/journal"
)

// tailed is the namespace of the pods that are read over the Kubernetes API. The
// agent ships their lines, too, so that their journals must stay; each story's
// pods have names that begin in a way of their own.
const tailed = "tailed"

// follower is a running weir tail.
type follower struct {
	cmd    *exec.Cmd
	prefix string // of the pods' names
	lines  *account.Account
	done   chan struct{} // everything it wrote has been read
	notes  lockedBuffer
	first  time.Duration // to the first line
	read   uint64
	readMu sync.Mutex
	other  []string // lines without a mark
	seqs   map[uint64]bool
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// tail starts weir tail over the API of the cluster, for pods whose names begin
// so.
func tail(t *testing.T, prefix string, args ...string) *follower {
	t.Helper()
	lines, err := account.New("")
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{cmd: exec.Command("weir", append([]string{"tail", "--kube", "-n", tailed, "-o", "raw", "--tail=-1"}, args...)...), prefix: prefix, lines: lines, seqs: make(map[uint64]bool), done: make(chan struct{})}
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	f.cmd.Stderr = &f.notes
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(f.done)
		f.take(out, began)
	}()
	t.Cleanup(func() { f.cmd.Process.Kill() })
	return f
}

// take notes the lines that come.
func (f *follower) take(out io.Reader, began time.Time) {
	r := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			f.readMu.Lock()
			if f.read++; f.read == 1 {
				f.first = time.Since(began)
			}
			if m, ok := journal.ParseLine(bytes.TrimSuffix(line, []byte("\n"))); ok {
				f.lines.Add(m, 0)
				f.seqs[m.Seq] = true
			} else if len(f.other) < 10 {
				f.other = append(f.other, string(line))
			}
			f.readMu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

func (f *follower) count() uint64 {
	f.readMu.Lock()
	defer f.readMu.Unlock()
	return f.read
}

// complete waits until as many lines have come as pods wrote, interrupts the
// command, and judges: every line came once, as it was written, but for those
// that kubelet has skipped, if skipped is not nil: it is asked how many they
// are, and at most one of a hundred is taken for it.
func (f *follower) complete(t *testing.T, skipped func(*testing.T) uint64) {
	t.Helper()
	enough := func() uint64 {
		n := f.wrote(t)
		if skipped != nil {
			n -= n / 100
		}
		return n
	}
	why := func() string { return fmt.Sprintf("%d lines of %d\n%s", f.count(), f.wrote(t), f.notes.String()) }
	eventually(t, time.Minute, "every line is shown", func() bool { return f.count() >= enough() }, why)
	time.Sleep(2 * time.Second) // for those that must not come
	if err := f.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	<-f.done
	var exit *exec.ExitError
	if err := f.cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 130 {
		t.Errorf("after Ctrl-C: %v, want exit code 130", err)
	}
	lost := uint64(0)
	if skipped != nil {
		lost = skipped(t)
	}
	judge(t, f.lines, f.prefix, lost)
	if len(f.other) > 0 {
		t.Errorf("lines that no pod wrote: %.300q", f.other)
	}
	usage := f.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	cpu := f.cmd.ProcessState.UserTime() + f.cmd.ProcessState.SystemTime()
	t.Logf("%d lines; the first after %v; %.2f CPU-s, which is %.1f per million lines; at most %d MiB of memory",
		f.read, f.first.Round(time.Millisecond), cpu.Seconds(), cpu.Seconds()*1e6/float64(f.read), usage.Maxrss>>10)
	t.Logf("it said:\n%s", f.notes.String())
}

// wrote is how many lines the pods have noted so far.
func (f *follower) wrote(t *testing.T) uint64 {
	lines, _ := written(t, strings.TrimSuffix(f.prefix, "-"))
	return lines
}

// judge compares lines with what the pods wrote whose names begin so; exactly as
// many as skipped must be missing.
func judge(t *testing.T, lines *account.Account, prefix string, skipped uint64) {
	t.Helper()
	all := filepath.Join(t.TempDir(), "journal")
	if err := merge(all, journals, prefix); err != nil {
		t.Fatal(err)
	}
	v, err := lines.Verify(all)
	if err != nil {
		t.Fatal(err)
	}
	total := v.Total
	if total.Missing == skipped {
		total.Missing = 0
	}
	if total.Bad() {
		t.Error(v.Err())
	}
	t.Logf("%d lives of containers: %d lines written, %d shown, missing %d, extra %d, different %d, doubled %d",
		len(v.Streams), v.Total.Written, v.Total.Delivered, v.Total.Missing, v.Total.Extra, v.Total.Different, v.Total.Doubled)
}

// freshNamespace makes the namespace, empty.
func freshNamespace(t *testing.T) {
	t.Helper()
	kubectl(t, "delete", "namespace", tailed, "--ignore-not-found", "--timeout=60s")
	applyObject(t, object{"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": tailed}})
	t.Cleanup(func() {
		if _, err := command(nil, "kubectl", "delete", "namespace", tailed, "--wait=false"); err != nil {
			t.Error(err)
		}
	})
}

// tailedObject applies an object of that namespace.
func tailedObject(t *testing.T, kind, version, name string, spec object) {
	t.Helper()
	applyObject(t, object{
		"apiVersion": version, "kind": kind,
		"metadata": object{"name": name, "namespace": tailed, "labels": object{"app": name}}, "spec": spec,
	})
}

// Pods of a Deployment, a Job and one that fails again and again are followed
// over the API, while a pod is replaced and the API server killed.
func TestTail(t *testing.T) {
	freshNamespace(t)
	f := tail(t, "mixed-", "^mixed-", "--max-log-requests", "20")
	tailedObject(t, "Deployment", "apps/v1", "mixed-web", object{
		"replicas": 3, "selector": object{"matchLabels": object{"app": "mixed-web"}},
		"template": object{"metadata": object{"labels": object{"app": "mixed-web"}}, "spec": podSpec("Always", nil, "-rate", "0.012", "-for", "60s", "-stay")},
	})
	tailedObject(t, "Job", "batch/v1", "mixed-job", object{"completions": 2, "parallelism": 1, "template": object{"spec": podSpec("Never", nil, "-rate", "0", "-lines", "1500")}})
	tailedObject(t, "Pod", "v1", "mixed-crash", podSpec("Always", nil, "-rate", "0", "-lines", "300", "-exit", "3"))
	kubectl(t, "-n", tailed, "rollout", "status", "deploy/mixed-web", "--timeout=60s")
	eventually(t, time.Minute, "the job's pods are shown", func() bool { return f.count() > 3000 }, f.notes.String)
	queryFinished(t)
	victim := kubectl(t, "-n", tailed, "get", "pod", "-l", "app=mixed-web", "-o", "jsonpath={.items[0].metadata.name}")
	kubectl(t, "-n", tailed, "delete", "pod", victim, "--timeout=60s")
	restartAPIServer(t, 5*time.Second)
	eventually(t, 2*time.Minute, "the failing container has lived four times", func() bool {
		files, _ := runs(t, "mixed-crash")
		return len(files) >= 4
	}, f.notes.String)
	kubectl(t, "-n", tailed, "delete", "pod", "mixed-crash", "--timeout=60s")
	eventually(t, 3*time.Minute, "the pods have written everything", func() bool {
		files, over := runs(t, "mixed-web")
		return over && len(files) == 4
	}, func() string { return kubectl(t, "-n", tailed, "describe", "pods") })
	f.complete(t, nil)
	for _, want := range []string{"does not answer, trying again", "answers again", victim, "exit code 3"} {
		if !strings.Contains(f.notes.String(), want) {
			t.Errorf("it did not say %q", want)
		}
	}
	if strings.Contains(f.notes.String(), "missing") {
		t.Error("it says that lines may be missing")
	}
}

// queryFinished asks for the lines of the Job, whose pods have ended.
func queryFinished(t *testing.T) {
	t.Helper()
	kubectl(t, "-n", tailed, "wait", "--for=condition=Complete", "job/mixed-job", "--timeout=60s")
	began := time.Now()
	out, err := command(nil, "weir", "query", "--kube", "-n", tailed, `{workload="job/mixed-job"}`, "--limit", "0", "-o", "raw")
	if err != nil {
		t.Fatal(err)
	}
	lines, err := account.New("")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if m, ok := journal.ParseLine([]byte(strings.TrimSuffix(line, "\n"))); ok {
			lines.Add(m, 0)
		}
	}
	t.Logf("weir query --kube: %d bytes in %v", len(out), time.Since(began).Round(time.Millisecond))
	judge(t, lines, "mixed-job-", 0)
}

// A pod is followed over the API while kubelet rotates its log. kubelet goes on
// with the new file as soon as it exists, which is some ms before the runtime
// leaves the old one, and never comes back for what was written there in
// between. Nothing else may be missing than such ends of files, and that
// kubelet rotates must have been told.
func TestTailRotation(t *testing.T) {
	long(t)
	freshNamespace(t)
	f := tail(t, "rotated-", "pod/rotated-chatty", "--order", "arrival")
	// The command ends at once where there is no such pod.
	<-f.done
	if err := f.cmd.Wait(); err == nil || !strings.Contains(f.notes.String(), "there is no pod/rotated-chatty in namespace tailed") {
		t.Errorf("a pod that is not there: %v %s", err, f.notes.String())
	}
	f = tail(t, "rotated-", "rotated-chatty")
	tailedObject(t, "Pod", "v1", "rotated-chatty", podSpec("Always", nil, "-rate", "2", "-for", "20s", "-stay"))
	eventually(t, time.Minute, "the pod writes", func() bool { return f.count() > 0 }, f.notes.String)
	var seen rotations
	eventually(t, time.Minute, "the pod has written everything", func() bool {
		if found, _ := filepath.Glob("/var/log/pods/" + tailed + "_rotated-chatty_*"); len(found) == 1 {
			seen.look(found[0])
		}
		_, over := runs(t, "rotated-chatty")
		return over
	}, f.notes.String)
	f.complete(t, f.skipped)
	if !strings.Contains(f.notes.String(), "kubelet rotated its log at") {
		t.Error("it did not say that kubelet rotates")
	}
	if len(seen.plain) < 3 {
		t.Errorf("kubelet hardly rotated: %v", seen.plain)
	}
}

// skipped counts the lines that were not shown and are the last ones of a
// rotated file. The rest of a line that began there is a line of nobody.
func (f *follower) skipped(t *testing.T) (n uint64) {
	t.Helper()
	files, err := filepath.Glob("/var/log/pods/" + tailed + "_" + f.prefix + "*/chatter/0.log.*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	// While a file is compressed there are two of it, or a part of one.
	for i, name := range files {
		files[i] = strings.TrimSuffix(strings.TrimSuffix(name, ".tmp"), ".gz")
	}
	slices.Sort(files)
	files = slices.Compact(files)
	parts := make(map[string][]byte) // of stdout and stderr, of a line that goes on
	begun := make(map[string]string) // the file in which it began
	for _, name := range files {
		var end uint64 // lines since the last one that was shown
		for line := range bytes.Lines(rotatedFile(t, name)) {
			p := bytes.SplitN(bytes.TrimSuffix(line, []byte("\n")), []byte(" "), 4)
			if len(p) < 4 {
				t.Fatalf("%s: %.100q", name, line)
			}
			stream := string(p[1])
			if len(parts[stream]) == 0 {
				begun[stream] = name
			}
			parts[stream] = append(parts[stream], p[3]...)
			if string(p[2]) == "P" {
				continue
			}
			m, ok := journal.ParseLine(parts[stream])
			switch parts[stream] = nil; {
			case !ok:
			case f.seqs[m.Seq]:
				end = 0
			case begun[stream] != name:
				t.Logf("%s: its last line was not shown, which goes on in %s", filepath.Base(begun[stream]), filepath.Base(name))
				n++
				f.other = f.other[:max(0, len(f.other)-1)]
			default:
				end++
			}
		}
		if end > 0 {
			t.Logf("%s: its last %d lines were not shown", filepath.Base(name), end)
		}
		n += end
	}
	return n
}

// rotatedFile is what is in a file that kubelet may have compressed since.
func rotatedFile(t *testing.T, name string) []byte {
	t.Helper()
	file, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) && !strings.HasSuffix(name, ".gz") {
		return rotatedFile(t, name+".gz") // just now
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var r io.Reader = file
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(file); err != nil {
			t.Fatal(err)
		}
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Somebody who may read one namespace only.
func TestTailRBAC(t *testing.T) {
	freshNamespace(t)
	tailedObject(t, "Pod", "v1", "allowed-pod", podSpec("Always", nil, "-rate", "0", "-lines", "50", "-stay"))
	kubectl(t, "-n", tailed, "wait", "--for=condition=Ready", "pod/allowed-pod", "--timeout=60s")
	kubectl(t, "-n", tailed, "create", "serviceaccount", "reader")
	kubectl(t, "-n", tailed, "create", "role", "reader", "--verb=get,list,watch", "--resource=pods,pods/log")
	kubectl(t, "-n", tailed, "create", "rolebinding", "reader", "--role=reader", "--serviceaccount="+tailed+":reader")
	admin, err := os.ReadFile(os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(config, admin, 0o600); err != nil {
		t.Fatal(err)
	}
	token := kubectl(t, "-n", tailed, "create", "token", "reader")
	kubectl(t, "--kubeconfig", config, "config", "set-credentials", "reader", "--token="+token)
	cluster := kubectl(t, "--kubeconfig", config, "config", "view", "-o", "jsonpath={.clusters[0].name}")
	kubectl(t, "--kubeconfig", config, "config", "set-context", "reader", "--cluster="+cluster, "--user=reader", "--namespace="+tailed)
	weir := func(args ...string) (out, errOut string, code int) {
		cmd := exec.Command("weir", append(args, "--kubeconfig", config, "--context", "reader")...)
		var o, e bytes.Buffer
		cmd.Stdout, cmd.Stderr = &o, &e
		_ = cmd.Run() // the code tells
		return o.String(), e.String(), cmd.ProcessState.ExitCode()
	}
	lines := func(out string) string { return strconv.Itoa(strings.Count(out, "\n")) }
	for _, c := range []struct {
		args  []string
		lines string
		said  string
		code  int
	}{
		{[]string{"query", `{pod="allowed-pod"}`, "-o", "raw"}, "50", "", 0},
		{[]string{"query", `{pod="allowed-pod"}`, "-o", "raw", "-A"}, "50", "only namespace tailed is read", 5},
		{[]string{"query", `{pod=~".+"}`, "-n", "logging"}, "0", "does not allow to list pods in namespace logging; see: kubectl auth can-i list pods -n logging", 4},
		{[]string{"tail", "allowed-pod", "--no-follow", "-o", "raw"}, "20", "", 0},
		{[]string{"tail", "allowed-pod", "--no-follow", "-n", "logging"}, "0", "does not allow to list pods in namespace logging", 4},
	} {
		out, errOut, code := weir(c.args...)
		if lines(out) != c.lines || code != c.code || !strings.Contains(errOut, c.said) {
			t.Errorf("weir %s: %s lines, code %d\n%s", strings.Join(c.args, " "), lines(out), code, errOut)
		}
	}
}

// restartAPIServer kills the API server and starts it again after a while, as
// the node did.
func restartAPIServer(t *testing.T, away time.Duration) {
	t.Helper()
	out, err := command(nil, "pgrep", "-x", "kube-apiserver")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	t.Logf("the API server is killed")
	time.Sleep(away)
	log, err := os.OpenFile(filepath.Join(dir, "log", "kube-apiserver.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("kube-apiserver", args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it stays when the stories end
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go cmd.Wait()
	eventually(t, time.Minute, "the API server is ready", func() bool {
		_, err := command(nil, "kubectl", "get", "--raw", "/readyz")
		return err == nil
	}, func() string { return "" })
	t.Logf("the API server is ready again")
}
