package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var update = flag.Bool("update", false, "rewrite docs/reference/cli.md")

// reference is the command line as Markdown, made from the command tree.
func reference(t *testing.T) []byte {
	var b bytes.Buffer
	b.WriteString("# Command line\n\nGenerated from the code (`go test ./cmd/weir -run CLIReference -update`); do not edit.\n\n")
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Runnable() || c.HasParent() && c.HasSubCommands() || !c.HasParent() || c.Long != "" {
			var page bytes.Buffer
			c.InitDefaultHelpFlag()
			if err := doc.GenMarkdownCustom(c, &page, func(link string) string {
				return "#" + strings.TrimSuffix(strings.ReplaceAll(link, "_", "-"), ".md")
			}); err != nil {
				t.Fatal(err)
			}
			b.Write(page.Bytes())
			b.WriteString("\n")
		}
		for _, sub := range c.Commands() {
			if sub.Name() != "help" {
				walk(sub)
			}
		}
	}
	walk(newRoot())
	return bytes.TrimSpace(b.Bytes())
}

func TestCLIReferenceIsCurrent(t *testing.T) {
	const path = "../../docs/reference/cli.md"
	want := append(reference(t), '\n')
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
