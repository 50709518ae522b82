package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func statusCommand() *cobra.Command {
	var of stateFlags
	var format string
	var ready bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the running process is doing now",
		Long: `Shows what the running process is doing now. --ready only says whether it does its
work, and ends with 1 if it does not: a probe for containers without a shell.`,
		Example: `  weir status
  weir status -o json | jq .outputs`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return usageError("-o %s: want text or json", format)
			}
			state, err := of.dir()
			if err != nil {
				return err
			}
			if ready {
				return askReady(cmd.Context(), state)
			}
			var r statusReport
			if err := ask(cmd.Context(), state, "/v1/status", &r); err != nil {
				if errors.Is(err, errNotRunning) {
					return &exitError{exitUnreachable, fmt.Errorf("%w; name its state directory with --state", err)}
				}
				return err
			}
			if format == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
			}
			printStatus(cmd.OutOrStdout(), &r)
			return nil
		},
	}
	of.add(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text or json")
	cmd.Flags().BoolVar(&ready, "ready", false, "only say whether it is ready")
	return cmd
}

// askReady returns why the process of a state directory is not ready.
func askReady(ctx context.Context, state string) error {
	client := adminClient(state)
	client.Timeout = 5 * time.Second
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://weir/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return adminError(state, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", strings.TrimSpace(string(text)))
	}
	return err
}

func printStatus(w io.Writer, r *statusReport) {
	health := "healthy"
	if !r.Healthy {
		health = "NOT healthy: " + strings.Join(r.Problems, "; ")
	}
	fmt.Fprintf(w, "weir %s on %s, up %s, %s\n", r.Version, r.Node, age(r.Time, r.Started), health)
	fmt.Fprintf(w, "memory for records  %s of %s\n", size(r.BudgetUsed), size(r.BudgetLimit))
	for _, d := range r.Degraded {
		fmt.Fprintf(w, "DEGRADED            %s\n", d)
	}
	if r.HTTP != "" {
		fmt.Fprintf(w, "HTTP                %s\n", r.HTTP)
	}
	c := "loaded " + age(r.Time, r.Config.LoadedAt) + " ago"
	if !r.Config.LastOK {
		c += "; the last change was REFUSED: " + r.Config.LastError
	}
	fmt.Fprintf(w, "configuration       %s\n", c)
	if k := r.Kube; k != nil {
		state := "synced"
		if !k.Synced {
			state = "not reachable; names from paths and the cache"
		}
		fmt.Fprintf(w, "kubernetes API      %s, %d pods on this node\n", state, k.Pods)
	}
	if r.Senders != nil {
		r.Senders.print(w)
	}
	for i := range r.Pushed {
		r.Pushed[i].print(w)
	}
	for _, in := range r.Inputs {
		fmt.Fprintf(w, "\ninput %s\n", in.ID)
		fmt.Fprintf(w, "  files    %s; %d open\n", counts(in.Files), in.OpenHandles)
		fmt.Fprintf(w, "  bytes    %d written = %d read + %d unread + %d lost\n", in.Written, in.Read, in.Unread, in.Lost)
		fmt.Fprintf(w, "  lag      %.1f s unread, %.1f s unacknowledged", in.LagSeconds, in.OldestUnacked)
		if in.WaitsForRoom {
			fmt.Fprint(w, "; WAITS: an output is full or the memory is spent")
		}
		fmt.Fprintln(w)
		if in.HeldBytes > 0 {
			fmt.Fprintf(w, "  held     %s of deleted files\n", size(in.HeldBytes))
		}
		if in.Reclaimed > 0 {
			fmt.Fprintf(w, "  space    %s of delivered lines given back\n", size(in.Reclaimed))
		}
		if len(in.Gaps) > 0 {
			fmt.Fprintf(w, "  gaps     %s\n", counts(in.Gaps))
		}
		if len(in.Errors) > 0 {
			fmt.Fprintf(w, "  errors   %s\n", counts(in.Errors))
		}
	}
	if r.Store != nil {
		r.Store.print(w)
	}
	for _, o := range r.Outputs {
		printOutput(w, "output", &o, r.Time)
	}
	for _, o := range r.Retired {
		printOutput(w, "removed output, draining:", &o, r.Time)
	}
	for _, l := range r.LeftBuffers {
		fmt.Fprintf(w, "\nLEFT OVER  %s\n", l)
	}
}

func printOutput(w io.Writer, what string, o *outputStatus, now time.Time) {
	fmt.Fprintf(w, "\n%s %s\n", what, o.ID)
	fmt.Fprintf(w, "  waiting  %d records, %s; its queue is full at %s", o.Waiting, size(int64(o.WaitingBytes)), size(o.Capacity))
	if !o.OldestSince.IsZero() {
		fmt.Fprintf(w, ", oldest for %s", age(now, o.OldestSince))
	}
	fmt.Fprintf(w, "\n  records  %s since start\n", counts(o.Records))
	fmt.Fprintf(w, "  requests %s; %s sent; %d of %d in flight; %d records sent again\n", counts(o.Requests), size(int64(o.BytesSent)), o.InFlight, o.Limit, o.Retried)
	groups := slices.ContainsFunc(o.Endpoints, func(e endpointStatus) bool { return e.Group != o.Endpoints[0].Group })
	for _, e := range o.Endpoints {
		fmt.Fprintf(w, "  %-8s %s, ", e.word(), e.Name)
		if groups {
			fmt.Fprintf(w, "group %d, ", e.Group)
		}
		if len(o.Endpoints) > 1 {
			fmt.Fprintf(w, "%d of %d in flight, ", e.InFlight, e.Limit)
		}
		fmt.Fprintf(w, "%d requests, %d failed", e.Requests, e.Failures)
		if !e.PausedUntil.IsZero() {
			fmt.Fprintf(w, "; it asked to be left alone for %s", e.PausedUntil.Sub(now).Round(time.Second))
		}
		fmt.Fprintln(w)
	}
	if l := o.Lookup; l != nil && l.Error != "" {
		fmt.Fprintf(w, "  LOOKUP   %s\n", strings.ReplaceAll(l.Error, "\n", "; "))
	}
	if o.Buffer != nil {
		o.Buffer.print(w)
	}
	if o.LastError != "" {
		fmt.Fprintf(w, "  error    %s ago: %s\n", age(now, o.LastErrorAt), o.LastError)
	}
	if o.DeadLetters > 0 {
		fmt.Fprintf(w, "  dead     %s of dead letters; see 'weir dlq list'\n", size(o.DeadLetters))
	}
}

func age(now, t time.Time) string {
	d := now.Sub(t)
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func counts[N int | int64 | uint64](m map[string]N) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%d %s", m[k], k))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// size prints bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	div, exp := int64(unit), 0
	for m := n / unit; m >= unit && exp < 4; m /= unit {
		div *= unit
		exp++
	}
	return fmt.Sprintf("%.1f %ciB", float64(n)/float64(div), "KMGTP"[exp])
}
