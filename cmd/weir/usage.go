package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// What people type who come from another tool, and how it is said here.
var (
	otherCommands = map[string][]string{
		"tail":       {"logs", "log", "stern", "follow", "watch"},
		"query":      {"find", "search", "grep", "instant-query", "select"},
		"labels":     {"label", "values", "fields", "detected-fields"},
		"series":     {"streams"},
		"volume":     {"stats", "usage", "volume_range"},
		"hits":       {"count", "histogram"},
		"export":     {"download", "dump"},
		"check":      {"validate", "lint", "test"},
		"manifests":  {"install", "k8s", "helm"},
		"status":     {"health", "info"},
		"top":        {"monitor"},
		"tap":        {"peek", "sample", "debug"},
		"send":       {"generate", "loggen", "push", "bench", "load"},
		"dlq":        {"dead-letters", "deadletters"},
		"up":         {"start", "quickstart"},
		"run":        {"daemon"},
		"store":      {"server"},
		"completion": {"completions"},
	}
	otherFlags = map[string]string{
		"follow":         "weir tail follows; --no-follow ends at what there is",
		"f":              "weir tail follows; --no-follow ends at what there is",
		"all-containers": "all containers are read unless -c says which",
		"prefix":         "lines say whose they are; -o raw leaves it out",
		"since-time":     "--since takes a time, too: --since 2026-11-22T10:00:00Z",
		"addr":           "it is --server here",
		"org-id":         "it is --tenant here",
		"username":       "it is --user here",
		"bearer-token":   "the token is in WEIR_TOKEN or --token-file",
		"password":       "the password is in WEIR_PASSWORD or --password-file",
		"lines":          "it is --limit in weir query, --tail in weir tail",
		"json":           "it is -o json here",
		"format":         "it is -o here",
		"quiet":          "what is no data is on stderr: 2>/dev/null",
		"q":              "what is no data is on stderr: 2>/dev/null",
	}
)

// flagError makes an error that helps of one of a flag.
func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return &exitError{exitUsage, fmt.Errorf("%s\nSee '%s --help'", text, cmd.CommandPath())}
	}
	name := unknown.GetSpecifiedName()
	hint := ""
	switch own, other := nearestFlag(cmd, name), otherFlags[name]; {
	case other != "":
		hint = "; " + other
	case own != "":
		hint = fmt.Sprintf(", did you mean --%s?", own)
	case len(name) > 1:
		if with := commandsWith(cmd.Root(), name); len(with) > 0 {
			hint = "; " + strings.Join(with, " and ") + " know it"
			if len(with) == 1 {
				hint += "s"
			}
		}
	}
	return &exitError{exitUsage, fmt.Errorf("%s%s\nSee '%s --help'", text, hint, cmd.CommandPath())}
}

// nearestFlag returns the flag of a command that is spelt most alike.
func nearestFlag(cmd *cobra.Command, name string) string {
	if len(name) < 2 {
		return ""
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if best := nearestName(name, names); best != "" {
		return best
	}
	for _, n := range names {
		if len(name) > 2 && (strings.HasPrefix(n, name) || strings.HasPrefix(name, n) && len(n) > 3) {
			return n
		}
	}
	return ""
}

// commandsWith returns the commands, two at most, that have a flag.
func commandsWith(root *cobra.Command, name string) []string {
	var with []string
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		f := c.Flags().Lookup(name)
		if len(name) == 1 {
			f = c.Flags().ShorthandLookup(name)
		}
		if f != nil && !c.Hidden && c.Runnable() && len(with) < 2 {
			with = append(with, "'"+c.CommandPath()+"'")
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return with
}

// rootArgs answers a first word that is no command.
func rootArgs(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	word := args[0]
	instead := func(command string) error {
		return usageError("%q is no command; did you mean: %s", word, command)
	}
	self := displayName()
	switch {
	case strings.HasPrefix(word, "{"):
		return instead(fmt.Sprintf("%s query '%s'", self, word))
	case word == "-":
		return instead(self + " up -")
	case isFile(word):
		return instead(self + " up " + word)
	case strings.Contains(word, "/"):
		return instead(self + " tail " + word)
	}
	for name, others := range otherCommands {
		if slices.Contains(others, word) && hasCommand(root, name) {
			return instead(self + " " + name)
		}
	}
	root.SuggestionsMinimumDistance = 2
	hint := ""
	if near := root.SuggestionsFor(word); len(near) > 0 {
		hint = fmt.Sprintf(", did you mean: %s %s", self, strings.Join(near, ", "+self+" "))
	}
	return usageError("unknown command %q%s\nSee '%s --help'", word, hint, self)
}

func hasCommand(root *cobra.Command, name string) bool {
	for _, c := range root.Commands() {
		if c.Name() == name {
			return true
		}
	}
	return false
}

func isFile(name string) bool {
	_, err := os.Stat(name)
	return err == nil && (strings.ContainsAny(name, "./") || filepath.IsAbs(name))
}

// displayName is what people type to start this program.
func displayName() string {
	if asPlugin {
		return "kubectl weir"
	}
	return "weir"
}

// noArgs is for commands that take none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if f := cmd.Flags().Lookup("config"); f != nil && isFile(args[0]) {
		return usageError("%s takes no arguments; a configuration is named with -c: %s -c %s", cmd.CommandPath(), cmd.CommandPath(), args[0])
	}
	return usageError("%s takes no arguments, and got %q\nSee '%s --help'", cmd.CommandPath(), args[0], cmd.CommandPath())
}
