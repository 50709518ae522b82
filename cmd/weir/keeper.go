package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/store"
)

// keeper is the embedded store of the process: the output store writes into
// it, and the API reads it.
type keeper struct {
	*store.Store
	dir      string
	settings config.Store
}

// storeOutput returns the output that writes into the embedded store, nil if
// there is none.
func storeOutput(cfg *config.Config) *config.Output {
	for i := range cfg.Outputs {
		if _, ok := cfg.Outputs[i].Settings.(*config.StoreOutput); ok {
			return &cfg.Outputs[i]
		}
	}
	return nil
}

// storeConfig turns settings into those of the package store.
func storeConfig(s *config.Store, log *slog.Logger) (store.Config, error) {
	c := store.Config{
		Dir: string(s.Path), Log: log,
		Retention: time.Duration(s.Retention), MaxDisk: int64(s.MaxDisk), MinFree: int64(s.MinFree),
		MemtableBytes: int64(s.Memtable.Bytes), MemtableAge: time.Duration(s.Memtable.Age), CacheBytes: int64(s.Cache),
		RecentPushes: s.Recent,
	}
	if c.RecentPushes == 0 {
		c.RecentPushes = -1 // none: to the store 0 is its default
	}
	if c.MinFree == 0 {
		c.MinFree = -1 // none: to the store 0 is its default
	}
	for i, r := range s.Rules {
		sel, err := logql.ParseMatchers(string(r.Match))
		if err != nil {
			return c, fmt.Errorf("rules[%d].match: %w", i, err)
		}
		c.Rules = append(c.Rules, store.Rule{Selector: sel, Retention: time.Duration(r.Retention)})
	}
	return c, nil
}

// openKeeper opens the embedded store. A predecessor that was killed a moment
// ago may still hold its lock.
func openKeeper(ctx context.Context, s *config.Store, log *slog.Logger) (*keeper, error) {
	c, err := storeConfig(s, log)
	if err != nil {
		return nil, err
	}
	const patience, pause = 3 * time.Second, 100 * time.Millisecond
	deadline := time.Now().Add(patience)
	for {
		opened, err := store.Open(c)
		if err == nil {
			return &keeper{opened, c.Dir, *s}, nil
		}
		if !errors.Is(err, store.ErrLocked) || time.Now().After(deadline) {
			return nil, fmt.Errorf("store %s: %w", c.Dir, err)
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

// openStore opens the embedded store if the configuration has an output for it,
// and tells what was found.
func (p *process) openStore(ctx context.Context) error {
	out := storeOutput(p.cfg)
	if out == nil {
		return nil
	}
	began := time.Now()
	var err error
	if p.keep, err = openKeeper(ctx, &p.cfg.Store, p.log.With("output", string(out.ID))); err != nil {
		return err
	}
	r := p.keep.Recovery()
	p.log.Info("store opened", "path", p.keep.dir, "segments", r.Segments, "rows", r.SegmentRows, "rows_from_log", r.Rows,
		"took", time.Since(began).Round(time.Millisecond))
	return nil
}

func (p *process) closeStore() {
	if p.keep == nil {
		return
	}
	if err := p.keep.Close(); err != nil {
		p.log.Error("store did not close cleanly; nothing that was acknowledged is lost", "error", err)
	}
}

// storeSender is the embedded store as an output. It is not an io.Closer: the
// store outlives every graph.
type storeSender struct{ keep *keeper }

// Send is deliver.Output.
func (s storeSender) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	return s.keep.Send(ctx, parts)
}
