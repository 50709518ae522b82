// Package fault makes an HTTP server misbehave the way networks, proxies and
// overloaded backends do, by a configuration that can be changed while it runs.
// All random draws come from one seeded source.
package fault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Config says what goes wrong. Fields named P… are probabilities per request,
// 0 to 1. The zero Config is a server without faults.
type Config struct {
	Down   bool `json:"down"`   // the port is closed, connections are cut
	Freeze bool `json:"freeze"` // requests are read and never answered; when it ends, they are cut

	P429       float64 `json:"p_429"`       // the whole request
	P503       float64 `json:"p_503"`       // the whole request
	P401       float64 `json:"p_401"`       // the whole request
	RetryAfter string  `json:"retry_after"` // header of 429 and 503, as it is

	PResetBefore float64 `json:"p_reset_before"` // RST before the body is read
	PResetMiddle float64 `json:"p_reset_middle"` // RST when half the body is read
	PResetAfter  float64 `json:"p_reset_after"`  // RST after everything was stored
	PFreezeAfter float64 `json:"p_freeze_after"` // stored, and no answer until the client gives up
	PTruncate    float64 `json:"p_truncate"`     // stored, half of the answer, connection closed
	PProxyPage   float64 `json:"p_proxy_page"`   // not stored, status 200 with an HTML page

	Latency  string `json:"latency"`   // before answers: "uniform:1ms-50ms", "exp:20ms" (mean), or a duration
	SlowRead int    `json:"slow_read"` // bytes per second at which bodies are read, 0 = no limit

	// For sinks with answers per record; probabilities per record and attempt,
	// but PItem400 is decided by the record, so that it is refused every time.
	PItem429 float64 `json:"p_item_429"`
	PItem503 float64 `json:"p_item_503"`
	PItem400 float64 `json:"p_item_400"`
	// PoisonWhole: a record that PItem400 would refuse makes the whole request
	// fail with 400 instead.
	PoisonWhole bool `json:"poison_whole"`
}

// Injector applies a Config. Safe for concurrent use.
type Injector struct {
	mu     sync.Mutex
	cfg    Config
	rng    *rand.Rand
	counts map[string]uint64
	change chan struct{} // closed and replaced when the Config changes
}

// New returns an Injector without faults.
func New(seed uint64) *Injector {
	return &Injector{rng: rand.New(rand.NewPCG(seed, 2)), counts: make(map[string]uint64), change: make(chan struct{})}
}

// Config returns the present configuration.
func (in *Injector) Config() Config {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.cfg
}

// Set changes the configuration.
func (in *Injector) Set(c Config) error {
	if _, err := parseLatency(c.Latency); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.cfg = c
	close(in.change)
	in.change = make(chan struct{})
	return nil
}

// Merge changes what the JSON object names and leaves the rest.
func (in *Injector) Merge(p []byte) error {
	c := in.Config()
	d := json.NewDecoder(bytes.NewReader(p))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return fmt.Errorf("read faults: %w", err)
	}
	return in.Set(c)
}

// Counts returns how often each fault was applied.
func (in *Injector) Counts() map[string]uint64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return maps.Clone(in.counts)
}

// Draw decides with probability p and counts name if it is yes.
func (in *Injector) Draw(p float64, name string) bool {
	if p <= 0 {
		return false
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.rng.Float64() >= p {
		return false
	}
	in.counts[name]++
	return true
}

// Count counts name.
func (in *Injector) Count(name string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.counts[name]++
}

func parseLatency(s string) (func(*rand.Rand) time.Duration, error) {
	kind, arg, ok := strings.Cut(s, ":")
	switch {
	case s == "":
		return nil, nil
	case !ok:
		d, err := time.ParseDuration(s)
		return func(*rand.Rand) time.Duration { return d }, err
	case kind == "exp":
		d, err := time.ParseDuration(arg)
		return func(r *rand.Rand) time.Duration { return time.Duration(r.ExpFloat64() * float64(d)) }, err
	case kind == "uniform":
		lo, hi, _ := strings.Cut(arg, "-")
		a, err := time.ParseDuration(lo)
		if err != nil {
			return nil, err
		}
		b, err := time.ParseDuration(hi)
		if err == nil && b <= a {
			err = fmt.Errorf("latency %q: the second must be more", s)
		}
		return func(r *rand.Rand) time.Duration { return a + time.Duration(r.Int64N(int64(b-a))) }, err
	}
	return nil, fmt.Errorf("latency %q is neither a duration nor exp:… nor uniform:…", s)
}

func (in *Injector) latency() time.Duration {
	in.mu.Lock()
	defer in.mu.Unlock()
	f, _ := parseLatency(in.cfg.Latency)
	if f == nil {
		return 0
	}
	return f(in.rng)
}

// wait waits for d, or until the client is gone.
func wait(r *http.Request, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
}

// Cut ends the request's connection with a RST.
func Cut(w http.ResponseWriter) {
	if h, ok := w.(http.Hijacker); ok {
		if conn, _, err := h.Hijack(); err == nil {
			type lingerer interface{ SetLinger(int) error }
			c := conn
			if t, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
				c = t.NetConn()
			}
			if l, ok := c.(lingerer); ok {
				l.SetLinger(0)
			}
			c.Close()
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// recorder holds an answer back.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(s int) {
	if r.status == 0 {
		r.status = s
	}
}
func (r *recorder) Write(p []byte) (int, error) { r.WriteHeader(200); return r.body.Write(p) }

// Wrap puts the faults that concern whole requests around next, which must
// read the body to its end. refuse writes the answer of a whole-request fault
// in the sink's own form.
func (in *Injector) Wrap(next http.Handler, refuse func(w http.ResponseWriter, status int)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in.Count("requests")
		in.mu.Lock()
		cfg, change := in.cfg, in.change
		in.mu.Unlock()
		if cfg.SlowRead > 0 {
			r.Body = &slowBody{r.Body, r, cfg.SlowRead}
		}
		switch {
		case cfg.Down:
			Cut(w)
			return
		case cfg.Freeze:
			in.Count("frozen")
			io.Copy(io.Discard, r.Body)
			for cfg.Freeze && r.Context().Err() == nil {
				select {
				case <-change:
				case <-r.Context().Done():
				}
				in.mu.Lock()
				cfg, change = in.cfg, in.change
				in.mu.Unlock()
			}
			Cut(w)
			return
		case in.Draw(cfg.PResetBefore, "reset_before"):
			Cut(w)
			return
		case in.Draw(cfg.PResetMiddle, "reset_middle"):
			io.CopyN(io.Discard, r.Body, max(r.ContentLength/2, 1))
			Cut(w)
			return
		}
		for _, f := range []struct {
			p      float64
			status int
		}{{cfg.P429, 429}, {cfg.P503, 503}, {cfg.P401, 401}} {
			if in.Draw(f.p, "whole_"+strconv.Itoa(f.status)) {
				io.Copy(io.Discard, r.Body)
				wait(r, in.latency())
				if cfg.RetryAfter != "" && f.status != 401 {
					w.Header().Set("Retry-After", cfg.RetryAfter)
				}
				refuse(w, f.status)
				return
			}
		}
		if in.Draw(cfg.PProxyPage, "proxy_page") {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<html><body><h1>Please log in</h1></body></html>\n")
			return
		}
		rec := &recorder{header: make(http.Header)}
		next.ServeHTTP(rec, r)
		wait(r, in.latency())
		switch {
		case in.Draw(cfg.PResetAfter, "reset_after"):
			Cut(w)
			return
		case in.Draw(cfg.PFreezeAfter, "freeze_after"):
			<-r.Context().Done()
			Cut(w)
			return
		}
		maps.Copy(w.Header(), rec.header)
		w.Header().Set("Content-Length", strconv.Itoa(rec.body.Len()))
		if rec.status == 0 {
			rec.status = 200
		}
		w.WriteHeader(rec.status)
		if in.Draw(cfg.PTruncate, "truncate") {
			w.Write(rec.body.Bytes()[:rec.body.Len()/2])
			panic(http.ErrAbortHandler)
		}
		w.Write(rec.body.Bytes())
	})
}

type slowBody struct {
	io.ReadCloser
	r   *http.Request
	bps int
}

func (s *slowBody) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p[:min(len(p), max(s.bps/20, 1))])
	wait(s.r, time.Duration(n)*time.Second/time.Duration(s.bps))
	return n, err
}
