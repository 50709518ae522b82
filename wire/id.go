package wire

import (
	"encoding/binary"

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

// hexPairs holds the two digits of every byte.
var hexPairs = func() (t [256][2]byte) {
	const digits = "0123456789abcdef"
	for i := range t {
		t[i] = [2]byte{digits[i>>4], digits[i&15]}
	}
	return t
}()

// AppendID appends the 32 lower-case hexadecimal digits of the id: what
// id.AppendText appends, faster.
func AppendID(dst []byte, id record.ID) []byte {
	var buf [32]byte
	for i := range 8 {
		sh := uint(56 - 8*i)
		p := hexPairs[byte(id.Hi>>sh)]
		buf[2*i], buf[2*i+1] = p[0], p[1]
		p = hexPairs[byte(id.Lo>>sh)]
		buf[16+2*i], buf[17+2*i] = p[0], p[1]
	}
	return append(dst, buf[:]...)
}
