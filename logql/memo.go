package logql

import (
	"slices"

	"github.com/weirlog/weir/record"
)

// memo remembers the outcome of rows that a block tells apart only by stream,
// severity and the values of a few columns: then the stages run once per
// combination, not once per row.
type memo struct {
	slots   []memoSlot
	used    []uint32 // slots that are not unknown
	touched []uint32 // slots with rows to add
	numbers []uint32 // of some rows: their slots
}

type memoSlot struct {
	state uint8
	acc   *accumulator
	value float64
	rows  int64 // not added yet
}

// States of a slot.
const (
	unknown = iota
	dropped
	kept
)

// maxMemo bounds the number of combinations.
const maxMemo = 1 << 16

// fits reports whether the rows of a block can be remembered.
func (m *memo) fits(b *Block) bool {
	if b.Body != nil || b.Meta != nil {
		return false
	}
	return combinations(b) <= maxMemo
}

func combinations(b *Block) int {
	n := max(1, len(b.Streams))
	if b.Severity != nil {
		n *= severities
	}
	for k := range b.Fields {
		if n *= len(b.Fields[k].Values) + 2; n > maxMemo {
			break
		}
	}
	return n
}

const severities = 32 // at least as many as there are

// memoized adds the rows of a block that fits.
func (x *ranger) memoized(b *Block, after []stage) error {
	m := &x.memo
	n := combinations(b)
	if n > len(m.slots) {
		m.slots = make([]memoSlot, n)
		m.used = m.used[:0]
	}
	for _, s := range m.used {
		m.slots[s] = memoSlot{}
	}
	m.used = m.used[:0]
	if b.Severity == nil && len(b.Fields) == 0 {
		return x.memoizedRuns(b, after)
	}
	w := &x.w
	for i := 0; i < b.Len(); {
		k0, k1 := w.steps(b.Times[i])
		// Rows of the same steps: count them first, add them together.
		from, times := i, b.Times
		for i++; i < len(times) && times[i] > w.lo && times[i] <= w.hi; i++ {
		}
		if k0 >= k1 {
			continue // between the ranges
		}
		m.touched = m.touched[:0]
		for k, at := range m.number(b, from, i) {
			s := &m.slots[at]
			if s.rows > 0 {
				s.rows++
				continue
			}
			if s.state == unknown {
				if err := x.learn(s, int(at), b, from+k, after); err != nil {
					return err
				}
			}
			if x.kind != kindCount {
				if s.state == dropped {
					continue
				}
				x.stats.Kept++
				if err := x.add(s.acc, k0, k1, b, from+k, s.value); err != nil {
					return err
				}
				continue
			}
			m.touched = append(m.touched, at)
			s.rows = 1
		}
		for _, at := range m.touched {
			s := &m.slots[at]
			if s.state == kept {
				x.stats.Kept += s.rows
				s.acc.addCount(k0, k1, s.rows, 0)
			}
			s.rows = 0
		}
	}
	return nil
}

// number returns the slots of the rows [i, j), worked out column by column.
func (m *memo) number(b *Block, i, j int) []uint32 {
	out := slices.Grow(m.numbers[:0], j-i)[:j-i]
	m.numbers = out
	if b.Stream != nil {
		copy(out, b.Stream[i:j])
	} else {
		clear(out)
	}
	if b.Severity != nil {
		for k, s := range b.Severity[i:j] {
			out[k] = out[k]*severities + uint32(s&(severities-1))
		}
	}
	for c := range b.Fields {
		f := &b.Fields[c]
		n := uint32(len(f.Values) + 2)
		for k, v := range f.Index[i:j] {
			out[k] = out[k]*n + uint32(v+2)
		}
	}
	return out
}

// memoizedRuns is memoized for rows of which only the stream matters.
func (x *ranger) memoizedRuns(b *Block, after []stage) error {
	for i := 0; i < b.Len(); {
		at := 0
		if b.Stream != nil {
			at = int(b.Stream[i])
		}
		s := &x.memo.slots[at]
		j := x.runEnd(b, i)
		for i < j && !x.w.within(b.Times[i]) {
			i++
		}
		if i == j {
			continue
		}
		if s.state == unknown {
			if err := x.learn(s, at, b, i, after); err != nil {
				return err
			}
		}
		if s.state == kept {
			x.stats.Kept += int64(j - i)
			if err := x.addRun(s, b, i, j); err != nil {
				return err
			}
		}
		i = j
	}
	return nil
}

// learn runs the stages for a combination that is new.
func (x *ranger) learn(s *memoSlot, at int, b *Block, i int, after []stage) error {
	before := x.stats.Kept
	acc, v, err := x.outcome(b, i, after)
	if err != nil {
		return err
	}
	x.stats.Kept = before
	x.memo.used = append(x.memo.used, uint32(at))
	s.state, s.acc, s.value = dropped, acc, v
	if acc != nil {
		s.state = kept
	}
	return nil
}

// runEnd returns the end of the rows from i on that have the same stream.
func (x *ranger) runEnd(b *Block, i int) int {
	if b.Stream == nil {
		return b.Len()
	}
	st := b.Stream[i]
	for i++; i < b.Len() && b.Stream[i] == st; i++ {
	}
	return i
}

// addRun adds the rows [i, j), which have the same outcome.
func (x *ranger) addRun(s *memoSlot, b *Block, i, j int) error {
	w := &x.w
	for i < j {
		k0, k1 := w.steps(b.Times[i])
		end := i + 1
		if x.kind == kindCount {
			for end < j && b.Times[end] > w.lo && b.Times[end] <= w.hi {
				end++
			}
			if k0 < k1 {
				s.acc.addCount(k0, k1, int64(end-i), 0)
			}
		} else if k0 < k1 {
			if err := x.add(s.acc, k0, k1, b, i, s.value); err != nil {
				return err
			}
		}
		i = end
	}
	return nil
}

var _ [severities - 25]record.Severity // there are 25 of them
