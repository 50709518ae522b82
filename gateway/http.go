package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weirlog/weir/wire"
)

// HTTP answers the requests of the HTTP protocols. It is an http.Handler; make it
// with NewHTTP.
type HTTP struct {
	cfg      Config
	mux      *http.ServeMux
	handler  http.Handler
	shared   bool // several protocols share the paths
	stats    statistics
	restream restreamer
	streams  map[string]*wire.StreamCache // by protocol: their keys are not alike

	// base ends with Close.
	base   context.Context
	cancel context.CancelFunc
	mu     sync.Mutex // guards closed; open.Add only under it
	closed bool
	open   sync.WaitGroup
	bodies openBodies
}

// NewHTTP returns a handler for the protocols with these names (those of
// inputs); none means all there are, each below a path that no other has.
func NewHTTP(cfg Config, protocols ...string) (*HTTP, error) {
	h := newHTTP(cfg)
	h.shared = len(protocols) != 1
	if len(protocols) == 0 {
		protocols = HTTPProtocols()
	}
	if err := h.register(protocols); err != nil {
		return nil, err
	}
	return h, nil
}

func newHTTP(cfg Config) *HTTP {
	h := &HTTP{cfg: cfg.withDefaults(), mux: http.NewServeMux(), streams: make(map[string]*wire.StreamCache)}
	h.base, h.cancel = context.WithCancel(context.Background())
	h.handler = h.outer(h.mux)
	return h
}

// ServeHTTP implements http.Handler.
func (h *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.handler.ServeHTTP(w, r) }

// Serves reports whether there is an endpoint for the request, whatever its
// method.
func (h *HTTP) Serves(r *http.Request) bool {
	_, pattern := h.mux.Handler(r)
	return pattern != ""
}

// Stats returns the numbers of now, by protocol.
func (h *HTTP) Stats() []Stats { return h.stats.all() }

// Close refuses new pushes and waits for those under way until ctx ends, then
// cancels them.
func (h *HTTP) Close(ctx context.Context) error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.bodies.hurry() // the server may go on for others
	defer h.cancel()
	done := make(chan struct{})
	go func() { h.open.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	h.cancel()
	<-done
	return ctx.Err()
}

func (h *HTTP) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.open.Add(1)
	return true
}

// cache returns the streams of a protocol.
func (h *HTTP) cache(protocol string) *wire.StreamCache {
	if h.streams[protocol] == nil {
		h.streams[protocol] = new(wire.StreamCache)
	}
	return h.streams[protocol]
}

// push is one request with logs on its way.
type push struct {
	*http.Request
	intake
	h *HTTP
	w http.ResponseWriter

	unpacked int64 // bytes of a journal, so far
}

// fail answers with an error, in a protocol's own form. Retry-After is set
// already.
type fail func(w http.ResponseWriter, r *http.Request, status int, msg string, after time.Duration)

// endpoint is what a protocol answers on some path.
type endpoint struct {
	// protocol is its name in the statistics.
	protocol string
	// methods that are answered; empty means POST. One with GET alone is no push:
	// it gets no batch.
	methods []string
	// open needs no credentials.
	open bool
	// credentials finds what somebody shows; nil for what HTTP has (basic, bearer).
	credentials func(r *http.Request, c *Credentials)
	fail        fail // nil for text
	// serve answers, or returns an error without having written anything.
	serve func(ctx context.Context, u *push) error
}

// handle registers an endpoint under a pattern of http.ServeMux without method.
func (h *HTTP) handle(pattern string, e endpoint) {
	if len(e.methods) == 0 {
		e.methods = []string{http.MethodPost}
	}
	if e.fail == nil {
		e.fail = failText
	}
	n := h.stats.of(e.protocol)
	pushes := !slices.Contains(e.methods, http.MethodGet) || slices.Contains(e.methods, http.MethodPost)
	h.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		u := &push{Request: r, h: h, w: w}
		u.intake = intake{c: &h.cfg, counters: n, restream: &h.restream, now: h.cfg.Now().UnixNano()}
		err := h.serve(u, &e, pushes && r.Method == http.MethodPost || r.Method == http.MethodPut)
		if err != nil {
			h.fail(w, r, &e, err)
		}
	})
}

func (h *HTTP) serve(u *push, e *endpoint, pushes bool) (err error) {
	r := u.Request
	if !slices.Contains(e.methods, r.Method) && !(r.Method == http.MethodHead && slices.Contains(e.methods, http.MethodGet)) {
		u.w.Header().Set("Allow", strings.Join(e.methods, ", "))
		return &httpError{http.StatusMethodNotAllowed, "the method is not one of " + strings.Join(e.methods, ", ")}
	}
	if !h.enter() {
		return errStopping
	}
	defer h.open.Done()
	defer h.bodies.add(u.w)()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(h.base, cancel)()
	if pushes {
		defer func() {
			if h.base.Err() != nil && errors.Is(err, context.Canceled) {
				err = errStopping
			}
			u.end(err, r.Context().Err() != nil)
		}()
	}
	c := HTTPCredentials(r)
	u.addr = c.Addr
	if h.cfg.Auth != nil && !e.open {
		if e.credentials != nil {
			e.credentials(r, &c)
		}
		if u.id, err = h.cfg.Auth.Authenticate(ctx, c, ScopeIngest); err != nil {
			return err
		}
	}
	if pushes {
		if err := u.begin(); err != nil {
			return err
		}
	}
	return e.serve(ctx, u)
}

var errStopping = &httpError{http.StatusServiceUnavailable, "the server is stopping"}

// HTTPCredentials returns what a request shows by HTTP itself: basic
// authentication, a bearer token, the certificate, and whom it claims to be for.
func HTTPCredentials(r *http.Request) (c Credentials) {
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		c.Addr = ap.Addr().Unmap()
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		c.Cert = r.TLS.VerifiedChains[0][0]
	}
	c.Tenant = r.Header.Get("X-Scope-OrgID")
	var ok bool
	if c.User, c.Password, ok = r.BasicAuth(); ok {
		return c
	}
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		c.Token = strings.TrimSpace(token)
	}
	return c
}

// outer is what every request passes first.
func (h *HTTP) outer(next http.Handler) http.Handler {
	// Browsers say where a request comes from; pages of others may not post here.
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		text := endpoint{fail: failText}
		if r.ContentLength != 0 {
			// Also what no endpoint reads: the server does, before it answers.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.cfg.Limits.Patience)) // where there are none, no connection is held
		}
		defer func() {
			if v := recover(); v != nil {
				if v == http.ErrAbortHandler {
					panic(v)
				}
				h.cfg.Log.Error("a push made the program panic", "input", h.cfg.Name, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
				h.fail(w, r, &text, errors.New("internal error"))
			}
		}()
		if h.cfg.Local && !localHost(r.Host) {
			h.fail(w, r, &text, &httpError{http.StatusForbidden, "this server is for this machine: use 127.0.0.1 or localhost"})
			return
		}
		own, done := h.cors(w, r)
		if done {
			return
		}
		if err := cross.Check(r); err != nil && !own {
			h.fail(w, r, &text, &httpError{http.StatusForbidden, "refused: a request of another site's page; listen.cors names those that may"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// localHost reports whether a Host header names this machine.
func localHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	// Browsers look up no name that ends so (RFC 6761 §6.3).
	if name := strings.ToLower(strings.TrimSuffix(host, ".")); name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// restOfBody is how long a client that was refused may go on sending.
const restOfBody = time.Second

// fail answers with an error in the protocol's form.
func (h *HTTP) fail(w http.ResponseWriter, r *http.Request, e *endpoint, err error) {
	status, msg, after, ok := statusOf(err)
	if !ok {
		if r.Context().Err() != nil {
			return // nobody reads it
		}
		h.cfg.Log.Warn("a push failed", "input", h.cfg.Name, "path", r.URL.Path, "error", err)
	}
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		// The server looks for the rest of a body that was not read: not for long.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(restOfBody))
	}
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Basic realm="weir", charset="UTF-8"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		after = max(after, time.Second)
		w.Header().Set("Retry-After", retryAfter(after))
	}
	e.fail(w, r, status, msg, after)
}

// retryAfter is the header's value: whole seconds, rounded up.
func retryAfter(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

func failText(w http.ResponseWriter, _ *http.Request, status int, msg string, _ time.Duration) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(msg + "\n")) // who has gone needs no answer
}
