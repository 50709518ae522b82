// Command chatter is the program that logs in the stories' pods. It writes
// lines that carry a mark (see package journal) to stdout and stderr, and notes
// each in a journal of its own once it is written, so that a verdict can be
// reached on exactly what it said.
//
// It stops after -for, -lines or SIGTERM, closes its journal, and then ends, or
// stays silent until SIGTERM with -stay.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/weirlog/weir/e2e/internal/journal"
)

type options struct {
	dir      string
	rate     float64
	lines    uint64
	duration time.Duration
	stay     bool
	seed     uint64
	exit     int
}

func main() {
	var o options
	flag.StringVar(&o.dir, "journals", "/journals", "directory for the journal, a file per run, .open while it runs")
	flag.Float64Var(&o.rate, "rate", 1, "MB (10^6 bytes) of lines per second; 0 = as fast as they are taken")
	flag.Uint64Var(&o.lines, "lines", 0, "stop after that many lines; 0 = never")
	flag.DurationVar(&o.duration, "for", 0, "stop after that time; 0 = never")
	flag.BoolVar(&o.stay, "stay", false, "stay until SIGTERM when all is written")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of the lines' text")
	flag.IntVar(&o.exit, "exit", 0, "exit code when all is written")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "chatter:", err)
		os.Exit(1)
	}
	os.Exit(o.exit)
}

func run(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	// A run is a life of its container, so its name must not come again.
	name := host + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	path := filepath.Join(o.dir, name)
	log, err := journal.Create(path + ".open")
	if err != nil {
		return err
	}
	log.Stream(journal.Stream{Name: name, Pod: host})
	w := &writer{name: name, out: os.Stdout, err: os.Stderr, log: log, rng: rand.New(rand.NewPCG(o.seed, 1))}
	if err := errors.Join(w.write(ctx, o), log.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".open", path); err != nil || !o.stay {
		return err
	}
	<-ctx.Done()
	return nil
}
