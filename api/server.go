package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Config says what an API serves and how. Zero values mean the defaults.
type Config struct {
	Store  Store
	Limits Limits
	// Auth finds out whose logs a request is for; an error made by Refuse is
	// answered as it says. nil lets everybody in, and there is only the one tenant
	// "" then.
	Auth func(r *http.Request) (tenant string, err error)
	Log  *slog.Logger
	// Version is what /loki/api/v1/status/buildinfo tells.
	Version Version
	// Now is the clock of queries without times.
	Now func() time.Time
	// Ready, if not nil, is what /ready asks: an error is why not.
	Ready func() error
	// Local says that the listener is on loopback: requests must then name it in
	// their Host header, so that a web page elsewhere cannot reach it by a name of
	// its own (DNS rebinding).
	Local bool
}

// Version is what the program tells about itself.
type Version struct {
	Version   string `json:"version"`
	Revision  string `json:"revision"`
	Branch    string `json:"branch"`
	BuildUser string `json:"buildUser"`
	BuildDate string `json:"buildDate"`
	GoVersion string `json:"goVersion"`
}

// Server answers the API's requests. It is an http.Handler.
type Server struct {
	cfg     Config
	log     *slog.Logger
	mux     *http.ServeMux
	handler http.Handler
	gate    *gate
	exports *gate // for exports

	// base ends with Close, and with it tails and what else runs on.
	base   context.Context
	cancel context.CancelFunc
	mu     sync.Mutex // guards closed; open.Add only under it
	closed bool
	open   sync.WaitGroup

	stats counters
}

// New returns a server over cfg.Store.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil {
		return nil, errors.New("api: no store")
	}
	cfg.Limits.setDefaults()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{cfg: cfg, log: cfg.Log, mux: http.NewServeMux()}
	s.gate = newGate(cfg.Limits.Concurrency, cfg.Limits.Queue)
	s.base, s.cancel = context.WithCancel(context.Background())
	s.routes()
	s.handler = s.outer(s.mux)
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Handler returns the server as a handler.
func (s *Server) Handler() http.Handler { return s }

// Close ends tails, which an http.Server does not know any more, refuses new
// ones, cancels what still runs, and waits for it until ctx ends. It belongs
// before or beside http.Server.Shutdown.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	done := make(chan struct{})
	go func() { s.open.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter notes that something runs, which Close will wait for; it reports false
// after Close.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.open.Add(1)
	return true
}

// routes is the table of endpoints. Grafana and logcli use GET or POST with a
// form as they like.
func (s *Server) routes() {
	const v1 = "/loki/api/v1/"
	for path, f := range map[string]handler{
		"query_range":                  s.queryRange,
		"query":                        s.queryInstant,
		"labels":                       s.labels,
		"label":                        s.labels,
		"label/{name}/values":          s.labelValues,
		"series":                       s.series,
		"index/stats":                  s.indexStats,
		"index/volume":                 s.volume,
		"index/volume_range":           s.volumeRange,
		"detected_labels":              s.detectedLabels,
		"detected_fields":              s.detectedFields,
		"detected_field/{name}/values": s.detectedFieldValues,
	} {
		s.handle(v1+path, options{name: path, limited: true}, f)
	}
	s.handle(v1+"format_query", options{name: "format_query"}, s.formatQuery)
	s.handle(v1+"tail", options{name: "tail"}, s.tail)
	s.handle(v1+"status/buildinfo", options{name: "buildinfo"}, s.buildInfo)
	s.handle(v1+"drilldown-limits", options{name: "drilldown-limits"}, s.drilldownLimits)
	s.handle("/config", options{name: "config"}, s.config)
	// There are no alerting rules here: lists of them are empty.
	for _, p := range []string{"/prometheus/api/v1/rules", "/prometheus/api/v1/alerts"} {
		s.handle(p, options{name: "rules"}, s.noRules)
	}
	for _, p := range []string{"/api/prom/rules", v1 + "rules"} {
		s.handle(p, options{name: "rules"}, s.noRuleGroups)
	}
	// Everything else below /loki, patterns among it, is not there.
	s.handle("/loki/", options{name: "unknown"}, func(context.Context, *request) error {
		return &httpError{http.StatusNotFound, "no such endpoint"}
	})
	s.exportRoute()
	s.mux.HandleFunc("GET /ready", s.ready)
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if s.cfg.Ready != nil {
		if err := s.cfg.Ready(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			w.Write([]byte("not ready: " + err.Error() + "\n"))
			return
		}
	}
	w.Write([]byte("ready\n"))
}
