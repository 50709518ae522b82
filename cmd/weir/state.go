package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/config"
)

const defaultState = "/var/lib/weir"

// stateFlags say which process a command is about: the one with that state
// directory. It is named as the process names it: by itself, by the process's
// configuration, or by the environment.
type stateFlags struct {
	cmd   *cobra.Command
	state string
	files []string
}

func (f *stateFlags) add(cmd *cobra.Command) {
	f.cmd = cmd
	cmd.Flags().StringVar(&f.state, "state", defaultState, "state directory of the process; also WEIR_STATE")
	cmd.Flags().StringArrayVarP(&f.files, "config", "c", nil, "configuration of the process, which names its state directory; may be repeated")
	cmd.MarkFlagsMutuallyExclusive("state", "config")
	if err := cmd.MarkFlagFilename("config", "yaml", "yml"); err != nil {
		panic(err) // the flag was added above
	}
}

// dir returns the state directory.
func (f *stateFlags) dir() (string, error) {
	if len(f.files) > 0 {
		cfg, _, err := config.Load(config.Options{Files: f.files, Incomplete: true})
		if err != nil {
			return "", err
		}
		return string(cfg.State), nil
	}
	if env := os.Getenv("WEIR_STATE"); env != "" && !f.cmd.Flags().Changed("state") {
		return env, nil
	}
	return f.state, nil
}
