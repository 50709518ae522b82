package read

import (
	"context"
	"slices"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/show"
)

// aroundAtOnce is how many lines are read at once to find what is around matches.
const aroundAtOnce = 2000

// around gets the last f.Tail matches of what expr narrows match to, and
// f.Around lines of expr before and after each; newest first, as newest does.
// There may be more lines than that, but none is missing next to a match, nor at
// the end, where a match may follow.
//
//	range   ··········|before|first match ─────────────────── newest|
//	read              [one page]          [one page, backward        ]
//	                         [page of its own for each match before it]
func (f *Follow) around(ctx context.Context, expr, match logql.Expr, from, to int64) ([]show.Entry, error) {
	matches, err := f.newest(ctx, match, f.Tail, from, to)
	if err != nil {
		return nil, err
	}
	if len(matches) == 0 {
		return f.newest(ctx, expr, f.Around, from, to)
	}
	slices.Reverse(matches)
	first := matches[0].Time
	rest, err := f.newest(ctx, expr, aroundAtOnce, first, to)
	if err != nil {
		return nil, err
	}
	reached := first // everything from there on is in rest
	if len(rest) >= aroundAtOnce {
		// What has the time of the last one may be cut.
		reached = rest[len(rest)-1].Time + 1
		rest = slices.DeleteFunc(rest, func(e show.Entry) bool { return e.Time < reached })
	}
	var early []show.Entry // ascending
	had := from            // everything before is in early, or not wanted
	for i := range matches {
		at := matches[i].Time
		if at >= reached && at > first && had >= reached {
			break
		}
		if at > had || i == 0 {
			before, err := f.newest(ctx, expr, f.Around, had, min(at, reached))
			if err != nil {
				return nil, err
			}
			slices.Reverse(before)
			early = append(early, before...)
			had = min(at, reached)
		}
		for at < reached && had < reached {
			// Up to the next matches, which are often near; all of a nanosecond.
			page, err := f.oldest(ctx, expr, f.Around+1, had, reached)
			if err != nil {
				return nil, err
			}
			if len(page) <= f.Around {
				early, had = append(early, page...), reached
				break
			}
			last := page[len(page)-1].Time
			same, err := f.oldest(ctx, expr, 0, last, last+1)
			if err != nil {
				return nil, err
			}
			for len(page) > 0 && page[len(page)-1].Time == last {
				page = page[:len(page)-1]
			}
			early, had = append(append(early, page...), same...), last+1
			after := 0
			for k := len(early) - 1; k >= 0 && early[k].Time > at; k-- {
				after++
			}
			if after >= f.Around {
				break
			}
		}
	}
	slices.Reverse(early)
	return f.cutAround(append(rest, early...), matches), nil
}

// cutAround cuts lines, newest first, behind what is before the last of the
// matches: of one time there may be more of both.
func (f *Follow) cutAround(entries, matches []show.Entry) []show.Entry {
	type line struct {
		time         int64
		stream, line string
	}
	left := make(map[line]int)
	for i := range matches {
		left[line{matches[i].Time, matches[i].Stream.Text, matches[i].Line}]++
	}
	n := len(matches)
	for i := range entries {
		k := line{entries[i].Time, entries[i].Stream.Text, entries[i].Line}
		if left[k] == 0 {
			continue
		}
		left[k]--
		if n--; n == 0 {
			return entries[:min(len(entries), i+1+f.Around)]
		}
	}
	return entries
}

// oldest gets the oldest lines of a query, all if limit is 0.
func (f *Follow) oldest(ctx context.Context, expr logql.Expr, limit int, from, to int64) ([]show.Entry, error) {
	var out []show.Entry
	var cost Cost
	err := f.Client.Lines(ctx, Want{Query: expr.String(), From: from, To: to, Limit: limit, Forward: true}, &cost, func(page []show.Entry) error {
		out = append(out, page...)
		return nil
	})
	return out, err
}
