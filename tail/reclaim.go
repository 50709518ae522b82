package tail

import (
	"errors"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/weirlog/weir/record"
)

// What is acknowledged need not take room on the disk any more, and the files of an
// application that nobody rotates would fill their volume. Its blocks are given back
// by punching holes: sizes and offsets stay, and what is read there are NULs.
//
// Never punched are the first bytes of a file, which its key is made from; what is not
// both finished at every output and saved durably, or is still needed to go on after
// a restart (an open message, the bytes that prove a position); and a file that is not
// what it was. That is looked at through the handle that is punched, right before.
// What an application does within the microseconds in between cannot be excluded: if
// it truncates the file there and writes more than reclaimHead bytes anew, that may
// be punched unread; then the file is found changed afterwards, and a gap says so.
const (
	// reclaimHead is what stays of a file's beginning: the head of its key, and a whole
	// block for it.
	reclaimHead = 4096
	// reclaimStep is how much is given back at once at least.
	reclaimStep = 1 << 20
	// reclaimBlock is what holes are aligned to; file systems give back whole blocks.
	reclaimBlock = 4096
)

// reclaimSoon says how much may wait before positions are saved earlier than usual, so
// that it can be given back.
const reclaimSoon = 2 * reclaimStep

// errNoReclaim says that holes cannot be punched here at all.
var errNoReclaim = errors.New("this file system cannot give back parts of files")

// reclaimable returns up to where g may be punched: everything before is finished and
// saved. The positions have just been saved.
func (c *chain) reclaimable(g *generation) int64 {
	if g.gz || g.key.IsZero() || g.truncated {
		return 0
	}
	to := g.acked
	for _, o := range c.state.Open {
		switch {
		case !o.Open:
		case o.Generation == g.key:
			to = min(to, o.Start)
		case c.follows(g, o.Generation):
			return 0 // a restart reads all of it again
		}
	}
	if m := c.state.Mid; m.Generation == g.key {
		to = min(to, m.Offset)
	}
	to -= anchorMax
	return max(0, to/reclaimBlock*reclaimBlock)
}

// follows reports whether g is a later generation than that with the key.
func (c *chain) follows(g *generation, key record.ID) bool {
	i := slices.IndexFunc(c.gens, func(o *generation) bool { return o.key == key })
	return i >= 0 && i < slices.Index(c.gens, g)
}

// reclaimWaits returns how many bytes could be given back if positions were saved now.
func (in *Input) reclaimWaits() (n int64) {
	if !in.cfg.Reclaim {
		return 0
	}
	for _, c := range in.ring {
		if !c.plain || c.noReclaim {
			continue
		}
		for _, g := range c.gens {
			if g.fd >= 0 {
				n += max(0, c.reclaimable(g)-max(g.punched, reclaimHead))
			}
		}
	}
	return n
}

// reclaim gives back what can be. It is called when positions have been saved.
func (in *Input) reclaim() {
	if !in.cfg.Reclaim {
		return
	}
	for _, c := range in.ring {
		if !c.plain || c.noReclaim || c.desc.Exclude {
			continue
		}
		for i, g := range c.gens {
			if g.fd < 0 {
				continue
			}
			from, to := max(g.punched, reclaimHead), c.reclaimable(g)
			least := int64(reclaimStep)
			if i < len(c.gens)-1 && g.finished() {
				least = reclaimBlock // nothing more comes
			}
			if to-from < least {
				continue
			}
			if err := in.punch(c, g, from, to); err != nil {
				c.noReclaim = true
				in.errors["reclaim"]++
				in.log.Warn("the space of delivered lines cannot be given back; the file keeps growing until the application rotates it", "file", c.container.Path, "error", err)
				break
			}
		}
	}
}

// punch makes a hole. Without an error the file may still have changed, so that
// nothing was done.
func (in *Input) punch(c *chain, g *generation, from, to int64) error {
	fd, err := in.sys.writable(g.fd)
	if err != nil {
		return err
	}
	defer func() { unix.Close(fd) }()
	same, err := in.unchanged(c, g, to)
	if err != nil || !same {
		return nil // reading finds out what it is
	}
	if err := in.sys.punch(fd, from, to-from); err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, errors.ErrUnsupported) {
			return errNoReclaim
		}
		return &fs.PathError{Op: "punch", Path: c.container.Path, Err: err}
	}
	if same, err := in.unchanged(c, g, to); err == nil && !same {
		in.addGap(c, &gap{
			Generation: g.key, From: g.acked, To: g.acked, Reason: reasonTruncated,
			Since: in.now.UnixNano(), Until: in.cfg.Clock().UnixNano(),
		})
		in.log.Warn("a file was truncated while the space of delivered lines was given back; what was written to it in that moment may be lost", "file", c.container.Path)
		return nil
	}
	g.punched = to
	in.reclaimed += to - from
	return nil
}

// unchanged reports whether the open file is still what was read from it, as far as
// to and beyond.
func (in *Input) unchanged(c *chain, g *generation, to int64) (bool, error) {
	st, err := fstat(g.fd)
	if err != nil || st.size < max(to, g.acked) {
		return false, err
	}
	return in.check(g, c.identity, g.proof)
}
