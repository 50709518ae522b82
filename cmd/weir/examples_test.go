package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/show"
)

// TestExamplesWork reads every example of the help texts, of the topics and of
// the documentation: the command exists, its flags and arguments are accepted,
// LogQL and templates are valid.
func TestExamplesWork(t *testing.T) {
	seen := 0
	check := func(where, line string) {
		for _, words := range commandsOf(line) {
			seen++
			if err := acceptable(words); err != nil {
				t.Errorf("%s: %s: %v", where, line, err)
			}
		}
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for line := range strings.SplitSeq(c.Example+"\n"+c.Long, "\n") {
			if strings.HasPrefix(line, "  ") || c.Example != "" && strings.Contains(c.Example, line) {
				check(c.CommandPath(), line)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
	for _, glob := range []string{"../../README.md", "../../docs/*.md"} {
		files, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if filepath.Base(file) == "DESIGN.md" {
				continue // tells of what does not exist yet, too
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range shellLines(string(text)) {
				check(file, line)
			}
		}
	}
	if seen < 60 {
		t.Errorf("only %d examples were found", seen)
	}
}

// shellLines returns the lines of code blocks that are commands.
func shellLines(markdown string) []string {
	var out []string
	code := false
	for line := range strings.SplitSeq(markdown, "\n") {
		if strings.HasPrefix(line, "```") {
			code = !code
			continue
		}
		line = strings.TrimPrefix(line, "$ ")
		if code && strings.HasPrefix(line, "weir ") {
			out = append(out, line)
		}
	}
	return out
}

// commandsOf returns the words of the weir commands in a line of shell.
func commandsOf(line string) [][]string {
	line, _, _ = strings.Cut(line, " # ")
	var out [][]string
	for _, part := range shellParts(line) {
		part = strings.TrimSpace(part)
		if i := strings.Index(part, "(weir "); i >= 0 {
			part = strings.TrimSuffix(part[i+1:], ")")
		}
		words, rest, ok := strings.Cut(part, " ")
		if !ok || words != "weir" {
			continue
		}
		// Columns of a list: weir up        what it does.
		rest, _, _ = strings.Cut(strings.TrimSpace(rest), "   ")
		l := splitLine("zsh", "weir "+rest+" ", "")
		out = append(out, l.words)
	}
	return out
}

// shellParts splits at | and redirections outside of quotes.
func shellParts(line string) []string {
	var parts []string
	quote := rune(0)
	begin := 0
	for i, c := range line {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case (c == '|' || c == '>' || c == ';') && i > 0 && line[i-1] == ' ' || c == '&' && i > 0 && line[i-1] == ' ':
			parts = append(parts, line[begin:i])
			if begin = i + 1; c == '>' {
				return parts
			}
		}
	}
	return append(parts, line[begin:])
}

// placeholders stand for words in synopses.
func isSynopsis(words []string) bool {
	for _, w := range words {
		if strings.ContainsAny(w, "…") || w == strings.ToUpper(w) && len(w) > 1 && strings.Trim(w, "ABCDEFGHIJKLMNOPQRSTUVWXYZ|[]-") == "" && w[0] != '-' {
			return true
		}
	}
	return false
}

func acceptable(words []string) error {
	if isSynopsis(words) {
		return nil
	}
	root := newRoot()
	c, args, err := root.Find(words)
	if err != nil {
		return err
	}
	if len(words) == 0 || c == root {
		if len(words) > 0 && strings.HasPrefix(words[0], "-") {
			return nil
		}
		return fmt.Errorf("no such command")
	}
	c.InitDefaultHelpFlag()
	if err := c.ParseFlags(args); err != nil {
		return err
	}
	if err := c.ValidateFlagGroups(); err != nil {
		return err
	}
	given := c.Flags().Args()
	if c.Args != nil {
		if err := c.Args(c, given); err != nil {
			return err
		}
	}
	for _, a := range given {
		if strings.Contains(a, "{") || c.Name() == "query" && !strings.HasPrefix(a, "@") && a != "-" {
			if _, err := logql.Parse(a); err != nil {
				return fmt.Errorf("%s: %w", a, err)
			}
		}
	}
	var problem error
	c.Flags().Visit(func(f *pflag.Flag) {
		text := f.Value.String()
		switch f.Name {
		case "since", "until", "from", "to":
			if c.Name() != "export" || f.Name != "to" {
				if _, err := parseWhen(text, time.Now()); err != nil {
					problem = err
				}
			}
		case "zone":
			if _, err := parseZone(text); err != nil {
				problem = err
			}
		case "output", "template":
			text, templated := strings.CutPrefix(text, "template=")
			if templated || f.Name == "template" {
				if _, err := show.New(bufio.NewWriter(io.Discard), show.Options{Format: "template", Template: text}); err != nil {
					problem = err
				}
			}
		}
	})
	return problem
}
