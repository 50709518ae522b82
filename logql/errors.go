package logql

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// SyntaxError says what is wrong with a query and where.
type SyntaxError struct {
	// Pos is the offset in bytes of the offending text.
	Pos int
	// Line and Column count from 1, the column in characters. They are zero in
	// errors about parts of a query that stood in no text.
	Line, Column int
	// Msg says what was expected and what was found.
	Msg string
}

func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("logql: at offset %d: %s", e.Pos, e.Msg)
	}
	return fmt.Sprintf("logql: line %d, column %d: %s", e.Line, e.Column, e.Msg)
}

func errorAt(pos int, format string, args ...any) *SyntaxError {
	return &SyntaxError{Pos: pos, Msg: fmt.Sprintf(format, args...)}
}

// maxMessage bounds what an error repeats of a query, in bytes.
const maxMessage = 400

// locate fills in line and column of an error about query.
func locate(err error, query string) error {
	e, ok := err.(*SyntaxError)
	if !ok || e.Line != 0 {
		return err
	}
	if len(e.Msg) > maxMessage {
		e.Msg = strings.ToValidUTF8(e.Msg[:maxMessage], "") + "…"
	}
	before := query[:min(e.Pos, len(query))]
	e.Line = 1 + strings.Count(before, "\n")
	e.Column = 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	return e
}

// nearest returns the known name that a wrong one was probably meant to be, ""
// if none is near.
func nearest(name string, known []string) string {
	if len(name) > 40 {
		return ""
	}
	best, dist := "", 1+max(1, len(name)/3)
	for _, k := range known {
		if d := distance(strings.ToLower(name), k); d < dist {
			best, dist = k, d
		}
	}
	return best
}

// distance counts the single-character edits (insert, delete, replace, swap of
// neighbours) between a and b.
func distance(a, b string) int {
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}

// didYouMean is the tail of a message about an unknown name.
func didYouMean(name string, known []string) string {
	if n := nearest(name, known); n != "" {
		return "; did you mean " + n + "?"
	}
	return ""
}
