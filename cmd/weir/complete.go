package main

import (
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/kube"
)

// completion returns what could stand at the cursor.
type completion = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

const (
	noFiles = cobra.ShellCompDirectiveNoFileComp
	noSpace = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	inOrder = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	dirs    = cobra.ShellCompDirectiveFilterDirs
)

// attachCompletion gives every command of the tree and every flag what it is
// completed with: by their names, so that a name means the same everywhere.
// What has one of its own keeps it.
func attachCompletion(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		attachCompletion(sub)
	}
	if cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 {
		switch name := strings.TrimPrefix(cmd.CommandPath(), cmd.Root().CommandPath()+" "); {
		case argumentCompletions[name] != nil:
			cmd.ValidArgsFunction = argumentCompletions[name]
		case strings.Contains(cmd.Use, "PATH") || strings.Contains(cmd.Use, "FILE…") || strings.Contains(cmd.Use, "FILE|DIR…"):
			// the shell knows about files
		default:
			cmd.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if _, has := cmd.GetFlagCompletionFunc(f.Name); has || f.Annotations[cobra.BashCompFilenameExt] != nil || f.Annotations[cobra.BashCompSubdirsInDir] != nil {
			return
		}
		complete := flagCompletion(f)
		if complete == nil {
			return
		}
		if err := cmd.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
			panic(err) // the flag is there
		}
	})
}

var argumentCompletions = map[string]completion{
	"query":   queryArgument,
	"hits":    queryArgument,
	"volume":  queryArgument,
	"series":  queryArgument,
	"context": queryArgument,
	"export":  queryArgument,
	"labels":  labelsArgument,
	"tail":    tailArgument,
}

// flagCompletion returns what the values of a flag are completed with, nil if
// the shell shall offer files.
func flagCompletion(f *pflag.Flag) completion {
	switch f.Name {
	case "namespace":
		return liveLabel("namespace", "namespaces")
	case "pod":
		return liveLabel("pod", "pods")
	case "exclude-pod":
		return liveLabel("pod", "pods")
	case "container", "exclude-container":
		return liveLabel("container", "containers")
	case "node":
		return liveLabel("node", "nodes")
	case "app":
		return liveLabel("app", "labels")
	case "selector":
		return selectorFlag
	case "context":
		if f.Value.Type() != "string" {
			return cobra.NoFileCompletions // lines around
		}
		return contextFlag
	case "by":
		return byFlag
	case "since", "until", "from", "to":
		return oneOf(someTimes)
	case "step":
		return oneOf([]string{"30s", "1m", "5m", "15m", "1h", "1d"})
	case "container-state":
		return oneOf([]string{"running", "waiting", "terminated", "all"})
	case "order":
		return oneOf([]string{"time", "arrival"})
	case "tail":
		return oneOf([]string{"20", "100", "1000", "-1\tall"})
	case "field-selector":
		return oneOf([]string{"spec.nodeName=", "status.phase=", "metadata.name="})
	case "zone":
		return oneOf([]string{"UTC", "Local"})
	case "role":
		return oneOf(config.Presets())
	case "server":
		return oneOf([]string{"http://127.0.0.1:7410\tweir up, weir store", "http://127.0.0.1:3100\tLoki", "https://"})
	case "state", "dir":
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) { return nil, dirs }
	case "config", "kubeconfig", "ca", "password-file", "token-file", "template-file", "out", "file", "output-file":
		return nil
	}
	switch values := choices(f.Usage); {
	case f.Value.Type() == "bool":
		return oneOf([]string{"true", "false"})
	case values != nil:
		return oneOf(values)
	}
	return cobra.NoFileCompletions
}

var someTimes = []string{
	"5m\tfive minutes ago", "15m", "1h\tan hour ago", "6h", "1d\ta day ago", "7d",
	"today\tlast midnight", "yesterday\tthe midnight before", "now", "10:30\ta time of today",
}

// choices finds the values that a flag's description lists: "text or json",
// "how lines show their time: short, clock or none".
func choices(usage string) []string {
	list := usage
	if i := strings.LastIndex(list, ": "); i >= 0 {
		list = list[i+2:]
	}
	if i := strings.IndexAny(list, ";("); i >= 0 {
		list = strings.TrimSpace(list[:i])
	}
	values := choiceSeparator.Split(list, -1)
	if len(values) < 2 {
		return nil
	}
	for i, v := range values {
		if !choice.MatchString(v) {
			return nil
		}
		if name, _, given := strings.Cut(v, "="); given {
			values[i] = name + "="
		}
	}
	return values
}

var (
	choiceSeparator = regexp.MustCompile(`, or |, | or `)
	choice          = regexp.MustCompile(`^[a-z0-9-]+(=[A-Z…]+)?$`)
)

// oneOf completes with fixed values, each perhaps with a tab and a description.
func oneOf(values []string) completion {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		directive := inOrder
		found := startingWith(values, typed)
		if len(found) == 1 && (strings.HasSuffix(found[0], "=") || strings.HasSuffix(found[0], "://")) {
			directive = noSpace
		}
		return found, directive
	}
}

func startingWith(values []string, typed string) []string {
	var found []string
	for _, v := range values {
		if strings.HasPrefix(v, typed) {
			found = append(found, v)
		}
	}
	return found
}

// liveLabel completes with the values of a label, or with what the cluster has.
func liveLabel(label, kind string) completion {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		s, end := liveFor(cmd)
		defer end()
		if s.cluster() && kind != "labels" {
			return startingWith(s.kube(kind), typed), noFiles
		}
		return startingWith(s.label(label, ""), typed), noFiles
	}
}

func contextFlag(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	s, end := liveFor(cmd)
	defer end()
	return startingWith(kube.Contexts(s.flags.kubeconfig), typed), noFiles
}

// selectorFlag completes label selectors as kubectl has them.
func selectorFlag(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	s, end := liveFor(cmd)
	defer end()
	before, last := "", typed
	if i := strings.LastIndexByte(typed, ','); i >= 0 {
		before, last = typed[:i+1], typed[i+1:]
	}
	name, _, valued := strings.Cut(last, "=")
	var all []string
	switch {
	case s.cluster():
		all = s.kube("labels")
	case valued:
		for _, v := range s.label(name, "") {
			all = append(all, name+"="+v)
		}
	default:
		for _, n := range s.names() {
			all = append(all, n+"=")
		}
	}
	var found []string
	for _, l := range all {
		if n, _, ok := strings.Cut(l, "="); ok && !valued {
			l = n + "="
		}
		if strings.HasPrefix(l, last) {
			found = append(found, before+l)
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if valued {
		return found, noFiles
	}
	return found, noSpace
}

// byFlag completes lists of labels.
func byFlag(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	s, end := liveFor(cmd)
	defer end()
	before := typed[:strings.LastIndexByte(typed, ',')+1]
	names := s.names()
	if !slices.Contains(names, "level") {
		names = append(names, "level")
	}
	var found []string
	for _, n := range names {
		if !slices.Contains(strings.Split(before, ","), n) {
			found = append(found, before+n)
		}
	}
	return startingWith(found, typed), noSpace
}

// queryArgument completes LogQL.
func queryArgument(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	s, end := liveFor(cmd)
	defer end()
	return logqlWords(s, typed)
}

func logqlWords(s *liveSource, typed string) ([]string, cobra.ShellCompDirective) {
	var found []string
	done := true
	for _, c := range completeQuery(typed, s.names, s.label) {
		if !strings.HasSuffix(c.word, "}") {
			done = false
		}
		if c.description != "" {
			c.word += "\t" + c.description
		}
		found = append(found, c.word)
	}
	if done {
		return found, inOrder
	}
	return found, noSpace | cobra.ShellCompDirectiveKeepOrder
}

// labelsArgument completes a label's name, then a selector.
func labelsArgument(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	s, end := liveFor(cmd)
	defer end()
	if strings.HasPrefix(typed, "{") || len(args) == 1 {
		return logqlWords(s, typed)
	}
	if len(args) > 0 {
		return nil, noFiles
	}
	return append(startingWith(s.names(), typed), startingWith([]string{"{"}, typed)...), noFiles
}
