// Command weir collects the logs of a node and accounts for every line of
// them. This file is the table of subcommands; each has a file of its own, and
// process.go joins the parts of a running pipeline.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/wire/line"
)

// Exit codes. Also in docs/reference/cli.md and `weir help exit-codes`.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitConfig      = 3
	exitUnreachable = 4
	exitDropped     = 5
	exitInterrupted = 130
)

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func main() {
	args := os.Args[1:]
	switch strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") {
	case "kubectl-weir":
		asPlugin = true
	case "kubectl_complete-weir": // kubectl's protocol is cobra's
		asPlugin = true
		args = append([]string{cobra.ShellCompRequestCmd}, args...)
	}
	os.Exit(run(args, os.Stdin, os.Stdout, os.Stderr))
}

// run is main without the process: it returns the exit code.
func run(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	// A reader that left shows as an error of the write, and is no failure.
	signal.Ignore(syscall.SIGPIPE)
	// It is known which signal it was before anything ends by it.
	var interrupted atomic.Bool
	go func() {
		select {
		case s := <-signals:
			interrupted.Store(s == os.Interrupt)
			stop()
			// A second Ctrl-C ends at once; what is not finished is read again.
			if !paging.Load() { // the pager has the terminal until it ends
				signal.Reset(os.Interrupt)
			}
		case <-ctx.Done():
		}
	}()

	cmd := newRoot()
	cmd.SetArgs(joinTimestamps(args))
	cmd.SetIn(in)
	cmd.SetOut(out)
	cmd.SetErr(errOut)
	err := cmd.ExecuteContext(ctx)
	if errors.Is(err, syscall.EPIPE) {
		return exitOK // | head
	}
	var configErrors *config.Errors
	var coded *exitError
	switch {
	case err == nil:
		if interrupted.Load() {
			return exitInterrupted
		}
		return exitOK
	case errors.As(err, &configErrors):
		configErrors.Format(errOut, colorFor(errOut))
		fmt.Fprintf(errOut, "%s. Nothing was started (exit %d).\n", configErrors.Summary(), exitConfig)
		return exitConfig
	case errors.As(err, &coded):
		if msg := err.Error(); msg != "" { // the code says it all
			fmt.Fprintf(errOut, "weir: %s\n", printableText(msg))
		}
		return coded.code
	case isUsage(err):
		fmt.Fprintf(errOut, "weir: %s\nSee 'weir --help'\n", printableText(err.Error()))
		return exitUsage
	default:
		fmt.Fprintf(errOut, "weir: %s\n", printableText(err.Error()))
		return exitFailed
	}
}

// printableText is a text with several rows as a terminal may have it: servers
// write errors, too.
func printableText(s string) string { return string(line.AppendSafe(nil, []byte(s), false)) }

// asPlugin says that this is kubectl weir: help says so, and what reads looks
// at the cluster first.
var asPlugin bool

// newRoot returns the command tree.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "weir",
		Short: "Kubernetes logging that can account for every line",
		Long: `weir collects the logs of containers and files, knows what became of every
line, keeps them, and delivers them to the backends people run.

  weir up               show the logs of this host's containers, now, and keep them
  weir up FILE… | -     the same for files, or what is piped in
  weir demo --up        nothing to read here? look at a small cluster that is made up
  weir tail deploy/web  follow pods of a cluster, with nothing installed there
  weir query LOGQL      find lines again, also of pods that are gone
  weir agent -c FILE    collect this node's logs and ship them
  weir sidecar --stream FILE   stream an application's log file to stdout
  weir ledger           what was written, read, delivered, and what is missing`,
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: displayName()},
		Args:              rootArgs,
		RunE:              firstSteps,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		Version:           version(),
	}
	root.SetVersionTemplate("weir {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable .HasParent}}", 1))
	root.AddGroup(
		&cobra.Group{ID: "look", Title: "Read logs:"},
		&cobra.Group{ID: "run", Title: "Run:"},
		&cobra.Group{ID: "inside", Title: "Look inside:"},
		&cobra.Group{ID: "config", Title: "Configuration:"},
		&cobra.Group{ID: "tools", Title: "Tools:"},
	)
	root.SetHelpCommand(helpCommand())
	root.SetHelpCommandGroupID("tools")
	root.CompletionOptions.DisableDefaultCmd = true
	for _, c := range []struct {
		group string
		cmd   *cobra.Command
	}{
		{"run", upCommand()},
		{"run", demoCommand()},
		{"run", agentCommand()},
		{"run", sidecarCommand()},
		{"run", gatewayCommand()},
		{"run", storeCommand()},
		{"run", webhookCommand()},
		{"run", runCommand()},
		{"look", tailCommand()},
		{"look", queryCommand()},
		{"look", exportCommand()},
		{"look", labelsCommand()},
		{"look", seriesCommand()},
		{"look", volumeCommand()},
		{"look", hitsCommand()},
		{"look", contextCommand()},
		{"inside", ledgerCommand()},
		{"inside", statusCommand()},
		{"inside", topCommand()},
		{"inside", tapCommand()},
		{"inside", dlqCommand()},
		{"config", checkCommand()},
		{"config", configCommand()},
		{"tools", sendCommand()},
		{"tools", completionCommand()},
		{"tools", manifestsCommand()},
		{"tools", manCommand()},
		{"tools", versionCommand()},
	} {
		c.cmd.GroupID = c.group
		root.AddCommand(c.cmd)
	}
	root.AddCommand(helpTopics()...)
	root.AddCommand(lineCommand())
	attachCompletion(root)
	return root
}

// isUsage tells cobra's own complaints about arguments from failures.
func isUsage(err error) bool {
	for _, p := range []string{"unknown command", "unknown flag", "unknown shorthand", "accepts ", "requires ", "invalid argument", "flag needs", "if any flags in the group"} {
		if strings.HasPrefix(err.Error(), p) {
			return true
		}
	}
	return false
}

// colorFor reports whether to colour what is written to w.
func colorFor(w io.Writer) bool {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return os.Getenv("CLICOLOR_FORCE") != "" && os.Getenv("NO_COLOR") == ""
	}
	return os.Getenv("CLICOLOR_FORCE") != "" || isTerminal(w)
}
