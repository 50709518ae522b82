package buffer

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
)

// crashFS is a file system in memory that knows what of it would be on the disk.
// Writes wait until they are synced; until then a crash keeps any of them, or any
// part of one. Names wait until their directory is synced, or come to be without.
// A failed sync forgets which writes were waiting, as Linux does: a later sync
// that succeeds says nothing about them.
type crashFS struct {
	mu      sync.Mutex
	r       *rand.Rand
	names   map[string]*inode // as the process sees them
	durable map[string]*inode
	dirOps  []dirOp
	locked  bool

	ops        int                // since the start
	crashAt    int                // the op that does not happen, nor any after it; 0: none
	failSync   func(string) bool  // whether this sync fails
	failOp     func(string) error // before writes, creates, renames
	beforeSync func(string)       // of files, without the lock
	onRead     func(name string, n int)
	half       bool           // a write that failOp refuses is done by half
	synced     map[string]int // how often, by name
	room       int64          // bytes that may still be written; negative: no limit
}

type inode struct {
	data    []byte
	durable []byte
	waiting []write
}

type write struct {
	off  int64
	p    []byte
	size int64 // of a truncation, if p is nil
}

type dirOp struct {
	name, from string
	to         *inode // nil: removed
}

var errCrashed = errors.New("the machine has stopped")

func newCrashFS(seed uint64) *crashFS {
	return &crashFS{r: rand.New(rand.NewPCG(seed, 7)), names: map[string]*inode{}, durable: map[string]*inode{}, synced: map[string]int{}, room: -1}
}

// op counts an operation; after the crash there are none.
func (c *crashFS) op() error {
	c.ops++
	if c.crashAt > 0 && c.ops >= c.crashAt {
		return errCrashed
	}
	return nil
}

func (n *inode) apply(w write) { n.durable = applyWrite(n.durable, w) }

func applyWrite(data []byte, w write) []byte {
	if w.p == nil {
		if int64(len(data)) > w.size {
			return slices.Clone(data[:w.size])
		}
		return append(slices.Clone(data), make([]byte, w.size-int64(len(data)))...)
	}
	if end := w.off + int64(len(w.p)); end > int64(len(data)) {
		data = append(data, make([]byte, end-int64(len(data)))...)
	}
	copy(data[w.off:], w.p)
	return data
}

// settle applies what of the waiting writes happens to reach the disk.
func (c *crashFS) settle(n *inode) {
	for _, w := range n.waiting {
		switch c.r.IntN(4) {
		case 0: // lost
		case 1:
			if w.p == nil {
				continue
			}
			// Torn: some of its sectors.
			for off := 0; off < len(w.p); off += 512 {
				if c.r.IntN(2) == 0 {
					n.apply(write{off: w.off + int64(off), p: w.p[off:min(off+512, len(w.p))]})
				}
			}
		default:
			n.apply(w)
		}
	}
	n.waiting = nil
}

// restart returns what is there after the crash.
func (c *crashFS) restart() *crashFS {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.crashAt = 1 // whoever still holds this one: it is over
	for _, op := range c.dirOps {
		if c.r.IntN(2) == 0 {
			c.applyDir(op)
		}
	}
	n := newCrashFS(c.r.Uint64())
	done := map[*inode]*inode{}
	for name, i := range c.durable {
		if done[i] == nil {
			c.settle(i)
			done[i] = &inode{data: slices.Clone(i.durable), durable: slices.Clone(i.durable)}
		}
		n.names[name], n.durable[name] = done[i], done[i]
	}
	return n
}

func (c *crashFS) applyDir(op dirOp) {
	if op.from != "" {
		delete(c.durable, op.from)
	}
	if op.to == nil {
		delete(c.durable, op.name)
	} else {
		c.durable[op.name] = op.to
	}
}

func (c *crashFS) note(name, from string, to *inode) {
	c.dirOps = append(c.dirOps, dirOp{name, from, to})
}

func (c *crashFS) before(name string) error {
	if err := c.op(); err != nil {
		return err
	}
	if c.failOp != nil {
		return c.failOp(name)
	}
	return nil
}

func (c *crashFS) Create(name string) (File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.before(name); err != nil {
		return nil, err
	}
	if n := c.names[name]; n != nil {
		n.data = nil
		n.waiting = append(n.waiting, write{})
		return &crashFile{c, name, n}, nil
	}
	n := &inode{}
	c.names[name] = n
	c.note(name, "", n)
	return &crashFile{c, name, n}, nil
}

func (c *crashFS) Open(name string, _ bool) (File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.op(); err != nil {
		return nil, err
	}
	n := c.names[name]
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &crashFile{c, name, n}, nil
}

func (c *crashFS) Remove(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.op(); err != nil {
		return err
	}
	if c.names[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	delete(c.names, name)
	c.note(name, "", nil)
	return nil
}

func (c *crashFS) Rename(from, to string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.before(from); err != nil {
		return err
	}
	n := c.names[from]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	delete(c.names, from)
	c.names[to] = n
	c.note(to, from, n)
	return nil
}

func (c *crashFS) ReadDir() ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.op(); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(c.names)), nil
}

func (c *crashFS) SyncDir() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.op(); err != nil {
		return err
	}
	if c.failSync != nil && c.failSync(".") {
		return syscall.EIO
	}
	for _, op := range c.dirOps {
		c.applyDir(op)
	}
	c.dirOps = nil
	return nil
}

// crashNow lets nothing happen any more.
func (c *crashFS) crashNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.crashAt = 1
}

func (c *crashFS) Lock(string) (io.Closer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.locked {
		return nil, ErrLocked
	}
	c.locked = true
	return unlocker{c}, nil
}

type unlocker struct{ c *crashFS }

func (u unlocker) Close() error {
	u.c.mu.Lock()
	defer u.c.mu.Unlock()
	u.c.locked = false
	return nil
}

type crashFile struct {
	c    *crashFS
	name string
	n    *inode
}

func (f *crashFile) ReadAt(p []byte, off int64) (int, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if f.c.crashAt > 0 && f.c.ops >= f.c.crashAt {
		return 0, errCrashed
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	if f.c.onRead != nil {
		f.c.onRead(f.name, len(p))
	}
	k := copy(p, f.n.data[off:])
	if k < len(p) {
		return k, io.EOF
	}
	return k, nil
}

func (f *crashFile) WriteAt(p []byte, off int64) (int, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	err := f.c.before(f.name)
	if err != nil {
		if !f.c.half || errors.Is(err, errCrashed) {
			return 0, err
		}
		p = p[:len(p)/2]
	}
	if f.c.room >= 0 && int64(len(p)) > f.c.room {
		p, err = p[:f.c.room], syscall.ENOSPC
	}
	if f.c.room >= 0 {
		f.c.room -= int64(len(p))
	}
	w := write{off: off, p: slices.Clone(p)}
	if w.p == nil {
		w.p = []byte{}
	}
	f.n.data = applyWrite(f.n.data, w)
	f.n.waiting = append(f.n.waiting, w)
	return len(p), err
}

func (f *crashFile) Sync() error {
	f.c.mu.Lock()
	if wait := f.c.beforeSync; wait != nil {
		f.c.mu.Unlock()
		wait(f.name)
		f.c.mu.Lock()
	}
	defer f.c.mu.Unlock()
	if err := f.c.op(); err != nil {
		return err
	}
	f.c.synced[f.name]++
	if f.c.failSync != nil && f.c.failSync(f.name) {
		f.c.settle(f.n)
		return syscall.EIO
	}
	for _, w := range f.n.waiting {
		f.n.apply(w)
	}
	f.n.waiting = nil
	return nil
}

func (f *crashFile) Truncate(size int64) error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.c.op(); err != nil {
		return err
	}
	w := write{size: size}
	f.n.data = applyWrite(f.n.data, w)
	f.n.waiting = append(f.n.waiting, w)
	return nil
}

func (f *crashFile) Size() (int64, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *crashFile) Close() error { return nil }
