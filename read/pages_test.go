package read

import (
	"fmt"
	"slices"
	"testing"

	"github.com/weirlog/weir/show"
)

// Lines come once and all of them, wherever the pages end: also when many that
// are equal have one time, and when a limit ends among them.
func TestLinesOverPages(t *testing.T) {
	l, c := newFakeLoki(t)
	var all []string
	for i := range 30 {
		for k := range 1 + i%7*40 { // more than a page of one nanosecond, too
			text := fmt.Sprint("line ", i)
			if k%3 == 0 {
				text = fmt.Sprint("line ", i, " ", k)
			}
			l.lines = append(l.lines, fakeLine{int64(1000 + i), "p0", text})
			all = append(all, text)
		}
	}
	for _, page := range []int{1, 7, 50, 100, 500} {
		for _, limit := range []int{0, 1, 99, 150, 1000, 1700, len(all), len(all) + 1} {
			for _, forward := range []bool{true, false} {
				c.Page = page
				var got []show.Entry
				var cost Cost
				err := c.Lines(t.Context(), Want{Query: `{pod="p0"}`, From: 0, To: 1 << 40, Limit: limit, Forward: forward}, &cost, func(p []show.Entry) error {
					got = append(got, p...)
					return nil
				})
				if err != nil || len(cost.Warnings) > 0 {
					t.Fatalf("pages of %d, limit %d: %v %q", page, limit, err, cost.Warnings)
				}
				want := len(all)
				if limit > 0 {
					want = min(want, limit)
				}
				if len(got) != want {
					t.Fatalf("pages of %d, limit %d, forward %v: %d lines, want %d", page, limit, forward, len(got), want)
				}
				if limit > 0 && limit < len(all) {
					continue // which of those of one time is the server's choice
				}
				var text []string
				for _, e := range got {
					text = append(text, e.Line)
				}
				if !slices.Equal(slices.Sorted(slices.Values(text)), slices.Sorted(slices.Values(all))) {
					t.Fatalf("pages of %d, limit %d: other lines", page, limit)
				}
			}
		}
	}
}
