package deliver

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// dir is the directory of one output's dead letters. Tests put one in its place
// whose operations fail.
type dir interface {
	// Create makes a file that must not exist, to append to.
	Create(name string) (file, error)
	// Open opens a file to read and write.
	Open(name string) (file, error)
	// OpenLock opens a file, making it if need be, to lock it.
	OpenLock(name string) (file, error)
	Read(name string) ([]byte, error)
	// List returns the segments in the order of their numbers.
	List() ([]segmentInfo, error)
	Rename(from, to string) error
	Remove(name string) error
	// Sync makes what was created, renamed and removed durable.
	Sync() error
	Close() error
}

// file is an open segment.
type file interface {
	io.WriteCloser
	io.Reader
	Sync() error
	Truncate(size int64) error
	// Lock waits for the exclusive lock of the file; TryLock does not wait.
	// Unlock or Close gives it up.
	Lock() error
	TryLock() (bool, error)
	Unlock() error
	// Is reports whether name is this very file.
	Is(name string) bool
}

type segmentInfo struct {
	name   string
	seq    uint64
	suffix string
	size   int64
}

// osDir is a real directory. Nothing outside of it can be reached.
type osDir struct{ root *os.Root }

func openDir(path string, create bool) (dir, error) {
	if create {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, err
		}
		if err := syncPath(filepath.Dir(path)); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return osDir{root}, nil
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func (d osDir) open(name string, flag int) (file, error) {
	f, err := d.root.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f, d.root}, nil
}

func (d osDir) Create(name string) (file, error) {
	return d.open(name, os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND)
}

func (d osDir) Open(name string) (file, error) { return d.open(name, os.O_RDWR|os.O_APPEND) }

func (d osDir) OpenLock(name string) (file, error) { return d.open(name, os.O_CREATE|os.O_RDWR) }

func (d osDir) Read(name string) ([]byte, error) { return d.root.ReadFile(name) }

func (d osDir) List() ([]segmentInfo, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var all []segmentInfo
	for _, e := range entries {
		seq, suffix, ok := parseSegmentName(e.Name())
		if !ok || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if os.IsNotExist(err) {
			continue // replayed meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, segmentInfo{e.Name(), seq, suffix, info.Size()})
	}
	slices.SortFunc(all, func(a, b segmentInfo) int {
		switch {
		case a.seq < b.seq:
			return -1
		case a.seq > b.seq:
			return 1
		}
		return 0
	})
	return all, nil
}

func (d osDir) Rename(from, to string) error { return d.root.Rename(from, to) }
func (d osDir) Remove(name string) error     { return d.root.Remove(name) }
func (d osDir) Close() error                 { return d.root.Close() }

func (d osDir) Sync() error {
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return fmt.Errorf("sync directory: %w", err)
	}
	return f.Close()
}

type osFile struct {
	*os.File
	root *os.Root
}

func (f osFile) Lock() error {
	_, err := flock(f.File, true)
	return err
}

func (f osFile) TryLock() (bool, error) { return flock(f.File, false) }

func (f osFile) Unlock() error { return funlock(f.File) }

func (f osFile) Is(name string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := f.root.Stat(name)
	return err == nil && os.SameFile(a, b)
}
