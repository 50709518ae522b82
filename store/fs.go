package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FS is the file system as the store uses it. Names are relative to the store's
// directory, with slashes. Tests put one in its place that fails and forgets.
type FS interface {
	// Create makes a file, or empties the one that is there.
	Create(name string) (File, error)
	// Open opens a file for reading and, if write is set, writing.
	Open(name string, write bool) (File, error)
	Remove(name string) error
	Rename(from, to string) error
	// Link makes a second name for a file; to is a path of the system, not of
	// the store.
	Link(name, to string) error
	// ReadDir returns the names in a directory, sorted; directories end in a
	// slash. One that is not there is empty.
	ReadDir(name string) ([]string, error)
	MkdirAll(name string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// Free is how many bytes may still be written.
	Free() (uint64, error)
	// Lock takes the store for this process alone, until the Closer is closed.
	Lock(name string) (io.Closer, error)
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when what was written is durable.
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
	Close() error
}

// ErrLocked says that another process has the store.
var ErrLocked = errors.New("store is in use")

// DirFS returns the FS of a directory of the system, which it makes, durably.
func DirFS(dir string) (FS, error) {
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("create store: %w", err)
	}
	return dirFS{dir}, nil
}

// makeDir is os.MkdirAll of which a power cut leaves nothing out.
func makeDir(dir string) error {
	if i, err := os.Stat(dir); err == nil {
		if !i.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: unix.ENOTDIR}
		}
		return nil
	}
	up := filepath.Dir(dir)
	if up != dir {
		if err := makeDir(up); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return dirFS{up}.SyncDir(".")
}

type dirFS struct{ dir string }

type osFile struct{ *os.File }

func (f osFile) Sync() error { return syncData(f.File) }

func (f osFile) Size() (int64, error) {
	i, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return i.Size(), nil
}

func (d dirFS) path(name string) string { return filepath.Join(d.dir, filepath.FromSlash(name)) }

func (d dirFS) Create(name string) (File, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d dirFS) Open(name string, write bool) (File, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(d.path(name), flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if i, err := f.Stat(); err != nil || !i.Mode().IsRegular() {
		f.Close()
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	return osFile{f}, nil
}

func (d dirFS) Remove(name string) error     { return os.Remove(d.path(name)) }
func (d dirFS) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }
func (d dirFS) Link(name, to string) error   { return os.Link(d.path(name), to) }
func (d dirFS) MkdirAll(name string) error   { return os.MkdirAll(d.path(name), 0o700) }

func (d dirFS) ReadDir(name string) ([]string, error) {
	es, err := os.ReadDir(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, e := range es {
		n := e.Name()
		if e.IsDir() {
			n += "/"
		}
		out = append(out, n)
	}
	return out, err
}

func (d dirFS) SyncDir(name string) error {
	f, err := os.Open(d.path(name))
	if err != nil {
		return err
	}
	err = f.Sync()
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

func (d dirFS) Free() (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", d.dir, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}

func (d dirFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of store: %w", err)
	}
	return d.flock(f, unix.LOCK_EX)
}

// flock locks an open file, which it closes if it cannot.
func (d dirFS) flock(f *os.File, how int) (io.Closer, error) {
	var err error
	for {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err == nil {
		// The number is only for somebody's message.
		if how == unix.LOCK_EX && f.Truncate(0) == nil {
			f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		}
		return f, nil
	}
	defer f.Close()
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	holder := "another process"
	b := make([]byte, 20)
	if n, _ := f.ReadAt(b, 0); n > 0 {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n]))); err == nil {
			holder = fmt.Sprintf("process %d", pid)
		}
	}
	return nil, fmt.Errorf("%s is in use by %s: %w", d.dir, holder, ErrLocked)
}

// readFile returns a whole file.
func readFile(f File) ([]byte, error) {
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	return b, readFull(f, b, 0)
}

// readFull reads exactly len(p) bytes.
func readFull(f File, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// sequential writes a file from its beginning.
type sequential struct {
	f   File
	off int64
	buf []byte
}

func (w *sequential) Write(p []byte) (int, error) {
	if len(w.buf)+len(p) > 1<<20 {
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) >= 1<<20 {
		n, err := w.f.WriteAt(p, w.off)
		w.off += int64(n)
		return n, err
	}
	w.buf = append(w.buf, p...)
	return len(p), nil
}

func (w *sequential) flush() error {
	n, err := w.f.WriteAt(w.buf, w.off)
	w.off += int64(n)
	w.buf = w.buf[:0]
	return err
}
