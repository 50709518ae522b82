package tail

import (
	"math"
	"slices"

	"github.com/weirlog/weir/record"
)

// replaying reports whether the chain is reading bytes again that were read
// before a restart.
func (c *chain) replaying() bool {
	return slices.ContainsFunc(c.gens, func(g *generation) bool { return g.pos < g.read })
}

func (in *Input) flushPartials(c *chain, b *record.Batch, olderThan int64) {
	if c.current != nil {
		c.joiner.Flush(b, c.desc.Streams, olderThan)
	}
}

// mayClose reports whether a record of the chain waits for lines that continue it and
// has waited long enough. All that is there has been read before, so that a reader
// that lags behind does not take its own delay for the writer's.
func (in *Input) mayClose(c *chain) bool {
	return c.current != nil && c.joiner.Due(in.now.UnixNano(), in.patience()) && !c.replaying() && in.caughtUp(c)
}

func (in *Input) closeRecords(c *chain, b *record.Batch) {
	c.joiner.FlushDue(b, c.desc.Streams, in.now.UnixNano(), in.patience())
}

// patience is how long a record waits at most, in nanoseconds.
func (in *Input) patience() int64 {
	if in.settling != nil {
		return int64(in.settling.quiet)
	}
	return math.MaxInt64
}

// caughtUp reports whether nothing is known to stand behind what was read, but for a
// line without its end.
func (in *Input) caughtUp(c *chain) bool {
	for _, g := range c.gens {
		if !g.sealed && g.size-g.lost > max(g.pos, g.looked) && (g.fd >= 0 || g.onDisk()) && !in.now.Before(g.retry) {
			return false
		}
	}
	return true
}

// track puts a token on what a visit added to b.
func (in *Input) track(c *chain, g *generation, b *record.Batch, streams0 int, sent *gap) {
	m := mark{seq: c.nextMark, g: g, state: c.joiner.State(), gap: sent}
	if g == nil || g.key.IsZero() {
		m.g = nil
	} else {
		m.end, m.proof = g.pos, g.here()
	}
	c.nextMark++
	tok := c.tracker.Track(m.seq, in.now)
	tok.Expect(in.cfg.Book.Len())
	if c.head > 0 && len(c.marks) == cap(c.marks) {
		n := copy(c.marks, c.marks[c.head:])
		clear(c.marks[n:])
		c.marks, c.head = c.marks[:n], 0
	}
	c.marks = append(c.marks, m)
	for i := streams0; i < len(b.Streams()); i++ {
		b.SetToken(uint16(i), tok)
	}
	b.AddToken(tok)
	open := m.state.Open[0].Open || m.state.Open[1].Open
	if !open {
		c.partial = 0
	} else if c.partial == 0 {
		c.partial = in.now.UnixNano()
	}
}

// advance takes over what has been finished.
func (in *Input) advance(c *chain) {
	sum := &c.account.tally
	seq, ok := c.tracker.Advance(sum)
	if !ok {
		return
	}
	for c.head < len(c.marks) && c.marks[c.head].seq <= seq {
		m := &c.marks[c.head]
		if m.g != nil && m.end > m.g.acked {
			c.account.acked += m.end - m.g.acked
			m.g.acked, m.g.proof = m.end, m.proof
		}
		c.state = m.state
		if m.gap != nil {
			c.gaps = slices.DeleteFunc(c.gaps, func(p *gap) bool { return p == m.gap })
		}
		*m = mark{}
		c.head++
	}
	if c.head == len(c.marks) {
		c.marks, c.head = c.marks[:0], 0
	}
	c.dirty, c.account.dirty = true, true
}
