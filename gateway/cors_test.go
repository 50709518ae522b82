package gateway

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Pages of named origins may push, after their browser has asked; others may not,
// and nothing of it makes a foreign name of a local listener good.
func TestPagesOfNamedOriginsMayPush(t *testing.T) {
	const app, evil = "https://app.example.com", "https://evil.example.com"
	body := `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"clicked"}}]}]}]}`
	auth, err := NewAuth(AuthConfig{Users: []User{{Name: "page", Secret: NewSecret("t1")}}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(h http.Handler, method, host, origin string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/otlp/v1/logs", strings.NewReader(body))
		r.Host = host
		if origin != "" {
			r.Header.Set("Origin", origin)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}
		if method == http.MethodOptions {
			r.Header.Set("Access-Control-Request-Method", "POST")
			r.Header.Set("Access-Control-Request-Headers", "authorization,content-type,x-mine")
		} else {
			r.Header.Set("Content-Type", jsType)
			r.Header.Set("Authorization", "Bearer t1")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	store := &pushStore{}
	for _, c := range []struct {
		name            string
		origins         []string
		host, origin    string
		preflight, push int
		allowed, local  bool
	}{
		{name: "named", origins: []string{app}, host: "gw:4318", origin: app, preflight: 204, push: 200, allowed: true},
		{name: "another", origins: []string{app}, host: "gw:4318", origin: evil, preflight: 405, push: 403},
		{name: "null", origins: []string{app}, host: "gw:4318", origin: "null", preflight: 405, push: 403},
		{name: "longer", origins: []string{app}, host: "gw:4318", origin: app + ".evil.com", preflight: 405, push: 403},
		{name: "none named", host: "gw:4318", origin: app, preflight: 405, push: 403},
		{name: "no browser", origins: []string{app}, host: "gw:4318", preflight: 405, push: 200},
		{name: "all", origins: []string{AnyOrigin}, host: "gw:4318", origin: evil, preflight: 204, push: 200, allowed: true},
		{name: "rebinding", origins: []string{AnyOrigin}, host: "evil.example.com:4318", origin: "http://evil.example.com:4318", preflight: 403, push: 403, local: true},
		{name: "here", origins: []string{app}, host: "localhost:4318", origin: app, preflight: 204, push: 200, allowed: true, local: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newServer(t, store, Config{Auth: auth, Origins: c.origins, Local: c.local})
			w := ask(h, http.MethodOptions, c.host, c.origin)
			if w.Code != c.preflight {
				t.Errorf("asked before: %d %s, want %d", w.Code, w.Body, c.preflight)
			}
			if c.allowed && !strings.Contains(w.Header().Get("Access-Control-Allow-Headers"), "x-mine") {
				t.Errorf("headers: %v", w.Header())
			}
			if w = ask(h, http.MethodPost, c.host, c.origin); w.Code != c.push {
				t.Errorf("pushed: %d %s, want %d", w.Code, w.Body, c.push)
			}
			if got := w.Header().Get("Access-Control-Allow-Origin"); (got == c.origin && got != "") != c.allowed {
				t.Errorf("allowed origin %q", got)
			}
			if w.Header().Get("Access-Control-Allow-Credentials") != "" {
				t.Error("cookies are let in")
			}
		})
	}
}
