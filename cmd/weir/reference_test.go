package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "rewrite docs/reference/cli.md")

// reference is the command line as Markdown, made from the command tree.
func reference() []byte {
	var b bytes.Buffer
	root := newRoot()
	b.WriteString("# Command line\n\nGenerated from the code (`go test ./cmd/weir -run CLIReference -update`); do not edit.\n`weir help COMMAND` and `weir man COMMAND` say the same.\n\n")
	link := func(c *cobra.Command) string {
		return fmt.Sprintf("[%s](#%s)", c.CommandPath(), strings.ReplaceAll(c.CommandPath(), " ", "-"))
	}
	var topics []*cobra.Command
	list := func(commands []*cobra.Command) {
		b.WriteString("| | |\n|---|---|\n")
		for _, c := range commands {
			fmt.Fprintf(&b, "| %s | %s |\n", link(c), markdownText(c.Short))
			for _, sub := range c.Commands() {
				if !sub.Hidden {
					fmt.Fprintf(&b, "| %s | %s |\n", link(sub), markdownText(sub.Short))
				}
			}
		}
		b.WriteString("\n")
	}
	groups := make(map[string][]*cobra.Command)
	for _, c := range root.Commands() {
		switch {
		case c.Hidden || c.Name() == "help":
		case !c.Runnable() && !c.HasSubCommands():
			topics = append(topics, c)
		default:
			groups[c.GroupID] = append(groups[c.GroupID], c)
		}
	}
	for _, g := range root.Groups() {
		fmt.Fprintf(&b, "**%s**\n\n", strings.TrimSuffix(g.Title, ":"))
		list(groups[g.ID])
	}
	b.WriteString("**Topics**\n\n")
	list(topics)
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		writeMarkdown(&b, c)
		for _, sub := range c.Commands() {
			if !sub.Hidden {
				walk(sub)
			}
		}
	}
	for _, g := range root.Groups() {
		for _, c := range groups[g.ID] {
			walk(c)
		}
	}
	for _, c := range topics {
		walk(c)
	}
	return append(bytes.TrimSpace(b.Bytes()), '\n')
}

func writeMarkdown(b *bytes.Buffer, c *cobra.Command) {
	p := pageOf(c)
	fmt.Fprintf(b, "## %s\n\n%s.\n\n", p.path, markdownText(p.short))
	verbatim := func(lines []string) {
		fmt.Fprintf(b, "```\n%s\n```\n\n", strings.Join(lines, "\n"))
	}
	if p.synopsis != "" {
		verbatim([]string{p.synopsis})
	}
	for _, bl := range p.about {
		if bl.verbatim {
			verbatim(bl.lines)
			continue
		}
		for _, line := range bl.lines {
			b.WriteString(markdownText(line) + "\n")
		}
		b.WriteString("\n")
	}
	if len(p.examples) > 0 {
		b.WriteString("Examples:\n\n")
		verbatim(p.examples)
	}
	if len(p.flags) > 1 { // more than --help
		b.WriteString("| flag | |\n|---|---|\n")
		for _, f := range p.flags {
			if f.long == "help" {
				continue
			}
			name := "--" + f.long
			if f.short != "" {
				name = "-" + f.short + ", " + name
			}
			if f.value != "" {
				name += " " + f.value
			}
			usage := markdownText(f.usage)
			if f.byDefault != "" {
				usage += " (default `" + f.byDefault + "`)"
			}
			fmt.Fprintf(b, "| `%s` | %s |\n", name, usage)
		}
		b.WriteString("\n")
	}
}

// markdownText escapes what would not be text in Markdown.
func markdownText(s string) string {
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "*", `\*`, "_", `\_`, "<", "&lt;", "`", "\\`", "[", `\[`, "$", `\$`).Replace(s)
}

func TestCLIReferenceIsCurrent(t *testing.T) {
	const path = "../../docs/reference/cli.md"
	want := reference()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/reference/cli.md is stale: go test ./cmd/weir -run CLIReference -update")
	}
}
