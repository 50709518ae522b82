package buffer

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// found is a segment's file as it is on the disk.
type found struct {
	segment
	header header
	intact bool // the header
}

// recover finds out what the log has. It changes nothing but to remove files that
// nobody needs, so that it may be interrupted and done again.
func (d *Disk) recover() error {
	var c cursor
	have := false
	f, err := d.fs.Open(cursorName, true)
	switch {
	case err == nil:
		if c, have, err = readCursor(f); err != nil {
			f.Close()
			return fmt.Errorf("%s: %w; update weir, or move the directory away", cursorName, err)
		}
		d.cursorF = f
		if size, err := f.Size(); err == nil && size < 2*cursorSlot {
			f.Close()
			d.cursorF = nil // made anew
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("open %s: %w", cursorName, err)
	}
	files, err := d.list(&c, have)
	if err != nil {
		return err
	}

	d.salt = c.salt
	if d.salt == 0 && len(files) > 0 {
		d.salt = files[0].salt
	}
	for d.salt == 0 {
		d.salt = rand.Uint32()
	}
	for _, x := range files {
		d.segments = append(d.segments, &x.segment)
		d.diskSize += x.size
	}
	end, snap, err := d.lastFrames(files)
	if err != nil {
		return err
	}
	// Segments tell, too, where the cursor was when they began: the cursor's
	// file may be lost, or from an older copy of the directory.
	if snap != nil && (!have || snap.at.seq > c.at.seq) {
		turn := c.turn
		c = *snap
		c.turn = max(turn, c.turn)
		have = true
	}
	if !have && len(files) > 0 {
		c.at = pos{seq: files[0].first, parts: files[0].header.parts, sizes: files[0].header.sizes}
	}
	if c.end.seq > end.seq {
		end = c.end // its records are lost, and will be counted
	}
	if c.at.seq > end.seq {
		end = c.at
	}
	d.at, d.saved, d.taken, d.end, d.base = c.at, c.at, c.at, end, c.tally
	d.end.segment, d.end.off = 0, 0
	d.turn, d.clock0 = c.turn+1, c.clock
	d.reader.seq, d.reader.parts, d.reader.sizes = c.at.seq, c.at.parts, c.at.sizes
	if !have {
		d.saved = pos{seq: ^uint64(0)}
	}
	for i, s := range d.segments {
		limit := d.end.seq
		if i+1 < len(d.segments) {
			limit = d.segments[i+1].first
		}
		if s.number == c.at.segment && s.first <= c.at.seq && c.at.seq <= limit && c.at.off >= headerSize && c.at.off <= s.end {
			d.reader.seg, d.reader.off = s, c.at.off
		}
	}
	d.stats.recovered = d.end.seq - d.at.seq
	return d.removeBehind()
}

// removeBehind removes what the cursor, which is durable, has passed.
func (d *Disk) removeBehind() error {
	for len(d.segments) > 0 {
		s := d.segments[0]
		next := d.end.seq
		if len(d.segments) > 1 {
			next = d.segments[1].first
		}
		if next > d.saved.seq || d.saved.seq == ^uint64(0) || d.reader.seg == s || !slices.ContainsFunc(d.segments[1:], hasSnapshot) {
			break
		}
		if err := d.fs.Remove(s.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.log.Warn("a finished segment of the buffer cannot be removed", "output", d.c.Output, "file", s.name, "error", err)
			break
		}
		d.diskSize -= s.size
		d.segments = d.segments[1:]
	}
	return nil
}

// list returns the segments in the order of their records.
func (d *Disk) list(c *cursor, have bool) ([]*found, error) {
	names, err := d.fs.ReadDir()
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var all, unclear []*found
	salts := []uint32{}
	if have {
		salts = append(salts, c.salt)
	}
	for _, name := range names {
		base := strings.TrimSuffix(name, damagedSuffix)
		number, ok := segmentNumber(base)
		if !ok {
			continue
		}
		d.number = max(d.number, number+1)
		if base != name {
			continue
		}
		x, err := d.inspect(name, number)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		d.number = max(d.number, x.number+1)
		if !x.intact {
			unclear = append(unclear, x)
			continue
		}
		all = append(all, x)
		if !slices.Contains(salts, x.salt) {
			salts = append(salts, x.salt)
		}
	}
	for _, x := range unclear {
		if d.guess(x, salts) {
			all = append(all, x)
			continue
		}
		// Nothing in it can have been acknowledged.
		if err := d.discard(x.name, x.size > 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.log.Warn("a file that is no segment of the buffer cannot be put aside", "output", d.c.Output, "file", x.name, "error", err)
		}
	}
	slices.SortFunc(all, func(a, b *found) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.number, b.number), cmp.Compare(a.name, b.name))
	})
	var files []*found
	for _, x := range all {
		if n := len(files); n > 0 && files[n-1].number == x.number && files[n-1].first == x.first {
			// A copy under another name.
			if err := d.discard(x.name, true); err != nil {
				d.log.Warn("a segment of the buffer that is there twice cannot be put aside", "output", d.c.Output, "file", x.name, "error", err)
			}
			continue
		}
		files = append(files, x)
	}
	return files, nil
}

func segmentNumber(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, ".seg")
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	return n, err == nil
}

// inspect reads a segment's header.
func (d *Disk) inspect(name string, number uint64) (*found, error) {
	x := &found{segment: segment{name: name, number: number}}
	f, err := d.fs.Open(name, false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if x.size, err = f.Size(); err != nil {
		return nil, err
	}
	x.end = x.size
	var p [headerSize]byte
	if x.size < headerSize {
		return x, nil
	}
	if err := readFull(f, p[:], 0); err != nil {
		d.log.Error("the header of a segment of the buffer cannot be read", "output", d.c.Output, "file", name, "error", err)
		return x, nil
	}
	x.header, err = parseHeader(p[:])
	switch {
	case errors.Is(err, ErrVersion):
		return nil, fmt.Errorf("%w; update weir, or move the directory away", err)
	case err != nil:
		return x, nil
	}
	x.intact, x.number, x.first, x.salt = true, x.header.number, x.header.first, x.header.salt
	return x, nil
}

// guess finds out what the damaged header of a segment said.
func (d *Disk) guess(x *found, salts []uint32) bool {
	f, err := d.fs.Open(x.name, false)
	if err != nil {
		return false
	}
	defer f.Close()
	for _, salt := range salts {
		off, err := findFrame(f, min(8, x.size), x.size, salt)
		if err != nil || off == x.size {
			continue
		}
		var p [frameHead]byte
		if readFull(f, p[:], off) != nil {
			continue
		}
		fr, _ := parseFrame(p[:], salt)
		x.first, x.salt, x.damaged = fr.first, salt, true
		d.stats.damagedPlaces++
		d.stats.damagedBytes += headerSize
		return true
	}
	return false
}

// lastFrames reads the last segments from their newest snapshot on: what is
// remembered of sources, and where the log ends.
func (d *Disk) lastFrames(files []*found) (end pos, snap *cursor, err error) {
	if len(files) == 0 {
		return end, nil, nil
	}
	last := files[len(files)-1]
	end = pos{seq: last.first, parts: last.header.parts, sizes: last.header.sizes}
	from := len(files) - 1
	for ; from >= 0; from-- {
		if snap = d.snapshot(files[from]); snap != nil {
			files[from].segment.snapshot = true
			break
		}
		if len(files)-from >= 3 {
			break // what is older was read again long ago
		}
	}
	from = max(from, 0)
	for i := from; i < len(files); i++ {
		limit := ^uint64(0)
		if i+1 < len(files) {
			limit = files[i+1].first
		}
		if err := d.scan(files[i], limit, &end); err != nil {
			return end, snap, fmt.Errorf("%s: %w", files[i].name, err)
		}
	}
	d.sources.settled()
	return end, snap, nil
}

// snapshot reads the frame that a segment begins with into d.sources, and returns
// the cursor in it, nil if it is not intact.
func (d *Disk) snapshot(x *found) *cursor {
	f, err := d.fs.Open(x.name, false)
	if err != nil {
		return nil
	}
	defer f.Close()
	var p [frameHead]byte
	if x.end < headerSize+frameHead || readFull(f, p[:], headerSize) != nil {
		return nil
	}
	fr, ok := parseFrame(p[:], x.salt)
	if !ok || fr.records != 0 || fr.packed || fr.length() > x.end-headerSize {
		return nil
	}
	payload := make([]byte, fr.size)
	if readFull(f, payload, headerSize+frameHead) != nil || !fr.intact(payload) || len(payload) < 4 || binary.LittleEndian.Uint32(payload) != kindSnapshot {
		return nil
	}
	var c cursor
	rest, ok := c.parseState(payload[4:])
	if !ok || !d.sources.parse(rest) {
		return nil
	}
	return &c
}

// scan goes over the frames of a segment: what they have of sources is remembered,
// and end moves behind the last intact one. A segment that nothing follows ends
// there.
func (d *Disk) scan(x *found, limit uint64, end *pos) error {
	f, err := d.fs.Open(x.name, false)
	if err != nil {
		return err
	}
	defer f.Close()
	off, last := int64(headerSize), int64(headerSize)
	if off > x.end {
		off, last = 0, 0
	}
	var head [frameHead]byte
	var dec decoder
	var load payloads
	for off+frameHead <= x.end {
		if err := readFull(f, head[:], off); err != nil {
			break // as if it were damaged; the reader will see
		}
		fr, ok := parseFrame(head[:], x.salt)
		if !ok || fr.length() > x.end-off {
			if off, err = findFrame(f, off+1, x.end, x.salt); err != nil {
				break
			}
			continue
		}
		if fr.first >= limit {
			break
		}
		b := d.pool.Get(d.release)
		p, intact, err := load.load(f, off+frameHead, &fr, b)
		if err != nil || !intact {
			b.Abandon()
			off += fr.length()
			continue
		}
		off += fr.length()
		last = off
		if in, ok := parseInfo(p); ok && fr.records > 0 {
			if fr.next() > end.seq {
				*end = pos{seq: fr.next(), parts: in.parts + 1, sizes: in.sizes + uint64(in.size)}
			}
			if dec.decode(b, 0, fr.records, nil) == nil {
				d.sources.batch()
				for i := range b.Records() {
					d.sources.take(b, i, in.clock)
				}
			}
			d.clock0 = max(d.clock0, in.clock)
		}
		b.Abandon()
	}
	if limit == ^uint64(0) {
		d.stats.tornBytes += uint64(x.end - last)
		x.end = last
	}
	return nil
}

// Inspect returns the state of the buffer of a directory that no process has
// open. It changes nothing.
func Inspect(dir string) (DiskStats, error) {
	d := &Disk{c: DiskConfig{Dir: dir, Logger: slog.New(slog.DiscardHandler)}, fs: readOnly{dirFS{dir}}, said: make(map[string]time.Time)}
	d.release = d.pool.Put
	if err := d.recover(); err != nil {
		return DiskStats{}, err
	}
	defer d.closeFiles()
	return d.Stats(), nil
}

// readOnly is a directory in which nothing is changed.
type readOnly struct{ dirFS }

func (r readOnly) Create(name string) (File, error) {
	return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrPermission}
}
func (r readOnly) Open(name string, _ bool) (File, error) { return r.dirFS.Open(name, false) }
func (r readOnly) Remove(string) error                    { return nil }
func (r readOnly) Rename(string, string) error            { return nil }
