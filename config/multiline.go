package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weirlog/weir/cri"
)

// Multiline says which lines of a file belong together in one record. It is written
// as a word (off, auto, java, go, python, node, dotnet, ruby), as first:<regexp>, or
// as a map with the keys below. The zero value joins nothing.
type Multiline struct {
	// Traces is auto or a language; "" if First is set or nothing is joined.
	Traces   string   `yaml:"traces" doc:"Whose stack traces: auto, java, go, python, node, dotnet or ruby."`
	First    string   `yaml:"first" doc:"Regular expression (RE2) of the lines that begin a record; all others belong to the one before."`
	MaxLines int      `yaml:"max_lines" min:"2" max:"1000000" doc:"Lines of a record at most."`
	MaxBytes Size     `yaml:"max_bytes" min:"1KiB" max:"64MiB" doc:"Bytes of a record of several lines at most."`
	Wait     Duration `yaml:"wait" min:"10ms" max:"1m" doc:"How long the last line waits for another."`
}

// multilineWords are what a Multiline may be in one word.
var multilineWords = append([]string{"off"}, cri.Traces()...)

const multilineHint = `write auto, java, go, python, node, dotnet, ruby, off, or first:^\d{4}- with a regular expression of the lines that begin a record`

// UnmarshalText reads a word or first:<regexp>.
func (m *Multiline) UnmarshalText(text []byte) error {
	s := string(text)
	if re, ok := strings.CutPrefix(s, "first:"); ok {
		if err := checkFirst(re); err != nil {
			return err
		}
		*m = Multiline{First: re}
		return nil
	}
	if !slices.Contains(multilineWords, s) {
		return bad(suggest(s, append(multilineWords[:len(multilineWords):len(multilineWords)], "first:REGEXP")), "unknown value %q", shorten(s))
	}
	*m = Multiline{}
	if s != "off" {
		m.Traces = s
	}
	return nil
}

func checkFirst(re string) error {
	switch {
	case re == "":
		return bad(multilineHint, "the regular expression is missing")
	case len(re) > cri.MaxPattern:
		return bad("", "the regular expression is longer than %d bytes", cri.MaxPattern)
	}
	if _, err := regexp.Compile(re); err != nil {
		return bad("the syntax is RE2: https://github.com/google/re2/wiki/Syntax", "bad regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	if _, err := cri.NewMultiline(cri.MultilineConfig{First: re}); err != nil {
		return bad("", "%s", strings.TrimPrefix(err.Error(), "multiline: "))
	}
	return nil
}

// Off reports whether nothing is joined.
func (m *Multiline) Off() bool { return m.Traces == "" && m.First == "" }

// Joining returns the settings as the reader of files takes them, nil if nothing is
// joined.
func (m *Multiline) Joining() (*cri.Multiline, error) {
	if m.Off() {
		return nil, nil
	}
	return cri.NewMultiline(cri.MultilineConfig{
		Traces: m.Traces, First: m.First, MaxLines: m.MaxLines, MaxBytes: int(m.MaxBytes), Wait: int64(m.Wait),
	})
}

// String is how UnmarshalText, or YAML, reads m.
func (m Multiline) String() string {
	word := "off"
	switch {
	case m.Traces != "":
		word = m.Traces
	case m.First != "":
		word = "first:" + m.First
	}
	if m.MaxLines == 0 && m.MaxBytes == 0 && m.Wait == 0 {
		return word
	}
	var keys []string
	if m.First != "" {
		keys = append(keys, "first: "+quote(m.First))
	} else {
		keys = append(keys, "traces: "+word)
	}
	if m.MaxLines != 0 {
		keys = append(keys, "max_lines: "+strconv.Itoa(m.MaxLines))
	}
	if m.MaxBytes != 0 {
		keys = append(keys, "max_bytes: "+m.MaxBytes.String())
	}
	if m.Wait != 0 {
		keys = append(keys, "wait: "+m.Wait.String())
	}
	return "{" + strings.Join(keys, ", ") + "}"
}

// MarshalText writes YAML.
func (m Multiline) MarshalText() ([]byte, error) {
	s := m.String()
	if !strings.HasPrefix(s, "{") || m.First != "" && m.MaxLines == 0 && m.MaxBytes == 0 && m.Wait == 0 {
		s = quote(escapeReferences(s))
		if s == "'off'" {
			s = "off"
		}
		return []byte(s), nil
	}
	return []byte(escapeReferences(s)), nil
}

// check finds what the keys of a map do not show one by one, and fills in what a map
// leaves out.
func (m *Multiline) check(k *checker, path string) {
	switch {
	case m.First != "" && m.Traces != "":
		k.err(path, "traces and first exclude each other")
		return
	case m.First != "":
		if err := checkFirst(m.First); err != nil {
			k.inValue(path+".first", err)
		}
	case m.Traces != "" && !slices.Contains(cri.Traces(), m.Traces):
		k.err(path+".traces", "unknown value %q", shorten(m.Traces)).Hint = suggest(m.Traces, cri.Traces())
		m.Traces = "auto"
	case m.Traces == "" && (m.MaxLines != 0 || m.MaxBytes != 0 || m.Wait != 0):
		m.Traces = "auto"
	}
}

// multiline checks the settings for all files and gives them to inputs without their
// own.
func (k *checker) multiline() {
	k.cfg.Multiline.check(k, "multiline")
	for i := range k.cfg.Inputs {
		in := &k.cfg.Inputs[i]
		t := in.tail()
		if t == nil {
			continue
		}
		if p := "inputs." + string(in.ID) + ".multiline"; k.given(p) {
			t.Multiline.check(k, p)
		} else {
			t.Multiline = k.cfg.Multiline
		}
		if p := "inputs." + string(in.ID) + ".rate_limit"; k.given(p) {
			t.RateLimit.check(k, p, true)
		}
	}
}

// tail returns what an input that reads files has in common with others, nil for
// other inputs.
func (in *Input) tail() *Tail {
	switch s := in.Settings.(type) {
	case *KubernetesInput:
		return &s.Tail
	case *FileInput:
		return &s.Tail
	}
	return nil
}
