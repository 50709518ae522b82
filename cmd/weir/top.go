package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

type topFlags struct {
	sourceFlags
	interval time.Duration
	once     bool
	format   string
	sort     string
	color    string
}

// topSorts are the columns by which rows can be sorted, by the keys of them.
var topSorts = []string{"name", "records/s", "bytes/s", "requests/s", "waiting", "buffered", "latency", "lag", "errors"}

func topCommand() *cobra.Command {
	var f topFlags
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch what the running process takes in and delivers",
		Long: `Shows what comes in and goes out of the running process, and what waits where,
again every --interval: inputs, what is pushed by protocol, outputs with their
buffers and endpoints, tenants, the store.

It asks the process of this host, by its state directory, or with --server any
weir for its metrics, which need no credentials: the address of listen.probe or
listen.http.

On a terminal the screen is kept; keys: q quits, s and the arrows left and right
choose the column to sort by, up and down scroll, the blank stops and goes on,
+ and - change the interval. In a pipe a table is printed each time.`,
		Example: `  weir top
  weir top --server http://gateway:7411 --sort waiting
  weir top --once
  weir top -o json | jq '.outputs[] | {name, waiting: .values.waiting}'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.storeFlags.addTo(cmd, "c")
	c := cmd.Flags()
	c.StringVar(&f.server, "server", "", "URL of a weir to ask for its metrics instead of this host's; also WEIR_SERVER")
	c.StringVar(&f.user, "user", "", "user at the server; the password is in WEIR_PASSWORD or --password-file")
	c.StringVar(&f.passwordFile, "password-file", "", "file with the password")
	c.StringVar(&f.tokenFile, "token-file", "", "file with a bearer token; or the token in WEIR_TOKEN")
	c.StringVar(&f.ca, "ca", "", "file with CA certificates (PEM) for the server, instead of the system's")
	c.DurationVar(&f.interval, "interval", 2*time.Second, "time between two looks")
	c.BoolVar(&f.once, "once", false, "look for one interval and end")
	c.StringVarP(&f.format, "output", "o", "text", "text or json; json ends after one interval")
	c.StringVar(&f.sort, "sort", "name", "column to sort by: "+strings.Join(topSorts, ", "))
	c.StringVar(&f.color, "color", "auto", "auto, always or never")
	cmd.MarkFlagsMutuallyExclusive("server", "state")
	return cmd
}

func (f *topFlags) run(cmd *cobra.Command) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	if f.format != "text" && f.format != "json" {
		return usageError("-o %s: want text or json", f.format)
	}
	if f.interval < 100*time.Millisecond || f.interval > time.Hour {
		return usageError("--interval %s: want 100ms to 1h", f.interval)
	}
	if !slices.Contains(topSorts, f.sort) {
		return usageError("--sort %s: want %s", f.sort, strings.Join(topSorts, ", "))
	}
	color, err := (&outputFlags{color: f.color}).colorOf(out)
	if err != nil {
		return err
	}
	var source topSource
	if server := f.serverURL(); server != "" && len(f.files) == 0 {
		if source, err = f.remoteTop(server); err != nil {
			return err
		}
	} else {
		state, err := f.dir()
		if err != nil {
			return err
		}
		source = localTop(state)
	}
	first, err := source(ctx)
	if err != nil {
		if errors.Is(err, errNotRunning) {
			return &exitError{exitUnreachable, fmt.Errorf("%w; name its state directory with --state, or a --server", err)}
		}
		return err
	}
	view := &topView{color: color, sort: f.sort, interval: f.interval, width: terminalWidth(out)}
	if tty, ok := out.(*os.File); ok && isTerminal(out) && !f.once && f.format == "text" && os.Getenv("TERM") != "dumb" {
		if in, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(in.Fd())) {
			return view.screen(ctx, in, tty, source, first)
		}
	}
	return f.plain(ctx, out, view, source, first)
}

// plain prints a table each interval.
func (f *topFlags) plain(ctx context.Context, out io.Writer, view *topView, source topSource, last *topSample) error {
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, err := source(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		r := topOf(last, now)
		last = now
		if f.format == "json" {
			view.order(r)
			return json.NewEncoder(out).Encode(r)
		}
		text := view.text(r)
		if n > 0 {
			text = "\n" + text
		}
		if _, err := io.WriteString(out, text); err != nil {
			return err
		}
		if f.once {
			return nil
		}
	}
}
