package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

const (
	lockName = "checkpoint.lock"
	logName  = "checkpoint.log"
	tmpName  = "checkpoint.tmp"
	// badName is where a log with damage in its middle is kept when a new one
	// takes its place. There is at most one; a later one replaces it.
	badName = "checkpoint.damaged"

	// The log is rewritten when it is longer than slack + factor × live data.
	factor = 4
	slack  = 1 << 20
	// snapshotFrame is the size at which a snapshot starts a new frame, so
	// that damage to it costs only some of the keys.
	snapshotFrame = 256 << 10
)

// Errors that Open and Sync wrap.
var (
	ErrLocked   = errors.New("state directory is locked")
	ErrVersion  = errors.New("unknown format version")
	ErrReadOnly = errors.New("checkpoint store is read-only")
	ErrClosed   = errors.New("checkpoint store is closed")
)

// Store is a durable map from string keys to small values. It is safe for
// concurrent use.
type Store struct {
	dir      string
	readOnly bool
	lock     *os.File

	mu    sync.Mutex // guards the maps
	vals  map[string][]byte
	dirty map[string]bool // changed since the last successful Sync
	live  int64           // Σ len(key)+len(value)

	io       sync.Mutex // guards what is below; taken before mu
	log      *os.File
	end      int64  // offset behind the last good frame
	seq      uint64 // of the last good frame
	unsynced bool   // frames were written since the last fsync
	rewrite  bool   // the log's state is not trusted: replace it before going on
	keepBad  bool   // the present log is damaged: keep it when it is replaced
	retryAt  int64  // log length at which a failed rewrite is tried again
	closed   bool
	damage   Damage
	rewrites int
	buf      []byte

	// fault, in tests, is asked before every write to disk.
	fault func(op string, size int) (n int, err error)
}

// Open opens the store in dir, creating the directory (mode 0700) and the
// store as needed, and takes its lock. It wraps ErrLocked if another process
// has the store open, naming that process, and ErrVersion if a version of the
// program that this one does not know wrote the log; nothing is changed then.
// What is damaged is left out and reported by Damage.
func Open(dir string) (*Store, error) {
	return open(dir, nil)
}

func open(dir string, fault func(string, int) (int, error)) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create state directory: %w", err)
	}
	lk, err := lock(dir)
	if err != nil {
		return nil, err
	}
	s := newStore(dir)
	s.lock = lk
	s.fault = fault
	if err := s.load(); err != nil {
		lk.Close()
		return nil, err
	}
	return s, nil
}

// Read opens the store in dir as it was at its writer's last Flush or Sync, without a
// lock and without writing anything: Sync returns ErrReadOnly. It wraps
// fs.ErrNotExist if there is none.
func Read(dir string) (*Store, error) {
	b, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	s := newStore(dir)
	s.readOnly = true
	if v, ok := parseHeader(b); ok && v != fileVersion {
		return nil, s.versionError(v)
	}
	_, _, s.damage = replay(b, s.set, s.unset)
	return s, nil
}

func newStore(dir string) *Store {
	return &Store{dir: dir, vals: make(map[string][]byte), dirty: make(map[string]bool)}
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Store) versionError(v uint32) error {
	return fmt.Errorf("checkpoint %s has format version %d, this program knows %d: use the program that wrote it, or another state directory: %w",
		s.path(logName), v, fileVersion, ErrVersion)
}

// load reads the log and makes it ready for appending.
func (s *Store) load() error {
	// What a crash left of an unfinished rewrite was never used.
	if err := os.Remove(s.path(tmpName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove unfinished checkpoint: %w", err)
	}
	f, err := os.OpenFile(s.path(logName), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		s.rewrite = true // the first Sync makes the log; a full disk may wait till then
		return nil
	}
	if err != nil {
		return fmt.Errorf("open checkpoint: %w", err)
	}
	b, err := os.ReadFile(s.path(logName))
	if err != nil {
		f.Close()
		return fmt.Errorf("read checkpoint: %w", err)
	}
	if v, ok := parseHeader(b); ok && v != fileVersion {
		f.Close()
		return s.versionError(v)
	}
	s.log = f
	s.end, s.seq, s.damage = replay(b, s.set, s.unset)
	if len(b) == 0 || s.damage.Places > 0 {
		// Do not append behind damage; the first Sync writes a new log.
		s.rewrite, s.keepBad = true, len(b) > 0
		return nil
	}
	if s.damage.Torn > 0 {
		// Later frames overwrite the torn one; cutting it off is only neat.
		f.Truncate(s.end)
	}
	return nil
}

func (s *Store) set(key string, value []byte) {
	if old, ok := s.vals[key]; ok {
		s.live -= int64(len(key) + len(old))
	}
	s.vals[key] = slices.Clone(value)
	s.live += int64(len(key) + len(value))
}

func (s *Store) unset(key string) {
	if old, ok := s.vals[key]; ok {
		s.live -= int64(len(key) + len(old))
		delete(s.vals, key)
	}
}

// Get returns the value of key, which must not be modified.
func (s *Store) Get(key string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.vals[key]
	return v, ok
}

// Range calls f, in the order of the keys, for every key with the prefix until
// f returns false. It sees the keys of the moment it was called; f may change
// the store.
func (s *Store) Range(prefix string, f func(key string, value []byte) bool) {
	s.mu.Lock()
	keys := make([]string, 0, len(s.vals))
	for k := range s.vals {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	s.mu.Unlock()
	slices.Sort(keys)
	for _, k := range keys {
		if v, ok := s.Get(k); ok && !f(k, v) {
			return
		}
	}
}

// Put sets the value of key; value is copied. It is durable after the next
// successful Sync.
func (s *Store) Put(key string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.vals[key]; ok && string(old) == string(value) {
		return
	}
	s.set(key, value)
	s.dirty[key] = true
}

// Delete removes key. It is durable after the next successful Sync.
func (s *Store) Delete(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.vals[key]; !ok {
		return
	}
	s.unset(key)
	s.dirty[key] = true
}

// Len returns the number of keys.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.vals)
}

// Damage returns what opening the store found broken.
func (s *Store) Damage() Damage { return s.damage }

// Sync makes all changes so far durable, together. After an error what was
// durable before still is, and the next Sync carries the changes again.
func (s *Store) Sync() error {
	s.io.Lock()
	defer s.io.Unlock()
	return s.save(true)
}

// Flush hands all changes so far to the kernel, together: they outlive this
// process, but a crash of the machine only after the next Sync. It is cheap
// where Sync waits for the disk. After an error the next Sync or Flush carries
// the changes again.
func (s *Store) Flush() error {
	s.io.Lock()
	defer s.io.Unlock()
	return s.save(s.rewrite)
}

func (s *Store) save(durable bool) error {
	switch {
	case s.readOnly:
		return ErrReadOnly
	case s.closed:
		return ErrClosed
	}

	s.mu.Lock()
	changed := s.dirty
	if len(changed) == 0 && !s.rewrite && !(durable && s.unsynced) {
		s.mu.Unlock()
		return nil
	}
	s.dirty = make(map[string]bool)
	tooLong := s.end > slack+factor*s.live && s.end > s.retryAt
	s.mu.Unlock()

	err := s.write(changed, tooLong, durable)
	if err != nil {
		s.mu.Lock()
		for k := range changed {
			s.dirty[k] = true
		}
		s.mu.Unlock()
		return fmt.Errorf("write checkpoint in %s: %w", s.dir, err)
	}
	return nil
}

func (s *Store) write(changed map[string]bool, tooLong, durable bool) error {
	if s.rewrite || tooLong && durable {
		err := s.replace()
		if err == nil || s.rewrite {
			return err
		}
		// No room for a second log, perhaps, but there may be for a frame.
		s.retryAt = s.end + slack
	}
	if len(changed) > 0 {
		if err := s.append(changed); err != nil {
			return err
		}
	}
	if !durable {
		return nil
	}
	if err := s.syncFile(s.log); err != nil {
		// The kernel may have dropped the pages and will call the next fsync a
		// success: this file is not to be trusted any more.
		s.rewrite = true
		return err
	}
	s.unsynced = false
	return nil
}

// append adds one frame with the present values of the given keys.
func (s *Store) append(changed map[string]bool) error {
	keys := make([]string, 0, len(changed))
	for k := range changed {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	s.buf = beginFrame(s.buf[:0])
	s.mu.Lock()
	for _, k := range keys {
		if v, ok := s.vals[k]; ok {
			s.buf = appendPut(s.buf, k, v)
		} else {
			s.buf = appendDelete(s.buf, k)
		}
	}
	s.mu.Unlock()
	if len(s.buf)-frameHeader > maxFrame {
		return fmt.Errorf("%d bytes of changes exceed the frame limit of %d", len(s.buf), maxFrame)
	}
	s.buf = endFrame(s.buf, 0, s.seq+1)

	if err := s.writeAt(s.log, s.buf, s.end); err != nil {
		// The next frame goes to the same place. Cutting the rest off frees
		// its room; if that fails too, the reader skips it.
		s.log.Truncate(s.end)
		return err
	}
	s.end += int64(len(s.buf))
	s.seq++
	s.unsynced = true
	return nil
}

// replace writes everything to a new log and puts it in the old one's place.
// Keys that change while it runs stay dirty and are carried again.
func (s *Store) replace() error {
	tmp, err := os.OpenFile(s.path(tmpName), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	renamed := false
	defer func() {
		if !renamed {
			tmp.Close()
			os.Remove(s.path(tmpName))
		}
	}()

	seq := s.seq
	s.buf = appendHeader(s.buf[:0])
	s.mu.Lock()
	keys := make([]string, 0, len(s.vals))
	for k := range s.vals {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	start := -1
	for _, k := range keys {
		if start >= 0 && len(s.buf)-start > snapshotFrame {
			seq++
			s.buf = endFrame(s.buf, start, seq)
			start = -1
		}
		if start < 0 {
			start = len(s.buf)
			s.buf = beginFrame(s.buf)
		}
		s.buf = appendPut(s.buf, k, s.vals[k])
	}
	s.mu.Unlock()
	if start >= 0 {
		seq++
		s.buf = endFrame(s.buf, start, seq)
	}

	if err := s.writeAt(tmp, s.buf, 0); err != nil {
		return err
	}
	if err := s.syncFile(tmp); err != nil {
		return err
	}
	if s.keepBad {
		// Best effort: what cannot be kept for a look must not stop the work.
		os.Remove(s.path(badName))
		os.Link(s.path(logName), s.path(badName))
	}
	if err := s.rename(); err != nil {
		return err
	}
	renamed = true // from here on the new log is what a reader finds
	old := s.log
	s.log, s.end, s.seq = tmp, int64(len(s.buf)), seq
	s.rewrite, s.keepBad, s.unsynced, s.retryAt = false, false, false, 0
	s.rewrites++
	if old != nil {
		old.Close()
	}
	if cap(s.buf) > 4<<20 {
		s.buf = nil
	}
	if err := s.syncDir(); err != nil {
		// Not durable under its name yet: write and rename once more.
		s.rewrite = true
		return err
	}
	return nil
}

func (s *Store) writeAt(f *os.File, p []byte, off int64) error {
	if s.fault != nil {
		if n, err := s.fault("write", len(p)); err != nil {
			f.WriteAt(p[:n], off)
			return err
		}
	}
	_, err := f.WriteAt(p, off)
	return err
}

func (s *Store) syncFile(f *os.File) error {
	if s.fault != nil {
		if _, err := s.fault("sync", 0); err != nil {
			return err
		}
	}
	return f.Sync()
}

func (s *Store) rename() error {
	if s.fault != nil {
		if _, err := s.fault("rename", 0); err != nil {
			return err
		}
	}
	return os.Rename(s.path(tmpName), s.path(logName))
}

func (s *Store) syncDir() error {
	if s.fault != nil {
		if _, err := s.fault("syncdir", 0); err != nil {
			return err
		}
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// Close makes the last changes durable and gives the lock back. The store must
// not be used afterwards; closing it again does nothing.
func (s *Store) Close() error {
	s.io.Lock()
	defer s.io.Unlock()
	if s.closed || s.readOnly {
		s.closed = true
		return nil
	}
	err := s.save(true)
	s.closed = true
	if s.log != nil {
		err = errors.Join(err, s.log.Close())
	}
	return errors.Join(err, s.lock.Close())
}
