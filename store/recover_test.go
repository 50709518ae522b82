package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// frames returns the frames of a log.
func frames(t *testing.T, log []byte) (out [][]byte) {
	t.Helper()
	_, salt, err := parseHeader(log, walMagic)
	if err != nil {
		t.Fatal(err)
	}
	for p := log[headerSize:]; len(p) > 0; {
		_, payload, ok := parseFrame(p, salt)
		if !ok {
			t.Fatal("no frame")
		}
		n := frameHeader + len(payload)
		out = append(out, p[:n])
		p = p[n:]
	}
	return out
}

// A sync fails that was to make several frames durable: some are on the disk in
// the file that was given up, all are in the next one. The memtable is full at
// the end of the first file, and becomes segments there or not: every row is
// there, once.
func TestFramesInTwoFiles(t *testing.T) {
	for _, damaged := range []int{-1, 1, 2} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("damaged %d, streams once more %v", damaged, again), func(t *testing.T) {
				dir := t.TempDir()
				s := open(t, Config{Dir: dir})
				var want []line
				for i := range 4 {
					l := line{labels: fmt.Sprintf("app=app%d", i), time: base + int64(i), body: fmt.Sprint("line ", i, strings.Repeat(" x", 500))}
					if again && i == 3 {
						l.labels = want[1].labels // which a damaged frame defines
					}
					mustSend(t, s, l)
					want = append(want, l)
				}
				s.mu.Lock()
				m := s.active
				m.committed.streams = 1 // those of the first frame, which was synced
				head := s.streamFrame(m, &group{frames: [][]byte{sealed(4)}})
				s.mu.Unlock()
				s.Close()
				name := filepath.Join(dir, "wal", "000001.wal")
				b, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				fs := frames(t, b)
				second := slices.Concat(appendHeader(nil, walMagic, 2, s.wal.salt), head, fs[1], fs[2], fs[3])
				first := slices.Clone(b)
				if damaged > 0 {
					at := headerSize
					for _, f := range fs[:damaged] {
						at += len(f)
					}
					first[at+frameHeader+5] ^= 1
				}
				os.WriteFile(name, first, 0o600)
				os.WriteFile(filepath.Join(dir, "wal", "000002.wal"), second, 0o600)
				for range 2 {
					s = open(t, Config{Dir: dir, MemtableBytes: 1000})
					same(t, all(t, s), want)
					s.Close()
				}
			})
		}
	}
}

// sealed is a frame with that number and nothing in it.
func sealed(number uint64) []byte {
	b := make([]byte, frameHeader)
	sealFrame(b, number, 0)
	if binary.LittleEndian.Uint64(b[8:]) != number {
		panic("number")
	}
	return b
}

// What comes of a file long after its lines were written, and again, is known,
// however often the keeper has looked at sources.
func TestOldLinesOfAFileStayKnown(t *testing.T) {
	s := open(t, Config{Now: func() time.Time { return time.Unix(0, base+400*dayNs) }})
	ctx := context.Background()
	var want []line
	for i := range 6 {
		l := line{labels: "app=a", time: base + int64(i), body: fmt.Sprint(i), gen: 1, from: int64(i * 10), to: int64(i*10 + 10)}
		want = append(want, l)
		mustSend(t, s, want...)
		if err := s.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.Maintain(ctx); err != nil {
			t.Fatal(err)
		}
	}
	same(t, all(t, s), want)
}

// The manifest is written anew as it has become long, and the directory cannot be
// synced: nobody may write to the file that had the name before.
func TestManifestWrittenAnew(t *testing.T) {
	for _, fail := range []string{"sync", "rename"} {
		fs := newCrashFS(3)
		s := open(t, Config{FS: fs})
		var want []line
		store := func() {
			t.Helper()
			l := line{labels: "app=a", time: base, body: fmt.Sprint(len(want)), gen: 1, from: int64(len(want)), to: int64(len(want)) + 1}
			mustSend(t, s, l)
			want = append(want, l)
			if err := s.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		store()
		s.manifestMu.Lock()
		m := s.manifest
		m.live = -1 << 40 // due
		s.manifestMu.Unlock()
		fs.mu.Lock()
		switch fail {
		case "sync":
			fs.failSync = func(name string) bool {
				return name == "." && m.live < 0 && m.seq > 0 && fs.names[manifestTmp] == nil && len(fs.dirOps) > 0 && anyRename(fs.dirOps)
			}
		case "rename":
			fs.failOp = func(name string) error {
				if name == manifestTmp && fs.names[manifestTmp] != nil && len(fs.names[manifestTmp].data) > 0 {
					return fmt.Errorf("injected")
				}
				return nil
			}
		}
		fs.mu.Unlock()
		store() // the edit is durable, what follows fails
		fs.mu.Lock()
		fs.failSync, fs.failOp = nil, nil
		fs.mu.Unlock()
		s.manifestMu.Lock()
		m.live = 0 // and is not any more
		s.manifestMu.Unlock()
		store()
		store()
		s.Close()
		s = open(t, Config{FS: fs})
		same(t, all(t, s), want)
		if st := s.Stats(); st.Segments != len(want) {
			t.Errorf("%s: %d segments", fail, st.Segments)
		}
	}
}

func anyRename(ops []dirOp) bool {
	return slices.ContainsFunc(ops, func(o dirOp) bool { return o.from == manifestTmp })
}

// Files of work that did not end are removed at the next start, whatever was
// finished in the meantime; nothing is put aside, and nothing taken.
func TestUnfinishedSegments(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	var want []line
	store := func() {
		t.Helper()
		l := line{labels: "app=a", time: base, body: fmt.Sprint(len(want))}
		mustSend(t, s, l)
		want = append(want, l)
		if err := s.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	store()
	busy := segmentInfo{Seq: s.newSegment(), Day: dayOf(base)}
	given := segmentInfo{Seq: s.newSegment(), Day: dayOf(base)}
	s.discard([]segmentInfo{given})
	store()
	files, _ := filepath.Glob(filepath.Join(dir, "20*", "00000001-*"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range []segmentInfo{busy, given} {
			name := i.dataName()
			if filepath.Ext(f) == ".idx" {
				name = i.idxName()
			}
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Close()
	// A manifest with damage somewhere adopts what it does not know; this it does.
	for _, damage := range []bool{false, true} {
		if damage {
			b, err := os.ReadFile(filepath.Join(dir, manifestName))
			if err != nil {
				t.Fatal(err)
			}
			b[3] ^= 1
			os.WriteFile(filepath.Join(dir, manifestName), b, 0o600)
		}
		s = open(t, Config{Dir: dir})
		if r := s.Recovery(); len(r.Quarantined) > 0 || r.Rebuilt || !damage && r.Removed != 4 {
			t.Errorf("%+v", r)
		}
		same(t, all(t, s), want)
		s.Close()
	}
}

// A frame whose streams stand partly in a damaged place gives the rows that it
// can, and they stay, though the log becomes segments in the meantime.
func TestRowsBesideDamageStay(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	l := func(app, body string) line {
		return line{labels: "app=" + app, time: base, body: body + strings.Repeat(" x", 500)}
	}
	mustSend(t, s, l("a", "1"))
	mustSend(t, s, l("b", "2"))
	mustSend(t, s, l("a", "3"), l("b", "4"))
	mustSend(t, s, l("c", "5"))
	s.Close()
	name := filepath.Join(dir, "wal", "000001.wal")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[headerSize+len(frames(t, b)[0])+frameHeader+5] ^= 1
	os.WriteFile(name, b, 0o600)
	for _, size := range []int64{1 << 20, 1000, 1 << 20} {
		s = open(t, Config{Dir: dir, MemtableBytes: size})
		same(t, all(t, s), []line{l("a", "1"), l("a", "3"), l("c", "5")})
		if r := s.Recovery(); size == 1000 && r.LostRows != 1 {
			t.Errorf("%+v", r)
		}
		s.Close()
	}
}

// A line that is a frame, with the right sum but for the salt, in a frame that is
// damaged: it is not taken for one.
func TestFrameInALine(t *testing.T) {
	dir := t.TempDir()
	other := open(t, Config{})
	mustSend(t, other, line{labels: "app=a,__tenant__=victim", time: base, body: "made up"})
	forged := slices.Clone(other.active.chunks[0])
	binary.LittleEndian.PutUint64(forged[8:], 1<<60)
	sealFrame(forged, 1<<60, 0)
	s := open(t, Config{Dir: dir})
	mustSend(t, s, line{labels: "app=a", time: base, body: "first"})
	mustSend(t, s, line{labels: "app=a", time: base, body: string(forged) + "tail"})
	s.Close()
	name := filepath.Join(dir, "wal", "000001.wal")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, forged) {
		t.Fatal("not there")
	}
	b[len(b)-1] ^= 1
	os.WriteFile(name, b, 0o600)
	s = open(t, Config{Dir: dir})
	same(t, all(t, s), []line{{labels: "app=a", time: base, body: "first"}})
	mustSend(t, s, line{labels: "app=a", time: base, body: "second"})
	s.Close()
	same(t, all(t, open(t, Config{Dir: dir})), []line{{labels: "app=a", time: base, body: "first"}, {labels: "app=a", time: base, body: "second"}})
}
