// Command chatter is the program that logs in the stories' pods. It writes
// lines that carry a mark (see package journal) to stdout and stderr, and notes
// each in a journal of its own once it is written, so that a verdict can be
// reached on exactly what it said.
//
// With -file it writes to that file instead, as applications do that know nothing
// of standard output, and rotates it with -rotate.
//
// It stops after -for, -lines or SIGTERM, closes its journal, and then ends, or
// stays silent until SIGTERM with -stay. -last is what it says after SIGTERM.
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
	file     string
	rotate   string
	every    uint64
	last     uint64
	done     string
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
	flag.StringVar(&o.file, "file", "", "write to this file instead of stdout and stderr")
	flag.StringVar(&o.rotate, "rotate", "none", "how the file is rotated: none, rename, replace (a new file takes the name at once) or copytruncate")
	flag.Uint64Var(&o.every, "every", 1000, "lines between rotations, about")
	flag.Uint64Var(&o.last, "last", 0, "bytes to write as fast as possible after SIGTERM")
	flag.StringVar(&o.done, "done", "", "make this file when all is written")
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
	if o.file != "" {
		f, err := openFile(o.file, o.rotate, o.every)
		if err != nil {
			return err
		}
		w.out, w.err = f, f
	}
	err = w.write(ctx, o)
	if err == nil && o.last > 0 {
		<-ctx.Done()
		begin := time.Now()
		err = w.upTo(w.total + o.last)
		fmt.Fprintf(os.Stderr, "chatter: %d bytes in the last %s\n", o.last, time.Since(begin))
	}
	if err := errors.Join(err, log.Close(), os.Rename(path+".open", path)); err != nil {
		return err
	}
	if o.done != "" {
		if err := os.WriteFile(o.done, nil, 0o644); err != nil {
			return err
		}
	}
	if o.stay {
		<-ctx.Done()
	}
	return nil
}
