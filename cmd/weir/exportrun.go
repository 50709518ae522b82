package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weirlog/weir/columns"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/show"
	"github.com/weirlog/weir/wire/export"
)

// exportSave is after how many bytes what is written is made durable; 0 for the
// default. Tests change it.
var exportSave int64

// exporting is one run of `weir export`.
type exporting struct {
	flags       *exportFlags
	target      *exportTarget
	expr        *logql.LogExpr // nil for everything
	span        timeRange
	parallel    int
	out, errOut io.Writer

	job    *read.Job
	files  *read.Files // nil for stdout
	began  time.Time
	before int64 // bytes of lines that were written before
	rows   int64 // lines that were
	cost   read.Cost
}

func (x *exporting) run(ctx context.Context, c *read.Client) error {
	x.began = time.Now()
	quietLoopback(c)
	f := &read.Fetch{Client: c, Format: x.target.wireFormat(), Columns: x.flags.columns, Cut: int64(x.target.span)}
	if x.target.format == "csv" && len(f.Columns) == 0 {
		f.Columns = export.Columns
	}
	if err := f.Look(ctx); err != nil {
		return err
	}
	plan, err := x.plan(ctx, f)
	if err != nil || plan == nil {
		return err
	}
	f.Query = plan.Query
	if !c.Local && x.flags.parallel == 0 {
		x.parallel = min(x.parallel, 4)
	}
	x.job = &read.Job{Fetch: f, From: max(plan.From, plan.Next), To: plan.To, Parallel: x.parallel, Compress: x.target.compress, Parquet: x.target.format == "parquet"}
	bar := newExportBar(x)
	f.Notice = bar.notice
	if x.files == nil {
		return x.toStdout(ctx, bar)
	}
	return x.toFiles(ctx, bar)
}

// quietLoopback asks a server on this host not to compress.
func quietLoopback(c *read.Client) {
	u, err := url.Parse(c.Base)
	if err != nil || c.Header == nil {
		return
	}
	if h := u.Hostname(); h == "localhost" || strings.HasPrefix(h, "127.") || h == "::1" {
		c.Header.Set("Accept-Encoding", "identity")
	}
}

// plan returns the plan of a new export or of the one to go on with; nil if
// there is nothing to do.
func (x *exporting) plan(ctx context.Context, f *read.Fetch) (*read.Plan, error) {
	p := &read.Plan{
		Version: 1, Format: x.target.format, Columns: x.flags.columns, Compress: x.target.compress, Part: x.flags.part,
		Source: f.Client.What, Range: x.flags.rangeFlags.text(),
	}
	if tenant := f.Client.Header.Get("X-Scope-OrgID"); tenant != "" {
		p.Source += ", tenant " + tenant
	}
	if x.span.given {
		p.From = x.span.from.UnixNano()
	}
	p.To = x.span.to.UnixNano()
	if !x.span.until && f.Weir() {
		p.To = x.span.now.Add(time.Hour).UnixNano() // clocks differ
	}
	if !x.span.given && !f.Weir() && !f.Client.Local {
		return nil, usageError("%s does not say since when it has logs: say it with --since 7d", f.Client.What)
	}
	var err error
	if f.Weir() {
		p.Query, err = x.query(nil, "")
	} else {
		p.Query, err = x.lokiQuery(ctx, f.Client, p.From, p.To)
	}
	if err != nil || x.target.dir == "" {
		return p, err
	}
	return x.resume(p)
}

// lokiQuery is the query as a Loki understands it, with some label for
// everything.
func (x *exporting) lokiQuery(ctx context.Context, c *read.Client, from, to int64) (string, error) {
	names, err := c.Names(ctx, from, to)
	if err != nil {
		return "", err
	}
	all := ""
	if x.expr == nil && len(x.flags.namespaces) == 0 {
		if all, err = c.Everything(ctx, from, to); err != nil {
			return "", err
		}
		if all == "" && len(names) == 0 {
			all = `{service_name=~".+"}` // there is nothing
		}
		if all == "" {
			return "", usageError("no label is on all logs of %s: say which logs, as in weir export '{%s=~\".+\"}'", c.What, names[0])
		}
	}
	return x.query(names, all)
}

// resume looks for what an earlier export has left.
func (x *exporting) resume(p *read.Plan) (*read.Plan, error) {
	t := x.target
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return nil, err
	}
	x.files = &read.Files{
		Plan: p, Path: t.planPath(), Dir: t.dir, Name: t.name, Span: int64(t.span), Size: t.size, Parquet: t.format == "parquet",
		SaveBytes: exportSave,
	}
	if t.format == "csv" {
		enc, err := export.New(export.CSV, x.flags.columns)
		if err != nil {
			return nil, err
		}
		x.files.Head = read.Compress(t.compress, enc.Head(nil))
	}
	old, err := read.LoadPlan(x.files.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if x.flags.restart && !t.parts {
			if err := os.Remove(filepath.Join(t.dir, t.name(1, 0))); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		if _, err := os.Lstat(filepath.Join(t.dir, t.name(1, 0))); err == nil {
			return nil, usageError("%s exists already; --restart writes it anew", filepath.Join(t.dir, t.name(1, 0)))
		}
	case x.flags.restart:
		if old != nil {
			x.files.Plan = old
		}
		if err := x.files.Forget(); err != nil {
			return nil, err
		}
		x.files.Plan = p
	case err != nil:
		return nil, err
	default:
		if d := old.Same(p); d != "" {
			return nil, usageError("%s is of an export with %s; give the same command to go on with it, or --restart to begin anew", x.files.Path, d)
		}
		x.files.Plan = old
		if old.Done {
			if err := x.files.Open(); err != nil {
				return nil, err
			}
			fmt.Fprintf(x.errOut, "nothing to do: this export is complete, %s in %s; --restart begins anew\n", grouped(old.Rows)+" lines", plural(int64(len(old.Parts)), "file"))
			return nil, x.tidy()
		}
		if old.Rows > 0 {
			fmt.Fprintf(x.errOut, "going on from %s, with %s lines written\n", moment(old.Next), grouped(old.Rows))
		}
		p = old
	}
	return p, x.files.Open()
}

func moment(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }

// tidy removes the plan of a complete export into one file.
func (x *exporting) tidy() error {
	if x.target.parts {
		return nil
	}
	return os.Remove(x.files.Path)
}

func (x *exporting) toFiles(ctx context.Context, bar *exportBar) error {
	x.job.Out = x.files
	rows, raw := x.files.Plan.Rows, x.files.Plan.Raw
	x.before, x.rows = raw, rows
	bar.start()
	err := x.job.Run(ctx, &x.cost)
	bar.stop()
	if err == nil {
		err = x.files.Close(true)
		if err == nil {
			err = x.tidy()
		}
	}
	p := x.files.Plan
	if err != nil {
		if e := x.files.Stop(); e != nil {
			// What counts is the plan that is there.
			if saved, e := read.LoadPlan(x.files.Path); e == nil {
				p = saved
			}
			if ctx.Err() == nil && e.Error() != err.Error() {
				err = errors.Join(err, e)
			}
		}
	}
	switch {
	case err == nil:
		x.total(rows+x.job.Progress.Rows.Load(), raw+x.job.Progress.Raw.Load())
		return x.warned()
	case ctx.Err() != nil:
		return &exitError{exitInterrupted, fmt.Errorf("interrupted%s; the same command goes on from there", far(p))}
	}
	hint := "the same command goes on from there"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		hint = "make room and give the same command to go on"
	}
	err = explain(x.job.Fetch.Client, err)
	err = fmt.Errorf("%w\nended%s; %s", err, far(p), hint)
	var coded *exitError
	if errors.As(err, &coded) {
		return &exitError{coded.code, err}
	}
	return err
}

// far says how far an export is.
func far(p *read.Plan) string {
	if p.Rows == 0 {
		return " before the first line"
	}
	return fmt.Sprintf(" at %s, after %s lines", moment(p.Next), grouped(p.Rows))
}

// warned is the error for what the server warned of.
func (x *exporting) warned() error {
	if len(x.cost.Warnings) == 0 {
		return nil
	}
	return &exitError{exitDropped, errors.New(strings.Join(x.cost.Warnings, "; "))}
}

// total says what was done.
func (x *exporting) total(rows, raw int64) {
	fmt.Fprintf(x.errOut, "%s lines, %s, %.1f s\n", grouped(rows), size(raw), time.Since(x.began).Seconds())
}

func (x *exporting) toStdout(ctx context.Context, bar *exportBar) error {
	w := &stdoutParts{w: x.out, parquet: x.target.format == "parquet"}
	if x.target.format == "csv" {
		enc, err := export.New(export.CSV, x.flags.columns)
		if err != nil {
			return err
		}
		if _, err := x.out.Write(read.Compress(x.target.compress, enc.Head(nil))); err != nil {
			return err
		}
	}
	x.job.Out = w
	if !isTerminal(x.out) {
		bar.start()
	}
	err := x.job.Run(ctx, &x.cost)
	bar.stop()
	if err == nil {
		err = w.close()
	}
	if err != nil {
		return err
	}
	if isTerminal(x.errOut) && !isTerminal(x.out) {
		x.total(x.job.Progress.Rows.Load(), x.job.Progress.Raw.Load())
	}
	return x.warned()
}

// stdoutParts writes an export as one stream.
type stdoutParts struct {
	w       io.Writer
	parquet bool
	n       int64
	groups  []columns.Group
}

// Write implements read.Out.
func (s *stdoutParts) Write(c *read.Chunk) error {
	if s.parquet {
		foot, err := columns.SegmentFooter(c.Data)
		if err != nil {
			return err
		}
		s.groups = append(s.groups, columns.Group{Off: s.n, Footer: bytes.Clone(foot)})
	}
	n, err := s.w.Write(c.Data)
	s.n += int64(n)
	return err
}

// Reached implements read.Out.
func (s *stdoutParts) Reached(int64) error { return nil }

func (s *stdoutParts) close() error {
	if len(s.groups) < 2 {
		return nil
	}
	tail, err := columns.Join(s.groups, s.n)
	if err == nil {
		_, err = s.w.Write(tail)
	}
	return err
}

// text is the range as it was said.
func (f *rangeFlags) text() string {
	var out []string
	for _, e := range []struct{ name, text string }{{"--since", f.since}, {"--until", f.until}, {"--from", f.from}} {
		if e.text != "" {
			out = append(out, e.name+" "+e.text)
		}
	}
	return strings.Join(out, " ")
}

// exportBar shows on a terminal how far an export is.
type exportBar struct {
	x    *exporting
	on   bool
	quit chan struct{}
	done chan struct{}
	note chan string
}

func newExportBar(x *exporting) *exportBar {
	return &exportBar{x: x, on: isTerminal(x.errOut), note: make(chan string)}
}

func (b *exportBar) start() {
	b.quit, b.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(b.done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		var told string
		var at time.Time
		for {
			select {
			case <-tick.C:
				if b.on {
					fmt.Fprint(b.x.errOut, "\r\x1b[K"+b.line(terminalWidth(b.x.errOut)))
				}
			case s := <-b.note:
				if s == told && time.Since(at) < time.Second {
					continue // several slices, one server
				}
				told, at = s, time.Now()
				if b.on {
					fmt.Fprint(b.x.errOut, "\r\x1b[K")
				}
				fmt.Fprintln(b.x.errOut, s)
			case <-b.quit:
				if b.on {
					fmt.Fprint(b.x.errOut, "\r\x1b[K")
				}
				return
			}
		}
	}()
}

func (b *exportBar) stop() {
	if b.quit != nil {
		close(b.quit)
		<-b.done
		b.quit = nil
	}
}

// notice says that the server failed and is asked again.
func (b *exportBar) notice(err error, in time.Duration) {
	s := fmt.Sprintf("weir: %s; trying again in %s", show.Printable(err.Error()), in.Round(time.Millisecond))
	select {
	case b.note <- s:
	case <-time.After(time.Second): // it is not shown now
	}
}

// line is where the export is: 42 %  1 234 567 lines  512 MiB  105 MB/s  0:08 left.
func (b *exportBar) line(width int) string {
	p := &b.x.job.Progress
	raw, rows := p.Raw.Load(), p.Rows.Load()
	share := float64(p.Share.Load()) / 1e6
	took := time.Since(b.x.began)
	left := ""
	if share > 0.005 {
		d := time.Duration(float64(took) * (1 - share) / share).Round(time.Second)
		left = fmt.Sprintf("  %d:%02d left", int(d.Minutes()), int(d.Seconds())%60)
	}
	if before, rest := float64(b.x.before), float64(p.Total.Load()); before > 0 && rest > 0 {
		share = (before + rest*share) / (before + rest)
	}
	s := fmt.Sprintf("%3.0f %%  %s  %s lines  %s  %.0f MB/s%s", 100*share, time.Unix(0, p.Time.Load()).UTC().Format("2006-01-02 15:04"), grouped(b.x.rows+rows), size(b.x.before+raw), float64(raw)/1e6/took.Seconds(), left)
	if len(s) >= width {
		s = s[:max(0, width-1)]
	}
	return s
}
