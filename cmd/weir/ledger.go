package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/checkpoint"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/tail"
)

func ledgerCommand() *cobra.Command {
	var of stateFlags
	var format string
	var check bool
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Show what was written, read, delivered, and what is missing",
		Long: `Shows, per container, in bytes:    written = read + unread + lost
and per output, in records:        read = delivered + waiting + dropped + dead

An output with a buffer on disk has a row of its own for it. What a container's
row counts as buffered is safe there and counted there from then on; the total
has it where it has got to.

The figures come from the running process, or, if none runs, from what it saved
last. They go on over restarts.`,
		Example: `  weir ledger
  weir ledger -o json | jq .total
  weir ledger --check || echo "something is missing"`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "table" && format != "json" {
				return usageError("-o %s: want table or json", format)
			}
			state, err := of.dir()
			if err != nil {
				return err
			}
			var report ledgerReport
			err = ask(cmd.Context(), state, "/v1/ledger", &report)
			if errors.Is(err, errNotRunning) {
				var saved *ledgerReport
				if saved, err = savedLedger(state); err == nil {
					report = *saved
				}
			}
			if err != nil {
				return err
			}
			if format == "json" {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(report)
			} else {
				if !report.Live {
					fmt.Fprintln(cmd.ErrOrStderr(), "no weir is running on this state directory: figures as last saved")
				}
				err = printLedger(cmd.OutOrStdout(), &report)
			}
			if err != nil || !check {
				return err
			}
			for _, row := range report.Containers {
				if !row.balanced() {
					return &exitError{exitFailed, fmt.Errorf("the ledger of %s does not balance; this is a bug in weir", row.name())}
				}
			}
			for _, b := range report.Buffers {
				if !b.balanced() {
					return &exitError{exitFailed, fmt.Errorf("the buffer of %s does not balance; this is a bug in weir", b.Output)}
				}
			}
			if report.Total.Lost > 0 {
				return &exitError{exitDropped, fmt.Errorf("%d bytes were lost", report.Total.Lost)}
			}
			return nil
		},
	}
	of.add(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table or json")
	cmd.Flags().BoolVar(&check, "check", false, "exit with 5 if bytes were lost, with 1 if the ledger does not balance")
	return cmd
}

// savedLedger reads the ledger from the positions of a process that is not
// running.
func savedLedger(state string) (*ledgerReport, error) {
	store, err := checkpoint.Read(filepath.Join(state, "positions"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &exitError{exitUnreachable, fmt.Errorf("no weir runs or ran on state directory %s; name another with --state", state)}
	}
	if err != nil {
		return nil, err
	}
	inputs := make(map[string]bool)
	store.Range("", func(key string, _ []byte) bool {
		for _, kind := range []string{"/account/", "/chain/"} {
			if id, _, ok := strings.Cut(key, kind); ok {
				inputs[id] = true
			}
		}
		return true
	})
	r := &ledgerReport{Time: time.Now(), Containers: []ledgerRow{}}
	var book ack.Book
	none := record.NewStream(nil, nil, nil)
	for id := range inputs {
		in, err := tail.New(tail.Config{
			ID: id, Paths: []string{"/nonexistent"}, Checkpoint: store, Book: &book,
			Describe: func(tail.Container) tail.Description {
				return tail.Description{Streams: [2]*record.Stream{none, none}}
			},
		})
		if err != nil {
			return nil, err
		}
		r.Containers = append(r.Containers, ledgerRows(id, in.Stats(), book.Names())...)
	}
	r.Buffers = savedBuffers(state)
	r.finish()
	return r, nil
}

func printLedger(out io.Writer, r *ledgerReport) error {
	if len(r.Containers) == 0 && len(r.Buffers) == 0 {
		_, err := fmt.Fprintln(out, "nothing has been read yet")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "WRITTEN\tREAD\tUNREAD\tLOST\tbytes of\t")
	rows := append(r.Containers[:len(r.Containers):len(r.Containers)], r.Total)
	for i, row := range rows {
		name := row.name()
		if i == len(rows)-1 {
			name = "TOTAL"
		}
		if row.Pushed {
			continue
		}
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%s\t\n", row.Written, row.Read, row.Unread, row.Lost, name)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	buffered, column := len(r.Buffers) > 0, ""
	if buffered {
		column = "BUFFERED\t"
	}
	fmt.Fprintf(w, "READ\tDELIVERED\t%sWAITING\tDROPPED\tDEAD\trecords at\t\n", column)
	line := func(o outputRow, name string) {
		if buffered {
			column = fmt.Sprint(o.Buffered, "\t")
		}
		fmt.Fprintf(w, "%d\t%d\t%s%d\t%d\t%d\t%s → %s\t\n", o.Read, o.Delivered, column, o.Waiting, o.Dropped, o.Dead, name, o.Output)
	}
	for i, row := range rows {
		name := row.name()
		if i == len(rows)-1 {
			name = "TOTAL"
			for _, b := range r.Buffers {
				line(outputRow{Output: b.Output, Read: b.Written, Delivered: b.Delivered, Waiting: b.Waiting, Dropped: b.Dropped, Dead: b.Dead}, "buffer")
			}
		}
		for _, o := range row.Outputs {
			line(o, name)
		}
	}
	return w.Flush()
}
