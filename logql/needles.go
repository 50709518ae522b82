package logql

import (
	"bytes"

	"github.com/weirlog/weir/record"
)

// Needle is a text that must stand in a line.
type Needle struct {
	// Text is not empty.
	Text []byte
	// Fold says that it stands there in upper or lower case: Text is ASCII, in
	// lower case. It is without k and s, which have further forms.
	Fold bool
}

// In reports whether the needle stands in the line.
func (n *Needle) In(line []byte) bool {
	if n.Fold {
		return containsFold(view(line), view(n.Text))
	}
	return bytes.Contains(line, n.Text)
}

// Needles are alternatives all of which must be met: for each item, at least
// one of its needles stands in the line. An item is never empty.
type Needles [][]Needle

// Match reports whether a line may matter.
func (ns Needles) Match(line []byte) bool {
	for _, alts := range ns {
		if !anyIn(alts, line) {
			return false
		}
	}
	return true
}

func anyIn(alts []Needle, line []byte) bool {
	for i := range alts {
		if alts[i].In(line) {
			return true
		}
	}
	return false
}

// AppendRows appends the indexes of the rows that may matter. Rows must be in
// ascending order in buf and not overlap; they are searched as one text, which
// costs little where few are found.
func (ns Needles) AppendRows(dst []uint32, buf []byte, rows []record.Span) []uint32 {
	first := -1 // the item that is searched for: one alternative, the longest
	for i, alts := range ns {
		if len(alts) == 1 && (first < 0 || len(alts[0].Text) > len(ns[first][0].Text)) {
			first = i
		}
	}
	if first < 0 {
		for i, sp := range rows {
			if ns.Match(buf[sp.Off:sp.End()]) {
				dst = append(dst, uint32(i))
			}
		}
		return dst
	}
	n := &ns[first][0]
	for row, from := 0, 0; row < len(rows); {
		var at int
		if n.Fold {
			at = indexFold(view(buf[from:]), view(n.Text))
		} else {
			at = bytes.Index(buf[from:], n.Text)
		}
		if at < 0 {
			break
		}
		at += from
		row = rowOf(rows, row, uint32(at))
		if row == len(rows) {
			break
		}
		sp := rows[row]
		if at >= int(sp.Off) && at+len(n.Text) <= int(sp.End()) {
			if len(ns) == 1 || ns.Match(buf[sp.Off:sp.End()]) {
				dst = append(dst, uint32(row))
			}
			row++
			from = int(sp.End())
			continue
		}
		from = at + 1
	}
	return dst
}

// rowOf returns the first row from lo on that ends behind at.
func rowOf(rows []record.Span, lo int, at uint32) int {
	step := 1
	hi := lo
	for hi < len(rows) && rows[hi].End() <= at {
		lo = hi + 1
		hi += step
		step *= 2
	}
	hi = min(hi, len(rows))
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if rows[mid].End() <= at {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}
