package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/wire/line"
)

func newFile(t testing.TB, c FileConfig) *File {
	t.Helper()
	o, err := NewFile(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

func read(t testing.TB, path string) string {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

func mustSend(t testing.TB, o sender, bodies ...string) {
	t.Helper()
	res, err := o.Send(t.Context(), someParts(bodies...))
	if err != nil || len(res.Failures) != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
}

func TestFileFormats(t *testing.T) {
	for format, want := range map[string]string{
		"raw":  "one\n{\"a\":1}\n",
		"line": "2026-11-18 11:06:40.000       shop/api-1 api │ one\n2026-11-18 11:06:40.001       shop/api-1 api │ a=1\n",
		"":     "\"one\"",
		"json": "\"a\":1",
	} {
		path := filepath.Join(t.TempDir(), "new", "dir", "out.log")
		o := newFile(t, FileConfig{Path: path, Format: Format{Name: format, Line: line.Style{Zone: time.UTC}}})
		mustSend(t, o, "one", `{"a":1}`)
		got := read(t, path)
		if len(format) > 0 && format != "json" && got != want || !strings.Contains(got, want) || strings.Count(got, "\n") != 2 {
			t.Errorf("%s: %q", format, got)
		}
		fi, err := os.Stat(path)
		if err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", fi.Mode(), err)
		}
	}
	if _, err := NewFile(FileConfig{Path: "x", Format: Format{Name: "xml"}}); err == nil {
		t.Error("no error for an unknown format")
	}
}

func TestFileRotates(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.log")
	conf := FileConfig{Path: path, Format: Format{Name: "raw"}, MaxSize: 20, Keep: 3}
	o := newFile(t, conf)
	for i := range 7 {
		mustSend(t, o, fmt.Sprintf("line number %d", i)) // 14 bytes: one a file
	}
	mustSend(t, o, "more than the limit of one file", "kept together") // exceeds it alone
	want := map[string]string{
		"out.log":   "more than the limit of one file\nkept together\n",
		"out.log.1": "line number 6\n", "out.log.2": "line number 5\n", "out.log.3": "line number 4\n",
	}
	check := func() {
		t.Helper()
		es, err := os.ReadDir(dir)
		if err != nil || len(es) != len(want) {
			t.Errorf("%d files, %v", len(es), err)
		}
		for n, content := range want {
			if got := read(t, filepath.Join(dir, n)); got != content {
				t.Errorf("%s: %q, want %q", n, got, content)
			}
		}
	}
	check()
	// A gap, as a rotation cut off in the middle leaves it, is filled: nothing
	// behind it moves.
	if err := os.Remove(path + ".1"); err != nil {
		t.Fatal(err)
	}
	mustSend(t, o, "after the gap")
	want["out.log"], want["out.log.1"] = "after the gap\n", want["out.log"]
	check()
	// Another process goes on with the file.
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Send(t.Context(), someParts("x")); err == nil {
		t.Error("sent after Close")
	}
	o = newFile(t, conf)
	mustSend(t, o, "more")
	want["out.log"] += "more\n"
	check()
}

func TestFileNoticesForeignRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	o := newFile(t, FileConfig{Path: path, Format: Format{Name: "raw"}})
	mustSend(t, o, "one")
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	mustSend(t, o, "two")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	mustSend(t, o, "three")
	if a, b := read(t, path+".old"), read(t, path); a != "one\n" || b != "three\n" {
		t.Errorf("%q, %q", a, b)
	}
}

func TestFileCutsTornLineOfAnEarlierLife(t *testing.T) {
	for before, want := range map[string]string{
		"whole\ntorn":                        "whole\nnew\n",
		"torn":                               "new\n",
		"whole\n":                            "whole\nnew\n",
		"":                                   "new\n",
		"w\n" + strings.Repeat("x", 200<<10): "w\nnew\n",
		strings.Repeat("x", 64<<10-1) + "\n" + "y": strings.Repeat("x", 64<<10-1) + "\nnew\n",
	} {
		path := filepath.Join(t.TempDir(), "out.log")
		write(t, path, before)
		o := newFile(t, FileConfig{Path: path, Format: Format{Name: "raw"}})
		mustSend(t, o, "new")
		if got := read(t, path); got != want {
			t.Errorf("%.20q: %.40q, want %.40q", before, got, want)
		}
	}
}

func TestFileTimeInPath(t *testing.T) {
	dir := t.TempDir()
	clk := &clock{t: time.Date(2026, 1, 2, 23, 59, 0, 0, time.UTC)}
	o := newFile(t, FileConfig{Path: dir + "/%Y/%m-%d-%j-%H%M-100%%.log", Format: Format{Name: "raw"}, Now: clk.now})
	mustSend(t, o, "one")
	clk.add(time.Minute)
	mustSend(t, o, "two")
	if a, b := read(t, dir+"/2026/01-02-002-2359-100%.log"), read(t, dir+"/2026/01-03-003-0000-100%.log"); a != "one\n" || b != "two\n" {
		t.Errorf("%q, %q", a, b)
	}
	for _, bad := range []string{"", "/x/%", "/x/%Q", "/x/%s"} {
		if _, err := NewFile(FileConfig{Path: bad}); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestFileRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(dir+"/fifo", 0o600); err != nil {
		t.Skip(err)
	}
	for _, path := range []string{dir + "/fifo", "/dev/null", dir} {
		o := newFile(t, FileConfig{Path: path})
		_, err := o.Send(t.Context(), someParts("x")) // must not block
		wantKind(t, err, ack.Retry)
	}
}

// faulty is a file on a disk that fails on command.
type faulty struct {
	*os.File
	room              int // bytes that still fit; -1: no limit
	failSync, failCut bool
}

func (f *faulty) Write(p []byte) (int, error) {
	if f.room >= 0 && len(p) > f.room {
		n, err := f.File.Write(p[:f.room])
		f.room = 0
		return n, errors.Join(syscall.ENOSPC, err)
	}
	if f.room > 0 {
		f.room -= len(p)
	}
	return f.File.Write(p)
}

func (f *faulty) Sync() error {
	if f.failSync {
		f.failSync = false // the kernel reports it once
		return syscall.EIO
	}
	return f.File.Sync()
}

func (f *faulty) Truncate(n int64) error {
	if f.failCut {
		return syscall.EIO
	}
	return f.File.Truncate(n)
}

func TestFailure56_FullDiskLeavesWholeRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	o := newFile(t, FileConfig{Path: path, Format: Format{Name: "raw"}})
	var disk *faulty
	o.open = func(path string, mode fs.FileMode) (file, error) {
		f, err := openFile(path, mode)
		if err != nil {
			return nil, err
		}
		disk = &faulty{File: f.(*os.File), room: -1}
		return disk, nil
	}
	mustSend(t, o, "one")
	fails := func(cause error) {
		t.Helper()
		_, err := o.Send(t.Context(), someParts("two", "three"))
		wantKind(t, err, ack.Retry)
		if !errors.Is(err, cause) {
			t.Errorf("error %v, want %v", err, cause)
		}
	}
	disk.room = 5 // in the middle of the second record
	fails(syscall.ENOSPC)
	if got := read(t, path); got != "one\n" {
		t.Fatalf("after the failed write: %q", got)
	}
	// It cannot even be cut off: nothing more is written behind the torn record.
	disk.room, disk.failCut = 5, true
	fails(syscall.ENOSPC)
	disk.room = -1
	fails(syscall.EIO)
	if got := read(t, path); got != "one\ntwo\nt" {
		t.Fatalf("with a torn record: %q", got)
	}
	disk.failCut = false
	// An fsync that failed is not believed later: the bytes are written again.
	disk.failSync = true
	fails(syscall.EIO)
	if got := read(t, path); got != "one\n" {
		t.Fatalf("after the failed fsync: %q", got)
	}
	mustSend(t, o, "two", "three")
	if got := read(t, path); got != "one\ntwo\nthree\n" {
		t.Errorf("in the end: %q", got)
	}
}

func TestFileConcurrentSends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	o := newFile(t, FileConfig{Path: path, Format: Format{Name: "raw"}, MaxSize: 4 << 10, Keep: 100, NoSync: true})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				mustSend(t, o, fmt.Sprintf("w%d %02d a", w, i), fmt.Sprintf("w%d %02d b", w, i))
			}
		})
	}
	wg.Wait()
	got, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range got {
		for l := range strings.Lines(read(t, p)) {
			seen[l] = true
		}
	}
	if len(seen) != 400 {
		t.Errorf("%d lines, want 400", len(seen))
	}
}

func TestFileProbe(t *testing.T) {
	dir := t.TempDir()
	o := newFile(t, FileConfig{Path: dir + "/a/b/out"})
	if err := o.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if es, _ := os.ReadDir(dir); len(es) != 0 {
		t.Errorf("the probe left %v", es)
	}
	write(t, dir+"/plain", "")
	if err := newFile(t, FileConfig{Path: dir + "/plain/out"}).Probe(t.Context()); err == nil {
		t.Error("no error below a plain file")
	}
	if err := newFile(t, FileConfig{Path: "/proc/nonexistent/out"}).Probe(t.Context()); err == nil {
		t.Error("no error where nothing can be made")
	}
}

func TestStdout(t *testing.T) {
	var b countingBuffer
	o, err := NewStdout(StdoutConfig{Format: Format{Name: "raw"}, W: &b})
	if err != nil {
		t.Fatal(err)
	}
	mustSend(t, o, "one", "two")
	if b.String() != "one\ntwo\n" || b.writes != 1 {
		t.Errorf("%q in %d writes", b.String(), b.writes)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.Send(ctx, someParts("x")); err == nil {
		t.Error("sent after the context's end")
	}
}

type countingBuffer struct {
	bytes.Buffer
	writes int
	fail   error
	room   int
}

func (b *countingBuffer) Write(p []byte) (int, error) {
	b.writes++
	if b.fail != nil {
		n, _ := b.Buffer.Write(p[:min(b.room, len(p))])
		return n, b.fail
	}
	return b.Buffer.Write(p)
}

func TestStdoutTornWriteIsEnded(t *testing.T) {
	var b countingBuffer
	o, err := NewStdout(StdoutConfig{Format: Format{Name: "raw"}, W: &b})
	if err != nil {
		t.Fatal(err)
	}
	b.fail, b.room = syscall.ENOSPC, 6
	_, err = o.Send(t.Context(), someParts("one", "two"))
	wantKind(t, err, ack.Retry)
	b.fail = nil
	mustSend(t, o, "one", "two")
	if got := b.String(); got != "one\ntw\none\ntwo\n" {
		t.Errorf("%q", got)
	}
}

func TestStdoutClosedReaderEndsQuietly(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	o, err := NewStdout(StdoutConfig{Format: Format{Name: "raw"}, W: w})
	if err != nil {
		t.Fatal(err)
	}
	mustSend(t, o, "one")
	if err := o.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if p := make([]byte, 4); true {
		if _, err := io.ReadFull(r, p); err != nil || string(p) != "one\n" {
			t.Errorf("%q, %v", p, err)
		}
	}
	_ = r.Close()
	for range 2 {
		_, err = o.Send(t.Context(), someParts("two"))
		wantKind(t, err, ack.Retry)
		if !errors.Is(err, ErrClosed) {
			t.Errorf("error %v, want ErrClosed", err)
		}
	}
	select {
	case <-o.Closed():
	default:
		t.Error("Closed is open")
	}
	if err := o.Probe(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("probe: %v", err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}

func TestStdoutPausedReaderDoesNotHoldTheSend(t *testing.T) {
	r, w := io.Pipe() // blocks until read
	o, err := NewStdout(StdoutConfig{Format: Format{Name: "raw"}, W: w})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	go func() {
		p := make([]byte, 2)
		_, _ = io.ReadFull(r, p) // in the middle of the write
		close(started)
	}()
	go func() { <-started; cancel() }()
	if _, err := o.Send(ctx, someParts("one")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	// The next waits for its turn; together they are whole lines.
	got := make(chan string)
	go func() {
		p, _ := io.ReadAll(r)
		got <- string(p)
	}()
	mustSend(t, o, "two")
	_ = w.Close()
	if s := <-got; s != "e\ntwo\n" {
		t.Errorf("%q", s)
	}
}

// While a reload changes an output there are two on one file. A failed write of
// one never takes away what the other has answered for.
func TestFileTwoWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	old := newFile(t, FileConfig{Path: path, Format: Format{Name: "raw"}})
	disk := new(faulty)
	disk.room = -1
	old.open = func(path string, mode fs.FileMode) (file, error) {
		f, err := openFile(path, mode)
		if err != nil {
			return nil, err
		}
		disk.File = f.(*os.File) // its faults outlive a reopening
		return disk, nil
	}
	mustSend(t, old, "one")
	fresh := newFile(t, FileConfig{Path: path, Format: Format{Name: "raw"}})
	mustSend(t, fresh, "a record of the other")
	disk.failSync = true
	if _, err := old.Send(t.Context(), someParts("two")); err == nil {
		t.Fatal("a failed fsync was answered as delivered")
	}
	if got := read(t, path); !strings.Contains(got, "one\na record of the other\n") {
		t.Fatalf("cut off: %q", got)
	}
	// The other appends behind a write that is not whole yet.
	disk.room, disk.failCut = 2, true
	if _, err := old.Send(t.Context(), someParts("three")); err == nil {
		t.Fatal("a full disk was answered as delivered")
	}
	mustSend(t, fresh, "another record of the other, longer than what failed")
	disk.room, disk.failCut = -1, false
	mustSend(t, old, "three")
	if got := read(t, path); !strings.Contains(got, "another record of the other, longer than what failed\n") || !strings.HasSuffix(got, "three\n") {
		t.Fatalf("in the end: %q", got)
	}
}
