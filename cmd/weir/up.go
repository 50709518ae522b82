package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/checkpoint"
	"github.com/weirlog/weir/record"
)

const (
	podsRoot   = "/var/log/pods"
	dockerLogs = "/var/lib/docker/containers/*/*-json.log"
	systemLogs = "/var/log/*.log"
)

// upFlags are what `weir up` is told.
type upFlags struct {
	configFlags
	format  string
	once    bool
	fresh   bool
	noStore bool
	listen  string
	state   string
	labels  []string
}

func upCommand() *cobra.Command {
	var flags upFlags
	cmd := &cobra.Command{
		Use:   "up [PATH…|-]",
		Short: "Show the logs of this host's containers, of files, or of a pipe, and keep them",
		Long: `Shows lines as they are written and keeps them in a store of its own, from
which 'weir query', Grafana (a Loki data source) and logcli read.

Without arguments it looks for the containers of this host: /var/log/pods
(Kubernetes), /var/lib/docker/containers (docker); where there are none it reads
the system's own logs, /var/log/*.log. With paths it follows those files and
directories; with - it reads what is piped in. Nothing needs to be configured;
-c adds outputs and changes what is built in ('weir config show --role up').

A second start goes on where the last one stopped: every line is shown once and
kept once. What was shown before is found with 'weir query'. With --no-store
everything is shown and nothing is kept.

Lines, positions and the store are in $XDG_STATE_HOME/weir or
~/.local/state/weir, for root in /var/lib/weir/up.`,
		Example: `  weir up
  weir up app.log 'logs/*.log' --label app=shop
  kubectl logs deploy/web | weir up - --label app=web
  weir query '{app="web"} |= "error"'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return up(cmd.Context(), &flags, args, cmd.InOrStdin(), cmd.ErrOrStderr())
		},
	}
	flags.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&flags.format, "output", "o", "pretty", "pretty, raw or json")
	f.BoolVar(&flags.once, "no-follow", false, "stop when everything there is has been shown")
	f.BoolVar(&flags.fresh, "new", false, "show and keep only what is written from now on")
	f.BoolVar(&flags.noStore, "no-store", false, "only show: keep nothing, remember no position, listen nowhere")
	f.StringVar(&flags.listen, "listen", "", "address of the HTTP API, or off (default 127.0.0.1:7410)")
	f.StringVar(&flags.state, "state", "", "directory of positions and store; also WEIR_STATE (default as above)")
	f.StringArrayVarP(&flags.labels, "label", "l", nil, "label of the lines of files and pipes: app=shop; may be repeated")
	cmd.MarkFlagsMutuallyExclusive("no-store", "listen")
	cmd.MarkFlagsMutuallyExclusive("no-store", "state")
	return cmd
}

// upPlan is what `weir up` found to read.
type upPlan struct {
	process
	what   string         // for people
	inputs map[string]any // settings by id
	query  string         // what finds it in the store
}

func up(ctx context.Context, flags *upFlags, args []string, in io.Reader, errOut io.Writer) error {
	format, ok := map[string]string{"pretty": "line", "raw": "raw", "json": "json"}[flags.format]
	if !ok {
		return usageError("-o %s: want pretty, raw or json", flags.format)
	}
	labels, err := parseLabels(flags.labels)
	if err != nil {
		return err
	}
	u := &upPlan{inputs: make(map[string]any), query: labelQuery(labels)}
	u.quiet, u.once, u.stdinLabels = true, flags.once, labels
	if len(args) == 1 && args[0] == "-" {
		u.stdin, u.what = in, "what is piped in"
		u.inputs["kubernetes"] = "off"
		if u.query == "" {
			u.query = `{input="stdin"}`
		}
	} else if err := u.find(flags, args, labels); err != nil {
		return err
	}
	text, err := json.Marshal(map[string]any{"inputs": u.inputs}) // JSON is YAML
	if err != nil {
		return err
	}
	opts := flags.options("up")
	const name = "weir up"
	if len(u.inputs) > 0 {
		opts.Files = append([]string{name}, opts.Files...)
	}
	opts.ReadFile = func(path string) ([]byte, error) {
		if path == name {
			return text, nil
		}
		return os.ReadFile(path)
	}
	opts.Incomplete = u.stdin != nil
	set := []string{"outputs.stdout.format=" + format, "log.level=warn"}
	if flags.noStore {
		state, err := os.MkdirTemp("", "weir-up-")
		if err != nil {
			return fmt.Errorf("make a temporary state directory: %w", err)
		}
		defer os.RemoveAll(state)
		set = append(set, "state="+state, "outputs.store=off", "listen.http=off")
	} else {
		state, err := upState()
		if err != nil && flags.state == "" {
			return err
		}
		opts.Defaults = map[string]string{"state": state}
		if flags.state != "" {
			abs, err := filepath.Abs(flags.state)
			if err != nil {
				return err
			}
			set = append(set, "state="+strings.ReplaceAll(abs, "${", "$${"))
		}
		switch {
		case flags.listen != "":
			set = append(set, "listen.http="+flags.listen)
		case flags.once:
			set = append(set, "listen.http=off") // it is over in a moment
		}
		u.onStart = func() { u.introduce(errOut) }
		u.onStop = func() { u.sumUp(errOut) }
	}
	opts.Set = append(set, opts.Set...)
	u.opts = opts
	err = u.run(ctx)
	if errors.Is(err, checkpoint.ErrLocked) {
		return fmt.Errorf("%w\nName all files in one 'weir up', or only show these with --no-store, or keep them elsewhere with --state DIR --listen 127.0.0.1:0", err)
	}
	return err
}

// find fills in the inputs: for files or, without any, for what this host has.
func (u *upPlan) find(flags *upFlags, args []string, labels map[string]string) error {
	files := func(patterns []string, settings map[string]any) {
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
			if flags.fresh {
				kind, s["start"] = "new", "end"
			}
			id := fmt.Sprintf("file/%s-%016x", kind, xxh3.HashString(strings.Join(g, "\x00")))
			u.inputs[id] = s
			u.note(flags, id)
		}
		if u.query == "" {
			u.query = `{input="file"}`
		}
	}
	if len(args) > 0 {
		paths, err := expandPaths(args)
		if err != nil {
			return err
		}
		files(paths, map[string]any{"idle": "1s"})
		u.what = strings.Join(args, " ")
		if len(args) > 3 {
			u.what = fmt.Sprintf("%s and %d more", args[0], len(args)-1)
		}
		return nil
	}
	found, err := findLogs(podsRoot, dockerLogs, systemLogs)
	if err != nil {
		return err
	}
	u.what = "the containers of this host: " + found
	switch found {
	case podsRoot:
		if flags.fresh {
			u.inputs["kubernetes"] = "off"
			u.inputs["kubernetes/new"] = map[string]any{"start": "end"}
			u.note(flags, "kubernetes/new")
		}
		u.query = `{input="kubernetes"}`
		if len(labels) > 0 {
			return usageError("--label is for files and pipes: containers have labels of their own")
		}
	case dockerLogs:
		files([]string{found}, map[string]any{"format": "docker"})
	default:
		files([]string{found}, map[string]any{})
		u.what = fmt.Sprintf("%s, as there are no containers on this host (neither %s nor docker's logs)", found, podsRoot)
	}
	return nil
}

// maxUpInputs is how many paths get an input each.
const maxUpInputs = 64

// note remembers what to do with the positions of an input: with --new the last
// ones mean nothing.
func (u *upPlan) note(flags *upFlags, id string) {
	if flags.fresh {
		u.forget = append(u.forget, id)
	}
}

// introduce tells what is read, where it is kept, and how to look.
func (u *upPlan) introduce(w io.Writer) {
	again := false
	for id := range u.process.inputs {
		u.positions.Range(string(id)+"/chain/", func(string, []byte) bool {
			again = true
			return false
		})
	}
	where := ""
	if again {
		where = ", from where the last start stopped"
	}
	fmt.Fprintf(w, "reading  %s%s\n", u.what, where)
	if u.keep == nil {
		return
	}
	s := &u.keep.settings
	bounds := "for ever"
	if s.Retention > 0 {
		bounds = "for " + s.Retention.String()
	}
	if s.MaxDisk > 0 {
		bounds += " or up to " + size(int64(s.MaxDisk))
	}
	fmt.Fprintf(w, "keeping  %s, %s\n", u.keep.dir, bounds)
	if u.once {
		return // it says how to look when it is done
	}
	fmt.Fprintf(w, "look     weir query '%s'", u.query)
	if u.address != "" {
		fmt.Fprintf(w, "   or Grafana: a Loki data source with %s", u.address)
	}
	fmt.Fprintln(w)
}

// sumUp tells what was kept, when the end has come by itself.
func (u *upPlan) sumUp(w io.Writer) {
	if u.keep == nil || !u.once && u.stdin == nil {
		return
	}
	s := u.keep.Stats()
	switch {
	case s.Rows > 0:
		fmt.Fprintf(w, "%s kept; look again with: weir query '%s'\n", plural(s.Rows, "line"), u.query)
	case u.stdin == nil:
		fmt.Fprintf(w, "nothing new since the last start; what was shown before: weir query '%s' (--no-store shows it all again)\n", u.query)
	}
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
	if _, err := os.ReadDir(pods); err == nil {
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
		return "", fmt.Errorf("%s: only root may read the logs of this host's containers: sudo weir up", strings.Join(denied, ", "))
	}
	if list, err := filepath.Glob(system); err == nil && len(list) > 0 {
		return system, nil
	}
	return "", fmt.Errorf("nothing to read on this host: neither %s nor %s nor %s is there\nName files instead: weir up app.log", pods, dir, system)
}

// finished waits until everything that was there has been read and delivered.
func (p *process) finished(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		done := true
		p.mu.Lock()
		for _, in := range p.inputs {
			s := in.tail.Stats()
			done = done && s.Time.After(p.started.Add(time.Second))
			for i := range s.Ledgers {
				done = done && s.Ledgers[i].Unread == 0
			}
		}
		p.mu.Unlock()
		if done && p.engine.Waiting() == 0 {
			return
		}
	}
}
