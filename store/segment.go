package store

import (
	"container/list"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirlog/weir/columns"
	"github.com/zeebo/xxh3"
)

// segment is a live segment, or one that is not live any more and still read.
type segment struct {
	info segmentInfo
	fs   FS

	mu      sync.Mutex
	data    File
	idx     File
	refs    int
	gone    bool // to be removed when nobody reads it
	missing bool // its files were not there at the start
	damaged atomic.Bool
}

func dayDir(day int64) string {
	return time.Unix(0, 0).UTC().AddDate(0, 0, int(day)).Format("2006-01-02")
}

func (i *segmentInfo) base() string {
	return fmt.Sprintf("%s/%08d-l%d", dayDir(i.Day), i.Seq, i.Level)
}

func (i *segmentInfo) dataName() string { return i.base() + ".parquet" }
func (i *segmentInfo) idxName() string  { return i.base() + ".idx" }

// hold keeps the segment's files until drop.
func (g *segment) hold() {
	g.mu.Lock()
	g.refs++
	g.mu.Unlock()
}

// drop ends a hold; the last one closes the files and, if the segment is gone,
// removes them.
func (g *segment) drop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refs--; g.refs > 0 {
		return
	}
	g.close()
	if g.gone {
		g.remove()
	}
}

// retire removes the segment's files, as soon as nobody reads them. The manifest
// has forgotten it, durably.
func (g *segment) retire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gone = true
	if g.refs == 0 {
		g.close()
		g.remove()
	}
}

// remove's failures leave files that the next Open finds and removes.
func (g *segment) remove() {
	g.fs.Remove(g.info.idxName())
	g.fs.Remove(g.info.dataName())
}

func (g *segment) close() {
	if g.data != nil {
		g.data.Close()
		g.data = nil
	}
	if g.idx != nil {
		g.idx.Close()
		g.idx = nil
	}
}

func (g *segment) closeFiles() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.close()
}

// files returns the segment's open files; it is held.
func (g *segment) files() (data, idx File, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.data == nil {
		if g.data, err = g.fs.Open(g.info.dataName(), false); err != nil {
			return nil, nil, err
		}
	}
	if g.idx == nil {
		if g.idx, err = g.fs.Open(g.info.idxName(), false); err != nil {
			return nil, nil, err
		}
	}
	return g.data, g.idx, nil
}

// page reads a page's content.
func (g *segment) page(p columns.Page, buf []byte) ([]byte, error) {
	data, _, err := g.files()
	if err != nil {
		return nil, err
	}
	if cap(buf) < int(p.Size) {
		buf = make([]byte, p.Size+p.Size/4)
	}
	buf = buf[:p.Size]
	if err := readFull(data, buf, p.Off); err != nil {
		return nil, fmt.Errorf("read %s: %w", g.info.dataName(), err)
	}
	return buf, nil
}

// loadIndex reads the index and checks that it belongs to the Parquet file.
func (g *segment) loadIndex() (*columns.Index, error) {
	x, err := g.parseIndex()
	if err != nil {
		return nil, err
	}
	data, _, err := g.files()
	if err != nil {
		return nil, err
	}
	if err := checkFooter(data, x); err != nil {
		return nil, fmt.Errorf("%s: %w", g.info.dataName(), err)
	}
	return x, nil
}

// parseIndex reads the index.
func (g *segment) parseIndex() (*columns.Index, error) {
	_, idx, err := g.files()
	if err != nil {
		return nil, err
	}
	head := make([]byte, columns.IndexHeaderSize)
	if err := readFull(idx, head, 0); err != nil {
		return nil, fmt.Errorf("read %s: %w", g.info.idxName(), err)
	}
	n, err := columns.ParseIndexHeader(head)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", g.info.idxName(), err)
	}
	if size, err := idx.Size(); err != nil || size < int64(n) {
		return nil, fmt.Errorf("%s: %d bytes: %w", g.info.idxName(), size, columns.ErrDamaged)
	}
	b := make([]byte, len(head)+n)
	if err := readFull(idx, b, 0); err != nil {
		return nil, fmt.Errorf("read %s: %w", g.info.idxName(), err)
	}
	x, err := columns.ParseIndex(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", g.info.idxName(), err)
	}
	return x, nil
}

// checkFooter ties an index to its Parquet file.
func checkFooter(data File, x *columns.Index) error {
	size, err := data.Size()
	if err != nil {
		return err
	}
	if size != x.FileSize || int64(x.FooterSize) > size {
		return fmt.Errorf("%d bytes, the index says %d: %w", size, x.FileSize, columns.ErrDamaged)
	}
	foot := make([]byte, x.FooterSize)
	if err := readFull(data, foot, size-int64(len(foot))); err != nil {
		return err
	}
	if sum(foot) != x.FooterCRC {
		return fmt.Errorf("footer: %w", columns.ErrDamaged)
	}
	return nil
}

// indexCache keeps the indexes read last. Safe for concurrent use.
type indexCache struct {
	mu    sync.Mutex
	max   int64
	size  int64
	lru   *list.List
	by    map[*segment]*list.Element
	table streamTable
}

type cached struct {
	g       *segment
	x       *columns.Index
	numbers []uint32 // of the streams, see streamTable
	size    int64
}

// streamTable gives each stream a number and one copy of its labels: streams are
// the same in segment after segment. When it has grown too large it begins anew;
// numbers never come again.
type streamTable struct {
	by   map[uint64][]numbered // by a hash of labels and resource
	next uint32
	size int
}

type numbered struct {
	n uint32
	s columns.Stream
}

// maxTable is how many streams the table keeps.
const maxTable = 1 << 17

// intern numbers the streams of an index and lets them share their labels.
func (t *streamTable) intern(x *columns.Index) []uint32 {
	if t.size > maxTable || t.by == nil {
		t.by, t.size = make(map[uint64][]numbered), 0
	}
	out := make([]uint32, len(x.Streams))
	var key []byte
	for i := range x.Streams {
		st := &x.Streams[i].Stream
		key = streamKey(key[:0], st)
		h := xxh3.Hash(key)
		found := false
		for _, have := range t.by[h] {
			if compareStreams(&have.s, st) == 0 {
				out[i], found = have.n, true
				st.Labels, st.Resource = have.s.Labels, have.s.Resource
				break
			}
		}
		if !found {
			out[i] = t.next
			t.by[h] = append(t.by[h], numbered{t.next, *st})
			t.next++
			t.size++
		}
	}
	return out
}

func newIndexCache(max int64) *indexCache {
	return &indexCache{max: max, lru: list.New(), by: make(map[*segment]*list.Element)}
}

// get returns the index of a segment, which is held.
func (c *indexCache) get(g *segment) (*columns.Index, error) {
	v, err := c.load(g)
	if err != nil {
		return nil, err
	}
	return v.x, nil
}

// load is get with the numbers of the streams.
func (c *indexCache) load(g *segment) (*cached, error) {
	c.mu.Lock()
	if e := c.by[g]; e != nil {
		c.lru.MoveToFront(e)
		c.mu.Unlock()
		return e.Value.(*cached), nil
	}
	c.mu.Unlock()
	x, err := g.loadIndex()
	if err != nil {
		return nil, err
	}
	return c.put(g, x), nil
}

// put keeps the index of a segment.
func (c *indexCache) put(g *segment, x *columns.Index) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := &cached{g: g, x: x, numbers: c.table.intern(x), size: indexMemory(x)}
	if c.by[g] == nil {
		c.by[g] = c.lru.PushFront(v)
		c.size += v.size
		for c.size > c.max && c.lru.Len() > 1 {
			c.remove(c.lru.Back())
		}
	}
	return v
}

func (c *indexCache) remove(e *list.Element) {
	v := c.lru.Remove(e).(*cached)
	delete(c.by, v.g)
	c.size -= v.size
}

// forget drops a segment's index.
func (c *indexCache) forget(g *segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.by[g]; e != nil {
		c.remove(e)
	}
}

// indexMemory is about how many bytes an index takes.
func indexMemory(x *columns.Index) int64 {
	n := int64(len(x.Blocks))*96 + int64(len(x.Spans))*int64(160+24*len(x.Fields)) + 1024
	return n + 96*int64(len(x.Streams)) // their labels are shared
}

// segmentWriter writes segments one after the other. It is for one goroutine.
type segmentWriter struct {
	fs FS
	w  *columns.Writer
}

// write makes the files of a segment durable, of the rows that next returns until
// io.EOF, and fills in info. added, if given, is called after each row.
func (sw *segmentWriter) write(info *segmentInfo, streams []columns.Stream, next func(*columns.Row) error, added ...func() error) (err error) {
	if sw.w == nil {
		if sw.w, err = columns.NewWriter(); err != nil {
			return err
		}
	}
	dir := dayDir(info.Day)
	if err := sw.fs.MkdirAll(dir); err != nil {
		return fmt.Errorf("create directory of segments: %w", err)
	}
	f, err := sw.fs.Create(info.dataName())
	if err != nil {
		return fmt.Errorf("create segment: %w", err)
	}
	out := &sequential{f: f}
	var filter []byte
	var x *columns.Index
	err = sw.w.Reset(out, streams)
	var row columns.Row
	for err == nil {
		if err = next(&row); err == nil {
			if err = sw.w.Add(&row); err == nil && len(added) > 0 {
				err = added[0]()
			}
		}
	}
	if err == io.EOF {
		if x, filter, err = sw.w.Close(); err == nil {
			err = out.flush()
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("write segment: %w", err)
	}
	b := columns.AppendIndex(nil, x, filter)
	if err := sw.writeFile(info.idxName(), b); err != nil {
		return fmt.Errorf("write index of segment: %w", err)
	}
	if err := sw.fs.SyncDir(dir); err != nil {
		return fmt.Errorf("sync directory of segments: %w", err)
	}
	if err := sw.fs.SyncDir("."); err != nil {
		return fmt.Errorf("sync directory of segments: %w", err)
	}
	info.Rows, info.Bytes, info.MinTime, info.MaxTime = int64(x.Rows), x.Bytes, x.MinTime, x.MaxTime
	info.Size = x.FileSize + int64(len(b))
	x.Filter.Off = int64(len(b)) - x.Filter.Size()
	info.index = x
	return nil
}

func (sw *segmentWriter) writeFile(name string, b []byte) error {
	f, err := sw.fs.Create(name)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
