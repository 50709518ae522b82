package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	podsRoot   = "/var/log/pods"
	dockerLogs = "/var/lib/docker/containers/*/*-json.log"
	systemLogs = "/var/log/*.log"
)

func upCommand() *cobra.Command {
	var flags configFlags
	var format string
	var once, fresh bool
	cmd := &cobra.Command{
		Use:   "up [PATH…|-]",
		Short: "Show the logs of this host's containers, of files, or of a pipe",
		Long: `Shows lines as they are written. Without arguments it looks for the containers of
this host: /var/log/pods (Kubernetes), /var/lib/docker/containers (docker); where
there are none it reads the system's own logs, /var/log/*.log.
With paths it follows those files and directories; with - it reads what is
piped in. Nothing needs to be configured, nothing is kept; -c adds outputs.`,
		Example: `  weir up
  weir up app.log 'logs/*.log'
  kubectl logs deploy/web | weir up -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, ok := map[string]string{"pretty": "line", "raw": "raw", "json": "json"}[format]
			if !ok {
				return usageError("-o %s: want pretty, raw or json", format)
			}
			return up(cmd.Context(), &flags, args, name, once, fresh, cmd.InOrStdin(), cmd.ErrOrStderr())
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "pretty", "pretty, raw or json")
	cmd.Flags().BoolVar(&once, "no-follow", false, "stop when everything there is has been shown")
	cmd.Flags().BoolVar(&fresh, "new", false, "show only what is written from now on")
	return cmd
}

func up(ctx context.Context, flags *configFlags, args []string, format string, once, fresh bool, in io.Reader, errOut io.Writer) error {
	opts := flags.options("up")
	set := []string{"outputs.stdout.format=" + format, "log.level=warn"}
	p := process{quiet: true, once: once}
	// files makes the configuration for plain files instead of the built-in
	// one.
	files := func(settings map[string]any) error {
		text, err := json.Marshal(map[string]any{ // JSON is YAML
			"inputs":   map[string]any{"file": settings},
			"outputs":  map[string]any{"stdout": map[string]any{}},
			"pipeline": []any{map[string]any{"parse": "auto"}},
		})
		if err != nil {
			return err
		}
		const name = "weir up"
		opts.Preset, opts.Files = "", append([]string{name}, opts.Files...)
		opts.ReadFile = func(path string) ([]byte, error) {
			if path == name {
				return text, nil
			}
			return os.ReadFile(path)
		}
		return nil
	}
	switch {
	case len(args) == 1 && args[0] == "-":
		p.stdin = in
		opts.Incomplete = true
		opts.Preset = ""
	case len(args) > 0:
		paths, err := expandPaths(args)
		if err != nil {
			return err
		}
		settings := map[string]any{"paths": paths, "idle": "1s"}
		if fresh {
			settings["start"] = "end"
		}
		if err := files(settings); err != nil {
			return err
		}
	default:
		found, err := findLogs(podsRoot, dockerLogs, systemLogs)
		if err != nil {
			return err
		}
		settings := map[string]any{"paths": []string{found}}
		if fresh {
			settings["start"] = "end"
		}
		switch found {
		case podsRoot:
			if fresh {
				set = append(set, "inputs.kubernetes.start=end")
			}
			fmt.Fprintf(errOut, "reading the containers of this host: %s\n", found)
		case dockerLogs:
			settings["format"] = "docker"
			err = files(settings)
			fmt.Fprintf(errOut, "reading the containers of this host: %s\n", found)
		default:
			err = files(settings)
			fmt.Fprintf(errOut, "no containers on this host (neither %s nor docker's logs); reading %s instead\n", podsRoot, found)
		}
		if err != nil {
			return err
		}
	}
	// Nothing is kept: what is shown today is shown again tomorrow.
	state, err := os.MkdirTemp("", "weir-up-")
	if err != nil {
		return fmt.Errorf("make a temporary state directory: %w", err)
	}
	defer os.RemoveAll(state)
	opts.Set = append(append(set, "state="+state), opts.Set...)
	p.opts = opts
	return p.run(ctx)
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
