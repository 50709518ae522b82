// Command loggen writes the log directories of a Kubernetes node as containerd
// and kubelet do, with rotation, and a journal of all it wrote. See package
// fakenode for what exactly, and esstub and sink for who compares.
//
// It stops after -for, -bytes or -lines, whichever is first, or at SIGTERM or
// SIGINT, and then prints one line of JSON about what it did. The log files
// stay.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/weirlog/weir/e2e/internal/fakenode"
	"github.com/weirlog/weir/e2e/internal/journal"
)

type options struct {
	journal         string
	rate            float64
	bytes, lines    int64
	duration        time.Duration
	tick            time.Duration
	restart, churn  time.Duration
	replace         time.Duration
	node            fakenode.Config
	long, broken    int
	nasty, jsonPart int
}

func main() {
	var o options
	flag.StringVar(&o.node.Root, "root", "", "directory that stands for /var/log/pods (needed)")
	flag.StringVar(&o.node.Links, "links", "", "directory that stands for /var/log/containers; none without")
	flag.StringVar(&o.journal, "journal", "", "file for the journal (needed)")
	flag.Uint64Var(&o.node.Seed, "seed", 1, "seed of everything random")
	flag.IntVar(&o.node.Pods, "pods", 3, "number of pods")
	flag.IntVar(&o.node.Containers, "containers", 1, "containers per pod")
	flag.Float64Var(&o.rate, "rate", 0, "MB (10^6 bytes) of log files per second over all containers; 0 = as fast as possible")
	flag.Int64Var(&o.bytes, "bytes", 0, "stop after that many bytes of log files")
	flag.Int64Var(&o.lines, "lines", 0, "stop after that many lines")
	flag.DurationVar(&o.duration, "for", 0, "stop after that time")
	flag.Int64Var(&o.node.MaxSize, "max-size", 10<<20, "rotate files of that many bytes; 0 = never")
	flag.IntVar(&o.node.MaxFiles, "max-files", 5, "files kept per container, with the current one")
	flag.DurationVar(&o.tick, "tick", time.Second, "how often sizes are checked (kubelet's period); 0 = after every write, which is harsher")
	flag.DurationVar(&o.node.Absent, "absent", 3*time.Millisecond, "how long the current file's name is missing in a rotation")
	flag.DurationVar(&o.node.Both, "both", 3*time.Millisecond, "how long the plain and the compressed file stand side by side")
	flag.IntVar(&o.node.Torn, "torn", 50, "of 10000 writes, how many come in two pieces")
	flag.IntVar(&o.jsonPart, "json", fakenode.DefaultMix.JSON, "of 10000 lines, how many are JSON")
	flag.IntVar(&o.long, "long", fakenode.DefaultMix.Long, "of 10000 lines, how many exceed 16 KiB")
	flag.IntVar(&o.nasty, "nasty", fakenode.DefaultMix.Nasty, "of 10000 lines, how many have clashing or doubled member names, escapes, carriage returns")
	flag.IntVar(&o.broken, "broken", 0, "of 10000 text lines, how many have invalid UTF-8")
	flag.DurationVar(&o.restart, "restart", 0, "restart a container every so often")
	flag.DurationVar(&o.churn, "churn", 0, "delete a pod and create another every so often (what was unread of it is lost, rightly)")
	flag.DurationVar(&o.replace, "replace", 0, "delete a pod and create one of the same name every so often")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "loggen:", err)
		os.Exit(1)
	}
}

func run(o options) (err error) {
	if o.node.Root == "" || o.journal == "" {
		return errors.New("-root and -journal are needed")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	w, err := journal.Create(o.journal)
	if err != nil {
		return err
	}
	o.node.Journal = w
	o.node.OnWrite = o.tick == 0
	o.node.Mix = fakenode.Mix{JSON: o.jsonPart, Klog: min(fakenode.DefaultMix.Klog, 10000-o.jsonPart), Long: o.long, Nasty: o.nasty, Broken: o.broken}
	n, err := fakenode.New(o.node)
	if err != nil {
		return errors.Join(err, w.Close())
	}
	begin := time.Now()

	// Kubelet has its own goroutine; an error of either ends both.
	side, cancel := context.WithCancelCause(ctx)
	var kubelet sync.WaitGroup
	if o.tick > 0 {
		kubelet.Go(func() {
			t := time.NewTicker(o.tick)
			defer t.Stop()
			for {
				select {
				case <-side.Done():
					return
				case <-t.C:
					if err := n.Kubelet(); err != nil {
						cancel(err)
						return
					}
				}
			}
		})
	}
	err = write(side, o, n, w)
	if c := context.Cause(side); err == nil && c != nil && !errors.Is(c, context.Canceled) && !errors.Is(c, context.DeadlineExceeded) {
		err = c
	}
	cancel(nil)
	kubelet.Wait()
	took := time.Since(begin).Seconds()
	err = errors.Join(err, n.Close(), w.Close())
	end := w.Totals()
	json.NewEncoder(os.Stdout).Encode(map[string]any{"lines": end.Lines, "bytes": end.Bytes, "seconds": took, "mb_per_second": float64(end.Bytes) / 1e6 / took})
	return err
}

// write is the containers' side.
func write(ctx context.Context, o options, n *fakenode.Node, w *journal.Writer) error {
	every := func(d time.Duration) <-chan time.Time {
		if d <= 0 {
			return nil
		}
		return time.Tick(d)
	}
	flush, restart, churn, replace := every(100*time.Millisecond), every(o.restart), every(o.churn), every(o.replace)
	begin := time.Now()
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	var lines int64
	for {
		// As many lines as are due, at most some, then look around.
		for range 256 {
			if o.bytes > 0 && n.Bytes() >= o.bytes || o.lines > 0 && lines >= o.lines {
				return nil
			}
			if o.rate > 0 && float64(n.Bytes()) >= o.rate*1e6*time.Since(begin).Seconds() {
				select {
				case <-ctx.Done():
					return nil
				case <-pace.C:
				}
				break
			}
			if err := n.Write(); err != nil {
				return err
			}
			lines++
		}
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-flush:
			err = w.Flush()
		case <-restart:
			err = n.Restart()
		case <-churn:
			if _, err = n.DeletePod(); err == nil {
				err = n.CreatePod()
			}
		case <-replace:
			err = n.ReplacePod()
		default:
		}
		if err != nil {
			return err
		}
	}
}
