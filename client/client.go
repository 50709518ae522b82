package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"
)

// closeTimeout is how long Close tries to send if its context has no deadline.
const closeTimeout = 10 * time.Second

// Client sends what is logged to its handlers. It is safe for concurrent use.
type Client struct {
	cfg      Config
	resource []byte
	always   bool // handlers wait for the disk

	in      collector
	queue   queue
	sender  sender
	trouble trouble

	began   sync.Once
	closing chan struct{}
	closed  chan struct{} // what Close waits for
	err     error         // of Close
	flushes chan chan uint64

	collected chan struct{} // when the last record was taken from the program

	stopSenders context.CancelFunc
	work        sync.WaitGroup
}

// New starts a client. It does not wait for a gateway: an error is about the
// configuration, the spool, or files of TLS.
func New(cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("weir client: %w", err)
	}
	c := &Client{cfg: cfg, closing: make(chan struct{}), closed: make(chan struct{}), flushes: make(chan chan uint64), collected: make(chan struct{})}
	c.always = cfg.Spool.Dir != "" && cfg.Spool.Sync == SyncAlways
	c.resource = appendResource(nil, cfg.resource(os.Getenv))
	if len(c.resource) > maxResource {
		return nil, fmt.Errorf("weir client: the resource has more than %d bytes", maxResource)
	}
	c.trouble.log = cfg.Logger
	if err := c.sender.init(&c.cfg, &c.trouble); err != nil {
		return nil, fmt.Errorf("weir client: %w", err)
	}
	c.queue = queue{c: c, changed: make(chan struct{})}
	if cfg.Spool.Dir != "" {
		// A frame must not be a large part of the spool.
		c.cfg.BatchBytes = int(min(int64(cfg.BatchBytes), cfg.Spool.MaxBytes/8))
		c.cfg.MaxRecord = int(min(int64(cfg.MaxRecord), cfg.Spool.MaxBytes/8))
		sp, waiting, err := openSpool(cfg.Spool, c.resource, cfg.open)
		if err != nil {
			return nil, fmt.Errorf("weir client: %w", err)
		}
		c.queue.sp, c.queue.accepted = sp, waiting
		c.trouble.recovered = waiting
		if _, _, damaged := sp.bytes(); damaged > 0 {
			c.trouble.spoolRead(fmt.Errorf("%d bytes are damaged and put aside", damaged))
		}
	}
	c.in.init(c)
	ctx, stop := context.WithCancel(context.Background())
	c.stopSenders = stop
	for range cfg.Concurrency {
		c.work.Go(func() {
			for {
				b := c.queue.take(ctx)
				if b == nil || c.sender.deliver(ctx, b) != nil {
					return // what is not sent stays in the spool
				}
				c.queue.finish(b)
			}
		})
	}
	c.work.Go(c.collect)
	return c, nil
}

func (in *collector) init(c *Client) {
	n := 1
	for n < runtime.GOMAXPROCS(0) && n < 64 {
		n *= 2
	}
	in.shards = make([]shard, n)
	in.wake, in.kick = make(chan struct{}, 1), make(chan struct{}, 1)
	in.pool.New = func() any {
		e := &encoder{c: c, shard: int(in.next.Add(1)) % n, buf: make([]byte, 0, 1024)}
		e.newPrefix()
		return e
	}
}

// collect takes what was put down, until the client is closed.
func (c *Client) collect() {
	defer close(c.collected)
	wait := c.cfg.BatchWait
	if c.queue.sp != nil {
		wait = min(c.cfg.Spool.Wait, c.cfg.BatchWait)
	}
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	var due <-chan time.Time // nil: nothing to take
	var syncing <-chan time.Time
	if c.queue.sp != nil && c.cfg.Spool.Sync == SyncInterval {
		t := time.NewTicker(c.cfg.Spool.SyncEvery)
		defer t.Stop()
		syncing = t.C
	}
	take := func(closing bool) {
		due = nil
		c.reportLoss(closing)
		chunks := c.in.take(c.cfg.BatchBytes, closing)
		since := time.Now().Add(-wait)
		c.queue.put(chunks, since)
		if c.queue.sp != nil && c.queue.backlog() || c.in.lossy.Load() && !closing {
			timer.Reset(time.Second) // for the spool to take it, for room to report it
			due = timer.C
		}
	}
	for {
		select {
		case <-c.in.wake:
			if c.always {
				take(false)
			} else if due == nil {
				timer.Reset(wait)
				due = timer.C
			}
		case <-c.in.kick:
			take(false)
		case <-due:
			take(false)
		case <-syncing:
			if err := c.queue.sp.flush(); err != nil {
				c.trouble.spool(err)
			}
		case done := <-c.flushes:
			take(false)
			done <- c.queue.hurry()
		case <-c.closing:
			take(true)
			return
		}
	}
}

// backlog reports whether there are chunks that the spool should take.
func (q *queue) backlog() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.mem) > 0
}

// reportLoss logs how many records were dropped, if there is room again.
func (c *Client) reportLoss(closing bool) {
	in := &c.in
	if !in.lossy.Load() || !closing && in.used.Load() > c.cfg.MemoryBytes*3/4 {
		return
	}
	in.lossMu.Lock()
	l := in.loss
	in.loss = loss{}
	in.lossy.Store(false)
	in.lossMu.Unlock()
	r := slog.NewRecord(time.Now(), slog.LevelWarn, fmt.Sprintf("weir client: %d records (%d bytes) were dropped between %s and %s: gateways took too little, and buffers were full",
		l.records, l.bytes, l.from.UTC().Format(time.RFC3339), l.to.UTC().Format(time.RFC3339)), 0)
	r.AddAttrs(slog.Uint64("weir.gap.records", l.records), slog.Uint64("weir.gap.bytes", l.bytes),
		slog.String("weir.gap.from", l.from.UTC().Format(time.RFC3339Nano)), slog.String("weir.gap.to", l.to.UTC().Format(time.RFC3339Nano)),
		slog.String("weir.gap.reason", "full"))
	e := in.pool.Get().(*encoder)
	defer in.pool.Put(e)
	e.record(&handler{c: c, levels: make([]level, 1)}, &r, Trace{}, false)
	n := int64(len(e.buf))
	in.used.Add(n) // beyond the limit if need be: it is one
	s := &in.shards[e.shard]
	s.mu.Lock()
	s.buf = append(s.buf, e.buf...)
	s.records++
	s.mu.Unlock()
}

// Flush sends what was logged before, without waiting for more, and returns when
// gateways have acknowledged it. The error is the context's, with the last one
// of a gateway; the records stay where they are, and are sent later. ErrClosed
// means that the client was closed before.
func (c *Client) Flush(ctx context.Context) error {
	done := make(chan uint64, 1)
	select {
	case c.flushes <- done:
	case <-c.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	target := <-done
	if err := c.queue.wait(ctx, target); err != nil {
		return c.trouble.with(err)
	}
	return nil
}

// Close ends the client: what was logged before is sent, until ctx ends, or for
// 10 seconds if it has no deadline. What then is not acknowledged waits in the
// spool for the next process, and that is no error. Without a spool, or where the
// spool did not take it, the records are lost, and the error says how many.
// Further calls wait for the first one.
func (c *Client) Close(ctx context.Context) error {
	c.began.Do(func() {
		close(c.closing)
		c.err = c.close(ctx)
		close(c.closed)
	})
	<-c.closed
	return c.err
}

func (c *Client) close(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, closeTimeout)
		defer cancel()
	}
	<-c.collected
	sent := c.queue.wait(ctx, c.queue.hurry())
	c.stopSenders()
	c.work.Wait()
	c.sender.close()
	lost, spooled, err := c.queue.close()
	switch {
	case lost > 0:
		return fmt.Errorf("weir client: %d records are lost: %w", lost, errors.Join(c.trouble.with(sent), err))
	case spooled > 0:
		c.cfg.Logger.Info("weir client: records wait in the spool for the next start", "records", spooled, "err", c.trouble.with(sent))
	}
	if err != nil {
		return fmt.Errorf("weir client: %w", err)
	}
	return nil
}
