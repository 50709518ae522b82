package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// everyCommand calls f for each command that people see.
func everyCommand(f func(c *cobra.Command)) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		if c.HasParent() && (c.Runnable() || c.HasSubCommands()) {
			f(c)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
}

// runWeir runs the command line as main does.
func runWeir(args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = run(args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// TestMannersOfEveryCommand asks every command for help and tells it nonsense.
func TestMannersOfEveryCommand(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	everyCommand(func(c *cobra.Command) {
		words := strings.Fields(c.CommandPath())[1:]
		name := strings.Join(words, " ")
		leaf := !c.HasSubCommands() || c.Runnable() && c.Example != ""

		code, out, errOut := runWeir(append(words, "--help")...)
		if code != exitOK || errOut != "" || !strings.Contains(out, "Usage:") {
			t.Errorf("%s --help: exit %d, stderr %q, stdout:\n%s", name, code, errOut, out)
		}
		if leaf && c.Name() != "version" && (c.Example == "" || !strings.Contains(c.Example, "weir "+name)) {
			t.Errorf("%s: no example of its own in the help", name)
		}
		for line := range strings.SplitSeq(c.Long+"\n"+c.Example, "\n") {
			if n := len([]rune(line)); n > 96 {
				t.Errorf("%s: a line of the help has %d columns: %s", name, n, line)
			}
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || len(c.Short) > 90 {
			t.Errorf("%s: short description %q", name, c.Short)
		}

		code, out, errOut = runWeir(append(words, "--no-such-flag")...)
		if code != exitUsage || out != "" || !strings.Contains(errOut, "unknown flag: --no-such-flag") || !strings.Contains(errOut, c.CommandPath()+" --help") {
			t.Errorf("%s --no-such-flag: exit %d, stdout %q, stderr %q", name, code, out, errOut)
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden || len(f.Name) < 5 || f.Value.Type() == "bool" {
				return
			}
			typo := f.Name[:2] + f.Name[3:] + "x" // a letter left out, one more
			if c.Flags().Lookup(typo) != nil || otherFlags[typo] != "" {
				return
			}
			_, _, errOut := runWeir(append(words, "--"+typo+"=1")...)
			if !strings.Contains(errOut, "did you mean --") {
				t.Errorf("%s --%s: %s", name, typo, errOut)
			}
		})
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") || f.Usage[0] >= 'A' && f.Usage[0] <= 'Z' && f.Usage[1] >= 'a' && f.Usage[1] <= 'z' && !strings.HasPrefix(f.Usage, "Go ") && !strings.HasPrefix(f.Usage, "Kubernetes ") {
				t.Errorf("%s --%s: usage %q", name, f.Name, f.Usage)
			}
		})
	})
}

// TestMissingArguments: what is missing is said with an example that works.
func TestMissingArguments(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	everyCommand(func(c *cobra.Command) {
		if c.Args == nil || c.Args(c, nil) == nil {
			return
		}
		words := strings.Fields(c.CommandPath())[1:]
		code, out, errOut := runWeir(words...)
		if code != exitUsage || out != "" || !strings.Contains(errOut, c.CommandPath()+" ") {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", c.CommandPath(), code, out, errOut)
		}
	})
}

// TestLettersMeanTheSame: a letter is the same flag wherever logs are read.
func TestLettersMeanTheSame(t *testing.T) {
	want := map[string]string{"n": "namespace", "A": "all-namespaces", "s": "since", "u": "until", "o": "output", "H": "highlight", "e": "exclude", "i": "include"}
	everyCommand(func(c *cobra.Command) {
		if c.GroupID != "look" {
			return
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if w := want[f.Shorthand]; w != "" && f.Name != w {
				t.Errorf("%s: -%s is --%s, elsewhere --%s", c.Name(), f.Shorthand, f.Name, w)
			}
		})
	})
}

func TestFlagErrorsKnowOtherTools(t *testing.T) {
	for line, want := range map[string]string{
		"query --follow x":   "weir tail follows",
		"query --org-id x":   "--tenant",
		"query --limt 3":     "did you mean --limit",
		"status --step 5m":   "'weir query'",
		"query --limit":      "flag needs an argument",
		"query --limit=x {}": "invalid argument",
		"logs":               "weir tail",
		"{a=\"b\"}":          "weir query '{a=\"b\"}'",
		"deploy/web":         "weir tail deploy/web",
		"quer":               "did you mean: weir query",
		"find":               "weir query",
		"config shwo":        "show",
		"man nope":           "no help on",
		"completion":         "source <(weir completion bash)",
	} {
		code, out, errOut := runWeir(strings.Fields(line)...)
		if code != exitUsage || out != "" || !strings.Contains(errOut, want) {
			t.Errorf("weir %s: exit %d, stdout %q, stderr %q; want %q", line, code, out, errOut, want)
		}
	}
}
