package main

import (
	_ "embed"
	"io"

	"github.com/spf13/cobra"
)

// The scripts are ours, not cobra's, where that could be tried: they complete
// inside of quotes. PowerShell has cobra's.
var (
	//go:embed complete/weir.bash
	bashCompletion string
	//go:embed complete/weir.zsh
	zshCompletion string
	//go:embed complete/weir.fish
	fishCompletion string
)

func completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a completion script for a shell",
		Long: `Prints a script that completes commands, flags, and what is there right now:
namespaces, pods, containers, workloads, contexts, labels and their values, also
inside of a LogQL selector. It asks the source that the command would ask, with
the flags typed so far, for at most a second.

In this shell:
  bash         source <(weir completion bash)
  zsh          source <(weir completion zsh)
  fish         weir completion fish | source
  powershell   weir completion powershell | Out-String | Invoke-Expression

In every new one:
  bash         weir completion bash > ~/.local/share/bash-completion/completions/weir
               with the package bash-completion; else put the line above into
               ~/.bashrc
  zsh          weir completion zsh > "${fpath[1]}/_weir"
               with compinit in ~/.zshrc
  fish         weir completion fish > ~/.config/fish/completions/weir.fish
  powershell   put the line above into the file $PROFILE

kubectl completes 'kubectl weir' when kubectl_complete-weir is in the PATH: a
link to weir, as kubectl-weir is.`,
		Example: `  source <(weir completion bash)
  weir completion fish | source`,
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("for which shell? bash, zsh, fish or powershell: source <(weir completion bash)")
			}
			if len(args) > 1 {
				return usageError("one shell at a time: weir completion %s", args[0])
			}
			for _, s := range shells {
				if s == args[0] {
					return nil
				}
			}
			return usageError("no completion for %q; there is: bash, zsh, fish, powershell", args[0])
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			out := cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				_, err = io.WriteString(out, bashCompletion)
			case "zsh":
				_, err = io.WriteString(out, zshCompletion)
			case "fish":
				_, err = io.WriteString(out, fishCompletion)
			default:
				err = cmd.Root().GenPowerShellCompletionWithDesc(out)
			}
			return err
		},
	}
}
