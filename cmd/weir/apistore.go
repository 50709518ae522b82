package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/api"
	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
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

func (a apiStore) Append(ctx context.Context, parts []record.Part) (ack.Result, error) {
	return a.s.Append(ctx, parts)
}

// apiServers are the API over the store: public on listen.http, with
// its credentials, and own on the admin socket, where the owner of the state
// directory sees everything.
type apiServers struct{ public, own *api.Server }

// newAPI makes the API over a store.
func newAPI(keep *keeper, l *config.Listen, log *slog.Logger, ready func() error) (*apiServers, error) {
	conf := api.Config{
		Store: apiStore{keep.Store}, Log: log, Ready: ready,
		Limits:  apiLimits(&l.Limits),
		Push:    api.PushLimits{Body: int64(l.Limits.Body), Decoded: int64(l.Limits.Decompressed), Memory: int64(l.Limits.PushMemory)},
		Version: api.Version{Version: version(), Branch: "main", GoVersion: runtime.Version()},
	}
	conf.Limits.Entries = 0 // the default: 'weir query' goes through pages of that size
	own, err := api.New(conf)
	if err != nil {
		return nil, err
	}
	conf.Limits = apiLimits(&l.Limits)
	conf.Auth, conf.Local = apiAuth(l), l.HTTP.Loopback()
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

// apiAuth is who may use the API.
func apiAuth(l *config.Listen) api.Auth {
	a := api.Auth{Tenants: l.Tenants(), TenantHeader: l.TenantHeader}
	for _, u := range l.Users {
		if u.Token != "" {
			a.Users = append(a.Users, api.User{Secret: api.NewSecret(string(u.Token)), Tenant: u.Tenant})
			continue
		}
		a.Users = append(a.Users, api.User{Name: u.Name, Secret: api.NewSecret(string(u.Password)), Tenant: u.Tenant})
	}
	return a
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
	p.api, err = newAPI(p.keep, &p.cfg.Listen, p.log, func() error {
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
