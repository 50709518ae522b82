package output

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirlog/weir/ack"
)

// authority is a certificate authority made for a test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

var serial int64

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// issue returns certificate and key in PEM form.
func (a *authority) issue(name string) (cert, key string) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	kder, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: kder}))
}

// tlsState is what a TLS server uses at the moment, and whom it saw.
type tlsState struct {
	mu      sync.Mutex
	cert    tls.Certificate
	clients *x509.CertPool
	seen    string // common name of the last client
}

func (s *tlsState) use(t testing.TB, cert, key string, clients *authority) {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cert, s.clients = pair, nil
	if clients != nil {
		s.clients = x509.NewCertPool()
		s.clients.AddCert(clients.cert)
	}
}

func (s *tlsState) config(*tls.ClientHelloInfo) (*tls.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &tls.Config{Certificates: []tls.Certificate{s.cert}, NextProtos: []string{"h2", "http/1.1"}}
	if s.clients != nil {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, s.clients
	}
	return c, nil
}

func (s *tlsState) server(t testing.TB, h2 bool) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen = ""
		if len(r.TLS.PeerCertificates) > 0 {
			s.seen = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		if h2 != (r.ProtoMajor == 2) {
			t.Errorf("protocol %s", r.Proto)
		}
	}))
	srv.EnableHTTP2 = h2
	srv.TLS = &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := s.config(h)
		if !h2 {
			c.NextProtos = nil
		}
		return c, err
	}}
	srv.Config.ErrorLog = quiet
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

func (s *tlsState) client() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace renames a new file over path: another inode.
func replace(t testing.TB, path, content string) {
	t.Helper()
	write(t, path+".new", content)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// configMap lays files out the way kubelet does and swaps them atomically:
// dir/name → ..data/name, ..data → a new directory each time.
func configMap(t testing.TB, dir, version string, files map[string]string) {
	t.Helper()
	gen := filepath.Join(dir, ".."+version)
	if err := os.Mkdir(gen, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		write(t, filepath.Join(gen, name), content)
	}
	if err := os.Symlink(".."+version, filepath.Join(dir, "..tmp")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	for name := range files {
		_ = os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)) // exists after the first time
	}
}

func TestFailure89_CertificatesAreReadAgain(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP1", true: "HTTP2"}[h2], func(t *testing.T) {
			caA, caB := newAuthority(t, "A"), newAuthority(t, "B")
			st := new(tlsState)
			cert, key := caA.issue("backend")
			st.use(t, cert, key, caA)
			srv := st.server(t, h2)
			clk := newClock()
			log, logged := logTo()

			dir := t.TempDir()
			files := func(ca *authority, client string) map[string]string {
				c, k := ca.issue(client)
				return map[string]string{"ca.crt": ca.pem, "tls.crt": c, "tls.key": k}
			}
			configMap(t, dir, "1", files(caA, "client-1"))
			o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{
				URL: srv.URL, Now: clk.now, Logger: log,
				TLS: TLS{CA: dir + "/ca.crt", Cert: dir + "/tls.crt", Key: dir + "/tls.key"},
			}})
			send := func(want string) {
				t.Helper()
				clk.add(2 * time.Second)
				if _, err := o.Send(t.Context(), someParts("a")); err != nil {
					t.Fatal(err)
				}
				if got := st.client(); got != want {
					t.Fatalf("the server saw %q, want %q", got, want)
				}
			}
			send("client-1")
			// The client's certificate is rotated by a symlink swap: a new
			// connection shows it, with no failure in between.
			configMap(t, dir, "2", files(caA, "client-2"))
			send("client-2")
			// Bad files: the old ones stay in use.
			bad := files(caA, "client-3")
			bad["tls.key"] = "garbage"
			configMap(t, dir, "3", bad)
			send("client-2")
			configMap(t, dir, "4", map[string]string{"ca.crt": "no pem", "tls.crt": "", "tls.key": ""})
			send("client-2")
			send("client-2")
			if used, failed := o.Reloads(); used != 1 || failed != 2 {
				t.Errorf("reloads: %d used, %d failed; want 1 and 2", used, failed)
			}
			if n := strings.Count(logged.String(), "cannot be used"); n != 2 {
				t.Errorf("logged %d times:\n%s", n, logged)
			}
			// The server moves to another authority: refused until the file follows.
			cert, key = caB.issue("backend")
			st.use(t, cert, key, caB)
			clk.add(10 * time.Minute) // ends the connection
			_, err := o.Send(t.Context(), someParts("a"))
			wantKind(t, err, ack.Retry)
			configMap(t, dir, "5", files(caB, "client-5"))
			send("client-5")
		})
	}
}

func TestTLSVerifies(t *testing.T) {
	ca, other := newAuthority(t, "A"), newAuthority(t, "B")
	st := new(tlsState)
	cert, key := ca.issue("backend.test")
	st.use(t, cert, key, nil)
	srv := st.server(t, true)
	dir := t.TempDir()
	write(t, dir+"/ca", ca.pem)
	write(t, dir+"/other", other.pem)
	for name, c := range map[string]struct {
		tls TLS
		ok  bool
	}{
		"address in the certificate": {TLS{CA: dir + "/ca"}, true},
		"server name":                {TLS{CA: dir + "/ca", ServerName: "backend.test"}, true},
		"other server name":          {TLS{CA: dir + "/ca", ServerName: "evil.test"}, false},
		"other authority":            {TLS{CA: dir + "/other"}, false},
		"system's authorities":       {TLS{}, false},
		"no verification":            {TLS{InsecureSkipVerify: true}, true},
	} {
		log, logged := logTo()
		o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: srv.URL, TLS: c.tls, Logger: log}})
		_, err := o.Send(t.Context(), someParts("a"))
		if (err == nil) != c.ok {
			t.Errorf("%s: error %v", name, err)
		}
		if c.tls.InsecureSkipVerify != strings.Contains(logged.String(), "NOT verified") {
			t.Errorf("%s: log %s", name, logged)
		}
	}
}

func TestTLSOldVersionsAreRefused(t *testing.T) {
	ca := newAuthority(t, "A")
	cert, key := ca.issue("x")
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	srv.Config.ErrorLog = quiet
	srv.StartTLS()
	defer srv.Close()
	dir := t.TempDir()
	write(t, dir+"/ca", ca.pem)
	o := newJSONL(t, JSONLConfig{HTTPConfig: HTTPConfig{URL: srv.URL, TLS: TLS{CA: dir + "/ca"}}})
	_, err = o.Send(t.Context(), someParts("a"))
	if se := wantKind(t, err, ack.Retry); !strings.Contains(se.Error(), "protocol version") {
		t.Errorf("error %v", se)
	}
}
