package read

import (
	"hash/maphash"

	"github.com/weirlog/weir/show"
)

// maxSeen is how many of the latest lines are remembered, 16 bytes each.
const maxSeen = 1 << 19

// seen remembers the latest lines that were passed on, so that a query over the
// time around a cut gives only what is missing. Remembering is cheap; comparing
// (begin, fresh, end) is for the time after a cut.
type seen struct {
	seed maphash.Seed
	ring []mark
	next int // where the next mark goes when the ring is full

	last *show.Stream // of whose text is the hash
	text uint64

	passed map[uint64]int32 // how often a line was passed on; nil when not comparing
}

type mark struct {
	time int64
	id   uint64
}

func newSeen() *seen { return &seen{seed: maphash.MakeSeed()} }

func (s *seen) id(e *show.Entry) uint64 {
	if e.Stream != s.last {
		s.last, s.text = e.Stream, maphash.String(s.seed, e.Stream.Text)
	}
	return (maphash.String(s.seed, e.Line)*31+s.text)*31 + uint64(e.Time)
}

// add remembers a line that is passed on.
func (s *seen) add(e *show.Entry) { s.note(mark{e.Time, s.id(e)}) }

func (s *seen) note(k mark) {
	if len(s.ring) < maxSeen {
		s.ring = append(s.ring, k)
		return
	}
	s.ring[s.next] = k
	s.next = (s.next + 1) % maxSeen
}

// reaches returns since when everything that was passed on is remembered; what is
// older than that was surely seen. It is from if all of that is remembered.
func (s *seen) reaches(from int64) int64 {
	if len(s.ring) < maxSeen {
		return from
	}
	// Lines come nearly in the order of their times: the oldest marks tell.
	least := s.ring[s.next].time
	for i := range 1000 {
		least = max(least, s.ring[(s.next+i)%maxSeen].time)
	}
	return max(from, least)
}

// begin starts to compare.
func (s *seen) begin() {
	s.passed = make(map[uint64]int32, len(s.ring))
	for _, k := range s.ring {
		s.passed[k.id]++
	}
}

// end stops it.
func (s *seen) end() { s.passed = nil }

// way is one way by which lines come; each may bring a line again, but no more
// often than it exists.
type way map[uint64]int32

// fresh filters out, in place, what was passed on already, and remembers the rest.
func (s *seen) fresh(w way, entries []show.Entry) []show.Entry {
	out := entries[:0]
	for i := range entries {
		id := s.id(&entries[i])
		w[id]++
		if w[id] <= s.passed[id] {
			continue
		}
		s.passed[id]++
		s.note(mark{entries[i].Time, id})
		out = append(out, entries[i])
	}
	return out
}
