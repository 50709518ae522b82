package deliver

import (
	"container/heap"
	"context"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/record"
)

// With Hash a request holds the records of one endpoint only. What was collected
// for a request is cut by the records' keys once it is due, and what is cut waits
// in Deliverer.assigned for its endpoint.

// maxAhead is how many requests may wait for one endpoint before further keys go
// to the next in their order: one that is slow must not stop the others.
const maxAhead = 4

// owners returns the endpoints that records are spread over: those of the group in
// use that are not ejected.
func (p *pool) owners() []*endpoint {
	members := p.members()
	if !slices.ContainsFunc(members, func(e *endpoint) bool { return e.ejected }) {
		return members
	}
	var list []*endpoint
	for _, e := range members {
		if !e.ejected {
			list = append(list, e)
		}
	}
	return list
}

// owner returns the endpoint of key: the one with the highest hash of both
// (rendezvous hashing), so that a change of the pool moves no keys but those of
// what came or went. Those for which skip is true are passed over if there is
// another.
func owner(list []*endpoint, key uint64, skip func(*endpoint) bool) *endpoint {
	var best, any *endpoint
	var high, highest uint64
	for _, e := range list {
		w := mix(key ^ e.hash)
		if any == nil || w > highest {
			any, highest = e, w
		}
		if (best == nil || w > high) && !skip(e) {
			best, high = e, w
		}
	}
	if best == nil {
		return any
	}
	return best
}

// mix spreads the bits of x (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// key returns what record i of b is spread by: its stream, or the attributes of
// HashBy, each of the stream or else a field of the record.
func (d *Deliverer) key(b *record.Batch, i int) uint64 {
	s := b.Stream(i)
	if len(d.c.HashBy) == 0 {
		return s.Hash()
	}
	var h uint64
	for _, name := range d.c.HashBy {
		v := uint64(0)
		if text := s.Get(name); text != "" {
			v = xxh3.HashString(text)
		} else if f, ok := b.FindField(i, name); ok {
			v = xxh3.Hash(b.Bytes(f.Val))
		}
		h = mix(h ^ v)
	}
	return h
}

// assign cuts r by the endpoints of its records, of which there is at least one,
// and into requests of the size that is sent.
func (d *Deliverer) assign(r *request, now time.Time) []*request {
	var all []*request
	size := d.size.bytes(now)
	for _, c := range d.cut(r) {
		for c.records > 1 && (c.bytes > size || d.c.Batch.Records > 0 && c.records > d.c.Batch.Records) {
			var head *request
			if c.bytes > size {
				head = c.split(size, false)
			} else {
				head = c.split(d.c.Batch.Records, true)
			}
			head.due, head.asked, head.rest = c.due, c.asked, c.rest
			all = append(all, head)
		}
		all = append(all, c)
	}
	return all
}

func (d *Deliverer) cut(r *request) []*request {
	list := d.pool.owners()
	if len(list) == 1 {
		r.target = list[0]
		return []*request{r}
	}
	ahead := make(map[*endpoint]int, len(list))
	for _, o := range d.assigned {
		ahead[o.target]++
	}
	full := func(e *endpoint) bool { return ahead[e] >= maxAhead }
	cut := make(map[*endpoint]*request, len(list))
	idx := make(map[*endpoint][]uint32, len(list))
	for _, p := range r.parts {
		clear(idx)
		b := p.Batch()
		var last uint64
		var to *endpoint
		for _, i := range p.Index() {
			if k := d.key(b, int(i)); to == nil || k != last {
				last, to = k, owner(list, k, full)
			}
			idx[to] = append(idx[to], i)
		}
		for e, records := range idx {
			c := cut[e]
			if c == nil {
				c = r.child()
				c.due, c.asked, c.rest, c.target = r.due, r.asked, r.rest, e
				cut[e] = c
			}
			q := p
			if len(idx) > 1 {
				q = p.Select(records)
			}
			c.add(q, q.Size(), r.oldest)
		}
		if len(idx) > 1 {
			p.Finish()
		}
	}
	all := make([]*request, 0, len(cut))
	for _, e := range list {
		if c := cut[e]; c != nil {
			all = append(all, c)
		}
	}
	return all
}

// dispatchHashed is dispatch with Hash.
func (d *Deliverer) dispatchHashed(sendCtx context.Context, now time.Time) (sent bool, wake time.Time) {
	e, wake, only := d.pool.probe(now)
	if only && e == nil {
		return false, wake
	}
	fresh, at := d.batch.due(now)
	wake = sooner(wake, at, now)
	if e != nil { // any request will do to find out
		r := d.nextFor(nil, fresh, now)
		if r == nil {
			if len(d.delayed) > 0 {
				wake = sooner(wake, d.delayed[0].due, now)
			}
			return false, wake
		}
		d.send(sendCtx, r, e, now)
		return true, time.Time{}
	}
	list := d.pool.owners()
	if fresh && len(d.assigned) < maxAhead*len(list) {
		d.assigned = append(d.assigned, d.assign(d.batch.take(), now)...)
	}
	// What has lost its endpoint finds another.
	d.assigned = d.reassign(d.assigned, list, now)
	var moved []*request
	for i := 0; i < len(d.delayed); i++ {
		if r := d.delayed[i]; !r.due.After(now) && !slices.Contains(list, r.target) {
			heap.Remove(&d.delayed, i)
			moved = append(moved, d.assign(r, now)...)
			i = -1
		}
	}
	for _, r := range moved {
		heap.Push(&d.delayed, r)
	}
	for _, e := range list {
		if e.full() {
			continue
		}
		if e.paused.After(now) {
			wake = sooner(wake, e.paused, now)
			continue
		}
		if r := d.nextFor(e, false, now); r != nil {
			d.send(sendCtx, r, e, now)
			return true, time.Time{}
		}
	}
	for _, r := range d.delayed {
		wake = sooner(wake, r.due, now)
	}
	return false, wake
}

// reassign gives requests whose endpoint is not in list to others.
func (d *Deliverer) reassign(rs []*request, list []*endpoint, now time.Time) []*request {
	lost := func(r *request) bool { return !slices.Contains(list, r.target) }
	if !slices.ContainsFunc(rs, lost) {
		return rs
	}
	var out []*request
	for _, r := range rs {
		if lost(r) {
			out = append(out, d.assign(r, now)...)
		} else {
			out = append(out, r)
		}
	}
	return out
}

// nextFor takes a request for e that is due, of any endpoint if e is nil; fresh
// says that one of the batch is. Fresh ones and those sent before take turns.
func (d *Deliverer) nextFor(e *endpoint, fresh bool, now time.Time) *request {
	first := slices.IndexFunc(d.assigned, func(r *request) bool { return e == nil || r.target == e })
	late := -1
	for i, r := range d.delayed {
		if !r.due.After(now) && (e == nil || r.target == e) && (late < 0 || r.due.Before(d.delayed[late].due)) {
			late = i
		}
	}
	if late >= 0 && (!d.fresh || first < 0 && !fresh) {
		d.fresh = true
		r := d.delayed[late]
		heap.Remove(&d.delayed, late)
		d.mergeRests(r, now)
		return r
	}
	d.fresh = false
	switch {
	case first >= 0:
		r := d.assigned[first]
		d.assigned = slices.Delete(d.assigned, first, first+1)
		return r
	case fresh:
		return d.batch.take()
	}
	return nil
}
