package client

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"
)

// quiet is how long the same trouble is not told again.
const quiet = time.Minute

// trouble tells the program's own log what goes wrong: changes, not attempts.
type trouble struct {
	log       *slog.Logger
	recovered uint64

	mu       sync.Mutex
	told     map[string]time.Time
	last     error // of a gateway
	lastAt   time.Time
	rejected uint64 // not told yet
}

// due reports whether what is called key may be told; t.mu is held.
func (t *trouble) due(key string) bool {
	now := time.Now()
	if at, ok := t.told[key]; ok && now.Sub(at) < quiet {
		return false
	}
	if t.told == nil {
		t.told = make(map[string]time.Time)
	}
	t.told[key] = now
	return true
}

func (t *trouble) fails(u *url.URL, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last, t.lastAt = fmt.Errorf("%s: %w", u.Host, err), time.Now()
	if t.due("fails " + u.Host) {
		t.log.Warn("weir client: a gateway does not take logs; they wait, or go to another", "gateway", u.Host, "err", err)
	}
}

func (t *trouble) works(u *url.URL, failures int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.due("works " + u.Host) {
		t.log.Info("weir client: the gateway takes logs again", "gateway", u.Host, "failures", failures)
	}
}

func (t *trouble) refused(records uint64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rejected += records
	if t.due("refused") {
		t.log.Error("weir client: the gateway has refused records for good", "records", t.rejected, "err", err)
		t.rejected = 0
	}
}

func (t *trouble) warned(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.due("warned") {
		t.log.Warn("weir client: the gateway has taken all, and says", "message", err)
	}
}

// spool tells that the spool does not take records, or, without an error, that it
// does again.
func (t *trouble) spool(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		if t.due("spool works") {
			t.log.Info("weir client: the spool takes records again")
		}
	case errors.Is(err, errSpoolFull):
		if t.due("spool full") {
			t.log.Warn("weir client: the spool is full; records stay in memory while there is room")
		}
	case t.due("spool"):
		t.log.Error("weir client: the spool cannot be written; records stay in memory while there is room", "err", err)
	}
}

func (t *trouble) spoolRead(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.due("spool read") {
		t.log.Error("weir client: a part of the spool cannot be read", "err", err)
	}
}

func (t *trouble) tls(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.due("tls") {
		t.log.Warn("weir client: changed certificates cannot be used; the old ones are", "err", err)
	}
}

// with adds the last error of a gateway to err.
func (t *trouble) with(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil || t.last == nil {
		return err
	}
	return fmt.Errorf("%w; the last answer of a gateway: %w", err, t.last)
}
