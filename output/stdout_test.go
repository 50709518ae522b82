package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
)

var testEpoch = [16]byte{1, 2, 3}

func openProgress(t *testing.T, path string, epoch [16]byte) *Progress {
	t.Helper()
	p, err := OpenProgress(path, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fileBatch returns a batch of lines of one life of a file, the first of which
// begins at from.
func fileBatch(gen record.ID, name string, from int64, released func(), bodies ...string) *record.Batch {
	b := record.NewBatch(func(*record.Batch) { released() })
	si := b.AddStream(record.StreamRef{Stream: record.NewStream([]record.Attr{{Name: record.AttrFile, Value: name}}, nil, nil), Generation: gen})
	for _, body := range bodies {
		sp := b.AppendString(body)
		end := from + int64(len(body)) + 1
		b.Add(record.Record{Time: testTime, Start: from, End: end, Body: sp, Source: sp, Stream: si})
		from = end
	}
	b.Freeze()
	return b
}

// countedWriter keeps every write by itself and fails at one.
type countedWriter struct {
	writes [][]byte
	failAt int
}

func (w *countedWriter) Write(p []byte) (int, error) {
	if w.failAt > 0 && len(w.writes)+1 == w.failAt {
		return 0, errors.New("broken for a moment")
	}
	w.writes = append(w.writes, bytes.Clone(p))
	return len(p), nil
}

func (w *countedWriter) all() string { return string(bytes.Join(w.writes, nil)) }

func newStdout(t *testing.T, c StdoutConfig) *Stdout {
	t.Helper()
	o, err := NewStdout(c)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestStdoutPrefix(t *testing.T) {
	var w countedWriter
	o := newStdout(t, StdoutConfig{Format: Format{Name: "raw", Prefix: true}, W: &w})
	b := fileBatch(record.ID{Lo: 1}, "/var/log/1.log", 0, func() {}, "one", "a trace\n\tat b", "")
	c := fileBatch(record.ID{Lo: 2}, "/var/log/x\ny\x1b.log", 0, func() {}, "two")
	if _, err := o.Send(t.Context(), partsOf(b, c)); err != nil {
		t.Fatal(err)
	}
	if want := "[1.log] one\n[1.log] a trace\n[1.log] \tat b\n[1.log] \n[x?y?.log] two\n"; w.all() != want {
		t.Errorf("%q, want %q", w.all(), want)
	}
}

// A process that is killed after some of the writes leaves notes of exactly these.
func TestStdoutProgress(t *testing.T) {
	for _, format := range []Format{{Name: "raw"}, {Name: "raw", Prefix: true}, {Name: "json"}} {
		t.Run(fmt.Sprint(format.Name, format.Prefix), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "stdout.written")
			gen := record.ID{Hi: 7, Lo: 9}
			var bodies []string
			for i := range 400 {
				bodies = append(bodies, strings.Repeat("x", 50+i%100)+fmt.Sprint(i))
			}
			bodies[200] = strings.Repeat("long", 3000)
			send := func(o *Stdout, want int) (released bool) {
				t.Helper()
				b := fileBatch(gen, "/var/log/1.log", 0, func() { released = true }, bodies...)
				parts := partsOf(b)
				b.Release()
				if _, err := o.Send(t.Context(), parts); (err != nil) != (want != 0) {
					t.Fatalf("error %v", err)
				}
				parts[0].Finish()
				return released
			}
			var first, second countedWriter
			first.failAt = 7 // what the process died in
			o := newStdout(t, StdoutConfig{Format: format, W: &first, Progress: openProgress(t, path, testEpoch)})
			if !send(o, 1) {
				t.Error("the batch is held for ever")
			}
			for i, p := range first.writes {
				if len(p) > pipeBuf && !strings.Contains(string(p), "longlong") || bytes.Count(p, []byte("\n")) == 0 || p[len(p)-1] != '\n' {
					t.Errorf("write %d is of %d bytes", i, len(p))
				}
			}
			// No Close: it was killed.
			o = newStdout(t, StdoutConfig{Format: format, W: &second, Progress: openProgress(t, path, testEpoch)})
			send(o, 0)
			var whole countedWriter
			send(newStdout(t, StdoutConfig{Format: format, W: &whole}), 0)
			if got := first.all() + second.all(); got != whole.all() {
				t.Errorf("the two wrote %d bytes, want %d", len(got), len(whole.all()))
			}
			if len(second.writes) == 0 || len(first.writes) != 6 {
				t.Errorf("%d and %d writes", len(first.writes), len(second.writes))
			}
			if err := o.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A write that fails is tried again by whoever sends, perhaps behind later records:
// from then on nothing may be noted.
func TestStdoutProgressAfterAFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stdout.written")
	gen := record.ID{Lo: 5}
	w := countedWriter{failAt: 1}
	o := newStdout(t, StdoutConfig{Format: Format{Name: "raw"}, W: &w, Progress: openProgress(t, path, testEpoch)})
	if _, err := o.Send(t.Context(), partsOf(fileBatch(gen, "f", 0, func() {}, "one"))); err == nil {
		t.Fatal("no error")
	}
	w.failAt = 0
	if _, err := o.Send(t.Context(), partsOf(fileBatch(gen, "f", 4, func() {}, "two"))); err != nil {
		t.Fatal(err)
	}
	p := openProgress(t, path, testEpoch)
	if p.written(gen, 4) {
		t.Error("line one counts as written")
	}
}

// Notes are for the positions they were made with, and a file that is not one of
// ours is made anew.
func TestProgressOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stdout.written")
	gen := record.ID{Hi: 1, Lo: 2}
	p := openProgress(t, path, testEpoch)
	p.note(gen, 100)
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	if p = openProgress(t, path, testEpoch); !p.written(gen, 100) || p.written(gen, 101) || p.written(record.ID{Hi: 1, Lo: 3}, 1) {
		t.Error("what was noted is not known")
	}
	if p = openProgress(t, path, [16]byte{9}); p.written(gen, 1) {
		t.Error("notes of other positions count")
	}
	for _, bad := range []string{"", "short", strings.Repeat("weir stdout 0001", 4000), strings.Repeat("\xff", progressSize)} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if p = openProgress(t, path, testEpoch); len(p.done) != 0 {
			t.Errorf("%d notes in %.20q", len(p.done), bad)
		}
		if st, err := os.Stat(path); err != nil || st.Size() != progressSize {
			t.Errorf("%v, %v", st.Size(), err)
		}
	}
	if _, err := OpenProgress(filepath.Join(path, "x"), testEpoch); err == nil {
		t.Error("no error for an impossible path")
	}
}

// More files than there are slots: those used last are known.
func TestProgressOfManyFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stdout.written")
	p := openProgress(t, path, testEpoch)
	const files = 3 * progressSlots
	for i := range files {
		p.note(record.ID{Lo: 1}, int64(i+1)) // one that is always written to
		p.note(record.ID{Lo: uint64(i + 2)}, 10)
	}
	p = openProgress(t, path, testEpoch)
	if !p.written(record.ID{Lo: 1}, files) || !p.written(record.ID{Lo: files + 1}, 10) || p.written(record.ID{Lo: 2}, 10) {
		t.Error("the wrong ones are forgotten")
	}
	if len(p.done) != progressSlots {
		t.Errorf("%d notes", len(p.done))
	}
}

// A write that blocks goes on when its Send has given up, and Close takes nothing
// from under it.
func TestStdoutProgressBlocked(t *testing.T) {
	r, w := io.Pipe()
	path := filepath.Join(t.TempDir(), "stdout.written")
	o := newStdout(t, StdoutConfig{Format: Format{Name: "raw"}, W: w, Progress: openProgress(t, path, testEpoch)})
	ctx, cancel := context.WithCancel(t.Context())
	began := make(chan error, 1)
	go func() {
		_, err := o.Send(ctx, partsOf(fileBatch(record.ID{Lo: 1}, "f", 0, func() {}, "one")))
		began <- err
	}()
	cancel()
	if err := <-began; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	_ = w.CloseWithError(io.ErrClosedPipe) // lets the writer go, if it began
	_ = r.Close()
}
