package wire

import (
	"encoding/binary"
	"math/bits"

	"github.com/zeebo/xxh3"

	"github.com/weirlog/weir/record"
)

// PushedIDs gives records that were pushed their ids. It is for one goroutine at
// a time; the zero PushedIDs is ready.
type PushedIDs struct {
	seen   []seenID // a hash table, of a power of two
	round  uint64
	tenant []byte
}

// seenID is an id of the round and how often it was seen.
type seenID struct {
	id       record.ID
	n, round uint64
}

// again returns how often the id was seen in this round before.
func (p *PushedIDs) again(id record.ID) uint64 {
	mask := uint64(len(p.seen) - 1)
	for i := id.Lo & mask; ; i = (i + 1) & mask {
		s := &p.seen[i]
		if s.round != p.round {
			*s = seenID{id, 1, p.round}
			return 0
		}
		if s.id == id {
			s.n++
			return s.n - 1
		}
	}
}

// Set gives every record of one request its id. A sender's own id stays as it is
// without a tenant; with one it is
//
//	XXH3-128(id.Hi ‖ id.Lo, seed = XXH3-64(tenant))
//
// so that no tenant can take the place of another's records. A record without an
// id that carries its own time gets
//
//	a  = XXH3-128(hash of the stream ‖ time, seed = XXH3-64(tenant), 0 without)
//	s  = XXH3-128(body, seed = low half of a)
//	id = {s.Hi ^ a.Hi, s.Lo}
//
// and the n-th further one of a request that would have the same, n ≥ 1, instead
//
//	XXH3-128(id.Hi ‖ id.Lo ‖ n)
//
// with all integers of 64 bits in big-endian order. So a request that is sent
// again as it was is recognised. Records whose time is now, which is when the
// request came, have none of their own and get no id, nor do those that are known
// by where they were read (StreamRef.Generation). Set comes before anything that
// changes bodies or streams.
//
// The formula is part of the format of every destination that keeps ids: it must
// never change. docs/formats/ids.md has test vectors.
func (p *PushedIDs) Set(b *record.Batch, tenant string, now int64) {
	var seed uint64
	if tenant != "" {
		p.tenant = append(p.tenant[:0], tenant...)
		seed = xxh3.Hash(p.tenant)
	}
	recs, streams := b.Records(), b.Streams()
	if need := 2 * len(recs); len(p.seen) < need {
		p.seen = make([]seenID, 1<<bits.Len(uint(need)))
	}
	p.round++
	defer func() {
		if len(p.seen) > maxSeen {
			p.seen = nil // one large request must not be paid for ever after
		}
	}()
	var head [24]byte
	for i := range recs {
		r := &recs[i]
		if id, ok := b.SenderID(i); ok {
			if seed != 0 {
				binary.BigEndian.PutUint64(head[0:], id.Hi)
				binary.BigEndian.PutUint64(head[8:], id.Lo)
				h := xxh3.Hash128Seed(head[:16], seed)
				b.SetID(i, record.ID{Hi: h.Hi, Lo: h.Lo})
			}
			continue
		}
		if r.Time == now || r.Time == 0 || !streams[r.Stream].Generation.IsZero() {
			continue
		}
		// Body and head are hashed apart, so that nothing is copied.
		binary.BigEndian.PutUint64(head[0:], streams[r.Stream].Stream.Hash())
		binary.BigEndian.PutUint64(head[8:], uint64(r.Time))
		a := xxh3.Hash128Seed(head[:16], seed)
		s := xxh3.Hash128Seed(b.Bytes(r.Body), a.Lo)
		id := record.ID{Hi: s.Hi ^ a.Hi, Lo: s.Lo}
		if n := p.again(id); n > 0 {
			binary.BigEndian.PutUint64(head[0:], id.Hi)
			binary.BigEndian.PutUint64(head[8:], id.Lo)
			binary.BigEndian.PutUint64(head[16:], n)
			h := xxh3.Hash128(head[:])
			id = record.ID{Hi: h.Hi, Lo: h.Lo}
		}
		b.SetID(i, id)
	}
}

// maxSeen is how many ids are room for in what is kept from request to request.
const maxSeen = 1 << 14
