package wire

// Protobuf's encoding, as far as the decoders of pushed requests meet it.
// Offsets are into p, and a negative one says that the bytes cannot be.
// Everything is bounded by the bytes that are there.
// https://protobuf.dev/programming-guides/encoding/

// ProtoType is how the value of a field is written.
type ProtoType uint8

// The types of proto3; it has no groups.
const (
	ProtoVarint  ProtoType = 0
	ProtoFixed64 ProtoType = 1
	ProtoBytes   ProtoType = 2
	ProtoFixed32 ProtoType = 5
)

// Uvarint reads the number at p[i].
func Uvarint(p []byte, i int) (v uint64, next int) {
	if uint(i) < uint(len(p)) && p[i] < 0x80 {
		return uint64(p[i]), i + 1
	}
	return longUvarint(p, i)
}

func longUvarint(p []byte, i int) (v uint64, next int) {
	for sh := uint(0); sh < 70 && uint(i) < uint(len(p)); sh += 7 {
		c := p[i]
		i++
		if sh == 63 && c > 1 {
			return 0, -1
		}
		v |= uint64(c&0x7f) << sh
		if c < 0x80 {
			return v, i
		}
	}
	return 0, -1
}

// ProtoTag reads the number and type of the field at p[i].
func ProtoTag(p []byte, i int) (num int, typ ProtoType, next int) {
	v, next := Uvarint(p, i)
	if next < 0 || v < 8 || v>>3 > 1<<29-1 {
		return 0, 0, -1
	}
	return int(v >> 3), ProtoType(v & 7), next
}

// ProtoLen reads the length at p[i] and returns where the bytes behind it begin
// and end.
func ProtoLen(p []byte, i int) (from, to int) {
	n, from := Uvarint(p, i)
	if from < 0 || n > uint64(len(p)-from) {
		return 0, -1
	}
	return from, from + int(n)
}

// ProtoSkip returns the offset behind the value at p[i] of a field that nobody
// wants. Groups, which proto3 does not have, are refused.
func ProtoSkip(p []byte, i int, typ ProtoType) int {
	switch typ {
	case ProtoVarint:
		_, i = Uvarint(p, i)
		return i
	case ProtoBytes:
		_, to := ProtoLen(p, i)
		return to
	case ProtoFixed64:
		i += 8
	case ProtoFixed32:
		i += 4
	default:
		return -1
	}
	if i > len(p) {
		return -1
	}
	return i
}
