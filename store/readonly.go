package store

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrReadOnly says that the store was opened for reading only.
var ErrReadOnly = errors.New("store was opened for reading only")

// sharedLocker is an FS that several readers may have at a time, but not beside
// one who writes. One without it is locked for this process alone.
type sharedLocker interface {
	LockShared(name string) (io.Closer, error)
}

// letWrite gives a store that is read to whoever wants to write to it: rows that
// were in the log are in memory now, and files that are open stay readable when
// they are removed. So a reader that a pager holds up for hours keeps no weir from
// starting, and has what was there when it began. With more segments than
// a process can have open the store is kept.
func (s *Store) letWrite() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || uint64(len(s.segments)) > limit.Cur/4 {
		return nil
	}
	for _, g := range s.segments {
		// What is not there now fails when it is asked for.
		if _, _, err := g.files(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		g.hold() // until the store is closed: a query's end closes files that nobody has
	}
	lock := s.lock
	s.lock = nil
	return lock.Close()
}

// readOnlyFS shows a file system and keeps every change to it in memory, where
// nothing needs to be made durable. So recovery is the same whether a store is
// opened for writing or not: only what it tidies up is tidied up once more by
// whoever opens it next.
type readOnlyFS struct {
	under FS

	mu    sync.Mutex
	files map[string]*memFile // written here
	moved map[string]string   // renamed here: where it is below
	gone  map[string]bool     // of under: removed or replaced here
}

func newReadOnlyFS(under FS) *readOnlyFS {
	return &readOnlyFS{under: under, files: make(map[string]*memFile), moved: make(map[string]string), gone: make(map[string]bool)}
}

// Create implements FS.
func (r *readOnlyFS) Create(name string) (File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := &memFile{}
	r.files[name] = f
	delete(r.moved, name)
	return f, nil
}

// Open implements FS.
func (r *readOnlyFS) Open(name string, write bool) (File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.files[name]; f != nil {
		return f, nil
	}
	below := r.below(name)
	if below == "" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	f, err := r.under.Open(below, false)
	if err != nil || !write {
		return f, err
	}
	b, err := readFile(f)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	m := &memFile{b: b}
	r.files[name] = m
	return m, nil
}

// below returns the name below of a file that was not written here, "" if it is
// gone.
func (r *readOnlyFS) below(name string) string {
	if from := r.moved[name]; from != "" {
		return from
	}
	if r.gone[name] {
		return ""
	}
	return name
}

// Remove implements FS.
func (r *readOnlyFS) Remove(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.has(name) {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	r.forget(name)
	return nil
}

// has reports whether a file is there. mu is held.
func (r *readOnlyFS) has(name string) bool {
	return r.files[name] != nil || r.moved[name] != "" || !r.gone[name] && r.exists(name)
}

// forget takes a name away. mu is held.
func (r *readOnlyFS) forget(name string) {
	delete(r.files, name)
	delete(r.moved, name)
	r.gone[name] = true
}

// exists reports whether a file is there below.
func (r *readOnlyFS) exists(name string) bool {
	names, err := r.under.ReadDir(path.Dir(name))
	return err == nil && slices.Contains(names, path.Base(name))
}

// Rename implements FS.
func (r *readOnlyFS) Rename(from, to string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.has(from) {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	f, below := r.files[from], r.below(from)
	r.forget(from)
	r.forget(to)
	if f != nil {
		r.files[to] = f
	} else {
		r.moved[to] = below
	}
	return nil
}

// Link implements FS.
func (r *readOnlyFS) Link(string, string) error { return ErrReadOnly }

// ReadDir implements FS.
func (r *readOnlyFS) ReadDir(name string) ([]string, error) {
	under, err := r.under.ReadDir(name)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.DeleteFunc(slices.Clone(under), func(n string) bool { return r.gone[path.Join(name, n)] })
	here := slices.AppendSeq(slices.Collect(maps.Keys(r.files)), maps.Keys(r.moved))
	for _, file := range here {
		rest := file
		if name != "." {
			var ok bool
			if rest, ok = strings.CutPrefix(file, name+"/"); !ok {
				continue
			}
		}
		first, _, deeper := strings.Cut(rest, "/")
		if deeper {
			first += "/"
		}
		out = append(out, first)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// MkdirAll implements FS: directories are there when a file is.
func (r *readOnlyFS) MkdirAll(string) error { return nil }

// SyncDir implements FS.
func (r *readOnlyFS) SyncDir(string) error { return nil }

// Free implements FS.
func (r *readOnlyFS) Free() (uint64, error) { return r.under.Free() }

// Lock implements FS: nobody may write while this is being opened.
func (r *readOnlyFS) Lock(name string) (io.Closer, error) {
	if l, ok := r.under.(sharedLocker); ok {
		return l.LockShared(name)
	}
	return r.under.Lock(name)
}

// LockShared takes the store for readers. A directory that has never been locked
// is no running store's.
func (d dirFS) LockShared(name string) (io.Closer, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(nil), nil
	}
	if err != nil {
		return nil, err
	}
	return d.flock(f, unix.LOCK_SH)
}

// memFile is a file in memory.
type memFile struct {
	mu sync.RWMutex
	b  []byte
}

// ReadAt implements io.ReaderAt.
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if off >= int64(len(f.b)) {
		return 0, io.EOF
	}
	n := copy(p, f.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.grow(int(off) + len(p))
	return copy(f.b[off:], p), nil
}

func (f *memFile) grow(n int) {
	if more := n - len(f.b); more > 0 {
		f.b = append(f.b, make([]byte, more)...)
	}
}

// Sync implements File.
func (f *memFile) Sync() error { return nil }

// Truncate implements File.
func (f *memFile) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.grow(int(size))
	f.b = f.b[:size]
	return nil
}

// Size implements File.
func (f *memFile) Size() (int64, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return int64(len(f.b)), nil
}

// Close implements File.
func (f *memFile) Close() error { return nil }
