package store

import (
	"math/rand/v2"
	"testing"

	"github.com/weirlog/weir/record"
)

// FuzzReplayFrame gives the replay payloads whose sum is right: none may panic,
// ask for more memory than there are bytes, or bring rows whose bytes are not
// there.
func FuzzReplayFrame(f *testing.F) {
	fs := newCrashFS(1)
	s, err := Open(Config{FS: fs, Check: -1})
	if err != nil {
		f.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 5 {
		l := someLine(r, i)
		l.gen, l.from, l.to = 1, int64(i)*100, int64(i+1)*100
		if _, err := send(s, l, someLine(r, i)); err != nil {
			f.Fatal(err)
		}
	}
	for _, c := range s.active.chunks {
		for len(c) > 0 {
			_, p, ok := parseFrame(c, s.wal.salt)
			if !ok {
				f.Fatal("no frame")
			}
			f.Add(p)
			c = c[frameHeader+len(p):]
		}
	}
	s.Close()
	f.Fuzz(func(t *testing.T, p []byte) {
		cfg := Config{FS: newCrashFS(1)}
		if err := cfg.setDefaults(); err != nil {
			t.Fatal(err)
		}
		s := &Store{cfg: cfg, pool: newChunkPool(1 << 20), sources: map[record.ID]*source{}, changed: map[record.ID]struct{}{}, active: newMemtable(1, newChunkPool(1<<20))}
		rows, _, _ := s.replayFrame(p, map[uint64]uint32{}, true, true)
		if rows > len(p) {
			t.Fatalf("%d rows of %d bytes", rows, len(p))
		}
		s.active.committed = s.active.mark()
		v := s.active.view()
		for i := range v.rows {
			if row := &v.rows[i]; len(v.attrs(row)) != int(row.attrs) || len(v.body(row)) != int(row.body) {
				t.Fatal("a row without bytes")
			}
		}
	})
}
