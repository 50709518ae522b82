package deliver

import (
	"container/heap"
	"time"

	"github.com/weirlog/weir/record"
)

// request is what one attempt sends. It owns its parts.
type request struct {
	parts   []record.Part
	bytes   int // as of Part.Size
	records int
	oldest  time.Time // when its oldest part was put into the queue
	first   time.Time // when its records were sent first; zero before
	tries   int       // failures in a row that another attempt may cure
	due     time.Time // not sent before
	asked   bool      // due was named by the destination: an endpoint's return changes nothing
	rest    bool      // its records failed one by one: it may be merged with others of the kind
	target  *endpoint // with Hash: whose records they are

	// while in flight
	endpoint  *endpoint
	started   time.Time
	saturated bool
}

func (r *request) add(p record.Part, bytes int, since time.Time) {
	if len(r.parts) == 0 || since.Before(r.oldest) {
		r.oldest = since
	}
	r.parts = append(r.parts, p)
	r.bytes += bytes
	r.records += p.Len()
}

// child returns an empty request with r's history.
func (r *request) child() *request {
	return &request{oldest: r.oldest, first: r.first, tries: r.tries, target: r.target}
}

// merge moves everything from o to r.
func (r *request) merge(o *request) {
	r.parts = append(r.parts, o.parts...)
	r.bytes += o.bytes
	r.records += o.records
	r.tries = max(r.tries, o.tries)
	if o.oldest.Before(r.oldest) {
		r.oldest = o.oldest
	}
	if o.first.Before(r.first) {
		r.first = o.first
	}
}

// split moves the first of r's records to a new request: as many as hold the
// given number of bytes (n = false) or as many as given (n = true), but at
// least one, and at least one stays.
func (r *request) split(limit int, n bool) (head *request) {
	head = r.child()
	left := limit
	cost := func(b *record.Batch, i uint32) int {
		if n {
			return 1
		}
		return b.RecordSize(int(i))
	}
	for len(r.parts) > 0 {
		p := r.parts[0]
		take, bytes := 0, 0
		for _, i := range p.Index() {
			c := cost(p.Batch(), i)
			if c > left && head.records+take > 0 || head.records+take == r.totalWith(head)-1 {
				break
			}
			left -= c
			bytes += p.Batch().RecordSize(int(i))
			take++
		}
		if take == 0 {
			break
		}
		if take < p.Len() {
			var first record.Part
			first, r.parts[0] = p.Split(take)
			head.add(first, bytes, r.oldest)
			r.records -= take
			r.bytes -= bytes
			break
		}
		head.add(p, bytes, r.oldest)
		r.parts = r.parts[1:]
		r.records -= take
		r.bytes -= bytes
	}
	return head
}

// totalWith returns how many records r had before head was taken from it.
func (r *request) totalWith(head *request) int { return r.records + head.records }

// delayed is a heap of requests by due.
type delayed []*request

func (h delayed) Len() int           { return len(h) }
func (h delayed) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h delayed) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *delayed) Push(x any)        { *h = append(*h, x.(*request)) }
func (h *delayed) Pop() any {
	old := *h
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return r
}

// forward makes every request due now that waits only because endpoints were
// failing.
func (h *delayed) forward(now time.Time) {
	for _, r := range *h {
		if !r.asked && r.due.After(now) {
			r.due = now
		}
	}
	heap.Init(h)
}

// batcher collects parts into requests.
type batcher struct {
	cur      *request
	deadline time.Time
	ready    []*request // full ones, first in first out
}

// add takes a part of size bytes, splitting what is larger than a request may be.
func (c *batcher) add(p record.Part, size int, since, now time.Time, maxBytes, maxRecords int, wait time.Duration) {
	if c.cur != nil && (c.cur.bytes+size > maxBytes || maxRecords > 0 && c.cur.records+p.Len() > maxRecords) {
		c.seal()
	}
	for p.Len() > 1 && (size > maxBytes || maxRecords > 0 && p.Len() > maxRecords) {
		n, bytes := fit(p, maxBytes, maxRecords)
		if n == p.Len() {
			break
		}
		head, tail := p.Split(n)
		r := new(request)
		r.add(head, bytes, since)
		c.ready = append(c.ready, r)
		p, size = tail, size-bytes
	}
	if c.cur == nil {
		c.cur = new(request)
		c.deadline = now.Add(max(wait, 0))
	}
	c.cur.add(p, size, since)
	if c.cur.bytes >= maxBytes || maxRecords > 0 && c.cur.records >= maxRecords {
		c.seal()
	}
}

// fit returns how many of p's first records a request holds, at least one, and
// how many bytes they are.
func fit(p record.Part, maxBytes, maxRecords int) (n, bytes int) {
	for _, i := range p.Index() {
		size := p.Batch().RecordSize(int(i))
		if n > 0 && (bytes+size > maxBytes || maxRecords > 0 && n >= maxRecords) {
			break
		}
		n, bytes = n+1, bytes+size
	}
	return n, bytes
}

func (c *batcher) seal() {
	if c.cur != nil {
		c.ready = append(c.ready, c.cur)
		c.cur = nil
	}
}

// due reports whether the next request may be sent, or else when.
func (c *batcher) due(now time.Time) (bool, time.Time) {
	switch {
	case len(c.ready) > 0:
		return true, time.Time{}
	case c.cur == nil:
		return false, time.Time{}
	}
	return !c.deadline.After(now), c.deadline
}

// take returns the next request.
func (c *batcher) take() *request {
	if len(c.ready) == 0 {
		c.seal()
	}
	r := c.ready[0]
	c.ready[0] = nil
	c.ready = c.ready[1:]
	return r
}
