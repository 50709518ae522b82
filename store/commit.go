package store

import (
	"context"
	"encoding/binary"

	"github.com/weirlog/weir/record"
)

// commitLoop makes groups durable, one after the other.
func (s *Store) commitLoop(ctx context.Context) {
	defer s.done.Done()
	for {
		select {
		case <-s.wake:
			for s.commit() {
			}
		case <-ctx.Done():
			for s.commit() {
			}
			return
		}
	}
}

// commit makes the pending group durable. It reports whether there may be more
// to do.
func (s *Store) commit() (more bool) {
	s.mu.Lock()
	g, m := s.pending, s.active
	s.pending = newGroup()
	if len(g.frames) == 0 {
		more = s.rotate()
		s.mu.Unlock()
		close(g.done)
		return more
	}
	var head []byte
	if s.wal.f == nil {
		head = s.streamFrame(m, g)
	}
	s.mu.Unlock()

	err := s.write(m, g, head)

	s.mu.Lock()
	if err == nil {
		from := m.committed.rows
		m.committed = g.end
		s.announce(m, from)
		s.stats.rows.Add(int64(g.end.rows - from))
		s.mu.Unlock()
		close(g.done)
		return true
	}
	// What came after it in memory goes with it: rows and places of files.
	p := s.pending
	s.pending = newGroup()
	s.undo(p)
	s.undo(g)
	m.rollback()
	s.full = m.bytes >= s.cfg.MemtableBytes
	if !s.full && !s.closing {
		s.makeRoom()
	}
	s.stats.walErrors.Add(1)
	s.mu.Unlock()
	s.log.Error("the log cannot be written; what was sent is refused and must be sent again", "error", err)
	g.err, p.err = err, err
	close(g.done)
	close(p.done)
	return true
}

// undo puts back the sources as they were before the group, and forgets its keys.
func (s *Store) undo(g *group) {
	for id, before := range g.undo {
		if before == nil {
			delete(s.sources, id)
		} else {
			s.sources[id] = before
		}
	}
	s.recent.remove(g.keys)
}

// write appends the group's frames to the log and syncs. When a sync fails the
// frames go into another file, from memory; then it is over.
func (s *Store) write(m *memtable, g *group, head []byte) error {
	if s.wal.f == nil {
		if err := s.wal.create(head); err != nil {
			return err
		}
	}
	synced, err := s.wal.append(g.frames)
	if err == nil || !synced {
		return err
	}
	s.log.Warn("a sync of the log failed: its frames are written to another file", "error", err)
	s.mu.Lock()
	head = s.streamFrame(m, g)
	s.mu.Unlock()
	if err := s.wal.create(head); err != nil {
		return err
	}
	_, err = s.wal.append(g.frames)
	return err
}

// streamFrame returns the frame that a new file for the memtable begins with:
// its committed streams. mu is held.
func (s *Store) streamFrame(m *memtable, g *group) []byte {
	n := m.committed.streams
	if n == 0 {
		return nil
	}
	number := binary.LittleEndian.Uint64(g.frames[0][8:]) - 1
	b := make([]byte, frameHeader, 1<<12)
	b = append(b, 0, 0, 0, 0, kindStreams)
	b = binary.AppendUvarint(b, uint64(n))
	for i := range n {
		key := m.keys[i]
		b = binary.AppendUvarint(b, uint64(i))
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
	}
	binary.LittleEndian.PutUint32(b[frameHeader:], uint32(len(b)-frameHeader-4))
	sealFrame(b, number, s.wal.salt)
	return b
}

// rotate puts a full memtable where the flusher takes it, once everything in it
// is committed. It reports whether it did. mu is held, by the committer.
func (s *Store) rotate() bool {
	m := s.active
	if !s.full || s.sealed != nil || len(m.rows) == 0 || s.closing {
		if s.full && len(m.rows) == 0 && !s.closing {
			s.full = false
			s.makeRoom()
		}
		return false
	}
	m.lastSeq = s.frameSeq
	for id := range s.changed {
		if f := s.sources[id]; f != nil {
			m.sources = append(m.sources, f.state())
		}
	}
	for _, id := range s.forgot {
		if s.sources[id] == nil {
			m.forgot = append(m.forgot, sourceState{ID: id.String()})
		}
	}
	s.changed, s.forgot = make(map[record.ID]struct{}), nil
	if err := s.wal.close(); err != nil {
		s.log.Warn("close log", "error", err)
	}
	m.nextWAL = s.wal.n + 1
	s.sealed = m
	s.active = newMemtable(m.nextWAL, s.pool)
	s.full = false
	s.makeRoom()
	if s.onRotate != nil {
		s.onRotate()
	}
	poke(s.flushWake)
	return true
}

// makeRoom lets those append who wait. mu is held.
func (s *Store) makeRoom() {
	close(s.room)
	s.room = make(chan struct{})
}

// Flush makes segments of everything that is acknowledged. It is for snapshots
// and tests: nothing is more durable for it. It returns the error of an attempt
// that failed, which is repeated all the same.
func (s *Store) Flush(ctx context.Context) error {
	s.mu.Lock()
	want := s.active
	for {
		if s.closing {
			s.mu.Unlock()
			return ErrClosed
		}
		if s.active != want && s.sealed != want {
			s.mu.Unlock()
			return nil
		}
		if err := s.flushErr; err != nil && s.sealed != nil {
			s.mu.Unlock()
			return err
		}
		if s.active == want {
			if len(want.rows) == 0 && s.sealed == nil {
				s.mu.Unlock()
				return nil
			}
			if len(want.rows) > 0 {
				s.full = true
			} else {
				want = s.sealed
			}
		}
		wait := s.flushed
		s.mu.Unlock()
		poke(s.wake)
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
	}
}
