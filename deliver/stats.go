package deliver

import (
	"time"

	"github.com/weirlog/weir/ack"
)

type counters struct {
	settled     [ack.NumStatus]uint64
	requests    [NumClasses]uint64
	bytes       uint64
	retried     uint64
	splits      uint64
	lastSuccess time.Time
	lastError   string
	lastErrorAt time.Time
}

// Stats is the state of a Deliverer at one moment.
type Stats struct {
	// Waiting is what is in the queue or in hand: every record that was put
	// and is not settled. Queued is the part of it that is in the queue.
	Waiting, Queued struct{ Records, Bytes int }
	// OldestWaiting is when the oldest of them was put into the queue, zero
	// if nothing waits.
	OldestWaiting time.Time
	// Records counts the records settled, by status.
	Records [ack.NumStatus]uint64
	// Requests counts the attempts finished, by class.
	Requests [NumClasses]uint64
	// Bytes is the sum of Result.Bytes: request bodies as sent and accepted.
	Bytes uint64
	// Retried counts the records that were sent again, once per attempt.
	Retried uint64
	// Splits counts requests that were cut in two, as too large or to find
	// the culprit.
	Splits uint64
	// InFlight and Limit are the requests being sent and how many may be, over
	// the endpoints of the group in use.
	InFlight, Limit int
	// Delayed is the number of requests that wait to be sent again.
	Delayed int
	// Unburied is the number of records that wait to be dead letters.
	Unburied int
	// Healthy is the number of endpoints that are not ejected.
	Healthy int
	// Group is the group in use. Endpoints are those of the pool, in the order of
	// groups, and then those that leave.
	Group     int
	Endpoints []EndpointStats
	// LastSuccess is when records were delivered last, zero for never.
	LastSuccess time.Time
	// LastError is the last failure that was not the records' fault, at
	// LastErrorAt; "" if there was none.
	LastError   string
	LastErrorAt time.Time
}

// EndpointStats is the state of one endpoint.
type EndpointStats struct {
	Name    string
	Group   int
	Healthy bool // not ejected
	// State is active, starting (it came, or came back, a moment ago), standby
	// (of a group that is not in use), paused (it asked for silence), ejected, or
	// leaving.
	State              string
	InFlight, Limit    int
	Requests, Failures uint64
	// PausedUntil is how long the destination asked to be left alone.
	PausedUntil time.Time
}

// Waiting returns how many records were put into the queue and are not settled.
// Once it is 0, their batches have been released, too.
func (d *Deliverer) Waiting() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, queued, _ := d.c.Queue.Len()
	return int64(queued + d.hand.records)
}

// Stats returns the present state.
func (d *Deliverer) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Stats{
		Records: d.stats.settled, Requests: d.stats.requests, Bytes: d.stats.bytes, Retried: d.stats.retried, Splits: d.stats.splits,
		InFlight: len(d.flying), Limit: d.pool.limits(), Delayed: len(d.delayed), Healthy: d.pool.healthy(),
		LastSuccess: d.stats.lastSuccess, LastError: d.stats.lastError, LastErrorAt: d.stats.lastErrorAt,
	}
	_, s.Queued.Records, s.Queued.Bytes = d.c.Queue.Len()
	s.Waiting.Records = s.Queued.Records + d.hand.records
	s.Waiting.Bytes = s.Queued.Bytes + d.hand.bytes
	oldest := func(t time.Time) {
		if s.OldestWaiting.IsZero() || t.Before(s.OldestWaiting) {
			s.OldestWaiting = t
		}
	}
	if t, ok := d.c.Queue.OldestSince(); ok {
		oldest(t)
	}
	for _, r := range d.requests() {
		oldest(r.oldest)
	}
	for _, graves := range [][]grave{d.graves, d.burying} {
		for _, g := range graves {
			oldest(g.oldest)
			s.Unburied += g.Part.Len()
		}
	}
	now := time.Now()
	s.Group = d.pool.group
	for _, list := range [][]*endpoint{d.pool.all, d.leaving} {
		for _, e := range list {
			s.Endpoints = append(s.Endpoints, EndpointStats{e.Name, e.Group, !e.ejected, d.pool.state(e, now), e.inflight, e.limit.limit, e.requests, e.failures, e.paused})
		}
	}
	return s
}
