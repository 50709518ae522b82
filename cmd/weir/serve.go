package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/weirlog/weir/metrics"
)

// socketName is the socket of a running process in its state directory. Only
// the directory's owner can reach it.
const socketName = "weir.sock"

// serve opens the probe listener, if one is configured, and the admin socket,
// and returns a function that closes both.
func (p *process) serve(ctx context.Context) (stop func(), err error) {
	var servers []*http.Server
	var wg sync.WaitGroup
	start := func(ln net.Listener, h http.Handler) {
		s := &http.Server{
			Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
			WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 32 << 10,
			BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		}
		servers = append(servers, s)
		wg.Go(func() {
			if err := s.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
				p.log.Error("listener failed", "address", ln.Addr().String(), "error", err)
			}
		})
	}
	stop = func() {
		for _, s := range servers {
			_ = s.Close() // probes and status calls need no farewell
		}
		wg.Wait()
	}
	if a := string(p.cfg.Listen.Probe); a != "" {
		ln, err := net.Listen("tcp", a)
		if err != nil {
			return nil, fmt.Errorf("listen.probe: %w", err)
		}
		p.log.Info("probe listener", "address", ln.Addr().String())
		start(ln, p.probeHandler())
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
	start(ln, p.adminHandler())
	return stop, nil
}

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
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := p.notReady(); why != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, why)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", metrics.NewCollector(version(), p.snapshot).Handler())
	return mux
}

// notReady says why the process does not do its work yet, "" if it does: every
// input has looked at its files once.
func (p *process) notReady() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, in := range p.inputs {
		if !in.tail.Stats().Time.After(in.made) {
			return "input " + string(id) + " has not started reading"
		}
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
	return mux
}

// errNotRunning says that no process answers on the socket of a state
// directory.
var errNotRunning = errors.New("no running weir")

// ask gets a report from the process that owns the state directory.
func ask(ctx context.Context, state, path string, into any) error {
	sock := filepath.Join(state, socketName)
	client := &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", sock)
		}},
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://weir"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
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
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", sock, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
