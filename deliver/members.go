package deliver

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/zeebo/xxh3"
)

// checkEndpoints reports endpoints that a pool cannot have.
func checkEndpoints(list []Endpoint) error {
	names := make(map[string]bool, len(list))
	for i, e := range list {
		switch {
		case e.Output == nil:
			return fmt.Errorf("endpoint %d (%s) has no output", i, e.Name)
		case names[e.Name]:
			return fmt.Errorf("endpoint %d: there is another one named %q", i, e.Name)
		case e.Group < 0:
			return fmt.Errorf("endpoint %d (%s) is of group %d", i, e.Name, e.Group)
		}
		names[e.Name] = true
	}
	return nil
}

// set makes list the pool's endpoints and returns those that left and have nothing
// under way, and Outputs that are not needed. Those that were there before stay what
// they are.
func (p *pool) set(list []Endpoint, slow bool) (all, gone []*endpoint, spare []Output) {
	old := make(map[string]*endpoint, len(p.all))
	for _, e := range p.all {
		old[e.Name] = e
	}
	list = slices.Clone(list)
	if p.balance == Failover && !slices.ContainsFunc(list, func(e Endpoint) bool { return e.Group != 0 }) {
		for i := range list {
			list[i].Group = i // the first that works
		}
	}
	slices.SortStableFunc(list, func(a, b Endpoint) int { return a.Group - b.Group })
	kept := make(map[*endpoint]bool)
	for _, n := range list {
		e := old[n.Name]
		if e == nil {
			e = &endpoint{Endpoint: n, hash: xxh3.HashString(n.Name), limit: limiter{limit: 1, max: p.max}}
			if slow {
				e.allow = 1
			}
		} else if !same(e.Output, n.Output) {
			spare = append(spare, n.Output)
		}
		e.Group = n.Group
		kept[e] = true
		all = append(all, e)
	}
	for _, e := range p.all {
		if !kept[e] {
			e.left = true
			gone = append(gone, e)
		}
	}
	return all, gone, spare
}

// same reports whether two Outputs are one. Those of a type that cannot be
// compared are.
func same(a, b Output) (same bool) {
	defer func() {
		if recover() != nil {
			same = true // closing it might close what is in use
		}
	}()
	return a == b
}

// SetEndpoints replaces the endpoints, also while requests are under way. An
// endpoint that was there before (by Name) keeps its health, its limits and its
// Output; the one given is closed if it is another. New ones start slowly: one
// request, then two, then four. What is gone gets no new request, and its Output
// is closed when the last one is answered (if it is an io.Closer); if it comes back
// before that, it is a new one. The Outputs of the present endpoints are the
// caller's to close, when Run has returned. With an empty list everything waits, as
// it does while all endpoints are ejected.
//
// With an error about names or groups nothing was changed; otherwise it is one of
// closing, and the change was made.
func (d *Deliverer) SetEndpoints(list []Endpoint) error {
	if err := checkEndpoints(list); err != nil {
		return fmt.Errorf("output %s: %w", d.c.Name, err)
	}
	d.mu.Lock()
	now := time.Now()
	p := &d.pool
	before, waited := len(p.all), p.down || len(p.all) == 0
	all, gone, spare := p.set(list, d.started)
	var added, removed []string
	for _, e := range all {
		if !slices.Contains(p.all, e) {
			added = append(added, e.Name)
		}
	}
	for _, e := range gone {
		removed = append(removed, e.Name)
		if e.inflight > 0 {
			d.leaving = append(d.leaving, e)
		} else {
			spare = append(spare, e.Output)
		}
	}
	// A position in the round means nothing among others.
	p.all, p.turn = all, 0
	if len(all) > 0 && !slices.ContainsFunc(all, func(e *endpoint) bool { return e.Group == p.group }) {
		p.group = all[0].Group
	}
	if p.down = len(all) > 0 && p.healthy() == 0; waited && !p.down && len(all) > 0 {
		p.failed = 0
		d.delayed.forward(now)
	}
	if len(added)+len(removed) > 0 && (d.started || d.c.Dynamic) {
		d.c.Logger.Info("endpoints changed", "output", d.c.Name, "added", added, "removed", removed, "endpoints", len(all), "before", before)
	}
	d.mu.Unlock()
	select {
	case d.changed <- struct{}{}:
	default:
	}
	return closeOutputs(spare)
}

// Hurry makes everything due that waits only because endpoints were failing, as a
// stop does, which cannot wait for the next attempt: whoever is back is found out
// now.
func (d *Deliverer) Hurry() {
	d.mu.Lock()
	now := time.Now()
	d.pool.gate = now
	for _, e := range d.pool.all {
		if e.ejected {
			e.until = now
		}
	}
	d.delayed.forward(now)
	d.mu.Unlock()
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// closeOutputs closes those that can be.
func closeOutputs(list []Output) error {
	var errs []error
	for _, o := range list {
		if c, ok := o.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// departed notes that an attempt at e has ended. d.mu is held.
func (d *Deliverer) departed(e *endpoint) {
	if !e.left || e.inflight > 0 {
		return
	}
	d.leaving = slices.DeleteFunc(d.leaving, func(o *endpoint) bool { return o == e })
	d.closing = append(d.closing, e.Output)
}

// closeDeparted closes the Outputs of endpoints that have left.
func (d *Deliverer) closeDeparted() {
	d.mu.Lock()
	list := d.closing
	d.closing = nil
	d.mu.Unlock()
	if err := closeOutputs(list); err != nil {
		d.c.Logger.Warn("an endpoint that left did not close cleanly", "output", d.c.Name, "error", err)
	}
}
