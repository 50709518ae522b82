package tail

import (
	"errors"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlog/weir/record"
)

// siblingsOf returns the files of base among names, oldest first.
func siblingsOf(base string, names []string) []sibling {
	var out []sibling
	for _, n := range names {
		if b, s, ok := splitRotated(n); ok && b == base {
			out = append(out, s)
		}
	}
	sortSiblings(out)
	// Compressing makes a second name before it takes the first away.
	return slices.DeleteFunc(out, func(s sibling) bool {
		return s.gz && slices.ContainsFunc(out, func(o sibling) bool { return o.name+".gz" == s.name })
	})
}

// reconcile matches the chain's files, oldest first, with its generations.
func (in *Input) reconcile(c *chain, files []sibling) {
	in.poll(c) // notices truncations before their copies are looked at
	for _, g := range c.gens {
		g.found = false
	}
	// Files that still have the inode they had go first, before them the live
	// one: of two files with the same content, that one is the file and the
	// other its copy.
	found := make([]*generation, len(files))
	sizes := make([]stat, len(files))
	incomplete := false
	for turn := range 3 {
		for i, f := range files {
			st, err := lstat(filepath.Join(c.dir, f.name))
			if err != nil && turn < 2 {
				continue
			}
			if err == nil {
				t := 2
				if c.hasInode(st) {
					t = min(f.rank, 1)
				}
				if found[i] != nil || t != turn {
					continue
				}
				sizes[i] = st
				found[i], err = in.identify(c, f, st)
			}
			switch {
			case err == nil:
				switch g := found[i]; {
				case g == nil:
					in.dirAt(c.dir).hot = true // a copy in the making
				case g.found:
					found[i] = nil // a second name of the same file
				default:
					g.found = true
				}
			case errors.Is(err, unix.ENOENT):
			case errors.Is(err, errNotRegular), errors.Is(err, errOutside):
				in.complain(c, f.name, err)
			case isDamage(err) && time.Since(time.Unix(0, sizes[i].mtime)) > time.Minute:
				in.complain(c, f.name, err) // it will not get better
			default:
				in.complain(c, f.name, err)
				// It may be one of ours; what is not found waits for it, but
				// not for ever.
				incomplete = in.now.Sub(c.born) < 10*time.Minute
				in.dirAt(c.dir).hot = true
			}
		}
	}
	var before *generation // the generation of the file before
	for i, f := range files {
		g := found[i]
		if g == nil {
			continue
		}
		g.restored, g.newest, g.told = false, false, false
		g.missing = 0
		g.deleted = time.Time{}
		if g.name != f.name {
			g.name = f.name
			c.dirty = true
		}
		if !slices.Contains(c.gens, g) {
			in.insert(c, g, before, files[i+1:])
		} else if !g.gz && !f.gz && sizes[i].size > g.size {
			in.grow(c, g, sizes[i].size)
		}
		before = g
	}
	c.order(found)
	in.takeLinks(c)
	if incomplete {
		in.dirAt(c.dir).hot = true
	}
	again := false
	for _, g := range slices.Clone(c.gens) {
		if g.found {
			in.hold(c, g)
			continue
		}
		if incomplete && g.fd < 0 {
			continue // it may be the file that could not be looked at
		}
		// A rename during the listing hides a file once, not twice.
		g.missing++
		if g.missing < 2 {
			again = true
			continue
		}
		if g.name != "" {
			g.name = ""
			c.dirty = true
		}
		if g.deleted.IsZero() {
			g.deleted = in.now
		}
		if g.fd < 0 && !g.linked {
			in.vanished(c, g)
		}
	}
	if again {
		in.rescan(c)
	}
	c.unresolved = slices.ContainsFunc(c.gens, func(g *generation) bool { return g.restored })
	c.supersede(in.now)
	for _, g := range c.gens {
		// A rotated file may be deleted at any time: from now on its handle is
		// all there is.
		if g.fd < 0 && g.onDisk() && !g.superseded.IsZero() && !g.restored && !g.finished() && !in.now.Before(g.retry) {
			if _, err := in.reopen(c, g); err != nil {
				in.fail(c, g, err)
			}
			in.hold(c, g)
		}
	}
	c.nextPoll = time.Time{}
}

// order brings the generations whose files were found into the order of the
// files; the others stay where they are.
func (c *chain) order(files []*generation) {
	i := 0
	for k, g := range c.gens {
		if !g.found {
			continue
		}
		for files[i] == nil {
			i++
		}
		c.gens[k] = files[i]
		i++
	}
}

// supersede notes which generations are followed by another.
func (c *chain) supersede(now time.Time) {
	if n := len(c.gens); n > 0 {
		c.gens[n-1].superseded = time.Time{}
	}
	for i, g := range c.gens {
		if i < len(c.gens)-1 && g.superseded.IsZero() {
			g.superseded = now
		}
	}
}

// insert puts a new generation in its place: behind the one of the file before
// it, else before the one of the next file that is known, else at the end.
func (in *Input) insert(c *chain, g, before *generation, later []sibling) {
	at := len(c.gens)
	if before != nil {
		at = slices.Index(c.gens, before) + 1
	} else {
		for _, o := range later {
			if k := slices.IndexFunc(c.gens, func(k *generation) bool { return k.name == o.name }); k >= 0 {
				at = k
				break
			}
		}
	}
	c.gens = slices.Insert(c.gens, at, g)
	c.dirty = true
	size := g.size
	g.size = 0
	in.grow(c, g, size)
	if in.startAtEnd && !g.gz {
		in.skipTo(c, g, g.size)
	}
}

// skipTo leaves the bytes before off unread and unaccounted.
func (in *Input) skipTo(c *chain, g *generation, off int64) {
	if off <= 0 {
		return
	}
	g.origin, g.pos, g.read, g.acked, g.until = off, off, off, off, off
	c.account.written -= off
	if err := in.loadTail(g); err != nil {
		in.complain(c, g.name, err)
	}
	g.proof = g.here()
}

// hasInode reports whether a generation was last seen with that inode.
func (c *chain) hasInode(st stat) bool {
	return slices.ContainsFunc(c.gens, func(g *generation) bool { return g.ino == st.ino && g.dev == st.dev })
}

// identify finds the generation that a file is, or makes a new one. It returns
// nil for a file that is, or may be, the beginning of a copy of the live one.
func (in *Input) identify(c *chain, f sibling, st stat) (*generation, error) {
	if !st.regular() {
		if st.mode&unix.S_IFMT == unix.S_IFLNK {
			return nil, errOutside
		}
		return nil, errNotRegular
	}
	// An open handle keeps its inode from being used for another file.
	for _, g := range c.gens {
		if g.fd >= 0 && g.dev == st.dev && g.ino == st.ino {
			return g, nil
		}
	}
	// A closed file that looks exactly as when it was closed. (An empty one
	// may well look like another.)
	for _, g := range c.gens {
		if g.fd < 0 && !g.restored && !g.found && g.dev == st.dev && g.ino == st.ino && g.mtime == st.mtime && g.fsize == st.size && st.size > 0 {
			return g, nil
		}
	}
	fd, st, err := in.openFile(c, f.name)
	if err != nil {
		return nil, err
	}
	probe := newGeneration()
	in.adopt(probe, fd, st, f.gz)
	g, err := in.match(c, f, probe)
	if err != nil || g != probe {
		in.closeFile(probe) // g has taken what it needs
	}
	return g, err
}

// match compares an opened file with the generations that have no handle, or
// whose plain file has been replaced by a compressed one. It returns the one
// that it is, or probe itself as a new generation.
func (in *Input) match(c *chain, f sibling, probe *generation) (*generation, error) {
	var b [headMax]byte
	n, err := in.readRaw(probe, b[:], 0)
	if err != nil {
		return nil, err
	}
	head, known := headOf(b[:n])
	st := stat{dev: probe.dev, ino: probe.ino, size: probe.fsize, mtime: probe.mtime}
	probe.size = st.size
	if f.gz {
		z, err := gzSize(&in.sys, probe.fd, st.size)
		if err != nil {
			return nil, err
		}
		probe.size, probe.guess = int64(z), true
	}
	for _, g := range c.gens {
		if g.head == 0 || g.head > n || baseKey(c.identity, b[:g.head]) != g.base {
			continue
		}
		if f.rank != 0 && !f.gz && g.name == c.base && g.found {
			// copytruncate makes the copy first.
			if g.fd < 0 {
				if _, err := in.reopen(c, g); err != nil {
					return nil, err
				}
			}
			if g.fd >= 0 {
				if copied, err := in.isCopy(c, g, probe); err != nil || copied {
					return nil, err
				}
			}
		}
		if g.found || g.fd >= 0 && !f.gz {
			continue
		}
		if f.gz && uint32(g.size) == uint32(probe.size) && (g.fd >= 0 || g.finished()) {
			// The compressed copy of a file that is read already, or is being
			// read from its own handle.
			if g.fd < 0 {
				g.dev, g.ino, g.mtime, g.fsize, g.gz, g.eof = st.dev, st.ino, st.mtime, st.size, true, g.finished()
			}
			return g, nil
		}
		a := g.proof
		if g.ntail > 0 {
			a = g.here()
		}
		probe.head, probe.base = g.head, g.base
		same, err := in.check(probe, c.identity, a)
		probe.head, probe.base = 0, record.ID{}
		if err != nil {
			return nil, err
		}
		if !same {
			continue
		}
		if g.fd < 0 {
			fd := probe.fd
			in.open.Remove(probe.lru)
			probe.fd, probe.lru, probe.z = -1, nil, nil
			in.adopt(g, fd, st, f.gz)
			if !f.gz {
				in.grow(c, g, st.size)
			} else if probe.size > g.size && !g.sealed {
				in.grow(c, g, probe.size)
				g.guess = true
			}
			if err := in.loadTail(g); err != nil {
				in.complain(c, f.name, err)
			}
		}
		return g, nil
	}
	for _, g := range c.gens {
		// One that was empty when its handle was closed: nothing is at stake.
		if !g.found && g.size == 0 && g.fd < 0 && g.dev == st.dev && g.ino == st.ino {
			fd := probe.fd
			in.open.Remove(probe.lru)
			probe.fd, probe.lru, probe.z = -1, nil, nil
			in.adopt(g, fd, st, f.gz)
			in.grow(c, g, probe.size)
			if known {
				in.setKey(c, g, head)
			}
			return g, nil
		}
	}
	if c.plain && f.rank != 0 && !f.gz && st.size == 0 && time.Since(time.Unix(0, st.mtime)) < lateGrace {
		return nil, nil // copytruncate has made it, and will fill it
	}
	if known {
		in.setKey(c, probe, head)
	}
	if f.gz {
		probe.z.consume(0)
	}
	return probe, nil
}

// setKey fixes the key of a generation whose head is known.
func (in *Input) setKey(c *chain, g *generation, head []byte) {
	g.head = len(head)
	g.base = baseKey(c.identity, head)
	g.ord = c.ords[g.base]
	for _, o := range c.gens {
		if o != g && o.base == g.base {
			g.ord = max(g.ord, o.ord+1)
		}
	}
	g.key = ordinalKey(g.base, g.ord)
	if c.plain || g.ord > 0 {
		if c.ords == nil {
			c.ords = make(map[record.ID]int)
		}
		c.ords[g.base] = g.ord + 1
		c.ordsDirty = true
	}
	c.dirty = true
	in.hold(c, g)
}

// isCopy reports whether what there is of an opened file stands at the same
// place in the open file of g, of which the end is compared; the heads are equal. It
// also does if the file of g has been truncated since it was last looked at: the next
// look finds that, and then what the other file is.
func (in *Input) isCopy(c *chain, g, probe *generation) (bool, error) {
	n := int(min(probe.size, anchorMax))
	if n == 0 {
		return false, nil
	}
	var p, q [anchorMax]byte
	off := probe.size - int64(n)
	a, err := in.readRaw(probe, p[:n], off)
	if err != nil {
		return false, err
	}
	// More may have been written before the copy was made than is known of g.
	b, err := in.readRaw(g, q[:n], off)
	if err != nil {
		return false, err
	}
	if a == n && b == n && p == q {
		return true, nil
	}
	st, err := fstat(g.fd)
	if err != nil || st.size < g.size {
		return true, err
	}
	same, err := in.check(g, c.identity, g.here())
	return !same, err
}
