package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/weirlog/weir/gateway"
	"github.com/weirlog/weir/metrics"
)

// pushStatus is what came to an input that is pushed to.
type pushStatus struct {
	ID        string        `json:"id"`
	Addresses []string      `json:"addresses"`
	Protocols []protoStatus `json:"protocols"` // those that came
	Ledger    []outputRow   `json:"outputs"`   // what became of the records, since the start
	Waiting   int64         `json:"waiting"`   // records that are not answered yet
	Records   uint64        `json:"records"`   // that were answered, since the start
}

type protoStatus struct {
	Protocol string           `json:"protocol"`
	Requests map[string]int64 `json:"requests"`
	Records  int64            `json:"records"`
	Refused  int64            `json:"refused_records"`
	Bytes    int64            `json:"bytes"`
	Decoded  int64            `json:"decoded_bytes"`
}

// sendersStatus is what is known of senders beyond one input.
type sendersStatus struct {
	Connections int              `json:"http_connections"`
	Refused     int64            `json:"refused_connections"`
	Cut         int64            `json:"cut_connections"`
	Memory      int64            `json:"push_memory"`
	MemoryLimit int64            `json:"push_memory_limit"`
	Allowed     map[string]int64 `json:"allowed,omitempty"` // by scope
	Denied      map[string]int64 `json:"denied,omitempty"`
	Tenants     []tenantStatus   `json:"tenants,omitempty"` // that were refused something, and those with a bound for the day
}

type tenantStatus struct {
	Tenant   string           `json:"tenant"`
	Today    int64            `json:"today"`
	Day      int64            `json:"day,omitempty"` // what it may have in a day
	Refused  map[string]int64 `json:"refused,omitempty"`
	Accepted int64            `json:"bytes"`
}

// pushedStatus returns the inputs that are pushed to. The caller holds mu.
func (p *process) pushedStatus() []pushStatus {
	var out []pushStatus
	names := p.book.Names()
	for id, in := range p.pushedTo() {
		sum, waiting := in.Tally()
		st := pushStatus{ID: id, Addresses: []string{}, Protocols: protocols(in.Stats()), Ledger: outputRows(&sum, names), Records: sum.Read, Waiting: waiting}
		for _, a := range in.Addrs() {
			st.Addresses = append(st.Addresses, a.Network()+" "+a.String())
		}
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b pushStatus) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// protocols returns those by which something came.
func protocols(list []gateway.Stats) []protoStatus {
	out := []protoStatus{}
	for _, s := range list {
		if len(s.Requests) > 0 || s.Records > 0 {
			out = append(out, protoStatus{s.Protocol, s.Requests, s.Records, s.Refused, s.Bytes, s.Decoded})
		}
	}
	return out
}

// senders returns what is known of all senders. The caller holds mu.
func (p *process) senders(now time.Time) *sendersStatus {
	if p.push == nil || p.conns == nil {
		return nil
	}
	c, a := p.conns.Stats(), p.push.auth.Stats()
	s := &sendersStatus{
		Connections: c.Open, Refused: c.Refused, Cut: c.Evicted, Memory: p.push.memory.Used(), MemoryLimit: int64(p.cfg.Listen.Limits.PushMemory),
		Allowed: a.Allowed, Denied: a.Refused,
	}
	all, own := tenantQuotas(&p.cfg.Listen)
	for _, t := range p.push.quotas.Stats(now) {
		q, named := own[t.Tenant]
		if !named {
			q = all
		}
		if len(t.Refused) > 0 || q.Day > 0 {
			s.Tenants = append(s.Tenants, tenantStatus{t.Tenant, t.Today, q.Day, t.Refused, t.Bytes})
		}
	}
	return s
}

// maxTenantLines is how many tenants `weir status` prints.
const maxTenantLines = 20

func (s *sendersStatus) print(w io.Writer) {
	fmt.Fprintf(w, "senders             %d HTTP connections", s.Connections)
	if s.Refused+s.Cut > 0 {
		fmt.Fprintf(w, "; %d REFUSED, %d cut: listen.limits.connections", s.Refused, s.Cut)
	}
	fmt.Fprintf(w, "; %s of %s for pushes under way\n", size(s.Memory), size(s.MemoryLimit))
	if n := s.Denied["ingest"]; n > 0 {
		fmt.Fprintf(w, "access              %d pushes DENIED: credentials; see the log\n", n)
	}
	for i, t := range s.Tenants {
		if i == maxTenantLines {
			fmt.Fprintf(w, "tenants             and %d more\n", len(s.Tenants)-i)
			break
		}
		name := t.Tenant
		if name == "" {
			name = "(none)"
		}
		fmt.Fprintf(w, "tenant %-12s %s today", name, size(t.Today))
		if t.Day > 0 {
			fmt.Fprintf(w, " of %s", size(t.Day))
		}
		for _, reason := range []string{"bytes", "records", "day", "streams"} {
			if n := t.Refused[reason]; n > 0 {
				fmt.Fprintf(w, "; %d pushes REFUSED: tenant_limits.%s", n, reason)
			}
		}
		fmt.Fprintln(w)
	}
}

func (s *pushStatus) print(w io.Writer) {
	fmt.Fprintf(w, "\ninput %s\n", s.ID)
	if len(s.Addresses) > 0 {
		fmt.Fprintf(w, "  listens  %s\n", strings.Join(s.Addresses, ", "))
	}
	if len(s.Protocols) == 0 {
		fmt.Fprintln(w, "  pushes   none yet")
	}
	for _, p := range s.Protocols {
		fmt.Fprintf(w, "  pushes   %s: %d records, %s as sent; requests: %s", p.Protocol, p.Records, size(p.Bytes), counts(p.Requests))
		if p.Refused > 0 {
			fmt.Fprintf(w, "; %d records REFUSED for good", p.Refused)
		}
		fmt.Fprintln(w)
	}
	if s.Waiting > 0 {
		fmt.Fprintf(w, "  waiting  %d records are not answered yet\n", s.Waiting)
	}
}

// sendersMetrics is senders as the metrics see it. The caller holds mu.
func (p *process) sendersMetrics(now time.Time) *metrics.Senders {
	s := p.senders(now)
	if s == nil {
		return nil
	}
	m := &metrics.Senders{Connections: s.Connections, Refused: s.Refused, Cut: s.Cut, Memory: s.Memory, MemoryLimit: s.MemoryLimit, Allowed: s.Allowed, Denied: s.Denied}
	for _, t := range p.push.quotas.Stats(now) {
		if t.Tenant != "" {
			m.Tenants = append(m.Tenants, metrics.Tenant{Name: t.Tenant, Bytes: t.Bytes, Records: t.Records, Today: t.Today, Refused: t.Refused})
		}
	}
	if p.cluster != nil && p.cluster.reviews != nil {
		r := p.cluster.reviews.Stats()
		m.Reviews = map[string]uint64{"good": r.Asked - r.Failed - r.Bad, "bad": r.Bad, "failed": r.Failed}
	}
	return m
}
