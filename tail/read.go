package tail

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlog/weir/cri"
	"github.com/weirlog/weir/record"
)

// readPass gives every chain that has something a turn of one quantum, begins
// where the last pass had to stop, and reports whether anything was read.
func (in *Input) readPass(ctx context.Context, sink record.Sink) (progress bool, err error) {
	in.full = false
	var b *record.Batch
	n := len(in.ring)
	first := in.next
	for i := range n {
		at := (first + i) % n
		c := in.ring[at]
		if !in.now.Before(c.nextPoll) {
			in.poll(c)
		}
		if in.full || !in.hasWork(c) {
			continue
		}
		if b == nil {
			in.room = sink.Room()
			if b = sink.Get(); b == nil {
				in.full = true
				in.next = at
				continue // the others are still looked at
			}
		}
		if in.visit(c, b) {
			progress = true
		}
		if b.Len() >= in.cfg.ReadBytes || len(b.Streams()) > maxBatchStreams {
			if err := in.put(ctx, sink, b); err != nil {
				return progress, err
			}
			b = nil
		}
	}
	if b != nil {
		return progress, in.put(ctx, sink, b)
	}
	return progress, nil
}

// maxBatchStreams keeps a batch's stream table far from its limit.
const maxBatchStreams = 4096

func (in *Input) put(ctx context.Context, sink record.Sink, b *record.Batch) error {
	if b.NumRecords() == 0 {
		b.Release() // finishes the tokens of bytes that held no whole record
		return nil
	}
	if err := sink.Put(ctx, b); err != nil {
		return fmt.Errorf("hand over batch: %w", err)
	}
	return nil
}

// poll looks at the sizes of the chain's files.
func (in *Input) poll(c *chain) {
	interval := in.cfg.PollInterval
	if quiet := in.now.Sub(c.lastGrowth); quiet > 10*time.Minute {
		interval *= 4
	} else if quiet > time.Minute {
		interval *= 2
	}
	c.nextPoll = in.now.Add(interval)
	if c.desc.Exclude {
		return
	}
	for i, g := range c.gens {
		// Of the older ones, only the last may still be written to.
		if g.gz || g.sealed && i < len(c.gens)-2 || g.fd < 0 && g.name == "" {
			continue // of those with only a link nobody writes any more
		}
		var st stat
		var err error
		if g.fd >= 0 {
			st, err = fstat(g.fd)
		} else if st, err = lstat(c.dir + "/" + g.name); err == nil && (st.ino != g.ino || st.dev != g.dev) {
			in.rescan(c)
			continue
		}
		if err == nil && g.fd < 0 && g.head == 0 && st.size > 0 {
			// It has no key yet, so that only its handle says which it is.
			var ok bool
			if ok, err = in.reopen(c, g); !ok && err == nil {
				continue
			} else if err == nil {
				st, err = fstat(g.fd)
			}
		}
		if err != nil {
			if errors.Is(err, unix.ENOENT) {
				in.rescan(c)
			} else {
				in.complain(c, g.name, err)
			}
			continue
		}
		if g.fd >= 0 && st.size < g.size {
			in.truncated(c, g, st.size)
			return
		}
		if st.size > g.size {
			in.grow(c, g, st.size)
			g.mtime, g.fsize = st.mtime, st.size
		}
		if g.head == 0 && g.fd >= 0 && g.size > 0 {
			// At once, so that its compressed copy is known when it comes.
			if _, err := in.findKey(c, g, cri.More); err != nil {
				in.complain(c, g.name, err)
			}
		}
	}
}

// hasWork reports whether a visit could do something.
func (in *Input) hasWork(c *chain) bool {
	if c.desc.Exclude || c.unresolved || c.desc.Wait && in.now.Sub(c.born) < in.cfg.WaitFor {
		return false
	}
	for _, p := range c.gaps {
		if p.saved && !p.sent {
			return true
		}
	}
	if c.partial != 0 && in.now.UnixNano()-c.partial > int64(in.cfg.PartialAge) {
		return true
	}
	if g, _ := in.pick(c); g != nil {
		return true
	}
	return in.mayClose(c)
}

// pick returns the generation to read from next and how to treat its last
// line; nil if there is nothing to do.
func (in *Input) pick(c *chain) (*generation, cri.Mode) {
	for i, g := range c.gens {
		if g.sealed {
			continue
		}
		if in.now.Before(g.retry) {
			return nil, 0
		}
		if g.fd < 0 && !g.onDisk() {
			return nil, 0 // until a second scan says that it is gone
		}
		end := g.size - g.lost
		if g.gz {
			return g, cri.End
		}
		if end > max(g.pos, g.looked) {
			return g, cri.More
		}
		// At the end of what is there, or behind it a line without its end.
		last := i == len(c.gens)-1
		var over bool
		switch {
		case !last:
			over = in.now.Sub(g.superseded) >= in.cfg.PollInterval || i < len(c.gens)-2
		case !g.deleted.IsZero():
			over = in.now.Sub(g.deleted) >= in.cfg.PollInterval && in.now.Sub(g.grown) >= in.cfg.PollInterval
		}
		if over {
			return g, cri.End
		}
		if !last {
			return nil, 0
		}
		if end > g.pos && in.now.Sub(g.grown) >= in.idle(c) {
			return g, cri.End
		}
	}
	return nil, 0
}

func (in *Input) idle(c *chain) time.Duration {
	if in.cfg.IdleLine > 0 {
		return in.cfg.IdleLine
	}
	if c.plain {
		return 5 * time.Second
	}
	return time.Minute
}

// visit reads at most a quantum from the chain into b and reports whether it
// got on.
func (in *Input) visit(c *chain, b *record.Batch) (progress bool) {
	streams0, records0 := len(b.Streams()), b.NumRecords()
	var sent *gap
	for _, p := range c.gaps {
		if p.saved && !p.sent {
			p.sent, sent = true, p
			p.appendTo(b, c.desc.Streams[0])
			progress = true
			break // one at a time, so that a mark names one
		}
	}
	if old := in.now.UnixNano() - int64(in.cfg.PartialAge); c.partial != 0 && c.partial < old {
		if !c.replaying() {
			in.flushPartials(c, b, old)
		}
		c.partial = in.now.UnixNano()
	}
	g, mode := in.pick(c)
	if g != nil && sent == nil {
		progress = in.read(c, g, b, mode) || progress
	}
	if !progress && in.mayClose(c) {
		in.closeRecords(c, b)
	}
	if progress || b.NumRecords() > records0 {
		in.track(c, g, b, streams0, sent)
	}
	return progress
}

// read reads from g into b. It reports whether the position or the state of
// the generation moved.
func (in *Input) read(c *chain, g *generation, b *record.Batch, mode cri.Mode) bool {
	if g.fd < 0 {
		ok, err := in.reopen(c, g)
		if err != nil {
			in.fail(c, g, err)
			return false
		}
		if !ok {
			g.retry = in.now.Add(in.cfg.PollInterval)
			return false
		}
	}
	in.touch(g)
	if g.key.IsZero() {
		ok, err := in.findKey(c, g, mode)
		if err != nil {
			in.fail(c, g, err)
			return false
		}
		if !ok {
			return false
		}
	}
	if c.current != g {
		in.begin(c, g, b)
	}
	if g.gz {
		return in.readGz(c, g, b)
	}
	from := g.pos
	for {
		end := g.size - g.lost
		n := int(min(end-g.pos, int64(max(g.want, in.cfg.ReadBytes))))
		if n <= 0 {
			break
		}
		m := mode
		if m == cri.End && g.pos+int64(n) < end {
			m = cri.More
		}
		got, consumed, err := in.readChunk(c, g, b, n, m)
		if err != nil {
			if errors.Is(err, errTruncated) {
				size := int64(0)
				if st, err := fstat(g.fd); err == nil {
					size = st.size
				}
				in.truncated(c, g, size)
				return true
			}
			in.fail(c, g, err)
			break
		}
		g.backoff = 0
		if consumed > 0 {
			g.want = 0
			g.looked = 0
			if m == cri.End || g.pos == end {
				break
			}
			if g.pos-from >= int64(in.cfg.ReadBytes)/2 || got > consumed {
				break // the rest of the quantum is for the others
			}
			continue
		}
		if got < n || g.pos+int64(n) >= end || n >= c.joiner.MaxChunk() {
			g.looked = g.pos + int64(got)
			break
		}
		g.want = min(4*n, c.joiner.MaxChunk())
	}
	if mode == cri.End && g.pos >= g.size-g.lost && (!g.superseded.IsZero() || !g.deleted.IsZero()) {
		in.seal(c, g)
		return true
	}
	return g.pos > from
}

// seal notes that g is read to its end.
func (in *Input) seal(c *chain, g *generation) {
	g.sealed = true
	c.dirty = true
}

var errTruncated = errors.New("the file is not what it was")

// readChunk reads n bytes at the position, together with the bytes before it,
// which prove that it is still the same file, and frames them.
func (in *Input) readChunk(c *chain, g *generation, b *record.Batch, n int, m cri.Mode) (got, consumed int, err error) {
	pre := g.ntail
	p := b.Reserve(pre + n)
	k, err := in.sys.preadFull(g.fd, p, g.pos-int64(pre))
	if err != nil {
		return 0, 0, fmt.Errorf("read: %w", err)
	}
	if k < pre || string(p[:pre]) != string(g.tailBytes()) {
		return 0, 0, errTruncated
	}
	got = k - pre
	if got == 0 {
		if n > 0 {
			return 0, 0, errTruncated // shorter than it was
		}
		return 0, 0, nil
	}
	span := b.Extend(k)
	consumed = in.frame(c, g, b, span, pre, m)
	return got, consumed, nil
}

// frame frames the bytes of span behind the first pre and moves the position.
func (in *Input) frame(c *chain, g *generation, b *record.Batch, span record.Span, pre int, m cri.Mode) (consumed int) {
	chunk := record.Span{Off: span.Off + uint32(pre), Len: span.Len - uint32(pre)}
	nul := c.joiner.Stats().NULBytes
	recs := b.NumRecords()
	consumed = c.joiner.Frame(b, chunk, g.pos, c.desc.Streams, in.now.UnixNano(), m)
	if consumed > 0 {
		g.setTail(b.Bytes(record.Span{Off: chunk.Off, Len: uint32(consumed)}))
		in.moveTo(c, g, g.pos+int64(consumed))
		if c.joiner.Stats().NULBytes-nul == uint64(consumed) && !g.gz {
			in.skipHole(c, g)
		}
	}
	if b.Len() == int(span.End()) {
		if b.NumRecords() == recs {
			b.Truncate(int(span.Off))
		} else {
			b.Truncate(int(chunk.Off) + consumed)
		}
	}
	return consumed
}

func (in *Input) moveTo(c *chain, g *generation, pos int64) {
	g.pos = pos
	if pos > g.read {
		c.account.read += pos - g.read
		c.account.dirty = true
		g.read = pos
	}
}

// skipHole moves over a hole of a sparse file, which reads as NULs for ever.
func (in *Input) skipHole(c *chain, g *generation) {
	data, err := unix.Seek(g.fd, g.pos, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		data = math.MaxInt64
	} else if err != nil {
		return
	}
	data = min(data, g.size-g.lost)
	if n := data - g.pos; n >= anchorMax {
		in.nulBytes += uint64(n)
		in.moveTo(c, g, data)
		g.setTail(make([]byte, anchorMax))
	}
}

// begin moves the joiner to g.
func (in *Input) begin(c *chain, g *generation, b *record.Batch) {
	var prev int64
	if i := slices.Index(c.gens, g); i > 0 && c.current != nil {
		p := c.gens[i-1]
		prev = p.size - p.lost
		if p.truncated || p.lost > 0 {
			// What follows is not the rest of what is open.
			c.joiner.Flush(b, c.desc.Streams, math.MaxInt64)
		}
	}
	c.joiner.Begin(g.key, prev, g.until)
	c.current = g
}

// findKey reads the head of g. It reports false while that is not complete.
func (in *Input) findKey(c *chain, g *generation, mode cri.Mode) (bool, error) {
	var b [headMax]byte
	n, err := in.readRaw(g, b[:], 0)
	if err != nil && n == 0 {
		return false, err
	}
	head, known := headOf(b[:n])
	if len(head) == 0 {
		if mode == cri.End {
			in.seal(c, g) // it never held anything
		}
		return false, nil
	}
	if !known && mode != cri.End {
		g.looked = max(g.looked, int64(n))
		return false, nil
	}
	in.setKey(c, g, head)
	return true, nil
}

// readGz reads a quantum from a compressed generation, which does not grow.
func (in *Input) readGz(c *chain, g *generation, b *record.Batch) bool {
	from := g.pos
	n := max(g.want, in.cfg.ReadBytes)
	p := b.Reserve(n)
	got, err := g.z.readAt(p, g.pos)
	end := got < n && (err != nil || g.z.end) || g.z.end && g.z.pos+int64(len(g.z.rest)) == g.pos+int64(got)
	if err != nil && errors.Is(err, unix.EIO) {
		in.fail(c, g, err)
		return false
	}
	if end && err == nil && g.pos+int64(got) != g.size {
		in.grow(c, g, g.pos+int64(got)) // now it is known
	}
	mode := cri.More
	if end {
		mode = cri.End
	}
	if got > 0 {
		span := b.Extend(got)
		consumed := in.frame(c, g, b, span, 0, mode)
		g.z.consume(consumed)
		if consumed == 0 {
			g.want = min(4*n, c.joiner.MaxChunk())
		} else {
			g.want = 0
		}
	}
	if end && g.z.pos == g.pos && len(g.z.rest) == 0 {
		g.eof = true
		if err != nil {
			in.complain(c, g.name, err)
			if n := g.size - g.lost - g.read; n > 0 && !g.guess {
				in.lose(c, g, n, reasonDamaged)
			} else {
				// Nobody knows how long it was.
				in.grow(c, g, g.read+g.lost)
				in.addGap(c, &gap{
					Generation: g.key, From: g.read, To: g.read, Reason: reasonDamaged,
					Since: g.grown.UnixNano(), Until: in.now.UnixNano(),
				})
			}
		}
		in.seal(c, g)
		return true
	}
	return g.pos > from || g.want > 0
}
