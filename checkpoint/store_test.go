package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func mustOpen(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func contents(s *Store) map[string]string {
	m := map[string]string{}
	s.Range("", func(k string, v []byte) bool { m[k] = string(v); return true })
	return m
}

func put(s *Store, kv ...string) {
	for i := 0; i < len(kv); i += 2 {
		s.Put(kv[i], []byte(kv[i+1]))
	}
}

func wantContents(t testing.TB, s *Store, want map[string]string) {
	t.Helper()
	if got := contents(s); !maps.Equal(got, want) {
		t.Fatalf("store holds %v, want %v", got, want)
	}
}

// crash ends a store's life without a Sync, as kill -9 does.
func crash(s *Store) {
	s.io.Lock()
	defer s.io.Unlock()
	s.closed = true
	if s.log != nil {
		s.log.Close()
	}
	s.lock.Close()
}

func TestStoreRemembers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "deep")
	s := mustOpen(t, dir)
	put(s, "a", "1", "b", "2", "c", "")
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	put(s, "a", "3")
	s.Delete("b")
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	put(s, "never", "synced")
	crash(s)
	s = mustOpen(t, dir)
	wantContents(t, s, map[string]string{"a": "3", "c": ""})
	if d := s.Damage(); d != (Damage{}) {
		t.Errorf("damage %+v, want none", d)
	}
	put(s, "d", "by close")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	wantContents(t, r, map[string]string{"a": "3", "c": "", "d": "by close"})
	if err := r.Sync(); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Sync of a read-only store: %v", err)
	}
	if fi, err := os.Stat(filepath.Join(dir, logName)); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("log mode %v, %v; want 0600", fi.Mode(), err)
	}
}

func TestRangePrefixAndOrder(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	defer s.Close()
	put(s, "c/2", "", "c/1", "", "d/1", "", "c", "")
	var got []string
	s.Range("c/", func(k string, _ []byte) bool {
		got = append(got, k)
		s.Delete("c/2") // changes are allowed
		return true
	})
	if fmt.Sprint(got) != "[c/1]" {
		t.Errorf("got %v", got)
	}
}

func TestReadOfNothing(t *testing.T) {
	if _, err := Read(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestFailure63_SecondOpenerNamesTheHolder(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	defer s.Close()
	put(s, "k", "v")
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
		t.Fatalf("second open: %v", err)
	}
	r, err := Read(dir) // readers are welcome
	if err != nil {
		t.Fatal(err)
	}
	wantContents(t, r, map[string]string{"k": "v"})
	s.Close()
	mustOpen(t, dir).Close() // and the lock is free afterwards
}

func TestFailure66_UnknownVersionIsRefusedAndKept(t *testing.T) {
	dir := t.TempDir()
	b := appendHeader(nil)
	b[8] = 99
	// a right checksum: this is not damage but another version
	b = append(b[:12], 0, 0, 0, 0)
	sum := checksum(b[:12])
	for i := range 4 {
		b[12+i] = byte(sum >> (8 * i))
	}
	path := filepath.Join(dir, logName)
	os.WriteFile(path, b, 0o600)
	for range 2 {
		_, err := Open(dir)
		if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "version 99") || !strings.Contains(err.Error(), path) {
			t.Fatalf("open: %v", err)
		}
		if _, err := Read(dir); !errors.Is(err, ErrVersion) {
			t.Fatalf("read: %v", err)
		}
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, b) {
		t.Error("the file was changed")
	}
}

func TestFailure64_TornTailIsCutAtEveryLength(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	put(s, "a", "1")
	s.Sync()
	before := s.end
	put(s, "a", "2", "b", "3")
	s.Sync()
	crash(s)
	path := filepath.Join(dir, logName)
	full, _ := os.ReadFile(path)
	for n := before; n < int64(len(full)); n++ {
		if err := os.WriteFile(path, full[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // recovery may be interrupted and repeated
			s := mustOpen(t, dir)
			wantContents(t, s, map[string]string{"a": "1"})
			if d := s.Damage(); d.Places != 0 {
				t.Fatalf("cut at %d: %+v", n, d)
			}
			crash(s)
		}
		s := mustOpen(t, dir)
		put(s, "c", "4")
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		crash(s)
		s = mustOpen(t, dir)
		wantContents(t, s, map[string]string{"a": "1", "c": "4"})
		crash(s)
	}
}

func TestFailure59_BitFlipsCostOnlyTheirFrame(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	s.Sync()
	var ends []int64
	for i := range 4 {
		put(s, fmt.Sprintf("k%d", i), strings.Repeat("v", i+1))
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, s.end)
	}
	crash(s)
	path := filepath.Join(dir, logName)
	full, _ := os.ReadFile(path)
	for i := range full {
		b := bytes.Clone(full)
		b[i] ^= 0x10
		os.RemoveAll(dir)
		os.MkdirAll(dir, 0o700)
		os.WriteFile(path, b, 0o600)
		s, err := Open(dir)
		if err != nil {
			t.Fatalf("flip at %d: %v", i, err)
		}
		want := map[string]string{}
		hit := -1
		for k, e := range ends {
			if int64(i) >= headerSize && int64(i) < e && hit < 0 {
				hit = k
				continue
			}
			want[fmt.Sprintf("k%d", k)] = strings.Repeat("v", k+1)
		}
		wantContents(t, s, want)
		d := s.Damage()
		if hit == len(ends)-1 {
			if d.Torn == 0 {
				t.Fatalf("flip at %d: %+v", i, d)
			}
		} else if d.Places != 1 {
			t.Fatalf("flip at %d: %+v, want one damaged place", i, d)
		}
		put(s, "new", "1")
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		crash(s)
		s = mustOpen(t, dir)
		want["new"] = "1"
		wantContents(t, s, want)
		if d := s.Damage(); d != (Damage{}) {
			t.Fatalf("flip at %d: damage %+v after it was written anew", i, d)
		}
		crash(s)
		if hit != len(ends)-1 {
			if kept, _ := os.ReadFile(filepath.Join(dir, badName)); !bytes.Equal(kept, b) {
				t.Fatalf("flip at %d: the damaged log was not kept", i)
			}
		}
	}
}

func TestFailure60_ZeroLengthAndForeignLog(t *testing.T) {
	for _, content := range []string{"", "x", strings.Repeat("garbage ", 100), fileMagic} {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, logName), []byte(content), 0o600)
		os.WriteFile(filepath.Join(dir, tmpName), []byte("left over"), 0o600)
		s := mustOpen(t, dir)
		wantContents(t, s, map[string]string{})
		put(s, "a", "1")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir)
		wantContents(t, s, map[string]string{"a": "1"})
		s.Close()
		if _, err := os.Stat(filepath.Join(dir, tmpName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("unfinished file is still there: %v", err)
		}
	}
}

// faults fails the next operations of the given names, writing half.
type faults map[string]int

func (f faults) next(op string, size int) (int, error) {
	if f[op] > 0 {
		f[op]--
		return size / 2, unix.ENOSPC
	}
	return size, nil
}

func TestFailure56_FullDiskKeepsTheOldAndCarriesTheNew(t *testing.T) {
	for _, op := range []string{"write", "sync", "rename", "syncdir"} {
		t.Run(op, func(t *testing.T) {
			dir := t.TempDir()
			f := faults{}
			s, err := open(dir, f.next)
			if err != nil {
				t.Fatal(err)
			}
			put(s, "a", "1", "gone", "x")
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
			f[op] = 2
			if op == "rename" || op == "syncdir" {
				s.rewrite = true
			}
			put(s, "a", "2", "b", "3")
			s.Delete("gone")
			for range 2 {
				if err := s.Sync(); !errors.Is(err, unix.ENOSPC) {
					t.Fatalf("Sync: %v", err)
				}
				r, err := Read(dir)
				if err != nil {
					t.Fatal(err)
				}
				got := contents(r)
				old := map[string]string{"a": "1", "gone": "x"}
				now := map[string]string{"a": "2", "b": "3"}
				// A failed fsync may or may not have made it; a mixture never.
				if !maps.Equal(got, old) && (op == "write" || !maps.Equal(got, now)) {
					t.Fatalf("after a failed %s: %v", op, got)
				}
			}
			put(s, "c", "4")
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
			crash(s)
			s = mustOpen(t, dir)
			wantContents(t, s, map[string]string{"a": "2", "b": "3", "c": "4"})
			crash(s)
		})
	}
}

func TestFailure55_FailedFsyncIsNeverTrustedAgain(t *testing.T) {
	dir := t.TempDir()
	f := faults{}
	s, err := open(dir, f.next)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put(s, "a", "1")
	s.Sync()
	before := inode(t, dir)
	f["sync"] = 1
	put(s, "a", "2")
	if err := s.Sync(); err == nil {
		t.Fatal("no error")
	}
	if err := s.Sync(); err != nil { // nothing changed since, still it must write
		t.Fatal(err)
	}
	if inode(t, dir) == before {
		t.Error("the file whose fsync failed is still in use")
	}
	r, _ := Read(dir)
	wantContents(t, r, map[string]string{"a": "2"})
}

func TestFullDiskAtTheFirstStart(t *testing.T) {
	f := faults{"write": 1}
	dir := t.TempDir()
	s, err := open(dir, f.next)
	if err != nil {
		t.Fatal(err)
	}
	put(s, "a", "1")
	if err := s.Sync(); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	crash(s)
	s = mustOpen(t, dir)
	defer s.Close()
	wantContents(t, s, map[string]string{"a": "1"})
}

func inode(t *testing.T, dir string) uint64 {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, logName), &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestLogIsRewrittenAndStaysSmall(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	value := bytes.Repeat([]byte("x"), 64<<10)
	for i := range 200 {
		value[0] = byte(i)
		s.Put("k", value)
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		if fi, _ := os.Stat(filepath.Join(dir, logName)); fi.Size() > slack+(factor+2)*int64(len(value)) {
			t.Fatalf("log has %d bytes", fi.Size())
		}
	}
	if s.rewrites < 2 {
		t.Errorf("%d rewrites", s.rewrites)
	}
	crash(s)
	s = mustOpen(t, dir)
	defer s.Close()
	if v, _ := s.Get("k"); !bytes.Equal(v, value) {
		t.Error("value lost")
	}
}

// TestModel drives a store with random changes, syncs that fail, crashes and
// reopenings against two maps: what memory must hold and what disk must hold.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "checkpoint")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		f := faults{}
		s, err := open(dir, f.next)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { crash(s) }()
		mem := map[string]string{}
		disk := []map[string]string{{}} // what may be found after a crash
		key := rapid.StringMatching(`[a-d]`)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k, v := key.Draw(t, "k"), rapid.StringN(0, 200, 400).Draw(t, "v")
				s.Put(k, []byte(v))
				mem[k] = v
			},
			"delete": func(t *rapid.T) {
				k := key.Draw(t, "k")
				s.Delete(k)
				delete(mem, k)
			},
			"sync": func(t *rapid.T) {
				if err := s.Sync(); err != nil {
					t.Fatal(err)
				}
				disk = []map[string]string{maps.Clone(mem)}
			},
			"flush": func(t *rapid.T) {
				if err := s.Flush(); err != nil {
					t.Fatal(err)
				}
				disk = []map[string]string{maps.Clone(mem)}
			},
			"failing flush": func(t *rapid.T) {
				f["write"] = 1
				if s.Flush() == nil {
					disk = nil
				}
				delete(f, "write")
				disk = append(disk, maps.Clone(mem))
			},
			"failing sync": func(t *rapid.T) {
				op := rapid.SampledFrom([]string{"write", "sync", "rename", "syncdir"}).Draw(t, "op")
				f[op] = 1
				if s.Sync() == nil {
					disk = nil
				}
				delete(f, op)
				disk = append(disk, maps.Clone(mem))
			},
			"rewrite": func(t *rapid.T) { s.rewrite = true },
			"crash": func(t *rapid.T) {
				crash(s)
				if s, err = open(dir, f.next); err != nil {
					t.Fatal(err)
				}
				got := contents(s)
				for _, d := range disk {
					if maps.Equal(got, d) {
						mem, disk = got, []map[string]string{maps.Clone(got)}
						return
					}
				}
				t.Fatalf("found %v after a crash, allowed %v", got, disk)
			},
			"": func(t *rapid.T) {
				if got := contents(s); !maps.Equal(got, mem) {
					t.Fatalf("memory holds %v, want %v", got, mem)
				}
			},
		})
	})
}

func FuzzReplay(f *testing.F) {
	b := appendHeader(nil)
	f.Add(b)
	n := len(b)
	b = beginFrame(b)
	b = appendPut(b, "key", []byte("value"))
	b = appendDelete(b, "other")
	b = endFrame(b, n, 1)
	f.Add(b)
	f.Add(append([]byte("torn"), b...))
	f.Add(b[:len(b)-3])
	f.Fuzz(func(t *testing.T, b []byte) {
		m := map[string]string{}
		end, _, d := replay(b, func(k string, v []byte) { m[k] = string(v) }, func(k string) { delete(m, k) })
		if end < 0 || end > int64(len(b)) || d.Bytes+d.Torn > int64(len(b)) {
			t.Fatalf("end %d of %d, damage %+v", end, len(b), d)
		}
		// Reading only what was good gives the same again.
		m2 := map[string]string{}
		replay(b[:end], func(k string, v []byte) { m2[k] = string(v) }, func(k string) { delete(m2, k) })
		if !maps.Equal(m, m2) {
			t.Fatalf("%v, then %v", m, m2)
		}
	})
}

// TestFailure53_KillAtAnyMoment kills a writing process and checks that what it
// reported as synced is there.
func TestFailure53_KillAtAnyMoment(t *testing.T) {
	if dir := os.Getenv("CHECKPOINT_WRITER"); dir != "" {
		s := mustOpen(t, dir)
		for i := 0; ; i++ {
			s.Put("a", fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", i%3000)))
			s.Put("b", fmt.Appendf(nil, "%d", i))
			if err := s.Sync(); err != nil {
				fmt.Println("error", err)
			}
			fmt.Println("synced", i)
		}
	}
	dir := t.TempDir()
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), "CHECKPOINT_WRITER="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := -1
		buf := make([]byte, 4096)
		var text []byte
		for bytes.Count(text, []byte("\n")) < 20+round*37 {
			n, err := out.Read(buf)
			text = append(text, buf[:n]...)
			if err != nil {
				break
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		text = text[:bytes.LastIndexByte(text, '\n')+1]
		for _, line := range strings.Fields(strings.ReplaceAll(string(text), "synced", "")) {
			n, err := strconv.Atoi(line)
			if err != nil {
				t.Fatalf("writer said %q", text)
			}
			last = n
		}
		s := mustOpen(t, dir)
		a, _ := s.Get("a")
		b, _ := s.Get("b")
		na, _, _ := strings.Cut(string(a), " ")
		if na != string(b) {
			t.Fatalf("a is of %s, b of %s: not one Sync", na, b)
		}
		if n, _ := strconv.Atoi(na); n < last {
			t.Fatalf("found %d, %d was reported as synced", n, last)
		}
		s.Close()
	}
}

func BenchmarkSync500Keys(b *testing.B) {
	s := mustOpen(b, b.TempDir())
	defer s.Close()
	value := bytes.Repeat([]byte(`{"x":1},`), 60)
	b.SetBytes(500 * int64(len(value)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		value[0] = byte(i)
		value[1] = byte(i >> 8)
		for k := range 500 {
			s.Put(strconv.Itoa(k), value)
		}
		if err := s.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

// What was flushed outlives the process, and is synced with the next Sync even
// if nothing has changed since; if that fails the log is written anew.
func TestFlush(t *testing.T) {
	dir := t.TempDir()
	syncs, fail := 0, false
	s, err := open(dir, func(op string, size int) (int, error) {
		if op == "sync" {
			if syncs++; fail {
				return 0, unix.EIO
			}
		}
		return size, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Put("a", []byte("1"))
	if err := s.Sync(); err != nil { // makes the log
		t.Fatal(err)
	}
	s.Put("a", []byte("2"))
	before := syncs
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if syncs != before {
		t.Errorf("Flush waits for the disk")
	}
	fail = true
	if err := s.Sync(); !errors.Is(err, unix.EIO) {
		t.Fatalf("Sync after Flush: %v, want the disk's error", err)
	}
	fail = false
	if err := s.Sync(); err != nil || s.rewrites != 2 {
		t.Fatalf("Sync after a failed one: %v, %d logs written, want 2", err, s.rewrites)
	}
	before = syncs
	if err := s.Sync(); err != nil || syncs != before {
		t.Errorf("Sync without changes: %v, %d syncs", err, syncs-before)
	}
	s.Put("b", []byte("3"))
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	crash(s)
	if s, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer crash(s)
	if got, want := contents(s), map[string]string{"a": "2", "b": "3"}; !maps.Equal(got, want) {
		t.Errorf("after a kill: %v, want %v", got, want)
	}
}
