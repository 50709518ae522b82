package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// onSmallDisk makes a file system of that size, and a gateway whose state is on it.
func onSmallDisk(t *testing.T, size string) *pushedGateway {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, "size="+size); err != nil {
		t.Skip("a file system cannot be mounted here: ", err)
	}
	t.Cleanup(func() { syscall.Unmount(state, syscall.MNT_DETACH) })
	return newPushed(t, state, "{disk: 256MiB, memory: 1MiB}", "")
}

func (g *pushedGateway) busy() (n int64) {
	for _, p := range g.senders {
		n += p.busy.Load()
	}
	return n
}

// refused waits until senders are told to come again.
func (g *pushedGateway) refused() {
	g.t.Helper()
	before := g.busy()
	eventually(g.t, "senders are told to come again", func() bool { return g.busy() > before+3 }, g.process.tail)
}

// come waits until everything that was acknowledged so far is at both destinations.
func (g *pushedGateway) come() {
	g.t.Helper()
	missing := ""
	eventually(g.t, "what was acknowledged is there", func() bool {
		missing = g.elastic.missing(g.senders) + g.lines.missing(g.senders)
		return missing == ""
	}, func() string { return missing + g.process.tail() })
}

// Failure 56: the disk of a gateway fills while senders push, and has room again,
// many times. Senders are told to come again, what is in the buffer is delivered
// with the disk full, and pushes go on by themselves. Every fifth time it is killed
// with the disk full.
func TestFailure56_GatewayDiskFull(t *testing.T) {
	g := onSmallDisk(t, "4m")
	g.start()
	g.push(5 * time.Millisecond)
	g.working(perPush)
	filler := filepath.Join(g.state, "filler")
	n := kills(t, 4)
	for i := range n {
		if i%2 == 1 {
			g.elastic.down.Store(true)
		}
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		_ = f.Close()
		g.refused()
		g.elastic.down.Store(false)
		g.come() // with the disk full
		if i%5 == 3 {
			g.signal(syscall.SIGKILL)
			g.start()
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		g.working(perPush)
	}
	g.settled()
	t.Logf("%d times full", n)
}

// Failure 55: the disk becomes read-only while senders push, and comes back.
func TestFailure55_GatewayDiskReadOnly(t *testing.T) {
	g := onSmallDisk(t, "64m")
	g.start()
	g.push(5 * time.Millisecond)
	g.working(perPush)
	n := kills(t, 3)
	done := 0
	for range n {
		// Files that are open for writing keep it writable: a process that has
		// none there, because it was killed, begins on a read-only disk.
		err := syscall.Mount("tmpfs", g.state, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=64m")
		if err != nil {
			g.signal(syscall.SIGKILL)
			if err = syscall.Mount("tmpfs", g.state, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=64m"); err != nil {
				t.Fatal(err)
			}
			g.start()
			select { // it may say so and end, or wait; it must acknowledge nothing that it cannot keep
			case <-g.done:
			case <-time.After(300 * time.Millisecond):
			}
		}
		done++
		if err := syscall.Mount("tmpfs", g.state, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
			t.Fatal(err)
		}
		if !g.alive() {
			g.start()
		}
		g.working(perPush)
	}
	g.settled()
	t.Logf("%d times read-only", done)
}

// startStraced starts the gateway with faults injected into system calls.
func (g *pushedGateway) startStraced(calls, inject string) (kill func()) {
	g.t.Helper()
	bin, err := exec.LookPath("strace")
	if err != nil {
		g.t.Skip("strace is not installed")
	}
	if err := exec.Command(bin, "-o", os.DevNull, "true").Run(); err != nil {
		g.t.Skip("strace may not trace here: ", err)
	}
	g.process = start(g.t, g.stderr, io.Discard, bin, "-f", "-qq", "-o", os.DevNull, "-e", "trace="+calls, "-e", "inject="+inject, weir(g.t), "gateway", "-c", g.config)
	return func() {
		kids, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", g.cmd.Process.Pid))
		var pid int
		if fmt.Sscan(string(kids), &pid); pid == 0 {
			g.t.Fatal("no child under strace")
		}
		syscall.Kill(pid, syscall.SIGKILL)
		g.wait()
	}
}

// Failure 55: syncs and writes of a gateway fail now and then while senders push.
// It is killed at the end of each life.
func TestFailure55_GatewayDiskErrors(t *testing.T) {
	g := newPushed(t, "", "{disk: 256MiB, memory: 1MiB}", "")
	g.start()
	g.push(5 * time.Millisecond)
	g.working(perPush)
	g.signal(syscall.SIGKILL)
	faults := [][2]string{
		{"fdatasync", "fdatasync:error=EIO:when=3+5"}, {"pwrite64", "pwrite64:error=EIO:when=9+7"}, {"fdatasync", "fdatasync:error=ENOSPC:when=2+3"},
		{"pwrite64", "pwrite64:error=ENOSPC:when=12+5"}, {"fsync", "fsync:error=EIO:when=6+3"}, {"pwrite64", "pwrite64:error=EROFS:when=15+4"},
	}
	n := kills(t, len(faults))
	for i := range n {
		f := faults[i%len(faults)]
		kill := g.startStraced(f[0], f[1])
		g.working(2 * perPush)
		kill()
	}
	g.start()
	g.working(perPush)
	g.settled()
	t.Logf("%d lives with faults", n)
}
