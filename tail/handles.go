package tail

import (
	"errors"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// openFile opens a file of the chain by its name in the chain's directory.
func (in *Input) openFile(c *chain, name string) (fd int, st stat, err error) {
	path := filepath.Join(c.dir, name)
	roots := in.roots
	if c.container.Volume != "" {
		roots = []string{c.container.volumeDir()}
	}
	root, rel, ok := beneath(roots, path)
	if !ok {
		return -1, st, errOutside
	}
	in.makeRoom()
	return in.sys.openBeneath(root, rel)
}

// makeRoom closes the longest unused handle that can be found again, if there
// are too many.
func (in *Input) makeRoom() {
	if in.open.Len() < in.cfg.MaxHandles {
		return
	}
	for e := in.open.Front(); e != nil; e = e.Next() {
		g := e.Value.(*generation)
		if g.onDisk() && (g.head > 0 && g.superseded.IsZero() || g.finished()) {
			in.closeFile(g)
			return
		}
	}
}

// adopt makes fd, of a file with status st, the handle of g.
func (in *Input) adopt(g *generation, fd int, st stat, gz bool) {
	g.fd, g.dev, g.ino, g.mtime, g.fsize = fd, st.dev, st.ino, st.mtime, st.size
	g.gz = gz
	g.z = nil
	if gz {
		g.z = openGz(&in.sys, fd)
	}
	g.lru = in.open.PushBack(g)
}

func (in *Input) touch(g *generation) {
	if g.lru != nil {
		in.open.MoveToBack(g.lru)
	}
}

// closeFile closes the handle of g, if it has one.
func (in *Input) closeFile(g *generation) {
	if g.fd < 0 {
		return
	}
	unix.Close(g.fd)
	g.fd, g.z = -1, nil
	in.open.Remove(g.lru)
	g.lru = nil
}

// reopen opens the file of g by its name and makes sure that it is the same.
// ok is false if it is not there any more; the next scan finds out more.
func (in *Input) reopen(c *chain, g *generation) (ok bool, err error) {
	var fd int
	var st stat
	gz := isGz(g.name)
	if g.name != "" {
		fd, st, err = in.openFile(c, g.name)
	} else {
		in.makeRoom()
		fd, st, err = in.sys.openBeneath(in.cfg.Hold.LinkDir, c.linkOf(g))
		gz = g.linkGz
	}
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			in.rescan(c)
			return false, nil
		}
		return false, err
	}
	was := *g
	in.adopt(g, fd, st, gz)
	a := g.proof
	if g.ntail > 0 {
		a = g.here()
	}
	same, err := in.check(g, c.identity, a)
	if err == nil && same {
		if g.ntail == 0 {
			err = in.loadTail(g)
		}
		if err == nil {
			return true, nil
		}
	}
	in.closeFile(g)
	*g = was
	if err != nil {
		return false, err
	}
	in.rescan(c)
	return false, nil
}

func isGz(name string) bool { return filepath.Ext(name) == ".gz" }

// fail notes an error that may pass: g is left alone for a while, longer each
// time.
func (in *Input) fail(c *chain, g *generation, err error) {
	g.backoff = min(max(2*g.backoff, time.Second), time.Minute)
	g.retry = in.now.Add(g.backoff)
	in.complain(c, g.name, err)
}

// complain counts an error and logs it, not more than once a minute per file.
func (in *Input) complain(c *chain, name string, err error) {
	kind := errorKind(err)
	in.errors[kind]++
	path := filepath.Join(c.dir, name)
	if last, ok := in.said[path]; ok && in.now.Sub(last) < time.Minute {
		return
	}
	if len(in.said) > 1000 {
		clear(in.said)
	}
	in.said[path] = in.now
	in.log.Warn("cannot read log file", "path", path, "kind", kind, "error", err)
	if c.container.Volume != "" && in.cfg.Refused != nil {
		in.cfg.Refused(c.container, c.container.File, err.Error())
	}
}

func errorKind(err error) string {
	switch {
	case errors.Is(err, errOutside):
		return "outside_root"
	case errors.Is(err, errNotRegular):
		return "not_regular"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return "permission"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return "too_many_files"
	case errors.Is(err, unix.EIO):
		return "io"
	case isDamage(err):
		return "damaged"
	}
	return "other"
}
