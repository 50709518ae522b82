package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/deliver"
	"github.com/weirlog/weir/output"
)

// endpointSet is what an output sends to. If addresses are looked up, follow keeps
// a Deliverer's endpoints up to date with them. Close ends that and closes the
// outputs.
type endpointSet struct {
	name      string
	list      []deliver.Endpoint // of now; empty if they are looked up and were not yet
	settings  config.OutputSettings
	remote    *config.Remote // nil: there is nothing to look up
	discovery *output.Discovery
	log       *slog.Logger
	soon      chan struct{} // has a value after a connection failed
	cancel    context.CancelFunc
	done      chan struct{} // closed when follow's goroutine has ended; nil without one

	mu    sync.Mutex
	stats lookupStats
}

// lookupStats is what became of looking addresses up.
type lookupStats struct {
	Lookups, Failures uint64
	LastError         string // of the last one; "" if it found all
}

const (
	minLookup  = 5 * time.Second // between two lookups, but at the start
	firstRetry = time.Second
)

// endpoints makes the output values of an output. Those that are looked up are not
// made before find.
func (p *process) endpoints(o config.Output, log *slog.Logger) (*endpointSet, error) {
	s := &endpointSet{name: string(o.ID), settings: o.Settings, log: log, soon: make(chan struct{}, 1)}
	r := o.Settings.Endpoints()
	if r == nil {
		var err error
		s.list, err = p.local(o, log)
		return s, err
	}
	s.remote = r
	var places []output.Place
	for _, pl := range r.Places() {
		places = append(places, output.Place{URL: string(pl.URL.Plain()), Lookup: pl.URL.Lookup(), Group: pl.Group})
	}
	var err error
	if s.discovery, err = output.NewDiscovery(places, nil, string(r.Discovery.Server)); err != nil {
		return nil, err
	}
	if r.Looked() {
		return s, nil
	}
	if _, err := s.find(context.Background()); err != nil { // asks nobody
		_ = s.Close() // nothing was sent
		return nil, err
	}
	return s, nil
}

// looked reports whether addresses are looked up.
func (s *endpointSet) looked() bool { return s.remote != nil && s.remote.Looked() }

// find looks addresses up and makes outputs for those that are new. lookup says
// what could not be found, err what cannot be made; the list has the rest.
func (s *endpointSet) find(ctx context.Context) (lookup, err error) {
	targets, lookup := s.discovery.Lookup(ctx)
	known := make(map[string]deliver.Output, len(s.list))
	for _, e := range s.list {
		known[e.Name] = e.Output
	}
	var list []deliver.Endpoint
	for _, t := range targets {
		out := known[t.Name]
		if out == nil {
			h := httpConfig(s.remote, config.URL(t.URL), s.log)
			h.Address, h.Resolver = t.Address, s.discovery.Resolver()
			made, failed := remoteOutput(s.settings, h)
			if failed != nil {
				err = errors.Join(err, failed)
				continue
			}
			out = made
		}
		list = append(list, deliver.Endpoint{Name: t.Name, Output: out, Group: t.Group})
	}
	s.list = list
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Lookups++
	s.stats.LastError = ""
	if lookup != nil {
		s.stats.Failures++
		s.stats.LastError = lookup.Error()
	}
	return lookup, err
}

// lookups returns what became of looking addresses up.
func (s *endpointSet) lookups() lookupStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// observe is deliver.Config.Observe: an endpoint that cannot be reached may have
// moved.
func (s *endpointSet) observe(class deliver.Class, _ time.Duration) {
	if class != deliver.NoAnswer && class != deliver.TimedOut {
		return
	}
	select {
	case s.soon <- struct{}{}:
	default:
	}
}

// follow gives d what is looked up, now and from time to time, until Close.
func (s *endpointSet) follow(d *deliver.Deliverer) {
	if !s.looked() {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan struct{})
	go func() {
		defer close(s.done)
		retry, told := firstRetry, ""
		for {
			lookup, err := s.find(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				s.log.Error("an address that was found cannot be used", "error", err)
			}
			if err := d.SetEndpoints(s.list); err != nil {
				s.log.Warn("closing endpoints that are gone", "error", err)
			}
			text := ""
			if lookup != nil {
				text = lookup.Error()
			}
			switch {
			case text == told:
			case text == "":
				s.log.Info("addresses are found again", "endpoints", len(s.list))
			default:
				s.log.Warn("addresses cannot be looked up; what was known is used, and the rest waits", "error", text, "endpoints", len(s.list))
			}
			told = text
			every := time.Duration(s.remote.Discovery.Every)
			wait := time.Duration(float64(every) * (0.8 + 0.4*rand.Float64()))
			soon := s.soon
			if len(s.list) == 0 {
				wait, soon = min(wait, retry), nil
				retry = min(2*retry, every)
			} else {
				retry = firstRetry
			}
			if !sleep(ctx, min(wait, minLookup), nil) || !sleep(ctx, wait-minLookup, soon) {
				return
			}
		}
	}()
}

// sleep waits for as long, or until there is a value in soon; false means that ctx
// has ended.
func sleep(ctx context.Context, d time.Duration, soon <-chan struct{}) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-soon:
	case <-ctx.Done():
		return false
	}
	return true
}

// Close ends follow and closes the outputs that are in use. Those that left before
// are the Deliverer's.
func (s *endpointSet) Close() error {
	if s.done != nil {
		s.cancel()
		<-s.done
	}
	var errs []error
	for _, e := range s.list {
		if c, ok := e.Output.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
