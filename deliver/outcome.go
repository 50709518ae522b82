package deliver

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// Class is how an attempt ended, for statistics.
type Class uint8

// The classes of attempts.
const (
	OK           Class = iota
	Partial            // accepted, some records failed
	Throttled          // 429
	Unavailable        // 5xx and whatever else says "later"
	TimedOut           // no answer in time
	NoAnswer           // no connection, or it broke
	TooLarge           // 413
	Rejected           // 400
	Unauthorized       // 401, 403
	Canceled           // ended by the stop of Run

	NumClasses
)

var classNames = [NumClasses]string{"ok", "partial", "throttled", "unavailable", "timeout", "no_answer", "too_large", "rejected", "unauthorized", "canceled"}

// String returns the class's name in metrics.
func (c Class) String() string { return classNames[c] }

// classify returns the class of an attempt's error and, if there is one, how
// long the destination asked to wait.
func classify(err error) (Class, time.Duration) {
	const grpcExhausted, firstHTTP = 8, 100
	var e *ack.SendError
	if !errors.As(err, &e) {
		if errors.Is(err, context.DeadlineExceeded) {
			return TimedOut, 0
		}
		return NoAnswer, 0
	}
	switch {
	case e.Kind == ack.TooLarge:
		return TooLarge, e.RetryAfter
	case e.Kind == ack.Rejected:
		return Rejected, e.RetryAfter
	case e.Kind == ack.Unauthorized:
		return Unauthorized, e.RetryAfter
	case e.Code == 429 || e.Code == grpcExhausted:
		return Throttled, e.RetryAfter
	case e.Code == 0 && errors.Is(err, context.DeadlineExceeded):
		return TimedOut, e.RetryAfter
	case e.Code == 0:
		return NoAnswer, e.RetryAfter
	}
	return Unavailable, e.RetryAfter
}

// handle does what an attempt's answer asks for.
func (d *Deliverer) handle(a answer) {
	r, now := a.r, time.Now()
	if a.err == nil {
		if err := checkFailures(r.parts, a.result.Failures); err != nil {
			// What it means is not known, so nothing counts as delivered.
			a.err = fmt.Errorf("endpoint %s: %w", r.endpoint.Name, err)
		}
	}
	var class Class
	var after time.Duration
	switch {
	case a.err != nil:
		class, after = classify(a.err)
	case len(a.result.Failures) > 0:
		class, after = Partial, a.result.RetryAfter
	}
	after = min(max(after, 0), MaxRetryAfter)
	if d.c.Observe != nil {
		d.c.Observe(class, now.Sub(r.started))
	}

	// Settling may end batches; no lock is held while their owners are told.
	var again *request
	var dead []grave
	if a.err == nil {
		again, dead = d.settle(r, a.result.Failures)
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.flying, r)
	r.endpoint.inflight--
	d.departed(r.endpoint)
	if d.stopping && a.err != nil && errors.Is(a.err, context.Canceled) {
		class = Canceled
	}
	d.stats.requests[class]++
	d.stats.bytes += uint64(max(a.result.Bytes, 0))
	d.health(r, class, after, a.err, now)

	if a.err == nil {
		left := amount{}
		if again != nil {
			left.records, left.bytes = again.records, again.bytes
		}
		for _, g := range dead {
			left.records, left.bytes = left.records+g.Part.Len(), left.bytes+g.bytes
		}
		if n := r.records - left.records; n > 0 {
			d.stats.settled[ack.Delivered] += uint64(n)
			d.stats.lastSuccess = now
			d.size.success()
		}
		d.hand.records -= r.records - left.records
		d.hand.bytes -= r.bytes - left.bytes
		d.graves = append(d.graves, dead...)
		// A destination that takes nearly all of a request is not overloaded:
		// slowing down for every single record it puts off would leave one
		// request at a time.
		if again != nil && again.records*overloadShare >= r.records {
			r.endpoint.limit.overload(r.started, now)
		} else {
			r.endpoint.limit.success(r.saturated)
		}
		if again != nil {
			again.tries = r.tries + 1
			d.note(now, r, retryReason(a.result.Failures), again.records)
			d.later(again, after, "", now)
		}
		return
	}
	reason := shorten(a.err.Error())
	switch class {
	case TooLarge, Rejected:
		r.endpoint.limit.success(r.saturated)
		if r.records <= 1 {
			status := ack.DeadRejected
			if class == TooLarge {
				status = ack.DeadTooLarge
			}
			d.die(r, status, reason)
			return
		}
		head := (*request)(nil)
		if class == TooLarge {
			d.size.tooLarge(r.bytes, now)
			head = r.split(r.bytes/2, false)
		} else {
			head = r.split(r.records/2, true)
		}
		d.stats.splits++
		head.due, r.due, r.rest = now, now, false
		heap.Push(&d.delayed, head)
		heap.Push(&d.delayed, r)
	case Unauthorized:
		r.tries++
		d.stats.lastError, d.stats.lastErrorAt = reason, now
		if d.every("unauthorized "+r.endpoint.Name, time.Minute, now) {
			d.c.Logger.Error("the destination refuses the credentials; the records wait", "output", d.c.Name, "endpoint", r.endpoint.Name,
				"error", reason, "waiting_records", d.hand.records)
		}
		r.due = now.Add(max(after, d.c.Retry.MaxDelay))
		r.asked = after > 0
		heap.Push(&d.delayed, r)
	case Canceled:
		r.due = now
		heap.Push(&d.delayed, r) // for Remaining
	default:
		r.tries++
		d.note(now, r, reason, r.records)
		d.later(r, after, reason, now)
	}
}

// health notes what the answer says about the endpoint and about the load.
func (d *Deliverer) health(r *request, class Class, after time.Duration, err error, now time.Time) {
	e := r.endpoint
	switch class {
	case Canceled:
		return
	case Throttled, Unavailable, TimedOut, NoAnswer:
		e.limit.overload(r.started, now)
		if class == Throttled {
			e.allow = 0 // it has found how much it may have
		}
		if after > 0 {
			d.pool.pause(e, now.Add(after))
		}
	}
	switch class {
	case Unavailable, TimedOut, NoAnswer, Unauthorized:
		// A single endpoint is never left out: every request tries it, with
		// growing delays.
		if d.pool.fail(e, now) && len(d.pool.all) > 1 {
			d.c.Logger.Warn("endpoint ejected", "output", d.c.Name, "endpoint", e.Name, "errors", e.errors, "error", shorten(err.Error()),
				"probe_after", d.c.Eject.For, "healthy", d.pool.healthy(), "waiting_records", d.hand.records)
		}
	default:
		back, wasDown := d.pool.alive(e, now)
		if back {
			d.c.Logger.Info("endpoint is back", "output", d.c.Name, "endpoint", e.Name, "healthy", d.pool.healthy(), "waiting_records", d.hand.records)
		}
		if wasDown {
			d.delayed.forward(now)
		}
	}
}

// overloadShare: when one in so many records of a request or more are put off,
// the destination has too much to do.
const overloadShare = 4

// later puts r behind a delay, or among the dead if its time is over. reason
// "" means that its records have reasons of their own, which are not kept.
func (d *Deliverer) later(r *request, after time.Duration, reason string, now time.Time) {
	if d.stopping {
		r.due = now
		heap.Push(&d.delayed, r)
		return
	}
	expires := r.first.Add(d.c.Retry.For)
	if d.c.Retry.For > 0 && !now.Before(expires) {
		if reason == "" {
			reason = d.stats.lastError
		}
		d.die(r, ack.DeadExpired, fmt.Sprintf("not delivered within %s: %s", d.c.Retry.For, reason))
		return
	}
	r.due = now.Add(backoff(d.c.Retry.MinDelay, d.c.Retry.MaxDelay, r.tries, d.c.Rand()))
	if after > 0 {
		// Not before the destination wants it, and not all senders at once.
		r.due = now.Add(after + time.Duration(d.c.Rand()*float64(d.c.Retry.MinDelay)))
		r.asked = true
	}
	if d.c.Retry.For > 0 && r.due.After(expires) {
		r.due = expires // one last attempt
	}
	heap.Push(&d.delayed, r)
}

// die makes dead letters of all of r's records.
func (d *Deliverer) die(r *request, s ack.Status, reason string) {
	for _, p := range r.parts {
		d.graves = append(d.graves, grave{Dead{p, s, []string{reason}, r.tries}, p.Size(), r.oldest})
	}
}

// checkFailures says whether failures are ordered and name records of parts.
func checkFailures(parts []record.Part, failures []ack.Failure) error {
	part, at := 0, 0
	for n, f := range failures {
		if f.Part < part || f.Part >= len(parts) {
			return fmt.Errorf("failure %d names part %d of %d after part %d", n, f.Part, len(parts), part)
		}
		if f.Part > part {
			part, at = f.Part, 0
		}
		idx := parts[part].Index()
		for at < len(idx) && idx[at] < f.Record {
			at++
		}
		if at == len(idx) || idx[at] != f.Record {
			return fmt.Errorf("failure %d names record %d, which part %d does not have (or twice, or out of order)", n, f.Record, f.Part)
		}
		at++
	}
	return nil
}

// settle counts and finishes what r delivered. It returns what is to be sent
// again, nil if there is nothing, and the dead.
func (d *Deliverer) settle(r *request, failures []ack.Failure) (again *request, dead []grave) {
	for k, p := range r.parts {
		n := 0
		for n < len(failures) && failures[n].Part == k {
			n++
		}
		if n == 0 {
			d.count(p.Batch(), p.Index(), ack.Delivered)
			p.Finish()
			continue
		}
		var ok, retry, gone []uint32
		var reasons []string
		at := 0
		for _, i := range p.Index() {
			switch {
			case at == n || failures[at].Record != i:
				ok = append(ok, i)
				continue
			case failures[at].Permanent:
				gone = append(gone, i)
				reasons = append(reasons, shorten(failures[at].Reason))
			default:
				retry = append(retry, i)
			}
			at++
		}
		failures = failures[n:]
		if len(retry) > 0 {
			if again == nil {
				again = r.child()
				again.rest = true
			}
			q := p.Select(retry)
			again.add(q, q.Size(), r.oldest)
		}
		if len(gone) > 0 {
			q := p.Select(gone)
			dead = append(dead, grave{Dead{q, ack.DeadRejected, reasons, r.tries}, q.Size(), r.oldest})
		}
		d.count(p.Batch(), ok, ack.Delivered)
		p.Finish()
	}
	return again, dead
}

// count notes the final status of records on their tokens.
func (d *Deliverer) count(b *record.Batch, idx []uint32, s ack.Status) {
	record.CountRecords(b, idx, d.c.Index, s)
	if d.c.onSettle != nil {
		d.c.onSettle(b, idx, s)
	}
}

// note keeps the error for Stats and tells the operator, at most once a minute
// and endpoint.
func (d *Deliverer) note(now time.Time, r *request, reason string, records int) {
	d.stats.lastError, d.stats.lastErrorAt = shorten(reason), now
	if d.every("error "+r.endpoint.Name, time.Minute, now) {
		d.c.Logger.Log(context.Background(), slog.LevelWarn, "delivery failed, will be tried again", "output", d.c.Name, "endpoint", r.endpoint.Name,
			"error", shorten(reason), "records", records, "failures", r.tries, "waiting_records", d.hand.records)
	}
}

// retryReason returns the reason of the first failure that is tried again.
func retryReason(failures []ack.Failure) string {
	for _, f := range failures {
		if !f.Permanent {
			return f.Reason
		}
	}
	return ""
}

// every reports true at most once per interval and key.
func (d *Deliverer) every(key string, interval time.Duration, now time.Time) bool {
	if last, ok := d.alarms[key]; ok && now.Sub(last) < interval {
		return false
	}
	d.alarms[key] = now
	return true
}

// maxReason bounds the reasons that are kept, in bytes.
const maxReason = 512

func shorten(s string) string {
	if len(s) <= maxReason {
		return s
	}
	n := maxReason
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
