// Package measure starts a program on a processor of its own and tells what it
// costs: processor time of it and of all its children to the microsecond, and
// memory. Linux only.
package measure

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Pin restricts every thread of this process, and what it starts, to one
// processor.
func Pin(cpu int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := setAffinity(tid, cpu); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

func setAffinity(tid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(tid, &set); err != nil {
		return fmt.Errorf("pin to processor %d: %w", cpu, err)
	}
	return nil
}

// Spec says what to start.
type Spec struct {
	Args   []string
	Env    []string // all of it
	Dir    string
	CPU    int       // the processor it may use; below 0 all
	Stdout io.Writer // nil: /dev/null. *os.File is passed on as it is.
	Stderr io.Writer
}

// A Process is a running program with its children.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
	cpu  map[int]time.Duration // last seen, per process of the tree
	peak map[int]int64
}

// Start starts a program in a process group of its own. It sees its processor
// from its first instruction on, as a program in a container does.
func Start(s Spec) (*Process, error) {
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = s.Env, s.Dir, s.Stdout, s.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second // a child may keep the log open
	p := &Process{cmd: cmd, done: make(chan struct{}), cpu: make(map[int]time.Duration), peak: make(map[int]int64)}
	started := make(chan error)
	go func() {
		// The child inherits the affinity of the thread that starts it, and dies
		// with that thread (Pdeathsig), which therefore waits for it.
		runtime.LockOSThread() // ends with the goroutine: nobody else gets it
		var err error
		if s.CPU >= 0 {
			err = setAffinity(0, s.CPU)
		}
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Args[0], err)
	}
	return p, nil
}

// Pid is the program's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the program ended; only after Done.
func (p *Process) Err() error { return p.err }

// Usage is what a process tree has used.
type Usage struct {
	CPU  time.Duration // user and system
	RSS  int64         // bytes now; 0 after the end
	Peak int64         // largest so far, of what Usage has seen: rusage's is that of our own fork at least
	Read int64         // bytes read by system calls; of the program alone
}

// Usage returns what the tree has used. It is for one goroutine.
func (p *Process) Usage() Usage {
	var u Usage
	for _, pid := range tree(p.Pid(), nil) {
		if cpu, ok := clock(pid); ok {
			p.cpu[pid] = max(p.cpu[pid], cpu)
		}
		rss, peak := memory(pid)
		u.RSS += rss
		p.peak[pid] = max(p.peak[pid], peak)
	}
	for _, c := range p.cpu {
		u.CPU += c
	}
	for _, m := range p.peak {
		u.Peak += m
	}
	u.Read = readBytes(p.Pid())
	select {
	case <-p.done:
		st := p.cmd.ProcessState
		u.CPU = max(u.CPU, st.UserTime()+st.SystemTime())
	default:
	}
	return u
}

// ResetPeak makes the peak begin anew for the program, whose children are not
// asked: proc(5), clear_refs.
func (p *Process) ResetPeak() error {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.Pid()), []byte("5"), 0); err != nil {
		return fmt.Errorf("reset the peak of memory: %w", err)
	}
	clear(p.peak)
	return nil
}

// Kill kills the program and its children at once (SIGKILL) and waits.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.Pid(), syscall.SIGKILL) // it may have ended already
	<-p.done
}

// Stop asks the program to end (SIGTERM) and kills it after the patience. It
// reports whether it ended by itself.
func (p *Process) Stop(patience time.Duration) bool {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-p.done:
		_ = syscall.Kill(-p.Pid(), syscall.SIGKILL) // children that stayed
		return true
	case <-t.C:
		p.Kill()
		return false
	}
}

// tree appends pid and its descendants.
func tree(pid int, dst []int) []int {
	dst = append(dst, pid)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return dst
	}
	for _, t := range tasks {
		data, err := os.ReadFile(t)
		if err != nil {
			continue // the thread has ended
		}
		for _, f := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(f); err == nil {
				dst = tree(child, dst)
			}
		}
	}
	return dst
}

// clock reads a process's clock of processor time, all threads, ended ones
// too: clock_getcpuclockid(3).
func clock(pid int) (time.Duration, bool) {
	const cpuclockSched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|cpuclockSched, &ts); err != nil {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}

func memory(pid int) (rss, peak int64) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	return field(data, "VmRSS:") << 10, field(data, "VmHWM:") << 10
}

func readBytes(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0
	}
	return field(data, "rchar:")
}

func field(data []byte, name string) int64 {
	_, rest, ok := bytes.Cut(data, []byte(name))
	if !ok {
		return 0
	}
	f := strings.Fields(string(rest[:min(len(rest), 64)]))
	if len(f) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return 0
	}
	return n
}
