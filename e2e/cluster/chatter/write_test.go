package main

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/weirlog/weir/e2e/internal/journal"
)

// Every line carries the mark that is noted for it.
func TestLinesAndNotesAgree(t *testing.T) {
	w := &writer{name: "pod-1", rng: rand.New(rand.NewPCG(1, 1))}
	kinds := make(map[bool]int)
	long := 0
	for n := range uint64(20000) {
		w.buf, w.notes = w.buf[:0], w.notes[:0]
		w.line()
		line, ok := bytes.CutSuffix(w.buf, []byte("\n"))
		m, marked := journal.ParseLine(line)
		if !ok || !marked || bytes.ContainsRune(line, '\n') {
			t.Fatalf("line %d: %q", n, w.buf)
		}
		note := w.notes[0]
		if want := (journal.Mark{Stream: "pod-1", Seq: n, Hash: note.Hash}); m != want || note.Seq != n {
			t.Fatalf("line %d: mark %+v, noted %+v", n, m, note)
		}
		if int(note.Bytes) != len(w.buf) || int(note.Len) != len(line) {
			t.Fatalf("line %d: %d bytes, noted %+v", n, len(w.buf), note)
		}
		kinds[line[0] == '{']++
		if len(line) > 16<<10 {
			long++
		}
	}
	if kinds[true] < 11000 || kinds[false] < 7000 || long == 0 {
		t.Errorf("JSON %d, text %d, long %d", kinds[true], kinds[false], long)
	}
}

// A journal says that it is complete only when the writer ended by itself.
func TestWriteStopsAtLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	log, err := journal.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	log.Stream(journal.Stream{Name: "pod-1"})
	w := &writer{name: "pod-1", log: log, rng: rand.New(rand.NewPCG(1, 1))}
	var out bytes.Buffer
	w.out, w.err = &out, &out
	if err := w.write(t.Context(), options{lines: 1000}); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1000 {
		t.Errorf("%d lines written", n)
	}
	var noted int
	complete, err := journal.Read(path, journal.Visitor{Line: func(journal.Line) { noted++ }})
	if err != nil || !complete || noted != 1000 {
		t.Errorf("noted %d, complete %v, %v", noted, complete, err)
	}
}
