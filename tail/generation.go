package tail

import (
	"bytes"
	"container/list"
	"encoding/binary"
	"time"

	"github.com/weirlog/weir/record"
	"github.com/zeebo/xxh3"
)

const (
	headMax   = 1024 // of the first line, what goes into a key
	anchorMax = 64   // of the bytes before a position, what proves it
)

// anchor proves that a file is the one a position belongs to: a hash of the
// last n bytes before off.
type anchor struct {
	off  int64
	n    int
	hash uint64
}

// generation is one life of one log file.
type generation struct {
	key  record.ID // zero until the head is known
	base record.ID // the key without ordinal
	ord  int       // how many earlier generations of the chain have the same base
	head int       // length of the head

	size   int64 // uncompressed, as last seen
	pos    int64 // next byte to read
	read   int64 // highest pos so far: bytes that count as read
	acked  int64 // bytes finished everywhere
	until  int64 // acked when the process started
	lost   int64 // bytes given up, at the end
	origin int64 // bytes at the beginning that were never meant to be read

	punched int64 // up to where its space was given back, by this process

	// The file it was last seen as, "" when it has no name any more.
	name  string
	gz    bool
	dev   uint64
	ino   uint64
	mtime int64
	fsize int64 // size of that file, compressed if gz

	fd  int // -1: not open
	z   *gzStream
	lru *list.Element

	tail  [anchorMax]byte // the last ntail bytes before pos, at the end
	ntail int
	proof anchor // at acked

	looked     int64 // size up to which no end of a line was found
	want       int   // how much to read at once
	grown      time.Time
	superseded time.Time // since when a newer generation is known
	eof        bool      // of a gz file: everything was read
	guess      bool      // size is only what the gz file's end says
	sealed     bool      // everything was read and nothing more is expected
	missing    int       // scans in a row that did not find it
	deleted    time.Time // since when it has no name
	truncated  bool      // the file lives on as another generation
	linked     bool      // it has a name in the hold directory
	linkGz     bool      // and is compressed there
	retry      time.Time // not before, after an error
	backoff    time.Duration
	restored   bool // from the checkpoint and not found yet
	newest     bool // the chain's newest when a process stopped, and not found since
	told       bool // the unknown that follows it has its gap already
	found      bool // in this scan
}

func newGeneration() *generation { return &generation{fd: -1} }

// headOf returns what of a file's first bytes goes into its key; known says
// that more bytes would not change it.
func headOf(p []byte) (head []byte, known bool) {
	p = p[:min(len(p), headMax)]
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		return p[:i+1], true
	}
	return p, len(p) == headMax
}

// baseKey is the key of a generation with that head, but for the ordinal.
func baseKey(identity string, head []byte) record.ID {
	var h xxh3.Hasher128
	h.WriteString(identity)
	h.Write([]byte{0})
	h.Write(head)
	return toID(h.Sum128())
}

// ordinalKey makes keys differ where heads are equal.
func ordinalKey(base record.ID, ord int) record.ID {
	if ord == 0 {
		return base
	}
	var b [24]byte
	binary.LittleEndian.PutUint64(b[:], base.Hi)
	binary.LittleEndian.PutUint64(b[8:], base.Lo)
	binary.LittleEndian.PutUint64(b[16:], uint64(ord))
	return toID(xxh3.Hash128(b[:]))
}

func toID(u xxh3.Uint128) record.ID { return record.ID{Hi: u.Hi, Lo: u.Lo} }

// setTail remembers the end of p, the bytes before g.pos.
func (g *generation) setTail(p []byte) {
	p = p[max(0, len(p)-anchorMax):]
	if keep := anchorMax - len(p); keep > 0 {
		copy(g.tail[:keep], g.tail[anchorMax-keep:])
	}
	copy(g.tail[anchorMax-len(p):], p)
	g.ntail = min(anchorMax, g.ntail+len(p))
}

func (g *generation) tailBytes() []byte { return g.tail[anchorMax-g.ntail:] }

// here returns the anchor of the present position.
func (g *generation) here() anchor {
	return anchor{g.pos, g.ntail, xxh3.Hash(g.tailBytes())}
}

// finished reports whether there is nothing to read any more, as far as known.
func (g *generation) finished() bool { return g.pos >= g.size-g.lost && (!g.gz || g.eof || g.sealed) }

// onDisk reports whether the file can be opened again by a name.
func (g *generation) onDisk() bool { return g.name != "" || g.linked }

// readRaw reads uncompressed bytes at off through whichever handle is open.
func (in *Input) readRaw(g *generation, p []byte, off int64) (int, error) {
	if g.z != nil {
		return g.z.readAt(p, off)
	}
	return in.sys.preadFull(g.fd, p, off)
}

// check reports whether the open file of g holds what g has read: the same
// head, and the same bytes before a.
func (in *Input) check(g *generation, identity string, a anchor) (bool, error) {
	if g.head > 0 {
		var b [headMax]byte
		n, err := in.readRaw(g, b[:g.head], 0)
		if err != nil && n < g.head {
			return false, err
		}
		if n < g.head || baseKey(identity, b[:n]) != g.base {
			return false, nil
		}
	}
	if a.n > 0 {
		var b [anchorMax]byte
		n, err := in.readRaw(g, b[:a.n], a.off-int64(a.n))
		if err != nil && n < a.n {
			return false, err
		}
		return n == a.n && xxh3.Hash(b[:n]) == a.hash, nil
	}
	return true, nil
}

// loadTail fills g.tail for a position that was not reached by reading.
func (in *Input) loadTail(g *generation) error {
	n := int(min(g.pos, anchorMax))
	g.ntail = 0
	if n == 0 {
		return nil
	}
	var b [anchorMax]byte
	m, err := in.readRaw(g, b[:n], g.pos-int64(n))
	if m < n {
		return err
	}
	g.setTail(b[:n])
	return nil
}
