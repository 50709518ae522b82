package verify

import (
	"testing"

	"github.com/weirlog/weir/bench/mark"
)

func m(s, n uint32) mark.Mark { return mark.Mark{Stream: s, Seq: n} }

// fill makes everything of lines arrive.
func fill(a *Account, lines []uint32, ids bool) {
	for s, n := range lines {
		for k := range n {
			id := uint64(0)
			if ids {
				id = uint64(s)<<32 | uint64(k+1)
			}
			a.Add(m(uint32(s), k), mark.Whole, id)
		}
	}
}

func TestCleanOnlyIfEveryLineOnceAndWhole(t *testing.T) {
	lines := []uint32{64, 1, 0, 130}
	for _, c := range []struct {
		name  string
		spoil func(*Account) []uint32
		want  Counts
		lost  uint64
		clean bool
	}{
		{name: "nothing", clean: true},
		{name: "a line less", spoil: func(*Account) []uint32 { return []uint32{64, 1, 0, 131} }, lost: 1},
		{name: "a stream less", spoil: func(*Account) []uint32 { return append(lines, 1) }, lost: 1},
		{name: "again", spoil: func(a *Account) []uint32 { a.Add(m(3, 129), mark.Whole, 0); return lines }, want: Counts{Doubled: 1}},
		{name: "altered", spoil: func(a *Account) []uint32 {
			a.Reset()
			fill(a, []uint32{64, 1, 0, 129}, false)
			a.Add(m(3, 129), mark.Altered, 0)
			return lines
		},
			want: Counts{Altered: 1}},
		{name: "foreign", spoil: func(a *Account) []uint32 { a.Add(mark.Mark{}, mark.None, 0); return lines }, want: Counts{Foreign: 1}},
		{name: "unwritten", spoil: func(a *Account) []uint32 { a.Add(m(0, 64), mark.Whole, 0); return lines }, want: Counts{Extra: 1}},
		{name: "of no stream", spoil: func(a *Account) []uint32 { a.Add(m(9, 0), mark.Whole, 0); return lines }, want: Counts{Extra: 1}},
	} {
		var a Account
		fill(&a, lines, false)
		want := lines
		if c.spoil != nil {
			want = c.spoil(&a)
		}
		v := a.Judge(want)
		c.want.Records = v.Records
		if v.Counts != c.want || v.Lost != c.lost || v.Clean() != c.clean {
			t.Errorf("%s: %+v", c.name, v)
		}
		if int(v.Lost) != len(v.Missing) {
			t.Errorf("%s: %d lost, missing %v", c.name, v.Lost, v.Missing)
		}
	}
}

func TestIDs(t *testing.T) {
	var a Account
	lines := []uint32{100}
	fill(&a, lines, true)
	if r := a.Add(m(0, 7), mark.Whole, 8); r != Conflict {
		t.Error("the same line with the same id must conflict")
	}
	if r := a.Add(m(0, 7), mark.Whole, 1000); r != Stored {
		t.Error("the same line with another id is stored again")
	}
	if r := a.Add(m(0, 7), mark.Whole, 0); r != Stored {
		t.Error("the same line without an id is stored again")
	}
	if r := a.Add(m(0, 100), mark.Whole, 8); r != Conflict {
		t.Error("another line with an id that is there is not stored")
	}
	want := Counts{Records: 100, Resent: 1, Doubled: 2, Clashes: 1}
	if v := a.Judge(lines); v.Counts != want || v.Clean() {
		t.Errorf("%+v", v)
	}
	if v := a.Judge([]uint32{101}); v.Lost != 1 {
		t.Errorf("the line behind the clash is not lost: %+v", v)
	}
}

func TestManyIDs(t *testing.T) {
	var s set
	for i := range uint64(300_000) {
		if !s.add(i*0x9e3779b97f4a7c15 | 1<<63) {
			t.Fatal(i)
		}
	}
	for i := range uint64(300_000) {
		if s.add(i*0x9e3779b97f4a7c15 | 1<<63) {
			t.Fatal(i)
		}
	}
}
