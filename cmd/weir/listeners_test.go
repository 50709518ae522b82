package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/config"
)

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	next int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, next: 1}
	a.cert, a.key, a.pem, _ = a.issue("authority", true)
	return a
}

func (a *authority) issue(name string, ca bool) (*x509.Certificate, *ecdsa.PrivateKey, []byte, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.next++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: ca, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

// files writes a new certificate with its key.
func (a *authority) files(name, certFile, keyFile string) {
	_, _, cert, key := a.issue(name, false)
	for file, text := range map[string][]byte{certFile: cert, keyFile: key} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
}

func (a *authority) client(cert, key []byte) *http.Client {
	a.t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AddCert(a.cert)
	if cert != nil {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			a.t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true, ForceAttemptHTTP2: true}}
}

func TestServerTLS(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t)
	files := config.ListenTLS{Cert: config.Path(filepath.Join(dir, "cert")), Key: config.Path(filepath.Join(dir, "key"))}
	a.files("one", string(files.Cert), string(files.Key))
	var log bytes.Buffer
	l := &listeners{log: slog.New(slog.NewTextHandler(&log, nil)), base: t.Context()}
	s := &serverTLS{files: files, protos: httpProtos, log: l.log}
	var err error
	if s.conf, err = s.load(s.read()); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.start(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto)
	})}, ln, s.config())
	t.Cleanup(func() { l.stop(time.Second) })

	ask := func(c *http.Client) (*http.Response, string, error) {
		t.Helper()
		s.mu.Lock()
		s.checked = time.Time{} // as if a while had passed
		s.mu.Unlock()
		resp, err := c.Get("https://" + ln.Addr().String())
		if err != nil {
			return nil, "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return resp, string(text), err
	}
	who := func() string {
		t.Helper()
		resp, text, err := ask(a.client(nil, nil))
		if err != nil {
			t.Fatal(err)
		}
		if text != "HTTP/2.0" {
			t.Errorf("protocol %s", text)
		}
		return resp.TLS.PeerCertificates[0].Subject.CommonName
	}
	if got := who(); got != "one" {
		t.Fatalf("the certificate is of %s", got)
	}
	// Changed files count; bad ones do not, and are said.
	a.files("another", string(files.Cert), string(files.Key))
	if got := who(); got != "another" {
		t.Errorf("after the change the certificate is of %s", got)
	}
	if err := os.WriteFile(string(files.Cert), []byte("half a cert"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := who(); got != "another" || !strings.Contains(log.String(), "the changed TLS files are refused") {
		t.Errorf("after a bad change the certificate is of %s; log %s", got, log.String())
	}
	a.files("third", string(files.Cert), string(files.Key))
	if got := who(); got != "third" {
		t.Errorf("after the repair the certificate is of %s", got)
	}

	// As Kubernetes does it: a link to a directory is replaced by another one. What
	// is new has the time, and mostly the size, of what was there.
	at := time.Now().Add(-time.Hour)
	for i, name := range []string{"fourth", "fifth"} {
		version := filepath.Join(dir, name)
		if err := os.Mkdir(version, 0o700); err != nil {
			t.Fatal(err)
		}
		a.files(name, filepath.Join(version, "cert"), filepath.Join(version, "key"))
		for _, f := range []string{"cert", "key"} {
			if err := os.Chtimes(filepath.Join(version, f), at, at); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(name, filepath.Join(dir, "new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			s.mu.Lock()
			s.files.Cert, s.files.Key = config.Path(filepath.Join(dir, "..data", "cert")), config.Path(filepath.Join(dir, "..data", "key"))
			s.mu.Unlock()
		}
		if got := who(); got != name {
			t.Errorf("after a link was replaced the certificate is of %s, want %s", got, name)
		}
	}
	// Gone for a moment.
	if err := os.Remove(filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if got := who(); got != "fifth" {
		t.Errorf("without files the certificate is of %s", got)
	}
	if err := os.Symlink("fourth", filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if got := who(); got != "fourth" {
		t.Errorf("the certificate is of %s", got)
	}

	// With an authority for clients, only its clients come in.
	s.mu.Lock()
	s.files.ClientCA = config.Path(filepath.Join(dir, "ca"))
	s.mu.Unlock()
	if err := os.WriteFile(filepath.Join(dir, "ca"), a.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ask(a.client(nil, nil)); err == nil {
		t.Error("a client without certificate came in")
	}
	_, _, cert, key := newAuthority(t).issue("stranger", false)
	if _, _, err := ask(a.client(cert, key)); err == nil {
		t.Error("a stranger came in")
	}
	_, _, cert, key = a.issue("friend", false)
	if _, _, err := ask(a.client(cert, key)); err != nil {
		t.Error(err)
	}
	// The authority itself is replaced: its old clients stay outside, even with a
	// session of before.
	b := newAuthority(t)
	if err := os.WriteFile(filepath.Join(dir, "ca"), b.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ask(a.client(cert, key)); err == nil {
		t.Error("a client of the old authority came in")
	}
	_, _, cert, key = b.issue("new friend", false)
	if _, _, err := ask(a.client(cert, key)); err != nil {
		t.Error(err)
	}
}

// A client that stops in the middle of a body is cut, and one that has sent it
// all may wait for its answer as long as it takes.
func TestPatientBody(t *testing.T) {
	deadlines := &deadlineWriter{}
	body := &patientBody{ReadCloser: io.NopCloser(strings.NewReader("ab")), c: http.NewResponseController(deadlines)}
	if _, err := io.ReadAll(body); err != nil {
		t.Fatal(err)
	}
	n := len(deadlines.set)
	if n < 2 || deadlines.set[0].IsZero() || !deadlines.set[n-1].IsZero() {
		t.Errorf("deadlines %v", deadlines.set)
	}
}

type deadlineWriter struct {
	http.ResponseWriter
	set []time.Time
}

func (d *deadlineWriter) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func TestBusyAddress(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cfg, _, err := config.Load(config.Options{Preset: "store", Set: []string{"state=" + t.TempDir(), "listen.http=" + ln.Addr().String()}, Env: func(string) (string, bool) { return "", false }})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cfg: cfg, log: slog.New(slog.DiscardHandler)}
	l := &listeners{log: p.log, base: t.Context()}
	if err := p.serveHTTP(l); err == nil || !strings.Contains(err.Error(), "set listen.http to another address") {
		t.Errorf("got %v", err)
	}
}
