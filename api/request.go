package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/weirlog/weir/logql"
)

// statusGone is what is noted for requests whose client went away.
const statusGone = 499

// restOfBody is how long a client that was refused may go on sending.
const restOfBody = time.Second

// httpError is an error with a status of its own. Its text goes to the client.
type httpError struct {
	status int
	msg    string
}

func (e *httpError) Error() string { return e.msg }

// Refuse returns the error that a request is answered with: a status and a text
// for the client.
func Refuse(status int, msg string) error { return &httpError{status, msg} }

func badRequest(format string, args ...any) error {
	return &httpError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// request is one request on its way.
type request struct {
	*http.Request
	w      http.ResponseWriter
	tenant string
	form   url.Values
	now    int64 // Unix nanoseconds
	began  time.Time
	queued time.Duration
}

// handler answers a request, or returns an error without having written
// anything. ctx ends with the client's patience or the limit of time.
type handler func(ctx context.Context, q *request) error

type options struct {
	name    string // in the counters
	limited bool   // takes a slot, and the limit of time holds
}

// handle registers an endpoint, for GET and POST unless the options say
// otherwise.
func (s *Server) handle(path string, o options, f handler) {
	st := s.stats.endpoint(o.name)
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		sw := w.(*statusWriter) // by outer
		returned := false
		defer func() {
			status := sw.status
			if !returned && status != statusGone {
				status = http.StatusInternalServerError
			}
			st.count(status, time.Since(began))
		}()
		if err := s.serve(sw, r, began, o, f); err != nil {
			s.fail(sw, r, err)
		}
		returned = true
	})
}

func (s *Server) serve(w *statusWriter, r *http.Request, began time.Time, o options, f handler) error {
	switch r.Method {
	case http.MethodPost, http.MethodGet, http.MethodHead:
	default:
		const allow = "GET, POST"
		w.Header().Set("Allow", allow)
		return &httpError{http.StatusMethodNotAllowed, "the method is not one of " + allow}
	}
	tenant, err := "", error(nil)
	if s.cfg.Auth != nil {
		if tenant, err = s.cfg.Auth(r); err != nil {
			return err
		}
	}
	q := &request{Request: r, w: w, tenant: tenant, now: s.cfg.Now().UnixNano(), began: began}
	if q.form, err = s.readForm(w, r); err != nil {
		return err
	}
	if !s.enter() {
		return &httpError{http.StatusServiceUnavailable, "the server is stopping"}
	}
	defer s.open.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.base, cancel)()
	if o.limited {
		if err := s.gate.enter(ctx, s.cfg.Limits.QueueTime); err != nil {
			return err
		}
		defer s.gate.leave()
		q.queued = time.Since(began)
		if t := s.cfg.Limits.Time; t > 0 {
			ctx, cancel = context.WithTimeout(ctx, t)
			defer cancel()
		}
	}
	return f(ctx, q)
}

// readForm returns the parameters of the URL and, of a POST, of the form in its
// body, which count before those of the URL.
func (s *Server) readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if l := s.cfg.Limits.Form; l > 0 {
		r.Body = http.MaxBytesReader(w, r.Body, l)
	}
	if l := s.cfg.Limits.Write; l > 0 && r.Method == http.MethodPost {
		// As long as for what the client must accept. A connection without
		// deadlines (a test's recorder) has no slow sender.
		rc := http.NewResponseController(w)
		_ = rc.SetReadDeadline(time.Now().Add(l))
		defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	}
	if err := r.ParseForm(); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, &httpError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the form has more than %d bytes", large.Limit)}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, &httpError{http.StatusRequestTimeout, "the form does not come"}
		}
		return nil, badRequest("parameters: %v", err)
	}
	return r.Form, nil
}

// outer is what every request passes first.
func (s *Server) outer(next http.Handler) http.Handler {
	// Browsers say where a request comes from; pages of others may not post here.
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w := &statusWriter{ResponseWriter: rw}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		defer func() {
			if v := recover(); v != nil {
				if v == http.ErrAbortHandler {
					panic(v)
				}
				s.stats.panics.Add(1)
				s.log.Error("a request made the program panic", "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
				s.fail(w, r, errors.New("internal error"))
			}
		}()
		if s.cfg.Local && !localHost(r.Host) {
			s.fail(w, r, &httpError{http.StatusForbidden, "this server is for this machine: use 127.0.0.1 or localhost"})
			return
		}
		if err := cross.Check(r); err != nil {
			s.fail(w, r, &httpError{http.StatusForbidden, "refused: a request of another site's page"})
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
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// fail answers with an error, as text like Loki, if nothing has been answered
// yet; else it cuts the connection, so that the answer does not seem complete.
func (s *Server) fail(w *statusWriter, r *http.Request, err error) {
	status, msg := s.classify(r, err)
	if w.status != 0 {
		w.status = status
		if status != statusGone {
			s.log.Warn("an answer was cut off", "path", r.URL.Path, "err", err)
		}
		panic(http.ErrAbortHandler)
	}
	if status == statusGone {
		// Nobody reads it; 499 is no status that may be sent.
		w.status = status
		s.log.Debug("the client went away", "path", r.URL.Path)
		return
	}
	if status >= 500 && status != http.StatusServiceUnavailable {
		s.log.Warn("a request failed", "path", r.URL.Path, "status", status, "err", err)
	}
	if r.Method == http.MethodPost {
		// The server looks for the rest of a body that was not read: not for long.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(restOfBody))
	}
	h := w.Header()
	h.Del("Content-Encoding")
	h.Del("Content-Length")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	switch status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Basic realm="weir", charset="UTF-8"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if h.Get("Retry-After") == "" {
			h.Set("Retry-After", "1")
		}
	}
	w.WriteHeader(status)
	w.Write([]byte(msg + "\n"))
}

// classify returns the status and the text for an error.
func (s *Server) classify(r *http.Request, err error) (int, string) {
	var (
		he       *httpError
		syntax   *logql.SyntaxError
		param    *logql.ParamError
		limit    *logql.LimitError
		match    *logql.MatchError
		pipeline *logql.PipelineError
	)
	switch {
	case errors.As(err, &he):
		return he.status, he.msg
	case errors.Is(err, errBusy):
		return http.StatusTooManyRequests, errBusy.Error()
	case errors.As(err, &syntax):
		if syntax.Line == 0 {
			return http.StatusBadRequest, "parse error : " + syntax.Msg
		}
		return http.StatusBadRequest, fmt.Sprintf("parse error at line %d, col %d: %s", syntax.Line, syntax.Column, syntax.Msg)
	case errors.As(err, &param):
		return http.StatusBadRequest, param.Error()
	case errors.As(err, &limit):
		return http.StatusBadRequest, limit.Error()
	case errors.As(err, &match):
		return http.StatusBadRequest, match.Error()
	case errors.As(err, &pipeline):
		return http.StatusBadRequest, pipeline.Error()
	case r.Context().Err() != nil:
		return statusGone, ""
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout, fmt.Sprintf("the query took longer than %v; narrow the time range or the selector", s.cfg.Limits.Time)
	case s.base.Err() != nil:
		return http.StatusServiceUnavailable, "the server is stopping"
	}
	// What went wrong inside is for the log.
	return http.StatusInternalServerError, "internal error"
}

// statusWriter remembers what was answered.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController find the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
