package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// paging says that a pager has the terminal: Ctrl-C is for it as much as for
// us, and we must not end before it does (see run).
var paging atomic.Bool

// pager shows what is written to it page by page, with the program of
// WEIR_PAGER or PAGER, else less. The program is started by the first write: a
// command that fails or finds nothing needs none. While it pauses, writes
// block, and so whoever answers the command pauses too.
//
// Where the output is no terminal, or there is no pager, it writes to the
// output itself.
type pager struct {
	ctx     context.Context
	command string // for the shell; "" for no pager
	out     io.Writer
	errOut  io.Writer

	mu      sync.Mutex
	cmd     *exec.Cmd
	pipe    *os.File     // to the running program
	held    bytes.Buffer // for errOut, until the program has ended
	stop    func() bool
	signals chan os.Signal
}

// startPager returns the writer for a command's output. close must be called
// when everything is written, whatever came of it.
func startPager(ctx context.Context, out, errOut io.Writer, off bool) *pager {
	p := &pager{ctx: ctx, out: out, errOut: errOut}
	if !off && isTerminal(out) && os.Getenv("TERM") != "dumb" {
		p.command = pagerCommand(errOut)
	}
	return p
}

// pagerCommand returns the program that the environment names, "" for none. As
// with git, an empty name and cat mean none.
func pagerCommand(errOut io.Writer) string {
	for _, name := range []string{"WEIR_PAGER", "PAGER"} {
		value, set := os.LookupEnv(name)
		if !set {
			continue
		}
		value = strings.TrimSpace(value)
		words := strings.Fields(value)
		if value == "" || value == "cat" {
			return ""
		}
		if !strings.ContainsAny(value, "|&;<>()$`\\\"'*?[#~=%!{}\n") {
			if _, err := exec.LookPath(words[0]); err != nil {
				fmt.Fprintf(errOut, "weir: %s=%s: %v; printing without a pager\n", name, value, err)
				return ""
			}
		}
		return value
	}
	if _, err := exec.LookPath("less"); err != nil {
		return ""
	}
	return "less"
}

// Write gives bytes to the pager. Its error is syscall.EPIPE when the reader
// has seen enough, and that of the context when this was interrupted.
func (p *pager) Write(b []byte) (int, error) {
	if p.command == "" {
		return p.out.Write(b)
	}
	if err := p.start(); err != nil {
		return 0, err
	}
	if p.pipe == nil { // it did not start
		return p.out.Write(b)
	}
	n, err := p.pipe.Write(b)
	if err != nil && p.ctx.Err() != nil {
		err = p.ctx.Err()
	}
	return n, err
}

// start runs the program, once.
func (p *pager) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return nil
	}
	if err := p.ctx.Err(); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("pager: %w", err)
	}
	cmd := exec.Command("sh", "-c", p.command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r, p.out, p.errOut
	cmd.Env = os.Environ()
	// As git does: quit if it fits on one screen, pass colours, leave the screen
	// as it is. Who has set LESS knows what they want.
	if _, set := os.LookupEnv("LESS"); !set {
		cmd.Env = append(cmd.Env, "LESS=FRX")
	}
	if _, set := os.LookupEnv("LV"); !set {
		cmd.Env = append(cmd.Env, "LV=-c")
	}
	// Ctrl-C reaches the pager too, which goes on with what it has: the query
	// ends, the pager ends when its reader wants it to. This channel keeps
	// further ones from ending us before.
	p.signals = make(chan os.Signal, 1)
	signal.Notify(p.signals, os.Interrupt)
	paging.Store(true)
	err = cmd.Start()
	r.Close()
	if err != nil {
		w.Close()
		p.release()
		fmt.Fprintf(p.errOut, "weir: pager %s: %v; printing without it\n", p.command, err)
		p.command = ""
		return nil
	}
	p.cmd, p.pipe = cmd, w
	p.stop = context.AfterFunc(p.ctx, func() { w.Close() }) // a write that blocks ends
	return nil
}

func (p *pager) release() {
	paging.Store(false)
	signal.Stop(p.signals)
}

// Err returns where to write what is not output. While the pager has the
// terminal it is held back.
func (p *pager) Err() io.Writer { return heldWriter{p} }

type heldWriter struct{ p *pager }

func (h heldWriter) Write(b []byte) (int, error) {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	if h.p.cmd != nil {
		return h.p.held.Write(b)
	}
	return h.p.errOut.Write(b)
}

// close waits until the pager has ended and returns err, or what else went
// wrong.
func (p *pager) close(err error) error {
	p.mu.Lock()
	cmd := p.cmd
	p.mu.Unlock()
	if cmd == nil {
		return err
	}
	p.stop()
	p.pipe.Close()
	ended := cmd.Wait()
	p.release()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.command = nil, ""
	p.held.WriteTo(p.errOut)
	var exit *exec.ExitError
	if errors.As(ended, &exit) && (exit.ExitCode() == 126 || exit.ExitCode() == 127) && (err == nil || errors.Is(err, syscall.EPIPE)) {
		return fmt.Errorf("the pager did not run (%s); PAGER=cat or --no-pager prints without one", exit)
	}
	return err
}
