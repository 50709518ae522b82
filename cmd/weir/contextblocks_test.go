package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirlog/weir/show"
)

// listedLines is a lineSource from a list.
type listedLines []show.Entry

func (l listedLines) before(_ context.Context, t int64, n int) ([]show.Entry, error) {
	end := 0
	for end < len(l) && l[end].Time < t {
		end++
	}
	return slices.Clone(l[max(0, end-n):end]), nil
}

func (l listedLines) from(_ context.Context, t int64, n int) ([]show.Entry, error) {
	begin := 0
	for begin < len(l) && l[begin].Time < t {
		begin++
	}
	return slices.Clone(l[begin:min(len(l), begin+n)]), nil
}

// Blocks are those of grep -C: compared with marking every line that is near
// enough to a match.
func TestContextBlocks(t *testing.T) {
	stream := show.NewStream(map[string]string{"app": "x"})
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 300).Draw(t, "lines")
		before, after := rapid.IntRange(0, 6).Draw(t, "before"), rapid.IntRange(0, 6).Draw(t, "after")
		odds := rapid.IntRange(1, 40).Draw(t, "odds")
		var all listedLines
		var matches []show.Entry
		at := int64(1)
		is := make([]bool, n)
		for i := range n {
			at += int64(rapid.IntRange(0, 2).Draw(t, "gap"))
			e := show.Entry{Time: at, Line: fmt.Sprint("line ", i), Stream: stream}
			all = append(all, e)
			if is[i] = rapid.IntRange(0, odds).Draw(t, "match") == 0; is[i] {
				matches = append(matches, e)
			}
		}
		var want []string
		last := -1
		for i := range n {
			near := false
			for j := max(0, i-after); j <= min(n-1, i+before); j++ {
				near = near || is[j]
			}
			if !near {
				continue
			}
			if last >= 0 && last != i-1 {
				want = append(want, "--")
			}
			last = i
			want = append(want, fmt.Sprintf("%v %s", is[i], all[i].Line))
		}
		var got []string
		var src lineSource = all
		if rapid.Bool().Draw(t, "cached") {
			src = &cachedLines{src: all}
		}
		s := surroundings{src: src, before: before, after: after}
		if err := s.blocks(context.Background(), matches, func(block []contextLine) error {
			if len(got) > 0 {
				got = append(got, "--")
			}
			for _, l := range block {
				got = append(got, fmt.Sprintf("%v %s", l.match, l.Line))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("before %d, after %d:\n%s\nwant\n%s", before, after, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// A match that the source does not have any more stands alone.
func TestContextOfWhatIsGone(t *testing.T) {
	stream := show.NewStream(map[string]string{"app": "x"})
	all := listedLines{{Time: 1, Line: "a", Stream: stream}, {Time: 5, Line: "b", Stream: stream}}
	s := surroundings{src: all, before: 1, after: 1}
	var got []string
	err := s.blocks(t.Context(), []show.Entry{{Time: 3, Line: "gone", Stream: stream}, {Time: 5, Line: "b", Stream: stream}}, func(block []contextLine) error {
		for _, l := range block {
			got = append(got, l.Line)
		}
		got = append(got, "--")
		return nil
	})
	if err != nil || strings.Join(got, " ") != "gone -- a b --" {
		t.Errorf("%v, %v", got, err)
	}
}

// What is kept is what the source says, in whatever order it is asked, and it is
// asked seldom.
func TestContextCache(t *testing.T) {
	stream := show.NewStream(map[string]string{"app": "x"})
	rapid.Check(t, func(t *rapid.T) {
		var all listedLines
		at := int64(100)
		for i := range rapid.IntRange(1, 400).Draw(t, "lines") {
			at += int64(rapid.IntRange(0, 2).Draw(t, "gap"))
			all = append(all, show.Entry{Time: at, Line: fmt.Sprint(i), Stream: stream})
		}
		c := &cachedLines{src: all}
		for range 60 {
			when := int64(rapid.IntRange(95, int(at)+5).Draw(t, "time"))
			n := rapid.IntRange(0, 40).Draw(t, "n")
			ask := lineSource.from
			if rapid.Bool().Draw(t, "before") {
				ask = lineSource.before
			}
			got, err := ask(c, context.Background(), when, n)
			want, _ := ask(all, context.Background(), when, n)
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("%d at %d: %v, want %v, %v", n, when, got, want, err)
			}
		}
	})
}
