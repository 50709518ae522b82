package gateway

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// Memory bounds what all pushes under way hold together, and shares it out: a
// sender may hold at most three times what is free. One alone gets three quarters,
// two get three sevenths each, and there is always room for somebody who comes with
// little. Safe for concurrent use.
//
// Choudhury, Hahne: Dynamic queue length thresholds for shared-memory packet
// switches (1998).
type Memory struct {
	limit int64
	used  atomic.Int64

	mu sync.Mutex
	by map[holder]int64 // bytes held; who holds none is not there
}

// freeShare is how many times what is free one sender may hold.
const freeShare = 3

// NewMemory returns a Memory of so many bytes.
func NewMemory(limit int64) *Memory { return &Memory{limit: limit, by: make(map[holder]int64)} }

// Used returns the bytes that are held.
func (m *Memory) Used() int64 { return m.used.Load() }

// holder is whose share of the memory it is.
type holder struct {
	tenant, name string
	addr         netip.Addr
}

// known leaves what says most: many credentials of one tenant have one share.
func (s holder) known() holder {
	switch {
	case s.tenant != "":
		return holder{tenant: s.tenant}
	case s.name != "":
		return holder{name: s.name}
	}
	return holder{addr: s.addr}
}

// take reports whether the sender may hold so many bytes more for a piece that holds
// some already. The only large one may always.
func (m *Memory) take(s holder, more, held int64) bool {
	used := m.used.Add(more)
	m.mu.Lock()
	defer m.mu.Unlock()
	has := m.by[s] + more
	alone := used-more-held <= m.limit/32
	if !alone && (used > m.limit || has > freeShare*(m.limit-used)) {
		m.used.Add(-more)
		return false
	}
	m.by[s] = has
	return true
}

// give gives back what take took.
func (m *Memory) give(s holder, n int64) {
	if n == 0 {
		return
	}
	m.used.Add(-n)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.by[s] -= n; m.by[s] <= 0 {
		delete(m.by, s)
	}
}
