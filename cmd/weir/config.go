package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/config"
)

// environmentNames returns the names of all variables that are set.
func environmentNames() []string {
	var names []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		names = append(names, name)
	}
	return names
}

func configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Show and format configurations", RunE: needsSubcommand}
	cmd.AddCommand(configShowCommand(), configFmtCommand())
	return cmd
}

func needsSubcommand(cmd *cobra.Command, args []string) error {
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	if len(args) > 0 {
		return usageError("unknown command %q for %q%s; there are: %s", args[0], cmd.CommandPath(), didYouMean(args[0], names), strings.Join(names, ", "))
	}
	return usageError("%s needs one of: %s; such as: %s %s", cmd.CommandPath(), strings.Join(names, ", "), cmd.CommandPath(), names[0])
}

func configShowCommand() *cobra.Command {
	var flags configFlags
	var role string
	var origins bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the configuration in force: built-in, files, environment, flags and defaults",
		Long: `Prints the configuration in force, secrets left out. With --origins every value
says where it comes from.`,
		Example: `  weir config show --role agent
  weir config show --role agent -c weir.yaml --origins`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if role != "" && !slices.Contains(config.Presets(), role) {
				return usageError("there is no role %q; there are: %s", role, strings.Join(config.Presets(), ", "))
			}
			opts := flags.options(role)
			opts.Incomplete = true
			cfg, warnings, err := config.Load(opts)
			if err != nil {
				return err
			}
			warnings.Format(cmd.ErrOrStderr(), colorFor(cmd.ErrOrStderr()))
			return cfg.Show(cmd.OutOrStdout(), origins)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&role, "role", "", "start from the built-in configuration of this role: "+strings.Join(config.Presets(), ", "))
	cmd.Flags().BoolVar(&origins, "origins", false, "say where each value comes from")
	return cmd
}

func configFmtCommand() *cobra.Command {
	var write bool
	cmd := &cobra.Command{
		Use:     "fmt [FILE…]",
		Short:   "Format configuration files, keeping comments and order",
		Example: "  weir config fmt -w weir.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				src, err := io.ReadAll(cmd.InOrStdin())
				if err != nil {
					return fmt.Errorf("read standard input: %w", err)
				}
				return formatTo(cmd.OutOrStdout(), "stdin", src)
			}
			for _, name := range args {
				src, err := os.ReadFile(name)
				if err != nil {
					return err
				}
				if !write {
					if err := formatTo(cmd.OutOrStdout(), name, src); err != nil {
						return err
					}
					continue
				}
				out, err := config.Format(name, src)
				if err != nil {
					return err
				}
				if string(out) == string(src) {
					continue
				}
				if err := os.WriteFile(name, out, 0o644); err != nil {
					return err
				}
				fmt.Fprintln(cmd.ErrOrStderr(), name)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&write, "write", "w", false, "write the files instead of printing them")
	return cmd
}

func formatTo(w io.Writer, name string, src []byte) error {
	out, err := config.Format(name, src)
	if err != nil {
		return err
	}
	_, err = w.Write(out)
	return err
}
