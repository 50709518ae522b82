package buffer

import (
	"github.com/klauspost/compress/s2"

	"github.com/weirlog/weir/record"
)

const (
	// packFrom is the size from which on a payload is compressed: below it a frame
	// costs more than its bytes do.
	packFrom = 8 << 10
	// maxPayload is how large a payload may be that was compressed. A frame has
	// frameBytes of records, or one record that is larger.
	maxPayload = maxFrame
)

// pack compresses the payload p, if it has from bytes or more (never if from is 0), in
// its place with S2 (a block, as in snappy's
// format with S2's extensions), if that saves an eighth. scratch is given back to be
// used again. Writing fresh pages costs more than compressing: several times fewer
// of them are written, and a disk holds several times more.
func pack(p []byte, from int, scratch []byte) (packed int, ok bool, again []byte) {
	if from <= 0 || len(p) < from {
		return 0, false, scratch
	}
	if n := s2.MaxEncodedLen(len(p)); cap(scratch) < n {
		scratch = make([]byte, n)
	}
	out := s2.Encode(scratch[:cap(scratch)], p)
	if len(out) > len(p)-len(p)/8 {
		return 0, false, scratch
	}
	return copy(p, out), true, scratch
}

// load reads the payload of fr, which stands at off, into b, an empty batch,
// uncompressed. intact says whether it is what was written; err is one of reading.
func (r *payloads) load(f File, off int64, fr *frame, b *record.Batch) (p []byte, intact bool, err error) {
	if !fr.packed {
		p = b.Reserve(fr.size)
		if err := readFull(f, p, off); err != nil {
			return nil, false, err
		}
		b.Extend(fr.size)
		return p, fr.intact(p), nil
	}
	if cap(r.scratch) < fr.size || cap(r.scratch) > 4*frameBytes {
		r.scratch = make([]byte, fr.size)
	}
	in := r.scratch[:fr.size]
	if err := readFull(f, in, off); err != nil {
		return nil, false, err
	}
	if !fr.intact(in) {
		return nil, false, nil
	}
	p, intact = unpack(in, b)
	return p, intact, nil
}

// unpack puts what pack made of p into b, an empty batch.
func unpack(packed []byte, b *record.Batch) (p []byte, ok bool) {
	n, err := s2.DecodedLen(packed)
	if err != nil || n == 0 || n > maxPayload || n/maxRatio > len(packed) {
		return nil, false
	}
	p = b.Reserve(n)
	if out, err := s2.Decode(p, packed); err != nil || len(out) != n || &out[0] != &p[0] {
		return nil, false
	}
	b.Extend(n)
	return p, true
}

// maxRatio is more than S2 can make of anything (its copies are of 16 MiB at most,
// but repeats of what an encoder makes stay far below).
const maxRatio = 1 << 16

// payloads reads payloads. It is for one goroutine.
type payloads struct{ scratch []byte }
