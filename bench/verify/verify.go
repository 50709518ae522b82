// Package verify keeps the account of what arrived: a bit per line and stream.
package verify

import (
	"math/bits"
	"sync"

	"github.com/weirlog/weir/bench/mark"
)

// Counts is what arrived so far.
type Counts struct {
	Records uint64 `json:"records"` // different lines
	Doubled uint64 `json:"doubled"` // lines that came again and would be stored again
	Resent  uint64 `json:"resent"`  // lines that came again with the id they had: stored once
	Altered uint64 `json:"altered"` // lines whose payload is not what was written
	Foreign uint64 `json:"foreign"` // records without a mark
	Clashes uint64 `json:"clashes"` // lines that came with the id of another line: not stored
	Extra   uint64 `json:"extra"`   // lines that nobody wrote
}

// A Verdict is Counts against what was written.
type Verdict struct {
	Counts
	Written uint64 `json:"written"`
	Lost    uint64 `json:"lost"`
	// Missing are the first of the lost, to look at.
	Missing []mark.Mark `json:"missing,omitempty"`
}

// Clean reports whether every line is there, once, and whole.
func (v *Verdict) Clean() bool {
	return v.Lost == 0 && v.Doubled == 0 && v.Altered == 0 && v.Foreign == 0 && v.Clashes == 0 && v.Extra == 0
}

// An Account is safe for concurrent use.
type Account struct {
	mu      sync.Mutex
	counts  Counts
	streams []stream
	ids     set
}

type stream struct {
	seen []uint64
	ids  []uint32 // of each line's first arrival; 0 is none
}

// maxStreams and maxLines bound what a wrong mark can cost.
const (
	maxStreams = 1 << 17
	maxLines   = 1 << 28
)

// A Result says what a destination with ids does with a record.
type Result int

// The results.
const (
	Stored   Result = iota
	Conflict        // its id is there already
)

// Add notes a record. id is a hash of its id in the destination, 0 if it has
// none.
func (a *Account) Add(m mark.Mark, v mark.Verdict, id uint64) Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.add(m, v, id)
}

// Batch makes the adds of one request a single step, and cheap. The function
// must not keep add.
func (a *Account) Batch(f func(add func(mark.Mark, mark.Verdict, uint64) Result)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(a.add)
}

func (a *Account) add(m mark.Mark, v mark.Verdict, id uint64) Result {
	if v == mark.None {
		a.counts.Foreign++
		return Stored
	}
	if m.Stream >= maxStreams || m.Seq >= maxLines {
		a.counts.Altered++
		return Stored
	}
	if v == mark.Altered {
		a.counts.Altered++
	}
	for int(m.Stream) >= len(a.streams) {
		a.streams = append(a.streams, stream{})
	}
	s := &a.streams[m.Stream]
	word, bit := int(m.Seq/64), uint64(1)<<(m.Seq%64)
	if word >= len(s.seen) {
		s.seen = append(s.seen, make([]uint64, max(word+1, 2*len(s.seen), 16)-len(s.seen))...)
	}
	known := id != 0 && !a.ids.add(id)
	short := uint32(id^id>>32) | 1
	if id == 0 {
		short = 0
	}
	if s.seen[word]&bit != 0 {
		if known && int(m.Seq) < len(s.ids) && s.ids[m.Seq] == short {
			a.counts.Resent++
			return Conflict
		}
		a.counts.Doubled++
		return Stored
	}
	if known {
		a.counts.Clashes++
		return Conflict
	}
	s.seen[word] |= bit
	a.counts.Records++
	if short != 0 {
		if int(m.Seq) >= len(s.ids) {
			s.ids = append(s.ids, make([]uint32, max(int(m.Seq)+1, 2*len(s.ids), 1024)-len(s.ids))...)
		}
		s.ids[m.Seq] = short
	}
	return Stored
}

// Counts returns what arrived so far.
func (a *Account) Counts() Counts {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts
}

// Reset forgets everything.
func (a *Account) Reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts, a.streams, a.ids = Counts{}, nil, set{}
}

// Judge compares with what was written: the number of lines per stream.
func (a *Account) Judge(lines []uint32) Verdict {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := Verdict{Counts: a.counts}
	for i, n := range lines {
		v.Written += uint64(n)
		var seen []uint64
		if i < len(a.streams) {
			seen = a.streams[i].seen
		}
		got := uint64(0)
		for seq := uint32(0); seq < n; seq += 64 {
			var w uint64
			if int(seq/64) < len(seen) {
				w = seen[seq/64]
			}
			if n-seq < 64 {
				w &= 1<<(n-seq) - 1
			}
			got += uint64(bits.OnesCount64(w))
			for k := seq; w != ^uint64(0) && len(v.Missing) < 10 && k < min(seq+64, n); k++ {
				if w>>(k-seq)&1 == 0 {
					v.Missing = append(v.Missing, mark.Mark{Stream: uint32(i), Seq: k})
				}
			}
		}
		v.Lost += uint64(n) - got
	}
	v.Extra = v.Records - (v.Written - v.Lost)
	return v
}

// set is a set of hashes with open addressing: a map's cost would be the
// largest part of a sink that has nothing else to do per record.
type set struct {
	slots []uint64
	n     int
}

// add reports whether id was not there. id is not 0.
func (s *set) add(id uint64) bool {
	if 2*s.n >= len(s.slots) {
		old := s.slots
		s.slots = make([]uint64, max(2*len(old), 1<<16))
		for _, v := range old {
			if v != 0 {
				s.slots[s.place(v)] = v
			}
		}
	}
	i := s.place(id)
	if s.slots[i] == id {
		return false
	}
	s.slots[i] = id
	s.n++
	return true
}

// place returns the slot of id, or the free one it would take.
func (s *set) place(id uint64) int {
	mask := uint64(len(s.slots) - 1)
	i := id & mask
	for s.slots[i] != 0 && s.slots[i] != id {
		i = (i + 1) & mask
	}
	return int(i)
}
