package main

import (
	"path/filepath"
	"regexp"
	"strings"

	"github.com/weirlog/weir/record"
)

// What can be said of a container or file by names alone.

// Kubernetes makes random suffixes of these letters: no vowels, so that no words
// come out.
const suffix = `[bcdfghjklmnpqrstvwxz2456789]`

var (
	deploymentPod  = regexp.MustCompile(`^(.+)-` + suffix + `{6,10}-` + suffix + `{5}$`)
	cronJobPod     = regexp.MustCompile(`^(.+)-\d{8}-` + suffix + `{5}$`)
	statefulSetPod = regexp.MustCompile(`^(.+)-\d{1,4}$`)
	daemonSetPod   = regexp.MustCompile(`^(.+)-` + suffix + `{5}$`)
)

// workloadOf guesses what a pod belongs to by its name, as kind and name. A pod of
// a DaemonSet looks like one of a Job; there are more of the former. That of a
// static pod ends in the node's name.
func workloadOf(pod, node string) (kind, name string) {
	if node != "" {
		if name, ok := strings.CutSuffix(pod, "-"+node); ok && name != "" {
			return "pod", name
		}
	}
	for _, k := range []struct {
		kind string
		re   *regexp.Regexp
	}{
		{"cronjob", cronJobPod}, {"deployment", deploymentPod}, {"statefulset", statefulSetPod}, {"daemonset", daemonSetPod},
	} {
		if m := k.re.FindStringSubmatch(pod); m != nil {
			return k.kind, m[1]
		}
	}
	return "pod", pod
}

// podNameAttrs are the attributes that a pod's name tells where nobody can be
// asked.
func podNameAttrs(pod, node string) []record.Attr {
	kind, name := workloadOf(pod, node)
	return []record.Attr{
		{Name: record.AttrWorkload, Value: kind + "/" + name},
		{Name: record.AttrApp, Value: name},
		{Name: record.AttrService, Value: name},
	}
}

var logExtension = regexp.MustCompile(`(?i)\.(log|txt|out|err|json|jsonl|ndjson)$`)

// serviceOfFile is the name of a service that a log file's name tells: app of
// app.log. It is "" if it tells none.
func serviceOfFile(path string) string {
	name := filepath.Base(path)
	for {
		short := logExtension.ReplaceAllString(name, "")
		if short == name || short == "" {
			break
		}
		name = short
	}
	if name == "." || name == string(filepath.Separator) {
		return ""
	}
	return name
}
