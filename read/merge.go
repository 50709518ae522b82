package read

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/weirlog/weir/show"
)

// ErrMergeEnded is what Put returns when nobody takes lines any more.
var ErrMergeEnded = errors.New("the merge has ended")

// MergeConfig says how lines are put in order.
type MergeConfig struct {
	// Window is how long a line waits for older ones; 0 passes all on as they
	// arrive.
	Window time.Duration
	// Settle is for the beginning, when every source tells its past: nothing is
	// passed on until nothing has come for two windows, at most this long after
	// the first line. Negative: until Close, which sorts everything.
	Settle time.Duration
	// Bytes is how much may wait, 64 MiB if 0. Then Put blocks; while settling,
	// the oldest half is passed on instead.
	Bytes int
}

// Merge puts the lines of many sources in the order of their times. A line waits
// for the window, so that older ones of other sources can overtake it, and no
// longer; one that comes later than that is passed on at once.
//
// Put may be called concurrently; Run once.
//
//	Put ─▶ runs (sorted, by their first line) ─▶ k-way merge ─▶ emit
//	       └ queue by arrival: whose window is over?
type Merge struct {
	cfg MergeConfig

	mu       sync.Mutex
	runs     []*mergeRun // a heap by the time of the next line
	arrivals []*mergeRun // in the order of arrival; those that are used up have no entries
	size     int
	seq      uint64
	passed   int64 // time of the latest line passed on: what is older is late
	settling bool
	first    time.Time // arrival of the first line
	last     time.Time // arrival of the latest
	closed   bool      // nothing more will come
	stopped  bool      // nobody takes any more
	wake     chan struct{}
	space    chan struct{} // closed when there is room again
}

// mergeRun is the lines of one Put, sorted.
type mergeRun struct {
	entries []show.Entry
	due     time.Time
	latest  int64 // time of the last line
	seq     uint64
	// flat, if not 0, stands for the times of all lines: they are from the
	// future, and would drag along everything.
	flat int64
}

// far is how much ahead of this machine's clock a time may be to be believed.
const far = time.Minute

// NewMerge returns a Merge.
func NewMerge(cfg MergeConfig) *Merge {
	if cfg.Bytes <= 0 {
		cfg.Bytes = 64 << 20
	}
	return &Merge{cfg: cfg, settling: cfg.Settle != 0, passed: -1 << 63, wake: make(chan struct{}, 1), space: make(chan struct{})}
}

func (r *mergeRun) key() int64 {
	if r.flat != 0 {
		return r.flat
	}
	return r.entries[0].Time
}

func mergeLess(a, b *mergeRun) bool {
	if ka, kb := a.key(), b.key(); ka != kb {
		return ka < kb
	}
	return a.seq < b.seq
}

// costOf is about what a line takes in memory.
func costOf(e *show.Entry) int { return len(e.Line) + 64 }

// Put adds lines, whose slice is the Merge's from then on. It blocks while too
// much waits. Errors are ErrMergeEnded and ctx's.
func (m *Merge) Put(ctx context.Context, entries []show.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	if m.cfg.Window > 0 && !slices.IsSortedFunc(entries, byTime) {
		slices.SortStableFunc(entries, byTime)
	}
	size := 0
	for i := range entries {
		size += costOf(&entries[i])
	}
	m.mu.Lock()
	for !m.stopped && m.size > 0 && m.size+size > m.cfg.Bytes {
		space := m.space
		m.signal()
		m.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return ctx.Err()
		}
		m.mu.Lock()
	}
	defer m.mu.Unlock()
	if m.stopped {
		return ErrMergeEnded
	}
	now := time.Now()
	if m.first.IsZero() {
		m.first = now
	}
	m.last = now
	m.size += size
	n := len(entries)
	if limit := now.Add(far).UnixNano(); m.cfg.Window > 0 && entries[n-1].Time > limit {
		n, _ = slices.BinarySearchFunc(entries, limit+1, func(e show.Entry, t int64) int { return cmp.Compare(e.Time, t) })
	}
	if n > 0 {
		m.add(entries[:n:n], now, 0)
	}
	if n < len(entries) {
		m.add(entries[n:], now, now.UnixNano())
	}
	return nil
}

func byTime(a, b show.Entry) int { return cmp.Compare(a.Time, b.Time) }

func (m *Merge) add(entries []show.Entry, now time.Time, flat int64) {
	m.seq++
	r := &mergeRun{entries: entries, due: now.Add(m.cfg.Window), latest: entries[len(entries)-1].Time, seq: m.seq, flat: flat}
	if flat != 0 {
		r.latest = flat
	}
	if m.cfg.Window == 0 {
		// In the order of arrival: the time is the number.
		r.flat, r.latest = int64(m.seq), int64(m.seq)
	}
	m.arrivals = append(m.arrivals, r)
	m.push(r)
	if len(m.runs) == 1 || len(m.arrivals) == 1 || r.key() <= m.passed || m.settling && m.full() {
		m.signal()
	}
}

func (m *Merge) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Close says that nothing more will come: Run passes on what waits and returns.
func (m *Merge) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.signal()
}

// Run passes lines on in their order, some at a time, until Close; the slice is
// valid until emit returns. idle is called before it waits for more. It returns
// the first error of either, or that of ctx.
func (m *Merge) Run(ctx context.Context, emit func([]show.Entry) error, idle func() error) error {
	defer m.stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	batch := make([]show.Entry, 0, 512)
	for {
		var wait time.Duration
		var end bool
		batch, wait, end = m.take(batch[:0])
		if len(batch) > 0 {
			if err := emit(batch); err != nil {
				return err
			}
			clear(batch)
			if err := ctx.Err(); err != nil {
				return err
			}
			continue
		}
		if err := idle(); err != nil {
			return err
		}
		if end {
			return nil
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.wake:
		case <-timer.C:
		}
	}
}

func (m *Merge) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = true
	m.runs, m.arrivals, m.size = nil, nil, 0
	close(m.space)
	m.space = make(chan struct{})
}

// take appends what may be passed on now to batch, as much as fits; if there is
// nothing, it says how long to wait for it, or that this is the end.
func (m *Merge) take(batch []show.Entry) (out []show.Entry, wait time.Duration, end bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.runs) == 0 {
		m.arrivals = m.arrivals[:0]
		return batch, time.Hour, m.closed
	}
	now := time.Now()
	limit, wait, floor := m.ripe(now)
	room := m.size
	for len(batch) < cap(batch) && len(m.runs) > 0 && m.size > floor {
		r := m.runs[0]
		if k := r.key(); k > limit {
			break
		}
		// As many of this run as come before the next one.
		n, most := 1, min(len(r.entries), cap(batch)-len(batch))
		second := m.second()
		switch {
		case r.flat != 0:
			n = most
		case second == nil:
			for n < most && r.entries[n].Time <= limit {
				n++
			}
		default:
			bound := second.key()
			if r.seq > second.seq {
				bound--
			}
			for bound = min(bound, limit); n < most && r.entries[n].Time <= bound; {
				n++
			}
		}
		for i := range n {
			m.size -= costOf(&r.entries[i])
		}
		batch = append(batch, r.entries[:n]...)
		if r.flat == 0 || m.cfg.Window == 0 {
			if t := r.entries[n-1].Time; m.cfg.Window > 0 && t > m.passed {
				m.passed = t
			}
		}
		if r.entries = r.entries[n:]; len(r.entries) == 0 {
			r.entries = nil
			m.pop()
		} else {
			m.down(0)
		}
	}
	if m.size < room {
		close(m.space)
		m.space = make(chan struct{})
	}
	return batch, wait, false
}

// full reports whether as much waits as may while settling.
func (m *Merge) full() bool { return m.size > m.cfg.Bytes*3/4 }

// ripe returns up to which time lines may be passed on, as long as more than
// floor waits; and if there is none, when to look again.
func (m *Merge) ripe(now time.Time) (limit int64, wait time.Duration, floor int) {
	const everything, nothing = 1<<63 - 1, -1 << 63
	if m.closed || m.cfg.Window == 0 {
		return everything, 0, 0
	}
	if m.settling {
		switch {
		case m.cfg.Settle < 0 && m.full():
			return everything, 0, m.cfg.Bytes * 3 / 4
		case m.cfg.Settle < 0:
			return nothing, time.Hour, 0
		case m.full():
			m.settling = false
		default:
			end := m.first.Add(m.cfg.Settle)
			if quiet := m.last.Add(2 * m.cfg.Window); quiet.Before(end) {
				end = quiet
			}
			if now.Before(end) {
				return nothing, end.Sub(now), 0
			}
			m.settling = false
		}
	}
	limit = m.passed
	for len(m.arrivals) > 0 {
		r := m.arrivals[0]
		if len(r.entries) > 0 {
			if wait = r.due.Sub(now); wait > 0 {
				break
			}
			limit = max(limit, r.latest)
		}
		if len(r.entries) > 0 {
			break // the next one's turn comes when this is used up
		}
		m.arrivals[0] = nil
		m.arrivals = m.arrivals[1:]
	}
	return limit, max(wait, 0), 0
}

// second returns the run that comes behind the first.
func (m *Merge) second() *mergeRun {
	switch {
	case len(m.runs) < 2:
		return nil
	case len(m.runs) == 2 || mergeLess(m.runs[1], m.runs[2]):
		return m.runs[1]
	}
	return m.runs[2]
}

func (m *Merge) push(r *mergeRun) {
	m.runs = append(m.runs, r)
	i := len(m.runs) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !mergeLess(m.runs[i], m.runs[parent]) {
			return
		}
		m.runs[i], m.runs[parent] = m.runs[parent], m.runs[i]
		i = parent
	}
}

func (m *Merge) pop() {
	last := len(m.runs) - 1
	m.runs[0] = m.runs[last]
	m.runs[last] = nil
	m.runs = m.runs[:last]
	m.down(0)
}

func (m *Merge) down(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(m.runs); c++ {
			if mergeLess(m.runs[c], m.runs[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		m.runs[i], m.runs[least] = m.runs[least], m.runs[i]
		i = least
	}
}
