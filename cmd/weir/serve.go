package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weirlog/weir/metrics"
)

// socketName is the socket of a running process in its state directory. Only
// the directory's owner can reach it.
const socketName = "weir.sock"

// serve opens the listeners that are configured and the admin socket, and
// returns a function that closes them. Until p.phase is empty they only say that
// the process is starting.
func (p *process) serve(ctx context.Context) (stop func(), err error) {
	l := &listeners{log: p.log, base: context.WithoutCancel(ctx)}
	if a := string(p.cfg.Listen.Probe); a != "" {
		ln, err := net.Listen("tcp", a)
		if err != nil {
			return nil, fmt.Errorf("listen.probe: %w", err)
		}
		p.log.Info("probe listener", "address", ln.Addr().String())
		l.start(&http.Server{
			Handler: p.gated(p.probeHandler()), ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		}, ln, nil)
	}
	if p.cfg.Listen.HTTP != "" {
		if err := p.serveHTTP(l); err != nil {
			l.stop(0)
			return nil, err
		}
	}
	stop = func() {
		var wg sync.WaitGroup
		if p.api != nil {
			wg.Go(func() { p.api.close(p.log) })
		}
		if p.push != nil {
			wg.Go(func() { p.push.close(p.log) })
		}
		l.stop(stopPatience)
		wg.Wait()
	}
	sock := filepath.Join(string(p.cfg.State), socketName)
	// The lock on the positions is ours, so a socket file is a dead one's.
	if err := os.Remove(sock); err != nil && !errors.Is(err, os.ErrNotExist) {
		stop()
		return nil, fmt.Errorf("remove the old admin socket: %w", err)
	}
	ln, err := net.Listen("unix", sock)
	if err != nil {
		// Too long a path, or a file system without sockets: logs matter more.
		p.log.Warn("no admin socket: 'weir status' cannot ask this process", "error", err)
		return stop, nil
	}
	if err := os.Chmod(sock, 0o600); err != nil {
		p.log.Warn("admin socket", "error", err)
	}
	l.start(&http.Server{Handler: p.gated(p.adminHandler())}, ln, nil)
	return stop, nil
}

// gated answers that the process is starting until it has started. It lives
// then, but is not ready.
func (p *process) gated(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		phase := p.phase.Load()
		if phase == nil {
			h.ServeHTTP(w, r)
			return
		}
		if r.URL.Path != "/healthz" {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintln(w, "starting:", *phase)
	})
}

// starting notes what the start is at.
func (p *process) starting(what string) { p.phase.Store(&what) }

// probeHandler answers what Kubernetes and Prometheus ask. It shows no log
// content and needs no credentials.
func (p *process) probeHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if problems := p.problems(); len(problems) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			for _, s := range problems {
				fmt.Fprintln(w, s)
			}
			return
		}
		fmt.Fprintln(w, "ok")
		for _, s := range p.degraded() {
			fmt.Fprintln(w, s)
		}
	})
	mux.HandleFunc("GET /readyz", p.serveReady)
	mux.Handle("GET /metrics", metrics.NewCollector(version(), p.snapshot).Handler())
	return mux
}

func (p *process) serveReady(w http.ResponseWriter, _ *http.Request) {
	if why := p.notReady(); why != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, why)
		return
	}
	fmt.Fprintln(w, "ok")
}

// notReady says why the process does not do its work, "" if it does: every input has
// looked at its files once, or listens, and no stop has begun.
func (p *process) notReady() string {
	if p.stopped.Load() != 0 {
		return "stopping"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, in := range p.inputs {
		if in.pushed != nil && len(in.pushed.Addrs()) == 0 {
			return "input " + string(id) + " does not listen yet"
		}
		if in.tail == nil {
			continue // it has no files
		}
		if !in.tail.Stats().Time.After(in.made) {
			return "input " + string(id) + " has not started reading"
		}
	}
	if list := p.degraded(); len(list) > 0 {
		return strings.Join(list, "; ")
	}
	return ""
}

func (p *process) adminHandler() http.Handler {
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			p.log.Debug("admin answer", "error", err)
		}
	}
	mux.HandleFunc("GET /v1/ledger", func(w http.ResponseWriter, _ *http.Request) { reply(w, p.ledger()) })
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { reply(w, p.status()) })
	mux.HandleFunc("GET /v1/tap", p.serveTap)
	mux.HandleFunc("GET /readyz", p.serveReady)
	mux.Handle("GET /metrics", metrics.NewCollector(version(), p.snapshot).Handler())
	p.adminStore(mux)
	return mux
}

// errNotRunning says that no process answers on the socket of a state
// directory.
var errNotRunning = errors.New("no running weir")

// adminClient returns a client that talks to the process that owns the state
// directory; whichever host a URL names.
func adminClient(state string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dialAdmin(ctx, state) },
		DisableCompression: true,
	}}
}

func dialAdmin(ctx context.Context, state string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", filepath.Join(state, socketName))
}

// ask gets a report from the process that owns the state directory.
func ask(ctx context.Context, state, path string, into any) error {
	client := adminClient(state)
	client.Timeout = 10 * time.Second
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://weir"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return adminError(state, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return answered(state, resp)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// adminError says what a failed request to the process of a state directory
// means.
func adminError(state string, err error) error {
	sock := filepath.Join(state, socketName)
	if errors.Is(err, os.ErrPermission) {
		return &exitError{exitUnreachable, fmt.Errorf("open %s: permission denied; run this as the user that runs weir", sock)}
	}
	for _, gone := range []error{os.ErrNotExist, syscall.ECONNREFUSED, syscall.EINVAL} { // the last: a path too long for a socket
		if errors.Is(err, gone) {
			return fmt.Errorf("%w on %s", errNotRunning, sock)
		}
	}
	// It runs but does not answer: figures as last saved would be a lie.
	return &exitError{exitUnreachable, fmt.Errorf("ask the running weir on %s: %w", sock, err)}
}

// answered makes an error of an answer that is none.
func answered(state string, resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil || len(text) == 0 {
		text = []byte(resp.Status)
	}
	return &exitError{exitUnreachable, fmt.Errorf("the running weir on %s answers: %s", filepath.Join(state, socketName), strings.TrimSpace(string(text)))}
}
