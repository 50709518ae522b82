package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/weirlog/weir/stage"
)

// Parser says how the text of records is understood. It is written as a word (auto,
// json, logfmt, klog, access, none), as regex:<regular expression>, or as a map with
// the keys below.
type Parser struct {
	// Format is the word; "" if Regex is set or nothing was said.
	Format string            `yaml:"-"`
	Regex  string            `yaml:"regex" doc:"Regular expression (RE2) whose named groups become fields. The groups time, level and msg are the record's."`
	Time   string            `yaml:"time" doc:"Form of the group time: %Y-%m-%d %H:%M:%S and other directives of strftime, or a layout of Go. The usual forms are known without."`
	Types  map[string]string `yaml:"types" doc:"Kinds of groups that are not text: int, float or bool."`
}

var parserWords = []string{"auto", "json", "logfmt", "klog", "access", "none"}

// UnmarshalText reads a word or regex:<regular expression>.
func (p *Parser) UnmarshalText(text []byte) error {
	s := string(text)
	if re, ok := strings.CutPrefix(s, "regex:"); ok {
		*p = Parser{Regex: re}
		if _, err := p.step(); err != nil {
			return bad("named groups are written as (?P<level>[A-Z]+); the syntax is RE2", "%s", err)
		}
		return nil
	}
	if !slices.Contains(parserWords, s) {
		return bad(suggest(s, append(parserWords[:len(parserWords):len(parserWords)], "regex:REGEXP")), "unknown value %q", shorten(s))
	}
	*p = Parser{Format: s}
	return nil
}

// None reports whether records stay as they are.
func (p *Parser) None() bool { return p.Regex == "" && (p.Format == "" || p.Format == "none") }

func (p *Parser) step() (*stage.Regex, error) {
	return stage.NewRegex(stage.RegexConfig{Pattern: p.Regex, Time: p.Time, Types: p.Types})
}

// String is how UnmarshalText, or YAML, reads p.
func (p Parser) String() string {
	switch {
	case p.Regex == "":
		return p.Format
	case p.Time == "" && len(p.Types) == 0:
		return "regex:" + p.Regex
	}
	keys := []string{"regex: " + quote(p.Regex)}
	if p.Time != "" {
		keys = append(keys, "time: "+quote(p.Time))
	}
	if len(p.Types) > 0 {
		var types []string
		for _, name := range slices.Sorted(maps.Keys(p.Types)) {
			types = append(types, name+": "+p.Types[name])
		}
		keys = append(keys, "types: {"+strings.Join(types, ", ")+"}")
	}
	return "{" + strings.Join(keys, ", ") + "}"
}

// MarshalText writes YAML.
func (p Parser) MarshalText() ([]byte, error) {
	s := p.String()
	if strings.HasPrefix(s, "regex:") {
		s = quote(s)
	}
	return []byte(escapeReferences(s)), nil
}

// check finds what the keys of a map do not show one by one.
func (p *Parser) check(k *checker, path string) {
	if p.Format != "" || !k.given(path) {
		return
	}
	if p.Regex == "" && !k.given(path+".time") && !k.given(path+".types") {
		return // reported already
	}
	if p.Regex == "" {
		k.err(path, "regex is missing").Hint = "write regex: '^(?P<level>[A-Z]+) ', or one word: " + strings.Join(parserWords, ", ")
		return
	}
	if _, err := p.step(); err != nil {
		k.err(path, "%s", err)
	}
}
