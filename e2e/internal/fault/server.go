package fault

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/weirlog/weir/e2e/internal/account"
)

// Server is a sink's port, which can be closed and opened again. HTTP/1.1
// only, since faults cut connections.
type Server struct {
	Handler http.Handler
	TLS     *tls.Config // nil: plain

	mu    sync.Mutex
	addr  string
	srv   *http.Server
	serve sync.WaitGroup
}

// Up opens the port: addr the first time, later the same again.
func (s *Server) Up(addr string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.srv != nil {
		return nil
	}
	if s.addr != "" {
		addr = s.addr
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s.addr = ln.Addr().String()
	srv := &http.Server{
		Handler: s.Handler, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 30 * time.Second,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	s.srv = srv
	if s.TLS != nil {
		ln = tls.NewListener(ln, s.TLS)
	}
	s.serve.Go(func() { srv.Serve(ln) })
	return nil
}

// Down closes the port and every connection.
func (s *Server) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.srv != nil {
		s.srv.Close()
		s.srv = nil
	}
	s.serve.Wait()
}

// Addr returns host:port.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Control is the handler of a sink's second port, where no fault strikes:
//
//	GET  /_control            faults, their counts and the account's counters
//	POST /_control            changes the faults named in the JSON object
//	GET  /_verdict?log=FILE   compares with the generator's journal; streams=1 for all streams
//	POST /_flush              hands the arrivals journal to the operating system
//
// extra adds to what GET /_control says.
func Control(in *Injector, s *Server, a *account.Account, extra func() map[string]any) http.Handler {
	mux := http.NewServeMux()
	show := func(w http.ResponseWriter) {
		m := map[string]any{"faults": in.Config(), "counts": in.Counts(), "account": a.Stats()}
		if extra != nil {
			for k, v := range extra() {
				m[k] = v
			}
		}
		writeJSON(w, m)
	}
	mux.HandleFunc("GET /_control", func(w http.ResponseWriter, r *http.Request) { show(w) })
	mux.HandleFunc("POST /_control", func(w http.ResponseWriter, r *http.Request) {
		p, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err == nil {
			err = in.Merge(p)
		}
		if err == nil && s != nil {
			if in.Config().Down {
				s.Down()
			} else {
				err = s.Up("")
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		show(w)
	})
	mux.HandleFunc("GET /_verdict", func(w http.ResponseWriter, r *http.Request) {
		v, err := a.Verify(r.FormValue("log"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if r.FormValue("streams") == "" {
			v.Streams = nil
		}
		writeJSON(w, v)
	})
	mux.HandleFunc("POST /_flush", func(w http.ResponseWriter, r *http.Request) {
		if err := a.Flush(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	return mux
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.Encode(v)
}

// Loopback refuses addresses that others could reach: the sinks have no
// protection of their own.
func Loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s is not a loopback address", addr)
	}
	return nil
}

// SelfSigned makes a certificate for localhost and writes it to certFile, for
// clients to trust. clientCA, if not empty, is a file with the CA that clients'
// certificates must come from.
func SelfSigned(certFile, clientCA string) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "weir e2e sink"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	if certFile != "" {
		if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
			return nil, err
		}
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	if clientCA != "" {
		p, err := os.ReadFile(clientCA)
		if err != nil {
			return nil, err
		}
		cfg.ClientCAs, cfg.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !cfg.ClientCAs.AppendCertsFromPEM(p) {
			return nil, errors.New("no certificate in " + clientCA)
		}
	}
	return cfg, nil
}

// Run serves the sink on addr and its control on controlAddr until ctx ends.
// When both are open it prints one line of JSON with their URLs to out.
func Run(ctx context.Context, s *Server, addr, controlAddr string, control http.Handler, out io.Writer) error {
	for _, a := range []string{addr, controlAddr} {
		if err := Loopback(a); err != nil {
			return err
		}
	}
	if err := s.Up(addr); err != nil {
		return err
	}
	defer s.Down()
	c := &Server{Handler: control}
	if err := c.Up(controlAddr); err != nil {
		return err
	}
	defer c.Down()
	scheme := "http://"
	if s.TLS != nil {
		scheme = "https://"
	}
	if err := json.NewEncoder(out).Encode(map[string]string{"url": scheme + s.Addr(), "control": "http://" + c.Addr()}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
