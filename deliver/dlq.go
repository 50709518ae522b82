package deliver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/weirlog/weir/record"
)

// WhenFull says what happens to dead letters for which there is no room.
type WhenFull uint8

const (
	// Wait keeps the records open until there is room.
	Wait WhenFull = iota
	// Drop lets them be dropped and counted.
	Drop
)

// DLQConfig configures DeadLetters. Dir and Output are required.
type DLQConfig struct {
	// Dir holds a directory of dead letters for each output.
	Dir string
	// Output is the name of the output.
	Output string
	// Max bounds the bytes on disk. Default 1 GiB.
	Max int64
	// WhenFull applies when Max is reached or the disk is full.
	WhenFull WhenFull
	// SegmentBytes is the size at which a new file is begun. Default 16 MiB.
	SegmentBytes int64
	// ID returns a record's id, such as wire.RecordID. Without it only ids
	// that came with the record are kept.
	ID func(b *record.Batch, i int) record.ID
	// ReadOnly is for looking only: nothing is made, Bury and Replay fail.
	ReadOnly bool
	// Logger may be nil.
	Logger *slog.Logger

	dir dir // tests: the directory
}

// DeadLetters keeps the records that one output could not deliver, on disk.
// Several processes may use the same directory: one or more that bury and one
// that replays. docs/formats/dead-letters.md describes the files and how the
// processes agree. Safe for concurrent use.
type DeadLetters struct {
	c   DLQConfig
	dir dir // nil: read-only and there is none

	mu     sync.Mutex
	active file // the segment being written, nil if there is none
	name   string
	size   int64
	salt   salt
	fresh  bool  // the active segment's name is not durable yet
	bytes  int64 // of all segments when last looked, plus what was written since
	next   uint64
}

// OpenDeadLetters opens the dead letters of an output and closes the segments
// that a crash left open.
func OpenDeadLetters(c DLQConfig) (*DeadLetters, error) {
	if c.Dir == "" && c.dir == nil || c.Output == "" {
		return nil, errors.New("deliver: dead letters need Dir and Output")
	}
	if c.Max < 0 || c.SegmentBytes < 0 {
		return nil, fmt.Errorf("dead letters of output %s: negative size", c.Output)
	}
	def(&c.Max, 1<<30)
	def(&c.SegmentBytes, 16<<20)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	d := &DeadLetters{c: c, dir: c.dir, next: 1}
	if d.dir == nil {
		path := filepath.Join(c.Dir, escapeName(c.Output))
		var err error
		d.dir, err = openDir(path, !c.ReadOnly)
		if c.ReadOnly && errors.Is(err, fs.ErrNotExist) {
			return d, nil
		}
		if err != nil {
			return nil, fmt.Errorf("open dead letters %s: %w", path, err)
		}
	}
	if c.ReadOnly {
		return d, nil
	}
	all, err := d.dir.List()
	if err != nil {
		d.dir.Close()
		return nil, fmt.Errorf("list dead letters of output %s: %w", c.Output, err)
	}
	for _, s := range all {
		d.bytes += s.size
		d.next = max(d.next, s.seq+1)
		if s.suffix != openSuffix {
			continue
		}
		// Whatever goes wrong here goes wrong again, visibly, in a replay.
		if err := d.seal(s.name, false); err != nil {
			c.Logger.Warn("dead letters left by another process cannot be closed", "output", c.Output, "segment", s.name, "error", err)
		}
	}
	return d, nil
}

// DeadLetterOutputs returns the names of the outputs that have a directory of
// dead letters in dir. There being no dir is not an error.
func DeadLetterOutputs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list outputs with dead letters: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := unescapeName(e.Name()); ok && e.IsDir() {
			names = append(names, name)
		}
	}
	return names, nil
}

// Bury implements Burier: one write and one fsync for all records of dead.
func (d *DeadLetters) Bury(ctx context.Context, dead []Dead) error {
	if d.c.ReadOnly {
		return errors.New("dead letters are open for reading only")
	}
	var payloads []byte
	var ends []int
	now := time.Now()
	for k := range dead {
		for n := range dead[k].Part.Index() {
			l := letterOf(&dead[k], n, d.c.Output, now, d.c.ID)
			payloads = appendLetter(payloads, &l)
			ends = append(ends, len(payloads))
		}
	}
	if len(ends) == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	need := int64(len(payloads) + frameHead*len(ends))
	if err := d.roomFor(need); err != nil {
		return err
	}
	err := d.write(payloads, ends, need)
	if err != nil && d.active == nil {
		// The segment is poisoned. What it was to hold goes to a new one:
		// after a failed fsync a second one on the same file proves nothing.
		err = d.write(payloads, ends, need)
	}
	if err != nil && d.c.WhenFull == Drop && isFull(err) {
		return fmt.Errorf("output %s: %w: %w", d.c.Output, ErrDropped, err)
	}
	return err
}

// roomFor returns an error unless need more bytes may be written. As with every
// queue of weir, an empty one takes a single thing of any size.
func (d *DeadLetters) roomFor(need int64) error {
	if d.bytes == 0 || d.bytes+need <= d.c.Max {
		return nil
	}
	// A replay may have made room.
	bytes, err := d.usage()
	if err != nil {
		return fmt.Errorf("output %s: size of dead letters: %w", d.c.Output, err)
	}
	d.bytes = bytes
	if d.bytes == 0 || d.bytes+need <= d.c.Max {
		return nil
	}
	if d.c.WhenFull == Drop {
		return fmt.Errorf("output %s: %w", d.c.Output, ErrDropped)
	}
	return fmt.Errorf("output %s: dead letters are full (%d of %d bytes): replay or remove them (weir dlq)", d.c.Output, d.bytes, d.c.Max)
}

// write appends the frames to the active segment and makes them durable. After
// an error either nothing of them counts, or the segment is given up and
// d.active is nil.
func (d *DeadLetters) write(payloads []byte, ends []int, need int64) error {
	if err := d.ensureActive(need); err != nil {
		return fmt.Errorf("output %s: dead letters: %w", d.c.Output, err)
	}
	defer func() {
		if d.active != nil {
			d.active.Unlock()
		}
	}()
	var buf []byte
	if d.size == 0 {
		d.salt = newSalt()
		buf = appendHeader(make([]byte, 0, headerLen+int(need)), d.salt)
	} else {
		buf = make([]byte, 0, need)
	}
	at := 0
	for _, end := range ends {
		buf = appendFrame(buf, d.salt, payloads[at:end])
		at = end
	}
	if _, err := d.active.Write(buf); err != nil {
		if terr := d.active.Truncate(d.size); terr != nil {
			d.abandon()
		}
		return fmt.Errorf("output %s: write dead letters %s: %w", d.c.Output, d.name, err)
	}
	err := d.active.Sync()
	if err == nil && d.fresh {
		err = d.dir.Sync()
	}
	if err != nil {
		name := d.name
		d.active.Truncate(d.size) // if it works, nothing is there twice
		d.abandon()
		return fmt.Errorf("output %s: sync dead letters %s: %w", d.c.Output, name, err)
	}
	d.fresh = false
	d.size += int64(len(buf))
	d.bytes += int64(len(buf))
	return nil
}

// ensureActive sees to it that there is a locked segment for need more bytes.
func (d *DeadLetters) ensureActive(need int64) error {
	if d.active != nil && d.size > 0 && d.size+need > d.c.SegmentBytes {
		name := d.name
		if err := d.closeActive(); err != nil {
			// It stays as it is until a replay or the next start closes it.
			d.c.Logger.Warn("segment of dead letters cannot be closed", "output", d.c.Output, "segment", name, "error", err)
		}
	}
	if d.active != nil {
		if err := d.active.Lock(); err != nil {
			return fmt.Errorf("lock %s: %w", d.name, err)
		}
		if d.active.Is(d.name) {
			return nil
		}
		d.abandon() // a replay has closed the segment
	}
	for {
		name := segmentName(d.next, openSuffix)
		f, err := d.dir.Create(name)
		if errors.Is(err, fs.ErrExist) {
			d.next++
			continue
		}
		if err != nil {
			return fmt.Errorf("create %s: %w", name, err)
		}
		d.next++
		if err := f.Lock(); err != nil {
			f.Close()
			return fmt.Errorf("lock %s: %w", name, err)
		}
		if !f.Is(name) { // closed by a replay before it was locked
			f.Close()
			continue
		}
		d.active, d.name, d.size, d.fresh = f, name, 0, true
		return nil
	}
}

// abandon gives the active segment up. A replay closes it.
func (d *DeadLetters) abandon() {
	d.active.Close()
	d.active, d.name, d.size = nil, "", 0
}

// closeActive renames the active segment to its final name. It cannot be
// locked when it is called.
func (d *DeadLetters) closeActive() error {
	name := d.name
	d.abandon()
	return d.seal(name, true)
}

// seal turns an open segment into a closed one: a torn end is cut off. With
// wait unset it leaves a segment alone that is being written to.
func (d *DeadLetters) seal(name string, wait bool) error {
	f, err := d.dir.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // closed by somebody else
	}
	if err != nil {
		return fmt.Errorf("close segment %s: %w", name, err)
	}
	defer f.Close()
	if wait {
		err = f.Lock()
	} else if ok, lerr := f.TryLock(); !ok {
		if lerr == nil {
			return nil
		}
		err = lerr
	}
	if err != nil {
		return fmt.Errorf("lock segment %s: %w", name, err)
	}
	if !f.Is(name) {
		return nil
	}
	data, err := d.dir.Read(name)
	if err != nil {
		return fmt.Errorf("read segment %s: %w", name, err)
	}
	end, damage, _ := scanSegment(data, func(int, []byte) error { return nil })
	if end <= headerLen && damage.Segments == 0 {
		if err := d.dir.Remove(name); err != nil {
			return fmt.Errorf("remove empty segment %s: %w", name, err)
		}
		return d.dir.Sync()
	}
	if damage.Torn > 0 {
		d.c.Logger.Info("torn end of dead letters cut off", "output", d.c.Output, "segment", name, "bytes", damage.Torn)
		if err := f.Truncate(int64(end)); err != nil {
			return fmt.Errorf("cut segment %s: %w", name, err)
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("sync segment %s: %w", name, err)
		}
	}
	seq, _, _ := parseSegmentName(name)
	if err := d.dir.Rename(name, segmentName(seq, closedSuffix)); err != nil {
		return fmt.Errorf("close segment %s: %w", name, err)
	}
	return d.dir.Sync()
}

func (d *DeadLetters) usage() (bytes int64, err error) {
	if d.dir == nil {
		return 0, nil
	}
	all, err := d.dir.List()
	for _, s := range all {
		bytes += s.size
	}
	return bytes, err
}

// Usage returns the bytes on disk and their limit.
func (d *DeadLetters) Usage() (bytes, limit int64, err error) {
	bytes, err = d.usage()
	return bytes, d.c.Max, err
}

// Close closes the segment being written. Nothing is lost without it.
func (d *DeadLetters) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dir == nil {
		return nil
	}
	var err error
	if d.active != nil {
		err = d.closeActive()
	}
	return errors.Join(err, d.dir.Close())
}
