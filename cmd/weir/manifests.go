package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/deploy"
)

func manifestsCommand() *cobra.Command {
	var o deploy.Options
	known := strings.Join(deploy.Roles(), ", ")
	cmd := &cobra.Command{
		Use:   "manifests ROLE",
		Short: "Print the Kubernetes objects of a role",
		Long: `Prints the Kubernetes objects of a role, ready for kubectl apply -f -. They are
the files of deploy/ROLE, which is also a base for kustomize.

Roles: ` + known,
		Example: `  weir manifests agent | kubectl apply -f -
  weir manifests agent --namespace observability --image registry.example.com/weir:v1`,
		ValidArgs: deploy.Roles(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("for which role? %s: weir manifests agent | kubectl apply -f -", known)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := deploy.Manifests(args[0], o)
			if errors.Is(err, deploy.ErrUnknownRole) {
				return usageError("manifests: no role %q; there is: %s", args[0], known)
			}
			if err != nil {
				return &exitError{exitUsage, err}
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&o.Namespace, "namespace", deploy.DefaultNamespace, "namespace of the objects")
	cmd.Flags().StringVar(&o.Image, "image", deploy.DefaultImage, "container image")
	return cmd
}
