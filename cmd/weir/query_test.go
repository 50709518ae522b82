package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/show"
)

// fakeLoki answers query_range from a list of lines in the order of time, as
// Loki does: [start, end), at most limit, from one of both ends.
type fakeLoki struct {
	lines []fakeLine
	asked int
	most  int64 // lines in an answer
}

type fakeLine struct {
	time int64
	app  string
	text string
}

func (f *fakeLoki) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/loki/api/v1/query_range" {
		io.WriteString(w, `{"status":"success","data":["app"]}`)
		return
	}
	f.asked++
	num := func(name string) int64 {
		n, err := strconv.ParseInt(r.FormValue(name), 10, 64)
		if err != nil {
			http.Error(w, name+": "+err.Error(), http.StatusBadRequest)
		}
		return n
	}
	if num("limit") > f.most {
		http.Error(w, "max entries limit per query exceeded, limit > max_entries_limit (23 > 9)", http.StatusBadRequest)
		return
	}
	from, to, limit := num("start"), num("end"), int(num("limit"))
	var hit []fakeLine
	for _, l := range f.lines {
		if l.time >= from && l.time < to {
			hit = append(hit, l)
		}
	}
	if r.FormValue("direction") == "backward" {
		slices.Reverse(hit)
	}
	hit = hit[:min(limit, len(hit))]
	streams := map[string][][2]string{}
	for _, l := range hit {
		streams[l.app] = append(streams[l.app], [2]string{strconv.FormatInt(l.time, 10), l.text})
	}
	type stream struct {
		Stream map[string]string `json:"stream"`
		Values [][2]string       `json:"values"`
	}
	var out []stream
	for app, v := range streams {
		out = append(out, stream{map[string]string{"app": app}, v})
	}
	json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "streams", "result": out}})
}

func TestQueryPages(t *testing.T) {
	t.Run("as many as asked for", func(t *testing.T) { testQueryPages(t, 1000, 23) })
	t.Run("fewer", func(t *testing.T) { testQueryPages(t, 70, 200) })
}

func testQueryPages(t *testing.T, most int64, page int) {
	const seed = 7
	rnd := rand.New(rand.NewPCG(seed, seed))
	f := &fakeLoki{most: most}
	start := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	at := start.UnixNano()
	for i := range 500 {
		if rnd.IntN(3) > 0 { // runs of lines with the same time
			at += int64(rnd.IntN(3)) * 1000
		}
		text := fmt.Sprintf("line %d", i)
		if rnd.IntN(4) == 0 {
			text = "the same" // also of the same time and stream
		}
		f.lines = append(f.lines, fakeLine{time: at, app: fmt.Sprint("a", rnd.IntN(3)), text: text})
	}
	srv := httptest.NewServer(f)
	defer srv.Close()
	// Lines of one time have no order among streams: compared as they stand in
	// blocks of one time.
	normal := func(lines []string) string { return strings.Join(lines, "\n") }
	expect := func(lines []fakeLine) []string {
		var out []string
		for _, l := range lines {
			out = append(out, fmt.Sprintf("%d %s", l.time, l.text))
		}
		return out
	}
	blocks := func(lines []string) []string {
		out := slices.Clone(lines)
		for i := 0; i < len(out); {
			j := i
			when, _, _ := strings.Cut(out[i], " ")
			for j < len(out) && strings.HasPrefix(out[j], when+" ") {
				j++
			}
			slices.Sort(out[i:j])
			i = j
		}
		return out
	}
	for _, limit := range []int{0, 1, 7, 20, 100, 499, 500, 1000} {
		for _, forward := range []bool{false, true} {
			for _, reverse := range []bool{false, true} {
				name := fmt.Sprintf("limit %d, forward %v, reverse %v", limit, forward, reverse)
				want := slices.Clone(f.lines)
				if limit > 0 && limit < len(want) {
					if forward {
						want = want[:limit]
					} else {
						want = want[len(want)-limit:]
					}
				}
				if reverse {
					slices.Reverse(want)
				}
				var got bytes.Buffer
				w := bufio.NewWriter(&got)
				expr, err := logql.Parse(`{app=~"a.*"}`)
				if err != nil {
					t.Fatal(err)
				}
				q := &query{
					flags: &queryFlags{limit: limit, forward: forward, reverse: reverse}, text: expr.String(), expr: expr, lines: true,
					client: &read.Client{HTTP: srv.Client(), Base: srv.URL, What: "the fake", Page: page}, w: w, p: timedPrinter{w}, errOut: io.Discard,
					ranged: true, from: start, to: start.Add(time.Hour), now: start.Add(time.Hour),
				}
				if err := q.run(t.Context()); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				w.Flush()
				lines := strings.Split(strings.TrimSuffix(got.String(), "\n"), "\n")
				if len(lines) != len(want) {
					t.Errorf("%s: %d lines, want %d", name, len(lines), len(want))
					continue
				}
				g, x := blocks(lines), blocks(expect(want))
				if limit > 0 && limit < len(f.lines) { // at the cut any of the same time may be there
					edge := 0
					if forward != reverse {
						edge = len(g) - 1
					}
					when, _, _ := strings.Cut(x[edge], " ")
					same := func(l string) bool { return strings.HasPrefix(l, when+" ") }
					g, x = slices.DeleteFunc(g, same), slices.DeleteFunc(x, same)
				}
				if normal(g) != normal(x) {
					t.Errorf("%s:\n%s\nwant\n%s", name, normal(g), normal(x))
				}
			}
		}
	}
	if f.asked < 40 {
		t.Errorf("only %d pages were asked for", f.asked)
	}
}

// timedPrinter writes times and lines.
type timedPrinter struct{ w *bufio.Writer }

func (p timedPrinter) Line(e *show.Entry) error {
	_, err := fmt.Fprintf(p.w, "%d %s\n", e.Time, e.Line)
	return err
}
func (p timedPrinter) Series(map[string]string, []show.Point) error { return nil }
func (p timedPrinter) End() error                                   { return nil }

// Answers that are errors have the exit code of what they mean.
func TestQueryServerErrors(t *testing.T) {
	for _, c := range []struct {
		status int
		text   string
		code   int
		says   string
	}{
		{400, "parse error at line 1, col 3: what", exitUsage, "parse error"},
		{401, "no org id", exitUnreachable, "--tenant"},
		{401, "no valid credentials", exitUnreachable, "credentials"},
		{403, "no", exitUnreachable, "no"},
		{429, "too many outstanding requests", exitFailed, "too many"},
		{500, "", exitFailed, "500"},
		{503, "starting: the store is being opened", exitUnreachable, "starting"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, c.text, c.status) }))
		var out, errOut bytes.Buffer
		code := run([]string{"query", "--server", srv.URL, `{app="x"}`}, nil, &out, &errOut)
		srv.Close()
		if code != c.code || !strings.Contains(errOut.String(), c.says) || out.Len() > 0 {
			t.Errorf("%d %s: exit %d, %s", c.status, c.text, code, errOut.String())
		}
	}
}

// What a server writes into its errors and labels does not reach the terminal as
// it is.
func TestServersErrorsAreEscaped(t *testing.T) {
	for _, status := range []int{400, 403, 500, 503} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "\x1b[2Jgone\x07 \u202eevil", status)
		}))
		for _, args := range [][]string{{"query", `{app="x"}`}, {"labels"}, {"series"}, {"volume"}, {"hits"}, {"context", `{app="x"}`}, {"export", `{app="x"}`, "--to", "-", "--since", "1h"}} {
			var out, errOut bytes.Buffer
			run(append(args, "--server", srv.URL), nil, &out, &errOut)
			if s := out.String() + errOut.String(); strings.ContainsAny(s, "\x1b\x07\u202e") || !strings.Contains(s, "gone") {
				t.Errorf("%d %s: %q", status, args, s)
			}
		}
		srv.Close()
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/labels"):
			io.WriteString(w, `{"status":"success","data":["app"]}`)
		case strings.HasSuffix(r.URL.Path, "/values"):
			io.WriteString(w, `{"status":"success","data":["\u001b[2J`+strings.Repeat("x", 100_000)+`"]}`)
		case strings.HasSuffix(r.URL.Path, "/series"):
			io.WriteString(w, `{"status":"success","data":[]}`)
		default:
			io.WriteString(w, `{"status":"success","data":{"resultType":"streams","result":[]}}`)
		}
	}))
	defer srv.Close()
	var out, errOut bytes.Buffer
	run([]string{"query", `{app="y"}`, "--server", srv.URL}, nil, &out, &errOut)
	if s := errOut.String(); strings.Contains(s, "\x1b") || len(s) > 1000 || !strings.Contains(s, "there is ") {
		t.Errorf("%.300q", s)
	}
}

func TestQueryAnswerThatIsNone(t *testing.T) {
	for _, text := range []string{"", "hello", `{"status":"success","data":{"resultType":"streams","result":[{"stream":{},"values":[["x","y"]]}]}}`, `{"status":"success","data":{"resultType":"odd","result":[]}}`} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }))
		var out, errOut bytes.Buffer
		code := run([]string{"query", "--server", srv.URL, `{app="x"}`}, nil, &out, &errOut)
		srv.Close()
		if code != exitFailed || errOut.Len() == 0 {
			t.Errorf("%q: exit %d, %s", text, code, errOut.String())
		}
	}
}

// A matcher on what is no label at a Loki goes behind the braces.
func TestQueryMovesMatchers(t *testing.T) {
	var asked string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/labels") {
			io.WriteString(w, `{"status":"success","data":["app"]}`)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/query_range") && asked == "" {
			asked = r.FormValue("query") // later ones ask why there is nothing
		}
		io.WriteString(w, `{"status":"success","data":{"resultType":"streams","result":[]}}`)
	}))
	defer srv.Close()
	for q, want := range map[string]string{
		`{app="x", level="error"}`: `{app="x"} | detected_level="error"`,
		`{app="x"} |= "y"`:         `{app="x"} |= "y"`,
		`{pod_uid="x"}`:            `{app=~".+"} | pod_uid="x"`,
	} {
		var out, errOut bytes.Buffer
		asked = ""
		if code := run([]string{"query", "--server", srv.URL, q}, nil, &out, &errOut); code != 0 || asked != want {
			t.Errorf("%s: asked %s, exit %d, %s", q, asked, code, errOut.String())
		}
	}
}

func TestQueryErrorShowsThePlace(t *testing.T) {
	_, err := logql.Parse("{app=\"ö\"}\n\t|= bogus")
	got := queryError("{app=\"ö\"}\n\t|= bogus", err).Error()
	if want := "\n\n   |= bogus\n      ^"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q", got)
	}
	var coded *exitError
	if err := queryError("x", errors.New("y")); !errors.As(err, &coded) || coded.code != exitUsage {
		t.Error(err)
	}
}

func TestNearestName(t *testing.T) {
	for name, want := range map[string]string{"nmespace": "namespace", "Pod": "pod", "ap": "app", "zebra": "", "x": ""} {
		if got := nearestName(name, []string{"app", "namespace", "pod"}); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestSelectorNames(t *testing.T) {
	e, err := logql.Parse(`sum(rate({app="}", pod=~"{x}"} |= "{a=\"b\"}" [5m])) / count_over_time({c="d"}[1m])`)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(selectorNames(e), " "); got != "app pod c" {
		t.Errorf("got %s", got)
	}
}

func TestParseWhenOfPeople(t *testing.T) {
	zone := time.FixedZone("", 3600)
	now := time.Date(2026, 1, 5, 12, 0, 0, 0, zone)
	for text, want := range map[string]string{
		"12-24 10:00:00.5":     "2025-12-24T10:00:00.5+01:00",
		"01-05 10:00":          "2026-01-05T10:00:00+01:00",
		"10:00:00.123":         "2026-01-05T10:00:00.123+01:00",
		"2026-01-02":           "2026-01-02T00:00:00+01:00",
		"15m":                  "2026-01-05T11:45:00+01:00",
		"yesterday":            "2026-01-04T00:00:00+01:00",
		"1767600000":           "2026-01-05T08:00:00Z",
		"2026-01-02T03:04:05Z": "2026-01-02T03:04:05Z",
	} {
		got, err := parseWhen(text, now)
		if w, _ := time.Parse(time.RFC3339Nano, want); err != nil || !got.Equal(w) {
			t.Errorf("%s: %v, %v, want %s", text, got, err, want)
		}
	}
}

func TestExactness(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"10:00": 0, "15m": 0, "10:00:00": time.Second, "2026-01-02 10:00:00.123": time.Millisecond,
		"2026-01-02T10:00:00.123456789Z": 1, "2026-01-02": 0,
	} {
		if got := exactness(text); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// A style of times may stand behind -t with a space, and nothing else changes.
func TestJoinTimestamps(t *testing.T) {
	for in, want := range map[string]string{
		"query -t short {a=b}":   "query -t=short {a=b}",
		"tail --timestamps none": "tail --timestamps=none",
		"query -t {a=b}":         "query -t {a=b}",
		"tail -t web":            "tail -t web",
		"tail -- -t short":       "tail -- -t short",
		"tail -t":                "tail -t",
	} {
		args := strings.Fields(in)
		if got := strings.Join(joinTimestamps(args), " "); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
		if strings.Join(args, " ") != in {
			t.Errorf("%s: the arguments were changed", in)
		}
	}
}

func TestYears(t *testing.T) {
	for in, want := range map[string]time.Duration{"1y": 365 * 24 * time.Hour, "10y": 3650 * 24 * time.Hour} {
		if got, err := parseSpan(in); got != want || err != nil {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"y", "-1y", "300y", "1.5y", "1y2d"} {
		if got, err := parseSpan(in); err == nil {
			t.Errorf("%s: %v", in, got)
		}
	}
}
