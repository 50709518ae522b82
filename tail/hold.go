package tail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"

	"github.com/weirlog/weir/record"
)

// held is a generation that is kept beyond its deletion by a second name in
// Hold.LinkDir:
//
//	<namespace>_<pod>_<uid>/<container>/<restart>.<key>[.gz]
//	files/<hash of the chain>/0.<key>[.gz]
//
// so that, with the checkpoint lost too, it is still known whose it is.
type held struct {
	rel   string // beneath LinkDir
	key   record.ID
	gz    bool
	mtime time.Time
}

// holder makes and removes the links. A nil holder holds nothing.
type holder struct {
	dir    string
	root   *os.Root
	found  map[string][]held // by directory and restart, from before the start
	old    bool              // links are not made any more, but those of before are used up
	unlink []string          // when the checkpoint that no longer needs them is durable
}

// openHolder opens LinkDir, which it makes if links are to be made, and lists
// what is in it.
func openHolder(dir string, by HoldBy) (*holder, error) {
	if by == HoldLink {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("create hold directory: %w", err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open hold directory: %w", err)
	}
	h := &holder{dir: dir, root: root, found: map[string][]held{}, old: by != HoldLink}
	err = fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		restart, rest, ok := strings.Cut(filepath.Base(path), ".")
		rest, gz := strings.CutSuffix(rest, ".gz")
		key, isKey := record.ParseID(rest)
		if !ok || !isKey {
			return nil // not ours
		}
		f := held{rel: path, key: key, gz: gz}
		if fi, err := e.Info(); err == nil {
			f.mtime = fi.ModTime()
		}
		at := filepath.Join(filepath.Dir(path), restart)
		h.found[at] = append(h.found[at], f)
		return nil
	})
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("list hold directory: %w", err)
	}
	for _, f := range h.found {
		slices.SortFunc(f, func(a, b held) int { return a.mtime.Compare(b.mtime) })
	}
	return h, nil
}

// place returns where the chain's links stand, without the keys.
func (c *chain) place() string {
	if k := c.container; k.UID != "" {
		return filepath.Join(k.Namespace+"_"+k.Pod+"_"+k.UID, k.Container, strconv.Itoa(k.Restart))
	}
	return filepath.Join("files", toID(xxh3.HashString128(c.id)).String(), "0")
}

func (c *chain) linkOf(g *generation) string {
	rel := c.place() + "." + g.key.String()
	if g.linkGz {
		rel += ".gz"
	}
	return rel
}

// startHold opens the hold directory and makes chains of what it holds, also
// where files are held by handles only: the setting may have been another
// before, and unread files are read in any case.
func (in *Input) startHold() {
	by := in.cfg.Hold.By
	if by != HoldLink && in.cfg.Hold.LinkDir == "" {
		return
	}
	h, err := openHolder(in.cfg.Hold.LinkDir, by)
	if by != HoldLink && (errors.Is(err, fs.ErrNotExist) || err == nil && len(h.found) == 0) {
		if h != nil {
			h.root.Close()
		}
		return
	}
	if err != nil {
		in.noLinks(err)
		return
	}
	if h.old {
		in.log.Info("files that were held by links before are read; no new links are made", "directory", h.dir)
	}
	in.links = h
	for at := range h.found {
		restart, err := strconv.Atoi(filepath.Base(at))
		dir := filepath.Dir(at)
		ns, pod, uid, ok := parsePodDir(filepath.Dir(dir))
		if err != nil || !ok {
			continue
		}
		k := Container{Namespace: ns, Pod: pod, UID: uid, Container: filepath.Base(dir), Restart: restart}
		if in.chains[chainID(k)] == nil {
			in.register(k, filepath.Join(in.cfg.Pods, ns+"_"+pod+"_"+uid, k.Container, strconv.Itoa(restart)+".log"))
		}
	}
}

// noLinks says, loudly and once, that deleted files do not survive a restart.
func (in *Input) noLinks(err error) {
	in.errors["hold"]++
	in.log.Error("cannot hold files by links; unread files that are deleted are held by open handles only and do not survive a restart of the agent",
		"directory", in.cfg.Hold.LinkDir, "error", err)
	if in.links != nil {
		in.links.root.Close()
		in.links = nil
	}
}

// hold gives an unread generation its second name.
func (in *Input) hold(c *chain, g *generation) {
	h := in.links
	if h == nil || h.old || g.linked || g.fd < 0 || g.key.IsZero() || g.finished() && !g.superseded.IsZero() {
		return
	}
	g.linkGz = g.gz
	rel := c.linkOf(g)
	err := h.link(g.fd, rel)
	switch {
	case err == nil:
		g.linked = true
	case errors.Is(err, unix.EEXIST):
		st, serr := lstat(filepath.Join(h.dir, rel))
		g.linked = serr == nil && st.ino == g.ino && st.dev == g.dev
	case errors.Is(err, unix.ENOENT): // deleted already
	default:
		in.noLinks(err)
	}
}

func (h *holder) link(fd int, rel string) error {
	dir := filepath.Dir(rel)
	if err := h.root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	d, err := h.root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// By the handle, not by the name, which may be another file's by now.
	err = unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), int(d.Fd()), filepath.Base(rel), unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return fmt.Errorf("link %s: %w", rel, err)
	}
	return nil
}

// unhold takes the second name away when the next checkpoint is durable.
func (in *Input) unhold(c *chain, g *generation) {
	if g.linked && in.links != nil {
		in.links.unlink = append(in.links.unlink, c.linkOf(g))
	}
	g.linked = false
}

// dropLinks removes the links that the durable checkpoint does not need.
func (in *Input) dropLinks() {
	if in.links == nil {
		return
	}
	for _, rel := range in.links.unlink {
		if err := in.links.root.Remove(rel); err != nil && !errors.Is(err, fs.ErrNotExist) {
			in.errors["hold"]++
			in.log.Warn("cannot remove held file", "path", filepath.Join(in.links.dir, rel), "error", err)
			continue
		}
		for dir := filepath.Dir(rel); dir != "." && in.links.root.Remove(dir) == nil; dir = filepath.Dir(dir) {
		}
	}
	in.links.unlink = nil
}

// takeLinks finds the chain's generations among the links of before the start.
func (in *Input) takeLinks(c *chain) {
	if in.links == nil {
		return
	}
	found := in.links.found[c.place()]
	delete(in.links.found, c.place())
	at := 0
	for _, f := range found {
		i := slices.IndexFunc(c.gens, func(g *generation) bool { return g.key == f.key })
		if i >= 0 {
			g := c.gens[i]
			g.linked, g.linkGz = true, f.gz
			at = i + 1
			if g.found || g.fd >= 0 {
				continue
			}
			name := g.name
			g.name = "" // the directory does not have it
			ok, err := in.reopen(c, g)
			if err == nil && !ok {
				g.linked, g.name = false, name
				continue
			}
			if err != nil {
				in.fail(c, g, err)
			}
			if g.newest {
				in.unknownGap(c, g)
			}
			g.restored = false
			continue
		}
		// The checkpoint does not know it: it is lost, or older than the link.
		g := newGeneration()
		g.key, g.linkGz = f.key, f.gz
		fd, st, err := in.sys.openBeneath(in.links.dir, f.rel)
		if err != nil {
			in.complain(c, f.rel, err)
			continue
		}
		in.adopt(g, fd, st, f.gz)
		var b [headMax]byte
		n, err := in.readRaw(g, b[:], 0)
		head, _ := headOf(b[:n])
		if err != nil || len(head) == 0 {
			in.closeFile(g)
			continue
		}
		size := st.size
		if f.gz {
			z, err := gzSize(&in.sys, fd, st.size)
			if err != nil {
				in.complain(c, f.rel, err)
			}
			size, g.guess = int64(z), true
		}
		g.head, g.base = len(head), baseKey(c.identity, head)
		for ordinalKey(g.base, g.ord) != g.key && g.ord < maxOrds {
			g.ord++
		}
		g.linked = true
		c.gens = slices.Insert(c.gens, at, g)
		at++
		in.grow(c, g, size)
	}
}

// enforceHold gives up deleted unread generations that exceed the bounds, the
// oldest first.
func (in *Input) enforceHold() {
	var sum int64
	type unread struct {
		c *chain
		g *generation
	}
	var all []unread
	for _, c := range in.ring {
		for _, g := range c.gens {
			if !g.deleted.IsZero() && (g.fd >= 0 || g.linked) && g.size-g.lost > g.read {
				all = append(all, unread{c, g})
				sum += g.size
			}
		}
	}
	slices.SortStableFunc(all, func(a, b unread) int { return a.g.deleted.Compare(b.g.deleted) })
	for _, h := range all {
		if sum <= in.cfg.Hold.MaxBytes && in.now.Sub(h.g.deleted) <= in.cfg.Hold.MaxAge {
			return
		}
		in.lose(h.c, h.g, h.g.size-h.g.lost-h.g.read, reasonHold)
		h.g.sealed = true
		sum -= h.g.size
		in.closeFile(h.g)
		in.unhold(h.c, h.g)
	}
}
