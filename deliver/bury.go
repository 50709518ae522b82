package deliver

import (
	"context"
	"errors"
	"time"

	"github.com/weirlog/weir/ack"
)

// grave is a dead Part that is not in the dead letters yet.
type grave struct {
	Dead
	bytes  int
	oldest time.Time
}

// maxBurial is how many bytes are given to the Burier in one call.
const maxBurial = 4 << 20

// bury hands graves to the Burier. d.mu is held; there are graves and no other
// burial is going on.
func (d *Deliverer) bury(ctx context.Context) {
	n, bytes := 0, 0
	for n < len(d.graves) && (n == 0 || bytes+d.graves[n].bytes <= maxBurial) {
		bytes += d.graves[n].bytes
		n++
	}
	d.burying = d.graves[:n:n]
	d.graves = d.graves[n:]
	dead := make([]Dead, n)
	for i, g := range d.burying {
		dead[i] = g.Dead
	}
	go func() {
		err := ErrDropped
		if d.c.DeadLetters != nil {
			err = d.c.DeadLetters.Bury(ctx, dead)
		}
		d.buried <- err
	}()
}

// handleBuried settles what has been buried, or plans to try again.
func (d *Deliverer) handleBuried(err error) {
	now := time.Now()
	dropped := errors.Is(err, ErrDropped)
	d.mu.Lock()
	graves := d.burying
	records := 0
	for _, g := range graves {
		records += g.Part.Len()
	}
	if err != nil && !dropped {
		d.burying = nil
		d.graves = append(graves, d.graves...)
		d.buryFail++
		d.buryAt = now.Add(backoff(d.c.Retry.MinDelay, d.c.Retry.MaxDelay, d.buryFail, d.c.Rand()))
		d.stats.lastError, d.stats.lastErrorAt = shorten(err.Error()), now
		if d.every("bury", time.Minute, now) {
			d.c.Logger.Error("dead letters cannot be written; the records wait", "output", d.c.Name, "error", err, "records", records)
		}
		d.mu.Unlock()
		return
	}
	d.mu.Unlock()

	// As in handle: no lock while batches end. burying stays set, so that no
	// other burial starts and Stats counts them as waiting.
	for i := range graves {
		if dropped {
			graves[i].Status = ack.DroppedRejected
		}
		g := &graves[i]
		d.count(g.Part.Batch(), g.Part.Index(), g.Status)
		g.Part.Finish()
	}
	d.mu.Lock()
	for _, g := range graves {
		d.stats.settled[g.Status] += uint64(g.Part.Len())
		d.hand.records -= g.Part.Len()
		d.hand.bytes -= g.bytes
	}
	d.burying, d.buryFail, d.buryAt = nil, 0, time.Time{}
	if d.every("dead", time.Minute, now) {
		what := "records went to the dead letters"
		if dropped {
			what = "records were refused and dropped"
		}
		d.c.Logger.Warn(what, "output", d.c.Name, "records", records, "status", graves[0].Status.Reason(), "reason", graves[0].Reasons[0])
	}
	d.mu.Unlock()
}
