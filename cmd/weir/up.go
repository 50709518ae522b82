package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/checkpoint"
	"github.com/weirlog/weir/deliver"
)

// upFlags are what `weir up` is told.
type upFlags struct {
	configFlags
	looks   outputFlags
	format  string
	once    bool
	fresh   bool
	noStore bool
	plan    bool
	tail    int
	tailSet bool // by --tail
	listen  string
	state   string
	labels  []string
}

// upAddress is listen.http of config/presets/up.yaml.
const upAddress = "127.0.0.1:7410"

// shownOfPast is how many lines from before the start are shown.
const shownOfPast = 10

func upCommand() *cobra.Command {
	var flags upFlags
	cmd := &cobra.Command{
		Use:   "up [PATH…|-]",
		Short: "Show the logs of this host's containers, of files, or of a pipe, and keep them",
		Long: `Shows lines as they are written and keeps them in a store of its own, from
which 'weir query', 'weir tail', Grafana (a Loki data source) and logcli read.

Without arguments it looks for the containers of this host: /var/log/pods
(Kubernetes), /var/lib/docker/containers (docker); where there are none it reads
the system's own logs, /var/log/*.log. With paths it follows those files and
directories; a directory may be a node's /var/log/pods or a copy of it. With - it
reads what is piped in, and hands it to the 'weir up' that runs already, if one
does. Nothing needs to be configured; -c adds outputs and changes what is built
in ('weir config show --role up').

Of what was there before the start everything is kept, but only the last few lines
are shown (--tail), unless the files are named or --no-follow is given. A second
start goes on where the last one stopped: every line is kept once. With --no-store
nothing is kept.

Lines, positions and the store are in $XDG_STATE_HOME/weir or
~/.local/state/weir, for root in /var/lib/weir/up.`,
		Example: `  weir up
  weir up app.log 'logs/*.log' --label app=shop
  kubectl logs deploy/web | weir up - --label app=web
  weir up ./must-gather/pods --no-follow
  weir query '{app="web"} |= "error"'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if flags.tailSet = cmd.Flags().Changed("tail"); !flags.tailSet && flags.once {
				flags.tail = -1
			}
			if flags.plan {
				return planUp(&flags, args, cmd.OutOrStdout())
			}
			return up(cmd.Context(), &flags, args, cmd.InOrStdin(), cmd.ErrOrStderr())
		},
	}
	flags.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&flags.format, "output", "o", "pretty", "pretty, raw or json")
	flags.looks.addLooks(cmd)
	f.IntVar(&flags.tail, "tail", shownOfPast, "of what was there before the start show this many lines; -1 all (default all of files that are named, and with --no-follow)")
	f.BoolVar(&flags.once, "no-follow", false, "stop when everything there is has been read")
	f.BoolVar(&flags.fresh, "new", false, "show and keep only what is written from now on")
	f.BoolVar(&flags.noStore, "no-store", false, "only show: keep nothing, remember no position, listen nowhere")
	f.BoolVar(&flags.plan, "plan", false, "only say what would be read and where it would be kept")
	f.StringVar(&flags.listen, "listen", "", "address of the HTTP API, or off (default 127.0.0.1:7410)")
	f.StringVar(&flags.state, "state", "", "directory of positions and store; also WEIR_STATE (default as above)")
	f.StringArrayVarP(&flags.labels, "label", "l", nil, "label of the lines of files and pipes: app=shop; may be repeated")
	cmd.MarkFlagsMutuallyExclusive("no-store", "listen")
	cmd.MarkFlagsMutuallyExclusive("no-store", "state")
	cmd.MarkFlagsMutuallyExclusive("new", "tail")
	return cmd
}

// upPlan is what `weir up` found to read.
type upPlan struct {
	process
	flags  *upFlags
	found  string         // for people
	about  []string       // more of it
	inputs map[string]any // settings by id
	query  string         // what finds it in the store
	state  string         // directory; "" if nothing is kept
	pushed string         // URL of the process that keeps the lines instead of this one
	shown  *upScreen
	// unnamed: nobody asked for these files; they are what this host has.
	unnamed bool
}

// newUp finds what there is to read.
func newUp(flags *upFlags, args []string, in io.Reader) (*upPlan, error) {
	format, ok := map[string]string{"pretty": "line", "raw": "raw", "json": "json"}[flags.format]
	if !ok {
		return nil, usageError("-o %s: want pretty, raw or json", flags.format)
	}
	labels, err := parseLabels(flags.labels)
	if err != nil {
		return nil, err
	}
	u := &upPlan{flags: flags, inputs: make(map[string]any), query: labelQuery(labels)}
	style, err := flags.looks.lineStyle(os.Stdout)
	if err != nil {
		return nil, err
	}
	u.quiet, u.once, u.stdinLabels, u.style = true, flags.once, labels, &style
	if len(args) == 1 && args[0] == "-" {
		u.stdin, u.found = in, "what is piped in"
		u.inputs["kubernetes"] = "off"
		if u.query == "" {
			u.query = `{input="stdin"}`
		}
	} else if err := u.find(flags, args, labels); err != nil {
		return nil, err
	}
	text, err := json.Marshal(map[string]any{"inputs": u.inputs}) // JSON is YAML
	if err != nil {
		return nil, err
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
	if !flags.noStore {
		usual, err := upState()
		if err != nil && flags.state == "" {
			return nil, err
		}
		opts.Defaults = map[string]string{"state": usual}
		u.state = cmp.Or(flags.state, os.Getenv("WEIR_STATE"), usual)
		if flags.state != "" {
			abs, err := filepath.Abs(flags.state)
			if err != nil {
				return nil, err
			}
			set = append(set, "state="+strings.ReplaceAll(abs, "${", "$${"))
		}
		u.anyPort = upAddress
		switch {
		case flags.listen != "":
			u.anyPort = ""
			set = append(set, "listen.http="+flags.listen)
		case flags.once:
			set = append(set, "listen.http=off") // it is over in a moment
		}
	}
	opts.Set = append(set, opts.Set...)
	u.opts = opts
	return u, nil
}

func up(ctx context.Context, flags *upFlags, args []string, in io.Reader, errOut io.Writer) error {
	u, err := newUp(flags, args, in)
	if err != nil {
		return err
	}
	u.screen = func(out deliver.Output) deliver.Output {
		if u.shown != nil {
			return out // a reload: the past is over
		}
		u.shown = &upScreen{out: out, from: u.started.UnixNano(), most: flags.tail, files: u.stdin == nil && (flags.tailSet || u.unnamed)}
		return u.shown
	}
	if u.state != "" && runs(u.state) {
		if u.stdin == nil {
			return u.busy()
		}
		if u.pushed, err = pushAddress(ctx, u.state); err != nil {
			return err
		}
	}
	if u.state == "" || u.pushed != "" {
		dir, err := os.MkdirTemp("", "weir-up-")
		if err != nil {
			return fmt.Errorf("make a temporary state directory: %w", err)
		}
		defer os.RemoveAll(dir)
		u.opts.Set = append(u.opts.Set, "state="+strings.ReplaceAll(dir, "${", "$${"), "outputs.store=off", "listen.http=off")
	}
	if u.pushed != "" {
		u.opts.Set = append(u.opts.Set, "outputs.loki.url="+u.pushed, "outputs.loki.batch.wait=200ms")
	}
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	u.onStart = func() {
		if !flags.noStore {
			u.introduce(errOut)
		}
		watch.Go(func() { u.catchUp(ctx, errOut) })
	}
	u.onStop = func() {
		if u.shown != nil && u.once {
			u.shown.open(context.WithoutCancel(ctx), true)
		}
		if !flags.noStore {
			u.sumUp(errOut)
		}
	}
	err = u.run(ctx)
	if errors.Is(err, checkpoint.ErrLocked) {
		return u.busy()
	}
	return err
}

// busy says what can be done while another process has the state directory.
func (u *upPlan) busy() error {
	const what = `another 'weir up' is running and keeps its lines in %[1]s
  see its lines:         weir tail, weir query '%[2]s'
  add a pipe to it:      … | weir up -
  only show these here:  add --no-store
  keep these elsewhere:  add --state DIR --listen 127.0.0.1:0
or end that one first and name all files in one 'weir up'`
	return fmt.Errorf(what, u.state, u.query)
}

// pushAddress returns where a running process takes lines.
func pushAddress(ctx context.Context, state string) (string, error) {
	const instead = "; keep these lines elsewhere with --state DIR --listen 127.0.0.1:0, or only show them with --no-store"
	var r statusReport
	if err := ask(ctx, state, "/v1/status", &r); err != nil {
		return "", err
	}
	if r.HTTP == "" {
		return "", fmt.Errorf("the weir that runs on %s listens nowhere, so that nothing can be handed to it%s", state, instead)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.HTTP+"/loki/api/v1/labels", nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", &exitError{exitUnreachable, fmt.Errorf("the weir that runs on %s: %w%s", state, err, instead)}
	}
	_ = resp.Body.Close() // only its status counts
	if resp.StatusCode != http.StatusOK {
		return "", &exitError{exitUnreachable, fmt.Errorf("the weir that runs on %s wants to know who asks (%s)%s", state, resp.Status, instead)}
	}
	return r.HTTP, nil
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
			if in.tail == nil {
				continue
			}
			s := in.tail.Stats()
			done = done && s.Time.After(p.started.Add(time.Second))
			for i := range s.Ledgers {
				done = done && s.Ledgers[i].Unread == 0
			}
			if done && s.Open > 0 {
				in.tail.Settle(100 * time.Millisecond) // what is open is complete
				done = false
			}
		}
		p.mu.Unlock()
		if done && p.engine.Waiting() == 0 {
			return
		}
	}
}
