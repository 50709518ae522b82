package logql

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
)

// pattern is a regular expression with the shortcuts that most of them allow.
// It may be used concurrently.
type pattern struct {
	how   how
	text  string              // of is, contains, prefix
	set   map[string]struct{} // of oneOf
	texts []string            // of containsAny
	re    *regexp.Regexp
	lead  *regexp.Regexp // the same from its beginning, which need is; or nil

	// need is a text that stands in everything that matches; fold says that it
	// does so in upper or lower case (need is lower case, ASCII).
	need string
	fold bool
}

type how uint8

const (
	byRegexp how = iota
	always
	nonEmpty
	is
	contains
	containsAny
	prefix
	oneOf
)

// maxAny is the largest number of texts that are searched one after another.
const maxAny = 8

// maxSet is the largest number of texts that an alternation is expanded to.
const maxSet = 256

func checkPattern(s string, pos int) error {
	if len(s) > MaxPattern {
		return errorAt(pos, "the regular expression is longer than %d bytes", MaxPattern)
	}
	if err := checkRegexp(s); err != nil {
		return errorAt(pos, "bad regular expression: %v", err)
	}
	return nil
}

// maxProgram bounds what a regular expression compiles to, in instructions:
// repetitions make much of a short text.
const maxProgram = 1 << 14

// checkRegexp reports what is wrong with a regular expression, without
// compiling it.
func checkRegexp(s string) error {
	tree, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	if programSize(tree) > maxProgram {
		return fmt.Errorf("its repetitions amount to more than %d steps", maxProgram)
	}
	return nil
}

// programSize estimates how many instructions an expression takes.
func programSize(re *syntax.Regexp) int {
	n := max(1, len(re.Rune)/2)
	for _, sub := range re.Sub {
		n = min(n+programSize(sub), maxProgram+1)
	}
	if re.Op == syntax.OpRepeat {
		n = min(n*max(re.Max, re.Min, 1), maxProgram+1)
	}
	return n
}

// newPattern compiles s. An anchored one must match the whole value, and its
// dot matches newlines.
func newPattern(s string, anchored bool, pos int) (*pattern, error) {
	if err := checkPattern(s, pos); err != nil {
		return nil, err
	}
	full, flags := s, syntax.Perl
	if anchored {
		full, flags = "^(?s:"+s+")$", flags|syntax.DotNL
	}
	re, err := regexp.Compile(full)
	if err != nil {
		return nil, errorAt(pos, "bad regular expression: %v", err)
	}
	p := &pattern{re: re}
	tree, err := syntax.Parse(s, flags)
	if err != nil {
		return p, nil
	}
	tree = tree.Simplify()
	if anchored {
		p.anchoredShortcuts(tree)
		return p, nil
	}
	if all, ok := expand(tree); ok {
		switch {
		case len(all) == 1:
			p.how, p.text = contains, all[0]
			return p, nil
		case len(all) <= maxAny && !slices.Contains(all, ""):
			p.how, p.texts = containsAny, all
			return p, nil
		}
	}
	p.need, p.fold = required(tree)
	if lead := foldedLead(tree); len(lead) >= 3 {
		if p.lead, err = regexp.Compile("^(?:" + s + ")"); err != nil {
			p.lead = nil
			return p, nil
		}
		p.need, p.fold = lead, true
	}
	return p, nil
}

// foldedLead returns the text, in lower case, that everything that matches
// begins with in upper or lower case.
func foldedLead(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpCapture:
		return foldedLead(re.Sub[0])
	case syntax.OpConcat:
		return foldedLead(re.Sub[0])
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return ""
		}
		lower := strings.ToLower(string(re.Rune))
		for i := range len(lower) {
			if lower[i] >= 0x80 || lower[i] == 'k' || lower[i] == 's' {
				return lower[:i]
			}
		}
		return lower
	}
	return ""
}

// matchLead tries the expression at each place where it can begin: the regexp
// package has no such shortcut for texts in upper or lower case.
func (p *pattern) matchLead(v string) bool {
	for range maxLeads {
		i := indexFold(v, p.need)
		if i < 0 {
			return false
		}
		if p.lead.MatchString(v[i:]) {
			return true
		}
		v = v[i+1:]
	}
	return p.re.MatchString(v)
}

// maxLeads bounds the tries, each of which may look at the whole rest.
const maxLeads = 4

func (p *pattern) anchoredShortcuts(tree *syntax.Regexp) {
	if all, ok := expand(tree); ok {
		if len(all) == 1 {
			p.how, p.text = is, all[0]
			return
		}
		p.how, p.set = oneOf, make(map[string]struct{}, len(all))
		for _, s := range all {
			p.set[s] = struct{}{}
		}
		return
	}
	anything := func(re *syntax.Regexp, op syntax.Op) bool {
		return re.Op == op && re.Sub[0].Op == syntax.OpAnyChar
	}
	switch {
	case anything(tree, syntax.OpStar):
		p.how = always
	case anything(tree, syntax.OpPlus):
		p.how = nonEmpty
	case tree.Op == syntax.OpConcat && len(tree.Sub) == 2 && tree.Sub[0].Op == syntax.OpLiteral &&
		tree.Sub[0].Flags&syntax.FoldCase == 0 && !slices.Contains(tree.Sub[0].Rune, unicode.ReplacementChar) && anything(tree.Sub[1], syntax.OpStar):
		p.how, p.text = prefix, string(tree.Sub[0].Rune)
	default:
		p.need, p.fold = required(tree)
	}
}

func (p *pattern) match(v string) bool {
	switch p.how {
	case always:
		return true
	case nonEmpty:
		return v != ""
	case is:
		return v == p.text
	case contains:
		return strings.Contains(v, p.text)
	case containsAny:
		for _, t := range p.texts {
			if strings.Contains(v, t) {
				return true
			}
		}
		return false
	case prefix:
		return strings.HasPrefix(v, p.text)
	case oneOf:
		_, ok := p.set[v]
		return ok
	}
	if p.lead != nil {
		return p.matchLead(v)
	}
	if p.need != "" && !p.needIn(v) {
		return false
	}
	return p.re.MatchString(v)
}

// needIn reports whether the text that must be there is.
func (p *pattern) needIn(v string) bool {
	if p.fold {
		return containsFold(v, p.need)
	}
	return strings.Contains(v, p.need)
}

// needles returns texts one of which stands in everything that matches, nil if
// there are no such texts. It is about patterns that are not anchored.
func (p *pattern) needles() []Needle {
	switch {
	case p.how == contains && p.text != "":
		return []Needle{{Text: []byte(p.text)}}
	case p.how == containsAny:
		out := make([]Needle, 0, len(p.texts))
		for _, t := range p.texts {
			out = append(out, Needle{Text: []byte(t)})
		}
		return out
	case p.how == byRegexp && p.need != "":
		return []Needle{{Text: []byte(p.need), Fold: p.fold}}
	}
	return nil
}

// expand returns all texts that re matches, if they are few.
func expand(re *syntax.Regexp) (all []string, ok bool) {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return []string{""}, true
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 || slices.Contains(re.Rune, unicode.ReplacementChar) {
			return nil, false // U+FFFD also matches bytes that are not UTF-8
		}
		return []string{string(re.Rune)}, true
	case syntax.OpCharClass:
		n := 0
		for i := 0; i < len(re.Rune); i += 2 {
			if n += int(re.Rune[i+1]-re.Rune[i]) + 1; n > 16 || re.Rune[i] <= unicode.ReplacementChar && re.Rune[i+1] >= unicode.ReplacementChar {
				return nil, false
			}
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				all = append(all, string(r))
			}
		}
		return all, n > 0
	case syntax.OpCapture:
		return expand(re.Sub[0])
	case syntax.OpQuest:
		if all, ok = expand(re.Sub[0]); ok {
			all = append(all, "")
		}
		return all, ok && len(all) <= maxSet
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			some, ok := expand(sub)
			if !ok || len(all)+len(some) > maxSet {
				return nil, false
			}
			all = append(all, some...)
		}
		return all, true
	case syntax.OpConcat:
		all = []string{""}
		for _, sub := range re.Sub {
			some, ok := expand(sub)
			if !ok || len(all)*len(some) > maxSet {
				return nil, false
			}
			next := make([]string, 0, len(all)*len(some))
			for _, a := range all {
				for _, s := range some {
					next = append(next, a+s)
				}
			}
			all = next
		}
		return all, true
	}
	return nil, false
}

// required returns the longest text that must stand in whatever matches re, ""
// if there is none.
func required(re *syntax.Regexp) (text string, fold bool) {
	switch re.Op {
	case syntax.OpLiteral:
		if slices.Contains(re.Rune, unicode.ReplacementChar) {
			return "", false
		}
		if re.Flags&syntax.FoldCase == 0 {
			return string(re.Rune), false
		}
		// The longest run of ASCII characters without k and s, which also fold
		// to the Kelvin sign and the long s.
		best, from := "", 0
		lower := strings.ToLower(string(re.Rune))
		for i := 0; i <= len(lower); i++ {
			if i == len(lower) || lower[i] >= 0x80 || lower[i] == 'k' || lower[i] == 's' {
				if i-from > len(best) {
					best = lower[from:i]
				}
				from = i + 1
			}
		}
		return best, true
	case syntax.OpCapture, syntax.OpPlus:
		return required(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return required(re.Sub[0])
		}
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if t, f := required(sub); len(t) > len(text) {
				text, fold = t, f
			}
		}
		return text, fold
	}
	return "", false
}

// containsFold reports whether the ASCII text low, in lower case, stands in s
// in upper or lower case.
func containsFold(s, low string) bool { return indexFold(s, low) >= 0 }

// indexFold returns where low first stands in s, -1 if it does not.
func indexFold(s, low string) int {
	a := low[0]
	b := a
	if a >= 'a' && a <= 'z' {
		b -= 'a' - 'A'
	}
	// The next place of each case, so that no byte is looked at twice for it.
	nextA, nextB := nextByte(s, 0, a), nextByte(s, 0, b)
	for {
		i := min(nextA, nextB)
		if len(s)-i < len(low) {
			return -1
		}
		if foldedEqual(s[i:i+len(low)], low) {
			return i
		}
		if nextA == i {
			nextA = nextByte(s, i+1, a)
		}
		if nextB == i {
			nextB = nextByte(s, i+1, b)
		}
	}
}

// nextByte returns the index of the first c in s from i on, len(s) if there is
// none.
func nextByte(s string, i int, c byte) int {
	if n := strings.IndexByte(s[i:], c); n >= 0 {
		return i + n
	}
	return len(s)
}

func foldedEqual(s, low string) bool {
	for i := range len(low) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != low[i] {
			return false
		}
	}
	return true
}
