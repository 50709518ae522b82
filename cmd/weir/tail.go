package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/read"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/show"
	"github.com/weirlog/weir/stage"
)

// tailFlags are those of `weir tail`. Names and letters are stern's where stern
// has them, else kubectl's.
type tailFlags struct {
	sourceFlags
	rangeFlags
	outputFlags

	selector, fieldSelector, node     string
	containers, noContainers, noPods  []string
	include, exclude                  []string
	level                             string
	tail                              int64
	noFollow, follow                  bool
	around                            int
	previous, init, ephemeral, events bool
	states                            []string
	maxRequests                       int
	order, window                     string
	onlyLogLines, stdin, tailGiven    bool
}

func tailCommand() *cobra.Command {
	var flags tailFlags
	cmd := &cobra.Command{
		Use:   "tail [TARGET…] [LOGQL]",
		Short: "Follow logs: of pods, workloads, a query, files, or what is piped in",
		Long: `tail shows the last lines of what it is pointed at, and goes on as new ones come,
those of all containers in the order of their times.

A TARGET is
  web                   pods with a name that this regular expression matches
  deploy/web            of a deployment; also sts ds rs rc job cj svc pod node
  deploy/web/nginx      one container of it
  shop:deploy/web       in the namespace shop, whatever -n says; shop: is all of it
  ./app.log             a file
  -                     standard input: what is piped in is made readable
Several show the lines of any of them. LOGQL is a query for lines, or the end of
one: '|= "timeout" | json | status >= 500'.

Where it reads: the server of --server; else the cluster with --kube or --context;
else the weir that runs on this host, or its store; else the cluster of the
kubeconfig. A line on stderr says which.`,
		Example: `  weir tail deploy/web
  weir tail web -n shop -c nginx --level warn
  weir tail shop:deploy/web api -i timeout -C 3
  weir tail '{namespace="shop"} |= "timeout"' --since 10:30 --until 11:00
  weir tail deploy/web --kube --events --previous
  kubectl logs deploy/web | weir tail -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			err := runTail(ctx, &flags, cmd, args)
			if ctx.Err() != nil && (errors.Is(err, context.Canceled) || err == nil) {
				return nil // Ctrl-C
			}
			return err
		},
	}
	flags.sourceFlags.add(cmd)
	flags.rangeFlags.add(cmd)
	flags.outputFlags.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&flags.selector, "selector", "l", "", "pods with these labels: app=web,tier!=db, env in (a,b)")
	f.StringVar(&flags.fieldSelector, "field-selector", "", "pods with these fields: spec.nodeName=worker-1")
	f.StringVar(&flags.node, "node", "", "pods on this node")
	f.StringArrayVarP(&flags.containers, "container", "c", nil, "containers with a name that this regular expression matches; may be repeated")
	f.StringArrayVarP(&flags.noContainers, "exclude-container", "E", nil, "not these containers, likewise")
	f.StringArrayVar(&flags.noPods, "exclude-pod", nil, "not these pods, likewise")
	f.StringArrayVarP(&flags.include, "include", "i", nil, "only lines that this regular expression matches; of several, any of them")
	f.StringArrayVarP(&flags.exclude, "exclude", "e", nil, "no lines that this regular expression matches; of several, any of them")
	f.StringVar(&flags.level, "level", "", "only lines at least this severe: "+strings.Join(levelNames, ", "))
	f.Int64Var(&flags.tail, "tail", 20, "last lines of each container at the beginning; -1 for all (default 20; -1 with --since, --until)")
	f.Lookup("tail").DefValue = "0" // the text has it
	f.BoolVar(&flags.noFollow, "no-follow", false, "end when everything there is has been shown")
	f.BoolVarP(&flags.follow, "follow", "f", true, "go on as new lines come; it is the default")
	f.IntVarP(&flags.around, "around", "C", 0, "with -i or --level: lines of the same container before and after each match; of a store --tail counts matches")
	f.BoolVarP(&flags.previous, "previous", "p", false, "in a cluster: first the log of the container's former life")
	f.BoolVar(&flags.init, "init-containers", true, "in a cluster: init containers, too")
	f.BoolVar(&flags.ephemeral, "ephemeral-containers", true, "in a cluster: ephemeral containers, too")
	f.StringSliceVar(&flags.states, "container-state", nil, "in a cluster: containers that are running, waiting, terminated or all (default all)")
	f.IntVar(&flags.maxRequests, "max-log-requests", 0, "in a cluster: containers followed at a time at most (default 50)")
	f.BoolVar(&flags.events, "events", false, "in a cluster: Kubernetes Events about the pods, too")
	f.StringVar(&flags.order, "order", "time", "time, or arrival: as lines come")
	f.StringVar(&flags.window, "window", "200ms", "how long a line waits for older ones of other containers")
	f.BoolVar(&flags.onlyLogLines, "only-log-lines", false, "nothing on stderr but errors: not what is read, nor which containers come and go")
	f.BoolVar(&flags.stdin, "stdin", false, "the same as the target -")
	for name, values := range map[string][]string{"level": levelNames, "order": {"time", "arrival"}, "container-state": {"running", "waiting", "terminated", "all"}} {
		if err := cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // the flags were added above
		}
	}
	cmd.MarkFlagsMutuallyExclusive("no-follow", "follow")
	return cmd
}

// levelNames are the levels of --level, from all to few.
var levelNames = []string{"trace", "debug", "info", "warn", "error", "fatal"}

// tailJob is one run of `weir tail`.
type tailJob struct {
	flags   *tailFlags
	targets []read.Target
	files   []string
	stdin   bool
	text    string // LogQL, "" if there is none
	filter  read.Filter
	match   lineMatch
	times   timeRange
	tail    int
	live    bool
	window  time.Duration
	print   *tailPrinter
	out     io.Writer
	notices *notices
}

func runTail(ctx context.Context, flags *tailFlags, cmd *cobra.Command, args []string) error {
	j := &tailJob{flags: flags, out: cmd.OutOrStdout(), notices: newNotices(cmd.ErrOrStderr(), flags)}
	if err := j.arguments(args); err != nil {
		return err
	}
	if err := j.options(cmd); err != nil {
		return err
	}
	w := bufio.NewWriterSize(j.out, 64<<10)
	o, err := flags.options(j.out)
	if err != nil {
		return err
	}
	o.Include = j.match.include
	o.OneNamespace = j.oneNamespace()
	p, err := newPrinter(w, o)
	if err != nil {
		return err
	}
	j.print = newTailPrinter(p, w, flags, &o)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer watchReader(ctx, j.out, cancel)()
	err = j.run(ctx, cmd.InOrStdin())
	if errors.Is(context.Cause(ctx), errReaderGone) {
		return syscall.EPIPE
	}
	if errors.Is(err, read.ErrMergeEnded) {
		err = nil
	}
	return err
}

var errReaderGone = errors.New("nobody reads what is printed")

func (j *tailJob) run(ctx context.Context, in io.Reader) error {
	switch {
	case j.stdin:
		return j.readStdin(ctx, in)
	case len(j.files) > 0:
		return j.readFiles(ctx)
	}
	is, chosen := j.flags.cluster()
	if is {
		return j.readCluster(ctx, chosen)
	}
	if !chosen {
		if state, err := j.flags.find(hasStore, io.Discard); err == nil && !hasStore(state) && !runs(state) {
			return fmt.Errorf("nothing to read: no weir runs on this host ('weir up' starts one), and there is no store in %s (--state), no server (--server) and no kubeconfig (--kube); 'weir demo --up' shows how it looks", state)
		}
	}
	want := wanted{from: j.times.from, to: j.times.to}
	// The first notice says what find would say.
	return j.flags.use(ctx, want, io.Discard, func(c *read.Client) error { return j.readServer(ctx, c, chosen) })
}

// arguments tells targets, files, - and LogQL apart.
func (j *tailJob) arguments(args []string) error {
	j.stdin = j.flags.stdin
	for _, arg := range args {
		switch {
		case arg == "-":
			j.stdin = true
		case read.IsLogQL(arg):
			if j.text != "" {
				return usageError("two queries: %s and %s; write them as one, in single quotes", j.text, arg)
			}
			j.text = arg
		case isLogFile(arg):
			j.files = append(j.files, arg)
		default:
			if _, err := logql.Parse(arg); err == nil && strings.Contains(arg, "{") {
				return usageError("tail shows lines, and this is a query for numbers: ask it with weir query '%s'", arg)
			}
			t, err := read.ParseTarget(arg)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			j.targets = append(j.targets, t)
		}
	}
	if j.flags.times == "default" {
		// A word behind -t, which pflag takes only with =.
		if i := slices.IndexFunc(j.targets, func(t read.Target) bool {
			return t.Kind == "" && t.Namespace == "" && slices.Contains(show.TimeStyles, t.Name)
		}); i >= 0 {
			j.flags.times, j.targets = j.targets[i].Name, slices.Delete(j.targets, i, i+1)
		}
	}
	if n := len(j.files); n > 0 && len(j.targets) > 0 || j.stdin && len(j.targets)+n > 0 {
		return usageError("files and standard input go with nothing else; examples: weir tail app.log -i timeout, weir tail - < app.log")
	}
	if j.text == "" {
		return nil
	}
	j.text = strings.TrimSpace(j.text)
	const before = `{a="b"} `
	whole := j.text
	if whole[0] != '{' {
		whole = before + whole
	}
	expr, err := logql.Parse(whole)
	if err != nil {
		var se *logql.SyntaxError
		if errors.As(err, &se) && se.Line == 1 && len(whole) > len(j.text) {
			se.Column = max(1, se.Column-len(before))
		}
		return queryError(j.text, err)
	}
	if _, ok := expr.(*logql.LogExpr); !ok {
		return usageError("tail shows lines, and this is a query for numbers: ask it with weir query '%s'", j.text)
	}
	return nil
}

// isLogFile reports whether an argument means a file.
func isLogFile(arg string) bool {
	if !strings.Contains(arg, "/") && !strings.HasSuffix(arg, ".log") {
		return false
	}
	fi, err := os.Stat(arg)
	return err == nil && !fi.IsDir() || err != nil && (strings.HasPrefix(arg, "/") || strings.HasPrefix(arg, "./") || strings.HasPrefix(arg, "../"))
}

// options checks the flags.
func (j *tailJob) options(cmd *cobra.Command) error {
	f := j.flags
	var err error
	if j.match.include, err = regexps("--include", f.include); err != nil {
		return err
	}
	if j.match.exclude, err = regexps("--exclude", f.exclude); err != nil {
		return err
	}
	for _, l := range []struct {
		flag string
		list []string
	}{{"--container", f.containers}, {"--exclude-container", f.noContainers}, {"--exclude-pod", f.noPods}} {
		if _, err := regexps(l.flag, l.list); err != nil {
			return err
		}
	}
	if f.level != "" {
		sev, ok := stage.ParseLevel([]byte(f.level))
		if !ok {
			return usageError("--level %s: want %s%s", f.level, strings.Join(levelNames, ", "), didYouMean(f.level, levelNames))
		}
		j.match.level = sev
	}
	if f.around < 0 || f.around > 10_000 {
		return usageError("-C %d: want 0 to 10000 lines", f.around)
	}
	if f.around > 0 && len(f.include) == 0 && f.level == "" {
		return usageError("-C shows lines around matches of -i or --level; example: weir tail web -i timeout -C 3")
	}
	var d config.Duration
	if err := d.UnmarshalText([]byte(f.window)); err != nil || d < 0 || d > config.Duration(time.Minute) {
		return usageError("--window %s: want a duration up to 1m, such as 200ms", f.window)
	}
	switch j.window = time.Duration(d); f.order {
	case "time":
	case "arrival":
		j.window = 0
	default:
		return usageError("--order %s: want time or arrival", f.order)
	}
	if j.times, err = f.rangeFlags.parse(time.Now()); err != nil {
		return err
	}
	if j.tail = int(f.tail); f.tail < -1 {
		return usageError("--tail %d: want a number of lines, or -1 for all", f.tail)
	}
	f.tailGiven = cmd.Flags().Changed("tail")
	if !f.tailGiven && (j.times.given || j.times.until) {
		j.tail = -1
	}
	if j.live = f.follow && !f.noFollow; !j.times.until {
		j.times.to = time.Time{}
	}
	f.namespaces = splitCommas(f.namespaces)
	f.states = slices.DeleteFunc(f.states, func(s string) bool { return s == "all" })
	for _, s := range f.states {
		if !slices.Contains([]string{"running", "waiting", "terminated"}, s) {
			return usageError("--container-state %s: want running, waiting, terminated or all", s)
		}
	}
	if f.maxRequests < 0 {
		return usageError("--max-log-requests %d: want a number of containers", f.maxRequests)
	}
	j.filter = read.Filter{
		Namespaces: f.namespaces, Containers: f.containers, NoContainers: f.noContainers, NoPods: f.noPods,
		Node: f.node, Labels: f.selector, Fields: f.fieldSelector,
	}
	if f.all {
		j.filter.Namespaces = nil
	}
	return nil
}

// oneNamespace reports whether all lines are of one namespace that was named, so
// that it need not stand in front of each.
func (j *tailJob) oneNamespace() bool {
	if len(j.targets) == 0 {
		return len(j.filter.Namespaces) == 1
	}
	one := ""
	for i := range j.targets {
		ns := j.targets[i].Namespace
		if ns == "" && len(j.filter.Namespaces) == 1 {
			ns = j.filter.Namespaces[0]
		}
		if ns == "" || ns == "*" || one != "" && ns != one {
			return false
		}
		one = ns
	}
	return true
}

func splitCommas(list []string) []string {
	var out []string
	for _, s := range list {
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}

// merge runs sources, whose lines it prints in their order, until all have ended
// or one fails; what came until then is printed.
func (j *tailJob) merge(ctx context.Context, cfg read.MergeConfig, sources ...func(context.Context, *read.Merge) error) error {
	m := read.NewMerge(cfg)
	sub, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(sources))
	for i, run := range sources {
		wg.Go(func() {
			if errs[i] = run(sub, m); errs[i] != nil {
				cancel()
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		wg.Wait()
		m.Close()
	}()
	err := m.Run(ctx, j.print.lines, j.print.flush)
	cancel()
	<-ended
	if e := j.print.end(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	for _, e := range errs {
		if e != nil && !errors.Is(e, context.Canceled) && !errors.Is(e, read.ErrMergeEnded) {
			return e
		}
	}
	return ctx.Err()
}

// lineMatch is what -i, -e and --level say.
type lineMatch struct {
	include, exclude []*regexp.Regexp
	level            record.Severity
}

// stages are what the flags say, as stages of LogQL for the server; with -C it
// must send all lines, so that there is something around the matches.
func (j *tailJob) stages() string {
	if j.flags.around > 0 {
		return j.excludeStage()
	}
	return j.excludeStage() + j.matchStages()
}

func (j *tailJob) excludeStage() string {
	if len(j.flags.exclude) == 0 {
		return ""
	}
	return " !~ " + quoteLogQL(anyRegexpOf(j.flags.exclude))
}

// matchStages are what makes a line a match.
func (j *tailJob) matchStages() string {
	var b strings.Builder
	f := j.flags
	if len(f.include) > 0 {
		fmt.Fprintf(&b, " |~ %s", quoteLogQL(anyRegexpOf(f.include)))
	}
	if f.level != "" {
		fmt.Fprintf(&b, ` | detected_level=~"%s"`, strings.Join(levelsFrom(j.match.level), "|"))
	}
	return b.String()
}

func anyRegexpOf(list []string) string {
	if len(list) == 1 {
		return list[0]
	}
	return "(?:" + strings.Join(list, ")|(?:") + ")"
}

// levelsFrom returns the words for levels at least that severe.
func levelsFrom(least record.Severity) []string {
	var out []string
	for _, name := range []string{"trace", "debug", "info", "notice", "warn", "warning", "error", "err", "critical", "fatal", "panic", "alert", "emergency"} {
		if sev, ok := stage.ParseLevel([]byte(name)); ok && sev >= least {
			out = append(out, name)
		}
	}
	return out
}
