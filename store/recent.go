package store

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/record"
)

// recent is the set of the pushed rows that were stored lately: a row that is
// pushed again because its sender did not hear the answer is known by its key.
// What the log has no more of is found again in files beside the segments.
//
// Not safe for concurrent use.
type recent struct {
	most     int // keys, 0: none are kept
	cur, old keySet
}

func (r *recent) has(key record.ID) bool { return r.cur.has(key) || r.old.has(key) }

// add notes a key. The half that was noted first is forgotten when there are too
// many.
func (r *recent) add(key record.ID) {
	if r.most == 0 {
		return
	}
	if r.cur.n >= (r.most+1)/2 {
		r.cur, r.old = r.old, r.cur
		r.cur.clear()
	}
	r.cur.add(key)
}

func (r *recent) remove(keys []record.ID) {
	for _, k := range keys {
		r.cur.remove(k)
		r.old.remove(k)
	}
}

// keySet is a hash table with open addressing: a key is asked for with every row,
// and a map has to look at two or three places in memory for it, which are never
// in the processor's cache.
type keySet struct {
	slots []record.ID // of a power of two; zero: free
	n     int
}

// find returns the key's slot, or the free one where it belongs.
func (s *keySet) find(key record.ID) (slot int, ok bool) {
	mask := len(s.slots) - 1
	for i := int(key.Lo) & mask; ; i = (i + 1) & mask {
		switch s.slots[i] {
		case key:
			return i, true
		case record.ID{}:
			return i, false
		}
	}
}

func (s *keySet) has(key record.ID) bool {
	if s.n == 0 {
		return false
	}
	_, ok := s.find(key)
	return ok
}

// add adds a key that is not zero.
func (s *keySet) add(key record.ID) {
	if 4*s.n >= 3*len(s.slots) {
		slots := s.slots
		s.slots = make([]record.ID, max(1<<10, 2*len(slots)))
		for _, k := range slots {
			if !k.IsZero() {
				i, _ := s.find(k)
				s.slots[i] = k
			}
		}
	}
	if i, ok := s.find(key); !ok {
		s.slots[i] = key
		s.n++
	}
}

// remove takes a key out and moves those behind it that it was in the way of.
func (s *keySet) remove(key record.ID) {
	if s.n == 0 {
		return
	}
	free, ok := s.find(key)
	if !ok {
		return
	}
	mask := len(s.slots) - 1
	for i := (free + 1) & mask; !s.slots[i].IsZero(); i = (i + 1) & mask {
		if home := int(s.slots[i].Lo) & mask; (i-home)&mask >= (i-free)&mask {
			s.slots[free], free = s.slots[i], i
		}
	}
	s.slots[free] = record.ID{}
	s.n--
}

func (s *keySet) clear() {
	clear(s.slots)
	s.n = 0
}

// rowKey is what a pushed row with an id is known by: all that it says, and whose
// it is. It must not be taken for another: some senders give one id to several
// things, and ids that a gateway makes are of tenant, stream, time and text, so that
// two events have one that are alike and of one moment. With a time in whole
// milliseconds that happens; such a row has no key (ok is false) and is stored twice
// when it comes twice. A time that is that of the arrival (Observed) is another when
// the row is pushed again, and counts for nothing.
func rowKey(id record.ID, stream uint64, r *record.Record, attrs, body []byte) (key record.ID, ok bool) {
	if r.Time%1e6 == 0 {
		return record.ID{}, false
	}
	var head [16]byte
	binary.BigEndian.PutUint64(head[:8], stream)
	if r.Time != r.Observed {
		binary.BigEndian.PutUint64(head[8:], uint64(r.Time))
	}
	h := xxh3.Hash128Seed(body, xxh3.HashSeed(attrs, xxh3.HashSeed(head[:], id.Lo)))
	return record.ID{Hi: h.Hi ^ id.Hi, Lo: h.Lo}, true
}

func appendKey(dst []byte, k record.ID) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, k.Hi), k.Lo)
}

// parseKey is the inverse of appendKey; b has 16 bytes or more.
func parseKey(b []byte) record.ID {
	return record.ID{Hi: binary.BigEndian.Uint64(b), Lo: binary.BigEndian.Uint64(b[8:])}
}

const (
	recentDir   = "recent"
	recentMagic = "weirkeys"
)

// recentName is the file with the keys of a memtable, by the number of its last
// frame.
func recentName(seq uint64) string { return fmt.Sprintf("%s/%016d.keys", recentDir, seq) }

func recentNumber(name string) (uint64, bool) {
	s, ok := strings.CutSuffix(name, ".keys")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && recentDir+"/"+name == recentName(n)
}

// saveRecent writes the keys of a memtable that is to be flushed, as the log that
// has them will be removed. It may be written in vain, and again.
func (s *Store) saveRecent(m *memtable) error {
	if len(m.pushed) == 0 || s.recent.most == 0 {
		return nil
	}
	keys := m.pushed[max(0, len(m.pushed)-s.recent.most):]
	b := appendHeader(make([]byte, 0, headerSize+frameHeader+16*len(keys)), recentMagic, m.lastSeq, s.wal.salt)
	b = append(b, make([]byte, frameHeader)...)
	for _, k := range keys {
		b = appendKey(b, k)
	}
	sealFrame(b[headerSize:], m.lastSeq, s.wal.salt)
	err := s.fs.MkdirAll(recentDir)
	if err == nil {
		err = (&segmentWriter{fs: s.fs}).writeFile(recentName(m.lastSeq), b)
	}
	if err == nil {
		err = s.fs.SyncDir(recentDir)
	}
	if err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	return nil
}

// eachRecent calls f for the files of keys, the latest first.
func (s *Store) eachRecent(f func(seq uint64, name string) error) error {
	names, err := s.fs.ReadDir(recentDir)
	if err != nil {
		return err
	}
	for i := len(names) - 1; i >= 0; i-- {
		if n, ok := recentNumber(names[i]); ok {
			if err := f(n, recentDir+"/"+names[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// loadRecent finds the keys of flushed memtables again. Files that are damaged are
// removed: it costs no row.
func (s *Store) loadRecent() error {
	var files [][]byte
	have := 0
	err := s.eachRecent(func(seq uint64, name string) error {
		if have < s.recent.most && seq <= s.manifest.lastSeq {
			f, err := s.fs.Open(name, false)
			if err != nil {
				return fmt.Errorf("read keys: %w", err)
			}
			b, err := readFile(f)
			f.Close()
			if err != nil {
				return fmt.Errorf("read keys: %w", err)
			}
			if number, salt, err := parseHeader(b, recentMagic); err == nil && number == seq && salt == s.wal.salt {
				if n, keys, ok := parseFrame(b[headerSize:], salt); ok && n == seq && len(keys)%16 == 0 {
					files = append(files, keys)
					have += len(keys) / 16
					return nil
				}
			}
			s.log.Warn("a file of keys is damaged: what was pushed before and is pushed again may be stored twice", "file", name)
		}
		// A memtable that was not flushed after all is still in the log.
		if err := s.fs.Remove(name); err != nil && !notExist(err) {
			return fmt.Errorf("remove keys: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := len(files) - 1; i >= 0; i-- {
		for b := files[i]; len(b) > 0; b = b[16:] {
			s.recent.add(parseKey(b))
		}
	}
	return nil
}

// pruneRecent removes files of keys that later ones leave no room for.
func (s *Store) pruneRecent() {
	have := 0
	err := s.eachRecent(func(_ uint64, name string) error {
		if have >= s.recent.most {
			if err := s.fs.Remove(name); !notExist(err) {
				return err
			}
			return nil
		}
		f, err := s.fs.Open(name, false)
		if err != nil {
			return err
		}
		size, err := f.Size()
		f.Close()
		have += int(size-headerSize-frameHeader) / 16
		return err
	})
	if err != nil {
		s.log.Warn("old keys of what was pushed stay", "error", err)
	}
}
