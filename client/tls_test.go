package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// authority is a certificate authority.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.issue(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) issue(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return must(x509.ParseCertificate(der)), key
}

// pair writes a certificate for name, and its key.
func (a *authority) pair(certFile, keyFile, name string) tls.Certificate {
	a.t.Helper()
	c, key := a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}})
	writePEM(a.t, certFile, "CERTIFICATE", c.Raw)
	writePEM(a.t, keyFile, "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
	return must(tls.LoadX509KeyPair(certFile, keyFile))
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// writePEM replaces a file as whoever rotates certificates does.
func writePEM(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	tmp := name + ".new"
	if err := os.WriteFile(tmp, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, name); err != nil {
		t.Fatal(err)
	}
}

// Authority, certificate of the gateway and that of the client all change while
// the client runs, and it goes on.
func TestTLSRotates(t *testing.T) {
	dir := t.TempDir()
	file := func(s string) string { return filepath.Join(dir, s) }
	type state struct {
		cert tls.Certificate
		pool *x509.CertPool
	}
	var now atomic.Pointer[state]
	rotate := func(client bool) {
		a := newAuthority(t)
		now.Store(&state{a.pair(file("server.crt"), file("server.key"), "gateway"), a.pool()})
		if client {
			a.pair(file("client.crt"), file("client.key"), "cart")
			writePEM(t, file("ca.crt"), "CERTIFICATE", a.cert.Raw)
		}
	}
	rotate(true)
	var names atomic.Pointer[string]
	g := &gateway{}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		names.Store(&r.TLS.PeerCertificates[0].Subject.CommonName)
		w.Header().Set("Connection", "close") // the next one shakes hands anew
		g.ServeHTTP(w, r)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail
	srv.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		s := now.Load()
		return &tls.Config{Certificates: []tls.Certificate{s.cert}, ClientCAs: s.pool, ClientAuth: tls.RequireAndVerifyClientCert}, nil
	}}
	srv.StartTLS()
	defer srv.Close()

	c := start(t, Config{Endpoints: []string{srv.URL}, MaxBackoff: 20 * time.Millisecond, TLS: TLS{CAFile: file("ca.crt"), CertFile: file("client.crt"), KeyFile: file("client.key")}})
	for i := range 3 {
		c.Logger().Info("m", "i", i)
		flush(t, c)
		rotate(true)
	}
	if st := c.Stats(); st.Delivered != 3 || *names.Load() != "cart" {
		t.Fatalf("%+v", st)
	}
	// A gateway that is nobody we know gets nothing.
	rotate(false)
	c.Logger().Info("m", "i", 3)
	for c.Stats().Retries < 3 {
		time.Sleep(time.Millisecond) // until it has tried often enough
	}
	if st := c.Stats(); st.Delivered != 3 {
		t.Fatalf("%+v", st)
	}
	// Rubbish in the place of a certificate changes nothing, and what follows does.
	if err := os.WriteFile(file("ca.crt"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	rotate(true)
	flush(t, c)
	check(t, g.got(), 4)
}

func TestTLSFilesAreChecked(t *testing.T) {
	dir := t.TempDir()
	rubbish := filepath.Join(dir, "rubbish")
	if err := os.WriteFile(rubbish, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []TLS{{CAFile: rubbish}, {CAFile: rubbish + "2"}, {CertFile: rubbish, KeyFile: rubbish}, {CertFile: rubbish}} {
		if _, err := New(Config{Endpoints: []string{"https://h"}, TLS: c}); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
