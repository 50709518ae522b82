package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/weirlog/weir/show"
)

// topView shows reports to people.
type topView struct {
	color    bool
	sort     string
	interval time.Duration
	width    int

	height, scroll int
	paused         bool
}

// topColumn is a column of a table: a value's name, its head, its width, how it
// is written, and from how many columns of the terminal on it is shown.
type topColumn struct {
	name, head string
	width      int
	text       func(r *topRow) string
	from       int
}

func topCol(name, head string, width, from int, format func(float64) string) topColumn {
	return topColumn{name, head, width, func(r *topRow) string {
		v, ok := r.Values[name]
		if !ok {
			return "-"
		}
		return format(v)
	}, from}
}

func topNumber(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 10:
		return fmt.Sprintf("%.1f", v)
	}
	return grouped(int64(v + .5))
}

func topCount(v float64) string { return grouped(int64(v)) }

func topBytes(v float64) string { return size(int64(v)) }

func topSeconds(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 60:
		return time.Duration(v * float64(time.Second)).Round(time.Second).String()
	}
	return seconds(v)
}

// gaugeBar is how full something is.
func gaugeBar(r *topRow) string {
	full, ok := r.Values["full"]
	if !ok {
		return "-"
	}
	const cells = 6
	n := int(min(1, full)*cells + .5)
	return strings.Repeat("█", n) + strings.Repeat("░", cells-n) + fmt.Sprintf(" %3.0f%%", full*100)
}

func endpoints(r *topRow) string {
	n, ok := r.Values["endpoints"]
	if !ok || n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f/%.0f", r.Values["healthy"], n)
}

// topTables are the tables in the order in which they are shown.
var topTables = []struct {
	title   string
	rows    func(*topReport) []topRow
	columns []topColumn
}{
	{"INPUT", func(r *topReport) []topRow { return r.Inputs }, []topColumn{
		topCol("bytes/s", "BYTES/S", 10, 0, topBytes),
		topCol("unread", "UNREAD", 10, 0, topBytes),
		topCol("lost", "LOST", 9, 0, topBytes),
		topCol("lag", "LAG", 8, 0, topSeconds),
		topCol("unacked", "UNACKED", 8, 100, topSeconds),
		topCol("errors", "ERRORS", 8, 0, topCount),
	}},
	{"PUSHED", func(r *topReport) []topRow { return r.Pushed }, []topColumn{
		topCol("records/s", "RECORDS/S", 10, 0, topNumber),
		topCol("bytes/s", "BYTES/S", 10, 0, topBytes),
		topCol("requests/s", "REQ/S", 7, 0, topNumber),
		topCol("busy/s", "BUSY/S", 7, 0, topNumber),
		topCol("latency", "LATENCY", 8, 100, topSeconds),
		topCol("refused", "REFUSED", 8, 0, topCount),
		topCol("errors", "ERRORS", 7, 100, topCount),
	}},
	{"OUTPUT", func(r *topReport) []topRow { return r.Outputs }, []topColumn{
		topCol("records/s", "RECORDS/S", 10, 0, topNumber),
		topCol("bytes/s", "SENT/S", 10, 110, topBytes),
		topCol("requests/s", "REQ/S", 7, 110, topNumber),
		topCol("waiting", "WAITING", 9, 0, topCount),
		{"full", "BUFFER", 11, gaugeBar, 0},
		topCol("oldest", "OLDEST", 8, 0, topSeconds),
		topCol("latency", "LATENCY", 8, 110, topSeconds),
		{"inflight", "FLIGHT", 7, func(r *topRow) string {
			if _, ok := r.Values["limit"]; !ok {
				return "-"
			}
			return fmt.Sprintf("%.0f/%.0f", r.Values["inflight"], r.Values["limit"])
		}, 110},
		topCol("retried/s", "AGAIN/S", 8, 140, topNumber),
		topCol("failed", "FAILED", 7, 0, topCount),
		topCol("dead", "DEAD", 7, 140, topCount),
		{"endpoints", "UP", 5, endpoints, 0},
	}},
	{"TENANT", func(r *topReport) []topRow { return r.Tenants }, []topColumn{
		topCol("records/s", "RECORDS/S", 10, 0, topNumber),
		topCol("bytes/s", "BYTES/S", 10, 0, topBytes),
		topCol("limited/s", "LIMITED/S", 10, 0, topNumber),
	}},
}

// order sorts the rows.
func (v *topView) order(r *topReport) {
	for _, rows := range [][]topRow{r.Inputs, r.Pushed, r.Outputs, r.Tenants} {
		if v.sort == "name" {
			slices.SortFunc(rows, func(a, b topRow) int { return strings.Compare(a.Name, b.Name) })
		} else {
			sortRows(rows, v.sort)
		}
	}
}

func (v *topView) paint(code, text string) string {
	if !v.color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// text returns the whole report.
func (v *topView) text(r *topReport) string {
	v.order(r)
	return strings.Join(append(v.head(r), v.tables(r)...), "\n") + "\n"
}

// head is what stands above the tables.
func (v *topView) head(r *topReport) []string {
	who := "weir " + r.Version
	if r.Node != "" {
		who += " on " + show.Printable(r.Node)
	}
	who += ", up " + time.Duration(r.Up*float64(time.Second)).Round(time.Second).String()
	health := ""
	switch {
	case r.Healthy != nil && !*r.Healthy:
		health = v.paint("31;1", "NOT healthy")
	case len(r.Problems) > 0:
		health = v.paint("33;1", "DEGRADED")
	case r.Healthy != nil:
		health = v.paint("32", "healthy")
	}
	line := v.paint("1", who)
	if health != "" {
		line += ", " + health
	}
	if v.height > 0 {
		what := "sorted by " + v.sort + ", every " + v.interval.String()
		if v.paused {
			what = "stopped; the blank goes on"
		}
		line += v.paint("2", "  "+what)
	}
	out := []string{v.fit(line)}
	memory := fmt.Sprintf("memory %s of %s", size(r.BudgetUsed), size(r.BudgetLimit))
	if s := r.Store; s != nil {
		memory += fmt.Sprintf("   store %s rows, %s", topCount(s.Values["rows"]), topBytes(s.Values["disk"]))
		if m := s.Values["max_disk"]; m > 0 {
			memory += " of " + topBytes(m)
		}
		if n, ok := s.Values["records/s"]; ok {
			memory += fmt.Sprintf(", %s/s", topNumber(n))
		}
	}
	out = append(out, v.fit(memory))
	for _, p := range r.Problems {
		out = append(out, v.fit(v.paint("33", "! "+show.Printable(p))))
	}
	return out
}

// tables are the lines of all tables that have rows.
func (v *topView) tables(r *topReport) (out []string) {
	for _, t := range topTables {
		rows := t.rows(r)
		if len(rows) == 0 {
			continue
		}
		columns := slices.DeleteFunc(slices.Clone(t.columns), func(c topColumn) bool {
			return v.width < c.from || !slices.ContainsFunc(rows, func(r topRow) bool { return c.text(&r) != "-" }) && c.from > 0
		})
		room := v.width
		for _, c := range columns {
			room -= c.width + 1
		}
		name := len(t.title)
		for _, row := range rows {
			name = max(name, utf8.RuneCountInString(row.Name))
		}
		name = max(12, min(name, room))
		line := pad(t.title, name)
		for _, c := range columns {
			head := padLeft(c.head, c.width)
			if c.name == v.sort {
				head = v.paint("4", head)
			}
			line += " " + head
		}
		out = append(out, "", v.paint("1", line))
		for i := range rows {
			row := &rows[i]
			line := pad(show.Printable(row.Name), name)
			for _, c := range columns {
				text := padLeft(c.text(row), c.width)
				line += " " + v.mark(c.name, row, text)
			}
			out = append(out, line)
			for _, e := range row.Endpoints {
				if len(row.Endpoints) > 1 || !e.Healthy {
					colour := "32"
					switch {
					case !e.Healthy:
						colour = "31"
					case e.State != "active":
						colour = "33"
					}
					state := v.paint(colour, e.word())
					out = append(out, v.fit(fmt.Sprintf("  %s %s, %s requests, %s failed", state, show.Printable(e.Name), grouped(int64(e.Requests)), grouped(int64(e.Failures)))))
				}
			}
			for _, n := range row.Notes {
				out = append(out, v.fit(v.paint("33", "  ! "+show.Printable(n))))
			}
		}
	}
	return out
}

// mark colours what somebody should look at.
func (v *topView) mark(name string, r *topRow, text string) string {
	n := r.Values[name]
	switch name {
	case "full":
		if n >= .9 {
			return v.paint("31", text)
		}
		if n >= .5 {
			return v.paint("33", text)
		}
	case "errors", "failed", "refused", "busy/s", "retried/s", "limited/s":
		if n > 0 {
			return v.paint("33", text)
		}
	case "lost", "dead":
		if n > 0 {
			return v.paint("31", text)
		}
	case "endpoints":
		if r.Values["healthy"] < n {
			return v.paint("31", text)
		}
	}
	return text
}

func pad(s string, n int) string {
	k := utf8.RuneCountInString(s)
	if k > n {
		r := []rune(s)
		return string(r[:n-1]) + "…"
	}
	return s + strings.Repeat(" ", n-k)
}

func padLeft(s string, n int) string {
	return strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s))) + s
}

// fit cuts a line to the width; escapes take no room.
func (v *topView) fit(s string) string {
	n, i := 0, 0
	for i < len(s) {
		if s[i] == 0x1b {
			end := strings.IndexByte(s[i:], 'm')
			if end < 0 {
				break
			}
			i += end + 1
			continue
		}
		if n == v.width {
			if v.color {
				return s[:i] + "\x1b[0m"
			}
			return s[:i]
		}
		_, k := utf8.DecodeRuneInString(s[i:])
		i += k
		n++
	}
	return s
}

// Sequences of the screen: the other one, without a cursor, and back.
const (
	screenOn   = "\x1b[?1049h\x1b[?25l"
	screenOff  = "\x1b[?25h\x1b[?1049l"
	screenHome = "\x1b[H"
	lineEnd    = "\x1b[K\r\n"
	screenRest = "\x1b[J"
)

// firstLook is how soon a screen has its first rates.
const firstLook = 500 * time.Millisecond

// screen shows reports on a terminal until q is pressed or ctx ends.
func (v *topView) screen(ctx context.Context, in, out *os.File, source topSource, last *topSample) error {
	old, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return err
	}
	restore := func() {
		_, _ = out.WriteString(screenOff)   // it is the terminal
		_ = term.Restore(int(in.Fd()), old) // as it was
	}
	defer restore()
	if _, err := out.WriteString(screenOn); err != nil {
		return err
	}
	keys := make(chan string)
	go readKeys(ctx, in, keys)

	report := topOf(nil, last)
	timer := time.NewTimer(min(firstLook, v.interval))
	defer timer.Stop()
	size := time.NewTicker(250 * time.Millisecond) // the window may change
	defer size.Stop()
	problem, stale := "", true
	for {
		if stale {
			if err := v.draw(out, report, problem); err != nil {
				return err
			}
		}
		stale = true
		select {
		case <-ctx.Done():
			return nil
		case k := <-keys:
			if k == "\x03" { // the terminal makes no signal of it now
				return &exitError{exitInterrupted, errInterrupted}
			}
			if !v.key(k) {
				return nil
			}
		case <-size.C:
			w, h, err := term.GetSize(int(out.Fd()))
			stale = err == nil && (w != v.width || h != v.height)
		case <-timer.C:
			timer.Reset(v.interval)
			if v.paused {
				stale = false
				continue
			}
			now, err := source(ctx)
			if err != nil {
				// It may come back: what was seen last stays, with why it is old.
				problem = err.Error()
				continue
			}
			problem = ""
			report, last = topOf(last, now), now
		}
	}
}

var errInterrupted = errors.New("") // Ctrl-C says it all

// draw writes a screen over the one before: nothing is cleared that is written
// again.
func (v *topView) draw(out *os.File, r *topReport, problem string) error {
	w, h, err := term.GetSize(int(out.Fd()))
	if err != nil || w < 20 || h < 3 {
		w, h = 80, 24
	}
	v.width, v.height = w, h
	v.order(r)
	lines := v.head(r)
	if problem != "" {
		lines = append(lines, v.fit(v.paint("31", "! "+show.Printable(problem))))
	}
	body := v.tables(r)
	room := max(1, h-len(lines))
	v.scroll = max(0, min(v.scroll, len(body)-room))
	body = body[v.scroll:min(len(body), v.scroll+room)]
	lines = append(lines, body...)
	lines = lines[:min(len(lines), h)]
	_, err = out.WriteString(screenHome + strings.Join(lines, lineEnd) + "\x1b[K" + screenRest)
	return err
}

// key does what a key says and reports whether to go on.
func (v *topView) key(k string) bool {
	at := slices.Index(topSorts, v.sort)
	switch k {
	case "q", "Q", "\x04":
		return false
	case "s", "\x1b[C":
		v.sort = topSorts[(at+1)%len(topSorts)]
	case "S", "\x1b[D":
		v.sort = topSorts[(at+len(topSorts)-1)%len(topSorts)]
	case "j", "\x1b[B":
		v.scroll++
	case "k", "\x1b[A":
		v.scroll--
	case " ":
		v.paused = !v.paused
	case "-":
		v.interval = max(500*time.Millisecond, v.interval/2)
	case "+":
		v.interval = min(time.Minute, v.interval*2)
	}
	return true
}

// readKeys reads keys until ctx ends or the terminal is gone. It stays behind in
// its read when the command ends: the process ends with it.
func readKeys(ctx context.Context, in *os.File, keys chan<- string) {
	buf := make([]byte, 64)
	for {
		n, err := in.Read(buf)
		if err != nil {
			return
		}
		for p := string(buf[:n]); p != ""; {
			k := p[:1]
			if strings.HasPrefix(p, "\x1b[") && len(p) >= 3 {
				k = p[:3]
			}
			p = p[len(k):]
			select {
			case keys <- k:
			case <-ctx.Done():
				return
			}
		}
	}
}
