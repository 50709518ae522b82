package stores

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirlog/weir/bench/mixed"
)

// A Query is one of those that stores are compared by.
type Query string

// The queries, over everything and all the time there is unless said otherwise.
const (
	Needle          Query = "32 hexadecimal digits that are in one line"
	AbsentPhrase    Query = "a phrase that is in none"
	LiteralCount    Query = "lines with 4 bytes that are on every page, counted"
	LastOfLabel     Query = "last 100 lines of a label"
	MinutesByStream Query = "count per minute by stream, 6 h"
	MinutesByApp    Query = "count per minute by application, 6 h"
	ErrorsByMinute  Query = "error count per minute by severity"
	Volume          Query = "count per minute by severity"
	JSON503         Query = "JSON lines with http_status 503, counted"
	TopRoutes       Query = "top 10 of a JSON field with few values"
)

// Queries are all of them, in the order of the report.
var Queries = []Query{Needle, AbsentPhrase, LiteralCount, LastOfLabel, MinutesByStream, MinutesByApp, ErrorsByMinute, Volume, JSON503, TopRoutes}

// An Answer is what a store said, in a form to compare.
type Answer struct {
	Lines []Line
	Unit  time.Duration // of their times, if it is not the nanosecond
	// Groups are counts by the value that tells a group; the empty one if there
	// are no groups. Minutes are the same for each minute from Start on.
	Groups  map[string]int64
	Minutes map[string][]int64
}

// Line is a line; its text is empty where a store does not keep it as it was.
type Line struct {
	Time int64
	Text string
}

// errorLevels are those that ErrorsByMinute asks for.
var errorLevels = []string{"error", "fatal", "critical"}

// Check returns an error that says how an answer differs from the truth.
func Check(q Query, t *mixed.Truth, a *Answer) error {
	switch q {
	case Needle:
		return sameLines(a, []int64{t.NeedleTime}, []string{t.NeedleLine})
	case AbsentPhrase:
		return sameLines(a, nil, nil)
	case LastOfLabel:
		slices.SortFunc(a.Lines, func(a, b Line) int { return cmp.Compare(b.Time, a.Time) })
		return sameLines(a, t.LastTimes, t.LastLines)
	case LiteralCount:
		return sameGroups(a.Groups, map[string]int64{"": t.LiteralRows})
	case JSON503:
		return sameGroups(a.Groups, map[string]int64{"": t.Status[503]})
	case TopRoutes:
		return sameGroups(a.Groups, top(t.Routes, 10))
	case MinutesByStream:
		want := make(map[string][]int64)
		for i, s := range t.Streams {
			want[label(s, "pod")] = widen(t.Minutes[i])
		}
		return sameMinutes(a.Minutes, want)
	case MinutesByApp:
		want := make(map[string][]int64)
		for i, s := range t.Streams {
			sum := want[label(s, "app")]
			if sum == nil {
				sum = make([]int64, t.NumMinutes())
				want[label(s, "app")] = sum
			}
			for m, n := range t.Minutes[i] {
				sum[m] += int64(n)
			}
		}
		return sameMinutes(a.Minutes, want)
	case ErrorsByMinute:
		want := make(map[string][]int64)
		for _, l := range errorLevels {
			if m, ok := t.Levels[l]; ok {
				want[l] = m
			}
		}
		return sameMinutes(a.Minutes, want)
	case Volume:
		return sameMinutes(a.Minutes, t.Levels)
	}
	return fmt.Errorf("no truth about %q", q)
}

func label(s mixed.Stream, name string) string {
	for _, l := range s.Labels {
		if l.Name == name {
			return l.Value
		}
	}
	return ""
}

func widen(v []uint32) (out []int64) {
	for _, n := range v {
		out = append(out, int64(n))
	}
	return out
}

// top returns the n largest counts. Which of equals are among them is open, so
// that a corpus must not have any there.
func top(counts map[string]int64, n int) map[string]int64 {
	var names []string
	for k := range counts {
		names = append(names, k)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
	out := make(map[string]int64)
	for _, k := range names[:min(n, len(names))] {
		out[k] = counts[k]
	}
	return out
}

func sameLines(a *Answer, times []int64, texts []string) error {
	got, unit := a.Lines, max(int64(a.Unit), 1)
	if len(got) != len(times) {
		return fmt.Errorf("%d lines, not %d", len(got), len(times))
	}
	for i, l := range got {
		if l.Time != times[i]/unit*unit {
			return fmt.Errorf("line %d is of %d, not %d", i, l.Time, times[i])
		}
		if l.Text != "" && l.Text != texts[i] {
			return fmt.Errorf("line %d is %q, not %q", i, l.Text, texts[i])
		}
	}
	return nil
}

func sameGroups(got, want map[string]int64) error {
	for k, n := range want {
		if got[k] != n {
			return fmt.Errorf("%d of %q, not %d", got[k], k, n)
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d groups, not %d", len(got), len(want))
	}
	return nil
}

func sameMinutes(got, want map[string][]int64) error {
	var differ []string
	for k, m := range want {
		g := got[k]
		for i, n := range m {
			var have int64
			if g != nil {
				have = g[i]
			}
			if have != n {
				differ = append(differ, fmt.Sprintf("%q has %d in minute %d, not %d", k, have, i, n))
				break
			}
		}
	}
	for k, m := range got {
		if want[k] == nil && slices.Max(m) > 0 {
			differ = append(differ, fmt.Sprintf("%q should not be there", k))
		}
	}
	if len(differ) == 0 {
		return nil
	}
	slices.Sort(differ)
	return fmt.Errorf("%d series differ: %s", len(differ), strings.Join(differ[:min(3, len(differ))], "; "))
}
