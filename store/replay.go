package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/weirlog/weir/record"
)

// replay reads the log from the floor into the memtable. When that grows too
// large, it becomes segments at the end of a file, so that any backlog fits.
func (s *Store) replay() error {
	names, err := s.fs.ReadDir(walDir)
	if err != nil {
		return err
	}
	m := s.manifest
	s.frameSeq = m.lastSeq
	s.applied = make(map[uint64]bool)
	var files []uint64
	for _, name := range names {
		n, ok := walNumber(name)
		switch {
		case !ok:
		case n < m.floor:
			if err := s.fs.Remove(walName(n)); err != nil && !notExist(err) {
				return fmt.Errorf("remove old log: %w", err)
			}
			s.recovery.Removed++
		default:
			files = append(files, n)
		}
	}
	slices.Sort(files)
	first := m.floor
	if len(files) > 0 {
		first = files[0]
		s.wal.n = files[len(files)-1]
	}
	s.wal.n = max(s.wal.n, m.floor)
	s.active = newMemtable(first, s.pool)
	var log []byte // of the next file, if it has been read
	for i, n := range files {
		if log == nil {
			if log, err = s.readLog(files, i); err != nil {
				return err
			}
		}
		if err := s.replayFile(n, log); err != nil {
			return err
		}
		if log = nil; s.active.bytes < s.cfg.MemtableBytes {
			continue
		}
		if log, err = s.readLog(files, i+1); err != nil {
			return err
		}
		if !s.later(log) {
			continue
		}
		// All of it is in files up to this one, and whatever else they have is in
		// them alone.
		s.replayDeferred()
		if err := s.flushRecovered(n + 1); err != nil {
			return err
		}
	}
	s.replayDeferred()
	err = s.relog(files)
	s.applied = nil
	return err
}

// readLog returns the content of files[i], nil if there are not so many.
func (s *Store) readLog(files []uint64, i int) ([]byte, error) {
	if i >= len(files) {
		return nil, nil
	}
	f, err := s.fs.Open(walName(files[i]), false)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer f.Close()
	b, err := readFile(f)
	if err != nil {
		return nil, fmt.Errorf("read log %s: %w", walName(files[i]), err)
	}
	return b, nil
}

// later reports whether all frames of a log file are later than those seen: it
// does not begin with some that could not be synced in the file before.
func (s *Store) later(log []byte) bool {
	first := uint64(math.MaxUint64)
	eachFrame(log, s.saltOf(log), func(n uint64, _ []byte) error {
		first = n
		return errStop
	})
	return first > s.frameSeq
}

// saltOf returns the salt of a log file's frames, even if its header is damaged.
func (s *Store) saltOf(log []byte) uint32 {
	if _, salt, err := parseHeader(log, walMagic); err == nil {
		return salt
	}
	return s.wal.salt
}

var errStop = errors.New("enough")

// relog writes what the memtable has to new log files. What was read may be in
// memory only, if the last process met with a failed sync and ended; a duplicate
// that is sent now is acknowledged because of it.
func (s *Store) relog(files []uint64) error {
	if len(s.active.rows) == 0 {
		return nil
	}
	old := s.wal.n
	for _, n := range files {
		if n < s.active.firstWAL {
			continue
		}
		b, err := s.readLog([]uint64{n}, 0)
		if err != nil {
			return err
		}
		var frames [][]byte
		salt := s.saltOf(b)
		eachFrame(b, salt, func(number uint64, frame []byte) error {
			if salt != s.wal.salt {
				sealFrame(frame, number, s.wal.salt)
			}
			if k := len(frames) - 1; k >= 0 && cap(frames[k])-len(frames[k]) == cap(frame) {
				frames[k] = frames[k][:len(frames[k])+len(frame)] // it stands right behind
				return nil
			}
			frames = append(frames, frame)
			return nil
		})
		if len(frames) == 0 {
			continue
		}
		if err := s.wal.create(nil); err != nil {
			return err
		}
		if _, err := s.wal.append(frames); err != nil {
			return err
		}
		if err := s.wal.close(); err != nil {
			return fmt.Errorf("close log: %w", err)
		}
	}
	// The sources are those of the old floor: frames add up from there.
	if err := s.commitEdit(&edit{Floor: old + 1}); err != nil {
		return err
	}
	s.active.firstWAL = old + 1
	s.recovery.Quarantined = append(s.recovery.Quarantined, s.removeLogs(old+1)...)
	return nil
}

// flushRecovered makes segments of what was replayed so far.
func (s *Store) flushRecovered(next uint64) error {
	a := s.active
	a.nextWAL, a.lastSeq = next, s.frameSeq
	for id := range s.changed {
		a.sources = append(a.sources, s.sources[id].state())
	}
	clear(s.changed)
	if err := s.saveRecent(a); err != nil {
		return err
	}
	v := a.view()
	infos, err := s.writeSegments(context.Background(), &segmentWriter{fs: s.fs}, v)
	if err != nil {
		s.discard(infos)
		return err
	}
	e := &edit{Add: infos, Floor: next, LastSeq: a.lastSeq, Sources: a.sources}
	if err := s.commitEdit(e); err != nil {
		return err
	}
	s.publish(s.newSegments(infos), nil)
	a.refs.Add(-1)
	s.release(v)
	s.active = newMemtable(next, s.pool)
	s.recovery.Quarantined = append(s.recovery.Quarantined, s.removeLogs(next)...)
	return nil
}

// replayFile applies the frames of one log file.
func (s *Store) replayFile(n uint64, b []byte) error {
	s.recovery.LogBytes += int64(len(b))
	headerBad := false
	number, _, err := parseHeader(b, walMagic)
	switch {
	case errors.Is(err, ErrVersion):
		return fmt.Errorf("%s: %w", walName(n), err)
	case err != nil || number != n:
		headerBad = true
	}
	ids := map[uint64]uint32{} // streams of this file
	rows := 0
	_, d, err := eachFrame(b, s.saltOf(b), func(number uint64, frame []byte) error {
		p := frame[frameHeader:]
		s.frameSeq = max(s.frameSeq, number&^1) // the odd ones are for streams
		fresh := number > s.manifest.lastSeq && !s.applied[number]
		k, lost, ok := s.replayFrame(p, ids, fresh, false)
		if lost > 0 {
			// A stream is in a damaged place. If the frame was written again to
			// another file, that one has it.
			s.deferred = append(s.deferred, deferredFrame{n, number, bytes.Clone(p), maps.Clone(ids)})
			return nil
		}
		if !ok {
			s.recovery.Places++
			s.recovery.Damaged += int64(len(p))
			s.damagedWAL[n] = true
		}
		if fresh && ok {
			s.applied[number] = true
		}
		rows += k
		return nil
	})
	if err != nil {
		return err
	}
	// A file that was just being made has no header and no frames.
	if headerBad && (rows > 0 || len(bytes.Trim(b, "\x00")) > headerSize) {
		s.recovery.Places++
		s.damagedWAL[n] = true
	}
	if d.places > 0 {
		s.damagedWAL[n] = true
	}
	s.recovery.Places += d.places
	s.recovery.Damaged += d.bytes
	s.recovery.Torn += d.torn
	return nil
}

// deferredFrame is a frame with rows of streams that are not known.
type deferredFrame struct {
	file    uint64
	number  uint64
	payload []byte
	ids     map[uint64]uint32
}

// replayDeferred applies what can be of frames that no other file had whole.
func (s *Store) replayDeferred() {
	for _, d := range s.deferred {
		if s.applied[d.number] {
			continue
		}
		_, lost, _ := s.replayFrame(d.payload, d.ids, true, true)
		s.applied[d.number] = true
		s.recovery.LostRows += int64(lost)
		s.damagedWAL[d.file] = true
	}
	s.deferred = nil
}

// replayFrame applies a frame: its streams always, its rows if they are fresh.
// A frame with rows of unknown streams is left alone, their number being lost,
// unless partly is set.
func (s *Store) replayFrame(payload []byte, ids map[uint64]uint32, fresh, partly bool) (rows, lost int, ok bool) {
	r := reader{p: payload}
	size := uint64(0)
	if b := r.bytes(4); len(b) == 4 {
		size = uint64(binary.LittleEndian.Uint32(b))
	}
	head := reader{p: r.bytes(size)}
	data := r.p
	kind := head.bytes(1)
	if r.bad || head.bad || kind[0] != kindRows && kind[0] != kindStreams && kind[0] != kindKeyed {
		return 0, 0, false
	}
	m := s.active
	for n := head.u(); n > 0 && !head.bad; n-- {
		id := head.u()
		key := head.bytes(head.u())
		st, ok := parseStream(key)
		if !ok || head.bad {
			return 0, 0, false
		}
		ids[id] = m.internStream(&internedStream{st, string(key)})
	}
	if kind[0] == kindStreams || !fresh {
		return 0, 0, !head.bad
	}
	var sources []record.ID
	for n := head.u(); n > 0 && !head.bad; n-- {
		b := head.bytes(16)
		if head.bad {
			return 0, 0, false
		}
		sources = append(sources, record.ID{Hi: binary.BigEndian.Uint64(b), Lo: binary.BigEndian.Uint64(b[8:])})
	}
	keyed := kind[0] == kindKeyed
	n := head.u()
	if head.bad || n > uint64(len(head.p)) {
		return 0, 0, false
	}
	if !partly {
		if lost := unknownStreams(head, n, keyed, ids); lost > 0 {
			return 0, lost, true
		}
	}
	// The rows keep pointing at bytes like those they had: into the memtable's
	// own memory, as the file's goes away.
	room, chunk := m.room(len(data), s.pool)
	copy(room, data)
	off := len(m.chunks[chunk]) - len(room)
	var time int64
	for ; n > 0; n-- {
		id := head.u()
		time += head.i()
		sev := head.bytes(1)
		attrs, body := head.u(), head.u()
		ref := head.u()
		var at span
		wide := false
		if ref > 0 {
			from, size := head.u(), head.u()
			at = span{int64(from), int64(from + size>>1)}
			wide = size&1 == 1
		}
		key := head.key(keyed && ref == 0)
		if head.bad || ref > uint64(len(sources)) || attrs+body > uint64(len(data)) {
			return rows, lost, false
		}
		data = data[attrs+body:]
		row := memRow{time: time, off: uint32(off), body: uint32(body), attrs: uint32(attrs), chunk: uint32(chunk), severity: record.Severity(sev[0] % 25)}
		off += int(attrs + body)
		stream, ok := ids[id]
		if !ok {
			lost++
			continue
		}
		row.stream = stream
		if !key.IsZero() {
			if s.recent.has(key) {
				s.recovery.Doubles++
				continue
			}
			s.recent.add(key)
			m.pushed = append(m.pushed, key)
		}
		if ref > 0 {
			f := s.sources[sources[ref-1]]
			if f == nil {
				f = &source{id: sources[ref-1]}
				s.sources[f.id] = f
			}
			if f.known(at) {
				s.recovery.Doubles++
				continue
			}
			f.add(at, wide)
			f.last = max(f.last, time, s.clock.now())
			s.changed[f.id] = struct{}{}
		}
		m.add(row)
		rows++
	}
	s.recovery.Rows += int64(rows)
	if m.born == 0 && rows > 0 {
		m.born = s.cfg.Now().UnixNano()
	}
	m.committed = m.mark()
	return rows, lost, true
}

// unknownStreams counts the rows whose stream is not among ids. head stands at
// the first of n rows.
func unknownStreams(head reader, n uint64, keyed bool, ids map[uint64]uint32) (lost int) {
	for ; n > 0 && !head.bad; n-- {
		if _, ok := ids[head.u()]; !ok {
			lost++
		}
		head.i()
		head.bytes(1)
		head.u()
		head.u()
		ref := head.u()
		if ref > 0 {
			head.u()
			head.u()
		}
		head.key(keyed && ref == 0)
	}
	return lost
}
