package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/deliver"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

func dlqCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "List and replay dead letters: records that a destination refused for good",
		RunE:  needsSubcommand,
	}
	cmd.AddCommand(dlqListCommand(), dlqReplayCommand())
	return cmd
}

func dlqListCommand() *cobra.Command {
	var of stateFlags
	var name, format string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the dead letters, oldest first",
		Example: `  weir dlq list
  weir dlq list --name elasticsearch/main -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return usageError("-o %s: want text or json", format)
			}
			state, err := of.dir()
			if err != nil {
				return err
			}
			dir := filepath.Join(state, "dlq")
			names, err := deliver.DeadLetterOutputs(dir)
			if err != nil {
				return err
			}
			out, n := cmd.OutOrStdout(), 0
			var damage deliver.Damage
			for _, output := range names {
				if name != "" && name != output {
					continue
				}
				d, err := deliver.OpenDeadLetters(deliver.DLQConfig{Dir: dir, Output: output, ReadOnly: true})
				if err != nil {
					return err
				}
				found, err := d.List(cmd.Context(), func(l *deliver.Letter) error {
					if n++; limit > 0 && n > limit {
						return errLimit
					}
					return printLetter(out, l, format)
				})
				if err != nil && !errors.Is(err, errLimit) {
					return err
				}
				damage.Places += found.Places
				damage.Bytes += found.Bytes
				damage.Unknown += found.Unknown
			}
			if damage.Places+damage.Unknown > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "left out: %d damaged places of %d bytes, %d letters of another version\n", damage.Places, damage.Bytes, damage.Unknown)
			}
			if n == 0 && format == "text" {
				fmt.Fprintln(cmd.ErrOrStderr(), "no dead letters")
			}
			return nil
		},
	}
	of.add(cmd)
	cmd.Flags().StringVar(&name, "name", "", "only of this output, such as elasticsearch/main")
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text or json")
	cmd.Flags().IntVar(&limit, "limit", 0, "print this many at most")
	return cmd
}

var errLimit = errors.New("limit reached")

func printLetter(w io.Writer, l *deliver.Letter, format string) error {
	if format == "json" {
		attrs := make(map[string]string, len(l.Attrs))
		for _, a := range l.Attrs {
			attrs[a.Name] = a.Value
		}
		return json.NewEncoder(w).Encode(map[string]any{
			"time": l.Time.UTC(), "output": l.Output, "class": l.Status.Class(), "status": l.Status.Reason(), "reason": l.Reason, "attempts": l.Attempts,
			"id": l.ID.String(), "record_time": time.Unix(0, l.RecordTime).UTC(), "attributes": attrs,
			"body": string(l.Body), "source": string(l.Source),
		})
	}
	get := func(name string) string {
		for _, a := range l.Attrs {
			if a.Name == name {
				return a.Value
			}
		}
		return ""
	}
	from := get(record.AttrFile)
	if pod := get(record.AttrPod); pod != "" {
		from = get(record.AttrNamespace) + "/" + pod + "/" + get(record.AttrContainer)
	}
	_, err := fmt.Fprintf(w, "%s  %s  %s: %s\n    %s  %s\n", l.Time.UTC().Format(time.RFC3339), l.Output, l.Status.Reason(), printable(l.Reason), from, printable(string(l.Body)))
	return err
}

// printable escapes control bytes and shortens.
func printable(s string) string {
	const most = 300
	if len(s) > most {
		s = s[:most] + "…"
	}
	q := fmt.Sprintf("%q", s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

func dlqReplayCommand() *cobra.Command {
	var flags configFlags
	var role, name string
	var give time.Duration
	cmd := &cobra.Command{
		Use:   "replay -c FILE --name OUTPUT",
		Short: "Send the dead letters of an output again; what is delivered leaves the queue",
		Long: `Sends the dead letters of an output again, with the settings and the state
directory of the configuration. What is delivered leaves the queue, what is
refused again stays. Records keep their ids. It may run beside the agent.`,
		Example: "  weir dlq replay -c weir.yaml --name elasticsearch/main",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := config.Load(flags.options(role))
			if err != nil {
				return err
			}
			o := cfg.Output(config.ID(name))
			if o == nil {
				return usageError("the configuration has no output %q; it has: %s", name, ids(cfg.Outputs))
			}
			return replay(cmd.Context(), cfg, *o, give, cmd.OutOrStdout())
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&role, "role", "agent", "built-in configuration beneath the files")
	cmd.Flags().StringVar(&name, "name", "", "the output")
	cmd.Flags().DurationVar(&give, "for", time.Minute, "how long to try while the destination cannot be reached")
	if err := cmd.MarkFlagRequired("name"); err != nil {
		panic(err) // the flag was added above
	}
	return cmd
}

func replay(ctx context.Context, cfg *config.Config, o config.Output, give time.Duration, w io.Writer) error {
	p := process{cfg: cfg, outputClosed: make(chan struct{})}
	p.log = newLogger(cfg.Log, &p.level)
	if _, ok := o.Settings.(*config.StoreOutput); ok {
		if err := p.openStore(ctx); err != nil {
			return fmt.Errorf("%w\nA store's dead letters are replayed while the process that has it is stopped", err)
		}
		defer p.closeStore()
	}
	endpoints, err := p.endpoints(o, p.log)
	if err != nil {
		return err
	}
	defer endpoints.Close() // everything sent was answered
	if endpoints.looked() {
		if lookup, err := endpoints.find(ctx); err != nil || len(endpoints.list) == 0 {
			return &exitError{exitUnreachable, errors.Join(lookup, err)}
		}
	}
	dead, err := deliver.OpenDeadLetters(deliver.DLQConfig{
		Dir: filepath.Join(string(cfg.State), "dlq"), Output: string(o.ID), ID: wire.RecordID, Logger: p.log,
	})
	if err != nil {
		return err
	}
	defer dead.Close()
	common := o.Settings.Common()
	report, err := dead.Replay(ctx, deliver.Config{
		Name: string(o.ID), Endpoints: endpoints.list,
		Batch:  deliver.Batch{Bytes: int(common.Batch.Bytes), Wait: -1},
		Retry:  deliver.Retry{For: give, MinDelay: time.Duration(common.Retry.MinDelay), MaxDelay: min(time.Duration(common.Retry.MaxDelay), give)},
		Logger: p.log,
	}, nil)
	fmt.Fprintf(w, "%d delivered, %d refused again, %d still open of %d\n", report.Delivered, report.Refused, report.Open, report.Selected)
	if err != nil {
		return &exitError{exitUnreachable, err}
	}
	if report.Refused+report.Open > 0 {
		return &exitError{exitDropped, errors.New("not everything was delivered")}
	}
	return nil
}
