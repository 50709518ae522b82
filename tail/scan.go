package tail

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// listing is what was last seen in a directory.
type listing struct {
	path    string
	mtime   time.Time
	entries []fs.DirEntry
	loaded  bool
	hot     bool // list again whatever its times say
}

// fresh is how young a directory's time may be for another change to have
// happened in the same tick of the file system's clock.
const fresh = 2 * time.Second

// refresh lists the directory if it may have changed. A directory that is not
// there is empty.
func (l *listing) refresh() (changed bool, err error) {
	fi, err := os.Stat(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		changed = !l.loaded || l.hot || len(l.entries) > 0
		l.entries, l.mtime, l.loaded, l.hot = nil, time.Time{}, true, false
		return changed, nil
	}
	if err != nil {
		l.hot = true
		return false, err
	}
	m := fi.ModTime()
	// Wall time on purpose: it is compared with the file system's.
	if age := time.Since(m); l.loaded && !l.hot && m.Equal(l.mtime) && age > fresh {
		return false, nil
	}
	entries, err := os.ReadDir(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		entries, err = nil, nil
	}
	if err != nil {
		l.hot = true
		return false, err
	}
	l.entries, l.mtime, l.loaded, l.hot = entries, m, true, false
	return true, nil
}

// fileDir is a directory with log files.
type fileDir struct {
	listing
	chains []*chain
	pod    *podDir // set: chains are found by the names of the files
	name   string  // of the container
}

// podDir is a directory <namespace>_<pod>_<uid>.
type podDir struct {
	listing
	namespace, pod, uid string
}

// scan looks for files. It lists what changed, or everything if all is set.
func (in *Input) scan(all bool) {
	if all {
		in.podsRoot.hot, in.linksRoot.hot = true, true
		for _, p := range in.pods {
			p.hot = true
		}
		for _, d := range in.dirs {
			d.hot = true
		}
	}
	if in.cfg.Pods != "" {
		in.scanPods()
	}
	if in.cfg.Links != "" {
		in.scanLinks()
	}
	if len(in.cfg.Paths) > 0 {
		in.scanPaths()
	}
	if in.cfg.Volumes != nil {
		in.scanVolumes(all)
	}
	for _, path := range slices.Sorted(maps.Keys(in.dirs)) { // in one order, for reproducible tests
		in.scanDir(in.dirs[path])
	}
}

// watchNew asks for notifications before the first listing, so that nothing
// falls between the two.
func (in *Input) watchNew(l *listing) {
	if !l.loaded {
		in.watch(l.path)
	}
}

func (in *Input) scanError(path string, err error) {
	in.errors[errorKind(err)]++
	if last, ok := in.said[path]; ok && in.now.Sub(last) < time.Minute {
		return
	}
	if len(in.said) > 1000 {
		clear(in.said)
	}
	in.said[path] = in.now
	in.log.Warn("cannot list directory of logs", "path", path, "error", err)
}

func (in *Input) scanPods() {
	in.watchNew(&in.podsRoot)
	changed, err := in.podsRoot.refresh()
	if err != nil {
		in.scanError(in.podsRoot.path, err)
		return
	}
	if changed {
		in.watch(in.podsRoot.path)
		seen := make(map[string]bool, len(in.podsRoot.entries))
		for _, e := range in.podsRoot.entries {
			if !e.IsDir() {
				continue
			}
			seen[e.Name()] = true
			if in.pods[e.Name()] != nil {
				continue
			}
			ns, pod, uid, ok := parsePodDir(e.Name())
			if !ok {
				continue
			}
			in.pods[e.Name()] = &podDir{listing: listing{path: filepath.Join(in.cfg.Pods, e.Name())}, namespace: ns, pod: pod, uid: uid}
		}
		for name := range in.pods {
			if !seen[name] {
				delete(in.pods, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.pods)) {
		p := in.pods[name]
		in.watchNew(&p.listing)
		changed, err := p.refresh()
		if err != nil {
			in.scanError(p.path, err)
			continue
		}
		if !changed {
			continue
		}
		in.watch(p.path)
		for _, e := range p.entries {
			if e.IsDir() {
				d := in.dirAt(filepath.Join(p.path, e.Name()))
				if d.pod == nil {
					d.pod, d.name, d.hot = p, e.Name(), true
				}
			}
		}
	}
}

func (in *Input) scanLinks() {
	in.watchNew(&in.linksRoot)
	changed, err := in.linksRoot.refresh()
	if err != nil {
		in.scanError(in.linksRoot.path, err)
		return
	}
	if !changed {
		return
	}
	in.watch(in.linksRoot.path)
	for _, e := range in.linksRoot.entries {
		ns, pod, name, id, ok := parseContainerLink(e.Name())
		if !ok {
			continue
		}
		path := filepath.Join(in.cfg.Links, e.Name())
		target, way, err := resolve(in.roots, path)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				in.scanError(path, err)
			}
			continue
		}
		c := Container{Namespace: ns, Pod: pod, Container: name, ID: id}
		for _, w := range way {
			if k, ok := fromPodPath(w); ok {
				k.ID = id
				c = k
			}
		}
		in.register(c, target)
	}
}

// fromPodPath reads the names in a path …/<ns>_<pod>_<uid>/<container>/<n>.log.
func fromPodPath(path string) (Container, bool) {
	p := strings.Split(path, "/")
	if len(p) < 3 {
		return Container{}, false
	}
	p = p[len(p)-3:]
	ns, pod, uid, ok := parsePodDir(p[0])
	restart, isLog := parseRestart(p[2])
	return Container{Namespace: ns, Pod: pod, UID: uid, Container: p[1], Restart: restart}, ok && isLog
}

func (in *Input) scanPaths() {
	for _, pattern := range in.cfg.Paths {
		names, err := filepath.Glob(pattern)
		if err != nil {
			continue // checked in New
		}
		for _, path := range names {
			base, _, ok := splitRotated(filepath.Base(path))
			if !ok || in.excluded(path) {
				continue
			}
			live := filepath.Join(filepath.Dir(path), base)
			target := live
			if live == path {
				if target, _, err = resolve(in.roots, path); err != nil {
					if !errors.Is(err, fs.ErrNotExist) {
						in.scanError(path, err)
					}
					continue
				}
			}
			if st, err := lstat(target); err == nil && !st.regular() {
				if !in.refused[target] {
					in.refused[target] = true
					in.scanError(target, errNotRegular)
				}
				continue
			}
			in.register(Container{Path: live}, target)
		}
	}
}

func (in *Input) excluded(path string) bool {
	return slices.ContainsFunc(in.cfg.Excludes, func(p string) bool {
		whole, _ := filepath.Match(p, path)
		name, _ := filepath.Match(p, filepath.Base(path))
		return whole || name
	})
}

func (in *Input) dirAt(path string) *fileDir {
	d := in.dirs[path]
	if d == nil {
		d = &fileDir{listing: listing{path: path, hot: true}}
		in.dirs[path] = d
	}
	return d
}

// rescan lists the chain's directory again at the next scan, which is soon.
func (in *Input) rescan(c *chain) {
	in.dirAt(c.dir).hot = true
	in.hurry = true
}

// register makes the chain whose live file is at path, unless it is known.
func (in *Input) register(k Container, path string) *chain {
	id := chainID(k)
	if c := in.chains[id]; c != nil {
		if dir, base := filepath.Split(path); filepath.Clean(dir) != c.dir || base != c.base {
			in.attach(c, path)
		}
		return c
	}
	if k.Path == "" {
		k.Path = path
	}
	c := in.newChain(id, k)
	in.attach(c, path)
	return c
}

// attach says where the chain's live file is.
func (in *Input) attach(c *chain, path string) {
	if old := in.dirs[c.dir]; old != nil {
		old.chains = slices.DeleteFunc(old.chains, func(o *chain) bool { return o == c })
	}
	c.dir, c.base = filepath.Dir(path), filepath.Base(path)
	d := in.dirAt(c.dir)
	d.hot = true
	if !slices.Contains(d.chains, c) {
		d.chains = append(d.chains, c)
	}
	c.dirty = true
}

func chainID(k Container) string {
	switch {
	case k.Volume != "":
		return "v/" + k.Namespace + "_" + k.Pod + "_" + k.UID + "/" + k.Volume + "/" + k.File
	case k.UID != "":
		return "p/" + k.Namespace + "_" + k.Pod + "_" + k.UID + "/" + k.Container + "/" + strconv.Itoa(k.Restart)
	case k.Pod != "":
		return "l/" + k.Namespace + "_" + k.Pod + "/" + k.Container + "/" + k.ID
	}
	return "f" + k.Path
}

// identityOf is what goes into the keys of a chain's generations.
func identityOf(k Container) string {
	switch {
	case k.Volume != "":
		return k.UID + "\x00volume\x00" + k.Volume + "\x00" + k.File
	case k.UID != "":
		return k.UID + "\x00" + k.Container + "\x00" + strconv.Itoa(k.Restart)
	case k.Pod != "":
		return k.ID
	}
	return "file\x00" + k.Path
}

// scanDir lists a directory and brings its chains up to date.
func (in *Input) scanDir(d *fileDir) {
	in.watchNew(&d.listing)
	changed, err := d.refresh()
	if err != nil {
		in.scanError(d.path, err)
		return
	}
	if !changed {
		return
	}
	if len(d.entries) > 0 {
		in.watch(d.path)
	}
	names := make([]string, 0, len(d.entries))
	for _, e := range d.entries {
		names = append(names, e.Name())
	}
	if d.pod != nil {
		in.findRestarts(d)
	}
	for _, c := range slices.Clone(d.chains) {
		files := siblingsOf(c.base, names)
		switch {
		case !c.desc.Exclude:
			in.reconcile(c, files)
		case len(files) == 0:
			in.dropExcluded(c)
		}
	}
	if len(d.chains) == 0 && len(d.entries) == 0 {
		delete(in.dirs, d.path)
	}
}

// dropExcluded forgets the files of a chain that is not to be read: what was
// not read of them was not wanted, and is not lost.
func (in *Input) dropExcluded(c *chain) {
	for _, g := range c.gens {
		in.closeFile(g)
		in.unhold(c, g)
		c.account.written -= g.size - g.lost - g.read
		g.size = g.read + g.lost
	}
	c.gens, c.current, c.unresolved = nil, nil, false
	c.dirty, c.account.dirty = true, true
}

// findRestarts registers the chains of a container's directory.
func (in *Input) findRestarts(d *fileDir) {
	for _, e := range d.entries {
		base, _, ok := splitRotated(e.Name())
		if !ok {
			continue
		}
		n, ok := parseRestart(base)
		if !ok {
			continue
		}
		k := Container{Namespace: d.pod.namespace, Pod: d.pod.pod, UID: d.pod.uid, Container: d.name, Restart: n}
		path := filepath.Join(d.path, base)
		if e.Type()&fs.ModeSymlink != 0 && e.Name() == base {
			target, _, err := resolve(in.roots, path)
			if err != nil {
				if !errors.Is(err, fs.ErrNotExist) {
					in.scanError(path, err)
				}
				continue
			}
			if target != path {
				k.Path = path
				path = target
			}
		} else if c := in.chains[chainID(k)]; c != nil && c.dir != d.path && e.Name() != base {
			continue // the live file is a link elsewhere
		}
		in.register(k, path)
	}
}
