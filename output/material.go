package output

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

// material is what an output reads from files besides its configuration:
// certificates and a token. It is read again when a file has changed. There is
// no goroutine: whoever needs the material looks, and a look costs a stat per
// file at most once a second.
type material struct {
	conf   TLS
	bearer string // path
	log    *slog.Logger
	now    func() time.Time

	mu       sync.Mutex
	next     time.Time // no look before
	tlsFiles watched
	tokFiles watched
	cur      snapshot
	failures uint64
	reloads  uint64
}

// snapshot is the material at one moment; immutable.
type snapshot struct {
	tls     *tls.Config // clone before use
	version int         // grows with every change of tls
	token   string      // content of the bearer file
}

const lookEvery = time.Second

// maxTokenFile and maxPEMFile bound what is read of a file.
const (
	maxTokenFile = 64 << 10
	maxPEMFile   = 4 << 20
)

// newMaterial reads the files for the first time; then an error is an error.
func newMaterial(c *HTTPConfig) (*material, error) {
	m := &material{conf: c.TLS, bearer: c.Auth.BearerFile, log: c.Logger, now: c.Now}
	m.tlsFiles.paths = nonEmpty(c.TLS.CA, c.TLS.Cert, c.TLS.Key)
	m.tokFiles.paths = nonEmpty(c.Auth.BearerFile)
	m.tlsFiles.changed()
	m.tokFiles.changed()
	var err error
	if m.cur.tls, err = loadTLS(m.conf); err != nil {
		return nil, err
	}
	if m.bearer != "" {
		if m.cur.token, err = loadToken(m.bearer); err != nil {
			return nil, err
		}
	}
	m.next = m.now().Add(lookEvery)
	return m, nil
}

// Follow returns a function that returns the settings to use now for a client that
// is none of this package's: the files are read again when they change, and what
// they were stays in use while they cannot be. The settings must not be modified.
func (t TLS) Follow(log *slog.Logger) (func() *tls.Config, error) {
	m, err := newMaterial(&HTTPConfig{TLS: t, Logger: log, Now: time.Now})
	if err != nil {
		return nil, err
	}
	return func() *tls.Config { return m.current().tls }, nil
}

// current returns the newest usable material.
func (m *material) current() snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.tlsFiles.paths)+len(m.tokFiles.paths) == 0 {
		return m.cur
	}
	now := m.now()
	if now.Before(m.next) {
		return m.cur
	}
	m.next = now.Add(lookEvery)
	if m.tlsFiles.changed() || m.tlsFiles.failed {
		c, err := loadTLS(m.conf)
		if m.settle(&m.tlsFiles, err, "certificates") {
			m.cur.tls = c
			m.cur.version++
		}
	}
	if m.tokFiles.changed() || m.tokFiles.failed {
		t, err := loadToken(m.bearer)
		if m.settle(&m.tokFiles, err, "token") {
			m.cur.token = t
		}
	}
	return m.cur
}

// settle notes how a reload ended and says whether to use its result. The same
// error is logged once.
func (m *material) settle(w *watched, err error, what string) bool {
	w.failed = err != nil
	if err == nil {
		w.lastErr = ""
		m.reloads++
		m.log.Info("read changed "+what, "files", w.paths)
		return true
	}
	if err.Error() != w.lastErr {
		w.lastErr = err.Error()
		m.failures++
		m.log.Error("changed "+what+" cannot be used, the old stay in use", "error", err)
	}
	return false
}

// look makes the next current look at the files whatever the time: the
// destination refused what we have.
func (m *material) look() {
	m.mu.Lock()
	m.next = time.Time{}
	m.mu.Unlock()
}

func (m *material) stats() (reloads, failures uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reloads, m.failures
}

// watched notices when a file is another than it was: other inode (a rename
// over it, a ConfigMap's symlink swap), size or modification time.
type watched struct {
	paths   []string
	infos   []os.FileInfo
	failed  bool // the last load did not work
	lastErr string
}

// changed looks at the files. It must be called before they are read, so that
// a change during the reading is seen at the next look.
func (w *watched) changed() bool {
	diff := false
	if w.infos == nil {
		w.infos = make([]os.FileInfo, len(w.paths))
	}
	for i, p := range w.paths {
		fi, err := os.Stat(p)
		if err != nil {
			fi = nil
		}
		if !sameFile(fi, w.infos[i]) {
			diff = true
		}
		w.infos[i] = fi
	}
	return diff
}

func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func nonEmpty(paths ...string) []string {
	var out []string
	for _, p := range paths {
		if p != "" {
			out = append(out, p)
		}
	}
	return out
}

// loadTLS returns a configuration made of the files.
func loadTLS(t TLS) (*tls.Config, error) {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         t.ServerName,
		InsecureSkipVerify: t.InsecureSkipVerify, // #nosec G402: the operator's explicit, loudly logged choice
		ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}
	if t.CA != "" {
		pem, err := readBounded(t.CA, maxPEMFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca: %s holds no certificate in PEM form", t.CA)
		}
	}
	if t.Cert != "" {
		cert, err := readBounded(t.Cert, maxPEMFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert: %w", err)
		}
		key, err := readBounded(t.Key, maxPEMFile)
		if err != nil {
			return nil, fmt.Errorf("tls.key: %w", err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("tls.cert %s with tls.key %s: %w", t.Cert, t.Key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func loadToken(path string) (string, error) {
	p, err := readBounded(path, maxTokenFile)
	if err != nil {
		return "", fmt.Errorf("auth.bearer_file: %w", err)
	}
	t := string(bytes.TrimSpace(p))
	if t == "" || !validHeaderValue(t) {
		return "", fmt.Errorf("auth.bearer_file: %s holds no usable token", path)
	}
	return t, nil
}

var errFileTooLarge = errors.New("the file is too large")

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	p, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(p)) > limit {
		return nil, fmt.Errorf("%s: %w", path, errFileTooLarge)
	}
	return p, nil
}
