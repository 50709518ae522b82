// Command store compares weir's embedded store with other log stores: what it
// costs to take logs and to keep them, and what it costs to answer. Every answer
// is compared with what the corpus is known to hold; a wrong one is not timed.
// Bench's README.md has the commands.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weirlog/weir/bench/measure"
	"github.com/weirlog/weir/bench/mixed"
	"github.com/weirlog/weir/bench/stores"
)

const usage = `go run ./store [flags]      in the folder bench/

Modes:
  compare   every store takes the corpus by Loki's push API, then answers queries
  latency   weir up: from a line written to a file until it is in tail and query
  laptop    weir up: memory and processor at -lines a second

Stores are looked for in the directories of $BENCH_PEERS and on PATH.

`

type options struct {
	mode, only, dir, json, weir string
	streams, clients, rounds    int
	size                        int64
	seed                        uint64
	cpu, ownCPU                 int
	derive, keep, reuse, verb   bool
	hurry                       bool // for tests: next to no waiting
	patience, duration          time.Duration
	lines                       float64
}

func main() {
	log.SetFlags(0)
	var o options
	size := flag.String("size", "1GB", "bytes of lines in the corpus (kB, MB, GB are powers of ten)")
	flag.StringVar(&o.mode, "mode", "compare", "what to do, see above")
	flag.StringVar(&o.only, "only", "", "stores, separated by commas; empty: all that are found")
	flag.IntVar(&o.streams, "streams", 50, "number of streams")
	flag.IntVar(&o.clients, "clients", 4, "how many push at once")
	flag.IntVar(&o.rounds, "rounds", 1, "how often everything is done")
	flag.Uint64Var(&o.seed, "seed", 1, "of the corpus")
	flag.IntVar(&o.cpu, "cpu", 1, "processor of the store; -1: all")
	flag.IntVar(&o.ownCPU, "own-cpu", 0, "processor of everything else; -1: all")
	flag.BoolVar(&o.derive, "derive", false, "no line has its level as structured metadata: the store has to find it")
	flag.DurationVar(&o.patience, "patience", 20*time.Minute, "how long a store may take to settle")
	flag.DurationVar(&o.duration, "for", 2*time.Minute, "latency, laptop: how long logs are written")
	flag.Float64Var(&o.lines, "lines", 1000, "laptop: lines a second")
	flag.StringVar(&o.dir, "dir", "", "where to write; empty: a temporary directory")
	flag.StringVar(&o.json, "json", "", "file for the results")
	flag.StringVar(&o.weir, "weir", "", "a binary of weir to measure; empty: built from this repository")
	flag.BoolVar(&o.keep, "keep", false, "keep what was written; needs -dir")
	flag.BoolVar(&o.reuse, "reuse", false, "only queries, over what -keep left in -dir")
	flag.BoolVar(&o.verb, "v", false, "print commands and queries")
	flag.Usage = func() { fmt.Fprint(flag.CommandLine.Output(), usage); flag.PrintDefaults() }
	flag.Parse()
	var err error
	if o.size, err = parseSize(*size); err == nil {
		err = o.run()
	}
	if err != nil {
		log.Fatal("store: ", err)
	}
}

func parseSize(s string) (int64, error) {
	unit := 1.0
	for name, u := range map[string]float64{"kB": 1e3, "MB": 1e6, "GB": 1e9} {
		if v, ok := strings.CutSuffix(s, name); ok {
			s, unit = v, u
		}
	}
	v, err := strconv.ParseFloat(s, 64)
	return int64(v * unit), err
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (o *options) run() (err error) {
	if _, err := os.Stat("stores/stores.go"); err != nil {
		return errors.New("the working directory must be bench/")
	}
	if (o.keep || o.reuse) && o.dir == "" {
		return errors.New("-keep and -reuse need -dir")
	}
	dir := o.dir
	if dir == "" || !o.keep && !o.reuse {
		if dir, err = os.MkdirTemp(o.dir, "weir-bench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	chosen, missing, err := o.choose(dir)
	if err != nil {
		return err
	}
	if o.ownCPU >= 0 {
		if err := measure.Pin(o.ownCPU); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	switch o.mode {
	case "compare":
		return o.compare(ctx, dir, chosen, missing)
	case "latency":
		return o.latency(ctx, dir, chosen)
	case "laptop":
		return o.laptop(ctx, dir, chosen)
	}
	return fmt.Errorf("no mode %q", o.mode)
}

// participant is a store that is there.
type participant struct {
	stores.Store
	binary, version string
}

// choose builds the programs of this repository and looks for the others.
func (o *options) choose(dir string) (chosen []participant, missing []string, err error) {
	names := strings.FieldsFunc(o.only, func(r rune) bool { return r == ',' })
	for _, s := range stores.All() {
		if len(names) > 0 && !slices.Contains(names, s.Name) {
			continue
		}
		p := participant{Store: s}
		ok := true
		switch {
		case s.Name == "weir" && o.weir != "":
			p.binary, err = filepath.Abs(o.weir)
		case s.Name == "weir":
			p.binary = filepath.Join(dir, "weir")
			err = goBuild("..", "./cmd/weir", p.binary, "CGO_ENABLED=0")
		case s.Name == "duckdb":
			p.binary = filepath.Join(dir, "duckdb-server")
			err = goBuild(".", "./duckdb", p.binary, "CGO_ENABLED=1")
		default:
			p.binary, ok = s.Find()
		}
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			missing = append(missing, s.Name)
			continue
		}
		if s.Version != nil {
			if p.version, err = s.Version(p.binary); err != nil {
				return nil, nil, fmt.Errorf("%s: version: %w", s.Name, err)
			}
		}
		chosen = append(chosen, p)
	}
	if len(chosen) == 0 {
		return nil, nil, errors.New("no store")
	}
	return chosen, missing, nil
}

// goBuild builds a program as releases are built.
func goBuild(module, pkg, to, env string) error {
	cmd := exec.Command("go", "build", "-C", module, "-trimpath", "-ldflags", "-s -w", "-o", to, pkg)
	cmd.Env = append(os.Environ(), env)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// corpus is yesterday's: a day that is over is compacted.
func (o *options) corpus(now time.Time) mixed.Config {
	day := now.UTC().Truncate(24 * time.Hour).Add(-24 * time.Hour)
	return mixed.Config{
		Seed: o.seed, Streams: o.streams, Bytes: o.size, Start: day.Add(12 * time.Hour), Span: 6 * time.Hour,
		Clients: o.clients, BodyBytes: 1e6, Derive: o.derive,
	}
}

func (o *options) compare(ctx context.Context, dir string, chosen []participant, missing []string) (err error) {
	rep := &report{When: time.Now(), Machine: machine(), Command: "go run ./store " + strings.Join(os.Args[1:], " "), Missing: missing}
	began := time.Now()
	pushes, truth, err := mixed.Write(filepath.Join(dir, "pushes"), o.corpus(began))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pushes.Close()) }()
	rep.setCorpus(truth, pushes)
	say("%s", rep.Corpus)
	for round := range o.rounds {
		for i := range chosen {
			p := &chosen[i]
			r := &run{o: o, p: p, truth: truth, dir: filepath.Join(dir, "data-"+p.Name), of: filepath.Join(dir, "data-"+p.Files)}
			res, err := r.all(ctx, pushes)
			if err != nil {
				say("%s: %v%s", p.Name, err, r.tail())
				res.Error = err.Error()
			}
			res.Round = round + 1
			rep.Results = append(rep.Results, res)
			if ctx.Err() != nil {
				rep.print(os.Stdout)
				return context.Cause(ctx)
			}
		}
		if !o.keep && !o.reuse {
			for i := range chosen {
				if err := os.RemoveAll(filepath.Join(dir, "data-"+chosen[i].Name)); err != nil {
					return err
				}
			}
		}
	}
	rep.print(os.Stdout)
	if o.json != "" {
		return rep.save(o.json)
	}
	return nil
}
