package main

import (
	"slices"
	"strings"
)

// completeQuery returns what a query that begins with text may go on with: the
// whole text each time. names and values tell the labels at the source, and the
// values that one has among the streams of a selector, "" for all.
//
// A label's name that is the only one is completed together with its values:
// shells take a single candidate for the end of the word.
func completeQuery(text string, names func() []string, values func(name, selector string) []string) []candidate {
	q := readQuery(text)
	var found []candidate
	add := func(from int, what, description string) {
		if strings.HasPrefix(what, text[from:]) {
			found = append(found, candidate{text[:from] + what, description})
		}
	}
	label := func(from int, name string) {
		for _, v := range values(name, q.selector) {
			add(from, name+"="+quoteLogQL(v)+"}", "")
		}
	}
	switch q.at {
	case atSelector:
		if text[q.from:] == "" {
			return completeQuery(text+"{", names, values)
		}
	case atStart:
		add(q.from, "{", "a selector: {namespace=\"shop\"}")
		for _, f := range queryFunctions {
			add(q.from, f.word, f.description)
		}
	case atName:
		partial := text[q.from:]
		var fit []string
		for _, n := range names() {
			if strings.HasPrefix(n, partial) {
				fit = append(fit, n)
			}
		}
		if len(fit) == 1 {
			if label(q.from, fit[0]); len(found) > 0 {
				return found
			}
		}
		for _, n := range fit {
			add(q.from, n+`="`, "")
		}
	case atOperator:
		for _, o := range []candidate{{"=", "is"}, {"!=", "is not"}, {"=~", "matches the regular expression"}, {"!~", "does not match"}} {
			add(q.from, o.word+`"`, o.description)
		}
	case atValue:
		for _, v := range values(q.name, q.selector) {
			add(q.from, quoteLogQL(v)+"}", "")
		}
	case atGroup:
		for _, n := range names() {
			add(q.from, n+") (", "")
			add(q.from, n+", ", "")
		}
	case atMatcherEnd:
		add(len(text), "}", "")
		add(len(text), ", ", "another matcher")
	case atPipe:
		for _, s := range queryStages {
			add(q.from, s.word, s.description)
		}
	case atSelectorEnd:
		for _, s := range []candidate{{`|= "`, "lines with a text"}, {`!= "`, "lines without it"}, {`|~ "`, "lines that match"}, {`!~ "`, "lines that do not"}, {"| ", "a parser or a filter"}} {
			if strings.HasSuffix(text, "}") {
				s.word = " " + s.word
			}
			add(q.from, s.word, s.description)
		}
	}
	return found
}

func quoteLogQL(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(s) + `"`
}

var queryFunctions = []candidate{
	{"count_over_time(", "lines: count_over_time({app=\"web\"}[5m])"}, {"rate(", "lines per second"},
	{"bytes_over_time(", "bytes"}, {"bytes_rate(", "bytes per second"}, {"sum by (", "sum by (level) (…)"},
	{"sum(", ""}, {"topk(", "topk(10, …)"}, {"avg(", ""}, {"max(", ""}, {"min(", ""},
	{"sum_over_time(", "of a number: | unwrap bytes"}, {"avg_over_time(", ""}, {"max_over_time(", ""},
	{"quantile_over_time(", "quantile_over_time(0.99, … | unwrap ms [5m])"}, {"absent_over_time(", ""},
}

var queryStages = []candidate{
	{"json", "fields of JSON lines"}, {"logfmt", "fields of key=value lines"}, {"pattern `", "fields by a pattern: <ip> - <_> \"<method> <path>"},
	{"regexp `", "fields by named groups"}, {"unpack", ""}, {"line_format `", "the line from fields: {{.msg}}"},
	{"label_format ", "rename or make labels"}, {"level = \"error\"", "only errors"}, {"keep ", "only these labels"}, {"drop ", "not these labels"},
	{"decolorize", "without colours"}, {"unwrap ", "a number for sum_over_time and alike"},
}

// queryPlace is where in a query the cursor is.
type queryPlace int

const (
	atNothing     queryPlace = iota // nothing can be said
	atStart                         // where an expression begins
	atSelector                      // where a selector begins
	atName                          // of a label, in braces
	atOperator                      // behind it
	atValue                         // behind that
	atMatcherEnd                    // behind a value
	atSelectorEnd                   // behind }, or a stage
	atPipe                          // behind |
	atGroup                         // in by ( )
)

type queryTail struct {
	at       queryPlace
	from     int    // where what is being typed begins
	name     string // the label whose value it is
	selector string // the complete matchers before it; "" for none
}

// readQuery finds the place where an unfinished query ends.
func readQuery(text string) queryTail {
	t := queryTail{at: atStart}
	braces, matcher := -1, 0 // offsets of {, and of the matcher that it is in
	var group []bool         // of open parentheses: those of by and without
	word := 0                // where the last word begins
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"' || c == '`':
			begin := i
			for i++; i < len(text) && text[i] != c; i++ {
				if text[i] == '\\' && c == '"' {
					i++
				}
			}
			switch {
			case i >= len(text) && braces >= 0 && t.at == atValue:
				t.from = begin
				return t
			case i >= len(text):
				return queryTail{}
			case braces >= 0:
				t.at = atMatcherEnd
			default:
				t.at, t.from = atSelectorEnd, i+1
			}
			word = i + 1
		case braces >= 0:
			switch {
			case c == '}':
				t.at, braces, word, t.from = atSelectorEnd, -1, i+1, i+1
			case c == ',':
				t.at, matcher, word, t.from = atName, i, i+1, i+1
				t.selector = text[braces:matcher] + "}"
			case strings.IndexByte("=!~", c) >= 0:
				if t.at == atName || t.at == atOperator {
					t.name = strings.TrimSpace(text[word:i])
				}
				t.at, t.from = atValue, i+1
			case c == ' ' || c == '\t' || c == '\n':
				if t.at == atName && word < i {
					t.at, t.from = atOperator, i+1
					t.name = strings.TrimSpace(text[word:i])
				} else if t.at != atMatcherEnd {
					t.from = i + 1
					if t.at == atName {
						word = i + 1
					}
				}
			}
		case c == '{':
			braces, word, t = i, i+1, queryTail{at: atName, from: i + 1}
		case c == '(':
			before := strings.TrimSpace(text[word:i])
			if word > 0 && before == "" {
				before = lastWord(text[:i])
			}
			by := lastWord(before)
			group = append(group, by == "by" || by == "without")
			t.at, t.from, word = atStart, i+1, i+1
			if group[len(group)-1] {
				t.at = atGroup
			} else if before = lastWord(before); strings.HasSuffix(before, "_over_time") || strings.HasSuffix(before, "rate") {
				t.at = atSelector
			}
		case c == ')':
			t.at, word = atNothing, i+1
			if n := len(group); n > 0 {
				if group[n-1] {
					t.at = atNothing
				}
				group = group[:n-1]
			}
		case c == ',':
			t.at, t.from, word = atStart, i+1, i+1
			if n := len(group); n > 0 && group[n-1] {
				t.at = atGroup
			}
		case c == '|':
			t.at, t.from, word = atPipe, i+1, i+1
		case strings.IndexByte("=!~<>[]", c) >= 0:
			t.at, word = atNothing, i+1
		case c == ' ' || c == '\t' || c == '\n':
			switch {
			case t.at == atPipe && strings.TrimSpace(text[t.from:i]) != "":
				t.at = atSelectorEnd
				if w := strings.TrimSpace(text[t.from:i]); !slices.Contains([]string{"json", "logfmt", "unpack", "decolorize"}, w) {
					t.at = atNothing
				}
				t.from = i + 1
			case t.at != atNothing:
				t.from = i + 1
			}
		}
	}
	if t.at == atValue && strings.TrimSpace(text[t.from:]) != "" && !strings.ContainsAny(text[t.from:], "\"`") {
		t.at = atNothing // a value without quotes
	}
	if t.at == atSelectorEnd && strings.TrimSpace(text[t.from:]) != "" {
		t.at = atNothing
	}
	return t
}

func lastWord(s string) string {
	words := strings.Fields(s)
	if len(words) == 0 {
		return ""
	}
	return words[len(words)-1]
}
