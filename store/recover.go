package store

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Recovery is what Open found.
type Recovery struct {
	Segments    int   // named in the manifest and there
	SegmentRows int64 // in them
	Rows        int64 // found again in the log
	LogBytes    int64 // read of it
	Doubles     int64 // rows that stood in the log twice
	Torn        int64 // bytes at the ends of log files that were being written
	Places      int   // damaged places in logs and manifest
	Damaged     int64 // bytes in them
	LostRows    int64 // rows of intact frames that name a stream that is in a damaged place
	Missing     int   // segments that are not there
	MissingRows int64
	Quarantined []string // files put aside
	Removed     int      // files of unfinished work
	Rebuilt     bool     // there was no manifest, but segments: they were taken
}

// Recovery returns what Open found.
func (s *Store) Recovery() Recovery { return s.recovery }

const quarantineDir = "quarantine"

func asideName(name string) string { return quarantineDir + "/" + strings.ReplaceAll(name, "/", "-") }

// quarantine puts a file aside.
func (s *Store) quarantine(name string) error {
	if err := s.fs.MkdirAll(quarantineDir); err != nil {
		return err
	}
	to := asideName(name)
	if err := s.fs.Rename(name, to); err != nil {
		return err
	}
	s.log.Warn("a file was put aside", "file", name, "to", to)
	return nil
}

// recover brings the store to the state of the last acknowledgement. It may be
// interrupted anywhere and begun again.
func (s *Store) recover() error {
	if err := s.fs.MkdirAll(walDir); err != nil {
		return err
	}
	m, d, partial, err := openManifest(s.fs)
	if err != nil {
		return err
	}
	s.manifest = m
	s.recovery.Places += d.places
	s.recovery.Damaged += d.bytes
	s.recovery.Torn += d.torn
	for m.salt == 0 {
		var b [4]byte
		rand.Read(b[:])
		m.salt = binary.LittleEndian.Uint32(b[:])
	}
	s.wal.salt = m.salt
	// What was read may never have become durable, if the last process met with a
	// failed sync and ended: nothing is done in its name before it is. And from now
	// on, segments without a manifest mean that it was lost.
	if err := m.rewrite(); err != nil {
		return err
	}
	if err := s.reconcile(partial); err != nil {
		return err
	}
	for _, st := range m.sources {
		if f, ok := st.source(); ok {
			s.sources[f.id] = f
		}
	}
	if !s.cfg.ReadOnly {
		if err := s.loadRecent(); err != nil {
			return err
		}
	}
	s.clock.start(s.cfg.Now(), m.seen, s.newest())
	if err := s.replay(); err != nil {
		return err
	}
	if r := &s.recovery; r.Places > 0 || r.LostRows > 0 || r.Missing > 0 || len(r.Quarantined) > 0 {
		s.log.Error("the store was damaged", "places", r.Places, "bytes", r.Damaged, "rows without stream", r.LostRows,
			"missing segments", r.Missing, "rows in them", r.MissingRows, "put aside", r.Quarantined)
	}
	return nil
}

// reconcile compares the manifest with the files. With adopt, segments that it
// does not name are taken: it was lost, or a part of it.
func (s *Store) reconcile(adopt bool) error {
	found, err := s.listSegments()
	if err != nil {
		return err
	}
	m := s.manifest
	s.lastSegment = m.highest
	swept := map[string]bool{}
	var add []segmentInfo
	for _, f := range found {
		info, live := m.segments[f.seq]
		if live && info.base() == f.base {
			continue
		}
		// What was being written when everything stopped is of rows that are
		// elsewhere, and so is what is later than all that a manifest in order
		// names; what it has forgotten is waiting to be removed.
		unfinished := m.removed[f.seq] || slices.Contains(m.busy, f.seq) || !adopt && f.seq > m.highest
		switch {
		case unfinished:
			for _, n := range f.names {
				if err := s.fs.Remove(f.dir + n); err != nil {
					return fmt.Errorf("remove unfinished segment: %w", err)
				}
				s.recovery.Removed++
			}
			swept[strings.TrimSuffix(f.dir, "/")] = true
		case adopt && !live && s.adoptable(f, &add):
		default:
			for _, n := range f.names {
				if err := s.quarantine(f.dir + n); err != nil {
					return fmt.Errorf("put aside unknown segment: %w", err)
				}
				s.recovery.Quarantined = append(s.recovery.Quarantined, asideName(f.dir+n))
			}
		}
		s.lastSegment = max(s.lastSegment, f.seq)
	}
	// They shall not come back when other numbers have been taken since.
	for dir := range swept {
		if err := s.fs.SyncDir(dir); err != nil {
			return fmt.Errorf("remove unfinished segment: %w", err)
		}
	}
	if len(add) > 0 {
		if err := m.commit(&edit{Add: add}); err != nil {
			return err
		}
		s.recovery.Rebuilt = true
	}
	have := map[string]bool{}
	for _, f := range found {
		for _, n := range f.names {
			have[f.dir+n] = true
		}
	}
	for _, info := range m.segments {
		g := &segment{info: info, fs: s.fs}
		if !have[info.dataName()] {
			// It may come back (a disk that was not mounted): it stays named.
			g.missing = true
			s.recovery.Missing++
			s.recovery.MissingRows += info.Rows
			continue
		}
		s.segments = append(s.segments, g)
		s.recovery.Segments++
		s.recovery.SegmentRows += info.Rows
	}
	slices.SortFunc(s.segments, func(a, b *segment) int { return int(int64(a.info.Seq) - int64(b.info.Seq)) })
	return nil
}

// foundSegment is the files of one segment, as they lie there.
type foundSegment struct {
	seq   uint64
	level int
	dir   string // with a slash
	base  string
	names []string
}

// listSegments returns the segments' files in the directories of days.
func (s *Store) listSegments() ([]*foundSegment, error) {
	dirs, err := s.fs.ReadDir(".")
	if err != nil {
		return nil, err
	}
	var out []*foundSegment
	for _, dir := range dirs {
		if _, err := time.Parse("2006-01-02/", dir); err != nil {
			continue
		}
		names, err := s.fs.ReadDir(strings.TrimSuffix(dir, "/"))
		if err != nil {
			return nil, err
		}
		byBase := map[string]*foundSegment{}
		for _, n := range names {
			ext := path.Ext(n)
			base := strings.TrimSuffix(n, ext)
			num, level, ok := strings.Cut(base, "-l")
			seq, err := strconv.ParseUint(num, 10, 64)
			lv, err2 := strconv.Atoi(level)
			if ext != ".parquet" && ext != ".idx" || !ok || err != nil || err2 != nil {
				continue
			}
			f := byBase[base]
			if f == nil {
				f = &foundSegment{seq: seq, level: lv, dir: dir, base: dir + base}
				byBase[base] = f
				out = append(out, f)
			}
			f.names = append(f.names, n)
		}
	}
	return out, nil
}

// adoptable adds the entry of a segment that nobody names, if it is whole.
func (s *Store) adoptable(f *foundSegment, add *[]segmentInfo) bool {
	day, err := time.Parse("2006-01-02/", f.dir)
	if err != nil || len(f.names) != 2 {
		return false
	}
	info := segmentInfo{Seq: f.seq, Level: f.level, Day: dayOf(day.UnixNano())}
	if info.base() != f.base || slices.ContainsFunc(*add, func(i segmentInfo) bool { return i.Seq == f.seq }) {
		return false
	}
	g := &segment{info: info, fs: s.fs}
	defer g.closeFiles()
	x, err := g.loadIndex()
	if err != nil {
		return false
	}
	info.Rows, info.Bytes, info.MinTime, info.MaxTime = int64(x.Rows), x.Bytes, x.MinTime, x.MaxTime
	info.Size = x.FileSize + x.Filter.Off + x.Filter.Size()
	*add = append(*add, info)
	return true
}

// newest is the latest time in segments, 0 if there are none.
func (s *Store) newest() int64 {
	t := int64(0)
	for _, g := range s.segments {
		t = max(t, g.info.MaxTime)
	}
	return t
}
