package tail

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlog/weir/record"
)

// lines returns n lines and their messages.
func (n *node) lines(from, count int) (text string, msgs []string) {
	for i := range count {
		m := fmt.Sprintf("message %d", from+i)
		msgs = append(msgs, m)
		text += n.out(m)
	}
	return text, msgs
}

func TestFailure1_RenamedWhileFarBehind(t *testing.T) {
	n := newNode(t)
	n.cfg.ReadBytes = 4 << 10
	p := n.path("a", "c", "0.log")
	text, want := n.lines(0, 1000)
	appendFile(t, p, text)
	n.start()
	n.step(time.Second) // one quantum of many
	rename(t, p, p+".20261122-000001")
	text, more := n.lines(1000, 10)
	appendFile(t, p, text)
	n.settle()
	wantBodies(t, n.sink.bodies(), append(want, more...)...)
}

func TestFailure2_SeveralRotationsDuringOneStall(t *testing.T) {
	n := newNode(t)
	n.start()
	n.sink.full = true
	p := n.path("a", "c", "0.log")
	var want []string
	for i := range 6 {
		text, msgs := n.lines(i*10, 10)
		want = append(want, msgs...)
		appendFile(t, p, text)
		n.step(time.Second)
		if i < 5 {
			rename(t, p, fmt.Sprintf("%s.20261122-%06d", p, i))
		}
		if i > 1 {
			compress(t, fmt.Sprintf("%s.20261122-%06d", p, i-2))
		}
		if i > 3 {
			remove(t, fmt.Sprintf("%s.20261122-%06d.gz", p, i-4))
		}
	}
	n.step(time.Second)
	n.sink.full = false
	n.settle()
	wantBodies(t, n.sink.bodies(), want...)
	if l := n.ledger(); l.Lost != 0 {
		t.Errorf("lost %d", l.Lost)
	}
}

func TestFailure3_CompressedWhileTheReaderIsDown(t *testing.T) {
	for _, reader := range []string{"up", "down"} {
		for _, tmp := range []bool{false, true} {
			t.Run(fmt.Sprint(reader, tmp), func(t *testing.T) {
				n := newNode(t)
				n.cfg.ReadBytes = 2 << 10
				p := n.path("a", "c", "0.log")
				text, want := n.lines(0, 200)
				appendFile(t, p, text)
				n.start()
				n.step(time.Second)
				n.step(time.Second)
				n.step(time.Second)
				if k := len(n.sink.all); k == 0 || k >= 200 {
					t.Fatalf("%d records before", k)
				}
				if reader == "down" {
					n.kill()
				}
				old := p + ".20261122-000001"
				rename(t, p, old)
				text, more := n.lines(200, 3)
				appendFile(t, p, text)
				if tmp { // compressing has begun
					appendFile(t, old+".tmp", "half")
				} else {
					compress(t, old)
				}
				if reader == "down" {
					n.start()
				}
				n.settle()
				if tmp {
					remove(t, old+".tmp")
					compress(t, old)
					n.settle()
				}
				got := n.sink.bodies()
				ids := map[string]bool{}
				got = got[:0]
				for _, r := range n.sink.all {
					if !ids[r.id()] {
						got = append(got, r.body)
					}
					ids[r.id()] = true
				}
				wantBodies(t, got, append(want, more...)...)
				l := n.ledger()
				if l.Lost != 0 || l.Unread != 0 {
					t.Errorf("ledger %+v", l)
				}
			})
		}
	}
}

func TestFailure3_PlainAndCompressedAreOne(t *testing.T) {
	n := newNode(t)
	p := n.path("a", "c", "0.log")
	text, want := n.lines(0, 5)
	old := p + ".20261122-000001"
	appendFile(t, old, text)
	compress(t, old)
	appendFile(t, old, text) // as before the unlink
	appendFile(t, p, n.out("live"))
	n.start()
	n.settle()
	remove(t, old)
	n.settle()
	wantBodies(t, n.sink.bodies(), append(want, "live")...)
}

func TestFailure4_DeletedBeforeItWasReadIsCountedExactly(t *testing.T) {
	n := newNode(t)
	p := n.path("a", "c", "0.log")
	text, want := n.lines(0, 10)
	appendFile(t, p, text)
	n.start()
	n.settle()
	n.kill()
	lost, _ := n.lines(10, 100)
	appendFile(t, p, lost)
	n.start()
	n.sink.full = true
	n.step(time.Second) // sees how long it is
	n.kill()
	rename(t, p, p+".20261122-000001")
	remove(t, p+".20261122-000001")
	text, more := n.lines(200, 3)
	appendFile(t, p, text)
	n.sink.full = false
	n.start()
	n.settle()
	wantBodies(t, n.sink.bodies(), append(want, more...)...)
	l := n.ledger()
	if l.Lost != int64(len(lost)) {
		t.Errorf("lost %d, want %d", l.Lost, len(lost))
	}
	gaps := n.sink.gaps()
	if len(gaps) != 2 || gaps[0].end-gaps[0].start != int64(len(lost)) || gaps[1].reason != reasonUnknown {
		t.Errorf("gaps %v", gaps)
	}
	n.stop()
	n.start()
	n.settle()
	if len(n.sink.gaps()) != 2 || n.ledger().Lost != int64(len(lost)) {
		t.Errorf("after a restart: gaps %v, lost %d", n.sink.gaps(), n.ledger().Lost)
	}
}

// plain makes the node read plain files.
func (n *node) plain(patterns ...string) string {
	n.cfg.Pods = ""
	for _, p := range patterns {
		n.cfg.Paths = append(n.cfg.Paths, filepath.Join(n.dir, p))
	}
	return n.dir
}

func copyTruncate(t *testing.T, from, to string, between func()) {
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if between != nil {
		between()
	}
	if err := os.Truncate(from, 0); err != nil {
		t.Fatal(err)
	}
}

func TestFailure5_Copytruncate(t *testing.T) {
	for name, between := range map[string]func(n *node){
		"at once":               nil,
		"seen between":          func(n *node) { n.step(time.Second); n.step(time.Second) },
		"restart after":         nil,
		"restart between":       func(n *node) { n.kill(); n.start(); n.step(time.Second) },
		"not read":              nil,
		"not read and restart":  nil,
		"same first line after": nil,
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			p := n.plain("app.log*") + "/app.log"
			appendFile(t, p, "banner\none\ntwo\n")
			n.start()
			n.settle()
			want := []string{"banner", "one", "two"}
			if strings.HasPrefix(name, "not read") {
				n.sink.full = true
				appendFile(t, p, "three\n")
				want = append(want, "three")
				n.step(time.Second)
			}
			var f func()
			if between != nil {
				f = func() { between(n) }
			}
			copyTruncate(t, p, p+".1", f)
			if strings.Contains(name, "restart") && between == nil {
				n.kill()
			} else {
				n.step(time.Second)
			}
			first := "other"
			if strings.HasPrefix(name, "same") {
				first = "banner"
			}
			appendFile(t, p, first+"\nfour\n")
			if n.in == nil {
				n.start()
			}
			n.sink.full = false
			n.settle()
			wantBodies(t, n.sink.bodies(), append(want, first, "four")...)
			if l := n.ledger(); l.Lost != 0 {
				t.Errorf("lost %d", l.Lost)
			}
			if len(n.sink.gaps()) != 0 {
				t.Errorf("gaps %v", n.sink.gaps())
			}
		})
	}
}

func TestFailure5_TruncatedUnread(t *testing.T) {
	n := newNode(t)
	p := n.plain("app.log") + "/app.log"
	appendFile(t, p, "one\n")
	n.start()
	n.settle()
	n.sink.full = true
	appendFile(t, p, "lost line\n")
	n.step(time.Second)
	if err := os.Truncate(p, 0); err != nil {
		t.Fatal(err)
	}
	n.step(time.Second)
	appendFile(t, p, "two\n")
	n.sink.full = false
	n.settle()
	wantBodies(t, n.sink.bodies(), "one", "two")
	g := n.sink.gaps()
	if l := n.ledger(); l.Lost != 10 || len(g) != 1 || g[0].reason != reasonTruncated {
		t.Errorf("lost %d, gaps %v", l.Lost, g)
	}
}

func TestFailure6_TruncatedAndGrownPastTheOldEnd(t *testing.T) {
	for _, first := range []string{"banner", "another"} {
		n := newNode(t)
		p := n.plain("app.log") + "/app.log"
		appendFile(t, p, "banner\none\ntwo\n")
		n.start()
		n.settle()
		if err := os.Truncate(p, 0); err != nil {
			t.Fatal(err)
		}
		appendFile(t, p, first+"\nthis is much longer than what was there before\nyes\n")
		n.settle()
		wantBodies(t, n.sink.bodies(), "banner", "one", "two", first, "this is much longer than what was there before", "yes")
	}
}

func TestFailure7_InodeReused(t *testing.T) {
	n := newNode(t)
	p := n.path("a", "c", "0.log")
	appendFile(t, p, n.out("old one"), n.out("old two"))
	n.start()
	n.settle()
	st, _ := lstat(p)
	n.kill()
	// As an unlink and a create on ext4 do it: same inode, another file.
	if err := os.Truncate(p, 0); err != nil {
		t.Fatal(err)
	}
	appendFile(t, p, n.out("new one"), n.out("new two"), n.out("new three"))
	if now, _ := lstat(p); now.ino != st.ino {
		t.Fatal("not the same inode")
	}
	n.start()
	n.settle()
	wantBodies(t, n.sink.bodies(), "old one", "old two", "new one", "new two", "new three")

	// And under another name.
	n.kill()
	q := n.path("b", "c", "0.log")
	rename(t, p, q)
	os.Truncate(q, 0)
	appendFile(t, q, n.out("in b"))
	n.start()
	n.settle()
	if got := n.sink.bodies(); got[len(got)-1] != "in b" || len(got) != 6 {
		t.Errorf("got %q", got)
	}
}

func TestFailure9_SameFirstLines(t *testing.T) {
	n := newNode(t)
	p := n.plain("*.log*") + "/app.log"
	banner := strings.Repeat("the same in each file\n", 100) // longer than the head
	appendFile(t, p+".2", banner, "c\n")
	appendFile(t, p+".1", banner, "b\n")
	appendFile(t, p, banner, "a\n")
	appendFile(t, n.dir+"/other.log", banner, "d\n")
	n.start()
	n.settle()
	count := map[string]int{}
	gens := map[record.ID]bool{}
	for _, r := range n.sink.all {
		count[r.body]++
		gens[r.gen] = true
	}
	if count["the same in each file"] != 400 || count["a"] != 1 || count["b"] != 1 || count["c"] != 1 || count["d"] != 1 || len(gens) != 4 {
		t.Errorf("got %v in %d generations", count, len(gens))
	}
	n.stop()
	n.start()
	n.settle()
	if len(n.sink.all) != 404 {
		t.Errorf("%d records after a restart", len(n.sink.all))
	}
}

func TestFailure10_SmallerThanAnyFingerprint(t *testing.T) {
	n := newNode(t)
	p := n.plain("app.log") + "/app.log"
	appendFile(t, p, "a\n")
	n.start()
	n.settle()
	wantBodies(t, n.sink.bodies(), "a")
	appendFile(t, p, "b\n")
	n.stop()
	n.start()
	n.settle()
	wantBodies(t, n.sink.bodies(), "a", "b")
}

func TestFailure11_DeletedWhileBehind(t *testing.T) {
	n := newNode(t)
	n.cfg.ReadBytes = 1 << 10
	p := n.path("a", "c", "0.log")
	text, want := n.lines(0, 100)
	appendFile(t, p, text, strings.TrimSuffix(n.out("no newline"), "\n"))
	n.start()
	n.sink.hold = true
	n.step(time.Second)
	remove(t, filepath.Join(n.pods, "ns_a_uid-a"))
	n.settle()
	wantBodies(t, n.sink.bodies(), append(want, "no newline")...)
	if n.in.open.Len() == 0 {
		t.Log("the handle was closed early; nothing depends on it")
	}
	n.sink.finishAll()
	n.settle()
	n.now = n.now.Add(time.Minute)
	n.settle()
	if k := n.in.open.Len(); k != 0 {
		t.Errorf("%d handles are still open", k)
	}
	if len(n.in.chains) != 0 {
		t.Errorf("the chain is still known: %v", n.in.chains)
	}
	if l := n.ledger(); l.Lost != 0 || l.Durable != l.Written {
		t.Errorf("ledger %+v", l)
	}
}

func TestFailure12_HeldFilesAreBounded(t *testing.T) {
	n := newNode(t)
	n.cfg.Hold.MaxBytes = 1500
	n.start()
	n.sink.full = true
	p := n.path("a", "c", "0.log")
	sizes := map[int]int{}
	var last []string
	for i := range 5 {
		text, msgs := n.lines(i*10, 10)
		sizes[i] = len(text)
		if i >= 1 {
			last = append(last, msgs...)
		}
		appendFile(t, p, text)
		n.step(time.Second)
		rename(t, p, fmt.Sprintf("%s.20261122-%06d", p, i))
		n.step(time.Second)
		remove(t, fmt.Sprintf("%s.20261122-%06d", p, i))
		n.step(time.Second)
		n.step(time.Second)
	}
	l := n.ledger()
	if held := l.Unread; held > 1500+700 || held == 0 {
		t.Errorf("%d bytes are held", held)
	}
	n.sink.full = false
	n.settle()
	l = n.ledger()
	got := n.sink.bodies()
	kept := 50 - len(got)
	if l.Lost == 0 || kept%10 != 0 {
		t.Fatalf("lost %d bytes, %d messages", l.Lost, kept)
	}
	var want int64
	for i := range kept / 10 {
		want += int64(sizes[i])
	}
	if l.Lost != want {
		t.Errorf("lost %d, want %d", l.Lost, want)
	}
	if g := n.sink.gaps(); len(g) != kept/10 || g[0].reason != reasonHold {
		t.Errorf("gaps %v", g)
	}
	_ = last

	n.sink.full = true
	appendFile(t, p, n.out("old"))
	n.step(time.Second)
	remove(t, p)
	n.step(time.Second)
	n.step(time.Second)
	n.step(25 * time.Hour)
	n.sink.full = false
	n.settle()
	if g := n.sink.gaps(); g[len(g)-1].reason != reasonHold {
		t.Errorf("by age: gaps %v", g)
	}
}

func TestFailure13_LinksAreFollowedAndRetargeted(t *testing.T) {
	n := newNode(t)
	n.cfg.Pods = ""
	n.cfg.Links = filepath.Join(n.dir, "containers")
	docker := filepath.Join(n.dir, "docker")
	n.cfg.LinkRoots = []string{docker}
	os.MkdirAll(n.cfg.Links, 0o755)
	id := strings.Repeat("0a", 32)
	// containers/… → pods/…/0.log → docker/<id>/<id>-json.log
	target := filepath.Join(docker, id, id+"-json.log")
	os.MkdirAll(filepath.Dir(target), 0o755)
	appendFile(t, target, `{"log":"one\n","stream":"stdout","time":"2026-11-22T09:00:00Z"}`+"\n")
	p := n.path("a", "c", "0.log")
	os.Symlink(target, p)
	link := filepath.Join(n.cfg.Links, "a_ns_c-"+id+".log")
	os.Symlink("../pods/ns_a_uid-a/c/0.log", link)
	n.start()
	n.settle()
	wantBodies(t, n.sink.bodies(), "one")
	if got := n.sink.all[0].stream; got != "ns/a/c/stdout" {
		t.Errorf("stream %q", got)
	}
	// Docker's own rotation stays within the chain.
	rename(t, target, target+".1")
	appendFile(t, target, `{"log":"two\n","stream":"stdout","time":"2026-11-22T09:00:01Z"}`+"\n")
	n.settle()
	// The container restarts: a new id, the same pod.
	id2 := strings.Repeat("0b", 32)
	target2 := filepath.Join(docker, id2, id2+"-json.log")
	os.MkdirAll(filepath.Dir(target2), 0o755)
	appendFile(t, target, `{"log":"last\n","stream":"stdout","time":"2026-11-22T09:00:02Z"}`+"\n")
	appendFile(t, target2, `{"log":"three\n","stream":"stdout","time":"2026-11-22T09:00:03Z"}`+"\n")
	q := n.path("a", "c", "1.log")
	os.Symlink(target2, q)
	os.Remove(link)
	os.Symlink("../pods/ns_a_uid-a/c/1.log", link)
	n.settle()
	got := n.sink.bodies()
	slices.Sort(got)
	wantBodies(t, got, "last", "one", "three", "two")
	if len(n.in.chains) != 2 {
		t.Errorf("%d chains", len(n.in.chains))
	}
	l := n.ledger()
	if l.Lost != 0 || l.Unread != 0 {
		t.Errorf("ledger %+v", l)
	}
}

func TestFailure14_ContainerRestartIsNotJoined(t *testing.T) {
	n := newNode(t)
	appendFile(t, n.path("a", "c", "0.log"), n.cri("stdout", "P", "begun "))
	appendFile(t, n.path("a", "c", "1.log"), n.cri("stdout", "F", "other"))
	n.start()
	n.settle()
	wantBodies(t, n.sink.bodies(), "other")
	n.now = n.now.Add(2 * time.Minute)
	n.settle()
	wantBodies(t, n.sink.bodies(), "other", "begun ")
	if !n.sink.all[1].flags.Has(record.Partial) {
		t.Error("not flagged partial")
	}
	remove(t, n.path("a", "c", "0.log"))
	n.settle()
	if l := n.ledger(); l.Lost != 0 || len(n.in.collect().Ledgers) != 1 {
		t.Errorf("ledgers %+v", n.in.collect().Ledgers)
	}
}

func TestFailure15_SamePodNameOtherUID(t *testing.T) {
	n := newNode(t)
	mk := func(uid string) string {
		d := filepath.Join(n.pods, "ns_db-0_"+uid, "c")
		os.MkdirAll(d, 0o755)
		return d + "/0.log"
	}
	line := n.out("same bytes")
	appendFile(t, mk("u1"), line)
	n.start()
	n.settle()
	remove(t, filepath.Join(n.pods, "ns_db-0_u1"))
	appendFile(t, mk("u2"), line)
	n.settle()
	wantBodies(t, n.sink.bodies(), "same bytes", "same bytes")
	if n.sink.all[0].gen == n.sink.all[1].gen {
		t.Error("one generation for two pods")
	}
}

func TestFailure17_RenamedWithinAndLinkedTwice(t *testing.T) {
	n := newNode(t)
	p := n.path("a", "c", "0.log")
	appendFile(t, p, n.out("one"))
	n.start()
	n.settle()
	if err := os.Link(p, p+".20261122-000001"); err != nil {
		t.Fatal(err)
	}
	n.settle()
	appendFile(t, p, n.out("two"))
	n.settle()
	wantBodies(t, n.sink.bodies(), "one", "two")
}

func TestFailure18_HandlesAreBounded(t *testing.T) {
	n := newNode(t)
	n.cfg.MaxHandles = 20
	var paths []string
	for i := range 100 {
		paths = append(paths, n.path(fmt.Sprint("p", i), "c", "0.log"))
		appendFile(t, paths[i], n.out(fmt.Sprint("first ", i)))
	}
	n.start()
	for range 50 {
		n.step(time.Second)
		if k := n.in.open.Len(); k > 20 {
			t.Fatalf("%d handles", k)
		}
	}
	for i, p := range paths {
		appendFile(t, p, n.out(fmt.Sprint("second ", i)))
	}
	n.settle()
	if k := n.in.open.Len(); k > 20 {
		t.Fatalf("%d handles", k)
	}
	got := n.sink.bodies()
	slices.Sort(got)
	if len(slices.Compact(got)) != 200 || len(n.sink.all) != 200 {
		t.Errorf("%d records, %d different", len(n.sink.all), len(slices.Compact(got)))
	}
	if l := n.ledger(); l.Lost != 0 {
		t.Errorf("lost %d", l.Lost)
	}
}

func TestFailure21_UnreadableForAWhile(t *testing.T) {
	n := newNode(t)
	bad, good := n.path("bad", "c", "0.log"), n.path("good", "c", "0.log")
	appendFile(t, bad, n.out("from bad"))
	appendFile(t, good, n.out("from good"))
	n.start()
	real := n.in.sys.openat
	n.in.sys.openat = func(dir int, name string, flags int) (int, error) {
		if name == "ns_bad_uid-bad" {
			return -1, unix.EACCES
		}
		return real(dir, name, flags)
	}
	n.settle()
	wantBodies(t, n.sink.bodies(), "from good")
	if e := n.in.collect().Errors["permission"]; e == 0 {
		t.Error("not counted")
	}
	n.in.sys.openat = real
	n.settle()
	wantBodies(t, n.sink.bodies(), "from good", "from bad")
}

func TestFailure22_ReadErrorInTheMiddle(t *testing.T) {
	n := newNode(t)
	n.cfg.ReadBytes = 1 << 10
	bad, good := n.path("bad", "c", "0.log"), n.path("good", "c", "0.log")
	text, want := n.lines(0, 100)
	appendFile(t, bad, text)
	n.start()
	n.step(time.Second)
	read := len(n.sink.all)
	var failed uint64
	for _, c := range n.in.chains {
		failed = c.gens[0].ino
	}
	real := n.in.sys.pread
	n.in.sys.pread = func(fd int, p []byte, off int64) (int, error) {
		if st, _ := fstat(fd); st.ino == failed {
			return 0, unix.EIO
		}
		return real(fd, p, off)
	}
	appendFile(t, good, n.out("from good"))
	n.settle()
	if got := n.sink.bodies(); len(got) != read+1 || got[read] != "from good" {
		t.Fatalf("got %s", clip(got))
	}
	if e := n.in.collect().Errors["io"]; e == 0 || e > 10 {
		t.Errorf("%d errors counted", e)
	}
	n.in.sys.pread = real
	n.now = n.now.Add(time.Minute)
	n.settle()
	got := slices.DeleteFunc(n.sink.bodies(), func(s string) bool { return s == "from good" })
	wantBodies(t, got, want...)
}

func TestFailure23_SparseFileBeyond4GiB(t *testing.T) {
	n := newNode(t)
	p := n.plain("app.log") + "/app.log"
	appendFile(t, p, "before\n")
	const far = 5 << 30
	if err := os.Truncate(p, far); err != nil {
		t.Skip(err)
	}
	appendFile(t, p, "behind\n", "next\n")
	n.start()
	n.settle()
	got := n.sink.all
	if len(got) != 3 || got[1].body != "behind" || got[1].start < 1<<32 || got[2].end != far+12 {
		t.Fatalf("got %+v", got)
	}
	if l := n.ledger(); l.Read != far+12 {
		t.Errorf("read %d", l.Read)
	}
}

func TestFailure24_RunsOfNUL(t *testing.T) {
	n := newNode(t)
	n.cfg.ReadBytes = 4 << 10
	p := n.plain("app.log") + "/app.log"
	nul := strings.Repeat("\x00", 100_000)
	appendFile(t, p, "before\n", nul, "behind\n")
	n.start()
	for i := 0; n.step(time.Second); i++ {
		if i > 1000 {
			t.Fatal("spins")
		}
	}
	n.settle()
	wantBodies(t, n.sink.bodies(), "before", "behind")
	s := n.in.collect()
	if s.Lines.NULBytes != 100_000 {
		t.Errorf("%d NUL bytes counted", s.Lines.NULBytes)
	}
	appendFile(t, p, nul) // at the end: nothing to do, and no spinning
	n.settle()
	appendFile(t, p, "again\n")
	n.settle()
	wantBodies(t, n.sink.bodies(), "before", "behind", "again")
}

func TestFailure25_NoFinalNewline(t *testing.T) {
	n := newNode(t)
	p := n.plain("app.log") + "/app.log"
	appendFile(t, p, "one\nunfin")
	n.start()
	n.step(time.Second)
	n.step(time.Second)
	wantBodies(t, n.sink.bodies(), "one")
	n.step(10 * time.Second)
	n.settle()
	wantBodies(t, n.sink.bodies(), "one", "unfin")
	n.stop()
	n.start()
	n.settle()
	appendFile(t, p, "ished\ntwo\n")
	n.settle()
	wantBodies(t, n.sink.bodies(), "one", "unfin", "ished", "two")
	if f := n.sink.all[1].flags; !f.Has(record.Partial) {
		t.Errorf("flags %b", f)
	}
	if f := n.sink.all[2].flags; !f.Has(record.Continued) || f.Has(record.Partial) {
		t.Errorf("flags %b", f)
	}
	if f := n.sink.all[3].flags; f.Has(record.Continued) {
		t.Errorf("flags %b", f)
	}
}

func TestFailure26_HalfLinesCostNoMemory(t *testing.T) {
	n := newNode(t)
	n.cfg.IdleLine = 24 * time.Hour
	p := n.plain("app.log") + "/app.log"
	appendFile(t, p, "begun")
	n.start()
	n.settle()
	n.step(2 * time.Hour)
	n.settle()
	appendFile(t, p, " and ended\n")
	n.settle()
	wantBodies(t, n.sink.bodies(), "begun and ended")
}

func TestFailure27_ReplacedByRename(t *testing.T) {
	n := newNode(t)
	p := n.plain("app.log") + "/app.log"
	appendFile(t, p, "old one\nold two\n")
	n.start()
	n.settle()
	n.sink.full = true
	appendFile(t, p, "old three\n")
	n.step(time.Second)
	appendFile(t, n.dir+"/new", "new one\n")
	rename(t, n.dir+"/new", p)
	n.step(time.Second)
	n.sink.full = false
	n.settle()
	wantBodies(t, n.sink.bodies(), "old one", "old two", "old three", "new one")
}

func TestFailure29_NotFiles(t *testing.T) {
	n := newNode(t)
	unix.Mkfifo(n.path("fifo", "c", "0.log"), 0o644)
	os.Mkdir(n.path("dir", "c", "0.log"), 0o755)
	l, err := net.Listen("unix", n.path("s", "c", "0.log"))
	if err != nil {
		t.Log(err)
	} else {
		defer l.Close()
	}
	unix.Mknod(n.path("dev", "c", "0.log"), unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))) // /dev/zero, if we may
	appendFile(t, n.path("ok", "c", "0.log"), n.out("fine"))
	n.cfg.Paths = []string{filepath.Join(n.dir, "plain*")}
	unix.Mkfifo(filepath.Join(n.dir, "plain.fifo"), 0o644)
	n.start()
	done := make(chan struct{})
	go func() { defer close(done); n.settle() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("blocked")
	}
	wantBodies(t, n.sink.bodies(), "fine")
	if e := n.in.collect().Errors["not_regular"]; e < 3 {
		t.Errorf("%d counted", e)
	}
	// What a race puts in a file's place is not opened either.
	for _, kind := range []string{"fifo", "dir"} {
		_, _, err := n.in.sys.openBeneath(n.pods, "ns_"+kind+"_uid-"+kind+"/c/0.log")
		if !errors.Is(err, errNotRegular) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestFailure30_LinksOutOfTheRoots(t *testing.T) {
	n := newNode(t)
	secret := filepath.Join(n.dir, "secret")
	os.MkdirAll(secret+"/c", 0o755)
	appendFile(t, secret+"/token", "secret\n")
	appendFile(t, secret+"/c/0.log", n.out("secret"))
	os.Symlink(secret+"/token", n.path("file", "c", "0.log"))
	os.Symlink("../../../secret/token", n.path("rel", "c", "0.log"))
	os.Symlink(secret+"/token", n.path("rotated", "c", "0.log.20261122-000001"))
	os.MkdirAll(filepath.Join(n.pods, "ns_dir_uid-dir"), 0o755)
	os.Symlink(secret+"/c", filepath.Join(n.pods, "ns_dir_uid-dir", "c"))
	os.Symlink(secret, filepath.Join(n.pods, "ns_pod_uid-pod"))
	// A link within the root whose way leads through a link out of it.
	os.Symlink(filepath.Join(n.pods, "ns_pod_uid-pod/c/0.log"), n.path("via", "c", "0.log"))
	n.cfg.Links = filepath.Join(n.dir, "containers")
	os.MkdirAll(n.cfg.Links, 0o755)
	os.Symlink("../secret/token", filepath.Join(n.cfg.Links, "x_ns_c-"+strings.Repeat("f", 64)+".log"))
	appendFile(t, n.path("ok", "c", "0.log"), n.out("fine"))
	n.start()
	n.settle()
	wantBodies(t, n.sink.bodies(), "fine")
	if e := n.in.collect().Errors["outside_root"]; e < 4 {
		t.Errorf("%d counted: %v", e, n.in.collect().Errors)
	}
	for _, rel := range []string{"ns_dir_uid-dir/c/0.log", "ns_pod_uid-pod/c/0.log", "ns_file_uid-file/c/0.log", "../secret/token", "a/../../secret/token"} {
		if fd, _, err := n.in.sys.openBeneath(n.pods, rel); err == nil {
			unix.Close(fd)
			t.Errorf("%s was opened", rel)
		}
	}
}

func TestFailure31_PartialsJoinedPerStream(t *testing.T) {
	n := newNode(t)
	appendFile(t, n.path("a", "c", "0.log"),
		n.cri("stdout", "P", "a1 "), n.cri("stderr", "P", "b1 "), n.cri("stdout", "F", "a2"), n.cri("stderr", "F", "b2"))
	n.start()
	n.settle()
	wantBodies(t, n.sink.bodies(), "a1 a2", "b1 b2")
}

func TestFailure32_PartialSplitOverRotation(t *testing.T) {
	for _, restart := range []bool{false, true} {
		n := newNode(t)
		p := n.path("a", "c", "0.log")
		appendFile(t, p, n.cri("stdout", "P", "one "))
		n.start()
		n.settle()
		rename(t, p, p+".20261122-000001")
		appendFile(t, p, n.cri("stdout", "P", "two "))
		if restart {
			n.stop()
			n.start()
		}
		n.settle()
		rename(t, p, p+".20261122-000002")
		compress(t, p+".20261122-000001")
		if restart {
			n.stop()
			n.start()
		}
		appendFile(t, p, n.cri("stdout", "F", "three"), n.out("next"))
		n.settle()
		wantBodies(t, n.sink.bodies(), "one two three", "next")
	}
}

func TestFailure33_KilledBetweenPartialAndFull(t *testing.T) {
	n := newNode(t)
	p := n.path("a", "c", "0.log")
	appendFile(t, p, n.out("zero"), n.cri("stdout", "P", "one "), n.cri("stderr", "F", "err"))
	n.start()
	n.settle()
	n.kill()
	n.start()
	n.settle()
	appendFile(t, p, n.cri("stdout", "F", "two"))
	n.settle()
	wantBodies(t, n.sink.bodies(), "zero", "err", "one two")
}

func TestFailure38_HugeLines(t *testing.T) {
	n := newNode(t)
	n.cfg.MaxLine = 64 << 10
	n.cfg.ReadBytes = 16 << 10
	p := n.plain("app.log") + "/app.log"
	huge := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	appendFile(t, p, "before\n", huge, "\nbehind\n")
	n.start()
	n.settle()
	got := n.sink.bodies()
	if got[0] != "before" || got[len(got)-1] != "behind" || strings.Join(got[1:len(got)-1], "") != huge {
		t.Fatalf("got %s", clip(got))
	}
	for _, b := range got {
		if len(b) > 64<<10 {
			t.Errorf("a piece of %d bytes", len(b))
		}
	}
	// An endless line: positions move although no newline ever comes.
	for range 20 {
		appendFile(t, p, huge)
		n.settle()
	}
	if l := n.ledger(); l.Unread > 2<<20 {
		t.Errorf("%d bytes unread", l.Unread)
	}
}

func TestFailure102_FirehoseDoesNotDelayTheQuiet(t *testing.T) {
	n := newNode(t)
	n.cfg.ReadBytes = 16 << 10
	big := strings.Repeat(n.out(strings.Repeat("x", 200)), 10_000)
	appendFile(t, n.path("firehose", "c", "0.log"), big)
	for i := range 500 {
		appendFile(t, n.path(fmt.Sprint("quiet", i), "c", "0.log"), n.out("quiet"))
	}
	n.start()
	n.step(time.Second) // one pass
	quiet, loud := 0, 0
	for _, b := range n.sink.bodies() {
		if b == "quiet" {
			quiet++
		} else {
			loud++
		}
	}
	if quiet != 500 || loud == 0 || loud > 200 {
		t.Errorf("%d quiet lines, %d of the firehose in one pass", quiet, loud)
	}
}

func TestAccountsOfGonePodsAreFolded(t *testing.T) {
	n := newNode(t)
	var sum int64
	for i := range 5 {
		l := n.out("line")
		sum += int64(len(l))
		appendFile(t, n.path(fmt.Sprint("p", i), "c", "0.log"), l)
	}
	n.start()
	n.settle()
	for i := range 5 {
		remove(t, filepath.Join(n.pods, fmt.Sprintf("ns_p%d_uid-p%d", i, i)))
	}
	n.settle()
	n.step(time.Minute)
	n.settle()
	n.step(2 * time.Hour)
	n.settle()
	if k := len(n.in.accounts); k != 1 || len(n.in.chains) != 0 || len(n.in.dirs) != 0 {
		t.Errorf("%d accounts, %d chains, %d directories", k, len(n.in.chains), len(n.in.dirs))
	}
	for range 2 {
		if l := n.ledger(); l.Written != sum || l.Durable != sum || l.Records.Read != 5 {
			t.Errorf("ledger %+v", l)
		}
		n.stop()
		n.start()
	}
	if k := n.store.Len(); k > 3 {
		t.Errorf("%d keys in the checkpoint", k)
	}
}

func TestExcludedIsNotReadAndWaitIsBounded(t *testing.T) {
	n := newNode(t)
	describe := n.cfg.Describe
	exclude, wait := true, true
	version := uint64(1)
	n.cfg.DescribeVersion = func() uint64 { return version }
	n.cfg.Describe = func(k Container) Description {
		d := describe(k)
		d.Exclude = k.Pod == "ex" && exclude
		d.Wait = k.Pod == "wait" && wait
		return d
	}
	appendFile(t, n.path("ex", "c", "0.log"), n.out("excluded"))
	appendFile(t, n.path("wait", "c", "0.log"), n.out("waiting"))
	n.start()
	n.step(time.Second)
	n.step(time.Second)
	wantBodies(t, n.sink.bodies())
	n.step(10 * time.Second)
	n.settle()
	wantBodies(t, n.sink.bodies(), "waiting")
	exclude, version = false, 2
	n.settle()
	n.step(10 * time.Second)
	n.settle()
	wantBodies(t, n.sink.bodies(), "waiting", "excluded")
}

func TestFailure62_StateLostKeepsIDs(t *testing.T) {
	n := newNode(t)
	p := n.path("a", "c", "0.log")
	for i := range 3 {
		text, _ := n.lines(i*10, 10)
		appendFile(t, p, text)
		if i < 2 {
			rename(t, p, fmt.Sprintf("%s.20261122-%06d", p, i))
		}
	}
	n.start()
	n.settle()
	compress(t, p+".20261122-000000")
	n.kill()
	remove(t, filepath.Join(n.dir, "state"))
	n.start()
	n.settle()
	if k := len(n.sink.all); k != 60 {
		t.Fatalf("%d records", k)
	}
	for i := range 30 {
		if a, b := n.sink.all[i], n.sink.all[30+i]; a.id() != b.id() {
			t.Errorf("ids %s and %s", a.id(), b.id())
		}
	}
}

func TestDamagedCompressedFileBlocksNothing(t *testing.T) {
	n := newNode(t)
	p := n.path("a", "c", "0.log")
	old := p + ".20261122-000001"
	text, _ := n.lines(0, 2000)
	appendFile(t, old, text)
	compress(t, old)
	b, err := os.ReadFile(old + ".gz")
	if err != nil {
		t.Fatal(err)
	}
	hour := time.Now().Add(-time.Hour)
	appendFile(t, p+".20261122-000000.gz", "this is not gzip at all, but long enough")
	os.Chtimes(p+".20261122-000000.gz", hour, hour)
	// The end is missing: what is before it is read, the rest is damage.
	if err := os.WriteFile(old+".gz", b[:len(b)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	os.Chtimes(old+".gz", hour, hour)
	appendFile(t, p, n.out("live"))
	for range 2 {
		n.start()
		n.settle()
		got := n.sink.bodies()
		if len(got) < 100 || got[len(got)-1] != "live" {
			t.Fatalf("%d records", len(got))
		}
		if n.in.collect().Errors["damaged"] == 0 {
			t.Error("not counted")
		}
		if l := n.ledger(); l.Lost != 0 || l.Written > int64(len(text))+1000 {
			t.Errorf("ledger %+v", l)
		}
		if g := n.sink.gaps(); len(g) != 1 || g[0].reason != reasonDamaged {
			t.Errorf("gaps %v", g)
		}
		n.stop()
	}
	n.start()
	k := len(n.sink.all)
	n.settle()
	if len(n.sink.all) != k {
		t.Errorf("%d records more after a restart", len(n.sink.all)-k)
	}
}
