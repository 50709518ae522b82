package config

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Format returns a configuration file in the usual layout: two spaces a level,
// also for lists below a key, one space behind a colon or dash, no blanks at
// the end of lines, at most one empty line in a row. Order, quotes, comments
// and what stands in braces stay as they are. Nothing but blank space is ever
// changed, and never what the file means; where that cannot be kept apart the
// layout stays. Formatting twice is formatting once.
//
// The file need only be YAML. name is for the error, an *Errors.
func Format(name string, src []byte) ([]byte, error) {
	c := newCollector()
	if _, ok := c.parse(name, src); !ok {
		return nil, &Errors{c.sorted()}
	}
	src = bytes.TrimPrefix(src, []byte("\uFEFF"))
	src = bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n"))
	doc, err := readYAML(src)
	if err != nil {
		return nil, &Errors{c.sorted()}
	}
	// An edit can make room for the next, as when a list was not indented.
	out := src
	for range 4 {
		next, ok := formatOnce(out)
		if !ok || bytes.Equal(next, out) {
			break
		}
		if again, err := readYAML(next); err != nil || !sameYAML(doc, again, 0) || !bytes.Equal(squeeze(next), squeeze(src)) {
			break
		}
		out = next
	}
	if settled, ok := formatOnce(out); ok && !bytes.Equal(settled, out) {
		return src, nil // it would change again and again
	}
	return out, nil
}

// readYAML returns the document of a file, nil for an empty one.
func readYAML(src []byte) (*yaml.Node, error) {
	loader, err := yaml.NewLoader(bytes.NewReader(src))
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := loader.Load(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, err
	}
	return &doc, nil
}

// squeeze takes all blank space away.
func squeeze(p []byte) []byte { return bytes.Join(bytes.Fields(p), nil) }

func sameYAML(a, b *yaml.Node, depth int) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.Kind != b.Kind || a.Tag != b.Tag || a.Value != b.Value || a.Anchor != b.Anchor || a.Style != b.Style ||
		len(a.Content) != len(b.Content) || depth > 2*maxDepth {
		return false
	}
	for i := range a.Content {
		if !sameYAML(a.Content[i], b.Content[i], depth+1) {
			return false
		}
	}
	return true // aliases have their anchor's name as value
}

// layout says how each line of a file is to be moved.
type layout struct {
	lines []string
	known []bool // the line begins with a key or dash
	verb  []bool // the line is the text of a scalar: only moved
	shift []int  // of lines that are known or verb
	cuts  []cut
}

// cut replaces blanks of a line by a single one.
type cut struct{ line, from, to int }

func formatOnce(src []byte) ([]byte, bool) {
	doc, err := readYAML(src)
	if err != nil {
		return nil, false
	}
	text := strings.TrimRight(string(src), "\n")
	l := &layout{lines: strings.Split(text, "\n")}
	n := len(l.lines)
	l.known, l.verb, l.shift = make([]bool, n), make([]bool, n), make([]int, n)
	if doc != nil && len(doc.Content) > 0 {
		l.place(doc.Content[0], 0, 0)
	}
	return l.write(), true
}

// indent is the number of spaces a line begins with.
func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// place puts the block collection y at column col (from 0); delta is how far
// the line on which it begins moves.
func (l *layout) place(y *yaml.Node, col, delta int) {
	if y.Style&yaml.FlowStyle != 0 || len(y.Content) == 0 {
		return
	}
	switch y.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(y.Content); i += 2 {
			key, val := y.Content[i], y.Content[i+1]
			d := l.begin(key.Line, key.Column, col, delta)
			l.value(key, val, col, d)
		}
	case yaml.SequenceNode:
		for _, item := range y.Content {
			line := l.dash(item, y.Column)
			if line == 0 {
				continue
			}
			d := l.begin(line, y.Column, col, delta)
			if item.Line == line {
				l.gap(line, y.Column, item.Column)
			}
			switch {
			case item.Kind == yaml.ScalarNode:
				l.scalar(item, y.Column-1, d)
			default:
				l.place(item, col+2, d)
			}
		}
	}
}

// begin notes that the line begins at column from (from 1) and is to begin at
// column col, if it does begin there. It returns how far the line moves.
func (l *layout) begin(line, from, col, delta int) int {
	if line < 1 || line > len(l.lines) || indent(l.lines[line-1]) != from-1 {
		return delta
	}
	l.known[line-1] = true
	l.shift[line-1] = col - (from - 1)
	return l.shift[line-1]
}

func (l *layout) value(key, val *yaml.Node, col, delta int) {
	if key.Line == val.Line && key.Line <= len(l.lines) {
		line := l.lines[key.Line-1]
		rest := tail(line, key.Column)
		if colon := colonOf(rest, key); colon >= 0 {
			l.gap(key.Line, key.Column+len([]rune(rest[:colon])), val.Column)
		}
	}
	if val.Kind == yaml.ScalarNode {
		l.scalar(val, key.Column-1, delta)
		return
	}
	l.place(val, col+2, delta)
}

// colonOf returns where in a line that begins with key its colon stands.
func colonOf(rest string, key *yaml.Node) int {
	switch {
	case key.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		if rest == "" {
			return -1
		}
		if i := strings.Index(rest[1:], rest[:1]+":"); i >= 0 {
			return i + 2
		}
		return -1
	case strings.HasPrefix(rest, key.Value+":"):
		return len(key.Value)
	}
	return -1
}

// gap makes the blanks between the character at column after and the one at
// column before a single one (columns from 1).
func (l *layout) gap(line, after, before int) {
	if line > len(l.lines) {
		return
	}
	s := l.lines[line-1]
	a, b := len(s)-len(tail(s, after+1)), len(s)-len(tail(s, before))
	if after < before && a < b && b < len(s) && strings.Trim(s[a:b], " ") == "" && b-a > 1 {
		l.cuts = append(l.cuts, cut{line - 1, a, b})
	}
}

// dash returns the line on which the dash of an item stands, 0 if it is not
// to be found.
func (l *layout) dash(item *yaml.Node, col int) int {
	for line := min(item.Line, len(l.lines)); line >= 1; line-- {
		if rest := tail(l.lines[line-1], col); strings.HasPrefix(rest, "-") && (len(rest) == 1 || rest[1] == ' ') {
			return line
		}
		if s := strings.TrimSpace(l.lines[line-1]); line != item.Line && s != "" && s[0] != '#' {
			return 0
		}
	}
	return 0
}

// scalar marks the further lines of a scalar that takes more than one. parent
// is the indentation of what holds it.
func (l *layout) scalar(y *yaml.Node, parent, delta int) {
	from := y.Line // the index of the next line
	to := from
	switch {
	case y.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		for to < len(l.lines) {
			s := l.lines[to]
			if strings.TrimSpace(s) != "" && indent(s) <= parent {
				break
			}
			to++
		}
		for to > from && strings.TrimSpace(l.lines[to-1]) == "" {
			to-- // blank lines behind it
		}
	case y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		to += strings.Count(y.Value, "\n") // at least; blank lines count once more
		open := tail(l.lines[y.Line-1], y.Column)
		if open == "" {
			return
		}
		end := closingQuote(l.lines, y.Line-1, len(l.lines[y.Line-1])-len(open)+1, open[0])
		to = min(max(end+1, from), len(l.lines))
	}
	for i := from; i < to; i++ {
		l.verb[i], l.shift[i] = true, delta
	}
}

// closingQuote returns the line with the quote that ends what begins at byte
// at of a line.
func closingQuote(lines []string, line, at int, quote byte) int {
	for ; line < len(lines); line, at = line+1, 0 {
		for s := lines[line]; at < len(s); at++ {
			switch {
			case quote == '"' && s[at] == '\\':
				at++
			case s[at] == quote && quote == '\'' && at+1 < len(s) && s[at+1] == '\'':
				at++
			case s[at] == quote:
				return line
			}
		}
	}
	return line
}

// write returns the moved lines.
func (l *layout) write() []byte {
	out := make([]string, 0, len(l.lines))
	last := 0 // how far the last known line moved
	for i, s := range l.lines {
		for _, c := range slices.Backward(l.cuts) {
			if c.line == i {
				s = s[:c.from] + " " + s[c.to:]
			}
		}
		if l.verb[i] {
			out = append(out, move(s, l.shift[i]))
			continue
		}
		s = strings.TrimRight(s, " \t")
		switch {
		case s == "":
			if len(out) == 0 || out[len(out)-1] == "" && !l.verb[max(i-1, 0)] {
				continue
			}
		case l.known[i]:
			last = l.shift[i]
			s = move(s, last)
		case strings.TrimLeft(s, " ")[0] == '#':
			s = move(s, l.comment(i, last))
		default:
			s = move(s, last)
		}
		out = append(out, s)
	}
	for len(out) > 0 && out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	if len(out) == 0 {
		return nil
	}
	return []byte(strings.Join(out, "\n") + "\n")
}

// comment returns how far a line that is a comment moves: as the nearest line
// that begins in the same column, first looking down.
func (l *layout) comment(i, last int) int {
	col := indent(l.lines[i])
	for j := i + 1; j < len(l.lines); j++ {
		if l.known[j] {
			if indent(l.lines[j]) == col {
				return l.shift[j]
			}
			break
		}
	}
	for j := i - 1; j >= 0; j-- {
		if l.known[j] && indent(l.lines[j]) == col {
			return l.shift[j]
		}
	}
	return last
}

func move(s string, by int) string {
	if strings.TrimLeft(s, " ") == "" && by > 0 {
		return s
	}
	if by >= 0 {
		return strings.Repeat(" ", by) + s
	}
	return s[min(-by, indent(s)):]
}
