package gateway

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// TokenFiles are bearer tokens in files that change, such as a mounted Secret:
// each line of a file is a token, or sha256: and its hash. Tokens that vanish are
// good no longer.
type TokenFiles struct {
	// Path is a file, or a directory of them, in which names that start with a dot
	// do not count. The name of the file is that of the user.
	Path string
	// Tenant, Scopes and Relay are as those of a User.
	Tenant string
	Scopes []string
	Relay  bool
}

// What a directory of tokens may hold.
const (
	maxTokenFiles = 10_000
	maxTokenFile  = 1 << 20 // bytes
	tokenCheck    = time.Second
)

type tokenFiles struct {
	TokenFiles
	bucket func(Secret) uint64
	log    *slog.Logger
	now    func() time.Time

	mu      sync.RWMutex
	known   map[uint64][]*User
	n       int
	stamp   string
	checked time.Time
	failed  string // stamp of what could not be read
}

// newTokenFiles reads the files once, so that what is wrong shows at the start.
func newTokenFiles(c TokenFiles, bucket func(Secret) uint64, log *slog.Logger, now func() time.Time) (*tokenFiles, error) {
	t := &tokenFiles{TokenFiles: c, bucket: bucket, log: log, now: now}
	probe := User{Name: "x", Secret: NewSecret("x"), Tenant: c.Tenant, Scopes: c.Scopes}
	if err := probe.check(); err != nil {
		return nil, fmt.Errorf("tokens in %s: %w", c.Path, err)
	}
	if t.Scopes == nil {
		t.Scopes = []string{ScopeIngest, ScopeQuery}
	}
	t.stamp = t.look()
	if err := t.load(); err != nil {
		return nil, err
	}
	t.checked = now()
	return t, nil
}

func (t *tokenFiles) len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.n
}

// find returns the user with that token, nil if there is none.
func (t *tokenFiles) find(bucket uint64, sum *Secret) (u *User) {
	t.refresh()
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, x := range t.known[bucket] {
		if subtle.ConstantTimeCompare(sum[:], x.Secret[:]) == 1 {
			u = x
		}
	}
	return u
}

// refresh reads the files again if they have changed; it looks once a second.
func (t *tokenFiles) refresh() {
	now := t.now()
	t.mu.RLock()
	fresh := now.Sub(t.checked) < tokenCheck
	t.mu.RUnlock()
	if fresh {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.checked) < tokenCheck {
		return
	}
	t.checked = now
	stamp := t.look()
	if stamp == t.stamp || stamp == t.failed {
		return
	}
	if err := t.load(); err != nil {
		// Perhaps in the middle of a change.
		t.failed = stamp
		t.log.Error("the changed tokens are refused; the old ones stay in force", "error", err)
		return
	}
	t.stamp, t.failed = stamp, ""
	t.log.Info("tokens read again", "path", t.Path, "tokens", t.n)
}

// look returns a text that changes with the files.
func (t *tokenFiles) look() string {
	var out strings.Builder
	out.WriteString("files:") // none are not what never failed
	_ = t.each(func(name string, f fs.FileInfo) error {
		fmt.Fprintf(&out, "%s %d %d;", name, f.ModTime().UnixNano(), f.Size())
		return nil
	})
	// A mounted Secret changes by a link that is swapped.
	if link, err := os.Readlink(filepath.Join(t.Path, "..data")); err == nil {
		out.WriteString(link)
	}
	return out.String()
}

// each calls f for every file, by a name below Path; "" is Path itself.
func (t *tokenFiles) each(f func(name string, info fs.FileInfo) error) error {
	info, err := os.Stat(t.Path)
	if err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	if !info.IsDir() {
		return f("", info)
	}
	list, err := os.ReadDir(t.Path)
	if err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	if len(list) > maxTokenFiles {
		return fmt.Errorf("tokens in %s: more than %d files", t.Path, maxTokenFiles)
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		info, err := os.Stat(filepath.Join(t.Path, e.Name()))
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
			continue
		}
		if err != nil {
			return fmt.Errorf("tokens: %w", err)
		}
		if err := f(e.Name(), info); err != nil {
			return err
		}
	}
	return nil
}

func (t *tokenFiles) load() error {
	known, n := make(map[uint64][]*User), 0
	err := t.each(func(name string, info fs.FileInfo) error {
		path := filepath.Join(t.Path, name)
		if !info.Mode().IsRegular() {
			return fmt.Errorf("tokens: %s is no regular file", path)
		}
		text, err := readAtMost(path, maxTokenFile)
		if err != nil {
			return fmt.Errorf("tokens: %w", err)
		}
		user := filepath.Base(path)
		for i, line := range bytes.Split(text, []byte("\n")) {
			line := string(bytes.TrimSpace(line))
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			s := NewSecret(line)
			if hash, ok := strings.CutPrefix(line, "sha256:"); ok {
				// Not a word of the line: what is no hash may be a token.
				if s, err = ParseSecret(strings.TrimSpace(hash)); err != nil || s.bad() {
					return fmt.Errorf("tokens: %s:%d: behind sha256: there are not the 64 hexadecimal digits of a token's hash", path, i+1)
				}
			}
			u := &User{Name: user, Secret: s, Tenant: t.Tenant, Scopes: t.Scopes, Relay: t.Relay}
			if _, err := u.tenantOf(&Workload{}); err != nil {
				return fmt.Errorf("tokens: %s: the file's name is no tenant", path)
			}
			b := t.bucket(s)
			known[b] = append(known[b], u)
			n++
		}
		return nil
	})
	if err == nil {
		t.known, t.n = known, n
	}
	return err
}

func readAtMost(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(p)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return p, err
}
