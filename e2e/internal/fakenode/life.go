package fakenode

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/weirlog/weir/e2e/internal/journal"
)

// Restart ends one container of a random pod and starts it again: n+1.log
// appears, n.log stays as it is, and what is older is removed, as kubelet keeps
// one dead container.
func (n *Node) Restart() error {
	p := n.pods[n.rng.IntN(len(n.pods))]
	c := p.containers[n.rng.IntN(len(p.containers))]
	c.rot.Lock()
	defer c.rot.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	n.event(c.stream.Index, c.gen, journal.Closed, c.size, filepath.Join(c.dir, c.logName()))
	if err := c.f.Close(); err != nil {
		return err
	}
	life := oldLife{c.stream.Index, append(c.files, genFile{c.gen, c.logName(), true, c.size})}
	for len(c.dead) > 0 {
		for _, g := range c.dead[0].files {
			if err := n.remove(c, c.dead[0].stream, g); err != nil {
				return err
			}
		}
		c.dead = c.dead[1:]
	}
	c.dead = append(c.dead, life)
	if n.cfg.Links != "" {
		if err := os.Remove(n.linkPath(c)); err != nil {
			return err
		}
	}
	c.restart++
	n.begin(c)
	return n.open(c)
}

// DeletePod removes a random pod with all its logs, if more than one is left,
// and reports whether it did.
func (n *Node) DeletePod() (bool, error) {
	if len(n.pods) < 2 {
		return false, nil
	}
	i := n.rng.IntN(len(n.pods))
	p := n.pods[i]
	n.pods = slices.Delete(n.pods, i, i+1)
	for _, c := range p.containers {
		if err := n.deleteContainer(c); err != nil {
			return false, err
		}
	}
	return true, os.RemoveAll(filepath.Join(n.cfg.Root, p.dir))
}

// ReplacePod deletes a random pod and creates one of the same name and another
// uid, as a StatefulSet does.
func (n *Node) ReplacePod() error {
	if len(n.pods) == 0 {
		return errors.New("fakenode: no pod")
	}
	if len(n.pods) == 1 {
		if err := n.CreatePod(); err != nil {
			return err
		}
	}
	before := slices.Clone(n.pods)
	if _, err := n.DeletePod(); err != nil {
		return err
	}
	for _, p := range before {
		if !slices.Contains(n.pods, p) {
			return n.createPod(p.ns, p.name)
		}
	}
	return fmt.Errorf("fakenode: no pod was deleted")
}

func (n *Node) deleteContainer(c *container) error {
	c.rot.Lock()
	defer c.rot.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	n.mu.Lock()
	n.all = slices.DeleteFunc(n.all, func(o *container) bool { return o == c })
	n.mu.Unlock()
	n.event(c.stream.Index, c.gen, journal.Closed, c.size, filepath.Join(c.dir, c.logName()))
	err := c.f.Close()
	lives := append(c.dead, oldLife{c.stream.Index, append(c.files, genFile{c.gen, c.logName(), true, c.size})})
	for _, life := range lives {
		for _, g := range life.files {
			err = errors.Join(err, n.remove(c, life.stream, g))
		}
	}
	if n.cfg.Links != "" {
		err = errors.Join(err, os.Remove(n.linkPath(c)))
	}
	return err
}
