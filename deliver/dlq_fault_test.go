package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// errDir fails an operation of a directory or its files.
type errDir struct {
	dir
	mu   sync.Mutex
	fail func(op string) error
}

func (d *errDir) check(op string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail == nil {
		return nil
	}
	return d.fail(op)
}

func (d *errDir) Create(name string) (file, error) {
	if err := d.check("create"); err != nil {
		return nil, err
	}
	f, err := d.dir.Create(name)
	return &errFile{f, d}, err
}

func (d *errDir) Open(name string) (file, error) {
	if err := d.check("open"); err != nil {
		return nil, err
	}
	f, err := d.dir.Open(name)
	return &errFile{f, d}, err
}

func (d *errDir) Rename(a, b string) error {
	if err := d.check("rename"); err != nil {
		return err
	}
	return d.dir.Rename(a, b)
}

func (d *errDir) Remove(a string) error {
	if err := d.check("remove"); err != nil {
		return err
	}
	return d.dir.Remove(a)
}

func (d *errDir) Sync() error {
	if err := d.check("syncdir"); err != nil {
		return err
	}
	return d.dir.Sync()
}

type errFile struct {
	file
	d *errDir
}

func (f *errFile) Write(p []byte) (int, error) {
	if err := f.d.check("write"); err != nil {
		n, _ := f.file.Write(p[:len(p)/2]) // a short write
		return n, err
	}
	return f.file.Write(p)
}

func (f *errFile) Sync() error {
	if err := f.d.check("sync"); err != nil {
		return err
	}
	return f.file.Sync()
}

func (f *errFile) Truncate(n int64) error {
	if err := f.d.check("truncate"); err != nil {
		return err
	}
	return f.file.Truncate(n)
}

func faulty(t fataler, path string, c DLQConfig) (*DeadLetters, *errDir) {
	t.Helper()
	real, err := openDir(filepath.Join(path, escapeName("es/main")), true)
	if err != nil {
		t.Fatalf("%v", err)
	}
	e := &errDir{dir: real}
	c.dir = e
	return openDLQ(t, c), e
}

// A failed fsync poisons the segment: what it was to hold is written to another.
func TestFailedSyncPoisonsSegment(t *testing.T) {
	path := t.TempDir()
	d, e := faulty(t, path, DLQConfig{})
	src := &source{t: t}
	if err := bury(d, src.part(1, 10)); err != nil {
		t.Fatal(err)
	}
	failed := false
	e.fail = func(op string) error {
		if op == "sync" && !failed {
			failed = true
			return syscall.EIO
		}
		return nil
	}
	if err := bury(d, src.part(1, 10)); err != nil || d.name != segmentName(2, openSuffix) {
		t.Fatalf("%v, segment %s", err, d.name)
	}
	e.fail = nil
	if all, damage := list(t, d); !slices.Equal(all, []int{0, 1}) || damage.Any() {
		t.Errorf("%v %+v", all, damage)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestDiskFull(t *testing.T) {
	for _, op := range []string{"create", "write", "sync", "syncdir"} {
		for _, when := range []WhenFull{Wait, Drop} {
			d, e := faulty(t, t.TempDir(), DLQConfig{WhenFull: when})
			src := &source{t: t}
			e.fail = func(o string) error {
				if o == op {
					return fmt.Errorf("%s: %w", o, syscall.ENOSPC)
				}
				return nil
			}
			if err := bury(d, src.part(1, 10)); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrDropped) != (when == Drop) {
				t.Errorf("%s, policy %d: %v", op, when, err)
			}
			e.fail = nil
			if err := bury(d, src.part(1, 10)); err != nil {
				t.Errorf("%s: after there is room: %v", op, err)
			}
			if all, damage := list(t, d); !slices.Equal(all, []int{1}) || damage.Any() {
				t.Errorf("%s: %v %+v", op, all, damage)
			}
			d.Close()
		}
	}
}

// Faults anywhere, restarts anywhere, replays anywhere: what was buried and not
// delivered is there, what was delivered may come again only if its removal
// failed, nothing else appears.
func TestDeadLettersModel(t *testing.T) {
	base := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		path := filepath.Join(base, fmt.Sprint(run))
		d, e := faulty(t, path, DLQConfig{SegmentBytes: 700})
		src := &source{t: t}
		must, may := map[int]bool{}, map[int]bool{} // buried for sure; perhaps
		faults := rapid.IntRange(0, 30).Draw(t, "fault percent")
		fail := func(string) error {
			if rapid.IntRange(0, 99).Draw(t, "dice") < faults {
				return syscall.EIO
			}
			return nil
		}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"bury", "bury", "bury", "restart", "kill", "replay"}).Draw(t, "action") {
			case "bury":
				p := src.part(rapid.IntRange(1, 3).Draw(t, "n"), 50)
				e.fail = fail
				err := bury(d, p)
				e.fail = nil
				for _, n := range numbers([]record.Part{p}) {
					if err == nil {
						must[n] = true
					} else {
						may[n] = true
					}
				}
			case "restart":
				e.fail = fail
				d.Close()
				e.fail = nil
				d, e = faulty(t, path, DLQConfig{SegmentBytes: 700})
			case "kill": // with a torn write
				if d.active != nil && d.active.Is(d.name) && rapid.Bool().Draw(t, "torn") {
					io.WriteString(d.active, string(d.salt[:])+"torn")
				}
				if d.active != nil {
					d.active.Close()
				}
				d, e = faulty(t, path, DLQConfig{SegmentBytes: 700})
			case "replay":
				modulus := rapid.IntRange(1, 3).Draw(t, "refuses")
				s := &sink{f: func(_ context.Context, _ int, parts []record.Part) (ack.Result, error) {
					return failures(parts, func(n int) (bool, bool) { return n%modulus == 1, true }), nil
				}}
				e.fail = fail
				_, err := d.Replay(context.Background(), Config{Name: "x", Endpoints: one(s), Batch: Batch{Wait: -1}}, nil)
				e.fail = nil
				for n := range s.got {
					if !must[n] && !may[n] {
						t.Fatalf("replay delivered %d, which was never buried or had been delivered", n)
					}
					if delete(must, n); err != nil {
						may[n] = true // its removal may have failed
					} else {
						delete(may, n)
					}
				}
			}
			all, damage := list(t, d)
			if damage.Any() {
				t.Fatalf("%+v", damage)
			}
			there := map[int]bool{}
			for _, n := range all {
				there[n] = true
				if !must[n] && !may[n] {
					t.Fatalf("letter %d should not be there", n)
				}
			}
			for n := range must {
				if !there[n] {
					t.Fatalf("letter %d is gone", n)
				}
			}
		}
		d.Close()
		os.RemoveAll(path)
	})
}
