package main

import (
	"github.com/spf13/cobra"

	"github.com/weirlog/weir/config"
)

// configFlags are the flags of every command that loads a configuration.
type configFlags struct {
	files []string
	set   []string
}

func (f *configFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&f.files, "config", "c", nil, "configuration file or directory; may be repeated")
	cmd.Flags().StringArrayVar(&f.set, "set", nil, "set a key: outputs.loki.url=http://127.0.0.1:3100; may be repeated")
	if err := cmd.MarkFlagFilename("config", "yaml", "yml"); err != nil {
		panic(err) // the flag was added above
	}
}

func (f *configFlags) options(preset string) config.Options {
	return config.Options{Files: f.files, Preset: preset, Set: f.set, EnvNames: environmentNames()}
}

func agentCommand() *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Collect the logs of this node and ship them",
		Long: `Collects the logs of every container of this node and ships them.

The built-in configuration ('weir config show --role agent') reads
/var/log/pods and parses what it finds; -c adds to it, at least an output.`,
		Example: `  weir agent -c weir.yaml
  weir agent --set outputs.elasticsearch.url=http://127.0.0.1:9200`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := process{opts: flags.options("agent")}
			return p.run(cmd.Context())
		},
	}
	flags.add(cmd)
	return cmd
}

func runCommand() *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:     "run -c FILE|DIR",
		Short:   "Run any configuration",
		Example: "  weir run -c weir.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(flags.files) == 0 {
				return usageError("run needs a configuration: weir run -c weir.yaml")
			}
			p := process{opts: flags.options("")}
			return p.run(cmd.Context())
		},
	}
	flags.add(cmd)
	return cmd
}
