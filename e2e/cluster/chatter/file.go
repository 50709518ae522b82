package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// file is a log file that the application itself rotates. What is written goes
// there at once, as it does with a logging library that does not buffer.
type file struct {
	path  string
	how   string
	every uint64 // lines
	lines uint64 // since the last rotation
	turns int
	f     *os.File
}

// openFile opens a log file, which goes on if it is there.
func openFile(path, how string, every uint64) (*file, error) {
	switch how {
	case "none", "rename", "replace", "copytruncate":
	default:
		return nil, fmt.Errorf("-rotate %s: want none, rename, replace or copytruncate", how)
	}
	w := &file{path: path, how: how, every: max(every, 1)}
	return w, w.open()
}

func (w *file) open() (err error) {
	w.f, err = os.OpenFile(w.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	return err
}

// Write writes whole lines, and rotates when enough of them were written.
func (w *file) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	w.lines += uint64(bytes.Count(p[:n], []byte("\n")))
	if err == nil && w.how != "none" && w.lines >= w.every {
		w.lines = 0
		w.turns++
		err = w.rotate()
	}
	return n, err
}

func (w *file) rotate() error {
	old := fmt.Sprintf("%s-20260101-%06d", w.path, w.turns)
	switch w.how {
	case "rename": // as logrotate's create: for a moment there is no file
		if err := errors.Join(w.f.Close(), os.Rename(w.path, old)); err != nil {
			return err
		}
		return w.open()
	case "replace":
		next := w.path + ".tmp"
		if err := errors.Join(w.f.Close(), os.WriteFile(next, nil, 0o644), os.Rename(w.path, old), os.Rename(next, w.path)); err != nil {
			return err
		}
		return w.open()
	default: // copytruncate: the application goes on with the file it has
		from, err := os.Open(w.path)
		if err != nil {
			return err
		}
		to, err := os.Create(old)
		if err == nil {
			_, err = io.Copy(to, from)
			err = errors.Join(err, to.Close())
		}
		return errors.Join(err, from.Close(), w.f.Truncate(0))
	}
}
