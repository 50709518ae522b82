package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/gateway"
	"github.com/weirlog/weir/kube"
	"github.com/weirlog/weir/record"
)

// userRules is who may use listen.http and push to inputs. cluster may be nil if
// nobody is known by Kubernetes.
func userRules(l *config.Listen, cluster gateway.Cluster) (gateway.AuthConfig, error) {
	c := gateway.AuthConfig{Tenants: l.Tenants(), TenantHeader: l.TenantHeader, PodNames: l.Kubernetes.PodNames, Cluster: cluster}
	for i, u := range l.Users {
		g := gateway.User{Name: u.Name, Tenant: u.Tenant, Scopes: u.Scopes, Relay: u.Relay,
			Cert: u.Certificate, ServiceAccount: u.ServiceAccount, Pod: u.Pod}
		var err error
		switch {
		case u.Tokens != "":
			c.Tokens = append(c.Tokens, gateway.TokenFiles{Path: string(u.Tokens), Tenant: u.Tenant, Scopes: u.Scopes, Relay: u.Relay})
			continue
		case u.Token != "":
			g.Secret = gateway.NewSecret(string(u.Token))
		case u.TokenSHA256 != "":
			g.Secret, err = gateway.ParseSecret(string(u.TokenSHA256))
		case u.Password != "":
			g.Secret, g.Password = gateway.NewSecret(string(u.Password)), true
		case u.PasswordSHA256 != "":
			g.Password = true
			g.Secret, err = gateway.ParseSecret(string(u.PasswordSHA256))
		case u.Address != "":
			g.Address, err = u.Network()
		}
		if err != nil {
			return c, fmt.Errorf("listen.users[%d]: %w", i, err)
		}
		c.Users = append(c.Users, g)
	}
	return c, nil
}

// tenantQuotas is how much tenants may push.
func tenantQuotas(l *config.Listen) (all gateway.Quota, own map[string]gateway.Quota) {
	quota := func(t config.TenantLimits) gateway.Quota {
		return gateway.Quota{
			Bytes: everySecond(t.Bytes), BytesBurst: int64(t.Burst), Records: everySecond(t.Records), RecordsBurst: int64(t.RecordsBurst),
			Day: int64(t.Day), Streams: t.Streams,
		}
	}
	own = make(map[string]gateway.Quota)
	for name, t := range l.TenantLimitsOf {
		own[name] = quota(t.Over(l.TenantLimits))
	}
	return quota(l.TenantLimits), own
}

// everySecond is the rate in a second, at least one if there is any.
func everySecond(r config.Rate) int64 {
	if r.N == 0 {
		return 0
	}
	return max(1, int64(float64(r.N)/r.Per.Seconds()))
}

// connLimit bounds the connections of HTTP listeners.
func connLimit(l *config.ListenLimits) *gateway.ConnLimit {
	return gateway.NewConnLimit(openFiles(l.Connections), l.ConnectionsPerIP)
}

// cluster is what Kubernetes knows of who is there.
type cluster struct {
	reviews *kube.TokenReviews // nil if nobody needs it
	pods    *kube.PodIPs       // nil if nobody needs it
}

// newCluster returns nil if nobody is known by Kubernetes. It does not talk to the
// API server.
func (p *process) newCluster(l *config.Listen) (*cluster, error) {
	tokens, pods := l.AsksKubernetes()
	if !tokens && !pods {
		return nil, nil
	}
	c, err := &cluster{}, error(nil)
	if tokens {
		if c.reviews, err = kube.NewTokenReviews(kube.TokenReviewsConfig{Kubeconfig: string(l.Kubernetes.Kubeconfig), Audiences: l.Kubernetes.Audiences}); err != nil {
			return nil, err
		}
	}
	if pods {
		if c.pods, err = kube.NewPodIPs(kube.PodIPsConfig{Kubeconfig: string(l.Kubernetes.Kubeconfig), Logger: p.log}); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Review implements gateway.Cluster.
func (c *cluster) Review(ctx context.Context, token string, ask bool) (gateway.Workload, error) {
	if c.reviews == nil {
		return gateway.Workload{}, gateway.ErrBadToken
	}
	u, err := c.reviews.Review(ctx, token, ask)
	if errors.Is(err, kube.ErrBadToken) {
		err = gateway.ErrBadToken
	}
	if err != nil {
		return gateway.Workload{}, err
	}
	w := gateway.Workload{Namespace: u.Namespace, ServiceAccount: u.ServiceAccount, Pod: u.Pod, PodUID: u.PodUID}
	if c.pods != nil {
		if attrs, ok := c.pods.Attrs(u.PodUID); ok {
			w.Attrs = append(append(w.Attrs, attrs...), record.Attr{Name: gateway.AttrServiceAccount, Value: u.ServiceAccount})
		}
	}
	if w.Attrs == nil && u.Node != "" {
		w.Attrs = []record.Attr{{Name: record.AttrNamespace, Value: u.Namespace}, {Name: record.AttrPod, Value: u.Pod}, {Name: record.AttrPodUID, Value: u.PodUID},
			{Name: record.AttrNode, Value: u.Node}, {Name: gateway.AttrServiceAccount, Value: u.ServiceAccount}}
	}
	return w, nil
}

// PodAt implements gateway.Cluster.
func (c *cluster) PodAt(a netip.Addr) (gateway.Workload, bool) {
	if c.pods == nil {
		return gateway.Workload{}, false
	}
	namespace, name, uid, attrs, ok := c.pods.Pod(a)
	return gateway.Workload{Namespace: namespace, Pod: name, PodUID: uid, Attrs: attrs}, ok
}

// quotaFile keeps what tenants have used of their day, in the state directory.
const quotaFile = "tenants.json"

// quotaSave is how often it is written: so much may come again after a crash.
const quotaSave = 10 * time.Second

// runIdentity watches addresses of pods and saves what tenants have used, until stop
// is called.
func (p *process) runIdentity(ctx context.Context, c *cluster, q *gateway.Quotas) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	if c != nil && c.pods != nil {
		wg.Go(func() { _ = c.pods.Run(ctx) }) // it returns nil
	}
	file := filepath.Join(string(p.cfg.State), quotaFile)
	if text, err := os.ReadFile(file); err == nil {
		err = q.Restore(text, time.Now())
		if err != nil {
			p.log.Warn("what tenants have used today begins anew", "file", file, "error", err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		p.log.Warn("what tenants have used today begins anew", "error", err)
	}
	wg.Go(func() {
		tick := time.NewTicker(quotaSave)
		defer tick.Stop()
		last := ""
		save := func() {
			text := string(q.Marshal(time.Now()))
			if text == last {
				return
			}
			if err := replaceFile(file, text); err != nil {
				p.log.Warn("what tenants have used today could not be saved", "error", err)
				return
			}
			last = text
		}
		for {
			select {
			case <-tick.C:
				save()
			case <-ctx.Done():
				save()
				return
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
		if c != nil && c.reviews != nil {
			c.reviews.Close()
		}
	}
}

// replaceFile writes a file that is either the old or the new one.
func replaceFile(name, text string) error {
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
