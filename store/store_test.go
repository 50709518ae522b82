package store

import (
	"context"
	"math/rand/v2"
	"testing"
)

func TestStoreAndFindAgain(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 1))
	s := open(t, Config{Dir: dir})
	var want []line
	for i := range 50 {
		var ls []line
		for j := range 20 {
			ls = append(ls, someLine(r, i*100+j))
		}
		mustSend(t, s, ls...)
		want = append(want, ls...)
	}
	same(t, all(t, s), want)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Config{Dir: dir})
	if n := s.Recovery().Rows; n != 1000 {
		t.Errorf("%d rows recovered", n)
	}
	same(t, all(t, s), want)
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.SegmentRows != 1000 || st.MemtableRows != 0 {
		t.Errorf("%+v", st)
	}
	same(t, all(t, s), want)
	mustSend(t, s, want[0])
	want = append(want, want[0])
	same(t, all(t, s), want)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Config{Dir: dir})
	same(t, all(t, s), want)
}
