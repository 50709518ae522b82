package main

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/show"
)

// Steps cover the range, begin at round times of the zone, and only the ends are
// cut.
func TestEdges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := time.FixedZone("", rapid.SampledFrom([]int{0, 3600, -5 * 3600, 5*3600 + 1800}).Draw(t, "zone"))
		from := rapid.Int64Range(0, 2e9).Draw(t, "from") * 1e9
		d := rapid.Int64Range(1, 1e6).Draw(t, "range") * 1e6 * rapid.SampledFrom([]int64{1, 1000}).Draw(t, "unit")
		step := int64(rapid.SampledFrom(roundSpans).Draw(t, "step"))
		if d/step > 2000 {
			t.Skip("too many")
		}
		edges := edgesOf(from, from+d, step, time.Unix(0, from).In(zone))
		if edges[0] != from || edges[len(edges)-1] != from+d {
			t.Fatalf("%d to %d, want %d to %d", edges[0], edges[len(edges)-1], from, from+d)
		}
		_, offset := time.Unix(0, from).In(zone).Zone()
		for i := 1; i < len(edges); i++ {
			size := edges[i] - edges[i-1]
			if size <= 0 || size > step || i > 1 && i < len(edges)-1 && size != step {
				t.Fatalf("step %d is %d long, want %d", i, size, step)
			}
			if i < len(edges)-1 && mod(edges[i]+int64(offset)*1e9, step) != 0 {
				t.Fatalf("edge %d is no multiple of %d", edges[i], step)
			}
		}
	})
}

// A chart fits the terminal, has every line in it, and its axis names columns.
func TestChartFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(70, 220).Draw(t, "width")
		from := rapid.Int64Range(1e9, 2e9).Draw(t, "from") * 1e9
		d := rapid.Int64Range(1, 1<<35).Draw(t, "range") * 1e6
		step := int64(roundStep(time.Duration(d), chartWidth(width)))
		h := &histogram{edges: edgesOf(from, from+d, step, time.Unix(0, from).UTC())}
		if n := len(h.edges) - 1; n > chartWidth(width) {
			t.Fatalf("%d steps for %d columns", n, chartWidth(width))
		}
		for range rapid.IntRange(1, 14).Draw(t, "rows") {
			r := histRow{labels: map[string]string{"app": rapid.StringMatching(`[a-zé\x1b]{0,40}`).Draw(t, "name")}, counts: make([]int64, len(h.edges)-1)}
			r.name = r.labels["app"]
			for i := range r.counts {
				r.counts[i] = rapid.Int64Range(0, 100_000).Draw(t, "count")
				r.total += r.counts[i]
			}
			h.rows = append(h.rows, r)
		}
		total := h.all().total
		h.keep(10)
		if h.all().total != total {
			t.Fatalf("%d lines of %d are in the rows that are kept", h.all().total, total)
		}
		text := string(h.appendChart(nil, width, false, time.UTC))
		for _, l := range strings.Split(text, "\n") {
			if n := utf8.RuneCountInString(l); n > width {
				t.Fatalf("%d columns of %d:\n%s", n, width, text)
			}
			if strings.ContainsFunc(l, func(r rune) bool { return r < ' ' }) {
				t.Fatalf("control bytes: %q", l)
			}
		}
	})
}

func TestAxis(t *testing.T) {
	at := time.Date(2026, 11, 22, 9, 57, 0, 0, time.UTC)
	edges := edgesOf(at.UnixNano(), at.Add(66*time.Minute).UnixNano(), int64(2*time.Minute), at)
	got := axis(edges, 1, 1, len(edges)-1, time.UTC)
	// 9:57, 9:58, 10:00, …: 10:00 is the third column.
	if want := "  ╵10:00    ╵10:20    ╵10:40"; got != want {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
	night := time.Date(2026, 11, 22, 22, 0, 0, 0, time.UTC)
	edges = edgesOf(night.UnixNano(), night.Add(4*time.Hour).UnixNano(), int64(5*time.Minute), night)
	if got := axis(edges, 1, 1, 48, time.UTC); !strings.Contains(got, "╵11-23") {
		t.Errorf("midnight is no date: %s", got)
	}
}

func TestBars(t *testing.T) {
	if got := bars([]int64{0, 1, 50, 100, 1000}, 1)[0]; got != " ▁▁▁█" {
		t.Errorf("got %q", got)
	}
	if got := strings.Join(bars([]int64{0, 8, 16, 32}, 4), "|"); got != "   █|   █|  ██| ███" {
		t.Errorf("got %q", got)
	}
	if got := bars([]int64{0, 0}, 1)[0]; got != "  " {
		t.Errorf("got %q", got)
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		n, width, steps, columns int
	}{{10, 100, 1, 10}, {100, 100, 1, 1}, {101, 100, 2, 1}, {1, 50, 1, 50}, {60, 100, 1, 1}} {
		if s, k := columnsFor(c.n, c.width); s != c.steps || k != c.columns {
			t.Errorf("%d in %d: %d steps, %d columns", c.n, c.width, s, k)
		}
	}
	if got := spread([]int64{1, 2, 3, 4, 5}, 2, 1); !slices.Equal(got, []int64{3, 7, 5}) {
		t.Errorf("got %v", got)
	}
	if got := spread([]int64{1, 2}, 1, 2); !slices.Equal(got, []int64{1, 1, 2, 2}) {
		t.Errorf("got %v", got)
	}
}

func TestSpark(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		values []float64
		want   string
	}{
		{[]float64{0, 1, 4, 8}, " ▁▄█"},
		{[]float64{nan, 8, nan, 4}, " █ ▄"},
		{[]float64{-8, 0, 8}, "▁▄█"},
		{[]float64{inf, 1}, "██"},
		{[]float64{3, 3}, "██"},
		{[]float64{0, 0}, "  "},
	} {
		if got := spark(c.values, 1, 1); got != c.want {
			t.Errorf("%v: %q, want %q", c.values, got, c.want)
		}
	}
}

// Numbers fit, and what is missing is blank.
func TestSparklinesFit(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	var series []read.Series
	for _, app := range []string{"web", "a very long name of an application that goes on"} {
		s := read.Series{Labels: map[string]string{"app": app, "namespace": "shop"}}
		for i := range 50 {
			if i%7 == 3 {
				continue
			}
			s.Points = append(s.Points, show.Point{Time: at.Add(time.Duration(i) * time.Minute), Value: "12345.678"})
		}
		series = append(series, s)
	}
	for _, width := range []int{80, 200} {
		text := string(appendSparklines(nil, series, time.Minute, width, false, time.UTC))
		for _, l := range strings.Split(text, "\n") {
			if utf8.RuneCountInString(l) > width {
				t.Errorf("wider than %d:\n%s", width, text)
			}
		}
		if !strings.Contains(text, "APP") || strings.Contains(text, "shop") || !strings.Contains(text, " 12346 ") {
			t.Errorf("at %d:\n%s", width, text)
		}
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1 000", 1234567: "1 234 567", -1000: "-1 000", -100: "-100"} {
		if got := grouped(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	tab := &table{
		columns: []column{{name: "name"}, {name: "n", right: true}, {name: "note", plain: true}, {name: "labels", data: true}},
		rows:    [][]cell{{{value: "a\x1b[31m"}, {value: int64(1000), text: "1 000"}, {text: "x"}, {value: map[string]string{"b": "c d"}}}, {{value: "long name indeed"}, {}, {}, {}}},
	}
	for format, want := range map[string]string{
		"pretty": "NAME                  N  NOTE\na?[31m            1 000  x\nlong name indeed\n",
		"raw":    "a\x1b[31m\nlong name indeed\n",
		"json":   "{\"name\":\"a\\u001b[31m\",\"n\":1000,\"labels\":{\"b\":\"c d\"}}\n{\"name\":\"long name indeed\"}\n",
		"logfmt": "name=\"a\\x1b[31m\" n=1000 b=\"c d\"\nname=\"long name indeed\"\n",
		"csv":    "name,n,labels\na\x1b[31m,1000,\"{b=\"\"c d\"\"}\"\nlong name indeed,,\n",
	} {
		var b strings.Builder
		if err := tab.write(&b, format, false, 80); err != nil || b.String() != want {
			t.Errorf("%s: %v\n%q\nwant\n%q", format, err, b.String(), want)
		}
	}
	var b strings.Builder
	if err := tab.write(&b, "pretty", false, 20); err != nil || !strings.Contains(b.String(), "…") {
		t.Errorf("not cut:\n%s", b.String())
	}
	for _, l := range strings.Split(b.String(), "\n") {
		if utf8.RuneCountInString(l) > 22 {
			t.Errorf("too wide:\n%s", b.String())
		}
	}
}

// Of many labels only those that tell series apart are columns.
func TestNumberTable(t *testing.T) {
	of := func(pod, value string) read.Series {
		return read.Series{Labels: map[string]string{"a": "1", "b": "2", "c": "3", "d": "4", "pod": pod}, Points: []show.Point{{Value: value}}}
	}
	tab, common := numberTable([]read.Series{of("x", "1"), of("y", "2")})
	if len(tab.columns) != 2 || tab.columns[0].name != "pod" || len(common) != 4 {
		t.Errorf("%v, %v", tab.columns, common)
	}
	if tab, common = numberTable([]read.Series{of("x", "1")}); len(tab.columns) != 6 || len(common) != 0 {
		t.Errorf("%v, %v", tab.columns, common)
	}
}

func TestCutName(t *testing.T) {
	for _, c := range []struct {
		s    string
		n    int
		want string
	}{{"payments-ssv5mwxlcw-qqd4x", 12, "paymen…qqd4x"}, {"abc", 3, "abc"}, {"abcd", 1, "…"}, {"äöüß", 3, "ä…ß"}} {
		if got := cutName(c.s, c.n); got != c.want {
			t.Errorf("%s to %d: %q, want %q", c.s, c.n, got, c.want)
		}
	}
}
