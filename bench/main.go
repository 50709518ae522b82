// Command bench measures weir beside a bare loop (the floor) and other log
// shippers: what a record costs in processor time and memory, and whether each
// line arrives, once, and whole. README.md has a command for each table of
// docs/benchmarks.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/weirlog/weir/bench/corpus"
	"github.com/weirlog/weir/bench/measure"
	"github.com/weirlog/weir/bench/peers"
)

type options struct {
	mode, only, forms, dir, json string
	weir, env                    string
	rounds, streams              int
	megabytes                    int64
	seed                         uint64
	cpu, sinkCPU                 int
	patience, duration           time.Duration
	rate, lines                  float64
	files                        int
	verbose, keep, api           bool
}

const usage = `go run . [flags]      in the folder bench/

Modes:
  catchup   files are there, the participant starts, ends with the last record
  null      the same with -forms null,lines: bare lines, no JSON, no compression
  kill      catchup with one kill -9 at 40 % and a new start
  live      files are written at -rate MB/s and rotated the moment they have 10 MB
  rss       10 000 lines a second into 10 files for -for: memory and processor
  files     10 000 lines a second into 10 000 files
  dead      10 000 lines a second while the backend is down; it comes back at the end
  idle      no lines at all

Peers are looked for in the directories of $BENCH_PEERS and on PATH.

`

func main() {
	log.SetFlags(0)
	var o options
	flag.StringVar(&o.mode, "mode", "catchup", "what to do, see above")
	flag.StringVar(&o.only, "only", "", "participants, separated by commas; empty: weir, the floor and every peer found")
	flag.StringVar(&o.forms, "forms", "", "protocols (jsonl) or protocols with compression (jsonl+zstd); empty: all")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each participant runs, in turn")
	flag.Int64Var(&o.megabytes, "mb", 400, "size of the log files, in 10^6 bytes")
	flag.IntVar(&o.streams, "streams", 4, "number of containers")
	flag.Uint64Var(&o.seed, "seed", 1, "of the corpus")
	flag.IntVar(&o.cpu, "cpu", 1, "processor of the participant; -1: all")
	flag.IntVar(&o.sinkCPU, "sink-cpu", 0, "processor of everything else; -1: all")
	flag.DurationVar(&o.duration, "for", time.Minute, "live, rss, files, dead, idle: how long logs are written")
	flag.Float64Var(&o.rate, "rate", 20, "live: 10^6 bytes a second over all files")
	flag.Float64Var(&o.lines, "lines", 10_000, "rss, files, dead: lines a second over all files")
	flag.IntVar(&o.files, "files", 0, "live, rss, files, dead, idle: number of files; 0: as the mode says")
	flag.BoolVar(&o.api, "api", false, "live and after: weir takes metadata from an API server (an imitation)")
	flag.DurationVar(&o.patience, "patience", 15*time.Second, "how long nothing may come before a run is over")
	flag.StringVar(&o.dir, "dir", "", "where to write; empty: a temporary directory")
	flag.StringVar(&o.json, "json", "", "file for the results")
	flag.StringVar(&o.weir, "weir", "", "a binary of weir to measure; empty: built from this repository")
	flag.StringVar(&o.env, "env", "", "environment for every participant, NAME=VALUE separated by commas")
	flag.BoolVar(&o.verbose, "v", false, "print the participants' configurations, and records that are not what was written")
	flag.BoolVar(&o.keep, "keep", false, "keep what was written")
	flag.Usage = func() { fmt.Fprint(flag.CommandLine.Output(), usage); flag.PrintDefaults() }
	flag.Parse()
	if err := o.run(); err != nil {
		log.Fatal("bench: ", err)
	}
}

func split(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}

func (o *options) run() (err error) {
	if _, err := os.Stat("floor/main.go"); err != nil {
		return errors.New("the working directory must be bench/")
	}
	dir, err := os.MkdirTemp(o.dir, "weir-bench-")
	if err != nil {
		return err
	}
	if !o.keep {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	say("building in %s", dir)
	if err := build(dir, o.weir); err != nil {
		return err
	}
	if o.sinkCPU >= 0 {
		if err := measure.Pin(o.sinkCPU); err != nil {
			return err
		}
	}
	s, err := startSink(filepath.Join(dir, "sink"), o.sinkCPU)
	if err != nil {
		return err
	}
	defer s.proc.Kill()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	b := newBench(ctx, s, dir)
	b.extra = split(o.env)
	b.cpu, b.patience, b.verbose, b.keep = o.cpu, o.patience, o.verbose, o.keep
	forms := split(o.forms)
	if o.mode == "null" && len(forms) == 0 {
		forms = []string{"null", "lines"}
	}
	if o.mode != "null" && len(forms) == 0 {
		forms = []string{"jsonl", "native", "elastic", "otlp", "loki", "lines"}
	}
	live := !slices.Contains([]string{"catchup", "kill", "null"}, o.mode)
	chosen, missing := choose(everyone(b.requestSize), dir, split(o.only), forms)
	// The floor reads to the end of the files and is done.
	if o.mode == "kill" || live {
		chosen = slices.DeleteFunc(chosen, func(p participant) bool { return p.peer.Name == floorName })
	}
	if len(chosen) == 0 {
		return errors.New("no participant")
	}
	rep := &Report{Mode: o.mode, When: time.Now(), Machine: machine(), Missing: missing, Command: "go run . " + strings.Join(os.Args[1:], " ")}
	one, err := o.prepare(b)
	if err != nil {
		return err
	}
	for round := range o.rounds {
		for i := range chosen {
			p := &chosen[i]
			res, err := one(p, round+1)
			if err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
			rep.Results = append(rep.Results, res)
			if b.verbose {
				for _, strange := range res.Strange {
					say("%s: %s", p, strange)
				}
			}
			say("round %d: %-24s %8.0f records/CPU-s  %6.2f CPU-s  %4d MiB  lost %d doubled %d altered %d foreign %d %s", round+1, p,
				res.PerCPU(), float64(res.CPU), res.Peak>>20, res.Lost, res.Doubled, res.Altered, res.Foreign, res.Error)
			if ctx.Err() != nil {
				rep.print(os.Stdout)
				return context.Cause(ctx)
			}
		}
	}
	rep.print(os.Stdout)
	if o.json != "" {
		return rep.save(o.json)
	}
	return nil
}

// prepare makes what all runs of the mode need and returns a run.
func (o *options) prepare(b *bench) (func(*participant, int) (Result, error), error) {
	switch o.mode {
	case "catchup", "null", "kill":
		c, err := corpus.Write(corpus.Config{Root: filepath.Join(b.dir, "pods"), Seed: o.seed}, o.streams, o.megabytes*1e6)
		if err != nil {
			return nil, err
		}
		say("%d lines, %d MB in %d files", c.Total(), c.Bytes/1e6, len(c.Lines))
		one := b.catchUp
		if o.mode == "kill" {
			one = b.killed
		}
		return func(p *participant, round int) (Result, error) { return one(p, c, round) }, nil
	}
	l := liveOptions{duration: o.duration, LiveConfig: corpus.LiveConfig{Config: corpus.Config{Seed: o.seed}, Keep: 3, Lines: o.lines, Streams: 10}}
	l.warm = min(10*time.Second, o.duration/4)
	switch o.mode {
	case "live":
		l.Streams, l.Rate, l.Lines, l.MaxSize = 4, o.rate*1e6, 0, 10e6
	case "rss":
	case "files":
		l.Streams = 10_000
	case "dead":
		l.dead = true
	case "idle":
		l.Lines = 0
	default:
		return nil, fmt.Errorf("unknown mode %q", o.mode)
	}
	if o.files > 0 {
		l.Streams = o.files
	}
	if o.api {
		api, err := newAPI(b.dir)
		if err != nil {
			return nil, err
		}
		b.api = api
	}
	return func(p *participant, round int) (Result, error) { return b.live(p, l, round) }, nil
}

// requestSize is how many bytes of log file weir put into a request of a form.
func (b *bench) requestSize(f peers.Form) int {
	if n := b.request[f]; n > 0 {
		return n
	}
	return 1 << 20
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
