package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// firstSteps is what weir says when it is told nothing.
func firstSteps(cmd *cobra.Command, _ []string) error {
	self := displayName()
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n\nAll commands: %s --help     This one: %s COMMAND --help\n", cmd.Long, self, self)
	return err
}

// helpCommand is `weir help`: of commands and of topics.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND|TOPIC]",
		Short: "Help about a command or a topic",
		Long: `Help about a command or a topic. The topics are listed at the end of
'weir --help'.`,
		Example: `  weir help query
  weir help times`,
		ValidArgsFunction: func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			at, _, err := c.Root().Find(args)
			if err != nil || at == nil {
				return nil, noFiles
			}
			var found []string
			for _, sub := range at.Commands() {
				if !sub.Hidden && strings.HasPrefix(sub.Name(), typed) {
					found = append(found, sub.Name()+"\t"+sub.Short)
				}
			}
			return found, noFiles
		},
		RunE: func(c *cobra.Command, args []string) error {
			at, err := commandOrTopic(c.Root(), args)
			if err != nil {
				return err
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
}

// commandOrTopic finds what help is asked about.
func commandOrTopic(root *cobra.Command, words []string) (*cobra.Command, error) {
	at := root
	for _, word := range words {
		var next *cobra.Command
		var names []string
		for _, sub := range at.Commands() {
			if sub.Hidden {
				continue
			}
			if sub.Name() == word {
				next = sub
			}
			names = append(names, sub.Name())
		}
		if next == nil {
			return nil, usageError("no help on %q%s\nSee '%s --help'", strings.Join(words, " "), didYouMean(word, names), displayName())
		}
		at = next
	}
	return at, nil
}
