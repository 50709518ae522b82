// Command gateway measures what it costs to take logs that are pushed, to make
// them durable and to say so: 'weir gateway' and the OpenTelemetry Collector, each
// with its queue on disk before a destination that does not answer. After that the
// destination answers, and every record that was acknowledged must come, as it
// was. Bench's README.md has the commands.
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
	"strings"
	"syscall"
	"time"

	"github.com/weirlog/weir/bench/measure"
)

const usage = `go run ./gateway [flags]      in the folder bench/

Modes:
  push      clients push as fast as they are answered, in every form of -forms
  backlog   -clients push until -total is in the buffer; then a start with it

Forms: otlp (HTTP, protobuf), grpc (OTLP), loki (protobuf; weir only), each with +gzip,
loki with +snappy as its clients send. The Collector is looked for in $BENCH_PEERS/otelcol.

`

type options struct {
	mode, only, forms, dir, weir, buffer string
	clients, size, records, rounds, each int
	total                                int64
	seed                                 uint64
	cpu, ownCPU                          int
	severity, verify, verb               bool
	pause                                time.Duration
}

func main() {
	log.SetFlags(0)
	var o options
	total := flag.Int64("total", 500, "MB (10⁶ bytes) of log text that each run pushes")
	kib := flag.Int("size", 256, "KiB of log text in a request")
	flag.StringVar(&o.mode, "mode", "push", "what to do, see above")
	flag.StringVar(&o.only, "only", "weir,otelcol", "programs, separated by commas")
	flag.StringVar(&o.forms, "forms", "otlp,otlp+gzip,grpc,grpc+gzip,loki+snappy,loki+gzip", "forms, separated by commas")
	flag.IntVar(&o.clients, "clients", 64, "connections, each with one request at a time")
	flag.IntVar(&o.records, "records", 0, "records in a request, instead of -size")
	flag.IntVar(&o.each, "bodies", 2, "different requests of each client")
	flag.IntVar(&o.rounds, "rounds", 1, "how often everything is done")
	flag.Uint64Var(&o.seed, "seed", 1, "of the log text")
	flag.IntVar(&o.cpu, "cpu", 1, "processor of the program under test; -1: all")
	flag.IntVar(&o.ownCPU, "own-cpu", 0, "processor of clients and destination; -1: all")
	flag.StringVar(&o.buffer, "buffer", "20GiB", "size of weir's buffer on disk")
	flag.StringVar(&o.dir, "dir", "", "where to write; empty: a temporary directory")
	flag.StringVar(&o.weir, "weir", "", "a binary of weir to measure; empty: built from this repository")
	flag.BoolVar(&o.severity, "severity", true, "OTLP records say their severity, as SDKs do; else it is looked for in their text")
	flag.BoolVar(&o.verify, "verify", true, "open the destination afterwards and compare (weir only)")
	flag.DurationVar(&o.pause, "pause", 20*time.Millisecond, "before a request that was refused for now is sent again")
	flag.BoolVar(&o.verb, "v", false, "print the programs' logs")
	flag.Usage = func() { fmt.Fprint(flag.CommandLine.Output(), usage); flag.PrintDefaults() }
	flag.Parse()
	o.total, o.size = *total*1e6, *kib<<10
	if err := o.run(); err != nil {
		log.Fatal("gateway: ", err)
	}
}

func (o *options) run() (err error) {
	dir, err := os.MkdirTemp(o.dir, "weir-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binaries, err := o.binaries(dir)
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
	var forms []form
	for _, s := range strings.Split(o.forms, ",") {
		proto, encoding, _ := strings.Cut(s, "+")
		forms = append(forms, form{proto, encoding})
	}
	switch o.mode {
	case "push":
		return o.compare(ctx, dir, binaries, forms)
	case "backlog":
		return o.backlog(ctx, dir, binaries["weir"], forms[0])
	}
	return fmt.Errorf("no mode %q", o.mode)
}

// binaries finds or builds the programs.
func (o *options) binaries(dir string) (map[string]string, error) {
	out := make(map[string]string)
	for _, name := range strings.Split(o.only, ",") {
		switch {
		case name == "weir" && o.weir != "":
			path, err := filepath.Abs(o.weir)
			if err != nil {
				return nil, err
			}
			out[name] = path
		case name == "weir":
			out[name] = filepath.Join(dir, "weir")
			cmd := exec.Command("go", "build", "-C", "..", "-trimpath", "-ldflags", "-s -w", "-o", out[name], "./cmd/weir")
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if msg, err := cmd.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("go build: %w\n%s", err, msg)
			}
		case name == "otelcol":
			for _, path := range []string{filepath.Join(os.Getenv("BENCH_PEERS"), "otelcol", "otelcol"), filepath.Join(os.Getenv("BENCH_PEERS"), "otelcol"), "otelcol"} {
				if p, err := exec.LookPath(path); err == nil {
					out[name] = p
					break
				}
			}
			if out[name] == "" {
				delete(out, name)
				fmt.Fprintln(os.Stderr, "otelcol: not found")
			}
		default:
			return nil, fmt.Errorf("no program %q", name)
		}
	}
	return out, nil
}
