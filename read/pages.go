package read

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirlog/weir/show"
)

// Want says which lines are wanted.
type Want struct {
	Query    string
	From, To int64 // [From, To), Unix nanoseconds
	Limit    int   // 0 for all
	// Forward asks for the oldest, in ascending order of time; otherwise it is
	// the newest, in descending order.
	Forward bool
}

// Cost is what queries took at the server, and what it warned of.
type Cost struct {
	Bytes, Rows int64
	Warnings    []string // each once
}

// Count adds what an answer says it took.
func (c *Cost) Count(a *Answer) {
	c.Bytes += a.Data.Stats.Summary.Bytes
	c.Rows += a.Data.Stats.Summary.Lines
	for _, w := range a.Warnings {
		c.Warn(w)
	}
}

// Warn adds a warning.
func (c *Cost) Warn(w string) {
	if !slices.Contains(c.Warnings, w) {
		c.Warnings = append(c.Warnings, w)
	}
}

// Lines gets lines page by page and calls f with each page, in the order of time
// that was asked for; the slice is f's to keep. Lines at the edge of two pages
// come once.
func (c *Client) Lines(ctx context.Context, want Want, cost *Cost, f func([]show.Entry) error) error {
	from, to, forward, left := want.From, want.To, want.Forward, want.Limit
	// Without a limit the first lines come quickly: pages grow.
	size, top, most := c.Page, c.Page, 50_000
	if left == 0 {
		size = min(size, 500)
	}
	seen := make(map[identity]int) // of the time where the last page ended
	known := 0                     // how many these are
	var edge int64
	for {
		n := size
		if left > 0 {
			n = min(n, left+known)
		}
		page, err := c.page(ctx, want.Query, from, to, n, forward, cost)
		if tooMuch(err) && n > 1 {
			// Long lines, or a server that gives fewer at a time.
			size, most = max(1, n/4), n*3/4
			top = size
			continue
		}
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		full, last := len(page) >= n, page[len(page)-1].Time
		again := maps.Clone(seen)
		fresh := page[:0]
		for _, e := range page {
			if e.Time == edge && again[identify(&e)] > 0 {
				again[identify(&e)]--
				continue
			}
			fresh = append(fresh, e)
		}
		if left > 0 && len(fresh) > left {
			fresh = fresh[:left]
		}
		if err := f(fresh); err != nil {
			return err
		}
		if left > 0 {
			if left -= len(fresh); left <= 0 {
				return nil
			}
		}
		if !full {
			return nil
		}
		if len(fresh) == 0 && last == edge {
			// More lines of one nanosecond than a page has.
			if size >= most {
				cost.Warn(fmt.Sprintf("more than %d lines have the time %s; some are left out", size, time.Unix(0, edge).UTC().Format(time.RFC3339Nano)))
				seen, known, edge = make(map[identity]int), 0, 0
				if forward {
					from = last + 1
				} else {
					to = last
				}
				continue
			}
			size = min(2*size, most)
			continue
		}
		if last != edge {
			seen, known, edge = make(map[identity]int), 0, last
		}
		for i := range fresh {
			if fresh[i].Time == edge {
				seen[identify(&fresh[i])]++
				known++
			}
		}
		if forward {
			from = last
		} else {
			to = last + 1
		}
		size = max(size, min(4*size, top))
	}
}

// identity tells entries of the same time apart.
type identity struct {
	stream, line string
}

func identify(e *show.Entry) identity { return identity{e.Stream.Text, e.Line} }

// tooMuch reports whether an answer would have been larger than the server
// allows: weir's and Loki's words for too many lines, and too many bytes.
func tooMuch(err error) bool {
	var se *ServerError
	if !errors.As(err, &se) {
		return false
	}
	for _, words := range []string{"bytes of answer", "max entries limit", "larger than max"} {
		if strings.Contains(se.Text, words) {
			return true
		}
	}
	return false
}

// page gets lines in the order of time, forward or backward.
func (c *Client) page(ctx context.Context, query string, from, to int64, limit int, forward bool, cost *Cost) ([]show.Entry, error) {
	form := url.Values{
		"query": {query}, "limit": {strconv.Itoa(limit)}, "direction": {"backward"},
		"start": {strconv.FormatInt(from, 10)}, "end": {strconv.FormatInt(to, 10)},
	}
	if forward {
		form.Set("direction", "forward")
	}
	a, err := c.Query(ctx, "/loki/api/v1/query_range", form)
	if err != nil {
		return nil, err
	}
	cost.Count(a)
	out, err := c.Entries(a)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(out, func(a, b show.Entry) int {
		switch {
		case a.Time == b.Time:
			return 0
		case (a.Time < b.Time) == forward:
			return -1
		}
		return 1
	})
	return out, nil
}
