package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/weirlog/weir/config"
)

// tlsCheck is how often the files of a listener are looked at, at most.
const tlsCheck = time.Second

// httpProtos are what listeners of HTTP speak over TLS (ALPN); those of other
// protocols have none.
var httpProtos = []string{"h2", "http/1.1"}

// serverTLS is the TLS of a listener. Its files are read again when a client comes,
// and count when what is in them has changed, however they were replaced (in place,
// by renaming, by a link to another directory as in a mounted Secret, and with the
// same time and size); while the new ones are bad the old ones stay in force.
type serverTLS struct {
	files  config.ListenTLS
	protos []string
	log    *slog.Logger

	mu      sync.Mutex
	conf    *tls.Config
	sum     [sha256.Size]byte // of what conf was made of
	checked time.Time
	failed  [sha256.Size]byte // of what could not be used
}

// newServerTLS reads the files once, so that what is wrong shows at the start.
func newServerTLS(files *config.ListenTLS, protos []string, log *slog.Logger) (*tls.Config, error) {
	s := &serverTLS{files: *files, protos: protos, log: log}
	read := s.read()
	conf, err := s.load(read)
	if err != nil {
		return nil, err
	}
	s.conf, s.sum, s.checked = conf, read.sum, time.Now()
	return s.config(), nil
}

// config is what a listener has.
func (s *serverTLS) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: s.get, NextProtos: s.protos}
}

func (s *serverTLS) get(*tls.ClientHelloInfo) (*tls.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.checked) < tlsCheck {
		return s.conf, nil
	}
	s.checked = time.Now()
	read := s.read()
	if read.sum == s.sum || read.sum == s.failed {
		return s.conf, nil
	}
	conf, err := s.load(read)
	if err != nil {
		// Perhaps only half of them have been replaced yet.
		s.failed = read.sum
		s.log.Error("the changed TLS files are refused; the old ones stay in force", "error", err)
		return s.conf, nil
	}
	s.conf, s.sum, s.failed = conf, read.sum, [sha256.Size]byte{}
	s.log.Info("TLS files read again", "certificate", s.files.Cert)
	return s.conf, nil
}

// tlsFiles is what is in the files at one time.
type tlsFiles struct {
	cert, key, ca []byte
	err           error
	sum           [sha256.Size]byte // differs when anything else here does
}

func (s *serverTLS) read() (f tlsFiles) {
	h := sha256.New()
	for _, x := range []struct {
		name config.Path
		to   *[]byte
	}{{s.files.Cert, &f.cert}, {s.files.Key, &f.key}, {s.files.ClientCA, &f.ca}} {
		if x.name == "" {
			continue
		}
		p, err := os.ReadFile(string(x.name))
		if err != nil {
			f.err = errors.Join(f.err, err)
		}
		*x.to = p
		fmt.Fprintf(h, "%s %d %v\n", x.name, len(p), err)
		h.Write(p)
	}
	f.sum = [sha256.Size]byte(h.Sum(nil))
	return f
}

func (s *serverTLS) load(f tlsFiles) (*tls.Config, error) {
	if f.err != nil {
		return nil, f.err
	}
	cert, err := tls.X509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", s.files.Cert, s.files.Key, err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: s.protos}
	if s.files.ClientCA != "" {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if s.files.ClientAuth == "optional" {
			c.ClientAuth = tls.VerifyClientCertIfGiven
		}
		if !c.ClientCAs.AppendCertsFromPEM(f.ca) {
			return nil, fmt.Errorf("%s: no certificate in it", s.files.ClientCA)
		}
	}
	return c, nil
}
