package store

import (
	"slices"

	"github.com/weirlog/weir/record"
)

// MaxHoles is how many holes a source may have in what is finished: more
// means that somebody skips, and is refused until holes are filled.
const MaxHoles = 1024

// maxWide is how many wide records of a source are remembered one by one.
const maxWide = 256

// A source is one life of one file: which of its places the store has.
//
// The places are merged into intervals. A record is known if its place lies in
// one of them, with an exception: a record that is made of several lines, of
// which others may stand in between (the other stream's of the container), says
// nothing about those. Such a wide record is remembered with what was known
// within it when it came, and records inside it are judged by that.
//
// Not safe for concurrent use.
type source struct {
	id   record.ID
	set  intervals
	wide []wideRecord // oldest first
	last int64        // when the latest record came, or its time if that is later: to know when to forget
}

type wideRecord struct {
	at     span
	inside intervals
}

// span is a place: [from, to), bytes of the file.
type span struct{ From, To int64 }

func (s span) within(t span) bool { return t.From <= s.From && s.To <= t.To }

// intervals are disjoint, not touching, ascending.
type intervals []span

// find returns the first interval that ends at or behind off.
func (v intervals) find(off int64) int {
	// Nearly always it is the last one.
	if n := len(v); n > 0 && v[n-1].From <= off {
		if v[n-1].To >= off {
			return n - 1
		}
		return n
	}
	i, _ := slices.BinarySearchFunc(v, off, func(s span, off int64) int {
		if s.To < off {
			return -1
		}
		return 1
	})
	return i
}

func (v intervals) has(s span) bool {
	for i := v.find(s.From); i < len(v) && v[i].From <= s.From; i++ {
		if s.within(v[i]) {
			return true
		}
	}
	return false
}

// add merges s in.
func (v intervals) add(s span) intervals {
	i := v.find(s.From)
	j := i
	for j < len(v) && v[j].From <= s.To {
		s.From = min(s.From, v[j].From)
		s.To = max(s.To, v[j].To)
		j++
	}
	if i < j {
		v[i] = s
		return slices.Delete(v, i+1, j)
	}
	return slices.Insert(v, i, s)
}

// part returns what of v lies in s.
func (v intervals) part(s span) intervals {
	var out intervals
	for i := v.find(s.From); i < len(v) && v[i].From < s.To; i++ {
		if p := (span{max(v[i].From, s.From), min(v[i].To, s.To)}); p.From < p.To {
			out = append(out, p)
		}
	}
	return out
}

// known reports whether the store has the record at s.
func (f *source) known(s span) bool {
	if !f.set.has(s) {
		return false
	}
	for i := len(f.wide) - 1; i >= 0; i-- {
		if w := &f.wide[i]; s.within(w.at) && s != w.at && !w.inside.has(s) {
			return false
		}
	}
	return true
}

// full reports whether taking the record at s would make too many holes.
func (f *source) full(s span) bool {
	if len(f.set) <= MaxHoles {
		return false
	}
	i := f.set.find(s.From)
	return i == len(f.set) || f.set[i].From > s.To
}

// add notes that the store has the record at s; wide says that it may have
// others in between.
func (f *source) add(s span, wide bool) {
	for i := range f.wide {
		if w := &f.wide[i]; s.within(w.at) && s != w.at {
			w.inside = w.inside.add(s)
		}
	}
	if wide {
		if len(f.wide) == maxWide {
			f.wide = slices.Delete(f.wide, 0, 1)
		}
		f.wide = append(f.wide, wideRecord{s, f.set.part(s)})
	}
	f.set = f.set.add(s)
}

func (f *source) clone() source {
	c := *f
	c.set = slices.Clone(f.set)
	c.wide = slices.Clone(f.wide)
	for i := range c.wide {
		c.wide[i].inside = slices.Clone(c.wide[i].inside)
	}
	return c
}

// lineOverhead is the most that a container runtime puts around the text of a
// line, without escapes: what is longer is taken for several lines.
const lineOverhead = 80

func isWide(s span, text int) bool { return s.To-s.From > int64(text)+lineOverhead }
