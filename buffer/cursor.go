package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/weirlog/weir/ack"
)

// The cursor says up to where everything is finished and what became of it. Its
// file has two places that are written in turn, in the room that the file has had
// from the beginning: a full disk is drained although nothing can be added to it.
const (
	cursorName  = "cursor"
	cursorMagic = "WEIRCUR\n"
	cursorSlot  = 4096
)

// pos is a place in the log, between two records.
type pos struct {
	seq          uint64 // of the record behind it
	parts, sizes uint64 // of the frames before it
	segment      uint64 // where to go on reading; a hint
	off          int64
}

// tally is what became of records, by ack.Status.
type tally [ack.NumStatus]uint64

func (t *tally) ended() (n uint64) {
	for s, k := range t {
		if ack.Status(s) != ack.Open {
			n += k
		}
	}
	return n
}

type cursor struct {
	turn  uint64 // rises with every save
	at    pos
	end   pos   // what was durable
	clock int64 // the buffer's, ns
	salt  uint32
	tally tally
}

// appendState appends what cursor and snapshot have in common.
func (c *cursor) appendState(dst []byte) []byte {
	for _, v := range [...]uint64{c.turn, c.at.seq, c.at.parts, c.at.sizes, c.at.segment, uint64(c.at.off), c.end.seq, c.end.parts, c.end.sizes, uint64(c.clock)} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	dst = binary.LittleEndian.AppendUint32(dst, c.salt)
	// By name: numbers of statuses may change.
	n := 0
	for _, k := range c.tally {
		if k > 0 {
			n++
		}
	}
	dst = append(dst, byte(n))
	for s, k := range c.tally {
		if k > 0 {
			dst = appendString(appendString(dst, ack.Status(s).Class()), ack.Status(s).Reason())
			dst = binary.LittleEndian.AppendUint64(dst, k)
		}
	}
	return dst
}

func (c *cursor) parseState(p []byte) (rest []byte, ok bool) {
	if len(p) < 85 {
		return nil, false
	}
	for _, v := range [...]*uint64{&c.turn, &c.at.seq, &c.at.parts, &c.at.sizes, &c.at.segment} {
		*v, p = binary.LittleEndian.Uint64(p), p[8:]
	}
	c.at.off, p = int64(binary.LittleEndian.Uint64(p)), p[8:]
	for _, v := range [...]*uint64{&c.end.seq, &c.end.parts, &c.end.sizes} {
		*v, p = binary.LittleEndian.Uint64(p), p[8:]
	}
	c.clock, p = int64(binary.LittleEndian.Uint64(p)), p[8:]
	c.salt, p = binary.LittleEndian.Uint32(p), p[4:]
	n := int(p[0])
	p = p[1:]
	for range n {
		class, rest, ok := cutBytes(p)
		if !ok {
			return nil, false
		}
		reason, rest, ok := cutBytes(rest)
		if !ok || len(rest) < 8 {
			return nil, false
		}
		// A status that only a later version knows counts as dropped: the sum
		// stays right.
		s, known := ack.ParseStatus(string(class), string(reason))
		if !known {
			s = ack.DroppedDamaged
		}
		c.tally[s] += binary.LittleEndian.Uint64(rest)
		p = rest[8:]
	}
	return p, true
}

func (c *cursor) append(dst []byte) []byte {
	n := len(dst)
	dst = append(dst, cursorMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	dst = binary.LittleEndian.AppendUint32(dst, 0) // length
	dst = c.appendState(dst)
	binary.LittleEndian.PutUint32(dst[n+12:], uint32(len(dst)-n))
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[n:], castagnoli))
}

func (c *cursor) parse(p []byte) error {
	if len(p) < 20 || string(p[:8]) != cursorMagic {
		return errHeader
	}
	n := binary.LittleEndian.Uint32(p[12:])
	if n < 16 || int64(n) > int64(len(p)-4) || binary.LittleEndian.Uint32(p[n:]) != crc32.Checksum(p[:n], castagnoli) {
		return errHeader
	}
	if v := binary.LittleEndian.Uint32(p[8:]); v != version {
		return fmt.Errorf("version %d, this program knows %d: %w", v, version, ErrVersion)
	}
	if rest, ok := c.parseState(p[16:n]); !ok || len(rest) != 0 {
		return errHeader
	}
	return nil
}

// readCursor returns the newest cursor of the file, and false if there is none
// that is intact.
func readCursor(f File) (c cursor, found bool, err error) {
	var slot [cursorSlot]byte
	for i := range int64(2) {
		clear(slot[:])
		n, err := f.ReadAt(slot[:], i*cursorSlot)
		if n == 0 && err != nil {
			continue // short, or not readable: as if damaged
		}
		var one cursor
		switch err := one.parse(slot[:]); {
		case errors.Is(err, ErrVersion):
			return c, false, err
		case err == nil && (!found || one.turn > c.turn):
			c, found = one, true
		}
	}
	return c, found, nil
}
