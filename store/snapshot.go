package store

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Snapshot makes a copy of the store, as of now, in a directory that must not be
// there yet: a store of its own that Open opens. Segments are hard links where
// the file system allows it, else copies. Writing and reading go on meanwhile.
func (s *Store) Snapshot(ctx context.Context, dir string) error {
	if s.cfg.ReadOnly {
		return fmt.Errorf("snapshot: %w", ErrReadOnly)
	}
	if err := s.Flush(ctx); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	// Nothing is merged or removed while links are made.
	s.keepMu.Lock()
	defer s.keepMu.Unlock()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	s.manifestMu.Lock()
	m := s.manifest
	e := edit{LastSeq: m.lastSeq, Seen: m.seen}
	for _, i := range m.segments {
		e.Add = append(e.Add, i)
	}
	for _, st := range m.sources {
		e.Sources = append(e.Sources, st)
	}
	p, err := json.Marshal(&e)
	s.manifestMu.Unlock()
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	to, err := DirFS(dir)
	if err != nil {
		return err
	}
	for i := range e.Add {
		if err := ctx.Err(); err != nil {
			return err
		}
		info := &e.Add[i]
		if err := to.MkdirAll(dayDir(info.Day)); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
		for _, n := range []string{info.dataName(), info.idxName()} {
			if err := s.linkOrCopy(n, to, filepath.Join(dir, filepath.FromSlash(n))); err != nil && !notExist(err) {
				return fmt.Errorf("snapshot: %w", err)
			}
		}
		if err := to.SyncDir(dayDir(info.Day)); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
	}
	// The manifest last: without it, it is no snapshot.
	b := append(appendHeader(nil, manifestMagic, 1, 0), manifestFrame(p, 1)...)
	f, err := to.Create(manifestName)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = to.SyncDir(".")
	}
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

func (s *Store) linkOrCopy(name string, to FS, path string) error {
	if s.fs.Link(name, path) == nil {
		return nil
	}
	f, err := s.fs.Open(name, false)
	if err != nil {
		return err
	}
	defer f.Close()
	return (&Store{fs: to}).copyFile(f, name)
}
