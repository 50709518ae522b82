package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/demo"
	"github.com/weirlog/weir/record"
)

const (
	podsRoot   = "/var/log/pods"
	dockerLogs = "/var/lib/docker/containers/*/*-json.log"
	systemLogs = "/var/log/*.log"
)

// maxUpInputs is how many paths get an input each.
const maxUpInputs = 64

// find fills in the inputs: for paths or, without any, for what this host has.
func (u *upPlan) find(flags *upFlags, args []string, labels map[string]string) error {
	if len(args) > 0 {
		return u.findPaths(flags, args, labels)
	}
	found, err := findLogs(podsRoot, dockerLogs, systemLogs)
	if err != nil {
		return err
	}
	switch found {
	case podsRoot:
		if len(labels) > 0 {
			return usageError("--label is for files and pipes: containers have labels of their own")
		}
		if flags.fresh {
			u.inputs["kubernetes"] = "off"
			u.input("kubernetes/new", map[string]any{"start": "end"})
		}
		u.query = `{input="kubernetes"}`
		return u.describePods(podsRoot, podsRoot)
	case dockerLogs:
		u.found = "docker's containers of this host"
		u.about = dockerNames(dockerLogs)
		labels = maps.Clone(labels)
		if labels["input"] == "" {
			labels["input"] = "docker"
		}
		u.files([]string{found}, map[string]any{"format": "docker"}, labels)
		if len(flags.labels) == 0 {
			u.query = labelQuery(labels)
		}
	default:
		u.found, u.unnamed = found+", as there are no containers on this host", true
		u.about = []string{fmt.Sprintf("(neither %s nor docker's logs;", podsRoot), "a made-up cluster to try: weir demo --up)"}
		files, denied, err := unreadable(found)
		if err != nil {
			return err
		}
		if len(denied) == files {
			return fmt.Errorf("%s: only root, or on many systems the group adm, may read them: sudo weir up\nName files instead: weir up app.log; or try a made-up cluster: weir demo --up", found)
		}
		if len(denied) > 0 {
			u.about = append(u.about, fmt.Sprintf("without %s, which only root or the group adm may read", some(denied, 3)))
		}
		u.files([]string{found}, map[string]any{}, labels)
	}
	return nil
}

// findPaths takes directories laid out as /var/log/pods for what they are, and
// everything else for files.
func (u *upPlan) findPaths(flags *upFlags, args []string, labels map[string]string) error {
	u.inputs["kubernetes"] = "off"
	var rest []string
	query := u.query
	for _, a := range args {
		if !isPods(a) {
			rest = append(rest, a)
			continue
		}
		root, err := filepath.Abs(a)
		if err != nil {
			return err
		}
		kind := "up"
		s := map[string]any{"root": strings.ReplaceAll(root, "${", "$${"), "metadata": "path"}
		if flags.fresh {
			kind, s["start"] = "new", "end"
		}
		if len(labels) > 0 {
			s["labels"] = labels
		}
		u.input(fmt.Sprintf("kubernetes/%s-%016x", kind, xxh3.HashString(root+whichDemo(root))), s)
		if query == "" {
			u.query = `{input="kubernetes"}`
		}
		if err := u.describePods(root, a); err != nil {
			return err
		}
	}
	if len(rest) == 0 {
		return nil
	}
	paths, err := expandPaths(rest)
	if err != nil {
		return err
	}
	u.files(paths, map[string]any{"idle": "1s"}, labels)
	what := strings.Join(rest, " ")
	if len(rest) > 3 {
		what = fmt.Sprintf("%s and %d more", rest[0], len(rest)-1)
	}
	if u.found == "" {
		u.found = what
		return nil
	}
	u.about = append(u.about, what)
	if query == "" {
		u.query = `{input=~"file|kubernetes"}`
	}
	return nil
}

// input adds an input. With --new its last positions mean nothing.
func (u *upPlan) input(id string, settings map[string]any) {
	u.inputs[id] = settings
	if u.flags.fresh {
		u.forget = append(u.forget, id)
	}
}

// files adds inputs for patterns of files.
func (u *upPlan) files(patterns []string, settings map[string]any, labels map[string]string) {
	u.inputs["kubernetes"] = "off"
	if len(labels) > 0 {
		settings["labels"] = labels
	}
	// Positions belong to an input: one for each path, so that naming other
	// files the next time changes nothing for this one.
	groups := [][]string{patterns}
	if len(patterns) <= maxUpInputs {
		groups = groups[:0]
		for _, p := range patterns {
			groups = append(groups, []string{p})
		}
	}
	for _, g := range groups {
		s := maps.Clone(settings)
		s["paths"] = g
		kind := "up"
		if u.flags.fresh {
			kind, s["start"] = "new", "end"
		}
		u.input(fmt.Sprintf("file/%s-%016x", kind, xxh3.HashString(strings.Join(g, "\x00"))), s)
	}
	if u.query == "" {
		u.query = `{input="file"}`
	}
}

// podDir splits the name of a directory of /var/log/pods.
func podDir(name string) (namespace string, ok bool) {
	p := strings.Split(name, "_")
	return p[0], len(p) == 3 && p[0] != "" && p[1] != "" && len(p[2]) >= 8
}

// isPods reports whether a directory is laid out as /var/log/pods: with
// directories named namespace_pod_uid in it.
func isPods(dir string) bool {
	if filepath.Clean(dir) == podsRoot {
		return true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if _, ok := podDir(e.Name()); ok && e.IsDir() || e.Name() == demo.Marker {
			return true
		}
	}
	return false
}

// whichDemo tells one demo in a directory from the next, "" for no demo: that the
// pods of the one before are gone is no loss.
func whichDemo(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, demo.Marker))
	if err != nil {
		return ""
	}
	return "\x00" + string(text)
}

// describePods says what there is in a directory laid out as /var/log/pods, which
// people know by that name.
func (u *upPlan) describePods(root, name string) error {
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	namespaces, pods, containers := make(map[string]bool), 0, 0
	for _, e := range entries {
		ns, ok := podDir(e.Name())
		if !ok {
			continue
		}
		dir := filepath.Join(root, e.Name())
		list, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrPermission) {
			return onlyRoot(dir)
		}
		n := 0
		for _, c := range list {
			if !c.IsDir() {
				continue
			}
			if n++; containers == 0 {
				if err := readable(filepath.Join(dir, c.Name())); err != nil {
					return err
				}
			}
			containers++
		}
		if n > 0 {
			namespaces[ns] = true
			pods++
		}
	}
	u.found = name
	if containers == 0 {
		u.about = append(u.about, "no pods there yet: waits for them (files instead: weir up app.log;", "a made-up cluster to try: weir demo --up)")
		return nil
	}
	u.found = fmt.Sprintf("%s: %s of %s in %s", name, plural(int64(containers), "container"), plural(int64(pods), "pod"), plural(int64(len(namespaces)), "namespace"))
	return nil
}

// readable fails if there is a file in the directory that may not be read.
func readable(dir string) error {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return onlyRoot(dir)
	}
	for _, e := range list {
		if !e.Type().IsRegular() {
			continue
		}
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrPermission) {
			return onlyRoot(filepath.Join(dir, e.Name()))
		}
		if err == nil {
			return f.Close()
		}
	}
	return nil
}

func onlyRoot(path string) error {
	return fmt.Errorf("%s: permission denied: the logs of a host's containers are root's: sudo weir up\nWithout being root, over the Kubernetes API: weir tail --kube", path)
}

// unreadable returns how many files the pattern finds and which of them may not be
// read.
func unreadable(pattern string) (files int, denied []string, err error) {
	list, err := filepath.Glob(pattern)
	for _, path := range list {
		f, err := os.Open(path)
		if err == nil {
			err = f.Close()
		}
		if errors.Is(err, fs.ErrPermission) {
			denied = append(denied, path)
		}
	}
	return len(list), denied, err
}

// some lists no more than n names.
func some(names []string, n int) string {
	if len(names) > n+1 {
		names = append(slices.Clip(names[:n]), fmt.Sprintf("%d more", len(names)-n))
	}
	if len(names) > 1 {
		return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
	}
	return strings.Join(names, "")
}

// dockerNames lists docker's containers for people.
func dockerNames(pattern string) []string {
	logs, err := filepath.Glob(pattern)
	if err != nil || len(logs) == 0 {
		return []string{"none has written anything yet: waits for them"}
	}
	var names []string
	for _, l := range logs {
		if c, ok := dockerAbout(l); ok && !c.excluded() {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	what := plural(int64(len(logs)), "container")
	if len(names) > 0 {
		what += ": " + some(names, 8)
	}
	return []string{what}
}

// parseLabels reads name=value pairs.
func parseLabels(list []string) (map[string]string, error) {
	out := make(map[string]string)
	for _, l := range list {
		name, value, ok := strings.Cut(l, "=")
		if !ok || name == "" || value == "" {
			return nil, usageError("--label %s: want name=value", l)
		}
		if record.SanitizeName(name) != name || name[0] >= '0' && name[0] <= '9' || strings.HasPrefix(name, "__") {
			return nil, usageError("--label %s: a name has letters, digits and _, and starts with a letter", l)
		}
		out[name] = value
	}
	return out, nil
}

// labelQuery returns the selector of lines with these labels, "" without any.
func labelQuery(labels map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, name+"="+strconv.Quote(labels[name]))
	}
	if len(parts) == 0 {
		return ""
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// expandPaths makes absolute patterns of the arguments and refuses what is not
// there. What is there is meant as it is, whatever its name looks like.
func expandPaths(args []string) ([]string, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("working directory: %w", err)
	}
	var out []string
	for _, a := range args {
		info, err := os.Stat(a)
		switch {
		case err == nil && info.IsDir():
			a = filepath.Join(literal(a), "*.log")
		case err == nil:
			a = literal(a)
		case !strings.ContainsAny(a, "*?["):
			return nil, err
		}
		if !filepath.IsAbs(a) {
			a = filepath.Join(literal(cwd), a)
		}
		// The configuration would take ${…} for a reference.
		out = append(out, strings.ReplaceAll(filepath.Clean(a), "${", "$${"))
	}
	return out, nil
}

// literal returns the pattern that matches exactly that path.
func literal(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// findLogs returns what there is to read on this host: the containers of
// Kubernetes, those of docker (a pattern), or else the system's own logs (a
// pattern).
func findLogs(pods, docker, system string) (string, error) {
	var denied []string
	if list, err := os.ReadDir(pods); err == nil {
		// An empty one may be a leftover; docker's containers are not.
		if logs, err := filepath.Glob(docker); len(list) == 0 && err == nil && len(logs) > 0 {
			return docker, nil
		}
		return pods, nil
	} else if os.IsPermission(err) {
		denied = append(denied, pods)
	}
	dir := filepath.Dir(filepath.Dir(docker))
	if _, err := os.ReadDir(dir); err == nil {
		return docker, nil
	} else if os.IsPermission(err) {
		denied = append(denied, dir)
	}
	if len(denied) > 0 {
		return "", onlyRoot(strings.Join(denied, ", "))
	}
	if list, err := filepath.Glob(system); err == nil && len(list) > 0 {
		return system, nil
	}
	return "", fmt.Errorf("nothing to read on this host: neither %s nor %s nor %s is there\nName files instead: weir up app.log; or try a made-up cluster: weir demo --up", pods, dir, system)
}
