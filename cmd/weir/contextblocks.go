package main

import (
	"cmp"
	"context"
	"slices"

	"github.com/weirlog/weir/show"
)

// lineSource has lines in an order that does not change: by time.
type lineSource interface {
	// before returns the last n lines before t, ascending.
	before(ctx context.Context, t int64, n int) ([]show.Entry, error)
	// from returns the first n lines at or after t, ascending; fewer are all.
	from(ctx context.Context, t int64, n int) ([]show.Entry, error)
}

// contextLine is a line of a block: one that was looked for, or one around it.
type contextLine struct {
	show.Entry
	match bool
}

// lineKey tells lines apart. Where the query rewrites lines or labels, only
// their time does.
type lineKey struct {
	time         int64
	stream, line string
}

// surroundings finds the lines around others, as grep -C does: blocks that
// overlap or touch are one.
type surroundings struct {
	src           lineSource
	before, after int
	rewritten     bool // lines of the source are not those of the query
}

func (s *surroundings) key(e *show.Entry) lineKey {
	if s.rewritten {
		return lineKey{time: e.Time}
	}
	return lineKey{e.Time, e.Stream.Text, e.Line}
}

// blocks calls f with each block of lines around the matches, which ascend.
func (s *surroundings) blocks(ctx context.Context, matches []show.Entry, f func([]contextLine) error) error {
	open := make(map[lineKey][]show.Entry) // matches that were not met yet
	for _, m := range matches {
		open[s.key(&m)] = append(open[s.key(&m)], m)
	}
	left := len(matches)
	for left > 0 {
		// The first one that is left begins a block.
		for len(open[s.key(&matches[0])]) == 0 {
			matches = matches[1:]
		}
		found, block, err := s.block(ctx, matches[0].Time, open)
		if err != nil {
			return err
		}
		if found == 0 {
			// It is gone since: retention, or a limit. It stands alone.
			k := s.key(&matches[0])
			block, found = []contextLine{{open[k][0], true}}, 1
			open[k] = open[k][1:]
		}
		left -= found
		if err := f(block); err != nil {
			return err
		}
	}
	return nil
}

// block returns the block of the first match at or after t, and how many matches
// are in it; they are removed from open.
func (s *surroundings) block(ctx context.Context, t int64, open map[lineKey][]show.Entry) (found int, block []contextLine, err error) {
	head, err := s.src.before(ctx, t, s.before)
	if err != nil {
		return 0, nil, err
	}
	// What may stand before a match, and what came since the last one.
	pending := make([]contextLine, 0, len(head))
	for _, e := range head {
		pending = append(pending, contextLine{e, false})
	}
	// Lines of the time where one page ended come again in the next.
	skip, size := 0, s.before+s.after+64
	for {
		page, err := s.src.from(ctx, t, size)
		if err != nil {
			return 0, nil, err
		}
		for i := range page[min(skip, len(page)):] {
			e := page[skip+i]
			if found == 0 && e.Time > t {
				return 0, nil, nil // it is not there
			}
			k := s.key(&e)
			if m := open[k]; len(m) > 0 {
				open[k] = m[1:]
				if found == 0 && len(pending) > s.before {
					pending = pending[len(pending)-s.before:]
				}
				block = append(append(block, pending...), contextLine{m[0], true})
				pending = pending[:0]
				found++
				continue
			}
			pending = append(pending, contextLine{e, false})
			if found > 0 && len(pending) > s.before+s.after {
				return found, append(block, pending[:s.after]...), nil
			}
		}
		if len(page) < size {
			if found == 0 {
				return 0, nil, nil
			}
			return found, append(block, pending[:min(s.after, len(pending))]...), nil
		}
		last := page[len(page)-1].Time
		if last == t {
			skip, size = len(page), size*2
			continue
		}
		skip = 0
		for i := len(page) - 1; i >= 0 && page[i].Time == last; i-- {
			skip++
		}
		t, size = last, min(max(size*2, skip+64), 10_000+skip)
	}
}

// cachedLines keeps the last lines that it got from a source, and gets more at a
// time the more often it is asked: where many lines match, their surroundings are
// next to each other.
type cachedLines struct {
	src   lineSource
	lines []show.Entry // every line from since on
	since int64
	all   bool // to the end
	size  int
}

// maxCached bounds what is kept.
const maxCached = 4000

func (c *cachedLines) from(ctx context.Context, t int64, n int) ([]show.Entry, error) {
	if i := c.find(t); i >= 0 && (len(c.lines)-i >= n || c.all) {
		return c.lines[i:min(len(c.lines), i+n)], nil
	}
	want := max(n, c.size)
	c.size = min(maxCached, max(64, c.size*8))
	lines, err := c.src.from(ctx, t, want)
	if err != nil {
		return nil, err
	}
	c.lines, c.since, c.all = lines, t, len(lines) < want
	return lines[:min(n, len(lines))], nil
}

func (c *cachedLines) before(ctx context.Context, t int64, n int) ([]show.Entry, error) {
	// Beyond the last line it has, there may be others before t.
	if i := c.find(t); i >= n && (i < len(c.lines) || c.all) {
		return c.lines[i-n : i], nil
	}
	return c.src.before(ctx, t, n)
}

// find returns the place of the first line at or after t, -1 if t is before what
// is kept.
func (c *cachedLines) find(t int64) int {
	if len(c.lines) == 0 || t < c.since {
		return -1
	}
	i, _ := slices.BinarySearchFunc(c.lines, t, func(e show.Entry, t int64) int { return cmp.Compare(e.Time, t) })
	return i
}
