package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// onDisk is the configuration of the stories with a buffer on disk.
func onDisk(n node, d *destination, buffer string) string {
	return strings.Replace(toElasticsearch(n, d, ""), "    timeout: 10s\n", "    timeout: 10s\n    buffer: "+buffer+"\n", 1)
}

// booked waits until the ledger has every line as delivered, each once.
func booked(t *testing.T, a *agent, lines uint64) {
	t.Helper()
	eventually(t, "the ledger balances, every line is delivered once", func() bool {
		m := a.metrics()
		ok, _ := balanced(m)
		return ok && m["weir_waiting_records"] == 0 && m["weir_input_unread_bytes_total"] == 0 && m["weir_delivered_records_total"] == float64(lines)
	}, func() string {
		m := a.metrics()
		_, text := balanced(m)
		return fmt.Sprintf("%d lines; %s; known again %.0f", lines, text, m["weir_buffer_known_records_total"])
	})
	m := a.metrics()
	t.Logf("fsyncs %.0f in %.1f s, read again and known %.0f, damaged %.0f", m["weir_buffer_fsyncs_total"], m["weir_buffer_fsync_seconds_total"],
		m["weir_buffer_known_records_total"], m["weir_buffer_damaged_records_total"])
}

// Failure 53, 64: kill -9 at random moments with a buffer on disk, also soon after
// a start, against a destination with faults. Every line arrives as it was
// written, and the ledger counts each once over all kills.
func TestFailure53_KillLoopDiskBuffer(t *testing.T) {
	n, s := newNodeDir(t), storySize()
	d := startSink(t, "esstub", "-faults", `{"p_item_429":0.02,"p_item_503":0.01,"p_reset_after":0.02,"p_reset_middle":0.01,"p_429":0.01,"latency":"uniform:0ms-20ms"}`)
	g := startGenerator(t, n, s.generator()...)
	a := startAgent(t, n, onDisk(n, d, "{disk: 256MiB}"))
	for i := range 2 * s.kills {
		if i%2 == 0 {
			before := d.state().Account.Distinct
			eventually(t, fmt.Sprintf("the agent catches up after start %d", i), func() bool {
				m := a.metrics()
				return m["weir_input_written_bytes_total"] > 0 && m["weir_input_unread_bytes_total"] < 1e6 && d.state().Account.Distinct > before
			}, a.tail)
			randomly(1500 * time.Millisecond)
		} else {
			randomly(150 * time.Millisecond)
		}
		a.kill9()
		randomly(100 * time.Millisecond)
		a.start()
	}
	lines := g.finish(true)
	delivered(t, d, a, n.journal, lines)
	d.clean(n.journal)
	booked(t, a, lines)
	a.term()
}

// Failure 75, 53: the backend is dead for longer than the rotator keeps files, and
// the agent is killed meanwhile: what was read is on the disk, and nothing else
// holds it.
func TestFailure75_DiskBufferOutlivesRotation(t *testing.T) {
	n, s := newNodeDir(t), storySize().quick()
	d := startSink(t, "esstub")
	a := startAgent(t, n, onDisk(n, d, "{disk: 512MiB, memory: 1MiB}"))
	a.ready()
	g := startGenerator(t, n, s.generator()...)
	kills := 0
	outage(t, n, d, 2*s.outage, func() {
		m := a.metrics()
		if kills < 2 && m["weir_buffer_records"] > float64(300*(kills+1)) && m["weir_input_unread_bytes_total"] < 8e5 {
			kills++
			a.kill9()
			a.start()
			a.ready()
		}
	})
	lines := g.finish(true)
	delivered(t, d, a, n.journal, lines)
	d.clean(n.journal)
	booked(t, a, lines)
	if kills == 0 {
		t.Error("it was never killed")
	}
	a.term()
}

// Failure 96: SIGTERM with the backend down ends soon and keeps the backlog, which
// the next process delivers although the files are gone.
func TestFailure96_TermWithBackendDownDiskBuffer(t *testing.T) {
	n := newNodeDir(t)
	d := startSink(t, "esstub")
	d.faults(`{"down":true}`)
	g := startGenerator(t, n, "-rate", "1", "-for", "1s")
	a := startAgent(t, n, onDisk(n, d, "{disk: 64MiB}"))
	lines := g.finish(false)
	eventually(t, "everything is in the buffer", func() bool {
		m := a.metrics()
		return m["weir_buffer_records"] == float64(lines) && m["weir_input_unread_bytes_total"] == 0
	}, a.tail)
	begin := time.Now()
	a.term()
	t.Logf("ended after %s", time.Since(begin))
	if err := os.RemoveAll(n.root); err != nil {
		t.Fatal(err)
	}
	out, _, code := run(t, a.bin, "ledger", "--state", n.state)
	if code != 0 || !strings.Contains(out, "buffer → elasticsearch/main") {
		t.Errorf("ledger of the ended process: %d\n%s", code, out)
	}
	d.faults(`{"down":false}`)
	a.start()
	eventually(t, "everything arrives", func() bool { return d.state().Account.Distinct == lines }, a.tail)
	d.clean(n.journal)
	a.term()
}

// straced starts the agent under strace with faults injected into system calls.
func (a *agent) straced(inject string) {
	a.t.Helper()
	bin, err := exec.LookPath("strace")
	if err != nil {
		a.t.Skip("strace is not installed")
	}
	if err := exec.Command(bin, "-o", os.DevNull, "true").Run(); err != nil {
		a.t.Skip("strace may not trace here: ", err)
	}
	a.process = start(a.t, a.stderr, io.Discard, bin, "-f", "-qq", "-o", os.DevNull, "-e", "trace=fsync,fdatasync", "-e", "inject="+inject, a.bin, "agent", "-c", a.config)
}

// Failure 55: syncs of the real binary fail now and then, and work the next time.
// It is killed at the end of each life. Nothing is lost.
func TestFailure55_SyncFailsRealBinary(t *testing.T) {
	n := newNodeDir(t)
	d := startSink(t, "esstub")
	g := startGenerator(t, n, "-rate", "1", "-for", "8s", "-max-size", "50000000")
	a := newAgent(t, n, onDisk(n, d, "{disk: 64MiB}"))
	for i, inject := range []string{"fdatasync:error=EIO:when=2+3", "fdatasync:error=EIO:when=5+2", "fsync:error=EIO:when=4+3"} {
		a.straced(inject)
		a.ready()
		before := d.state().Account.Distinct
		eventually(t, fmt.Sprintf("life %d delivers although syncs fail", i), func() bool {
			return d.state().Account.Distinct > before+500 && (i == 2 || a.metrics()["weir_buffer_errors_total"] > 1)
		}, a.tail)
		t.Logf("%s: %.0f failed writes, %.0f poisoned segments", inject, a.metrics()["weir_buffer_errors_total"], a.metrics()["weir_buffer_poisoned_segments_total"])
		// The child of strace, not strace.
		kids, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", a.cmd.Process.Pid))
		var pid int
		fmt.Sscan(string(kids), &pid)
		if pid == 0 {
			t.Fatal("no child under strace")
		}
		syscall.Kill(pid, syscall.SIGKILL)
		a.wait()
	}
	a.start()
	lines := g.finish(false)
	delivered(t, d, a, n.journal, lines)
	d.clean(n.journal)
	booked(t, a, lines)
	a.term()
}

// Failure 56: the state directory is on a file system that gets full while the
// backend is down, positions and all. The agent lives and says so; when the
// backend is back everything is delivered, without a restart.
func TestFailure56_DiskFullRealBinary(t *testing.T) {
	n := newNodeDir(t)
	if err := os.Mkdir(n.state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", n.state, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("a file system cannot be mounted here: ", err)
	}
	t.Cleanup(func() { syscall.Unmount(n.state, syscall.MNT_DETACH) })
	d := startSink(t, "esstub")
	d.faults(`{"down":true}`)
	g := startGenerator(t, n, "-rate", "5", "-for", "4s", "-max-size", "100000000")
	a := startAgent(t, n, onDisk(n, d, "{disk: 1GiB}"))
	a.ready()
	eventually(t, "the disk is full", func() bool { return a.metrics()["weir_buffer_failing"] == 1 }, a.tail)
	lines := g.finish(false)
	for range 5 { // ENOSPC again and again
		before := a.metrics()["weir_buffer_errors_total"]
		eventually(t, "it tries again", func() bool { return a.metrics()["weir_buffer_errors_total"] > before }, a.tail)
	}
	out, _, _ := run(t, a.bin, "status", "--state", n.state)
	if !strings.Contains(out, "CANNOT BE WRITTEN") || !strings.Contains(out, "no space left on device") {
		t.Errorf("status does not say that the disk is full:\n%s", out)
	}
	d.faults(`{"down":false}`)
	delivered(t, d, a, n.journal, lines)
	d.clean(n.journal)
	booked(t, a, lines)
	if m := a.metrics(); m["weir_buffer_failing"] != 0 || m["weir_buffer_full"] != 0 {
		t.Errorf("failing %v, full %v after all is delivered", m["weir_buffer_failing"], m["weir_buffer_full"])
	}
	a.term()
	left, _ := filepath.Glob(filepath.Join(n.state, "buffer", "*", "*.bad"))
	if len(left) > 0 {
		t.Errorf("segments were put aside: %v", left)
	}
}

// An output that is removed, or changed, by a reload: the backlog of the former is
// delivered, and what is left is kept and reported; the latter goes on with the
// same log.
func TestReloadKeepsDiskBuffer(t *testing.T) {
	n := newNodeDir(t)
	dead, d := startSink(t, "esstub"), startSink(t, "esstub")
	dead.faults(`{"down":true}`)
	g := startGenerator(t, n, "-rate", "1", "-for", "1s")
	config := onDisk(n, dead, "{disk: 64MiB}")
	a := startAgent(t, n, config)
	lines := g.finish(false)
	eventually(t, "everything is in the buffer", func() bool { return a.metrics()["weir_buffer_records"] == float64(lines) }, a.tail)
	write := func(from, to string) {
		t.Helper()
		b, err := os.ReadFile(a.config)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), from) {
			t.Fatalf("no %q in %s", from, b)
		}
		before := a.metrics()["weir_config_reloads_total"]
		if err := os.WriteFile(a.config, []byte(strings.ReplaceAll(string(b), from, to)), 0o644); err != nil {
			t.Fatal(err)
		}
		a.cmd.Process.Signal(syscall.SIGHUP)
		eventually(t, "the reload", func() bool { return a.metrics()["weir_config_reloads_total"] > before }, a.tail)
	}
	// Another name: the old output is gone, and the new one has nothing.
	write("elasticsearch/main", "elasticsearch/other")
	out, _, _ := run(t, a.bin, "status", "--state", n.state)
	if !strings.Contains(out, "removed output, draining: elasticsearch/main") {
		t.Errorf("status after the removal:\n%s", out)
	}
	a.term()
	a.start()
	a.ready()
	out, _, _ = run(t, a.bin, "status", "--state", n.state)
	if !strings.Contains(out, "LEFT OVER") || !strings.Contains(out, fmt.Sprint(lines, " records")) {
		t.Errorf("status after the restart:\n%s", out)
	}
	// Back again, then to a place that works, with a smaller buffer.
	write("elasticsearch/other", "elasticsearch/main")
	eventually(t, "the backlog is there", func() bool { return a.metrics()["weir_buffer_records"] >= float64(lines) }, a.tail)
	write("disk: 64MiB", "disk: 32MiB, memory: 2MiB")
	write(dead.URL, d.URL)
	eventually(t, "everything arrives", func() bool { return d.state().Account.Distinct == lines }, a.tail)
	d.clean(n.journal)
	a.term()
}
