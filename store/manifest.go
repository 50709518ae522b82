package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/weirlog/weir/columns"
	"github.com/weirlog/weir/record"
)

const (
	manifestName  = "MANIFEST"
	manifestTmp   = "MANIFEST.tmp"
	manifestMagic = "weirmani"
)

// segmentInfo is what the manifest has of a segment.
type segmentInfo struct {
	Seq     uint64 `json:"seq"`
	Level   int    `json:"level"`
	Day     int64  `json:"day"` // the directory it stands in
	Rows    int64  `json:"rows"`
	Bytes   int64  `json:"bytes"` // of bodies
	Size    int64  `json:"size"`  // of both files
	MinTime int64  `json:"min"`
	MaxTime int64  `json:"max"`

	index *columns.Index // of a segment that has just been written
}

// sourceState is a source in the manifest.
type sourceState struct {
	ID   string      `json:"id"`
	Set  []span      `json:"set,omitempty"` // none: forgotten
	Wide []wideState `json:"wide,omitempty"`
	Last int64       `json:"last,omitempty"`
}

type wideState struct {
	At     span   `json:"at"`
	Inside []span `json:"inside,omitempty"`
}

func (f *source) state() sourceState {
	c := f.clone()
	s := sourceState{ID: f.id.String(), Set: c.set, Last: f.last}
	for _, w := range c.wide {
		s.Wide = append(s.Wide, wideState{w.at, w.inside})
	}
	return s
}

func (s *sourceState) source() (*source, bool) {
	id, ok := record.ParseID(s.ID)
	if !ok {
		return nil, false
	}
	f := &source{id: id, set: s.Set, last: s.Last}
	for _, w := range s.Wide {
		f.wide = append(f.wide, wideRecord{w.At, w.Inside})
	}
	// The manifest's state must not move with it: it is that of the floor.
	c := f.clone()
	return &c, true
}

// edit is one change of the manifest; its fields are applied together.
type edit struct {
	Add     []segmentInfo `json:"add,omitempty"`
	Remove  []uint64      `json:"remove,omitempty"`
	Floor   uint64        `json:"floor,omitempty"`    // log files before this one are not needed
	LastSeq uint64        `json:"last_seq,omitempty"` // number of the last frame before the floor
	Sources []sourceState `json:"sources,omitempty"`
	Seen    int64         `json:"seen,omitempty"` // the clock, for the guard of retention
	Busy    []uint64      `json:"busy,omitempty"` // segments that were being written meanwhile
	Salt    uint32        `json:"salt,omitempty"` // of the log's frames
}

// manifest is the state that the edits add up to, and the file they are in.
// The store's commit of an edit is what makes it true. Not safe for concurrent use.
type manifest struct {
	fs  FS
	f   File // nil: must be written anew before anything is appended
	end int64
	seq uint64

	segments map[uint64]segmentInfo
	removed  map[uint64]bool // the last ones
	busy     []uint64        // of the last edit
	sources  map[string]sourceState
	floor    uint64
	lastSeq  uint64
	highest  uint64 // segment number
	seen     int64
	salt     uint32
	live     int64 // size of the file when it was written anew
}

// openManifest reads the manifest. It reports what was damaged; partial says that
// an edit is missing, if only that of a new store.
func openManifest(fsys FS) (m *manifest, d damage, partial bool, err error) {
	m = &manifest{fs: fsys, segments: map[uint64]segmentInfo{}, removed: map[uint64]bool{}, sources: map[string]sourceState{}}
	if err := fsys.Remove(manifestTmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, d, false, fmt.Errorf("remove unfinished manifest: %w", err)
	}
	f, err := fsys.Open(manifestName, true)
	if errors.Is(err, fs.ErrNotExist) {
		return m, d, true, nil
	}
	if err != nil {
		return nil, d, false, fmt.Errorf("open manifest: %w", err)
	}
	b, err := readFile(f)
	if err != nil {
		f.Close()
		return nil, d, false, fmt.Errorf("read manifest: %w", err)
	}
	first, _, err := parseHeader(b, manifestMagic)
	if err != nil && !errors.Is(err, errHeader) {
		f.Close()
		return nil, d, false, fmt.Errorf("manifest: %w", err)
	} else if err != nil {
		d.places++ // frames are looked for all the same
		partial = true
	}
	var d2 damage
	next := first
	m.seq, d2, err = eachFrame(b, 0, func(n uint64, frame []byte) error {
		partial = partial || n != next
		next = n + 1
		var e edit
		if err := json.Unmarshal(frame[frameHeader:], &e); err != nil {
			d.places++
			partial = true
			return nil
		}
		m.apply(&e)
		return nil
	})
	if err != nil {
		f.Close()
		return nil, d, false, err
	}
	d.places += d2.places
	d.bytes, d.torn, d.end = d2.bytes, d2.torn, d2.end
	m.f, m.end, m.live = f, d.end, d.end
	if d.places > 0 || d.torn > 0 {
		m.f = nil // written anew: nothing is appended behind damage
		return m, d, partial || next == first, f.Close()
	}
	return m, d, partial || next == first, nil
}

func (m *manifest) apply(e *edit) {
	for _, s := range e.Add {
		s.index = nil
		m.segments[s.Seq] = s
		m.highest = max(m.highest, s.Seq)
	}
	for _, n := range e.Remove {
		delete(m.segments, n)
		m.removed[n] = true
		m.highest = max(m.highest, n)
	}
	m.floor = max(m.floor, e.Floor)
	m.lastSeq = max(m.lastSeq, e.LastSeq)
	m.seen = max(m.seen, e.Seen)
	if e.Salt != 0 {
		m.salt = e.Salt
	}
	m.busy = m.busy[:0]
	m.busy = append(m.busy, e.Busy...)
	for _, n := range e.Busy {
		m.highest = max(m.highest, n)
	}
	for _, s := range e.Sources {
		if len(s.Set) == 0 {
			delete(m.sources, s.ID)
		} else {
			m.sources[s.ID] = s
		}
	}
}

// manifestFrame returns the frame of an edit, twice: damage to one place must not
// look like an edit that did not become durable, whose files may be removed.
func manifestFrame(p []byte, number uint64) []byte {
	frame := append(make([]byte, frameHeader), p...)
	sealFrame(frame, number, 0)
	return append(frame, frame...)
}

// commit makes an edit durable, then true. After an error it is neither, as far
// as this process is concerned; the file is written anew before the next.
func (m *manifest) commit(e *edit) error {
	if m.f == nil {
		if err := m.rewrite(); err != nil {
			return err
		}
	}
	p, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	frame := manifestFrame(p, m.seq+1)
	if _, err = m.f.WriteAt(frame, m.end); err == nil {
		err = m.f.Sync()
	}
	if err != nil {
		// The frame may be there or not, now or after a crash: a file without
		// it takes the place of this one.
		m.f.Close()
		m.f = nil
		if e := m.rewrite(); e != nil {
			err = errors.Join(err, e)
		}
		return fmt.Errorf("write manifest: %w", err)
	}
	m.seq++
	m.end += int64(len(frame))
	m.apply(e)
	if m.end > 1<<20+4*m.live {
		// The edit is durable; that the file stays long is no failure of it.
		m.rewrite()
	}
	return nil
}

// keepRemoved is how long a number is remembered, counted in numbers.
const keepRemoved = 4096

// rewrite writes the state as a new file. After an error m.f may be nil.
func (m *manifest) rewrite() error {
	e := edit{Floor: m.floor, LastSeq: m.lastSeq, Seen: m.seen, Busy: m.busy, Salt: m.salt}
	for _, s := range m.segments {
		e.Add = append(e.Add, s)
	}
	for _, s := range m.sources {
		e.Sources = append(e.Sources, s)
	}
	// What must not come back: the number of the last segment, and files that
	// may not have been removed yet, or not durably.
	if _, ok := m.segments[m.highest]; !ok && m.highest > 0 {
		e.Remove = append(e.Remove, m.highest)
	}
	for n := range m.removed {
		if n+keepRemoved > m.highest {
			e.Remove = append(e.Remove, n)
		}
	}
	p, err := json.Marshal(&e)
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	b := append(appendHeader(nil, manifestMagic, m.seq+1, 0), manifestFrame(p, m.seq+1)...)
	f, err := m.fs.Create(manifestTmp)
	if err != nil {
		return fmt.Errorf("create manifest: %w", err)
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("write manifest: %w", err)
	}
	// From here on nobody can say which file has the name, or will have it after a
	// crash: what is appended to the old one may be lost.
	m.close()
	if err = m.fs.Rename(manifestTmp, manifestName); err == nil {
		err = m.fs.SyncDir(".")
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("write manifest: %w", err)
	}
	m.f, m.end, m.live = f, int64(len(b)), int64(len(b))
	m.seq++
	clear(m.removed)
	for _, n := range e.Remove {
		m.removed[n] = true
	}
	return nil
}

func (m *manifest) close() error {
	if m.f == nil {
		return nil
	}
	err := m.f.Close()
	m.f = nil
	return err
}
