package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/config"
)

const defaultState = "/var/lib/weir"

// upState is the state directory of `weir up`. It is not that of the roles: a
// position that `weir up` moves must not stand for what an agent still has to
// deliver elsewhere.
func upState() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "weir"), nil
	}
	if os.Geteuid() == 0 {
		return filepath.Join(defaultState, "up"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no place for the state: %w; name one with --state", err)
	}
	return filepath.Join(home, ".local", "state", "weir"), nil
}

// stateFlags say which process a command is about: the one with that state
// directory. It is named as the process names it: by itself, by the process's
// configuration, or by the environment.
type stateFlags struct {
	state string
	files []string
}

func (f *stateFlags) add(cmd *cobra.Command) {
	f.addTo(cmd, "c")
}

// addTo adds the flags; short is the letter of --config, "" for none: reading
// commands have -c for containers, as stern and kubectl.
func (f *stateFlags) addTo(cmd *cobra.Command, short string) {
	cmd.Flags().StringVar(&f.state, "state", "", "state directory of the process; also WEIR_STATE (default "+defaultState+", else that of 'weir up')")
	cmd.Flags().StringArrayVarP(&f.files, "config", short, nil, "configuration of the process, which names its state directory; may be repeated")
	cmd.MarkFlagsMutuallyExclusive("state", "config")
	if err := cmd.MarkFlagFilename("config", "yaml", "yml"); err != nil {
		panic(err) // the flag was added above
	}
}

// dir returns the state directory.
func (f *stateFlags) dir() (string, error) {
	return f.find(func(state string) bool {
		_, err := os.Stat(filepath.Join(state, "positions"))
		return err == nil
	}, io.Discard)
}

// find returns the state directory: the one that was named, else the first
// usual one of a running process, else the first of which has is true, else
// the default.
func (f *stateFlags) find(has func(state string) bool, errOut io.Writer) (string, error) {
	if len(f.files) > 0 {
		cfg, _, err := config.Load(config.Options{Files: f.files, Incomplete: true})
		if err != nil {
			return "", err
		}
		return string(cfg.State), nil
	}
	if f.state != "" {
		return f.state, nil
	}
	if env := os.Getenv("WEIR_STATE"); env != "" {
		return env, nil
	}
	usual := []string{defaultState}
	if up, err := upState(); err == nil {
		usual = append(usual, up)
	}
	if inCluster() { // 'kubectl exec' into a sidecar
		usual = append(usual, statesInUse("/proc")...)
	}
	for _, test := range []func(string) bool{func(s string) bool { return has(s) && runs(s) }, has} {
		for _, state := range usual {
			if !test(state) {
				continue
			}
			if state != usual[0] {
				fmt.Fprintf(errOut, "of %s\n", state)
			}
			return state, nil
		}
	}
	return usual[0], nil
}

// statesInUse returns the state directories of the weir processes that can be seen
// from here: a sidecar chooses its own. A process has the file with its positions
// open.
func statesInUse(proc string) (dirs []string) {
	links, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "*")) // of others than us it lists none
	for _, l := range links {
		if target, err := os.Readlink(l); err == nil {
			if dir, ok := strings.CutSuffix(target, "/positions/checkpoint.lock"); ok {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// runs reports whether a process answers on the socket of a state directory.
func runs(state string) bool {
	conn, err := dialAdmin(context.Background(), state)
	if err != nil {
		return false
	}
	_ = conn.Close() // it was only to see
	return true
}
