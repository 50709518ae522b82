package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/demo"
)

// demoFlags are what `weir demo` is told.
type demoFlags struct {
	past, length time.Duration
	rate         float64
	seed         uint64
	once         bool
	maxDisk      config.Size
	remove, up   bool
	format       string
}

const demoDir = "weir-demo"

func demoCommand() *cobra.Command {
	var flags demoFlags
	cmd := &cobra.Command{
		Use:   "demo [DIR]",
		Short: "Write the logs of a small cluster that does not exist, to try weir with",
		Long: `Writes the log files of a small cluster as a Kubernetes node has them: a shop
with its payments, what Kubernetes itself runs, and some monitoring. It makes up
the past two hours first, in which a few things went wrong, and then goes on
until Ctrl-C. 'weir up DIR' reads them; with --up both happen here.

What is written, and when, depends on --seed, --past and --rate only. All stays
in DIR (default ` + demoDir + ` in the current directory), which must be empty or of an
earlier demo, and within --max-disk: files are rotated, compressed and removed as
kubelet does it. --remove removes them.`,
		Example: `  weir demo --up                     # make it and look at it, in one terminal
  weir demo                          # or in two: this,
  weir up ` + demoDir + `                  # and this
  weir query '{namespace="payments"} |= "acquirer timed out"'
  weir demo --remove`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := demoDir
			if len(args) > 0 {
				dir = args[0]
			}
			return runDemo(cmd, &flags, dir)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&flags.past, "past", 2*time.Hour, "how much of the past to make up first")
	f.Float64Var(&flags.rate, "rate", 10, "about how many lines a second, also in the past")
	f.Uint64Var(&flags.seed, "seed", 1, "chooses what happens")
	f.BoolVar(&flags.once, "no-follow", false, "only the past: stop when it is written")
	f.DurationVar(&flags.length, "for", 0, "how long to go on (default until Ctrl-C)")
	f.TextVar(&flags.maxDisk, "max-disk", config.Size(200<<20), "the most that all files may take")
	f.BoolVar(&flags.up, "up", false, "do what 'weir up DIR' does, too")
	f.BoolVar(&flags.remove, "remove", false, "remove what an earlier demo left")
	f.StringVarP(&flags.format, "output", "o", "pretty", "pretty, or json: at the end an account of all lines on stdout")
	cmd.MarkFlagsMutuallyExclusive("remove", "up")
	cmd.MarkFlagsMutuallyExclusive("no-follow", "for")
	return cmd
}

func (f *demoFlags) check() error {
	switch {
	case f.format != "pretty" && f.format != "json":
		return usageError("-o %s: want pretty or json", f.format)
	case f.format == "json" && f.up:
		return usageError("-o json and --up both want stdout")
	case f.past < 0 || f.past > 31*24*time.Hour:
		return usageError("--past %s: want between 0s and 744h", f.past)
	case f.length < 0:
		return usageError("--for %s: want a duration such as 10m", f.length)
	case !(f.rate > 0) || f.rate > 100_000:
		return usageError("--rate %g: want lines a second, more than 0 and at most 100000", f.rate)
	case f.maxDisk < 2<<20:
		return usageError("--max-disk %s: want at least 2MiB", f.maxDisk)
	}
	return nil
}

// ups are the flags of the 'weir up' that --up means.
func (f *demoFlags) ups() *upFlags {
	return &upFlags{format: "pretty", once: f.once, tail: shownOfPast}
}

func runDemo(cmd *cobra.Command, flags *demoFlags, dir string) error {
	if err := flags.check(); err != nil {
		return err
	}
	errOut := cmd.ErrOrStderr()
	if flags.remove {
		if err := demo.Remove(dir); err != nil {
			return demoError(err, dir)
		}
		fmt.Fprintf(errOut, "%s is removed\n", dir)
		return nil
	}
	if flags.up {
		// Before anything is written that it could not read.
		u, err := newUp(flags.ups(), []string{"-"}, nil)
		if err == nil && runs(u.state) {
			u.query = `{input="kubernetes"}`
			err = u.busy()
		}
		if err != nil {
			return err
		}
	}
	now := time.Now()
	d := &demoRun{flags: flags, dir: dir, errOut: errOut}
	d.account = demoAccount{Dir: dir, Seed: flags.seed, From: now.Add(-flags.past), Now: now, Namespaces: map[string]int{}, Workloads: map[string]int{}}
	d.cluster = demo.New(demo.Config{Seed: flags.seed, Start: now.Add(-flags.past), Now: now, Rate: flags.rate})
	for _, s := range d.cluster.Stories() {
		d.account.Stories = append(d.account.Stories, demoStory{Story: s})
	}
	var err error
	if d.node, err = demo.OpenNode(demo.NodeConfig{Dir: dir, MaxBytes: int64(flags.maxDisk), Keep: now.Add(timeToLook)}); err != nil {
		return demoError(err, dir)
	}
	err = d.run(cmd)
	if e := d.node.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if flags.format == "json" {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetEscapeHTML(false)
		return e.Encode(d.total())
	}
	return nil
}

func demoError(err error, dir string) error {
	switch {
	case errors.Is(err, demo.ErrForeign):
		return fmt.Errorf("%w, and no demo wrote them; name another directory: weir demo %s", err, filepath.Join(dir, demoDir))
	case errors.Is(err, demo.ErrRunning):
		return fmt.Errorf("%w; look at it with 'weir up %s', or name another directory", err, dir)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: there is no demo", err)
	}
	return err
}

// demoAccount is what a demo has written.
type demoAccount struct {
	Dir        string         `json:"dir"`
	Seed       uint64         `json:"seed"`
	From       time.Time      `json:"from"`
	Now        time.Time      `json:"now"`
	Pods       int            `json:"pods"`
	Restarts   int            `json:"restarts"`
	Rotations  int            `json:"rotations"`
	Lines      int            `json:"lines"`
	Removed    int            `json:"removed"` // of them, with their files
	Bytes      int64          `json:"bytes"`
	Disk       int64          `json:"disk"`
	Namespaces map[string]int `json:"namespaces"`
	Workloads  map[string]int `json:"workloads"`
	Stories    []demoStory    `json:"stories"`
}

type demoStory struct {
	demo.Story
	Lines int
}

// MarshalJSON gives the members names in lower case.
func (s demoStory) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name  string    `json:"name"`
		What  string    `json:"what"`
		From  time.Time `json:"from"`
		To    time.Time `json:"to,omitzero"`
		Query string    `json:"query"`
		Lines int       `json:"lines"`
	}{s.Name, s.What, s.From, s.To, s.Query, s.Lines})
}

type demoRun struct {
	flags   *demoFlags
	dir     string
	errOut  io.Writer
	cluster *demo.Cluster
	node    *demo.Node
	account demoAccount
	next    demo.Event // not applied yet
}

// timeToLook is how long a 'weir up' has to begin with what is there before the
// first of it is removed.
const timeToLook = 10 * time.Second

// afterEnd is how long the reader gets to see the last lines.
const afterEnd = time.Second

func (d *demoRun) total() *demoAccount {
	s := d.node.Stats()
	a := &d.account
	a.Pods, a.Restarts, a.Rotations, a.Lines, a.Removed, a.Bytes, a.Disk = s.Pods, s.Restarts, s.Rotations, s.Lines, s.Removed, s.Bytes, d.node.Disk()
	return a
}

// apply writes d.next and looks at the one after.
func (d *demoRun) apply() error {
	if err := d.node.Apply(d.next); err != nil {
		return err
	}
	if e := &d.next; e.Kind == demo.Line {
		d.account.Namespaces[e.Pod.Namespace]++
		d.account.Workloads[e.Pod.Namespace+"/"+e.Pod.Workload]++
		if e.Story > 0 {
			d.account.Stories[e.Story-1].Lines++
		}
	}
	d.next = d.cluster.Next()
	return nil
}

// run writes the past, and then goes on until ctx ends.
func (d *demoRun) run(cmd *cobra.Command) error {
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	d.next = d.cluster.Next()
	for n := 0; !d.next.Time.After(d.account.Now); n++ {
		if n%1000 == 0 && ctx.Err() != nil {
			return nil
		}
		if err := d.apply(); err != nil {
			return err
		}
	}
	if err := d.node.Settle(); err != nil {
		return err
	}
	if err := d.node.Describe(d.total()); err != nil {
		return err
	}
	d.introduce()
	if !d.flags.up {
		if d.flags.once {
			return nil
		}
		err := d.live(ctx)
		d.sumUp()
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var liveErr error
	if !d.flags.once {
		wg.Go(func() {
			liveErr = d.live(ctx)
			lookAgain := time.NewTimer(afterEnd)
			defer lookAgain.Stop()
			select {
			case <-ctx.Done():
			case <-lookAgain.C:
			}
			cancel()
		})
	}
	err := up(ctx, d.flags.ups(), []string{d.dir}, cmd.InOrStdin(), d.errOut)
	cancel()
	wg.Wait()
	if err == nil && liveErr == nil {
		d.sumUp()
	}
	return errors.Join(liveErr, err)
}

// live writes each event when its time has come.
func (d *demoRun) live(ctx context.Context) error {
	var end <-chan time.Time
	if d.flags.length > 0 {
		t := time.NewTimer(time.Until(d.account.Now.Add(d.flags.length)))
		defer t.Stop()
		end = t.C
	}
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		due.Reset(time.Until(d.next.Time))
		select {
		case <-ctx.Done():
			return nil
		case <-end:
			return nil
		case <-due.C:
		}
		for now := time.Now(); !d.next.Time.After(now); {
			if err := d.apply(); err != nil {
				return err
			}
		}
		if err := d.node.Flush(); err != nil {
			return err
		}
	}
}

func (d *demoRun) introduce() {
	w, a := d.errOut, d.total()
	fmt.Fprintf(w, "wrote    %s of the past %s into %s, as a Kubernetes node\n", manyLines(int64(a.Lines)), shortDuration(d.flags.past), d.dir)
	fmt.Fprintf(w, "         %d pods in %d namespaces, %s on disk, never more than %s\n", a.Pods, len(a.Namespaces), size(a.Disk), size(int64(d.flags.maxDisk)))
	if a.Removed > 0 {
		fmt.Fprintf(w, "         the oldest %s did not fit and are removed again: --max-disk\n", manyLines(int64(a.Removed)))
	}
	head := "stories "
	for _, s := range slices.SortedFunc(slices.Values(a.Stories), func(a, b demoStory) int { return a.From.Compare(b.From) }) {
		if s.Lines > 0 {
			fmt.Fprintf(w, "%s %s  %s\n", head, s.From.Local().Format("15:04"), s.What)
			head = "        "
		}
	}
	if d.flags.up {
		fmt.Fprintf(w, "try      weir query '%s'\n         weir hits '%s'\n", a.Stories[0].Query, a.Stories[0].Query)
	} else {
		where := ""
		if !d.flags.once {
			where = "   in another terminal, and then"
		}
		fmt.Fprintf(w, "look     weir up %s%s\n         weir query '%s'\n", shellWord(d.dir), where, a.Stories[0].Query)
	}
	if !d.flags.once {
		fmt.Fprintf(w, "live     about %g lines a second, until Ctrl-C\n", d.flags.rate)
	}
	if d.flags.up {
		fmt.Fprintln(w)
	}
}

func (d *demoRun) sumUp() {
	if d.flags.format == "json" {
		return
	}
	a := d.total()
	arg := ""
	if d.dir != demoDir {
		arg = " " + shellWord(d.dir)
	}
	fmt.Fprintf(d.errOut, "%s written, %s on disk; remove the files with: weir demo --remove%s\n", manyLines(int64(a.Lines)), size(a.Disk), arg)
}

// manyLines is a number of lines as people read it: 38 214 lines.
func manyLines(n int64) string {
	if n == 1 {
		return "1 line"
	}
	return number(n) + " lines"
}

func manyLinesAre(n int64) string {
	if n == 1 {
		return "1 line is"
	}
	return number(n) + " lines are"
}

func number(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

// shortDuration is 2h0m0s as people write it: 2h.
func shortDuration(d time.Duration) string {
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// shellWord quotes what a shell would take apart.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=:@%") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
