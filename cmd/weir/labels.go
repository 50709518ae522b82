package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/read"
)

type labelsFlags struct {
	sourceFlags
	rangeFlags
	tableFlags
	fields bool
}

func labelsCommand() *cobra.Command {
	var flags labelsFlags
	cmd := &cobra.Command{
		Use:   "labels [NAME] [SELECTOR]",
		Short: "Show which labels logs have, and their values",
		Long: `Shows the labels that streams of logs have, with how many values each has and
some of them. With NAME, the values of that label, and how much has each, as the
index knows it: large chunks at the edges of the range are estimated.

With --fields, what else a line may be asked for: structured metadata, and the
fields that a parser (| json, | logfmt) finds in a sample of the newest lines.

Without a range it is about the whole store, or a server's last hour.`,
		Example: `  weir labels
  weir labels '{namespace="shop"}' --since 2h
  weir labels pod '{namespace="shop"}'
  weir labels --fields '{app="shop"}'
  weir labels app -o raw`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 2 || len(args) == 2 && (isSelector(args[0]) || !isSelector(args[1])) {
				return usageError("want a name and a selector: weir labels pod '{namespace=\"shop\"}'")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			var name, text string
			for _, a := range args {
				if isSelector(a) {
					text = a
				} else {
					name = a
				}
			}
			expr, err := parseSelection(text, "labels")
			if err != nil {
				return err
			}
			return askAbout(cmd.Context(), &flags.sourceFlags, &flags.rangeFlags, expr, cmd.ErrOrStderr(), func(a *asking) error {
				if !flags.fields && expr != nil && expr.Stages() > 0 {
					return usageError("weir labels looks at streams and wants only a selector, such as %s", expr.Prefix(0))
				}
				var t *table
				switch {
				case flags.fields:
					t, err = a.fieldTable(cmd.Context(), name)
				case name != "":
					t, err = a.valueTable(cmd.Context(), name)
				default:
					t, err = a.labelTable(cmd.Context())
				}
				if err != nil {
					return err
				}
				if len(t.rows) == 0 {
					a.nothingIn(cmd.Context())
					return nil
				}
				out := cmd.OutOrStdout()
				return flags.print(t, out)
			})
		},
	}
	flags.sourceFlags.add(cmd)
	flags.rangeFlags.add(cmd)
	flags.tableFlags.add(cmd)
	cmd.Flags().BoolVar(&flags.fields, "fields", false, "structured metadata and fields of the lines instead of labels")
	return cmd
}

func isSelector(s string) bool { return strings.HasPrefix(strings.TrimSpace(s), "{") }

// labelTable lists the labels of the selection.
func (a *asking) labelTable(ctx context.Context) (*table, error) {
	values := make([][]string, len(a.names))
	if err := each(ctx, len(a.names), func(ctx context.Context, i int) (err error) {
		values[i], err = a.values(ctx, a.names[i])
		return err
	}); err != nil {
		return nil, err
	}
	t := &table{columns: []column{{name: "label"}, {name: "values", right: true}, {name: "examples"}}}
	for i, name := range a.names {
		if len(values[i]) == 0 {
			continue
		}
		some := values[i][:min(20, len(values[i]))]
		text := strings.Join(some, ", ")
		if len(some) < len(values[i]) {
			text += ", …"
		}
		t.rows = append(t.rows, []cell{{value: name}, {value: int64(len(values[i])), text: grouped(int64(len(values[i])))}, {value: some, text: text}})
	}
	return t, nil
}

// valueTable lists the values of a label, with how much has each.
func (a *asking) valueTable(ctx context.Context, name string) (*table, error) {
	if !a.isLabel(name) {
		if len(a.names) == 0 {
			return &table{}, nil
		}
		hint := didYouMean(name, a.names)
		if hint == "" {
			hint = "; 'weir labels' lists them, 'weir labels --fields' what lines have besides"
		}
		return nil, fmt.Errorf("there is no label %q%s", name, hint)
	}
	values, err := a.values(ctx, name)
	if err != nil {
		return nil, err
	}
	t := &table{columns: []column{{name: "value"}}}
	sums, err := a.volumes(ctx, []string{name})
	known := err == nil
	if err := unlessUnknown(err); err != nil {
		return nil, err
	}
	if known {
		t.columns = append(t.columns, column{name: "bytes", right: true}, column{name: "lines", right: true})
	}
	by := make(map[string]volume)
	for _, s := range sums {
		by[s.labels[name]] = s
	}
	for _, v := range values {
		row := []cell{{value: v}}
		if known {
			row = append(row, cell{value: by[v].bytes, text: size(by[v].bytes)}, linesCell(by[v].lines))
		}
		t.rows = append(t.rows, row)
	}
	return t, nil
}

// unlessUnknown is err unless it says that the server has no such question.
func unlessUnknown(err error) error {
	var se *read.ServerError
	if errors.As(err, &se) && (se.Status == http.StatusNotFound || se.Status == http.StatusBadRequest || se.Status == http.StatusNotImplemented || se.Status == http.StatusMethodNotAllowed) {
		return nil
	}
	return err
}

// fieldTable lists what lines have besides labels, or the values of one of it.
func (a *asking) fieldTable(ctx context.Context, name string) (*table, error) {
	form := a.span()
	form.Set("query", a.moved)
	form.Set("line_limit", "5000")
	if a.c.Local {
		form.Set("line_limit", "10000")
	}
	if name != "" {
		var got struct{ Values []string }
		if err := a.c.Get(ctx, "/loki/api/v1/detected_field/"+url.PathEscape(name)+"/values", form, &got); err != nil {
			return nil, err
		}
		t := &table{columns: []column{{name: "value"}}}
		for _, v := range got.Values {
			t.rows = append(t.rows, []cell{{value: v}})
		}
		return t, nil
	}
	var got struct {
		Fields []struct {
			Label, Type string
			Cardinality int64
			Parsers     []string
		}
	}
	if err := a.c.Get(ctx, "/loki/api/v1/detected_fields", form, &got); err != nil {
		return nil, err
	}
	t := &table{columns: []column{{name: "field"}, {name: "type"}, {name: "values", right: true}, {name: "parsers", data: true}, {name: "found by", plain: true}}}
	for _, f := range got.Fields {
		by := "metadata"
		if len(f.Parsers) > 0 {
			by = "| " + strings.Join(f.Parsers, " or | ")
		}
		t.rows = append(t.rows, []cell{{value: f.Label}, {value: f.Type}, {value: f.Cardinality, text: grouped(f.Cardinality)}, {value: f.Parsers}, {text: by}})
	}
	slices.SortFunc(t.rows, func(x, y []cell) int { return strings.Compare(x[0].value.(string), y[0].value.(string)) })
	return t, nil
}
