package client

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// transport is an HTTP transport that is made anew when it is old, or when the
// files of TLS have changed.
type transport struct {
	cfg     *Config
	trouble *trouble

	mu    sync.Mutex
	rt    http.RoundTripper
	born  time.Time
	files string // their times and sizes
}

func (t *transport) init(cfg *Config, tr *trouble) error {
	t.cfg, t.trouble = cfg, tr
	if cfg.Transport != nil {
		t.rt = cfg.Transport
		return nil
	}
	rt, err := t.build()
	if err != nil {
		return err
	}
	t.rt, t.born, t.files = rt, time.Now(), t.stat()
	return nil
}

func (t *transport) roundTrip(req *http.Request) (*http.Response, error) {
	c := http.Client{
		Transport: t.get(),
		// A gateway does not move; and what is sent to another host would take the
		// credential along.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c.Do(req)
}

func (t *transport) get() http.RoundTripper {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cfg.Transport != nil {
		return t.rt
	}
	files := t.stat()
	if files == t.files && time.Since(t.born) < t.cfg.MaxConnAge {
		return t.rt
	}
	rt, err := t.build()
	if err != nil {
		// Half-written files are whole a moment later; until then the old ones do.
		t.trouble.tls(err)
		return t.rt
	}
	t.rt.(*http.Transport).CloseIdleConnections()
	t.rt, t.born, t.files = rt, time.Now(), files
	return rt
}

// stat says which files there are, as far as a change would show.
func (t *transport) stat() string {
	s := ""
	for _, name := range []string{t.cfg.TLS.CAFile, t.cfg.TLS.CertFile, t.cfg.TLS.KeyFile} {
		if name == "" {
			continue
		}
		if info, err := os.Stat(name); err == nil {
			s += fmt.Sprintln(info.ModTime().UnixNano(), info.Size())
		}
	}
	return s
}

func (t *transport) build() (*http.Transport, error) {
	c := &t.cfg.TLS
	conf := &tls.Config{}
	if c.Config != nil {
		conf = c.Config.Clone()
	}
	conf.MinVersion = max(conf.MinVersion, tls.VersionTLS12)
	if c.ServerName != "" {
		conf.ServerName = c.ServerName
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("TLS: %s: no certificate in it", c.CAFile)
		}
	}
	if c.CertFile != "" || c.KeyFile != "" {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	dialer := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy:                 t.cfg.Proxy,
		DialContext:           dialer.DialContext,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   10 * time.Second,
		MaxIdleConnsPerHost:   t.cfg.Concurrency,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
	}, nil
}

func (t *transport) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if rt, ok := t.rt.(*http.Transport); ok && t.cfg.Transport == nil {
		rt.CloseIdleConnections()
	}
}
