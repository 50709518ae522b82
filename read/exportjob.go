package read

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/weirlog/weir/wire/export"
)

// Job is an export: the range in slices, some fetched at once, written one after
// the other, so that what is written is in the order of time.
//
//	slice 3 ─ fetch ─ pack ─┐
//	slice 2 ─ fetch ─ pack ─┼─ queue (bounded) ─ Out, in the order of slices
//	slice 1 ─ fetch ─ pack ─┘
type Job struct {
	Fetch    *Fetch
	From, To int64
	Parallel int
	// Compress is "", "gzip" or "zstd". Parquet says that rows become row groups;
	// the fetch's format is export.Rows then.
	Compress string
	Parquet  bool
	Out      Out
	// Progress counts what is written.
	Progress Progress
}

// Out takes what an export finds. It is used by one goroutine at a time.
type Out interface {
	Write(c *Chunk) error
	// Reached says that there is nothing more before that time.
	Reached(next int64) error
}

// Chunk is a piece of the output: some lines, encoded and compressed, or a row
// group as a Parquet file.
type Chunk struct {
	Data        []byte
	Rows, Raw   int64 // Raw: bytes of lines
	First, Last int64
	Safe        bool // no line to come has the time Last
}

// Progress is how far an export is. It may be read while it runs.
type Progress struct {
	Rows, Raw, Written atomic.Int64
	Time               atomic.Int64 // everything before is written
	Total              atomic.Int64 // bytes of lines there are, about; 0 if not known
	Share              atomic.Int64 // of the range that is written, in millionths
}

const (
	maxSlice = 256 << 20 // bytes of lines in a slice of a weir, whose blocks are read whole
	minSlice = 16 << 20
	// queued is how many bytes wait for their turn at most, beside what is next.
	queued = 24 << 20
)

// Run exports. Warnings of the server are in cost. What is written when it fails
// is a beginning.
func (j *Job) Run(ctx context.Context, cost *Cost) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	j.Progress.Time.Store(j.From)
	slices := j.slices(ctx)
	q := newTurns()
	defer context.AfterFunc(ctx, q.stop)()
	var wg sync.WaitGroup
	var mu sync.Mutex
	next := 0
	for range min(j.Parallel, len(slices)) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= len(slices) {
					return
				}
				var got Cost
				err := j.slice(ctx, &slices[i], &got, func(c *Chunk) error { return q.put(i, c) })
				mu.Lock()
				for _, w := range got.Warnings {
					cost.Warn(w)
				}
				mu.Unlock()
				if err != nil {
					cancel(err)
					q.stop()
					return
				}
				q.end(i)
			}
		})
	}
	err := j.write(q, slices)
	if err != nil && !errors.Is(err, errStopped) {
		cancel(err)
	}
	q.stop()
	if errors.Is(err, errStopped) {
		<-ctx.Done()
		err = context.Cause(ctx)
	}
	cancel(nil)
	wg.Wait()
	return err
}

// slices divides the range: large enough that little is read twice, small enough
// that all have something to do.
func (j *Job) slices(ctx context.Context) []Slice {
	size := int64(minSlice)
	if j.Fetch.Weir() {
		if total, err := j.Fetch.bytesIn(ctx, j.Fetch.selector(), j.From, j.To); err == nil {
			size = max(size, min(maxSlice, total/int64(4*j.Parallel)))
		}
	}
	list, total := j.Fetch.Slices(ctx, j.From, j.To, size, 8*j.Parallel)
	j.Progress.Total.Store(total)
	return list
}

// write writes the slices in their order.
func (j *Job) write(q *turns, slices []Slice) error {
	var all, done float64
	weight := func(s *Slice) float64 { return float64(s.Bytes) + 1 }
	for i := range slices {
		all += weight(&slices[i])
	}
	for i := range slices {
		for {
			c, err := q.take(i)
			if err != nil {
				return err
			}
			if c == nil {
				break
			}
			if err := j.Out.Write(c); err != nil {
				return err
			}
			j.Progress.Rows.Add(c.Rows)
			j.Progress.Raw.Add(c.Raw)
			j.Progress.Written.Add(int64(len(c.Data)))
			j.Progress.Time.Store(c.Last)
			s := &slices[i]
			part := float64(c.Last-s.From) / float64(s.To-s.From)
			j.Progress.Share.Store(int64((done + weight(s)*part) / all * 1e6))
			putBuffer(c.Data)
		}
		if err := j.Out.Reached(slices[i].To); err != nil {
			return err
		}
		done += weight(&slices[i])
		j.Progress.Share.Store(int64(done / all * 1e6))
		j.Progress.Time.Store(slices[i].To)
	}
	return nil
}

// slice fetches a slice and makes chunks of it.
func (j *Job) slice(ctx context.Context, s *Slice, cost *Cost, put func(*Chunk) error) error {
	p := packer(&plain{put: put})
	switch {
	case j.Parquet:
		g := newGroups(put, j.Fetch.Cut)
		defer g.free()
		p = g
	case j.Compress != "":
		p = &compressed{put: put, kind: j.Compress, cut: j.Fetch.Cut}
	}
	v := Visitor{Begin: p.begin, Frame: p.frame}
	err := j.Fetch.Range(ctx, s.From, s.To, &v)
	for _, w := range v.Cost.Warnings {
		cost.Warn(w)
	}
	if err != nil {
		return err
	}
	return p.end()
}

// packer makes chunks of frames.
type packer interface {
	begin()
	frame(*export.Frame) error
	end() error
}

type plain struct{ put func(*Chunk) error }

func (p *plain) begin()     {}
func (p *plain) end() error { return nil }

func (p *plain) frame(f *export.Frame) error {
	return p.put(&Chunk{Data: f.Data, Rows: int64(f.Rows), Raw: int64(f.Raw), First: f.First, Last: f.Last, Safe: f.Safe})
}

// compressed makes a gzip member or a zstd frame of some frames: one after the
// other they are a file of that kind.
type compressed struct {
	put  func(*Chunk) error
	kind string
	cut  int64
	buf  []byte
	c    Chunk
}

const compressFrom = 2 << 20

func (p *compressed) begin() {}

func (p *compressed) frame(f *export.Frame) error {
	if p.cut > 0 && p.c.Rows > 0 && floorDiv(p.c.First, p.cut) != floorDiv(f.First, p.cut) {
		if err := p.end(); err != nil {
			return err
		}
	}
	if p.c.Rows == 0 {
		p.c.First = f.First
	}
	p.c.Rows += int64(f.Rows)
	p.c.Raw += int64(f.Raw)
	p.c.Last, p.c.Safe = f.Last, f.Safe
	p.buf = append(p.buf, f.Data...)
	putBuffer(f.Data)
	if len(p.buf) >= compressFrom {
		return p.end()
	}
	return nil
}

func (p *compressed) end() error {
	if p.c.Rows == 0 {
		return nil
	}
	c := p.c
	p.c = Chunk{}
	c.Data = compress(p.kind, getBuffer(), p.buf)
	p.buf = p.buf[:0]
	return p.put(&c)
}

var (
	zstds = sync.Pool{New: func() any {
		e, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)) // the options are valid
		return e
	}}
	gzips = sync.Pool{New: func() any {
		e, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is valid
		return e
	}}
	chunkBuffers sync.Pool
)

// Compress returns what text is in that kind of compression, "" for none.
func Compress(kind string, text []byte) []byte { return compress(kind, nil, text) }

// compress appends what text is in that kind of compression.
func compress(kind string, dst, text []byte) []byte {
	switch kind {
	case "zstd":
		e := zstds.Get().(*zstd.Encoder)
		defer zstds.Put(e)
		return e.EncodeAll(text, dst)
	case "gzip":
		e := gzips.Get().(*gzip.Writer)
		defer gzips.Put(e)
		b := bytes.NewBuffer(dst)
		e.Reset(b)
		_, _ = e.Write(text) // into memory
		_ = e.Close()
		return b.Bytes()
	}
	return append(dst, text...)
}

func getBuffer() []byte {
	if b, ok := chunkBuffers.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return nil
}

func putBuffer(b []byte) {
	if cap(b) > 0 && cap(b) <= 8<<20 {
		chunkBuffers.Put(&b)
	}
}

var errStopped = errors.New("stopped")

// turns is a queue for each slice. What is not next waits if there is much.
type turns struct {
	mu      sync.Mutex
	changed sync.Cond
	head    int
	lists   map[int][]*Chunk
	ended   map[int]bool
	size    int
	stopped bool
}

func newTurns() *turns {
	t := &turns{lists: make(map[int][]*Chunk), ended: make(map[int]bool)}
	t.changed.L = &t.mu
	return t
}

func (t *turns) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	t.changed.Broadcast()
}

// put adds to the queue of slice i; it waits while too much waits, of the slice
// whose turn it is only for what is its own.
func (t *turns) put(i int, c *Chunk) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for !t.stopped && t.size > 0 && (i != t.head && t.size+len(c.Data) > queued || i == t.head && len(t.lists[i]) >= 8) {
		t.changed.Wait()
	}
	if t.stopped {
		return errStopped
	}
	t.lists[i] = append(t.lists[i], c)
	t.size += len(c.Data)
	t.changed.Broadcast()
	return nil
}

func (t *turns) end(i int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended[i] = true
	t.changed.Broadcast()
}

// take returns the next chunk of slice i, nil at its end.
func (t *turns) take(i int) (*Chunk, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.head != i {
		t.head = i
		t.changed.Broadcast()
	}
	for len(t.lists[i]) == 0 && !t.ended[i] && !t.stopped {
		t.changed.Wait()
	}
	if list := t.lists[i]; len(list) > 0 {
		c := list[0]
		t.lists[i] = list[1:]
		t.size -= len(c.Data)
		t.changed.Broadcast()
		return c, nil
	}
	if !t.ended[i] {
		return nil, errStopped
	}
	delete(t.lists, i)
	delete(t.ended, i)
	return nil, nil
}
