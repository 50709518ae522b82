package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// compare runs every form on every program.
func (o *options) compare(ctx context.Context, dir string, binaries map[string]string, forms []form) error {
	fmt.Println("| form | request | clients | program | MB per CPU-s | MB/s | p50 | p99 | peak RSS | sent again | verified |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|")
	for range o.rounds {
		for _, f := range forms {
			bodies := make([][]body, o.clients)
			for c := range bodies {
				var err error
				if bodies[c], err = o.makeBodies(f, c, o.each); err != nil {
					return err
				}
			}
			for _, name := range []string{"weir", "otelcol"} {
				if binaries[name] == "" || name == "otelcol" && f.proto == "loki" {
					continue
				}
				if err := o.one(ctx, dir, name, binaries[name], f, bodies); err != nil {
					return fmt.Errorf("%s %s: %w", name, f, err)
				}
			}
		}
	}
	return nil
}

// one measures a program with one form and prints a line.
func (o *options) one(ctx context.Context, dir, name, binary string, f form, bodies [][]body) (err error) {
	dir = filepath.Join(dir, "run")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir) // the parent is removed as well
	b, err := newBackend()
	if err != nil {
		return err
	}
	defer b.close()
	g, err := o.start(name, binary, dir, b.addr)
	if err != nil {
		return err
	}
	defer g.Kill()
	defer func() {
		if o.verb || err != nil {
			fmt.Fprintln(os.Stderr, tail(g.log))
		}
	}()
	// A twentieth first: pools, caches, connections.
	warm := push(ctx, g.target, f, bodies, o.total/20, o.pause)
	if warm.err != nil {
		return warm.err
	}
	before, began := g.Usage(), time.Now()
	l := push(ctx, g.target, f, bodies, o.total, o.pause)
	took, after := time.Since(began), g.Usage()
	if l.err != nil {
		return l.err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	verdict := "–"
	if o.verify && name == "weir" {
		for c := range l.acked {
			for i := range l.acked[c] {
				l.acked[c][i] += warm.acked[c][i]
			}
		}
		if verdict, err = b.drain(ctx, bodies, l); err != nil {
			return err
		}
	}
	request := fmt.Sprintf("%d KiB", o.size>>10)
	if o.records > 0 {
		request = fmt.Sprintf("%d records", o.records)
	}
	mb := float64(l.raw.Load()) / 1e6
	fmt.Printf("| %s | %s | %d | %s | %.1f | %.1f | %s | %s | %d MiB | %d | %s |\n", f, request, o.clients, name,
		mb/(after.CPU-before.CPU).Seconds(), mb/took.Seconds(), l.quantile(.5).Round(10*time.Microsecond), l.quantile(.99).Round(10*time.Microsecond),
		after.Peak>>20, l.again.Load(), verdict)
	return nil
}

// drain opens the destination and waits until all has come, or nothing does any
// more.
func (b *backend) drain(ctx context.Context, bodies [][]body, l *load) (string, error) {
	b.expect(bodies)
	close(b.open)
	var want, last int64
	for c := range bodies {
		for i, bd := range bodies[c] {
			want += int64(l.acked[c][i]) * int64(bd.lines)
		}
	}
	for since := time.Now(); ; {
		n, bad := b.count()
		if n != last {
			last, since = n, time.Now()
		}
		if n >= want && time.Since(since) > 300*time.Millisecond || time.Since(since) > 40*time.Second {
			missing, extra := b.missing(bodies, l)
			if missing > 0 || bad > 0 {
				return "", fmt.Errorf("of %d records that were acknowledged %d did not come, %d were damaged, %d came too often", want, missing, bad, extra)
			}
			return fmt.Sprintf("%d records, %d twice", want, extra), nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
