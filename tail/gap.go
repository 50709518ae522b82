package tail

import (
	"fmt"
	"time"

	"github.com/weirlog/weir/record"
)

// Reasons of gap records.
const (
	reasonRotated   = "rotated_unread"
	reasonDeleted   = "deleted_unread"
	reasonHold      = "hold_exceeded"
	reasonTruncated = "truncated"
	reasonDamaged   = "damaged"
	reasonUnknown   = "unknown"
)

// Reasons lists the values of the reason of a gap.
func Reasons() []string {
	return []string{reasonRotated, reasonDeleted, reasonHold, reasonTruncated, reasonDamaged, reasonUnknown}
}

// gap is a loss that is to be told in the container's stream. It is kept in
// the checkpoint until its record is finished, and the record is the same each
// time it is made.
type gap struct {
	Generation record.ID `json:"generation"`
	From       int64     `json:"from"`
	To         int64     `json:"to"`
	Reason     string    `json:"reason"`
	Since      int64     `json:"since"` // ns
	Until      int64     `json:"until"` // ns
	saved      bool      // so that it is the same after a kill
	sent       bool
}

func (in *Input) addGap(c *chain, p *gap) {
	c.gaps = append(c.gaps, p)
	c.dirty = true
	in.gapCount[p.Reason]++
}

func (p *gap) text() string {
	at := func(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }
	if p.From == p.To {
		return fmt.Sprintf("weir: log lines may be missing here: %s, between %s and %s", p.Reason, at(p.Since), at(p.Until))
	}
	return fmt.Sprintf("weir: %d bytes of this log are lost (%s), last seen %s, noticed %s", p.To-p.From, p.Reason, at(p.Since), at(p.Until))
}

// appendTo adds the gap record to b.
func (p *gap) appendTo(b *record.Batch, stream *record.Stream) {
	body := b.AppendString(p.text())
	i := b.Add(record.Record{
		Time: p.Until, Observed: p.Until, Start: p.From, End: p.To, Body: body, Source: body,
		Severity: record.Warn, Flags: record.Gap | record.Generated | record.ValidUTF8,
		Stream: b.AddStream(record.StreamRef{Stream: stream, Generation: p.Generation}),
	})
	num := func(name string, n int64) { b.SetField(i, name, record.Int, b.AppendString(fmt.Sprint(n))) }
	if p.From != p.To {
		num("weir.gap.bytes", p.To-p.From)
	}
	b.SetField(i, "weir.gap.from", record.String, b.AppendString(time.Unix(0, p.Since).UTC().Format(time.RFC3339Nano)))
	b.SetField(i, "weir.gap.to", record.String, b.AppendString(time.Unix(0, p.Until).UTC().Format(time.RFC3339Nano)))
	b.SetField(i, "weir.gap.reason", record.String, b.AppendString(p.Reason))
}
