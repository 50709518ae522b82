package logql

import (
	"container/heap"
	"context"
	"errors"
	"io"
)

// Merge returns a source with the rows of all the given ones.
func Merge(sources ...Source) Source {
	if len(sources) == 1 {
		return sources[0]
	}
	return merged(sources)
}

type merged []Source

// Select implements Source.
func (m merged) Select(ctx context.Context, req *Request) (Cursor, error) {
	c := &mergedCursor{order: req.Order}
	for _, s := range m {
		one, err := s.Select(ctx, req)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.cursors = append(c.cursors, one)
	}
	return c, nil
}

// mergedCursor takes the next block from the cursor whose rows come first.
// Streams of several sources may be equal without being the same pointer; the
// engine does not mind.
type mergedCursor struct {
	order   Order
	cursors []Cursor
	ended   SourceStats
}

// first returns the cursor whose block is next, -1 if there is none.
func (c *mergedCursor) first() (at int, bound int64) {
	at = -1
	for i, one := range c.cursors {
		b, ok := one.Bound()
		if !ok {
			continue
		}
		if at < 0 || before(c.order, b, bound) {
			at, bound = i, b
		}
		if c.order == AnyOrder {
			break
		}
	}
	return at, bound
}

// before reports whether a comes before b.
func before(o Order, a, b int64) bool {
	if o == Backward {
		return a > b
	}
	return a < b
}

func (c *mergedCursor) Bound() (int64, bool) {
	at, b := c.first()
	return b, at >= 0
}

func (c *mergedCursor) Next(ctx context.Context) (*Block, error) {
	for {
		at, _ := c.first()
		if at < 0 {
			return nil, io.EOF
		}
		b, err := c.cursors[at].Next(ctx)
		if err != io.EOF {
			return b, err
		}
		if err := c.end(at); err != nil {
			return nil, err
		}
	}
}

// end closes a cursor that has no more blocks.
func (c *mergedCursor) end(i int) error {
	one := c.cursors[i]
	c.cursors = append(c.cursors[:i:i], c.cursors[i+1:]...)
	err := one.Close()
	c.ended.Add(one.Stats())
	return err
}

func (c *mergedCursor) Stats() SourceStats {
	s := c.ended
	for _, one := range c.cursors {
		s.Add(one.Stats())
	}
	return s
}

func (c *mergedCursor) Close() error {
	var err error
	for len(c.cursors) > 0 {
		err = errors.Join(err, c.end(len(c.cursors)-1))
	}
	return err
}

// ordered goes over the rows of a cursor in the order of their times, whatever
// blocks they are in.
type ordered struct {
	c     Cursor
	order Order
	// enter looks at a block when it is opened and returns the rows that may
	// matter, nil for all of them.
	enter func(*Block) (rows []uint32, some bool, err error)

	open  []*position // a heap
	seq   int
	spare []*position
}

// position is the next row in a block.
type position struct {
	b    *Block
	rows []uint32 // those that may matter
	some bool     // rows is meant
	i    int
	seq  int
	time int64
}

func (p *position) row() int {
	if p.some {
		return int(p.rows[p.i])
	}
	return p.i
}

func (p *position) len() int {
	if p.some {
		return len(p.rows)
	}
	return p.b.Len()
}

// Len implements heap.Interface, as do the following.
func (o *ordered) Len() int { return len(o.open) }

// Less orders by time, then by arrival.
func (o *ordered) Less(i, j int) bool {
	a, b := o.open[i], o.open[j]
	if a.time != b.time {
		return before(o.order, a.time, b.time)
	}
	return a.seq < b.seq
}

func (o *ordered) Swap(i, j int) { o.open[i], o.open[j] = o.open[j], o.open[i] }

// Push adds a *position.
func (o *ordered) Push(x any) { o.open = append(o.open, x.(*position)) }

// Pop removes the last one.
func (o *ordered) Pop() any {
	p := o.open[len(o.open)-1]
	o.open = o.open[:len(o.open)-1]
	return p
}

// each calls f for every row in order until it reports false or fails.
func (o *ordered) each(ctx context.Context, f func(b *Block, row int) (bool, error)) error {
	defer o.release()
	for {
		if err := o.fill(ctx); err != nil {
			return err
		}
		if len(o.open) == 0 {
			return nil
		}
		p := o.open[0]
		for {
			more, err := f(p.b, p.row())
			if err != nil || !more {
				return err
			}
			if p.i++; p.i == p.len() {
				heap.Pop(o)
				o.drop(p)
				break
			}
			p.time = p.b.Times[p.row()]
			if !o.stays(p) {
				heap.Fix(o, 0)
				break
			}
		}
	}
}

// stays reports whether p's next row comes before everything else.
func (o *ordered) stays(p *position) bool {
	for k := 1; k <= 2 && k < len(o.open); k++ {
		if !before(o.order, p.time, o.open[k].time) {
			return false
		}
	}
	bound, ok := o.c.Bound()
	return !ok || before(o.order, p.time, bound)
}

// fill opens the blocks that may hold the next row.
func (o *ordered) fill(ctx context.Context) error {
	for {
		bound, ok := o.c.Bound()
		if !ok || len(o.open) > 0 && before(o.order, o.open[0].time, bound) {
			return nil
		}
		b, err := o.c.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		rows, some, err := o.enter(b)
		if err != nil {
			b.Release()
			return err
		}
		p := o.get()
		p.b, p.rows, p.some, p.i, p.seq = b, append(p.rows[:0], rows...), some, 0, o.seq
		o.seq++
		if p.len() == 0 {
			o.drop(p)
			continue
		}
		p.time = b.Times[p.row()]
		heap.Push(o, p)
	}
}

func (o *ordered) get() *position {
	if n := len(o.spare); n > 0 {
		p := o.spare[n-1]
		o.spare = o.spare[:n-1]
		return p
	}
	return &position{}
}

func (o *ordered) drop(p *position) {
	p.b.Release()
	p.b = nil
	o.spare = append(o.spare, p)
}

func (o *ordered) release() {
	for _, p := range o.open {
		p.b.Release()
	}
	o.open = nil
}
