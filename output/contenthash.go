package output

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

// contentHash is a hash of the ids and times of the records of parts, in their
// order; of a record without an id also its stream and text count. It names a
// request by what is in it: the same records sent again have the same, in
// another process too.
func contentHash(parts []record.Part) record.ID {
	h := xxh3.New()
	var buf [24]byte
	for _, p := range parts {
		b := p.Batch()
		for _, i := range p.Index() {
			r := b.Record(int(i))
			id := wire.RecordID(b, int(i))
			binary.BigEndian.PutUint64(buf[0:], id.Hi)
			binary.BigEndian.PutUint64(buf[8:], id.Lo)
			binary.BigEndian.PutUint64(buf[16:], uint64(r.Time))
			_, _ = h.Write(buf[:]) // a hash takes everything
			if id.IsZero() {
				binary.BigEndian.PutUint64(buf[0:], b.Stream(int(i)).Hash())
				binary.BigEndian.PutUint64(buf[8:], uint64(r.Body.Len))
				_, _ = h.Write(buf[:16])
				_, _ = h.Write(b.Bytes(r.Body))
			}
		}
	}
	sum := h.Sum128()
	return record.ID{Hi: sum.Hi, Lo: sum.Lo}
}
