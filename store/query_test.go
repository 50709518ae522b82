package store

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weirlog/weir/logql"
)

// fill stores lines partly in segments, partly in memory.
func fill(t testing.TB, s *Store, r *rand.Rand, n int) []line {
	t.Helper()
	var want []line
	for i := 0; i < n; i += 100 {
		var ls []line
		for j := range 100 {
			ls = append(ls, someLine(r, i+j))
		}
		mustSend(t, s, ls...)
		want = append(want, ls...)
		if i%(n/3) == 0 {
			if err := s.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return want
}

// TestQueriesAgainstAScan compares requests of all kinds with looking at every
// line.
func TestQueriesAgainstAScan(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	s := open(t, Config{})
	lines := fill(t, s, r, 6000)
	selectors := []struct {
		text string
		is   func(l line) bool
	}{
		{`{app="app1"}`, func(l line) bool { return strings.Contains(l.labels, "app=app1") }},
		{`{app=~"app[12]", namespace!="ns0"}`, func(l line) bool {
			return (strings.Contains(l.labels, "app=app1") || strings.Contains(l.labels, "app=app2")) && !strings.Contains(l.labels, "ns0")
		}},
		{`{pod_uid="uid-1"}`, func(l line) bool { return l.resource == "uid-1" }},
		{`{app="app3", trace="7"}`, func(l line) bool { return strings.Contains(l.labels, "app3") && l.attrs == "trace=7" }},
		{`{app="none"}`, func(l line) bool { return false }},
		{`{app=~".+"}`, func(l line) bool { return true }},
	}
	for range 400 {
		sel := selectors[r.IntN(len(selectors))]
		from := base + r.Int64N(3*dayNs)
		req := &logql.Request{Selector: selector(t, sel.text), Start: from, End: from + r.Int64N(2*dayNs), Order: logql.Order(r.IntN(3)), Columns: everything}
		if r.IntN(4) == 0 {
			req.Start, req.End = -1<<62, 1<<62
		}
		keep := func(l line) bool { return sel.is(l) && l.time >= req.Start && l.time < req.End }
		exact := true
		switch r.IntN(4) {
		case 0:
			l := lines[r.IntN(len(lines))]
			off := r.IntN(len(l.body))
			needle := l.body[off:min(len(l.body), off+1+r.IntN(30))]
			req.Needles = logql.Needles{{{Text: []byte(needle)}}}
			inner := keep
			keep = func(l line) bool { return inner(l) && strings.Contains(l.body, needle) }
		case 1:
			one, other := r.IntN(25), r.IntN(25)
			req.Severities = 1<<one | 1<<other
			inner := keep
			keep = func(l line) bool { return inner(l) && req.Severities.Has(l.severity) }
		case 2:
			if req.Order != logql.AnyOrder {
				req.Limit = 1 + r.IntN(200)
			}
		}
		var want []line
		for _, l := range lines {
			if keep(l) {
				want = append(want, stored(l))
			}
		}
		got := query(t, s, req)
		// What need not be delivered may be: the engine looks again.
		got = slices.DeleteFunc(got, func(l line) bool {
			full := l
			return !keep(full)
		})
		if req.Limit > 0 {
			slices.SortStableFunc(want, func(a, b line) int { return cmp.Compare(a.time, b.time) })
			slices.SortStableFunc(got, func(a, b line) int { return cmp.Compare(a.time, b.time) })
			if req.Order == logql.Backward {
				slices.Reverse(want)
				slices.Reverse(got)
			}
			want = want[:min(len(want), req.Limit)]
			got = got[:min(len(got), req.Limit)]
			exact = false
		}
		name := fmt.Sprintf("%s %+v", sel.text, req)
		if len(got) != len(want) {
			t.Fatalf("%s: %d rows, want %d", name, len(got), len(want))
		}
		if exact {
			sortLines(got)
			sortLines(want)
		}
		for i := range got {
			if got[i] != want[i] && (exact || got[i].time != want[i].time) {
				t.Fatalf("%s:\n got %v\nwant %v", name, got[i], want[i])
			}
		}
	}
}

// TestFields checks that promoted columns say what the bodies do.
func TestFields(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	s := open(t, Config{})
	lines := fill(t, s, r, 3000)
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	c, err := s.Source("").Select(ctx, &logql.Request{Selector: selector(t, `{app=~".+"}`), Start: -1 << 62, End: 1 << 62, Columns: logql.Columns{Fields: []string{"status", "level"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	count := map[string]int{}
	for {
		b, err := c.Next(ctx)
		if err != nil {
			break
		}
		if b.Fields == nil || b.Body != nil {
			t.Fatal("the block has bodies")
		}
		for i := range b.Times {
			switch k := b.Fields[0].Index[i]; k {
			case logql.NoObject, logql.NoField:
				count[fmt.Sprint(k)]++
			default:
				count[b.Fields[0].Values[k]+b.Fields[1].Values[b.Fields[1].Index[i]]]++
			}
		}
		b.Release()
	}
	want := map[string]int{}
	for _, l := range lines {
		if !strings.HasPrefix(l.body, "{") {
			want["-2"]++
			continue
		}
		_, st, _ := strings.Cut(l.body, `"status":"`)
		want[st[:3]+"info"]++
	}
	if fmt.Sprint(count) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", count, want)
	}
}

func TestTail(t *testing.T) {
	s := open(t, Config{})
	tail, err := s.Tail("", selector(t, `{app="app1"}`), 3)
	if err != nil {
		t.Fatal(err)
	}
	l := func(n int, app string) line {
		return line{labels: "app=" + app, time: base + int64(n), body: fmt.Sprint(n), resource: "u", attrs: "a=b"}
	}
	mustSend(t, s, l(1, "app1"), l(2, "app2"), l(3, "app1"))
	es, dropped, err := tail.Next(context.Background())
	if err != nil || dropped != 0 || len(es) != 2 || string(es[0].Line) != "1" || string(es[1].Line) != "3" || len(es[0].Meta) != 2 {
		t.Fatalf("%+v %d %v", es, dropped, err)
	}
	mustSend(t, s, l(4, "app1"), l(5, "app1"), l(6, "app1"), l(7, "app1"), l(8, "app1"))
	es, dropped, err = tail.Next(context.Background())
	if err != nil || dropped != 2 || len(es) != 3 || string(es[0].Line) != "6" {
		t.Fatalf("%+v %d %v", es, dropped, err)
	}
	tail.Close()
	if _, _, err := tail.Next(context.Background()); err != ErrClosed {
		t.Fatal(err)
	}
}
