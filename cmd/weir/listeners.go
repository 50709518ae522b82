package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weirlog/weir/gateway"
)

// stopPatience is how long answers that are under way may take when the process
// stops.
const stopPatience = 5 * time.Second

// bodyPatience is how long a client may send nothing of a request's body.
const bodyPatience = 30 * time.Second

// listeners are the HTTP servers of a process.
type listeners struct {
	log     *slog.Logger
	base    context.Context
	servers []*http.Server
	wg      sync.WaitGroup
}

// start serves on ln, with TLS if secure is not nil.
func (l *listeners) start(s *http.Server, ln net.Listener, secure *tls.Config) {
	s.BaseContext = func(net.Listener) context.Context { return l.base }
	ln = gateway.PrepareHTTP(s, ln, secure, l.log, "listener", ln.Addr().String())
	l.servers = append(l.servers, s)
	l.wg.Go(func() {
		var err error
		if secure != nil {
			err = s.ServeTLS(ln, "", "")
		} else {
			err = s.Serve(ln)
		}
		if err != nil && !errors.Is(err, http.ErrServerClosed) {
			l.log.Error("listener failed", "address", ln.Addr().String(), "error", err)
		}
	})
}

// stop closes all listeners and waits for answers that are under way.
func (l *listeners) stop(patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.base), patience)
	defer cancel()
	var wg sync.WaitGroup
	for _, s := range l.servers {
		wg.Go(func() {
			if s.Shutdown(ctx) != nil {
				_ = s.Close() // those that are left had their time
			}
		})
	}
	wg.Wait()
	l.wg.Wait()
}

// serveHTTP opens listen.http.
func (p *process) serveHTTP(l *listeners) error {
	set := &p.cfg.Listen
	var secure *tls.Config
	if set.TLS.Cert != "" {
		var err error
		if secure, err = newServerTLS(&set.TLS, httpProtos, p.log); err != nil {
			return p.cfg.Problem("listen.tls", err.Error())
		}
	}
	ln, err := net.Listen("tcp", string(set.HTTP))
	if errors.Is(err, syscall.EADDRINUSE) && p.anyPort == string(set.HTTP) {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("listen.http: %s is in use: another program, perhaps another weir, listens there; %s", set.HTTP, p.otherAddress())
		}
		return fmt.Errorf("listen.http: %w", err)
	}
	if set.HTTP.Loopback() && !gateway.Loopback(ln.Addr()) {
		return errors.Join(fmt.Errorf("listen.http: %s is %s, which others may reach: say 127.0.0.1 or [::1]", set.HTTP, ln.Addr()), ln.Close())
	}
	p.address = "http://" + ln.Addr().String()
	if secure != nil {
		p.address = "https://" + ln.Addr().String()
	}
	p.log.Info("HTTP listener", "address", p.address)
	if !set.HTTP.Loopback() && !set.Authenticated() {
		p.log.Warn("listen.http is open to everybody who reaches it: anyone can read the logs and push some (listen.insecure)", "address", p.address)
	}
	ln = p.conns.Listen(ln)
	l.start(&http.Server{Handler: patientBodies(p.gated(p.httpHandler()))}, ln, secure)
	return nil
}

// otherAddress says how to choose another address.
func (p *process) otherAddress() string {
	if p.opts.Preset == "up" {
		return "say --listen 127.0.0.1:0 for any free port, or --listen off"
	}
	return "set listen.http to another address, or to off"
}

// httpHandler is what listen.http serves: health, metrics, and the API if there
// is a store.
func (p *process) httpHandler() http.Handler {
	mux := http.NewServeMux()
	probe := p.probeHandler()
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		mux.Handle("GET "+path, probe)
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "weir %s\n\n", version())
		if p.keep != nil {
			fmt.Fprint(w, "Queries as to Loki: /loki/api/v1/…; in Grafana this address is the URL of a Loki data source.\n")
		}
		fmt.Fprintf(w, "Pushes: %s.\n", strings.Join(gateway.HTTPProtocols(), ", "))
		fmt.Fprint(w, "Health: /healthz /readyz   Metrics: /metrics\n")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if p.push.public.Serves(r) {
			p.push.public.ServeHTTP(w, r)
			return
		}
		if p.api == nil {
			http.Error(w, "there is no store in this process: its configuration has no output of type store", http.StatusNotFound)
			return
		}
		p.api.public.ServeHTTP(w, r)
	})
	return mux
}

// patientBodies cuts clients that stop sending in the middle of a body. How slow
// a reader may be is the API's to say.
func patientBodies(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = &patientBody{ReadCloser: r.Body, c: http.NewResponseController(w)}
		}
		h.ServeHTTP(w, r)
	})
}

type patientBody struct {
	io.ReadCloser
	c *http.ResponseController
}

// Read is io.Reader.
func (b *patientBody) Read(p []byte) (int, error) {
	// A connection that takes no deadline is none of the network.
	_ = b.c.SetReadDeadline(time.Now().Add(bodyPatience))
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		// Later the server itself reads, to learn that the client has gone.
		_ = b.c.SetReadDeadline(time.Time{})
	}
	return n, err
}
