package buffer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// DiskConfig says where a Disk is and how large it may become.
type DiskConfig struct {
	// Dir is the directory, of this buffer alone; it is made. FS takes its
	// place if it is not nil.
	Dir string
	FS  FS
	// Output is the output's name, for messages, and Index its number in the
	// ack.Book.
	Output string
	Index  int
	// MaxBytes is the size on disk at which the buffer is Full.
	MaxBytes int64
	// MaxAge is how old a record may become in the buffer; 0 means any age.
	// Only time in which the buffer was open counts, so that no clock that is
	// set and no downtime throws anything away.
	MaxAge time.Duration
	// Memory bounds the bytes that wait to be written, and the bytes that are
	// read ahead, each. Default 8 MiB.
	Memory int
	// SegmentBytes is the size of a file. Default MaxBytes/32 within 1 MiB and
	// 64 MiB.
	SegmentBytes int64
	// Plain says that what is written is not compressed.
	Plain    bool
	packFrom int // from what size payloads are compressed; 0: the usual
	// Logger may be nil.
	Logger *slog.Logger
	// Now is the clock of the day, for what is shown. Default time.Now.
	Now func() time.Time
}

// Disk is a first-in, first-out queue of Parts that outlives the process: a log in
// a directory of its own.
//
// Put never blocks. A committer writes everything that was put meanwhile with one
// write and one sync; then it counts the records as ack.Buffered on their tokens
// and finishes the Parts. What TryNext gives are Parts that were read from the
// log. Their tokens belong to the buffer: what is counted on them is kept in the
// cursor, which moves over what is finished, in order, and survives the process
// together with the tally. A record that the log has already, because its file is
// read again from an earlier position, is not written twice.
//
// A write or a sync that failed poisons its segment: nothing that was not durable
// before is trusted, also not if a second sync says so, but written again into a
// new segment. While that fails the buffer is Full, what is in it can be taken,
// and it tries again until it works.
//
// A Disk is Full on its size on disk, on what waits to be written, and while it
// cannot write. Like Memory it takes a Part also then. Safe for concurrent use.
type Disk struct {
	c   DiskConfig
	fs  FS
	log *slog.Logger

	lock    io.Closer
	opened  time.Time // with the monotonic clock
	clock0  int64     // the buffer's clock then
	tracker ack.Tracker[pos]
	pool    record.Pool
	release func(*record.Batch) // pool.Put
	done    sync.WaitGroup
	stopped chan struct{}
	wakeup  chan struct{} // for keep

	keeping sync.Mutex // of keep; taken before mu

	mu      sync.Mutex
	work    sync.Cond // something to commit, to read, or the end
	settled sync.Cond // pending has shrunk, or an attempt failed
	room    func()
	taker   *Taker // the present one
	isFull  bool   // as was last seen
	closed  bool   // no Put any more
	stop    bool   // no work any more
	hurry   bool   // an attempt that fails is the last

	pending      []waiting // in order; the first committing of them are being written
	pendingSum   amount
	committing   int
	failing      error // of the last attempt
	attempts     int   // that failed, in a row
	failedRounds uint64

	segments  []*segment // by their first record
	diskSize  int64      // sum of the segments' bytes
	emptySize int64      // of a segment without records
	rotate    bool       // the committer is to begin a new segment
	number    uint64     // of the next segment
	end       pos        // of what is durable
	active    *segment   // the one being written, last of segments; nil: none
	sources   sources    // the committer's

	reader   reader // the reader's
	loaded   []loaded
	loadSize int
	returned []loaded
	taken    pos // behind what was taken

	at      pos // finished up to here
	base    tally
	sum     ack.Tally // since the start
	saved   pos
	noted   pos // written, and perhaps not durable
	cursorF File
	turn    uint64
	salt    uint32

	stats diskCounters
	said  map[string]time.Time
}

type amount struct{ parts, records, bytes int }

// waiting is a Part that was put and is not durable.
type waiting struct {
	part record.Part
	size int
	at   time.Time
}

// loaded is a Part that was read and not taken.
type loaded struct {
	part  record.Part
	size  int
	bytes int // in memory
	wall  int64
	clock int64
	at    pos // behind it
}

// OpenDisk opens the buffer in a directory and recovers what it has: it reads the
// last segment, not the whole log. The error is an ErrLocked if another process
// has it, and an ErrVersion if a later version of the program wrote it; nothing
// is changed then. Call Shut in the end.
func OpenDisk(c DiskConfig) (*Disk, error) {
	if c.FS == nil {
		fs, err := newDirFS(c.Dir)
		if err != nil {
			return nil, err
		}
		c.FS = fs
	}
	if c.Memory <= 0 {
		c.Memory = 8 << 20
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	d := &Disk{c: c, fs: c.FS, log: c.Logger, stopped: make(chan struct{}), wakeup: make(chan struct{}, 1), said: make(map[string]time.Time)}
	d.work.L, d.settled.L = &d.mu, &d.mu
	d.taker, d.release = newTaker(d), d.pool.Put
	lock, err := d.fs.Lock("lock")
	if err != nil {
		return nil, err
	}
	d.lock = lock
	d.opened = time.Now()
	if err := d.recover(); err != nil {
		d.closeFiles()
		lock.Close()
		return nil, fmt.Errorf("buffer %s: %w", c.Dir, err)
	}
	d.isFull = d.full()
	d.done.Add(3)
	go d.commitLoop()
	go d.readLoop()
	go d.keepLoop()
	return d, nil
}

// SetPlain changes whether what is written from now on is compressed.
func (d *Disk) SetPlain(plain bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.c.Plain = plain
}

// clock is the buffer's own: nanoseconds in which it was open.
func (d *Disk) clock() int64 { return d.clock0 + int64(time.Since(d.opened)) }

// SetLimits changes what DiskConfig said.
func (d *Disk) SetLimits(maxBytes int64, maxAge time.Duration, memory int) {
	d.mu.Lock()
	d.c.MaxBytes, d.c.MaxAge = maxBytes, maxAge
	if memory > 0 {
		d.c.Memory = memory
	}
	tell := d.update()
	d.work.Broadcast()
	d.mu.Unlock()
	d.announce(tell)
}

func (d *Disk) segmentBytes() int64 {
	if d.c.SegmentBytes > 0 {
		return d.c.SegmentBytes
	}
	return min(max(d.c.MaxBytes/32, 1<<20), 64<<20)
}

// OnRoom sets the function that is called whenever a buffer that was Full has
// room again, and when it is closed. It is called without any lock of the buffer
// held; it must not block. Call OnRoom before the buffer is shared.
func (d *Disk) OnRoom(room func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = room
}

// Put takes over p; it never blocks. It reports false, and leaves p to the caller,
// when the buffer is closed, and only then.
func (d *Disk) Put(p record.Part) bool {
	size := p.Size()
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return false
	}
	d.pending = append(d.pending, waiting{p, size, d.c.Now()})
	d.pendingSum.parts++
	d.pendingSum.records += p.Len()
	d.pendingSum.bytes += size
	tell := d.update()
	d.work.Broadcast()
	d.mu.Unlock()
	d.announce(tell)
	return true
}

// Full reports whether no further Part should be made.
func (d *Disk) Full() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full()
}

func (d *Disk) full() bool {
	return d.failing != nil ||
		d.pendingSum.parts > 0 && d.pendingSum.bytes >= d.c.Memory ||
		d.diskSize+int64(d.pendingSum.bytes) >= d.c.MaxBytes && (d.pendingSum.parts > 0 || d.at.seq < d.end.seq)
}

// Settling reports whether the buffer is Full, if it is, only until what was put is
// durable: the disk works, and has room for it.
func (d *Disk) Settling() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failing == nil && d.diskSize+int64(d.pendingSum.bytes) < d.c.MaxBytes
}

// update notes whether the buffer is full and reports whether there is room
// again. The caller holds mu and passes the answer to announce without it.
func (d *Disk) update() (gotRoom bool) {
	was := d.isFull
	d.isFull = d.full()
	if d.isFull && !was {
		d.wakeKeeper() // what is finished makes room
	}
	return was && !d.isFull
}

func (d *Disk) announce(gotRoom bool) {
	if !gotRoom {
		return
	}
	d.mu.Lock()
	room := d.room
	d.mu.Unlock()
	if room != nil {
		room()
	}
}

// Close refuses every later Put; what is queued can still be taken. Closing twice
// is allowed. See Shut for the end.
func (d *Disk) Close() {
	d.mu.Lock()
	first := !d.closed
	d.closed = true
	room, t := d.room, d.taker
	d.mu.Unlock()
	t.signal()
	if first && room != nil {
		room()
	}
}

// Sync waits until everything that was put is durable. Its error is that of the
// attempt that failed last, or ctx's.
func (d *Disk) Sync(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.settled.Broadcast()
	})
	defer stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	rounds := d.failedRounds
	for len(d.pending) > 0 && ctx.Err() == nil && !d.stop && d.failedRounds == rounds {
		d.settled.Wait()
	}
	switch {
	case len(d.pending) == 0:
		return nil
	case d.failing != nil:
		return d.failing
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return errShut
}

var errShut = errors.New("buffer is shut")

// Shut closes the buffer, makes durable what was put and what is finished, and
// gives the directory up. What cannot be made durable stays open: its input reads
// it again. When ctx ends before, as it may with a disk that hangs, the rest is
// left behind as it is.
func (d *Disk) Shut(ctx context.Context) error {
	d.Close()
	d.mu.Lock()
	d.hurry = true
	if d.stop {
		d.mu.Unlock()
		return nil
	}
	d.stop = true
	close(d.stopped)
	d.work.Broadcast()
	d.settled.Broadcast()
	d.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		d.done.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		return fmt.Errorf("buffer of %s does not stop: %w", d.c.Output, ctx.Err())
	}
	err := d.keep(true)
	d.mu.Lock()
	if n := d.pendingSum.records; n > 0 {
		err = errors.Join(err, fmt.Errorf("%d records are not in the buffer: %w", n, d.failing))
	}
	d.mu.Unlock()
	d.closeFiles()
	return errors.Join(err, d.lock.Close())
}

func (d *Disk) closeFiles() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.active != nil && d.active.f != nil {
		d.active.f.Close()
		d.active.f = nil
	}
	if d.cursorF != nil {
		d.cursorF.Close()
		d.cursorF = nil
	}
	d.reader.close()
}

// every reports whether a message of that kind may be written now. The caller
// holds mu.
func (d *Disk) every(kind string, gap time.Duration) bool {
	now := time.Now()
	if t, ok := d.said[kind]; ok && now.Sub(t) < gap {
		return false
	}
	d.said[kind] = now
	return true
}
