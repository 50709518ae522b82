package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

const (
	walDir   = "wal"
	walMagic = "weirwal1"
)

func walName(n uint64) string { return fmt.Sprintf("%s/%06d.wal", walDir, n) }

// walNumber is the inverse of walName, for names within the directory.
func walNumber(name string) (uint64, bool) {
	s, ok := strings.CutSuffix(name, ".wal")
	if !ok || len(s) < 6 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && path.Base(walName(n)) == name
}

// wal is the log file that is written to. Only the committer uses it.
type wal struct {
	fs   FS
	salt uint32 // of the store
	f    File   // nil: there is none, the next write makes one
	n    uint64
	end  int64
}

// create makes the next file and writes head, frames that everything in it needs.
func (w *wal) create(head []byte) error {
	n := w.n + 1
	w.n = n // a number is used once, whatever becomes of the file
	f, err := w.fs.Create(walName(n))
	if err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	b := append(appendHeader(nil, walMagic, n, w.salt), head...)
	if _, err = f.WriteAt(b, 0); err == nil {
		err = w.fs.SyncDir(walDir)
	}
	if err != nil {
		f.Close()
		// It may stay; recovery takes an empty file for an empty file.
		w.fs.Remove(walName(n))
		return fmt.Errorf("write log: %w", err)
	}
	w.f, w.end = f, int64(len(b))
	return nil
}

// append writes frames and syncs. After an error the file is not written to any
// more; synced says that it was the sync that failed.
func (w *wal) append(frames [][]byte) (synced bool, err error) {
	end := w.end
	for _, p := range frames {
		if _, err := w.f.WriteAt(p, end); err != nil {
			// What is there of the frames must not be found again beside what
			// takes their place. If this fails, the places in the rows tell.
			w.f.Truncate(w.end)
			w.poison()
			return false, fmt.Errorf("write log: %w", err)
		}
		end += int64(len(p))
	}
	if err := w.f.Sync(); err != nil {
		w.f.Truncate(w.end)
		w.poison()
		return true, fmt.Errorf("sync log: %w", err)
	}
	w.end = end
	return false, nil
}

// poison gives the file up for writing: after a failed sync nobody knows what
// of it is on the disk, and a second sync would not tell.
func (w *wal) poison() {
	w.f.Close()
	w.f = nil
}

func (w *wal) close() error {
	if w.f == nil {
		return nil
	}
	err := w.f.Close()
	w.f = nil
	return err
}

func notExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
