package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/weirlog/weir/config"
)

// tlsCheck is how often the files of a listener are looked at, at most.
const tlsCheck = time.Second

// serverTLS is the TLS of a listener. Its files are read again when they have
// changed; while the new ones are bad the old ones stay in force.
type serverTLS struct {
	files config.ListenTLS
	log   *slog.Logger

	mu      sync.Mutex
	conf    *tls.Config
	stamp   string
	checked time.Time
	failed  string // stamp of what could not be read
}

// newServerTLS reads the files once, so that what is wrong shows at the start.
func newServerTLS(files *config.ListenTLS, log *slog.Logger) (*tls.Config, error) {
	s := &serverTLS{files: *files, log: log}
	s.stamp = s.look()
	conf, err := s.load()
	if err != nil {
		return nil, err
	}
	s.conf, s.checked = conf, time.Now()
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: s.get, NextProtos: conf.NextProtos}, nil
}

func (s *serverTLS) get(*tls.ClientHelloInfo) (*tls.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.checked) < tlsCheck {
		return s.conf, nil
	}
	s.checked = time.Now()
	stamp := s.look()
	if stamp == s.stamp || stamp == s.failed {
		return s.conf, nil
	}
	conf, err := s.load()
	if err != nil {
		// Perhaps only half of them have been replaced yet.
		s.failed = stamp
		s.log.Error("the changed TLS files are refused; the old ones stay in force", "error", err)
		return s.conf, nil
	}
	s.conf, s.stamp, s.failed = conf, stamp, ""
	s.log.Info("TLS files read again")
	return s.conf, nil
}

// look returns a text that changes with the files.
func (s *serverTLS) look() string {
	var out string
	for _, f := range []config.Path{s.files.Cert, s.files.Key, s.files.ClientCA} {
		if info, err := os.Stat(string(f)); err == nil {
			out += fmt.Sprintf("%s %d;", info.ModTime(), info.Size())
		}
	}
	return out
}

func (s *serverTLS) load() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(string(s.files.Cert), string(s.files.Key))
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}
	if s.files.ClientCA != "" {
		pem, err := os.ReadFile(string(s.files.ClientCA))
		if err != nil {
			return nil, err
		}
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if s.files.ClientAuth == "optional" {
			c.ClientAuth = tls.VerifyClientCertIfGiven
		}
		if !c.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in it", s.files.ClientCA)
		}
	}
	return c, nil
}
