package wire

import (
	"encoding/binary"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/record"
)

// RecordID returns the id of record i: the sender's if it gave one, else one
// made of where the record was read and the bytes that stood there, else the
// zero ID, which means that the record has none and is delivered at least
// once.
//
// With all integers of 64 bits in big-endian order:
//
//	a  = XXH3-128(generation.Hi ‖ generation.Lo ‖ start ‖ end)
//	s  = XXH3-128(source bytes, seed = low half of a)
//	id = {s.Hi ^ a.Hi, s.Lo}
//
// docs/formats/ids.md has test vectors. The formula is part of the format of
// every destination that keeps ids: it must never change.
func RecordID(b *record.Batch, i int) record.ID {
	if id, ok := b.SenderID(i); ok {
		return id
	}
	r := b.Record(i)
	gen := b.Streams()[r.Stream].Generation
	if gen.IsZero() {
		return record.ID{}
	}
	return SourceID(gen, r.Start, r.End, b.Bytes(r.Source))
}

// SourceID is the formula of RecordID for a record read from a file: the
// generation's key, the uncompressed byte offsets of the record in it, and its
// bytes as they were read, after joining partial lines.
func SourceID(gen record.ID, start, end int64, source []byte) record.ID {
	var at [32]byte
	binary.BigEndian.PutUint64(at[0:], gen.Hi)
	binary.BigEndian.PutUint64(at[8:], gen.Lo)
	binary.BigEndian.PutUint64(at[16:], uint64(start))
	binary.BigEndian.PutUint64(at[24:], uint64(end))
	a := xxh3.Hash128(at[:])
	s := xxh3.Hash128Seed(source, a.Lo)
	return record.ID{Hi: s.Hi ^ a.Hi, Lo: s.Lo}
}

// AppendID appends the 32 lower-case hexadecimal digits of the id: what
// id.AppendText appends, faster.
func AppendID(dst []byte, id record.ID) []byte {
	n := len(dst)
	dst = slices.Grow(dst, 32)[:n+32]
	b := (*[32]byte)(dst[n:])
	binary.BigEndian.PutUint64(b[0:], hex8(id.Hi>>32))
	binary.BigEndian.PutUint64(b[8:], hex8(id.Hi&(1<<32-1)))
	binary.BigEndian.PutUint64(b[16:], hex8(id.Lo>>32))
	binary.BigEndian.PutUint64(b[24:], hex8(id.Lo&(1<<32-1)))
	return dst
}

// hex8 returns the eight hexadecimal digits of x, below 1<<32, the first in
// the highest byte: halves move apart until each digit has a byte.
func hex8(x uint64) uint64 {
	x = (x | x<<16) & 0x0000ffff0000ffff
	x = (x | x<<8) & 0x00ff00ff00ff00ff
	x = (x | x<<4) & 0x0f0f0f0f0f0f0f0f
	const ones = 0x0101010101010101
	letters := (x + 6*ones) >> 4 & ones // 1 for a to f
	return x + '0'*ones + letters*('a'-10-'0')
}
