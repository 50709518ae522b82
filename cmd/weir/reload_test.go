package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirlog/weir/config"
)

// running is a process in this test, with a configuration file of its own.
type running struct {
	*process
	t    *testing.T
	dir  string
	ctx  context.Context
	stop context.CancelFunc
	done chan error
}

// start runs a process with the given configuration, in which DIR stands for a
// directory of the test.
func start(t *testing.T, text string) *running {
	t.Helper()
	return startWith(t, text, nil)
}

func startWith(t *testing.T, text string, read func(string) ([]byte, error)) *running {
	t.Helper()
	r := &running{t: t, dir: t.TempDir(), done: make(chan error, 1)}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.configure(text)
	r.process = &process{opts: config.Options{Files: []string{r.path("weir.yaml")}, ReadFile: read}}
	go func() { r.done <- r.run(r.ctx) }()
	t.Cleanup(func() {
		r.stop()
		select {
		case <-r.done:
		case <-time.After(time.Minute):
			t.Error("the process does not end")
		}
	})
	return r
}

func (r *running) path(name string) string { return filepath.Join(r.dir, name) }

func (r *running) configure(text string) {
	r.t.Helper()
	r.append("weir.yaml.new", strings.ReplaceAll(text, "DIR", r.dir))
	if err := os.Rename(r.path("weir.yaml.new"), r.path("weir.yaml")); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) append(name, text string) {
	r.t.Helper()
	f, err := os.OpenFile(r.path(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		r.t.Fatal(err)
	}
}

// has waits until a file of the directory holds the text.
func (r *running) has(name, text string) {
	r.t.Helper()
	r.until(name+" holds "+text, func() bool {
		data, _ := os.ReadFile(r.path(name)) // not there yet
		return bytes.Contains(data, []byte(text))
	})
}

func (r *running) until(what string, cond func() bool) {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	patience := time.After(time.Minute)
	for !cond() {
		select {
		case err := <-r.done:
			r.done <- err
			r.t.Fatalf("the process ended (%v) before: %s", err, what)
		case <-patience:
			r.t.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}

// reloads waits for the next reload to be through.
func (r *running) reloads(accepted, refused uint64) {
	r.t.Helper()
	r.until("the configuration is reloaded", func() bool {
		var s statusReport
		err := ask(r.ctx, r.path("state"), "/v1/status", &s)
		return err == nil && s.Config.Accepted == accepted && s.Config.Refused == refused && len(s.Retired) == 0
	})
}

const withStdout = `
state: DIR/state
log: {level: error}
inputs: {file: {paths: [DIR/in.log]}}
outputs:
  file: {path: DIR/out.raw, format: raw, batch: {wait: 1ms}}
  stdout: {format: raw}
`

// Taking stdout away is not its reader leaving: the agent goes on.
func TestReloadRemovesStdout(t *testing.T) {
	r := start(t, withStdout)
	r.append("in.log", "one\n")
	r.has("out.raw", "one\n")
	if r.level.Level() != slog.LevelError {
		t.Error("level", r.level.Level())
	}
	r.configure(strings.NewReplacer("stdout: {format: raw}", "", "level: error", "level: warn").Replace(withStdout))
	r.reloads(1, 0)
	if r.level.Level() != slog.LevelWarn {
		t.Error("level is not reloaded:", r.level.Level())
	}
	r.append("in.log", "two\n")
	r.has("out.raw", "one\ntwo\n")
}

// While a reload waits for an input's backlog, which a dead output holds,
// probes are answered; else they would have the agent killed.
func TestReloadDoesNotBlockProbes(t *testing.T) {
	const text = `
state: DIR/state
log: {level: error}
inputs: {file: {paths: [DIR/in.log]}}
outputs: {jsonl: {url: 'http://127.0.0.1:1/', batch: {wait: 1ms}}}
`
	r := start(t, text)
	r.append("in.log", "one\n")
	r.until("a record waits", func() bool {
		var s statusReport
		return ask(r.ctx, r.path("state"), "/v1/status", &s) == nil && len(s.Outputs) == 1 && s.Outputs[0].Waiting == 1
	})
	r.configure(strings.Replace(text, "in.log]", "in.log], max_line: 2KiB", 1))
	reloaded := make(chan struct{})
	go func() {
		defer close(reloaded)
		r.reloads(1, 0)
	}()
	h := r.probeHandler()
	worst := time.Duration(0)
	for done := false; !done; {
		select {
		case <-reloaded:
			done = true
		default:
			begin := time.Now()
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
			worst = max(worst, time.Since(begin))
			if w.Code != 200 {
				t.Error(w.Body.String())
			}
		}
		time.Sleep(5 * time.Millisecond) // a probe now and then, not a busy loop
	}
	// The stop of the input takes drainPatience; a probe must not wait for it.
	if worst > 3*time.Second {
		t.Errorf("a probe waited for %v", worst)
	}
}

// A refused configuration changes nothing, and what was made for it is given up.
func TestReloadRefusedChangesNothing(t *testing.T) {
	r := start(t, withStdout)
	r.append("in.log", "one\n")
	r.has("out.raw", "one\n")
	before := r.destinations
	r.configure(strings.Replace(withStdout, "state: DIR/state", "state: DIR/other", 1))
	r.until("it is refused", func() bool {
		var s statusReport
		return ask(r.ctx, r.path("state"), "/v1/status", &s) == nil && s.Config.Refused == 1
	})
	r.mu.Lock()
	for id, d := range before {
		if r.destinations[id] != d {
			t.Errorf("output %s is another", id)
		}
	}
	r.mu.Unlock()
	r.append("in.log", "two\n")
	r.has("out.raw", "one\ntwo\n")
}

// An output that is added owes nothing for what was read before it.
func TestReloadLedgerBalances(t *testing.T) {
	r := start(t, withStdout)
	r.append("in.log", "one\n")
	r.has("out.raw", "one\n")
	r.configure(strings.Replace(withStdout, "stdout: {format: raw}", "file/second: {path: DIR/second.raw, format: raw, batch: {wait: 1ms}}", 1))
	r.reloads(1, 0)
	r.append("in.log", "two\n")
	r.has("second.raw", "two\n")
	want := map[string][2]uint64{"file": {2, 2}, "stdout": {1, 1}, "file/second": {1, 1}}
	r.until("the ledger says so", func() bool {
		l := r.ledger()
		for _, o := range l.Total.Outputs {
			if want[o.Output] != [2]uint64{o.Read, o.Delivered} || o.Waiting != 0 {
				return false
			}
		}
		return len(l.Total.Outputs) == len(want)
	})
}

// Ready is who has looked at the files, not who was made.
func TestNotReadyBeforeTheFirstPass(t *testing.T) {
	r := start(t, withStdout)
	r.until("ready", func() bool {
		var s statusReport
		return ask(r.ctx, r.path("state"), "/v1/status", &s) == nil && r.notReady() == ""
	})
	in, err := r.newInput(r.cfg, r.cfg.Inputs[0])
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	old := r.inputs["file"]
	r.inputs["file"] = in
	r.mu.Unlock()
	if r.notReady() == "" {
		t.Error("ready with an input that never ran")
	}
	r.mu.Lock()
	r.inputs["file"] = old
	r.mu.Unlock()
}

// A SIGHUP that comes while the process starts is a reload, not its end.
func TestHangupDuringStart(t *testing.T) {
	first := true
	r := startWith(t, withStdout, func(path string) ([]byte, error) {
		if first {
			first = false
			if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
				t.Error(err)
			}
		}
		return os.ReadFile(path)
	})
	r.reloads(1, 0)
	r.append("in.log", "one\n")
	r.has("out.raw", "one\n")
}
