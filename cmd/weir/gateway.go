package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/weirlog/weir/api"
	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/gateway"
	"github.com/weirlog/weir/pipeline"
	"github.com/weirlog/weir/record"
)

// pushes is what takes what others push, on listen.http and by inputs of their
// own.
//
//	listen.http ─► public ─┬─► the store, if there is one
//	                       └─► pipeline, as an input called push
//	admin socket ─► own ─────► the store
//	inputs of their own ─────► pipeline
type pushes struct {
	auth   *gateway.Auth // of listen.users; nil in a trial
	quotas *gateway.Quotas
	end    func() // of what runs beside, see runIdentity
	memory *gateway.Memory
	limits gateway.Limits
	public *gateway.HTTP  // nil without listen.http
	own    *gateway.HTTP  // nil without a store
	input  *gateway.Input // what public goes through; nil with a store
}

// pushInput is the id of the input that listen.http is without a store.
const pushInput = "push"

// openPushes makes what listen.http and the inputs that are pushed to share.
func (p *process) openPushes(ctx context.Context) error {
	l := &p.cfg.Listen
	cluster, err := p.newCluster(l)
	if err != nil {
		return p.cfg.Problem("listen.kubernetes", err.Error())
	}
	p.cluster = cluster
	rules, err := p.authConfig(l)
	if err != nil {
		return p.cfg.Problem("listen.users", err.Error())
	}
	auth, err := gateway.NewAuth(rules)
	if err != nil {
		return p.cfg.Problem("listen.users", err.Error())
	}
	p.push = &pushes{
		auth: auth, quotas: gateway.NewQuotas(tenantQuotas(l)), memory: gateway.NewMemory(int64(l.Limits.PushMemory)),
		limits: gateway.Limits{Body: int64(l.Limits.Body), Decoded: int64(l.Limits.Decompressed)},
	}
	p.push.end = p.runIdentity(ctx, cluster, p.push.quotas)
	c := p.pushConfig(p.cfg, pushInput)
	c.Local = l.HTTP.Loopback()
	if p.keep == nil {
		if l.HTTP == "" {
			return nil
		}
		in, err := gateway.NewInput(c, "push", gateway.Listen{}, nil)
		if err != nil {
			return err
		}
		p.push.input, p.push.public = in, in.Handler()
		return nil
	}
	c.Sink = &gateway.StoreSink{Append: p.keep.Append}
	c.Defaults = nil // the store is told what was sent, as it was sent
	if l.HTTP != "" {
		if p.push.public, err = gateway.NewHTTP(c); err != nil {
			return err
		}
	}
	// Who reaches the socket in the state directory is its owner.
	c.Auth, c.Limiter, c.Local = nil, nil, false
	p.push.own, err = gateway.NewHTTP(c)
	return err
}

// pushConfig is what all that is pushed goes by.
func (p *process) pushConfig(cfg *config.Config, name string) gateway.Config {
	c := gateway.Config{
		Name: name, IDs: true, Log: p.log, Origins: origins(cfg.Listen.CORS),
		Defaults: []record.Attr{{Name: record.AttrCluster, Value: cfg.Cluster}},
	}
	if p.push != nil {
		c.Auth, c.Memory, c.Limits, c.Limiter, c.Conns = p.push.auth, p.push.memory, p.push.limits, p.push.quotas, p.conns
	}
	return c
}

func origins(list []config.Origin) (out []string) {
	for _, o := range list {
		out = append(out, string(o))
	}
	return out
}

// authConfig is who may use listen.http and push to inputs. What of Kubernetes is
// asked stays as it was at the start.
func (p *process) authConfig(l *config.Listen) (gateway.AuthConfig, error) {
	var known gateway.Cluster
	if p.cluster != nil {
		known = p.cluster
	}
	c, err := userRules(l, known)
	c.Log = p.log
	return c, err
}

// apiAuth lets the API know whose logs a request is for.
func (p *process) apiAuth(r *http.Request) (string, error) {
	id, err := p.push.auth.Authenticate(r.Context(), gateway.HTTPCredentials(r), gateway.ScopeQuery)
	var refused *gateway.AuthError
	if errors.As(err, &refused) {
		return "", api.Refuse(refused.Status, refused.Msg)
	}
	return id.Tenant, err
}

// close ends pushes that do not go through the pipeline; an input's end with it.
func (u *pushes) close(log *slog.Logger) {
	if u.input != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	var wg sync.WaitGroup
	for _, h := range []*gateway.HTTP{u.public, u.own} {
		if h != nil {
			wg.Go(func() {
				if err := h.Close(ctx); err != nil {
					log.Warn("a push did not end; it is cut", "error", err)
				}
			})
		}
	}
	wg.Wait()
}

// pushedInput makes an input that others push to.
func (p *process) pushedInput(cfg *config.Config, in config.Input) (*input, error) {
	c := p.pushConfig(cfg, string(in.ID))
	kind := in.ID.Type()
	var listen gateway.Listen
	var conf any
	var secure *config.ListenTLS
	var labels map[string]string
	protocol, listen, conf, streams, ok := socketInput(in.Settings)
	if ok {
		secure, labels = &streams.TLS, streams.Labels
		c.Local = (streams.TCP == "" || streams.TCP.Loopback()) && (streams.UDP == "" || streams.UDP.Loopback())
	} else {
		s, ok := in.Settings.(config.PushedInput)
		if !ok {
			return nil, fmt.Errorf("input type %T is not built in", in.Settings)
		}
		l := s.Listeners()
		protocol, secure, labels = kind, l.TLS, l.Labels
		listen = gateway.Listen{HTTP: string(l.HTTP), GRPC: string(l.GRPC)}
		c.Local = (l.HTTP == "" || l.HTTP.Loopback()) && (l.GRPC == "" || l.GRPC.Loopback())
	}
	c.Defaults = append(c.Defaults, record.Attr{Name: record.AttrInput, Value: kind})
	for name, value := range labels {
		c.Attrs = append(c.Attrs, record.Attr{Name: name, Value: value})
	}
	if secure != nil && secure.Cert != "" {
		var protos []string
		if streams == nil {
			protos = httpProtos
		}
		var err error
		if listen.TLS, err = newServerTLS(secure, protos, p.log); err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
	}
	g, err := gateway.NewInput(c, protocol, listen, conf)
	if err != nil {
		return nil, err
	}
	return &input{made: time.Now(), settings: in.Settings, run: g, pushed: g}, nil
}

// pushedTo returns the inputs that are pushed to. The caller holds mu.
func (p *process) pushedTo() map[string]*gateway.Input {
	out := make(map[string]*gateway.Input)
	for id, in := range p.inputs {
		if in.pushed != nil {
			out[string(id)] = in.pushed
		}
	}
	if p.push != nil && p.push.input != nil {
		out[pushInput] = p.push.input
	}
	return out
}

// pushStats returns what was pushed, by protocol.
func (p *process) pushStats() []gateway.Stats {
	sum := make(map[string]*gateway.Stats)
	add := func(list []gateway.Stats) {
		for _, s := range list {
			t := sum[s.Protocol]
			if t == nil {
				t = &gateway.Stats{Protocol: s.Protocol, Requests: make(map[string]int64)}
				sum[s.Protocol] = t
			}
			for k, n := range s.Requests {
				t.Requests[k] += n
			}
			t.Records += s.Records
			t.Refused += s.Refused
			t.Bytes += s.Bytes
			t.Decoded += s.Decoded
		}
	}
	for _, in := range p.pushedTo() {
		add(in.Stats())
	}
	if p.push != nil && p.push.input == nil {
		for _, h := range []*gateway.HTTP{p.push.public, p.push.own} {
			if h != nil {
				add(h.Stats())
			}
		}
	}
	out := make([]gateway.Stats, 0, len(sum))
	for _, s := range sum {
		out = append(out, *s)
	}
	return out
}

var _ pipeline.Pushed = (*gateway.Input)(nil)
