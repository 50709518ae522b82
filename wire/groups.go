package wire

import (
	"slices"

	"github.com/weirlog/weir/record"
)

// Groups sorts the records of a request into groups, for protocols that write
// the writer's names once before all its records. T is what is known of a
// group, E of a record's entry. The zero Groups is ready; it is for one
// goroutine and keeps its memory.
type Groups[T, E any] struct {
	// Active are the groups that have records, in the order of their first.
	Active []*Group[T]

	items []groupItem[E]
	order []int32
}

// Group is one group. Data is set by whoever makes it.
type Group[T any] struct {
	Data T
	// Size is the sum of the sizes given to Add.
	Size int

	first, last int32
	n           int
	time        int64 // of the last record
	mixed       bool  // the times do not ascend
}

type groupItem[E any] struct {
	batch *record.Batch
	i     uint32
	next  int32
	entry E
}

// Add puts record i of b into g, whose encoded entry has the given size.
func (gs *Groups[T, E]) Add(g *Group[T], b *record.Batch, i int, size int, entry E) {
	at := int32(len(gs.items))
	gs.items = append(gs.items, groupItem[E]{batch: b, i: uint32(i), next: -1, entry: entry})
	t := b.Record(i).Time
	if g.n == 0 {
		g.first, g.Size, g.mixed = at, 0, false
		gs.Active = append(gs.Active, g)
	} else {
		gs.items[g.last].next = at
		g.mixed = g.mixed || t < g.time
	}
	g.last, g.time = at, t
	g.n++
	g.Size += size
}

// Each calls f for the records of g in the order they were added, or, with
// byTime, by their times and among equals as they were added.
func (gs *Groups[T, E]) Each(g *Group[T], byTime bool, f func(b *record.Batch, i int, entry *E)) {
	if !byTime || !g.mixed {
		for at := g.first; at >= 0; at = gs.items[at].next {
			it := &gs.items[at]
			f(it.batch, int(it.i), &it.entry)
		}
		return
	}
	gs.order = gs.order[:0]
	for at := g.first; at >= 0; at = gs.items[at].next {
		gs.order = append(gs.order, at)
	}
	slices.SortFunc(gs.order, func(x, y int32) int {
		a, b := &gs.items[x], &gs.items[y]
		ta, tb := a.batch.Record(int(a.i)).Time, b.batch.Record(int(b.i)).Time
		switch {
		case ta < tb:
			return -1
		case ta > tb:
			return 1
		}
		return int(x - y)
	})
	for _, at := range gs.order {
		it := &gs.items[at]
		f(it.batch, int(it.i), &it.entry)
	}
}

// Reset takes all records out again.
func (gs *Groups[T, E]) Reset() {
	for _, g := range gs.Active {
		g.n = 0
	}
	clear(gs.Active)
	gs.Active = gs.Active[:0]
	clear(gs.items)
	gs.items = gs.items[:0]
}

// Order calls f for all records in the order of Active and Each: part is the position
// of the record's part in parts, of which the records were added, rec its index in
// the part's batch.
func (gs *Groups[T, E]) Order(parts []record.Part, byTime bool, f func(part int, rec uint32)) {
	for _, g := range gs.Active {
		gs.Each(g, byTime, func(b *record.Batch, i int, _ *E) {
			for k, p := range parts {
				if p.Batch() == b {
					if _, ok := slices.BinarySearch(p.Index(), uint32(i)); ok {
						f(k, uint32(i))
						return
					}
				}
			}
		})
	}
}
