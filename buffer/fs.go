package buffer

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

// FS is the file system as a Disk uses it: one flat directory. Tests put one in
// its place that fails and forgets.
type FS interface {
	// Create makes a file, or empties the one that is there.
	Create(name string) (File, error)
	// Open opens a file for reading and, if write is set, writing.
	Open(name string, write bool) (File, error)
	Remove(name string) error
	Rename(from, to string) error
	// ReadDir returns the names in the directory.
	ReadDir() ([]string, error)
	// SyncDir makes the names in the directory durable.
	SyncDir() error
	// Lock takes the directory for this process alone, until the Closer is
	// closed.
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

// ErrLocked says that another process has the buffer.
var ErrLocked = errors.New("buffer is in use")

// dirFS is a directory of the system.
type dirFS struct{ dir string }

// newDirFS returns the FS of a directory, which it makes, durably.
func newDirFS(dir string) (FS, error) {
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("create buffer: %w", err)
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
	return dirFS{up}.SyncDir()
}

type osFile struct{ *os.File }

func (f osFile) Sync() error { return syncData(f.File) }

func (f osFile) Size() (int64, error) {
	i, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return i.Size(), nil
}

func (d dirFS) path(name string) string { return filepath.Join(d.dir, name) }

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

func (d dirFS) ReadDir() ([]string, error) {
	es, err := os.ReadDir(d.dir)
	var out []string
	for _, e := range es {
		if !e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, err
}

func (d dirFS) SyncDir() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

func (d dirFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of buffer: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err == nil {
		// The number is only for somebody's message.
		if f.Truncate(0) == nil {
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

// writeFull writes all of p, also where a write stops short without a reason.
func writeFull(f File, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := f.WriteAt(p, off)
		p, off = p[n:], off+int64(n)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n == 0 && err == nil {
			return io.ErrShortWrite
		}
	}
	return nil
}
