package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func manCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "man [COMMAND|TOPIC]",
		Short: "Print a manual page, or write all of them into a directory",
		Long: `Prints the manual page of weir, of a command or of a help topic, for man(1) or
groff(1). --dir writes all of them: weir.1, weir-query.1 and so on.`,
		Example: `  weir man query | man -l -
  weir man --dir ~/.local/share/man/man1`,
		ValidArgsFunction: helpCommand().ValidArgsFunction,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			if dir == "" {
				c, err := commandOrTopic(root, args)
				if err != nil {
					return err
				}
				return writeMan(cmd.OutOrStdout(), c)
			}
			if len(args) > 0 {
				return usageError("--dir is for all pages: weir man --dir DIR")
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("make the directory for manual pages: %w", err)
			}
			var write func(c *cobra.Command) error
			write = func(c *cobra.Command) error {
				if c.Hidden || c.Name() == "help" {
					return nil
				}
				var b bytes.Buffer
				if err := writeMan(&b, c); err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(dir, manName(c)+".1"), b.Bytes(), 0o644); err != nil {
					return err
				}
				for _, sub := range c.Commands() {
					if err := write(sub); err != nil {
						return err
					}
				}
				return nil
			}
			return write(root)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "write a page for each command and topic into this directory")
	return cmd
}

// manName is weir-config-show for weir config show.
func manName(c *cobra.Command) string {
	name := c.Name()
	for p := c.Parent(); p != nil; p = p.Parent() {
		name = p.Name() + "-" + name
	}
	return name
}

// writeMan writes the manual page of a command or topic, in the man macros of
// groff: man(7), groff_man(7).
func writeMan(w io.Writer, c *cobra.Command) error {
	p := pageOf(c)
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"weir %s\" \"weir\"\n", manQuote(strings.ToUpper(manName(c))), manText(version()))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", manText(manName(c)), manText(p.short))
	if p.synopsis != "" {
		fmt.Fprintf(&b, ".SH SYNOPSIS\n.nf\n\\fB%s\\fR%s\n.fi\n", manText(p.path), manText(strings.TrimPrefix(p.synopsis, p.path)))
	}
	b.WriteString(".SH DESCRIPTION\n")
	if len(p.about) == 0 {
		fmt.Fprintf(&b, ".PP\n%s.\n", manText(p.short))
	}
	manBlocks(&b, p.about)
	if c.Runnable() || !c.HasParent() {
		b.WriteString(".SH OPTIONS\n")
		for _, f := range p.flags {
			b.WriteString(".TP\n")
			if f.short != "" {
				fmt.Fprintf(&b, "\\fB\\-%s\\fR, ", manText(f.short))
			}
			fmt.Fprintf(&b, "\\fB\\-\\-%s\\fR", manText(f.long))
			if f.value != "" {
				fmt.Fprintf(&b, " \\fI%s\\fR", manText(f.value))
			}
			fmt.Fprintf(&b, "\n%s", manText(f.usage))
			if f.byDefault != "" {
				fmt.Fprintf(&b, " (default %s)", manText(f.byDefault))
			}
			b.WriteString("\n")
		}
	}
	if len(p.children) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range p.children {
			if sub.Runnable() || sub.HasSubCommands() {
				fmt.Fprintf(&b, ".TP\n\\fB%s\\fR(1)\n%s\n", manText(manName(sub)), manText(sub.Short))
			}
		}
	}
	if len(p.examples) > 0 {
		b.WriteString(".SH EXAMPLES\n")
		manBlocks(&b, []block{{p.examples, true}})
	}
	if p.synopsis != "" {
		for _, s := range []struct{ title, topic string }{{"EXIT STATUS", "exit-codes"}, {"ENVIRONMENT", "env"}, {"FILES", "paths"}} {
			if t, err := commandOrTopic(c.Root(), []string{s.topic}); err == nil {
				fmt.Fprintf(&b, ".SH %s\n", s.title)
				manBlocks(&b, blocks(t.Long))
			}
		}
	}
	b.WriteString(".SH SEE ALSO\n")
	fmt.Fprintf(&b, "%s\n", strings.Join(manSeeAlso(c), ", "))
	_, err := w.Write(b.Bytes())
	return err
}

func manSeeAlso(c *cobra.Command) []string {
	var names []string
	add := func(c *cobra.Command) { names = append(names, "\\fB"+manText(manName(c))+"\\fR(1)") }
	if c.HasParent() {
		add(c.Parent())
	}
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.Name() != "help" {
			add(sub)
		}
	}
	if len(names) == 1 && c.HasParent() {
		for _, sib := range c.Parent().Commands() {
			if sib != c && !sib.Hidden && sib.GroupID == c.GroupID && sib.Name() != "help" {
				add(sib)
			}
		}
	}
	return names
}

func manBlocks(b *bytes.Buffer, list []block) {
	for _, bl := range list {
		b.WriteString(".PP\n")
		if bl.verbatim {
			b.WriteString(".nf\n")
		}
		for _, line := range bl.lines {
			if line == "" {
				line = "\\&"
			} else {
				line = manText(line)
			}
			b.WriteString(line + "\n")
		}
		if bl.verbatim {
			b.WriteString(".fi\n")
		}
	}
}

// manText escapes what is special to roff.
func manText(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, r)
		}
	}
	return b.String()
}

func manQuote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
