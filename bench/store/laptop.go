package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/weirlog/weir/bench/mixed"
)

// laptop writes lines for a while and asks for some now and then.
func (o *options) laptop(ctx context.Context, dir string, chosen []participant) error {
	u, err := o.up(ctx, dir, chosen)
	if err != nil {
		return err
	}
	defer u.stop()
	const files, askEvery = 4, 10 * time.Second
	out := make([]*os.File, files)
	for i := range out {
		if out[i], err = os.Create(filepath.Join(u.dir, fmt.Sprintf("%d.log", i+1))); err != nil {
			return err
		}
		defer out[i].Close()
	}
	began := time.Now()
	// As many lines in the corpus' six hours as are written in them: their times
	// are about those at which they are written.
	const lineSize = 212
	span := 6 * time.Hour
	g, err := mixed.New(mixed.Config{
		Seed: o.seed, Streams: 40, Bytes: int64(o.lines * span.Seconds() * lineSize), Start: began.UTC().Truncate(time.Minute), Span: span, Clients: 1, BodyBytes: 1,
	})
	if err != nil {
		return err
	}
	written, asked := int64(1), began
	w := newWatch(u.proc)
	var start look
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	const warm = 10 * time.Second
	for now := began; now.Sub(began) < o.duration; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-u.proc.Done():
			return fmt.Errorf("%w: %v", errEnded, u.proc.Err())
		case now = <-tick.C:
		}
		for float64(written) < now.Sub(began).Seconds()*o.lines {
			e := g.Next()
			if e == nil {
				return errors.New("the corpus is over")
			}
			// A line is a line here: traces are not joined.
			line := append(bytes.ReplaceAll(e.Line, []byte("\n"), []byte(" ")), '\n')
			if _, err := out[e.Stream%files].Write(line); err != nil {
				return err
			}
			written++
		}
		if start.at.IsZero() && now.Sub(began) > warm {
			w.rss = nil
			start = w.now()
		}
		w.now()
		if now.Sub(asked) > askEvery {
			asked = now
			var answer any
			if err := u.get(ctx, "/loki/api/v1/query_range", url.Values{"query": {fmt.Sprintf("{app=%q} |= %q", upLabel, mixed.Literal)}}, &answer); err != nil {
				return err
			}
		}
	}
	end := w.now()
	var n int64
	for i := 0; i < 100 && n != written; i++ {
		if n, err = u.count(ctx); err != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	fmt.Printf("%s. weir up, %.0f lines a second into %d files for %v, a query every %v.\n\n", machine(), o.lines, files, o.duration, askEvery)
	fmt.Print("| lines in the store | peak RSS, MiB | mean | CPU, % of a core |\n|---|---|---|---|\n")
	busy := 0.0
	if !start.at.IsZero() {
		busy = 100 * (end.cpu - start.cpu).Seconds() / end.at.Sub(start.at).Seconds()
	}
	fmt.Printf("| %d | %.0f | %.0f | %.1f |\n", n, float64(end.peak)/(1<<20), float64(w.mean())/(1<<20), busy)
	if n != written {
		return fmt.Errorf("%d lines are in the store, of %d that were written", n, written)
	}
	return nil
}
