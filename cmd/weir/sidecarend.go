package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/ack"
)

// endPoll is how often it is looked whether a sidecar is to end.
const endPoll = 250 * time.Millisecond

// neverSeen is after what time an application of which no process was ever seen
// counts as ended: it was faster than its sidecar's start.
const neverSeen = 10 * time.Second

// awaitEnd returns what ends the sidecar, when it does.
func (p *process) awaitEnd(ctx context.Context) endedBy {
	s := p.cfg.Sidecar
	var processes *appProcesses
	if s.UntilExit != "" {
		processes = &appProcesses{root: "/proc", name: s.UntilExit, self: os.Getpid()}
		if processes.alone() {
			p.log.Warn("sidecar.until_exit: this container sees no processes but its own, so that it cannot see the application end; set shareProcessNamespace: true in the pod")
			processes = nil
		}
	}
	tick := time.NewTicker(endPoll)
	defer tick.Stop()
	seen := false
	for {
		select {
		case <-ctx.Done():
			return "SIGTERM"
		case <-p.ended:
			return "end of input"
		case <-tick.C:
		}
		if s.UntilFile != "" {
			if _, err := os.Stat(string(s.UntilFile)); err == nil {
				return endedBy("found " + string(s.UntilFile))
			}
		}
		if processes != nil {
			n, err := processes.count()
			if err != nil {
				p.log.Debug("look for the application's processes", "error", err)
				continue
			}
			seen = seen || n > 0
			if n == 0 && (seen || time.Since(p.started) > neverSeen) {
				return "application has ended"
			}
		}
	}
}

// appProcesses finds the application's processes in a pod whose containers share
// their process namespace.
// https://kubernetes.io/docs/tasks/configure-pod-container/share-process-namespace/
type appProcesses struct {
	root string // /proc
	name string // any, or of the program
	self int
}

// alone reports whether no other container can be seen: the first process is then
// this container's own, and not the pod's.
func (a *appProcesses) alone() bool { return a.self == 1 || a.comm("1") == "weir" }

func (a *appProcesses) comm(pid string) string {
	data, err := os.ReadFile(filepath.Join(a.root, pid, "comm"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// count returns how many processes of the application live. The pod's own (pause)
// and weir's are not.
func (a *appProcesses) count() (n int, err error) {
	dirs, err := os.ReadDir(a.root)
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == 1 || pid == a.self {
			continue
		}
		comm := a.comm(d.Name())
		if comm == "" || comm == "weir" || a.dead(d.Name()) {
			continue
		}
		if a.name != "any" && comm != a.name[:min(len(a.name), maxComm)] && a.program(d.Name()) != a.name {
			continue
		}
		n++
	}
	return n, nil
}

// maxComm is how much of a program's name comm has: TASK_COMM_LEN − 1, see proc(5).
const maxComm = 15

// dead reports whether the process has ended and nobody has asked how.
func (a *appProcesses) dead(pid string) bool {
	data, err := os.ReadFile(filepath.Join(a.root, pid, "stat"))
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	// The name in parentheses may hold any of this.
	rest := string(data[bytes.LastIndexByte(data, ')')+1:])
	return strings.HasPrefix(rest, " Z") || strings.HasPrefix(rest, " X")
}

// program returns the last part of what the process was started as.
func (a *appProcesses) program(pid string) string {
	data, err := os.ReadFile(filepath.Join(a.root, pid, "cmdline"))
	if err != nil {
		return ""
	}
	arg, _, _ := strings.Cut(string(data), "\x00")
	return filepath.Base(arg)
}

// finalWord is what a sidecar says of itself at the end, in the pod's status.
type finalWord struct {
	mu     sync.Mutex
	by     endedBy
	since  time.Time
	broken bool
	late   atomic.Bool // the deadline ended it
}

func (w *finalWord) begin(by endedBy) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.by, w.since = by, time.Now()
}

// maxMessage is how much of a termination message Kubernetes keeps.
// https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
const maxMessage = 4096

// write replaces the termination message. It is written again and again while the
// rest is delivered, so that it is there if the process is killed. Only a file that
// is there is written to: kubelet makes it.
func (w *finalWord) write(p *process, final bool) {
	path := string(p.cfg.Sidecar.Message)
	if path == "" {
		return
	}
	text := w.text(p, final)
	if final {
		p.log.Info("ended: " + text)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err == nil {
		_, err = f.WriteString(text[:min(len(text), maxMessage)])
		err = errors.Join(err, f.Close())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && !w.broken {
		w.broken = true
		p.log.Warn("no termination message", "error", err)
	}
}

// text says what became of the lines.
func (w *finalWord) text(p *process, final bool) string {
	w.mu.Lock()
	by, since := w.by, w.since
	w.mu.Unlock()
	t := p.balance()
	var b strings.Builder
	if !final {
		b.WriteString("still delivering: ")
	}
	unread := strconv.FormatInt(t.unread, 10)
	if !t.counted {
		unread = "at_least_" + unread
	}
	fmt.Fprintf(&b, "undelivered=%d (unread=%s waiting=%d) delivered=%d", t.unread+t.waiting, unread, t.waiting, t.delivered)
	if t.dropped > 0 {
		fmt.Fprintf(&b, " dropped=%d", t.dropped)
	}
	if t.dead > 0 {
		fmt.Fprintf(&b, " dead_letters=%d", t.dead)
	}
	if t.lostBytes > 0 {
		fmt.Fprintf(&b, " lost_bytes=%d", t.lostBytes)
	}
	if by != "" {
		fmt.Fprintf(&b, " ended_by=%q after=%s", string(by), time.Since(since).Round(10*time.Millisecond))
	}
	if w.late.Load() {
		fmt.Fprintf(&b, " deadline=%s", p.cfg.Limits.Stop)
	}
	if t.unread+t.waiting > 0 && t.lastError != "" {
		fmt.Fprintf(&b, " error=%s", strconv.Quote(t.lastError))
	}
	return b.String()
}

// balance is what became of a sidecar's lines. Where routes spread them over outputs
// it is the sum, where each goes to every output it is that of the one that has most
// left.
type balance struct {
	unread    int64 // lines that no output has seen
	counted   bool  // all of them could be counted
	waiting   int64 // records, one a line unless lines are joined
	delivered uint64
	dropped   uint64
	dead      uint64
	lostBytes int64
	lastError string
}

func (p *process) balance() balance {
	s := p.snapshot()
	t := balance{counted: true}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, in := range p.inputs {
		if in.tail == nil {
			continue
		}
		n, ok := in.tail.UnreadLines()
		t.unread += n
		t.counted = t.counted && ok
	}
	for i := range s.Inputs {
		for _, b := range s.Inputs[i].Bytes {
			t.lostBytes += b.Lost
		}
	}
	for i := range s.Outputs {
		o := &s.Outputs[i]
		var at balance
		at.waiting = max(o.Waiting, 0) // also on disk
		if d := p.destinationNamed(o.Name); d != nil {
			at.lastError = d.deliverer.Stats().LastError
		}
		for k, n := range o.Records {
			switch k[0] {
			case "delivered":
				at.delivered += n
			case "dropped":
				if k[1] != ack.DroppedRoute.Reason() { // it went elsewhere
					at.dropped += n
				}
			case "dead":
				at.dead += n
			}
		}
		if i > 0 && len(p.cfg.Routes) == 0 && at.waiting <= t.waiting {
			continue
		}
		if len(p.cfg.Routes) == 0 {
			t.waiting, t.delivered, t.dropped, t.dead = 0, 0, 0, 0
		}
		t.waiting += at.waiting
		t.delivered += at.delivered
		t.dropped += at.dropped
		t.dead += at.dead
		if t.lastError == "" || at.waiting > 0 {
			t.lastError = at.lastError
		}
	}
	return t
}

// destinationNamed returns an output of this configuration. p.mu is held.
func (p *process) destinationNamed(name string) *destination {
	for _, d := range p.destinations {
		if d.out.Name == name {
			return d
		}
	}
	return nil
}

// tellVolatile warns that a restart begins anew.
func (p *process) tellVolatile(log *slog.Logger) {
	if p.volatile {
		log.Warn("positions are kept in a directory that a restart of the container takes away: it reads everything again then; mount the files' volume writable, or name a directory with --state", "state", p.cfg.State)
	}
}
