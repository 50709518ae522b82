package store

import (
	"container/heap"
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/weirlog/weir/columns"
	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/record"
)

// Source is a tenant's logs as the query engine sees them: those whose label
// record.AttrTenant has its name, without that label. The empty tenant sees
// everything as it is.
func (s *Store) Source(tenant string) logql.Source { return tenantSource{s, tenant} }

type tenantSource struct {
	s      *Store
	tenant string
}

// version is what is there at one moment, for reading. It does not change.
type version struct {
	held  []*segment
	views []*view
}

// hold takes the version of now, as far as it may have rows in [start, end).
func (s *Store) hold(start, end int64) (v version, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return v, ErrClosed
	}
	for _, g := range s.segments {
		if g.info.MaxTime >= start && g.info.MinTime < end {
			g.hold()
			v.held = append(v.held, g)
		}
	}
	for _, m := range []*memtable{s.sealed, s.active} {
		if m != nil && m.committed.rows > 0 && m.max >= start && m.min < end {
			v.views = append(v.views, m.view())
		}
	}
	return v, nil
}

// drop gives a version back.
func (s *Store) drop(v *version) {
	for _, g := range v.held {
		g.drop()
	}
	for _, m := range v.views {
		s.release(m)
	}
	*v = version{}
}

// Select implements logql.Source.
func (t tenantSource) Select(ctx context.Context, req *logql.Request) (logql.Cursor, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := t.s
	c := &cursor{s: s, req: req, streams: make(map[uint64][]*logql.Stream), start: req.Start, end: req.End, seen: make(map[*logql.Stream]struct{})}
	c.match = matching{sel: req.Selector, tenant: t.tenant}
	var err error
	if c.version, err = s.hold(req.Start, req.End); err != nil {
		return nil, err
	}
	if c.dec, err = s.decoder(); err != nil {
		s.drop(&c.version)
		return nil, err
	}
	for _, g := range c.held {
		c.push(&segmentUnit{g: g, min: g.info.MinTime, max: g.info.MaxTime})
	}
	for _, v := range c.views {
		if u := c.memUnit(v); u != nil {
			c.push(u)
		}
	}
	if err := c.narrow(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// A unit is rows that are read together, or units to be. Its bounds may be too
// wide.
type unit interface {
	bounds() (min, max int64)
	// read appends the unit's blocks to c.ready, or pushes the units it consists
	// of.
	read(ctx context.Context, c *cursor) error
	// times calls each for the times of its rows, all of which would be
	// delivered; ok is false if it consists of others, which it has pushed.
	times(c *cursor, each func(t []int64)) (ok bool, err error)
}

// cursor reads units in the order of their bounds. See logql.Cursor.
type cursor struct {
	s          *Store
	req        *logql.Request
	start, end int64 // of the request, or narrower
	dec        *columns.Decoder
	units      []unit
	ready      []*logql.Block
	version
	streams   map[uint64][]*logql.Stream
	seen      map[*logql.Stream]struct{}
	stats     logql.SourceStats
	closed    bool
	page      []byte   // of what is stored
	scratch   spanData // the one span that is decoded, in AnyOrder
	scratchOf *segReader
	scratchAt int
	ahead     []ahead // of columns, in AnyOrder
	runs      []rowRun
	kept      []rowRun
	kept2     []rowRun
	spans     []record.Span
	hits      []uint32
	hit       []bool
	json      []byte
	match     matching
}

func (c *cursor) Len() int { return len(c.units) }
func (c *cursor) Less(i, j int) bool {
	a, b := c.units[i], c.units[j]
	amin, amax := a.bounds()
	bmin, bmax := b.bounds()
	if c.req.Order == logql.Backward {
		return amax > bmax
	}
	return amin < bmin
}
func (c *cursor) Swap(i, j int) { c.units[i], c.units[j] = c.units[j], c.units[i] }
func (c *cursor) Push(x any)    { c.units = append(c.units, x.(unit)) }
func (c *cursor) Pop() any {
	u := c.units[len(c.units)-1]
	c.units[len(c.units)-1] = nil
	c.units = c.units[:len(c.units)-1]
	return u
}

func (c *cursor) push(u unit) {
	if c.req.Order == logql.AnyOrder {
		c.units = append(c.units, u) // a stack: what lies together is read together
		return
	}
	heap.Push(c, u)
}

func (c *cursor) pop() unit {
	if c.req.Order == logql.AnyOrder {
		return c.Pop().(unit)
	}
	return heap.Pop(c).(unit)
}

// Bound implements logql.Cursor.
func (c *cursor) Bound() (int64, bool) {
	ns, ok := int64(0), false
	take := func(lo, hi int64) {
		if c.req.Order == logql.Backward {
			lo = hi
			if ok {
				lo = max(lo, ns)
			}
		} else if ok {
			lo = min(lo, ns)
		}
		ns, ok = lo, true
	}
	if len(c.units) > 0 {
		take(c.units[0].bounds())
	}
	for _, b := range c.ready {
		if n := b.Len(); n > 0 {
			take(min(b.Times[0], b.Times[n-1]), max(b.Times[0], b.Times[n-1]))
		}
	}
	if !ok && len(c.ready) > 0 {
		return c.end, true
	}
	return ns, ok
}

// Next implements logql.Cursor.
func (c *cursor) Next(ctx context.Context) (*logql.Block, error) {
	for len(c.ready) == 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(c.units) == 0 || c.closed {
			return nil, io.EOF
		}
		u := c.pop()
		if err := c.s.tolerate(u.read(ctx, c)); err != nil {
			return nil, err
		}
	}
	b := c.ready[0]
	c.ready = c.ready[1:]
	for _, st := range b.Streams {
		if _, ok := c.seen[st]; !ok {
			c.seen[st] = struct{}{}
			c.stats.Streams++
		}
	}
	c.stats.Rows += int64(b.Len())
	return b, nil
}

// tolerate passes over what is damaged, counting it: the rest is worth having.
func (s *Store) tolerate(err error) error {
	if err == nil || !errors.Is(err, columns.ErrDamaged) && !notExist(err) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if s.stats.damagedPages.Add(1) < 100 {
		s.log.Error("a query passed over damaged data; `weir store check` says more", "error", err)
	}
	return nil
}

// Stats implements logql.Cursor.
func (c *cursor) Stats() logql.SourceStats { return c.stats }

// Close implements logql.Cursor.
func (c *cursor) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	c.s.drop(&c.version)
	c.units, c.ready = nil, nil
	c.s.decoders.Put(c.dec)
	return nil
}

func (s *Store) decoder() (*columns.Decoder, error) {
	if d, ok := s.decoders.Get().(*columns.Decoder); ok {
		return d, nil
	}
	return columns.NewDecoder()
}

// stream returns the one pointer for a set of labels: those of the stream with
// that id, as they are seen.
func (c *cursor) stream(id uint64, labels []logql.Label) *logql.Stream {
	for _, have := range c.streams[id] {
		if slices.Equal(have.Labels, labels) {
			return have
		}
	}
	n := &logql.Stream{Labels: labels}
	c.streams[id] = append(c.streams[id], n)
	return n
}

// exact reports whether every row that matches streams and times is wanted, so
// that the limit counts them.
func (c *cursor) exact() bool {
	return c.req.Limit > 0 && c.req.Order != logql.AnyOrder && len(c.req.Needles) == 0 && c.req.Severities == 0
}

// narrow finds, for a request with a limit and nothing to be searched for, the
// time that the limit's last row has: only times are read for that, and then only
// bodies of rows that are wanted.
func (c *cursor) narrow(ctx context.Context) error {
	if !c.exact() {
		return nil
	}
	var kept []unit
	worst := topTimes{limit: c.req.Limit, backward: c.req.Order == logql.Backward}
	for len(c.units) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		lo, hi := c.units[0].bounds()
		if worst.beyond(lo, hi) {
			break
		}
		u := heap.Pop(c).(unit)
		ok, err := u.times(c, worst.add)
		if err := c.s.tolerate(err); err != nil {
			return err
		}
		if ok && err == nil {
			kept = append(kept, u)
		}
	}
	if t, full := worst.threshold(); full {
		c.units = c.units[:0]
		if c.req.Order == logql.Backward {
			c.start = max(c.start, t)
		} else if t < math.MaxInt64 {
			c.end = min(c.end, t+1)
		}
	}
	for _, u := range kept {
		if lo, hi := u.bounds(); hi >= c.start && lo < c.end {
			c.push(u)
		}
	}
	return nil
}

// topTimes keeps the best times: the latest, or the earliest.
type topTimes struct {
	limit    int
	backward bool
	h        []int64 // a heap with the worst on top; negated if forward
}

func (t *topTimes) add(times []int64) {
	for _, v := range times {
		if !t.backward {
			v = ^v
		}
		switch {
		case len(t.h) < t.limit:
			t.h = append(t.h, v)
			for i := len(t.h) - 1; i > 0 && t.h[(i-1)/2] > t.h[i]; i = (i - 1) / 2 {
				t.h[i], t.h[(i-1)/2] = t.h[(i-1)/2], t.h[i]
			}
		case v > t.h[0]:
			t.h[0] = v
			for i := 0; ; {
				k := 2*i + 1
				if k+1 < len(t.h) && t.h[k+1] < t.h[k] {
					k++
				}
				if k >= len(t.h) || t.h[i] <= t.h[k] {
					break
				}
				t.h[i], t.h[k] = t.h[k], t.h[i]
				i = k
			}
		}
	}
}

// threshold is the worst of the best, if there are as many as the limit.
func (t *topTimes) threshold() (int64, bool) {
	if len(t.h) < t.limit {
		return 0, false
	}
	if t.backward {
		return t.h[0], true
	}
	return ^t.h[0], true
}

// beyond reports whether no time within the bounds can be among the best.
func (t *topTimes) beyond(lo, hi int64) bool {
	v, ok := t.threshold()
	return ok && (t.backward && hi < v || !t.backward && lo > v)
}

// attrPairs reads structured metadata.
type attrPairs = columns.AttrReader

// blockBuf is a logql.Block with its memory, used again when it is released.
type blockBuf struct {
	b      logql.Block
	meta   logql.Meta
	times  []int64
	stream []uint32
	sev    []record.Severity
	buf    []byte
	body   []record.Span
	size   []uint32
	fields []logql.Field
}

var blockPool = sync.Pool{New: func() any { return new(blockBuf) }}

func newBlock() *blockBuf {
	n := blockPool.Get().(*blockBuf)
	n.b = logql.Block{Streams: n.b.Streams[:0]}
	n.b.Free = n.free
	n.times, n.stream, n.sev, n.body, n.size = n.times[:0], n.stream[:0], n.sev[:0], n.body[:0], n.size[:0]
	n.buf = n.buf[:0]
	n.meta.Names, n.meta.Off, n.meta.Name, n.meta.Value, n.meta.Buf = n.meta.Names[:0], n.meta.Off[:0], n.meta.Name[:0], n.meta.Value[:0], n.meta.Buf[:0]
	return n
}

// maxPooled bounds the memory of a block that is kept.
const maxPooled = 2 << 20

func (n *blockBuf) free(*logql.Block) {
	if cap(n.buf) <= maxPooled && cap(n.times) <= maxPooled/8 {
		blockPool.Put(n)
	}
}
