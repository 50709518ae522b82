package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/wire/export"
)

// exportFlags are what `weir export` is told.
type exportFlags struct {
	sourceFlags
	rangeFlags
	to, format, compress, part string
	columns                    []string
	parallel                   int
	restart                    bool
}

// Formats of exports.
var exportFormats = []string{"jsonl", "csv", "parquet", "raw"}

func exportCommand() *cobra.Command {
	var flags exportFlags
	cmd := &cobra.Command{
		Use:   "export [LOGQL] --to FILE|DIR|-",
		Short: "Write stored logs to files: JSON lines, CSV, Parquet, text",
		Long: `Writes everything there is, or what a query finds between two times, oldest
first: of this host's store, of a weir or of a Loki (--server).

The format is that of the file's name: .jsonl, .csv, .parquet, .log (the lines
alone), and with .gz or .zst behind it compressed; -o and --compress say it
otherwise. A directory (a name that ends with /) gets parts of 256 MiB; --part
bounds them by time or size.

An export that was stopped, whatever stopped it, goes on where it was when the
same command is given again: every line comes once. Until it is complete the file
is called FILE.partial, and FILE.plan beside it says how far it is.

The columns of CSV are time, level, labels and line; --columns names others, which
may be labels. They are as they were logged, byte for byte: unlike 'weir query
-o csv', export puts no ' before what a spreadsheet would take for a formula.
docs/export.md says what the fields of JSON lines and the columns of Parquet mean.`,
		Example: `  weir export --to all.jsonl.zst
  weir export '{namespace="shop"} |= "error"' --since 7d --to errors.csv
  weir export '{app="shop"}' -s 2026-11-01 -u 2026-12-01 --to november/ -o parquet --part 1d
  weir export --server http://loki:3100 '{app="shop"}' --since 24h --to - | jq .line`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError("more than one query; put it in single quotes: weir export '%s' --to FILE", strings.Join(args, " "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runExport(cmd.Context(), &flags, strings.Join(args, ""), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags.sourceFlags.add(cmd)
	f := cmd.Flags()
	// As rangeFlags.add has it, but --to is the output here.
	f.StringVarP(&flags.since, "since", "s", "", "from when: 15m, 2h or 7d (ago), 10:30, 2026-11-22, '2026-11-22 10:00', RFC 3339")
	f.StringVarP(&flags.until, "until", "u", "", "up to when, likewise (default now)")
	f.StringVar(&flags.from, "from", "", "the same as --since")
	cmd.MarkFlagsMutuallyExclusive("since", "from")
	f.StringVar(&flags.to, "to", "", "file, directory (shop/), or - for stdout")
	f.StringVarP(&flags.format, "output", "o", "", strings.Join(exportFormats, ", ")+" (default: as the file's name says, else jsonl)")
	f.StringVar(&flags.compress, "compress", "", "gzip, zstd or none (default: as the file's name says)")
	f.StringVar(&flags.part, "part", "", "several files, none over a time or a size: 1h, 1d, 256MiB")
	f.StringSliceVar(&flags.columns, "columns", nil, "columns of CSV: time, level, labels, line, or names of labels (default time,level,labels,line)")
	f.IntVar(&flags.parallel, "parallel", 0, "how many slices of time are read at once (default: the processors, of a server at most 4)")
	f.BoolVar(&flags.restart, "restart", false, "begin anew: what an earlier export wrote there is removed")
	return cmd
}

// exportTarget is where an export goes and what it looks like.
type exportTarget struct {
	format, compress string // compress: "", gzip, zstd
	dir              string // "" for stdout
	base, ext        string // of names: base + "-00001" + ext, or base + ext
	parts            bool
	span             time.Duration
	size             int64
}

// target reads --to, -o, --compress and --part.
func (f *exportFlags) target() (*exportTarget, error) {
	t := &exportTarget{format: f.format}
	if f.to == "" {
		return nil, usageError("where to is missing: weir export '{app=\"shop\"}' --to shop.jsonl.zst")
	}
	name := filepath.Base(f.to)
	isDir := strings.HasSuffix(f.to, "/") || strings.HasSuffix(f.to, string(filepath.Separator))
	if st, err := os.Stat(f.to); err == nil && st.IsDir() {
		isDir = true
	}
	stem := name
	for ext, kind := range map[string]string{".gz": "gzip", ".zst": "zstd"} {
		if s, ok := strings.CutSuffix(stem, ext); ok && f.to != "-" && !isDir {
			stem, t.compress = s, kind
			t.ext = ext
			break
		}
	}
	byExt := map[string]string{".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet", ".log": "raw", ".txt": "raw"}
	if kind := byExt[filepath.Ext(stem)]; kind != "" && f.to != "-" && !isDir {
		if t.format == "" {
			t.format = kind
		}
		t.ext = filepath.Ext(stem) + t.ext
		stem = strings.TrimSuffix(stem, filepath.Ext(stem))
	}
	if t.format == "" {
		t.format = "jsonl"
	}
	if !slices.Contains(exportFormats, t.format) {
		near := nearestName(t.format, exportFormats)
		if near != "" {
			near = fmt.Sprintf("; did you mean %q?", near)
		}
		return nil, usageError("-o %s: want %s%s", t.format, strings.Join(exportFormats, ", "), near)
	}
	switch f.compress {
	case "":
	case "none":
		t.compress = ""
	case "gzip", "zstd":
		t.compress = f.compress
	default:
		return nil, usageError("--compress %s: want gzip, zstd or none", f.compress)
	}
	if t.format == "parquet" && t.compress != "" {
		return nil, usageError("Parquet files are compressed inside: write to a name that ends with .parquet, without --compress")
	}
	if len(f.columns) > 0 && t.format != "csv" {
		return nil, usageError("--columns is for -o csv")
	}
	if f.part != "" {
		if d, err := parseSpan(f.part); err == nil && d > 0 {
			t.span = d
		} else {
			var z config.Size
			if err := z.UnmarshalText([]byte(f.part)); err != nil || z <= 0 {
				return nil, usageError("--part %s: want a time or a size, such as 1h, 1d or 256MiB", f.part)
			}
			t.size = int64(z)
		}
		t.parts = true
	}
	switch {
	case f.to == "-":
		if t.parts || f.restart {
			return nil, usageError("--part and --restart are for files: --to shop.jsonl --part 1h")
		}
	case isDir:
		t.dir, t.base, t.parts = f.to, "logs", true
		t.ext = map[string]string{"jsonl": ".jsonl", "csv": ".csv", "parquet": ".parquet", "raw": ".log"}[t.format] + map[string]string{"gzip": ".gz", "zstd": ".zst"}[t.compress]
		if t.span == 0 && t.size == 0 {
			t.size = 256 << 20
		}
	default:
		t.dir, t.base = filepath.Dir(f.to), stem
	}
	return t, nil
}

// name names a part.
func (t *exportTarget) name(n int, first int64) string {
	switch {
	case !t.parts:
		return t.base + t.ext
	case t.span > 0:
		at := time.Unix(0, first).UTC().Truncate(t.span)
		return t.base + "-" + at.Format("20060102T150405Z") + t.ext
	}
	return fmt.Sprintf("%s-%05d%s", t.base, n, t.ext)
}

// planPath is the plan's file.
func (t *exportTarget) planPath() string {
	if t.base == "logs" && t.parts {
		return filepath.Join(t.dir, "export.plan")
	}
	return filepath.Join(t.dir, t.base+t.ext+".plan")
}

// wireFormat is what is asked for.
func (t *exportTarget) wireFormat() string {
	if t.format == "parquet" {
		return export.Rows
	}
	return t.format
}

func runExport(ctx context.Context, flags *exportFlags, text string, out, errOut io.Writer) error {
	t, err := flags.target()
	if err != nil {
		return err
	}
	if t.dir == "" && t.format == "parquet" && isTerminal(out) {
		return usageError("a Parquet file is nothing for a terminal: --to shop.parquet")
	}
	if flags.parallel < 0 {
		return usageError("--parallel %d: want a number from 1 on", flags.parallel)
	}
	expr, err := parseSelection(text, "export")
	if err != nil {
		return err
	}
	span, err := flags.rangeFlags.parse(time.Now())
	if err != nil {
		return err
	}
	want := wanted{from: span.from, to: span.to}
	if expr != nil {
		want.expr = expr
	}
	x := &exporting{flags: flags, target: t, expr: expr, span: span, out: out, errOut: errOut}
	x.parallel = flags.parallel
	if x.parallel == 0 {
		x.parallel = runtime.GOMAXPROCS(0)
	}
	defer boundMemory(x.parallel)()
	err = flags.use(ctx, want, errOut, func(c *read.Client) error { return x.run(ctx, c) })
	if errors.Is(err, context.Canceled) {
		return nil // Ctrl-C
	}
	return err
}

// boundMemory has the collector run more often: what an export keeps is little
// beside what it makes, and so it costs little. The function that is returned ends
// it. What the environment says stands.
func boundMemory(parallel int) func() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	percent := debug.SetGCPercent(25)
	limit := debug.SetMemoryLimit(-1)
	debug.SetMemoryLimit(min(limit, int64(90+85*parallel)<<20))
	return func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}
}

// query is what the source is asked for.
func (x *exporting) query(names []string, everything string) (string, error) {
	var e logql.Expr = x.expr
	if x.expr == nil {
		if len(x.flags.namespaces) == 0 && everything == "" {
			return "", nil
		}
		if everything == "" {
			everything = `{namespace=~".+"}`
		}
		var err error
		if e, err = logql.Parse(everything); err != nil {
			return "", err
		}
	}
	e, err := onlyNamespaces(e, x.flags.namespaces)
	if err != nil {
		return "", err
	}
	if names != nil {
		moved := logql.MoveMatchers(e, func(name string) bool { return slices.Contains(names, name) })
		if _, err := logql.Parse(moved.String()); err == nil {
			e = moved
		}
	}
	return e.String(), nil
}
