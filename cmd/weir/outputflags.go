package main

import (
	"bufio"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/show"
)

// outputFlags say how lines and numbers are printed.
type outputFlags struct {
	format string
}

func (f *outputFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.format, "output", "o", "pretty", strings.Join(show.Formats, ", "))
}

// printer returns the printer to w, which writes to out.
func (f *outputFlags) printer(w *bufio.Writer, out io.Writer) (show.Printer, error) {
	p, err := show.New(w, show.Options{Format: f.format, Color: colorFor(out)})
	if err != nil {
		return nil, usageError("-o %s: %v", f.format, err)
	}
	return p, nil
}
