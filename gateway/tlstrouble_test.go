package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// logLines is what was logged.
type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// logger makes lines of what is at least a warning.
func (l *logLines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func (l *logLines) count(what string) int { return strings.Count(l.String(), what) }

// certified makes a certificate for 127.0.0.1, and what a listener has of it.
func certified(t *testing.T, name string) (*x509.CertPool, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return pool, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}

// honest is a message with one line in each protocol over streams.
func honest(protocol string) string {
	return map[string]string{"forward": string(packed("t", "", "honest")), "syslog": "<13>a: honest\n",
		"gelf": `{"version":"1.1","host":"h","short_message":"honest"}` + "\x00", "socket": "honest\n"}[protocol]
}

// startLogged starts an input, also one over HTTP, whose warnings are kept.
func startLogged(t *testing.T, protocol string, l Listen, log *logLines) (*Input, *pipe) {
	t.Helper()
	in, err := NewInput(Config{Name: protocol, Log: log.logger()}, protocol, l, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, done := &pipe{}, make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- in.Run(ctx, p) }()
	t.Cleanup(func() { cancel(); <-done })
	eventually(t, "listening", func() bool { return len(in.Addrs()) == 1 })
	return in, p
}

// Who speaks TLS where there is none, or the other way round, makes no records, and
// a line says what is wrong, once.
func TestTLSAtTheWrongPort(t *testing.T) {
	_, secure := certified(t, "server")
	for _, protocol := range []string{"forward", "syslog", "gelf", "socket", "otlp"} {
		for _, side := range []struct {
			name     string
			listener *tls.Config
			says     string
		}{{"plain", nil, "the client speaks TLS, and this listener has none"}, {"TLS", secure, "the client does not speak TLS"}} {
			t.Run(protocol+" "+side.name, func(t *testing.T) {
				log := new(logLines)
				l := Listen{TCP: "127.0.0.1:0", TLS: side.listener}
				if protocol == "otlp" {
					l.TCP, l.HTTP = "", l.TCP
					if side.listener != nil {
						side.says = "client sent an HTTP request to an HTTPS server"
					}
				}
				in, p := startLogged(t, protocol, l, log)
				for range 5 {
					c, err := net.Dial("tcp", in.Addrs()[0].String())
					if err != nil {
						t.Fatal(err)
					}
					if side.listener == nil {
						c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
					}
					c.SetDeadline(time.Now().Add(5 * time.Second))
					fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
					for err = nil; err == nil; {
						_, err = c.Read(make([]byte, 100))
					}
					if ne, ok := err.(net.Error); ok && ne.Timeout() {
						t.Error("it is not told")
					}
					c.Close()
				}
				eventually(t, "it is logged", func() bool { return log.count(side.says) > 0 })
				if n := log.count("\n"); n != 1 {
					t.Errorf("%d lines:\n%s", n, log)
				}
				if protocol != "otlp" {
					eventually(t, "it is counted", func() bool { return in.Stats()[0].Requests["malformed"] == 5 })
				}
				if len(p.got()) > 0 {
					t.Errorf("%d records", len(p.got()))
				}
			})
		}
	}
}

// Who has no certificate where one is asked for, or an old TLS, is counted and told
// of; who has one is heard, over HTTP/2 too.
func TestClientCertificatesOfAllProtocols(t *testing.T) {
	roots, secure := certified(t, "server")
	secure.ClientAuth, secure.ClientCAs = tls.RequireAndVerifyClientCert, roots
	secure.NextProtos = []string{"h2", "http/1.1"}
	own := &tls.Config{RootCAs: roots, Certificates: secure.Certificates}
	for _, protocol := range []string{"forward", "syslog", "gelf", "socket"} {
		log := new(logLines)
		in, p := startLogged(t, protocol, Listen{TCP: "127.0.0.1:0", TLS: secure}, log)
		for _, with := range []*tls.Config{{RootCAs: roots}, {RootCAs: roots, Certificates: own.Certificates, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}} {
			if c, err := tls.Dial("tcp", in.Addrs()[0].String(), with); err == nil {
				c.SetDeadline(time.Now().Add(5 * time.Second))
				fmt.Fprint(c, honest(protocol))
				if _, err = c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
					t.Errorf("%s: let in: %v", protocol, err)
				}
				c.Close()
			}
		}
		eventually(t, "it is counted", func() bool { return in.Stats()[0].Requests["denied"] == 2 })
		if n := log.count("a connection was closed"); n != 1 {
			t.Errorf("%s: %d lines:\n%s", protocol, n, log)
		}
		c, err := tls.Dial("tcp", in.Addrs()[0].String(), own)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, honest(protocol))
		eventually(t, "it arrives", func() bool { return len(p.got()) == 1 && p.got()[0] == "honest" })
	}
	log := new(logLines)
	in, _ := startLogged(t, "otlp", Listen{HTTP: "127.0.0.1:0", TLS: secure}, log)
	for range 3 {
		noCert := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
		if _, err := (&http.Client{Transport: noCert}).Get("https://" + in.Addrs()[0].String()); err == nil {
			t.Error("let in")
		}
		noCert.CloseIdleConnections()
	}
	eventually(t, "it is logged", func() bool { return log.count("TLS failed with a client") == 1 })
	for _, two := range []bool{false, true} {
		tr := &http.Transport{TLSClientConfig: own.Clone(), ForceAttemptHTTP2: two}
		resp, err := (&http.Client{Transport: tr}).Get("https://" + in.Addrs()[0].String() + "/v1/logs")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if (resp.ProtoMajor == 2) != two || resp.StatusCode != http.StatusMethodNotAllowed {
			t.Error(resp.Proto, resp.Status)
		}
		tr.CloseIdleConnections()
	}
}
