package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// page is what there is to say about a command or a topic: what manual pages
// and the reference are written from.
type page struct {
	path     string // weir query
	short    string
	synopsis string // weir query LOGQL [flags]; "" for topics
	about    []block
	examples []string // lines
	flags    []flagPage
	parent   *cobra.Command
	children []*cobra.Command // commands and topics beneath
}

// block is a paragraph, or, verbatim, a table or an example.
type block struct {
	lines    []string
	verbatim bool
}

// flagPage is one flag.
type flagPage struct {
	short, long string
	value       string // placeholder; "" for a switch
	usage       string
	byDefault   string // "" for none worth saying
}

func pageOf(c *cobra.Command) page {
	c.InitDefaultHelpFlag()
	p := page{path: c.CommandPath(), short: c.Short, parent: c.Parent()}
	if c.Runnable() && c.HasParent() {
		p.synopsis = c.UseLine()
	} else if c.HasAvailableSubCommands() {
		p.synopsis = c.CommandPath() + " COMMAND"
	}
	p.about = blocks(c.Long)
	if c.Example != "" {
		for line := range strings.SplitSeq(strings.Trim(c.Example, "\n"), "\n") {
			p.examples = append(p.examples, strings.TrimPrefix(line, "  "))
		}
	}
	c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		fp := flagPage{short: f.Shorthand, long: f.Name, usage: usage, value: placeholder(f, value)}
		switch f.DefValue {
		case "", "false", "[]", "0", "0s":
		default:
			if !strings.Contains(usage, "(default") {
				fp.byDefault = f.DefValue
			}
		}
		p.flags = append(p.flags, fp)
	})
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.Name() != "help" {
			p.children = append(p.children, sub)
		}
	}
	return p
}

// placeholder names a flag's value.
func placeholder(f *pflag.Flag, word string) string {
	switch f.Value.Type() {
	case "bool":
		return ""
	case "string", "stringArray", "stringSlice", "text":
		return strings.ToUpper(strings.NewReplacer("-", "_").Replace(valueName(f.Name)))
	case "int", "int64", "uint64", "float64", "count":
		return "N"
	case "duration":
		return "DURATION"
	}
	return strings.ToUpper(word)
}

func valueName(flag string) string {
	switch flag {
	case "output":
		return "format"
	case "since", "until", "from", "to":
		return "time"
	case "config", "kubeconfig", "ca":
		return "file"
	case "state":
		return "dir"
	case "server":
		return "url"
	case "include", "exclude", "highlight":
		return "regexp"
	case "set":
		return "key=value"
	}
	for _, end := range []string{"file", "dir", "time"} {
		if strings.HasSuffix(flag, "-"+end) {
			return end
		}
	}
	return flag
}

// blocks splits a text at empty lines. What is indented, or stands in columns,
// is verbatim: its lines are not to be filled.
func blocks(text string) []block {
	var out []block
	for part := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		part = strings.Trim(part, "\n")
		if strings.TrimSpace(part) == "" {
			continue
		}
		lines := strings.Split(part, "\n")
		// "Headline:" above indented lines is a paragraph of its own.
		for len(lines) > 1 && !tabular(lines[0]) && tabular(lines[1]) {
			out = append(out, block{lines: lines[:1]})
			lines = lines[1:]
		}
		verbatim := false
		for _, l := range lines {
			verbatim = verbatim || tabular(l)
		}
		if n := len(out); verbatim && n > 0 && out[n-1].verbatim && strings.HasPrefix(lines[0], "  ") {
			out[n-1].lines = append(append(out[n-1].lines, ""), lines...)
			continue
		}
		out = append(out, block{lines, verbatim})
	}
	return out
}

// tabular reports whether a line is indented or has columns.
func tabular(line string) bool {
	return strings.HasPrefix(line, "  ") || strings.Contains(strings.TrimSpace(line), "   ")
}
