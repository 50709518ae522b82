package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/weirlog/weir/bench/measure"
	"github.com/weirlog/weir/bench/mixed"
	"github.com/weirlog/weir/bench/stores"
)

// client keeps connections and asks for no compression: it would be measured
// with the store.
var client = &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16}, Timeout: 10 * time.Minute}

// A run is one participant in one round.
type run struct {
	o     *options
	p     *participant
	truth *mixed.Truth
	dir   string
	of    string
	job   stores.Job
	log   *os.File
	proc  *measure.Process

	idle float64 // processors that it takes when nothing is asked of it
}

// all does everything for a participant.
func (r *run) all(ctx context.Context, pushes *mixed.Pushes) (result, error) {
	res := result{Store: r.p.Name, Version: r.p.version, Ack: r.p.Ack}
	if r.p.Files == "" && !r.o.reuse {
		if err := os.RemoveAll(r.dir); err != nil {
			return res, err
		}
		if err := os.MkdirAll(r.dir, 0o755); err != nil {
			return res, err
		}
		if err := r.start(ctx); err != nil {
			return res, err
		}
		in, err := r.ingest(ctx, pushes)
		if err != nil {
			r.kill()
			return res, err
		}
		res.Ingest = in
		if err := r.stop(); err != nil {
			return res, err
		}
	} else if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return res, err
	}
	if err := r.start(ctx); err != nil {
		return res, err
	}
	defer r.kill()
	if err := r.calm(ctx, 5*time.Second); err != nil {
		return res, err
	}
	for _, q := range stores.Queries {
		for _, ask := range r.p.Asks(q, r.truth) {
			m, err := r.query(ctx, q, &ask)
			if err != nil {
				return res, fmt.Errorf("%s: %w", q, err)
			}
			say("%-14s %-52s %s", r.p.Name, string(q)+" "+m.Label, m)
			res.Queries = append(res.Queries, m)
		}
	}
	return res, r.stop()
}

// freePort returns a port that nobody has at the moment.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// start starts the store and waits until it can be used.
func (r *run) start(ctx context.Context) (err error) {
	r.job = stores.Job{Binary: r.p.binary, Dir: r.dir, Of: r.of}
	if r.job.Port, err = freePort(); err != nil {
		return err
	}
	if r.job.More, err = freePort(); err != nil {
		return err
	}
	command, err := r.p.Prepare(&r.job)
	if err != nil {
		return err
	}
	if r.log, err = os.OpenFile(filepath.Join(r.dir, "log.txt"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return err
	}
	if r.o.verb {
		say("%s: %s", r.p.Name, strings.Join(command.Args, " "))
	}
	r.proc, err = measure.Start(measure.Spec{
		Args: command.Args, Dir: r.dir, CPU: r.o.cpu, Stdout: r.log, Stderr: r.log,
		Env: append([]string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "HOME=" + r.dir}, command.Env...),
	})
	if err != nil {
		return err
	}
	if err := r.ready(ctx); err != nil {
		r.kill()
		return err
	}
	return nil
}

func (r *run) ready(ctx context.Context) error {
	const patience = 3 * time.Minute
	began := time.Now()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.job.URL()+r.p.Ready, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close() // only the status counts
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Since(began) > patience {
			return fmt.Errorf("not ready after %v", patience)
		}
		if err := r.wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

var errEnded = errors.New("it ended by itself")

// wait waits, unless the store ends.
func (r *run) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.proc.Done():
		return fmt.Errorf("%w: %v", errEnded, r.proc.Err())
	case <-t.C:
		return nil
	}
}

// calm waits until the store does next to nothing for a while, and notes how
// much that is.
func (r *run) calm(ctx context.Context, quiet time.Duration) error {
	const little = 0.04 // of a processor
	if r.o.hurry {
		quiet /= 50
	}
	step := min(time.Second, quiet)
	began, since, from := time.Now(), time.Now(), r.proc.Usage().CPU
	last := from
	for time.Since(since) < quiet {
		if err := r.wait(ctx, step); err != nil {
			return err
		}
		now := r.proc.Usage().CPU
		if (now - last).Seconds() > little*step.Seconds() {
			since, from = time.Now(), now
		}
		last = now
		if time.Since(began) > r.o.patience {
			return fmt.Errorf("still busy after %v", r.o.patience)
		}
	}
	r.idle = (last - from).Seconds() / time.Since(since).Seconds()
	return nil
}

func (r *run) kill() {
	if r.proc != nil {
		r.proc.Kill()
		r.proc = nil
		_ = r.log.Close() // nothing more is written
	}
}

// stop ends the store properly.
func (r *run) stop() error {
	ended := r.proc.Stop(time.Minute)
	r.proc = nil
	if err := r.log.Close(); err != nil {
		return err
	}
	if !ended {
		return errors.New("did not end within a minute of SIGTERM")
	}
	return nil
}

// tail returns the end of the store's log.
func (r *run) tail() string {
	data, err := os.ReadFile(filepath.Join(r.dir, "log.txt"))
	if err != nil || len(data) == 0 {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return "\n" + string(bytes.Join(lines[max(0, len(lines)-8):], []byte("\n")))
}

// ingest pushes everything, waits until it is written out and compacted, and
// tells what that took.
func (r *run) ingest(ctx context.Context, pushes *mixed.Pushes) (*ingest, error) {
	if err := r.calm(ctx, 3*time.Second); err != nil {
		return nil, err
	}
	in := &ingest{Bytes: r.truth.Bytes}
	watch := newWatch(r.proc)
	start := watch.now()
	errs := make([]error, r.o.clients)
	pushing, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for c := range r.o.clients {
		wg.Go(func() {
			if errs[c] = r.push(pushing, pushes, c); errs[c] != nil {
				cancel()
			}
		})
	}
	pushed := make(chan struct{})
	go func() { wg.Wait(); close(pushed) }()
	watch.until(pushed, r.proc.Done())
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	end := watch.now()
	in.PushCPU, in.PushWall = (end.cpu - start.cpu).Seconds(), end.at.Sub(start.at).Seconds()
	in.Mean = watch.mean()
	say("%-14s pushed: %.1f CPU-s, %.0f s, peak RSS %d MiB", r.p.Name, in.PushCPU, in.PushWall, end.peak>>20)
	if err := r.settle(ctx); err != nil {
		return nil, err
	}
	last := watch.now()
	// What it takes anyway is no cost of these logs.
	in.CPU = (last.cpu - start.cpu).Seconds() - r.idle*last.at.Sub(end.at).Seconds()
	in.Peak = last.peak
	var err error
	if in.Data, err = stores.DiskUse(r.dir, r.p.Data); err != nil {
		return nil, err
	}
	if in.WAL, err = stores.DiskUse(r.dir, r.p.WAL); err != nil {
		return nil, err
	}
	say("%-14s settled: %.1f CPU-s, %d MB of data, %d MB of WAL, peak RSS %d MiB, idle %.2f %%", r.p.Name, in.CPU, in.Data/1e6, in.WAL/1e6, in.Peak>>20, 100*r.idle)
	return in, nil
}

func (r *run) push(ctx context.Context, pushes *mixed.Pushes, c int) error {
	var buf []byte
	for _, b := range pushes.Bodies {
		if b.Client != c {
			continue
		}
		var err error
		if buf, err = pushes.Read(b, buf); err != nil {
			return err
		}
		for tries := 0; ; tries++ {
			again, err := r.pushOne(ctx, buf)
			if err == nil {
				break
			}
			if !again || tries == 600 {
				return err
			}
			if err := r.wait(ctx, 100*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// pushOne reports whether a request that failed is to be repeated.
func (r *run) pushOne(ctx context.Context, body []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.job.URL()+r.p.Push, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := client.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 == 2 {
		return false, err
	}
	return resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500, fmt.Errorf("push: %s: %s", resp.Status, text[:min(len(text), 300)])
}

func (r *run) settle(ctx context.Context) error {
	for began := time.Now(); ; {
		done, err := r.p.Settle(ctx, client, &r.job)
		if err != nil {
			return err
		}
		if done {
			break
		}
		if time.Since(began) > r.o.patience {
			return fmt.Errorf("not settled after %v", r.o.patience)
		}
		if err := r.wait(ctx, time.Second); err != nil {
			return err
		}
	}
	return r.calm(ctx, r.p.Quiet)
}
