package tail

import (
	"slices"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/cri"
	"github.com/weirlog/weir/record"
)

// chain is what one writer writes, over all generations of its file.
type chain struct {
	id        string // in the checkpoint
	identity  string // in keys
	container Container
	plain     bool
	account   *account

	dir, base string // of the live file
	gens      []*generation
	ords      map[record.ID]int // how often a base was seen, if that matters
	ordsDirty bool

	desc Description
	born time.Time

	joiner   *cri.Joiner
	current  *generation // the one the joiner is in
	state    cri.State   // at the position acknowledged
	tracker  ack.Tracker[uint64]
	marks    []mark // FIFO; marks[head:] is live
	head     int
	nextMark uint64
	gaps     []*gap

	nextPoll   time.Time
	lastGrowth time.Time
	partial    int64 // since when a message may be open, ns; 0: none is
	unresolved bool  // restored, and the files have not been looked for
	lastSeen   time.Time
	emptySince time.Time
	dirty      bool
	noReclaim  bool // its space cannot be given back
	noRotate   bool // it cannot be truncated
	rotated    time.Time
}

// mark is a position that was read and is not known to be finished.
type mark struct {
	seq   uint64
	g     *generation
	end   int64
	proof anchor
	state cri.State
	gap   *gap
}

// grow notes that the file of g has size bytes now.
func (in *Input) grow(c *chain, g *generation, size int64) {
	if size == g.size && !g.grown.IsZero() {
		return
	}
	c.account.written += size - g.size
	c.account.dirty = true
	g.size = size
	g.grown = in.now
	c.lastGrowth = in.now
	c.dirty = true
	if size > g.pos {
		g.sealed = false
	}
}

// vanished handles a generation whose file is gone and has no handle.
func (in *Input) vanished(c *chain, g *generation) {
	g.restored = false
	last := c.gens[len(c.gens)-1] == g
	if n := g.size - g.lost - g.read; n > 0 {
		reason := reasonDeleted
		if !last {
			reason = reasonRotated
		}
		if g.truncated {
			reason = reasonTruncated
		}
		in.lose(c, g, n, reason)
	}
	g.sealed = true
	if g.newest {
		in.unknownGap(c, g)
	}
}

// unknownGap says that after g others may have come and gone unseen.
func (in *Input) unknownGap(c *chain, g *generation) {
	g.newest, g.told = false, true
	in.addGap(c, &gap{
		Generation: g.key, From: g.size, To: g.size, Reason: reasonUnknown,
		Since: c.lastSeen.UnixNano(), Until: in.now.UnixNano(),
	})
}

// lose gives up the last n bytes of what g still has to read.
func (in *Input) lose(c *chain, g *generation, n int64, reason string) {
	g.lost += n
	c.account.lost += n
	c.account.dirty = true
	c.dirty = true
	in.addGap(c, &gap{
		Generation: g.key, From: g.size - g.lost, To: g.size, Reason: reason,
		Since: g.grown.UnixNano(), Until: in.now.UnixNano(),
	})
	in.log.Warn("bytes of a log are lost", "container", c.account.Name(), "bytes", n, "reason", reason)
}

// truncated handles a file that became shorter or other than it was: its life
// as g is over, and a new one begins with the same handle. What of g was not
// read is lost, unless the next scans find a copy of it.
func (in *Input) truncated(c *chain, g *generation, size int64) {
	in.truncations++
	next := newGeneration()
	next.name = g.name
	st := stat{dev: g.dev, ino: g.ino, size: size}
	fd := g.fd
	in.open.Remove(g.lru)
	g.fd, g.lru, g.z, g.name, g.ino = -1, nil, nil, "", 0
	g.truncated = true
	in.unhold(c, g)
	in.adopt(next, fd, st, false)
	i := slices.Index(c.gens, g)
	c.gens = slices.Insert(c.gens, i+1, next)
	in.grow(c, next, size)
	c.supersede(in.now)
	c.dirty = true
	in.rescan(c)
}

// prune forgets generations that are over: everything finished, the file gone.
// It also closes handles that nobody needs.
func (in *Input) prune(c *chain) {
	keep := c.openFrom()
	kept := c.gens[:0]
	for i, g := range c.gens {
		if i >= keep || !g.sealed || g.acked < g.size-g.lost || c.pending(g) {
			kept = append(kept, g)
			continue
		}
		if !g.superseded.IsZero() || !g.deleted.IsZero() {
			in.unhold(c, g)
		}
		if !in.over(g) {
			kept = append(kept, g)
			continue
		}
		c.dirty = true
	}
	clear(c.gens[len(kept):])
	c.gens = kept
}

// over reports whether g, of which everything is finished, cannot be read
// again.
func (in *Input) over(g *generation) bool {
	if g.fd >= 0 && in.now.Sub(g.grown) > lateGrace && (!g.onDisk() || !g.superseded.IsZero() && in.now.Sub(g.superseded) > lateGrace) {
		in.closeFile(g)
	}
	return g.fd < 0 && !g.onDisk()
}

// lateGrace is for how long a writer may go on writing to a file that was
// renamed or deleted before nobody looks any more.
const lateGrace = 10 * time.Second

// pending reports whether a mark of g is not acknowledged.
func (c *chain) pending(g *generation) bool {
	for _, m := range c.marks[c.head:] {
		if m.g == g {
			return true
		}
	}
	for _, p := range c.gaps {
		if p.Generation == g.key && p.From == g.size-g.lost {
			return true
		}
	}
	return false
}

// openFrom returns the index of the first generation that a restart would read
// again because a message that began in it is open.
func (c *chain) openFrom() int {
	first := len(c.gens)
	for _, s := range [2]cri.State{c.state, c.joiner.State()} {
		for _, p := range s.Open {
			if p.Open {
				if i := slices.IndexFunc(c.gens, func(g *generation) bool { return g.key == p.Generation }); i >= 0 {
					first = min(first, i)
				}
			}
		}
	}
	return first
}
