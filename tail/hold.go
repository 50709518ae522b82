package tail

// hold makes the generation survive its deletion.
func (in *Input) hold(c *chain, g *generation) {}

func (in *Input) unhold(c *chain, g *generation) {}

func (in *Input) dropLinks() {}

// enforceHold gives up deleted unread generations that exceed the bounds, the
// oldest first.
func (in *Input) enforceHold() {
	var sum int64
	type held struct {
		c *chain
		g *generation
	}
	var all []held
	for _, c := range in.ring {
		for _, g := range c.gens {
			if !g.deleted.IsZero() && g.fd >= 0 && g.size-g.lost > g.read {
				all = append(all, held{c, g})
				sum += g.size
			}
		}
	}
	for len(all) > 0 {
		oldest := 0
		for i, h := range all {
			if h.g.deleted.Before(all[oldest].g.deleted) {
				oldest = i
			}
		}
		h := all[oldest]
		if sum <= in.cfg.Hold.MaxBytes && in.now.Sub(h.g.deleted) <= in.cfg.Hold.MaxAge {
			return
		}
		in.lose(h.c, h.g, h.g.size-h.g.lost-h.g.read, reasonHold)
		h.g.sealed = true
		sum -= h.g.size
		in.closeFile(h.g)
		all = append(all[:oldest], all[oldest+1:]...)
	}
}
