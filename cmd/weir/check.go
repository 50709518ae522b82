package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/kube"
)

func checkCommand() *cobra.Command {
	var flags configFlags
	var role, format string
	var live, strict bool
	cmd := &cobra.Command{
		Use:   "check [FILE|DIR…]",
		Short: "Validate a configuration: all errors at once",
		Long: `Validates a configuration and prints every error with its place. Nothing is
started. --live also asks every output whether it can be reached and lets us in,
and the Kubernetes API server for the pods of this node.`,
		Example: `  weir check weir.yaml
  weir check --role agent --live weir.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "text" && format != "json" {
				return usageError("-o %s: want text or json", format)
			}
			flags.files = append(flags.files, args...)
			if len(flags.files) == 0 && role == "" {
				return usageError("check needs a file: weir check weir.yaml")
			}
			cfg, warnings, err := config.Load(flags.options(role))
			if err == nil {
				err = buildable(cfg)
			}
			var bad *config.Errors
			if errors.As(err, &bad) && format == "json" {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(bad.List()); err != nil {
					return err
				}
				return &exitError{exitConfig, errors.New("the configuration is invalid")}
			}
			if err != nil {
				return err
			}
			warnings.Format(cmd.ErrOrStderr(), colorFor(cmd.ErrOrStderr()))
			more := tightBuffers(cfg)
			if text := cfg.Sidecar.Endless(); role == "sidecar" && text != "" {
				more = append(more, text)
			}
			for _, w := range more {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
			}
			if strict && len(warnings.List())+len(more) > 0 {
				return &exitError{exitConfig, errors.New("there are warnings, and --strict is set")}
			}
			if live {
				err := errors.Join(probeKube(cmd.Context(), cfg, cmd.OutOrStdout()), probeOutputs(cmd.Context(), cfg, cmd.OutOrStdout()))
				if cmd.Context().Err() != nil {
					return nil // Ctrl-C
				}
				if err != nil {
					return &exitError{exitUnreachable, err}
				}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "ok: %d inputs, %d steps, %d outputs, %d routes\n", len(cfg.Inputs), len(cfg.Pipeline), len(cfg.Outputs), len(cfg.Routes))
			return err
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&role, "role", "", "check on top of the built-in configuration of this role")
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text or json")
	cmd.Flags().BoolVar(&live, "live", false, "ask the outputs and the Kubernetes API server, too")
	cmd.Flags().BoolVar(&strict, "strict", false, "treat warnings as errors")
	return cmd
}

// buildable finds errors that only the parts themselves can see.
func buildable(cfg *config.Config) error {
	for i, s := range cfg.Pipeline {
		if _, err := new(process).buildStep(s, ""); err != nil {
			return cfg.Problem(fmt.Sprintf("pipeline[%d].%s", i, s.Kind), err.Error())
		}
	}
	return nil
}

// probeKube asks the API server as startKube's watch will.
func probeKube(ctx context.Context, cfg *config.Config, w io.Writer) error {
	for _, in := range cfg.Inputs {
		s, ok := in.Settings.(*config.KubernetesInput)
		if !ok || s.Metadata == "path" {
			continue
		}
		pods, err := kube.New(kube.Config{NodeName: nodeName(cfg), Kubeconfig: string(s.Kubeconfig)})
		if errors.Is(err, kube.ErrNoCluster) && s.Metadata == "auto" {
			fmt.Fprintf(w, "-     %s: %v; names come from paths only\n", in.ID, err)
			continue
		}
		n := 0
		if err == nil {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			n, err = pods.Probe(ctx)
			cancel()
		}
		switch {
		case err != nil:
			fmt.Fprintf(w, "FAIL  %s: %v\n", in.ID, err)
			return fmt.Errorf("the Kubernetes API server cannot be used")
		case n == 0:
			fmt.Fprintf(w, "none  %s: the API server knows no pods on node %s; if some run here, set 'node' or NODE_NAME to the name in 'kubectl get nodes'\n", in.ID, pods.Node())
		default:
			fmt.Fprintf(w, "ok    %s: the API server knows %d pods on node %s\n", in.ID, n, pods.Node())
		}
	}
	return nil
}

// probeOutputs asks every endpoint and prints a line for each.
func probeOutputs(ctx context.Context, cfg *config.Config, w io.Writer) error {
	p := process{cfg: cfg, log: newLogger(cfg.Log, new(slog.LevelVar)), outputClosed: make(chan struct{})}
	failed := 0
	for _, o := range cfg.Outputs {
		if _, ok := o.Settings.(*config.StoreOutput); ok {
			continue // of this process alone: there is nobody to ask
		}
		endpoints, err := p.endpoints(o, p.log)
		if err != nil {
			return cfg.Problem("outputs."+string(o.ID), err.Error())
		}
		if endpoints.looked() {
			lookup, err := endpoints.find(ctx)
			if err := errors.Join(lookup, err); err != nil {
				failed++
				fmt.Fprintf(w, "FAIL  %s %v\n", o.ID, err)
			}
		}
		for _, e := range endpoints.list {
			probe, ok := e.Output.(prober)
			if !ok {
				continue
			}
			begin := time.Now()
			pctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			err := probe.Probe(pctx)
			cancel()
			if err != nil {
				failed++
				fmt.Fprintf(w, "FAIL  %s %s: %v\n", o.ID, e.Name, err)
			} else {
				fmt.Fprintf(w, "ok    %s %s (%s)\n", o.ID, e.Name, time.Since(begin).Round(time.Millisecond))
			}
		}
		_ = endpoints.Close() // they were only asked
	}
	if failed > 0 {
		return &exitError{exitUnreachable, fmt.Errorf("%d endpoints cannot be used", failed)}
	}
	return nil
}
