package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// backlog fills the buffer of a weir whose destination is dead from many
// connections, kills it, and starts it again with the destination alive.
func (o *options) backlog(ctx context.Context, dir, binary string, f form) error {
	if o.clients == 64 {
		o.clients = 1000
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; free < o.total+o.total/5+1e9 {
		return fmt.Errorf("%s has %d MB: too little for a backlog of %d MB", dir, free/1e6, o.total/1e6)
	}
	bodies := make([][]body, o.clients)
	for c := range bodies {
		var err error
		if bodies[c], err = o.makeBodies(f, c, 1); err != nil {
			return err
		}
	}
	b, err := newBackend()
	if err != nil {
		return err
	}
	defer b.close()
	g, err := o.start("weir", binary, dir, b.addr)
	if err != nil {
		return err
	}
	began := time.Now()
	l := push(ctx, g.target, f, bodies, o.total, o.pause)
	took, u := time.Since(began), g.Usage()
	g.Kill()
	if l.err != nil {
		return fmt.Errorf("%w\n%s", l.err, tail(g.log))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	fmt.Printf("filled: %d MB of text, %d requests of %d KiB, %d connections, %s; %.1f MB/s, %.1f MB per CPU-s, p50 %s, p99 %s, sent again %d, peak RSS %d MiB, %d MB on disk\n",
		l.raw.Load()/1e6, l.requests.Load(), o.size>>10, o.clients, f, float64(l.raw.Load())/1e6/took.Seconds(), float64(l.raw.Load())/1e6/u.CPU.Seconds(),
		l.quantile(.5).Round(time.Millisecond), l.quantile(.99).Round(time.Millisecond), l.again.Load(), u.Peak>>20, size(dir)/1e6)

	alive, err := newBackend()
	if err != nil {
		return err
	}
	defer alive.close()
	_ = os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0) // needs root; warm caches without
	began = time.Now()
	if g, err = o.start("weir", binary, dir, alive.addr); err != nil {
		return err
	}
	defer g.Kill()
	listening := time.Since(began)
	done := make(chan struct{})
	var verdict string
	go func() {
		defer close(done)
		verdict, err = alive.drain(ctx, bodies, l)
	}()
	<-done
	if err != nil {
		return fmt.Errorf("%w\n%s", err, tail(g.log))
	}
	u = g.Usage()
	fmt.Printf("started: listens after %s, first record out after %s, all after %s; %.1f CPU-s, peak RSS %d MiB; %s\n", listening.Round(time.Millisecond),
		time.Unix(0, alive.first.Load()).Sub(began).Round(time.Millisecond), time.Since(began).Round(time.Second), u.CPU.Seconds(), u.Peak>>20, verdict)
	return nil
}

// size is what the files of a directory have.
func size(dir string) (n int64) {
	_ = filepath.Walk(dir, func(_ string, fi os.FileInfo, err error) error {
		if err == nil && !fi.IsDir() {
			n += fi.Size()
		}
		return nil
	})
	return n
}
