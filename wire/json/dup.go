package json

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"

	"github.com/weirlog/weir/record"
)

// dupCheck finds names that stand twice.
//
// Objects of up to smallObject members are checked as they are scanned: a
// 64-bit set of hash values answers nearly always, and where it does not the
// hashes are compared one by one. Larger ones are checked when the scan is
// over, with a table under a random seed, so that nobody can write an object
// whose check takes quadratic time.
type dupCheck struct {
	seen   uint64              // one bit per hash value
	hashes [smallObject]uint64 // of the names of the first members
	table  []uint16            // open addressing; member index + 1
	seed   maphash.Seed
	seeded bool
	key    []byte // scratch
	other  []byte
}

const smallObject = 32

func (d *dupCheck) reset() {
	d.seen = 0
}

// add notes the hash of the name of the member that comes after ms, and reports
// whether the name may have stood before: then found has to look. In large
// objects it leaves the answer to late.
func (d *dupCheck) add(ms []Member, h uint64) (maybe bool) {
	if len(ms) >= smallObject {
		return false
	}
	d.hashes[len(ms)] = h
	bit := uint64(1) << (h >> 58)
	maybe = d.seen&bit != 0
	d.seen |= bit
	return maybe
}

// found reports whether one of ms has the name with that hash.
func (d *dupCheck) found(p []byte, ms []Member, key record.Span, esc bool, h uint64) bool {
	for j := range ms {
		if d.hashes[j] == h && d.equal(p, ms[j].Key, ms[j].Escaped, key, esc) {
			return true
		}
	}
	return false
}

// equal compares two names of p, given as their spans and whether they hold
// escapes.
func (d *dupCheck) equal(p []byte, a record.Span, aEsc bool, b record.Span, bEsc bool) bool {
	x, y := p[a.Off:a.End()], p[b.Off:b.End()]
	if aEsc {
		d.key = Unescape(d.key[:0], x)
		x = d.key
	}
	if bEsc {
		d.other = Unescape(d.other[:0], y)
		y = d.other
	}
	return bytes.Equal(x, y)
}

// late checks the names of a large object and returns the index of a member
// whose name stood before, -1 if there is none.
func (d *dupCheck) late(p []byte, ms []Member) int {
	if len(ms) <= smallObject {
		return -1
	}
	if !d.seeded {
		d.seed, d.seeded = maphash.MakeSeed(), true
	}
	size := 1 << bits.Len(uint(2*len(ms)-1))
	if cap(d.table) < size {
		d.table = make([]uint16, size)
	}
	d.table = d.table[:size]
	clear(d.table)
	for i := range ms {
		m := &ms[i]
		key := p[m.Key.Off:m.Key.End()]
		if m.Escaped {
			d.key = Unescape(d.key[:0], key)
			key = d.key
		}
		for at := maphash.Bytes(d.seed, key); ; at++ {
			slot := &d.table[at&uint64(size-1)]
			if *slot == 0 {
				*slot = uint16(i + 1)
				break
			}
			if o := &ms[*slot-1]; d.equal(p, o.Key, o.Escaped, m.Key, m.Escaped) {
				return i
			}
		}
	}
	return -1
}

// keyWords is a name as two words: its first eight bytes and, if it is longer
// than that, its last eight. Names of up to sixteen bytes are equal if their
// keyWords are.
type keyWords struct {
	first, last uint64
	n           int
}

func wordsOf(key []byte) keyWords {
	w := keyWords{n: len(key)}
	if len(key) > 8 {
		w.first = binary.LittleEndian.Uint64(key)
		w.last = binary.LittleEndian.Uint64(key[len(key)-8:])
		return w
	}
	for i := len(key) - 1; i >= 0; i-- {
		w.first = w.first<<8 | uint64(key[i])
	}
	return w
}

// hash mixes the words. Its constants were picked so that the well-known names
// fall into different slots; a test holds that.
func (w keyWords) hash() uint64 {
	h := w.first ^ bits.RotateLeft64(w.last, 29) ^ uint64(w.n)*0x9e3779b97f4a7c15
	h *= hashMul
	return h ^ h>>29
}
