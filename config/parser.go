package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weirlog/weir/stage"
)

// Parser says how the text of records is understood. It is written as a word (auto,
// json, logfmt, klog, access, which is also nginx or apache, none), as regex:<regular expression>, or as a map with
// the keys below.
type Parser struct {
	// Format is the word; "" if Regex is set or nothing was said.
	Format string            `yaml:"-"`
	Regex  string            `yaml:"regex" doc:"Regular expression (RE2) whose named groups become fields. The groups time, level and msg are the record's."`
	Time   string            `yaml:"time" doc:"Form of the group time: %Y-%m-%d %H:%M:%S and other directives of strftime, or a layout of Go. The usual forms are known without."`
	Types  map[string]string `yaml:"types" doc:"Kinds of groups that are not text: int, float or bool."`
}

var parserWords = []string{"auto", "json", "logfmt", "klog", "access", "none"}

// parserNames are what others call them.
var parserNames = map[string]string{"nginx": "access", "apache": "access", "apache2": "access", "combined": "access", "common": "access"}

const regexHint = "named groups are written as (?P<level>[A-Z]+); the syntax is RE2: https://github.com/google/re2/wiki/Syntax"

// UnmarshalText reads a word or regex:<regular expression>.
func (p *Parser) UnmarshalText(text []byte) error {
	s := string(text)
	if re, ok := strings.CutPrefix(s, "regex:"); ok {
		*p = Parser{Regex: re}
		if _, err := p.step(); err != nil {
			return patternError(err, len("regex:"))
		}
		return nil
	}
	if name := parserNames[s]; name != "" {
		s = name
	}
	if !slices.Contains(parserWords, s) {
		return bad(suggest(s, append([]string{"nginx", "apache", "regex:REGEXP"}, parserWords...)), "unknown value %q", shorten(s))
	}
	*p = Parser{Format: s}
	return nil
}

// patternError says where in a value, in which the pattern stands at an offset, it is
// wrong.
func patternError(err error, at int) error {
	e := &syntaxError{-1, err.Error(), regexHint}
	var wrong *stage.PatternError
	if errors.As(err, &wrong) {
		e.off = at + wrong.Offset
		e.msg += fmt.Sprintf(" (at byte %d)", wrong.Offset+1)
	}
	return e
}

// Explain returns what is wrong with a value, by the error of its UnmarshalText, and
// what to write instead, in one line.
func Explain(err error) string {
	var e *syntaxError
	if !errors.As(err, &e) || e.hint == "" {
		return err.Error()
	}
	return err.Error() + "; " + strings.Join(strings.Fields(e.hint), " ")
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
	if _, err := p.step(); errors.As(err, new(*stage.PatternError)) {
		k.inValue(path+".regex", patternError(err, 0))
	} else if err != nil {
		k.err(path, "%s", err)
	}
}
