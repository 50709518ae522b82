package main

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// weirProcess prepares a process of its own: TestMain makes the test's binary
// weir when it is called so.
func weirProcess(t *testing.T, home string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(home, "weir")
	if err := os.Symlink(self, path); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + home, "WEIR_STATE=" + filepath.Join(home, "state")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// seeded returns a directory with a file of lines, and with its store.
func seeded(t *testing.T) string {
	home := t.TempDir()
	var lines bytes.Buffer
	for range 5000 {
		lines.WriteString("level=info msg=\"a line of a log that is long enough to fill a pipe\" n=1\n")
	}
	if err := os.WriteFile(filepath.Join(home, "many.log"), lines.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := weirProcess(t, home, "up", "--no-follow", "--label", "app=web", "-o", "raw", "many.log").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%.2000s", err, out)
	}
	return home
}

// TestReaderGone: a command whose reader has left says nothing, is no failure,
// and ends.
func TestReaderGone(t *testing.T) {
	t.Parallel()
	home := seeded(t)
	for _, args := range [][]string{
		{"query", `{app="web"}`, "--limit", "0"},
		{"query", `{app="web"}`, "--limit", "0", "-o", "raw"},
		{"query", `{app="web"}`, "-o", "json"},
		{"query", `{app="web"}`, "-o", "csv"},
		{"query", `{app="web"}`, "-o", "template={{.Message}}"},
		{"query", `count_over_time({app="web"}[1h])`},
		{"labels"}, {"labels", "app"}, {"labels", "-o", "json"},
		{"series"}, {"volume"}, {"hits"}, {"hits", "-o", "csv"},
		{"context", `{app="web"}`},
		{"export", "--to", "-"},
		{"export", "--to", "-", "-o", "csv"},
		{"up", "--no-store", "many.log"},
		{"up", "--no-store", "--no-follow", "many.log"},
		{"up", "--state", "other", "--listen", "off", "many.log"},
		{"tail", "--no-follow", "--tail", "-1"}, {"tail", "-o", "raw", "./many.log"},
		{"ledger"}, {"store", "check"},
		{"config", "show"}, {"config", "show", "--role", "agent", "--origins"},
		{"manifests", "agent"}, {"man"}, {"completion", "bash"}, {"completion", "powershell"},
		{"help"}, {"help", "query"}, {"--help"}, {"query", "--help"}, {}, {"version"}, {"--version"},
		{"__complete", "query", "--"}, {"__complete_line", "bash", "weir "},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
			cmd := weirProcess(t, home, args...)
			var errOut bytes.Buffer
			cmd.Stdout, cmd.Stderr = w, &errOut
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			if code := wait(t, cmd); code != exitOK {
				t.Errorf("exit %d", code)
			}
			if noise(errOut.String()) {
				t.Errorf("stderr: %s", errOut.String())
			}
		})
	}
}

// noise is what nobody wants to read who left, or pressed Ctrl-C.
func noise(s string) bool {
	for _, word := range []string{"weir: ", "level=ERROR", "level=WARN", "broken pipe", "panic", "Usage:"} {
		if strings.Contains(s, word) {
			return true
		}
	}
	return false
}

func wait(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	stuck := time.AfterFunc(scriptPatience, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) })
	err := cmd.Wait()
	if !stuck.Stop() {
		t.Errorf("did not end")
	}
	// Nothing that it started is left, either.
	if err := syscall.Kill(-cmd.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("its processes: %v", err)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		t.Error(err)
	}
	return 0
}

// TestInterrupted: Ctrl-C ends everything that takes long, with 130 and without
// a word about it.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	home := seeded(t)
	asked := make(chan struct{}, 100)
	never := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-never:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() {
		close(never)
		server.CloseClientConnections()
		server.Close()
	})
	if err := os.WriteFile(filepath.Join(home, "live.yaml"), []byte("inputs: {file: {paths: [many.log]}}\nstate: fourth\noutputs:\n  loki: {url: '"+server.URL+"'}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		wait string // for this on stdout or stderr; "" for a request at the server
	}{
		{"query {app=\"web\"} --server URL", ""},
		{"query rate({app=\"web\"}[5m]) --server URL", ""},
		{"labels --server URL", ""},
		{"series --server URL", ""},
		{"volume --server URL", ""},
		{"hits {app=\"web\"} --server URL", ""},
		{"context {app=\"web\"} --server URL", ""},
		{"export {app=\"web\"} --since 1h --server URL --to -", ""},
		{"check --live live.yaml", ""},
		{"up --no-store -o raw many.log", "level=info"},
		{"up --state other --listen off -o raw many.log", "level=info"},
		{"store --set state=third --set listen.http=127.0.0.1:0", "started"},
		{"demo demo-dir", "weir up"},
	} {
		t.Run(c.args, func(t *testing.T) {
			cmd := weirProcess(t, home, strings.Fields(strings.ReplaceAll(c.args, "URL", server.URL))...)
			seen := &waitWriter{want: c.wait, found: make(chan struct{})}
			cmd.Stdout, cmd.Stderr = seen, seen
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			patience := time.NewTimer(scriptPatience)
			defer patience.Stop()
			request := asked
			if c.wait != "" {
				request = nil
			}
			select {
			case <-request:
			case <-seen.found:
			case <-patience.C:
				t.Error("it did not begin")
			}
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			if code := wait(t, cmd); code != exitInterrupted {
				t.Errorf("exit %d", code)
			}
			if text := seen.b.String(); noise(text) {
				t.Errorf("it said:\n%.2000s", text)
			}
			for len(asked) > 0 {
				<-asked
			}
		})
	}
}

// waitWriter tells when a text has been written to it.
type waitWriter struct {
	want  string
	found chan struct{}
	done  bool
	b     bytes.Buffer
}

func (w *waitWriter) Write(p []byte) (int, error) {
	if w.b.Len() < 1<<20 {
		w.b.Write(p)
	}
	if !w.done && w.want != "" && strings.Contains(w.b.String(), w.want) {
		w.done = true
		close(w.found)
	}
	return len(p), nil
}

// TestUnreachable: whoever is not there is named, with exit 4.
func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	l.Close()
	t.Setenv("HOME", t.TempDir())
	for _, args := range []string{"query {app=\"web\"}", "labels", "series", "volume", "hits {app=\"web\"}", "context {app=\"web\"}", "export {app=\"web\"} --since 1h --to -"} {
		code, out, errOut := runWeir(append(strings.Fields(args), "--server", url)...)
		if code != exitUnreachable || out != "" || !strings.Contains(errOut, url) {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", args, code, out, errOut)
		}
	}
}

// TestCompletionWaitsNoLonger: a server that does not answer costs a moment, and
// what it answered before is used.
func TestCompletionWaitsNoLonger(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	slow := make(chan struct{})
	hang := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case hang <- struct{}{}: // the first is answered
			_, _ = w.Write([]byte(`{"status":"success","data":["shop","pay"]}`))
		default:
			select {
			case <-slow:
			case <-r.Context().Done():
			}
		}
	}))
	t.Cleanup(func() {
		close(slow)
		server.CloseClientConnections()
		server.Close()
	})
	ask := func() (string, time.Duration) {
		cmd := weirProcess(t, home, "__complete", "query", "--server", server.URL, "-n", "")
		begin := time.Now()
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out), time.Since(begin)
	}
	first, _ := ask()
	if !strings.HasPrefix(first, "pay\nshop\n") {
		t.Fatalf("answered %q", first)
	}
	// As if it had been a while ago.
	files, err := filepath.Glob(filepath.Join(home, ".cache/weir/complete/*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	then := time.Now().Add(-time.Minute)
	if err := os.Chtimes(files[0], then, then); err != nil {
		t.Fatal(err)
	}
	second, took := ask()
	if second != first {
		t.Errorf("later %q", second)
	}
	if took > 20*time.Second { // of a loaded machine
		t.Errorf("waited %v", took)
	}
}
