package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/read"
)

// targetKinds are the kinds that tail can be pointed at, as they are typed most.
var targetKinds = []struct{ short, kind string }{
	{"deploy", "deployment"}, {"sts", "statefulset"}, {"ds", "daemonset"}, {"job", "job"},
	{"cronjob", "cronjob"}, {"pod", "pod"}, {"svc", "service"}, {"node", "node"},
}

// tailArgument completes what tail can be pointed at: a pod, deploy/web,
// ns:deploy/web/container, or LogQL.
func tailArgument(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	s, end := liveFor(cmd)
	defer end()
	if read.IsLogQL(typed) {
		return logqlWords(s, typed)
	}
	before := ""
	target := typed
	if namespace, rest, ok := strings.Cut(typed, ":"); ok {
		before, target = namespace+":", rest
		s.flags.namespaces = []string{namespace}
		s.flags.all = namespace == "*"
	}
	kind, name, hasKind := strings.Cut(target, "/")
	if hasKind {
		return targetsOfKind(s, before, kind, name)
	}
	var found []string
	for _, k := range targetKinds {
		if strings.HasPrefix(k.short, target) || target != "" && strings.HasPrefix(k.kind, target) {
			word := k.short
			if !strings.HasPrefix(word, target) {
				word = k.kind
			}
			found = append(found, before+word+"/\t"+k.kind+"s")
		}
	}
	kinds := len(found)
	var pods []string
	if s.cluster() {
		pods = s.kube("pods")
	} else {
		pods = s.label("pod", "")
	}
	for _, pod := range startingWith(pods, target) {
		found = append(found, before+pod)
	}
	if before == "" && target != "" {
		var all []string
		if s.cluster() {
			all = s.kube("namespaces")
		} else {
			all = s.label("namespace", "")
		}
		for _, n := range startingWith(all, target) {
			found = append(found, n+":\tnamespace")
			kinds++
		}
	}
	if kinds > 0 {
		return found, noSpace
	}
	return found, noFiles
}

// targetsOfKind completes the names of a kind, and containers behind them.
func targetsOfKind(s *liveSource, before, kind, name string) ([]string, cobra.ShellCompDirective) {
	full := cmp.Or(read.KindOf(kind), kind)
	var found []string
	if object, container, ok := strings.Cut(name, "/"); ok {
		label, value := "workload", full+"/"+object
		if full == "pod" || full == "node" {
			label, value = full, object
		}
		all := s.label("container", "{"+label+"="+quoteLogQL(value)+"}")
		for _, c := range startingWith(all, container) {
			found = append(found, before+kind+"/"+object+"/"+c)
		}
		return found, noFiles
	}
	var names []string
	switch {
	case s.cluster():
		names = s.kube(full + "s")
	case full == "pod" || full == "node":
		names = s.label(full, "")
	default:
		for _, w := range s.label("workload", "") {
			if n, ok := strings.CutPrefix(w, full+"/"); ok {
				names = append(names, n)
			}
		}
	}
	slices.Sort(names)
	for _, n := range startingWith(slices.Compact(names), name) {
		found = append(found, before+kind+"/"+n)
	}
	return found, noFiles
}
