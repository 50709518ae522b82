package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/weirlog/weir/api"
	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/store"
)

// apiStore is the embedded store as the API wants it.
type apiStore struct{ s *store.Store }

func (a apiStore) Source(tenant string) logql.Source { return a.s.Source(tenant) }

func (a apiStore) Streams(ctx context.Context, tenant string, sel *logql.Selector, start, end int64, f func(api.StreamStats) error) error {
	return a.s.Streams(ctx, tenant, sel, start, end, func(st store.StreamStats) error { return f(api.StreamStats(st)) })
}

func (a apiStore) Tail(tenant string, sel *logql.Selector, most int) (api.Tail, error) {
	t, err := a.s.Tail(tenant, sel, most)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// apiServers are the API over the store: public on listen.http, with
// its credentials, and own on the admin socket, where the owner of the state
// directory sees everything.
type apiServers struct{ public, own *api.Server }

// newAPI makes the API over a store.
func newAPI(keep *keeper, l *config.Listen, auth func(*http.Request) (string, error), log *slog.Logger, ready func() error) (*apiServers, error) {
	conf := api.Config{
		Store: apiStore{keep.Store}, Log: log, Ready: ready,
		Limits:  apiLimits(&l.Limits),
		Version: api.Version{Version: version(), Branch: "main", GoVersion: runtime.Version()},
	}
	conf.Limits.Entries = 0 // the default: 'weir query' goes through pages of that size
	own, err := api.New(conf)
	if err != nil {
		return nil, err
	}
	conf.Limits = apiLimits(&l.Limits)
	conf.Auth, conf.Local = auth, l.HTTP.Loopback()
	public, err := api.New(conf)
	if err != nil {
		return nil, err
	}
	return &apiServers{public, own}, nil
}

// apiLimits is what a query may cost.
func apiLimits(l *config.ListenLimits) api.Limits {
	return api.Limits{Time: time.Duration(l.QueryTime), Entries: l.QueryLines, Concurrency: l.Queries, Tails: l.Tails}
}

// close ends tails and what else runs.
func (a *apiServers) close(log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	var wg sync.WaitGroup
	for _, s := range []*api.Server{a.public, a.own} {
		wg.Go(func() {
			if err := s.Close(ctx); err != nil {
				log.Warn("a request did not end; it is cut", "error", err)
			}
		})
	}
	wg.Wait()
}

// openAPI makes the API if there is a store.
func (p *process) openAPI() (err error) {
	if p.keep == nil {
		return nil
	}
	p.api, err = newAPI(p.keep, &p.cfg.Listen, p.apiAuth, p.log, func() error {
		if list := p.degraded(); len(list) > 0 {
			return errors.New(list[0])
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("API: %w", err)
	}
	return nil
}

// degraded says what the store cannot do at the moment. A restart would not
// help.
func (p *process) degraded() []string {
	out := p.bufferProblems()
	if p.keep == nil {
		return out
	}
	s := p.keep.Stats()
	if s.LowDisk {
		return append(out, fmt.Sprintf("the store takes nothing: less than %s is free on the disk of %s", size(int64(p.keep.settings.MinFree)), p.keep.dir))
	}
	return out
}
