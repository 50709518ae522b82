package main

import (
	"embed"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// topicTexts are the pages of `weir help TOPIC`: a title, an empty line, and the
// text. Lines that begin with two blanks are examples or tables; those of them
// that begin with weir are commands, which a test reads.
//
//go:embed help
var topicTexts embed.FS

// helpTopics are `weir help TOPIC` pages that are not commands.
func helpTopics() []*cobra.Command {
	var topics []*cobra.Command
	for _, name := range []string{"query-language", "targets", "times", "output", "templates", "exit-codes", "env", "paths", "ports"} {
		b, err := topicTexts.ReadFile("help/" + name + ".txt")
		if err != nil {
			panic(fmt.Sprintf("help topic %s: %v", name, err)) // it is in the binary
		}
		short, text, _ := strings.Cut(string(b), "\n\n")
		topics = append(topics, &cobra.Command{Use: name, Short: short, Long: strings.TrimRight(text, "\n")})
	}
	return topics
}
