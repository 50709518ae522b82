package account

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/weirlog/weir/e2e/internal/journal"
)

// written makes a journal of two streams with the given marks, and returns it.
func written(t *testing.T, n int) (string, []journal.Mark) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	w, err := journal.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	var marks []journal.Mark
	for s, name := range []string{"a", "b"} {
		w.Stream(journal.Stream{Index: uint32(s), Name: name})
		for i := range n {
			h := uint64(s*1000 + i) // also the hash 0
			gen := uint32(i / 4)
			w.Line(journal.Line{Stream: uint32(s), Seq: uint64(i), Hash: h, Gen: gen, Last: gen, Bytes: 100, Head: 100, Start: uint64(i%4) * 100})
			marks = append(marks, journal.Mark{Stream: name, Seq: uint64(i), Hash: h})
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path, marks
}

// Each way in which deliveries can go wrong is found, exactly, and nothing
// else is; and an arrivals journal gives the same verdict as the live account.
func TestVerdictFindsEveryMutation(t *testing.T) {
	path, marks := written(t, 10)
	m := marks[13] // b, 3, generation 0
	altered := m
	altered.Hash ^= 1
	tests := []struct {
		name string
		add  func(a *Account)
		skip int
		want Sum
	}{
		{"nothing", func(*Account) {}, -1, Sum{}},
		{"one missing", func(*Account) {}, 13, Sum{Missing: 1, MissingBytes: 100}},
		{"one refused", func(a *Account) { a.Refuse(m); a.Refuse(m) }, 13, Sum{Refused: 1}},
		{"refused, then taken", func(a *Account) { a.Refuse(m) }, -1, Sum{}},
		{"one altered", func(a *Account) { a.Add(altered, 99) }, 13, Sum{Different: 1}},
		{"one doubled under another id", func(a *Account) { a.Add(m, 99) }, -1, Sum{Doubled: 1}},
		{"one doubled without ids", func(a *Account) { a.Add(m, 0) }, -1, Sum{Doubled: 1}},
		{"one doubled and altered", func(a *Account) { a.Add(altered, 99) }, -1, Sum{Doubled: 1, Different: 1}},
		{"altered first, right later", func(a *Account) { a.Add(altered, 99); a.Add(m, 98) }, 13, Sum{Doubled: 1, Different: 1}},
		{"number nobody wrote", func(a *Account) { a.Add(journal.Mark{Stream: "b", Seq: 10, Hash: 5}, 1) }, -1, Sum{Extra: 1}},
		{"stream nobody wrote", func(a *Account) { a.Add(journal.Mark{Stream: "c", Seq: 0, Hash: 5}, 1) }, -1, Sum{Extra: 1}},
		{"absurd number", func(a *Account) { a.Add(journal.Mark{Stream: "a", Seq: 1 << 60, Hash: 5}, 1) }, -1, Sum{Extra: 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			arrivals := filepath.Join(t.TempDir(), "arrivals")
			a, err := New(arrivals)
			if err != nil {
				t.Fatal(err)
			}
			for i, m := range marks {
				if i != test.skip {
					a.Add(m, uint64(i+1))
				}
			}
			test.add(a)
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			v, err := a.Verify(path)
			if err != nil {
				t.Fatal(err)
			}
			want := test.want
			want.Written, want.WrittenBytes = 20, 2000
			want.Delivered = 20 - want.Missing - want.Refused
			if test.name == "one altered" {
				want.Delivered--
			}
			if v.Total != want || !v.Complete {
				t.Errorf("got %+v, want %+v", v.Total, want)
			}
			if (v.Err() != nil) != want.Bad() {
				t.Errorf("error %v", v.Err())
			}
			if want.Missing == 1 {
				if w := (Loss{Stream: "b", Lines: 1, Bytes: 100}); len(v.Lost) != 1 || v.Lost[0] != w {
					t.Errorf("lost %+v", v.Lost)
				}
			}
			b, err := Load(arrivals)
			if err != nil {
				t.Fatal(err)
			}
			v2, err := b.Verify(path)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(v, v2) {
				t.Errorf("from the arrivals journal: %+v", v2)
			}
		})
	}
}

func TestUnfinishedJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	w, err := journal.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w.Stream(journal.Stream{Name: "a"})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	a, _ := New("")
	v, err := a.Verify(path)
	if err != nil || v.Complete || v.Err() == nil {
		t.Errorf("%+v %v", v, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
