package config

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Pos is where something was given. Line and Column count from 1, columns in
// characters. For what comes from elsewhere than a file Line is 0 and File
// says from where: the name of an environment variable or a flag.
type Pos struct {
	File   string
	Line   int
	Column int
}

// String returns file:line:column.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column)
}

// Problem is one error or warning.
type Problem struct {
	Pos     Pos
	Warning bool
	// Message says what is wrong with what; it holds no secret.
	Message string
	// Hint says what to do instead; it stands beside the caret.
	Hint string

	caret   Pos // what the caret marks, if not Pos
	width   int // characters that the caret marks
	context int // number of a line to show before, 0 for none
}

// sources are the lines of files, by name.
type sources map[string][]string

// hidden is what messages are made with. It is kept behind a pointer, where
// fmt does not look: it holds secrets.
type hidden struct {
	src     sources
	secrets []string
}

type problems struct {
	list []Problem
	*hidden
}

// Errors is everything that is wrong with a configuration, warnings included,
// ordered by place.
type Errors struct{ problems }

// Warnings is what is odd about a valid configuration, ordered by place.
type Warnings struct{ problems }

// Error is Format without colour.
func (e *Errors) Error() string {
	var b strings.Builder
	e.Format(&b, false)
	return strings.TrimSuffix(b.String(), "\n")
}

// List returns the problems in their order. Do not modify.
func (p *problems) List() []Problem { return p.list }

// Summary counts, as in "3 errors, 1 warning".
func (p *problems) Summary() string {
	var n [2]int
	for _, q := range p.list {
		if q.Warning {
			n[1]++
		} else {
			n[0]++
		}
	}
	var parts []string
	for i, what := range []string{"error", "warning"} {
		switch {
		case n[i] == 1:
			parts = append(parts, "1 "+what)
		case n[i] > 1:
			parts = append(parts, strconv.Itoa(n[i])+" "+what+"s")
		}
	}
	return strings.Join(parts, ", ")
}

// Format writes every problem with the lines it is about. Control characters
// and what may be a secret are hidden in those lines. Errors of w are ignored.
func (p *problems) Format(w io.Writer, color bool) {
	for i := range p.list {
		p.list[i].format(w, p, color)
	}
}

func (q *Problem) format(w io.Writer, all *problems, color bool) {
	src := all.src
	mask := func(line string) string { return hideAll(maskLine(line), all.secrets) }
	paint := func(code, s string) string {
		if !color || s == "" {
			return s
		}
		return "\x1b[" + code + "m" + s + "\x1b[0m"
	}
	kind := paint("1;31", "error:")
	mark := "1;31"
	if q.Warning {
		kind, mark = paint("1;33", "warning:"), "1;33"
	}
	where := q.Pos.String()
	if where != "" {
		where = paint("1", printable(where)+":") + " "
	}
	lines := src[q.Pos.File]
	caret := q.caret
	if caret.Line == 0 {
		caret = q.Pos
	}
	if caret.Line < 1 || caret.Line > len(lines) {
		hint := ""
		if q.Hint != "" {
			hint = "   " + printable(q.Hint)
		}
		fmt.Fprintf(w, "%s%s %s%s\n", where, kind, printable(q.Message), hint)
		return
	}
	fmt.Fprintf(w, "%s%s %s\n", where, kind, printable(q.Message))
	numWidth := max(len(strconv.Itoa(caret.Line)), 2)
	bar := paint("2", "│")
	line, col := window(mask(lines[caret.Line-1]), caret.Column)
	if q.context > 0 && q.context < caret.Line {
		before, _ := window(mask(lines[q.context-1]), 1)
		fmt.Fprintf(w, "  %*d %s %s\n", numWidth, q.context, bar, before)
	}
	fmt.Fprintf(w, "  %*d %s %s\n", numWidth, caret.Line, bar, line)
	left := utf8.RuneCountInString(line) - (col - 1)
	marks := strings.Repeat("^", max(1, min(q.width, left)))
	hint := ""
	if q.Hint != "" {
		hint = " " + printable(q.Hint)
	}
	fmt.Fprintf(w, "  %*s %s %s%s%s\n", numWidth, "", bar, strings.Repeat(" ", col-1), paint(mark, marks), hint)
}

// window cuts a long line to what stands around column col and returns it
// with the column's place in what is left.
func window(line string, col int) (string, int) {
	const most, before = 120, 60
	r := []rune(line)
	col = min(max(col, 1), len(r)+1)
	from := 0
	if len(r) > most && col > before {
		from = min(col-before, len(r)-most)
		from = max(from, 0)
	}
	to := min(len(r), from+most)
	out := slices.Clone(r[from:to])
	for i, c := range out {
		if c == '\t' {
			out[i] = ' '
		} else if !unicode.IsPrint(c) {
			out[i] = '\uFFFD'
		}
	}
	if from > 0 {
		out[0] = '…'
	}
	if to < len(r) {
		out[len(out)-1] = '…'
	}
	return string(out), col - from
}

// printable replaces what could move a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || c == '\t' {
			return ' '
		}
		if !unicode.IsPrint(c) {
			return '\uFFFD'
		}
		return c
	}, s)
}

// collector gathers problems.
type collector struct {
	list []Problem
	*hidden
}

func newCollector() *collector { return &collector{hidden: &hidden{src: make(sources)}} }

// warnf adds a warning at a place and returns it for details.
func (c *collector) warnf(pos Pos, width int, format string, args ...any) *Problem {
	p := c.addf(pos, width, format, args...)
	p.Warning = true
	return p
}

// addf adds an error at a place and returns it for details.
func (c *collector) addf(pos Pos, width int, format string, args ...any) *Problem {
	c.list = append(c.list, Problem{Pos: pos, width: width, Message: fmt.Sprintf(format, args...)})
	return &c.list[len(c.list)-1]
}

func (c *collector) failed() bool {
	return slices.ContainsFunc(c.list, func(p Problem) bool { return !p.Warning })
}

func (c *collector) sorted() problems {
	slices.SortStableFunc(c.list, func(a, b Problem) int {
		return comparePos(a.Pos, b.Pos)
	})
	c.list = slices.CompactFunc(c.list, func(a, b Problem) bool {
		return a.Pos == b.Pos && a.Message == b.Message && a.Warning == b.Warning
	})
	for i := range c.list {
		p := &c.list[i]
		p.Message, p.Hint = hideAll(p.Message, c.secrets), hideAll(p.Hint, c.secrets)
	}
	return problems{c.list, c.hidden}
}

func comparePos(a, b Pos) int {
	if (a.Line == 0) != (b.Line == 0) { // files first
		return b.Line - a.Line
	}
	if d := strings.Compare(a.File, b.File); d != 0 {
		return d
	}
	if a.Line != b.Line {
		return a.Line - b.Line
	}
	return a.Column - b.Column
}

// suggest returns "did you mean …?   allowed: …" for a word that is not
// allowed.
func suggest(word string, allowed []string) string {
	allowed = slices.Sorted(slices.Values(allowed))
	list := "allowed: " + strings.Join(allowed, " ")
	if best := nearest(word, allowed); best != "" {
		return fmt.Sprintf("did you mean %q?   %s", best, list)
	}
	return list
}

// nearest returns the allowed word that is most like word, "" if none is.
func nearest(word string, allowed []string) string {
	best, least := "", 1000
	for _, a := range allowed {
		d := distance(strings.ToLower(word), strings.ToLower(a))
		if len(word) >= 3 && (strings.HasPrefix(a, word) || strings.HasPrefix(word, a) && len(a) >= 3) {
			d = min(d, 2)
		}
		if d < least && d <= (max(len(word), len(a))+2)/3 {
			best, least = a, d
		}
	}
	return best
}

// distance is the number of insertions, deletions, replacements and swaps of
// neighbours that make b of a.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	if len(s) > 80 || len(t) > 80 {
		return 1000
	}
	prev2 := make([]int, len(t)+1)
	prev := make([]int, len(t)+1)
	cur := make([]int, len(t)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(s); i++ {
		cur[0] = i
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(t)]
}
