package kube

import (
	"hash/maphash"
	"time"
)

// cursor remembers how far a container's log has been read, so that reading
// goes on after a cut. The API takes only a second to begin from and hands out
// lines from there in the order of the file; times in a file are not quite
// ascending, as stdout and stderr are written side by side. So the lines of the
// last two seconds are remembered by their hashes, and what comes up to the
// last of them is known.
//
// It needs 8 bytes per line of two seconds. The zero value has read nothing.
type cursor struct {
	seconds []second // ascending; the last is that of newest
	newest  int64    // time of the newest line
	any     bool
	count   int64 // lines read
	first   int64 // time of the first of them
	// floor is from when to ask if nothing has been read yet; zero for all.
	floor time.Time
}

type second struct {
	unix   int64
	hashes []uint64
}

// clockBack is how far times may go back before it is taken for a clock that
// was set back.
const clockBack = 60

var seed = maphash.MakeSeed()

// hashLine tells lines of one container apart.
func hashLine(stamp, text string) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	h.WriteString(stamp)
	h.WriteByte(' ')
	h.WriteString(text)
	return h.Sum64()
}

func (c *cursor) add(ns int64, hash uint64) {
	if c.count++; c.count == 1 {
		c.first = ns
	}
	unix := ns / 1e9
	switch {
	case !c.any, unix < c.newest/1e9-clockBack:
		c.any, c.newest, c.seconds = true, ns, append(c.seconds[:0], second{unix: unix})
	case ns > c.newest:
		c.newest = ns
	}
	last := &c.seconds[len(c.seconds)-1]
	switch {
	case unix == last.unix:
	case unix > last.unix:
		var free []uint64
		for len(c.seconds) > 0 && c.seconds[0].unix < unix-1 {
			free = c.seconds[0].hashes[:0]
			c.seconds = append(c.seconds[:0], c.seconds[1:]...)
		}
		c.seconds = append(c.seconds, second{unix, free})
		last = &c.seconds[len(c.seconds)-1]
	case len(c.seconds) > 1 && c.seconds[0].unix == unix:
		last = &c.seconds[0]
	case len(c.seconds) == 1 && unix == last.unix-1:
		c.seconds = append([]second{{unix: unix}}, c.seconds...)
		last = &c.seconds[0]
	default:
		return // too old: it will not be asked for
	}
	last.hashes = append(last.hashes, hash)
}

// since is from when to ask.
func (c *cursor) since() time.Time {
	if !c.any {
		return c.floor
	}
	return time.Unix(c.newest/1e9-1, 0)
}

// overlap is what is known of lines that come again.
type overlap struct {
	seen    map[uint64]int
	left    int   // lines of seen that have not come yet
	newest  int64 // up to here lines may be known ones
	strict  bool  // at least one of seen must come, else something is missing
	matched bool
	missing bool
	held    []raw // of before the first that is known
	bytes   int
}

// raw is a line that is not decided on.
type raw struct {
	ns   int64
	hash uint64
	text string
	part bool
}

// maxHeld bounds what is held back for a decision.
const maxHeld = 4 << 20

// overlap returns what is known now. same says that it is the same file, or its
// successor by rotation, that is read on, not another life of the container.
func (c *cursor) overlap(same bool) *overlap {
	o := &overlap{newest: c.newest}
	if !c.any {
		return o
	}
	o.seen = make(map[uint64]int)
	from := c.since().Unix()
	for _, s := range c.seconds {
		if s.unix < from {
			continue
		}
		for _, h := range s.hashes {
			o.seen[h]++
			o.left++
		}
	}
	o.strict = same && o.left > 0
	return o
}

// next decides on a line. It returns the lines that are new, in their order;
// usually that is the line itself, which then is not allocated for.
func (o *overlap) next(r raw) (fresh []raw, pass bool) {
	if o.left == 0 {
		return nil, true
	}
	if n := o.seen[r.hash]; n > 0 {
		o.seen[r.hash] = n - 1
		o.left--
		// What came before it in the file was read before it, or is the end of a
		// line whose beginning is older than what was asked for.
		o.matched, o.held, o.bytes = true, nil, 0
		if o.left == 0 {
			o.seen = nil
		}
		return nil, false
	}
	if o.matched || !o.strict {
		if r.ns > o.newest+2e9 {
			o.left, o.seen = 0, nil
		}
		return nil, true
	}
	if r.ns <= o.newest && o.bytes < maxHeld {
		o.held = append(o.held, r)
		o.bytes += len(r.text) + 64
		return nil, false
	}
	// None of what must come again has come.
	o.missing = true
	held := o.end()
	return held, true
}

// end returns what is still held back: the log has ended, or nothing known will
// come any more.
func (o *overlap) end() []raw {
	held := o.held
	o.left, o.seen, o.held, o.bytes = 0, nil, nil, 0
	return held
}
