package cri

import (
	"cmp"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
)

// MultilineConfig says which lines belong together. Exactly one of Traces and
// First is set.
type MultilineConfig struct {
	// Traces is auto or one of the languages that Traces() lists.
	Traces string
	// First is a regular expression (RE2) of the lines that begin a record: all
	// others continue it. It is applied to the first MaxFirst bytes of a line.
	First string
	// MaxLines (0: 2000) and MaxBytes (0: 256 KiB) bound a record of several
	// lines; MaxBytes never exceeds the Joiner's MaxLine.
	MaxLines, MaxBytes int
	// Wait is how long, in nanoseconds, the last line waits for one that
	// continues it; 0 means a second.
	Wait int64
}

// MaxPattern is the longest regular expression, MaxFirst how much of a line it
// is applied to, in bytes.
const (
	MaxPattern = 1024
	MaxFirst   = 4096
)

// maxInstructions is how large an expression may be made ready: a match costs at most
// that many steps for every byte of MaxFirst, and a few bytes such as x{1000} ask for
// many.
const maxInstructions = 500

// instructions returns how many a regular expression has that compiles.
func instructions(pattern string) int {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return 0
	}
	return len(prog.Inst)
}

// Multiline is a MultilineConfig made ready. It does not change and may be used
// by any number of Joiners at once.
type Multiline struct {
	langs    langs
	first    *regexp.Regexp
	maxLines int
	maxBytes int
	wait     int64
}

// Off is a Multiline that joins nothing, where nil means another one.
var Off = &Multiline{}

// langs is a set of languages.
type langs uint8

const (
	java langs = 1 << iota
	golang
	python
	node
	dotnet
	ruby
)

var languages = map[string]langs{
	"auto": java | golang | python | node | dotnet | ruby,
	"java": java, "go": golang, "python": python, "node": node, "dotnet": dotnet, "ruby": ruby,
}

// Traces lists the values of MultilineConfig.Traces.
func Traces() []string {
	return []string{"auto", "java", "go", "python", "node", "dotnet", "ruby"}
}

// NewMultiline checks c.
func NewMultiline(c MultilineConfig) (*Multiline, error) {
	m := &Multiline{
		maxLines: cmp.Or(c.MaxLines, 2000), maxBytes: cmp.Or(c.MaxBytes, 256<<10), wait: cmp.Or(c.Wait, 1e9),
	}
	switch {
	case c.First != "" && c.Traces != "":
		return nil, fmt.Errorf("multiline: traces and first exclude each other")
	case c.First != "":
		if len(c.First) > MaxPattern {
			return nil, fmt.Errorf("multiline: the regular expression is longer than %d bytes", MaxPattern)
		}
		re, err := regexp.Compile(c.First)
		if err != nil {
			return nil, fmt.Errorf("multiline: %w", err)
		}
		if n := instructions(c.First); n > maxInstructions {
			return nil, fmt.Errorf("multiline: the regular expression is too large: counted repetitions such as x{1000} make it %d instructions, at most %d are allowed", n, maxInstructions)
		}
		m.first = re
	case !slices.Contains(Traces(), c.Traces):
		return nil, fmt.Errorf("multiline: there are no traces of %q; there are %v", c.Traces, Traces())
	}
	m.langs = languages[c.Traces]
	if m.maxLines < 1 || m.maxBytes < 1 || m.wait < 0 {
		return nil, fmt.Errorf("multiline: a limit is negative")
	}
	return m, nil
}
